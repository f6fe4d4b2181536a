package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"pneudaq/acquisition"
)

// line returns the requests of a group; the store hands out groups of its own
// that differ in the version only.
func (b *Bus) line(g *acquisition.Group) *groupLine {
	for _, l := range b.lines {
		if l.group == g || l.name == g.Name && l.group.Rig == g.Rig {
			return l
		}
	}
	return nil
}

// Poll sends the requests of a group and fills the scan. See
// [acquisition.Poller] for the contract.
func (b *Bus) Poll(ctx context.Context, g *acquisition.Group, _ uint64, s *acquisition.Scan) error {
	l := b.line(g)
	if l == nil {
		return fmt.Errorf("poll bus %s: group %s is not one of its groups", b.o.Name, g.Key())
	}
	if b.conn == nil {
		for _, r := range l.requests {
			mark(s, r, acquisition.ReasonUnreachable)
		}
		return errNotConnected
	}
	if b.broken {
		for _, r := range l.requests {
			mark(s, r, acquisition.ReasonReset)
		}
		return errBroken
	}
	b.watch(ctx)
	start := time.Now()
	b.begin(ctx, s, start, g.Period)
	b.pass.line = l
	for _, r := range l.requests {
		r.tries, r.busy, r.earliest = 0, 0, time.Time{}
		b.pass.queue = append(b.pass.queue, r)
	}
	err := b.run(ctx)
	if err == nil && !b.e.rtu() && b.o.Inflight > 1 && b.r < b.w {
		err = lose(acquisition.ReasonShortFrame, "bytes are left over that belong to no answer: an answer before them may have been too short")
	}
	if err != nil {
		b.giveUp(lossReason(err))
		b.distrust(err)
		b.lost(err)
		return fmt.Errorf("bus %s: %w", b.o.Name, err)
	}
	return b.silence()
}

// distrust takes back what a pass has read when the stream of several
// outstanding requests fell out of step: an answer that was too short may have
// been completed by the beginning of the next one.
func (b *Bus) distrust(err error) {
	why := lossReason(err)
	if b.e.rtu() || b.o.Inflight < 2 || b.pass.line == nil || why != acquisition.ReasonProtocol && why != acquisition.ReasonShortFrame && why != acquisition.ReasonSlow {
		return
	}
	for _, r := range b.pass.line.requests {
		mark(b.pass.scan, r, why)
	}
}

// begin makes the pass ready.
func (b *Bus) begin(ctx context.Context, s *acquisition.Scan, start time.Time, period time.Duration) {
	p := &b.pass
	p.scan, p.head, p.answered, p.redialed = s, 0, false, false
	p.queue, p.held = p.queue[:0], p.held[:0]
	p.end = start.Add(period)
	p.limit = start.Add(time.Hour)
	if d, ok := ctx.Deadline(); ok {
		p.limit = d
		if d.Before(p.end) {
			p.end = d
		}
	}
}

// run works the pass off: an error ends the connection.
func (b *Bus) run(ctx context.Context) error {
	if time.Since(b.last) > idleLimit {
		if err := b.wake(ctx); err != nil {
			return err
		}
	}
	for {
		if err := b.verify(ctx); err != nil {
			return err
		}
		var err error
		if b.e.rtu() {
			err = b.runRTU(ctx)
		} else {
			err = b.runTCP(ctx)
		}
		if err != nil || !b.release() {
			return err
		}
	}
}

// release lets the requests go that waited for a unit to show itself.
func (b *Bus) release() bool {
	p := &b.pass
	n := 0
	for _, r := range p.held {
		switch u := r.unit; {
		case u.away:
			mark(p.scan, r, acquisition.ReasonQuarantine)
		case u.silent >= doubtful:
			mark(p.scan, r, acquisition.ReasonTimeout)
		default:
			p.queue = append(p.queue, r)
			n++
		}
	}
	p.held = p.held[:0]
	return n > 0
}

// take returns the next request that may be sent, nil if there is none. What
// rests is marked and left out.
func (b *Bus) take(now time.Time) *request {
	p := &b.pass
	for p.head < len(p.queue) {
		r := p.queue[p.head]
		p.head++
		u := r.unit
		switch {
		case r.direct:
		case u.wrong != acquisition.ReasonNone:
			mark(p.scan, r, u.wrong)
			continue
		case u.away && now.Before(u.until):
			mark(p.scan, r, acquisition.ReasonQuarantine)
			continue
		case r.resting && now.Before(r.until):
			mark(p.scan, r, r.why)
			continue
		case !now.Before(p.limit):
			mark(p.scan, r, acquisition.ReasonOverrun)
			continue
		case u.silent >= doubtful && u.trying: // one question is enough to see whether it is there
			p.held = append(p.held, r)
			continue
		case u.silent >= doubtful:
			u.trying = true
		}
		return r
	}
	return nil
}

// mark gives the channels of a request a quality.
func mark(s *acquisition.Scan, r *request, why acquisition.Reason) {
	if s == nil || r.plan == nil {
		return
	}
	for _, c := range r.plan.Channels {
		s.Quality[c] = acquisition.Quality(why)
	}
}

// answered takes the PDU of an answer that belongs to a request.
func (b *Bus) answered(r *request, pdu []byte, sent, got int64) {
	u := r.unit
	now := time.Now()
	u.done, u.trying = now, false
	b.heard, b.patience, b.fruitful = now, silenceLimit, true
	u.counts.took(time.Duration(got - sent))
	reason, code := r.shape.verify(r.pdu, pdu)
	if reason == acquisition.ReasonNone {
		u.counts.answers.Add(1)
		b.alive(u)
		if r.resting {
			b.restored(r)
		}
		if r.direct {
			b.answer = append(b.answer[:0], pdu...)
			b.result = fault{}
			return
		}
		b.fill(r, pdu, sent, got)
		return
	}
	if code != 0 {
		u.counts.exceptions[code].Add(1)
	} else {
		u.counts.count(reason)
	}
	u.counts.note(got, reason, r.shape.explain(pdu), r.frame, pdu)
	if r.direct {
		b.answer = append(b.answer[:0], pdu...)
		b.result = fault{reason: reason, code: code, detail: r.shape.explain(pdu)}
		return
	}
	switch reason { //nolint:exhaustive // what an answer can be
	case acquisition.ReasonGateway:
		b.mute(u, now) // the unit behind the gateway is silent
		mark(b.pass.scan, r, reason)
		return
	case acquisition.ReasonBusy:
		b.alive(u)
		if r.busy < busyRetries && now.Add(busyPause+u.timeout(b)/4).Before(b.pass.end) {
			r.busy++
			u.counts.retries.Add(1)
			r.earliest = now.Add(busyPause)
			b.pass.queue = append(b.pass.queue, r)
			return
		}
	case acquisition.ReasonException, acquisition.ReasonDeviceFault:
		b.alive(u)
		b.stop(r, reason, code, now)
	default:
		b.alive(u)
		if b.again(r, now) {
			return
		}
	}
	mark(b.pass.scan, r, reason)
}

// fill puts the words of a good answer into the scan and stamps the exchange.
func (b *Bus) fill(r *request, pdu []byte, sent, got int64) {
	s, p := b.pass.scan, r.plan
	mid := sent + (got-sent)/2
	if !b.pass.answered {
		b.pass.answered = true
		s.Time = max(mid, b.pass.line.last+1) // times of a group increase; the offset keeps the instant
		b.pass.line.last = s.Time
	}
	s.Exchanges[r.exchange] = acquisition.Exchange{Offset: mid - s.Time, HalfWidth: (got-sent)/2 + 1}
	switch {
	case p.Table == FIFO:
		n := (len(pdu) - 5) / 2
		words := s.Words[p.At : p.At+p.Words]
		words[0] = uint16(n)
		for i := range n {
			words[1+i] = binary.BigEndian.Uint16(pdu[5+2*i:])
		}
		for _, f := range p.fifo {
			if f.need > n {
				s.Quality[f.channel] = acquisition.Quality(acquisition.ReasonNoData)
			}
		}
	case p.Table.bits():
		data := pdu[2:]
		for i := range p.Words {
			v := uint16(data[2*i])
			if 2*i+1 < len(data) {
				v |= uint16(data[2*i+1]) << 8
			}
			s.Words[p.At+i] = v
		}
	default:
		for _, q := range p.parts {
			data := pdu[2+2*q.from : 2+2*q.to]
			words := s.Words[q.at : q.at+q.to-q.from]
			for i := range words {
				words[i] = uint16(data[2*i])<<8 | uint16(data[2*i+1])
			}
		}
	}
}

// failed notes that a request got no usable answer.
func (b *Bus) failed(r *request, why acquisition.Reason, detail string, received []byte) {
	u := r.unit
	now := time.Now()
	u.counts.count(why)
	u.counts.note(b.now(), why, detail, r.frame, received)
	u.trying = false
	if r.direct {
		b.result = fault{reason: why, detail: detail}
		return
	}
	if why == acquisition.ReasonTimeout {
		b.mute(u, now)
	}
	if !u.away && b.again(r, now) {
		return
	}
	mark(b.pass.scan, r, why)
}

// again queues a request once more if its retries and its slot allow.
func (b *Bus) again(r *request, now time.Time) bool {
	if r.tries >= r.unit.retries() || !now.Add(r.unit.timeout(b)).Before(b.pass.end) {
		return false
	}
	r.tries++
	r.unit.counts.retries.Add(1)
	b.pass.queue = append(b.pass.queue, r)
	return true
}
