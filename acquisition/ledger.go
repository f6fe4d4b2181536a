package acquisition

import (
	"cmp"
	"iter"
	"slices"
)

// Grid is where the slots of a scheduled group lie in time: slot n is due at
// Anchor + n·Period + Phase, ns.
type Grid struct {
	Anchor int64 `json:"anchor"`
	Period int64 `json:"period"`
	Phase  int64 `json:"phase"`
}

// Due returns the planned instant of a slot, Unix ns.
func (g Grid) Due(slot uint64) int64 { return g.Anchor + g.Phase + int64(slot)*g.Period }

// First returns the first slot that is due at or after t.
func (g Grid) First(t int64) uint64 {
	d := t - g.Anchor - g.Phase
	if d <= 0 {
		return 0
	}
	return uint64((d + g.Period - 1) / g.Period)
}

// Span is slots of one grid: From included, To not.
type Span struct {
	Grid Grid   `json:"grid"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Planned returns the slots that a scheduled group had to fill between start
// (included) and stop (not): it follows from the epochs' grids alone, whatever
// was collected. The grid of an epoch holds until the next epoch's first slot.
func Planned(epochs []Epoch, start, stop int64) []Span {
	es := slices.Clone(epochs)
	slices.SortFunc(es, func(a, b Epoch) int { return cmp.Compare(a.ID, b.ID) })
	var spans []Span
	for i, e := range es {
		if e.Period <= 0 {
			continue
		}
		g := Grid{Anchor: e.Anchor, Period: e.Period, Phase: e.Phase}
		from, to := start, stop
		if i > 0 {
			from = max(from, g.Due(e.First))
		}
		if i+1 < len(es) && es[i+1].Period > 0 {
			n := es[i+1]
			to = min(to, Grid{Anchor: n.Anchor, Period: n.Period, Phase: n.Phase}.Due(n.First))
		}
		s := Span{Grid: g, From: g.First(from), To: g.First(to)}
		if s.From >= s.To {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].Grid == g && spans[n-1].To == s.From {
			spans[n-1].To = s.To
			continue
		}
		spans = append(spans, s)
	}
	return spans
}

// ChannelAccount counts the planned samples of one channel.
type ChannelAccount struct {
	Channel     string            `json:"channel"`
	Good        uint64            `json:"good"`
	Uncertain   map[Reason]uint64 `json:"uncertain,omitempty"`
	Bad         map[Reason]uint64 `json:"bad,omitempty"`
	Missing     uint64            `json:"missing"`     // covered by one gap
	Unexplained uint64            `json:"unexplained"` // in none, or in two
}

// Account is the ledger of one group over an interval: every planned (slot,
// channel) is good, uncertain, bad or covered by one gap; what is in none or
// in two of these is unexplained.
type Account struct {
	Group        GroupKey          `json:"group"`
	Completeness string            `json:"completeness"`
	Planned      uint64            `json:"planned"` // slots
	Stored       uint64            `json:"stored"`  // slots with exactly one scan
	Gaps         map[Reason]uint64 `json:"gaps"`    // slots covered by exactly one gap
	Unexplained  uint64            `json:"unexplained"`
	Spans        []Span            `json:"unexplained_spans,omitempty"` // at most 100
	Channels     []ChannelAccount  `json:"channels"`
	First        int64             `json:"first,omitempty"` // time of the first and last scan, Unix ns
	Last         int64             `json:"last,omitempty"`
}

// Balanced reports whether every planned sample has exactly one account.
func (a *Account) Balanced() bool { return a.Unexplained == 0 }

type run struct {
	from, to uint64
	gap      bool
	late     bool // a scan of a backfill block
	reason   Reason
}

// Audit makes the account of one group over the planned spans. blocks is
// walked twice, so it must give the same blocks each time: all blocks that may
// touch the interval. grid maps an epoch to its grid. decode returns the
// decoder of a block's group version. For groups whose completeness comes from
// sequence numbers, pass no spans: the plan is then every number from the
// first to the last one seen within [start, stop), per epoch.
func Audit(g *Group, planned []Span, start, stop int64, blocks iter.Seq2[*Block, error],
	grid func(EpochID) Grid, decode func(*Group) (*Decoder, error),
) (*Account, error) {
	a := &Account{Group: g.Key(), Completeness: g.Completeness.String(), Gaps: map[Reason]uint64{}}
	bySlot := g.Completeness == BySchedule
	// First walk: which slots have how many accounts.
	covers := map[Grid][]run{}
	key := func(e EpochID) Grid {
		if bySlot {
			return grid(e)
		}
		return Grid{Anchor: int64(e)} // numbers of one epoch are a plan of their own
	}
	within := map[Grid]Span{}
	for b, err := range blocks {
		if err != nil {
			return nil, err
		}
		k := key(b.Epoch)
		runs := covers[k]
		for i, s := range b.Slots {
			if n := len(runs); i > 0 && n > 0 && !runs[n-1].gap && runs[n-1].to == s {
				runs[n-1].to++
			} else {
				runs = append(runs, run{from: s, to: s + 1, late: b.Backfill})
			}
			if !bySlot && b.Times[i] >= start && b.Times[i] < stop {
				w, ok := within[k]
				if !ok {
					w = Span{Grid: k, From: s, To: s + 1}
				}
				within[k] = Span{Grid: k, From: min(w.From, s), To: max(w.To, s+1)}
			}
		}
		for _, x := range b.Gaps {
			runs = append(runs, run{from: x.From, to: x.To, gap: true, reason: x.Reason})
		}
		covers[k] = runs
	}
	if !bySlot && g.Completeness == BySequence {
		planned = nil
		for _, w := range within {
			planned = append(planned, w)
		}
		slices.SortFunc(planned, func(x, y Span) int { return cmp.Compare(x.Grid.Anchor, y.Grid.Anchor) })
	}
	once := map[Grid][]run{} // slots of the plan with exactly one scan
	for _, p := range planned {
		a.Planned += p.To - p.From
		a.sweep(p, covers[p.Grid], once)
	}
	// Second walk: the quality of what has exactly one scan.
	a.Channels = make([]ChannelAccount, len(g.Channels))
	for i := range g.Channels {
		a.Channels[i] = ChannelAccount{Channel: g.Channels[i].Name, Uncertain: map[Reason]uint64{}, Bad: map[Reason]uint64{}}
	}
	values := make([]float64, len(g.Channels))
	quality := make([]Quality, len(g.Channels))
	for b, err := range blocks {
		if err != nil {
			return nil, err
		}
		d, err := decode(b.Group)
		if err != nil {
			return nil, err
		}
		if n := len(b.Group.Channels); n > len(values) {
			values, quality = make([]float64, n), make([]Quality, n)
		}
		singles := once[key(b.Epoch)]
		at := 0
		for i, s := range b.Slots {
			if g.Completeness == ByNothing {
				if b.Times[i] < start || b.Times[i] >= stop {
					continue
				}
				a.Planned++
				a.Stored++
			} else {
				for at < len(singles) && singles[at].to <= s {
					at++
				}
				if at > 0 && s < singles[at-1].from {
					at = 0
				}
				j := at
				for j < len(singles) && singles[j].to <= s {
					j++
				}
				if j == len(singles) || s < singles[j].from {
					continue
				}
			}
			if a.First == 0 || b.Times[i] < a.First {
				a.First = b.Times[i]
			}
			a.Last = max(a.Last, b.Times[i])
			d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values[:len(b.Group.Channels)], quality[:len(b.Group.Channels)])
			a.count(b.Group, quality)
		}
	}
	gaps := uint64(0)
	for _, n := range a.Gaps {
		gaps += n
	}
	for i := range a.Channels {
		c := &a.Channels[i]
		c.Missing = gaps
		c.Unexplained = a.Unexplained + a.Stored - c.known()
	}
	return a, nil
}

func (c *ChannelAccount) known() uint64 {
	n := c.Good
	for _, x := range c.Uncertain {
		n += x
	}
	for _, x := range c.Bad {
		n += x
	}
	return n
}

func (a *Account) count(g *Group, quality []Quality) {
	for i := range g.Channels {
		j := i
		if i >= len(a.Channels) || a.Channels[i].Channel != g.Channels[i].Name {
			j = slices.IndexFunc(a.Channels, func(c ChannelAccount) bool { return c.Channel == g.Channels[i].Name })
			if j < 0 {
				continue
			}
		}
		switch q := quality[i]; q.Class() {
		case ClassGood:
			a.Channels[j].Good++
		case ClassUncertain:
			a.Channels[j].Uncertain[q.Reason()]++
		case ClassBad:
			a.Channels[j].Bad[q.Reason()]++
		}
	}
}

// account returns the one account that a slot has, -1 if it has none or
// several. Two agree in one case: numbers were missing and a gap was written
// at once, then they came after all, late. The scan counts, the gap does not.
func account(runs []run, active map[int]bool) int {
	only, gap, late := -1, -1, -1
	for i := range active {
		only = i
		switch r := runs[i]; {
		case r.gap && (r.reason == ReasonSeqGap || r.reason == ReasonBrokerLoss || r.reason == ReasonUnreachable):
			gap = i
		case r.late:
			late = i
		}
	}
	switch {
	case len(active) == 1:
		return only
	case len(active) == 2 && gap >= 0 && late >= 0:
		return late
	}
	return -1
}

// sweep walks the boundaries of all runs within one planned span and sorts its
// slots into stored, covered by a gap, and unexplained.
func (a *Account) sweep(p Span, runs []run, once map[Grid][]run) {
	type edge struct {
		at    uint64
		run   int
		enter bool
	}
	var edges []edge
	for i, r := range runs {
		from, to := max(r.from, p.From), min(r.to, p.To)
		if from < to {
			edges = append(edges, edge{from, i, true}, edge{to, i, false})
		}
	}
	slices.SortFunc(edges, func(x, y edge) int {
		if c := cmp.Compare(x.at, y.at); c != 0 {
			return c
		}
		switch { // leave before enter: spans touch, they do not overlap
		case x.enter == y.enter:
			return 0
		case !x.enter:
			return -1
		}
		return 1
	})
	active := map[int]bool{}
	at := p.From
	piece := func(to uint64) {
		if to <= at {
			return
		}
		n := to - at
		if i := account(runs, active); i < 0 {
			a.Unexplained += n
			if len(a.Spans) < 100 {
				a.Spans = append(a.Spans, Span{Grid: p.Grid, From: at, To: to})
			}
		} else if r := runs[i]; r.gap {
			a.Gaps[r.reason] += n
		} else {
			a.Stored += n
			once[p.Grid] = append(once[p.Grid], run{from: at, to: to})
		}
		at = to
	}
	for _, e := range edges {
		piece(e.at)
		if e.enter {
			active[e.run] = true
		} else {
			delete(active, e.run)
		}
	}
	piece(p.To)
}
