package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

func TestRegulatorCharacteristic(t *testing.T) {
	t.Parallel()
	r := simulator.NewRegulator(simulator.RegulatorOptions{
		R1: 1e6, R2: 2e6, Supply: -0.007, SupplyRef: 900e3, Hysteresis: 6000, Play: 0.004, Lag: 0.05,
	}, 101325)
	curve := map[float64][2]float64{}
	for k := 0; k <= 40; k++ {
		q := 0.001 * float64(k)
		curve[q] = [2]float64{r.Static(700e3, 900e3, q)}
	}
	for k := 40; k >= 0; k-- {
		q := 0.001 * float64(k)
		c := curve[q]
		c[1] = r.Static(700e3, 900e3, q)
		curve[q] = c
	}
	for q, c := range curve {
		if q > 0.004 && q < 0.036 {
			near(t, "rising", c[0], 700e3-1e6*q-2e6*q*q-3000, 1e-12)
			near(t, "hysteresis", c[1]-c[0], 6000, 1e-6)
		}
	}
	near(t, "supply", r.Static(700e3, 800e3, 0)-r.Static(700e3, 900e3, 0), 700, 1e-9)
}

func TestRegulatorLagsAndRelieves(t *testing.T) {
	t.Parallel()
	r := simulator.NewRegulator(simulator.RegulatorOptions{Lag: 0.05, Relief: 8000, ReliefSpan: 20e3}, 100e3)
	var p float64
	for range 50 {
		p = r.Step(1e-3, 700e3, 900e3, 0)
	}
	near(t, "after one time constant", p, 700e3-600e3*math.Exp(-1), 1e-9)
	for _, c := range []struct{ over, want float64 }{{0, 0}, {7999, 0}, {18000, 0.5}, {50e3, 1}} {
		if got := r.Relieves(p + c.over); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("relief at %v Pa over: %v, want %v", c.over, got, c.want)
		}
	}
}
