package acquisition

import (
	"fmt"
	"slices"
	"strings"
)

// Reference atmosphere ANR of ISO 8778: 20 °C, 100 kPa absolute, 65 % relative
// humidity.
const (
	ANRDensity     = 1.185  // kg/m3
	ANRPressure    = 100e3  // Pa absolute
	ANRTemperature = 293.15 // K

	// NormalDensity is dry air at 0 °C and 101 325 Pa, the reference that many
	// flow meters call "normal" or "standard". kg/m3.
	NormalDensity = 101325 / (287.05 * 273.15)
)

// Dimension is what a unit measures. Gauge, absolute and differential
// pressure are three dimensions: one becomes another only with an atmospheric
// pressure, explicitly.
type Dimension string

// The dimensions of the field.
const (
	PressureAbsolute Dimension = "absolute pressure"
	PressureGauge    Dimension = "gauge pressure"
	PressureDelta    Dimension = "pressure difference"
	Temperature      Dimension = "temperature"
	TemperatureDelta Dimension = "temperature difference"
	MassFlow         Dimension = "mass flow"
	VolumeFlow       Dimension = "volume flow at actual conditions"
	Length           Dimension = "length"
	Volume           Dimension = "volume"
	Duration         Dimension = "time"
	Velocity         Dimension = "velocity"
	Force            Dimension = "force"
	Mass             Dimension = "mass"
	Voltage          Dimension = "voltage"
	Current          Dimension = "current"
	Power            Dimension = "power"
	Frequency        Dimension = "frequency"
	Ratio            Dimension = "ratio"
	Count            Dimension = "count"
	Conductance      Dimension = "sonic conductance"
	Density          Dimension = "density"
)

// Unit is a name of the unit table: SI value = value · Factor + Offset. Flow
// at a reference state counts as mass flow.
type Unit struct {
	Name      string
	Dimension Dimension
	Factor    float64
	Offset    float64
	SI        string // name of the SI unit
	Symbol    string // as printed for people
}

// Units returns the unit table in a fixed order.
func Units() []Unit {
	var all []Unit
	add := func(d Dimension, si, name, symbol string, factor, offset float64) {
		all = append(all, Unit{Name: name, Dimension: d, Factor: factor, Offset: offset, SI: si, Symbol: symbol})
	}
	for _, p := range []struct {
		name   string
		factor float64
	}{{"Pa", 1}, {"hPa", 100}, {"kPa", 1e3}, {"MPa", 1e6}, {"mbar", 100}, {"bar", 1e5}, {"psi", 6894.757293168361}} {
		add(PressureAbsolute, "Pa_a", p.name+"_a", p.name+" abs", p.factor, 0)
		add(PressureGauge, "Pa_g", p.name+"_g", p.name+" gauge", p.factor, 0)
		add(PressureDelta, "Pa", p.name, p.name, p.factor, 0)
	}
	add(Temperature, "K", "K", "K", 1, 0)
	add(Temperature, "K", "degC", "°C", 1, 273.15)
	add(Temperature, "K", "degF", "°F", 5.0/9.0, 273.15-32*5.0/9.0)
	add(TemperatureDelta, "K_delta", "K_delta", "K", 1, 0)
	add(MassFlow, "kg/s", "kg/s", "kg/s", 1, 0)
	add(MassFlow, "kg/s", "g/s", "g/s", 1e-3, 0)
	add(MassFlow, "kg/s", "kg/h", "kg/h", 1.0/3600, 0)
	add(MassFlow, "kg/s", "g/min", "g/min", 1e-3/60, 0)
	for _, v := range []struct {
		name   string
		factor float64
	}{
		{"m3/s", 1},
		{"m3/h", 1.0 / 3600},
		{"m3/min", 1.0 / 60},
		{"L/s", 1e-3},
		{"L/min", 1e-3 / 60},
		{"L/h", 1e-3 / 3600},
		{"dm3/s", 1e-3},
		{"dm3/min", 1e-3 / 60},
		{"dm3/h", 1e-3 / 3600},
		{"cm3/min", 1e-6 / 60},
		{"cm3/s", 1e-6},
		{"mL/min", 1e-6 / 60},
	} {
		add(VolumeFlow, "m3/s", v.name, v.name, v.factor, 0)
		add(MassFlow, "kg/s", v.name+"_ANR", v.name+" (ANR)", v.factor*ANRDensity, 0)
		add(MassFlow, "kg/s", v.name+"_0C", v.name+" (0 °C)", v.factor*NormalDensity, 0)
	}
	add(Length, "m", "m", "m", 1, 0)
	add(Length, "m", "cm", "cm", 1e-2, 0)
	add(Length, "m", "mm", "mm", 1e-3, 0)
	add(Length, "m", "um", "µm", 1e-6, 0)
	add(Volume, "m3", "m3", "m³", 1, 0)
	add(Volume, "m3", "L", "L", 1e-3, 0)
	add(Volume, "m3", "dm3", "dm³", 1e-3, 0)
	add(Volume, "m3", "cm3", "cm³", 1e-6, 0)
	add(Volume, "m3", "mL", "mL", 1e-6, 0)
	add(Duration, "s", "s", "s", 1, 0)
	add(Duration, "s", "ms", "ms", 1e-3, 0)
	add(Duration, "s", "us", "µs", 1e-6, 0)
	add(Duration, "s", "ns", "ns", 1e-9, 0)
	add(Duration, "s", "min", "min", 60, 0)
	add(Duration, "s", "h", "h", 3600, 0)
	add(Velocity, "m/s", "m/s", "m/s", 1, 0)
	add(Velocity, "m/s", "mm/s", "mm/s", 1e-3, 0)
	add(Force, "N", "N", "N", 1, 0)
	add(Force, "N", "kN", "kN", 1e3, 0)
	add(Mass, "kg", "kg", "kg", 1, 0)
	add(Mass, "kg", "g", "g", 1e-3, 0)
	add(Voltage, "V", "V", "V", 1, 0)
	add(Voltage, "V", "mV", "mV", 1e-3, 0)
	add(Current, "A", "A", "A", 1, 0)
	add(Current, "A", "mA", "mA", 1e-3, 0)
	add(Power, "W", "W", "W", 1, 0)
	add(Frequency, "Hz", "Hz", "Hz", 1, 0)
	add(Frequency, "Hz", "kHz", "kHz", 1e3, 0)
	add(Frequency, "Hz", "rpm", "1/min", 1.0/60, 0)
	add(Ratio, "1", "1", "", 1, 0)
	add(Ratio, "1", "%", "%", 1e-2, 0)
	add(Ratio, "1", "%RH", "% RH", 1e-2, 0)
	add(Ratio, "1", "ppm", "ppm", 1e-6, 0)
	add(Count, "count", "count", "", 1, 0)
	add(Count, "count", "cycles", "cycles", 1, 0)
	add(Conductance, "m3/(s.Pa)", "m3/(s.Pa)", "m³/(s·Pa)", 1, 0)
	add(Conductance, "m3/(s.Pa)", "dm3/(s.bar)", "dm³/(s·bar)", 1e-8, 0)
	add(Density, "kg/m3", "kg/m3", "kg/m³", 1, 0)
	return all
}

// LookupUnit returns the unit with the given name, written exactly. "" is the
// plain ratio. The error names the nearest choices, for example the gauge and
// absolute forms of a bare pressure unit.
func LookupUnit(name string) (Unit, error) {
	if name == "" {
		name = "1"
	}
	all := Units()
	if i := slices.IndexFunc(all, func(u Unit) bool { return u.Name == name }); i >= 0 {
		return all[i], nil
	}
	var near []string
	for _, u := range all {
		if strings.EqualFold(u.Name, name) || strings.EqualFold(strings.Split(u.Name, "_")[0], strings.Split(name, "_")[0]) {
			near = append(near, u.Name)
		}
	}
	if len(near) == 0 {
		return Unit{}, fmt.Errorf("unit %q is not known", name)
	}
	return Unit{}, fmt.Errorf("unit %q is not known; did you mean %s?", name, strings.Join(near, ", "))
}

// ToSI converts a value of the unit to SI.
func (u Unit) ToSI(v float64) float64 { return v*u.Factor + u.Offset }

// FromSI converts an SI value to the unit.
func (u Unit) FromSI(v float64) float64 { return (v - u.Offset) / u.Factor }

// Convert converts a value between units of one dimension; anything else is an
// error that says what is missing.
func Convert(v float64, from, to Unit) (float64, error) {
	if from.Dimension != to.Dimension {
		hint := ""
		if strings.Contains(string(from.Dimension), "pressure") && strings.Contains(string(to.Dimension), "pressure") {
			hint = "; name the atmospheric pressure explicitly, for example in a derived channel"
		}
		return 0, fmt.Errorf("convert %s to %s: %s is not %s%s", from.Name, to.Name, from.Dimension, to.Dimension, hint)
	}
	return to.FromSI(from.ToSI(v)), nil
}
