package storage_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/storagetest"
)

// device is a poll of 125 registers of 16 bits at 100 Hz: slow signals with
// three to four bits of noise, as analogue inputs give.
func device(name string) *acquisition.Group {
	g := &acquisition.Group{Rig: "bench", Name: name, Measurement: "pneumatics", Period: 10 * time.Millisecond, Words: 125, Exchanges: 1}
	for i := range 125 {
		n := fmt.Sprintf("ch%03d", i)
		g.Channels = append(g.Channels, acquisition.Channel{ID: n, Name: n, Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeUint16, Scale: 0.01}})
	}
	return g
}

// signals fills scans like device's.
type signals struct {
	r *rand.Rand
	s *acquisition.Scan
	g *acquisition.Group
}

func newSignals(g *acquisition.Group) *signals {
	return &signals{r: rand.New(rand.NewPCG(1, 2)), s: acquisition.NewScan(g), g: g}
}

func (x *signals) at(slot uint64) *acquisition.Scan {
	x.s.Slot, x.s.Time = slot, x.g.Due(0, slot)+int64(x.r.IntN(200_000))
	base := math.Sin(float64(slot) / 700)
	for i := range x.s.Words {
		x.s.Words[i] = uint16(20000 + 100*i + int(float64(40*i)*base) + x.r.IntN(12))
	}
	x.s.Exchanges[0].HalfWidth = 300_000 + int64(x.r.IntN(30_000))
	return x.s
}

// BenchmarkCommit appends and commits a second of a device: encode, write, sync.
func BenchmarkCommit(b *testing.B) {
	for _, disk := range []string{"memory", "disk"} {
		b.Run(disk, func(b *testing.B) {
			c := &clock{start}
			o := storage.Options{Dir: b.TempDir(), Now: c.now, MemoryLimit: 64 << 20}
			if disk == "memory" {
				o.FS = storagetest.New()
			}
			s, err := storage.Open(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			g := device("d")
			first := slotAt(g, start)
			open, err := s.OpenEpoch(b.Context(), g, 0, first)
			if err != nil {
				b.Fatal(err)
			}
			x := newSignals(g)
			b.ReportAllocs()
			cpu := cpuTime()
			values := 0
			var appending time.Duration
			for b.Loop() {
				began := time.Now()
				for range 100 {
					if r := open.Append(x.at(first)); r != acquisition.ReasonNone {
						b.Fatal(r)
					}
					first++
				}
				appending += time.Since(began) // the signals cost more than the store
				values += 100 * 125
				if err := s.Commit(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			used := cpuTime() - cpu - appending
			b.ReportMetric(used.Seconds()*1e6/float64(values), "cpu-s/Mvalue")
			b.ReportMetric(float64(s.Stats().Written)/float64(values), "B/value")
		})
	}
}

// BenchmarkReplay reads a sealed store block by block, as a forwarder does.
func BenchmarkReplay(b *testing.B) {
	for _, kind := range []string{"raw", "sealed"} {
		b.Run(kind, func(b *testing.B) {
			dir, c := b.TempDir(), &clock{start}
			s, err := storage.Open(b.Context(), storage.Options{Dir: dir, Now: c.now, MemoryLimit: 64 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			g := device("d")
			first := slotAt(g, start)
			open, err := s.OpenEpoch(b.Context(), g, 0, first)
			if err != nil {
				b.Fatal(err)
			}
			x := newSignals(g)
			const scans = 20_000
			for i := range scans {
				open.Append(x.at(first + uint64(i)))
				if i%100 == 99 {
					if err := s.Commit(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			s.Rotate()
			if kind == "sealed" {
				if err := s.Compact(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.Stats().Bytes)/(scans*125), "B/value")
			b.ReportAllocs()
			sum, cpu, values := uint64(0), cpuTime(), 0
			for b.Loop() {
				for block, err := range s.Blocks(b.Context(), storage.Query{Group: g.Key()}) {
					if err != nil {
						b.Fatal(err)
					}
					sum += uint64(block.Words[0])
					values += len(block.Words)
				}
			}
			b.ReportMetric(float64(values)/(cpuTime()-cpu).Seconds()/1e6, "Mvalues/cpu-s")
		})
	}
}

// BenchmarkOneChannel reads one of 125 channels of a sealed store.
func BenchmarkOneChannel(b *testing.B) {
	c := &clock{start}
	s, err := storage.Open(b.Context(), storage.Options{Dir: b.TempDir(), Now: c.now, MemoryLimit: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	g := device("d")
	first := slotAt(g, start)
	open, err := s.OpenEpoch(b.Context(), g, 0, first)
	if err != nil {
		b.Fatal(err)
	}
	x := newSignals(g)
	for i := range 20_000 {
		open.Append(x.at(first + uint64(i)))
		if i%100 == 99 {
			if err := s.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	s.Rotate()
	if err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		out, err := s.Overview(b.Context(), storage.OverviewQuery{Group: g.Key(), Channels: []string{"ch007"}, From: start, To: start + 200*second})
		if err != nil || len(out[0].Rows) != 20_000 {
			b.Fatal(err, len(out[0].Rows))
		}
	}
}

// The store's claims on size, speed and memory, with room for slow machines.
func TestClaims(t *testing.T) {
	c := &clock{start}
	s, err := storage.Open(t.Context(), storage.Options{FS: storagetest.New(), Now: c.now, MemoryLimit: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	g := device("d")
	first := slotAt(g, start)
	open, err := s.OpenEpoch(t.Context(), g, 0, first)
	if err != nil {
		t.Fatal(err)
	}
	x := newSignals(g)
	next := first
	second := func() {
		for range 100 {
			if r := open.Append(x.at(next)); r != acquisition.ReasonNone {
				t.Fatal(r)
			}
			next++
		}
	}
	for range 20 { // the buffers have their size
		second()
		commit(t, s)
	}
	// Memory of a buffered value: a minute of it.
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 60 {
		second()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perValue := float64(after.HeapAlloc-before.HeapAlloc) / (60 * 100 * 125)
	t.Logf("memory of a buffered value: %.2f bytes", perValue)
	if perValue > 12 {
		t.Errorf("a buffered value takes %.1f bytes of memory", perValue)
	}
	commit(t, s)
	if size := float64(s.Stats().Written) / float64(s.Stats().Values); size > 4 {
		t.Errorf("a stored value takes %.2f bytes", size)
	} else {
		t.Logf("stored size of a value: %.2f bytes", size)
	}
	// Allocations of a commit do not depend on the number of samples.
	few := testing.AllocsPerRun(20, func() {
		open.Append(x.at(next))
		next++
		commit(t, s)
	})
	many := testing.AllocsPerRun(20, func() { second(); commit(t, s) })
	t.Logf("allocations of a commit: %.0f with 125 values, %.0f with 12 500", few, many)
	if many > few+20 {
		t.Errorf("a commit of 100 scans allocates %.0f times, of one %.0f", many, few)
	}
}

// 50 channels at 10 Hz in 3 groups with default settings: what the process
// writes, from the kernel's count, in a shortened day.
func TestWriteLoad(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the bytes that a process writes are counted by Linux only")
	}
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	var opens []*acquisition.Open
	var xs []*signals
	for i, n := range []int{20, 20, 10} {
		g := device(fmt.Sprintf("g%d", i))
		g.Period, g.Words, g.Channels = 100*time.Millisecond, n, g.Channels[:n]
		o, err := s.OpenEpoch(t.Context(), g, 0, slotAt(g, start))
		if err != nil {
			t.Fatal(err)
		}
		opens, xs = append(opens, o), append(xs, newSignals(o.Group()))
	}
	before := writeBytes(t)
	slot := slotAt(opens[0].Group(), start)
	const seconds = 600
	set := storage.SeqSet{}
	for n := range seconds {
		for range 10 {
			for i, o := range opens {
				o.Append(xs[i].at(slot))
			}
			slot++
		}
		c.t += second
		commit(t, s)
		if n%10 == 9 { // a forwarder saves its positions
			set.Add(storage.Seqs{From: 1, To: uint64(n)})
			for _, o := range opens {
				if err := s.SetDelivered(t.Context(), "influx", map[acquisition.GroupKey]storage.SeqSet{o.Group().Key(): set}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	s.Rotate()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	perDay := float64(writeBytes(t)-before) / seconds * 86400 / 1e9
	t.Logf("%.2f GB a day", perDay)
	if perDay > 3 {
		t.Errorf("%.2f GB a day are written", perDay)
	}
	if perDay == 0 {
		t.Skipf("the file system of %s does not count what is written", filepath.Clean(dir))
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
}
