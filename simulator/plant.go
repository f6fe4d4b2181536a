package simulator

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// SignalKind says where the figure behind a signal comes from.
type SignalKind uint8

const (
	// Measured signals pass a sensor: lag, gain and offset error, drift, noise, limits, quantisation.
	Measured SignalKind = iota + 1
	// Commanded signals accept Actuate; reading one delivers what was last commanded (by the wire or by the PLC).
	Commanded
	// State signals are exact figures of the rig's own control, such as a step register.
	State
)

// String returns the kind in one word.
func (k SignalKind) String() string {
	switch k {
	case Measured:
		return "measured"
	case Commanded:
		return "commanded"
	case State:
		return "state"
	default:
		return "unknown"
	}
}

// A Signal is one named quantity of a plant, in SI: Pa absolute, K, kg/s, m, s, or 1 (numbers, bits and fractions).
type Signal struct {
	Name        string
	Unit        string // "Pa", "K", "kg/s", "m", "s", "1"
	Kind        SignalKind
	Description string
}

// A Param is one parameter of a plant as it stands: given by the caller, drawn from the seed, or the default.
type Param struct {
	Name        string
	Unit        string
	Value       float64
	Given       bool    // by the caller
	Low, High   float64 // the rectangular distribution that Value is drawn from unless given; equal when there is none
	Min, Max    float64 // accepted from a caller
	Description string
}

// A Plant is a rig of physics, advanced in fixed steps of Dt by one owner (it has no lock of its own). The same kind,
// seed, params and sequence of Step and Actuate give the same series bit for bit; Read draws nothing: what it delivers is
// a function of seed, signal and step, however often and in whatever order signals are read.
type Plant struct {
	kind     string
	seed     uint64
	dt       time.Duration
	steps    uint64
	signals  []signal
	index    map[string]int
	params   []Param
	faults   map[string]bool
	rig      rig
	recorder *recorder // nil when the kind has no bursts
}

// signal is a Signal with what stands behind it.
type signal struct {
	Signal
	value   func() float64        // the true figure now
	seen    func() float64        // what the sensor is shown
	sensor  *Sensor               // nil unless Measured
	actuate func(v float64) error // nil unless Commanded
}

// rig is the physics and the control of one kind of plant.
type rig interface {
	step()                         // advances by the plant's dt
	truth(into map[string]float64) // adds states that no signal shows
	faults() []string              // faults of its own that Break accepts
	breakdown(fault string, on bool)
}

// NewPlant returns the plant of a kind ("flow-bench", "valve-stand") at rest. What params does not fix is drawn from the
// seed, each parameter from its own stream, so that fixing one leaves the others as they were. An unknown kind or
// parameter, or a value outside its range, is an error that names what is accepted.
func NewPlant(kind string, seed uint64, params map[string]float64) (*Plant, error) {
	p := &Plant{kind: kind, seed: seed, index: map[string]int{}, faults: map[string]bool{}}
	s := &setup{plant: p, given: params}
	switch kind {
	case "flow-bench":
		p.dt = time.Millisecond
		p.rig = newFlowBench(s)
	case "valve-stand":
		p.dt = time.Millisecond / 10
		p.rig = newValveStand(s)
	default:
		return nil, fmt.Errorf("plant %q is unknown: known are %s", kind, strings.Join(Kinds(), ", "))
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	return p, nil
}

// Kinds returns the kinds that NewPlant accepts.
func Kinds() []string { return []string{"flow-bench", "valve-stand"} }

// Kind returns the kind that the plant was made as.
func (p *Plant) Kind() string { return p.kind }

// Seed returns the seed that the plant was made with.
func (p *Plant) Seed() uint64 { return p.seed }

// Dt returns the length of one step.
func (p *Plant) Dt() time.Duration { return p.dt }

// Steps returns how many steps the plant has made; the plant's time is Steps times Dt.
func (p *Plant) Steps() uint64 { return p.steps }

// Params returns the parameters as they stand, given, drawn or default.
func (p *Plant) Params() []Param { return slices.Clone(p.params) }

// Signals returns every signal of the plant in a fixed order.
func (p *Plant) Signals() []Signal {
	all := make([]Signal, len(p.signals))
	for i := range p.signals {
		all[i] = p.signals[i].Signal
	}
	return all
}

// Step advances physics, control and sensors by Dt.
func (p *Plant) Step() {
	p.rig.step()
	p.steps++
	for i := range p.signals {
		if s := &p.signals[i]; s.sensor != nil {
			s.sensor.Advance(s.seen(), p.steps)
		}
	}
	if p.recorder != nil {
		p.recorder.sample()
	}
}

// Read returns what the sensor behind a signal delivers now, errors of the sensor included, or the exact figure of a
// signal that has none.
func (p *Plant) Read(name string) (float64, error) {
	i, ok := p.index[name]
	if !ok {
		return 0, p.unknown(name)
	}
	s := &p.signals[i]
	if s.sensor != nil {
		return s.sensor.Deliver(p.steps), nil
	}
	return s.value(), nil
}

// Actuate commands a signal: a valve coil (0 or 1), a setpoint in Pa, a throttle position 0..1, a bit of the PLC. The
// value acts from the next step on. A signal that is not Commanded and a figure that is not finite or outside the
// actuator's range are errors.
func (p *Plant) Actuate(name string, v float64) error {
	i, ok := p.index[name]
	if !ok {
		return p.unknown(name)
	}
	s := &p.signals[i]
	if s.actuate == nil {
		return fmt.Errorf("signal %s of plant %s is %s, it cannot be commanded", name, p.kind, s.Kind)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("command %s = %v: not a finite number", name, v)
	}
	if err := s.actuate(v); err != nil {
		return fmt.Errorf("command %s: %w", name, err)
	}
	return nil
}

// Truth returns the noiseless figures: every parameter under its name, every measured or commanded signal under its name
// (as it is, before the sensor), further states, the errors of the sensors as err.<signal>.<term>, and t in s.
func (p *Plant) Truth() map[string]float64 {
	m := make(map[string]float64, len(p.params)+2*len(p.signals))
	for _, q := range p.params {
		m[q.Name] = q.Value
	}
	for i := range p.signals {
		m[p.signals[i].Name] = p.signals[i].value()
	}
	m["t"] = float64(p.steps) * p.dt.Seconds()
	p.rig.truth(m)
	return m
}

// Faults returns what Break accepts: the faults of the kind, and stuck:, dropout: and spike: for every measured signal.
func (p *Plant) Faults() []string {
	all := slices.Clone(p.rig.faults())
	for i := range p.signals {
		if s := &p.signals[i]; s.sensor != nil {
			all = append(all, "stuck:"+s.Name, "dropout:"+s.Name, "spike:"+s.Name)
		}
	}
	return all
}

// Break turns a fault of the plant on or off, such as "leak", "throttle_shut", "sticking_spool" or "stuck:p1".
func (p *Plant) Break(fault string, on bool) error {
	if !slices.Contains(p.Faults(), fault) {
		return fmt.Errorf("fault %q of plant %s is unknown: known are %s", fault, p.kind, strings.Join(p.Faults(), ", "))
	}
	p.faults[fault] = on
	if effect, name, ok := strings.Cut(fault, ":"); ok {
		p.signals[p.index[name]].sensor.fail(effect, on)
		return nil
	}
	p.rig.breakdown(fault, on)
	return nil
}

func (p *Plant) unknown(name string) error {
	names := make([]string, len(p.signals))
	for i := range p.signals {
		names[i] = p.signals[i].Name
	}
	return fmt.Errorf("plant %s has no signal %q: it has %s", p.kind, name, strings.Join(names, ", "))
}
