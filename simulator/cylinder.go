package simulator

import "math"

// Friction is the Stribeck curve of a cylinder:
//
//	F(v) = [Fc+(Fs-Fc)·exp(-(v/Vs)²)]·tanh(v/V0) + Viscous·v
//
// Fc and Fs grow by PerPascal for each Pa of the mean pressure of the chambers above the atmosphere.
type Friction struct {
	Fs, Fc    float64 // break-away and Coulomb friction, N
	Vs, V0    float64 // Stribeck velocity and the velocity that regularises the sign, m/s
	Viscous   float64 // N·s/m
	PerPascal float64 // N/Pa
}

// Force returns the friction against the motion at a velocity in m/s, N, where press is the mean gauge pressure in Pa.
func (f *Friction) Force(v, press float64) float64 {
	grown := f.PerPascal * press
	z := v / f.Vs
	return (f.Fc+grown+(f.Fs-f.Fc)*math.Exp(-z*z))*math.Tanh(v/f.V0) + f.Viscous*v
}

// CylinderOptions describe a double-acting cylinder with one rod and what it drives. Chamber 1 is on the piston's side,
// chamber 2 on the rod's.
type CylinderOptions struct {
	Bore, Rod, Stroke float64 // m
	Mass              float64 // all that moves, kg
	Load              float64 // force against extending, N
	Incline           float64 // of the axis, rad; extending upwards is positive
	Dead              [2]float64
	Friction          Friction
	Restitution       float64    // share of the velocity that comes back from an end stop
	HA                [2]float64 // heat exchange of the chambers with the wall, W/K
	Isothermal        bool       // the air keeps the temperature T
	T                 float64    // of air and wall at the start, K
	Ambient           float64    // pressure at the rod, Pa
	Leak              Orifice    // between the chambers, past the piston
	// Cushion is the path that is left to a chamber's outlet once the piston is within CushionLength of its end;
	// 0 length has none.
	Cushion       Orifice
	CushionLength float64
}

// A Port connects a chamber with air of a given pressure and temperature.
type Port struct {
	Path Orifice
	Open float64 // 0..1
	P, T float64 // outside, Pa and K
}

// A Cylinder is a cylinder in motion. Its ports may be changed between steps.
type Cylinder struct {
	Port [2]Port

	o    CylinderOptions
	area [2]float64
	s    motion
}

// motion is the state of a cylinder: mass and internal energy of the chambers, place and velocity of the piston.
type motion struct {
	m, u [2]float64
	x, v float64
}

// NewCylinder returns a cylinder at rest at x with the chambers at p1 and p2.
func NewCylinder(o CylinderOptions, x, p1, p2 float64) *Cylinder {
	c := &Cylinder{o: o}
	c.area[0] = math.Pi / 4 * o.Bore * o.Bore
	c.area[1] = c.area[0] - math.Pi/4*o.Rod*o.Rod
	c.s.x = x
	for i, p := range []float64{p1, p2} {
		c.s.m[i] = p * c.volume(i, x) / (R * o.T)
		c.s.u[i] = c.s.m[i] * Cv * o.T
	}
	return c
}

// Position of the piston, 0..stroke, m.
func (c *Cylinder) Position() float64 { return c.s.x }

// Velocity of the piston, positive when extending, m/s.
func (c *Cylinder) Velocity() float64 { return c.s.v }

// Pressure of chamber 1 or 2, Pa absolute.
func (c *Cylinder) Pressure(chamber int) float64 {
	p, _ := c.air(&c.s, chamber-1)
	return p
}

// Temperature of the air in chamber 1 or 2, K.
func (c *Cylinder) Temperature(chamber int) float64 {
	_, t := c.air(&c.s, chamber-1)
	return t
}

// Mass of the air in chamber 1 or 2, kg.
func (c *Cylinder) Mass(chamber int) float64 { return c.s.m[chamber-1] }

// Drive returns the force of pressures and load that would extend the cylinder, friction left out, N.
func (c *Cylinder) Drive() float64 {
	p1, _ := c.air(&c.s, 0)
	p2, _ := c.air(&c.s, 1)
	return c.drive(p1, p2)
}

func (c *Cylinder) drive(p1, p2 float64) float64 {
	const gravity = 9.80665
	return c.area[0]*p1 - c.area[1]*p2 - (c.area[0]-c.area[1])*c.o.Ambient -
		c.o.Load - c.o.Mass*gravity*math.Sin(c.o.Incline)
}

func (c *Cylinder) volume(i int, x float64) float64 {
	if i == 1 {
		x = c.o.Stroke - x
	}
	return c.o.Dead[i] + c.area[i]*x
}

func (c *Cylinder) air(s *motion, i int) (p, t float64) {
	v := c.volume(i, s.x)
	if c.o.Isothermal {
		return s.m[i] * R * c.o.T / v, c.o.T
	}
	return (Gamma - 1) * s.u[i] / v, s.u[i] / (s.m[i] * Cv)
}

// Step advances by h seconds, in parts as short as friction needs.
func (c *Cylinder) Step(h float64) {
	f := &c.o.Friction
	parts := max(math.Ceil(h*(f.Fs/f.V0+f.Viscous)/c.o.Mass), 1)
	part := h / parts
	for range int(parts) {
		c.rungeKutta(part)
		switch {
		case c.s.x <= 0:
			c.s.x = 0
			c.s.v = max(c.s.v, c.rebound())
		case c.s.x >= c.o.Stroke:
			c.s.x = c.o.Stroke
			c.s.v = min(c.s.v, c.rebound())
		}
	}
}

// rebound returns the velocity with which the piston leaves an end stop that it has just hit.
func (c *Cylinder) rebound() float64 {
	const atRest = 2e-3
	if math.Abs(c.s.v) < atRest {
		return 0
	}
	return -c.o.Restitution * c.s.v
}

func (c *Cylinder) rungeKutta(h float64) {
	a := c.rate(&c.s)
	s := c.s.along(&a, h/2)
	b := c.rate(&s)
	s = c.s.along(&b, h/2)
	d := c.rate(&s)
	s = c.s.along(&d, h)
	e := c.rate(&s)
	for i := range 2 {
		c.s.m[i] += h / 6 * (a.m[i] + 2*b.m[i] + 2*d.m[i] + e.m[i])
		c.s.u[i] += h / 6 * (a.u[i] + 2*b.u[i] + 2*d.u[i] + e.u[i])
	}
	c.s.x += h / 6 * (a.x + 2*b.x + 2*d.x + e.x)
	c.s.v += h / 6 * (a.v + 2*b.v + 2*d.v + e.v)
}

func (s *motion) along(r *motion, h float64) motion {
	n := motion{x: s.x + h*r.x, v: s.v + h*r.v}
	for i := range 2 {
		n.m[i] = s.m[i] + h*r.m[i]
		n.u[i] = s.u[i] + h*r.u[i]
	}
	return n
}

// rate returns the derivatives of a state with respect to time.
func (c *Cylinder) rate(s *motion) motion {
	var r motion
	var p, t [2]float64
	for i := range 2 {
		p[i], t[i] = c.air(s, i)
	}
	work := [2]float64{p[0] * c.area[0] * s.v, -p[1] * c.area[1] * s.v}
	for i := range 2 {
		port := &c.Port[i]
		q := port.Open * port.Path.Flow(port.P, port.T, p[i], t[i])
		if q < 0 && c.cushioned(i, s.x) {
			q = -port.Open * c.o.Cushion.Flow(p[i], t[i], port.P, port.T)
		}
		from := port.T
		if q < 0 {
			from = t[i]
		}
		r.m[i] = q
		r.u[i] = q*Cp*from + c.o.HA[i]*(c.o.T-t[i]) - work[i]
	}
	if c.o.Leak.C > 0 {
		q := c.o.Leak.Flow(p[0], t[0], p[1], t[1])
		from := t[0]
		if q < 0 {
			from = t[1]
		}
		r.m[0], r.m[1] = r.m[0]-q, r.m[1]+q
		r.u[0], r.u[1] = r.u[0]-q*Cp*from, r.u[1]+q*Cp*from
	}
	drive := c.drive(p[0], p[1])
	held := (s.x <= 0 && s.v <= 0 && drive <= 0) || (s.x >= c.o.Stroke && s.v >= 0 && drive >= 0)
	if !held {
		press := max((p[0]+p[1])/2-c.o.Ambient, 0)
		r.x = s.v
		r.v = (drive - c.o.Friction.Force(s.v, press)) / c.o.Mass
	}
	return r
}

// cushioned tells whether only the cushion's path leads out of a chamber.
func (c *Cylinder) cushioned(i int, x float64) bool {
	if i == 0 {
		return x < c.o.CushionLength
	}
	return c.o.Stroke-x < c.o.CushionLength
}
