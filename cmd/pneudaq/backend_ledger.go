package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/web"
)

// ledger is the account of recordings: the exact one from the record, and a
// running one of what is being recorded, which costs nothing to ask for.
type ledger struct {
	*archive

	b *backend

	mu       sync.Mutex
	frontier map[acquisition.GroupKey]uint64 // first slot that no offered block has accounted for
	running  map[string]*runningAccount      // by recording
}

// runningAccount counts what was committed since a base that an audit gave.
type runningAccount struct {
	r        acquisition.Recording
	from     map[acquisition.GroupKey]uint64 // the base ends here; later slots are counted
	planned  uint64
	stored   uint64
	missing  map[acquisition.Reason]uint64
	whole    bool // the base is in
	backfill bool // late data went behind the base: it must be made anew
}

func newLedger(a *archive, b *backend) *ledger {
	return &ledger{archive: a, b: b, frontier: map[acquisition.GroupKey]uint64{}, running: map[string]*runningAccount{}}
}

// offer counts what was just committed. It does not block.
func (l *ledger) offer(blocks []*acquisition.Block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range blocks {
		key := b.Group.Key()
		for _, x := range l.running {
			if from, ok := x.from[key]; ok {
				x.count(b, from)
			}
		}
		if b.Backfill {
			continue
		}
		l.frontier[key] = max(l.frontier[key], blockEnd(b))
	}
}

// blockEnd returns the first slot after a block.
func blockEnd(b *acquisition.Block) uint64 {
	end := uint64(0)
	if n := b.Len(); n > 0 {
		end = b.Slots[n-1] + 1
	}
	for _, g := range b.Gaps {
		end = max(end, g.To)
	}
	return end
}

func (x *runningAccount) count(b *acquisition.Block, from uint64) {
	if b.Backfill {
		x.backfill = true
		return
	}
	i, _ := slices.BinarySearch(b.Slots, from)
	n := uint64(b.Len() - i)
	x.stored += n
	x.planned += n
	for _, g := range b.Gaps {
		if lo := max(g.From, from); lo < g.To {
			x.missing[g.Reason] += g.To - lo
			x.planned += g.To - lo
		}
	}
}

// Open returns how the open recordings stand, up to the newest commit.
func (l *ledger) Open(ctx context.Context) ([]web.RecordState, error) {
	var out []web.RecordState
	open := map[string]bool{}
	for _, r := range l.store.Recordings("") {
		if r.Stop != 0 {
			continue
		}
		open[r.ID] = true
		x, err := l.follow(ctx, r)
		if err != nil {
			return nil, err
		}
		if x != nil {
			out = append(out, *x)
		}
	}
	l.mu.Lock()
	maps.DeleteFunc(l.running, func(id string, _ *runningAccount) bool { return !open[id] })
	l.mu.Unlock()
	return out, nil
}

// follow returns the state of one recording; the first time it makes the base.
func (l *ledger) follow(ctx context.Context, r acquisition.Recording) (*web.RecordState, error) {
	groups := l.groups(r)
	l.mu.Lock()
	x := l.running[r.ID]
	begin := x == nil || x.whole && x.backfill
	if begin {
		x = &runningAccount{r: r, from: map[acquisition.GroupKey]uint64{}, missing: map[acquisition.Reason]uint64{}}
		for _, g := range groups {
			x.from[g.Key()] = l.frontier[g.Key()]
		}
		l.running[r.ID] = x
	}
	l.mu.Unlock()
	if begin {
		if err := l.base(ctx, r, groups, x); err != nil {
			l.mu.Lock()
			delete(l.running, r.ID)
			l.mu.Unlock()
			return nil, err
		}
	}
	l.mu.Lock()
	s := &web.RecordState{
		Rig: r.Rig, Recording: r.ID, Owner: r.Owner, Start: web.Time(r.Start), Planned: x.planned, Stored: x.stored, Missing: maps.Clone(x.missing),
	}
	whole := x.whole
	l.mu.Unlock()
	if !whole { // somebody else is making the base
		return nil, nil //nolint:nilnil // not known yet
	}
	known := s.Stored
	for _, n := range s.Missing {
		known += n
	}
	if s.Planned > known {
		s.Unexplained = s.Planned - known
	}
	l.delivery(ctx, r, groups, s)
	return s, nil
}

// base counts what was committed before the account began to run.
func (l *ledger) base(ctx context.Context, r acquisition.Recording, groups []*acquisition.Group, x *runningAccount) error {
	var planned, stored uint64
	missing := map[acquisition.Reason]uint64{}
	for _, g := range groups {
		end := x.from[g.Key()]
		if end == 0 {
			continue // nothing was committed since the service started
		}
		stop := g.Due(0, end)
		if g.Completeness != acquisition.BySchedule {
			stop = l.store.Now()
			if _, at, ok := l.store.Last(g.Key()); ok {
				stop = at + 1
			}
		}
		if stop <= r.Start {
			continue
		}
		a, err := l.audit(ctx, g, r.Start, stop)
		if err != nil {
			return err
		}
		planned += a.Planned
		stored += a.Stored
		for why, n := range a.Gaps {
			missing[why] += n
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	x.planned += planned
	x.stored += stored
	for why, n := range missing {
		x.missing[why] += n
	}
	x.whole = true
	return nil
}

// delivery adds what the destinations have of a recording.
func (l *ledger) delivery(ctx context.Context, r acquisition.Recording, groups []*acquisition.Group, s *web.RecordState) {
	for _, f := range l.b.destinations() {
		if !f.feed.has(r.Rig) {
			continue
		}
		stats, err := l.b.forwarderStats(ctx, f)
		if err != nil {
			continue
		}
		for _, g := range groups {
			all := l.store.SeqsBetween(g.Key(), r.Start, cmpOr(r.Stop, l.store.Now()))
			total := l.store.Scans(g.Key(), all)
			i := slices.IndexFunc(stats.Groups, func(x storage.ForwarderGroup) bool { return x.Group == g.Key() })
			done, refused := uint64(0), uint64(0)
			if i >= 0 {
				for _, x := range stats.Groups[i].Intervals {
					part := x.Within(all)
					if part.Empty() {
						continue
					}
					done += l.store.Scans(g.Key(), part)
					if n, err := l.store.CountAside(ctx, stats.Sink, g.Key(), part); err == nil {
						refused += n
					}
				}
			}
			s.Delivered += done - min(done, refused)
			s.Refused += refused
			s.Waiting += total - min(total, done)
		}
	}
}

func cmpOr(t, otherwise int64) int64 {
	if t != 0 {
		return t
	}
	return otherwise
}

// Recordings lists recordings with what the destinations have of them.
func (l *ledger) Recordings(ctx context.Context, q web.RecordingQuery) ([]web.Recording, error) {
	all, err := l.archive.Recordings(ctx, q)
	for i := range all {
		all[i].Delivered = l.delivered(ctx, all[i].ID)
	}
	return all, err
}

// Recording describes one recording with what the destinations have of it.
func (l *ledger) Recording(ctx context.Context, id string) (web.RecordingDetail, error) {
	d, err := l.archive.Recording(ctx, id)
	if err == nil {
		d.Delivered = l.delivered(ctx, id)
	}
	return d, err
}

// delivered says in one word whether all of a recording is at its destinations.
func (l *ledger) delivered(ctx context.Context, id string) string {
	r, err := l.find(id)
	if err != nil || !slices.ContainsFunc(l.b.destinations(), func(f *forwarding) bool { return f.feed.has(r.Rig) }) {
		return "n/a"
	}
	var s web.RecordState
	l.delivery(ctx, r, l.groups(r), &s)
	switch {
	case s.Waiting == 0 && s.Refused == 0 && s.Delivered > 0:
		return "yes"
	case s.Delivered == 0:
		return "no"
	}
	return "part"
}

// Amend corrects how a channel of a recording is read.
func (l *ledger) Amend(ctx context.Context, id string, a web.Amendment) error {
	r, err := l.find(id)
	if err != nil {
		return err
	}
	if r.Stop == 0 {
		return web.Refuse("recording "+id+" is open", "stop it first: only what is stored can be amended")
	}
	key := acquisition.GroupKey(r.Rig + "/" + a.Group)
	seqs := l.store.SeqsBetween(key, r.Start, r.Stop)
	var g *acquisition.Group
	for b, err := range l.store.Blocks(ctx, storage.Query{Group: key, FromSeq: seqs.From, ToSeq: seqs.To}) {
		if err != nil {
			return fmt.Errorf("amend %s: %w", id, err)
		}
		g = b.Group
		break
	}
	if g == nil || seqs.Empty() {
		return web.NotFound("group in recording "+id, a.Group)
	}
	i := g.Channel(a.Channel)
	if i < 0 {
		return web.NotFound("channel in group "+a.Group, a.Channel)
	}
	better := *g
	better.Channels = slices.Clone(g.Channels)
	better.Channels[i].Decoding = a.Decoding
	if a.Unit != "" {
		if _, err := acquisition.LookupUnit(a.Unit); err != nil {
			return web.Refuse(err.Error(), "use a unit of the unit table")
		}
		better.Channels[i].Unit = a.Unit
	}
	amendment := storage.Amendment{Group: key, Seqs: seqs, Who: a.Who, When: l.store.Now(), Why: a.Why}
	if _, err := l.store.Amend(ctx, amendment, &better); err != nil {
		return web.Refuse(err.Error(), "state the decoding as the words of the record allow")
	}
	l.b.s.event(acquisition.Event{
		Time: l.store.Now(), Rig: r.Rig, Group: a.Group, Code: "amended",
		Detail: fmt.Sprintf("channel %s of recording %s is read anew: %s (%s)", a.Channel, id, a.Why, a.Who),
	})
	return nil
}

// Reconcile compares the destinations with the store.
func (l *ledger) Reconcile(ctx context.Context, q web.ReconcileQuery) ([]web.ReconcileReport, error) {
	var want storage.ReconcileQuery
	want.Resend = q.Resend
	rig := ""
	if q.Recording != "" {
		r, err := l.find(q.Recording)
		if err != nil {
			return nil, err
		}
		rig, want.From, want.To = r.Rig, r.Start, r.Stop
		for _, g := range l.groups(r) {
			want.Groups = append(want.Groups, g.Key())
		}
	}
	var out []web.ReconcileReport
	for _, f := range l.b.destinations() {
		if rig != "" && !f.feed.has(rig) {
			continue
		}
		r, err := f.forwarder.Reconcile(ctx, want)
		doc := web.ReconcileReport{
			Sink: f.name, From: web.Time(r.From), To: web.Time(r.To), Groups: r.Groups, Windows: r.Windows, Samples: r.Samples,
			Waiting: r.Waiting, Refused: r.Refused, Resent: r.Resent, Agrees: err == nil && r.Agrees(),
		}
		if err != nil {
			doc.Problem = err.Error()
		}
		for _, d := range r.Differences {
			_, group, _ := strings.Cut(string(d.Group), "/")
			doc.Differences = append(doc.Differences, web.ReconcileDifference{
				Group: group, Channel: d.Channel, From: web.Time(d.From), To: web.Time(d.To), Kind: d.Kind,
				Store: d.Store.Count, Sink: d.Sink.Count, Resent: d.Resent,
			})
		}
		out = append(out, doc)
	}
	return out, nil
}
