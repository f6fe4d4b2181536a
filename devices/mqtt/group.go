package mqtt

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"slices"

	"pneudaq/acquisition"
)

// group is one group of a client: its topics, its decoders and its track.
type group struct {
	o     *GroupOptions
	g     *acquisition.Group
	c     *Client
	track *track
	parts []part
	will  string // topic of the presence
	all   uint64 // every part

	joins  []*burst           // scans whose parts have not all come
	joined [recentJoins]joint // scans whose parts have
	joinN  int
	stale  map[string]bool // topics whose retained message was told about
}

const (
	recentJoins = 256
	openJoins   = 16 // scans that may wait for parts
	mostParts   = 64
)

// joint is a scan put together from several topics.
type joint struct {
	key    uint64
	parts  uint64
	hashes []uint64
}

// part is one topic filter of a group with the channels that it carries.
type part struct {
	filter string
	decode decodeFunc
	cols   []int
}

func newGroup(o *GroupOptions, c *Client) (*group, error) {
	plan, err := o.plan()
	if err != nil {
		return nil, err
	}
	desc := o.Group
	desc.Words, desc.Exchanges, desc.Channels = 0, 0, nil
	numbered := o.Sequence.Field != "" || o.Payload.Format == FormatBinary && o.Payload.Layout.Seq.Size > 0
	desc.Completeness = acquisition.ByNothing
	switch {
	case numbered && o.Sequence.Clock:
		return nil, errors.New("sequence: a number and the sample clock are both named; one of them gives the slots")
	case numbered, o.Sequence.Clock:
		desc.Completeness = acquisition.BySequence
	}
	g := &group{o: o, c: c, stale: map[string]bool{}}
	columns, topics, err := g.layout(&desc)
	if err != nil {
		return nil, err
	}
	if err := g.check(&desc, len(topics)); err != nil {
		return nil, err
	}
	g.g = &desc
	if !o.AtMostOnce {
		// What waits is not acknowledged, and the broker stops at the window.
		if o.Order = min(o.Order, c.o.Window/2-1); o.Order == 0 {
			o.Order = -1
		}
	}
	g.track = newTrack(o, g.g, &c.out)
	g.track.logger = c.o.Logger
	g.track.refuse = func(b *burst, why string) { c.refuse(b.topic, b.payload, why, nil) }
	channelOf := make([]int, 0, len(desc.Channels))
	for i := range desc.Channels {
		if o.Channels[i].Decoding.Origin == acquisition.FromNumbers && !o.Channels[i].Borrowed {
			channelOf = append(channelOf, i)
		}
	}
	g.track.columns = channelOf
	for i, t := range topics {
		p := plan
		p.columns = columns[i]
		d, err := newDecoder(&p)
		if err != nil {
			return nil, err
		}
		var cols []int
		for _, col := range p.columns {
			cols = append(cols, col.col)
		}
		g.parts = append(g.parts, part{filter: t, decode: d, cols: cols})
	}
	if err := g.partsOf(); err != nil {
		return nil, err
	}
	if g.all != 0 && !o.AtMostOnce && len(topics) > c.o.Window {
		return nil, fmt.Errorf("one scan comes in %d messages, but the broker sends only %d unacknowledged; raise its window (max_inflight_messages) and window", len(topics), c.o.Window)
	}
	return g, nil
}

// layout gives every channel its column and sorts the columns by topic.
func (g *group) layout(desc *acquisition.Group) (columns [][]column, topics []string, err error) {
	o := g.o
	var own []string
	for _, t := range o.Topics {
		t, err := expand(t, o.Device)
		if err != nil {
			return nil, nil, err
		}
		own = append(own, t)
	}
	at := 0
	byTopic := map[string]int{}
	add := func(topic string, c column) {
		i, ok := byTopic[topic]
		if !ok {
			i = len(topics)
			byTopic[topic] = i
			topics = append(topics, topic)
			columns = append(columns, nil)
		}
		columns[i] = append(columns[i], c)
	}
	names := map[string]bool{}
	for i := range o.Channels {
		c := &o.Channels[i]
		switch {
		case names[c.Name]:
			return nil, nil, fmt.Errorf("there are two channels %s", c.Name)
		case c.Decoding.Origin == acquisition.FromWords:
			c.Decoding.Origin = acquisition.FromNumbers
		}
		names[c.Name] = true
		if c.Decoding.Origin != acquisition.FromNumbers || c.Borrowed {
			continue
		}
		c.Decoding.At = at
		col := column{name: c.Name, field: c.Field, col: at, texts: c.Texts, sentinels: c.Decoding.Sentinels}
		at++
		carriers := own
		if c.Topic != "" {
			t, err := expand(c.Topic, o.Device)
			if err != nil {
				return nil, nil, fmt.Errorf("channel %s: %w", c.Name, err)
			}
			carriers = []string{t}
		}
		if len(carriers) == 0 {
			return nil, nil, fmt.Errorf("channel %s: no topic; name one for the group or the channel", c.Name)
		}
		if c.Field == "" && o.Payload.Format != FormatNumber && o.Payload.Format != FormatBinary {
			return nil, nil, fmt.Errorf("channel %s: no field; say where in the payload its value is", c.Name)
		}
		for _, t := range carriers {
			add(t, col)
		}
		if c.Address == "" {
			c.Address = "topic " + carriers[0]
			if c.Field != "" {
				c.Address += " field " + c.Field
			}
		}
	}
	if at == 0 {
		return nil, nil, errors.New("no channel takes a value from a payload")
	}
	for i := range o.Channels {
		c := &o.Channels[i]
		if c.Borrowed {
			c.Decoding.Origin = acquisition.FromNumbers
			c.Decoding.At = at
			at++
		}
	}
	for i := range o.Channels {
		desc.Channels = append(desc.Channels, o.Channels[i].Channel)
	}
	desc.Numbers = at
	if o.Presence.Topic != "" {
		if g.will, err = expand(o.Presence.Topic, o.Device); err != nil {
			return nil, nil, fmt.Errorf("presence: %w", err)
		}
	}
	return columns, topics, nil
}

// check looks at what must fit together.
func (g *group) check(desc *acquisition.Group, topics int) error {
	o := g.o
	many := o.Payload.Format == FormatArrays || o.Payload.Format == FormatBinary
	step := o.Group.Period > 0 || o.Time.Step != "" || o.Payload.Format == FormatBinary && o.Payload.Layout.Dt.Size > 0
	timed := o.Time.Field != "" || o.Payload.Format == FormatBinary && o.Payload.Layout.T0.Size > 0 ||
		(o.Payload.Format == FormatLine || o.Payload.Format == FormatSparkplug) && o.Time.Basis != BasisArrival
	switch {
	case o.Sequence.Samples < 0:
		return errors.New("sequence: samples is negative")
	case many && !step:
		return errors.New("the distance of samples is not known; state the group's period or the field of the step")
	case desc.Completeness == acquisition.BySequence && many && !o.Sequence.Clock && !o.Sequence.CountsSamples && o.Sequence.Samples == 0:
		return errors.New("sequence: state how many samples a message has (samples), or that the number counts samples")
	case o.Sequence.Clock && !timed:
		return errors.New("sequence: slots shall come from the sample clock, but the payload has no time; name its field")
	case o.Sequence.Clock && !step:
		return errors.New("sequence: slots shall come from the sample clock; state the group's period or the field of the step")
	case o.Sequence.Clock && (o.Payload.Format == FormatRows || o.Payload.Format == FormatCSV || o.Payload.Format == FormatLine) && o.Group.Period <= 0:
		return errors.New("sequence: slots shall come from the sample clock; state the group's period")
	case o.Time.Basis == BasisDevice && !timed:
		return errors.New("time: basis device, but the payload has no time; name its field")
	case o.Time.Basis == BasisFitted && !timed && (desc.Completeness != acquisition.BySequence || o.Group.Period <= 0):
		return errors.New("time: basis fitted needs a device time, or numbers and the group's period")
	case o.Group.ExpectEvery < 0:
		return errors.New("expect_every is negative")
	case topics > mostParts:
		return fmt.Errorf("%d topics; at most %d can be joined into one group", topics, mostParts)
	}
	return nil
}

// partsOf finds out whether one scan comes in several messages.
func (g *group) partsOf() error {
	for i := range g.parts {
		for j := range i {
			a, b := &g.parts[i], &g.parts[j]
			if slices.Equal(a.cols, b.cols) {
				continue // alternatives: each carries it all
			}
			g.all = 1<<len(g.parts) - 1
			if overlap(a.filter, b.filter) {
				return fmt.Errorf("topics %s and %s overlap, so a message could be either", b.filter, a.filter)
			}
		}
	}
	return nil
}

// overlap reports whether a topic may fall under both filters, as far as one
// covers the other.
func overlap(a, b string) bool { return covers(a, b) || covers(b, a) }

func (g *group) filters() []subscription {
	qos := byte(1)
	if g.o.AtMostOnce {
		qos = 0
	}
	var all []subscription
	for _, p := range g.parts {
		all = append(all, subscription{p.filter, qos})
	}
	if g.will != "" {
		all = append(all, subscription{g.will, 1})
	}
	return all
}

func (g *group) route(topic string) []route {
	if g.will != "" && (topic == g.will || isWild(g.will) && matches(g.will, topic)) {
		return []route{{g: g, presence: true}}
	}
	for i, p := range g.parts {
		if topic == p.filter || isWild(p.filter) && matches(p.filter, topic) {
			return []route{{g: g, part: i}}
		}
	}
	return nil
}

// retained counts a retained message; the first of a topic is told.
func (g *group) retained(topic string) {
	if len(g.stale) < 100 && !g.stale[topic] {
		g.stale[topic] = true
		g.c.o.Logger.Info("retained message is not a live reading", slog.String("group", string(g.g.Key())), topicAttr(topic))
	}
}

// presence takes what a device or its last will says about being there. A
// retained message counts here: it is a state.
func (g *group) presence(m message, f *inflight) {
	t := g.track
	b := t.take()
	b.arrival = m.arrival
	if f != nil {
		b.msgs = append(b.msgs, f)
	}
	if string(m.payload) == g.o.Presence.Offline {
		b.offline = true
		t.accept(b, m.arrival)
		return
	}
	t.acknowledge(b)
}

// message decodes a payload and places it.
func (g *group) message(part int, m message, hash content, f *inflight, now int64) {
	t := g.track
	t.counts.Messages++
	b := t.take()
	b.topic, b.payload, b.arrival, b.hash, b.dup, b.part = m.topic, m.payload, m.arrival, hash.mark64(), m.dup, part
	err := g.parts[part].decode(m.topic, m.payload, m.arrival, b)
	if err == nil {
		err = b.check()
	}
	if err == nil && b.rows > 1 && !b.hasStep && len(b.times) == 0 && t.rate.step() <= 0 {
		err = errors.New("it holds several samples and nothing tells their distance; state the group's period")
	}
	if err != nil {
		t.counts.Quarantined++
		if t.counts.Quarantined == 1 {
			g.c.o.Logger.Warn("payload cannot be used", slog.String("group", string(g.g.Key())), topicAttr(m.topic), slog.String("why", err.Error()))
		}
		g.c.refuse(m.topic, m.payload, err.Error(), f)
		t.give(b)
		return
	}
	t.counts.Undecodable += uint64(b.unusable)
	if f != nil {
		b.msgs = append(b.msgs, f)
		b.marks = append(b.marks, appendMark(make([]byte, 0, markSize), m.id, g.c.marks.session, hash))
	}
	if g.all == 0 || b.offline {
		t.accept(b, now)
		return
	}
	g.join(b, now)
}

// key is what the parts of one scan have in common; ok is false if they have
// nothing but their time of arrival.
func (b *burst) key() (uint64, bool) {
	switch {
	case b.hasSeq:
		return b.seq, true
	case b.hasTime:
		return uint64(b.time), true
	}
	return 0, false
}

// join puts the parts of a scan together.
func (g *group) join(b *burst, now int64) {
	t := g.track
	key, keyed := b.key()
	bit := uint64(1) << b.part
	if keyed {
		if j := g.was(key); j != nil {
			switch {
			case j.parts&bit != 0 && j.hashes[b.part] == b.hash:
				t.repeat(b)
				return
			case j.parts&bit == 0:
				t.counts.Late++
				t.drop(b, "it is part of a scan that was delivered without it; raise join")
				return
			}
		}
	}
	for i := 0; i < len(g.joins); i++ {
		e := g.joins[i]
		k, has := e.key()
		if has != keyed || k != key {
			continue
		}
		if e.parts&bit != 0 {
			if keyed {
				e.msgs = append(e.msgs, b.msgs...)
				t.counts.Duplicates++
				t.give(b)
				return
			}
			g.close(i, now) // the next value of a channel begins the next scan
			break
		}
		g.merge(e, b)
		if e.parts == g.all {
			g.close(i, now)
		}
		return
	}
	b.parts = bit
	b.hashes = append(b.hashes[:0], make([]uint64, len(g.parts))...)
	b.hashes[b.part] = b.hash
	b.deadline = now + int64(g.o.Join)
	g.joins = append(g.joins, b)
	if len(g.joins) > openJoins {
		g.close(0, now)
	}
}

// merge moves a part into the scan that it belongs to.
func (g *group) merge(e, b *burst) {
	e.parts |= 1 << b.part
	e.hashes[b.part] = b.hash
	e.arrival = max(e.arrival, b.arrival)
	e.dup = e.dup || b.dup
	if !e.hasTime && b.hasTime {
		e.time, e.hasTime = b.time, true
	}
	if !e.hasStep && b.hasStep {
		e.step, e.hasStep = b.step, true
	}
	for row := range b.rows {
		if e.grow(row) != nil {
			break // both are within the limit, so this cannot be
		}
		for _, col := range g.parts[b.part].cols {
			e.numbers[row*e.cols+col], e.quality[row*e.cols+col] = b.numbers[row*b.cols+col], b.quality[row*b.cols+col]
		}
	}
	e.msgs = append(e.msgs, b.msgs...)
	e.marks = append(e.marks, b.marks...)
	g.track.give(b)
}

// close places a scan with the parts that it has.
func (g *group) close(i int, now int64) {
	e := g.joins[i]
	g.joins = slices.Delete(g.joins, i, i+1)
	if key, keyed := e.key(); keyed {
		j := &g.joined[g.joinN%recentJoins]
		g.joinN++
		j.key, j.parts, j.hashes = key, e.parts, append(j.hashes[:0], e.hashes...)
	}
	e.hash = 0
	for _, h := range e.hashes {
		e.hash = bits.RotateLeft64(e.hash, 7) ^ h
	}
	g.track.accept(e, now)
}

// was returns the recent scan with a key, nil if there is none.
func (g *group) was(key uint64) *joint {
	for i := range min(g.joinN, recentJoins) {
		if j := &g.joined[(g.joinN-1-i)%recentJoins]; j.key == key {
			return j
		}
	}
	return nil
}

// parted places scans that nothing but their time of arrival holds together:
// what comes with the next connection is not part of them.
func (g *group) parted(now int64) {
	for i := 0; i < len(g.joins); {
		if _, keyed := g.joins[i].key(); keyed {
			i++
			continue
		}
		g.close(i, now)
	}
}

// flush ends all waiting.
func (g *group) flush(now int64) {
	for len(g.joins) > 0 {
		g.close(0, now)
	}
	g.track.flush()
}

// tick does what is due and returns when something is due again.
func (g *group) tick(now int64) int64 {
	wake := int64(math.MaxInt64)
	for i := 0; i < len(g.joins); {
		if g.joins[i].deadline <= now {
			g.close(i, now)
			continue
		}
		wake = min(wake, g.joins[i].deadline)
		i++
	}
	g.track.tick(now)
	return min(wake, g.track.deadline())
}
