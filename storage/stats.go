package storage

import (
	"math/bits"
	"slices"

	"pneudaq/acquisition"
)

// ageBuckets are powers of two of 0.5 ms: up to 0.5 ms, 1 ms ... over 16 s.
const ageBuckets = 17

// Histogram counts durations in buckets: bucket i is up to 0.5 ms·2^i, the last
// one has no upper bound.
type Histogram struct {
	Counts [ageBuckets]uint64 `json:"counts"`
	Sum    int64              `json:"sum"` // ns
	Max    int64              `json:"max"` // ns
}

// Bound returns the upper bound of bucket i in ns, 0 for the last.
func (h Histogram) Bound(i int) int64 {
	if i >= ageBuckets-1 {
		return 0
	}
	return 500_000 << i
}

// Count returns how many durations were counted.
func (h Histogram) Count() uint64 {
	n := uint64(0)
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns an upper bound of the given share (0 to 1) of the
// durations, ns.
func (h Histogram) Quantile(share float64) int64 {
	want := uint64(share * float64(h.Count()))
	n := uint64(0)
	for i, c := range h.Counts {
		n += c
		if n >= want && n > 0 {
			if b := h.Bound(i); b != 0 {
				return min(b, h.Max)
			}
			return h.Max
		}
	}
	return h.Max
}

func (h *Histogram) add(d int64) {
	d = max(d, 0)
	i := bits.Len64(uint64(d) / 500_000)
	if d > 0 && d%500_000 == 0 && bits.OnesCount64(uint64(d)/500_000) == 1 {
		i-- // the bound itself belongs to the bucket
	}
	h.Counts[min(i, ageBuckets-1)]++
	h.Sum += d
	h.Max = max(h.Max, d)
}

// counters are guarded by the store's mu, failedSyncs by its writer.
type counters struct {
	scans, values, blocks, commits, bytes uint64
	failedSyncs                           uint64
	commitTime, ages                      Histogram
	compactions, compacted                uint64
	dropped                               uint64
}

// age counts how old each scan of a block was when it became durable.
func (c *counters) age(b *acquisition.Block, now int64) {
	if b.Backfill {
		return
	}
	for i, t := range b.Times {
		if b.Arrivals != nil {
			t = b.Arrivals[i]
		}
		c.ages.add(now - t)
	}
}

func (c *counters) commit(took int64, bytes int) {
	c.commits++
	c.bytes += uint64(bytes)
	c.commitTime.add(took)
}

// Stats is what a person or a graph wants to know of the store.
type Stats struct {
	Dir         string    `json:"dir"`
	Segments    int       `json:"segments"` // files with samples
	Sealed      int       `json:"sealed"`   // of these, compacted
	Bytes       int64     `json:"bytes"`    // of all files with samples
	Chunks      int       `json:"chunks"`
	Free        int64     `json:"free"`      // bytes of the disk, -1: not known
	DaysLeft    float64   `json:"days_left"` // until the disk is full at the rate since the start, -1: not known
	Scans       uint64    `json:"scans"`     // committed since the start
	Values      uint64    `json:"values"`
	Blocks      uint64    `json:"blocks"`
	Commits     uint64    `json:"commits"`
	Written     uint64    `json:"written"` // bytes of commits
	FailedSyncs uint64    `json:"failed_syncs"`
	Shed        uint64    `json:"shed"`    // scans refused for lack of memory
	Waiting     int       `json:"waiting"` // bytes taken and not yet durable
	Problem     string    `json:"problem,omitempty"`
	Commit      Histogram `json:"commit"` // duration of commits
	Age         Histogram `json:"age"`    // of scans when they became durable
	Compactions uint64    `json:"compactions"`
	Compacted   uint64    `json:"compacted"` // bytes written by them
	Dropped     uint64    `json:"dropped"`   // bytes dropped by retention
}

// Stats returns what is known now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := &s.stats
	out := Stats{
		Dir: s.o.Dir, Scans: c.scans, Values: c.values, Blocks: c.blocks, Commits: c.commits, Written: c.bytes,
		FailedSyncs: c.failedSyncs, Commit: c.commitTime, Age: c.ages, Free: -1, DaysLeft: -1,
		Compactions: c.compactions, Compacted: c.compacted, Dropped: c.dropped,
	}
	files := slices.Clone(s.files)
	if a := s.activeFile; a != nil {
		files = append(files, a)
	}
	for _, f := range files {
		out.Segments++
		if f.sealed {
			out.Sealed++
		}
		out.Bytes += f.length()
	}
	for _, st := range s.groups {
		out.Chunks += len(st.entries)
	}
	for _, o := range s.opens {
		out.Shed += o.Shed()
	}
	if s.held != nil {
		out.Problem = s.held.Error()
	}
	if free, _, ok := diskSpace(s.o.Dir); ok && s.lock != nil {
		out.Free = free
		// Sealed files are smaller than what was written, so this errs on the safe side.
		if took := s.o.Now() - s.started; took > 0 && c.bytes > 0 {
			perDay := float64(c.bytes) / float64(took) * 86400e9
			out.DaysLeft = float64(free) / perDay
		}
	}
	return out
}
