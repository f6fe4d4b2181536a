package modbus_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
)

// recorder keeps blocks in memory for a collector.
type recorder struct {
	mu    sync.Mutex
	open  *acquisition.Open
	first uint64
	next  uint64
	scans int
	slots map[uint64]int // how often each slot is in a scan or a gap
	gaps  map[acquisition.Reason]uint64
	see   func(b *acquisition.Block)
}

func (r *recorder) OpenEpoch(_ context.Context, g *acquisition.Group, _ int64, first uint64) (*acquisition.Open, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open, r.first = acquisition.NewOpen(g, 1, 0, 0), first
	return r.open, nil
}

func (r *recorder) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return
	}
	for b := r.open.Take(); b != nil; b = r.open.Take() {
		r.scans += b.Len()
		for _, slot := range b.Slots {
			r.slots[slot]++
		}
		for _, g := range b.Gaps {
			r.gaps[g.Reason] += g.Count()
			for slot := g.From; slot < g.To; slot++ {
				r.slots[slot]++
			}
		}
		if r.see != nil {
			r.see(b)
		}
	}
}

func (r *recorder) CloseEpoch(_ context.Context, _ *acquisition.Open, next uint64, _ acquisition.Reason) error {
	r.take()
	r.next = next
	return nil
}

func (r *recorder) Last(acquisition.GroupKey) (uint64, int64, bool) { return 0, 0, false }
func (r *recorder) Hurry()                                          {}

// collection is a bus behind a real collector.
type collection struct {
	*recorder

	bus    *modbus.Bus
	c      *acquisition.Collector
	cancel context.CancelFunc
	done   chan error
}

func collect(t *testing.T, o modbus.Options) *collection {
	t.Helper()
	clock := acquisition.NewClock(false)
	o.Now = clock.Now
	b := open(t, o)
	r := &recorder{slots: map[uint64]int{}, gaps: map[acquisition.Reason]uint64{}}
	c, err := acquisition.NewCollector(acquisition.CollectorOptions{
		Rig: "rig", Bus: "field", Poller: b, Groups: b.Groups(), Store: r, Clock: clock, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &collection{recorder: r, bus: b, c: c, cancel: cancel, done: make(chan error, 1)}
	go func() { x.done <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return x
}

func (x *collection) stored() int {
	x.take()
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.scans
}

func (x *collection) waitGood(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for x.stored() < n {
		if time.Now().After(deadline) {
			t.Fatalf("%d scans after 20 s, want %d: %+v", x.stored(), n, x.c.State())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (x *collection) state() acquisition.GroupState { return x.c.State().Groups[0] }

func (x *collection) missed(why acquisition.Reason) uint64 { return x.state().Missed[why] }

func (x *collection) stop(t *testing.T) {
	t.Helper()
	x.cancel()
	if err := <-x.done; err != nil {
		t.Error(err)
	}
}

// audit says whether every slot from the first to the stop is there once.
func (x *collection) audit(t *testing.T) {
	t.Helper()
	for slot := x.first; slot < x.next; slot++ {
		if n := x.slots[slot]; n != 1 {
			t.Errorf("slot %d is accounted for %d times", slot-x.first, n)
			return
		}
	}
	if len(x.slots) != int(x.next-x.first) {
		t.Errorf("%d slots have an account, %d were planned", len(x.slots), x.next-x.first)
	}
}
