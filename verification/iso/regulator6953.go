package iso

import (
	"cmp"
	"math"
	"slices"
)

const methodRegulator = "iso6953-2/1"

// RegulatorPoint is a regulated pressure, Pa gauge, at a flow, m³/s (ANR), or at
// a supply pressure, Pa; any units do that are the same throughout.
type RegulatorPoint struct {
	X  float64 // flow or supply pressure
	P2 float64
}

// RegulatorTest is a regulator's record after ISO 6953-2. Parts that were not
// measured are empty.
type RegulatorTest struct {
	Set, FullScale         float64          // set pressure and full scale of the adjustable range
	Increasing, Decreasing []RegulatorPoint // forward flow, in measured order
	Relief                 []RegulatorPoint
	Regulation             []RegulatorPoint // over the supply pressure at small flow
	Repeats                []float64        // regulated pressure after re-setting
}

// RegulatorResult has NaN for what was not measured.
type RegulatorResult struct {
	Hysteresis         float64 // largest |p2 increasing - p2 decreasing| at one flow
	HysteresisPercent  float64 // of full scale
	At80               float64 // mean of both branches at 80 % of the largest flow
	Droop              float64 // p2 of the first increasing point less At80
	RegulationSlope    float64 // dp2/dp1 by least squares
	RegulationSpan     float64 // max-min of p2 over the supply pressures
	RepeatabilitySpan  float64
	RepeatabilityPct   float64 // span over full scale
	RepeatabilityStd   float64
	ReliefOverpressure float64 // largest p2 of the relief flow less the set pressure
}

const droopFlow = 0.8 // of the largest flow

// EvaluateRegulator computes the metrics. The hysteresis is taken at every
// measured flow of either branch that both cover, between points by linear
// interpolation.
func EvaluateRegulator(t RegulatorTest) (RegulatorResult, error) {
	nan := math.NaN()
	r := RegulatorResult{nan, nan, nan, nan, nan, nan, nan, nan, nan, nan}
	if !(t.FullScale > 0) {
		return r, refuse(methodRegulator, OutOfRange, "full scale %g must be positive", t.FullScale)
	}
	if len(t.Increasing)+len(t.Decreasing) > 0 {
		if err := r.forward(t); err != nil {
			return r, err
		}
	}
	if n := len(t.Regulation); n > 0 {
		if n < 2 {
			return r, refuse(methodRegulator, TooFewPoints, "one supply pressure; the regulation characteristic needs two or more")
		}
		p1, p2 := columns(t.Regulation)
		r.RegulationSlope = fitLine(p1, p2).Slope
		r.RegulationSpan = span(p2)
	}
	if len(t.Repeats) > 0 {
		r.RepeatabilitySpan = span(t.Repeats)
		r.RepeatabilityPct = 100 * r.RepeatabilitySpan / t.FullScale
		r.RepeatabilityStd = deviation(t.Repeats)
	}
	if len(t.Relief) > 0 {
		_, p2 := columns(t.Relief)
		r.ReliefOverpressure = slices.Max(p2) - t.Set
	}
	return r, nil
}

func (r *RegulatorResult) forward(t RegulatorTest) error {
	if len(t.Increasing) < 2 || len(t.Decreasing) < 2 {
		return refuse(methodRegulator, TooFewPoints, "%d points of increasing and %d of decreasing flow; hysteresis needs both branches", len(t.Increasing), len(t.Decreasing))
	}
	qUp, pUp := sortedColumns(t.Increasing)
	qDown, pDown := sortedColumns(t.Decreasing)
	low, high := max(qUp[0], qDown[0]), min(qUp[len(qUp)-1], qDown[len(qDown)-1])
	r.Hysteresis = 0
	for _, q := range slices.Concat(qUp, qDown) {
		if q >= low && q <= high {
			r.Hysteresis = max(r.Hysteresis, math.Abs(interpolate(qUp, pUp, q)-interpolate(qDown, pDown, q)))
		}
	}
	r.HysteresisPercent = 100 * r.Hysteresis / t.FullScale
	q := droopFlow * max(qUp[len(qUp)-1], qDown[len(qDown)-1])
	if q > high || q < low {
		return refuse(methodRegulator, RecordTooShort, "80 %% of the largest flow, %g, lies outside what both branches cover (%g to %g)", q, low, high)
	}
	r.At80 = (interpolate(qUp, pUp, q) + interpolate(qDown, pDown, q)) / 2
	r.Droop = t.Increasing[0].P2 - r.At80
	return nil
}

func columns(points []RegulatorPoint) (x, p2 []float64) {
	for _, p := range points {
		x, p2 = append(x, p.X), append(p2, p.P2)
	}
	return x, p2
}

func sortedColumns(points []RegulatorPoint) (x, p2 []float64) {
	return columns(slices.SortedStableFunc(slices.Values(points), func(a, b RegulatorPoint) int { return cmp.Compare(a.X, b.X) }))
}
