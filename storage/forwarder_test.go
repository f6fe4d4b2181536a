package storage_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/storage"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
)

// shelf is a store in memory: what a forwarder may ask of a store, nothing else.
type shelf struct {
	mu        sync.Mutex
	blocks    map[acquisition.GroupKey][]*acquisition.Block // by Seq-1; nil: lost
	delivered map[acquisition.GroupKey]storage.SeqSet
	aside     map[string]acquisition.Refused
	saves     int
	reads     int
}

func newShelf() *shelf {
	return &shelf{blocks: map[acquisition.GroupKey][]*acquisition.Block{}, delivered: map[acquisition.GroupKey]storage.SeqSet{}, aside: map[string]acquisition.Refused{}}
}

func (s *shelf) put(blocks ...*acquisition.Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range blocks {
		k := b.Group.Key()
		s.blocks[k] = append(s.blocks[k], b)
	}
}

func (s *shelf) lose(key acquisition.GroupKey, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[key][seq-1] = nil
}

func (s *shelf) Groups() []*acquisition.Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*acquisition.Group
	for _, b := range s.blocks {
		out = append(out, b[len(b)-1].Group)
	}
	slices.SortFunc(out, func(a, b *acquisition.Group) int { return len(a.Name) - len(b.Name) })
	return out
}

func (s *shelf) Held(key acquisition.GroupKey) storage.Seqs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return storage.Seqs{From: 1, To: uint64(len(s.blocks[key])) + 1}
}

func (s *shelf) Feed(_ context.Context, key acquisition.GroupKey, r storage.Seqs) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		for seq := r.From; seq < r.To; seq++ {
			s.mu.Lock()
			var b *acquisition.Block
			if int(seq) <= len(s.blocks[key]) {
				b = s.blocks[key][seq-1]
				s.reads++
			}
			s.mu.Unlock()
			if b != nil && !yield(b, nil) {
				return
			}
		}
	}
}

func (s *shelf) Between(ctx context.Context, key acquisition.GroupKey, from, to int64) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		for b, err := range s.Feed(ctx, key, s.Held(key)) {
			if n := b.Len(); n > 0 && b.Times[n-1] >= from && b.Times[0] < to && !yield(b, err) {
				return
			}
		}
	}
}

func (s *shelf) Scans(key acquisition.GroupKey, r storage.Seqs) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	all := s.blocks[key]
	for _, b := range all[max(r.From, 1)-1 : min(int(r.To)-1, len(all))] {
		if b != nil {
			n += b.Len()
		}
	}
	return uint64(n)
}

func (s *shelf) Delivered(_ context.Context, _ string, key acquisition.GroupKey) (storage.SeqSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.delivered[key]), nil
}

func (s *shelf) SetDelivered(_ context.Context, _ string, sets map[acquisition.GroupKey]storage.SeqSet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	for k, v := range sets {
		s.delivered[k] = slices.Clone(v)
	}
	return nil
}

func (s *shelf) SetAside(_ context.Context, sink string, refused []acquisition.Refused) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refused {
		s.aside[fmt.Sprint(sink, r.Group, r.Seq, "/", r.Scan)] = r
	}
	return nil
}

func (s *shelf) ListAside(_ context.Context, _ string, key acquisition.GroupKey, r storage.Seqs) ([]acquisition.Refused, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []acquisition.Refused
	for _, x := range s.aside {
		if x.Group == key && x.Seq >= r.From && x.Seq < r.To {
			out = append(out, x)
		}
	}
	return out, nil
}

func (s *shelf) CountAside(ctx context.Context, sink string, key acquisition.GroupKey, r storage.Seqs) (uint64, error) {
	list, err := s.ListAside(ctx, sink, key, r)
	n := uint64(0)
	for _, x := range list {
		if x.Scan >= 0 {
			n++
		}
	}
	return n, err
}

func (s *shelf) ForgetAside(_ context.Context, _ string, key acquisition.GroupKey, r storage.Seqs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, x := range s.aside {
		if x.Group == key && x.Seq >= r.From && x.Seq < r.To {
			delete(s.aside, k)
		}
	}
	return nil
}

// station is a forwarder between a shelf and a stand-in for InfluxDB, in a
// bubble of virtual time.
type station struct {
	t       *testing.T
	shelf   *shelf
	server  *influxtest.Server
	f       *storage.Forwarder
	seq     map[string]uint64
	groups  map[string]*acquisition.Group
	stop    func()
	options storage.ForwarderOptions
	running bool
	token   atomic.Pointer[string]
	began   time.Time // of a fault
}

func newStation(t *testing.T, change ...func(*storage.ForwarderOptions, *influx.Options)) *station {
	t.Helper()
	s := &station{t: t, shelf: newShelf(), server: influxtest.New(), seq: map[string]uint64{}, groups: map[string]*acquisition.Group{}}
	o := influx.Options{
		URL: "http://influx.test:8086", Bucket: "pneudaq/autogen", HTTPClient: s.server.Pipe(t),
		Token: func() (string, error) {
			if p := s.token.Load(); p != nil {
				return *p, nil
			}
			return "", nil
		},
	}
	s.options = storage.ForwarderOptions{Store: s.shelf, Name: "influx", Check: s.server, Jitter: func() float64 { return 0.5 }}
	for _, c := range change {
		c(&s.options, &o)
	}
	if s.options.Sink == nil {
		sink, err := influx.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sink.Close() })
		s.options.Sink = sink
	}
	s.start()
	t.Cleanup(func() {
		if s.running {
			s.stop()
		}
	})
	return s
}

// start runs a new forwarder on the same shelf, as after a restart.
func (s *station) start() {
	s.t.Helper()
	f, err := storage.NewForwarder(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.f, s.running = f, true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	s.stop = func() {
		s.running = false
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("forwarder: %v", err)
		}
	}
}

// record commits one block of ten scans of the last second of a group and
// offers it as the store does.
func (s *station) record(name string) *acquisition.Block {
	b := s.commit(name)
	if s.running {
		s.f.Offer([]*acquisition.Block{b})
	}
	return b
}

// commit does the same without offering.
func (s *station) commit(name string) *acquisition.Block {
	g := s.groups[name]
	if g == nil {
		g = acqtest.Blocks(name, 1, 1)[0].Group
		g.Period = 100 * time.Millisecond
		s.groups[name] = g
	}
	s.seq[name]++
	b := &acquisition.Block{Group: g, Seq: s.seq[name], Epoch: 1}
	slot := uint64(time.Now().UnixNano()/int64(g.Period)) - 10
	for range 10 {
		b.Slots = append(b.Slots, slot)
		b.Times = append(b.Times, g.Due(0, slot))
		b.Words = append(b.Words, uint16(slot%1000), uint16(slot%1000))
		b.Exchanges = append(b.Exchanges, acquisition.Exchange{})
		slot++
	}
	s.shelf.put(b)
	return b
}

// run records one block a second of each group.
func (s *station) run(seconds int, names ...string) {
	for range seconds {
		time.Sleep(time.Second)
		for _, n := range names {
			s.record(n)
		}
	}
	synctest.Wait()
}

func (s *station) stats() storage.ForwarderStats {
	s.t.Helper()
	st, err := s.f.Stats(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, g := range append(st.Groups, storage.ForwarderGroup{Stored: st.Stored, Delivered: st.Delivered, Waiting: st.Waiting, Refused: st.Refused}) {
		if g.Stored != g.Delivered+g.Waiting+g.Refused {
			s.t.Errorf("group %q: stored %d != delivered %d + waiting %d + refused %d", g.Group, g.Stored, g.Delivered, g.Waiting, g.Refused)
		}
	}
	return st
}

// settle waits until nothing waits.
func (s *station) settle(within time.Duration) storage.ForwarderStats {
	s.t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(time.Second) {
		if st := s.stats(); st.Waiting == 0 {
			return st
		}
	}
	s.t.Fatalf("after %v there is still something waiting: %+v", within, s.stats())
	return storage.ForwarderStats{}
}

// complete checks that the server holds every sample of the shelf with its
// value, and nothing else.
func (s *station) complete() {
	s.t.Helper()
	for name, g := range s.groups {
		want := map[int64]float64{}
		for b := range s.shelf.Feed(context.Background(), g.Key(), s.shelf.Held(g.Key())) {
			for i, at := range b.Times {
				want[at] = float64(b.Slots[i] % 1000)
			}
		}
		if diff := cmp.Diff(want, s.server.Values(g, "a")); diff != "" {
			s.t.Errorf("group %s: the server does not hold what is stored (-want +got):\n%.2000s", name, diff)
		}
	}
}

func TestForwarderDeliversLiveData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(60, "flow", "steady")
		synctest.Wait()
		st := s.stats()
		if st.Waiting != 0 || st.Delivered != 1200 || st.State != storage.ForwarderOK {
			t.Errorf("after a minute: %+v, want 1200 delivered, nothing waiting", st)
		}
		if d := time.Duration(st.LiveDelay); d > time.Second {
			t.Errorf("newest sample delivered after %v, want within a second", d)
		}
		if s.shelf.reads > 2*1200 {
			t.Errorf("%d blocks were read back", s.shelf.reads)
		}
		if s.shelf.saves > 7 {
			t.Errorf("positions were saved %d times in a minute; that wears a flash card", s.shelf.saves)
		}
		s.complete()
	})
}

func TestForwarderWithoutOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		for range 20 {
			time.Sleep(time.Second)
			s.commit("flow")
		}
		s.settle(5 * time.Second)
		s.complete()
		if n := s.server.Seen().Repeats; n != 0 {
			t.Errorf("%d lines were sent twice", n)
		}
	})
}

func TestForwarderBatchLeavesWhenOldOrFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, func(o *storage.ForwarderOptions, _ *influx.Options) { o.BatchFields = 100 })
		synctest.Wait()
		b := s.record("flow") // its oldest sample is a second old: it leaves at once
		synctest.Wait()
		b2 := &acquisition.Block{Group: b.Group, Seq: 2, Slots: []uint64{b.Slots[9] + 1}, Times: []int64{time.Now().UnixNano()}, Words: []uint16{1, 1}, Exchanges: b.Exchanges[:1]}
		s.shelf.put(b2)
		s.f.Offer([]*acquisition.Block{b2})
		synctest.Wait()
		if n := s.server.Seen().Lines; n != 10 {
			t.Errorf("%d lines left at once, want the ten old ones: the second batch is neither full nor old", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.server.Seen().Lines; n != 11 {
			t.Errorf("%d lines after a second, want 11", n)
		}
		s.seq["flow"] = 2
		for range 5 { // 5 blocks of 10 scans of 2 channels: full
			s.record("flow")
		}
		synctest.Wait()
		if n := s.server.Seen().Requests; n != 3 {
			t.Errorf("%d requests, want the five blocks in one", n)
		}
	})
}

func TestForwarderContinuesWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(30, "flow")
		s.stop()
		before := s.server.Seen().Lines
		s.run(30, "flow") // nobody forwards
		s.start()
		s.settle(5 * time.Second)
		s.complete()
		if n := s.server.Seen(); n.Lines-before != 300 || n.Repeats != 0 {
			t.Errorf("%d lines after the restart, %d repeats; want 300 new ones", n.Lines-before, n.Repeats)
		}
	})
}

func TestForwarderEmptiesAtTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(5, "flow")
		s.record("late")
		s.commit("never offered")
		begin := time.Now()
		s.stop()
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("the stop took %v", d)
		}
		s.complete()
		if st := s.stats(); st.Waiting != 0 {
			t.Errorf("%d scans were left at the stop", st.Waiting)
		}
	})
}

func TestForwarderStopsInTimeWhenTheSinkHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.server.Always(influxtest.Fault{Delay: time.Hour})
		s.run(5, "flow")
		begin := time.Now()
		s.stop()
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("the stop took %v, want 3 s", d)
		}
		s.server.Heal()
		s.start()
		s.settle(10 * time.Second)
		s.complete()
	})
}

func TestForwarderSkipsBlocksTheStoreHasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.stop()
		s.run(20, "flow")
		s.shelf.lose("rig/flow", 7)
		s.start()
		st := s.settle(10 * time.Second)
		if st.Counts.Lost != 1 || st.Delivered != 190 {
			t.Errorf("lost %d, delivered %d; want 1 and 190", st.Counts.Lost, st.Delivered)
		}
		s.complete()
	})
}

func TestSeqSet(t *testing.T) {
	var s storage.SeqSet
	model := map[uint64]bool{}
	check := func() {
		t.Helper()
		for i := range uint64(40) {
			if s.Has(i) != model[i] {
				t.Fatalf("Has(%d) = %v in %v", i, s.Has(i), s)
			}
		}
		for i, r := range s {
			if r.Empty() || i > 0 && s[i-1].To >= r.From {
				t.Fatalf("not in normal form: %v", s)
			}
		}
	}
	x := uint64(1)
	for i := range 4000 {
		x = x*6364136223846793005 + 1442695040888963407
		r := storage.Seqs{From: x >> 40 % 36, To: x>>40%36 + x>>50%5}
		add := i%3 != 0
		if add {
			s.Add(r)
		} else {
			s.Remove(r)
		}
		for n := r.From; n < r.To; n++ {
			model[n] = add
		}
		check()
		missing, ok := s.Missing(storage.Seqs{From: 5, To: 30})
		first := uint64(5)
		for first < 30 && model[first] {
			first++
		}
		end := first
		for end < 30 && !model[end] {
			end++
		}
		if ok != (first < 30) || ok && missing != (storage.Seqs{From: first, To: end}) {
			t.Fatalf("Missing = %v, %v in %v, want [%d, %d)", missing, ok, s, first, end)
		}
	}
}
