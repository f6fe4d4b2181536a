package iso

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

const methodFlow = "iso6358-1/1"

// A FlowLaw is a component's flow-rate characteristics after ISO 6358-1.
type FlowLaw struct {
	C   float64 // sonic conductance, m³/(s·Pa) (ANR)
	B   float64 // critical back-pressure ratio
	M   float64 // subsonic index; 0.5 is the ellipse of the 1989 edition
	Dpc float64 // cracking pressure, Pa
}

// Ratio is the flow over the choked flow at upstream pressure p1 and downstream
// pressure p2, Pa absolute (ISO 6358-1, with cracking pressure): with r = p2/p1
// and a = 1 - Dpc/p1 it is 1 for r <= b, {1 - [(r-b)/(a-b)]²}^m up to r = a and
// 0 from there on.
func (l FlowLaw) Ratio(p1, p2 float64) float64 {
	return flowRatio(p2/p1, 1-l.Dpc/p1, l.B, l.M)
}

func flowRatio(r, a, b, m float64) float64 {
	if r >= a {
		return 0
	}
	if r <= b {
		return 1
	}
	x := (r - b) / (a - b)
	y := 1 - float64(x*x)
	if m == 0.5 {
		return math.Sqrt(y)
	}
	return math.Pow(y, m)
}

// MassFlow is C·rho0·p1·sqrt(T0/T1)·f, kg/s, with pressures in Pa absolute
// (total) and the upstream stagnation temperature T1 in K. The flow is from 1
// to 2 only: p2 >= p1 - Dpc gives 0.
func (l FlowLaw) MassFlow(p1, p2, t1 float64) float64 {
	return l.C * Rho0 * p1 * math.Sqrt(T0/t1) * l.Ratio(p1, p2)
}

// Conductance is Ce = qm/(rho0·p1)·sqrt(T1/T0), m³/(s·Pa), of a mass flow in
// kg/s at upstream pressure p1, Pa absolute, and temperature T1, K.
func Conductance(qm, p1, t1 float64) float64 {
	return qm / (Rho0 * p1) * math.Sqrt(t1/T0)
}

// Region says on which side of the critical ratio a point lies.
type Region string

// Regions of a flow point. Unassigned is left to AssignRegions.
const (
	Unassigned Region = ""
	Choked     Region = "choked"
	Subsonic   Region = "subsonic"
)

// A FlowPoint is one steady state of a flow test: pressures in Pa absolute,
// upstream temperature in K, mass flow in kg/s.
type FlowPoint struct {
	P1, P2, T1, Qm float64
	Region         Region
}

// PressureRatio is p2/p1.
func (p FlowPoint) PressureRatio() float64 { return p.P2 / p.P1 }

// Conductance is Ce of the point, m³/(s·Pa).
func (p FlowPoint) Conductance() float64 { return Conductance(p.Qm, p.P1, p.T1) }

// Estimator names how C, b and m follow from flow points.
type Estimator struct {
	Joint   bool // E2: C, b (and m) together over all points; else E1: C from the choked points first
	FreeM   bool // m is an unknown; else 0.5
	FreeDpc bool // the cracking pressure is an unknown too (joint only)
}

// E1 is the estimator that is reported: C is the mean conductance of the choked
// points, then b and m minimise the squares of Ce/C - f over the subsonic ones.
func E1() Estimator { return Estimator{FreeM: true} }

// E1M05 is E1 with m = 0.5.
func E1M05() Estimator { return Estimator{} }

// E2 fits C, b and m together over all points, unweighted.
func E2() Estimator { return Estimator{Joint: true, FreeM: true} }

// E2M05 is E2 with m = 0.5.
func E2M05() Estimator { return Estimator{Joint: true} }

// E3 is E2 with the cracking pressure as a further unknown.
func E3() Estimator { return Estimator{Joint: true, FreeM: true, FreeDpc: true} }

// String is the name used in reports.
func (e Estimator) String() string {
	name := "E1"
	switch {
	case e.FreeDpc:
		name = "E3"
	case e.Joint:
		name = "E2"
	}
	if !e.FreeM {
		name += "_m05"
	}
	return name
}

// unknowns of the least squares sum.
func (e Estimator) unknowns() int {
	n := 1
	for _, free := range []bool{e.FreeM, e.Joint, e.FreeDpc} {
		if free {
			n++
		}
	}
	return n
}

// A FlowFit is the law that an estimator found.
type FlowFit struct {
	FlowLaw
	RMS    float64 // root mean square of Ce/C - f over the points of the least squares sum
	Points int     // all points
	DOF    int     // points of the least squares sum less its unknowns
}

// Scatter is the standard deviation of one point's Ce/C - f, from the residuals
// with their degrees of freedom: the random part of the flow, relative to the
// choked flow. It is 0 without degrees of freedom.
func (f FlowFit) Scatter(e Estimator) float64 {
	if f.DOF <= 0 {
		return 0
	}
	return f.RMS * math.Sqrt(float64(f.DOF+e.unknowns())/float64(f.DOF))
}

// Bounds within which b and m are sought. A static tap in the jet can make b
// negative; that is to be seen, not hidden.
const (
	lowestB, highestB = -0.5, 0.98
	lowestM, highestM = 0.15, 2.0
	highestRatio      = 0.999 // of the pressure difference that a free cracking pressure may take
)

// FitFlow finds the flow law of points whose regions are assigned (E1 needs
// them, joint estimators do not look). dpc is the known cracking pressure, Pa,
// and the start where it is free. Constant and variable upstream pressure are
// the same here: each point counts with its own p1. A *Refusal says that the
// points do not carry the estimator.
func FitFlow(points []FlowPoint, dpc float64, e Estimator) (FlowFit, error) {
	f, err := newFlowFitter(points, dpc, e)
	if err != nil {
		return FlowFit{}, err
	}
	return f.fit(nil)
}

// flowFitter holds what stays the same when the same points are fitted again
// with other values, as uncertainty propagation does.
type flowFitter struct {
	e       Estimator
	dpc     float64
	ce      []float64 // conductance of each point
	r, inv  []float64 // p2/p1 and 1/p1
	used    []int     // points of the least squares sum
	choked  []int     // points of the mean of E1
	scale   float64   // conductance that makes the parameters of order one
	dpcUnit float64   // Pa, scale of a free cracking pressure
	c0      float64   // C of E1
	work    workspace
	problem curve
}

func newFlowFitter(points []FlowPoint, dpc float64, e Estimator) (*flowFitter, error) {
	f := &flowFitter{e: e, dpc: dpc, dpcUnit: 1e5}
	n := len(points)
	f.ce, f.r, f.inv = make([]float64, n), make([]float64, n), make([]float64, n)
	unknowns := e.unknowns()
	for i, p := range points {
		if !(p.P1 > 0) || !(p.T1 > 0) || !(p.P2 >= 0) || math.IsNaN(p.Qm) || math.IsInf(p.Qm, 0) {
			return nil, refuse(methodFlow, OutOfRange, "point %d: p1 %g Pa, p2 %g Pa, T1 %g K, qm %g kg/s: pressures and temperature must be positive, absolute values", i+1, p.P1, p.P2, p.T1, p.Qm)
		}
		switch {
		case e.Joint:
			f.used = append(f.used, i)
		case p.Region == Choked:
			f.choked = append(f.choked, i)
		case p.Region == Subsonic:
			f.used = append(f.used, i)
		default:
			return nil, fmt.Errorf("point %d has no region: assign regions before estimator %v", i+1, e)
		}
	}
	if !e.Joint && len(f.choked) == 0 {
		return nil, refuse(methodFlow, NoChokedPoint, "none of %d points is choked; add points at lower pressure ratios", n)
	}
	if !e.Joint && len(f.used) == 0 {
		return nil, refuse(methodFlow, NoSubsonicPoint, "none of %d points is subsonic; add points at higher pressure ratios", n)
	}
	if len(f.used) < unknowns {
		return nil, refuse(methodFlow, TooFewPoints, "%d points for %d unknowns of estimator %v; measure at least %d", len(f.used), unknowns, e, unknowns+1)
	}
	f.load(points)
	f.problem = curve{n: len(f.used), k: unknowns, evaluate: f.evaluate}
	f.bounds()
	return f, nil
}

// load takes the values of points; their number and regions are as before.
func (f *flowFitter) load(points []FlowPoint) {
	f.scale = 0
	for i, p := range points {
		f.ce[i] = Conductance(p.Qm, p.P1, p.T1)
		f.r[i] = p.P2 / p.P1
		f.inv[i] = 1 / p.P1
		f.scale = max(f.scale, f.ce[i])
	}
	if !f.e.Joint {
		sum := 0.0
		for _, i := range f.choked {
			sum += f.ce[i]
		}
		f.c0 = sum / float64(len(f.choked))
	}
}

// Order of the parameters: b, then m, then C over scale, then dpc.
func (f *flowFitter) indices() (m, c, dpc int) {
	m, c, dpc = -1, -1, -1
	next := 1
	if f.e.FreeM {
		m = next
		next++
	}
	if f.e.Joint {
		c = next
		next++
	}
	if f.e.FreeDpc {
		dpc = next
	}
	return m, c, dpc
}

func (f *flowFitter) bounds() {
	m, c, dpc := f.indices()
	f.problem.lower[0], f.problem.upper[0] = lowestB, highestB
	if m >= 0 {
		f.problem.lower[m], f.problem.upper[m] = lowestM, highestM
	}
	if c >= 0 {
		f.problem.lower[c], f.problem.upper[c] = 0, 100
	}
	if dpc >= 0 {
		// A point that flows has passed its cracking pressure.
		least := math.Inf(1)
		for _, i := range f.used {
			if f.ce[i] > 0 {
				least = min(least, (1-f.r[i])/f.inv[i])
			}
		}
		f.problem.lower[dpc], f.problem.upper[dpc] = 0, highestRatio*least/f.dpcUnit
	}
}

func (f *flowFitter) law(p []float64) FlowLaw {
	m, c, dpc := f.indices()
	law := FlowLaw{C: f.c0, B: p[0], M: 0.5, Dpc: f.dpc}
	if m >= 0 {
		law.M = p[m]
	}
	if c >= 0 {
		law.C = p[c] * f.scale
	}
	if dpc >= 0 {
		law.Dpc = p[dpc] * f.dpcUnit
	}
	return law
}

// parameters is the inverse of law.
func (f *flowFitter) parameters(law FlowLaw) []float64 {
	m, c, dpc := f.indices()
	p := make([]float64, f.problem.k)
	p[0] = law.B
	if m >= 0 {
		p[m] = law.M
	}
	if c >= 0 {
		p[c] = law.C / f.scale
	}
	if dpc >= 0 {
		p[dpc] = law.Dpc / f.dpcUnit
	}
	return p
}

// evaluate gives the residuals over scale (E2) or Ce/C - f (E1) and their
// derivatives.
func (f *flowFitter) evaluate(p []float64, res, jac []float64) {
	im, ic, id := f.indices()
	law := f.law(p)
	b, m := law.B, law.M
	k := f.problem.k
	unit, factor := f.c0, 1.0
	if f.e.Joint {
		unit, factor = f.scale, p[ic]
	}
	for row, i := range f.used {
		r, a := f.r[i], 1-law.Dpc*f.inv[i]
		ratio := flowRatio(r, a, b, m)
		res[row] = f.ce[i]/unit - float64(factor*ratio)
		if jac == nil {
			continue
		}
		j := jac[row*k : row*k+k]
		clear(j)
		if ic >= 0 {
			j[ic] = -ratio
		}
		if r <= b || ratio == 0 {
			continue
		}
		width := a - b
		x := (r - b) / width
		y := 1 - float64(x*x)
		slope := factor * 2 * m * x * ratio / y // of f by -x
		j[0] = -slope * (a - r) / (width * width)
		if im >= 0 {
			j[im] = -factor * ratio * math.Log(y)
		}
		if id >= 0 {
			j[id] = slope * (r - b) / (width * width) * f.inv[i] * f.dpcUnit
		}
	}
}

// fit searches from start, or from the best node of a coarse grid when start is
// nil.
func (f *flowFitter) fit(start []float64) (FlowFit, error) {
	var p [maxParameters]float64
	k := f.problem.k
	if start != nil {
		copy(p[:], start)
	} else {
		f.scan(p[:k])
	}
	if _, ok := f.problem.minimise(p[:k], &f.work); !ok {
		return FlowFit{}, refuse(methodFlow, NoFit, "estimator %v does not converge on %d points; look at the points for one that does not belong", f.e, len(f.ce))
	}
	law := f.law(p[:k])
	if err := f.checkSubsonic(law.B); err != nil {
		return FlowFit{}, err
	}
	if law.B <= lowestB || law.B >= highestB || (f.e.FreeM && (law.M <= lowestM || law.M >= highestM)) {
		return FlowFit{}, refuse(methodFlow, NoFit, "estimator %v runs to b %.3f, m %.3f; no valve has these: check p2's tap, its unit and its kind (gauge or absolute)", f.e, law.B, law.M)
	}
	return FlowFit{FlowLaw: law, RMS: f.rms(law), Points: len(f.ce), DOF: len(f.used) - k}, nil
}

// checkSubsonic refuses a fit whose b and m rest on fewer points above b than
// they are: any b above the last point fits a plateau.
func (f *flowFitter) checkSubsonic(b float64) error {
	least := 1
	if f.e.FreeM {
		least = 2
	}
	above := 0
	for _, i := range f.used {
		if f.r[i] > b {
			above++
		}
	}
	if above < least {
		return refuse(methodFlow, NoSubsonicPoint, "%d points lie above b = %.3f; estimator %v needs %d: add points at higher pressure ratios", above, b, f.e, least)
	}
	return nil
}

func (f *flowFitter) rms(law FlowLaw) float64 {
	sum := 0.0
	for _, i := range f.used {
		d := f.ce[i]/law.C - flowRatio(f.r[i], 1-law.Dpc*f.inv[i], law.B, law.M)
		sum += float64(d * d)
	}
	return math.Sqrt(sum / float64(len(f.used)))
}

// scan puts the best node of a coarse grid into p.
func (f *flowFitter) scan(p []float64) {
	im, ic, id := f.indices()
	ms, dpcs := []float64{0.5}, []float64{0}
	if im >= 0 {
		ms = []float64{0.4, 0.5, 0.6, 0.8, 1.1}
	}
	if id >= 0 {
		top := f.problem.upper[id]
		dpcs = []float64{0.02 * top, 0.2 * top, 0.4 * top, 0.6 * top, 0.8 * top, 0.95 * top}
	}
	f.work.fit(f.problem.n, f.problem.k)
	best := math.Inf(1)
	var node [maxParameters]float64
	for _, dpc := range dpcs {
		for _, m := range ms {
			for b := lowestB + 0.05; b < 0.92; b += 0.05 {
				node[0] = b
				if im >= 0 {
					node[im] = m
				}
				if id >= 0 {
					node[id] = dpc
				}
				if ic >= 0 {
					node[ic] = 0
					node[ic] = f.bestScale(f.law(node[:len(p)]))
				}
				f.evaluate(node[:len(p)], f.work.r, nil)
				if sse := sumSquares(f.work.r); sse < best {
					best = sse
					copy(p, node[:len(p)])
				}
			}
		}
	}
}

// bestScale is C over scale that fits best with the other parameters of law.
func (f *flowFitter) bestScale(law FlowLaw) float64 {
	var num, den float64
	for _, i := range f.used {
		ratio := flowRatio(f.r[i], 1-law.Dpc*f.inv[i], law.B, law.M)
		num += float64(ratio * f.ce[i])
		den += float64(ratio * ratio)
	}
	if den == 0 {
		return 1
	}
	return num / den / f.scale
}

// plateauTolerance is how much Ce may differ between the two lowest pressure
// ratios of a choked plateau (convention P-6).
const plateauTolerance = 0.02

// CheckPlateau refuses points whose conductance still rises by more than 2 %
// between the two lowest pressure ratios: they have no choked plateau and C
// cannot follow from them.
func CheckPlateau(points []FlowPoint) error {
	if len(points) < 2 {
		return refuse(methodFlow, TooFewPoints, "%d points; a plateau needs two", len(points))
	}
	sorted := slices.SortedFunc(slices.Values(points), func(a, b FlowPoint) int {
		return cmp.Compare(a.PressureRatio(), b.PressureRatio())
	})
	lowest, next := sorted[0].Conductance(), sorted[1].Conductance()
	if !(lowest > 0) || !(next > 0) {
		return refuse(methodFlow, OutOfRange, "no flow at the lowest pressure ratios %.3f and %.3f", sorted[0].PressureRatio(), sorted[1].PressureRatio())
	}
	if rise := math.Abs(lowest-next) / next; rise > plateauTolerance {
		return refuse(methodFlow, NoChokedPoint, "the conductance differs by %.1f %% between the pressure ratios %.3f and %.3f (at most %.0f %%): no choked plateau; open the flow control valve further or raise p1",
			100*rise, sorted[1].PressureRatio(), sorted[0].PressureRatio(), 100*plateauTolerance)
	}
	return nil
}

// AssignRegions gives each point its region: choked where the pressure ratio is
// at most the b of a joint fit over all points, which needs no regions. It
// refuses points without a choked plateau.
func AssignRegions(points []FlowPoint, dpc float64) ([]FlowPoint, error) {
	if err := CheckPlateau(points); err != nil {
		return nil, err
	}
	e := E2()
	if len(points) < 5 {
		e = E2M05()
	}
	fit, err := FitFlow(points, dpc, e)
	if err != nil {
		return nil, err
	}
	assigned := slices.Clone(points)
	for i := range assigned {
		assigned[i].Region = Subsonic
		if assigned[i].PressureRatio() <= fit.B {
			assigned[i].Region = Choked
		}
	}
	return assigned, nil
}

// Hysteresis is what differs between a sweep of decreasing and one of
// increasing flow.
type Hysteresis struct {
	C        float64 // mean conductance of the choked points of the decreasing sweep, m³/(s·Pa)
	Absolute float64 // largest difference of the conductances, m³/(s·Pa)
	Relative float64 // Absolute over C
}

// chokedMargin is how far below b a point must lie to count as choked where b
// is only known beforehand.
const chokedMargin = 0.02

// FlowHysteresis compares the sweeps: C is the mean conductance of decreasing
// points with p2/p1 <= b - 0.02; the hysteresis is the largest difference, at
// the ratios of the decreasing sweep that the other sweep covers, from the
// other's conductance interpolated in the ratio.
func FlowHysteresis(decreasing, increasing []FlowPoint, b float64) (Hysteresis, error) {
	if len(increasing) < 2 || len(decreasing) < 2 {
		return Hysteresis{}, refuse(methodFlow, TooFewPoints, "sweeps of %d and %d points; each needs two", len(decreasing), len(increasing))
	}
	var plateau []float64
	for _, p := range decreasing {
		if p.PressureRatio() <= b-chokedMargin {
			plateau = append(plateau, p.Conductance())
		}
	}
	if len(plateau) == 0 {
		return Hysteresis{}, refuse(methodFlow, NoChokedPoint, "no point of the decreasing sweep lies below the pressure ratio %.3f", b-chokedMargin)
	}
	other := slices.SortedFunc(slices.Values(increasing), func(a, b FlowPoint) int {
		return cmp.Compare(a.PressureRatio(), b.PressureRatio())
	})
	ratios, conductances := make([]float64, len(other)), make([]float64, len(other))
	for i, p := range other {
		ratios[i], conductances[i] = p.PressureRatio(), p.Conductance()
	}
	h := Hysteresis{C: mean(plateau)}
	for _, p := range decreasing {
		r := p.PressureRatio()
		if r < ratios[0] || r > ratios[len(ratios)-1] {
			continue
		}
		h.Absolute = max(h.Absolute, math.Abs(p.Conductance()-interpolate(ratios, conductances, r)))
	}
	h.Relative = h.Absolute / h.C
	return h, nil
}

// Steadiness says how much a window moved, and whether that is a steady state
// after convention P-2.
type Steadiness struct {
	SpreadP1   float64 // (max-min)/mean of p1
	SpreadFlow float64 // (max-min)/mean of qm
	SpreadT1   float64 // max-min of T1, K
	Steady     bool
}

// Limits of convention P-2.
const (
	steadyPressure    = 0.005 // of the mean
	steadyFlow        = 0.01  // of the mean
	steadyTemperature = 1.0   // K
)

// CheckSteady judges a window of p1, Pa, qm, kg/s, and T1, K.
func CheckSteady(p1, qm, t1 []float64) (Steadiness, error) {
	if len(p1) == 0 || len(qm) == 0 || len(t1) == 0 {
		return Steadiness{}, refuse(methodFlow, TooFewPoints, "a window without samples: %d of p1, %d of qm, %d of T1", len(p1), len(qm), len(t1))
	}
	s := Steadiness{SpreadP1: span(p1) / mean(p1), SpreadFlow: span(qm) / math.Abs(mean(qm)), SpreadT1: span(t1)}
	s.Steady = s.SpreadP1 <= steadyPressure && s.SpreadFlow <= steadyFlow && s.SpreadT1 <= steadyTemperature
	return s, nil
}
