package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"pneudaq/acquisition"
)

// Digester says what a sink holds of a group: for each channel and window that
// is not empty a digest. Windows begin at multiples of the window since the
// Unix epoch and are cut to [from, to). Only measurement, tags and channel
// names of the group are used.
type Digester interface {
	Digests(ctx context.Context, g *acquisition.Group, from, to int64, window time.Duration) ([]acquisition.Digest, error)
}

// TimeFeed reads blocks by time.
type TimeFeed interface {
	// Between yields the blocks of a group with a scan in [from, to), Unix ns.
	Between(ctx context.Context, key acquisition.GroupKey, from, to int64) iter.Seq2[*acquisition.Block, error]
}

// reconcileWindows is how many windows are compared at a time: enough to make
// few requests, few enough to keep memory small.
const reconcileWindows = 72

// reconcileSettle is how long ago a sample must be to be compared, so that
// what is under way is neither missing nor too much.
const reconcileSettle = 5 * time.Second

// The kinds of differences.
const (
	DifferenceMissing = "missing" // the sink has fewer samples
	DifferenceExtra   = "extra"   // the sink has more samples: somebody else writes there
	DifferenceContent = "content" // as many samples with other values
)

// ReconcileQuery says what to compare.
type ReconcileQuery struct {
	Groups   []acquisition.GroupKey // empty: all
	From, To int64                  // Unix ns, To not included; To 0: now
	Resend   bool                   // send again what is missing or has other content
}

// Difference is a window of one channel in which store and sink disagree.
type Difference struct {
	Group       acquisition.GroupKey `json:"group"`
	Measurement string               `json:"measurement"`
	Channel     string               `json:"channel"`
	From        int64                `json:"from"` // of the window, Unix ns
	To          int64                `json:"to"`
	Kind        string               `json:"kind"`
	Store       acquisition.Digest   `json:"store"` // of what counts as delivered
	Sink        acquisition.Digest   `json:"sink"`
	Resent      bool                 `json:"resent"`
}

// ReconcileReport is the outcome of a comparison.
type ReconcileReport struct {
	Sink        string       `json:"sink"`
	From        int64        `json:"from"`
	To          int64        `json:"to"`
	Groups      int          `json:"groups"`
	Windows     int          `json:"windows"` // of one channel each
	Samples     uint64       `json:"samples"` // compared
	Waiting     uint64       `json:"waiting"` // samples not yet delivered, not compared
	Refused     uint64       `json:"refused"` // scans set aside, not compared
	Resent      uint64       `json:"resent"`  // blocks that are sent again
	Differences []Difference `json:"differences"`
}

// Agrees reports whether everything that counts as delivered is there.
func (r *ReconcileReport) Agrees() bool { return len(r.Differences) == 0 }

// Reconcile compares what counts as delivered with what the sink holds, window
// by window. With Resend the blocks of windows that disagree count as waiting
// again and are sent by the backlog lane while the forwarder runs; a sink that
// overwrites repeats then holds each sample once.
func (f *Forwarder) Reconcile(ctx context.Context, q ReconcileQuery) (ReconcileReport, error) {
	if f.o.Check == nil {
		return ReconcileReport{}, fmt.Errorf("reconcile %s: this sink cannot say what it holds", f.o.Name)
	}
	settled := f.o.Now() - int64(reconcileSettle)
	if q.To == 0 || q.To > settled {
		q.To = settled
	}
	report := ReconcileReport{Sink: f.o.Name, From: q.From, To: q.To}
	keys := q.Groups
	if len(keys) == 0 {
		for _, g := range f.o.Store.Groups() {
			keys = append(keys, g.Key())
		}
	}
	f.checks.Add(1)
	step := int64(f.o.Window) * reconcileWindows
	for _, key := range keys {
		report.Groups++
		first, err := f.firstTime(ctx, key, q.From, q.To)
		if err != nil {
			return report, err
		}
		for from := max(q.From, first); from < q.To; {
			to := min(q.To, from-mod(from, step)+step)
			if err := f.reconcile(ctx, key, from, to, q.Resend, &report); err != nil {
				return report, err
			}
			from = to
		}
	}
	f.mismatch.Add(uint64(len(report.Differences)))
	if report.Resent > 0 {
		if err := f.save(ctx); err != nil { // before anything is sent again
			return report, err
		}
		poke(f.backlogs)
	}
	return report, nil
}

// mod is the remainder with the sign of b.
func mod(a, b int64) int64 { return (a%b + b) % b }

// firstTime returns the time of the first stored scan in a range, so that a
// range from the beginning of time costs nothing.
func (f *Forwarder) firstTime(ctx context.Context, key acquisition.GroupKey, from, to int64) (int64, error) {
	for b, err := range f.o.Store.Between(ctx, key, from, to) {
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", key, err)
		}
		for _, t := range b.Times {
			if t >= from {
				return t, nil
			}
		}
	}
	return to, nil
}

// reconcileWindow is the store's side of a comparison.
type reconcileWindow struct {
	acquisition.Digest
	magnitude float64 // sum of the absolute values: the scale of rounding
	waiting   uint64
}

// reconcileSeries is the channels that share measurement and tags.
type reconcileSeries struct {
	group   *acquisition.Group // with the channels of all versions
	windows map[string]map[int64]*reconcileWindow
	blocks  map[int64][]uint64 // delivered numbers by window
}

// reconcile compares the windows of one group in [from, to).
func (f *Forwarder) reconcile(ctx context.Context, key acquisition.GroupKey, from, to int64, resend bool, report *ReconcileReport) error {
	f.mu.Lock()
	done := slices.Clone(f.group(key).done)
	f.mu.Unlock()
	c := comparison{f: f, resend: resend, from: from, to: to, done: done, report: report, decoders: map[*acquisition.Group]*acquisition.Decoder{}, all: map[string]*reconcileSeries{}}
	if err := c.read(ctx, key); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.all)) {
		s := c.all[id]
		held, err := f.o.Check.Digests(ctx, s.group, from, to, f.o.Window)
		if err != nil {
			return fmt.Errorf("ask %s what it holds of %s: %w", f.o.Name, key, err)
		}
		again := c.compare(key, s, held)
		if len(again) > 0 {
			if err := f.takeBack(ctx, key, again); err != nil {
				return err
			}
			report.Resent += again.Count()
		}
	}
	return nil
}

// comparison is the windows of one group being compared.
type comparison struct {
	f         *Forwarder
	from, to  int64
	done      SeqSet
	report    *ReconcileReport
	decoders  map[*acquisition.Group]*acquisition.Decoder
	all       map[string]*reconcileSeries
	resend    bool // what disagrees is sent again
	delivered bool // the block being read counts as delivered
	values    []float64
	quality   []acquisition.Quality
}

// read digests the stored blocks.
func (c *comparison) read(ctx context.Context, key acquisition.GroupKey) error {
	for b, err := range c.f.o.Store.Between(ctx, key, c.from, c.to) {
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		d := c.decoders[b.Group]
		if d == nil {
			if d, err = acquisition.NewDecoder(b.Group, c.f.o.Compile); err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			c.decoders[b.Group] = d
		}
		s := c.series(b.Group)
		c.delivered = c.done.Has(b.Seq)
		refused := map[int]bool{}
		if c.delivered {
			list, err := c.f.o.Store.ListAside(ctx, c.f.o.Name, key, Seqs{b.Seq, b.Seq + 1})
			if err != nil {
				return fmt.Errorf("read what %s refused of %s: %w", c.f.o.Name, key, err)
			}
			for _, r := range list {
				refused[r.Scan] = true
			}
		}
		for i, at := range b.Times {
			switch {
			case at < c.from || at >= c.to:
			case refused[i]:
				c.report.Refused++
			default:
				c.scan(d, s, b, i)
			}
		}
	}
	return nil
}

// series returns the series set of a group version.
func (c *comparison) series(g *acquisition.Group) *reconcileSeries {
	id := fmt.Sprintf("%q %q %q %q %q", g.Measurement, g.Site, g.Rig, g.Name, g.Tags)
	s := c.all[id]
	if s == nil {
		clone := *g
		clone.Channels = nil
		s = &reconcileSeries{group: &clone, windows: map[string]map[int64]*reconcileWindow{}, blocks: map[int64][]uint64{}}
		c.all[id] = s
	}
	for i := range g.Channels {
		if name := g.Channels[i].Name; s.windows[name] == nil {
			s.windows[name] = map[int64]*reconcileWindow{}
			s.group.Channels = append(s.group.Channels, g.Channels[i])
		}
	}
	return s
}

// scan digests one scan.
func (c *comparison) scan(d *acquisition.Decoder, s *reconcileSeries, b *acquisition.Block, i int) {
	n := len(b.Group.Channels)
	if cap(c.values) < n {
		c.values, c.quality = make([]float64, n), make([]acquisition.Quality, n)
	}
	values, quality := c.values[:n], c.quality[:n]
	d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
	at := b.Times[i] - mod(b.Times[i], int64(c.f.o.Window))
	if seqs := s.blocks[at]; c.delivered && (len(seqs) == 0 || seqs[len(seqs)-1] != b.Seq) {
		s.blocks[at] = append(seqs, b.Seq)
	}
	for j := range b.Group.Channels {
		w := s.windows[b.Group.Channels[j].Name][at]
		if w == nil {
			w = &reconcileWindow{Digest: acquisition.Digest{Channel: b.Group.Channels[j].Name, From: at}}
			s.windows[w.Channel][at] = w
		}
		v, q := values[j], quality[j]
		if !c.delivered {
			w.waiting++
			c.report.Waiting++
			continue
		}
		if q != acquisition.Good || v-v != 0 {
			w.Flagged++
		}
		if q.Class() == acquisition.ClassBad || v-v != 0 {
			continue
		}
		if w.Count == 0 {
			w.First = v
		}
		w.Count++
		w.Last = v
		w.Sum += v
		w.magnitude += math.Abs(v)
		c.report.Samples++
	}
}

// compare notes the differences of one series and returns the blocks to send
// again.
func (c *comparison) compare(key acquisition.GroupKey, s *reconcileSeries, held []acquisition.Digest) SeqSet {
	type place struct {
		channel string
		at      int64
	}
	sink := map[place]acquisition.Digest{}
	for _, d := range held {
		sink[place{d.Channel, d.From - mod(d.From, int64(c.f.o.Window))}] = d
	}
	var again SeqSet
	for _, channel := range s.group.Channels {
		stored := s.windows[channel.Name]
		for p := range sink { // windows of which the store has nothing
			if p.channel == channel.Name && stored[p.at] == nil {
				stored[p.at] = &reconcileWindow{Digest: acquisition.Digest{Channel: p.channel, From: p.at}}
			}
		}
		for _, at := range slices.Sorted(maps.Keys(stored)) {
			c.report.Windows++
			w, d := stored[at], sink[place{channel.Name, at}]
			kind := w.against(d)
			if kind == "" {
				continue
			}
			x := Difference{
				Group: key, Measurement: s.group.Measurement, Channel: channel.Name, Kind: kind, Store: w.Digest, Sink: d,
				From: max(at, c.from), To: min(at+int64(c.f.o.Window), c.to),
			}
			if c.resend && kind != DifferenceExtra {
				x.Resent = true
				for _, seq := range s.blocks[at] {
					again.Add(Seqs{seq, seq + 1})
				}
			}
			c.report.Differences = append(c.report.Differences, x)
		}
	}
	return again
}

// against returns the kind of difference to what the sink holds, "" for none.
func (w *reconcileWindow) against(d acquisition.Digest) string {
	switch {
	case d.Count < w.Count || d.Flagged < w.Flagged:
		return DifferenceMissing
	case d.Count > w.Count+w.waiting || d.Flagged > w.Flagged+w.waiting:
		return DifferenceExtra
	case w.waiting > 0 || w.Count == 0:
		return ""
	case d.First != w.First || d.Last != w.Last || math.Abs(d.Sum-w.Sum) > 1e-9*w.magnitude+1e-300:
		return DifferenceContent
	}
	return ""
}

// takeBack makes blocks wait again, and forgets what was refused of them.
func (f *Forwarder) takeBack(ctx context.Context, key acquisition.GroupKey, set SeqSet) error {
	if err := f.hold(ctx); err != nil {
		return err
	}
	defer func() { <-f.book }()
	for _, r := range set {
		if err := f.o.Store.ForgetAside(ctx, f.o.Name, key, r); err != nil {
			return fmt.Errorf("forget what %s refused of %s: %w", f.o.Name, key, err)
		}
		f.mu.Lock()
		g := f.group(key)
		g.done.Remove(r)
		g.dirty = true
		f.mu.Unlock()
		f.resent.Add(r.To - r.From)
	}
	return nil
}

// pendingCheck is a comparison to come, once what it looks at is delivered.
type pendingCheck struct {
	from, to int64
	why      string
	resend   bool
}

// runChecks reconciles by itself: after each outage, for what a sink
// acknowledged shortly before it went away may be gone too, and from time to
// time, for a sink may forget without a word. What is missing is sent again
// once; what is missing after that is reported.
func (f *Forwarder) runChecks(ctx context.Context) {
	if f.o.Check == nil {
		return
	}
	ticker := time.NewTicker(forwarderTick)
	defer ticker.Stop()
	checked := f.o.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := f.o.Now()
		if f.o.CheckEvery > 0 && now-checked >= int64(f.o.CheckEvery) {
			f.mu.Lock()
			f.checking = append(f.checking, pendingCheck{checked - int64(reconcileSettle), now - int64(reconcileSettle), "time to time", true})
			f.mu.Unlock()
			checked = now
		}
		c, ready := f.checkable(now)
		if !ready {
			continue
		}
		report, err := f.Reconcile(ctx, ReconcileQuery{From: c.from, To: c.to, Resend: c.resend})
		if ctx.Err() != nil {
			return
		}
		f.reported(c, report, err)
		if report.Resent > 0 {
			f.mu.Lock()
			f.checking = append(f.checking, pendingCheck{c.from, c.to, "sent again", false})
			f.mu.Unlock()
		}
	}
}

// checkable returns the next comparison if everything it looks at is settled
// and delivered.
func (f *Forwarder) checkable(now int64) (pendingCheck, bool) {
	held := f.held()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage.to != 0 {
		f.checking = append(f.checking, pendingCheck{f.outage.from - int64(forwarderLook), f.outage.to, "outage", true})
		f.outage = outage{}
	}
	if len(f.checking) == 0 || f.lanes[laneLive].state != ForwarderOK || f.lanes[laneBacklog].state != ForwarderOK {
		return pendingCheck{}, false
	}
	c := f.checking[0]
	if now-c.to < int64(reconcileSettle) {
		return c, false
	}
	if f.sendingBacklog {
		return c, false
	}
	for key, r := range held {
		if _, ok := f.groups[key].waiting(r); ok {
			return c, false
		}
	}
	f.checking = f.checking[1:]
	return c, true
}

func (f *Forwarder) reported(c pendingCheck, r ReconcileReport, err error) {
	span := slog.Group("checked", slog.String("why", c.why), slog.Time("from", time.Unix(0, c.from).UTC()), slog.Time("to", time.Unix(0, c.to).UTC()))
	sink := slog.String("sink", f.o.Name)
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		f.o.Logger.Warn("sink cannot be compared with the store; run reconcile later", sink, span, slog.Any("error", err))
	case r.Agrees() && c.why != "time to time":
		f.o.Logger.Info("sink holds what was delivered", sink, span, slog.Uint64("samples", r.Samples), slog.Int("windows", r.Windows))
	case r.Agrees():
	case r.Resent > 0:
		f.o.Logger.Warn("sink has lost acknowledged data; it is sent again", sink, span, slog.Int("windows", len(r.Differences)), slog.Uint64("blocks", r.Resent))
	default:
		f.o.Logger.Error("sink and store disagree", sink, span, slog.Int("windows", len(r.Differences)),
			slog.String("first", fmt.Sprintf("%s %s %s", r.Differences[0].Kind, r.Differences[0].Group, r.Differences[0].Channel)))
	}
}
