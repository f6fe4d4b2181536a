package main

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/storage"
	"pneudaq/web"
)

// archive reads the record of one store, with or without a service running on
// it: recordings, their ledger, samples and events.
type archive struct {
	store      *storage.Store
	forwarders func() []*forwarding // nil: none
}

// asRecording describes a recording without its account.
func (a *archive) asRecording(r acquisition.Recording) web.Recording {
	doc := web.Recording{
		ID: r.ID, Rig: r.Rig, Groups: r.Groups, Owner: r.Owner, Note: r.Note, Start: web.Time(r.Start), Stop: web.Time(r.Stop), End: r.End,
		Detail: r.Detail, Delivered: "n/a",
	}
	for _, g := range a.groups(r) {
		doc.Simulated = doc.Simulated || g.Simulated
	}
	return doc
}

// groups returns the groups of a recording, newest versions.
func (a *archive) groups(r acquisition.Recording) []*acquisition.Group {
	var out []*acquisition.Group
	for _, g := range a.store.Groups() {
		if g.Rig == r.Rig && (len(r.Groups) == 0 || slices.Contains(r.Groups, g.Name)) {
			out = append(out, g)
		}
	}
	return out
}

// settle is how long ago a slot must be due to be in the account of a recording
// that is open: what is still in memory is not yet recorded and not yet missing.
const settle = int64(2 * time.Second)

// stop returns until when a recording is to be accounted: its stop, or while it
// is open the last instant that the store can know of.
func (a *archive) stop(r acquisition.Recording, now int64) int64 {
	if r.Stop != 0 {
		return r.Stop
	}
	return max(r.Start, now-settle)
}

// Recordings lists recordings, newest first.
func (a *archive) Recordings(ctx context.Context, q web.RecordingQuery) ([]web.Recording, error) {
	all := a.store.Recordings(q.Rig)
	slices.Reverse(all)
	var out []web.Recording
	for _, r := range all {
		if q.Before != 0 && r.Start >= q.Before {
			continue
		}
		if q.Limit > 0 && len(out) == q.Limit {
			break
		}
		doc, _, err := a.account(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, doc)
	}
	return out, nil
}

// account makes the ledger of every group of a recording.
func (a *archive) account(ctx context.Context, r acquisition.Recording) (web.Recording, []acquisition.Account, error) {
	doc := a.asRecording(r)
	stop := a.stop(r, a.store.Now())
	accounts := []acquisition.Account{}
	for _, g := range a.groups(r) {
		acc, err := a.audit(ctx, g, r.Start, stop)
		if err != nil {
			return doc, nil, err
		}
		accounts = append(accounts, *acc)
		doc.Planned += acc.Planned
		doc.Stored += acc.Stored
		doc.Unexplained += acc.Unexplained
		for _, n := range acc.Gaps {
			doc.Missing += n
		}
	}
	return doc, accounts, nil
}

func (a *archive) audit(ctx context.Context, g *acquisition.Group, start, stop int64) (*acquisition.Account, error) {
	epochs := a.store.Epochs(g.Key())
	grids := map[acquisition.EpochID]acquisition.Grid{}
	for _, e := range epochs {
		grids[e.ID] = acquisition.Grid{Anchor: e.Anchor, Period: e.Period, Phase: e.Phase}
	}
	decoders := map[*acquisition.Group]*acquisition.Decoder{}
	// Neighbours of the interval may hold a gap that reaches into it.
	margin := 10 * int64(g.Period)
	blocks := a.store.Blocks(ctx, storage.Query{Group: g.Key(), From: start - margin, To: stop + margin, Hole: true})
	acc, err := acquisition.Audit(g, acquisition.Planned(epochs, start, stop), start, stop, blocks,
		func(id acquisition.EpochID) acquisition.Grid { return grids[id] },
		func(g *acquisition.Group) (*acquisition.Decoder, error) {
			if d := decoders[g]; d != nil {
				return d, nil
			}
			d, err := acquisition.NewDecoder(g, configs.Compile)
			decoders[g] = d
			return d, err
		})
	if err != nil {
		return nil, fails(exitIO, "audit group %s: %w", g.Key(), err)
	}
	return acc, nil
}

// Recording describes one recording with its groups and channels.
func (a *archive) Recording(ctx context.Context, id string) (web.RecordingDetail, error) {
	r, err := a.find(id)
	if err != nil {
		return web.RecordingDetail{}, err
	}
	doc, _, err := a.account(ctx, r)
	if err != nil {
		return web.RecordingDetail{}, err
	}
	detail := web.RecordingDetail{Recording: doc}
	for _, g := range a.groups(r) {
		detail.Content = append(detail.Content, web.RecordingGroup{
			Name: g.Name, PeriodMS: g.Period.Seconds() * 1e3, Completeness: g.Completeness.String(), Channels: asChannels(g, nil),
		})
	}
	return detail, nil
}

func (a *archive) find(id string) (acquisition.Recording, error) {
	r, err := a.store.Recording(id)
	if errors.Is(err, storage.ErrNoRecording) {
		return r, web.NotFound("recording", id)
	}
	return r, err
}

// asChannels describes the channels of a group; file may be nil.
func asChannels(g *acquisition.Group, file *configs.Rig) []web.Channel {
	var out []web.Channel
	for i := range g.Channels {
		c := &g.Channels[i]
		doc := web.Channel{
			ID: c.ID, Name: c.Name, Unit: c.Unit, Device: c.Device, Address: c.Address, Writable: c.Writable,
			Derived: c.Decoding.Origin == acquisition.FromExpression,
		}
		if u, err := acquisition.LookupUnit(c.Unit); err == nil {
			doc.Symbol = u.Symbol
		}
		if c.Low != c.High {
			low, high := c.Low, c.High
			doc.Low, doc.High = &low, &high
		}
		if file != nil {
			if x := file.Channel(c.Name); x != nil {
				doc.Accuracy = x.Accuracy
				doc.Borrowed = x.Origin == configs.FromOtherRig
			}
		}
		out = append(out, doc)
	}
	return out
}

// Start begins a recording of a rig.
func (a *archive) Start(ctx context.Context, n web.NewRecording) (web.RecordingDetail, error) {
	known := false
	for _, g := range a.store.Groups() {
		known = known || g.Rig == n.Rig
	}
	if !known {
		return web.RecordingDetail{}, web.NotFound("rig", n.Rig)
	}
	for _, r := range a.store.Recordings(n.Rig) {
		if r.Stop == 0 {
			return web.RecordingDetail{}, web.RecordingOpen(n.Rig, r.Owner, r.ID)
		}
	}
	r, err := a.store.StartRecording(ctx, acquisition.Recording{Rig: n.Rig, Groups: n.Groups, Owner: n.Owner, Note: n.Note})
	if err != nil {
		return web.RecordingDetail{}, err
	}
	return a.Recording(ctx, r.ID)
}

// Stop ends a recording.
func (a *archive) Stop(ctx context.Context, id, by string) (web.RecordingDetail, error) {
	r, err := a.find(id)
	if err != nil {
		return web.RecordingDetail{}, err
	}
	if r.Stop != 0 {
		return web.RecordingDetail{}, web.RecordingEnded(id)
	}
	end := "completed"
	if by != "" {
		end += " by " + by
	}
	if _, err := a.store.StopRecording(ctx, id, 0, end); err != nil {
		return web.RecordingDetail{}, err
	}
	return a.Recording(ctx, id)
}

// Audit makes the ledger of a recording and of its way to the sinks.
func (a *archive) Audit(ctx context.Context, id string) (web.AuditReport, error) {
	r, err := a.find(id)
	if err != nil {
		return web.AuditReport{}, err
	}
	doc, accounts, err := a.account(ctx, r)
	if err != nil {
		return web.AuditReport{}, err
	}
	report := web.AuditReport{Recording: doc, Accounts: accounts, Balanced: doc.Unexplained == 0, Sinks: []web.SinkAccount{}}
	if a.forwarders == nil {
		return report, nil
	}
	for _, f := range a.forwarders() {
		if !f.feed.has(r.Rig) {
			continue
		}
		s, err := f.forwarder.Stats(ctx)
		if err != nil {
			return report, err
		}
		sink := web.SinkAccount{Name: f.name}
		for _, g := range s.Groups {
			if slices.ContainsFunc(a.groups(r), func(x *acquisition.Group) bool { return x.Key() == g.Group }) {
				sink.Stored += g.Stored
				sink.Delivered += g.Delivered
				sink.Waiting += g.Waiting
				sink.Refused += g.Refused
			}
		}
		report.Sinks = append(report.Sinks, sink)
	}
	return report, nil
}

// blocks yields the blocks of a group that have a scan in a recording.
func (a *archive) blocks(ctx context.Context, r acquisition.Recording, g *acquisition.Group) iter.Seq2[*acquisition.Block, error] {
	return a.store.Blocks(ctx, storage.Query{Group: g.Key(), From: r.Start, To: a.stop(r, a.store.Now())})
}
