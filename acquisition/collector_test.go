package acquisition_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
)

// memory is a recorder that keeps blocks in memory.
type memory struct {
	mu     sync.Mutex
	blocks []*acquisition.Block
	epochs []acquisition.Epoch
	opens  map[acquisition.GroupKey]*acquisition.Open
	limit  int
	last   int64
	hurry  int
}

func (m *memory) OpenEpoch(_ context.Context, g *acquisition.Group, anchor int64, first uint64) (*acquisition.Open, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := acquisition.Epoch{ID: acquisition.EpochID(len(m.epochs) + 1), Group: g.Key(), Anchor: anchor, Period: int64(g.Period), Phase: int64(g.Phase), First: first}
	m.epochs = append(m.epochs, e)
	o := acquisition.NewOpen(g, e.ID, m.last, m.limit)
	if m.opens == nil {
		m.opens = map[acquisition.GroupKey]*acquisition.Open{}
	}
	m.opens[g.Key()] = o
	return o, nil
}

func (m *memory) take(o *acquisition.Open) {
	for b := o.Take(); b != nil; b = o.Take() {
		m.mu.Lock()
		m.blocks = append(m.blocks, b)
		m.mu.Unlock()
		b.Committed()
	}
}

func (m *memory) CloseEpoch(_ context.Context, o *acquisition.Open, next uint64, _ acquisition.Reason) error {
	m.take(o)
	for i := range m.epochs {
		if m.opens[m.epochs[i].Group] == o {
			m.epochs[i].Next = next
		}
	}
	return nil
}

func (m *memory) Last(acquisition.GroupKey) (uint64, int64, bool) { return 0, m.last, m.last != 0 }
func (m *memory) Hurry()                                          { m.hurry++ }

func (m *memory) of(key acquisition.GroupKey) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		for _, b := range m.blocks {
			if b.Group.Key() == key && !yield(b, nil) {
				return
			}
		}
	}
}

func (m *memory) audit(t *testing.T, g *acquisition.Group, start, stop int64) *acquisition.Account {
	t.Helper()
	var epochs []acquisition.Epoch
	for _, e := range m.epochs {
		if e.Group == g.Key() {
			epochs = append(epochs, e)
		}
	}
	a, err := acquisition.Audit(g, acquisition.Planned(epochs, start, stop), start, stop, m.of(g.Key()),
		func(id acquisition.EpochID) acquisition.Grid {
			e := m.epochs[id-1]
			return acquisition.Grid{Anchor: e.Anchor, Period: e.Period, Phase: e.Phase}
		},
		func(g *acquisition.Group) (*acquisition.Decoder, error) { return acquisition.NewDecoder(g, nil) })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// device answers after a delay that the test chooses per call.
type device struct {
	clock     *acquisition.Clock
	delay     func(slot uint64) time.Duration
	err       func(slot uint64) error
	refuse    func() error
	connected int
	polls     []int64
	written   []acquisition.Setpoint
}

func (d *device) Connect(context.Context) error {
	if d.refuse != nil {
		if err := d.refuse(); err != nil {
			return err
		}
	}
	d.connected++
	return nil
}

func (d *device) Poll(ctx context.Context, _ *acquisition.Group, slot uint64, s *acquisition.Scan) error {
	begin := d.clock.Now()
	d.polls = append(d.polls, begin)
	select {
	case <-time.After(d.delay(slot)):
	case <-ctx.Done():
	}
	if d.err != nil {
		if err := d.err(slot); err != nil {
			for i := range s.Quality {
				s.Quality[i] = acquisition.Quality(acquisition.ReasonReset)
			}
			return err
		}
	}
	end := d.clock.Now()
	s.Time = (begin + end) / 2
	s.Exchanges[0].HalfWidth = (end - begin) / 2
	s.Words[0] = uint16(slot)
	return nil
}

func (d *device) Close() error { return nil }

func (d *device) Write(_ context.Context, p []acquisition.Setpoint) error {
	d.written = append(d.written, p...)
	return nil
}

func (d *device) Safe(context.Context) error { return errors.New("no safe state") }

func oneChannel(name string, period time.Duration) *acquisition.Group {
	return &acquisition.Group{
		Rig: "rig", Name: name, Period: period, Words: 1, Exchanges: 1,
		Channels: []acquisition.Channel{{ID: "x", Name: "x", Decoding: acquisition.Decoding{Type: acquisition.TypeUint16}}},
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// collect runs a collector for a while of virtual time and checks that every
// slot that was due has exactly one account.
func collect(t *testing.T, d *device, m *memory, groups []*acquisition.Group, length time.Duration, during func(c *acquisition.Collector)) []*acquisition.Account {
	t.Helper()
	c, err := acquisition.NewCollector(acquisition.CollectorOptions{
		Rig: "rig", Bus: "bus", Poller: d, Groups: groups, Store: m, Clock: d.clock, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	start := d.clock.Now()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	if during != nil {
		during(c)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stop := d.clock.Now()
	var all []*acquisition.Account
	for _, g := range groups {
		a := m.audit(t, g, start, stop)
		if !a.Balanced() {
			t.Errorf("group %s: %d of %d slots unexplained: %+v", g.Name, a.Unexplained, a.Planned, a.Spans)
		}
		all = append(all, a)
	}
	return all
}

func TestCollectorKeepsTwoPeriodsOnOneBus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &device{clock: acquisition.NewClock(false), delay: func(uint64) time.Duration { return 2 * time.Millisecond }}
		m := &memory{}
		a := collect(t, d, m, []*acquisition.Group{oneChannel("fast", 10*time.Millisecond), oneChannel("slow", time.Second)}, time.Minute, nil)
		if a[0].Stored < 5990 || a[1].Stored < 59 {
			t.Errorf("stored %d and %d slots of %d and %d", a[0].Stored, a[1].Stored, a[0].Planned, a[1].Planned)
		}
		for _, b := range m.blocks {
			for i := range b.Slots {
				due := b.Group.Due(0, b.Slots[i])
				if late := b.Times[i] - due; late < 0 || late > int64(5*time.Millisecond) {
					t.Fatalf("slot %d of %s was read %d ns after it was due", b.Slots[i], b.Group.Name, late)
				}
				if b.ScanWords(i)[0] != uint16(b.Slots[i]) {
					t.Fatalf("slot %d holds the words of another", b.Slots[i])
				}
			}
		}
	})
}

func TestF030SlowDeviceIsOverrunAndBalanced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &device{clock: acquisition.NewClock(false), delay: func(uint64) time.Duration { return 15 * time.Millisecond }}
		a := collect(t, d, &memory{}, []*acquisition.Group{oneChannel("g", 10*time.Millisecond)}, 10*time.Second, nil)
		if n := a[0].Gaps[acquisition.ReasonOverrun]; n < 300 || n+a[0].Stored < 998 {
			t.Errorf("stored %d, gaps %v", a[0].Stored, a[0].Gaps)
		}
	})
}

func TestF002UnreachableDeviceReturnsWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := acquisition.NewClock(false)
		began := clock.Now()
		away := func() bool { n := clock.Now() - began; return n > int64(10*time.Second) && n < int64(40*time.Second) }
		d := &device{clock: clock, delay: func(uint64) time.Duration { return time.Millisecond }}
		d.err = func(uint64) error {
			if away() {
				return io.EOF
			}
			return nil
		}
		d.refuse = func() error {
			if away() {
				return errors.New("connection refused")
			}
			return nil
		}
		a := collect(t, d, &memory{}, []*acquisition.Group{oneChannel("g", 100*time.Millisecond)}, time.Minute, nil)
		if n := a[0].Gaps[acquisition.ReasonUnreachable] + a[0].Gaps[acquisition.ReasonReset]; n < 299 || n > 320 {
			t.Errorf("an outage of 30 s at 10 Hz left %d missing slots: %v", n, a[0].Gaps)
		}
		back := slices.IndexFunc(d.polls, func(p int64) bool { return p-began > int64(40*time.Second) })
		if back < 0 || d.polls[back]-began > int64(42*time.Second) {
			t.Errorf("the first poll after the outage was not within 2 s")
		}
	})
}

func TestF078BackpressureIsAGapAndPollingGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &device{clock: acquisition.NewClock(false), delay: func(uint64) time.Duration { return time.Millisecond }}
		m := &memory{limit: 4000} // nobody takes: the disk stands still
		a := collect(t, d, m, []*acquisition.Group{oneChannel("g", 10*time.Millisecond)}, 10*time.Second, nil)
		if a[0].Gaps[acquisition.ReasonBackpressure] < 800 || len(d.polls) < 990 {
			t.Errorf("%d polls, stored %d, gaps %v", len(d.polls), a[0].Stored, a[0].Gaps)
		}
	})
}

func TestCommandGoesAheadOfPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &device{clock: acquisition.NewClock(false), delay: func(uint64) time.Duration { return time.Millisecond }}
		collect(t, d, &memory{}, []*acquisition.Group{oneChannel("g", 10*time.Second)}, time.Minute, func(c *acquisition.Collector) {
			time.Sleep(15 * time.Second)
			before := time.Now()
			if err := c.Write(t.Context(), []acquisition.Setpoint{{Channel: "x", Value: 7}}); err != nil {
				t.Error(err)
			}
			if took := time.Since(before); took > 10*time.Millisecond {
				t.Errorf("the setpoint waited %s", took)
			}
		})
		if len(d.written) != 1 || d.written[0].Value != 7 {
			t.Errorf("written: %v", d.written)
		}
	})
}

// F081: a group does not start while the clock is behind what is stored.
func TestF081ClockBehindNeverOverwrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &device{clock: acquisition.NewClock(false), delay: func(uint64) time.Duration { return time.Millisecond }}
		m := &memory{last: d.clock.Now() + int64(20*time.Second)}
		c, err := acquisition.NewCollector(acquisition.CollectorOptions{
			Rig: "rig", Bus: "bus", Poller: d, Groups: []*acquisition.Group{oneChannel("g", 100*time.Millisecond)},
			Store: m, Clock: d.clock, Logger: quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(5 * time.Second)
		if w := c.State().Groups[0].Waiting; w == "" {
			t.Error("nothing says why the group waits")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(m.blocks) == 0 {
			t.Fatal("the group never started")
		}
		for _, b := range m.blocks {
			if b.Times[0] <= m.last {
				t.Errorf("time %d is not after the last stored %d", b.Times[0], m.last)
			}
		}
	})
}
