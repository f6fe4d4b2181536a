package verification

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

// An Accuracy is what is known of the systematic error of a channel: standard
// uncertainties in SI. Offset and Scale are common to all its readings.
type Accuracy struct {
	Offset   float64 // SI
	Scale    float64 // relative
	Drift    float64 // SI per second
	Shape    iso.Distribution
	Stated   bool
	Wording  string // as written
	Coverage float64
}

// ParseAccuracy reads what a certificate or data sheet states, terms joined by
// " + ": half widths of a rectangular distribution ("0.5 kPa", "0.1 % rdg",
// "0.05 % FS", "20 Pa/300s" for drift), or expanded uncertainties of a
// certificate, led by U and with their k ("U 0.2 kPa k=2"). unit is the
// channel's, full its full scale in that unit (0: none known).
func ParseAccuracy(text string, unit acquisition.Unit, full float64) (Accuracy, error) {
	a := Accuracy{Shape: iso.Rectangular, Wording: strings.TrimSpace(text)}
	if a.Wording == "" {
		a.Wording = "none stated"
		return a, nil
	}
	a.Stated = true
	for term := range strings.SplitSeq(text, "+") {
		if err := a.term(strings.TrimSpace(term), unit, full); err != nil {
			return a, fmt.Errorf("accuracy %q: %w", text, err)
		}
	}
	return a, nil
}

func (a *Accuracy) term(term string, unit acquisition.Unit, full float64) error {
	rest, expanded := strings.CutPrefix(term, "U ")
	k := 2.0
	if before, after, ok := strings.Cut(rest, " k="); ok {
		v, err := strconv.ParseFloat(strings.TrimSpace(after), 64)
		if err != nil || v <= 0 {
			return fmt.Errorf("%q is no coverage factor", after)
		}
		k, rest = v, before
	}
	number, of, ok := strings.Cut(strings.TrimSpace(rest), " ")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || v < 0 || math.IsInf(v, 0) {
		return fmt.Errorf("%q is not a half width, a blank and a unit, for example 0.5 kPa, 0.1 %% rdg or 0.05 %% FS", term)
	}
	u := iso.TypeB(v, iso.Rectangular, k)
	if expanded {
		u = iso.TypeB(v, iso.Normal, k)
		a.Shape = iso.Normal
	}
	of = strings.TrimSpace(of)
	switch of {
	case "% rdg", "%rdg":
		a.Scale = math.Hypot(a.Scale, u/100)
		return nil
	case "% FS", "%FS":
		if !(full > 0) {
			return fmt.Errorf("%q is a share of the full scale, and the channel has no range", term)
		}
		a.Offset = math.Hypot(a.Offset, u/100*full*unit.Factor)
		return nil
	}
	name, per, drifts := strings.Cut(of, "/")
	if drifts {
		if known, err := acquisition.LookupUnit(of); err == nil {
			name, drifts = known.Name, false
		}
	}
	x, err := acquisition.LookupUnit(name)
	if err != nil {
		return err
	}
	if !alike(x.Dimension, unit.Dimension) {
		return fmt.Errorf("%s is a %s, the channel's %s a %s", x.Name, x.Dimension, unit.Name, unit.Dimension)
	}
	u *= x.Factor
	if !drifts {
		a.Offset = math.Hypot(a.Offset, u)
		return nil
	}
	seconds, err := duration(per)
	if err != nil {
		return err
	}
	a.Drift = math.Hypot(a.Drift, u/seconds)
	return nil
}

// duration reads "300s", "5min", "h" as seconds.
func duration(text string) (float64, error) {
	text = strings.TrimSpace(text)
	unit := strings.TrimLeft(text, "0123456789.eE+- ")
	number := strings.TrimSpace(strings.TrimSuffix(text, unit))
	v := 1.0
	if number != "" {
		var err error
		if v, err = strconv.ParseFloat(number, 64); err != nil || v <= 0 {
			return 0, fmt.Errorf("%q is no time", text)
		}
	}
	if unit == "" {
		unit = "s"
	}
	if unit == "d" || unit == "day" {
		return v * 86400, nil
	}
	u, err := acquisition.LookupUnit(unit)
	if err != nil || u.Dimension != acquisition.Duration {
		return 0, fmt.Errorf("%q is no time: s, min, h or day", text)
	}
	return u.ToSI(v), nil
}

// alike says whether a difference of one dimension is a difference of the other.
func alike(a, b acquisition.Dimension) bool {
	kind := func(d acquisition.Dimension) acquisition.Dimension {
		switch d {
		case acquisition.PressureAbsolute, acquisition.PressureGauge, acquisition.PressureDelta:
			return acquisition.PressureDelta
		case acquisition.Temperature, acquisition.TemperatureDelta:
			return acquisition.TemperatureDelta
		case acquisition.MassFlow, acquisition.VolumeFlow, acquisition.Length, acquisition.Volume, acquisition.Duration, acquisition.Velocity,
			acquisition.Force, acquisition.Mass, acquisition.Voltage, acquisition.Current, acquisition.Power, acquisition.Frequency,
			acquisition.Ratio, acquisition.Count, acquisition.Conductance, acquisition.Density:
		}
		return d
	}
	return kind(a) == kind(b)
}
