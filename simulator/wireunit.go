package simulator

import (
	"fmt"
	"slices"
	"strings"
)

// Densities of dry air that turn a mass flow into a volume flow at a reference condition, kg/m3.
const (
	densityANR = 1.185                         // ISO 8778: 20 degC, 100 kPa, 65 % relative humidity
	density0C  = 101325.0 / (287.05 * 273.15)  // 0 degC, 101.325 kPa, dry
	density20C = 101325.0 / (287.05 * 293.15)  // 20 degC, 101.325 kPa, dry
	kelvinZero = 273.15                        // 0 degC in K
	psi        = 6894.757293168                // Pa
	mmHg       = 133.322387415                 // Pa
	kgfPerCm2  = 98066.5                       // Pa
	litreMin   = 1e-3 / 60                     // m3/s
	cm3Min     = 1e-6 / 60                     // m3/s
	hour       = 3600.0                        // s
	fahrenheit = 5.0 / 9.0                     // K
	degFZero   = kelvinZero - 32.0*fahrenheit  // 0 degF in K
	rotation   = 2 * 3.14159265358979323846264 // rad
)

// wireUnit says how an instrument's figure follows from SI: figure = (si - zero - atmosphere) / factor.
type wireUnit struct {
	si     string // the plant's unit
	factor float64
	zero   float64
	gauge  bool // the atmosphere is taken off first
}

// wireUnits is the table of the units that registers and payloads may carry. It is the simulator's own: a wrong factor on
// the acquiring side must show as a wrong figure.
func wireUnits() map[string]wireUnit {
	table := map[string]wireUnit{
		"1": {si: "1", factor: 1}, "count": {si: "1", factor: 1}, "cycles": {si: "1", factor: 1}, "%RH": {si: "1", factor: 0.01}, "%": {si: "1", factor: 0.01}, "permille": {si: "1", factor: 1e-3}, "ppm": {si: "1", factor: 1e-6},
		"K": {si: "K", factor: 1}, "degC": {si: "K", factor: 1, zero: kelvinZero}, "degF": {si: "K", factor: fahrenheit, zero: degFZero},
		"m": {si: "m", factor: 1}, "mm": {si: "m", factor: 1e-3}, "cm": {si: "m", factor: 1e-2}, "um": {si: "m", factor: 1e-6},
		"s": {si: "s", factor: 1}, "ms": {si: "s", factor: 1e-3}, "us": {si: "s", factor: 1e-6}, "ns": {si: "s", factor: 1e-9}, "min": {si: "s", factor: 60}, "h": {si: "s", factor: hour},
		"m/s": {si: "m/s", factor: 1}, "mm/s": {si: "m/s", factor: 1e-3},
		"N": {si: "N", factor: 1}, "kN": {si: "N", factor: 1e3},
		"V": {si: "V", factor: 1}, "mV": {si: "V", factor: 1e-3}, "A": {si: "A", factor: 1}, "mA": {si: "A", factor: 1e-3},
		"Hz": {si: "Hz", factor: 1}, "kHz": {si: "Hz", factor: 1e3}, "rpm": {si: "Hz", factor: 1.0 / 60}, "W": {si: "W", factor: 1},
		"m3": {si: "m3", factor: 1}, "L": {si: "m3", factor: 1e-3}, "dm3": {si: "m3", factor: 1e-3}, "cm3": {si: "m3", factor: 1e-6}, "mL": {si: "m3", factor: 1e-6},
		"rad": {si: "rad", factor: 1}, "deg": {si: "rad", factor: rotation / 360},
		"kg": {si: "kg", factor: 1}, "g": {si: "kg", factor: 1e-3},
		"kg/s": {si: "kg/s", factor: 1}, "g/s": {si: "kg/s", factor: 1e-3}, "mg/s": {si: "kg/s", factor: 1e-6},
		"g/min": {si: "kg/s", factor: 1e-3 / 60}, "kg/min": {si: "kg/s", factor: 1.0 / 60}, "kg/h": {si: "kg/s", factor: 1 / hour}, "g/h": {si: "kg/s", factor: 1e-3 / hour},
		"sccm": {si: "kg/s", factor: cm3Min * density0C}, "slpm": {si: "kg/s", factor: litreMin * density0C},
	}
	for name, factor := range map[string]float64{
		"Pa": 1, "hPa": 100, "mbar": 100, "kPa": 1e3, "MPa": 1e6, "bar": 1e5, "psi": psi, "mmHg": mmHg, "kgf/cm2": kgfPerCm2,
	} {
		table[name] = wireUnit{si: "Pa", factor: factor} // a difference, or whatever the signal is
		table[name+"_a"] = wireUnit{si: "Pa", factor: factor}
		table[name+"_g"] = wireUnit{si: "Pa", factor: factor, gauge: true}
	}
	for condition, density := range map[string]float64{"_ANR": densityANR, "_0C": density0C, "_20C": density20C} {
		for name, factor := range map[string]float64{
			"L/min": litreMin, "dm3/min": litreMin, "L/s": 1e-3, "dm3/s": 1e-3, "L/h": 1e-3 / hour, "dm3/h": 1e-3 / hour,
			"m3/s": 1, "m3/min": 1.0 / 60, "m3/h": 1 / hour, "mL/min": cm3Min, "cm3/min": cm3Min, "cm3/s": 1e-6,
		} {
			table[name+condition] = wireUnit{si: "kg/s", factor: factor * density}
		}
		table["L"+condition] = wireUnit{si: "kg", factor: 1e-3 * density}
		table["m3"+condition] = wireUnit{si: "kg", factor: density}
	}
	return table
}

// lookupUnit returns the conversion from a signal's SI unit; an empty name keeps SI. The error names what is accepted.
func lookupUnit(name, si string) (wireUnit, error) {
	if name == "" {
		return wireUnit{si: si, factor: 1}, nil
	}
	table := wireUnits()
	u, known := table[name]
	if known && (si == "" || u.si == si) {
		return u, nil
	}
	if known && si == "1" && u.factor == 1 && u.zero == 0 && !u.gauge {
		return u, nil
	}
	var fitting []string
	for other, v := range table {
		if v.si == si || si == "" {
			fitting = append(fitting, other)
		}
	}
	slices.Sort(fitting)
	if !known {
		return wireUnit{}, fmt.Errorf("unit %q is unknown: from %s the simulator makes %s", name, si, strings.Join(fitting, ", "))
	}
	return wireUnit{}, fmt.Errorf("unit %s is made from %s, the signal is in %s: use one of %s", name, u.si, si, strings.Join(fitting, ", "))
}

// fromSI returns the instrument's figure.
func (u *wireUnit) fromSI(v, atmosphere float64) float64 {
	if u.gauge {
		v -= atmosphere
	}
	return (v - u.zero) / u.factor
}

// toSI returns the plant's figure for what a client wrote.
func (u *wireUnit) toSI(v, atmosphere float64) float64 {
	v = v*u.factor + u.zero
	if u.gauge {
		v += atmosphere
	}
	return v
}
