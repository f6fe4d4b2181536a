package iso_test

import (
	"maps"

	"pneudaq/verification/iso"
)

type tankInput struct {
	V    float64   `json:"V"`
	T    float64   `json:"T"`
	R    float64   `json:"R"`
	Dt   float64   `json:"dt"`
	P    []float64 `json:"p_tank"`
	PAtm float64   `json:"p_atm"`
	Pump float64   `json:"p_supply"`
}

type tankTruth struct {
	C, B  float64
	M     *float64
	PInit float64 `json:"p_init"`
}

func (t tankTruth) m() float64 {
	if t.M == nil {
		return 0.5
	}
	return *t.M
}

func discharge(v vector) (map[string]any, error) {
	in, err := inputs[tankInput](v)
	if err != nil {
		return nil, err
	}
	// The definition takes the choked window from the true b and holds m at its
	// true value; the closed form times are those of the true parameters.
	known, err := truth[tankTruth](v)
	if err != nil {
		return nil, err
	}
	trace := iso.TankTrace{Tank: iso.Tank{Volume: in.V, T: in.T, R: in.R}, Dt: in.Dt, P: in.P, Other: in.PAtm}
	choked, err := iso.ChokedDischarge(trace, known.B)
	if err != nil {
		return nil, err
	}
	fit, err := iso.FitDischarge(trace, known.m())
	if err != nil {
		return nil, err
	}
	law := iso.FlowLaw{C: known.C, B: known.B, M: known.m()}
	var times []object
	for _, p := range v.arguments("p", "closed_form_times") {
		times = append(times, object{"p": p, "t": iso.DischargeTime(trace.Tank, law, known.PInit, p, in.PAtm)})
	}
	return object{
		"E_choked": object{
			"C": choked.C, "n": choked.Samples, "window": object{"t_min": iso.ChokedStart, "p_min": choked.Limit},
		},
		"E_ode": tankFit(fit), "against_truth": tankFit(fit), "closed_form_times": times,
	}, nil
}

func tankFit(f iso.TankFit) object {
	return object{"C": f.C, "b": f.B, "m": f.M, "m_fixed": f.M, "p_init": f.PInit, "rms": f.RMS}
}

func charge(v vector) (map[string]any, error) {
	in, err := inputs[tankInput](v)
	if err != nil {
		return nil, err
	}
	known, err := truth[tankTruth](v)
	if err != nil {
		return nil, err
	}
	trace := iso.TankTrace{Tank: iso.Tank{Volume: in.V, T: in.T, R: in.R}, Dt: in.Dt, P: in.P, Other: in.Pump}
	choked, err := iso.ChokedCharge(trace, known.B)
	if err != nil {
		return nil, err
	}
	fit, err := iso.FitCharge(trace, known.m())
	if err != nil {
		return nil, err
	}
	return object{
		"E_choked": object{"C": choked.C, "n": choked.Samples, "window": object{"p_max": choked.Limit}},
		"E_ode":    tankFit(fit), "against_truth": tankFit(fit),
	}, nil
}

func isothermality(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Dt   float64
		Stop int       `json:"stop_index"`
		Wall float64   `json:"T_wall"`
		P    []float64 `json:"p_tank"`
	}](v)
	if err != nil {
		return nil, err
	}
	s, err := iso.StopTest(in.Dt, in.P, in.Stop, in.Wall)
	return object{
		"p_stop": s.PStop, "p_inf": s.PRest, "T_stop": s.TStop, "dT": s.Drop, "isothermal": s.Isothermal,
		"against_truth": object{"T_stop": s.TStop},
	}, err
}

func series(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Components []struct{ C, B, M float64 }
		P1, T1     float64
	}](v)
	if err != nil {
		return nil, err
	}
	var chain iso.Chain
	for _, c := range in.Components {
		if c.M == 0 {
			c.M = 0.5
		}
		chain = append(chain, iso.FlowLaw{C: c.C, B: c.B, M: c.M})
	}
	c, onset, err := chain.Choking()
	if err != nil {
		return nil, err
	}
	var flows []object
	for _, p := range v.arguments("p_out", "q") {
		qm, err := chain.MassFlow(in.P1, p, in.T1)
		if err != nil {
			return nil, err
		}
		flows = append(flows, object{"p_out": p, "qm": qm})
	}
	ellipse, err := chain.Equivalent(false)
	if err != nil {
		return nil, err
	}
	free, err := chain.Equivalent(true)
	if err != nil {
		return nil, err
	}
	closed, err := chain.ClosedForm()
	if err != nil {
		return nil, err
	}
	law := func(l iso.FlowLaw) object { return object{"C": l.C, "b": l.B, "m": l.M} }
	return object{
		"C_sys": c, "C_sys_practical": c / iso.PracticalConductance, "r_onset": onset, "q": flows,
		"b_fit_m05": ellipse.B, "fit_b_m": law(free), "closed_form_two": law(closed), "closed_form": law(closed),
		"approximation_cubic": law(chain.Cubic()),
	}, nil
}

func cylinder(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Fs, Stroke float64
		Edge       float64 `json:"edge_s"`
		X          []float64
		Ramp       struct {
			Gauge []float64 `json:"p_gauge"`
			X     []float64
		}
	}](v)
	if err != nil {
		return nil, err
	}
	trace := iso.StrokeTrace{Rate: in.Fs, Edge: in.Edge, Stroke: in.Stroke, X: in.X}
	trace.Retract = in.X[0] > in.Stroke/2
	t, err := iso.MeasureStroke(trace)
	if err != nil {
		return nil, err
	}
	out := object{"t_start": 1e3 * t.Start, "t_end": 1e3 * t.End, "stroke_time": 1e3 * t.Stroke, "mean_velocity": t.Velocity}
	if len(in.Ramp.X) > 0 {
		p, err := iso.Breakaway(in.Ramp.Gauge, in.Ramp.X)
		if err != nil {
			return nil, err
		}
		out["breakaway_pressure"] = p
		out["against_truth"] = object{"breakaway": p, "stroke_time": 1e3 * t.Stroke, "mean_velocity": t.Velocity}
	}
	return out, nil
}

func regulator(v vector) (map[string]any, error) {
	type point struct{ Q, P1, P2 float64 }
	in, err := inputs[struct {
		Set         float64 `json:"p_set"`
		FullScale   float64 `json:"p_fullscale"`
		ForwardFlow struct {
			Increasing, Decreasing []point
		} `json:"forward_flow"`
		ReliefFlow    []point `json:"relief_flow"`
		Regulation    []point
		Repeatability []float64
	}](v)
	if err != nil {
		return nil, err
	}
	points := func(list []point, supply bool) []iso.RegulatorPoint {
		var out []iso.RegulatorPoint
		for _, p := range list {
			x := p.Q
			if supply {
				x = p.P1
			}
			out = append(out, iso.RegulatorPoint{X: x, P2: p.P2})
		}
		return out
	}
	r, err := iso.EvaluateRegulator(iso.RegulatorTest{
		Set: in.Set, FullScale: in.FullScale,
		Increasing: points(in.ForwardFlow.Increasing, false), Decreasing: points(in.ForwardFlow.Decreasing, false),
		Relief: points(in.ReliefFlow, false), Regulation: points(in.Regulation, true), Repeats: in.Repeatability,
	})
	return object{
		"hysteresis": r.Hysteresis, "hysteresis_pct_fs": r.HysteresisPercent, "droop_at_80pct_flow": r.Droop,
		"p2_at_80pct_flow": r.At80, "regulation_slope": r.RegulationSlope, "regulation_span": r.RegulationSpan,
		"repeatability_span": r.RepeatabilitySpan, "repeatability_pct_fs": r.RepeatabilityPct,
		"repeatability_std": r.RepeatabilityStd, "relief_overpressure_max": r.ReliefOverpressure,
	}, err
}

func static(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Signal        []float64
		SignalRange   [2]float64 `json:"signal_range"`
		PressureRange [2]float64 `json:"pressure_range"`
		Cycles        []struct{ Up, Down []float64 }
	}](v)
	if err != nil {
		return nil, err
	}
	test := iso.StaticTest{
		Signal: in.Signal, SignalLow: in.SignalRange[0], SignalHigh: in.SignalRange[1],
		PressureLow: in.PressureRange[0], PressureHigh: in.PressureRange[1],
	}
	for _, c := range in.Cycles {
		test.Cycles = append(test.Cycles, iso.StaticCycle(c))
	}
	r, err := iso.EvaluateStatic(test)
	return object{
		"hysteresis_pct_fs": r.Hysteresis, "linearity_vs_ideal_pct_fs": r.LinearityIdeal,
		"linearity_best_fit_pct_fs": r.LinearityBestFit, "linearity_terminal_pct_fs": r.LinearityTerminal,
		"repeatability_pct_fs": r.Repeatability, "gain": r.Gain, "offset": r.Offset,
	}, err
}

func stepResponse(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Fs   float64
		Edge float64 `json:"edge_s"`
		Y    []float64
		Band float64
	}](v)
	if err != nil {
		return nil, err
	}
	if in.Band == 0 {
		in.Band = 0.05
	}
	r, err := iso.MeasureStep(iso.StepTrace{Rate: in.Fs, Edge: in.Edge, Y: in.Y, Band: in.Band})
	if err != nil {
		return nil, err
	}
	out := object{
		"y_initial": r.Initial, "y_final": r.Final, "t5": 1e3 * r.T5, "t10": 1e3 * r.T10, "t63": 1e3 * r.T63, "t90": 1e3 * r.T90,
		"rise_10_90": 1e3 * r.Rise, "settling_time": 1e3 * r.Settling, "overshoot_pct": r.Overshoot,
	}
	out["against_truth"] = maps.Clone(out)
	return out, nil
}
