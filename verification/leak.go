package verification

import (
	"errors"
	"math"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

func leakMethod() Method {
	return Method{
		Method: base("leak.decay/1"),
		Parameters: []Parameter{
			{Name: "volume", Unit: "cm3", TitleEN: "closed volume with its half width, for example 330 cm3 ± 1 %", TitleZH: "封闭容积及其误差限，如 330 cm3 ± 1 %", Required: true},
			{Name: "p_drift", TitleEN: "half width of the pressure sensor's drift", TitleZH: "压力传感器漂移误差限", Default: "20 Pa/5min"},
			{Name: "T_drift", TitleEN: "half width of the temperature sensor's drift", TitleZH: "温度传感器漂移误差限", Default: "0.005 K_delta/5min"},
			{Name: "p_atm", Unit: "hPa_a", TitleEN: "atmospheric pressure, where no channel has it", TitleZH: "大气压（无通道时）"},
		},
		optional: []iso.Channel{{Name: "record", Quantity: iso.Signal, Unit: "1"}, {Name: "point", Quantity: iso.Signal, Unit: "1"}},
		aliases:  map[string][]string{"p": {"p_tank", "压力", "罐压"}, "T": {"T_tank", "温度"}, "p_atm": {"大气压"}},
		evaluate: evaluateLeak,
	}
}

// measuringWindow is the longest stretch that the PLC marked, the last of those
// that are about as long; the whole record where no PLC marks.
func (e *evaluation) measuringWindow(name string) iso.Window {
	t := e.bound[name].trace.T
	all := iso.Window{From: t[0], To: t[len(t)-1] + 1e-6}
	if e.bound["record"] == nil {
		return all
	}
	longest := 0.0
	var chosen *dwell
	for _, d := range e.dwells() {
		length := d.To - d.From
		longest = max(longest, length)
		if length >= 0.8*longest && length > 1 {
			chosen = &d
		}
	}
	if chosen == nil {
		return all
	}
	return chosen.Window
}

func evaluateLeak(e *evaluation) error {
	p, temperature := e.bound["p"], e.bound["T"]
	if p == nil || temperature == nil || len(p.trace.T) == 0 || len(temperature.trace.T) == 0 {
		return e.admit(nil)
	}
	w := e.measuringWindow("p")
	if err := e.admit([]iso.Window{w}); err != nil {
		return err
	}
	ambient, _, _, err := e.atmosphere([]iso.Window{w})
	if err != nil {
		return err
	}
	if err := e.notGauge(ambient, "p"); err != nil {
		return err
	}
	if err := e.absolute(ambient, "p"); err != nil {
		return err
	}
	volume, uVolume, volumeShape, err := e.value("volume", acquisition.Volume, "m3")
	if err != nil {
		return err
	}
	pa, _ := acquisition.LookupUnit("Pa")
	pDrift, err := ParseAccuracy(e.parameter("p_drift"), pa, 0)
	if err != nil {
		return err
	}
	kelvin, _ := acquisition.LookupUnit("K_delta")
	tDrift, err := ParseAccuracy(e.parameter("T_drift"), kelvin, 0)
	if err != nil {
		return err
	}
	times, pressures, temperatures := together(p, temperature, w)
	d, err := iso.EvaluateLeakDecay(times, pressures, temperatures, volume, iso.RANR)
	if err != nil {
		return err
	}
	unsettled, err := e.settled(w, times, pressures, temperatures, volume, &d)
	if err != nil {
		return err
	}
	meanP, meanT := mean(pressures), mean(temperatures)
	qm, mass := d.Compensated.Qm, volume/(iso.RANR*meanT)
	relative := func(b *bound, at float64) float64 { return math.Hypot(b.accuracy.Scale, b.accuracy.Offset/at) }
	inputs := []iso.Input{
		{Name: "slope", U: d.Error, DOF: float64(d.Samples - 2), Shape: iso.StudentT},
		{Name: "volume", U: uVolume / volume, Shape: volumeShape},
		{Name: "pressure", U: relative(p, meanP), Shape: p.accuracy.Shape},
		{Name: "pressure_drift", U: max(pDrift.Drift, p.accuracy.Drift), Shape: pDrift.Shape},
		{Name: "temperature", U: relative(temperature, meanT), Shape: temperature.accuracy.Shape},
		{Name: "temperature_drift", U: max(tDrift.Drift, temperature.accuracy.Drift), Shape: tDrift.Shape},
		{Name: "settling", U: unsettled, Shape: iso.Rectangular},
	}
	model := func(x, y []float64) error {
		y[0] = qm*(1+x[1]+x[2]-x[4]) + x[0] - mass*x[3] + mass*meanP/meanT*x[5] + x[6]
		return nil
	}
	budget, err := iso.Propagate(model, 1, inputs)
	if err != nil {
		return err
	}
	var sample *iso.Sample
	if e.draws > 0 {
		s, err := iso.MonteCarlo(model, 1, inputs, e.draws, e.seed)
		if err != nil {
			return err
		}
		sample = &s
	}
	of := fromBudget(&budget, 0, sample, e.draws, e.seed)
	limit := iso.LeakDetectionLimit(budget.U[0])
	cubic := iso.CubicCmPerMinute * iso.Rho0
	pv := of
	e.result.Figures = append(e.result.Figures,
		figure("leak", "leakage (ANR), temperature compensated", "泄漏量（ANR，温度补偿）", "cm3/min_ANR", cubic, qm, of),
		figure("leak_pV", "leakage as pV flow at 20 °C", "泄漏 pV 流量（20 °C）", "Pa·m³/s", 1/(iso.RANR*iso.T0), qm, pv),
		figure("uncompensated", "as if the temperature had stood still", "未作温度补偿的结果", "cm3/min_ANR", cubic, d.Uncompensated.Qm, spread{}),
		figure("detection_limit", "smaller leaks are not told from none", "检出限", "cm3/min_ANR", cubic, limit, spread{}),
		figure("pressure", "mean test pressure, absolute", "平均试验压力（绝对）", "kPa_a", 1e3, meanP, spread{}))
	if math.Abs(qm) < limit {
		e.result.note("the leak is below the detection limit of %s cm³/min (ANR): no leak was found", Round(limit/cubic, decimals(limit/cubic, 2)))
	}
	if qm < -limit {
		e.result.note("the volume gains gas: something feeds it, or the temperature has not settled")
	}
	measured, line := Series{Label: "measured p·T̄/T"}, Series{Label: "least squares", Line: true}
	for i, t := range times {
		measured.X, measured.Y = append(measured.X, t-times[0]), append(measured.Y, pressures[i]*meanT/temperatures[i]/1e3)
	}
	slope := -qm * iso.RANR / volume * meanT
	for _, t := range []float64{times[0], times[len(times)-1]} {
		line.X, line.Y = append(line.X, t-times[0]), append(line.Y, (mean(measured.Y)*1e3+slope*(t-mean(times)))/1e3)
	}
	e.result.Plots = append(e.result.Plots, Plot{Name: "decay", Title: "Pressure decay, temperature compensated", X: "t, s", Y: "p, kPa", Series: []Series{measured, line}})
	return nil
}

// Limits of a decay that has settled: the halves of the window may differ.
const (
	leastHalf     = 20  // samples
	largestChange = 0.2 // of the leak
	sureChange    = 4   // standard errors
)

// settled compares the leak of the two halves of the window. A rate that still
// changes is the temperature, not the leak: it is refused where that matters,
// else what the halves differ beyond their scatter gives the standard
// uncertainty returned, kg/s. Where the record shows that the temperature was
// still settling right before the window, its tail reaches into it: then all
// that the halves may differ counts.
func (e *evaluation) settled(w iso.Window, times, p, temperature []float64, volume float64, d *iso.LeakDecay) (float64, error) {
	n := len(times) / 2
	if n < leastHalf {
		return 0, nil
	}
	first, err1 := iso.EvaluateLeakDecay(times[:n], p[:n], temperature[:n], volume, iso.RANR)
	second, err2 := iso.EvaluateLeakDecay(times[n:], p[n:], temperature[n:], volume, iso.RANR)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	difference := math.Abs(first.Compensated.Qm - second.Compensated.Qm)
	scatter := math.Hypot(first.Error, second.Error)
	if difference > sureChange*scatter && difference > largestChange*math.Abs(d.Compensated.Qm) {
		const cubic = iso.CubicCmPerMinute * iso.Rho0
		return 0, e.refuse(iso.NotSteady, "the rate is %s cm³/min (ANR) in the first half and %s in the second: the temperature has not settled; stabilise longer (5 thermal time constants) before measuring",
			Round(first.Compensated.Qm/cubic, 2), Round(second.Compensated.Qm/cubic, 2))
	}
	before := iso.Window{From: w.From - (w.To-w.From)/2, To: w.From}
	if t, a, b := together(e.bound["p"], e.bound["T"], before); len(t) >= leastHalf {
		r, err := iso.EvaluateLeakDecay(t, a, b, volume, iso.RANR)
		if err == nil && math.Abs(r.Compensated.Qm-first.Compensated.Qm) > sureChange*math.Hypot(r.Error, first.Error) {
			e.result.note("the temperature was still settling before the window: the uncertainty has a term for its tail; stabilise longer for a smaller one")
			return (difference + 2*scatter) / (2 * math.Sqrt(3)), nil
		}
	}
	return max(difference-2*scatter, 0) / (2 * math.Sqrt(3)), nil
}

// together samples two channels at the times of the slower one, the mean of the
// faster around each: interpolation would make up samples, and with them a
// standard error that is too small.
func together(p, temperature *bound, w iso.Window) (times, pressures, temperatures []float64) {
	slow, fast := temperature, p
	if p.period > temperature.period {
		slow, fast = p, temperature
	}
	in, other := slow.trace.Window(w.From, w.To), fast.trace.Window(w.From, w.To)
	half := slow.period / 2
	equal := slow.period <= 1.5*fast.period
	resampled := iso.Trace{}
	if equal {
		resampled = other.Resample(in.T, 3*fast.period)
	}
	var a, b []float64
	k := 0
	for i, t := range in.T {
		v := math.NaN()
		if equal {
			for k < len(resampled.T) && resampled.T[k] < t {
				k++
			}
			if k < len(resampled.T) && resampled.T[k] == t {
				v = resampled.Y[k]
			}
		} else if t-half >= w.From && t+half <= w.To {
			v = mean(other.Window(t-half, t+half).Y)
		}
		if !math.IsNaN(v) {
			times, a, b = append(times, t), append(a, in.Y[i]), append(b, v)
		}
	}
	if slow == p {
		return times, a, b
	}
	return times, b, a
}
