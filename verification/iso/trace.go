package iso

import (
	"fmt"
	"math"
	"slices"
)

// A Trace is one channel over time: times in s, strictly rising, on any common
// origin, and values in SI. What is missing is not there; NaN stands for
// nothing.
type Trace struct {
	T, Y []float64
}

// Uniform is the trace of samples dt seconds apart, the first at 0.
func Uniform(dt float64, y []float64) Trace {
	t := make([]float64, len(y))
	for i := range t {
		t[i] = float64(i) * dt
	}
	return Trace{T: t, Y: y}
}

// Window is the part from (inclusive) to (exclusive), sharing memory.
func (t Trace) Window(from, to float64) Trace {
	lo, _ := slices.BinarySearch(t.T, from)
	hi, _ := slices.BinarySearch(t.T, to)
	hi = max(hi, lo)
	return Trace{T: t.T[lo:hi], Y: t.Y[lo:hi]}
}

func (t Trace) check() error {
	if len(t.T) != len(t.Y) {
		return fmt.Errorf("%d times and %d values; each value has its time", len(t.T), len(t.Y))
	}
	for i := range t.T {
		if i > 0 && !(t.T[i] > t.T[i-1]) {
			return fmt.Errorf("time %g s of sample %d is not after %g s; times rise strictly", t.T[i], i, t.T[i-1])
		}
		if math.IsNaN(t.Y[i]) || math.IsInf(t.Y[i], 0) {
			return fmt.Errorf("sample %d is %g; leave out what is missing", i, t.Y[i])
		}
	}
	return nil
}

// longestGap is the longest stretch of from..to without a sample, s, and the
// samples there are.
func (t Trace) longestGap(from, to float64) (float64, int) {
	w := t.Window(from, to)
	if len(w.T) == 0 {
		return to - from, 0
	}
	gap := max(w.T[0]-from, to-w.T[len(w.T)-1])
	for i := 1; i < len(w.T); i++ {
		gap = max(gap, w.T[i]-w.T[i-1])
	}
	return gap, len(w.T)
}

// A Window is a stretch of time in s: From inclusive, To exclusive.
type Window struct {
	From, To float64
}

// A threshold is a level that a trace passes for good once stay consecutive
// samples are beyond it: above when rising, below when not. A sample exactly at
// the level is beyond it unless strict.
type threshold struct {
	level          float64
	rising, strict bool
	stay           int
}

func (h threshold) beyond(v float64) bool {
	if v == h.level {
		return !h.strict
	}
	return (v > h.level) == h.rising
}

// cross is the time in samples, by linear interpolation, at which y passes the
// threshold: before the first sample from start on that begins a stay. False
// when there is none.
func (h threshold) cross(y []float64, start int) (float64, bool) {
	run := 0
	for i := start; i < len(y); i++ {
		if !h.beyond(y[i]) {
			run = 0
			continue
		}
		if run++; run < h.stay {
			continue
		}
		k := i - h.stay + 1
		if k == 0 || h.beyond(y[k-1]) {
			return float64(k), true // beyond from the start
		}
		return float64(k-1) + (h.level-y[k-1])/(y[k]-y[k-1]), true
	}
	return 0, false
}

// Resample reads the trace at times by linear interpolation, so that channels
// of different rates can be combined sample by sample. It gives the times that
// lie inside the trace and no farther than maxGap seconds between its samples,
// and the values there.
func (t Trace) Resample(times []float64, maxGap float64) Trace {
	out := Trace{T: make([]float64, 0, len(times)), Y: make([]float64, 0, len(times))}
	k := 0
	for _, at := range times {
		for k < len(t.T) && t.T[k] < at {
			k++
		}
		switch {
		case k == len(t.T):
			return out
		case t.T[k] == at:
			out.T, out.Y = append(out.T, at), append(out.Y, t.Y[k])
		case k > 0 && t.T[k]-t.T[k-1] <= maxGap:
			share := (at - t.T[k-1]) / (t.T[k] - t.T[k-1])
			out.T, out.Y = append(out.T, at), append(out.Y, t.Y[k-1]+share*(t.Y[k]-t.Y[k-1]))
		}
	}
	return out
}
