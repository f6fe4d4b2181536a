package configs_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// mutation is one mistake in flow-bench.yaml. Where from is "A|B" the two
// texts are exchanged.
type mutation struct {
	kind     string
	channel  string // whose line is changed, or the device
	from, to string
}

func mutations() []mutation {
	return []mutation{
		{"address", "p1", "holding: 0x0002", "holding: 0x0003"},
		{"address", "p1", "holding: 0x0002", "holding: 0x0004"},
		{"address", "qm", "holding: 0xA100", "holding: 0xA101"},
		{"address", "qm", "holding: 0xA100", "holding: 0xA118"},
		{"address", "p2", "input: 0x0008", "input: 0x0009"},
		{"address", "p2", "input: 0x0008", "input: 0x000C"},
		{"address", "p_supply", "input: 8", "input: 9"},
		{"address", "p_atm", "input: 10", "input: 11"},
		{"address", "step", "holding: 2", "holding: 3"},
		{"address", "heartbeat", "input: 0", "input: 1"},
		{"address", "running", "discrete: 0", "discrete: 1"},
		{"address", "valve", "coil: 2", "coil: 3"},
		{"table", "p1", "holding: 0x0002", "input: 0x0002"},
		{"table", "running", "discrete: 0", "coil: 0"},
		{"base", "plc", "address_base: 0", "address_base: 1"},
		{"base", "pt", "model: keller-33x,", "model: keller-33x, address_base: 1,"},
		{"order", "p1", "order: ABCD", "order: CDAB"},
		{"order", "T1", "order: ABCD", "order: DCBA"},
		{"order", "p_supply", "order: CDAB", "order: ABCD"},
		{"order", "runs", "order: CDAB", "order: ABCD"},
		{"type", "qm", "type: float32", "type: int32"},
		{"type", "p_supply", "type: int32", "type: float32"},
		{"type", "p_atm", "type: uint16", "type: int16"},
		{"type", "p_set", "type: uint16", "type: bcd16"},
		{"scale", "p_supply", "scale: 0.001", "scale: 0.01"},
		{"scale", "p_atm", "offset: 500", "offset: 0"},
		{"scale", "p_atm", "scale: 0.01", "scale: 0.1"},
		{"scale", "throttle", "scale: 0.01", "scale: 0.1"},
		{"scale", "p1", "order: ABCD,", "order: ABCD, scale: 0.1,"},
		{"unit", "p1", "register_unit: bar_a", "register_unit: MPa_a"},
		{"unit", "qm", "register_unit: L/min_0C", "register_unit: L/min_ANR"},
		{"unit", "T1", "unit: degC", "unit: K"},
		{"unit", "p_set", "unit: kPa_a", "unit: hPa_a"},
		{"unit", "throttle_position", `unit: "%"`, `unit: "1"`},
		{"gauge", "p1", "unit: kPa_a", "unit: kPa_g"},
		{"gauge", "p2", "unit: kPa_a", "unit: kPa_g"},
		{"gauge", "p_supply", "unit: bar_g", "unit: bar_a"},
		{"gauge", "p_set", "unit: kPa_a", "unit: kPa_g"},
		{"exchanged", "p2", "input: 0x0008|input: 0x000A", ""},
		{"exchanged", "step", "holding: 2|holding: 3", ""},
		{"exchanged", "done", "discrete: 1|discrete: 2", ""},
		{"exchanged", "start", "coil: 0|coil: 1", ""},
		{"unit id", "io", "unit: 1,", "unit: 2,"},
		{"unit id", "mfm", "unit: 3,", "unit: 5,"},
		{"unit id", "pt", "unit: 5,", "unit: 6,"},
	}
}

// apply returns the rig's text with the mutation, and the changed line.
func (m *mutation) apply(t *testing.T, text string) (changed string, line int) {
	t.Helper()
	lines := strings.Split(text, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  "+m.channel+": {") })
	if at < 0 {
		t.Fatalf("no line of %s", m.channel)
	}
	if a, b, both := strings.Cut(m.from, "|"); both {
		other := slices.IndexFunc(lines, func(l string) bool {
			return strings.Contains(l, "device: "+deviceOf(lines[at])+",") && strings.Contains(l, b+",") || strings.Contains(l, "device: "+deviceOf(lines[at])+",") && strings.Contains(l, b+" ")
		})
		if other < 0 || !strings.Contains(lines[at], a) {
			t.Fatalf("%s: nothing to exchange", m.channel)
		}
		lines[at], lines[other] = strings.Replace(lines[at], a, b, 1), strings.Replace(lines[other], b, a, 1)
		return strings.Join(lines, "\n"), at + 1
	}
	if strings.Count(lines[at], " "+m.from) != 1 {
		t.Fatalf("%q is not once in %q", m.from, lines[at])
	}
	lines[at] = strings.Replace(lines[at], " "+m.from, " "+m.to, 1)
	return strings.Join(lines, "\n"), at + 1
}

func deviceOf(line string) string {
	_, rest, _ := strings.Cut(line, "device: ")
	name, _, _ := strings.Cut(rest, ",")
	return name
}

// expected returns what a channel in a unit must show for a plant's figure in
// SI; the factors are this test's own.
func expected(unit string, si, atmosphere float64) float64 {
	if strings.HasSuffix(unit, "_g") {
		si -= atmosphere
	}
	base, _, _ := strings.Cut(unit, "_")
	switch {
	case strings.HasSuffix(unit, "_ANR"):
		return si / 1.185 * 60000
	case unit == "degC":
		return si - 273.15
	case unit == "%":
		return si * 100
	}
	return si / map[string]float64{"Pa": 1, "hPa": 100, "kPa": 1e3, "MPa": 1e6, "bar": 1e5, "K": 1, "1": 1, "": 1, "count": 1}[base]
}

// allowance is how far a channel may be from the truth, SI: resolution of its
// register and of the sensor.
func allowance(channel string) float64 {
	switch channel {
	case "p1", "p2", "p_set", "p_supply":
		return 200
	case "p_atm":
		return 30
	case "qm":
		return 2e-4
	case "T1":
		return 0.5
	case "throttle", "throttle_position":
		return 0.005
	case "heartbeat":
		return 1
	}
	return 1e-9
}

// twinRun plays a whole test, an abort and setpoints in virtual time, polls
// everything and returns the share of wrong samples of each channel.
func twinRun(t *testing.T, rig *configs.Rig) map[string]float64 {
	t.Helper()
	wrong := map[string]float64{}
	synctest.Test(t, func(t *testing.T) {
		options, err := rig.Simulator()
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(options.Params, map[string]float64{"sensors.ideal": 1, "plc.auto": 0, "host.timeout": 0, "dwell": 0.3, "points": 12, "dut.place": 7})
		for i := range options.Buses {
			options.Buses[i].Listen = "none"
		}
		twin, err := simulator.Open(t.Context(), options, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- twin.Run(ctx) }()
		play(t, rig, twin, wrong)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return wrong
}

// polled is a group with what it needs to be read.
type polled struct {
	bus    *modbus.Bus
	group  *acquisition.Group
	dec    *acquisition.Decoder
	scan   *acquisition.Scan
	values []float64
	q      []acquisition.Quality
}

func openBuses(t *testing.T, rig *configs.Rig, twin *simulator.Twin) []*polled {
	t.Helper()
	buses, err := rig.Modbus()
	if err != nil {
		t.Fatal(err)
	}
	var all []*polled
	for _, o := range buses {
		o.Dial = func(ctx context.Context) (io.ReadWriteCloser, error) { return twin.Dial(ctx, o.Name) }
		b, err := modbus.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, g := range b.Groups() {
			dec, err := acquisition.NewDecoder(g, configs.Compile)
			if err != nil {
				t.Fatal(err)
			}
			n := len(g.Channels)
			all = append(all, &polled{b, g, dec, acquisition.NewScan(g), make([]float64, n), make([]acquisition.Quality, n)})
		}
	}
	return all
}

func play(t *testing.T, rig *configs.Rig, twin *simulator.Twin, wrong map[string]float64) {
	t.Helper()
	truth := rig.Truth()
	groups := openBuses(t, rig, twin)
	act := func(signal string, v float64) {
		if err := twin.Actuate(signal, v); err != nil {
			t.Fatal(err)
		}
	}
	const steps = 200 // of 200 ms
	for n := range steps {
		switch n {
		case 5:
			act("plc.start", 1)
		case 25:
			act("plc.start", 0)
		case 110: // the test is over
			act("p_set", 432.1e3)
			act("throttle", 0.37)
			act("valve", 1)
			act("host.heartbeat", 4711)
		case 130:
			act("plc.start", 1)
		case 135:
			act("plc.start", 0)
		case 150:
			act("plc.abort", 1)
		case 170:
			act("plc.abort", 0)
		}
		time.Sleep(200 * time.Millisecond)
		for _, p := range groups {
			p.poll(t, twin, truth, wrong, 1.0/steps)
		}
	}
	for _, p := range groups {
		_ = p.bus.Close()
	}
}

// poll reads a group and counts what is not the truth before or after.
func (p *polled) poll(t *testing.T, twin *simulator.Twin, truth map[string]string, wrong map[string]float64, weight float64) {
	t.Helper()
	before := twin.Truth()
	p.scan.Reset(p.group)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.bus.Poll(ctx, p.group, 0, p.scan); err != nil {
		_ = p.bus.Close()
		if err := p.bus.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	after := twin.Truth()
	p.dec.Decode(p.scan.Words, p.scan.Numbers, p.scan.Quality, p.values, p.q)
	for i := range p.group.Channels {
		c := &p.group.Channels[i]
		signal, ok := truth[c.Name]
		if !ok {
			continue
		}
		lo, hi := before[signal], after[signal]
		if _, known := before[signal]; !known {
			t.Fatalf("no truth of %s", signal)
		}
		if lo > hi {
			lo, hi = hi, lo
		}
		a := allowance(c.Name)
		low, high := expected(c.Unit, lo-a, before["p_atm"]), expected(c.Unit, hi+a, before["p_atm"])
		if p.q[i].Class() == acquisition.ClassBad || p.values[i] < low || p.values[i] > high || math.IsNaN(p.values[i]) {
			wrong[c.Name] += weight
		}
	}
}

// tolerated is the share of samples that may be off: edges that fall between
// two looks at the truth.
const tolerated = 0.02

// F095: of single mistakes in the leading rig file none passes with wrong
// figures; the file's check or a comparison with the twin's truth names the
// line and the channel.
func TestF095MutationsOfFlowBenchTurnRed(t *testing.T) {
	text := bundledText(t, "rigs/flow-bench.yaml")
	rigs, problems := configs.Load(written(t, "flow-bench.yaml", text))
	if problems != nil {
		t.Fatal(problems)
	}
	for c, share := range twinRun(t, rigs[0]) {
		if share > tolerated {
			t.Errorf("unchanged file: channel %s is off in %.1f %% of the samples", c, 100*share)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	all := mutations()
	byCheck, byTwin := 0, 0
	for _, m := range all {
		changed, line := m.apply(t, text)
		name := fmt.Sprintf("%s of %s: %s -> %s", m.kind, m.channel, m.from, m.to)
		file := written(t, "flow-bench.yaml", changed)
		if _, problems := configs.Check(file); problems != nil {
			if !namesPlace(problems, line, m.channel) {
				t.Errorf("%s: red, but without line %d and %s:\n%s", name, line, m.channel, problems.Text(configs.English))
			}
			byCheck++
			continue
		}
		rigs, problems := configs.Load(file)
		if problems != nil {
			t.Fatal(problems)
		}
		red := map[string]int{}
		for c, share := range twinRun(t, rigs[0]) {
			if share > tolerated {
				red[c] = rigs[0].Channel(c).Place.Line
			}
		}
		if !namesChannel(rigs[0], red, line, m.channel) {
			t.Errorf("%s: line %d passes; red are %v", name, line, red)
			continue
		}
		byTwin++
	}
	t.Logf("%d mutations: %d red by check, %d by the twin", len(all), byCheck, byTwin)
	if byCheck+byTwin < 38 {
		t.Errorf("%d of %d mutations are red", byCheck+byTwin, len(all))
	}
}

func namesPlace(problems configs.Problems, line int, subject string) bool {
	return slices.ContainsFunc(problems, func(p configs.Problem) bool {
		elsewhere := strings.Contains(p.What+p.Do, fmt.Sprintf("%s:%d:", p.File, line)) // said beside what it contradicts
		return p.Line == line && strings.HasSuffix(p.Where, " "+subject) || elsewhere
	})
}

// namesChannel says whether the changed channel is among the red ones with its
// line; for a changed device, whether all of its channels are.
func namesChannel(r *configs.Rig, red map[string]int, line int, name string) bool {
	if r.Channel(name) != nil {
		return red[name] == line
	}
	found := false
	for i := range r.Channels {
		if c := &r.Channels[i]; c.Device == name {
			found = true
			if _, ok := red[c.Name]; !ok {
				return false
			}
		}
	}
	return found
}
