package storage

import (
	"encoding/json"
	"errors"
	"log/slog"

	"pneudaq/acquisition"
)

// The reserve is a file whose space was taken while there was some. When the
// disk is full it says so durably: after a crash the slots that could not be
// stored have the right reason. It has two places, written in turns, so that a
// torn write leaves the one before.
const (
	reserveSize   = 64 << 10
	reservePeriod = int64(5e9) // how often the notice is brought up to date
)

// notice is what could not be stored, per scheduled group.
type notice struct {
	Reason acquisition.Reason `json:"reason"`
	At     int64              `json:"at"`
	Groups []noticeGroup      `json:"groups"`
}

type noticeGroup struct {
	Key   acquisition.GroupKey `json:"key"`
	Epoch acquisition.EpochID  `json:"epoch"`
	To    uint64               `json:"to"` // first slot that is not due yet
}

// makeReserve takes the space of the reserve. Without space there is none.
func (s *Store) makeReserve(names []Entry) {
	for _, e := range names {
		if e.Name == reserveName && e.Size >= reserveSize {
			return
		}
	}
	if err := replaceFile(s.fs, reserveName, make([]byte, reserveSize)); err != nil {
		s.log.Warn("store has no reserve", slog.String("error", err.Error()))
	}
}

// useReserve writes the notice. The caller has the right to write.
func (s *Store) useReserve() {
	now := s.o.Now()
	if s.noticed != 0 && now-s.noticed < reservePeriod {
		return
	}
	n := notice{Reason: acquisition.ReasonDiskFull, At: now}
	s.mu.RLock()
	for _, o := range s.opens {
		g := o.Group()
		st := s.groups[g.Key()]
		if e := st.epoch(o.Epoch()); e != nil && e.Period > 0 && st.scheduled() {
			n.Groups = append(n.Groups, noticeGroup{Key: g.Key(), Epoch: e.ID, To: grid(e).First(now)})
		}
	}
	s.mu.RUnlock()
	text, err := json.Marshal(n)
	if err != nil {
		return
	}
	buf := appendPlain(nil, header{kind: kindNotice}, text)
	if len(buf) > reserveSize/2 {
		return // hundreds of groups: the hole will have the reason of the crash
	}
	s.noticeTurn++
	if err := s.writeReserve(buf, int64(s.noticeTurn%2)*reserveSize/2); err == nil {
		s.noticed = now
	}
}

func (s *Store) writeReserve(buf []byte, at int64) error {
	f, err := s.fs.Open(reserveName, ModeWrite)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(buf, at)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// clearReserve empties the reserve once what it says is in a segment.
func (s *Store) clearReserve() {
	if s.noticed == 0 {
		return
	}
	if err := s.writeReserve(make([]byte, reserveSize), 0); err == nil {
		s.noticed = 0
	}
}

// readReserve returns the newest notice.
func (s *Store) readReserve(names []Entry) *notice {
	for _, e := range names {
		if e.Name != reserveName || e.Size < reserveSize {
			continue
		}
		text, err := readSmall(s.fs, e.Name, e.Size)
		if err != nil {
			s.found(Finding{Code: "unreadable", File: e.Name, Detail: err.Error()})
			return nil
		}
		var best *notice
		for at := 0; at < reserveSize; at += reserveSize / 2 {
			var h header
			p := text[at : at+reserveSize/2]
			if !h.get(p) || h.kind != kindNotice || int(h.length) > len(p)-headerSize || !h.whole(p[headerSize:headerSize+h.length]) {
				continue
			}
			var n notice
			if json.Unmarshal(p[headerSize:headerSize+h.length], &n) == nil && (best == nil || n.At > best.At) {
				best = &n
			}
		}
		return best
	}
	return nil
}

// of returns up to which slot a notice speaks of an epoch, 0 if it does not.
func (n *notice) of(key acquisition.GroupKey, id acquisition.EpochID) uint64 {
	if n == nil {
		return 0
	}
	for _, g := range n.Groups {
		if g.Key == key && g.Epoch == id {
			return g.To
		}
	}
	return 0
}

// unreadable reports a damaged chunk once.
func (s *Store) unreadable(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := place{e.file.name, e.off}
	if s.damaged[k] {
		return
	}
	s.damaged[k] = true
	s.log.Error("stored block is not readable", slog.String("group", string(e.g.Key())), slog.Uint64("seq", e.seq),
		slog.String("file", e.file.name), slog.Int64("offset", e.off), slog.String("error", err.Error()))
}

type place struct {
	file string
	off  int64
}

// Verify reads every chunk of the store and returns the damage that it found.
func (s *Store) Verify() ([]Finding, error) {
	var out []Finding
	s.mu.RLock()
	keys := append([]acquisition.GroupKey(nil), s.keys...)
	s.mu.RUnlock()
	for _, key := range keys {
		chunks, release, err := s.snapshot(Query{Group: key})
		if err != nil {
			return nil, err
		}
		var buf []byte
		for i := range chunks {
			e := &chunks[i]
			if _, buf, err = s.readChunk(e, buf); err != nil {
				out = append(out, Finding{Code: "damaged_frame", File: e.file.name, Offset: e.off, Bytes: headerSize + int64(e.length), Detail: err.Error()})
			}
		}
		release()
	}
	return out, nil
}
