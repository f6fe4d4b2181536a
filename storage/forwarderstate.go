package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"pneudaq/acquisition"
)

// remedied is an error that a person must act on; it says what to do.
type remedied interface {
	error
	Remedy() string
}

// delayed is an error that says how long to wait, 0 if it does not know.
type delayed interface {
	error
	Wait() time.Duration
}

// outage is a time in which the sink took nothing.
type outage struct {
	from, to int64 // Unix ns; from 0: none; to 0: it lasts
}

// failed notes an answer that was no success and returns how long to wait and
// how many failures there were in a row.
func (f *Forwarder) failed(which int, err error) (time.Duration, int) {
	now := f.o.Now()
	state, do := ForwarderRetrying, ""
	if hold, ok := errors.AsType[remedied](err); ok {
		state, do = ForwarderHolding, hold.Remedy()
	}
	f.retries.Add(1)
	f.mu.Lock()
	l := &f.lanes[which]
	l.failures++
	failures := l.failures
	changed := l.state != state
	if changed {
		l.state, l.since, l.missed = state, now, 0
	}
	l.missed++
	l.problem, l.do = err.Error(), do
	if f.outage.from == 0 || f.outage.to != 0 {
		if f.outage.from == 0 {
			f.outage.from = now
		}
		f.outage.to = 0
	}
	jitter := f.o.Jitter() // one call at a time
	f.mu.Unlock()
	if changed {
		f.o.Logger.Warn("sink takes nothing; everything is kept", slog.String("sink", f.o.Name), slog.String("lane", l.name),
			slog.String("state", state), slog.String("problem", err.Error()), slog.String("do", do))
	}
	base := min(forwarderFloor<<min(failures-1, 10), forwarderCeil)
	wait := time.Duration(float64(base) * (0.5 + 0.5*jitter))
	if later, ok := errors.AsType[delayed](err); ok && later.Wait() > 0 {
		asked := later.Wait() // never earlier than asked, never all at once
		wait = asked + time.Duration(float64(min(asked/10, time.Second))*jitter)
	}
	return wait, failures
}

// worked notes an answer. When the backlog is taken the live lane is well too:
// it may have nothing to show it with.
func (f *Forwarder) worked(which int) {
	now := f.o.Now()
	f.mu.Lock()
	var back []lane
	for i := range f.lanes {
		l := &f.lanes[i]
		if i != which && which != laneBacklog {
			continue
		}
		if l.state != ForwarderOK {
			back = append(back, *l)
			*l = lane{name: l.name, state: ForwarderOK, since: now}
		}
		l.failures = 0
	}
	if f.outage.from != 0 && f.outage.to == 0 && f.lanes[laneLive].state == ForwarderOK && f.lanes[laneBacklog].state == ForwarderOK {
		f.outage.to = now
	}
	f.mu.Unlock()
	for _, l := range back {
		f.o.Logger.Info("sink takes data again", slog.String("sink", f.o.Name), slog.String("lane", l.name),
			slog.Duration("after", time.Duration(now-l.since)), slog.Uint64("attempts", l.missed))
	}
}

// ForwarderStats is the account of one sink. Stored = Delivered + Waiting +
// Refused, in scans, for each group and in all.
type ForwarderStats struct {
	Sink       string           `json:"sink"`
	State      string           `json:"state"`             // ok, retrying or holding
	Since      int64            `json:"since"`             // of the state, Unix ns; 0: the start
	Problem    string           `json:"problem,omitempty"` // what is the matter
	Do         string           `json:"do,omitempty"`      // what a person must do
	LastAnswer int64            `json:"last_answer"`       // when the sink last took a batch, Unix ns; 0: never
	LiveDelay  int64            `json:"live_delay"`        // newest sample to the answer, last live batch, ns
	Stored     uint64           `json:"stored"`
	Delivered  uint64           `json:"delivered"`
	Waiting    uint64           `json:"waiting"`
	Refused    uint64           `json:"refused"`
	Groups     []ForwarderGroup `json:"groups"`
	Counts     ForwarderCounts  `json:"counts"` // since the start
	Mismatch   uint64           `json:"mismatch"`
}

// ForwarderGroup is the account of one group.
type ForwarderGroup struct {
	Group     acquisition.GroupKey `json:"group"`
	Stored    uint64               `json:"stored"`
	Delivered uint64               `json:"delivered"`
	Waiting   uint64               `json:"waiting"`
	Refused   uint64               `json:"refused"`
	Intervals SeqSet               `json:"intervals"` // delivered block numbers
}

// ForwarderCounts is what happened since the start.
type ForwarderCounts struct {
	Batches uint64 `json:"batches"` // answered
	Scans   uint64 `json:"scans"`   // answered, repeats counted again
	Fields  uint64 `json:"fields"`  // the same in samples
	Retries uint64 `json:"retries"` // answers that were no success
	Refused uint64 `json:"refused"` // lines set aside
	Lost    uint64 `json:"lost"`    // block numbers that the store itself has lost
	Resent  uint64 `json:"resent"`  // blocks taken back by reconciling
	Checks  uint64 `json:"checks"`  // reconciliations
}

// Stats returns the account as of now. It asks the store's index and catalog.
func (f *Forwarder) Stats(ctx context.Context) (ForwarderStats, error) {
	if err := f.hold(ctx); err != nil {
		return ForwarderStats{}, err
	}
	defer func() { <-f.book }()
	s := ForwarderStats{
		Sink: f.o.Name, LastAnswer: f.answer.Load(), LiveDelay: f.delay.Load(), Mismatch: f.mismatch.Load(),
		Counts: ForwarderCounts{
			Batches: f.batches.Load(), Scans: f.scans.Load(), Fields: f.fields.Load(), Retries: f.retries.Load(),
			Refused: f.refused.Load(), Lost: f.lost.Load(), Resent: f.resent.Load(), Checks: f.checks.Load(),
		},
	}
	type part struct {
		key  acquisition.GroupKey
		done SeqSet
	}
	var parts []part
	groups := f.o.Store.Groups()
	f.mu.Lock()
	worst := f.lanes[laneLive]
	if l := f.lanes[laneBacklog]; worst.state == ForwarderOK || l.state == ForwarderHolding {
		worst = l
	}
	s.State, s.Since, s.Problem, s.Do = worst.state, worst.since, worst.problem, worst.do
	for _, g := range groups {
		f.group(g.Key())
	}
	for _, key := range f.order {
		parts = append(parts, part{key, slices.Clone(f.groups[key].done)})
	}
	f.mu.Unlock()
	for _, p := range parts {
		g := ForwarderGroup{Group: p.key, Intervals: p.done}
		held := f.o.Store.Held(p.key)
		for _, r := range p.done {
			r = r.Within(held)
			if r.Empty() {
				continue
			}
			n, err := f.o.Store.CountAside(ctx, f.o.Name, p.key, r)
			if err != nil {
				return s, fmt.Errorf("count what %s refused of %s: %w", f.o.Name, p.key, err)
			}
			g.Refused += n
			g.Delivered += f.o.Store.Scans(p.key, r) - n
		}
		for rest := held; ; {
			r, ok := p.done.Missing(rest)
			if !ok {
				break
			}
			g.Waiting += f.o.Store.Scans(p.key, r)
			rest.From = r.To
		}
		g.Stored = f.o.Store.Scans(p.key, held)
		s.Groups = append(s.Groups, g)
		s.Stored += g.Stored
		s.Delivered += g.Delivered
		s.Waiting += g.Waiting
		s.Refused += g.Refused
	}
	return s, nil
}
