package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"sort"
	"time"

	"pneudaq/acquisition"
)

// Query says which blocks of a group are wanted. Zero bounds do not bound. A
// block is given whole when any of it lies within.
type Query struct {
	Group   acquisition.GroupKey
	From    int64  // Unix ns, included
	To      int64  // Unix ns, not included
	FromSeq uint64 // included
	ToSeq   uint64 // not included
	// Hole asks for one more block at the end, without a number, whose gap is
	// the slots that are due until To (now, if that is earlier) after the
	// newest epoch has ended. The next start of the group makes it durable.
	Hole bool
}

// snapshot returns the chunks of a query and keeps their files open.
func (s *Store) snapshot(q Query) ([]entry, func(), error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, nil, errClosed
	}
	st := s.groups[q.Group]
	if st == nil {
		return nil, func() {}, nil
	}
	all := st.entries
	if q.FromSeq > 0 {
		all = all[sort.Search(len(all), func(i int) bool { return all[i].end() > q.FromSeq }):]
	}
	if q.ToSeq > 0 {
		all = all[:sort.Search(len(all), func(i int) bool { return all[i].seq >= q.ToSeq })]
	}
	if q.From != 0 || q.To != 0 {
		var some []entry
		for i := range all {
			if (q.To == 0 || all[i].from < q.To) && (q.From == 0 || all[i].to >= q.From) {
				some = append(some, all[i])
			}
		}
		all = some
	}
	files := map[*file]bool{}
	for i := range all {
		files[all[i].file] = true
	}
	var pinned []*file
	release := func() {
		for _, f := range pinned {
			_ = f.release()
		}
	}
	for f := range files {
		if err := f.pin(); err != nil {
			// The blocks of a file that cannot be opened become gaps below.
			continue
		}
		pinned = append(pinned, f)
	}
	return all, release, nil
}

// Blocks yields the blocks of a query in the order of their numbers, committed
// ones only, from the state at the call. A damaged chunk gives blocks without
// scans whose gap says so; an error ends the sequence. The blocks are the
// caller's to keep but not to change.
func (s *Store) Blocks(ctx context.Context, q Query) iter.Seq2[*acquisition.Block, error] {
	return s.blocks(ctx, q, false)
}

// readPatience is how long a sink waits for a block that the disk does not give
// back: a disk may answer again. Then the block counts as a gap.
const readPatience = int64(5 * time.Minute)

// blocks is Blocks. With patience a disk that does not answer ends the sequence
// with an error, for as long as it may yet answer.
func (s *Store) blocks(ctx context.Context, q Query, patience bool) iter.Seq2[*acquisition.Block, error] { //nolint:revive // the difference is one line
	return func(yield func(*acquisition.Block, error) bool) {
		chunks, release, err := s.snapshot(q)
		if err != nil {
			yield(nil, fmt.Errorf("read group %s: %w", q.Group, err))
			return
		}
		defer release()
		var buf []byte
		for i := range chunks {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			e := &chunks[i]
			var blocks []acquisition.Block
			blocks, buf, err = s.readChunk(e, buf) // what is unreadable has become gaps
			if patience && s.mayComeBack(e, err) {
				yield(nil, fmt.Errorf("read group %s: %w", q.Group, err))
				return
			}
			for k := range blocks {
				b := &blocks[k]
				if q.FromSeq > 0 && b.Seq < q.FromSeq || q.ToSeq > 0 && b.Seq >= q.ToSeq {
					continue
				}
				if !s.touches(b, e, len(blocks), q) {
					continue
				}
				s.amendedGroup(b)
				if !yield(b, nil) {
					return
				}
			}
		}
		if q.Hole {
			if b := s.openHole(q); b != nil {
				yield(b, nil)
			}
		}
	}
}

// touches reports whether any of a block lies within the times of a query.
func (s *Store) touches(b *acquisition.Block, e *entry, blocks int, q Query) bool {
	if q.From == 0 && q.To == 0 || blocks == 1 {
		return true // the chunk was chosen by its times
	}
	in := func(from, to int64) bool { return (q.To == 0 || from < q.To) && (q.From == 0 || to >= q.From) }
	if n := b.Len(); n > 0 && in(b.Times[0], b.Times[n-1]) {
		return true
	}
	for _, x := range b.Gaps {
		from, ok := s.due(b.Group.Key(), b.Epoch, x.From)
		to, _ := s.due(b.Group.Key(), b.Epoch, x.To-1)
		if !ok {
			from, to = e.from, e.to
		}
		if in(from, to) {
			return true
		}
	}
	return false
}

// readChunk reads the blocks of a chunk; what cannot be read comes back as
// blocks with a gap.
func (s *Store) readChunk(e *entry, buf []byte) ([]acquisition.Block, []byte, error) {
	payload, buf, err := readFrame(e.file, e.off, e.length, buf)
	if err == nil {
		h := e.header(0)
		var blocks []acquisition.Block
		blocks, err = decodeChunk(s.z, e.g, &h, payload)
		if err == nil {
			return blocks, buf, nil
		}
		err = &damagedError{file: e.file.name, off: e.off, err: err}
	}
	reason := acquisition.ReasonIO
	if _, ok := errors.AsType[*damagedError](err); ok {
		reason = acquisition.ReasonCorrupt
	}
	s.unreadable(e, err)
	blocks := make([]acquisition.Block, e.blocks)
	for i := range blocks {
		blocks[i] = acquisition.Block{Group: e.g, Seq: e.seq + uint64(i), Epoch: e.epoch}
	}
	if e.slotFrom < e.slotTo {
		blocks[0].Gaps = []acquisition.Gap{{From: e.slotFrom, To: e.slotTo, Reason: reason}}
	}
	return blocks, buf, err
}

// mayComeBack reports whether a chunk could not be read for a reason that may
// pass: the disk gave an error, and not for long yet.
func (s *Store) mayComeBack(e *entry, err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*damagedError](err); ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := place{e.file.name, e.off}
	since, known := s.unread[k]
	if !known {
		since = s.o.Now()
		s.unread[k] = since
	}
	return s.o.Now()-since < readPatience
}

// damagedError says that bytes of a file are not what was written.
type damagedError struct {
	file string
	off  int64
	err  error
}

func (e *damagedError) Error() string { return fmt.Sprintf("%s at %d: %s", e.file, e.off, e.err) }
func (e *damagedError) Unwrap() error { return e.err }

var errCheck = errors.New("the check sum is wrong")

// readFrame reads the payload of a frame and checks it. The file is pinned.
func readFrame(f *file, off int64, length uint32, buf []byte) (payload, grown []byte, err error) {
	h := f.handle()
	if h == nil {
		return nil, buf, fmt.Errorf("read %s: it cannot be opened", f.name)
	}
	n := headerSize + int(length)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if m, err := h.ReadAt(buf, off); m < n {
		if errors.Is(err, io.EOF) {
			return nil, buf, &damagedError{f.name, off, err}
		}
		return nil, buf, fmt.Errorf("read %s at %d: %w", f.name, off, err)
	}
	var got header
	if !got.get(buf) || got.length != length || crc32.Checksum(buf[headerSize:], castagnoli()) != got.payload {
		return nil, buf, &damagedError{f.name, off, errCheck}
	}
	return buf[headerSize:], buf, nil
}

// openHole returns the slots that are due since the newest epoch has ended.
func (s *Store) openHole(q Query) *acquisition.Block {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[q.Group]
	if st == nil || len(st.epochs) == 0 || !st.scheduled() {
		return nil
	}
	e := st.epochs[len(st.epochs)-1]
	if e.Closed == 0 || e.Period <= 0 {
		return nil
	}
	to := s.o.Now()
	if q.To != 0 {
		to = min(to, q.To)
	}
	x := acquisition.Gap{From: max(st.cover, e.Next), To: grid(&e).First(to), Reason: e.End}
	if x.From >= x.To {
		return nil
	}
	return &acquisition.Block{Group: st.current, Epoch: e.ID, Gaps: []acquisition.Gap{x}}
}

// Feed yields the blocks of a range of numbers in order; lost numbers are left
// out. It is what forwarders read: a disk that does not answer ends the sequence
// with an error, so that a sink is not told of a gap that there is not.
func (s *Store) Feed(ctx context.Context, key acquisition.GroupKey, r Seqs) iter.Seq2[*acquisition.Block, error] {
	if r.Empty() {
		return func(func(*acquisition.Block, error) bool) {}
	}
	return s.blocks(ctx, Query{Group: key, FromSeq: r.From, ToSeq: r.To}, true)
}

// Held returns the oldest number of a group that the store still has and the
// number after the newest that is durable.
func (s *Store) Held(key acquisition.GroupKey) Seqs {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[key]
	if st == nil || len(st.entries) == 0 {
		return Seqs{}
	}
	return Seqs{From: st.entries[0].seq, To: st.entries[len(st.entries)-1].end()}
}

// Scans counts the scans of a range of blocks without reading them, where the
// range does not begin or end inside a chunk.
func (s *Store) Scans(key acquisition.GroupKey, r Seqs) uint64 {
	if r.Empty() {
		return 0
	}
	s.mu.RLock()
	st := s.groups[key]
	if st == nil {
		s.mu.RUnlock()
		return 0
	}
	all := st.entries
	s.mu.RUnlock()
	n := uint64(0)
	i := sort.Search(len(all), func(i int) bool { return all[i].end() > r.From })
	for ; i < len(all) && all[i].seq < r.To; i++ {
		e := &all[i]
		if e.seq >= r.From && e.end() <= r.To {
			n += uint64(e.scans)
			continue
		}
		n += s.partScans(e, r)
	}
	return n
}

// partScans counts the scans of some blocks of a chunk.
func (s *Store) partScans(e *entry, r Seqs) uint64 {
	if err := e.file.pin(); err != nil {
		return 0
	}
	defer func() { _ = e.file.release() }()
	payload, _, err := readFrame(e.file, e.off, e.length, nil)
	if err != nil {
		return 0
	}
	c := chunk{z: s.z, g: e.g}
	if c.open(payload) != nil || c.meta(int(e.blocks), int(e.scans)) != nil {
		return 0
	}
	n := uint64(0)
	for i := range c.blocks {
		if seq := e.seq + uint64(i); seq >= r.From && seq < r.To {
			n += uint64(c.blocks[i].Len())
		}
	}
	return n
}

// Marks returns the marks of redelivered messages that were committed last for
// the groups of a rig, oldest first.
func (s *Store) Marks(rig string) [][]byte {
	s.mu.RLock()
	var chunks []entry
	for _, key := range s.keys {
		st := s.groups[key]
		if st.current == nil || st.current.Rig != rig || st.current.Words > 0 && st.current.Numbers == 0 {
			continue
		}
		// A broker redelivers what was not acknowledged: the last seconds.
		const recent = 64
		chunks = append(chunks, st.entries[max(0, len(st.entries)-recent):]...)
	}
	s.mu.RUnlock()
	slices.SortStableFunc(chunks, func(a, b entry) int {
		switch {
		case a.to < b.to:
			return -1
		case a.to > b.to:
			return 1
		}
		return 0
	})
	var out [][]byte
	for i := range chunks {
		e := &chunks[i]
		if e.file.pin() != nil {
			continue
		}
		payload, _, err := readFrame(e.file, e.off, e.length, nil)
		_ = e.file.release()
		c := chunk{z: s.z, g: e.g}
		if err != nil || c.open(payload) != nil || c.meta(int(e.blocks), int(e.scans)) != nil {
			continue
		}
		for k := range c.blocks {
			out = append(out, c.blocks[k].Marks...)
		}
	}
	return out
}

// Between yields the blocks of a group that may have a scan in [from, to), Unix
// ns, in the order of their numbers.
func (s *Store) Between(ctx context.Context, key acquisition.GroupKey, from, to int64) iter.Seq2[*acquisition.Block, error] {
	return s.Blocks(ctx, Query{Group: key, From: from, To: to})
}
