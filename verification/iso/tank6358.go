package iso

import "math"

const (
	methodDischarge   = "iso6358-2.discharge/1"
	methodCharge      = "iso6358-2.charge/1"
	methodIsothermal  = "iso6358-2.isothermality/1"
	leastTankSamples  = 100
	chokedShare       = 0.9  // of b: how far below the critical ratio the choked window ends
	leastChokedWindow = 3    // samples
	stepsPerSample    = 2    // Runge-Kutta steps
	restWindow        = 2.0  // s at the end of a stop test
	isothermalLimit   = 3.0  // K
	rateFactor        = 20.0 // samples per time constant that a discharge needs
)

// ChokedStart is how long after the first sample, s, the choked window of a
// discharge begins: the shut-off valve has opened by then.
const ChokedStart = 0.2

// Tank is an isothermal tank and its gas.
type Tank struct {
	Volume float64 // m³
	T      float64 // K, of tank and gas
	R      float64 // J/(kg·K)
}

// conductanceRate is what dp/dt = conductanceRate·C·p_upstream·f gives, 1/(m³/(s·Pa)·s).
func (k Tank) conductanceRate() float64 {
	return k.R * k.T / k.Volume * Rho0 * math.Sqrt(T0/k.T)
}

// TankTrace is the pressure in an isothermal tank, Pa absolute, sampled every Dt
// seconds from the opening of the valve: discharging to Other, the atmospheric
// pressure, or charging from Other, the constant supply, Pa absolute.
type TankTrace struct {
	Tank
	Dt    float64
	P     []float64
	Other float64
}

// TankFit is a least squares fit of the integrated tank equation.
type TankFit struct {
	FlowLaw
	PInit float64 // pressure at the first sample, Pa
	RMS   float64 // of the residuals, Pa
}

// ChokedFit is C from the choked part of a trace.
type ChokedFit struct {
	C       float64
	Samples int
	Limit   float64 // the window's pressure limit, Pa
}

// tankTest is a trace and what kind of test it is of.
type tankTest struct {
	TankTrace
	method   string
	charging bool
}

func dischargeTest(t TankTrace) tankTest { return tankTest{TankTrace: t, method: methodDischarge} }

func chargeTest(t TankTrace) tankTest {
	return tankTest{TankTrace: t, method: methodCharge, charging: true}
}

// rate gives dp/dt of the tank at pressure p.
func (t tankTest) rate(law FlowLaw, p float64) float64 {
	if t.charging {
		return t.conductanceRate() * law.C * t.Other * flowRatio(p/t.Other, 1, law.B, law.M)
	}
	return -t.conductanceRate() * law.C * p * flowRatio(t.Other/p, 1, law.B, law.M)
}

// integrate fills p with the pressures at the samples. Convention: classical
// Runge-Kutta, two steps per sample, so that a fit is the same everywhere; at
// 100 samples per time constant it is exact to a fraction of a pascal.
func (t tankTest) integrate(law FlowLaw, start float64, p []float64) {
	h := t.Dt / stepsPerSample
	y := start
	for i := range p {
		p[i] = y
		for range stepsPerSample {
			k1 := t.rate(law, y)
			k2 := t.rate(law, y+h/2*k1)
			k3 := t.rate(law, y+h/2*k2)
			k4 := t.rate(law, y+h*k3)
			y += h / 6 * (k1 + 2*k2 + 2*k3 + k4)
		}
	}
}

func (t tankTest) check() error {
	n := len(t.P)
	if n < leastTankSamples {
		return refuse(t.method, TooFewPoints, "%d samples; a tank test needs %d", n, leastTankSamples)
	}
	if !(t.Volume > 0) || !(t.T > 0) || !(t.R > 0) || !(t.Dt > 0) || !(t.Other > 0) {
		return refuse(t.method, OutOfRange, "volume %g m³, T %g K, R %g J/(kg·K), dt %g s, outer pressure %g Pa must be positive", t.Volume, t.T, t.R, t.Dt, t.Other)
	}
	for i, p := range t.P {
		if !(p > 0) {
			return refuse(t.method, OutOfRange, "sample %d is %g Pa; tank pressures are absolute", i, p)
		}
	}
	return nil
}

// FitDischarge finds C, b and the pressure at the first sample with m held, by
// least squares of the integrated equation
//
//	dp/dt = -(R·T/V)·C·rho0·p·sqrt(T0/T)·f(p_atm/p; b, m)
//
// on the trace (ISO 6358-2, isothermal tank; convention P-8). It refuses a
// trace that starts unchoked, that is too short, or that is sampled too slowly
// for its time constant.
func FitDischarge(t TankTrace, m float64) (TankFit, error) {
	return dischargeTest(t).fit(heldM, m)
}

// FitDischargeM is FitDischarge with m as a further unknown.
func FitDischargeM(t TankTrace) (TankFit, error) { return dischargeTest(t).fit(freeM, startM) }

// FitCharge finds C, b and the pressure at the first sample with m held, by
// least squares of
//
//	dp/dt = (R·T/V)·C·rho0·p_s·sqrt(T0/T)·f(p/p_s; b, m)
//
// on the trace of a tank filled from a constant supply p_s.
func FitCharge(t TankTrace, m float64) (TankFit, error) { return chargeTest(t).fit(heldM, m) }

// FitChargeM is FitCharge with m as a further unknown.
func FitChargeM(t TankTrace) (TankFit, error) { return chargeTest(t).fit(freeM, startM) }

// Unknowns of a tank fit in the order of the parameters: C, b, the pressure at
// the first sample and, where it is free, m from its start.
const (
	heldM  = 3
	freeM  = 4
	startM = 0.5
)

// fit holds m where k, heldM or freeM, leaves it out.
func (t tankTest) fit(k int, m float64) (TankFit, error) {
	if err := t.check(); err != nil {
		return TankFit{}, err
	}
	const startB = 0.35
	c0, err := t.startConductance()
	if err != nil {
		return TankFit{}, err
	}
	if constant := 1 / (t.conductanceRate() * c0); constant < rateFactor*t.Dt {
		return TankFit{}, refuse(t.method, SamplingTooSlow, "the tank's time constant is %.3g s, the samples are %.3g s apart; sample %.0f times per time constant or take a larger tank", constant, t.Dt, rateFactor)
	}
	p0 := t.P[0]
	law := func(p []float64) (FlowLaw, float64) {
		l := FlowLaw{C: p[0] * c0, B: p[1], M: m}
		if len(p) > 3 {
			l.M = p[3]
		}
		return l, p[2] * p0
	}
	n := len(t.P)
	up, down := make([]float64, n), make([]float64, n)
	problem := curve{n: n, k: k}
	problem.lower = [maxParameters]float64{0.1, 0.01, 0.5, lowestM}
	problem.upper = [maxParameters]float64{10, highestB, 2, highestM}
	problem.evaluate = func(p, res, jac []float64) {
		l, start := law(p)
		t.integrate(l, start, res)
		for i := range res {
			res[i] = (res[i] - t.P[i]) / p0
		}
		if jac == nil {
			return
		}
		const h = 1e-6
		var q [maxParameters]float64
		copy(q[:], p)
		for j := range k {
			q[j] = p[j] + h
			l, start = law(q[:k])
			t.integrate(l, start, up)
			q[j] = p[j] - h
			l, start = law(q[:k])
			t.integrate(l, start, down)
			q[j] = p[j]
			for i := range n {
				jac[i*k+j] = (up[i] - down[i]) / (2 * h) / p0
			}
		}
	}
	p := []float64{1, startB, 1, m}[:k]
	var w workspace
	sse, ok := problem.minimise(p, &w)
	if !ok {
		return TankFit{}, refuse(t.method, NoFit, "the integrated tank equation does not fit the trace; did the valve open at the first sample, is the volume right?")
	}
	fit := TankFit{RMS: p0 * math.Sqrt(sse/float64(n))}
	fit.FlowLaw, fit.PInit = law(p)
	if fit.B <= problem.lower[1] || fit.B >= problem.upper[1] {
		return fit, refuse(t.method, NoChokedPoint, "the fit runs to b = %.2f: the trace holds no choked part; start from a higher pressure difference", fit.B)
	}
	return fit, nil
}

// startConductance guesses C from the first part of the trace, which must be
// choked: ratios below startRatio.
func (t tankTest) startConductance() (float64, error) {
	const startRatio = 0.45
	to := 0
	for to < len(t.P) && t.ratio(t.P[to]) < startRatio {
		to++
	}
	to = max(to, leastChokedWindow)
	if to > len(t.P) || t.ratio(t.P[0]) > 0.6 {
		return 0, refuse(t.method, NoChokedPoint, "the trace starts at the pressure ratio %.2f; it needs a choked part, below about 0.4", t.ratio(t.P[0]))
	}
	c := t.conductance(Uniform(t.Dt, t.P[:to]).T, t.P[:to])
	if !(c > 0) {
		return 0, refuse(t.method, NoFit, "the pressure does not move the way it should from the first sample on; does the trace start at the opening of the valve?")
	}
	return c, nil
}

func (t tankTest) ratio(p float64) float64 {
	if t.charging {
		return p / t.Other
	}
	return t.Other / p
}

// conductance is C from a choked stretch: the slope of ln p when discharging, of
// p when charging.
func (t tankTest) conductance(times, p []float64) float64 {
	if t.charging {
		return fitLine(times, p).Slope / (t.conductanceRate() * t.Other)
	}
	logs := make([]float64, len(p))
	for i, v := range p {
		logs[i] = math.Log(v)
	}
	return -fitLine(times, logs).Slope / t.conductanceRate()
}

// ChokedDischarge is C from the slope of ln p over the choked samples: t >= 0.2 s
// and p >= p_atm/(0.9·b). C = -slope·V/(rho0·R·sqrt(T·T0)).
func ChokedDischarge(t TankTrace, b float64) (ChokedFit, error) {
	limit := t.Other / (chokedShare * b)
	return dischargeTest(t).choked(limit, func(time, p float64) bool {
		return time >= ChokedStart && p >= limit
	})
}

// ChokedCharge is C from the slope of p over the choked samples, p <= 0.9·b·p_s:
// C = slope·V/(R·T·rho0·p_s·sqrt(T0/T)).
func ChokedCharge(t TankTrace, b float64) (ChokedFit, error) {
	limit := chokedShare * b * t.Other
	return chargeTest(t).choked(limit, func(_, p float64) bool { return p <= limit })
}

func (t tankTest) choked(limit float64, inside func(time, p float64) bool) (ChokedFit, error) {
	if err := t.check(); err != nil {
		return ChokedFit{}, err
	}
	var times, pressures []float64
	for i, p := range t.P {
		if time := float64(i) * t.Dt; inside(time, p) {
			times, pressures = append(times, time), append(pressures, p)
		}
	}
	if len(times) < leastChokedWindow {
		return ChokedFit{}, refuse(t.method, NoChokedPoint, "%d samples in the choked part (limit %.1f kPa); it needs %d: start from a higher pressure difference or sample faster", len(times), limit/1e3, leastChokedWindow)
	}
	return ChokedFit{C: t.conductance(times, pressures), Samples: len(times), Limit: limit}, nil
}

// DischargeTime is the time, s, in which an isothermal tank falls from start to
// p, Pa absolute, while discharging into ambient. With r = p_atm/p =
// b+(1-b)·sin θ the subsonic part is ∫(1-b)·cos^(1-2m)θ/(K·r) dθ, K =
// C·rho0·R·sqrt(T·T0)/V; for m = 0.5 the integrand is smooth.
func DischargeTime(k Tank, law FlowLaw, start, p, ambient float64) float64 {
	rate := k.conductanceRate() * law.C
	critical := ambient / law.B
	time := 0.0
	if start > critical {
		time = math.Log(start/max(p, critical)) / rate
		start = critical
	}
	if p >= start {
		return time
	}
	angle := func(p float64) float64 { return math.Asin((ambient/p - law.B) / (1 - law.B)) }
	integrand := func(theta float64) float64 {
		return (1 - law.B) * math.Pow(math.Cos(theta), 1-2*law.M) / (law.B + (1-law.B)*math.Sin(theta))
	}
	return time + simpson(integrand, angle(start), angle(p))/rate
}

func simpson(f func(float64) float64, from, to float64) float64 {
	const panels = 2000
	h := (to - from) / panels
	sum := f(from) + f(to)
	for i := 1; i < panels; i++ {
		weight := 2.0
		if i%2 == 1 {
			weight = 4
		}
		sum += weight * f(from+float64(i)*h)
	}
	return sum * h / 3
}

// Isothermality is what the stop test of ISO 6358-2 finds.
type Isothermality struct {
	PStop, PRest float64 // Pa: when the discharge stopped, and after the gas took the wall's temperature
	TStop        float64 // K, of the gas when it stopped: T_wall·p_stop/p_rest
	Drop         float64 // K: T_wall - TStop
	Isothermal   bool    // Drop within 3 K; else correct with qm = -(V/R)·d(p/T)/dt
}

// StopTest finds how far the gas had cooled when a discharge was stopped at
// sample stop, from the pressure it recovered to: the mean of the last 2 s.
func StopTest(dt float64, p []float64, stop int, wall float64) (Isothermality, error) {
	rest := int(math.Round(restWindow / dt))
	if stop < 0 || stop >= len(p) || rest < 1 || stop >= len(p)-rest {
		return Isothermality{}, refuse(methodIsothermal, RecordTooShort, "the discharge stops at sample %d of %d; the last %g s must lie after it", stop, len(p), restWindow)
	}
	s := Isothermality{PStop: p[stop], PRest: mean(p[len(p)-rest:])}
	s.TStop = wall * s.PStop / s.PRest
	s.Drop = wall - s.TStop
	s.Isothermal = math.Abs(s.Drop) <= isothermalLimit
	return s, nil
}
