package iso

import (
	"fmt"
	"math"
)

const methodEndurance = "iso19973-1/1"

// Wear is one unit's record of an endurance test: a measured parameter (a leak,
// a shifting time) at rising cycle counts.
type Wear struct {
	Unit   string
	Cycles []float64
	Values []float64
	// HardFailure is the cycle count at which the unit stopped working (does
	// not shift, burst); 0 where it did not.
	HardFailure float64
}

// Termination is the end of one unit's life.
type Termination struct {
	Unit           string
	MovingAverages []float64 // mean of three values; NaN for the first two
	Failed         bool      // else suspended at the last count
	Hard           bool      // failed by not working, not by its moving average
	Cycles         float64   // termination life
	FirstRaw       float64   // count of the first single value above the threshold; NaN without
	Interpolated   float64   // where the moving average passed the threshold, linear; NaN without
	Interval       float64   // cycles between the last two counts that enclose the end
}

// Terminate finds the end of a unit by the three-point moving average of ISO
// 19973-1: with A_k = (v_{k-2}+v_{k-1}+v_k)/3 it failed at the first k with A_k
// above the threshold, at cycles_k (convention P-11). A hard failure before
// that ends it at once. A unit without either is suspended at its last count.
func Terminate(w Wear, threshold float64) (Termination, error) {
	t := Termination{Unit: w.Unit, FirstRaw: math.NaN(), Interpolated: math.NaN()}
	n := len(w.Cycles)
	if len(w.Values) != n {
		return t, fmt.Errorf("unit %s: %d counts and %d values; each value has its count", w.Unit, n, len(w.Values))
	}
	if n < 3 && w.HardFailure <= 0 {
		return t, refuse(methodEndurance, TooFewPoints, "unit %s has %d values; a moving average takes three", w.Unit, n)
	}
	end := -1
	for k, v := range w.Values {
		if math.IsNaN(v) || (k > 0 && !(w.Cycles[k] > w.Cycles[k-1])) {
			return t, refuse(methodEndurance, OutOfRange, "unit %s: value %g at count %g; counts rise and values are numbers", w.Unit, v, w.Cycles[k])
		}
		if math.IsNaN(t.FirstRaw) && v > threshold {
			t.FirstRaw = w.Cycles[k]
		}
		average := math.NaN()
		if k >= 2 {
			average = (w.Values[k-2] + w.Values[k-1] + v) / 3
		}
		t.MovingAverages = append(t.MovingAverages, average)
		if end < 0 && average > threshold {
			end = k
		}
	}
	if end >= 0 && !(w.HardFailure > 0 && w.HardFailure < w.Cycles[end]) {
		t.Failed, t.Cycles, t.Interpolated = true, w.Cycles[end], w.Cycles[end]
		t.Interval = w.Cycles[end] - w.Cycles[end-1]
		if before := t.MovingAverages[end-1]; !math.IsNaN(before) {
			share := (threshold - before) / (t.MovingAverages[end] - before)
			t.Interpolated = w.Cycles[end-1] + share*t.Interval
		}
		return t, nil
	}
	if w.HardFailure > 0 {
		t.Failed, t.Hard, t.Cycles = true, true, w.HardFailure
		return t, nil
	}
	t.Cycles = w.Cycles[n-1]
	return t, nil
}

// Endurance is the chain of ISO 19973: records, terminations, distribution.
type Endurance struct {
	Terminations []Termination
	Lives        []Life
	Ranks        []Rank
	Fit          WeibullFit
}

// EvaluateEndurance terminates every unit and fits the lives. It refuses what
// Terminate and FitWeibull refuse; the terminations stand in the result even
// then.
func EvaluateEndurance(units []Wear, threshold float64) (Endurance, error) {
	var e Endurance
	for _, w := range units {
		t, err := Terminate(w, threshold)
		if err != nil {
			return e, err
		}
		e.Terminations = append(e.Terminations, t)
		e.Lives = append(e.Lives, Life{T: t.Cycles, Failed: t.Failed, Count: 1})
	}
	var err error
	if e.Ranks, err = Ranks(e.Lives); err != nil {
		return e, err
	}
	e.Fit, err = FitWeibull(e.Lives)
	return e, err
}
