package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ncruces/go-sqlite3"

	"pneudaq/acquisition"
)

// When and how raw files are compacted.
const (
	chunkBytes   = 512 << 10 // of words and numbers in a chunk of a sealed file, about
	chunkScans   = 1 << 16
	chunkBlocks  = 1 << 13
	rawFiles     = 8              // so many raw files are worth a compaction
	rawAge       = 24 * time.Hour // or one that is so old
	flushPeriod  = 10 * time.Second
	dropPeriod   = time.Minute
	writeBuffer  = 1 << 20
	compactLimit = 4 // raw files of full size in one compaction
)

// background compacts, drops and brings the catalog up to date.
func (s *Store) background(ctx context.Context) {
	flush := time.NewTicker(flushPeriod)
	defer flush.Stop()
	drop := time.NewTicker(dropPeriod)
	defer drop.Stop()
	failed := false
	note := func(err error) {
		if err == nil || ctx.Err() != nil {
			failed = failed && err != nil
			return
		}
		if !failed {
			s.log.Warn("store cannot be tidied now; it is tried again", slog.String("error", err.Error()))
		}
		failed = true
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.compact:
		case <-flush.C:
			note(s.flush(ctx))
			s.watchSpace()
		case <-drop.C:
			note(s.Drop(ctx))
		}
		if s.worthCompacting() {
			note(s.Compact(ctx))
		}
	}
}

// watchSpace says when the disk gets full: at 20, 10 and 5 % left.
func (s *Store) watchSpace() {
	if s.lock == nil {
		return
	}
	free, total, ok := diskSpace(s.o.Dir)
	if !ok || total == 0 {
		return
	}
	level := 0
	for i, percent := range []int64{20, 10, 5} {
		if free*100 < total*percent {
			level = i + 1
		}
	}
	if level > s.spaceLevel {
		detail := fmt.Sprintf("%d %% of the disk of the store are left (%d MB)", free*100/total, free>>20)
		s.log.Warn("disk of the store gets full", slog.Int64("free_percent", free*100/total), slog.Int64("free_bytes", free),
			slog.String("do", "free space, or state days or size under store in the rig file"))
		s.AddEvent(acquisition.Event{Time: s.o.Now(), Code: "disk_space", Detail: detail})
	}
	s.spaceLevel = level
}

// raws returns the raw files that are complete, oldest first.
func (s *Store) raws() []*file {
	var out []*file
	for _, f := range s.files {
		if !f.sealed {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *file) int { return cmp.Compare(a.id, b.id) })
	return out
}

func (s *Store) worthCompacting() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	bytes, n := int64(0), 0
	now := s.o.Now()
	for _, f := range s.raws() {
		if f.last != 0 && now-f.last > int64(rawAge) {
			return true
		}
		bytes += f.length()
		n++
	}
	return bytes >= s.o.SegmentSize/2 || n >= rawFiles
}

// Compact writes the raw files that are complete anew: sealed files with large
// chunks for each group and overview rows. Then the index switches, and then
// the raw files go, each when nobody reads it any more. A crash at any point
// leaves every block readable: a sealed file names what it stands for, and a
// block that is there twice counts once.
func (s *Store) Compact(ctx context.Context) error {
	s.tidy <- struct{}{}
	defer func() { <-s.tidy }()
	for {
		s.mu.RLock()
		sources := s.raws()
		s.mu.RUnlock()
		if len(sources) == 0 {
			return nil
		}
		bytes := int64(0)
		for i, f := range sources {
			if bytes += f.length(); bytes > compactLimit*s.o.SegmentSize && i > 0 {
				sources = sources[:i]
				break
			}
		}
		if err := s.compactFiles(ctx, sources); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
	}
}

// sealing is one sealed file while it is written.
type sealing struct {
	s       *Store
	f       File
	name    string
	file    *file
	head    head
	buf     []byte
	off     int64 // of the start of buf
	known   map[uint64]bool
	chunks  []foundChunk
	groups  map[acquisition.GroupKey]bool
	entries []entry
	rows    []overviewEntry
}

func (s *Store) newSealing(kept bool) (*sealing, error) {
	s.acquire() // for the number
	id := s.nextID
	s.nextID++
	<-s.writer
	w := &sealing{
		s: s, name: fileName(tempPrefix, id), known: map[uint64]bool{}, groups: map[acquisition.GroupKey]bool{},
		file: &file{fs: s.fs, name: fileName(sealedPrefix, id), id: id, sealed: true, kept: kept},
		head: head{Format: formatVersion, File: id, Created: s.o.Now(), Boot: s.o.BootID, Kept: kept},
	}
	f, err := s.fs.Open(w.name, ModeCreate)
	if err != nil {
		return nil, fmt.Errorf("create file: %w", err)
	}
	w.f = f
	return w, nil
}

func (w *sealing) begin(replaces, with []uint64) error {
	w.head.Replaces, w.head.With = replaces, with
	w.buf = appendPrologue(w.buf)
	w.s.acquire() // the head says what waits for a commit
	defer func() { <-w.s.writer }()
	var err error
	w.buf, err = w.s.appendHead(w.buf, w.head)
	return err
}

// discard gives an unfinished file up.
func (w *sealing) discard() {
	if w == nil || w.f == nil {
		return
	}
	_ = w.f.Close()
	_ = w.s.fs.Remove(w.name)
	w.f = nil
}

func (w *sealing) write(force bool) error { //nolint:revive // force is what the last write needs
	if len(w.buf) < writeBuffer && !force {
		return nil
	}
	if _, err := w.f.WriteAt(w.buf, w.off); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// introduce adds the descriptor of a group version if the file does not have it.
func (w *sealing) introduce(g *acquisition.Group) (uint64, error) {
	w.s.mu.RLock()
	id := w.s.ids[g]
	w.s.mu.RUnlock()
	if w.known[id] {
		return id, nil
	}
	w.known[id] = true
	text, err := json.Marshal(g)
	if err != nil {
		return id, fmt.Errorf("describe group %s: %w", g.Key(), err)
	}
	w.buf = appendPlain(w.buf, header{kind: kindGroup, group: id}, w.s.tidyEnc.z.EncodeAll(text, nil))
	return id, nil
}

// chunk writes blocks as one chunk.
func (w *sealing) chunk(blocks []*acquisition.Block) error {
	g := blocks[0].Group
	id, err := w.introduce(g)
	if err != nil {
		return err
	}
	key := g.Key()
	h := blockHeader(id, blocks, func(e acquisition.EpochID, slot uint64) (int64, bool) { return w.s.due(key, e, slot) }, 0)
	if h.from == 0 && h.to == 0 {
		h.from, h.to = w.file.last, w.file.last
	}
	off := w.off + int64(len(w.buf))
	at := len(w.buf)
	stripe := 1
	if h.scans < 256 {
		stripe = max(1, g.Words, g.Numbers)
	}
	w.buf, err = appendFrame(w.buf, h, func(dst []byte) ([]byte, error) { return w.s.tidyEnc.append(dst, blocks, stripe) })
	if err != nil {
		return err
	}
	h.length = uint32(len(w.buf) - at - headerSize)
	w.groups[key] = true
	w.chunks = append(w.chunks, foundChunk{h, off})
	w.entries = append(w.entries, entryOf(&h, g, w.file, off))
	w.file.span(h.from, h.to)
	return w.write(false)
}

// finish makes the file durable under its temporary name.
func (w *sealing) finish() error {
	if err := w.write(true); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.name, err)
	}
	w.file.size = w.off
	err := w.f.Close()
	w.f = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", w.name, err)
	}
	return nil
}

// compactFiles replaces raw files by one sealed file, or by two if samples of
// recordings are to stay longer than others.
func (s *Store) compactFiles(ctx context.Context, sources []*file) error {
	isSource := map[*file]bool{}
	var ids []uint64
	for _, f := range sources {
		isSource[f] = true
		ids = append(ids, f.id)
	}
	outs := make([]*sealing, 1, 2)
	defer func() {
		for _, w := range outs {
			w.discard()
		}
	}()
	var err error
	if outs[0], err = s.newSealing(false); err != nil {
		return err
	}
	if s.o.Retention.Keep != KeepAlways {
		kept, err := s.newSealing(true)
		if err != nil {
			return err
		}
		outs = append(outs, kept)
	}
	var with []uint64
	for _, w := range outs {
		with = append(with, w.file.id)
	}
	for _, w := range outs {
		if err := w.begin(ids, with); err != nil {
			return err
		}
	}
	damaged := map[*file]bool{}
	for _, f := range sources {
		if err := s.copyNotes(f, outs[0], damaged); err != nil {
			return err
		}
	}
	s.mu.RLock()
	keys := slices.Clone(s.keys)
	s.mu.RUnlock()
	for _, key := range keys {
		if err := s.compactGroup(ctx, key, isSource, outs, damaged); err != nil {
			return err
		}
	}
	for _, w := range outs {
		if err := w.finish(); err != nil {
			return err
		}
	}
	for _, w := range outs {
		if err := s.fs.Rename(w.name, w.file.name); err != nil {
			return fmt.Errorf("rename %s: %w", w.name, err)
		}
	}
	s.switchTo(outs, isSource)
	// With an index in the catalog a start does not read the file, so what else
	// it holds must be in the catalog too.
	if err = s.flush(ctx); err == nil {
		err = s.cat.change(ctx, func() error { return s.putSealed(outs) })
	}
	if err != nil {
		// The next start reads the files themselves.
		s.log.Warn("index of a sealed file is not in the catalog", slog.String("error", err.Error()))
	}
	s.discardSources(sources, damaged)
	return nil
}

func (s *Store) putSealed(outs []*sealing) error {
	for _, w := range outs {
		for id := range w.known {
			s.mu.RLock()
			g := s.descriptors[id]
			s.mu.RUnlock()
			if g == nil {
				continue
			}
			if err := s.cat.putDescriptor(g); err != nil {
				return err
			}
		}
		if err := s.cat.putFile(w.file, &w.head, w.chunks); err != nil {
			return err
		}
	}
	return nil
}

// discardSources removes raw files that were compacted. One with damage is kept
// under another name, as evidence.
func (s *Store) discardSources(sources []*file, damaged map[*file]bool) {
	for _, f := range sources {
		var err error
		if damaged[f] {
			err = s.fs.Rename(f.name, damagedName+f.name)
		} else {
			err = f.drop()
		}
		if err != nil {
			s.log.Warn("a compacted file stays until the next start", slog.String("file", f.name), slog.String("error", err.Error()))
		}
	}
}

// copyNotes copies the descriptors, epochs, events and amendments of a raw file.
func (s *Store) copyNotes(f *file, w *sealing, damaged map[*file]bool) error {
	if err := f.pin(); err != nil {
		return err
	}
	defer func() { _ = f.release() }()
	bad, _, err := scanFrames(f.handle(), prologueSize, f.length(), func(_ int64, h *header, payload []byte) error {
		switch h.kind {
		case kindEpoch, kindEvent, kindAmendment:
			w.buf = appendPlain(w.buf, *h, payload)
			return w.write(false)
		case kindGroup: // also of amendments, which no block names
			if !w.known[h.group] {
				w.known[h.group] = true
				w.buf = appendPlain(w.buf, *h, payload)
			}
		case kindHead, kindBlocks, kindOverview, kindNotice:
		}
		return nil
	})
	if len(bad) > 0 {
		damaged[f] = true
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	return nil
}

// compactGroup writes the blocks of one group from raw files as large chunks.
func (s *Store) compactGroup(ctx context.Context, key acquisition.GroupKey, isSource map[*file]bool, outs []*sealing, damaged map[*file]bool) error {
	s.mu.RLock()
	var chunks []entry
	for _, e := range s.groups[key].entries {
		if isSource[e.file] {
			chunks = append(chunks, e)
		}
	}
	kept := s.intervals(key)
	s.mu.RUnlock()
	if len(chunks) == 0 {
		return nil
	}
	pins := map[*file]bool{}
	for i := range chunks {
		if f := chunks[i].file; !pins[f] {
			if err := f.pin(); err != nil {
				return err
			}
			pins[f] = true
		}
	}
	defer func() {
		for f := range pins {
			_ = f.release()
		}
	}()
	g := &gathering{s: s, outs: outs, key: key}
	var buf []byte
	for i := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &chunks[i]
		blocks, b, err := s.readChunk(e, buf)
		buf = b
		if err != nil {
			if _, ok := errors.AsType[*damagedError](err); !ok {
				return err // a disk that does not answer now may answer later
			}
			damaged[e.file] = true
		}
		for k := range blocks {
			b := &blocks[k]
			to := 0
			if len(outs) > 1 && overlaps(kept, e.from, e.to) {
				to = 1
			}
			if err := g.add(b, to); err != nil {
				return err
			}
		}
	}
	return g.flush()
}

// gathering collects blocks of one group until they are a chunk.
type gathering struct {
	s       *Store
	outs    []*sealing
	key     acquisition.GroupKey
	to      int
	blocks  []*acquisition.Block
	scans   int
	bytes   int
	summary *summary
}

func (g *gathering) add(b *acquisition.Block, to int) error {
	if n := len(g.blocks); n > 0 {
		last := g.blocks[n-1]
		if g.to != to || last.Seq+1 != b.Seq || last.Group != b.Group || last.Epoch != b.Epoch || last.Backfill != b.Backfill ||
			g.scans+b.Len() > chunkScans || g.bytes >= chunkBytes || n >= chunkBlocks {
			if err := g.chunk(); err != nil {
				return err
			}
		}
	}
	g.to = to
	g.blocks = append(g.blocks, b)
	g.scans += b.Len()
	g.bytes += 2*len(b.Words) + 8*len(b.Numbers)
	return g.summarise(b)
}

func (g *gathering) chunk() error {
	if len(g.blocks) == 0 {
		return nil
	}
	err := g.outs[g.to].chunk(g.blocks)
	g.blocks, g.scans, g.bytes = g.blocks[:0], 0, 0
	return err
}

func (g *gathering) flush() error {
	if err := g.chunk(); err != nil {
		return err
	}
	return g.endSummary()
}

// switchTo makes readers use the sealed files from now on.
func (s *Store) switchTo(outs []*sealing, isSource map[*file]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.keys {
		st := s.groups[key]
		var fresh []entry
		for _, w := range outs {
			for _, e := range w.entries {
				if e.g.Key() == key {
					fresh = append(fresh, e)
				}
			}
		}
		if len(fresh) == 0 {
			continue
		}
		for _, e := range st.entries {
			if !isSource[e.file] {
				fresh = append(fresh, e)
			}
		}
		slices.SortFunc(fresh, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
		st.entries = fresh
	}
	s.files = slices.DeleteFunc(s.files, func(f *file) bool { return isSource[f] })
	for _, w := range outs {
		w.file.rows = w.rows
		s.files = append(s.files, w.file)
		s.stats.compacted += uint64(w.file.size)
	}
	s.stats.compactions++
}

// putFile keeps the index of a sealed file, so that a start needs not read it.
func (c *catalog) putFile(f *file, h *head, chunks []foundChunk) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	body := []byte{1}
	body = binary.AppendUvarint(body, uint64(len(text)))
	body = append(body, text...)
	for _, x := range chunks {
		body = binary.LittleEndian.AppendUint64(body, uint64(x.off))
		at := len(body)
		body = append(body, make([]byte, headerSize)...)
		x.h.put(body[at:])
	}
	for _, r := range f.rows {
		h := header{kind: kindOverview, group: r.group, seq: r.seq, blocks: r.blocks, from: r.from, to: r.to, length: r.length}
		body = binary.LittleEndian.AppendUint64(body, uint64(r.off))
		at := len(body)
		body = append(body, make([]byte, headerSize)...)
		h.put(body[at:])
	}
	return c.exec(`insert or replace into file (name, size, body) values (?, ?, ?)`, f.name, f.size, c.z.EncodeAll(body, nil))
}

// loadSealed takes the index of a sealed file from the catalog, else from the
// file itself.
func (s *Store) loadSealed(ctx context.Context, e Entry) *loaded {
	var body []byte
	err := s.cat.do(ctx, func() error {
		return s.cat.query(`select body from file where name=? and size=?`, []any{e.Name, e.Size}, func(st *sqlite3.Stmt) error {
			body = slices.Clone(st.ColumnRawBlob(0))
			return nil
		})
	})
	if err == nil && body != nil {
		if l := s.indexed(e, body); l != nil && s.described(l) {
			return l
		}
	}
	l := s.load(e)
	if l != nil {
		l.file.sealed, l.read = true, true
	}
	return l
}

// described reports whether the descriptors of all chunks are known.
func (s *Store) described(l *loaded) bool {
	for i := range l.chunks {
		if s.descriptors[l.chunks[i].h.group] == nil {
			return false
		}
	}
	return true
}

func (s *Store) indexed(e Entry, body []byte) *loaded {
	body, err := s.z.DecodeAll(body, nil)
	if err != nil || len(body) == 0 || body[0] != 1 {
		return nil
	}
	r := reader{b: body[1:]}
	text := r.bytes(r.count(len(body)))
	var h head
	if r.bad || json.Unmarshal(text, &h) != nil || len(r.b)%(8+headerSize) != 0 {
		return nil
	}
	_, id, _ := parseName(e.Name)
	l := &loaded{head: &h, file: &file{fs: s.fs, name: e.Name, id: id, size: e.Size, sealed: true, kept: h.Kept}}
	for len(r.b) > 0 {
		off := int64(binary.LittleEndian.Uint64(r.bytes(8)))
		var x header
		if !x.get(r.bytes(headerSize)) {
			return nil
		}
		switch x.kind {
		case kindBlocks:
			l.chunks = append(l.chunks, foundChunk{x, off})
		case kindOverview:
			l.file.rows = append(l.file.rows, overviewEntry{group: x.group, off: off, length: x.length, from: x.from, to: x.to, seq: x.seq, blocks: x.blocks})
		case kindHead, kindGroup, kindEpoch, kindEvent, kindNotice, kindAmendment:
		}
	}
	return l
}
