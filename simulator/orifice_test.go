package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

// law is the flow law of ISO 6358-1, written down once more.
func law(c, b, m, p1, t1, p2 float64) float64 {
	choked := c * 1.185 * p1 * math.Sqrt(293.15/t1)
	if p2/p1 <= b {
		return choked
	}
	s := (p2/p1 - b) / (1 - b)
	return choked * math.Pow(1-s*s, m)
}

func near(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if !(math.Abs(got-want) <= relative*math.Abs(want)) {
		t.Errorf("%s: got %v, want %v within %v", what, got, want, relative)
	}
}

func TestOrificeFollowsTheLaw(t *testing.T) {
	t.Parallel()
	for _, o := range []simulator.Orifice{
		{C: 2.6e-8, B: 0.35, M: 0.5}, {C: 6e-8, B: 0.2, M: 0.6}, {C: 1e-9, B: 0, M: 0.45}, {C: 4.5e-8, B: 0.42, M: 0.56},
	} {
		for _, r := range []float64{0, 0.1, 0.2, 0.35, 0.36, 0.5, 0.8, 0.95, 0.99, 0.9989} {
			const p1, t1, t2 = 731325.0, 298.0, 280.0
			want := law(o.C, o.B, o.M, p1, t1, r*p1)
			near(t, "flow", o.Flow(p1, t1, r*p1, t2), want, 1e-12)
			near(t, "flow backwards", o.Flow(r*p1, t2, p1, t1), -want, 1e-12)
		}
	}
}

func TestOrificeIsLinearWhereFlowEnds(t *testing.T) {
	t.Parallel()
	o := simulator.Orifice{C: 2.6e-8, B: 0.35, M: 0.5}
	const p1 = 731325.0
	at := func(r float64) float64 { return o.Flow(p1, 293.15, r*p1, 293.15) }
	near(t, "continuous at 0.999", at(0.999+1e-12), at(0.999-1e-12), 1e-8)
	near(t, "half the difference", at(0.9995), at(0.999)/2, 1e-9)
	if q := at(1); q != 0 {
		t.Errorf("flow at equal pressures: %v", q)
	}
	near(t, "backwards from the other side", o.Flow(0.9995*p1, 293.15, p1, 293.15), -at(0.9995), 1e-12)
}

func TestOrificeWithCrackingPressure(t *testing.T) {
	t.Parallel()
	o := simulator.Orifice{C: 2e-8, B: 0.3, M: 0.5, Crack: 20e3, NonReturn: true}
	const p1 = 700e3
	a := 1 - 20e3/p1
	s := (0.9 - 0.3) / (a - 0.3)
	near(t, "below", o.Flow(p1, 293.15, 0.9*p1, 293.15), 2e-8*1.185*p1*math.Sqrt(1-s*s), 1e-12)
	if q := o.Flow(p1, 293.15, p1-19.9e3, 293.15); q != 0 {
		t.Errorf("flow below the cracking pressure: %v", q)
	}
	if q := o.Flow(p1, 293.15, 1.2*p1, 293.15); q != 0 {
		t.Errorf("flow backwards through a non-return path: %v", q)
	}
}

func TestTubeOfSixMillimetres(t *testing.T) {
	t.Parallel()
	tube := simulator.Tube{Length: 1, Diameter: 0.006}
	o := tube.Orifice()
	near(t, "C", o.C, 3.1e-8, 0.02)
	near(t, "b", o.B, 0.41, 0.02)
	near(t, "volume", tube.Volume(), 28.27e-6, 1e-3)
	near(t, "delay", tube.Delay(), 1/343.7, 1e-3)
}

func TestGasConstantAgreesWithTheReferenceAtmosphere(t *testing.T) {
	t.Parallel()
	near(t, "R", simulator.R, 287.86691336861145, 1e-14)
}
