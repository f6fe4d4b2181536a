package iso

import "math"

const methodSeries = "iso6358-3/1"

// Chain is a series of elements with known characteristics, upstream first. The
// stagnation temperature is constant and the outlet pressure of one element is
// the inlet pressure of the next (ISO 6358-3; convention P-9).
type Chain []FlowLaw

func (c Chain) check() error {
	if len(c) == 0 {
		return refuse(methodSeries, TooFewPoints, "a series without elements")
	}
	for i, e := range c {
		if !(e.C > 0) || !(e.B >= 0 && e.B < 1) || !(e.M > 0) || e.Dpc != 0 {
			return refuse(methodSeries, ComponentExcluded, "element %d has C %g, b %g, m %g, cracking pressure %g Pa; the march needs C > 0, 0 <= b < 1, m > 0 and no cracking pressure", i+1, e.C, e.B, e.M, e.Dpc)
		}
	}
	return nil
}

// outlet marches from p1 at conductance ce = qm/(rho0·p1·sqrt(T0/T)) of the
// whole, m³/(s·Pa), and gives p_out/p1; false where an element cannot pass it.
// With y = qm over the element's choked flow, p_next = p·(b+(1-b)·sqrt(1-y^(1/m))).
func (c Chain) outlet(ce float64) (float64, bool) {
	ratio := 1.0
	for _, e := range c {
		y := ce / (e.C * ratio)
		if y > 1 {
			return 0, false
		}
		inside := 1 - math.Pow(y, 1/e.M)
		if e.M == 0.5 {
			inside = (1 - y) * (1 + y)
		}
		ratio *= e.B + (1-e.B)*math.Sqrt(max(inside, 0))
	}
	return ratio, true
}

// Choking is the sonic conductance of the whole, m³/(s·Pa), and the pressure
// ratio p_out/p1 below which the flow no longer grows.
func (c Chain) Choking() (conductance, onset float64, err error) {
	if err := c.check(); err != nil {
		return 0, 0, err
	}
	low, high := 0.0, c[0].C
	if onset, ok := c.outlet(high); ok {
		return high, onset, nil
	}
	for range 200 {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			break
		}
		if _, ok := c.outlet(mid); ok {
			low = mid
		} else {
			high = mid
		}
	}
	onset, _ = c.outlet(low)
	return low, onset, nil
}

// Conductance is Ce of the whole at the pressure ratio r = p_out/p1.
func (c Chain) Conductance(r float64) (float64, error) {
	choked, onset, err := c.Choking()
	if err != nil || r <= onset {
		return choked, err
	}
	if r >= 1 {
		return 0, nil
	}
	return root(func(ce float64) float64 {
		ratio, ok := c.outlet(ce)
		if !ok {
			return r
		}
		return r - ratio
	}, 0, choked), nil
}

// MassFlow is the flow, kg/s, from p1 to out, Pa absolute, at T1, K.
func (c Chain) MassFlow(p1, out, t1 float64) (float64, error) {
	ce, err := c.Conductance(out / p1)
	return ce * Rho0 * p1 * math.Sqrt(T0/t1), err
}

// Equivalent is the law of one component that stands for the whole: C at
// choking, b and m (or b with m = 0.5) by unweighted least squares of Ce/C over
// r = 0.02 to 0.98 in steps of 0.02.
func (c Chain) Equivalent(freeM bool) (FlowLaw, error) {
	choked, _, err := c.Choking()
	if err != nil {
		return FlowLaw{}, err
	}
	const steps = 49
	points := make([]FlowPoint, 0, steps)
	for i := 1; i <= steps; i++ {
		r := 0.02 * float64(i)
		ce, err := c.Conductance(r)
		if err != nil {
			return FlowLaw{}, err
		}
		points = append(points, FlowPoint{P1: 1, P2: r, T1: T0, Qm: ce * Rho0, Region: Subsonic})
	}
	// One choked point of exactly C makes E1 fit the rest against it.
	points = append(points, FlowPoint{P1: 1, P2: 0, T1: T0, Qm: choked * Rho0, Region: Choked})
	fit, err := FitFlow(points, 0, Estimator{FreeM: freeM})
	return fit.FlowLaw, err
}

// ClosedForm is the equivalent of the elements taken two by two from upstream,
// exact in C for m = 0.5: with α = C1/(b1·C2), C = C1 for α <= 1, else C =
// C2·α·[α·b1 + (1-b1)·sqrt(α² + ((1-b1)/b1)² - 1)]/[α² + ((1-b1)/b1)²]; b =
// 1 - C²·[(1-b1)/C1² + (1-b2)/C2²].
func (c Chain) ClosedForm() (FlowLaw, error) {
	if err := c.check(); err != nil {
		return FlowLaw{}, err
	}
	whole := c[0]
	for _, e := range c[1:] {
		whole = twoInSeries(whole, e)
	}
	return whole, nil
}

func twoInSeries(first, second FlowLaw) FlowLaw {
	conductance := first.C
	if first.B == 0 || first.C > first.B*second.C {
		// Multiplied by b1² so that b1 = 0 needs no case of its own.
		a := first.C / second.C // α·b1
		g := 1 - first.B
		d := float64(a*a) + float64(g*g)
		conductance = second.C * a * (a*first.B + g*math.Sqrt(d-float64(first.B*first.B))) / d
	}
	square := conductance * conductance
	return FlowLaw{C: conductance, M: 0.5, B: 1 - square*((1-first.B)/(first.C*first.C)+(1-second.B)/(second.C*second.C))}
}

// Cubic is the rule of thumb 1/C³ = Σ1/C_i³, b = 1 - C²·Σ(1-b_i)/C_i². It can
// be 5 % off and is for comparison only.
func (c Chain) Cubic() FlowLaw {
	var cubes, losses float64
	for _, e := range c {
		cubes += 1 / (e.C * e.C * e.C)
		losses += (1 - e.B) / (e.C * e.C)
	}
	conductance := math.Cbrt(1 / cubes)
	return FlowLaw{C: conductance, M: 0.5, B: 1 - conductance*conductance*losses}
}

// Parallel is the equivalent of elements side by side: C = ΣC_i, C/sqrt(1-b) =
// ΣC_i/sqrt(1-b_i).
func Parallel(elements []FlowLaw) FlowLaw {
	var c, root float64
	for _, e := range elements {
		c += e.C
		root += e.C / math.Sqrt(1-e.B)
	}
	q := c / root
	return FlowLaw{C: c, M: 0.5, B: 1 - q*q}
}

// TubeLaw is the rule of thumb for a smooth tube of length and inner diameter
// in m: C = 0.029·d²/sqrt(L/d^1.25 + 510) m³/(s·Pa), b = 474·C/d².
func TubeLaw(length, diameter float64) FlowLaw {
	c := 0.029 * diameter * diameter / math.Sqrt(length/math.Pow(diameter, 1.25)+510)
	return FlowLaw{C: c, M: 0.5, B: 474 * c / (diameter * diameter)}
}
