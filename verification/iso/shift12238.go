package iso

import (
	"math"
	"slices"
)

const methodShift = "iso12238/1"

// Shift is the kind of a shift: the outlet fills or exhausts.
type Shift string

// Kinds of ISO 12238; they replace on and off, whose meaning depends on the
// valve's normal position.
const (
	Fill    Shift = "fill"
	Exhaust Shift = "exhaust"
)

// ShiftTrace is the outlet's pressure around one change of the control signal.
type ShiftTrace struct {
	Kind     Shift
	Rate     float64   // samples per second
	Edge     float64   // time of the control edge in samples; may lie between two
	Outlet   []float64 // Pa absolute
	Supply   float64   // Pa absolute, p1
	Ambient  float64   // Pa absolute, p_atm
	StaySpan int       // consecutive samples beyond the threshold; 0 is 5 (convention P-13)
}

const (
	defaultStay      = 5
	leastShiftRate   = 1e3 // Hz: a sample's width of 1 ms is the coarsest sense
	baselineSamples  = 5
	samplesPerAnswer = 5 // samples that the shortest time to be told must span
)

// A Crossing is where a trace passes a threshold.
type Crossing struct {
	Time  float64 // s from the control edge
	Slope float64 // Pa/s around it: what a pressure error becomes in time
}

// ShiftingTime is the time, s, from the control edge to a change of the outlet
// pressure by fraction of p1 - p_atm from the baseline, the mean of the samples
// before the edge. ISO 12238 asks for the fraction 0.1; 0.5 and 0.9 are older
// practice. The crossing is at the first of StaySpan consecutive samples beyond
// the threshold, by linear interpolation from the sample before.
//
// It refuses a trace sampled slower than 1 kHz, one without baseline or
// crossing, and a time shorter than five sample periods: a shifting time of
// 12 ms cannot be told from a 20 ms poll.
func (s ShiftTrace) ShiftingTime(fraction float64) (Crossing, error) {
	if s.Rate < leastShiftRate {
		return Crossing{}, refuse(methodShift, SamplingTooSlow, "%g samples per second; a shifting time needs %g, better 10 000: have the device buffer its trace", s.Rate, leastShiftRate)
	}
	edge := int(math.Ceil(s.Edge))
	if edge < baselineSamples || edge >= len(s.Outlet) {
		return Crossing{}, refuse(methodShift, RecordTooShort, "the control edge is at sample %g of %d; the baseline needs %d samples before it", s.Edge, len(s.Outlet), baselineSamples)
	}
	step := s.Supply - s.Ambient
	if !(step > 0) {
		return Crossing{}, refuse(methodShift, OutOfRange, "supply %g Pa is not above the atmosphere's %g Pa; both are absolute", s.Supply, s.Ambient)
	}
	stay := s.StaySpan
	if stay == 0 {
		stay = defaultStay
	}
	baseline := mean(s.Outlet[:edge])
	level := baseline + fraction*step
	if s.Kind == Exhaust {
		level = baseline - fraction*step
	}
	k, ok := threshold{level: level, rising: s.Kind == Fill, strict: true, stay: stay}.cross(s.Outlet, edge)
	if !ok {
		return Crossing{}, refuse(methodShift, NoCrossing, "the outlet never stays beyond %.0f %% of the supply for %d samples; did the valve shift, did the record last long enough?", 100*fraction, stay)
	}
	samples := k - s.Edge
	if samples < samplesPerAnswer {
		return Crossing{}, refuse(methodShift, SamplingTooSlow, "the outlet answers %.2f samples after the edge; at %g samples per second that time cannot be told", samples, s.Rate)
	}
	const reach = 2 // samples to either side
	low, high := max(int(k)-reach, 0), min(int(k)+1+reach, len(s.Outlet)-1)
	slope := (s.Outlet[high] - s.Outlet[low]) / float64(high-low) * s.Rate
	return Crossing{Time: samples / s.Rate, Slope: slope}, nil
}

// ShiftInputs are the standard uncertainties of a mean shifting time; zero is
// none.
type ShiftInputs struct {
	Trigger       float64 // s, of the control edge
	Rate          float64 // samples per second: gives 1/(rate·√12)
	Pressure      float64 // Pa, of the threshold: sensor against supply
	Slope         float64 // Pa/s at the crossing
	Lag           float64 // s, of the pressure sensor
	Repeatability float64 // s, standard deviation of single shifts
	Shifts        int     // of the mean
}

// ShiftUncertainty is the budget of a mean shifting time, s.
func ShiftUncertainty(mean float64, u ShiftInputs) (Budget, error) {
	n := max(u.Shifts, 1)
	inputs := []Input{
		{Name: "trigger", U: u.Trigger},
		{Name: "sampling", U: 1 / (u.Rate * math.Sqrt(12)), Shape: Rectangular},
		{Name: "lag", U: u.Lag},
		{Name: "repeatability", U: u.Repeatability / math.Sqrt(float64(n)), DOF: float64(n - 1)},
	}
	if u.Pressure != 0 {
		inputs = append(inputs, Input{Name: "threshold", U: u.Pressure / math.Abs(u.Slope)})
	}
	return Propagate(func(x, y []float64) error {
		y[0] = mean
		for _, v := range x {
			y[0] += v
		}
		return nil
	}, 1, inputs)
}

// Statistics are of repeated shifts of one kind.
type Statistics struct {
	N                   int
	Mean, Std, Min, Max float64 // Std with n-1; 0 of a single value
}

// Summarise gives the statistics of values; the zero Statistics of none.
func Summarise(values []float64) Statistics {
	if len(values) == 0 {
		return Statistics{}
	}
	return Statistics{N: len(values), Mean: mean(values), Std: deviation(values), Min: slices.Min(values), Max: slices.Max(values)}
}
