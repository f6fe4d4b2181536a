package storage_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/storage"
)

var _ acquisition.Recorder = (*storage.Store)(nil)

const second = int64(time.Second)

// start is the instant at which the tests' clocks begin, on the grid of every period used.
const start = int64(1_800_000_000) * second

// pressures is a group of registers polled every 100 ms.
func pressures() *acquisition.Group {
	g := &acquisition.Group{
		Rig: "flow-bench", Site: "ningbo", Name: "steady", Measurement: "pneumatics", Period: 100 * time.Millisecond,
		Words: 7, Exchanges: 2,
	}
	for i, name := range []string{"p1", "p2", "dp", "T1", "qm"} {
		g.Channels = append(g.Channels, acquisition.Channel{
			ID: "c-" + name, Name: name, Unit: "kPa_a", Exchange: i % 2,
			Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeInt16, Scale: 0.1},
		})
	}
	g.Channels[4].Decoding = acquisition.Decoding{At: 5, Type: acquisition.TypeFloat32}
	return g
}

// bursts is a group of numbers published by a device with numbers of its own.
func bursts() *acquisition.Group {
	g := &acquisition.Group{
		Rig: "valve-stand", Name: "burst", Measurement: "pneumatics", Period: 100 * time.Microsecond,
		Completeness: acquisition.BySequence, Numbers: 2,
	}
	for i, name := range []string{"pA", "pB"} {
		g.Channels = append(g.Channels, acquisition.Channel{
			ID: name, Name: name, Unit: "kPa_g", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers, At: i},
		})
	}
	return g
}

// clock is a time that the test moves.
type clock struct{ t int64 }

func (c *clock) now() int64 { return c.t }

type setup func(*storage.Options)

func open(t *testing.T, dir string, c *clock, more ...setup) *storage.Store {
	t.Helper()
	o := storage.Options{Dir: dir, Now: c.now, BootID: "boot-1"}
	for _, m := range more {
		m(&o)
	}
	s, err := storage.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// scan fills a scan with values that follow from its slot.
func scan(g *acquisition.Group, slot uint64) *acquisition.Scan {
	s := acquisition.NewScan(g)
	r := rand.New(rand.NewPCG(slot, 7))
	s.Slot = slot
	s.Time = g.Due(0, slot) + int64(r.IntN(int(min(g.Period/2, time.Millisecond))))
	for i := range s.Words {
		s.Words[i] = uint16(1000*i) + uint16(20*math.Sin(float64(slot)/50)) + uint16(r.IntN(8))
	}
	if g.Words > 6 {
		b := math.Float32bits(float32(100 + r.Float64()))
		s.Words[5], s.Words[6] = uint16(b>>16), uint16(b)
	}
	for i := range s.Numbers {
		s.Numbers[i] = 500 + math.Sin(float64(slot)/1000) + r.NormFloat64()*0.01
	}
	for i := range s.Exchanges {
		s.Exchanges[i] = acquisition.Exchange{Offset: int64(i)*1_500_000 + int64(r.IntN(10_000)), HalfWidth: 400_000 + int64(r.IntN(10_000))}
	}
	if slot%97 == 0 && len(s.Quality) > 2 {
		s.Quality[2] = acquisition.Quality(acquisition.ReasonTimeout)
	}
	if g.Completeness != acquisition.BySchedule {
		s.Arrival = s.Time + int64(r.IntN(5_000_000))
	}
	return s
}

// fill appends the scans of slots from (included) to to (not).
func fill(t *testing.T, o *acquisition.Open, from, to uint64) {
	t.Helper()
	for slot := from; slot < to; slot++ {
		if r := o.Append(scan(o.Group(), slot)); r != acquisition.ReasonNone {
			t.Fatalf("append slot %d: %s", slot, r)
		}
	}
}

func commit(t *testing.T, s *storage.Store) {
	t.Helper()
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func blocks(t *testing.T, seq iter.Seq2[*acquisition.Block, error]) []*acquisition.Block {
	t.Helper()
	var out []*acquisition.Block
	for b, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// verify reads a group and checks that every slot from (included) to to (not)
// is there once, with the values of scan or in one gap, and returns the gaps.
func verify(t *testing.T, s *storage.Store, key acquisition.GroupKey, from, to uint64) map[uint64]acquisition.Reason {
	t.Helper()
	gaps := map[uint64]acquisition.Reason{}
	seen := map[uint64]int{}
	last, seq := int64(0), uint64(0)
	for b, err := range s.Blocks(t.Context(), storage.Query{Group: key}) {
		if err != nil {
			t.Fatal(err)
		}
		if seq != 0 && b.Seq != seq+1 {
			t.Fatalf("block %d follows block %d", b.Seq, seq)
		}
		seq = b.Seq
		for i, slot := range b.Slots {
			seen[slot]++
			want := scan(b.Group, slot)
			got := &acquisition.Scan{
				Slot: slot, Time: b.Times[i], Words: b.ScanWords(i), Numbers: b.ScanNumbers(i),
				Exchanges: b.ScanExchanges(i), Quality: b.ScanQuality(i),
			}
			if b.Arrivals != nil {
				got.Arrival = b.Arrivals[i]
			}
			if got.Quality == nil {
				got.Quality = make([]acquisition.Quality, len(b.Group.Channels))
			}
			if got.Time != want.Time || got.Arrival != want.Arrival || !slices.Equal(got.Words, want.Words) ||
				!slices.Equal(got.Numbers, want.Numbers) || !slices.Equal(got.Exchanges, want.Exchanges) || !slices.Equal(got.Quality, want.Quality) {
				t.Fatalf("slot %d of %s: got %+v want %+v", slot, key, got, want)
			}
			if !b.Backfill && got.Time <= last {
				t.Fatalf("slot %d: time %d is not after %d", slot, got.Time, last)
			}
			last = got.Time
		}
		for _, g := range b.Gaps {
			for slot := g.From; slot < g.To; slot++ {
				seen[slot]++
				gaps[slot] = g.Reason
			}
		}
	}
	for slot := from; slot < to; slot++ {
		if seen[slot] != 1 {
			t.Fatalf("slot %d of %s has %d accounts", slot, key, seen[slot])
		}
	}
	if n := uint64(len(seen)); n != to-from {
		t.Fatalf("%s has %d slots, want %d", key, n, to-from)
	}
	return gaps
}

func slotAt(g *acquisition.Group, t int64) uint64 { return uint64(t / int64(g.Period)) }

func TestStoreReopens(t *testing.T) {
	dir := t.TempDir()
	c := &clock{start}
	var offered []uint64
	s := open(t, dir, c, func(o *storage.Options) {
		o.Offer = func(bs []*acquisition.Block) {
			for _, b := range bs {
				offered = append(offered, b.Seq)
			}
		}
	})
	g := pressures()
	first := slotAt(g, start)
	o, err := s.OpenEpoch(t.Context(), g, 0, first)
	if err != nil {
		t.Fatal(err)
	}
	if o.Group().Version != 1 {
		t.Fatalf("version %d", o.Group().Version)
	}
	if _, _, ok := s.Last(g.Key()); ok {
		t.Fatal("a new group has a last slot")
	}
	fill(t, o, first, first+25)
	commit(t, s)
	fill(t, o, first+25, first+30)
	o.Miss(acquisition.Gap{From: first + 30, To: first + 33, Reason: acquisition.ReasonTimeout})
	fill(t, o, first+33, first+40)
	c.t = start + 4*second
	if err := s.CloseEpoch(t.Context(), o, first+40, acquisition.ReasonStopped); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(offered, []uint64{1, 2}) {
		t.Fatalf("offered %v", offered)
	}
	verify(t, s, g.Key(), first, first+40)
	slot, at, ok := s.Last(g.Key())
	if want := scan(g, first+39); !ok || slot != first+39 || at != want.Time {
		t.Fatalf("last %d %d %v", slot, at, ok)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	c.t = start + 10*second
	s = open(t, dir, c)
	if r := s.Recovery(); !r.Clean || len(r.Findings) > 0 {
		t.Fatalf("recovery %+v", r)
	}
	gaps := verify(t, s, g.Key(), first, first+40)
	if gaps[first+31] != acquisition.ReasonTimeout || len(gaps) != 3 {
		t.Fatalf("gaps %v", gaps)
	}
	es := s.Epochs(g.Key())
	want := []acquisition.Epoch{{
		ID: acquisition.EpochID(start), Group: g.Key(), Version: 1, Period: int64(g.Period), First: first, Boot: "boot-1",
		Opened: start, Closed: start + 4*second, Next: first + 40, End: acquisition.ReasonStopped,
	}}
	if d := cmp.Diff(want, es); d != "" {
		t.Fatal(d)
	}
	// The same descriptor has the same version, another one the next.
	o, err = s.OpenEpoch(t.Context(), pressures(), 0, first+100)
	if err != nil {
		t.Fatal(err)
	}
	if o.Group().Version != 1 {
		t.Fatalf("version %d of the same descriptor", o.Group().Version)
	}
	gaps = verify(t, s, g.Key(), first, first+100)
	if gaps[first+40] != acquisition.ReasonStopped || gaps[first+99] != acquisition.ReasonStopped {
		t.Fatalf("the hole between the epochs: %v", gaps)
	}
	if err := s.CloseEpoch(t.Context(), o, first+100, acquisition.ReasonStopped); err != nil {
		t.Fatal(err)
	}
	g2 := pressures()
	g2.Channels[0].Decoding.Scale = 0.01
	o, err = s.OpenEpoch(t.Context(), g2, 0, first+100)
	if err != nil {
		t.Fatal(err)
	}
	if o.Group().Version != 2 || s.Groups()[0].Version != 2 || s.GroupVersion(g.Key(), 1) == nil {
		t.Fatalf("version %d of another descriptor", o.Group().Version)
	}
}

func TestRunCommitsAtTheTick(t *testing.T) {
	c := &clock{start}
	s := open(t, t.TempDir(), c, func(o *storage.Options) { o.Tick = 5 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	g := bursts()
	o, err := s.OpenEpoch(t.Context(), g, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	acked := make(chan struct{})
	d := &acquisition.Delivery{Group: g, Scans: []acquisition.Scan{*scan(g, 1), *scan(g, 2)}, Mark: []byte("m1"), Ack: func() { close(acked) }}
	if r := o.Deliver(d); r != acquisition.ReasonNone {
		t.Fatal(r)
	}
	<-acked
	fill(t, o, 3, 9)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	verify(t, s, g.Key(), 1, 9)
	if m := s.Marks("valve-stand"); len(m) != 1 || string(m[0]) != "m1" {
		t.Fatalf("marks %q", m)
	}
	if got := s.Stats().Age.Count(); got != 8 {
		t.Fatalf("%d ages", got)
	}
}

func TestF077SecondProcess(t *testing.T) {
	dir := t.TempDir()
	c := &clock{start}
	open(t, dir, c)
	_, err := storage.Open(t.Context(), storage.Options{Dir: dir})
	var locked *storage.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("got %v", err)
	}
}

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	return ctx, stop
}

func contextOfChild() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

func contextWithoutCancel(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}

// A source that fills a scan with too few words costs its own block and nothing
// else.
func TestMalformedScanIsAGap(t *testing.T) {
	c := &clock{start}
	s := open(t, t.TempDir(), c)
	g, b := pressures(), bursts()
	opens, next := begin(t, s, g, b)
	first := append([]uint64(nil), next...)
	bad := scan(g, next[0])
	bad.Words = bad.Words[:3]
	opens[0].Append(bad)
	next[0]++
	record(t, s, c, opens[1:], next[1:], 1)
	record(t, s, c, opens, next, 2)
	gaps := verify(t, s, g.Key(), first[0], next[0])
	if len(gaps) != 1 || gaps[first[0]] != acquisition.ReasonConfig {
		t.Fatal(gaps)
	}
	verify(t, s, b.Key(), first[1], next[1])
}
