package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// Retention says what the store keeps. It drops whole files, never what a sink
// still needs or an open recording uses.
type Retention struct {
	Keep Keep
	Days int   // older files are dropped; 0: never for their age
	Size int64 // bytes; the oldest files are dropped beyond it; 0: no bound
	// Outside is how long samples outside recordings stay when Keep does not
	// keep them, default 24 h: a recording may be declared afterwards.
	Outside time.Duration
}

// Keep says which samples are kept until Days or Size drop them.
type Keep uint8

// The values of keep in a rig file.
const (
	KeepAlways           Keep = iota // everything
	KeepDuringRecordings             // outside recordings nothing
	KeepTrendOutside                 // outside recordings the overview rows
)

func keepNames() []string { return []string{"always", "during_recordings", "trend"} }

// ParseKeep returns the value with the given name in a rig file.
func ParseKeep(name string) (Keep, error) {
	for i, n := range keepNames() {
		if n == name || name == "" {
			return Keep(i), nil
		}
	}
	return 0, fmt.Errorf("keep %q is not one of %v", name, keepNames())
}

// String returns the name in a rig file.
func (k Keep) String() string {
	if n := keepNames(); int(k) < len(n) {
		return n[k]
	}
	return fmt.Sprintf("keep(%d)", uint8(k))
}

func (r *Retention) check() error {
	if r.Days < 0 || r.Size < 0 || r.Outside < 0 || int(r.Keep) >= len(keepNames()) {
		return fmt.Errorf("retention keep=%s days=%d size=%d: none of them may be negative", r.Keep, r.Days, r.Size)
	}
	if r.Outside == 0 {
		r.Outside = 24 * time.Hour
	}
	return nil
}

// interval is a stretch of time, Unix ns, both ends included.
type interval struct{ from, to int64 }

func overlaps(list []interval, from, to int64) bool {
	for _, x := range list {
		if x.from <= to && from <= x.to {
			return true
		}
	}
	return false
}

// intervals returns the recordings that a group is part of. The caller holds mu.
func (s *Store) intervals(key acquisition.GroupKey) []interval {
	var out []interval
	for _, r := range s.recorded {
		stop := r.Stop
		if stop == 0 {
			stop = math.MaxInt64
		}
		if len(r.Groups) == 0 && strings.HasPrefix(string(key), r.Rig+"/") {
			out = append(out, interval{r.Start, stop})
			continue
		}
		for _, g := range r.Groups {
			if r.Rig+"/"+g == string(key) || g == string(key) {
				out = append(out, interval{r.Start, stop})
			}
		}
	}
	return out
}

// Drop drops the files that the retention does not keep.
func (s *Store) Drop(ctx context.Context) error {
	r := s.o.Retention
	if r.Keep == KeepAlways && r.Days == 0 && r.Size == 0 {
		return nil
	}
	s.tidy <- struct{}{}
	defer func() { <-s.tidy }()
	now := s.o.Now()
	s.mu.RLock()
	var sealed []*file
	total := int64(0)
	for _, f := range s.files {
		total += f.length()
		if f.sealed {
			sealed = append(sealed, f)
		}
	}
	if s.activeFile != nil {
		total += s.activeFile.length()
	}
	s.mu.RUnlock()
	slices.SortFunc(sealed, func(a, b *file) int { return cmp.Compare(a.last, b.last) })
	for _, f := range sealed {
		old := r.Days > 0 && f.last < now-int64(r.Days)*int64(24*time.Hour)
		big := r.Size > 0 && total > r.Size
		outside := r.Keep != KeepAlways && !f.kept && !f.trend && f.last < now-int64(r.Outside)
		empty := f.kept && f.last == 0
		if !old && !big && !outside && !empty {
			continue
		}
		if outside && !old && !big && s.recordedFile(f, nil) {
			continue
		}
		if !empty && s.needed(f) {
			continue
		}
		total -= f.length()
		if outside && !old && !big && r.Keep == KeepTrendOutside && len(f.rows) > 0 {
			if err := s.keepTrend(f); err != nil {
				return fmt.Errorf("keep the trend of %s: %w", f.name, err)
			}
		}
		if err := s.dropFile(ctx, f); err != nil {
			return fmt.Errorf("drop %s: %w", f.name, err)
		}
	}
	return nil
}

// recordedFile reports whether a recording that passes the test (nil: any) lies
// within the times of a file.
func (s *Store) recordedFile(f *file, test func(acquisition.Recording) bool) bool {
	s.mu.RLock()
	list := make([]acquisition.Recording, 0, len(s.recorded))
	for _, r := range s.recorded {
		list = append(list, r)
	}
	s.mu.RUnlock()
	for _, r := range list {
		stop := r.Stop
		if stop == 0 {
			stop = math.MaxInt64
		}
		if r.Start <= f.last && f.first <= stop && (test == nil || test(r)) {
			return true
		}
	}
	return false
}

// needed reports whether an open recording, one that is not archived yet, or a
// sink still needs a file.
func (s *Store) needed(f *file) bool {
	inUse := func(r acquisition.Recording) bool {
		return r.Stop == 0 || s.o.Needed != nil && s.o.Needed(r)
	}
	if s.recordedFile(f, inUse) {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key, st := range s.groups {
		for i := range st.entries {
			e := &st.entries[i]
			if e.file != f {
				continue
			}
			for _, sink := range s.o.Sinks {
				if _, missing := s.delivered[sinkGroup{sink, key}].Missing(Seqs{From: e.seq, To: e.end()}); missing {
					return true
				}
			}
		}
	}
	return false
}

// dropFile first notes what will be gone, then lets it go: a crash in between
// leaves a file whose blocks are not missed later.
func (s *Store) dropFile(ctx context.Context, f *file) error {
	s.mu.Lock()
	sets := map[acquisition.GroupKey]SeqSet{}
	for key, st := range s.groups {
		for i := range st.entries {
			if e := &st.entries[i]; e.file == f {
				set, ok := sets[key]
				if !ok {
					set = slices.Clone(st.dropped)
				}
				set.Add(Seqs{From: e.seq, To: e.end()})
				sets[key] = set
			}
		}
	}
	var places []groupRecord
	for key, set := range sets {
		st := s.groups[key]
		r := groupRecord{Key: key, Next: st.next, LastSlot: st.lastSlot, LastTime: st.lastTime, Dropped: set}
		if st.current != nil {
			r.Version = st.current.Version
		}
		places = append(places, r)
	}
	s.mu.Unlock()
	var lines []copied
	for _, r := range places {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("note: %w", err)
		}
		lines = append(lines, copied{Kind: "dropped", Key: string(r.Key), Body: text})
	}
	err := s.record(ctx, func() error {
		for _, l := range lines {
			if err := s.cat.exec(`insert or replace into dropped (grp, body) values (?, ?)`, l.Key, []byte(l.Body)); err != nil {
				return err
			}
		}
		return s.cat.exec(`delete from file where name=?`, f.name)
	}, lines...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for key, set := range sets {
		st := s.groups[key]
		st.dropped = set
		st.entries = slices.DeleteFunc(slices.Clone(st.entries), func(e entry) bool { return e.file == f })
	}
	s.files = slices.DeleteFunc(s.files, func(x *file) bool { return x == f })
	s.stats.dropped += uint64(f.length())
	s.mu.Unlock()
	return f.drop()
}

// keepTrend copies the overview rows of a file to a file of their own.
func (s *Store) keepTrend(f *file) error {
	w, err := s.newSealing(false)
	if err != nil {
		return err
	}
	defer w.discard()
	w.head.Trend, w.file.trend = true, true
	if err := w.begin(nil, nil); err != nil {
		return err
	}
	if err := f.pin(); err != nil {
		return err
	}
	defer func() { _ = f.release() }()
	for _, r := range f.rows {
		payload, _, err := readFrame(f, r.off, r.length, nil)
		if err != nil {
			continue // damaged rows end with their samples
		}
		s.mu.RLock()
		g := s.descriptors[r.group]
		s.mu.RUnlock()
		if g == nil {
			continue
		}
		if _, err := w.introduce(g); err != nil {
			return err
		}
		n := r
		n.off = w.off + int64(len(w.buf))
		w.buf = appendPlain(w.buf, header{kind: kindOverview, group: r.group, seq: r.seq, blocks: r.blocks, from: r.from, to: r.to}, payload)
		w.rows = append(w.rows, n)
		w.file.span(r.from, r.to)
		if err := w.write(false); err != nil {
			return err
		}
	}
	w.file.rows = w.rows
	if err := w.finish(); err != nil {
		return err
	}
	if err := s.fs.Rename(w.name, w.file.name); err != nil {
		return fmt.Errorf("rename %s: %w", w.name, err)
	}
	s.mu.Lock()
	s.files = append(s.files, w.file)
	s.mu.Unlock()
	return nil
}
