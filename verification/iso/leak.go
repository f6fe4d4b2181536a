package iso

import (
	"fmt"
	"math"
)

const methodLeak = "leak.decay/1"

// LeakFlow is one leak in the units that the trade writes it in.
type LeakFlow struct {
	Qm  float64 // kg/s, positive out of the volume
	PV  float64 // Pa·m³/s at T0
	ANR float64 // m³/s (ANR)
}

func leakFlow(qm, r float64) LeakFlow {
	return LeakFlow{Qm: qm, PV: PVFlow(qm, r), ANR: VolumeFlowANR(qm)}
}

// LeakDecay is the result of a pressure decay test.
type LeakDecay struct {
	Compensated   LeakFlow
	Error         float64 // standard error of Compensated.Qm from the regression, kg/s, n-2 degrees of freedom
	Samples       int
	Uncompensated LeakFlow // as if the temperature had stood still, to show what it hid
	Change        float64  // (first p - last p)/first p
}

// Limits of a decay test.
const (
	leastLeakSamples  = 20
	largestLeakChange = 0.1 // of the start pressure (ASTM E2930 principle)
)

// EvaluateLeakDecay finds the leak of a closed volume, m³, from its absolute
// pressure, Pa, and gas temperature, K, sampled together at times t, s. r is
// the gas constant, J/(kg·K); RANR makes pV and ANR flows agree exactly.
//
// The mass is pV/(RT), so qm = -(V/R)·d(p/T)/dt, the slope by ordinary least
// squares (principle of EN 13184); uncompensated it is -(V/(R·mean T))·dp/dt.
// It refuses fewer than 20 samples and a pressure that changed by more than a
// tenth.
func EvaluateLeakDecay(t, p, temperature []float64, volume, r float64) (LeakDecay, error) {
	n := len(t)
	if len(p) != n || len(temperature) != n {
		return LeakDecay{}, fmt.Errorf("%d times, %d pressures and %d temperatures; each sample has all three", n, len(p), len(temperature))
	}
	if n < leastLeakSamples {
		return LeakDecay{}, refuse(methodLeak, TooFewPoints, "%d samples; a slope with its uncertainty needs %d", n, leastLeakSamples)
	}
	if !(volume > 0) || !(r > 0) {
		return LeakDecay{}, refuse(methodLeak, OutOfRange, "volume %g m³ and gas constant %g J/(kg·K) must be positive", volume, r)
	}
	ratio := make([]float64, n)
	for i := range ratio {
		if !(p[i] > 0) || !(temperature[i] > 0) {
			return LeakDecay{}, refuse(methodLeak, OutOfRange, "sample %d: p %g Pa and T %g K must be absolute and positive", i, p[i], temperature[i])
		}
		ratio[i] = p[i] / temperature[i]
	}
	d := LeakDecay{Samples: n, Change: (p[0] - p[n-1]) / p[0]}
	if math.Abs(d.Change) > largestLeakChange {
		return d, refuse(methodLeak, PressureChangeTooLarge, "the pressure changed by %.1f %% (at most %.0f %%); the leak is not constant over such a change: shorten the test or enlarge the volume", 100*d.Change, 100*largestLeakChange)
	}
	slope := fitLine(t, ratio)
	d.Compensated = leakFlow(-volume/r*slope.Slope, r)
	d.Error = volume / r * slope.SlopeError
	d.Uncompensated = leakFlow(-volume/(r*mean(temperature))*fitLine(t, p).Slope, r)
	return d, nil
}

// TwoPointLeak is the amount of substance that entered a closed volume per
// second, mol/s, from two states: n = (V/R)·(p2/T2 - p1/T1)/dt with the molar
// gas constant R, J/(mol·K) (40 CFR 1065.644). Positive is a gain. The flow of
// pressure times volume at T0 is n·R·T0.
func TwoPointLeak(volume, molar, p1, t1, p2, t2, dt float64) (float64, error) {
	if !(volume > 0) || !(molar > 0) || !(p1 >= 0) || !(p2 >= 0) || !(t1 > 0) || !(t2 > 0) || !(dt > 0) {
		return 0, refuse(methodLeak, OutOfRange, "volume %g m³, R %g, p %g and %g Pa, T %g and %g K, dt %g s: absolute and positive values are needed", volume, molar, p1, p2, t1, t2, dt)
	}
	return volume / molar * (p2/t2 - p1/t1) / dt, nil
}

// LeakUnit is a unit of leak rates.
type LeakUnit string

// Units of leak rates. Volumes (ANR) are at the reference atmosphere of ISO
// 8778; a standard cubic centimetre is dry gas at 0 °C and 101 325 Pa; a pV
// flow is at the reference temperature of 20 °C unless its name says 0 °C.
const (
	CubicCmPerMinuteANR  LeakUnit = "cm3/min (ANR)"
	LitrePerMinuteANR    LeakUnit = "dm3/min (ANR)"
	LitrePerHourANR      LeakUnit = "dm3/h (ANR)"
	LitrePerSecondANR    LeakUnit = "dm3/s (ANR)"
	CubicMetrePerSecond  LeakUnit = "m3/s (ANR)"
	StandardCubicCm      LeakUnit = "sccm (0 C, 101325 Pa)"
	StandardLitre        LeakUnit = "slpm (0 C, 101325 Pa)"
	PascalCubicMetre     LeakUnit = "Pa*m3/s (20 C)"
	PascalCubicMetreCold LeakUnit = "Pa*m3/s (0 C)"
	MillibarLitre        LeakUnit = "mbar*l/s (20 C)"
	KilogramPerSecond    LeakUnit = "kg/s"
	GramPerHour          LeakUnit = "g/h"
)

const (
	iceTemperature = 273.15 // K
	atmosphere     = 101325 // Pa
)

// LeakMassFlow converts value in unit to kg/s. Units at 0 °C are dry gas with
// the gas constant dry, J/(kg·K); RDry is air's.
func LeakMassFlow(value float64, unit LeakUnit, dry float64) (float64, error) {
	switch unit {
	case CubicCmPerMinuteANR:
		return value * CubicCmPerMinute * Rho0, nil
	case LitrePerMinuteANR:
		return value * LitrePerMinute * Rho0, nil
	case LitrePerHourANR:
		return value * LitrePerHour * Rho0, nil
	case LitrePerSecondANR:
		return value * 1e-3 * Rho0, nil
	case CubicMetrePerSecond:
		return value * Rho0, nil
	case StandardCubicCm:
		return value * CubicCmPerMinute * atmosphere / (dry * iceTemperature), nil
	case StandardLitre:
		return value * LitrePerMinute * atmosphere / (dry * iceTemperature), nil
	case PascalCubicMetre:
		return value / (RANR * T0), nil
	case PascalCubicMetreCold:
		return value / (dry * iceTemperature), nil
	case MillibarLitre:
		return value * 0.1 / (RANR * T0), nil
	case KilogramPerSecond:
		return value, nil
	case GramPerHour:
		return value * 1e-3 / 3600, nil
	}
	return 0, fmt.Errorf("leak unit %q is unknown; write for example %q", unit, CubicCmPerMinuteANR)
}

// LeakDetectionLimit is three standard uncertainties of qm, kg/s: a smaller
// leak is not told from none.
func LeakDetectionLimit(u float64) float64 { return 3 * u }

// LaminarLeak scales a laminar leak, kg/s, from the pressure inside it was
// measured at to another, both Pa absolute, by q ∝ p² - p_atm².
func LaminarLeak(qm, measured, wanted, atmospheric float64) float64 {
	return qm * (wanted*wanted - atmospheric*atmospheric) / (measured*measured - atmospheric*atmospheric)
}

// LeakInputs are the standard uncertainties of a decay test; zero is none.
type LeakInputs struct {
	Volume            float64 // relative
	Pressure          float64 // relative, scale of the pressure sensor
	PressureDrift     float64 // Pa/s
	Temperature       float64 // K, of the absolute temperature
	TemperatureDrift  float64 // K/s: the limiting one, since (p/T)·dT counts as dp
	RepeatabilityMean float64 // kg/s, of the mean of repeated tests
	RepeatabilityDOF  float64
}

// LeakUncertainty is the budget of the compensated leak d, kg/s, of a volume, m³,
// around pressure p, Pa, and temperature T, K:
//
//	u² = u_slope² + (qm·u_V/V)² + (qm·u_p/p)² + (qm·u_T/T)² + (V/(R·T)·u(dp/dt))² + (V·p/(R·T²)·u(dT/dt))²
//
// with the regression's u_slope at n-2 degrees of freedom.
func LeakUncertainty(d LeakDecay, volume, r, p, temperature float64, u LeakInputs) (Budget, error) {
	qm := d.Compensated.Qm
	mass := volume / (r * temperature)
	inputs := []Input{
		{Name: "slope", U: d.Error, DOF: float64(d.Samples - 2)},
		{Name: "volume", U: u.Volume},
		{Name: "pressure", U: u.Pressure},
		{Name: "pressure_drift", U: u.PressureDrift},
		{Name: "temperature", U: u.Temperature / temperature},
		{Name: "temperature_drift", U: u.TemperatureDrift},
		{Name: "repeatability", U: u.RepeatabilityMean, DOF: u.RepeatabilityDOF},
	}
	return Propagate(func(x, y []float64) error {
		y[0] = qm*(1+x[1]+x[2]-x[4]) + x[0] - mass*x[3] + mass*p/temperature*x[5] + x[6]
		return nil
	}, 1, inputs)
}
