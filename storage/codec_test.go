package storage_test

import (
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/storagetest"
)

var update = flag.Bool("update", false, "write the golden data directory anew")

// odd returns blocks with everything that a block can hold.
func odd(r *rand.Rand, scans int) []*acquisition.Block {
	g := &acquisition.Group{Rig: "r", Name: "odd", Words: r.IntN(5), Numbers: r.IntN(4), Exchanges: r.IntN(3)}
	for range 1 + r.IntN(4) {
		g.Channels = append(g.Channels, acquisition.Channel{})
	}
	var out []*acquisition.Block
	for i := range 1 + r.IntN(4) {
		b := &acquisition.Block{Group: g, Seq: 7 + uint64(i), Epoch: 99, Backfill: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			b.Arrivals = []int64{}
		}
		if r.IntN(2) == 0 {
			b.Quality = []acquisition.Quality{}
		}
		n := r.IntN(scans + 1)
		for range n {
			b.Slots = append(b.Slots, r.Uint64())
			b.Times = append(b.Times, int64(r.Uint64()))
			if b.Arrivals != nil {
				b.Arrivals = append(b.Arrivals, int64(r.Uint64()))
			}
			for range g.Words {
				b.Words = append(b.Words, uint16(r.Uint32()))
			}
			for range g.Numbers {
				b.Numbers = append(b.Numbers, []float64{r.NormFloat64(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 5e-324, math.MaxFloat64}[r.IntN(6)])
			}
			for range g.Exchanges {
				b.Exchanges = append(b.Exchanges, acquisition.Exchange{Offset: int64(r.Uint64()), HalfWidth: int64(r.Uint32())})
			}
			for range g.Channels {
				if b.Quality != nil {
					b.Quality = append(b.Quality, acquisition.Quality(r.IntN(3)*20))
				}
			}
		}
		for range r.IntN(3) {
			from := r.Uint64() >> 1
			b.Gaps = append(b.Gaps, acquisition.Gap{From: from, To: from + 1 + uint64(r.IntN(1000)), Reason: acquisition.Reason(r.IntN(44))})
		}
		for range r.IntN(3) {
			b.Marks = append(b.Marks, []byte("mark")[:1+r.IntN(3)])
		}
		out = append(out, b)
	}
	return out
}

func TestCodecIsLossless(t *testing.T) {
	for seed := range 400 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		blocks := odd(r, 40)
		got, _, err := storage.Transcode(blocks, 1+r.IntN(6))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range got {
			d := cmp.Diff(blocks[i], &got[i], cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(acquisition.Block{}), cmp.Comparer(func(a, b float64) bool {
				return math.Float64bits(a) == math.Float64bits(b)
			}))
			if d != "" {
				t.Fatalf("seed %d block %d: %s", seed, i, d)
			}
			if (blocks[i].Quality == nil) != (got[i].Quality == nil) && blocks[i].Len() > 0 {
				t.Fatalf("seed %d: quality nil is not kept", seed)
			}
		}
	}
}

// NaN has many bit patterns; all are kept.
func TestF022NaNIsKeptBitForBit(t *testing.T) {
	g := &acquisition.Group{Rig: "r", Name: "n", Numbers: 1, Channels: make([]acquisition.Channel, 1)}
	b := &acquisition.Block{Group: g, Slots: []uint64{1, 2}, Times: []int64{1, 2}, Numbers: []float64{math.Float64frombits(0x7ff8dead00000001), math.NaN()}}
	got, _, err := storage.Transcode([]*acquisition.Block{b}, 1)
	if err != nil || math.Float64bits(got[0].Numbers[0]) != 0x7ff8dead00000001 {
		t.Fatal(got, err)
	}
}

func FuzzChunk(f *testing.F) {
	g := &acquisition.Group{Rig: "r", Name: "g", Words: 3, Numbers: 2, Exchanges: 1, Channels: make([]acquisition.Channel, 3)}
	b := &acquisition.Block{Group: g, Seq: 1}
	for i := range 20 {
		b.Slots, b.Times = append(b.Slots, uint64(i)), append(b.Times, int64(i)*1000)
		b.Words = append(b.Words, uint16(i), 7, uint16(3*i))
		b.Numbers = append(b.Numbers, float64(i), 1.5)
		b.Exchanges = append(b.Exchanges, acquisition.Exchange{HalfWidth: int64(i)})
		b.Quality = append(b.Quality, 0, acquisition.Quality(i%2), 0)
	}
	for _, stripe := range []int{1, 2, 3} {
		p, err := storage.EncodePayload([]*acquisition.Block{b}, stripe)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint32(1), uint32(20), p)
	}
	f.Fuzz(func(_ *testing.T, blocks, scans uint32, payload []byte) {
		_ = storage.DecodePayload(g, blocks%100, scans%100_000, payload) // an error or blocks, never a panic
	})
}

// written returns the bytes of a segment file.
func written(tb testing.TB, c *clock) (*storagetest.Disk, []byte) {
	tb.Helper()
	disk := storagetest.New()
	s, err := storage.Open(tb.Context(), storage.Options{FS: disk, Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	g := pressures()
	o, err := s.OpenEpoch(tb.Context(), g, 0, slotAt(g, start))
	if err != nil {
		tb.Fatal(err)
	}
	for slot := range uint64(5) {
		o.Append(scan(g, slotAt(g, start)+slot))
		if err := s.Commit(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	return disk, disk.Bytes("raw-0000000001.pns")
}

// Any bytes are sorted into frames and damage, with nothing left over.
func FuzzScan(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "format-1", "raw-0000000003.pns"))
	if err != nil {
		f.Fatal(err)
	}
	// Short ones: shortening what was found takes most of the time.
	f.Add(b[:1200])
	f.Add(b[len(b)-700:])
	f.Add([]byte("PNEUSEG\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frames, damaged, err := storage.ScanBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		if frames+damaged != int64(len(data)) {
			t.Fatalf("%d bytes of frames and %d of damage in a file of %d", frames, damaged, len(data))
		}
	})
}

// A file with random damage never keeps the store from opening, and what is
// read is never another value.
func TestF073Garbage(t *testing.T) {
	c := &clock{start}
	disk, b := written(t, c)
	g := pressures()
	n := 200
	if testing.Short() {
		n = 40
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 73))
		data := append([]byte(nil), b...)
		for range 1 + r.IntN(4) {
			switch at := r.IntN(len(data)); r.IntN(4) {
			case 0:
				data = data[:at]
			case 1:
				data = append(data[:at:at], append(make([]byte, r.IntN(300)), data[at:]...)...)
			case 2:
				clear(data[at:min(len(data), at+512)])
			case 3:
				data[at] = byte(r.Uint32())
			}
			if len(data) == 0 {
				break
			}
		}
		image := disk.Clone()
		image.SetBytes("raw-0000000001.pns", data)
		s, err := storage.Open(t.Context(), storage.Options{FS: image, Now: c.now})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for b, err := range s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for i, slot := range b.Slots {
				if w := scan(g, slot); b.Times[i] != w.Time || cmp.Diff(b.ScanWords(i), w.Words) != "" {
					t.Fatalf("seed %d: slot %d is falsified", seed, slot)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The data directory of the first release opens, and has what it had.
func TestF093GoldenDirectory(t *testing.T) {
	golden := filepath.Join("testdata", "format-1")
	g, b := pressures(), bursts()
	const seconds = 12
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(golden, 0o750); err != nil {
			t.Fatal(err)
		}
		c := &clock{start}
		s := open(t, golden, c)
		opens, next := begin(t, s, g, b)
		record(t, s, c, opens, next, seconds/2)
		s.Rotate()
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := s.StartRecording(t.Context(), acquisition.Recording{ID: "golden", Rig: g.Rig, Groups: []string{g.Name}})
		if err != nil {
			t.Fatal(err)
		}
		record(t, s, c, opens, next, seconds/2)
		if _, err := s.StopRecording(t.Context(), r.ID, 0, "completed"); err != nil {
			t.Fatal(err)
		}
		s.AddEvent(acquisition.Event{Time: c.t, Rig: g.Rig, Code: "bus_up", Detail: "field"})
		right := pressures()
		right.Channels[0].Decoding.Scale = 1
		if _, err := s.Amend(t.Context(), storage.Amendment{Group: g.Key(), Seqs: storage.Seqs{From: 1, To: 3}, Who: "Li", Why: "scale"}, right); err != nil {
			t.Fatal(err)
		}
		if err := s.SetDelivered(t.Context(), "influx", map[acquisition.GroupKey]storage.SeqSet{g.Key(): {{From: 1, To: 9}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseEpoch(t.Context(), opens[0], next[0], acquisition.ReasonStopped); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil { // the other group is open, as after a crash
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	c := &clock{start + int64(time.Hour)}
	for _, lose := range []string{"", "catalog.db"} {
		if lose != "" {
			if err := os.Remove(filepath.Join(dir, lose)); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir, c)
		first := slotAt(g, start)
		if gaps := verify(t, s, g.Key(), first, first+10*seconds); len(gaps) != 0 {
			t.Fatal(gaps)
		}
		first = slotAt(b, start)
		verify(t, s, b.Key(), first, first+10*seconds)
		if r, err := s.Recording("golden"); err != nil || r.End != "completed" {
			t.Fatal(r, err)
		}
		if a := s.Amendments(g.Key()); len(a) != 1 || a[0].Version != 2 {
			t.Fatal(a)
		}
		if ev, err := s.Events(t.Context(), storage.EventQuery{Code: "bus_up"}); err != nil || len(ev) != 1 {
			t.Fatal(ev, err)
		}
		set, err := s.Delivered(t.Context(), "influx", g.Key())
		if err != nil || lose == "" && set.Count() != 8 {
			t.Fatal(set, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
