package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

func cylinder() simulator.CylinderOptions {
	return simulator.CylinderOptions{
		Bore: 0.032, Rod: 0.012, Stroke: 0.1, Mass: 1, Dead: [2]float64{8e-6, 8e-6},
		Friction: simulator.Friction{Fs: 32, Fc: 22, Vs: 0.02, V0: 0.002, Viscous: 55},
		T:        293.15, Ambient: 101325,
	}
}

func supplied(p float64) simulator.Port {
	return simulator.Port{Open: 1, P: p, T: 293.15, Path: simulator.Orifice{C: 2e-8, B: 0.35, M: 0.5}}
}

// extend returns the time of a stroke and the velocity just before the end, or at the time limit 0.
func extend(c *simulator.Cylinder, stroke float64) (seconds, velocity float64) {
	for k := range 200_000 {
		velocity = c.Velocity()
		c.Step(1e-5)
		if c.Position() >= stroke {
			return float64(k+1) * 1e-5, velocity
		}
	}
	return 0, 0
}

func TestCylinderKeepsItsAirWhenShut(t *testing.T) {
	t.Parallel()
	c := simulator.NewCylinder(cylinder(), 0.05, 600e3, 300e3)
	m1, m2 := c.Mass(1), c.Mass(2)
	for range 50_000 {
		c.Step(1e-5)
	}
	if c.Mass(1) != m1 || c.Mass(2) != m2 {
		t.Errorf("masses %v, %v became %v, %v", m1, m2, c.Mass(1), c.Mass(2))
	}
	if math.Abs(c.Velocity()) > 1e-3 || math.Abs(c.Drive()) > 35 {
		t.Errorf("not at rest: %v m/s under %v N", c.Velocity(), c.Drive())
	}
	if c.Temperature(1) >= 293.15 || c.Temperature(2) <= 293.15 {
		t.Errorf("expanded air has %v K, compressed air %v K", c.Temperature(1), c.Temperature(2))
	}
}

func TestCylinderHeldByItsLoad(t *testing.T) {
	t.Parallel()
	o := cylinder()
	o.Load = 600 // above 630 kPa on 8.04 cm2
	c := simulator.NewCylinder(o, 0, 101325, 101325)
	c.Port[0], c.Port[1] = supplied(731325), supplied(101325)
	for range 50_000 {
		c.Step(1e-5)
	}
	if c.Position() != 0 || c.Velocity() != 0 {
		t.Errorf("moved to %v m at %v m/s", c.Position(), c.Velocity())
	}
	o = cylinder()
	o.Mass, o.Incline = 60, math.Pi/2 // 588 N upwards
	c = simulator.NewCylinder(o, 0, 101325, 101325)
	c.Port[0], c.Port[1] = supplied(731325), supplied(101325)
	for range 50_000 {
		c.Step(1e-5)
	}
	if c.Position() != 0 {
		t.Errorf("lifted a weight that is too heavy to %v m", c.Position())
	}
}

func TestCylinderCushionSlowsTheEnd(t *testing.T) {
	t.Parallel()
	var end [2]float64
	for i, length := range []float64{0, 0.016} {
		o := cylinder()
		o.CushionLength, o.Cushion = length, simulator.Orifice{C: 5e-10, B: 0.3, M: 0.5}
		c := simulator.NewCylinder(o, 0, 101325, 101325)
		c.Port[0], c.Port[1] = supplied(731325), supplied(101325)
		c.Port[1].Path.C = 3.5e-9
		_, end[i] = extend(c, o.Stroke)
	}
	if end[0] <= 0 || end[1] <= 0 || end[1] > end[0]/2 {
		t.Errorf("velocity at the end %v m/s without cushion, %v with", end[0], end[1])
	}
}

func TestCylinderReboundsFromItsStop(t *testing.T) {
	t.Parallel()
	o := cylinder()
	o.Restitution = 0.2
	c := simulator.NewCylinder(o, 0, 101325, 101325)
	c.Port[0], c.Port[1] = supplied(731325), supplied(101325)
	_, v := extend(c, o.Stroke)
	near(t, "rebound", c.Velocity(), -0.2*v, 0.05)
	for range 50_000 {
		c.Step(1e-5)
	}
	if c.Position() != o.Stroke || math.Abs(c.Velocity()) > 1e-9 {
		t.Errorf("does not come to rest: %v m at %v m/s", c.Position(), c.Velocity())
	}
}

func TestCylinderLeaksPastThePiston(t *testing.T) {
	t.Parallel()
	o := cylinder()
	o.Leak = simulator.Orifice{C: 1e-11, B: 0.3, M: 0.5}
	c := simulator.NewCylinder(o, 0, 101325, 731325)
	total := c.Mass(1) + c.Mass(2)
	for range 10_000 {
		c.Step(1e-5)
	}
	near(t, "mass", c.Mass(1)+c.Mass(2), total, 1e-12)
	if c.Pressure(1) < 102000 {
		t.Errorf("chamber 1 still at %v Pa", c.Pressure(1))
	}
}

func TestFrictionOfStribeck(t *testing.T) {
	t.Parallel()
	f := simulator.Friction{Fs: 32, Fc: 22, Vs: 0.02, V0: 0.002, Viscous: 55, PerPascal: 3e-5}
	for _, c := range []struct{ v, press, want float64 }{
		{0, 0, 0}, {1, 0, 77}, {-1, 0, -77}, {0.01, 0, 22 + 10*math.Exp(-0.25) + 0.55}, {1, 100e3, 80},
	} {
		if got := f.Force(c.v, c.press); math.Abs(got-c.want) > 5e-3 {
			t.Errorf("friction at %v m/s and %v Pa: %v N, want %v", c.v, c.press, got, c.want)
		}
	}
}
