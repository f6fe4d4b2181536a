package simulator

import "math"

// VolumeOptions describe a rigid volume of air and its wall.
type VolumeOptions struct {
	V    float64 // m3
	P, T float64 // at the start, Pa and K
	HA   float64 // heat exchange with the wall, W/K
	Wall float64 // temperature of the wall at the start, K; 0 stands for T
	// WallCapacity in J/K lets the wall warm up; 0 holds it. WallLoss in W/K is its exchange with Ambient in K.
	WallCapacity, WallLoss, Ambient float64
}

// A Path carries air between two nodes of a Network, by the first law of these that is set: Fixed, Laminar, Orifice.
type Path struct {
	From, To int
	Open     float64 // opening, 0..1
	Orifice  Orifice
	Laminar  float64 // k of q = k·(pFrom²-pTo²), kg/(s·Pa²)
	Fixed    float64 // kg/s, whatever the pressures are
	Reducer  float64 // pressure that a regulator in the path passes on at most, Pa; 0 is no regulator
	// Temper in W/K brings the air on its way closer to Wall in K: Tout = Wall+(Tin-Wall)·exp(-Temper/(|q|·cp)). The heat
	// is the surroundings'.
	Temper, Wall float64

	flow, moved, total float64
	drop               float64 // difference of pressures behind flow
}

// Flow returns the mean mass flow over the last step, kg/s.
func (p *Path) Flow() float64 { return p.flow }

// Total returns the mass moved since the start, kg.
func (p *Path) Total() float64 { return p.total }

// state is what a volume stores: mass, internal energy, temperature of the wall.
type state struct{ m, u, w float64 }

// node is a volume, or a boundary where v is 0.
type node struct {
	state
	p, t                    float64
	v, ha, cw, loss, around float64
	rate                    [4]state
	start                   state
}

// A Network is volumes, boundaries of given pressure and temperature, and the paths between them:
//
//	dm/dt = Σq    dU/dt = Σq·cp·T(where it comes from) + hA·(Tw-T)    Cw·dTw/dt = hA·(T-Tw) + k·(Ta-Tw)
//	T = U/(m·cv)  p = (γ-1)·U/V
//
// solved by the classical Runge-Kutta method. Mass and energy leave one node as they enter the other, so both are kept to
// rounding. Each step is divided as the stiffest volume needs.
type Network struct {
	nodes []node
	paths []Path
}

// AddVolume returns the number of a new volume.
func (n *Network) AddVolume(o VolumeOptions) int {
	if o.Wall == 0 {
		o.Wall = o.T
	}
	m := o.P * o.V / (R * o.T)
	n.nodes = append(n.nodes, node{
		state: state{m: m, u: m * Cv * o.T, w: o.Wall}, p: o.P, t: o.T,
		v: o.V, ha: o.HA, cw: o.WallCapacity, loss: o.WallLoss, around: o.Ambient,
	})
	return len(n.nodes) - 1
}

// AddBoundary returns the number of a new node whose pressure and temperature do not depend on flow.
func (n *Network) AddBoundary(p, t float64) int {
	n.nodes = append(n.nodes, node{p: p, t: t})
	return len(n.nodes) - 1
}

// SetBoundary changes the pressure in Pa and the temperature in K of a boundary.
func (n *Network) SetBoundary(i int, p, t float64) { n.nodes[i].p, n.nodes[i].t = p, t }

// SetWall changes the temperature of a volume's wall, K.
func (n *Network) SetWall(i int, t float64) { n.nodes[i].w = t }

// Connect returns the number of a new path.
func (n *Network) Connect(p Path) int {
	n.paths = append(n.paths, p)
	return len(n.paths) - 1
}

// AddTube connects two nodes by a tube in segments: a flow path at either end of each segment's volume. Air at p and t
// fills it at the start.
func (n *Network) AddTube(from, to int, t Tube, segments int, p, temperature float64) {
	piece := Tube{Length: t.Length / float64(segments), Diameter: t.Diameter}
	half := Tube{Length: t.Length / float64(segments+1), Diameter: t.Diameter}.Orifice()
	at := from
	for range segments {
		v := n.AddVolume(VolumeOptions{V: piece.Volume(), P: p, T: temperature, HA: piece.HeatExchange()})
		n.Connect(Path{From: at, To: v, Open: 1, Orifice: half})
		at = v
	}
	n.Connect(Path{From: at, To: to, Open: 1, Orifice: half})
}

// Path returns a path, to read its flow or to change its opening; the pointer holds until the next Connect.
func (n *Network) Path(i int) *Path { return &n.paths[i] }

// Pressure of a node, Pa absolute.
func (n *Network) Pressure(i int) float64 { return n.nodes[i].p }

// Temperature of the air in a node, K.
func (n *Network) Temperature(i int) float64 { return n.nodes[i].t }

// WallTemperature of a volume, K.
func (n *Network) WallTemperature(i int) float64 { return n.nodes[i].w }

// Volume of a node, m3, 0 of a boundary.
func (n *Network) Volume(i int) float64 { return n.nodes[i].v }

// Mass of the air in a volume, kg.
func (n *Network) Mass(i int) float64 { return n.nodes[i].m }

// Energy of the air in a volume, J (internal, cv·T per kg).
func (n *Network) Energy(i int) float64 { return n.nodes[i].u }

// mostParts limits how finely a step is divided.
const mostParts = 64

// Step advances all volumes by h seconds.
func (n *Network) Step(h float64) {
	for i := range n.paths {
		n.paths[i].moved = 0
	}
	n.rates(0)
	parts := int(math.Ceil(h * n.stiffness()))
	parts = min(max(parts, 1), mostParts)
	part := h / float64(parts)
	for k := range parts {
		if k > 0 {
			n.rates(0)
		}
		n.rungeKutta(part)
	}
	for i := range n.paths {
		q := &n.paths[i]
		q.flow = q.moved / h
		q.total += q.moved
	}
}

func (n *Network) rungeKutta(h float64) {
	for i := range n.nodes {
		n.nodes[i].start = n.nodes[i].state
	}
	n.weigh(h / 6)
	n.advance(0, h/2)
	n.rates(1)
	n.weigh(h / 3)
	n.advance(1, h/2)
	n.rates(2)
	n.weigh(h / 3)
	n.advance(2, h)
	n.rates(3)
	n.weigh(h / 6)
	for i := range n.nodes {
		x := &n.nodes[i]
		if x.v == 0 {
			continue
		}
		a, b, c, d := &x.rate[0], &x.rate[1], &x.rate[2], &x.rate[3]
		x.state = state{
			m: x.start.m + h/6*(a.m+2*b.m+2*c.m+d.m),
			u: x.start.u + h/6*(a.u+2*b.u+2*c.u+d.u),
			w: x.start.w + h/6*(a.w+2*b.w+2*c.w+d.w),
		}
		x.settle()
	}
}

// weigh adds what the paths carry now to what they moved.
func (n *Network) weigh(h float64) {
	for i := range n.paths {
		n.paths[i].moved += h * n.paths[i].flow
	}
}

// advance moves the volumes from the start of the part by h along one of the rates.
func (n *Network) advance(k int, h float64) {
	for i := range n.nodes {
		x := &n.nodes[i]
		if x.v == 0 {
			continue
		}
		r := &x.rate[k]
		x.state = state{m: x.start.m + h*r.m, u: x.start.u + h*r.u, w: x.start.w + h*r.w}
		x.settle()
	}
}

func (x *node) settle() {
	x.t = x.u / (x.m * Cv)
	x.p = (Gamma - 1) * x.u / x.v
}

// rates fills the k-th rates from the present state.
func (n *Network) rates(k int) {
	for i := range n.nodes {
		x := &n.nodes[i]
		if x.v == 0 {
			continue
		}
		r := &x.rate[k]
		heat := x.ha * (x.w - x.t)
		*r = state{u: heat}
		if x.cw > 0 {
			r.w = (x.loss*(x.around-x.w) - heat) / x.cw
		}
	}
	for i := range n.paths {
		p := &n.paths[i]
		a, b := &n.nodes[p.From], &n.nodes[p.To]
		q := p.law(a, b)
		p.flow = q
		if q == 0 {
			continue
		}
		leaves := a.t
		if q < 0 {
			leaves = b.t
		}
		arrives := leaves
		if p.Temper > 0 {
			arrives = p.Wall + (leaves-p.Wall)*math.Exp(-p.Temper/(math.Abs(q)*Cp))
		}
		if q < 0 {
			leaves, arrives = arrives, leaves
		}
		a.rate[k].m -= q
		a.rate[k].u -= q * Cp * leaves
		b.rate[k].m += q
		b.rate[k].u += q * Cp * arrives
	}
}

// law returns the flow of a path and notes the difference of pressures behind it.
func (p *Path) law(a, b *node) float64 {
	from := a.p
	if p.Reducer > 0 {
		from = min(from, p.Reducer)
	}
	p.drop = from - b.p
	switch {
	case p.Fixed != 0:
		return p.Fixed
	case p.Open == 0:
		return 0
	case p.Laminar != 0:
		return p.Open * p.Laminar * (from*from - b.p*b.p)
	default:
		return p.Open * p.Orifice.Flow(from, a.t, b.p, b.t)
	}
}

// stiffness returns a bound in 1/s of how fast the volumes answer, from the flows that rates has just found. Since a
// subsonic flow curve is concave, flow over difference of pressures bounds its slope.
func (n *Network) stiffness() float64 {
	for i := range n.nodes {
		n.nodes[i].start.w = 0 // used as the sum of the slopes at a node
	}
	for i := range n.paths {
		p := &n.paths[i]
		if p.Open == 0 || p.Fixed != 0 {
			continue
		}
		a, b := &n.nodes[p.From], &n.nodes[p.To]
		var slope float64
		switch {
		case p.flow != 0:
			slope = p.flow / p.drop
		case p.drop == 0 && p.Laminar == 0:
			// At rest: the slope of the linear part.
			const below = 1e-6
			slope = p.Open * p.Orifice.forward(b.p, b.t, b.p*(1-below)) / (b.p * below)
		}
		a.start.w += slope
		b.start.w += slope
	}
	most := 0.0
	for i := range n.nodes {
		if x := &n.nodes[i]; x.v > 0 {
			most = max(most, x.start.w*Gamma*R*x.t/x.v)
		}
	}
	return most
}
