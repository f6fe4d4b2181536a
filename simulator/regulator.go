package simulator

import "math"

// RegulatorOptions describe a pressure regulator by its characteristics (ISO 6953-2).
type RegulatorOptions struct {
	R1         float64 // droop, Pa/(kg/s)
	R2         float64 // droop, Pa/(kg/s)²
	Supply     float64 // change of the regulated pressure with the supply pressure, Pa/Pa
	SupplyRef  float64 // supply pressure at which the set pressure holds, Pa
	Hysteresis float64 // between rising and falling flow, Pa
	Play       float64 // change of flow that crosses the hysteresis, kg/s
	Lag        float64 // time constant, s
	Relief     float64 // overpressure at which it relieves, Pa
	ReliefSpan float64 // further overpressure to open the relief fully, Pa
}

// A Regulator passes on
//
//	p = set - R1·q - R2·q² + Supply·(p1-SupplyRef) ± Hysteresis/2
//
// with backlash in the direction of flow and a lag of the first order.
type Regulator struct {
	o     RegulatorOptions
	p     float64
	trail float64 // follows the flow, Play/2 behind
}

// NewRegulator returns a regulator that passes on the pressure p.
func NewRegulator(o RegulatorOptions, p float64) *Regulator { return &Regulator{o: o, p: p} }

// Step advances by h seconds at a set pressure, a supply pressure and a mass flow, and returns the pressure passed on.
func (r *Regulator) Step(h, set, supply, q float64) float64 {
	target := r.Static(set, supply, q)
	r.p += (target - r.p) * -math.Expm1(-h/r.o.Lag)
	return r.p
}

// Static returns the pressure that the regulator tends to, and moves its backlash along with the flow.
func (r *Regulator) Static(set, supply, q float64) float64 {
	half := r.o.Play / 2
	r.trail = min(max(r.trail, q-half), q+half)
	p := set - r.o.R1*q - r.o.R2*q*q + r.o.Supply*(supply-r.o.SupplyRef)
	if half > 0 {
		p += r.o.Hysteresis / 2 * (r.trail - q) / half
	}
	return p
}

// Relieves returns the opening 0..1 of the relief at an outlet pressure in Pa.
func (r *Regulator) Relieves(outlet float64) float64 {
	return min(max((outlet-r.p-r.o.Relief)/r.o.ReliefSpan, 0), 1)
}
