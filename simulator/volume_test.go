package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

func TestNetworkKeepsMassAndEnergy(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	volumes := []int{
		n.AddVolume(simulator.VolumeOptions{V: 5e-3, P: 700e3, T: 300}),
		n.AddVolume(simulator.VolumeOptions{V: 1e-5, P: 100e3, T: 280}),
		n.AddVolume(simulator.VolumeOptions{V: 2e-3, P: 150e3, T: 293.15}),
	}
	n.Connect(simulator.Path{From: 0, To: 1, Open: 1, Orifice: simulator.Orifice{C: 3e-8, B: 0.3, M: 0.5}})
	n.Connect(simulator.Path{From: 2, To: 1, Open: 1, Orifice: simulator.Orifice{C: 5e-8, B: 0.4, M: 0.55}})
	n.Connect(simulator.Path{From: 0, To: 2, Open: 1, Laminar: 1e-15})
	sums := func() (m, u float64) {
		for _, v := range volumes {
			m += n.Mass(v)
			u += n.Energy(v)
		}
		return m, u
	}
	m0, u0 := sums()
	moved := n.Mass(2)
	for range 20000 {
		n.Step(1e-3)
	}
	m, u := sums()
	near(t, "mass", m, m0, 1e-12)
	near(t, "energy", u, u0, 1e-12)
	near(t, "pressures have met", n.Pressure(0), n.Pressure(2), 1e-5)
	near(t, "what the paths moved", n.Path(2).Total()-n.Path(1).Total(), n.Mass(2)-moved, 1e-9)
	// All energy was internal before and is now: the mean pressure of a closed system stays.
	near(t, "mean pressure", n.Pressure(1), (700e3*5e-3+100e3*1e-5+150e3*2e-3)/(5e-3+1e-5+2e-3), 1e-5)
}

func TestNetworkEmptiesAdiabatically(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	v := n.AddVolume(simulator.VolumeOptions{V: 5e-3, P: 700e3, T: 293.15})
	n.AddBoundary(101325, 293.15)
	n.Connect(simulator.Path{From: 0, To: 1, Open: 1, Orifice: simulator.Orifice{C: 2e-8, B: 0.35, M: 0.5}})
	for range 2000 {
		n.Step(1e-3)
		want := 293.15 * math.Pow(n.Pressure(v)/700e3, 0.4/1.4)
		near(t, "temperature", n.Temperature(v), want, 1e-8)
	}
}

func TestNetworkFillsAnEmptyVolumeToGammaTimesTheTemperature(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	v := n.AddVolume(simulator.VolumeOptions{V: 1e-3, P: 1, T: 293.15})
	n.AddBoundary(700e3, 293.15)
	n.Connect(simulator.Path{From: 1, To: v, Open: 1, Orifice: simulator.Orifice{C: 2e-8, B: 0.35, M: 0.5}})
	for range 500 {
		n.Step(1e-4)
	}
	near(t, "temperature", n.Temperature(v), 1.4*293.15, 1e-4)
}

func TestNetworkWallTakesTheHeat(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	v := n.AddVolume(simulator.VolumeOptions{V: 1e-3, P: 700e3, T: 350, HA: 2, Wall: 290, WallCapacity: 30})
	before := n.Energy(v) + 30*n.WallTemperature(v)
	for range 60000 {
		n.Step(1e-2)
	}
	near(t, "energy of air and wall", n.Energy(v)+30*n.WallTemperature(v), before, 1e-12)
	near(t, "temperatures have met", n.Temperature(v), n.WallTemperature(v), 1e-6)
}

func TestNetworkTemperedPathBringsTheTemperatureOfItsWall(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	n.AddBoundary(700e3, 320)
	v := n.AddVolume(simulator.VolumeOptions{V: 1e-4, P: 600e3, T: 300})
	n.AddBoundary(101325, 293)
	n.Connect(simulator.Path{From: 0, To: v, Open: 1, Orifice: simulator.Orifice{C: 4e-8, B: 0.35, M: 0.5}, Temper: 30, Wall: 293})
	n.Connect(simulator.Path{From: v, To: 2, Open: 1, Orifice: simulator.Orifice{C: 2e-8, B: 0.35, M: 0.5}})
	for range 5000 {
		n.Step(1e-3)
	}
	q := n.Path(0).Flow()
	near(t, "steady", n.Path(1).Flow(), q, 1e-9)
	near(t, "temperature", n.Temperature(v), 293+27*math.Exp(-30/(q*simulator.Cp)), 1e-6)
}

func TestNetworkTubeIsNearlyItsWholeOrifice(t *testing.T) {
	t.Parallel()
	var n simulator.Network
	from := n.AddBoundary(700e3, 293.15)
	to := n.AddBoundary(300e3, 293.15)
	tube := simulator.Tube{Length: 2, Diameter: 0.004}
	n.AddTube(from, to, tube, 5, 300e3, 293.15)
	for range 3000 {
		n.Step(1e-3)
	}
	o := tube.Orifice()
	q := n.Path(0).Flow()
	near(t, "steady", n.Path(5).Flow(), q, 1e-6)
	near(t, "flow", q, o.Flow(700e3, 293.15, 300e3, 293.15), 0.25)
}
