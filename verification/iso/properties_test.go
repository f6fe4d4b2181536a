package iso_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pneudaq/verification/iso"
)

func generator(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func uniform(g *rand.Rand, low, high float64) float64 { return low + (high-low)*g.Float64() }

func within(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s: got %.12g, want %.12g within %.3g", what, got, want, tol)
	}
}

func refused(t *testing.T, err error, want iso.Reason) {
	t.Helper()
	var r *iso.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal %s", err, want)
	}
	if r.Reason != want {
		t.Fatalf("got %v, want the reason %s", err, want)
	}
	if _, ok := iso.MethodNamed(r.Method); !ok || r.Detail == "" {
		t.Fatalf("refusal %+v names no method or no cause", r)
	}
}

// lawPoints are ideal points of law, at constant or variable upstream pressure.
func lawPoints(g *rand.Rand, law iso.FlowLaw, upstream iso.Upstream) []iso.FlowPoint {
	var points []iso.FlowPoint
	for i := range 16 {
		p1 := uniform(g, 5e5, 9e5)
		if i > 0 && upstream == iso.ConstantUpstream {
			p1 = points[0].P1
		}
		a := 1 - law.Dpc/p1
		r := law.B * (0.2 + 0.18*float64(i)) // four choked points
		region := iso.Choked
		if i >= 4 {
			r = law.B + (a-law.B)*(0.06+0.92*float64(i-4)/11)
			region = iso.Subsonic
		}
		t1 := uniform(g, 285, 305)
		points = append(points, iso.FlowPoint{P1: p1, P2: r * p1, T1: t1, Qm: law.MassFlow(p1, r*p1, t1), Region: region})
	}
	return points
}

func randomLaw(g *rand.Rand) iso.FlowLaw {
	law := iso.FlowLaw{C: math.Exp(uniform(g, math.Log(1e-10), math.Log(1e-6))), B: uniform(g, 0.05, 0.6), M: uniform(g, 0.4, 0.7)}
	if g.IntN(2) == 0 {
		law.Dpc = uniform(g, 2e3, 4e4)
	}
	return law
}

func TestFlowFitRecoversLaw(t *testing.T) {
	for seed := range uint64(300) {
		g := generator(seed)
		law := randomLaw(g)
		upstream := iso.ConstantUpstream
		if seed%2 == 1 {
			upstream = iso.VariableUpstream
		}
		points := lawPoints(g, law, upstream)
		for _, e := range []iso.Estimator{iso.E1(), iso.E2()} {
			fit, err := iso.FitFlow(points, law.Dpc, e)
			if err != nil {
				t.Fatalf("seed %d, %v: %v", seed, e, err)
			}
			within(t, e.String()+" C/C", fit.C/law.C, 1, 1e-9)
			within(t, e.String()+" b", fit.B, law.B, 1e-8)
			within(t, e.String()+" m", fit.M, law.M, 1e-8)
		}
		fit, err := iso.FitFlow(points, 0, iso.E3())
		if err != nil {
			t.Fatalf("seed %d, %v: %v", seed, iso.E3(), err)
		}
		within(t, "E3 C/C", fit.C/law.C, 1, 1e-6)
		within(t, "E3 b", fit.B, law.B, 1e-5)
		within(t, "E3 dpc", fit.Dpc, law.Dpc, 1)
		ellipse := law
		ellipse.M = 0.5
		points = lawPoints(g, ellipse, upstream)
		for _, e := range []iso.Estimator{iso.E1M05(), iso.E2M05()} {
			fit, err := iso.FitFlow(points, law.Dpc, e)
			if err != nil {
				t.Fatalf("seed %d, %v: %v", seed, e, err)
			}
			within(t, e.String()+" b", fit.B, law.B, 1e-8)
			within(t, e.String()+" C/C", fit.C/law.C, 1, 1e-9)
		}
	}
}

func TestAssignRegionsFindsChokedPoints(t *testing.T) {
	for seed := range uint64(200) {
		g := generator(seed)
		law := randomLaw(g)
		want := lawPoints(g, law, iso.ConstantUpstream)
		bare := slices.Clone(want)
		for i := range bare {
			bare[i].Region = iso.Unassigned
			bare[i].Qm *= 1 + 0.001*g.NormFloat64()
		}
		got, err := iso.AssignRegions(bare, law.Dpc)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range got {
			// Points next to b may fall on either side under noise.
			if got[i].Region != want[i].Region && math.Abs(want[i].PressureRatio()-law.B) > 0.06 {
				t.Errorf("seed %d point %d at r %.3f, b %.3f: %s", seed, i, want[i].PressureRatio(), law.B, got[i].Region)
			}
		}
	}
}

func TestFlowLawIsContinuousAndMonotone(t *testing.T) {
	for seed := range uint64(100) {
		g := generator(seed)
		law := randomLaw(g)
		p1 := uniform(g, 3e5, 9e5)
		last := law.MassFlow(p1, 0, 293.15)
		within(t, "choked Ce", iso.Conductance(last, p1, 293.15)/law.C, 1, 1e-12)
		for p2 := 0.0; p2 <= p1; p2 += p1 / 2000 {
			q := law.MassFlow(p1, p2, 293.15)
			if q > last*(1+1e-12) {
				t.Fatalf("seed %d: flow rises with p2 at r %.4f", seed, p2/p1)
			}
			last = q
		}
		// p2 = p1 - dpc is 1 - dpc/p1 to the last digit only.
		if law.MassFlow(p1, p1, 293.15) != 0 || law.MassFlow(p1, (p1-law.Dpc)*(1+1e-15), 293.15) > 1e-7*law.MassFlow(p1, 0, 293.15) {
			t.Fatalf("seed %d: flow %g at p2 = p1, %g at the cracking pressure", seed, law.MassFlow(p1, p1, 293.15), law.MassFlow(p1, p1-law.Dpc, 293.15))
		}
	}
}

func TestFlowFitRefusals(t *testing.T) {
	law := iso.FlowLaw{C: 2e-8, B: 0.3, M: 0.5}
	points := lawPoints(generator(1), law, iso.ConstantUpstream)
	var subsonic, choked []iso.FlowPoint
	for _, p := range points {
		if p.Region == iso.Choked {
			choked = append(choked, p)
		} else {
			subsonic = append(subsonic, p)
		}
	}
	_, err := iso.FitFlow(subsonic, 0, iso.E1())
	refused(t, err, iso.NoChokedPoint)
	_, err = iso.FitFlow(choked, 0, iso.E1())
	refused(t, err, iso.NoSubsonicPoint)
	_, err = iso.FitFlow(append(slices.Clone(choked), subsonic[0]), 0, iso.E1())
	refused(t, err, iso.TooFewPoints)
	_, err = iso.AssignRegions(subsonic[3:], 0)
	refused(t, err, iso.NoChokedPoint)
	bad := slices.Clone(points)
	bad[3].T1 = 0
	_, err = iso.FitFlow(bad, 0, iso.E2())
	refused(t, err, iso.OutOfRange)
	_, err = iso.FitFlow1989(subsonic[:1])
	refused(t, err, iso.TooFewPoints)
	_, err = iso.PointB(0.02, 0.01, 7e5, 6e5)
	refused(t, err, iso.OutOfRange)
	_, err = iso.FitFlow(choked, 0, iso.E2())
	refused(t, err, iso.NoSubsonicPoint)
}

// The plateau may differ by just under 2 %, not by just over.
func TestPlateauLimit(t *testing.T) {
	points := func(rise float64) []iso.FlowPoint {
		return []iso.FlowPoint{
			{P1: 7e5, P2: 1e5, T1: 293.15, Qm: 0.02 * (1 + rise)}, {P1: 7e5, P2: 2e5, T1: 293.15, Qm: 0.02}, {P1: 7e5, P2: 5e5, T1: 293.15, Qm: 0.015},
		}
	}
	if err := iso.CheckPlateau(points(0.0199)); err != nil {
		t.Errorf("1.99 %%: %v", err)
	}
	refused(t, iso.CheckPlateau(points(0.0201)), iso.NoChokedPoint)
}

// The steady limits are 0.5 % of p1, 1 % of qm and 1 K.
func TestSteadyLimits(t *testing.T) {
	pair := func(middle, spread float64) []float64 { return []float64{middle - spread/2, middle + spread/2} }
	for _, c := range []struct {
		p, q, temperature float64
		steady            bool
	}{
		{0.0049, 0, 0, true}, {0.0051, 0, 0, false}, {0, 0.0099, 0, true}, {0, 0.0101, 0, false}, {0, 0, 0.99, true}, {0, 0, 1.01, false},
	} {
		s, err := iso.CheckSteady(pair(7e5, 7e5*c.p), pair(0.02, 0.02*c.q), pair(293, c.temperature))
		if err != nil || s.Steady != c.steady {
			t.Errorf("%+v: got %+v, %v", c, s, err)
		}
	}
}

func TestDischargeAndChargeRecoverLaw(t *testing.T) {
	for seed := range uint64(20) {
		g := generator(seed)
		law := iso.FlowLaw{C: uniform(g, 1e-8, 6e-8), B: uniform(g, 0.2, 0.5), M: uniform(g, 0.45, 0.6)}
		tank := iso.Tank{Volume: law.C * 2.5e5, T: uniform(g, 288, 300), R: iso.RANR}
		const dt, n, ambient, supply = 0.01, 900, 101325.0, 7.3e5
		fitTank := func(trace iso.TankTrace, held func(iso.TankTrace, float64) (iso.TankFit, error), free func(iso.TankTrace) (iso.TankFit, error)) (iso.TankFit, error) {
			if seed%2 == 0 {
				return free(trace)
			}
			return held(trace, law.M)
		}
		rate := tank.R * tank.T / tank.Volume * math.Sqrt(iso.T0/tank.T) * iso.Rho0 * law.C
		curve := func(p float64, slope func(p float64) float64) []float64 {
			var list []float64
			for range n {
				list = append(list, p)
				const sub = 50
				for range sub {
					h := dt / sub
					k1 := slope(p)
					p += h * slope(p+h/2*k1)
				}
			}
			return list
		}
		down := iso.TankTrace{Tank: tank, Dt: dt, Other: ambient, P: curve(7e5, func(p float64) float64 { return -rate * p * law.Ratio(p, ambient) })}
		fit, err := fitTank(down, iso.FitDischarge, iso.FitDischargeM)
		if err != nil {
			t.Fatalf("seed %d, discharge: %v", seed, err)
		}
		within(t, "discharge C/C", fit.C/law.C, 1, 2e-5)
		within(t, "discharge b", fit.B, law.B, 1e-4)
		within(t, "discharge m", fit.M, law.M, 1e-4)
		choked, err := iso.ChokedDischarge(down, fit.B)
		if err != nil {
			t.Fatalf("seed %d, choked discharge: %v", seed, err)
		}
		within(t, "choked discharge C/C", choked.C/law.C, 1, 1e-6)
		half := iso.DischargeTime(tank, law, 7e5, down.P[400], ambient)
		if down.P[400] > 1.001*ambient {
			within(t, "discharge time", half, 400*dt, 1e-4)
		}
		up := iso.TankTrace{Tank: tank, Dt: dt, Other: supply, P: curve(ambient, func(p float64) float64 { return rate * supply * law.Ratio(supply, p) })}
		fit, err = fitTank(up, iso.FitCharge, iso.FitChargeM)
		if err != nil {
			t.Fatalf("seed %d, charge: %v", seed, err)
		}
		within(t, "charge C/C", fit.C/law.C, 1, 2e-5)
		within(t, "charge b", fit.B, law.B, 2e-4)
	}
}

func TestTankRefusals(t *testing.T) {
	trace := iso.TankTrace{Tank: iso.Tank{Volume: 0.005, T: 293.15, R: iso.RANR}, Dt: 0.01, Other: 101325, P: make([]float64, 50)}
	_, err := iso.FitDischarge(trace, 0.5)
	refused(t, err, iso.TooFewPoints)
	trace.P = make([]float64, 500)
	for i := range trace.P {
		trace.P[i] = 130e3 - 50*float64(i)
	}
	_, err = iso.FitDischarge(trace, 0.5)
	refused(t, err, iso.NoChokedPoint)
	_, err = iso.ChokedDischarge(trace, 0.3)
	refused(t, err, iso.NoChokedPoint)
	for i := range trace.P {
		trace.P[i] = 101325 + 6e5*math.Exp(-float64(i)/10)
	}
	_, err = iso.FitDischarge(trace, 0.5)
	refused(t, err, iso.SamplingTooSlow)
	_, err = iso.StopTest(0.01, trace.P, 400, 293.15)
	refused(t, err, iso.RecordTooShort)
	s, err := iso.StopTest(0.01, slices.Concat([]float64{4e5, 3e5, 297100}, slices.Repeat([]float64{3e5}, 200)), 2, 293.15)
	if err != nil || !s.Isothermal {
		t.Errorf("a drop of %g K must do: %v", s.Drop, err)
	}
	s, err = iso.StopTest(0.01, slices.Concat([]float64{4e5, 3e5, 296800}, slices.Repeat([]float64{3e5}, 200)), 2, 293.15)
	if err != nil || s.Isothermal {
		t.Errorf("a drop of %g K must not do: %v", s.Drop, err)
	}
}

func TestSeriesOfEllipsesAgreesWithClosedForm(t *testing.T) {
	for seed := range uint64(200) {
		g := generator(seed)
		var chain iso.Chain
		for range 2 {
			chain = append(chain, iso.FlowLaw{C: uniform(g, 5e-9, 8e-8), B: uniform(g, 0.05, 0.55), M: 0.5})
		}
		c, onset, err := chain.Choking()
		if err != nil {
			t.Fatal(err)
		}
		closed, err := chain.ClosedForm()
		if err != nil {
			t.Fatal(err)
		}
		within(t, "C", closed.C/c, 1, 1e-9)
		// Flow falls from the onset on and is that of the first element alone at most.
		at, err := chain.Conductance(onset * 0.5)
		if err != nil || at != c || c > chain[0].C {
			t.Fatalf("seed %d: %g below the onset, %g at it, first element %g: %v", seed, at, c, chain[0].C, err)
		}
		above, err := chain.Conductance(onset + 0.05)
		if err != nil || !(above < c) {
			t.Fatalf("seed %d: flow does not fall above the onset: %v", seed, err)
		}
	}
	one := iso.Chain{{C: 3e-8, B: 0.3, M: 0.55}}
	law, err := one.Equivalent(true)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "single element C", law.C, 3e-8, 1e-17)
	within(t, "single element b", law.B, 0.3, 1e-8)
	within(t, "single element m", law.M, 0.55, 1e-8)
	_, _, err = iso.Chain{{C: 3e-8, B: 0.3, M: 0.5, Dpc: 1e4}}.Choking()
	refused(t, err, iso.ComponentExcluded)
	_, err = iso.Chain{}.ClosedForm()
	refused(t, err, iso.TooFewPoints)
}

func TestParallelAndTube(t *testing.T) {
	p := iso.Parallel([]iso.FlowLaw{{C: 2e-8, B: 0.3}, {C: 2e-8, B: 0.3}})
	within(t, "C", p.C, 4e-8, 1e-20)
	within(t, "b", p.B, 0.3, 1e-12)
	p = iso.Parallel([]iso.FlowLaw{{C: 1e-8, B: 0.2}, {C: 3e-8, B: 0.4}})
	within(t, "b of two", p.B, 1-math.Pow(4/(1/math.Sqrt(0.8)+3/math.Sqrt(0.6)), 2), 1e-12)
	// 1 m of 6 mm tube: 3.1 dm³/(s·bar), b 0.41.
	tube := iso.TubeLaw(1, 6e-3)
	within(t, "tube C", tube.C/iso.PracticalConductance, 3.135, 0.005)
	within(t, "tube b", tube.B, 474*tube.C/36e-6, 1e-12)
}

func TestWeibullProperties(t *testing.T) {
	for seed := range uint64(60) {
		g := generator(seed)
		law := iso.Weibull{Eta: math.Exp(uniform(g, 0, 20)), Beta: uniform(g, 0.7, 6)}
		var lives []iso.Life
		for range 12 {
			l := iso.Life{T: law.Eta * math.Pow(-math.Log(1-g.Float64()), 1/law.Beta), Failed: true}
			if end := law.Eta * 1.1; l.T > end {
				l = iso.Life{T: end}
			}
			lives = append(lives, l)
		}
		fit, err := iso.FitWeibull(lives)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// No neighbour is likelier, and the unit of time does not matter.
		scaled := slices.Clone(lives)
		for i := range scaled {
			scaled[i].T *= 3600
		}
		other, err := iso.FitWeibull(scaled)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "scaled eta", other.Eta/fit.Eta, 3600, 1e-6)
		within(t, "scaled beta", other.Beta, fit.Beta, 1e-9*fit.Beta)
		within(t, "scaled bound", other.LifeLower(0.1, 0.95)/fit.LifeLower(0.1, 0.95), 3600, 1e-5)
		fisher, ratio := fit.LifeBound(0.1, 0.9), fit.LikelihoodBound(0.1, 0.9)
		life := fit.Life(0.1)
		if !(ratio.Low < life && life < ratio.High && fisher.Low < life && life < fisher.High) {
			t.Errorf("seed %d: B10 %g outside its bounds %v, %v", seed, life, fisher, ratio)
		}
		within(t, "F(B10)", fit.Failed(life), 0.1, 1e-12)
		within(t, "one-sided", fit.LifeLower(0.1, 0.95)/fisher.Low, 1, 1e-9)
	}
}

// With many failures the two kinds of bounds agree; the likelihood ratio bound
// of a small complete sample was computed by hand on a grid.
func TestLikelihoodBound(t *testing.T) {
	g := generator(7)
	var lives []iso.Life
	for range 4000 {
		lives = append(lives, iso.Life{T: 1e6 * math.Pow(-math.Log(1-g.Float64()), 0.5), Failed: true})
	}
	fit, err := iso.FitWeibull(lives)
	if err != nil {
		t.Fatal(err)
	}
	fisher, ratio := fit.LifeBound(0.1, 0.9), fit.LikelihoodBound(0.1, 0.9)
	within(t, "low", ratio.Low/fisher.Low, 1, 0.003)
	within(t, "high", ratio.High/fisher.High, 1, 0.003)

	lives = []iso.Life{{T: 2, Failed: true}, {T: 3, Failed: true}, {T: 5, Failed: true}, {T: 8, Failed: true}, {T: 9}}
	fit, err = iso.FitWeibull(lives)
	if err != nil {
		t.Fatal(err)
	}
	bound := fit.LikelihoodBound(0.1, 0.9)
	loglik := func(w iso.Weibull) float64 {
		sum := 0.0
		for _, l := range lives {
			z := math.Pow(l.T/w.Eta, w.Beta)
			if l.Failed {
				sum += math.Log(w.Beta/l.T*z) - z
			} else {
				sum -= z
			}
		}
		return sum
	}
	for _, edge := range []float64{bound.Low, bound.High} {
		best := math.Inf(-1)
		for beta := 0.2; beta < 8; beta += 0.0005 {
			eta := edge / math.Pow(-math.Log(0.9), 1/beta)
			best = max(best, loglik(iso.Weibull{Eta: eta, Beta: beta}))
		}
		within(t, "2(lmax - l)", 2*(loglik(fit.Weibull)-best), 2.705543, 1e-4)
	}
}

func TestLifeRefusals(t *testing.T) {
	_, err := iso.FitWeibull([]iso.Life{{T: -1, Failed: true}})
	refused(t, err, iso.OutOfRange)
	_, err = iso.FitRanks(nil, iso.Regression{})
	refused(t, err, iso.NoFailures)
	_, err = iso.WeibayesLower(nil, 2, 0.9)
	refused(t, err, iso.OutOfRange)
	_, err = iso.Terminate(iso.Wear{Unit: "A", Cycles: []float64{0, 1}, Values: []float64{1, 2}}, 3)
	refused(t, err, iso.TooFewPoints)
	_, err = iso.Terminate(iso.Wear{Unit: "A", Cycles: []float64{0, 2, 1}, Values: []float64{1, 2, 3}}, 3)
	refused(t, err, iso.OutOfRange)
	e, err := iso.EvaluateEndurance([]iso.Wear{{Unit: "A", Cycles: []float64{0, 1, 2}, Values: []float64{1, 1, 1}}}, 3)
	refused(t, err, iso.NoFailures)
	if len(e.Terminations) != 1 {
		t.Error("the terminations must stand in the result of a refused fit")
	}
}

func TestHardFailure(t *testing.T) {
	w := iso.Wear{Unit: "V", Cycles: []float64{0, 10, 20, 30, 40, 50}, Values: []float64{1, 1, 1, 4, 4, 4}}
	for _, c := range []struct {
		hard, cycles float64
		isHard       bool
	}{{0, 40, false}, {25, 25, true}, {40, 40, false}, {45, 40, false}} {
		w.HardFailure = c.hard
		got, err := iso.Terminate(w, 2.5)
		if err != nil || !got.Failed || got.Hard != c.isHard || got.Cycles != c.cycles {
			t.Errorf("hard failure at %g: got %+v, %v", c.hard, got, err)
		}
	}
	// The average equal to the threshold is no failure; the first average can be.
	w.HardFailure = 0
	if got, _ := iso.Terminate(w, 3); got.Cycles != 50 || !got.Failed {
		t.Errorf("average equal to the threshold: %+v", got)
	}
	first := iso.Wear{Unit: "F", Cycles: []float64{0, 10, 20}, Values: []float64{9, 9, 9}}
	if got, _ := iso.Terminate(first, 3); got.Cycles != 20 || got.Interpolated != 20 {
		t.Errorf("failed at the first average: %+v", got)
	}
}

func TestMonteCarloDistributions(t *testing.T) {
	const n = 400_000
	identity := func(d, y []float64) error { y[0] = d[0]; return nil }
	for _, c := range []struct {
		shape            iso.Distribution
		dof              float64
		std, kurtosis, w float64 // standard deviation and E(x⁴)/σ⁴ for U = 2, half width or 0
	}{
		{iso.Normal, 0, 2, 3, 0},
		{iso.Rectangular, 0, 2, 1.8, 2 * math.Sqrt(3)},
		{iso.Triangular, 0, 2, 2.4, 2 * math.Sqrt(6)},
		{iso.ArcSine, 0, 2, 1.5, 2 * math.Sqrt2},
		{iso.StudentT, 12, 2 * math.Sqrt(12.0/10), 3.75, 0},
	} {
		s, err := iso.MonteCarlo(identity, 1, []iso.Input{{U: 2, Shape: c.shape, DOF: c.dof}}, n, 3)
		if err != nil {
			t.Fatal(err)
		}
		within(t, string(c.shape)+" mean", s.Mean[0], 0, 0.02)
		within(t, string(c.shape)+" std", s.Std[0], c.std, 0.01)
		fourth := 0.0
		for _, x := range s.Sorted[0] {
			fourth += x * x * x * x
		}
		within(t, string(c.shape)+" kurtosis", fourth/n/math.Pow(s.Std[0], 4), c.kurtosis, 0.06*c.kurtosis)
		if c.w > 0 {
			within(t, string(c.shape)+" width", s.Sorted[0][n-1], c.w, 0.02*c.w)
		}
		again, _ := iso.MonteCarlo(identity, 1, []iso.Input{{U: 2, Shape: c.shape, DOF: c.dof}}, n, 3)
		if !slices.Equal(s.Sorted[0], again.Sorted[0]) {
			t.Error("the same seed gave another sample")
		}
	}
}

func TestMonteCarloRefusesABrokenModel(t *testing.T) {
	broken := errors.New("no")
	_, err := iso.MonteCarlo(func(_, _ []float64) error { return broken }, 1, []iso.Input{{U: 1}}, 100, 1)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestPropagateCombines(t *testing.T) {
	inputs := []iso.Input{{Name: "a", U: 3, DOF: 4}, {Name: "b", U: 2}, {Name: "a", U: 4}, {Name: "none"}}
	b, err := iso.Propagate(func(d, y []float64) error {
		y[0], y[1] = 10+d[0]+2*d[1]+d[2], d[1]
		return nil
	}, 2, inputs)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "y", b.Y[0], 10, 0)
	within(t, "u", b.U[0], math.Sqrt(9+16+16), 1e-12)
	within(t, "dof", b.DOF[0], 41*41/(81.0/4), 1e-9)
	within(t, "a", b.Contributions[0].U[0], 5, 1e-12)
	within(t, "correlation", b.Correlation(0, 1), 4/math.Sqrt(41), 1e-12)
	if !math.IsInf(b.DOF[1], 1) {
		t.Errorf("degrees of freedom %g, want infinite", b.DOF[1])
	}
	for _, c := range []struct{ p, dof, want float64 }{{0.95, 10, 2.2281389}, {0.9545, math.Inf(1), 2.0000}, {0.95, 1.9, 12.7062}, {0.99, 16.7, 2.9207816}} {
		within(t, "k", iso.CoverageFactor(c.p, c.dof), c.want, 1e-4)
	}
	within(t, "rectangular", iso.TypeB(3, iso.Rectangular, 0), math.Sqrt(3), 1e-12)
	within(t, "triangular", iso.TypeB(6, iso.Triangular, 0), math.Sqrt(6), 1e-12)
	within(t, "arcsine", iso.TypeB(2, iso.ArcSine, 0), math.Sqrt2, 1e-12)
	within(t, "certificate", iso.TypeB(0.4, iso.Normal, 2), 0.2, 1e-12)
}

// In 600 tests with the errors that the budget states, C and b lie inside their
// own U(k=2) as often as 95 % intervals do.
func TestFlowUncertaintyCovers(t *testing.T) {
	law := iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}
	u := iso.FlowInputs{FlowScale: 0.005, P1Offset: 800, P2Offset: 800, T1Offset: 0.3, FlowRandom: 0.002, P1Random: 100, P2Random: 100}
	const trials = 600
	insideC, insideB := 0, 0
	for seed := range uint64(trials) {
		g := generator(seed)
		scale, o1, o2, oT := 1+u.FlowScale*g.NormFloat64(), u.P1Offset*g.NormFloat64(), u.P2Offset*g.NormFloat64(), u.T1Offset*g.NormFloat64()
		points := lawPoints(generator(1), law, iso.ConstantUpstream)
		for i := range points {
			p := &points[i]
			p.Qm *= scale * (1 + u.FlowRandom*g.NormFloat64())
			p.P1 += o1 + u.P1Random*g.NormFloat64()
			p.P2 += o2 + u.P2Random*g.NormFloat64()
			p.T1 += oT
		}
		b, _, err := iso.FlowUncertainty(points, 0, iso.E2M05(), u, 0, 0)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if math.Abs(b.Y[iso.OutputC]-law.C) <= 2*b.U[iso.OutputC] {
			insideC++
		}
		if math.Abs(b.Y[iso.OutputB]-law.B) <= 2*b.U[iso.OutputB] {
			insideB++
		}
	}
	for name, n := range map[string]int{"C": insideC, "b": insideB} {
		if share := float64(n) / trials; share < 0.93 || share > 0.98 {
			t.Errorf("%s inside U in %.1f %% of the tests", name, 100*share)
		}
	}
}

// Each systematic and random term moves C or b as its definition says.
func TestFlowInputsTerms(t *testing.T) {
	law := iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}
	points := lawPoints(generator(3), law, iso.ConstantUpstream)
	relative := func(u iso.FlowInputs, output int) float64 {
		b, _, err := iso.FlowUncertainty(points, 0, iso.E1M05(), u, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return b.U[output] / b.Y[output]
	}
	p1, t1 := points[0].P1, 0.0
	for _, p := range points[:4] {
		t1 += p.T1 / 4
	}
	within(t, "q scale", relative(iso.FlowInputs{FlowScale: 0.01}, iso.OutputC), 0.01, 1e-9)
	within(t, "q offset", relative(iso.FlowInputs{FlowOffset: 1e-4}, iso.OutputC), 1e-4/points[0].Qm, 2e-4)
	within(t, "p1 scale", relative(iso.FlowInputs{P1Scale: 0.01}, iso.OutputC), 0.01, 1e-5)
	within(t, "p1 offset", relative(iso.FlowInputs{P1Offset: 1e3}, iso.OutputC), 1e3/p1, 1e-6)
	within(t, "T offset", relative(iso.FlowInputs{T1Offset: 1}, iso.OutputC), 1/(2*t1), 1e-5)
	within(t, "q random", relative(iso.FlowInputs{FlowRandom: 0.01}, iso.OutputC), 0.01/2, 1e-6)
	within(t, "p1 random", relative(iso.FlowInputs{P1Random: 1e3}, iso.OutputC), 1e3/p1/2, 1e-6)
	within(t, "p2 scale", relative(iso.FlowInputs{P2Scale: 0.01}, iso.OutputC), 0, 1e-12)
	// A common offset of both pressures is not the sum of two independent ones.
	common := relative(iso.FlowInputs{PressureOffset: 1e3}, iso.OutputB)
	apart := relative(iso.FlowInputs{P1Offset: 1e3, P2Offset: 1e3}, iso.OutputB)
	if !(common < 0.7*apart) {
		t.Errorf("common offset %g of b, independent offsets %g", common, apart)
	}
}

func TestScatterIsTheRandomFlow(t *testing.T) {
	law := iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}
	sum := 0.0
	const trials = 200
	for seed := range uint64(trials) {
		g := generator(seed)
		points := lawPoints(generator(1), law, iso.ConstantUpstream)
		for i := range points {
			points[i].Qm += 0.002 * points[0].Qm * g.NormFloat64()
		}
		fit, err := iso.FitFlow(points, 0, iso.E2())
		if err != nil {
			t.Fatal(err)
		}
		sum += math.Pow(fit.Scatter(iso.E2()), 2)
	}
	within(t, "scatter", math.Sqrt(sum/trials), 0.002, 0.0001)
}

func TestDecisionEdges(t *testing.T) {
	for _, c := range []struct {
		y, u, limit float64
		side        iso.Side
		simple      iso.Outcome
		guarded     iso.Outcome
	}{
		{1, 0.25, 1, iso.UpperLimit, iso.Pass, iso.ConditionalPass},
		{0.75, 0.25, 1, iso.UpperLimit, iso.Pass, iso.Pass},
		{1.25, 0.25, 1, iso.UpperLimit, iso.Fail, iso.ConditionalFail},
		{1.5, 0.25, 1, iso.UpperLimit, iso.Fail, iso.Fail},
		{1.25, 0.25, 1, iso.LowerLimit, iso.Pass, iso.Pass},
		{0.5, 0.25, 1, iso.LowerLimit, iso.Fail, iso.Fail},
		{1, 0, 1, iso.UpperLimit, iso.Pass, iso.Pass},
		{math.NaN(), 0.1, 1, iso.UpperLimit, iso.Fail, iso.Fail},
	} {
		d := iso.Decide(c.y, c.u, c.limit, c.side)
		if d.Simple != c.simple || d.Guarded != c.guarded {
			t.Errorf("%+v: got %+v", c, d)
		}
	}
}

// The constants that other figures rest on, as the standards print them.
func TestReferenceConstants(t *testing.T) {
	within(t, "R of ANR", iso.RANR, 287.866913369, 1e-8)
	within(t, "R of dry air", iso.RDry, 287.05, 0)
	within(t, "T0", iso.T0, 293.15, 0)
	within(t, "p0", iso.P0, 100e3, 0)
	within(t, "rho0", iso.Rho0, 1.185, 0)
}

// A point counts as choked up to 0.02 below a b that is known beforehand.
func TestHysteresisChokedMargin(t *testing.T) {
	point := func(r, conductance float64) iso.FlowPoint {
		return iso.FlowPoint{P1: 7e5, P2: 7e5 * r, T1: iso.T0, Qm: conductance * iso.Rho0 * 7e5}
	}
	decreasing := []iso.FlowPoint{point(0.2, 2e-8), point(0.279, 2.2e-8), point(0.281, 3e-8), point(0.6, 1e-8)}
	h, err := iso.FlowHysteresis(decreasing, []iso.FlowPoint{point(0.1, 2e-8), point(0.9, 2e-8)}, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "C", h.C, 2.1e-8, 1e-19)
	within(t, "hysteresis", h.Absolute, 1e-8, 1e-19)
	_, err = iso.FlowHysteresis(decreasing, decreasing, 0.1)
	refused(t, err, iso.NoChokedPoint)
	_, err = iso.FlowHysteresis(decreasing, decreasing[:1], 0.3)
	refused(t, err, iso.TooFewPoints)
}

// Each deviation of the model is the fit of points with that deviation: its
// sign counts where outputs are correlated.
func TestFlowModelIsTheFitOfDeviatedPoints(t *testing.T) {
	points := lawPoints(generator(5), iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5, Dpc: 1e4}, iso.ConstantUpstream)
	model, inputs, err := iso.FlowModel(points, 1e4, iso.E2(), iso.FlowInputs{})
	if err != nil {
		t.Fatal(err)
	}
	deviations, y := make([]float64, len(inputs)), make([]float64, iso.FlowOutputs)
	last := map[string]bool{}
	for i, in := range inputs {
		if last[in.Name] {
			continue // the first point stands for the others of a random term
		}
		last[in.Name] = true
		size := map[bool]float64{true: 1e-3, false: 100}[in.Name == "q_scale" || in.Name == "p1_scale" || in.Name == "p2_scale" || in.Name == "q_random"]
		if in.Name == "q_offset" {
			size = 1e-5
		}
		if in.Name == "T_offset" || in.Name == "T_random" {
			size = 1
		}
		moved, dpc := slices.Clone(points), 1e4
		for k := range moved {
			p := &moved[k]
			first := k == 0
			switch in.Name {
			case "q_scale":
				p.Qm *= 1 + size
			case "q_offset":
				p.Qm += size
			case "p1_scale":
				p.P1 *= 1 + size
			case "p1_offset":
				p.P1 += size
			case "p2_scale":
				p.P2 *= 1 + size
			case "p2_offset":
				p.P2 += size
			case "p_offset":
				p.P1 += size
				p.P2 += size
			case "T_offset":
				p.T1 += size
			case "dpc":
				dpc = 1e4 + size
			case "q_random":
				if first {
					p.Qm *= 1 + size
				}
			case "p1_random":
				if first {
					p.P1 += size
				}
			case "p2_random":
				if first {
					p.P2 += size
				}
			case "T_random":
				if first {
					p.T1 += size
				}
			default:
				t.Fatalf("unknown input %q", in.Name)
			}
		}
		deviations[i] = size
		err := model(deviations, y)
		deviations[i] = 0
		if err != nil {
			t.Fatalf("%s: %v", in.Name, err)
		}
		fit, err := iso.FitFlow(moved, dpc, iso.E2())
		if err != nil {
			t.Fatalf("%s: %v", in.Name, err)
		}
		within(t, in.Name+" C/C", y[iso.OutputC]/fit.C, 1, 1e-9)
		within(t, in.Name+" b", y[iso.OutputB], fit.B, 1e-8)
		within(t, in.Name+" m", y[iso.OutputM], fit.M, 1e-8)
	}
	if len(last) != 13 {
		t.Errorf("%d kinds of inputs, want 13", len(last))
	}
}
