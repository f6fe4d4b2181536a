package verification

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

func stepMethod() Method {
	return Method{
		Method: base("iso10094-2.step/1"),
		Parameters: []Parameter{
			{Name: "band", Unit: "%", TitleEN: "settling band, of the step", TitleZH: "调节带（占阶跃）", Default: "5 %"},
			{Name: "p_atm", Unit: "hPa_a", TitleEN: "atmospheric pressure, where p2 is a gauge pressure", TitleZH: "大气压（p2 为表压时）"},
		},
		aliases:  map[string][]string{"signal": {"setpoint", "u", "信号"}, "p2": {"p", "出口压力"}, "p1": {"供气压力"}},
		evaluate: evaluateStep,
	}
}

func evaluateStep(e *evaluation) error {
	p2, signal := e.bound["p2"], e.bound["signal"]
	if p2 == nil || signal == nil || len(p2.trace.T) < 2 || len(signal.trace.T) < 2 {
		return e.admit(nil)
	}
	window := iso.Window{From: p2.trace.T[0], To: p2.trace.T[len(p2.trace.T)-1] + 1e-9}
	ambient, _, _, err := e.atmosphere([]iso.Window{window})
	if err != nil {
		return err
	}
	if err := e.admit([]iso.Window{window}); err != nil {
		return err
	}
	if err := e.absolute(ambient, "p2"); err != nil {
		return err
	}
	band, _, _, err := e.value("band", acquisition.Ratio, "1")
	if err != nil {
		return err
	}
	low, high := extremes(signal.trace.Y)
	if !(high > low) {
		return e.refuse(iso.NoStep, "the signal never changes in this record")
	}
	middle := (low + high) / 2
	var edges []float64
	for i := 1; i < len(signal.trace.T); i++ {
		if (signal.trace.Y[i] > middle) != (signal.trace.Y[i-1] > middle) {
			edges = append(edges, (signal.trace.T[i]+signal.trace.T[i-1])/2)
		}
	}
	end := window.To
	if len(edges) > 1 {
		end = edges[1]
		e.result.note("the record has %d steps; the first is judged, use from and to for the others", len(edges))
	}
	in := p2.trace.Window(window.From, end)
	rate := float64(len(in.T)-1) / (in.T[len(in.T)-1] - in.T[0])
	r, err := iso.MeasureStep(iso.StepTrace{Rate: rate, Edge: edges[0] - in.T[0], Y: in.Y, Band: band})
	if err != nil {
		return err
	}
	edge := iso.TypeB(0.5*signal.period, iso.Rectangular, 1)
	sampling := iso.TypeB(0.5/rate, iso.Rectangular, 1)
	time := spread{u: math.Hypot(edge, sampling), budget: []Line{{Name: "trigger", U: edge}, {Name: "sampling", U: sampling}}}
	rise := spread{u: math.Sqrt2 * sampling, budget: []Line{{Name: "sampling", U: math.Sqrt2 * sampling}}}
	const ms = 1e-3
	e.result.Figures = append(e.result.Figures,
		figure("t5", "dead time to 5 % of the step", "5 % 延迟时间", "ms", ms, r.T5, time),
		figure("rise", "rise time, 10 % to 90 %", "上升时间（10 %～90 %）", "ms", ms, r.Rise, rise),
		figure("t63", "time to 63 %", "63 % 时间", "ms", ms, r.T63, time),
		figure("t90", "time to 90 %", "90 % 时间", "ms", ms, r.T90, time),
		figure("settling", "settling time", "调节时间", "ms", ms, r.Settling, time),
		figure("overshoot", "overshoot, of the step", "超调量", "%", 1, r.Overshoot, spread{}))
	trace := Series{Label: "p2", Line: true}
	for i, t := range in.T {
		trace.X, trace.Y = append(trace.X, (t-edges[0])*1e3), append(trace.Y, in.Y[i]/1e3)
	}
	y0, y1 := extremes(trace.Y)
	e.result.Plots = append(e.result.Plots, Plot{Name: "step", Title: "Step response", X: "t after the edge, ms", Y: "p2, kPa", Series: []Series{
		trace, {Label: "90 %", Line: true, Dash: true, X: []float64{r.T90 * 1e3, r.T90 * 1e3}, Y: []float64{y0, y1}},
	}})
	return nil
}

func dischargeMethod() Method {
	return Method{
		Method: base("iso6358-2.discharge/1"),
		Parameters: []Parameter{
			{Name: "volume", Unit: "L", TitleEN: "volume of the isothermal tank with its half width, for example 5 L ± 0.5 %", TitleZH: "等温容器容积及误差限", Required: true},
			{Name: "m", TitleEN: "subsonic index: free or a number", TitleZH: "亚声速指数：free 或数值", Default: "0.5"},
			{Name: "p_atm", Unit: "hPa_a", TitleEN: "atmospheric pressure, where no channel has it", TitleZH: "大气压（无通道时）"},
		},
		aliases:  map[string][]string{"p_tank": {"p", "罐压"}, "T_tank": {"T", "温度"}, "p_atm": {"大气压"}},
		evaluate: evaluateDischarge,
	}
}

func flow1989Method() Method {
	m := flowMethod()
	m.Method = base("iso6358-1989/1")
	m.Parameters = slices.DeleteFunc(m.Parameters, func(p Parameter) bool { return p.Name == "m" || p.Name == "dpc" || p.Name == "component" })
	m.evaluate = evaluateFlow1989
	return m
}

// Flows, as shares of the choked flow, between which the points of the five
// point method lie: 80, 60, 40 and 20 %.
const (
	leastShare   = 0.15
	highestShare = 0.85
)

func evaluateFlow1989(e *evaluation) error {
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
	ambient, _, _, err := e.atmosphere(windows)
	if err != nil {
		return err
	}
	if err := e.notGauge(ambient, "p1", "p2"); err != nil {
		return err
	}
	if err := e.absolute(ambient, "p1", "p2"); err != nil {
		return err
	}
	if err := e.leakCheck(check, windows); err != nil {
		return err
	}
	var all []iso.FlowPoint
	for _, w := range windows {
		part := func(name string) float64 { return mean(e.bound[name].trace.Window(w.From, w.To).Y) }
		all = append(all, iso.FlowPoint{P1: part("p1"), P2: part("p2"), T1: part("T1"), Qm: part("qm")})
	}
	if err := iso.CheckPlateau(all); err != nil {
		return err
	}
	if err := e.steady(windows); err != nil {
		return err
	}
	choked := slices.MinFunc(all, func(a, b iso.FlowPoint) int { return cmp.Compare(a.PressureRatio(), b.PressureRatio()) })
	points := []iso.FlowPoint{choked}
	for _, p := range all {
		if share := p.Qm / choked.Qm; share > leastShare && share < highestShare {
			points = append(points, p)
		}
	}
	if len(points) < 3 {
		return e.refuse(iso.TooFewPoints, "%d points between %.0f and %.0f %% of the choked flow; the method takes 80, 60, 40 and 20 %%", len(points)-1, 100*leastShare, 100*highestShare)
	}
	p1, p2, t1, qm := e.bound["p1"], e.bound["p2"], e.bound["T1"], e.bound["qm"]
	fit, err := iso.FitFlow1989(points)
	if err != nil {
		return err
	}
	inputs := []iso.Input{
		{Name: "q_scale", U: qm.accuracy.Scale, Shape: qm.accuracy.Shape},
		{Name: "q_offset", U: qm.accuracy.Offset, Shape: qm.accuracy.Shape},
		{Name: "p1_scale", U: p1.accuracy.Scale, Shape: p1.accuracy.Shape},
		{Name: "p1_offset", U: p1.accuracy.Offset, Shape: p1.accuracy.Shape},
		{Name: "p2_scale", U: p2.accuracy.Scale, Shape: p2.accuracy.Shape},
		{Name: "p2_offset", U: p2.accuracy.Offset, Shape: p2.accuracy.Shape},
		{Name: "T_offset", U: t1.accuracy.Offset, Shape: t1.accuracy.Shape},
		{Name: "scatter of b", U: deviation(fit.BPoints) / math.Sqrt(float64(len(fit.BPoints))), DOF: float64(len(fit.BPoints) - 1)},
	}
	varied := make([]iso.FlowPoint, len(points))
	model := func(x, y []float64) error {
		for i, p := range points {
			varied[i] = iso.FlowPoint{Qm: p.Qm*(1+x[0]) + x[1], P1: p.P1*(1+x[2]) + x[3], P2: p.P2*(1+x[4]) + x[5], T1: p.T1 + x[6]}
		}
		f, err := iso.FitFlow1989(varied)
		y[0], y[1] = f.C, f.B+x[7]
		return err
	}
	budget, err := iso.Propagate(model, 2, inputs)
	if err != nil {
		return err
	}
	var sample *iso.Sample
	if e.draws > 0 {
		s, err := iso.MonteCarlo(model, 2, inputs, e.draws, e.seed)
		if err != nil {
			return e.refuse(iso.NoFit, "the Monte Carlo check does not hold: %v", err)
		}
		sample = &s
	}
	e.result.Figures = append(e.result.Figures,
		figure("C", "sonic conductance", "声速流导", "dm3/(s.bar)", iso.PracticalConductance, fit.C, fromBudget(&budget, 0, sample, e.draws, e.seed)),
		figure("b", "critical back-pressure ratio (m = 0.5)", "临界背压比（m = 0.5）", "1", 1, fit.B, fromBudget(&budget, 1, sample, e.draws, e.seed)))
	e.result.Plots = append(e.result.Plots, flowPlot(points, iso.FlowFit{FlowLaw: iso.FlowLaw{C: fit.C, B: fit.B, M: 0.5}}))
	return nil
}

func chargeMethod() Method {
	m := dischargeMethod()
	m.Method = base("iso6358-2.charge/1")
	m.aliases["p1"] = []string{"供气压力"}
	m.evaluate = evaluateCharge
	return m
}

func evaluateDischarge(e *evaluation) error { return e.tank(nil) }

func evaluateCharge(e *evaluation) error {
	supply := e.bound["p1"]
	if supply == nil || len(supply.trace.T) == 0 {
		return e.admit(nil)
	}
	return e.tank(supply)
}

// tank judges the discharge of an isothermal tank, or its charge from supply.
func (e *evaluation) tank(supply *bound) error {
	p, temperature := e.bound["p_tank"], e.bound["T_tank"]
	if p == nil || temperature == nil || len(p.trace.T) < 2 || len(temperature.trace.T) == 0 {
		return e.admit(nil)
	}
	window := iso.Window{From: p.trace.T[0], To: p.trace.T[len(p.trace.T)-1] + 1e-9}
	ambient, uAmbient, _, err := e.atmosphere([]iso.Window{window})
	if err != nil {
		return err
	}
	if err := e.admit([]iso.Window{window}); err != nil {
		return err
	}
	if err := e.notGauge(ambient, "p_tank"); err != nil {
		return err
	}
	if err := e.absolute(ambient, "p_tank", "p1"); err != nil {
		return err
	}
	// What is on the other side of the test item, and how well it is known.
	other, uOther, otherName := ambient, uAmbient, "p_atm"
	if supply != nil {
		other, otherName = mean(supply.trace.Y), "p1"
		uOther = math.Hypot(supply.accuracy.Offset, supply.accuracy.Scale*other)
	}
	volume, uVolume, shape, err := e.value("volume", acquisition.Volume, "m3")
	if err != nil {
		return err
	}
	free := e.parameter("m") == "free"
	m := 0.5
	if !free {
		if m, err = strconv.ParseFloat(e.parameter("m"), 64); err != nil {
			return fmt.Errorf("parameter m = %q: free or a number", e.parameter("m"))
		}
	}
	t0 := mean(temperature.trace.Y)
	dt := (p.trace.T[len(p.trace.T)-1] - p.trace.T[0]) / float64(len(p.trace.T)-1)
	varied := make([]float64, len(p.trace.Y))
	var fit iso.TankFit
	model := func(x, y []float64) error {
		for i, v := range p.trace.Y {
			varied[i] = v*(1+x[2]) + x[3]
		}
		trace := iso.TankTrace{Tank: iso.Tank{Volume: volume * (1 + x[0]), T: t0 + x[1], R: iso.RANR}, Dt: dt, P: varied, Other: other + x[4]}
		var f iso.TankFit
		var err error
		switch {
		case free && supply != nil:
			f, err = iso.FitChargeM(trace)
		case free:
			f, err = iso.FitDischargeM(trace)
		case supply != nil:
			f, err = iso.FitCharge(trace, m)
		default:
			f, err = iso.FitDischarge(trace, m)
		}
		if err != nil {
			return err
		}
		if x[0] == 0 && x[1] == 0 && x[2] == 0 && x[3] == 0 && x[4] == 0 {
			fit = f
		}
		y[0], y[1], y[2] = f.C, f.B, f.M
		return nil
	}
	inputs := []iso.Input{
		{Name: "volume", U: uVolume / volume, Shape: shape},
		{Name: "temperature", U: math.Hypot(temperature.accuracy.Offset, temperature.accuracy.Scale*t0), Shape: temperature.accuracy.Shape},
		{Name: "p_scale", U: p.accuracy.Scale, Shape: p.accuracy.Shape},
		{Name: "p_offset", U: p.accuracy.Offset, Shape: p.accuracy.Shape},
		{Name: otherName, U: uOther},
	}
	budget, err := iso.Propagate(model, 3, inputs)
	if err != nil {
		return err
	}
	e.result.Figures = append(e.result.Figures,
		figure("C", "sonic conductance", "声速流导", "dm3/(s.bar)", iso.PracticalConductance, fit.C, fromBudget(&budget, 0, nil, 0, 0)),
		figure("b", "critical back-pressure ratio", "临界背压比", "1", 1, fit.B, fromBudget(&budget, 1, nil, 0, 0)))
	if free {
		e.result.Figures = append(e.result.Figures, figure("m", "subsonic index", "亚声速指数", "1", 1, fit.M, fromBudget(&budget, 2, nil, 0, 0)))
	}
	e.result.Figures = append(e.result.Figures, figure("rms", "residual of the pressure", "压力残差", "Pa", 1, fit.RMS, spread{}))
	e.result.note("the scatter of the pressure is not in U: over a whole record it is far below the systematic terms; the gas constant and the isothermality of the tank are not in it either")
	trace := Series{Label: "measured", Line: true}
	for i, t := range p.trace.T {
		trace.X, trace.Y = append(trace.X, t-p.trace.T[0]), append(trace.Y, p.trace.Y[i]/1e3)
	}
	e.result.Plots = append(e.result.Plots, Plot{Name: "tank", Title: e.method.English, X: "t, s", Y: "p, kPa", Series: []Series{trace}})
	return nil
}
