package mqtt_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
)

// shelf is a recorder in memory: it commits whenever it is asked and every
// tick.
type shelf struct {
	mu     sync.Mutex
	open   []*acquisition.Open
	blocks []*acquisition.Block
	epochs []acquisition.Epoch
	hurry  chan struct{}
}

func (s *shelf) OpenEpoch(_ context.Context, g *acquisition.Group, anchor int64, first uint64) (*acquisition.Open, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := acquisition.EpochID(len(s.epochs) + 1)
	s.epochs = append(s.epochs, acquisition.Epoch{ID: id, Group: g.Key(), Anchor: anchor, First: first})
	o := acquisition.NewOpen(g, id, 0, 0)
	s.open = append(s.open, o)
	return o, nil
}

func (s *shelf) CloseEpoch(_ context.Context, o *acquisition.Open, next uint64, why acquisition.Reason) error {
	s.commit()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.epochs[o.Epoch()-1]
	e.Next, e.End = next, why
	return nil
}

func (s *shelf) Last(acquisition.GroupKey) (slot uint64, t int64, ok bool) { return 0, 0, false }

func (s *shelf) Hurry() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

func (s *shelf) commit() {
	s.mu.Lock()
	var taken []*acquisition.Block
	for _, o := range s.open {
		for b := o.Take(); b != nil; b = o.Take() {
			taken = append(taken, b)
		}
	}
	s.blocks = append(s.blocks, taken...)
	s.mu.Unlock()
	for _, b := range taken {
		b.Committed()
	}
}

func (s *shelf) run(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-s.hurry:
		}
		s.commit()
	}
}

// Through the collector: a device that publishes, loses a message, restarts
// and goes on; the account of the record balances in each epoch.
func TestThroughTheCollector(t *testing.T) {
	t.Parallel()
	b := embedded(t, simulator.BrokerOptions{})
	c, err := mqtt.New(busOf(b.url, func(o *mqtt.Options) {
		o.Groups[0].Channels = append(o.Groups[0].Channels, mqtt.ChannelOptions{
			Channel: acquisition.Channel{ID: "p_atm", Name: "p_atm"}, Borrowed: true,
		})
	}))
	if err != nil {
		t.Fatal(err)
	}
	loan := &acquisition.Loan{}
	loan.Put(101.3, time.Now().UnixNano(), acquisition.Good)
	store := &shelf{hurry: make(chan struct{}, 1)}
	collector, err := acquisition.NewCollector(acquisition.CollectorOptions{
		Rig: "bench", Bus: "broker", Receiver: c, Groups: c.Groups(), Store: store, Clock: acquisition.NewClock(false),
		Logger: slog.New(slog.DiscardHandler), Borrow: []acquisition.Borrow{{Group: "bench/g", Channel: 1, Loan: loan}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { store.run(ctx) })
	done := make(chan error, 1)
	wg.Go(func() { done <- collector.Run(ctx) })
	wait := func(what string, ok func() bool) {
		t.Helper()
		for range 1000 {
			if ok() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s: %+v %+v", what, collector.State(), c.Stats())
	}
	stored := func() uint64 { return collector.State().Groups[0].Stored }
	wait("connect", func() bool { return collector.State().Up })
	d := newDevice(t, b.url, "device")
	d.send(t, 100, 5000)
	d.next += 3 // lost
	d.send(t, 97, 5000)
	wait("store", func() bool { return stored() == 197 })
	d.next = 0
	for range 50 {
		d.c.Publish("rig/a", 1, false, fmt.Sprintf(`{"seq":%d,"v":-1}`, d.next)).Wait()
		d.next++
	}
	wait("store", func() bool { return stored() == 247 })
	wait("acknowledge", func() bool { return c.Stats().Unacked == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wg.Wait()
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.epochs) != 2 || store.epochs[0].First != 0 || store.epochs[0].Next != 200 || store.epochs[1].Next != 50 {
		t.Errorf("epochs %+v", store.epochs)
	}
	for id := range store.epochs {
		var blocks []*acquisition.Block
		for _, b := range store.blocks {
			if b.Epoch == acquisition.EpochID(id+1) {
				blocks = append(blocks, b)
			}
		}
		walk := func(yield func(*acquisition.Block, error) bool) {
			for _, b := range blocks {
				if !yield(b, nil) {
					return
				}
			}
		}
		a, err := acquisition.Audit(c.Groups()[0], nil, 0, 1<<62, walk, func(acquisition.EpochID) acquisition.Grid { return acquisition.Grid{} },
			func(g *acquisition.Group) (*acquisition.Decoder, error) { return acquisition.NewDecoder(g, nil) })
		if err != nil {
			t.Fatal(err)
		}
		want, gap := uint64(200), uint64(3)
		if id == 1 {
			want, gap = 50, 0
		}
		if !a.Balanced() || a.Planned != want || a.Gaps[acquisition.ReasonSeqGap] != gap || a.Stored != want-gap || a.Channels[1].Good != a.Stored {
			t.Errorf("epoch %d: %+v", id+1, a)
		}
	}
}
