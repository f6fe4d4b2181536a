package simulator_test

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"

	"pneudaq/simulator"
)

func newPlant(tb testing.TB, kind string, seed uint64, params map[string]float64) *simulator.Plant {
	tb.Helper()
	p, err := simulator.NewPlant(kind, seed, params)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func read(tb testing.TB, p *simulator.Plant, name string) float64 {
	tb.Helper()
	v, err := p.Read(name)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func actuate(tb testing.TB, p *simulator.Plant, name string, v float64) {
	tb.Helper()
	if err := p.Actuate(name, v); err != nil {
		tb.Fatal(err)
	}
}

func breakPlant(tb testing.TB, p *simulator.Plant, fault string, on bool) {
	tb.Helper()
	if err := p.Break(fault, on); err != nil {
		tb.Fatal(err)
	}
}

// run steps the plant through seconds of its time.
func run(p *simulator.Plant, seconds float64) {
	for range int(math.Round(seconds / p.Dt().Seconds())) {
		p.Step()
	}
}

// runUntil steps the plant until a figure of its truth has a value, and fails after a time.
func runUntil(tb testing.TB, p *simulator.Plant, name string, want, limit float64) {
	tb.Helper()
	state := func() float64 { return read(tb, p, name) }
	for range int(limit / p.Dt().Seconds()) {
		if state() == want {
			return
		}
		p.Step()
	}
	tb.Fatalf("%s is %v after %v s, want %v", name, state(), limit, want)
}

func TestNewPlantRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind string
		params     map[string]float64
		want       []string
	}{
		{"kind", "wind-tunnel", nil, []string{`"wind-tunnel"`, "flow-bench", "valve-stand"}},
		{"parameter", "flow-bench", map[string]float64{"c": 1}, []string{"parameter c is unknown", "dwell", " C,"}},
		{"range", "flow-bench", map[string]float64{"b": 2}, []string{"parameter b = 2", "0 to 0.8"}},
		{"not a number", "valve-stand", map[string]float64{"leak": math.NaN()}, []string{"parameter leak = NaN"}},
	} {
		_, err := simulator.NewPlant(c.kind, 1, c.params)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
}

// series runs a plant with a few commands and returns a digest of all that its sensors and bursts delivered. Readings
// are taken several times over, first to last or last to first as turn says, which must not matter.
func series(t *testing.T, kind string, seed uint64, turn func([]int), repeat int) uint64 {
	t.Helper()
	p := newPlant(t, kind, seed, map[string]float64{"plc.rest": 0.1})
	h := fnv.New64a()
	signals := p.Signals()
	buffer := make([]float64, len(signals))
	order := make([]int, len(signals))
	for i := range order {
		order[i] = i
	}
	turn(order)
	digest := func(v float64) {
		bits := math.Float64bits(v)
		for k := range 8 {
			_, _ = h.Write([]byte{byte(bits >> (8 * k))})
		}
	}
	for k := range 4000 {
		switch k {
		case 100:
			actuate(t, p, "plc.start", 1)
		case 3000:
			actuate(t, p, "plc.abort", 1)
		}
		p.Step()
		if k%50 != 0 {
			continue
		}
		for range repeat {
			for _, at := range order {
				buffer[at] = read(t, p, signals[at].Name)
			}
		}
		for _, v := range buffer {
			digest(v)
		}
	}
	if kind == "valve-stand" {
		for _, name := range []string{"p1", "p2", "p4", "coil"} {
			bursts, err := p.Burst(name, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range bursts {
				for _, v := range b.Values {
					digest(v)
				}
			}
		}
	}
	return h.Sum64()
}

func TestPlantsAreDeterministic(t *testing.T) {
	t.Parallel()
	forwards := func([]int) {}
	for _, kind := range simulator.Kinds() {
		first := series(t, kind, 42, forwards, 1)
		if again := series(t, kind, 42, slices.Reverse[[]int], 3); again != first {
			t.Errorf("%s: the same seed gave another series, or reading changed it", kind)
		}
		if other := series(t, kind, 43, forwards, 1); other == first {
			t.Errorf("%s: another seed gave the same series", kind)
		}
	}
}

func TestFixingAParameterLeavesTheOthers(t *testing.T) {
	t.Parallel()
	drawn := newPlant(t, "flow-bench", 7, nil).Params()
	fixed := newPlant(t, "flow-bench", 7, map[string]float64{"C": 3e-8, "err.p1.gain": 0.01}).Params()
	for i, q := range fixed {
		switch q.Name {
		case "C", "err.p1.gain":
			if !q.Given || q.Value == drawn[i].Value {
				t.Errorf("%s: %+v", q.Name, q)
			}
		default:
			if q != drawn[i] {
				t.Errorf("%s changed: %+v, %+v", q.Name, drawn[i], q)
			}
		}
	}
}

func TestDrawnParametersFillTheirDistribution(t *testing.T) {
	t.Parallel()
	const n = 400
	sums := map[string]float64{}
	for seed := range uint64(n) {
		for _, q := range newPlant(t, "flow-bench", seed, nil).Params() {
			if q.Low == q.High {
				continue
			}
			if q.Value < q.Low || q.Value > q.High {
				t.Fatalf("%s = %v outside %v to %v", q.Name, q.Value, q.Low, q.High)
			}
			sums[q.Name] += (q.Value - q.Low) / (q.High - q.Low)
		}
	}
	if len(sums) < 10 {
		t.Fatalf("only %d parameters are drawn", len(sums))
	}
	for name, sum := range sums {
		if mean := sum / n; math.Abs(mean-0.5) > 4.5/math.Sqrt(12*n) {
			t.Errorf("%s: mean of the draws at %v of the range", name, mean)
		}
	}
}

func TestTruthNamesEverySignalAndParameterOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range simulator.Kinds() {
		p := newPlant(t, kind, 1, nil)
		names := map[string]bool{}
		for _, q := range p.Params() {
			if names[q.Name] {
				t.Errorf("%s: parameter %s twice", kind, q.Name)
			}
			names[q.Name] = true
		}
		truth := p.Truth()
		for _, s := range p.Signals() {
			if names[s.Name] {
				t.Errorf("%s: %s is a signal and something else", kind, s.Name)
			}
			names[s.Name] = true
			if s.Description == "" || s.Unit == "" {
				t.Errorf("%s: signal %s lacks unit or description", kind, s.Name)
			}
			if _, err := p.Read(s.Name); err != nil {
				t.Error(err)
			}
		}
		for name := range names {
			if _, ok := truth[name]; !ok {
				t.Errorf("%s: truth lacks %s", kind, name)
			}
		}
	}
}

func TestIdealSensorsDeliverTheTruth(t *testing.T) {
	t.Parallel()
	for _, kind := range simulator.Kinds() {
		p := newPlant(t, kind, 1, map[string]float64{"sensors.ideal": 1})
		actuate(t, p, "plc.start", 1)
		run(p, 1)
		truth := p.Truth()
		for _, s := range p.Signals() {
			if got := read(t, p, s.Name); math.Abs(got-truth[s.Name]) > 1e-12*math.Abs(truth[s.Name]) {
				t.Errorf("%s: %s reads %v, is %v", kind, s.Name, got, truth[s.Name])
			}
		}
	}
}

func TestActuateRefuses(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, nil)
	actuate(t, p, "throttle", 0.5)
	if got := read(t, p, "throttle"); got != 0.5 {
		t.Errorf("throttle reads back %v", got)
	}
	for _, c := range []struct {
		name string
		v    float64
		want string
	}{
		{"p1", 1, "measured"},
		{"plc.step", 1, "state"},
		{"throttle", 1.5, "0 to 1"},
		{"p_set", math.Inf(1), "finite"},
		{"pressure", 1, "no signal"},
	} {
		if err := p.Actuate(c.name, c.v); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: %v, want %q", c.name, c.v, err, c.want)
		}
	}
	actuate(t, p, "plc.start", 1)
	p.Step()
	if err := p.Actuate("throttle", 0); err == nil || !strings.Contains(err.Error(), "PLC") {
		t.Errorf("while the program runs: %v", err)
	}
}

func TestBreakingSensors(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, nil)
	if err := p.Break("gremlin", true); err == nil || !strings.Contains(err.Error(), "stuck:p1") {
		t.Errorf("unknown fault: %v", err)
	}
	actuate(t, p, "p_set", 500e3)
	run(p, 1)
	breakPlant(t, p, "stuck:p1", true)
	held := read(t, p, "p1")
	actuate(t, p, "p_set", 700e3)
	run(p, 2)
	if got := read(t, p, "p1"); got != held {
		t.Errorf("stuck sensor moved from %v to %v", held, got)
	}
	breakPlant(t, p, "stuck:p1", false)
	run(p, 0.1)
	if got := read(t, p, "p1"); math.Abs(got-p.Truth()["p1"]) > 3000 || math.Abs(got-held) < 150e3 {
		t.Errorf("freed sensor reads %v of %v", got, p.Truth()["p1"])
	}
	breakPlant(t, p, "dropout:p1", true)
	if got := read(t, p, "p1"); got >= -1e5 {
		t.Errorf("dropped-out sensor reads %v, want below its range", got)
	}
	breakPlant(t, p, "dropout:p1", false)
	breakPlant(t, p, "spike:p1", true)
	spikes := 0
	for range 5000 {
		p.Step()
		if math.Abs(read(t, p, "p1")-p.Truth()["p1"]) > 5000 {
			spikes++
		}
	}
	if spikes < 20 || spikes > 90 {
		t.Errorf("%d spikes in 5000 readings, want about 50", spikes)
	}
}

func TestEveryFaultCanBeTurnedOnAndOff(t *testing.T) {
	t.Parallel()
	for _, kind := range simulator.Kinds() {
		p := newPlant(t, kind, 1, nil)
		faults := p.Faults()
		if !slices.Contains(faults, "leak") {
			t.Errorf("%s has no leak: %v", kind, faults)
		}
		for _, fault := range faults {
			breakPlant(t, p, fault, true)
			run(p, 0.01)
			breakPlant(t, p, fault, false)
		}
	}
}

func TestHeartbeatCountsTenTimesASecond(t *testing.T) {
	t.Parallel()
	for _, kind := range simulator.Kinds() {
		p := newPlant(t, kind, 1, nil)
		run(p, 3.05)
		if got := read(t, p, "plc.heartbeat"); got != 30 {
			t.Errorf("%s: heartbeat %v after 3 s, want 30", kind, got)
		}
	}
}

func TestSilentHostPutsTheRigSafe(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, map[string]float64{"host.timeout": 0.5})
	actuate(t, p, "p_set", 600e3)
	run(p, 2)
	if got := read(t, p, "p_set"); got < 599e3 {
		t.Fatalf("a host that never beat was missed: p_set %v", got)
	}
	for beat := range 10 {
		actuate(t, p, "host.heartbeat", float64(beat+1))
		run(p, 0.4)
	}
	if got := read(t, p, "plc.aborted"); got != 0 {
		t.Fatal("a beating host was taken for dead")
	}
	run(p, 0.2)
	if got := read(t, p, "plc.aborted"); got != 1 {
		t.Fatal("a silent host was not missed")
	}
	run(p, 4)
	if got := p.Truth()["p1"]; got > 103e3 || read(t, p, "valve") != 0 {
		t.Errorf("not vented: p1 %v, valve %v", got, read(t, p, "valve"))
	}
}

func benchmarkStep(b *testing.B, kind string) {
	b.Helper()
	p := newPlant(b, kind, 1, map[string]float64{"plc.auto": 1, "plc.rest": 0})
	b.ReportAllocs()
	for b.Loop() {
		p.Step()
	}
	b.ReportMetric(100*float64(b.Elapsed())/float64(b.N)/float64(p.Dt()), "%core")
}

func BenchmarkFlowBenchStep(b *testing.B)  { benchmarkStep(b, "flow-bench") }
func BenchmarkValveStandStep(b *testing.B) { benchmarkStep(b, "valve-stand") }
