package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

// wide is a sensor's limits that nothing in these tests reaches.
func wide(o simulator.SensorOptions) simulator.SensorOptions {
	o.Min, o.Max = -1e9, 1e9
	return o
}

func TestSensorErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		o           simulator.SensorOptions
		truth, want float64
	}{
		{"gain and offset", wide(simulator.SensorOptions{Gain: 0.01, Offset: 5}), 1000, 1015},
		{"quantum", wide(simulator.SensorOptions{Quantum: 15}), 1000, 1005},
		{"upper limit", simulator.SensorOptions{Max: 900}, 1000, 900},
		{"lower limit", simulator.SensorOptions{Min: -10, Max: 10}, -1000, -10},
		{"low cut-off", wide(simulator.SensorOptions{CutOff: 1001}), 1000, 0},
		{"above the low cut-off", wide(simulator.SensorOptions{CutOff: 999}), 1000, 1000},
		{"drift", wide(simulator.SensorOptions{Drift: 0.5}), 1000, 1005},
		{"drift back at half its period", wide(simulator.SensorOptions{Drift: 0.5, DriftPeriod: 20}), 1000, 1000},
		{"drift at a quarter of its period", wide(simulator.SensorOptions{Drift: 0.5, DriftPeriod: 40}), 1000, 1000 + 0.5*40/(2*math.Pi)},
	} {
		s := simulator.NewSensor(c.o, 0.1, 1)
		s.Advance(c.truth, 100)
		if got := s.Deliver(100); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSensorLagIsOfTheFirstOrder(t *testing.T) {
	t.Parallel()
	s := simulator.NewSensor(wide(simulator.SensorOptions{Lag: 2}), 1e-3, 1)
	s.Advance(0, 0)
	for i := range 2000 {
		s.Advance(1, uint64(i+1))
	}
	near(t, "after one time constant", s.Deliver(2000), 1-math.Exp(-1), 1e-9)
}

func TestSensorNoiseBelongsToTheStep(t *testing.T) {
	t.Parallel()
	o := wide(simulator.SensorOptions{Noise: 30, NoiseReading: 0.04})
	s, other := simulator.NewSensor(o, 1e-3, 7), simulator.NewSensor(o, 1e-3, 8)
	var sum, square, both float64
	const n, rms = 50000, 50 // hypot(30, 0.04·1000)
	s.Advance(1000, 0)
	other.Advance(1000, 0)
	for i := range uint64(n) {
		x := s.Deliver(i) - 1000
		sum += x
		square += x * x
		both += x * (other.Deliver(i) - 1000)
	}
	if mean := sum / n; math.Abs(mean) > 4*rms/math.Sqrt(n) {
		t.Errorf("mean of the noise: %v", mean)
	}
	near(t, "rms", math.Sqrt(square/n), rms, 4/math.Sqrt(2*n))
	if r := both / n / (rms * rms); math.Abs(r) > 4/math.Sqrt(n) {
		t.Errorf("sensors are correlated: %v", r)
	}
	if a, b := s.Deliver(17), s.Deliver(17); a != b {
		t.Errorf("a second reading of one step differs: %v, %v", a, b)
	}
}
