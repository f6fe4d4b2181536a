package simulator

import (
	"math"
	"math/rand/v2"
)

// SensorOptions are the errors of a sensor. What is measured becomes
//
//	quantised(limited((1+Gain)·lagged + Offset + drift(t) + noise))
//
// with everything in the unit of the signal unless stated.
type SensorOptions struct {
	Gain         float64 // relative
	Offset       float64
	Drift        float64 // per second, at the start
	DriftPeriod  float64 // s in which the drift swings up and down again; 0 lets it go on for ever
	Lag          float64 // time constant of the first order, s
	Noise        float64 // rms
	NoiseReading float64 // rms, relative to the reading, added in square
	Min, Max     float64 // limits of what it can say
	CutOff       float64 // magnitudes below are said to be 0
	Quantum      float64 // resolution; 0 is none
}

// A Sensor makes an indication of a true figure. Its noise is a function of key and step, so that reading it changes
// nothing.
type Sensor struct {
	o     SensorOptions
	key   uint64
	dt    float64
	alpha float64 // share of the lag that one step makes good
	lag   float64
	step  uint64
	begun bool

	pcg  rand.PCG
	draw *rand.Rand

	stuck, dropped, spiky bool
	held                  float64
}

// NewSensor returns a sensor that is advanced every dt seconds and whose noise belongs to the key.
func NewSensor(o SensorOptions, dt float64, key uint64) *Sensor {
	s := &Sensor{o: o, key: key, dt: dt, alpha: 1}
	if o.Lag > 0 {
		s.alpha = -math.Expm1(-dt / o.Lag)
	}
	s.draw = rand.New(&s.pcg)
	return s
}

// Options returns the errors the sensor was made with.
func (s *Sensor) Options() SensorOptions { return s.o }

// Advance shows the sensor the true figure at the end of a step. The first one finds it settled.
func (s *Sensor) Advance(truth float64, step uint64) {
	if !s.begun {
		s.lag, s.begun = truth, true
	}
	s.lag += s.alpha * (truth - s.lag)
	s.step = step
}

// Deliver returns the indication at a step. A dropped-out sensor says what an open 4 to 20 mA loop says: a quarter of
// the span below its range.
func (s *Sensor) Deliver(step uint64) float64 { return s.indicate(s.lag, step) }

// indicate is what Deliver says of what the lag let through at a step.
func (s *Sensor) indicate(lagged float64, step uint64) float64 {
	switch {
	case s.dropped:
		return s.o.Min - 0.25*(s.o.Max-s.o.Min)
	case s.stuck:
		return s.held
	}
	y := (1+s.o.Gain)*lagged + s.o.Offset + s.drift(float64(step)*s.dt)
	if s.o.Noise > 0 || s.o.NoiseReading > 0 || s.spiky {
		s.pcg.Seed(s.key, scramble(step))
		y += math.Hypot(s.o.Noise, s.o.NoiseReading*lagged) * s.draw.NormFloat64()
		if s.spiky && s.draw.Float64() < 0.01 {
			y += (s.draw.Float64() - 0.5) * (s.o.Max - s.o.Min)
		}
	}
	y = min(max(y, s.o.Min), s.o.Max)
	if math.Abs(y) < s.o.CutOff {
		return 0
	}
	if s.o.Quantum > 0 {
		y = math.Round(y/s.o.Quantum) * s.o.Quantum
	}
	return y
}

// drift returns how far the sensor has drifted after t seconds.
func (s *Sensor) drift(t float64) float64 {
	if s.o.Drift == 0 || s.o.DriftPeriod == 0 {
		return s.o.Drift * t
	}
	omega := 2 * math.Pi / s.o.DriftPeriod
	return s.o.Drift / omega * math.Sin(omega*t)
}

// fail turns one way of failing on or off: stuck at the present indication, dropped out, or one indication in a hundred
// off by up to half the span.
func (s *Sensor) fail(effect string, on bool) {
	switch effect {
	case "stuck":
		s.held = s.Deliver(s.step)
		s.stuck = on
	case "dropout":
		s.dropped = on
	case "spike":
		s.spiky = on
	}
}

// scramble spreads the bits of neighbouring numbers (the finaliser of SplitMix64).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
