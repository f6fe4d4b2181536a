// Package acqtest holds the suites that every source and every sink must pass.
// A new driver or destination writes one small case and gets them all.
package acqtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pneudaq/acquisition"
)

// PollerCase describes a polled source under test.
type PollerCase struct {
	// Open starts a device and returns a source for it with one of its groups.
	// The device lives until the test ends.
	Open func(t *testing.T) (acquisition.Poller, *acquisition.Group)
	// Want is the value of each channel that the device holds.
	Want map[string]float64
	// Away makes the device unreachable, Back brings it back; both nil if the
	// case cannot.
	Away, Back func(t *testing.T)
	// Mute makes the device swallow requests until the test ends; may be nil.
	Mute func(t *testing.T)
	// Now is the service's clock as the source sees it; nil: time.Now.
	Now func() int64
}

func (c *PollerCase) now() int64 {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now().UnixNano()
}

// Poller runs the suite of polled sources.
func Poller(t *testing.T, c PollerCase) {
	t.Helper()
	t.Run("values and times", func(t *testing.T) {
		p, g := c.Open(t)
		connect(t, p)
		defer closeIt(t, p)
		s := acquisition.NewScan(g)
		last := int64(0)
		for slot := uint64(1); slot <= 20; slot++ {
			s.Reset(g)
			before := c.now()
			if err := poll(t, p, g, slot, s); err != nil {
				t.Fatalf("poll: %v", err)
			}
			after := c.now()
			checkValues(t, g, s, c.Want)
			if s.Time <= last {
				t.Errorf("slot %d: time %d is not after %d", slot, s.Time, last)
			}
			last = s.Time
			for i, e := range s.Exchanges {
				if from, to := s.Time+e.Offset-e.HalfWidth, s.Time+e.Offset+e.HalfWidth; from < before-1 || to > after+1 || e.HalfWidth <= 0 {
					t.Errorf("slot %d exchange %d: [%d, %d] is not within the pass [%d, %d]", slot, i, from, to, before, after)
				}
			}
		}
	})
	t.Run("keeps no reference", func(t *testing.T) {
		p, g := c.Open(t)
		connect(t, p)
		defer closeIt(t, p)
		a, b := acquisition.NewScan(g), acquisition.NewScan(g)
		if err := poll(t, p, g, 1, a); err != nil {
			t.Fatal(err)
		}
		words, at := slices.Clone(a.Words), a.Time
		if err := poll(t, p, g, 2, b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(words, a.Words) || at != a.Time {
			t.Error("the second poll changed the first scan")
		}
	})
	t.Run("close and connect again", func(t *testing.T) {
		p, g := c.Open(t)
		s := acquisition.NewScan(g)
		if err := poll(t, p, g, 1, s); err == nil {
			t.Error("a poll before connect succeeded")
		}
		for range 3 {
			connect(t, p)
			s.Reset(g)
			if err := poll(t, p, g, 2, s); err != nil {
				t.Fatal(err)
			}
			checkValues(t, g, s, c.Want)
			closeIt(t, p)
			closeIt(t, p)
		}
	})
	if c.Away != nil {
		t.Run("device away and back", func(t *testing.T) {
			p, g := c.Open(t)
			connect(t, p)
			defer closeIt(t, p)
			c.Away(t)
			s := acquisition.NewScan(g)
			deadline := time.Now().Add(10 * time.Second)
			for err := error(nil); err == nil; {
				s.Reset(g)
				err = poll(t, p, g, 1, s)
				if err == nil && allGood(s) {
					t.Fatal("a device that is away was read")
				}
				if time.Now().After(deadline) {
					break // a line without connections: bad quality is its way to say so
				}
			}
			closeIt(t, p)
			c.Back(t)
			connect(t, p)
			s.Reset(g)
			if err := poll(t, p, g, 2, s); err != nil {
				t.Fatal(err)
			}
			checkValues(t, g, s, c.Want)
		})
	}
	if c.Mute != nil {
		t.Run("silence is quality, and cancel returns at once", func(t *testing.T) {
			p, g := c.Open(t)
			connect(t, p)
			defer closeIt(t, p)
			c.Mute(t)
			s := acquisition.NewScan(g)
			began := time.Now()
			err := poll(t, p, g, 1, s)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("a mute device held the bus for %s", took)
			}
			for i, q := range s.Quality {
				if g.Channels[i].Decoding.Origin == acquisition.FromWords && q.Class() != acquisition.ClassBad {
					t.Errorf("channel %s of a mute device has quality %s (error %v)", g.Channels[i].Name, q, err)
				}
			}
			if err != nil {
				closeIt(t, p)
				connect(t, p)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			began = time.Now()
			_ = p.Poll(ctx, g, 2, s)
			if took := time.Since(began); took > time.Second {
				t.Errorf("cancel took %s", took)
			}
		})
	}
}

func connect(t *testing.T, p acquisition.Poller) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := p.Connect(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connect: %v", err)
		}
		_ = p.Close()
		time.Sleep(20 * time.Millisecond)
	}
}

func closeIt(t *testing.T, p acquisition.Poller) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func poll(t *testing.T, p acquisition.Poller, g *acquisition.Group, slot uint64, s *acquisition.Scan) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	return p.Poll(ctx, g, slot, s)
}

func allGood(s *acquisition.Scan) bool {
	for _, q := range s.Quality {
		if q != acquisition.Good {
			return false
		}
	}
	return true
}

func checkValues(t *testing.T, g *acquisition.Group, s *acquisition.Scan, want map[string]float64) {
	t.Helper()
	d, err := acquisition.NewDecoder(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	values, quality := make([]float64, len(g.Channels)), make([]acquisition.Quality, len(g.Channels))
	d.Decode(s.Words, s.Numbers, s.Quality, values, quality)
	for name, w := range want {
		i := g.Channel(name)
		if i < 0 {
			t.Fatalf("the group has no channel %s", name)
		}
		if quality[i] != acquisition.Good || math.Abs(values[i]-w) > 1e-6*max(1, math.Abs(w)) {
			t.Errorf("%s is %v with quality %s, want %v", name, values[i], quality[i], w)
		}
	}
}

// SinkCase describes a sink under test.
type SinkCase struct {
	// Open starts a destination and returns a sink for it.
	Open func(t *testing.T) acquisition.Sink
	// Stored reads back what the destination holds of a channel: time to value.
	Stored func(t *testing.T, g *acquisition.Group, channel string) map[int64]float64
	// Down makes the destination fail, Up heals it; nil if the case cannot.
	Down, Up func(t *testing.T)
	// Poison makes the destination refuse for good every value equal to the
	// given one; nil if the case cannot.
	Poison func(t *testing.T, value float64)
}

// Blocks returns n blocks of a group with scans each, whose values follow from
// the slot, for tests of stores and sinks. Channel a is the slot modulo 1000,
// channel b a tenth of it; every seventh b is bad.
func Blocks(group string, n, scans int) []*acquisition.Block {
	g := &acquisition.Group{
		Rig: "rig", Site: "site", Name: group, Version: 1, Measurement: "pneumatics", Period: 10 * time.Millisecond, Words: 2, Exchanges: 1,
		Channels: []acquisition.Channel{
			{ID: "a", Name: "a", Unit: "kPa_a", Decoding: acquisition.Decoding{At: 0, Type: acquisition.TypeUint16}},
			{ID: "b", Name: "b", Unit: "degC", Decoding: acquisition.Decoding{At: 1, Type: acquisition.TypeUint16, Scale: 0.1}},
		},
	}
	const base = 1_700_000_000_000_000_000
	var all []*acquisition.Block
	slot := uint64(base / int64(g.Period))
	for i := range n {
		b := &acquisition.Block{Group: g, Seq: uint64(i + 1), Epoch: 1}
		for range scans {
			b.Slots = append(b.Slots, slot)
			b.Times = append(b.Times, g.Due(0, slot)+int64(slot%97))
			b.Words = append(b.Words, uint16(slot%1000), uint16(slot%1000))
			b.Exchanges = append(b.Exchanges, acquisition.Exchange{HalfWidth: 1000})
			q := acquisition.Good
			if slot%7 == 0 {
				q = acquisition.Quality(acquisition.ReasonTimeout)
			}
			b.Quality = append(b.Quality, acquisition.Good, q)
			slot++
		}
		all = append(all, b)
	}
	return all
}

// Sink runs the suite of sinks.
func Sink(t *testing.T, c SinkCase) {
	t.Helper()
	t.Run("every sample once, also when written twice", func(t *testing.T) {
		s := c.Open(t)
		blocks := Blocks("once", 3, 50)
		for range 2 {
			write(t, s, blocks, 0)
		}
		checkStored(t, c, blocks, math.NaN())
	})
	t.Run("groups side by side", func(t *testing.T) {
		s := c.Open(t)
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, errs[i] = s.Write(ctx, Blocks(fmt.Sprintf("side%d", i), 2, 20))
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for i := range errs {
			checkStored(t, c, Blocks(fmt.Sprintf("side%d", i), 2, 20), math.NaN())
		}
	})
	if c.Down != nil {
		t.Run("an error means that none of it counts", func(t *testing.T) {
			s := c.Open(t)
			blocks := Blocks("down", 2, 20)
			c.Down(t)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := s.Write(ctx, blocks); err == nil {
				t.Error("a write to a destination that is down succeeded")
			}
			c.Up(t)
			write(t, s, blocks, 0)
			checkStored(t, c, blocks, math.NaN())
		})
	}
	if c.Poison != nil {
		t.Run("a refused scan is named and the rest arrives", func(t *testing.T) {
			s := c.Open(t)
			blocks := Blocks("poison", 2, 50)
			bad := float64(blocks[1].Slots[31] % 1000)
			c.Poison(t, bad)
			refused := write(t, s, blocks, 1)
			if len(refused) == 1 {
				if r := refused[0]; r.Seq != 2 || r.Scan != 31 || r.Reason == "" || r.Text == "" {
					t.Errorf("refused: %+v, want scan 31 of block 2 with text and reason", r)
				}
			}
			checkStored(t, c, blocks, bad)
		})
	}
}

func write(t *testing.T, s acquisition.Sink, blocks []*acquisition.Block, refused int) []acquisition.Refused {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := s.Write(ctx, blocks)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	if len(r) != refused {
		t.Errorf("%d scans refused, want %d: %+v", len(r), refused, r)
	}
	return r
}

func checkStored(t *testing.T, c SinkCase, blocks []*acquisition.Block, except float64) {
	t.Helper()
	g := blocks[0].Group
	want := [2]map[int64]float64{{}, {}}
	for _, b := range blocks {
		for i, at := range b.Times {
			v := float64(b.Slots[i] % 1000)
			if v == except {
				continue
			}
			want[0][at] = v
			if b.Slots[i]%7 != 0 {
				want[1][at] = v * 0.1
			}
		}
	}
	for i, w := range want {
		got := c.Stored(t, g, g.Channels[i].Name)
		if len(got) != len(w) {
			t.Errorf("channel %s: %d samples arrived, want %d", g.Channels[i].Name, len(got), len(w))
		}
		for at, v := range w {
			if x, ok := got[at]; !ok || math.Abs(x-v) > 1e-9 {
				t.Errorf("channel %s at %d: %v (there: %v), want %v", g.Channels[i].Name, at, x, ok, v)
				break
			}
		}
	}
}
