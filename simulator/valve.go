package simulator

import (
	"math"
	"math/rand/v2"
)

// SpoolOptions describe the actuation of a solenoid valve.
type SpoolOptions struct {
	DeadOn, DeadOff float64 // from the coil's edge to the first movement, s (coil, armature, pilot)
	Jitter          float64 // standard deviation of the dead times from shift to shift, s
	Omega           float64 // natural angular frequency, rad/s
	Zeta            float64 // damping
	Overlap         float64 // share of the travel, in the middle, in which both sides are shut
}

// A Spool moves between 0 (at rest) and 1 (energised) after a dead time:
//
//	x” = ω²·(x_cmd-x) - 2ζω·x'    clipped to 0..1
type Spool struct {
	o     SpoolOptions
	key   uint64
	pcg   rand.PCG
	draw  *rand.Rand
	coil  bool
	cmd   bool // what the pilot stage asks for
	wait  float64
	x, v  float64
	count uint64 // edges of the coil

	sticking bool
	limit    float64 // how far it gets while sticking
	held     float64 // s until it slips to another limit
}

// NewSpool returns a spool at rest whose jitter belongs to the key.
func NewSpool(o SpoolOptions, key uint64) *Spool {
	s := &Spool{o: o, key: key}
	s.draw = rand.New(&s.pcg)
	return s
}

// Energise gives the coil's state, 0 or 1; an edge starts a shift after its dead time, and a shift that has not begun yet
// is given up.
func (s *Spool) Energise(coil float64) {
	on := coil >= 0.5
	if on == s.coil {
		return
	}
	s.coil = on
	s.count++
	s.pcg.Seed(s.key, scramble(s.count))
	dead := s.o.DeadOff
	if on {
		dead = s.o.DeadOn
	}
	dead += s.o.Jitter * s.draw.NormFloat64()
	if s.sticking {
		dead += 0.015 + 0.045*s.draw.Float64()
		s.slip()
	}
	s.wait = max(dead, 0)
}

// Stick makes the spool late by 15 to 60 ms and stop short of its end, at a place that changes every few seconds.
func (s *Spool) Stick(on bool) {
	s.sticking = on
	s.pcg.Seed(s.key, scramble(^s.count))
	s.slip()
}

func (s *Spool) slip() {
	s.limit = 0.7 + 0.25*s.draw.Float64()
	s.held = 1 + 2*s.draw.Float64()
}

// Step advances by h seconds.
func (s *Spool) Step(h float64) {
	if s.sticking {
		if s.held -= h; s.held <= 0 {
			s.slip()
		}
	}
	if s.cmd != s.coil {
		if s.wait > h {
			s.wait -= h
			return
		}
		// The rest of the step after the dead time.
		s.cmd = s.coil
		s.move(h - s.wait)
		return
	}
	s.move(h)
}

// move integrates the motion semi-implicitly in parts much shorter than the period.
func (s *Spool) move(h float64) {
	target := 0.0
	if s.cmd {
		target = 1
		if s.sticking {
			target = s.limit
		}
	}
	if s.x == target && s.v == 0 {
		return
	}
	parts := max(math.Ceil(h*s.o.Omega/0.02), 1)
	part := h / parts
	for range int(parts) {
		s.v += part * (s.o.Omega*s.o.Omega*(target-s.x) - 2*s.o.Zeta*s.o.Omega*s.v)
		s.x += part * s.v
		if s.x <= 0 || s.x >= 1 {
			s.x, s.v = min(max(s.x, 0), 1), 0
		}
	}
	if math.Abs(s.x-target) < 1e-6 && math.Abs(s.v) < 1e-3 {
		s.x, s.v = target, 0
	}
}

// Position returns where the spool is, 0..1.
func (s *Spool) Position() float64 { return s.x }

// Edges returns how often the coil was switched.
func (s *Spool) Edges() uint64 { return s.count }

// Openings returns the areas 0..1 of the paths that are open when energised and when at rest.
func (s *Spool) Openings() (energised, resting float64) {
	shut := (1 + s.o.Overlap) / 2
	energised = max((s.x-shut)/(1-shut), 0)
	resting = max((1-s.x-shut)/(1-shut), 0)
	return energised, resting
}
