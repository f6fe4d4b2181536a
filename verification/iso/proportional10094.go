package iso

import (
	"fmt"
	"math"
	"slices"
)

const (
	methodStatic = "iso10094-2.static/1"
	methodStep   = "iso10094-2.step/1"
)

// StaticTest is the pressure-signal characteristic of an electro-pneumatic
// pressure control valve at zero flow. Units are any that are the same
// throughout.
type StaticTest struct {
	Signal                    []float64 // rising
	SignalLow, SignalHigh     float64
	PressureLow, PressureHigh float64 // adjustable range: full scale is their difference
	Cycles                    []StaticCycle
}

// StaticCycle is one cycle of pressures: Up in the order of the signals, Down in
// measured order, falling.
type StaticCycle struct {
	Up, Down []float64
}

// StaticResult are percentages of full scale, and the least squares line.
type StaticResult struct {
	Hysteresis        float64 // largest |mean up - mean down|
	LinearityIdeal    float64 // from the line through the ends of the ranges
	LinearityBestFit  float64 // from the least squares line
	LinearityTerminal float64 // from the line through the first and last average
	Repeatability     float64 // largest max-min over the cycles at one point of one branch
	Gain, Offset      float64 // of the least squares line
}

// EvaluateStatic computes the static characteristics after ISO 10094-2 from the
// means over the cycles. Name the line with a linearity: the three differ by a
// factor of two.
func EvaluateStatic(t StaticTest) (StaticResult, error) {
	n := len(t.Signal)
	if n < 3 || len(t.Cycles) == 0 {
		return StaticResult{}, refuse(methodStatic, TooFewPoints, "%d signals, %d cycles; a characteristic needs three signals and a cycle", n, len(t.Cycles))
	}
	full := t.PressureHigh - t.PressureLow
	if !(full > 0) || !(t.SignalHigh > t.SignalLow) {
		return StaticResult{}, refuse(methodStatic, OutOfRange, "ranges %g to %g and %g to %g must not be empty", t.SignalLow, t.SignalHigh, t.PressureLow, t.PressureHigh)
	}
	var r StaticResult
	averages := make([]float64, n)
	up, down := make([]float64, 0, len(t.Cycles)), make([]float64, 0, len(t.Cycles))
	for i := range t.Signal {
		up, down = up[:0], down[:0]
		for k, c := range t.Cycles {
			if len(c.Up) != n || len(c.Down) != n {
				return r, fmt.Errorf("cycle %d has %d values up and %d down for %d signals", k+1, len(c.Up), len(c.Down), n)
			}
			up, down = append(up, c.Up[i]), append(down, c.Down[n-1-i])
		}
		meanUp, meanDown := mean(up), mean(down)
		averages[i] = (meanUp + meanDown) / 2
		r.Hysteresis = max(r.Hysteresis, math.Abs(meanUp-meanDown))
		r.Repeatability = max(r.Repeatability, span(up), span(down))
	}
	best := fitLine(t.Signal, averages)
	r.Gain, r.Offset = best.Slope, best.Intercept
	ideal := full / (t.SignalHigh - t.SignalLow)
	terminal := (averages[n-1] - averages[0]) / (t.Signal[n-1] - t.Signal[0])
	for i, s := range t.Signal {
		r.LinearityIdeal = max(r.LinearityIdeal, math.Abs(averages[i]-(t.PressureLow+ideal*(s-t.SignalLow))))
		r.LinearityBestFit = max(r.LinearityBestFit, math.Abs(averages[i]-(best.Intercept+best.Slope*s)))
		r.LinearityTerminal = max(r.LinearityTerminal, math.Abs(averages[i]-(averages[0]+terminal*(s-t.Signal[0]))))
	}
	for _, x := range []*float64{&r.Hysteresis, &r.LinearityIdeal, &r.LinearityBestFit, &r.LinearityTerminal, &r.Repeatability} {
		*x *= 100 / full
	}
	return r, nil
}

// StepTrace is the answer to a step of the signal.
type StepTrace struct {
	Rate float64 // samples per second
	Edge float64 // s from the first sample
	Y    []float64
	Band float64 // settling band as a share of the step; 0.05 is usual
}

// StepResult are the metrics of a step (ISO 10094-2 dynamic test; convention
// P-15). Times are in s from the edge.
type StepResult struct {
	Initial, Final    float64 // mean before the edge; mean of the last 10 % of the record
	T5, T10, T63, T90 float64 // first times from which five samples stay at or beyond this share of the step; T63 is 1-1/e
	Rise              float64 // T90 - T10
	Settling          float64 // last exit from the band
	Overshoot         float64 // percent of the step
}

const (
	stepStay         = 5
	finalShare       = 0.1 // of the record
	leastStepRate    = 100 // Hz
	leastStepSamples = 3   // in the rise time
)

// MeasureStep computes the metrics of a step response. It refuses a record
// without a step, one that has not settled, and one sampled too slowly for its
// rise.
func MeasureStep(s StepTrace) (StepResult, error) {
	var r StepResult
	n := len(s.Y)
	edge := int(math.Round(s.Edge * s.Rate))
	last := int(finalShare * float64(n))
	if edge < 1 || last < 1 || edge >= n-last {
		return r, refuse(methodStep, RecordTooShort, "the edge is at %g s of %g s; a record has samples before it and settles after it", s.Edge, float64(n)/s.Rate)
	}
	if s.Rate < leastStepRate {
		return r, refuse(methodStep, SamplingTooSlow, "%g samples per second; a step response needs %d, better 1000", s.Rate, leastStepRate)
	}
	r.Initial, r.Final = mean(s.Y[:edge]), mean(s.Y[n-last:])
	step := r.Final - r.Initial
	noise := deviation(s.Y[:edge])
	if !(math.Abs(step) > 10*noise) || step == 0 {
		return r, refuse(methodStep, NoStep, "the output moves from %g to %g with noise of %g; that is no step", r.Initial, r.Final, noise)
	}
	normal := make([]float64, n)
	for i, y := range s.Y {
		normal[i] = (y - r.Initial) / step
	}
	for _, x := range []struct {
		level float64
		time  *float64
	}{{0.05, &r.T5}, {0.10, &r.T10}, {1 - 1/math.E, &r.T63}, {0.90, &r.T90}} {
		k, ok := threshold{level: x.level, rising: true, stay: stepStay}.cross(normal, 0)
		if !ok {
			return r, refuse(methodStep, NoCrossing, "the output never stays beyond %.0f %% of the step", 100*x.level)
		}
		*x.time = k/s.Rate - s.Edge
	}
	r.Rise = r.T90 - r.T10
	if r.Rise*s.Rate < leastStepSamples {
		return r, refuse(methodStep, SamplingTooSlow, "the output rises in %.1f samples; sample faster than %g Hz", r.Rise*s.Rate, s.Rate)
	}
	outside := edge - 1
	for i := edge; i < n; i++ {
		if math.Abs(normal[i]-1) > s.Band {
			outside = i
		}
	}
	if outside >= n-last {
		return r, refuse(methodStep, RecordTooShort, "the output still leaves the band of ±%.1f %% in the last tenth of the record; record longer", 100*s.Band)
	}
	r.Settling = float64(outside+1)/s.Rate - s.Edge
	r.Overshoot = 100 * max(0, slices.Max(normal)-1)
	return r, nil
}
