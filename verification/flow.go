package verification

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

// Leaking refuses a flow test whose leak check, with the throttle shut, found
// more flow than the test can bear.
const Leaking iso.Reason = "LEAKING"

// Disagreement refuses pressures that must agree and do not.
const Disagreement iso.Reason = "PRESSURES_DISAGREE"

func flowMethod() Method {
	program := func(name string) iso.Channel { return iso.Channel{Name: name, Quantity: iso.Signal, Unit: "1"} }
	return Method{
		Method: base("iso6358-1/1"),
		Parameters: []Parameter{
			{Name: "component", TitleEN: "type of component, for example directional control valve; silencer (exhausts to the atmosphere)", TitleZH: "元件类型"},
			{Name: "upstream", TitleEN: "pressure held: constant (upstream) or variable (exhaust to atmosphere)", TitleZH: "上游压力：constant 恒定，variable 变化", Default: "constant"},
			{Name: "m", TitleEN: "subsonic index: free or 0.5", TitleZH: "亚声速指数：free 或 0.5", Default: "free"},
			{Name: "dpc", Unit: "kPa", TitleEN: "known cracking pressure", TitleZH: "已知开启压力", Default: "0 kPa"},
			{Name: "windows", TitleEN: "steady windows: plc (channels record and point), auto, or from-to pairs in s: 10-20,50-60", TitleZH: "稳态窗口：plc、auto 或起止秒数", Default: ""},
			{Name: "window", Unit: "s", TitleEN: "length of a window that auto looks for", TitleZH: "自动窗口长度", Default: "10"},
			{Name: "run", TitleEN: "which run of the recording, from 1; the last complete one if not given", TitleZH: "第几次运行"},
			{Name: "p_atm", Unit: "hPa_a", TitleEN: "atmospheric pressure, where no channel has it", TitleZH: "大气压（无通道时）"},
		},
		optional: []iso.Channel{program("record"), program("point")},
		aliases: map[string][]string{
			"p1": {"p_1", "上游压力"}, "p2": {"p_2", "下游压力"}, "T1": {"T", "温度", "上游温度"}, "qm": {"q", "flow", "流量"}, "p_atm": {"大气压"},
		},
		evaluate: evaluateFlow,
	}
}

// Limits of convention P-2 for the movement over a window, and of what the
// leak check may find.
const (
	movePressure    = 0.005 // of p1
	moveFlow        = 0.01
	moveTemperature = 1.0   // K
	largestLeak     = 0.005 // of the choked flow
	sureness        = 3     // standard errors that a movement must exceed its limit by
	agreement       = 0.02  // of p1, between p1 and p2 without flow
)

// dwell is a window with the set point that the PLC names, 0 for none.
type dwell struct {
	iso.Window
	point float64
}

func evaluateFlow(e *evaluation) error {
	run, check, err := e.flowWindows()
	if err != nil {
		return err
	}
	windows := make([]iso.Window, len(run))
	for i, d := range run {
		windows[i] = d.Window
	}
	if err := e.admit(windows); err != nil {
		return err
	}
	ambient, uAmbient, shape, err := e.atmosphere(windows)
	if err != nil {
		return err
	}
	if err := e.notGauge(ambient, "p1", "p2"); err != nil {
		return err
	}
	if err := e.absolute(ambient, "p1", "p2"); err != nil {
		return err
	}
	p1, p2, t1, qm := e.bound["p1"], e.bound["p2"], e.bound["T1"], e.bound["qm"]
	dpc, uDpc, _, err := e.value("dpc", acquisition.PressureDelta, "kPa")
	if err != nil {
		return err
	}
	upstream := iso.Upstream(e.parameter("upstream"))
	if upstream != iso.ConstantUpstream && upstream != iso.VariableUpstream {
		return fmt.Errorf("parameter upstream = %q: constant or variable", upstream)
	}
	if err := e.leakCheck(check, windows); err != nil {
		return err
	}
	r, err := iso.EvaluateFlowRun(iso.FlowRun{
		P1: p1.trace, P2: p2.trace, T1: t1.trace, Qm: qm.trace, Dwells: windows, Dpc: dpc, PAtm: ambient, Upstream: upstream,
		Component: iso.Component(e.parameter("component")), AllowUnsteady: true,
	})
	if err != nil {
		return err
	}
	if err := e.steady(windows); err != nil {
		return err
	}
	estimator, fit := iso.E1(), r.E1
	switch e.parameter("m") {
	case "free":
	case "0.5":
		estimator, fit = iso.E1M05(), r.E1M05
	default:
		return fmt.Errorf("parameter m = %q: free or 0.5", e.parameter("m"))
	}
	for _, w := range r.Warnings {
		if text := flowWarning(w, &r); text != "" {
			e.result.note("%s", text)
		}
	}
	points := r.FlowPoints()
	model, inputs, err := iso.FlowModel(points, dpc, estimator, iso.FlowInputs{Dpc: uDpc})
	if err != nil {
		return err
	}
	e.flowInputs(inputs, windows, points, fit, fit.Scatter(estimator), uAmbient, shape)
	budget, err := iso.Propagate(model, iso.FlowOutputs, inputs)
	if err != nil {
		return err
	}
	var sample *iso.Sample
	if e.draws > 0 {
		s, err := iso.MonteCarlo(model, iso.FlowOutputs, inputs, e.draws, e.seed)
		if err != nil {
			return e.refuse(iso.NoFit, "the Monte Carlo check does not hold: %v; the uncertainties are too large for these points", err)
		}
		sample = &s
	}
	of := func(j int) spread { return fromBudget(&budget, j, sample, e.draws, e.seed) }
	e.result.Figures = append(e.result.Figures,
		figure("C", "sonic conductance", "声速流导", "dm3/(s.bar)", iso.PracticalConductance, fit.C, of(iso.OutputC)),
		figure("b", "critical back-pressure ratio", "临界背压比", "1", 1, fit.B, of(iso.OutputB)))
	if estimator.FreeM {
		e.result.Figures = append(e.result.Figures, figure("m", "subsonic index", "亚声速指数", "1", 1, fit.M, of(iso.OutputM)))
		if math.Abs(fit.M-0.5) > 2*budget.U[iso.OutputM] {
			e.result.note("m differs from 0.5 by more than 2·u(m): b is not comparable with a b of m = 0.5 (here %s)", Round(r.E1M05.B, 3))
		}
	}
	if h, ok := hysteresis(points, fit.B); ok {
		e.result.Figures = append(e.result.Figures, figure("hysteresis", "largest difference of the sweeps, of C", "往返流导最大差", "%", 0.01, h.Relative, spread{}))
	}
	e.result.Figures = append(e.result.Figures,
		figure("rms", "scatter of the fit, of C", "拟合残差（占 C）", "%", 0.01, fit.RMS, spread{}))
	for i, p := range points {
		region := 0.0
		if p.Region == iso.Choked {
			region = 1
		}
		e.result.Points = append(e.result.Points, map[string]float64{
			"from": windows[i].From, "to": windows[i].To, "p1": p.P1, "p2": p.P2, "T1": p.T1, "qm": p.Qm, "Ce": p.Conductance(), "r": p.PressureRatio(), "choked": region,
		})
	}
	e.result.Plots = append(e.result.Plots, flowPlot(points, fit))
	return nil
}

func flowWarning(code string, r *iso.FlowRunResult) string {
	switch code {
	case iso.WarnEstimatorsDiffer:
		return fmt.Sprintf("the estimators E1 and E2 differ by %s %% in C: look at the points", Round(100*math.Abs(r.E1.C-r.E2.C)/r.E1.C, 1))
	case iso.WarnScatter:
		return fmt.Sprintf("the points scatter by %s %% around the fit", Round(100*r.E1.RMS, 1))
	case iso.WarnUnusualB:
		return "b is outside 0 to 0.6: is the pressure tap in the jet?"
	case iso.WarnUnsteady:
		return "max - min exceeds the limits of P-2 in some windows; by their least squares lines they do not move: that is noise"
	}
	return ""
}

// flowInputs fills what FlowModel varies: systematic terms from the accuracies,
// random ones from the scatter within windows, widened to the scatter of the
// fit where that is significantly larger (two standard deviations of a
// variance with the fit's degrees of freedom).
func (e *evaluation) flowInputs(inputs []iso.Input, windows []iso.Window, points []iso.FlowPoint, fit iso.FlowFit, scatter, uAmbient float64, shape iso.Distribution) {
	p1, p2, t1, qm := e.bound["p1"], e.bound["p2"], e.bound["T1"], e.bound["qm"]
	length := windows[len(windows)-1].To - windows[0].From
	offset := func(b *bound) float64 { return math.Hypot(b.accuracy.Offset, b.accuracy.Drift*length) }
	gauge := 0.0
	if p1.quantity == iso.GaugePressure || p2.quantity == iso.GaugePressure {
		gauge = uAmbient // common to both where both are gauges; a single gauge is treated alike
	}
	systematic := map[string]iso.Input{
		"q_scale": {U: qm.accuracy.Scale, Shape: qm.accuracy.Shape}, "q_offset": {U: offset(qm), Shape: qm.accuracy.Shape},
		"p1_scale": {U: p1.accuracy.Scale, Shape: p1.accuracy.Shape}, "p1_offset": {U: offset(p1), Shape: p1.accuracy.Shape},
		"p2_scale": {U: p2.accuracy.Scale, Shape: p2.accuracy.Shape}, "p2_offset": {U: offset(p2), Shape: p2.accuracy.Shape},
		"p_offset": {U: gauge, Shape: shape},
		"T_offset": {U: math.Hypot(offset(t1), t1.accuracy.Scale*iso.T0), Shape: t1.accuracy.Shape},
	}
	type random struct {
		u   float64
		dof float64
	}
	of := func(b *bound, w iso.Window) random {
		in := b.trace.Window(w.From, w.To)
		n := float64(len(in.Y))
		return random{u: math.Hypot(residual(in)/math.Sqrt(n), b.step/math.Sqrt(12)), dof: max(n-2, 1)}
	}
	names := map[string]*bound{"q_random": qm, "p1_random": p1, "p2_random": p2, "T_random": t1}
	counts := map[string]int{}
	square := 0.0
	for i := range inputs {
		in := &inputs[i]
		if s, ok := systematic[in.Name]; ok {
			in.U, in.Shape = s.U, s.Shape
			continue
		}
		b, ok := names[in.Name]
		if !ok {
			continue
		}
		k := counts[in.Name]
		counts[in.Name]++
		x := of(b, windows[k])
		in.U, in.DOF, in.Shape = x.u, x.dof, iso.Normal
		if in.Name == "q_random" {
			in.U /= math.Abs(points[k].Qm)
			share := in.U * points[k].Conductance() / fit.C
			square += share * share
		}
	}
	within := math.Sqrt(square / float64(len(points)))
	if scatter*scatter <= within*within*(1+2*math.Sqrt(2/float64(max(fit.DOF, 1)))) {
		return // not significantly more
	}
	// The points scatter more than their windows explain: what is left is the component's and the rig's repeatability.
	extra := scatter*scatter - within*within
	k := 0
	for i := range inputs {
		if inputs[i].Name != "q_random" {
			continue
		}
		share := points[k].Conductance() / fit.C
		inputs[i].U = math.Hypot(inputs[i].U, math.Sqrt(extra)/share)
		inputs[i].DOF = float64(max(fit.DOF, 1))
		k++
	}
}

// steady judges the windows by their movement.
func (e *evaluation) steady(windows []iso.Window) error {
	for i, w := range windows {
		for _, x := range []struct {
			name  string
			limit float64
			share bool
		}{{"p1", movePressure, true}, {"qm", moveFlow, true}, {"T1", moveTemperature, false}} {
			in := e.bound[x.name].trace.Window(w.From, w.To)
			move, se := movement(in)
			limit, what := x.limit, Round(move, 2)+" K"
			if x.share {
				m := math.Abs(mean(in.Y))
				limit *= m
				what = Round(100*move/m, 2) + " %"
			}
			if move-sureness*se > limit {
				return e.refuse(iso.NotSteady, "window %d (%s to %s s): %s moves by %s; wait longer before averaging", i+1, Round(w.From, 1), Round(w.To, 1), x.name, what)
			}
		}
	}
	return nil
}

// leakCheck looks at the window in which the PLC held the throttle shut: no
// flow may enter the test item then, and both pressures must be the same.
func (e *evaluation) leakCheck(check *dwell, windows []iso.Window) error {
	if check == nil {
		return nil
	}
	part := func(name string, w iso.Window) float64 { return mean(e.bound[name].trace.Window(w.From, w.To).Y) }
	p1, p2, q := part("p1", check.Window), part("p2", check.Window), part("qm", check.Window)
	if math.IsNaN(p1) || math.IsNaN(p2) || math.IsNaN(q) {
		return nil
	}
	most := 0.0
	for _, w := range windows {
		most = max(most, part("qm", w))
	}
	if most <= 0 {
		return e.refuse(iso.NoChokedPoint, "nothing flows in any window: is the throttle shut, the test item not energised, the flow meter below its cut-off?")
	}
	if q > largestLeak*most {
		return e.refuse(Leaking, "%s %% of the largest flow passes while the throttle is shut (at most %s %%): the test item or the rig leaks to the outside; mend it, what leaks counts as flow",
			Round(100*q/most, 2), Round(100*largestLeak, 1))
	}
	if difference := math.Abs(p1 - p2); difference > agreement*max(p1, p2) {
		return e.refuse(Disagreement, "without flow p1 is %s kPa and p2 %s kPa; they are the same then: is one of them a gauge pressure declared absolute, or the test item not open?",
			Round(p1/1e3, 1), Round(p2/1e3, 1))
	}
	e.result.note("leak check: %s %% of the largest flow with the throttle shut; p1 and p2 differ by %s Pa there", Round(100*q/most, 2), Round(math.Abs(p1-p2), 0))
	return nil
}

// flowWindows finds the windows to average and, where a PLC leads the rig, that
// of its leak check.
func (e *evaluation) flowWindows() (run []dwell, check *dwell, err error) {
	how := e.parameter("windows")
	led := e.bound["record"] != nil && e.bound["point"] != nil
	if how == "" {
		how = "auto"
		if led {
			how = "plc"
		}
		e.result.Parameters["windows"] = how
	}
	for _, name := range []string{"p1", "p2", "T1", "qm"} {
		if e.bound[name] == nil {
			return nil, nil, e.admit(nil) // says what is missing
		}
	}
	switch how {
	case "plc":
		if !led {
			return nil, nil, e.refuse(iso.ChannelMissing, "windows by the PLC need the channels record and point; map them, or use windows=auto")
		}
		return e.plcWindows()
	case "auto":
		run, err = e.steadyWindows()
		return run, nil, err
	}
	for pair := range strings.SplitSeq(how, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(pair), "-")
		a, err1 := strconv.ParseFloat(from, 64)
		b, err2 := strconv.ParseFloat(to, 64)
		if !ok || err1 != nil || err2 != nil || a >= b {
			return nil, nil, fmt.Errorf("parameter windows = %q: %q is not from-to in seconds", how, pair)
		}
		run = append(run, dwell{Window: iso.Window{From: a, To: b}})
	}
	return run, nil, nil
}

// dwells are the stretches in which the PLC says that figures stand.
func (e *evaluation) dwells() []dwell {
	record := e.bound["record"].trace
	var point iso.Trace
	if b := e.bound["point"]; b != nil {
		point = b.trace
	}
	var all []dwell
	open := false
	k := -1
	for i, t := range record.T {
		for k+1 < len(point.T) && point.T[k+1] <= t+1e-3 {
			k++
		}
		at := 0.0
		if k >= 0 {
			at = point.Y[k]
		}
		switch {
		case record.Y[i] < 0.5:
			open = false
		case open && all[len(all)-1].point == at:
			all[len(all)-1].To = t + 1e-6
		default:
			all = append(all, dwell{Window: iso.Window{From: t, To: t + 1e-6}, point: at})
			open = true
		}
	}
	return all
}

func (e *evaluation) plcWindows() (run []dwell, check *dwell, err error) {
	var runs [][]dwell
	var checks []*dwell
	var shut *dwell
	for _, d := range e.dwells() {
		if d.point == 0 {
			x := d
			shut = &x
			continue
		}
		if n := len(runs); n == 0 || d.point <= runs[n-1][len(runs[n-1])-1].point {
			runs = append(runs, nil)
			checks = append(checks, shut)
			shut = nil
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], d)
	}
	if len(runs) == 0 {
		return nil, nil, e.refuse(iso.TooFewPoints, "the PLC marked no window (record = 1 with point > 0) in this record")
	}
	chosen := 0
	for i := range runs {
		if len(runs[i]) >= len(runs[chosen]) {
			chosen = i
		}
	}
	if text := e.parameter("run"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > len(runs) {
			return nil, nil, fmt.Errorf("parameter run = %q: the record has runs 1 to %d", text, len(runs))
		}
		chosen = n - 1
	}
	if len(runs) > 1 {
		e.result.note("run %d of %d in the record, with %d points, was judged", chosen+1, len(runs), len(runs[chosen]))
	}
	return runs[chosen], checks[chosen], nil
}

// steadyWindows looks for the steady windows of a sweep: stretches in which p1,
// p2, qm and T1 stand, the end of each of them.
func (e *evaluation) steadyWindows() ([]dwell, error) {
	width, err := strconv.ParseFloat(e.parameter("window"), 64)
	if err != nil || !(width > 0) {
		return nil, fmt.Errorf("parameter window = %q is not a length in s", e.parameter("window"))
	}
	p1, p2, t1, qm := e.bound["p1"].trace, e.bound["p2"].trace, e.bound["T1"].trace, e.bound["qm"].trace
	if len(p1.T) == 0 || len(p2.T) == 0 || len(qm.T) == 0 || len(t1.T) == 0 {
		return nil, e.refuse(iso.TooFewPoints, "a channel has no good samples")
	}
	sorted := slices.Sorted(slices.Values(p1.Y))
	supply := sorted[len(sorted)*9/10] // what p1 is held at; purging and venting are below
	type candidate struct {
		dwell
		p2 float64
	}
	stands := func(t iso.Trace, limit float64) bool {
		move, se := movement(t)
		return move <= limit+2*se
	}
	var found []candidate
	var open *candidate
	step := width / 10
	first, last := max(p1.T[0], p2.T[0], qm.T[0]), min(p1.T[len(p1.T)-1], p2.T[len(p2.T)-1], qm.T[len(qm.T)-1])
	for k := 0; first+float64(k)*step+width <= last+1e-9; k++ {
		from := first + float64(k)*step
		w := iso.Window{From: from, To: from + width}
		a, b, q, temperature := p1.Window(w.From, w.To), p2.Window(w.From, w.To), qm.Window(w.From, w.To), t1.Window(w.From, w.To)
		m1, m2, mq := mean(a.Y), mean(b.Y), mean(q.Y)
		held := e.parameter("upstream") == string(iso.VariableUpstream) || math.Abs(m1-supply) <= 0.05*supply
		ok := len(a.T) > 3 && len(b.T) > 3 && len(q.T) > 3 && held && mq > 0 &&
			stands(a, movePressure*m1) && stands(b, movePressure*m1) && stands(q, moveFlow*mq) && stands(temperature, moveTemperature)
		switch {
		case !ok:
			open = nil
		case open != nil && math.Abs(open.p2-m2) <= 0.01*m1:
			// The last but one window is kept: the last may touch the next set point.
			open.Window = iso.Window{From: w.From - step, To: w.To - step}
		default:
			found = append(found, candidate{dwell: dwell{Window: w}, p2: m2})
			open = &found[len(found)-1]
		}
	}
	run := make([]dwell, len(found))
	for i, c := range found {
		run[i] = c.dwell
	}
	e.result.note("%d steady windows of %s s were found", len(run), e.parameter("window"))
	return run, nil
}

// hysteresis compares the sweeps of a run that went up and came back.
func hysteresis(points []iso.FlowPoint, b float64) (iso.Hysteresis, bool) {
	turn := 0
	for i, p := range points {
		if p.PressureRatio() > points[turn].PressureRatio() {
			turn = i
		}
	}
	if turn < 2 || len(points)-turn < 4 {
		return iso.Hysteresis{}, false
	}
	h, err := iso.FlowHysteresis(points[:turn+1], points[turn:], b)
	return h, err == nil
}

func flowPlot(points []iso.FlowPoint, fit iso.FlowFit) Plot {
	p := Plot{Name: "flow", Title: "Flow-rate characteristics", X: "p2/p1", Y: "Ce, dm³/(s·bar)"}
	measured := Series{Label: "measured"}
	p1 := 0.0
	for _, x := range points {
		measured.X, measured.Y = append(measured.X, x.PressureRatio()), append(measured.Y, x.Conductance()/iso.PracticalConductance)
		p1 += x.P1 / float64(len(points))
	}
	curve := Series{Label: fmt.Sprintf("fit C = %s, b = %s, m = %s", Round(fit.C/iso.PracticalConductance, 2), Round(fit.B, 3), Round(fit.M, 3)), Line: true}
	for i := range 201 {
		r := float64(i) / 200
		curve.X, curve.Y = append(curve.X, r), append(curve.Y, fit.C*fit.Ratio(p1, r*p1)/iso.PracticalConductance)
	}
	top := fit.C / iso.PracticalConductance
	p.Series = []Series{curve, measured, {Label: "critical ratio b", Line: true, Dash: true, X: []float64{fit.B, fit.B}, Y: []float64{0, 1.1 * top}}}
	return p
}
