package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/storage"
	"pneudaq/web"
)

// backend shows a running service to its page: it turns what the parts say
// into the documents of the API.
type backend struct {
	s     *service
	began time.Time

	mu      sync.Mutex
	stats   map[string]storage.ForwarderStats // by destination, as of asked
	asked   map[string]time.Time
	statErr map[string]error
}

// sorted returns the rigs in service by name.
func (b *backend) sorted() []*rig {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.s.rigs), func(x, y *rig) int { return cmp.Compare(x.file.Name, y.file.Name) })
}

// openRecording returns the open recording of a rig.
func (b *backend) openRecording(name string) (acquisition.Recording, bool) {
	all := b.s.store.Recordings(name)
	if i := slices.IndexFunc(all, func(r acquisition.Recording) bool { return r.Stop == 0 }); i >= 0 {
		return all[i], true
	}
	return acquisition.Recording{}, false
}

// Rigs describes the rigs in service.
func (b *backend) Rigs(context.Context) ([]web.Rig, error) {
	var out []web.Rig
	for _, r := range b.sorted() {
		f := r.file
		doc := web.Rig{Name: f.Name, Site: f.Site, Description: f.Description, File: f.File, Simulated: r.twin != nil}
		if open, ok := b.openRecording(f.Name); ok {
			doc.Recording = &open.ID
		}
		for _, x := range r.buses {
			state := x.collector.State()
			doc.Buses = append(doc.Buses, asBus(x, state))
			groups := x.groups()
			for _, gs := range state.Groups {
				i := slices.IndexFunc(groups, func(g *acquisition.Group) bool { return g.Key() == gs.Group })
				if i >= 0 {
					doc.Groups = append(doc.Groups, b.asGroup(r, x, groups[i], gs))
				}
			}
		}
		out = append(out, doc)
	}
	return out, nil
}

func (x *bus) groups() []*acquisition.Group {
	if x.modbus != nil {
		return x.modbus.Groups()
	}
	return x.mqtt.Groups()
}

func (b *backend) asGroup(r *rig, x *bus, g *acquisition.Group, s acquisition.GroupState) web.Group {
	doc := web.Group{
		Name: g.Name, Bus: x.name, PeriodMS: g.Period.Seconds() * 1e3, Completeness: g.Completeness.String(), Measurement: g.Measurement,
		Running: s.Running, Waiting: s.Waiting, Stored: s.Stored, Missed: maps.Clone(s.Missed), Last: web.Time(s.Last),
		Channels: asChannels(g, r.file),
	}
	for i := range doc.Channels {
		c := r.file.Channel(doc.Channels[i].Name)
		if c == nil {
			continue
		}
		if due, ok := calibrationDue(c); ok {
			doc.Channels[i].CalibrationDue = due.Format(time.DateOnly)
		}
		if doc.Channels[i].Derived {
			doc.Channels[i].Expression = c.Decoding.Expression
		}
	}
	if doc.Last == 0 {
		if _, at, ok := b.s.store.Last(g.Key()); ok {
			doc.Last = web.Time(at)
		}
	}
	return doc
}

// withoutSecrets returns an endpoint without user and password.
func withoutSecrets(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		scheme, _, _ := strings.Cut(endpoint, "://")
		return scheme + "://?"
	}
	u.User = nil
	return u.String()
}

func asBus(x *bus, s acquisition.BusState) web.Bus {
	doc := web.Bus{
		Name: x.name, Endpoint: withoutSecrets(x.endpoint), Protocol: "modbus", Up: s.Up, Since: web.Time(s.Since), Problem: s.Problem,
		Reconnects: s.Reconnect,
	}
	if x.mqtt != nil {
		doc.Protocol = "mqtt"
		m := x.mqtt.Stats()
		doc.Stats.Messages, doc.Stats.Quarantine, doc.Stats.Unacked = m.Messages, m.Quarantined, m.Unacked
		return doc
	}
	doc.Stats = asBusStats(x.modbus.Stats())
	return doc
}

func asBusStats(m modbus.Stats) web.BusStats {
	doc := web.BusStats{Exceptions: map[string]uint64{}}
	var round [modbus.Buckets]uint64
	for i := range m.Units {
		u := &m.Units[i]
		doc.Requests += u.Requests
		doc.Answers += u.Answers
		doc.Timeouts += u.Timeouts
		doc.Late += u.Late
		doc.Duplicate += u.Duplicate
		doc.CRC += u.CRC
		for code, n := range u.Exceptions {
			doc.Exceptions[strconv.Itoa(int(code))] += n
		}
		for k, n := range u.RoundTrip {
			round[k] += n
		}
		one := web.UnitStats{
			Unit: int(u.Unit), Device: u.Device, Requests: u.Requests, Answers: u.Answers, Timeouts: u.Timeouts, Late: u.Late, Quarantined: u.Quarantined,
		}
		if f := u.LastFault; f != nil {
			one.LastFault, one.LastFaultAt = strings.TrimSpace(f.Reason.String()+" "+f.Detail), web.Time(f.Time)
		}
		doc.Units = append(doc.Units, one)
	}
	doc.RoundTrip = histogram(round[:], modbus.BucketLimit)
	return doc
}

// histogram turns counts of doubling buckets into milliseconds. The sum is
// estimated from the middle of each bucket.
func histogram(counts []uint64, limit func(int) time.Duration) web.Histogram {
	h := web.Histogram{Counts: slices.Clone(counts)}
	for i, n := range counts {
		top := limit(i).Seconds() * 1e3
		if i < len(counts)-1 {
			h.Bounds = append(h.Bounds, top)
		}
		h.SumMS += float64(n) * top * 0.75
	}
	return h
}

// Topics describes what brokers have sent.
func (b *backend) Topics(_ context.Context, name, busName string) ([]web.Topic, error) {
	var out []web.Topic
	found := name == ""
	for _, r := range b.sorted() {
		if name != "" && r.file.Name != name {
			continue
		}
		found = true
		for _, x := range r.buses {
			if x.mqtt == nil || busName != "" && x.name != busName {
				continue
			}
			for _, t := range x.mqtt.Topics() {
				out = append(out, web.Topic{Topic: t.Topic, Count: t.Count, Last: web.Time(t.Last), Payload: excerpt(t.Excerpt)})
			}
		}
	}
	if !found {
		return nil, web.NotFound("rig", name)
	}
	return out, nil
}

// excerpt shows the start of a payload; bytes that are no text as \x.. .
func excerpt(p []byte) string {
	if utf8.Valid(p) && !bytes.ContainsFunc(p, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' }) {
		return string(p)
	}
	q := strconv.QuoteToASCII(string(p))
	return q[1 : len(q)-1]
}

// Ready tells what the service lacks to acquire.
func (b *backend) Ready(context.Context) error {
	if len(b.sorted()) == 0 {
		return errors.New("no rig has started")
	}
	return nil
}

// forwarderStats returns the account of a destination, at most a second old:
// it reads the catalog, and several ask for it.
func (b *backend) forwarderStats(ctx context.Context, f *forwarding) (storage.ForwarderStats, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.asked[f.name]; ok && time.Since(t) < time.Second {
		return b.stats[f.name], b.statErr[f.name]
	}
	s, err := f.forwarder.Stats(ctx)
	if err != nil {
		return s, fmt.Errorf("account of %s: %w", f.name, err)
	}
	if b.stats == nil {
		b.stats, b.asked, b.statErr = map[string]storage.ForwarderStats{}, map[string]time.Time{}, map[string]error{}
	}
	b.stats[f.name], b.asked[f.name] = s, time.Now()
	return s, nil
}

func (b *backend) destinations() []*forwarding {
	all := b.s.forwardings()
	slices.SortFunc(all, func(x, y *forwarding) int { return cmp.Compare(x.name, y.name) })
	return all
}

func (f *rigFeed) names() []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.rigs)
}

// Health reports the state of the service.
func (b *backend) Health(ctx context.Context, l web.Language) (web.HealthReport, error) {
	var h web.HealthReport
	b.clock(&h, l)
	b.disk(&h, l)
	for _, f := range b.destinations() {
		s, err := b.forwarderStats(ctx, f)
		if err != nil {
			return h, err
		}
		h.Forwarders = append(h.Forwarders, web.ForwarderState{
			Name: f.name, Rigs: f.feed.names(), State: s.State, Since: web.Time(s.Since), Stored: s.Stored, Delivered: s.Delivered,
			Waiting: s.Waiting, Refused: s.Refused, LastAnswer: web.Time(s.LastAnswer), What: s.Problem, Do: s.Do,
		})
		b.destination(&h, l, f.name, &s)
	}
	for _, r := range b.sorted() {
		h.Simulated = h.Simulated || r.twin != nil
		for _, x := range r.buses {
			b.busProblems(&h, l, r, x)
		}
		b.calibrations(&h, l, r)
	}
	return h, nil
}

const farApart = 2.0 // seconds

func (b *backend) clock(h *web.HealthReport, l web.Language) {
	c := b.s.watch.get()
	h.Clock = web.ClockState{
		Source: c.Source, Synchronised: c.Synchronised, EstimatedErrorMS: c.EstimatedError.Seconds() * 1e3, DriftMS: c.Drift.Seconds() * 1e3, Steps: c.Steps,
	}
	if c.Source == "kernel" && !c.Synchronised {
		h.Problems = append(h.Problems, web.State(l, web.SeverityWarning, web.CodeClockUnsure))
	}
	if d := c.Drift.Seconds(); d > farApart || d < -farApart {
		h.Problems = append(h.Problems, web.State(l, web.SeverityWarning, web.CodeClockApart, strconv.FormatFloat(d, 'f', 1, 64)))
	}
}

const fewDays = 7.0

func (b *backend) disk(h *web.HealthReport, l web.Language) {
	s := b.s.store.Stats()
	d := &h.Store
	d.Dir, d.Bytes, d.Written = s.Dir, s.Bytes, s.Written
	d.FreeBytes = max(0, s.Free)
	if s.DaysLeft > 0 {
		days := s.DaysLeft
		d.DaysLeft = &days
		d.BytesPerDay = float64(s.Free) / days
	}
	limit := func(i int) time.Duration {
		if n := s.Commit.Bound(i); n > 0 {
			return time.Duration(n)
		}
		return 2 * time.Duration(s.Commit.Bound(i-1))
	}
	d.Commit, d.Age = histogram(s.Commit.Counts[:], limit), histogram(s.Age.Counts[:], limit)
	d.Commit.SumMS, d.Age.SumMS = float64(s.Commit.Sum)/1e6, float64(s.Age.Sum)/1e6
	d.CommitP99MS, d.AgeP99MS = float64(s.Commit.Quantile(0.99))/1e6, float64(s.Age.Quantile(0.99))/1e6
	add := func(severity string, code web.Code, args ...string) {
		p := web.State(l, severity, code, args...)
		h.Problems = append(h.Problems, p)
		d.Warning = p.What
	}
	r := b.s.store.Recovery()
	if r.Mount != "" {
		add(web.SeverityWarning, web.CodeStoreMount, r.Mount)
	}
	for _, f := range r.Findings {
		if f.Code != "crash" { // its gap says it all
			add(web.SeverityWarning, web.CodeStoreRepaired, f.Detail)
		}
	}
	if d.DaysLeft != nil && *d.DaysLeft < fewDays && time.Since(b.began) > time.Minute {
		add(web.SeverityWarning, web.CodeStoreFull, strconv.FormatFloat(*d.DaysLeft, 'f', 1, 64))
	}
	if s.Problem != "" {
		add(web.SeverityError, web.CodeStoreHeld, s.Problem)
	}
}

func (b *backend) destination(h *web.HealthReport, l web.Language, name string, s *storage.ForwarderStats) {
	waiting := strconv.FormatUint(s.Waiting, 10)
	var p web.ProblemDocument
	switch s.State {
	case storage.ForwarderHolding:
		p = web.State(l, web.SeverityError, web.CodeSinkHolds, name, s.Problem, waiting, s.Do)
	case storage.ForwarderRetrying:
		p = web.State(l, web.SeverityWarning, web.CodeSinkRetries, name, s.Problem, waiting)
	}
	if p.Code != "" {
		p.Since = web.Time(s.Since)
		h.Problems = append(h.Problems, p)
	}
	if s.Refused > 0 {
		h.Problems = append(h.Problems, web.State(l, web.SeverityWarning, web.CodeSinkRefused, name, strconv.FormatUint(s.Refused, 10)))
	}
}

func (b *backend) busProblems(h *web.HealthReport, l web.Language, r *rig, x *bus) {
	state := x.collector.State()
	add := func(severity string, since int64, group string, code web.Code, args ...string) {
		p := web.State(l, severity, code, args...)
		p.Since, p.Rig, p.Bus, p.Group = web.Time(since), r.file.Name, x.name, group
		h.Problems = append(h.Problems, p)
	}
	if !state.Up {
		add(web.SeverityError, state.Since, "", web.CodeBusDown, x.name, state.Problem)
	}
	for _, g := range state.Groups {
		_, name, _ := strings.Cut(string(g.Group), "/")
		if state.Up && !g.Running && g.Waiting != "" {
			add(web.SeverityError, 0, name, web.CodeGroupWaits, name, g.Waiting)
		}
		if n, all := g.Missed[acquisition.ReasonOverrun], g.Stored+g.Missed[acquisition.ReasonOverrun]; n > 10 && n*100 > all {
			add(web.SeverityWarning, 0, name, web.CodeOverrun, name, strconv.FormatUint(n, 10), strconv.FormatUint(all, 10))
		}
	}
	if x.mqtt != nil {
		if x.mqtt.Stats().Takeover {
			add(web.SeverityError, 0, "", web.CodeTakeover, x.name)
		}
		return
	}
	for _, u := range x.modbus.Stats().Units {
		if u.Quarantined && state.Up {
			at := int64(0)
			if u.LastFault != nil {
				at = u.LastFault.Time
			}
			add(web.SeverityError, at, "", web.CodeUnitAway, strconv.Itoa(int(u.Unit)), u.Device)
		}
		if u.Stopped > 0 {
			add(web.SeverityError, 0, "", web.CodeRequestsRest, strconv.Itoa(u.Stopped), u.Device)
		}
	}
}

func (b *backend) calibrations(h *web.HealthReport, l web.Language, r *rig) {
	for i := range r.file.Channels {
		c := &r.file.Channels[i]
		due, ok := calibrationDue(c)
		if !ok || time.Unix(0, b.s.clock.Now()).Before(due.AddDate(0, 0, 1)) {
			continue
		}
		p := web.State(l, web.SeverityWarning, web.CodeCalibrationOver, c.Name, due.Format(time.DateOnly))
		p.Rig, p.Channel = r.file.Name, c.Name
		h.Problems = append(h.Problems, p)
	}
}

// calibrationDue returns the last day of a channel's newest certificate.
func calibrationDue(c *configs.Channel) (time.Time, bool) {
	if c.Instrument == nil || len(c.Instrument.Certificates) == 0 {
		return time.Time{}, false
	}
	return c.Instrument.Certificates[len(c.Instrument.Certificates)-1].Due, true
}
