package main

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/web"
)

// record reads the samples and events of a store for the page.
type record struct{ store *storage.Store }

// Groups returns the newest version of each group.
func (r record) Groups(context.Context) ([]*acquisition.Group, error) { return r.store.Groups(), nil }

func query(s web.Span) storage.Query {
	return storage.Query{Group: s.Group, From: s.From, To: s.To, Hole: true}
}

// Blocks yields the blocks of a span.
func (r record) Blocks(ctx context.Context, s web.Span) iter.Seq2[*acquisition.Block, error] {
	return r.store.Blocks(ctx, query(s))
}

// Overview sums up a span.
func (r record) Overview(ctx context.Context, s web.Span, channels []string, points int) (web.Overview, error) {
	var o web.Overview
	list, err := r.store.Overview(ctx, storage.OverviewQuery{Group: s.Group, Channels: channels, From: s.From, To: s.To, MaxPoints: points})
	if err != nil {
		return o, fmt.Errorf("read the record: %w", err)
	}
	for i := range list {
		c := web.OverviewChannel{Channel: list[i].Channel, Rows: make([]web.OverviewRow, len(list[i].Rows))}
		for k, x := range list[i].Rows {
			c.Rows[k] = web.OverviewRow{From: x.Time, To: x.Time + list[i].Width, Min: x.Min, Max: x.Max, Mean: x.Mean, Count: uint64(x.Count)}
		}
		o.Channels = append(o.Channels, c)
	}
	for b, err := range r.store.GapBlocks(ctx, query(s)) {
		if err != nil {
			return o, fmt.Errorf("read the record: %w", err)
		}
		o.Gaps = append(o.Gaps, r.Gaps(ctx, b)...)
	}
	return o, nil
}

// Gaps returns when the gaps of a block were: by the grid of its epoch, else
// from the scans of the block beside it.
func (r record) Gaps(_ context.Context, b *acquisition.Block) []web.RecordGap {
	if len(b.Gaps) == 0 {
		return nil
	}
	place := func(slot uint64) (int64, bool) { return besideScan(b, slot) }
	if b.Group.Completeness == acquisition.BySchedule {
		epochs := r.store.Epochs(b.Group.Key())
		i := slices.IndexFunc(epochs, func(e acquisition.Epoch) bool { return e.ID == b.Epoch })
		if i < 0 || epochs[i].Period <= 0 {
			return nil
		}
		g := acquisition.Grid{Anchor: epochs[i].Anchor, Period: epochs[i].Period, Phase: epochs[i].Phase}
		place = func(slot uint64) (int64, bool) { return g.Due(slot), true }
	}
	var out []web.RecordGap
	for _, x := range b.Gaps {
		from, ok := place(x.From)
		to, also := place(x.To)
		if ok && also && from < to {
			out = append(out, web.RecordGap{From: from, To: to, Slots: x.Count(), Reason: x.Reason})
		}
	}
	return out
}

// besideScan estimates when a slot of a numbered group was from the nearest
// scan of the block and the stated distance of samples.
func besideScan(b *acquisition.Block, slot uint64) (int64, bool) {
	if b.Len() == 0 || b.Group.Period <= 0 {
		return 0, false
	}
	i, _ := slices.BinarySearch(b.Slots, slot)
	if i == b.Len() || i > 0 && slot-b.Slots[i-1] < b.Slots[i]-slot {
		i--
	}
	return b.Times[i] + (int64(slot)-int64(b.Slots[i]))*int64(b.Group.Period), true
}

// Events reads the events of a rig, and of the service as a whole.
func (r record) Events(ctx context.Context, q web.EventQuery) ([]acquisition.Event, error) {
	// Events of the service concern every rig; the store selects one name only.
	all, err := r.store.Events(ctx, storage.EventQuery{From: q.From, To: q.To, Limit: manyEvents})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	if q.Rig != "" {
		all = slices.DeleteFunc(all, func(e acquisition.Event) bool { return e.Rig != "" && e.Rig != q.Rig })
	}
	if n := len(all); q.Limit > 0 && n > q.Limit {
		all = all[n-q.Limit:]
	}
	return all, nil
}

const manyEvents = 50_000
