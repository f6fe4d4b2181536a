package mqtt

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"pneudaq/acquisition"
)

// Bounds of what a track remembers.
const (
	recentBursts   = 512         // placed messages that a repeat is recognised by
	recentGaps     = 256         // gaps that a late message may still fill
	jumpMessages   = 1000        // numbers may jump by this many messages whatever the time
	jumpWithout    = 1 << 20     // and by this many when nothing tells the time
	settle         = int64(60e9) // after a reconnect, backlog may still arrive this long
	pauseEndsLate  = int64(50e6) // a pause this long ends a backlog
	backlogLongest = int64(10e9) // without one, a backlog is taken to end after this
	silentCeiling  = int64(60e9) // a silence is written at least this often
)

// outbox is where tracks put deliveries, in order, until the collector has
// taken them.
type outbox struct {
	list []*acquisition.Delivery
	free map[*acquisition.Group][]*acquisition.Delivery // their scans keep their memory
}

// give takes a delivery back once nobody uses it.
func (o *outbox) give(d *acquisition.Delivery) {
	const most = 16
	if o.free == nil {
		o.free = map[*acquisition.Group][]*acquisition.Delivery{}
	}
	if free := o.free[d.Group]; len(free) < most {
		o.free[d.Group] = append(free, d)
	}
}

// take returns an empty delivery at the end of the list.
func (o *outbox) take(g *acquisition.Group) *acquisition.Delivery {
	var d *acquisition.Delivery
	if free := o.free[g]; len(free) > 0 {
		d, o.free[g] = free[len(free)-1], free[:len(free)-1]
		*d = acquisition.Delivery{Scans: d.Scans[:0], Gaps: d.Gaps[:0]}
	} else {
		d = &acquisition.Delivery{}
	}
	d.Group = g
	o.list = append(o.list, d)
	return d
}

// reserve makes room for so many scans of a delivery, in one piece each of
// scans, numbers and qualities.
func reserve(d *acquisition.Delivery, n int) {
	have := cap(d.Scans)
	if n <= have {
		return
	}
	scans := make([]acquisition.Scan, n)
	copy(scans, d.Scans[:have])
	numbers := make([]float64, (n-have)*d.Group.Numbers)
	quality := make([]acquisition.Quality, (n-have)*len(d.Group.Channels))
	for i := have; i < n; i++ {
		k, q := d.Group.Numbers, len(d.Group.Channels)
		scans[i].Numbers, numbers = numbers[:k:k], numbers[k:]
		scans[i].Quality, quality = quality[:q:q], quality[q:]
	}
	d.Scans = scans[:len(d.Scans)]
}

// scan appends a scan to a delivery that has room for it. Its numbers and
// quality hold whatever they held before.
func scan(d *acquisition.Delivery) *acquisition.Scan {
	n := len(d.Scans)
	d.Scans = d.Scans[:n+1]
	return &d.Scans[n]
}

// placed is a message that has its slots.
type placed struct {
	slot uint64
	hash uint64
	time int64 // device time
}

// track gives the bursts of one group their slots: order, repeats, losses,
// restarts, time. It is pure: time comes in with the bursts. Not for
// concurrent use.
type track struct {
	o       *GroupOptions
	g       *acquisition.Group
	out     *outbox
	counts  *GroupStats
	refuse  func(b *burst, why string) // keeps a copy of what is not used
	logger  *slog.Logger
	samples uint64 // slots of a message whose number counts messages
	columns []int  // channel of each column of the payload
	free    []*burst

	started  bool
	next     uint64 // first slot without an account
	number   uint64 // of the last message placed, with the wraps counted
	newEpoch bool
	held     []*burst
	recent   [recentBursts]placed
	recentN  int
	gaps     []acquisition.Gap
	loss     acquisition.Reason

	last      int64 // time of the last scan
	device    int64 // device time of the last sample placed
	deviceSet bool
	arrival   int64 // of the last message
	rows      int   // of the last message
	rate      rate
	offset    offset

	since     int64 // arrival of the last message before the last reconnect
	reconnect int64 // when that was, 0: never
	resumed   bool  // the broker kept the session: a backlog may come
	backlog   bool  // and is still coming
	steps     int   // messages in a row whose device time is behind what is placed
	stepTime  int64
	skewed    bool
	gone      bool // the device said that it leaves

	silentAt   int64 // up to here silence is written or not one, 0: not watched
	silentWake int64 // when to look again
	silentFrom int64 // arrival of the last message
}

func newTrack(o *GroupOptions, g *acquisition.Group, out *outbox) *track {
	t := &track{o: o, g: g, out: out, counts: &GroupStats{Group: g.Key()}, samples: uint64(max(o.Sequence.Samples, 1))}
	if o.Sequence.CountsSamples {
		t.samples = 1
	}
	t.rate.nominal = float64(o.Group.Period)
	t.loss = acquisition.ReasonSeqGap
	return t
}

// take returns an empty burst.
func (t *track) take() *burst {
	var b *burst
	if n := len(t.free); n > 0 {
		b, t.free = t.free[n-1], t.free[:n-1]
	} else {
		b = &burst{}
	}
	b.reset(len(t.columns))
	return b
}

func (t *track) give(b *burst) {
	b.payload = nil
	if len(t.free) < 64 {
		t.free = append(t.free, b)
	}
}

// resume tells what is stored already: what comes next is compared with it.
func (t *track) resume(slot uint64, last int64) {
	t.last = max(t.last, last)
	if t.started || t.o.Sequence.Clock {
		return
	}
	t.started, t.next = true, slot+1
	t.number = slot / t.samples
	t.arrival, t.since = last, last
	if t.absolute() {
		t.device, t.deviceSet = last, true
	}
}

// absolute reports whether the device's time is used as the samples' time.
func (t *track) absolute() bool {
	return t.o.Time.Basis == BasisDevice || t.o.Time.Basis == BasisAuto
}

// connected tells that the connection is new. kept: the broker kept the
// session, so nothing is lost by it.
func (t *track) connected(kept, again bool, now int64) { //nolint:revive // states
	if again || kept {
		t.since, t.reconnect = t.arrival, now
		if t.arrival == 0 {
			t.since = now
		}
	}
	t.resumed, t.backlog = kept, kept
	t.loss = acquisition.ReasonSeqGap
	switch {
	case again && t.o.AtMostOnce:
		t.loss = acquisition.ReasonUnreachable
	case again && !kept:
		t.loss = acquisition.ReasonBrokerLoss
	}
	if t.silentAt == 0 {
		return
	}
	if t.loss != acquisition.ReasonSeqGap {
		t.silence(now, t.loss)
	}
	t.silentAt = now + int64(t.o.Group.ExpectEvery)
	t.silentWake = t.silentAt
}

// accept places a burst. It owns the burst from here on.
func (t *track) accept(b *burst, now int64) {
	if since := b.arrival - t.reconnect; t.backlog && !b.dup && since > pauseEndsLate &&
		(t.arrival != 0 && b.arrival-t.arrival > pauseEndsLate || since > backlogLongest) {
		t.backlog = false
	}
	if b.offline {
		t.offline(b)
		return
	}
	t.heard(b.arrival)
	b.stated = b.time
	if !b.hasStep {
		b.step = t.rate.step()
	} else if t.rate.nominal == 0 {
		t.rate.nominal = b.step
	}
	t.judge(b)
	if t.g.Completeness == acquisition.BySequence {
		t.sequenced(b, now)
	} else {
		t.counted(b)
	}
}

// heard ends a silence.
func (t *track) heard(arrival int64) {
	if e := int64(t.o.Group.ExpectEvery); e > 0 {
		t.silence(arrival, t.silentReason())
		if t.counts.Silent {
			t.counts.Silent = false
			t.logger.Info("group is heard again", slog.String("group", string(t.g.Key())),
				slog.Duration("silent", time.Duration(arrival-t.silentFrom).Round(time.Millisecond)))
		}
		t.silentAt, t.silentWake, t.silentFrom = arrival+e, arrival+e, arrival
	}
	t.gone = false
}

// judge compares the device's clock with ours.
func (t *track) judge(b *burst) {
	if !b.hasTime || !t.absolute() || b.historical {
		return
	}
	end := b.at(b.rows - 1)
	off := b.arrival - end
	// A backlog is late as a whole, but it arrives faster than it was made.
	draining := t.resumed && b.arrival-t.reconnect < settle &&
		(!t.deviceSet || b.arrival-t.arrival < (end-t.device)/2 || t.arrival < t.reconnect || b.dup)
	t.counts.ClockOffset = time.Duration(off)
	switch {
	case off > int64(t.o.MaxAge), off < -int64(t.o.MaxAge):
		b.refused = acquisition.ReasonSkew
	case draining && off > 0:
	case off > int64(t.o.Skew), off < -int64(t.o.Skew):
		t.clock(true, off)
		t.mark(b, acquisition.ReasonSkew)
	default:
		t.clock(false, off)
	}
}

func (t *track) clock(skewed bool, off int64) { //nolint:revive // a state, not a switch
	if skewed == t.skewed {
		return
	}
	t.skewed = skewed
	if skewed {
		t.logger.Warn("device clock is off", slog.String("group", string(t.g.Key())), slog.Duration("behind", time.Duration(off)),
			slog.String("do", "set the clock of the device, or check time.unit and zone in the rig file"))
		return
	}
	t.logger.Info("device clock is right again", slog.String("group", string(t.g.Key())))
}

// mark lowers the quality of all good values.
func (t *track) mark(b *burst, r acquisition.Reason) {
	for i, q := range b.quality {
		if q == acquisition.Good {
			b.quality[i] = acquisition.Quality(r)
		}
	}
}

// span returns how many slots a burst takes.
func (t *track) span(b *burst) uint64 {
	switch {
	case len(b.seqs) > 0:
		return b.seqs[len(b.seqs)-1] - b.seqs[0] + 1
	case t.o.Sequence.Clock || t.o.Sequence.CountsSamples:
		return uint64(b.rows)
	}
	return t.samples
}

// slotAt returns the slot of a row.
func (b *burst) slotAt(row int) uint64 {
	if len(b.seqs) > 0 {
		return b.slot + b.seqs[row] - b.seqs[0]
	}
	return b.slot + uint64(row)
}

// sequenced places a burst by its number or its clock.
func (t *track) sequenced(b *burst, now int64) {
	if !t.o.Sequence.Clock && !b.hasSeq || t.o.Sequence.Clock && !b.hasTime {
		t.drop(b, "it has no sequence number or time to place it by")
		return
	}
	if t.o.Sequence.Clock && b.refused != acquisition.ReasonNone {
		t.tooFar(b)
		t.acknowledge(b)
		return
	}
	if b.refused != acquisition.ReasonNone {
		t.tooFar(b)
	}
	if n := t.span(b); len(b.seqs) == 0 && uint64(b.rows) > n {
		t.drop(b, fmt.Sprintf("it holds %d samples, the rig file says %d a message", b.rows, n))
		return
	}
	var ok bool
	if t.o.Sequence.Clock {
		ok = t.placeByClock(b)
	} else {
		ok = t.placeByNumber(b)
	}
	if !ok {
		t.drop(b, "its number is before the first that was seen")
		return
	}
	switch {
	case !t.started:
		t.begin(b)
		t.emit(b)
	case b.slot > t.next:
		if t.implausible(b) {
			t.restart(b)
			return
		}
		t.wait(b, now)
	case b.slot+t.span(b) <= t.next:
		t.old(b)
	default:
		t.emit(b)
		t.drain()
	}
}

func (t *track) placeByNumber(b *burst) bool {
	n := b.seq
	if bits := t.o.Sequence.Bits; bits > 0 && t.started {
		mod := uint64(1) << bits
		d := (n - t.number) & (mod - 1)
		switch {
		case d < mod/2:
			n = t.number + d
		case t.number >= mod-d:
			n = t.number - (mod - d)
		default:
			return false
		}
	}
	b.seq = n
	if t.samples > 1 && n > math.MaxUint64/t.samples {
		return false
	}
	b.slot = n * t.samples
	return true
}

func (t *track) placeByClock(b *burst) bool {
	step := t.rate.step()
	if step <= 0 {
		return false
	}
	if !t.started || !t.deviceSet {
		b.slot = byClock(b.time, step)
		return true
	}
	ahead := float64(b.time-t.device)/step - 1 // slots beyond the next
	unit := float64(t.o.Sequence.Samples)
	if unit == 0 && b.rows == t.rows {
		unit = float64(b.rows) // messages of one length lose whole messages
	}
	ahead = math.Round(ahead/max(unit, 1)) * max(unit, 1)
	if ahead < 0 && -ahead > float64(t.next) {
		b.slot = 0
		return true
	}
	b.slot = uint64(int64(t.next) + int64(ahead))
	return true
}

// byClock returns the slot of a time on the grid of a step.
func byClock(t int64, step float64) uint64 {
	return uint64(max(0, int64(math.Floor(float64(t)/step+1e-3))))
}

// begin starts an account with a burst. The first to arrive need not be the
// first that was sent: what is right before it may still come, late.
func (t *track) begin(b *burst) {
	t.started, t.next = true, b.slot
	if before := min(b.slot, uint64(max(t.o.Order, 0))*t.span(b)); before > 0 {
		t.gaps = append(t.gaps, acquisition.Gap{From: b.slot - before, To: b.slot, Reason: acquisition.ReasonSeqGap})
	}
}

// implausible reports whether numbers jump further than time allows: then the
// device began to count anew.
func (t *track) implausible(b *burst) bool {
	jump := b.slot - t.next
	slack := jumpMessages * max(t.samples, uint64(b.rows))
	if jump <= slack {
		return false
	}
	step := b.step
	if step <= 0 {
		return jump > jumpWithout*t.samples
	}
	elapsed := b.arrival - t.arrival
	if t.reconnect != 0 && b.arrival-t.reconnect < settle {
		elapsed = b.arrival - t.since
	}
	if b.hasTime && t.deviceSet && !t.o.Sequence.Clock {
		elapsed = max(elapsed, b.time-t.device)
	}
	return float64(jump) > 4*float64(max(elapsed, 0))/step+float64(slack)
}

// restart begins a new epoch with the burst: the device counts anew.
func (t *track) restart(b *burst) {
	t.flush()
	t.logger.Warn("device counts anew", slog.String("group", string(t.g.Key())), slog.Uint64("after", t.next), slog.Uint64("at", b.slot))
	t.counts.Restarts++
	t.newEpoch = true
	t.recentN, t.gaps = 0, t.gaps[:0]
	t.recent = [recentBursts]placed{}
	t.rate = rate{nominal: t.rate.nominal}
	t.offset = offset{}
	t.deviceSet = false
	if t.o.Sequence.Bits > 0 {
		mask := uint64(1)<<t.o.Sequence.Bits - 1
		b.seq &= mask
		b.slot = b.seq * t.samples
	}
	if t.o.Sequence.Clock {
		b.slot = byClock(b.time, t.rate.nominal)
	}
	t.begin(b)
	t.emit(b)
}

// wait holds a burst whose predecessor is missing.
func (t *track) wait(b *burst, now int64) {
	i := 0
	for i < len(t.held) && t.held[i].slot < b.slot {
		i++
	}
	if i < len(t.held) && t.held[i].slot == b.slot {
		if t.held[i].hash != b.hash && !b.dup {
			t.conflict(b)
			return
		}
		t.counts.Duplicates++
		t.held[i].msgs = append(t.held[i].msgs, b.msgs...)
		t.held[i].marks = append(t.held[i].marks, b.marks...)
		t.give(b)
		return
	}
	b.deadline = now + int64(t.o.Hold)
	t.held = slices.Insert(t.held, i, b)
	for len(t.held) > max(t.o.Order, 0) {
		t.release()
	}
}

// release gives up waiting for what is before the first held burst.
func (t *track) release() {
	b := t.held[0]
	t.held = slices.Delete(t.held, 0, 1)
	t.emit(b)
	t.drain()
}

// drain places held bursts whose predecessors have come.
func (t *track) drain() {
	for len(t.held) > 0 && t.held[0].slot <= t.next {
		b := t.held[0]
		t.held = slices.Delete(t.held, 0, 1)
		t.counts.Reordered++
		if b.slot+t.span(b) <= t.next {
			t.old(b)
			continue
		}
		t.emit(b)
	}
}

// flush gives up all waiting.
func (t *track) flush() {
	for len(t.held) > 0 {
		t.release()
	}
}

func (t *track) remember(slot uint64, b *burst) {
	t.recent[t.recentN%recentBursts] = placed{slot, b.hash, b.stated}
	t.recentN++
}

// remembered returns how a slot was placed before.
func (t *track) remembered(slot uint64) (placed, bool) {
	for i := range min(t.recentN, recentBursts) {
		if p := t.recent[(t.recentN-1-i)%recentBursts]; p.slot == slot {
			return p, true
		}
	}
	return placed{}, false
}

// old takes a burst all of whose slots have an account.
func (t *track) old(b *burst) {
	p, known := t.remembered(b.slot)
	far := t.next-b.slot > uint64(max(t.o.Order, 1)+1)*max(t.span(b), 1)
	// A clock that counts from power-on says nothing about before and after.
	timed := b.hasTime && t.o.Time.Basis != BasisFitted
	same := known && p.hash == b.hash
	switch {
	case same && (b.dup || timed || !far):
		t.repeat(b)
	case t.o.Sequence.Clock:
		switch { // Its clock went back: it is late, or it began anew.
		case t.missing(b):
			t.late(b)
		case b.dup || !far:
			t.repeat(b)
		default:
			t.restart(b)
		}
	case timed && t.deviceSet && b.time > t.device:
		t.restart(b)
	case known && !same && (timed || b.dup):
		t.conflict(b)
	case t.missing(b) && (timed || b.dup || t.next-b.slot <= jumpMessages*t.samples):
		t.late(b)
	case timed || b.dup:
		t.repeat(b)
	default:
		t.restart(b)
	}
}

// missing reports whether any slot of a burst is in a gap.
func (t *track) missing(b *burst) bool {
	for _, g := range t.gaps {
		if b.slot < g.To && b.slot+t.span(b) > g.From {
			return true
		}
	}
	return false
}

// repeat acknowledges a message that was there before, behind the commit that
// holds it.
func (t *track) repeat(b *burst) {
	t.counts.Duplicates++
	t.acknowledge(b)
}

// conflict sets aside what claims a number that other data have.
func (t *track) conflict(b *burst) {
	t.counts.Conflicts++
	t.drop(b, fmt.Sprintf("number %d was there already with other data", b.seq))
}

// drop sets a burst aside and acknowledges it.
func (t *track) drop(b *burst, why string) {
	t.counts.Quarantined++
	t.refuse(b, why)
	t.acknowledge(b)
}

// acknowledge delivers nothing but the acknowledgement.
func (t *track) acknowledge(b *burst) {
	if len(b.msgs) > 0 || len(b.marks) > 0 {
		t.finish(t.out.take(t.g), b)
	}
	t.give(b)
}

// finish adds what makes a delivery recognisable and what it acknowledges.
func (t *track) finish(d *acquisition.Delivery, b *burst) {
	if len(b.marks) > 0 {
		d.Mark = b.marks[0]
		d.Marks = append(d.Marks[:0:0], b.marks[1:]...)
	}
	switch len(b.msgs) {
	case 0:
	case 1:
		d.Ack = b.msgs[0].done
	default:
		all := slices.Clone(b.msgs)
		d.Ack = func() {
			for _, m := range all {
				m.done()
			}
		}
	}
}

// late delivers what arrived after its gap was written, as backfill over it.
func (t *track) late(b *burst) {
	if b.refused != acquisition.ReasonNone {
		t.acknowledge(b)
		return
	}
	t.counts.Late++
	t.mark(b, acquisition.ReasonLate)
	d := t.out.take(t.g)
	d.Backfill = true
	last := int64(math.MinInt64)
	reserve(d, b.rows)
	for i := range b.rows {
		slot := b.slotAt(i)
		if !t.fill(slot) {
			continue
		}
		s := scan(d)
		s.Slot, s.Arrival = slot, b.arrival
		s.Time = max(t.lateTime(b, i, slot), last+1)
		last = s.Time
		t.copy(s, b, i)
	}
	t.finish(d, b)
	t.give(b)
}

func (t *track) lateTime(b *burst, row int, slot uint64) int64 {
	switch {
	case b.hasTime && t.absolute():
		return b.at(row)
	case b.step > 0 && slot < t.next:
		return t.last - int64(math.Round(float64(t.next-1-slot)*b.step))
	}
	return b.arrival - int64(b.rows-1-row)
}

// fill takes a slot out of the remembered gaps.
func (t *track) fill(slot uint64) bool {
	for i, g := range t.gaps {
		if slot < g.From || slot >= g.To {
			continue
		}
		switch {
		case g.Count() == 1:
			t.gaps = slices.Delete(t.gaps, i, i+1)
		case slot == g.From:
			t.gaps[i].From++
		case slot == g.To-1:
			t.gaps[i].To--
		default:
			t.gaps[i].To = slot
			t.gaps = slices.Insert(t.gaps, i+1, acquisition.Gap{From: slot + 1, To: g.To, Reason: g.Reason})
		}
		return true
	}
	return false
}

// miss writes a gap.
func (t *track) miss(d *acquisition.Delivery, from, to uint64, r acquisition.Reason) {
	if from >= to {
		return
	}
	t.counts.Missing += to - from
	d.Gaps = append(d.Gaps, acquisition.Gap{From: from, To: to, Reason: r})
	if r == acquisition.ReasonSkew {
		return
	}
	if len(t.gaps) >= recentGaps {
		t.gaps = slices.Delete(t.gaps, 0, 1)
	}
	t.gaps = append(t.gaps, acquisition.Gap{From: from, To: to, Reason: r})
}

// emit delivers a burst that is in order, with the gap before it.
func (t *track) emit(b *burst) {
	d := t.out.take(t.g)
	d.NewEpoch, t.newEpoch = t.newEpoch, false
	if b.slot > t.next {
		t.miss(d, t.next, b.slot, t.loss)
		t.next = b.slot
	}
	t.loss = acquisition.ReasonSeqGap
	end := b.slot + t.span(b)
	if b.refused != acquisition.ReasonNone {
		t.miss(d, t.next, end, b.refused)
	} else {
		t.times(b)
		reserve(d, b.rows)
		for i := range b.rows {
			slot := b.slotAt(i)
			if slot < t.next {
				continue
			}
			t.miss(d, t.next, slot, acquisition.ReasonSeqGap)
			s := scan(d)
			s.Slot, s.Arrival = slot, b.arrival
			t.stamp(s, b, i, slot)
			t.copy(s, b, i)
			t.next = slot + 1
		}
		t.miss(d, t.next, end, acquisition.ReasonSeqGap)
		t.counts.Samples += uint64(len(d.Scans))
	}
	t.next = max(t.next, end)
	number := b.seq
	if n := len(b.seqs); n > 0 {
		number += b.seqs[n-1] - b.seqs[0]
	}
	if t.number = max(t.number, number); d.NewEpoch {
		t.number = number
	}
	t.remember(b.slot, b)
	t.arrival, t.rows = b.arrival, b.rows
	t.finish(d, b)
	t.give(b)
}

// times brings the fits up to date with a burst that is placed.
func (t *track) times(b *burst) {
	lastSlot := b.slotAt(b.rows - 1)
	if b.hasTime {
		end := b.at(b.rows - 1)
		t.rate.add(lastSlot, end)
		t.device, t.deviceSet = end, true
		if t.rate.off && !t.counts.StepWrong {
			t.counts.StepWrong = true
			t.logger.Warn("distance of samples is not what was stated", slog.String("group", string(t.g.Key())),
				slog.Duration("stated", time.Duration(t.rate.nominal)), slog.String("do", "correct the group's period or the field of the step"))
		}
	}
	if t.o.Time.Basis == BasisFitted {
		dev := t.device
		if !b.hasTime {
			dev = int64(float64(lastSlot) * t.rate.nominal)
		}
		t.offset.add(dev, b.arrival)
	}
}

// stamp gives a scan its time, after all times before it.
func (t *track) stamp(s *acquisition.Scan, b *burst, row int, slot uint64) {
	var at int64
	switch {
	case t.absolute() && b.hasTime:
		at = b.at(row)
		if row == 0 && b.rows > 1 && at <= t.last && t.last-at < int64(b.step*float64(b.rows)/2) && len(b.times) == 0 {
			// Its clock runs a little slow: go on evenly instead of bunching.
			shift := t.last + int64(b.step) - at
			b.time += shift
			at += shift
		}
	case t.o.Time.Basis == BasisFitted && b.hasTime:
		at = b.at(row) + t.offset.off
	case t.o.Time.Basis == BasisFitted:
		at = int64(float64(slot)*t.rate.nominal) + t.offset.off
	default:
		at = b.arrival - int64(math.Round(float64(b.rows-1-row)*b.step))
		if t.backlog || b.dup {
			t.markRow(b, row, acquisition.ReasonLate)
		}
	}
	if at <= t.last {
		// The clock went back. The arrival is nearer to the truth than a
		// bunch of samples a nanosecond apart.
		at = max(t.last+1, b.arrival-int64(math.Round(float64(b.rows-1-row)*b.step)))
		if t.o.Time.Basis != BasisArrival && (b.hasTime || t.o.Time.Basis == BasisFitted) {
			t.markRow(b, row, acquisition.ReasonSkew)
		}
	}
	s.Time, t.last = at, at
}

func (t *track) markRow(b *burst, row int, r acquisition.Reason) {
	q := b.quality[row*b.cols : (row+1)*b.cols]
	for i := range q {
		if q[i] == acquisition.Good {
			q[i] = acquisition.Quality(r)
		}
	}
}

// copy fills a scan's numbers and quality from a row. What is not in the
// payload, borrowed and derived channels, is good until somebody says
// otherwise.
func (t *track) copy(s *acquisition.Scan, b *burst, row int) {
	n := copy(s.Numbers, b.numbers[row*b.cols:(row+1)*b.cols])
	clear(s.Numbers[n:])
	if len(t.columns) < len(s.Quality) {
		clear(s.Quality)
	}
	q := b.quality[row*b.cols : (row+1)*b.cols]
	for col, ch := range t.columns {
		s.Quality[ch] = q[col]
	}
}

func (t *track) tooFar(b *burst) {
	t.counts.Refused++
	t.refuse(b, fmt.Sprintf("its time %s is %s from ours, further than %s%s", time.Unix(0, b.time).UTC().Format(time.RFC3339),
		time.Duration(b.arrival-b.time).Round(time.Second), t.o.MaxAge, otherUnit(b.time, b.arrival, t.o.Time.Unit)))
}

// otherUnit says which unit a device probably means.
func otherUnit(t, arrival int64, stated TimeUnit) string {
	per := stated.nanoseconds()
	if per == 0 {
		return "; set the clock of the device"
	}
	for _, u := range []TimeUnit{UnitSeconds, UnitMilli, UnitMicro, UnitNano} {
		v := float64(t) / float64(per) * float64(u.nanoseconds())
		if math.Abs(v-float64(arrival)) < 400*24*3600e9 && u != stated {
			return fmt.Sprintf("; it would fit with time.unit %s instead of %s", u, stated)
		}
	}
	return "; set the clock of the device"
}

// counted places a burst of a group without numbers: slots count samples.
func (t *track) counted(b *burst) {
	if b.refused != acquisition.ReasonNone {
		t.tooFar(b)
		t.acknowledge(b)
		return
	}
	t.started = true
	switch {
	case b.historical:
		t.past(b)
	case !b.hasTime || !t.deviceSet || b.time > t.device:
		t.steps = 0
		t.emitCounted(b)
	case t.twice(b):
		t.repeat(b)
	case !t.absolute(), t.stepped(b):
		t.emitCounted(b)
	default:
		t.past(b)
	}
}

// twice reports whether a message with this device time and content was there.
func (t *track) twice(b *burst) bool {
	for i := range min(t.recentN, recentBursts) {
		if p := t.recent[(t.recentN-1-i)%recentBursts]; p.time == b.stated && p.hash == b.hash {
			return true
		}
	}
	return false
}

// stepped reports whether the device's clock was set back: message after
// message is behind what is placed, but in order among themselves.
func (t *track) stepped(b *burst) bool {
	if b.time > t.stepTime && t.steps > 0 {
		t.steps++
	} else {
		t.steps = 1
	}
	t.stepTime = b.time
	return t.steps > max(t.o.Order, 1) || b.arrival-b.time > int64(t.o.Skew) && !t.resumed && !b.dup
}

// past delivers a message whose time is behind what is stored as backfill.
func (t *track) past(b *burst) {
	t.counts.Late++
	if !b.historical {
		t.mark(b, acquisition.ReasonLate)
	}
	d := t.out.take(t.g)
	d.Backfill = true
	reserve(d, b.rows)
	for i := range b.rows {
		s := scan(d)
		s.Slot, s.Arrival, s.Time = t.next, b.arrival, b.arrival
		if b.hasTime {
			s.Time = b.at(i)
		}
		t.next++
		t.copy(s, b, i)
	}
	t.counts.Samples += uint64(len(d.Scans))
	t.remember(0, b)
	t.arrival = b.arrival
	t.finish(d, b)
	t.give(b)
}

func (t *track) emitCounted(b *burst) {
	device, set := t.device, t.deviceSet
	b.slot = t.next
	b.seqs = b.seqs[:0]
	if t.o.Time.Basis == BasisFitted && b.hasTime {
		t.offset.add(b.at(b.rows-1), b.arrival)
	}
	d := t.out.take(t.g)
	reserve(d, b.rows)
	for i := range b.rows {
		s := scan(d)
		s.Slot, s.Arrival = t.next, b.arrival
		t.stamp(s, b, i, t.next)
		t.copy(s, b, i)
		t.next++
	}
	t.counts.Samples += uint64(len(d.Scans))
	if b.hasTime {
		t.device, t.deviceSet = b.at(b.rows-1), true
		if set && t.steps == 0 {
			t.device = max(t.device, device)
		}
	}
	t.remember(b.slot, b)
	t.arrival, t.rows = b.arrival, b.rows
	t.finish(d, b)
	t.give(b)
}

// offline writes that the device is gone.
func (t *track) offline(b *burst) {
	if !t.gone {
		t.gone = true
		t.counts.Offline++
		t.logger.Warn("device is offline", slog.String("group", string(t.g.Key())))
		if t.g.Completeness == acquisition.ByNothing && t.started {
			d := t.out.take(t.g)
			t.miss(d, t.next, t.next+1, acquisition.ReasonUnreachable)
			t.next++
		}
	}
	t.acknowledge(b)
}

// silentReason says why nothing comes.
func (t *track) silentReason() acquisition.Reason {
	if t.gone {
		return acquisition.ReasonUnreachable
	}
	return acquisition.ReasonSilent
}

// silence writes that nothing came for longer than expected, up to now. In a
// group without numbers it takes one slot for each message that was expected.
func (t *track) silence(now int64, why acquisition.Reason) {
	e := int64(t.o.Group.ExpectEvery)
	if t.silentAt == 0 || now < t.silentAt || e <= 0 {
		return
	}
	if !t.counts.Silent {
		t.counts.Silent = true
		t.logger.Warn("group is silent", slog.String("group", string(t.g.Key())), slog.Duration("expect_every", t.o.Group.ExpectEvery))
	}
	n := (now-t.silentAt)/e + 1
	if t.g.Completeness == acquisition.ByNothing && t.started {
		d := t.out.take(t.g)
		t.counts.Missing += uint64(n)
		d.Gaps = append(d.Gaps, acquisition.Gap{From: t.next, To: t.next + uint64(n), Reason: why})
		t.next += uint64(n)
	}
	t.silentAt += n * e
	// A long silence is written less and less often.
	t.silentWake = now + min(max(e, now-t.silentFrom), max(silentCeiling, e))
}

// tick does what is due at now: waits that end, silences.
func (t *track) tick(now int64) {
	for len(t.held) > 0 && t.due() <= now {
		t.release()
	}
	if t.silentWake != 0 && now >= t.silentWake {
		t.silence(now, t.silentReason())
	}
}

// due returns when a wait ends, MaxInt64 if there is none.
func (t *track) due() int64 {
	at := int64(math.MaxInt64)
	for _, b := range t.held {
		at = min(at, b.deadline)
	}
	return at
}

// deadline returns when tick has something to do, MaxInt64 if never.
func (t *track) deadline() int64 {
	at := t.due()
	if t.silentWake != 0 {
		at = min(at, t.silentWake)
	}
	return at
}
