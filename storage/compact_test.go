package storage_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
)

// record stores seconds of both groups in commits of a second.
func record(t *testing.T, s *storage.Store, c *clock, opens []*acquisition.Open, next []uint64, seconds int) {
	t.Helper()
	for range seconds {
		for i, o := range opens {
			n := uint64(10)
			fill(t, o, next[i], next[i]+n)
			next[i] += n
		}
		c.t += second
		commit(t, s)
	}
}

func begin(t *testing.T, s *storage.Store, groups ...*acquisition.Group) (opens []*acquisition.Open, next []uint64) {
	t.Helper()
	for _, g := range groups {
		first := slotAt(g, start)
		o, err := s.OpenEpoch(t.Context(), g, 0, first)
		if err != nil {
			t.Fatal(err)
		}
		opens, next = append(opens, o), append(next, first)
	}
	return opens, next
}

func TestCompactionKeepsEveryBlock(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	g, b := pressures(), bursts()
	opens, next := begin(t, s, g, b)
	first := slices.Clone(next)
	check := func() {
		t.Helper()
		verify(t, s, g.Key(), first[0], next[0])
		verify(t, s, b.Key(), first[1], next[1])
	}
	record(t, s, c, opens, next, 90)
	s.Rotate()
	record(t, s, c, opens, next, 40)
	s.Rotate()
	record(t, s, c, opens, next, 5)
	check()
	before := s.Stats()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := s.Stats()
	if after.Chunks >= before.Chunks/4 || after.Bytes >= before.Bytes || after.Sealed != 1 {
		t.Fatalf("before %+v after %+v", before, after)
	}
	check()
	// Blocks keep their numbers and can be read one by one.
	for _, seq := range []uint64{1, 2, 77, 130, 131} {
		got := blocks(t, s.Feed(t.Context(), g.Key(), storage.Seqs{From: seq, To: seq + 1}))
		if len(got) != 1 || got[0].Seq != seq || got[0].Slots[0] != first[0]+10*(seq-1) {
			t.Fatalf("block %d: %+v", seq, got)
		}
	}
	if n := s.Scans(g.Key(), storage.Seqs{From: 5, To: 133}); n != 1280 {
		t.Fatalf("%d scans", n)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, c)
		check()
	}
	// The index is rebuilt from the files.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, c)
	check()
	if raws, err := filepath.Glob(filepath.Join(dir, "raw-*")); err != nil || len(raws) > 3 {
		t.Fatal(raws, err)
	}
}

// A reader that began before a compaction ends with what it began with.
func TestCompactionUnderAReader(t *testing.T) {
	c := &clock{start}
	s := open(t, t.TempDir(), c)
	g := pressures()
	opens, next := begin(t, s, g)
	record(t, s, c, opens, next, 20)
	s.Rotate()
	n := uint64(0)
	for b, err := range s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; b.Seq != n || b.Gaps != nil {
			t.Fatalf("block %d: %+v", n, b)
		}
		if n == 3 {
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n != 20 {
		t.Fatalf("%d blocks", n)
	}
}

// truth computes overview rows from the samples.
func truth(t *testing.T, s *storage.Store, key acquisition.GroupKey, channel string, from, to, width int64) []storage.Row {
	t.Helper()
	var rows []storage.Row
	for b := range s.Blocks(t.Context(), storage.Query{Group: key}) {
		d, err := acquisition.NewDecoder(b.Group, nil)
		if err != nil {
			t.Fatal(err)
		}
		values, quality := make([]float64, len(b.Group.Channels)), make([]acquisition.Quality, len(b.Group.Channels))
		k := b.Group.Channel(channel)
		for i, at := range b.Times {
			d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
			if at < from || at >= to || quality[k].Class() == acquisition.ClassBad {
				continue
			}
			start := from + (at-from)/width*width
			if n := len(rows); n == 0 || rows[n-1].Time != start {
				rows = append(rows, storage.Row{Time: start, Min: values[k], Max: values[k]})
			}
			r := &rows[len(rows)-1]
			r.Count++
			r.Mean += (values[k] - r.Mean) / float64(r.Count)
			r.Min, r.Max = min(r.Min, values[k]), max(r.Max, values[k])
		}
	}
	return rows
}

func same(t *testing.T, got, want []storage.Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Time != w.Time || g.Count != w.Count || g.Min != w.Min || g.Max != w.Max || math.Abs(g.Mean-w.Mean) > 1e-9*math.Abs(w.Mean) {
			t.Fatalf("row %d: got %+v want %+v", i, g, w)
		}
	}
}

func TestOverview(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	g := pressures()
	opens, next := begin(t, s, g)
	record(t, s, c, opens, next, 600)
	s.Rotate()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	record(t, s, c, opens, next, 60)
	ask := func(from, to int64, points int) []storage.Series {
		t.Helper()
		out, err := s.Overview(t.Context(), storage.OverviewQuery{Group: g.Key(), Channels: []string{"dp", "qm"}, From: from, To: to, MaxPoints: points})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	end := start + 660*second
	for _, points := range []int{11, 5, 100, 3000} {
		for _, r := range [][2]int64{{start, end}, {start + 13*second, end - 70*second}} {
			out := ask(r[0], r[1], points)
			for _, x := range out {
				if x.Width == 0 {
					t.Fatal("no width")
				}
				if points == 11 && r[0] == start || points >= 100 {
					// Rows of minutes fall into the intervals asked for, or samples are read.
					same(t, x.Rows, truth(t, s, g.Key(), x.Channel, r[0], r[1], x.Width))
				}
				if len(x.Rows) > points {
					t.Fatalf("%d rows, at most %d were asked for", len(x.Rows), points)
				}
			}
		}
	}
	// Every sample of a short interval.
	out := ask(start+5*second, start+6*second, 1000)
	same(t, out[0].Rows, truth(t, s, g.Key(), "dp", start+5*second, start+6*second, 1))
	if out[0].Width != 0 || out[0].Unit != "kPa_a" {
		t.Fatalf("%+v", out[0])
	}
	// The rows answer a day's question without the samples: damage those.
	sealed, err := filepath.Glob(filepath.Join(dir, "sealed-*"))
	if err != nil || len(sealed) != 1 {
		t.Fatal(sealed, err)
	}
	want := ask(start, start+600*second, 10)
	f, err := os.OpenFile(sealed[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 100), 6000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for b := range s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
		for _, x := range b.Gaps {
			if x.Reason == acquisition.ReasonCorrupt {
				n += int(x.Count())
			}
		}
	}
	if n == 0 {
		t.Fatal("the damage did not reach a chunk")
	}
	same(t, ask(start, start+600*second, 10)[0].Rows, want[0].Rows)
}

func TestAmendChangesHowWordsAreRead(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	g := pressures()
	opens, next := begin(t, s, g)
	record(t, s, c, opens, next, 100)
	s.Rotate()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	record(t, s, c, opens, next, 100)
	whole := storage.OverviewQuery{Group: g.Key(), Channels: []string{"p1"}, From: start, To: start + 200*second, MaxPoints: 2}
	was, err := s.Overview(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	right := pressures()
	right.Channels[0].Decoding.Scale = 1 // it was read ten times too small
	seqs := s.SeqsBetween(g.Key(), start, start+50*second)
	if seqs != (storage.Seqs{From: 1, To: 51}) {
		t.Fatalf("%+v", seqs)
	}
	if _, err := s.Amend(t.Context(), storage.Amendment{Group: g.Key(), Seqs: seqs}, right); err == nil {
		t.Fatal("without who and why")
	}
	wrong := pressures()
	wrong.Words = 9
	if _, err := s.Amend(t.Context(), storage.Amendment{Group: g.Key(), Seqs: seqs, Who: "Li", Why: "scale"}, wrong); err == nil {
		t.Fatal("a map of another shape")
	}
	a, err := s.Amend(t.Context(), storage.Amendment{Group: g.Key(), Seqs: seqs, Who: "Li", Why: "scale"}, right)
	if err != nil || a.Version != 2 {
		t.Fatal(a, err)
	}
	check := func() {
		t.Helper()
		for b := range s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
			want := uint32(1)
			if b.Seq < 51 {
				want = 2
			}
			if b.Group.Version != want {
				t.Fatalf("block %d is read by version %d", b.Seq, b.Group.Version)
			}
		}
		is, err := s.Overview(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		same(t, is[0].Rows, truth(t, s, g.Key(), "p1", start, start+200*second, is[0].Width))
		if is[0].Rows[0].Max < 2*was[0].Rows[0].Max && was[0].Rows[0].Max > 0 {
			t.Fatalf("the overview is as before: %+v, was %+v", is[0].Rows, was[0].Rows)
		}
		if s.Groups()[0].Version != 1 {
			t.Fatal("an amendment must not become the version in use")
		}
		verify(t, s, g.Key(), slotAt(g, start), next[0])
	}
	check()
	if err := s.CloseEpoch(t.Context(), opens[0], next[0], acquisition.ReasonStopped); err != nil {
		t.Fatal(err)
	}
	for _, lose := range []string{"", "catalog.db", "catalog.jsonl", "both"} {
		t.Logf("lost: %q", lose)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"catalog.db", "catalog.jsonl"} {
			if lose == name || lose == "both" {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		s = open(t, dir, c)
		if got := s.Amendments(g.Key()); len(got) != 1 || got[0] != a {
			t.Fatalf("lost %q: amendments %+v", lose, got)
		}
		check()
		s.Rotate()
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		check()
	}
}

func TestRetention(t *testing.T) {
	const day = 24 * 3600 * second
	for _, x := range []struct {
		name     string
		r        storage.Retention
		sinks    []string
		kept     []int // days that are still there
		trend    []int // days with overview rows only
		recorded bool
	}{
		{name: "all", kept: []int{0, 1, 2, 3}},
		{name: "days", r: storage.Retention{Days: 2}, kept: []int{2, 3}},
		{name: "size", r: storage.Retention{Size: 1}, kept: []int{3}},
		{name: "sink", r: storage.Retention{Days: 2}, sinks: []string{"influx"}, kept: []int{1, 2, 3}},
		{name: "recordings", r: storage.Retention{Keep: storage.KeepDuringRecordings}, recorded: true, kept: []int{1, 3}},
		{name: "trend", r: storage.Retention{Keep: storage.KeepTrendOutside}, recorded: true, kept: []int{1, 3}, trend: []int{0, 2}},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{start}
			options := func(o *storage.Options) { o.Retention, o.Sinks = x.r, x.sinks }
			s := open(t, dir, c, options)
			g := pressures()
			opens, _ := begin(t, s, g)
			for d := range 4 {
				c.t = start + int64(d)*day
				if x.recorded && d == 1 {
					r, err := s.StartRecording(t.Context(), acquisition.Recording{Rig: g.Rig, Groups: []string{g.Name}, Start: c.t})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.StopRecording(t.Context(), r.ID, c.t+60*second, ""); err != nil {
						t.Fatal(err)
					}
				}
				next := []uint64{slotAt(g, c.t)}
				record(t, s, c, opens, next, 60)
				s.Rotate()
				if d == 3 && x.name != "all" {
					break // the newest day is not compacted yet
				}
				if err := s.Compact(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if x.sinks != nil {
				err := s.SetDelivered(t.Context(), "influx", map[acquisition.GroupKey]storage.SeqSet{g.Key(): {{From: 1, To: 100}}})
				if err != nil {
					t.Fatal(err)
				}
			}
			c.t = start + 3*day + 23*3600*second
			check := func() {
				t.Helper()
				for d := range 4 {
					from := start + int64(d)*day
					n := 0
					for b := range s.Between(t.Context(), g.Key(), from, from+day/2) {
						n += b.Len()
					}
					if want := slices.Contains(x.kept, d); want != (n == 600) {
						t.Fatalf("day %d has %d scans", d, n)
					}
					out, err := s.Overview(t.Context(), storage.OverviewQuery{Group: g.Key(), Channels: []string{"p1"}, From: from, To: from + day/2, MaxPoints: 1})
					if err != nil {
						t.Fatal(err)
					}
					if want := slices.Contains(x.kept, d) || slices.Contains(x.trend, d); want != (len(out[0].Rows) == 1 && out[0].Rows[0].Count > 500) {
						t.Fatalf("day %d has rows %+v", d, out[0].Rows)
					}
				}
			}
			if err := s.Drop(t.Context()); err != nil {
				t.Fatal(err)
			}
			check()
			slot, _, _ := s.Last(g.Key())
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, c, options)
			for _, f := range s.Recovery().Findings {
				if f.Code != "crash" {
					t.Fatalf("what was dropped is missed: %+v", f)
				}
			}
			check()
			if again, _, _ := s.Last(g.Key()); again != slot {
				t.Fatalf("last slot %d was %d", again, slot)
			}
		})
	}
}

// Everything may be dropped; numbers and times still go on.
func TestRetentionOfAllKeepsThePlace(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	options := func(o *storage.Options) { o.Retention = storage.Retention{Days: 1} }
	s := open(t, dir, c, options)
	g := pressures()
	opens, next := begin(t, s, g)
	record(t, s, c, opens, next, 10)
	if err := s.CloseEpoch(t.Context(), opens[0], next[0], acquisition.ReasonStopped); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.Rotate()
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.t += 2 * 24 * 3600 * second
		if err := s.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, c, options)
		if slot, at, ok := s.Last(g.Key()); !ok || slot != next[0]-1 || at != scan(g, slot).Time {
			t.Fatal(slot, at, ok)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "sealed-") {
			t.Fatal("nothing was dropped:", n.Name())
		}
	}
	o, err := s.OpenEpoch(t.Context(), g, 0, slotAt(g, c.t))
	if err != nil {
		t.Fatal(err)
	}
	if o.Group().Version != 1 {
		t.Fatal(o.Group().Version)
	}
	fill(t, o, slotAt(g, c.t), slotAt(g, c.t)+1)
	commit(t, s)
	if h := s.Held(g.Key()); h != (storage.Seqs{From: 11, To: 13}) { // the hole, then the scan
		t.Fatalf("%+v", h)
	}
}

func TestKeepNames(t *testing.T) {
	for _, n := range []string{"always", "during_recordings", "trend"} {
		k, err := storage.ParseKeep(n)
		if err != nil || k.String() != n {
			t.Fatal(k, err)
		}
	}
	if _, err := storage.ParseKeep("never"); err == nil || !strings.Contains(fmt.Sprint(err), "always") {
		t.Fatal(err)
	}
	if _, err := storage.Open(t.Context(), storage.Options{Dir: t.TempDir(), Retention: storage.Retention{Days: -1}}); err == nil {
		t.Fatal("negative days")
	}
}

func TestStopOfTheBackground(t *testing.T) {
	c := &clock{start}
	s := open(t, t.TempDir(), c, func(o *storage.Options) { o.SegmentSize, o.Tick = 4096, time.Millisecond })
	g := pressures()
	opens, next := begin(t, s, g)
	first := next[0]
	record(t, s, c, opens, next, 60)
	done := make(chan error)
	ctx, stop := cancelled(t)
	go func() { done <- s.Run(ctx) }()
	for s.Stats().Compactions == 0 {
		fill(t, opens[0], next[0], next[0]+10)
		next[0] += 10
		s.Hurry()
		time.Sleep(2 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	verify(t, s, g.Key(), first, next[0])
}
