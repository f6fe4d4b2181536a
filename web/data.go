package web

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"pneudaq/acquisition"
)

// floats are numbers in JSON; NaN, no usable reading, is null.
type floats []float64

// MarshalJSON writes the shortest text that reads back as the same number.
func (f floats) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+12*len(f))
	b = append(b, '[')
	for i, v := range f {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, v)
	}
	return append(b, ']'), nil
}

func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// instants are Unix nanoseconds, in JSON milliseconds to the microsecond.
type instants []int64

// MarshalJSON writes milliseconds.
func (t instants) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+18*len(t))
	b = append(b, '[')
	for i, ns := range t {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMilliseconds(b, ns)
	}
	return append(b, ']'), nil
}

// appendMilliseconds writes milliseconds with up to three decimals, exactly.
func appendMilliseconds(b []byte, ns int64) []byte {
	us := (ns + 500) / 1000
	b = strconv.AppendInt(b, us/1000, 10)
	if r := us % 1000; r > 0 {
		b = append(b, '.', byte('0'+r/100), byte('0'+r/10%10), byte('0'+r%10))
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b
}

type dataDocument struct {
	Rig    string                     `json:"rig"`
	From   float64                    `json:"from"`
	To     float64                    `json:"to"`
	Series map[string]*seriesDocument `json:"series"`
	Gaps   []gapDocument              `json:"gaps"`
	Events []EventDocument            `json:"events"`
}

type seriesDocument struct {
	Unit   string   `json:"unit"`
	Symbol string   `json:"symbol"`
	Group  string   `json:"group"`
	Raw    bool     `json:"raw"`
	T      instants `json:"t"`
	V      floats   `json:"v,omitzero"`  // raw: single samples
	Q      []string `json:"q,omitempty"` // raw: why a sample is not good, "" where it is
	Min    floats   `json:"min,omitzero"`
	Max    floats   `json:"max,omitzero"`
	Mean   floats   `json:"mean,omitzero"`
	N      []uint64 `json:"n,omitzero"`
}

type gapDocument struct {
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Reason reason  `json:"reason"`
	Group  string  `json:"group"`
	Slots  uint64  `json:"slots"`
}

const (
	defaultPoints = 1000
	mostPoints    = 20_000
	mostChannels  = 128
	rawFactor     = 2 // so many times the points asked for are still given one by one
	mostGaps      = 2000
	mostEvents    = 1000
	dataEdge      = time.Minute // without from and to: the last minute
)

func (s *Server) getData(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := seriesQuery{rig: q.text("rig"), channels: q.channels(), from: q.time("from"), to: q.time("to"), points: q.number("points", defaultPoints, 10, mostPoints)}
	if err := q.done(); err != nil {
		return err
	}
	if want.rig == "" {
		return parameter("rig", "is missing")
	}
	if want.to == 0 {
		want.to = s.o.Now()
	}
	if want.from == 0 {
		want.from = want.to - int64(dataEdge)
	}
	return s.writeSeries(w, r, want)
}

func (s *Server) getRecordingData(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := seriesQuery{channels: q.channels(), from: q.time("from"), to: q.time("to"), points: q.number("points", defaultPoints, 10, mostPoints)}
	if err := q.done(); err != nil {
		return err
	}
	d, err := s.recording(r)
	if err != nil {
		return err
	}
	want.rig, want.groups = d.Rig, d.Groups
	if want.from == 0 {
		want.from = int64(d.Start)
	}
	if want.to == 0 {
		want.to = cmp.Or(int64(d.Stop), s.o.Now())
	}
	return s.writeSeries(w, r, want)
}

type seriesQuery struct {
	rig      string
	groups   []string // none: all
	channels []string // none: all
	from, to int64
	points   int
}

func (s *Server) writeSeries(w http.ResponseWriter, r *http.Request, q seriesQuery) error {
	if err := offered(s.o.Record, "data"); err != nil {
		return err
	}
	if q.from >= q.to {
		return parameter("from", "is not before to")
	}
	d, err := s.series(r.Context(), q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d)
}

// series reads the record: single samples where there are few, else an
// overview that keeps minimum and maximum.
func (s *Server) series(ctx context.Context, q seriesQuery) (*dataDocument, error) {
	all, err := s.o.Record.Groups(ctx)
	if err != nil {
		return nil, err
	}
	d := &dataDocument{
		Rig: q.rig, From: milliseconds(q.from), To: milliseconds(q.to),
		Series: map[string]*seriesDocument{}, Gaps: []gapDocument{}, Events: []EventDocument{},
	}
	wanted := map[*acquisition.Group][]string{}
	var groups []*acquisition.Group
	known := false
	for _, g := range all {
		if g.Rig != q.rig || len(q.groups) > 0 && !slices.Contains(q.groups, g.Name) {
			continue
		}
		known = true
		for i := range g.Channels {
			name := g.Channels[i].Name
			if len(q.channels) > 0 && !slices.Contains(q.channels, name) || d.Series[name] != nil {
				continue
			}
			if wanted[g] == nil {
				groups = append(groups, g)
			}
			wanted[g] = append(wanted[g], name)
			d.Series[name] = &seriesDocument{Unit: g.Channels[i].Unit, Symbol: symbol(g.Channels[i].Unit), Group: g.Name, T: instants{}}
		}
	}
	if !known {
		return nil, NotFound("record of rig", q.rig)
	}
	if len(d.Series) > mostChannels {
		return nil, parameter("channels", "are %d; at most %d go into one answer, so name some", len(d.Series), mostChannels)
	}
	for _, name := range q.channels {
		if d.Series[name] == nil {
			return nil, NotFound("channel", name)
		}
	}
	for _, g := range groups {
		if err := s.groupSeries(ctx, q, g, wanted[g], d); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.Gaps, func(a, b gapDocument) int { return cmp.Compare(a.From, b.From) })
	if s.o.Events != nil {
		events, err := s.o.Events.Events(ctx, EventQuery{Rig: q.rig, From: q.from, To: q.to, Limit: mostEvents})
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			d.Events = append(d.Events, eventDocument(e))
		}
	}
	return d, nil
}

var errMany = errors.New("more samples than points")

func (s *Server) groupSeries(ctx context.Context, q seriesQuery, g *acquisition.Group, channels []string, d *dataDocument) error {
	span := Span{Group: g.Key(), From: q.from, To: q.to}
	few := g.Period <= 0 || (q.to-q.from)/int64(g.Period) <= int64(rawFactor*q.points)
	if few {
		err := s.rawSeries(ctx, span, q.points, channels, d)
		if !errors.Is(err, errMany) {
			return err
		}
	}
	o, err := s.o.Record.Overview(ctx, span, channels, q.points)
	if err != nil {
		return err
	}
	for _, c := range o.Channels {
		x := d.Series[c.Channel]
		if x == nil {
			continue
		}
		n := len(c.Rows)
		x.T, x.Min, x.Max, x.Mean, x.N = make(instants, 0, n), make(floats, 0, n), make(floats, 0, n), make(floats, 0, n), make([]uint64, 0, n)
		for _, row := range c.Rows {
			x.T = append(x.T, row.From+(row.To-row.From)/2)
			x.Min, x.Max, x.Mean, x.N = append(x.Min, row.Min), append(x.Max, row.Max), append(x.Mean, row.Mean), append(x.N, row.Count)
		}
	}
	for _, x := range o.Gaps {
		d.addGap(q, g.Name, x)
	}
	return nil
}

func (d *dataDocument) addGap(q seriesQuery, group string, x RecordGap) {
	from, to := milliseconds(max(x.From, q.from)), milliseconds(min(x.To, q.to))
	if from >= to {
		return
	}
	for i := len(d.Gaps) - 1; i >= 0; i-- { // neighbours become one
		if last := &d.Gaps[i]; last.Group == group {
			if last.Reason == x.Reason && last.To >= from {
				last.To, last.Slots = max(last.To, to), last.Slots+x.Slots
				return
			}
			break
		}
	}
	if len(d.Gaps) < mostGaps {
		d.Gaps = append(d.Gaps, gapDocument{From: from, To: to, Reason: x.Reason, Group: group, Slots: x.Slots})
	}
}

func (s *Server) rawSeries(ctx context.Context, span Span, points int, channels []string, d *dataDocument) error {
	type column struct {
		doc  *seriesDocument
		t    instants
		v    floats
		q    []string
		poor bool
	}
	columns := make([]column, len(channels))
	for i, name := range channels {
		columns[i].doc = d.Series[name]
	}
	var decoder *acquisition.Decoder
	var at []int
	var values []float64
	var quality []acquisition.Quality
	var gaps []RecordGap
	limit := 2*rawFactor*points + 16
	for b, err := range s.o.Record.Blocks(ctx, span) {
		if err != nil {
			return err
		}
		if decoder == nil || decoder.Group() != b.Group {
			if decoder, err = acquisition.NewDecoder(b.Group, s.o.Compile); err != nil {
				return err
			}
			values, quality = make([]float64, len(b.Group.Channels)), make([]acquisition.Quality, len(b.Group.Channels))
			at = at[:0]
			for _, name := range channels {
				at = append(at, b.Group.Channel(name))
			}
		}
		gaps = append(gaps, s.o.Record.Gaps(ctx, b)...)
		for i := range b.Slots {
			if b.Times[i] < span.From || b.Times[i] >= span.To {
				continue
			}
			decoder.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
			for j, c := range at {
				if c < 0 {
					continue
				}
				x := &columns[j]
				t, _ := b.SampleTime(i, c)
				name := ""
				if quality[c] != acquisition.Good {
					name, x.poor = quality[c].String(), true
				}
				x.t, x.v, x.q = append(x.t, t), append(x.v, values[c]), append(x.q, name)
				if len(x.t) > limit {
					return errMany
				}
			}
		}
	}
	for i := range columns {
		x := &columns[i]
		if !slices.IsSorted(x.t) { // late data
			order := make([]int, len(x.t))
			for j := range order {
				order[j] = j
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x.t[a], x.t[b]) })
			t, v, q := make(instants, len(order)), make(floats, len(order)), make([]string, len(order))
			for j, k := range order {
				t[j], v[j], q[j] = x.t[k], x.v[k], x.q[k]
			}
			x.t, x.v, x.q = t, v, q
		}
		if !x.poor {
			x.q = nil
		}
		x.doc.Raw, x.doc.T, x.doc.V, x.doc.Q = true, full(x.t), full(x.v), x.q
	}
	for _, x := range gaps {
		d.addGap(seriesQuery{from: span.From, to: span.To}, groupName(span.Group, d.Rig), x)
	}
	return nil
}

// groupName returns the group of "rig/group".
func groupName(key acquisition.GroupKey, rig string) string { return string(key)[len(rig)+1:] }

func symbol(unit string) string {
	u, err := acquisition.LookupUnit(unit)
	if err != nil {
		return unit
	}
	return u.Symbol
}

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := EventQuery{Rig: q.text("rig"), From: q.time("from"), To: q.time("to"), Limit: q.number("limit", mostEvents, 1, 10*mostEvents)}
	if err := q.done(); err != nil {
		return err
	}
	if err := offered(s.o.Events, "events"); err != nil {
		return err
	}
	events, err := s.o.Events.Events(r.Context(), want)
	if err != nil {
		return err
	}
	list := make([]EventDocument, len(events))
	for i, e := range events {
		list[i] = eventDocument(e)
	}
	return writeJSON(w, http.StatusOK, struct {
		Events []EventDocument `json:"events"`
	}{list})
}
