package simulator

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Burst is a stretch of samples of one signal, one per step of the plant, taken around an edge of the coil or, with
// the parameter burst.continuous=1, back to back. Sample i belongs to the plant's time (Step+i)·Dt, and the coil switches
// exactly at the time of the sample Edge.
type Burst struct {
	Seq    uint64        // per signal, 1, 2, 3 ...; signals of one edge carry the same number
	Step   uint64        // Steps of the plant when the first sample was taken
	Dt     time.Duration // between samples
	Edge   int           // index of the first sample with the coil's new state, -1 in a continuous burst
	Values []float64     // as the sensor delivers them; not to be modified
}

// burstsKept is how many finished bursts of each signal a plant holds for readers that come late.
const burstsKept = 32

// recorder remembers what the sensors saw in the last steps and makes bursts of it. Noise is added when a burst is made,
// so that a step without one costs next to nothing.
type recorder struct {
	plant         *Plant
	coil          func() float64
	before, after uint64
	continuous    bool
	tracks        []track
	state         float64 // of the coil at the last sample
	edges         []uint64
	seq           uint64
}

// track is one recorded signal.
type track struct {
	name   string
	sensor *Sensor // nil for the coil
	ring   []float64
	kept   []Burst
}

// newRecorder records the named signals around the edges of coil.
func newRecorder(s *setup, coil func() float64, names ...string) *recorder {
	r := &recorder{plant: s.plant, coil: coil, state: coil()}
	count := func(name string, seconds float64, description string) uint64 {
		return uint64(s.fixed(name, "s", seconds, 1e-3, 10, description)/s.plant.dt.Seconds() + 0.5)
	}
	r.before = count("burst.before", 0.02, "recorded before an edge of the coil")
	r.after = count("burst.after", 0.1, "recorded from an edge of the coil on; the length of a continuous burst")
	r.continuous = s.fixed("burst.continuous", "1", 0, 0, 1, "1: bursts follow each other without edges") == 1
	for _, name := range names {
		r.tracks = append(r.tracks, track{
			name: name, sensor: s.plant.signals[s.plant.index[name]].sensor, ring: make([]float64, r.before+r.after+1),
		})
	}
	return r
}

// sample notes what the sensors see at the end of a step and makes the bursts that are complete.
func (r *recorder) sample() {
	now := r.plant.steps
	at := now % uint64(len(r.tracks[0].ring))
	coil := r.coil()
	for i := range r.tracks {
		t := &r.tracks[i]
		t.ring[at] = coil
		if t.sensor != nil {
			t.ring[at] = t.sensor.lag
		}
	}
	edge := coil != r.state
	r.state = coil
	if r.continuous {
		if now%r.after == 0 {
			r.make(now-r.after+1, now, -1)
		}
		return
	}
	if edge {
		r.edges = append(r.edges, now)
	}
	if len(r.edges) > 0 && now == r.edges[0]+r.after-1 {
		from := uint64(1)
		if r.edges[0] > r.before {
			from = r.edges[0] - r.before
		}
		r.make(from, now, int(r.edges[0]-from)) // at most before
		r.edges = r.edges[1:]
	}
}

// make makes a burst of each track from the steps from to last.
func (r *recorder) make(from, last uint64, edge int) {
	r.seq++
	for i := range r.tracks {
		t := &r.tracks[i]
		values := make([]float64, 0, last-from+1)
		for step := from; step <= last; step++ {
			v := t.ring[step%uint64(len(t.ring))]
			if t.sensor != nil {
				v = t.sensor.indicate(v, step)
			}
			values = append(values, v)
		}
		if len(t.kept) == burstsKept {
			t.kept = slices.Delete(t.kept, 0, 1)
		}
		t.kept = append(t.kept, Burst{Seq: r.seq, Step: from, Dt: r.plant.dt, Edge: edge, Values: values})
	}
}

// Burst returns the finished bursts of a signal with a number above after, oldest first; the plant keeps the last 32.
func (p *Plant) Burst(name string, after uint64) ([]Burst, error) {
	if p.recorder != nil {
		for i := range p.recorder.tracks {
			t := &p.recorder.tracks[i]
			if t.name != name {
				continue
			}
			from, _ := slices.BinarySearchFunc(t.kept, after+1, func(b Burst, seq uint64) int { return cmp.Compare(b.Seq, seq) })
			return slices.Clone(t.kept[from:]), nil
		}
	}
	return nil, fmt.Errorf("signal %s of plant %s has no bursts", name, p.kind)
}
