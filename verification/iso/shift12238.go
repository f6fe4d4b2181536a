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

// ShiftingTime is the time, s, from the control edge to a change of the outlet
// pressure by fraction of p1 - p_atm from the baseline, the mean of the samples
// before the edge. ISO 12238 asks for the fraction 0.1; 0.5 and 0.9 are older
// practice. The crossing is at the first of StaySpan consecutive samples beyond
// the threshold, by linear interpolation from the sample before.
//
// It refuses a trace sampled slower than 1 kHz, one without baseline or
// crossing, and a time shorter than five sample periods: a shifting time of
// 12 ms cannot be told from a 20 ms poll.
func (s ShiftTrace) ShiftingTime(fraction float64) (float64, error) {
	if s.Rate < leastShiftRate {
		return 0, refuse(methodShift, SamplingTooSlow, "%g samples per second; a shifting time needs %g, better 10 000: have the device buffer its trace", s.Rate, leastShiftRate)
	}
	edge := int(math.Ceil(s.Edge))
	if edge < baselineSamples || edge >= len(s.Outlet) {
		return 0, refuse(methodShift, RecordTooShort, "the control edge is at sample %g of %d; the baseline needs %d samples before it", s.Edge, len(s.Outlet), baselineSamples)
	}
	step := s.Supply - s.Ambient
	if !(step > 0) {
		return 0, refuse(methodShift, OutOfRange, "supply %g Pa is not above the atmosphere's %g Pa; both are absolute", s.Supply, s.Ambient)
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
	k, ok := firstStay(s.Outlet, edge, level, s.Kind == Fill, true, stay)
	if !ok {
		return 0, refuse(methodShift, NoCrossing, "the outlet never stays beyond %.0f %% of the supply for %d samples; did the valve shift, did the record last long enough?", 100*fraction, stay)
	}
	samples := k - s.Edge
	if samples < samplesPerAnswer {
		return 0, refuse(methodShift, SamplingTooSlow, "the outlet answers %.2f samples after the edge; at %g samples per second that time cannot be told", samples, s.Rate)
	}
	return samples / s.Rate, nil
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
