package simulator

import "math"

// Air of the standard reference atmosphere (ISO 8778), with a gas constant that makes p/(R·T) and the density agree.
const (
	P0    = 100000.0       // Pa
	T0    = 293.15         // K
	Rho0  = 1.185          // kg/m3
	R     = P0 / Rho0 / T0 // J/(kg·K), 287.867
	Gamma = 1.4            // ratio of the specific heats
	Cv    = R / (Gamma - 1)
	Cp    = Gamma * Cv
)

// linearFrom is the pressure ratio above which a flow path is linear in the difference of pressures.
const linearFrom = 0.999

// An Orifice is a flow path after ISO 6358-1. The zero value is shut.
type Orifice struct {
	C     float64 // sonic conductance, m3/(s·Pa)
	B     float64 // critical back-pressure ratio
	M     float64 // subsonic index
	Crack float64 // cracking pressure, Pa
	// Linear is the pressure ratio (relative to that of no flow) above which flow is linear in the difference of
	// pressures, continuous with the law below; 0 stands for 0.999. The law itself has an infinite slope where flow
	// ends.
	Linear float64
	// NonReturn paths carry no flow backwards.
	NonReturn bool
}

// Flow returns the mass flow in kg/s from side 1 to side 2, negative backwards, for pressures in Pa absolute and
// temperatures in K of either side.
func (o *Orifice) Flow(p1, t1, p2, t2 float64) float64 {
	if p2 > p1 {
		if o.NonReturn {
			return 0
		}
		return -o.forward(p2, t2, p1)
	}
	return o.forward(p1, t1, p2)
}

func (o *Orifice) forward(p1, t1, p2 float64) float64 {
	if o.C == 0 || p1 <= 0 {
		return 0
	}
	return o.C * Rho0 * p1 * math.Sqrt(T0/t1) * o.Share(p2/p1, 1-o.Crack/p1)
}

// Share returns the flow at the pressure ratio r as a share of the choked flow; a is the ratio at which flow ends, 1
// without cracking pressure:
//
//	1 (r <= b), {1-[(r-b)/(a-b)]²}^m (b < r < a), 0 (r >= a)
func (o *Orifice) Share(r, a float64) float64 {
	switch {
	case r >= a:
		return 0
	case r <= o.B:
		return 1
	}
	linear := o.Linear
	if linear == 0 {
		linear = linearFrom
	}
	edge := a * linear
	if edge <= o.B {
		edge = o.B
	}
	if r <= edge {
		return o.subsonic(r, a)
	}
	return o.subsonic(edge, a) * (a - r) / (a - edge)
}

func (o *Orifice) subsonic(r, a float64) float64 {
	s := (r - o.B) / (a - o.B)
	if o.M == 0.5 {
		return math.Sqrt(1 - s*s)
	}
	return math.Pow(1-s*s, o.M)
}

// A Tube is a straight round tube; its flow path, volume and heat exchange stand for it in a Network.
type Tube struct {
	Length, Diameter float64 // m
}

// Orifice returns the tube as a flow path, ISO 6358-3: C = 0.029·d²/sqrt(L/d^1.25+510), b = 474·C/d².
func (t Tube) Orifice() Orifice {
	d2 := t.Diameter * t.Diameter
	c := 0.029 * d2 / math.Sqrt(t.Length/math.Pow(t.Diameter, 1.25)+510)
	return Orifice{C: c, B: 474 * c / d2, M: 0.5}
}

// Volume returns what the tube holds, m3.
func (t Tube) Volume() float64 { return math.Pi / 4 * t.Diameter * t.Diameter * t.Length }

// HeatExchange returns the heat exchange with the wall in W/K: 0.5 W/(K·m) for a tube of 4 mm, in proportion to the wall.
func (t Tube) HeatExchange() float64 { return 0.5 * t.Length * t.Diameter / 0.004 }

// Delay returns how long a pressure wave needs from end to end, s.
func (t Tube) Delay() float64 { return t.Length / math.Sqrt(Gamma*R*T0) }
