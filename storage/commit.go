package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"pneudaq/acquisition"
)

// segment is the file that commits go to.
type segment struct {
	file    *file
	size    int64 // committed
	frames  int
	created int64
	known   map[uint64]bool // descriptors that the file has
}

// A segment also ends with so many frames, so that the index of what is not
// compacted stays small, and at such an age, so that slow groups are compacted.
const (
	maxFrames = 16384
	maxOpen   = int64(6 * time.Hour)
)

// heldError says that the disk takes nothing now; what was to be committed
// waits in memory.
type heldError struct{ err error }

func (e *heldError) Error() string { return "commit: " + e.err.Error() }
func (e *heldError) Unwrap() error { return e.err }

// trouble is what the disk does to us at the moment.
type trouble struct {
	err   error
	since int64
	tries int
}

// reason is what a scan that memory cannot take is to be given.
func (t *trouble) reason() acquisition.Reason {
	switch {
	case t.err == nil:
		return acquisition.ReasonBackpressure
	case diskFull(t.err):
		return acquisition.ReasonDiskFull
	}
	return acquisition.ReasonIO
}

// Hurry asks for a commit now.
func (s *Store) Hurry() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// Run is the committer: it takes the open blocks at each tick, numbers them and
// makes them durable with one write and one sync. When ctx ends it takes the
// last blocks, commits and returns. It also compacts in the background and
// drops what the retention says.
func (s *Store) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.background(ctx)
	}()
	defer func() { <-done }()
	timer := time.NewTimer(s.tick())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := s.Commit(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("stop the store: %w", err)
			}
			return nil
		case <-timer.C:
		case <-s.hurry:
			timer.Stop()
		}
		pause := s.tick()
		if err := s.Commit(ctx); err != nil {
			if _, ok := errors.AsType[*heldError](err); !ok && ctx.Err() == nil {
				return err
			}
			pause = max(pause, retryPause/4)
		}
		timer.Reset(pause)
	}
}

func (s *Store) tick() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.recordings > 0 {
		return s.o.RecordingTick
	}
	return s.o.Tick
}

// Commit makes durable what the open blocks hold now. An error says that the
// disk takes nothing; nothing is lost, the next commit tries again.
func (s *Store) Commit(ctx context.Context) error {
	if err := s.acquireContext(ctx); err != nil {
		return err
	}
	defer func() { <-s.writer }()
	if s.isClosed() {
		return errClosed
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.take()
	return s.commitPending(nil)
}

// settle commits what an earlier attempt left. While that does not work,
// nothing more is taken from the open blocks: they fill up to their limit.
func (s *Store) settle() error {
	if len(s.pending) == 0 && len(s.extra) == 0 {
		return nil
	}
	return s.commitPending(nil)
}

// take closes all open blocks and numbers them.
func (s *Store) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.opens {
		for b := o.Take(); b != nil; b = o.Take() {
			st := s.groups[b.Group.Key()]
			b.Seq = st.next
			st.next++
			s.pending = append(s.pending, b)
		}
	}
	for _, e := range s.events {
		text, err := json.Marshal(e)
		if err != nil {
			continue // an event is strings and a number
		}
		s.extra = append(s.extra, note{h: header{kind: kindEvent, from: e.Time, to: e.Time}, payload: text})
	}
	s.events = s.events[:0]
}

// located is a frame of a commit that goes into the index.
type located struct {
	h   header
	off int64 // in the buffer
	b   *acquisition.Block
}

// commitPending writes and syncs everything that waits: one write, one sync.
func (s *Store) commitPending(introduce *acquisition.Group) error {
	if len(s.pending) == 0 && len(s.extra) == 0 && introduce == nil {
		return nil
	}
	start := s.o.Now()
	if a := s.active; a != nil && (a.size >= s.o.SegmentSize || a.frames >= maxFrames || start-a.created > maxOpen) {
		s.rotate()
	}
	buf := s.buf[:0]
	var err error
	if s.active == nil {
		if buf, err = s.begin(buf); err != nil {
			return err
		}
	}
	seg := s.active
	base := seg.size
	introduced := map[uint64]bool{}
	if introduce != nil {
		buf = s.introduce(buf, seg, introduced, introduce)
	}
	var frames []located
	if cap(s.located) > 0 {
		frames = s.located[:0]
	}
	for _, x := range s.extra {
		buf = appendPlain(buf, x.h, x.payload)
	}
	for i, b := range s.pending {
		buf = s.introduce(buf, seg, introduced, b.Group)
		s.mu.RLock()
		id := s.ids[b.Group]
		s.mu.RUnlock()
		one := [1]*acquisition.Block{b}
		key := b.Group.Key()
		h := blockHeader(id, one[:], func(e acquisition.EpochID, slot uint64) (int64, bool) { return s.due(key, e, slot) }, start)
		off := int64(len(buf))
		stripe := max(1, b.Group.Words, b.Group.Numbers)
		buf, err = appendFrame(buf, h, func(dst []byte) ([]byte, error) { return s.enc.append(dst, one[:], stripe) })
		if err != nil {
			// A source that fills scans wrongly must not stop the other groups.
			s.log.Error("block cannot be stored; its slots are a gap", slog.String("group", string(key)), slog.String("error", err.Error()))
			b = unstorable(b)
			s.pending[i], one[0] = b, b
			h = blockHeader(id, one[:], func(e acquisition.EpochID, slot uint64) (int64, bool) { return s.due(key, e, slot) }, start)
			if buf, err = appendFrame(buf, h, func(dst []byte) ([]byte, error) { return s.enc.append(dst, one[:], 1) }); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
		h.length = uint32(int64(len(buf)) - off - headerSize)
		frames = append(frames, located{h: h, off: off, b: b})
	}
	s.buf, s.located = buf, frames
	if err := s.write(seg, buf); err != nil {
		return s.hold(err)
	}
	for id := range introduced {
		seg.known[id] = true
	}
	seg.size = base + int64(len(buf))
	seg.frames += len(frames) + len(s.extra)
	seg.file.grown(seg.size)
	end := s.o.Now()
	s.published(frames, base, start, end, len(buf))
	return nil
}

// unstorable returns a block whose gaps stand for the scans of another. What
// came with it is not acknowledged.
func unstorable(b *acquisition.Block) *acquisition.Block {
	out := &acquisition.Block{Group: b.Group, Seq: b.Seq, Epoch: b.Epoch, Backfill: b.Backfill, Gaps: b.Gaps}
	for _, slot := range b.Slots {
		out.Gaps = append(out.Gaps, acquisition.Gap{From: slot, To: slot + 1, Reason: acquisition.ReasonConfig})
	}
	return out
}

// introduce adds the descriptor of a group if the file does not have it.
func (s *Store) introduce(buf []byte, seg *segment, introduced map[uint64]bool, g *acquisition.Group) []byte {
	s.mu.RLock()
	id := s.ids[g]
	s.mu.RUnlock()
	if seg.known[id] || introduced[id] {
		return buf
	}
	introduced[id] = true
	return appendPlain(buf, header{kind: kindGroup, group: id}, s.describe(g))
}

// describe returns the compressed JSON of a group.
func (s *Store) describe(g *acquisition.Group) []byte {
	text, err := json.Marshal(g)
	if err != nil {
		return nil // it was described before
	}
	return s.enc.z.EncodeAll(text, nil)
}

// write writes and syncs a commit. An error leaves the segment either as it was
// or closed for good.
func (s *Store) write(seg *segment, buf []byte) error {
	f, base := seg.file.handle(), seg.size
	if _, err := f.WriteAt(buf, base); err != nil {
		// What was written is cut again, so that the file ends with its last
		// good frame. If even that is refused the file is left alone: a reader
		// finds the end by the check sums.
		if base == 0 || !diskFull(err) || f.Truncate(base) != nil {
			s.abandon()
		}
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Sync(); err != nil {
		// The system may have thrown the pages away and forgotten the error, so
		// this descriptor is never synced again: what memory still holds goes
		// to a new file.
		s.mu.Lock()
		s.stats.failedSyncs++
		s.mu.Unlock()
		s.abandon()
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// abandon closes the active segment for good.
func (s *Store) abandon() {
	seg := s.active
	s.active = nil
	_ = seg.file.release()
	s.mu.Lock()
	s.activeFile = nil
	s.mu.Unlock()
	if seg.size == 0 {
		// Nothing in it was ever promised.
		_ = s.fs.Remove(seg.file.name)
		return
	}
	s.mu.Lock()
	s.files = append(s.files, seg.file)
	s.mu.Unlock()
}

// rotate ends the active segment; the next commit begins a new one.
func (s *Store) rotate() {
	seg := s.active
	if seg == nil {
		return
	}
	s.active = nil
	_ = seg.file.release()
	s.mu.Lock()
	s.activeFile = nil
	s.files = append(s.files, seg.file)
	s.mu.Unlock()
	s.wakeCompaction()
}

func (s *Store) wakeCompaction() {
	select {
	case s.compact <- struct{}{}:
	default:
	}
}

// hold notes that the disk takes nothing.
func (s *Store) hold(err error) error {
	first := s.trouble.err == nil
	if first {
		s.trouble.since = s.o.Now()
		s.log.Error("store takes nothing", slog.String("error", err.Error()),
			slog.String("do", "samples wait in memory; free space on the disk or repair it"))
	}
	s.trouble.err = err
	s.trouble.tries++
	s.mu.Lock()
	s.held = err
	s.share()
	s.mu.Unlock()
	if diskFull(err) {
		s.useReserve()
	}
	return &heldError{err}
}

// published puts a commit into the index and hands its blocks on.
func (s *Store) published(frames []located, base, start, end int64, bytes int) {
	s.mu.Lock()
	for _, x := range s.extra {
		switch x.h.kind {
		case kindEpoch:
			var e acquisition.Epoch
			if json.Unmarshal(x.payload, &e) == nil {
				s.setEpoch(e)
				s.cat.later(func(c *changes) { c.epochs = append(c.epochs, e) })
			}
		case kindEvent:
			var e acquisition.Event
			if json.Unmarshal(x.payload, &e) == nil {
				s.cat.later(func(c *changes) { c.events = append(c.events, e) })
			}
		case kindHead, kindGroup, kindBlocks, kindOverview, kindAmendment, kindNotice:
		}
	}
	for i := range frames {
		x := &frames[i]
		s.add(entryOf(&x.h, x.b.Group, s.active.file, base+x.off))
		s.active.file.span(x.h.from, x.h.to)
		s.stats.scans += uint64(x.h.scans)
		s.stats.values += uint64(x.h.scans) * uint64(len(x.b.Group.Channels))
		s.stats.age(x.b, end)
	}
	s.stats.blocks += uint64(len(frames))
	s.stats.commit(end-start, bytes)
	if s.trouble.err != nil {
		s.log.Info("store takes samples again", slog.Duration("held", time.Duration(end-s.trouble.since)), slog.Int("attempts", s.trouble.tries))
		s.events = append(s.events, acquisition.Event{
			Time: s.trouble.since, Code: "store_held",
			Detail: "the disk took nothing for " + time.Duration(end-s.trouble.since).Round(time.Millisecond).String() + ": " + s.trouble.err.Error(),
		})
		s.trouble, s.held = trouble{}, nil
		s.share()
	}
	s.mu.Unlock()
	s.clearReserve()
	blocks := s.pending
	s.pending, s.extra = nil, s.extra[:0]
	for _, b := range blocks {
		b.Committed()
	}
	if s.o.Offer != nil && len(blocks) > 0 {
		s.o.Offer(blocks)
	}
}

// add appends a chunk to the index. The caller holds mu or is alone.
func (s *Store) add(e entry) {
	st := s.group(e.g.Key())
	if n := len(st.entries); n > 0 && st.entries[n-1].end() > e.seq {
		st.insert(e)
	} else {
		st.entries = append(st.entries, e)
	}
	st.next = max(st.next, e.end())
	if e.lastTime > st.lastTime {
		st.lastSlot, st.lastTime = e.lastSlot, e.lastTime
	}
	if n := len(st.epochs); n > 0 && e.flags&flagBackfill == 0 {
		if st.epochs[n-1].ID == e.epoch {
			st.cover = max(st.cover, e.slotTo)
		}
	}
}

// Rotate ends the segment that commits go to, so that [Store.Compact] takes it.
func (s *Store) Rotate() {
	s.acquire()
	defer func() { <-s.writer }()
	s.rotate()
}
