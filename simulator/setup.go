package simulator

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// setup collects the parameters of a plant while it is made.
type setup struct {
	plant *Plant
	given map[string]float64
	ideal bool // sensors without errors
	errs  []string
}

// key returns a number that belongs to the plant's seed and a name.
func (s *setup) key(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never errs
	return scramble(s.plant.seed) ^ h.Sum64()
}

// draws returns the stream of random numbers that belongs to a name.
func (s *setup) draws(name string) *rand.Rand {
	return rand.New(rand.NewPCG(s.plant.seed, s.key(name)))
}

// take notes a parameter, with the caller's value if there is one.
func (s *setup) take(q Param) float64 {
	if v, ok := s.given[q.Name]; ok {
		if !(v >= q.Min && v <= q.Max) {
			s.errs = append(s.errs, fmt.Sprintf("parameter %s = %v is outside %v to %v %s", q.Name, v, q.Min, q.Max, q.Unit))
		}
		q.Value, q.Given = v, true
	}
	s.plant.params = append(s.plant.params, q)
	return q.Value
}

// fixed takes a parameter that has a default.
func (s *setup) fixed(name, unit string, value, lowest, highest float64, description string) float64 {
	return s.take(Param{Name: name, Unit: unit, Value: value, Min: lowest, Max: highest, Description: description})
}

// uniform takes a parameter that is drawn between low and high.
func (s *setup) uniform(name, unit string, low, high, lowest, highest float64, description string) float64 {
	return s.take(Param{
		Name: name, Unit: unit, Value: low + (high-low)*s.draws(name).Float64(), Low: low, High: high,
		Min: lowest, Max: highest, Description: description,
	})
}

// logUniform takes a positive parameter whose logarithm is drawn.
func (s *setup) logUniform(name, unit string, low, high, lowest, highest float64, description string) float64 {
	return s.take(Param{
		Name: name, Unit: unit, Value: low * math.Pow(high/low, s.draws(name).Float64()), Low: low, High: high,
		Min: lowest, Max: highest, Description: description + " (its logarithm is drawn)",
	})
}

// sensing is the making of a sensor: half widths of the rectangular distributions of its systematic errors, and what is
// the same for each specimen.
type sensing struct {
	gain, offset, drift float64 // drift per second
	errors              SensorOptions
}

// sensor takes the errors of a sensor, err.<signal>.<term> drawn for this specimen, <signal>.<term> of its kind.
func (s *setup) sensor(name, unit string, a sensing) *Sensor {
	half := func(term, of string, width float64, what string) float64 {
		if s.ideal {
			width = 0
		}
		return s.uniform("err."+name+"."+term, of, -width, width, -math.MaxFloat64, math.MaxFloat64, what+" of the "+name+" sensor")
	}
	e := a.errors
	kind := func(term, of string, value float64, what string) float64 {
		if s.ideal {
			value = 0
		}
		return s.fixed(name+"."+term, of, value, 0, math.MaxFloat64, what+" of the "+name+" sensor")
	}
	return NewSensor(SensorOptions{
		Gain:         half("gain", "1", a.gain, "gain error"),
		Offset:       half("offset", unit, a.offset, "offset error"),
		Drift:        half("drift", unit+"/s", a.drift, "drift"),
		Lag:          kind("lag", "s", e.Lag, "time constant"),
		Noise:        kind("noise", unit, e.Noise, "noise, rms"),
		NoiseReading: kind("noise_reading", "1", e.NoiseReading, "noise relative to the reading, rms"),
		CutOff:       kind("cutoff", unit, e.CutOff, "low cut-off"),
		Quantum:      kind("quantum", unit, e.Quantum, "resolution"),
		DriftPeriod:  e.DriftPeriod, Min: e.Min, Max: e.Max,
	}, s.plant.dt.Seconds(), s.key("noise."+name))
}

// pressureSensor is a transducer of 0 to 1 MPa absolute: gain 0.1 %, offset 500 Pa, drift 100 Pa a day (half widths of
// rectangular distributions).
func pressureSensor(lag, noise float64) sensing {
	return sensing{
		gain: 0.001, offset: 500, drift: 100.0 / 86400,
		errors: SensorOptions{Lag: lag, Noise: noise, Quantum: 1e6 / 65536, DriftPeriod: 86400, Max: 1.1e6, Min: -1e5},
	}
}

// barometer is a transducer of the atmospheric pressure, 50 Pa.
func barometer() sensing {
	return sensing{offset: 50, errors: SensorOptions{Lag: 1, Noise: 3, Quantum: 1, Min: 5e4, Max: 1.2e5}}
}

// measured adds a signal behind a sensor, which sees what value returns.
func (s *setup) measured(name, unit, description string, value func() float64, a sensing) {
	s.sensed(name, unit, description, value, value, a)
}

// sensed adds a signal behind a sensor that sees something else than the signal's true figure.
func (s *setup) sensed(name, unit, description string, value, seen func() float64, a sensing) {
	q := signal{Signal: Signal{Name: name, Unit: unit, Kind: Measured, Description: description}, value: value, seen: seen}
	q.sensor = s.sensor(name, unit, a)
	s.add(q)
}

// commanded adds a signal that Actuate may set between 0 and highest; act is told.
func (s *setup) commanded(name, unit, description string, highest float64, value func() float64, act func(float64) error) {
	q := signal{Signal: Signal{Name: name, Unit: unit, Kind: Commanded, Description: description}, value: value}
	q.actuate = func(v float64) error {
		if v < 0 || v > highest {
			return fmt.Errorf("%v is outside 0 to %v %s", v, highest, unit)
		}
		return act(v)
	}
	s.add(q)
}

// state adds an exact figure, a number or a bit.
func (s *setup) state(name, description string, value func() float64) {
	s.add(signal{Signal: Signal{Name: name, Unit: "1", Kind: State, Description: description}, value: value})
}

func (s *setup) add(q signal) {
	s.plant.index[q.Name] = len(s.plant.signals)
	s.plant.signals = append(s.plant.signals, q)
}

// finish complains of what was given and does not exist, and lets the sensors settle.
func (s *setup) finish() error {
	known := map[string]bool{}
	for _, q := range s.plant.params {
		known[q.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(s.given)) {
		if !known[name] {
			s.errs = append(s.errs, fmt.Sprintf("parameter %s is unknown: known are %s",
				name, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	if len(s.errs) > 0 {
		return fmt.Errorf("plant %s: %s", s.plant.kind, strings.Join(s.errs, "; "))
	}
	for i := range s.plant.signals {
		if q := &s.plant.signals[i]; q.sensor != nil {
			q.sensor.Advance(q.seen(), 0)
		}
	}
	return nil
}

// weather is what surrounds a rig: the pressure of the atmosphere walks at random (100 Pa in an hour, standard
// deviation), the temperature swings slowly by 1 K about that of the day.
type weather struct {
	day      float64
	pressure float64
	swing    float64 // phase, rad
	walk     *rand.Rand
	t, since float64
}

func newWeather(s *setup) *weather {
	return &weather{
		pressure: s.uniform("atmosphere", "Pa", 100e3, 102.5e3, 60e3, 120e3, "atmospheric pressure at the start"),
		day:      s.uniform("ambient", "K", 290.15, 296.15, 250, 330, "temperature of the day, of air and walls"),
		swing:    2 * math.Pi * s.draws("swing").Float64(),
		walk:     s.draws("atmosphere.walk"),
	}
}

// step advances by h seconds.
func (w *weather) step(h float64) {
	w.t += h
	if w.since += h; w.since >= 1 {
		w.since--
		w.pressure += 100 / 60.0 * w.walk.NormFloat64()
	}
}

// temperature of the surroundings, K. The steepest change is 0.5 K/h.
func (w *weather) temperature() float64 { return w.day + math.Sin(w.swing+w.t/7200) }
