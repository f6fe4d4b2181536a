package simulator_test

import (
	"math"
	"testing"

	"pneudaq/simulator"
)

func spoolOptions() simulator.SpoolOptions {
	return simulator.SpoolOptions{
		DeadOn: 0.01, DeadOff: 0.02, Omega: 2 * math.Pi * 100, Zeta: 0.9, Overlap: 0.2,
	}
}

// shift switches the coil and returns when the spool first moved and when it was through half of its way, s.
func shift(s *simulator.Spool, coil, h float64) (moved, half float64) {
	from := s.Position()
	s.Energise(coil)
	for k := 1; k < 2000; k++ {
		s.Step(h)
		now := float64(k) * h
		if moved == 0 && s.Position() != from {
			moved = now
		}
		if half == 0 && math.Abs(s.Position()-from) >= 0.5 {
			half = now
		}
	}
	return moved, half
}

func TestSpoolWaitsAndMoves(t *testing.T) {
	t.Parallel()
	const h = 1e-4
	s := simulator.NewSpool(spoolOptions(), 1)
	moved, half := shift(s, 1, h)
	if math.Abs(moved-0.01) > 1.5*h {
		t.Errorf("moved %v s after the edge, want 0.01", moved)
	}
	// Half of the step response of x” = ω²(1-x)-2ζωx' with ζ = 0.9 is at ωt = 1.584.
	if rise := half - 0.01; math.Abs(rise-1.584/(2*math.Pi*100)) > 2*h {
		t.Errorf("half way %v s after the first movement", rise)
	}
	if energised, resting := s.Openings(); energised != 1 || resting != 0 || s.Position() != 1 {
		t.Errorf("energised: openings %v, %v at %v", energised, resting, s.Position())
	}
	if moved, _ := shift(s, 0, h); math.Abs(moved-0.02) > 1.5*h {
		t.Errorf("moved %v s after the edge, want 0.02", moved)
	}
	if energised, resting := s.Openings(); energised != 0 || resting != 1 || s.Position() != 0 {
		t.Errorf("at rest: openings %v, %v at %v", energised, resting, s.Position())
	}
}

func TestSpoolMovesTheSameInCoarseSteps(t *testing.T) {
	t.Parallel()
	o := spoolOptions()
	o.DeadOn = 0.0105 // the spool starts in the middle of a coarse step
	fine, coarse := simulator.NewSpool(o, 1), simulator.NewSpool(o, 1)
	fine.Energise(1)
	coarse.Energise(1)
	for k := range 20 {
		coarse.Step(1e-3)
		for range 100 {
			fine.Step(1e-5)
		}
		if d := coarse.Position() - fine.Position(); math.Abs(d) > 0.02 {
			t.Errorf("after %d ms: %v in coarse steps, %v in fine ones", k+1, coarse.Position(), fine.Position())
		}
	}
}

func TestSpoolNeverOpensBothSides(t *testing.T) {
	t.Parallel()
	s := simulator.NewSpool(spoolOptions(), 1)
	shut := 0
	s.Energise(1)
	for range 1000 {
		s.Step(1e-5 * 3)
		energised, resting := s.Openings()
		if energised > 0 && resting > 0 {
			t.Fatalf("both sides open at %v", s.Position())
		}
		if energised == 0 && resting == 0 {
			shut++
		}
	}
	if shut == 0 {
		t.Error("the overlap was never seen")
	}
}

func TestSpoolGivesUpAShiftThatHasNotBegun(t *testing.T) {
	t.Parallel()
	s := simulator.NewSpool(spoolOptions(), 1)
	s.Energise(1)
	for range 50 {
		s.Step(1e-4)
	}
	s.Energise(0)
	for range 1000 {
		s.Step(1e-4)
		if s.Position() != 0 {
			t.Fatalf("moved to %v", s.Position())
		}
	}
	if s.Edges() != 2 {
		t.Errorf("edges: %d, want 2", s.Edges())
	}
}

func TestSpoolJitters(t *testing.T) {
	t.Parallel()
	o := spoolOptions()
	o.Jitter = 0.4e-3
	s := simulator.NewSpool(o, 3)
	var sum, square float64
	const n = 200
	for range n {
		moved, _ := shift(s, 1, 2e-5)
		shift(s, 0, 1e-4)
		sum += moved
		square += moved * moved
	}
	mean := sum / n
	if math.Abs(mean-0.01) > 4*o.Jitter/math.Sqrt(n) {
		t.Errorf("mean dead time %v s, want 0.01", mean)
	}
	near(t, "jitter", math.Sqrt(square/n-mean*mean), o.Jitter, 4/math.Sqrt(2*n))
}

func TestSpoolSticks(t *testing.T) {
	t.Parallel()
	s := simulator.NewSpool(spoolOptions(), 1)
	s.Stick(true)
	moved, _ := shift(s, 1, 1e-4)
	if moved < 0.024 || moved > 0.071 {
		t.Errorf("moved %v s after the edge, want 15 to 60 ms late", moved)
	}
	least, most := 1.0, 0.0
	for range 100_000 {
		s.Step(1e-4)
		least, most = min(least, s.Position()), max(most, s.Position())
	}
	if least < 0.69 || most > 0.96 || most-least < 0.05 {
		t.Errorf("stuck between %v and %v", least, most)
	}
	s.Stick(false)
	for range 1000 {
		s.Step(1e-4)
	}
	if s.Position() != 1 {
		t.Errorf("freed, but at %v", s.Position())
	}
}
