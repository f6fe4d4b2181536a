package verification_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
	"pneudaq/verification"
)

// column makes a channel of samples dt seconds apart.
func column(name, unit, accuracy string, dt float64, y []float64) *verification.Channel {
	c := &verification.Channel{Name: name, Unit: unit, Accuracy: accuracy, Values: y, Times: make([]float64, len(y))}
	for i := range y {
		c.Times[i] = float64(i) * dt
	}
	return c
}

func TestStepResponse(t *testing.T) {
	const dt, tau, edge = 1e-3, 0.05, 0.1
	var signal, p []float64
	for i := range 1000 {
		at := float64(i) * dt
		s, y := 2.0, 300e3
		if at >= edge {
			s, y = 8, 300e3+200e3*(1-math.Exp(-(at-edge)/tau))
		}
		signal, p = append(signal, s), append(p, y/1e3)
	}
	d := &verification.Dataset{Channels: []*verification.Channel{column("signal", "V", "", dt, signal), column("p2", "kPa_a", "0.5 kPa", dt, p)}}
	r, err := verification.Evaluate("iso10094-2.step", d, verification.Options{})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	for name, want := range map[string]float64{"t63": tau * 1e3, "t90": tau * math.Log(10) * 1e3, "rise": tau * math.Log(9) * 1e3, "settling": tau * math.Log(20) * 1e3} {
		f := r.Figure(name)
		if u := 1.5; math.Abs(f.Value-want) > u {
			t.Errorf("%s %s, want %g", name, f.Text, want)
		}
		if f.U == nil || *f.U <= 0 {
			t.Errorf("%s has no uncertainty", name)
		}
	}
	wellFormed(t, r.Plots[0].SVG())
	d.Channels[0].Values = make([]float64, len(signal))
	if r, err = verification.Evaluate("iso10094-2.step", d, verification.Options{}); err != nil || r.Refusal == nil || r.Refusal.Code != "NO_STEP" {
		t.Errorf("without a step: %v %+v", err, r.Refusal)
	}
}

func TestTankDischarge(t *testing.T) {
	const c, b, v, dt = 2e-8, 0.35, 5e-3, 0.01
	var n simulator.Network
	tank := n.AddVolume(simulator.VolumeOptions{V: v, P: 700e3, T: 293.15, HA: 2000, Wall: 293.15})
	outside := n.AddBoundary(101.3e3, 293.15)
	n.Connect(simulator.Path{From: tank, To: outside, Open: 1, Orifice: simulator.Orifice{C: c, B: b, M: 0.5, Linear: 0.99999}})
	var p, temperature, ambient []float64
	for range 1500 {
		p, temperature, ambient = append(p, n.Pressure(tank)/1e3), append(temperature, 293.15), append(ambient, 1013)
		for range 10 {
			n.Step(dt / 10)
		}
	}
	d := &verification.Dataset{Channels: []*verification.Channel{
		column("p_tank", "kPa_a", "0.1 % rdg + 0.2 kPa", dt, p), column("T_tank", "K", "0.2 K_delta", dt, temperature), column("p_atm", "hPa_a", "50 Pa", dt, ambient),
	}}
	o := verification.Options{Parameters: map[string]string{"volume": "5 L ± 0.5 %"}}
	r, err := verification.Evaluate("iso6358-2.discharge", d, o)
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	cf, bf := r.Figure("C"), r.Figure("b")
	if math.Abs(cf.Value-c*1e8) > 0.01 || math.Abs(cf.Value-c*1e8) > *cf.U || math.Abs(bf.Value-b) > 0.01 {
		t.Errorf("C %s, b %s; truth %g, %g", cf.Text, bf.Text, c*1e8, b)
	}
	// The volume enters C in proportion: 0.5 % as a half width is 0.29 % of C.
	for _, l := range cf.Budget {
		if want := cf.Value * 0.005 / math.Sqrt(3); l.Name == "volume" && math.Abs(l.U-want) > 0.02*want {
			t.Errorf("the volume gives %g to u(C), want %g", l.U, want)
		}
	}
	d.Channel("p_atm").Values = nil
	d.Channel("p_atm").Times = nil
	d.Channel("p_tank").Unit = "kPa_g"
	if r, err = verification.Evaluate("iso6358-2.discharge", d, verification.Options{Map: map[string]string{"p_atm": "-"}, Parameters: o.Parameters}); err != nil || r.Refusal == nil {
		t.Errorf("a gauge pressure without atmosphere: %v", err)
	}
}

func TestLimitsFile(t *testing.T) {
	bad := verification.LimitsFile{Version: 2, Results: []verification.Wanted{
		{Name: "a", Take: "median", Of: "p"},
		{Name: "a", Take: "mean", Of: "p"},
		{Name: "b", Take: "time_to", Of: "p"},
		{Name: "c", Take: "mean", Of: "p", In: "w"},
		{Name: "d", Take: "mean", Of: "p", Unit: "kPas"},
	}}
	err := bad.Check()
	if err == nil {
		t.Fatal("a wrong file was taken")
	}
	var p []float64
	for i := range 101 {
		p = append(p, float64(i))
	}
	level := 50.0
	d := &verification.Dataset{Channels: []*verification.Channel{column("p", "kPa_a", "1 kPa", 0.1, p)}}
	f := &verification.LimitsFile{Version: 1, Title: "ramp", Results: []verification.Wanted{
		{Name: "mean", Of: "p", Take: "mean"},
		{Name: "slope", Of: "p", Take: "slope"},
		{Name: "time_to", Of: "p", Take: "time_to", Level: &level},
		{Name: "max", Of: "p", Take: "max", Unit: "bar_a"},
		{Name: "value", Of: "p", Take: "value_at", At: 3.05},
		{Name: "count", Of: "p", Take: "count", Level: &level},
	}}
	r, err := verification.EvaluateLimits(f, d, nil, nil)
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	for name, want := range map[string][2]float64{"mean": {50, 1}, "slope": {10, 0}, "time_to": {5, 0.1}, "max": {1, 0.01}, "value": {30.5, 1}, "count": {1, 0}} {
		x := r.Figure(name)
		if math.Abs(x.Value-want[0]) > 1e-9 {
			t.Errorf("%s is %g, want %g", name, x.Value, want[0])
		}
		if want[1] > 0 && (x.U == nil || *x.U < want[1] || *x.U > 7*want[1]) {
			t.Errorf("%s: U %v, want some %g", name, x.U, want[1])
		}
	}
}

func TestTankCharge(t *testing.T) {
	const c, b, v, dt = 2e-8, 0.35, 5e-3, 0.01
	var n simulator.Network
	tank := n.AddVolume(simulator.VolumeOptions{V: v, P: 101.3e3, T: 293.15, HA: 2000, Wall: 293.15})
	source := n.AddBoundary(700e3, 293.15)
	n.Connect(simulator.Path{From: source, To: tank, Open: 1, Orifice: simulator.Orifice{C: c, B: b, M: 0.5, Linear: 0.99999}})
	var p, temperature, supply []float64
	for range 1500 {
		p, temperature, supply = append(p, n.Pressure(tank)/1e3), append(temperature, 293.15), append(supply, 700)
		for range 10 {
			n.Step(dt / 10)
		}
	}
	d := &verification.Dataset{Channels: []*verification.Channel{
		column("p_tank", "kPa_a", "0.1 % rdg + 0.2 kPa", dt, p), column("T_tank", "K", "0.2 K_delta", dt, temperature), column("p1", "kPa_a", "0.5 kPa", dt, supply),
	}}
	r, err := verification.Evaluate("iso6358-2.charge", d, verification.Options{Parameters: map[string]string{"volume": "5 L ± 0.5 %"}})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	cf, bf := r.Figure("C"), r.Figure("b")
	if math.Abs(cf.Value-c*1e8) > 0.03 || math.Abs(cf.Value-c*1e8) > 1.5**cf.U || math.Abs(bf.Value-b) > 0.02 {
		t.Errorf("C %s, b %s; truth %g, %g", cf.Text, bf.Text, c*1e8, b)
	}
}

func TestFivePointsOf1989(t *testing.T) {
	data, truth := flowBench(t, 4, map[string]float64{"dwell": 3, "m": 0.5})
	r, err := verification.Evaluate("iso6358-1989", data, verification.Options{Parameters: map[string]string{"draws": "2000"}})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	cf, bf := r.Figure("C"), r.Figure("b")
	if math.Abs(cf.Value-truth["C"]*1e8) > 1.2**cf.U || math.Abs(bf.Value-truth["b"]) > 1.2**bf.U || *bf.U > 0.03 {
		t.Errorf("C %s, b %s; truth %g, %g", cf.Text, bf.Text, truth["C"]*1e8, truth["b"])
	}
}
