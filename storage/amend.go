package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"pneudaq/acquisition"
)

// Amendment changes how stored words are read: from block From to block To the
// group is read by another version of its map. The words stay.
type Amendment struct {
	Group   acquisition.GroupKey `json:"group"`
	Seqs    Seqs                 `json:"seqs"`
	Version uint32               `json:"version"`
	Who     string               `json:"who"`
	When    int64                `json:"when"` // Unix ns
	Why     string               `json:"why"`
}

// amendedGroup gives a block the group version that amendments say.
func (s *Store) amendedGroup(b *acquisition.Block) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[b.Group.Key()]
	if st == nil {
		return
	}
	for _, a := range st.amended {
		if b.Seq >= a.Seqs.From && b.Seq < a.Seqs.To {
			for _, v := range st.versions {
				if v.Version == a.Version {
					b.Group = v
				}
			}
		}
	}
}

// SeqsBetween returns the numbers of the blocks of a group that have any part
// in [from, to), Unix ns.
func (s *Store) SeqsBetween(key acquisition.GroupKey, from, to int64) Seqs {
	q := Query{Group: key, From: from, To: to}
	var r Seqs
	chunks, release, err := s.snapshot(q)
	if err != nil || len(chunks) == 0 {
		return r
	}
	defer release()
	part := func(e *entry) Seqs {
		all := Seqs{From: e.seq, To: e.end()}
		payload, _, err := readFrame(e.file, e.off, e.length, nil)
		c := chunk{z: s.z, g: e.g}
		if e.blocks == 1 || err != nil || c.open(payload) != nil || c.meta(int(e.blocks), int(e.scans)) != nil {
			return all
		}
		some := Seqs{}
		for i := range c.blocks {
			b := &c.blocks[i]
			b.Seq, b.Epoch = e.seq+uint64(i), e.epoch
			if s.touches(b, e, len(c.blocks), q) {
				if some.Empty() {
					some.From = b.Seq
				}
				some.To = b.Seq + 1
			}
		}
		return some
	}
	for i := range chunks {
		if x := part(&chunks[i]); !x.Empty() {
			if r.Empty() {
				r.From = x.From
			}
			r.To = x.To
		}
	}
	return r
}

// Amend changes by which map the stored words of a range of blocks are read: g
// is the map as it should have been. It must have the same channels in the same
// order and take as many words, numbers and exchanges from a scan; names, units,
// types, orders, scales and places may differ. It becomes a version of its own.
// Nothing that is stored changes. What sinks were sent is for the caller to send
// again.
func (s *Store) Amend(ctx context.Context, a Amendment, g *acquisition.Group) (Amendment, error) {
	fail := func(err error) (Amendment, error) {
		return a, fmt.Errorf("amend group %s: %w", a.Group, err)
	}
	if a.Seqs.Empty() || a.Who == "" || a.Why == "" {
		return fail(errAmend)
	}
	if _, err := acquisition.NewDecoder(g, s.o.Compile); err != nil {
		return fail(err)
	}
	if err := s.acquireContext(ctx); err != nil {
		return fail(err)
	}
	defer func() { <-s.writer }()
	s.mu.Lock()
	st := s.groups[a.Group]
	if st == nil || st.current == nil || g.Key() != a.Group {
		s.mu.Unlock()
		return fail(fmt.Errorf("there is no such group, or the map is of group %s", g.Key()))
	}
	for i := range st.entries {
		e := &st.entries[i]
		if e.seq < a.Seqs.To && e.end() > a.Seqs.From {
			if err := fits(e.g, g); err != nil {
				s.mu.Unlock()
				return fail(err)
			}
		}
	}
	c := *g
	c.Version = 1
	for _, v := range st.versions {
		c.Version = max(c.Version, v.Version+1)
	}
	a.Version = c.Version
	if a.When == 0 {
		a.When = s.o.Now()
	}
	s.mu.Unlock()
	text, err := json.Marshal(a)
	if err != nil {
		return fail(err)
	}
	body, err := json.Marshal(&c)
	if err != nil {
		return fail(err)
	}
	id := descriptorID(body)
	if err := s.settle(); err != nil {
		return fail(err)
	}
	// The segments carry it too, so that a store without its catalog is read right.
	s.extra = append(s.extra, note{h: header{kind: kindGroup, group: id}, payload: s.enc.z.EncodeAll(body, nil)},
		note{h: header{kind: kindAmendment, group: id}, payload: text})
	if err := s.commitPending(nil); err != nil {
		return fail(err)
	}
	s.mu.Lock()
	if _, err := s.adopt(&c); err != nil {
		s.mu.Unlock()
		return fail(err)
	}
	st.amended = append(st.amended, a)
	s.events = append(s.events, acquisition.Event{
		Time: a.When, Rig: c.Rig, Group: c.Name, Code: "amended",
		Detail: fmt.Sprintf("blocks %d to %d are read by map version %d: %s (%s)", a.Seqs.From, a.Seqs.To-1, a.Version, a.Why, a.Who),
	})
	s.mu.Unlock()
	err = s.record(ctx, func() error {
		if err := s.cat.putDescriptor(&c); err != nil {
			return err
		}
		return s.cat.putAmendment(a)
	}, copied{Kind: "descriptor", Key: strconv.FormatUint(id, 10), Body: body}, copied{Kind: "amendment", Key: a.key(), Body: text})
	if err != nil {
		return fail(err)
	}
	return a, nil
}

var errAmend = errors.New("an amendment needs a range of blocks, who and why")

func (a *Amendment) key() string { return fmt.Sprintf("%s/%d", a.Group, a.Version) }

func (c *catalog) putAmendment(a Amendment) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write amendment: %w", err)
	}
	return c.exec(`insert or ignore into amendment (grp, version, body) values (?, ?, ?)`, string(a.Group), int(a.Version), text)
}

// fits reports whether words stored for one map can be read by another.
func fits(stored, g *acquisition.Group) error {
	if stored.Words != g.Words || stored.Numbers != g.Numbers || stored.Exchanges != g.Exchanges || len(stored.Channels) != len(g.Channels) {
		return fmt.Errorf("the map takes %d words, %d numbers, %d exchanges and %d channels, stored are %d, %d, %d and %d",
			g.Words, g.Numbers, g.Exchanges, len(g.Channels), stored.Words, stored.Numbers, stored.Exchanges, len(stored.Channels))
	}
	for i := range g.Channels {
		if stored.Channels[i].ID != g.Channels[i].ID {
			return fmt.Errorf("channel %d is %s, stored is %s", i+1, g.Channels[i].ID, stored.Channels[i].ID)
		}
	}
	return nil
}

// Amendments returns the amendments of a group in the order of their making;
// of two for one block the later holds.
func (s *Store) Amendments(key acquisition.GroupKey) []Amendment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.groups[key]; st != nil {
		return append([]Amendment(nil), st.amended...)
	}
	return nil
}

// amendedBy adds an amendment that was stored, once. The caller is alone.
func (s *Store) amendedBy(a Amendment) {
	st := s.group(a.Group)
	i := 0
	for ; i < len(st.amended) && st.amended[i].Version < a.Version; i++ {
	}
	if i < len(st.amended) && st.amended[i].Version == a.Version {
		return
	}
	st.amended = append(st.amended[:i], append([]Amendment{a}, st.amended[i:]...)...)
}
