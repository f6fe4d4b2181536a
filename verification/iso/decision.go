package iso

import "math"

// Side says on which side of a limit the allowed values lie.
type Side string

// Sides of a limit.
const (
	UpperLimit Side = "upper"
	LowerLimit Side = "lower"
)

// Outcome of a comparison with a limit.
type Outcome string

// Outcomes. The conditional ones are those that the uncertainty does not allow
// to decide; a campaign with guarded rule calls both inconclusive.
const (
	Pass            Outcome = "pass"
	ConditionalPass Outcome = "conditional_pass"
	ConditionalFail Outcome = "conditional_fail"
	Fail            Outcome = "fail"
)

// Decision compares a value with one limit (convention P-3).
type Decision struct {
	Margin      float64 // positive inside the limit
	U           float64 // expanded uncertainty, k = 2
	Simple      Outcome // by the value alone
	Guarded     Outcome // with guard band w = U (after ILAC-G8)
	ProbConform float64 // probability that the value is inside: Φ(margin/(U/2))
}

// Decide compares y, of expanded uncertainty u (k = 2), with a limit.
func Decide(y, u, limit float64, side Side) Decision {
	d := Decision{Margin: limit - y, U: u, Simple: Fail, Guarded: Fail}
	if side == LowerLimit {
		d.Margin = y - limit
	}
	if d.Margin >= 0 {
		d.Simple = Pass
	}
	switch {
	case d.Margin >= u:
		d.Guarded = Pass
	case d.Margin >= 0:
		d.Guarded = ConditionalPass
	case d.Margin >= -u:
		d.Guarded = ConditionalFail
	}
	if u > 0 {
		d.ProbConform = normalCDF(d.Margin / (u / 2))
	} else if d.Margin >= 0 {
		d.ProbConform = 1
	}
	return d
}

func normalCDF(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }
