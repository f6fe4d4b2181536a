package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

// TestFlowBenchAgreesWithTheLaw holds the bench at throttle positions of its own choice and compares the flow into it with
// the law of ISO 6358-1 at the true pressures and temperature.
func TestFlowBenchAgreesWithTheLaw(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		p := newPlant(t, "flow-bench", seed, map[string]float64{"leak": 0})
		actuate(t, p, "valve", 1)
		actuate(t, p, "p_set", 740e3)
		ratios := 0
		for _, position := range []float64{1, 0.5, 0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.09} {
			actuate(t, p, "throttle", position)
			run(p, 5)
			for range 5 {
				run(p, 0.5)
				x := p.Truth()
				want := law(x["C"], x["b"], x["m"], x["p1"], x["T1"], x["p2"])
				near(t, "flow", x["qm"], want, 5e-4)
				near(t, "flow out of the throttle", x["q_throttle"], x["qm"], 5e-4)
				if r := x["p2"] / x["p1"]; r > 0.995 {
					t.Errorf("seed %d: throttle at %v gives a ratio of %v", seed, position, r)
				} else if r > x["b"] {
					ratios++
				}
			}
		}
		if ratios < 10 {
			t.Errorf("seed %d: only %d of 50 points are subsonic", seed, ratios)
		}
	}
}

// point is the mean of what the sensors delivered while the PLC said that the figures stand.
type point struct{ p1, p2, t1, qm, n float64 }

// sweep runs the PLC's program and returns the leak check (index 0) and the points.
func sweep(t *testing.T, p *simulator.Plant, limit float64) map[int]point {
	t.Helper()
	points := map[int]point{}
	actuate(t, p, "plc.start", 1)
	last := 0.0
	for range int(limit / 0.01) {
		run(p, 0.01)
		step := read(t, p, "plc.step")
		if step < last && step != 0 {
			t.Errorf("plc.step went from %v to %v", last, step)
		}
		last = step
		if read(t, p, "plc.done") == 1 {
			return points
		}
		if read(t, p, "plc.record") == 0 || step < 4 {
			continue
		}
		k := int(read(t, p, "plc.point"))
		q := points[k]
		q.n++
		q.p1 += (read(t, p, "p1") - q.p1) / q.n
		q.p2 += (read(t, p, "p2") - q.p2) / q.n
		q.t1 += (read(t, p, "T1") - q.t1) / q.n
		q.qm += (read(t, p, "qm") - q.qm) / q.n
		points[k] = q
	}
	t.Fatalf("the program is not done after %v s: step %v", limit, last)
	return nil
}

// conductance of a point, m3/(s·Pa).
func (q point) conductance() float64 { return q.qm / (1.185 * q.p1) * math.Sqrt(q.t1/293.15) }

func TestFlowBenchProgram(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		p := newPlant(t, "flow-bench", seed, nil)
		points := sweep(t, p, 90)
		x := p.Truth()
		if len(points) != 14 {
			t.Fatalf("seed %d: %d points and leak check, want 14", seed, len(points))
		}
		if points[0].qm != 0 {
			t.Errorf("seed %d: flow with the throttle shut %v", seed, points[0].qm)
		}
		for k := 1; k <= 13; k++ {
			q := points[k]
			if q.n < 150 {
				t.Errorf("seed %d: point %d has %v readings", seed, k, q.n)
			}
			if k > 1 && q.p2/q.p1 <= points[k-1].p2/points[k-1].p1 {
				t.Errorf("seed %d: ratio does not rise at point %d", seed, k)
			}
			near(t, "p1", q.p1, 730e3, 0.003)
		}
		// The open positions are choked, and what the sensors say gives C within their errors.
		near(t, "C", (points[1].conductance()+points[2].conductance())/2, x["C"], 0.01)
		if r := points[2].p2 / points[2].p1; r > 0.2 {
			t.Errorf("seed %d: second ratio %v is not below any b", seed, r)
		}
		near(t, "last ratio", points[13].p2/points[13].p1, 0.97, 0.005)
	}
}

func TestFlowBenchSweepsBack(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, map[string]float64{"reverse": 1, "dwell": 2, "points": 12})
	points := sweep(t, p, 70)
	if len(points) != 24 {
		t.Fatalf("%d points and leak check, want 24", len(points))
	}
	for k := 1; k < 12; k++ {
		up, down := points[k], points[24-k]
		near(t, "ratio on the way back", down.p2/down.p1, up.p2/up.p1, 0.02)
	}
}

func TestFlowBenchAborts(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, map[string]float64{"plc.auto": 1, "plc.rest": 0.5})
	runUntil(t, p, "plc.point", 3, 60)
	actuate(t, p, "plc.abort", 1)
	p.Step()
	if read(t, p, "plc.step") != 99 || read(t, p, "plc.aborted") != 1 || read(t, p, "plc.running") != 1 {
		t.Errorf("after the abort: step %v", read(t, p, "plc.step"))
	}
	run(p, 4)
	x := p.Truth()
	if x["plc.running"] != 0 || x["plc.done"] != 0 || x["valve"] != 0 || x["p1"] > 103e3 {
		t.Errorf("not at rest after the abort: running %v, done %v, valve %v, p1 %v", x["plc.running"], x["plc.done"], x["valve"], x["p1"])
	}
	run(p, 5)
	if read(t, p, "plc.running") != 0 {
		t.Error("started by itself after an abort")
	}
	actuate(t, p, "plc.start", 1)
	run(p, 0.01)
	if read(t, p, "plc.running") != 1 || read(t, p, "plc.aborted") != 0 {
		t.Error("did not start again")
	}
}

func TestAbortBeatsAStartOfTheSameInstant(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, nil)
	actuate(t, p, "plc.start", 1)
	actuate(t, p, "plc.abort", 1)
	runUntil(t, p, "plc.running", 1, 0.1)
	runUntil(t, p, "plc.running", 0, 10)
	run(p, 1)
	if x := p.Truth(); x["plc.running"] != 0 || x["plc.runs"] != 0 || x["plc.aborted"] != 1 {
		t.Errorf("running %v, %v programs, aborted %v", x["plc.running"], x["plc.runs"], x["plc.aborted"])
	}
}

func TestFlowBenchRepeatsByItself(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, map[string]float64{"plc.auto": 1, "plc.rest": 0.5, "dwell": 0.5})
	runUntil(t, p, "plc.done", 1, 30)
	runUntil(t, p, "plc.runs", 2, 1)
}

func TestFlowBenchNeedsATestItem(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, map[string]float64{"dut.fitted": 0})
	actuate(t, p, "plc.start", 1)
	run(p, 1)
	if read(t, p, "plc.running") != 0 || read(t, p, "plc.aborted") != 1 || read(t, p, "dut.present") != 0 {
		t.Error("a program runs without a test item")
	}
}

func TestFlowBenchFaultsShow(t *testing.T) {
	t.Parallel()
	params := map[string]float64{"dwell": 2}
	t.Run("throttle_shut", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t, "flow-bench", 2, params)
		breakPlant(t, p, "throttle_shut", true)
		for k, q := range sweep(t, p, 60) {
			if q.qm != 0 || q.p2 < 0.99*q.p1 {
				t.Errorf("point %d: flow %v, ratio %v", k, q.qm, q.p2/q.p1)
			}
		}
	})
	t.Run("leak", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t, "flow-bench", 2, params)
		breakPlant(t, p, "leak", true)
		points := sweep(t, p, 60)
		near(t, "flow with the throttle shut", points[0].qm, p.Truth()["fault.leak"], 0.1)
		if c := p.Truth()["C"]; points[1].conductance() < 1.02*c {
			t.Errorf("conductance %v, C %v", points[1].conductance(), c)
		}
	})
	t.Run("sticking_spool", func(t *testing.T) {
		t.Parallel()
		for seed := range uint64(5) {
			p := newPlant(t, "flow-bench", seed, params)
			breakPlant(t, p, "sticking_spool", true)
			points := sweep(t, p, 60)
			a, b, c := points[1].conductance(), points[2].conductance(), points[3].conductance()
			if spread := (max(a, b, c) - min(a, b, c)) / p.Truth()["C"]; spread < 0.02 {
				t.Errorf("seed %d: choked conductances differ by %v of C only", seed, spread)
			}
		}
	})
	t.Run("gauge sensor", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t, "flow-bench", 2, map[string]float64{"dwell": 2, "p1.gauge": 1})
		points := sweep(t, p, 60)
		near(t, "p1", points[1].p1, 730e3-p.Truth()["p_atm"], 0.003)
		near(t, "conductance", points[1].conductance(), p.Truth()["C"]*730/(730-p.Truth()["p_atm"]/1e3), 0.01)
	})
	t.Run("compressor_off", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t, "flow-bench", 2, params)
		breakPlant(t, p, "compressor_off", true)
		points := sweep(t, p, 60)
		if x := p.Truth(); x["p_supply"] > 800e3 {
			t.Errorf("supply at %v Pa, p1 %v at the end", x["p_supply"], points[13].p1)
		}
	})
}
