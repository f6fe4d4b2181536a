package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"pneudaq/acquisition"
)

// Recovery is what [Open] found and did.
type Recovery struct {
	Files    int       `json:"files"`
	Chunks   int       `json:"chunks"`
	Mount    string    `json:"mount,omitempty"` // file system that does not survive a power cut
	Clean    bool      `json:"clean"`           // the last process closed its epochs
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is one thing that was not as it should be.
type Finding struct {
	Code   string `json:"code"` // stable: torn_tail, damaged_frame, lost_blocks, foreign, newer, unreadable, catalog_rebuilt, catalog_restored, crash
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Detail string `json:"detail"` // for people, English
}

// Recovery returns what [Open] found and did.
func (s *Store) Recovery() Recovery {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.report
	r.Findings = slices.Clone(r.Findings)
	return r
}

func (s *Store) found(x Finding) {
	s.report.Findings = append(s.report.Findings, x)
	s.log.Warn("store is not as it was left", slog.String("code", x.Code), slog.String("file", x.File),
		slog.Int64("offset", x.Offset), slog.Int64("bytes", x.Bytes), slog.String("detail", x.Detail))
}

// loaded is what one file holds.
type loaded struct {
	file       *file
	head       *head
	chunks     []foundChunk
	groups     []*acquisition.Group
	epochs     []acquisition.Epoch
	places     []groupRecord
	events     []acquisition.Event
	amendments []Amendment
	bad        []damage
	good       int64
	read       bool // from the file itself, not from the catalog
}

type foundChunk struct {
	h   header
	off int64
}

// recover builds the index from the files, gives every hole its gap and closes
// what a crash left open.
func (s *Store) recover(ctx context.Context) error {
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	slices.SortFunc(names, func(a, b Entry) int {
		_, x, _ := parseName(a.Name)
		_, y, _ := parseName(b.Name)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	if err := s.openCatalog(ctx, names); err != nil {
		return err
	}
	var raws, sealed []Entry
	for _, e := range names {
		prefix, id, ok := parseName(e.Name)
		if !ok {
			continue
		}
		s.nextID = max(s.nextID, id+1)
		switch prefix {
		case rawPrefix:
			raws = append(raws, e)
			s.newestRaw = max(s.newestRaw, id)
		case sealedPrefix:
			sealed = append(sealed, e)
		case tempPrefix:
			// A copy that was never finished; what it copied is still there.
			if err := s.fs.Remove(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.found(Finding{Code: "unreadable", File: e.Name, Detail: "an unfinished copy cannot be removed: " + err.Error()})
			}
		}
	}
	replaced := map[uint64]bool{}
	var all []*loaded
	for _, e := range sealed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if l := s.loadSealed(ctx, e); l != nil {
			all = append(all, l)
		}
	}
	whole := map[uint64]bool{}
	for _, l := range all {
		whole[l.file.id] = l.head != nil && len(l.bad) == 0
	}
	for _, l := range all {
		if l.head != nil && !slices.ContainsFunc(l.head.With, func(id uint64) bool { return !whole[id] }) {
			for _, id := range l.head.Replaces {
				replaced[id] = true
			}
		}
	}
	for _, e := range raws {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, id, _ := parseName(e.Name)
		if replaced[id] {
			// The sealed copy is whole; a crash came before this one went.
			if err := s.fs.Remove(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.found(Finding{Code: "unreadable", File: e.Name, Detail: "a file that was compacted cannot be removed: " + err.Error()})
			}
			continue
		}
		l := s.load(e)
		if l != nil {
			all = append(all, l)
		}
	}
	if err := s.index(all); err != nil {
		return err
	}
	if err := s.reconcileCatalog(ctx, all); err != nil {
		return err
	}
	note := s.readReserve(names)
	if note != nil {
		s.noticed = note.At // until the gaps are in a segment
	}
	s.makeReserve(names)
	return s.repair(note)
}

// load reads a whole file. It returns nil for what is not ours or not readable.
func (s *Store) load(e Entry) *loaded {
	prefix, id, _ := parseName(e.Name)
	last := prefix == rawPrefix && id == s.newestRaw
	l := &loaded{file: &file{fs: s.fs, name: e.Name, id: id, size: e.Size}}
	f, err := s.fs.Open(e.Name, ModeRead)
	if err != nil {
		s.found(Finding{Code: "unreadable", File: e.Name, Detail: err.Error()})
		return nil
	}
	defer func() { _ = f.Close() }()
	start := make([]byte, min(prologueSize, e.Size))
	if _, err := f.ReadAt(start, 0); err != nil && int64(len(start)) < e.Size {
		s.found(Finding{Code: "unreadable", File: e.Name, Detail: err.Error()})
		return nil
	}
	off := int64(prologueSize)
	nature := prologue(start)
	switch nature {
	case natureNewer:
		s.found(Finding{Code: "newer", File: e.Name, Bytes: e.Size, Detail: "a newer version wrote this file; it is left alone"})
		return nil
	case natureDamaged:
		off = 0
	case natureOurs:
	}
	l.bad, l.good, err = scanFrames(f, off, e.Size, func(off int64, h *header, payload []byte) error {
		s.frame(l, off, h, payload)
		return nil
	})
	if err != nil {
		s.found(Finding{Code: "unreadable", File: e.Name, Offset: l.good, Detail: err.Error()})
	}
	if nature == natureDamaged && l.head == nil && len(l.chunks) == 0 && len(l.epochs) == 0 && len(l.groups) == 0 {
		if e.Size > 0 && !last {
			s.found(Finding{Code: "foreign", File: e.Name, Bytes: e.Size, Detail: "this is not a file of the store; it is left alone"})
			return nil
		}
		if !last {
			return nil
		}
	}
	s.tail(l, e)
	return l
}

// frame sorts one valid frame into what is known of its file.
func (s *Store) frame(l *loaded, off int64, h *header, payload []byte) {
	switch h.kind {
	case kindHead:
		var v head
		if json.Unmarshal(payload, &v) == nil {
			l.head = &v
			l.file.kept, l.file.trend = v.Kept, v.Trend
		}
	case kindGroup:
		text, err := s.z.DecodeAll(payload, nil)
		var g acquisition.Group
		if err == nil && json.Unmarshal(text, &g) == nil {
			l.groups = append(l.groups, &g)
		}
	case kindEpoch:
		var v acquisition.Epoch
		if json.Unmarshal(payload, &v) == nil {
			l.epochs = append(l.epochs, v)
			l.places = append(l.places, groupRecord{Key: v.Group, Next: h.seq})
		}
	case kindEvent:
		var v acquisition.Event
		if json.Unmarshal(payload, &v) == nil {
			l.events = append(l.events, v)
		}
	case kindBlocks:
		l.chunks = append(l.chunks, foundChunk{*h, off})
	case kindOverview:
		l.file.rows = append(l.file.rows, overviewEntry{group: h.group, off: off, length: h.length, from: h.from, to: h.to, seq: h.seq, blocks: h.blocks})
	case kindAmendment:
		var v Amendment
		if json.Unmarshal(payload, &v) == nil {
			l.amendments = append(l.amendments, v)
		}
	case kindNotice:
	}
}

// tail reports damage and cuts the torn end of the newest file: what a commit
// that was never acknowledged left.
func (s *Store) tail(l *loaded, e Entry) {
	prefix, id, _ := parseName(e.Name)
	last := prefix == rawPrefix && id == s.newestRaw
	for _, b := range l.bad {
		torn := b.to == e.Size && b.from == l.good
		if torn && last {
			s.found(Finding{Code: "torn_tail", File: e.Name, Offset: b.from, Bytes: b.to - b.from, Detail: "the end of the last commit is not whole; it was never acknowledged and is cut"})
			s.cut(l, b.from)
			continue
		}
		what := "a frame is damaged"
		if b.head != nil && b.head.kind == kindBlocks {
			what = fmt.Sprintf("a frame is damaged: blocks %d to %d of one group", b.head.seq, b.head.seq+uint64(b.head.blocks)-1)
		}
		s.found(Finding{Code: "damaged_frame", File: e.Name, Offset: b.from, Bytes: b.to - b.from, Detail: what})
	}
}

func (s *Store) cut(l *loaded, at int64) {
	f, err := s.fs.Open(l.file.name, ModeWrite)
	if err == nil {
		err = errors.Join(f.Truncate(at), f.Sync(), f.Close())
	}
	if err != nil {
		s.found(Finding{Code: "unreadable", File: l.file.name, Offset: at, Detail: "the torn end cannot be cut: " + err.Error()})
		return
	}
	l.file.size = at
}

// index merges what the files hold. A number that is there twice counts once:
// a file that was given up after a failed sync may hold what went to the next.
func (s *Store) index(all []*loaded) error {
	for _, l := range all {
		for _, g := range l.groups {
			if _, err := s.adopt(g); err != nil {
				return err
			}
		}
	}
	for _, l := range all {
		if l.head != nil {
			for _, r := range l.head.Groups {
				s.place(r)
			}
		}
		for _, r := range l.places {
			s.place(r)
		}
		for _, e := range l.epochs {
			s.setEpoch(e)
		}
	}
	lists := map[acquisition.GroupKey][]entry{}
	for _, l := range all {
		s.report.Files++
		s.files = append(s.files, l.file)
		for _, c := range l.chunks {
			g := s.descriptors[c.h.group]
			if g == nil {
				s.found(Finding{Code: "damaged_frame", File: l.file.name, Offset: c.off, Bytes: headerSize + int64(c.h.length), Detail: "the descriptor of its group is lost"})
				continue
			}
			s.report.Chunks++
			lists[g.Key()] = append(lists[g.Key()], entryOf(&c.h, g, l.file, c.off))
			l.file.span(c.h.from, c.h.to)
		}
	}
	for key, list := range lists {
		slices.SortStableFunc(list, func(a, b entry) int {
			switch {
			case a.seq < b.seq:
				return -1
			case a.seq > b.seq:
				return 1
			case a.blocks > b.blocks: // the larger chunk first
				return -1
			case a.blocks < b.blocks:
				return 1
			}
			return 0
		})
		st := s.group(key)
		st.entries = make([]entry, 0, len(list))
		for _, e := range list {
			if n := len(st.entries); n > 0 && e.end() <= st.entries[n-1].end() {
				continue
			}
			s.add(e)
		}
	}
	for _, st := range s.groups {
		for _, v := range st.versions {
			st.current = v
		}
		// The newest epoch says which version is in use: amended ones are newer.
		if n := len(st.epochs); n > 0 {
			for _, v := range st.versions {
				if v.Version == st.epochs[n-1].Version {
					st.current = v
				}
			}
		}
	}
	return nil
}

// repair writes what the record lacks: gaps for lost numbers, the end of epochs
// that a crash left open.
func (s *Store) repair(full *notice) error {
	s.report.Clean = true
	now := s.o.Now()
	for _, key := range s.keys {
		st := s.groups[key]
		if st.current == nil {
			continue
		}
		s.pending = append(s.pending, s.lost(st)...)
		for _, e := range st.epochs {
			if e.Closed != 0 {
				continue
			}
			s.report.Clean = false
			e.Closed = max(now, e.Opened)
			e.Next = max(e.First, st.covered(e.ID))
			if to := full.of(key, e.ID); to > e.Next {
				s.pending = append(s.pending, &acquisition.Block{
					Group: s.versionOf(st, e.Version), Seq: st.next, Epoch: e.ID,
					Gaps: []acquisition.Gap{{From: e.Next, To: to, Reason: full.Reason}},
				})
				st.next++
				e.Next = to
			}
			e.End = acquisition.ReasonPower
			if e.Boot == s.o.BootID {
				e.End = acquisition.ReasonProcess
			}
			s.found(Finding{Code: "crash", Detail: fmt.Sprintf("group %s was not closed; from slot %d on its record has a gap with reason %s", key, e.Next, e.End)})
			if err := s.noteEpoch(e); err != nil {
				return err
			}
		}
	}
	if len(s.pending) == 0 && len(s.extra) == 0 {
		return nil
	}
	err := s.commitPending(nil)
	if _, ok := errors.AsType[*heldError](err); ok && diskFull(err) {
		// A full disk must not keep the service from starting: the repair waits
		// in memory and comes first in the next commit.
		return nil
	}
	return err
}

// versionOf returns a version of a group, the newest if it is not known.
func (*Store) versionOf(st *groupState, version uint32) *acquisition.Group {
	for _, v := range st.versions {
		if v.Version == version {
			return v
		}
	}
	return st.current
}

// covered returns the first slot of an epoch without an account.
func (st *groupState) covered(id acquisition.EpochID) uint64 {
	to := uint64(0)
	for i := len(st.entries) - 1; i >= 0; i-- {
		e := &st.entries[i]
		if e.epoch == id && e.flags&flagBackfill == 0 {
			to = max(to, e.slotTo)
		}
	}
	return to
}

// lost returns blocks that stand for numbers which are not there any more.
func (s *Store) lost(st *groupState) []*acquisition.Block {
	var out []*acquisition.Block
	missing := s.missing(st)
	for _, m := range missing {
		gaps := st.bounds(m)
		s.found(Finding{Code: "lost_blocks", Detail: fmt.Sprintf("blocks %d to %d of group %s are lost; their slots are a gap with reason corrupt", m.From, m.To-1, st.key)})
		for seq := m.From; seq < m.To; seq++ {
			b := &acquisition.Block{Group: st.current, Seq: seq}
			if len(gaps) > 0 {
				b.Epoch = gaps[0].epoch
				b.Gaps = []acquisition.Gap{gaps[0].gap}
				gaps = gaps[1:]
			} else if n := len(st.epochs); n > 0 {
				b.Epoch = st.epochs[n-1].ID
			}
			out = append(out, b)
		}
		for _, g := range gaps {
			b := &acquisition.Block{Group: st.current, Seq: st.next, Epoch: g.epoch, Gaps: []acquisition.Gap{g.gap}}
			st.next++
			out = append(out, b)
		}
	}
	return out
}

// missing returns the numbers that no chunk holds and retention did not drop.
func (s *Store) missing(st *groupState) []Seqs {
	var out []Seqs
	at := uint64(1)
	hole := func(to uint64) {
		r := Seqs{From: at, To: to}
		for {
			m, ok := st.dropped.Missing(r)
			if !ok {
				break
			}
			out = append(out, m)
			r.From = m.To
		}
	}
	for i := range st.entries {
		e := &st.entries[i]
		if e.seq > at {
			hole(e.seq)
		}
		at = max(at, e.end())
	}
	if st.next > at {
		hole(st.next)
	}
	return out
}

type epochGap struct {
	epoch acquisition.EpochID
	gap   acquisition.Gap
}

// bounds returns the slots that lie between the neighbours of lost numbers.
func (st *groupState) bounds(m Seqs) []epochGap {
	var before, after *entry
	for i := range st.entries {
		e := &st.entries[i]
		if e.flags&flagBackfill != 0 || e.slotFrom == e.slotTo {
			continue
		}
		if e.seq >= m.From {
			after = e
			break
		}
		before = e
	}
	gap := func(id acquisition.EpochID, from, to uint64) []epochGap {
		if from >= to {
			return nil
		}
		return []epochGap{{id, acquisition.Gap{From: from, To: to, Reason: acquisition.ReasonCorrupt}}}
	}
	// What is not there at an end is bounded by the epoch's own record.
	switch {
	case before == nil && after == nil:
		var out []epochGap
		for _, e := range st.epochs {
			out = append(out, gap(e.ID, e.First, max(e.Next, e.First))...)
		}
		return out
	case before == nil:
		if e := st.epoch(after.epoch); e != nil {
			return gap(e.ID, e.First, after.slotFrom)
		}
		return nil
	case after == nil:
		if e := st.epoch(before.epoch); e != nil && e.Closed != 0 {
			return gap(e.ID, before.slotTo, e.Next)
		}
		return nil
	case before.epoch == after.epoch:
		return gap(before.epoch, before.slotTo, after.slotFrom)
	}
	a, b := st.epoch(before.epoch), st.epoch(after.epoch)
	if a == nil || b == nil {
		return nil
	}
	if a.Period > 0 && st.scheduled() {
		if grid(a) == grid(b) {
			return gap(a.ID, before.slotTo, after.slotFrom)
		}
		return append(gap(a.ID, before.slotTo, grid(a).First(grid(b).Due(b.First))), gap(b.ID, b.First, after.slotFrom)...)
	}
	return append(gap(a.ID, before.slotTo, a.Next), gap(b.ID, b.First, after.slotFrom)...)
}

// insert puts a chunk where its number belongs.
func (st *groupState) insert(e entry) {
	i, _ := slices.BinarySearchFunc(st.entries, e.seq, func(x entry, seq uint64) int {
		switch {
		case x.seq < seq:
			return -1
		case x.seq > seq:
			return 1
		}
		return 0
	})
	list := make([]entry, 0, len(st.entries)+64)
	list = append(list, st.entries[:i]...)
	list = append(list, e)
	st.entries = append(list, st.entries[i:]...)
}

// span widens the bounds of the file's times.
func (f *file) span(from, to int64) {
	if f.first == 0 || from < f.first {
		f.first = from
	}
	f.last = max(f.last, to)
}

// place takes over what was known of a group when a file began or was dropped.
func (s *Store) place(r groupRecord) {
	st := s.group(r.Key)
	st.next = max(st.next, r.Next)
	if r.LastTime > st.lastTime {
		st.lastTime, st.lastSlot = r.LastTime, r.LastSlot
	}
	for _, d := range r.Dropped {
		st.dropped.Add(d)
	}
}
