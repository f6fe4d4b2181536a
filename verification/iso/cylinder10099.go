package iso

import "math"

const methodCylinder = "cylinder.functional/1"

// StrokeTrace is a cylinder's position around one change of the control signal.
type StrokeTrace struct {
	Rate    float64   // samples per second
	Edge    float64   // time of the control edge, s from the first sample
	Stroke  float64   // m
	X       []float64 // m from the end that the stroke starts from, or towards it when Retract
	Retract bool      // X falls from Stroke to 0
}

// StrokeTimes are the metrics of a free stroke (ISO 10099 asks for a functional
// test; the metrics are convention P-14). Times are in s from the control edge.
type StrokeTimes struct {
	Start    float64 // 2 % of the stroke
	End      float64 // 98 %
	Stroke   float64 // signal to 98 %
	Velocity float64 // mean from 10 to 90 %, m/s
}

// Positions of a stroke and how long they must hold.
const (
	strokeStart, strokeEnd     = 0.02, 0.98
	velocityStart, velocityEnd = 0.10, 0.90
	strokeStay                 = 5    // samples
	breakawayMove              = 1e-3 // m
	breakawayStay              = 5    // samples
	leastStrokeSamples         = 10   // between 10 and 90 %
)

// MeasureStroke finds the first times from which five samples stay at or beyond
// a position, by linear interpolation. It refuses a stroke that does not reach
// the end or that passes its middle in fewer than ten samples.
func MeasureStroke(s StrokeTrace) (StrokeTimes, error) {
	x := s.X
	if s.Retract {
		x = make([]float64, len(s.X))
		for i, v := range s.X {
			x[i] = s.Stroke - v
		}
	}
	if !(s.Stroke > 0) || !(s.Rate > 0) {
		return StrokeTimes{}, refuse(methodCylinder, OutOfRange, "stroke %g m and rate %g Hz must be positive", s.Stroke, s.Rate)
	}
	var at [4]float64
	for i, share := range [...]float64{strokeStart, velocityStart, velocityEnd, strokeEnd} {
		k, ok := threshold{level: share * s.Stroke, rising: true, stay: strokeStay}.cross(x, 0)
		if !ok {
			return StrokeTimes{}, refuse(methodCylinder, NoCrossing, "the piston never stays beyond %.0f %% of the stroke; did it move, did the record last long enough?", 100*share)
		}
		at[i] = k / s.Rate
	}
	if (at[2]-at[1])*s.Rate < leastStrokeSamples {
		return StrokeTimes{}, refuse(methodCylinder, SamplingTooSlow, "the middle of the stroke passes in %.1f samples; sample faster than %g Hz", (at[2]-at[1])*s.Rate, s.Rate)
	}
	t := StrokeTimes{Start: at[0] - s.Edge, End: at[3] - s.Edge}
	t.Stroke = t.End
	t.Velocity = (velocityEnd - velocityStart) * s.Stroke / (at[2] - at[1])
	return t, nil
}

// Breakaway is the gauge pressure, Pa, at the first sample of a slow ramp whose
// position and the next four are at least 1 mm.
func Breakaway(gauge, x []float64) (float64, error) {
	run := 0
	for i := range min(len(gauge), len(x)) {
		if x[i] < breakawayMove {
			run = 0
			continue
		}
		if run++; run == breakawayStay {
			return gauge[i-breakawayStay+1], nil
		}
	}
	return 0, refuse(methodCylinder, NoCrossing, "the piston never moves %g mm for good; ramp to a higher pressure", 1e3*breakawayMove)
}

// StickSlip is the index std(v)/mean(v) of velocities, m/s, of a stroke at low
// speed.
func StickSlip(velocities []float64) float64 {
	return deviation(velocities) / math.Abs(mean(velocities))
}
