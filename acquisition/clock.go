package acquisition

import (
	"context"
	"sync/atomic"
	"time"
)

// Clock gives the service its time. Wall time is anchored once and carried by
// the monotonic clock from then on, so that a stepped wall clock can never
// reorder a group; how far the wall clock has moved since is an observation
// ([Clock.Drift]), not a correction.
type Clock struct {
	base   time.Time    // carries the monotonic reading
	anchor atomic.Int64 // Unix ns at base
	fine   bool         // sleep the last millisecond by the kernel's own clock
}

// NewClock anchors the wall clock now. fine asks for sleeps that end within
// about 0.2 ms instead of 1 ms; virtual time (testing/synctest) needs false.
func NewClock(fine bool) *Clock {
	now := time.Now()
	c := &Clock{base: now, fine: fine}
	c.anchor.Store(now.UnixNano())
	return c
}

// Now returns the service's time, Unix ns.
func (c *Clock) Now() int64 { return c.anchor.Load() + int64(time.Since(c.base)) }

// Drift returns how far the wall clock is now ahead of the service's time, ns:
// the sum of every step and slew since the start.
func (c *Clock) Drift() int64 {
	t := time.Now()
	return t.UnixNano() - (c.anchor.Load() + int64(t.Sub(c.base)))
}

// Rebase moves the service's time forward to the wall clock and returns by how
// many ns; a wall clock that is behind changes nothing. It is for a machine
// that started without a valid clock and for one that was asleep: slots in
// between become a gap.
func (c *Clock) Rebase() int64 {
	d := c.Drift()
	if d <= 0 {
		return 0
	}
	c.anchor.Add(d)
	return d
}

// lead is how long before its deadline a bus wakes from the runtime's sleep,
// which is late by up to a millisecond, to sleep the rest in the kernel.
const lead = 1200 * time.Microsecond

// SleepUntil waits until the service's time is t or ctx ends, and says which.
func (c *Clock) SleepUntil(ctx context.Context, t int64, timer *time.Timer) error {
	d := time.Duration(t - c.Now())
	if d <= 0 {
		return ctx.Err()
	}
	coarse := d
	if c.fine {
		coarse = d - lead
	}
	if coarse > 0 {
		timer.Reset(coarse)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
	if c.fine {
		if rest := time.Duration(t - c.Now()); rest > 0 {
			kernelSleep(rest)
		}
	}
	return ctx.Err()
}
