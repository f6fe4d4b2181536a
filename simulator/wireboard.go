package simulator

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

// A Board holds the figures behind registers and payloads: every signal's present value in SI, under one lock. A Twin's
// plant keeps one up to date; a test may set figures by hand.
type Board struct {
	mu      sync.Mutex
	signals []Signal
	index   map[string]int
	values  []float64
	frozen  []bool
	time    time.Time // of the values
	step    uint64    // of Sample
	dt      time.Duration
	pace    float64 // of the clock: its seconds per second of dt
	taps    []sampler
	totals  []*total
	refresh func()                       // brings values up to now; lock held
	actuate func(i int, v float64) error // nil: the value is set; lock held
}

// NewBoard returns a board with all figures NaN. Sample is to be called every dt for the buffers.
func NewBoard(dt time.Duration, signals ...Signal) *Board {
	b := &Board{signals: signals, index: make(map[string]int, len(signals)), values: make([]float64, len(signals)), frozen: make([]bool, len(signals)), dt: dt, pace: 1}
	for i, s := range signals {
		b.index[s.Name] = i
		b.values[i] = math.NaN()
	}
	return b
}

// Set gives a signal its figure.
func (b *Board) Set(name string, v float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := b.find(name)
	if err == nil && !b.frozen[i] {
		b.values[i] = v
	}
	return err
}

// Value returns the present figure of a signal.
func (b *Board) Value(name string) (float64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := b.find(name)
	if err != nil {
		return 0, err
	}
	b.present()
	return b.values[i], nil
}

// Freeze holds a signal's figure as it is, whatever Set and the plant say, or lets it go.
func (b *Board) Freeze(name string, on bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := b.find(name)
	if err == nil {
		b.present()
		b.frozen[i] = on
	}
	return err
}

// Sample ends one step of dt at the given time: buffers take their samples.
func (b *Board) Sample(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sample(at)
}

func (b *Board) sample(at time.Time) {
	b.time = at
	b.step++
	b.add(1)
	b.tap()
}

// total is a figure summed over time.
type total struct {
	signal int
	sum    float64 // SI
}

// add lets steps of dt pass for the totals; lock held.
func (b *Board) add(steps uint64) {
	for _, t := range b.totals {
		if v := b.values[t.signal]; v == v {
			t.sum += v * float64(steps) * b.dt.Seconds()
		}
	}
}

// tap lets the buffers take their samples; lock held.
func (b *Board) tap() {
	for _, t := range b.taps {
		if b.step%t.due() == 0 {
			t.take(b)
		}
	}
}

// sampler takes samples of a board.
type sampler interface {
	due() uint64   // steps between samples
	take(b *Board) // lock held
}

// stepsFor returns how many steps lie between samples at a rate.
func (b *Board) stepsFor(rate float64) (uint64, error) {
	steps := 1 / (rate * b.dt.Seconds())
	every := math.Round(steps)
	if every < 1 || math.Abs(steps-every) > 1e-6*every {
		return 0, fmt.Errorf("rate %g Hz does not divide the plant's %g Hz", rate, 1/b.dt.Seconds())
	}
	return uint64(every), nil
}

// scaled returns a stretch of plant time by the clock.
func (b *Board) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * b.pace) }

// between returns the time between samples by the clock.
func (b *Board) between(every uint64) time.Duration { return b.scaled(time.Duration(every) * b.dt) }

// atmosphere returns the signal that gauge pressures take off.
func (b *Board) atmosphere(name string) (int, error) {
	if name == "" {
		if i, ok := b.index[trueAtmosphere]; ok {
			return i, nil
		}
	}
	i, err := b.find(cmp.Or(name, "p_atm"))
	if err != nil {
		return 0, fmt.Errorf("gauge pressures take off the atmosphere: %w", err)
	}
	return i, nil
}

func (b *Board) find(name string) (int, error) {
	i, ok := b.index[name]
	if !ok {
		names := make([]string, len(b.signals))
		for i := range b.signals {
			names[i] = b.signals[i].Name
		}
		return 0, fmt.Errorf("signal %q is unknown: there are %s", name, strings.Join(names, ", "))
	}
	return i, nil
}

// present brings the figures up to now; lock held.
func (b *Board) present() {
	if b.refresh != nil {
		b.refresh()
	}
}

// command passes a written figure on; lock held.
func (b *Board) command(i int, v float64) error {
	if b.actuate != nil {
		return b.actuate(i, v)
	}
	b.values[i] = v
	return nil
}
