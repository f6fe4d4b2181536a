package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

// shifting is the time of ISO 12238 from the burst of an outlet, s: from the coil's edge to the first of 5 samples in a row
// beyond 10 % of p1-p_atm from the mean before the edge, interpolated.
func shifting(t *testing.T, outlet, coil simulator.Burst, supply float64) (seconds float64, rising bool) {
	t.Helper()
	if outlet.Step != coil.Step || outlet.Edge != coil.Edge || len(outlet.Values) != len(coil.Values) {
		t.Fatalf("bursts of one edge differ: %d+%d, %d+%d", outlet.Step, outlet.Edge, coil.Step, coil.Edge)
	}
	if e := coil.Edge; coil.Values[e] == coil.Values[e-1] {
		t.Fatalf("no edge of the coil at sample %d of burst %d", e, coil.Seq)
	}
	base := 0.0
	for _, v := range outlet.Values[:outlet.Edge] {
		base += v / float64(outlet.Edge)
	}
	rising = outlet.Values[len(outlet.Values)-1] > base
	sign := 1.0
	if !rising {
		sign = -1
	}
	beyond := func(i int) float64 { return sign*(outlet.Values[i]-base) - 0.1*supply }
	for i := outlet.Edge; i+5 <= len(outlet.Values); i++ {
		held := true
		for k := range 5 {
			held = held && beyond(i+k) > 0
		}
		if held {
			share := beyond(i-1) / (beyond(i-1) - beyond(i))
			return (float64(i-1-outlet.Edge) + share) * outlet.Dt.Seconds(), rising
		}
	}
	t.Fatalf("outlet pressure never crosses in burst %d", outlet.Seq)
	return 0, false
}

func bursts(t *testing.T, p *simulator.Plant, name string, after uint64) []simulator.Burst {
	t.Helper()
	b, err := p.Burst(name, after)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestValveStandTracesAgreeWithTheTruth judges every burst of the measured shifts as a tester would and compares with
// the times that the plant saw on the true pressures.
func TestValveStandTracesAgreeWithTheTruth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		ideal, within float64 // s for one shift
		mean          float64 // s for the mean
		seed          uint64
	}{
		{"ideal sensors", 1, 0.005e-3, 0.002e-3, 1},
		{"sensors with lag and noise", 0, 0.25e-3, 0.1e-3, 2},
		{"another item", 0, 0.25e-3, 0.1e-3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, "valve-stand", c.seed, map[string]float64{
				"sensors.ideal": c.ideal, "fill": 0.1, "stabilise": 0, "measure": 0.1,
			})
			actuate(t, p, "plc.start", 1)
			runUntil(t, p, "plc.step", 3, 10)
			var seen uint64
			if kept := bursts(t, p, "coil", 0); len(kept) > 0 {
				seen = kept[len(kept)-1].Seq
			}
			sums, n := map[string]float64{}, 0.0
			for read(t, p, "plc.step") == 3 {
				run(p, 0.01)
				for i, coil := range bursts(t, p, "coil", seen) {
					x := p.Truth()
					supply := x["p1"] - x["p_atm"]
					for port, name := range map[string]string{"2": "p2", "4": "p4"} {
						got, rising := shifting(t, bursts(t, p, name, seen)[i], coil, supply)
						kind := map[bool]string{true: "shift.fill.", false: "shift.exhaust."}[rising] + port
						if d := got - x[kind+".last"]; math.Abs(d) > c.within {
							t.Errorf("%s of burst %d: %v s, truth %v s", kind, coil.Seq, got, x[kind+".last"])
						}
						sums[kind] += got
						n += 0.25
					}
				}
				if kept := bursts(t, p, "coil", seen); len(kept) > 0 {
					seen = kept[len(kept)-1].Seq
				}
			}
			x := p.Truth()
			if n != 10 || len(sums) != 4 {
				t.Fatalf("%v shifts of each of %d kinds, want 10 of 4", n, len(sums))
			}
			for kind, sum := range sums {
				if x[kind+".n"] != 10 {
					t.Errorf("%s: truth has %v shifts, want 10", kind, x[kind+".n"])
				}
				if d := sum/n - x[kind+".mean"]; math.Abs(d) > c.mean {
					t.Errorf("%s: mean %v s, truth %v s", kind, sum/n, x[kind+".mean"])
				}
			}
			if on := x["shift.fill.4.mean"]; on < x["dead.on"] || on > x["dead.on"]+0.012 {
				t.Errorf("on after %v s with a dead time of %v s", on, x["dead.on"])
			}
		})
	}
}

// decay runs the whole program and returns the leakage from the tank's sensors, kg/s, beside the true mean one.
func decay(t *testing.T, p *simulator.Plant) (got, want float64) {
	t.Helper()
	actuate(t, p, "plc.start", 1)
	runUntil(t, p, "plc.step", 7, 60)
	var n, st, sy, stt, sty, leak float64
	for read(t, p, "plc.record") == 1 {
		time, y := p.Truth()["t"], read(t, p, "p_tank")/read(t, p, "T_tank")
		n, st, sy, stt, sty = n+1, st+time, sy+y, stt+time*time, sty+time*y
		leak += p.Truth()["q_leak"]
		run(p, 0.1)
	}
	runUntil(t, p, "plc.done", 1, 10)
	slope := (n*sty - st*sy) / (n*stt - st*st)
	return -p.Truth()["V.test"] / simulator.R * slope, leak / n
}

func TestValveStandDecayAgreesWithTheTruth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		params := map[string]float64{"cycles": 1, "conditioning": 0, "sensors.ideal": 1, "measure": 15}
		p := newPlant(t, "valve-stand", seed, params)
		got, want := decay(t, p)
		near(t, "leakage", got, want, 0.02)
		x := p.Truth()
		if p.Truth()["p_tank"] > 110e3 {
			t.Errorf("not vented: %v", x["p_tank"])
		}
		// The measured pressure lies a little below the one that the leakage is stated for.
		if want > x["leak"] || want < 0.8*x["leak"] {
			t.Errorf("true leakage %v, stated %v", want, x["leak"])
		}
		params["sensors.ideal"] = 0
		got, want = decay(t, newPlant(t, "valve-stand", seed, params))
		if math.Abs(got-want) > 0.02*want+2e-9 {
			t.Errorf("seed %d: leakage %v from the sensors, truth %v", seed, got, want)
		}
	}
}

func TestValveStandPressureHoldsWhileFilling(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "valve-stand", 5, map[string]float64{"cycles": 3})
	actuate(t, p, "plc.start", 1)
	runUntil(t, p, "plc.step", 3, 10)
	before, least := p.Truth()["p1"], math.Inf(1)
	for read(t, p, "plc.step") == 3 {
		p.Step()
		if p.Steps()%5 == 0 {
			least = min(least, p.Truth()["p1"])
		}
	}
	if tank := p.Truth()["p_tank"]; math.Abs(tank-p.Truth()["p_atm"]) > 500 {
		t.Errorf("the tank is at %v Pa during the shifts, it should be shut off", tank)
	}
	if dip := (before - least) / (before - p.Truth()["p_atm"]); dip > 0.03 || dip < 1e-4 {
		t.Errorf("p1 dips by %v of the supply, want less than 3 %%", dip)
	}
}

func TestValveStandFaultsShow(t *testing.T) {
	t.Parallel()
	t.Run("leak", func(t *testing.T) {
		t.Parallel()
		p := newPlant(t, "valve-stand", 1, map[string]float64{"cycles": 1, "stabilise": 15, "measure": 10})
		breakPlant(t, p, "leak", true)
		if got, want := decay(t, p); got < 1e-6 || math.Abs(got-want) > 0.05*want {
			t.Errorf("leakage %v, truth %v", got, want)
		}
	})
	t.Run("sticking_spool", func(t *testing.T) {
		t.Parallel()
		healthy := newPlant(t, "valve-stand", 1, nil)
		sticking := newPlant(t, "valve-stand", 1, nil)
		breakPlant(t, sticking, "sticking_spool", true)
		for _, p := range []*simulator.Plant{healthy, sticking} {
			actuate(t, p, "plc.start", 1)
			runUntil(t, p, "plc.step", 4, 20)
		}
		a, b := healthy.Truth(), sticking.Truth()
		if b["shift.fill.4.mean"] < a["shift.fill.4.mean"]+0.015 || b["shift.fill.4.std"] < 0.1*b["shift.fill.4.mean"] {
			t.Errorf("sticking: %v s ± %v, healthy %v s ± %v",
				b["shift.fill.4.mean"], b["shift.fill.4.std"], a["shift.fill.4.mean"], a["shift.fill.4.std"])
		}
		if a["shift.fill.4.std"] > 0.1*a["shift.fill.4.mean"] {
			t.Errorf("healthy: %v s ± %v", a["shift.fill.4.mean"], a["shift.fill.4.std"])
		}
	})
	t.Run("low coil voltage", func(t *testing.T) {
		t.Parallel()
		var on [2]float64
		for i, volts := range []float64{24, 20} {
			p := newPlant(t, "valve-stand", 1, map[string]float64{"coil.voltage": volts})
			actuate(t, p, "plc.start", 1)
			runUntil(t, p, "plc.step", 4, 20)
			on[i] = p.Truth()["shift.fill.4.mean"]
		}
		if d := on[1] - on[0]; math.Abs(d-1.6e-3) > 0.1e-3 {
			t.Errorf("4 V less make it %v s slower, want 1.6 ms", d)
		}
	})
}

func TestBurstsOfEdgesByHand(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "valve-stand", 1, nil)
	run(p, 0.005)
	actuate(t, p, "coil", 1)
	if got := read(t, p, "coil"); got != 1 {
		t.Errorf("coil reads back %v", got)
	}
	run(p, 0.05) // a second edge before the first burst is complete
	actuate(t, p, "coil", 0)
	run(p, 0.2)
	b := bursts(t, p, "coil", 0)
	if len(b) != 2 {
		t.Fatalf("%d bursts, want 2", len(b))
	}
	first, second := b[0], b[1]
	// Commanded after step 50, the coil switches at the end of step 51; there is no history before step 1.
	if first.Seq != 1 || first.Step != 1 || first.Edge != 50 || len(first.Values) != 50+1000 {
		t.Errorf("first burst: number %d, step %d, edge %d, %d samples", first.Seq, first.Step, first.Edge, len(first.Values))
	}
	if second.Seq != 2 || second.Step+uint64(second.Edge) != 551 || second.Edge != 200 || len(second.Values) != 1200 {
		t.Errorf("second burst: number %d, step %d, edge %d, %d samples", second.Seq, second.Step, second.Edge, len(second.Values))
	}
	for i, v := range first.Values {
		if want := map[bool]float64{true: 1}[i >= 50 && i < 550]; v != want {
			t.Fatalf("coil is %v at sample %d", v, i)
		}
	}
	if got := bursts(t, p, "coil", 1); len(got) != 1 || got[0].Seq != 2 {
		t.Errorf("bursts after number 1: %d", len(got))
	}
	if got := bursts(t, p, "coil", 2); len(got) != 0 {
		t.Errorf("bursts after number 2: %d", len(got))
	}
	if _, err := p.Burst("p_tank", 0); err == nil {
		t.Error("p_tank has bursts")
	}
}

func TestContinuousBurstsLeaveNoHole(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "valve-stand", 1, map[string]float64{"burst.continuous": 1, "burst.after": 0.05})
	actuate(t, p, "coil", 1)
	var last simulator.Burst
	total := 0
	for range 40 {
		run(p, 0.05)
		for _, b := range bursts(t, p, "p2", last.Seq) {
			if b.Seq != last.Seq+1 || b.Step != last.Step+uint64(len(last.Values))+map[bool]uint64{true: 1}[last.Seq == 0] || b.Edge != -1 {
				t.Fatalf("burst %d begins at step %d with edge %d, after %d at %d with %d", b.Seq, b.Step, b.Edge, last.Seq, last.Step, len(last.Values))
			}
			last = b
			total += len(b.Values)
		}
	}
	if total != 20_000 {
		t.Errorf("%d samples in 2 s, want 20000", total)
	}
}

func TestBurstSamplesAreWhatTheSensorSaid(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "valve-stand", 9, nil)
	actuate(t, p, "supply_valve", 1)
	actuate(t, p, "p_set", 600e3)
	run(p, 0.1)
	actuate(t, p, "coil", 1)
	said := map[uint64]float64{}
	for range 1500 {
		p.Step()
		said[p.Steps()] = read(t, p, "p4")
	}
	b := bursts(t, p, "p4", 0)[0]
	compared := 0
	for i, v := range b.Values {
		if want, ok := said[b.Step+uint64(i)]; ok {
			compared++
			if v != want {
				t.Fatalf("sample of step %d is %v, the sensor said %v", b.Step+uint64(i), v, want)
			}
		}
	}
	if compared < 999 {
		t.Errorf("only %d samples compared", compared)
	}
}

func TestLateReadersFindTheLastBursts(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "valve-stand", 1, map[string]float64{"burst.after": 0.001, "burst.before": 0.001})
	for k := range 40 {
		actuate(t, p, "coil", float64((k+1)%2))
		run(p, 0.002)
	}
	if b := bursts(t, p, "p1", 0); len(b) != 32 || b[0].Seq != 9 || b[31].Seq != 40 {
		t.Errorf("%d bursts kept", len(b))
	}
}
