package iso

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Distribution is the shape of an input's probability density.
type Distribution string

// Distributions of JCGM 101 that instruments' data sheets and certificates
// need. The width always follows from the standard uncertainty.
const (
	Normal      Distribution = "normal"
	Rectangular Distribution = "rectangular"
	Triangular  Distribution = "triangular"
	ArcSine     Distribution = "arcsine" // U-shaped: a cyclic influence
	StudentT    Distribution = "t"       // of few observations: scaled by U, with DOF degrees of freedom
)

// An Input is one source of uncertainty: a deviation with mean 0. A term that
// is common to many readings is one Input, so that it stays correlated.
type Input struct {
	Name  string       // contributions of inputs with the same name are combined
	U     float64      // standard uncertainty, in the unit of the deviation
	Shape Distribution // "" is Normal
	DOF   float64      // degrees of freedom; 0 is infinite
}

// TypeB gives standard uncertainties from limits: a rectangular half width a
// (a/√3), a triangular one (a/√6) or an expanded uncertainty with its k.
func TypeB(a float64, shape Distribution, k float64) float64 {
	switch shape {
	case Rectangular:
		return a / math.Sqrt(3)
	case Triangular:
		return a / math.Sqrt(6)
	case ArcSine:
		return a / math.Sqrt2
	case Normal, StudentT:
	}
	return a / k
}

// A Model computes its outputs at given deviations of its inputs, in the order
// of the inputs. It must not keep deviations or outputs.
type Model func(deviations, outputs []float64) error

// Contribution is what the inputs of one name give to each output, in the
// output's unit: the root of the sum of squares of their parts.
type Contribution struct {
	Name string
	U    []float64
}

// Budget is a first-order propagation of uncertainty (JCGM 100).
type Budget struct {
	Y             []float64 // outputs at no deviation
	U             []float64 // combined standard uncertainties
	DOF           []float64 // effective degrees of freedom (Welch-Satterthwaite); +Inf when all are
	Contributions []Contribution
	parts         [][]float64 // [input][output], signed
}

// Correlation is the correlation coefficient of outputs i and j that the inputs
// they share cause.
func (b Budget) Correlation(i, j int) float64 {
	sum := 0.0
	for _, part := range b.parts {
		sum += float64(part[i] * part[j])
	}
	return sum / (b.U[i] * b.U[j])
}

// Parts gives the signed part of input i in each output: half the difference
// of the outputs at +u and -u.
func (b Budget) Parts(i int) []float64 { return b.parts[i] }

// Propagate is first order with central differences over ±u of each input:
// part = (y(+u) - y(-u))/2. The inputs are independent of each other.
func Propagate(model Model, outputs int, inputs []Input) (Budget, error) {
	b := Budget{Y: make([]float64, outputs), U: make([]float64, outputs), DOF: make([]float64, outputs)}
	deviations := make([]float64, len(inputs))
	if err := model(deviations, b.Y); err != nil {
		return b, err
	}
	up, down := make([]float64, outputs), make([]float64, outputs)
	variance, welch := make([]float64, outputs), make([]float64, outputs)
	index := map[string]int{}
	for i, in := range inputs {
		part := make([]float64, outputs)
		if in.U != 0 {
			deviations[i] = in.U
			errUp := model(deviations, up)
			deviations[i] = -in.U
			errDown := model(deviations, down)
			deviations[i] = 0
			if err := errors.Join(errUp, errDown); err != nil {
				return b, fmt.Errorf("vary %s by %g: %w", in.Name, in.U, err)
			}
		} else {
			copy(up, b.Y)
			copy(down, b.Y)
		}
		c, ok := index[in.Name]
		if !ok {
			c = len(b.Contributions)
			index[in.Name] = c
			b.Contributions = append(b.Contributions, Contribution{Name: in.Name, U: make([]float64, outputs)})
		}
		for j := range part {
			part[j] = (up[j] - down[j]) / 2
			square := part[j] * part[j]
			variance[j] += square
			b.Contributions[c].U[j] += square
			if in.DOF > 0 {
				welch[j] += float64(square*square) / in.DOF
			}
		}
		b.parts = append(b.parts, part)
	}
	for j := range b.U {
		b.U[j] = math.Sqrt(variance[j])
		b.DOF[j] = math.Inf(1)
		if welch[j] > 0 {
			b.DOF[j] = variance[j] * variance[j] / welch[j]
		}
		for c := range b.Contributions {
			b.Contributions[c].U[j] = math.Sqrt(b.Contributions[c].U[j])
		}
	}
	return b, nil
}

// WelchSatterthwaite combines standard uncertainties u of uncorrelated parts
// with their degrees of freedom (0 is infinite): u_c and nu_eff =
// u_c⁴/Σ(u⁴/nu).
func WelchSatterthwaite(u, dof []float64) (combined, effective float64) {
	var variance, welch float64
	for i := range u {
		square := u[i] * u[i]
		variance += square
		if dof[i] > 0 {
			welch += float64(square*square) / dof[i]
		}
	}
	if welch == 0 {
		return math.Sqrt(variance), math.Inf(1)
	}
	return math.Sqrt(variance), variance * variance / welch
}

// CoverageFactor is k for a two-sided coverage probability p with dof degrees
// of freedom, truncated to an integer as the GUM advises (G.4.1).
func CoverageFactor(p, dof float64) float64 {
	if dof = math.Floor(dof); dof >= 1 && dof < 1e6 {
		x := mathext.InvRegIncBeta(dof/2, 0.5, 1-p)
		return math.Sqrt(dof * (1 - x) / x)
	}
	return normalQuantile((1 + p) / 2)
}

func normalQuantile(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// Sample is a propagation of distributions (JCGM 101): the outputs of every
// draw, sorted, and their moments.
type Sample struct {
	Mean, Std []float64
	Sorted    [][]float64 // per output
	Refused   int         // draws that the model refused; a sound budget has none
}

// Interval is the probabilistically symmetric coverage interval of output j.
func (s Sample) Interval(j int, coverage float64) (low, high float64) {
	return quantile(s.Sorted[j], (1-coverage)/2), quantile(s.Sorted[j], (1+coverage)/2)
}

// Within is the share of the draws of output j in low..high.
func (s Sample) Within(j int, low, high float64) float64 {
	list := s.Sorted[j]
	from, _ := slices.BinarySearch(list, low)
	to, found := slices.BinarySearch(list, high)
	if found {
		to++
	}
	return float64(to-from) / float64(len(list))
}

// refusedDraws is the share of draws that a model may refuse before the sample
// stands for nothing.
const refusedDraws = 0.01

// MonteCarlo draws the inputs from a generator seeded with seed and gives the
// sample of the outputs. The same seed gives the same sample on every machine
// to the last digits of the model.
func MonteCarlo(model Model, outputs int, inputs []Input, draws int, seed uint64) (Sample, error) {
	s := Sample{Mean: make([]float64, outputs), Std: make([]float64, outputs), Sorted: make([][]float64, outputs)}
	if draws < 2 {
		return s, fmt.Errorf("%d draws; a standard deviation needs two, JCGM 101 some 10 000", draws)
	}
	for j := range s.Sorted {
		s.Sorted[j] = make([]float64, 0, draws)
	}
	generator := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	deviations, y := make([]float64, len(inputs)), make([]float64, outputs)
	var last error
	for range draws {
		for i, in := range inputs {
			deviations[i] = in.draw(generator)
		}
		if err := model(deviations, y); err != nil {
			s.Refused++
			last = err
			continue
		}
		for j, v := range y {
			s.Sorted[j] = append(s.Sorted[j], v)
		}
	}
	if float64(s.Refused) > refusedDraws*float64(draws) {
		return s, fmt.Errorf("the model refused %d of %d draws, the last: %w", s.Refused, draws, last)
	}
	for j, list := range s.Sorted {
		s.Mean[j], s.Std[j] = mean(list), deviation(list)
		slices.Sort(list)
	}
	return s, nil
}

func (in Input) draw(g *rand.Rand) float64 {
	if in.U == 0 {
		return 0
	}
	switch in.Shape {
	case Rectangular:
		return in.U * math.Sqrt(3) * (2*g.Float64() - 1)
	case Triangular:
		return in.U * math.Sqrt(6) * (g.Float64() + g.Float64() - 1)
	case ArcSine:
		return in.U * math.Sqrt2 * math.Sin(math.Pi*(2*g.Float64()-1))
	case StudentT:
		// Bailey's polar form: one uniform pair gives one t variate exactly.
		for {
			u, v := 2*g.Float64()-1, 2*g.Float64()-1
			if w := float64(u*u) + float64(v*v); w > 0 && w <= 1 {
				return in.U * u * math.Sqrt(in.DOF*(math.Pow(w, -2/in.DOF)-1)/w)
			}
		}
	case Normal:
	}
	return in.U * g.NormFloat64()
}

// ConductanceInputs are the standard uncertainties of one choked flow point.
type ConductanceInputs struct {
	FlowRelative       float64 // of qm
	P1                 float64 // Pa
	T1                 float64 // K
	Repeatability      float64 // of C, relative
	FlowShape          Distribution
	P1Shape, T1Shape   Distribution
	RepeatabilityShape Distribution
}

// ConductanceBudget is the uncertainty of C from one choked point, with rho0
// and T0 exact: (u_C/C)² = (u_q/q)² + (u_p1/p1)² + (u_T1/(2·T1))² + s_rel²
// (first order; ISO 6358-1 with JCGM 100).
type ConductanceBudget struct {
	C             float64
	DQm, DP1, DT1 float64 // sensitivities ∂C/∂qm, ∂C/∂p1, ∂C/∂T1
	UQm, UP1, UT1 float64 // contributions, m³/(s·Pa)
	URepeat       float64
	U             float64 // combined standard uncertainty
}

// PropagateConductance gives the closed form budget of C at p.
func PropagateConductance(p FlowPoint, u ConductanceInputs) ConductanceBudget {
	c := p.Conductance()
	b := ConductanceBudget{C: c, DQm: c / p.Qm, DP1: -c / p.P1, DT1: c / (2 * p.T1)}
	b.UQm = c * u.FlowRelative
	b.UP1 = math.Abs(b.DP1) * u.P1
	b.UT1 = b.DT1 * u.T1
	b.URepeat = c * u.Repeatability
	b.U = math.Sqrt(sumSquares([]float64{b.UQm, b.UP1, b.UT1, b.URepeat}))
	return b
}

// SampleConductance is the Monte Carlo check of PropagateConductance.
func SampleConductance(p FlowPoint, u ConductanceInputs, draws int, seed uint64) (Sample, error) {
	c := p.Conductance()
	inputs := []Input{
		{Name: "qm", U: u.FlowRelative * p.Qm, Shape: u.FlowShape},
		{Name: "p1", U: u.P1, Shape: u.P1Shape},
		{Name: "T1", U: u.T1, Shape: u.T1Shape},
		{Name: "repeatability", U: u.Repeatability * c, Shape: u.RepeatabilityShape},
	}
	return MonteCarlo(func(d, y []float64) error {
		y[0] = Conductance(p.Qm+d[0], p.P1+d[1], p.T1+d[2]) + d[3]
		return nil
	}, 1, inputs, draws, seed)
}

// PointBInputs are the standard uncertainties of one subsonic point with its
// choked flow; all are normal and independent.
type PointBInputs struct {
	FlowRelative, ChokedRelative float64 // of qm and q*
	P1, P2                       float64 // Pa
}

// PointBBudget is the uncertainty of the single-point b. It grows without bound
// towards qm = 0 and qm = q*: points with 0.5 < qm/q* < 0.9 tell b best.
type PointBBudget struct {
	B                      float64
	DQm, DChoked, DP1, DP2 float64 // sensitivities
	U                      float64 // combined standard uncertainty
}

// PropagatePointB gives the closed form budget of b: with s = sqrt(1-(q/q*)²),
// ∂b/∂p2 = 1/(p1(1-s)), ∂b/∂p1 = -p2/(p1²(1-s)), ∂b/∂q =
// (1-r)/(1-s)²·(q/q*)/(s·q*), ∂b/∂q* = -∂b/∂q·q/q*.
func PropagatePointB(qm, choked, p1, p2 float64, u PointBInputs) (PointBBudget, error) {
	b, err := PointB(qm, choked, p1, p2)
	if err != nil {
		return PointBBudget{}, err
	}
	q := qm / choked
	s := math.Sqrt(1 - float64(q*q))
	budget := PointBBudget{B: b, DP2: 1 / (p1 * (1 - s)), DP1: -p2 / (p1 * p1 * (1 - s))}
	budget.DQm = (1 - p2/p1) / ((1 - s) * (1 - s)) * q / (s * choked)
	budget.DChoked = -budget.DQm * q
	budget.U = math.Sqrt(sumSquares([]float64{
		budget.DQm * u.FlowRelative * qm, budget.DChoked * u.ChokedRelative * choked, budget.DP1 * u.P1, budget.DP2 * u.P2,
	}))
	return budget, nil
}

// SamplePointB is the Monte Carlo check of PropagatePointB.
func SamplePointB(qm, choked, p1, p2 float64, u PointBInputs, draws int, seed uint64) (Sample, error) {
	inputs := []Input{
		{Name: "qm", U: u.FlowRelative * qm},
		{Name: "q*", U: u.ChokedRelative * choked},
		{Name: "p1", U: u.P1},
		{Name: "p2", U: u.P2},
	}
	return MonteCarlo(func(d, y []float64) error {
		b, err := PointB(qm+d[0], choked+d[1], p1+d[2], p2+d[3])
		y[0] = b
		return err
	}, 1, inputs, draws, seed)
}

// FlowInputs are the standard uncertainties of a flow test. Scale and offset
// terms are systematic: one value common to all points. Random terms are drawn
// per point. Zero is none, an empty shape is normal.
type FlowInputs struct {
	FlowScale      float64      // relative, of qm
	FlowOffset     float64      // kg/s
	P1Scale        float64      // relative
	P1Offset       float64      // Pa
	P2Scale        float64      // relative
	P2Offset       float64      // Pa
	PressureOffset float64      // Pa, common to p1 and p2: the barometer behind two gauge sensors
	T1Offset       float64      // K
	FlowRandom     float64      // relative, of qm, per point
	P1Random       float64      // Pa, per point
	P2Random       float64      // Pa, per point
	T1Random       float64      // K, per point
	Dpc            float64      // Pa, of a cracking pressure that is given
	Systematic     Distribution // of the systematic terms; "" is normal
}

// Outputs of FlowModel in order: C, b, m.
const (
	OutputC = iota
	OutputB
	OutputM
	FlowOutputs
)

// FlowModel is an estimator on given points as a Model with outputs C, b and m,
// and the inputs that vary it. It is for one goroutine.
func FlowModel(points []FlowPoint, dpc float64, e Estimator, u FlowInputs) (Model, []Input, error) {
	fitter, err := newFlowFitter(points, dpc, e)
	if err != nil {
		return nil, nil, err
	}
	fit, err := fitter.fit(nil)
	if err != nil {
		return nil, nil, err
	}
	start := fitter.parameters(fit.FlowLaw)
	n := len(points)
	inputs := make([]Input, 0, 9+4*n)
	for _, in := range []Input{
		{Name: "q_scale", U: u.FlowScale},
		{Name: "q_offset", U: u.FlowOffset},
		{Name: "p1_scale", U: u.P1Scale},
		{Name: "p1_offset", U: u.P1Offset},
		{Name: "p2_scale", U: u.P2Scale},
		{Name: "p2_offset", U: u.P2Offset},
		{Name: "p_offset", U: u.PressureOffset},
		{Name: "T_offset", U: u.T1Offset},
		{Name: "dpc", U: u.Dpc},
	} {
		in.Shape = u.Systematic
		inputs = append(inputs, in)
	}
	random := len(inputs)
	for _, in := range []Input{
		{Name: "q_random", U: u.FlowRandom},
		{Name: "p1_random", U: u.P1Random},
		{Name: "p2_random", U: u.P2Random},
		{Name: "T_random", U: u.T1Random},
	} {
		for range n {
			inputs = append(inputs, in)
		}
	}
	varied := make([]FlowPoint, n)
	model := func(d, y []float64) error {
		for i, p := range points {
			r := d[random+i:]
			varied[i] = FlowPoint{
				Region: p.Region,
				Qm:     p.Qm*(1+d[0])*(1+r[0]) + d[1],
				P1:     p.P1*(1+d[2]) + d[3] + d[6] + r[n],
				P2:     p.P2*(1+d[4]) + d[5] + d[6] + r[2*n],
				T1:     p.T1 + d[7] + r[3*n],
			}
		}
		fitter.dpc = dpc + d[8]
		fitter.load(varied)
		fitter.bounds()
		fit, err := fitter.fit(start)
		y[OutputC], y[OutputB], y[OutputM] = fit.C, fit.B, fit.M
		return err
	}
	return model, inputs, nil
}

// FlowUncertainty is the budget of C, b and m of a fit, with its Monte Carlo
// check where draws is positive (convention P-7: at least 20 000).
func FlowUncertainty(points []FlowPoint, dpc float64, e Estimator, u FlowInputs, draws int, seed uint64) (Budget, Sample, error) {
	model, inputs, err := FlowModel(points, dpc, e, u)
	if err != nil {
		return Budget{}, Sample{}, err
	}
	budget, err := Propagate(model, FlowOutputs, inputs)
	if err != nil || draws <= 0 {
		return budget, Sample{}, err
	}
	sample, err := MonteCarlo(model, FlowOutputs, inputs, draws, seed)
	return budget, sample, err
}
