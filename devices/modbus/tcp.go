package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"pneudaq/acquisition"
)

// runTCP sends what the pass holds, up to Inflight at a time, and takes the
// answers by their transaction ids.
func (b *Bus) runTCP(ctx context.Context) error {
	for {
		wait, err := b.sendTCP(ctx)
		if err != nil {
			return err
		}
		if len(b.window) == 0 {
			if wait > 0 {
				if !b.sleep(ctx, wait) {
					b.stopped(ctx)
					return nil
				}
				continue
			}
			if b.pass.head == len(b.pass.queue) {
				return nil
			}
			continue
		}
		deadline := b.window[0].deadline
		for i := range b.window {
			if b.window[i].deadline.Before(deadline) {
				deadline = b.window[i].deadline
			}
		}
		if wait > 0 {
			if t := time.Now().Add(wait); t.Before(deadline) {
				deadline = t
			}
		}
		if !b.beforeRead(deadline) {
			b.stopped(ctx)
			return nil
		}
		n, err := b.conn.Read(b.in[b.w:])
		got := b.now()
		b.arrived(n)
		if foreignErr := b.takeTCP(got); foreignErr != nil {
			return foreignErr
		}
		switch {
		case err == nil:
		case over(ctx):
			b.stopped(ctx)
			return nil
		case isTimeout(err):
			if err := b.expire(); err != nil {
				return err
			}
		default:
			return b.ended(err)
		}
	}
}

// sendTCP sends requests while there is room. It returns how long the next one
// must wait.
func (b *Bus) sendTCP(ctx context.Context) (time.Duration, error) {
	p := &b.pass
	if p.head == len(p.queue) || len(b.window) >= b.o.Inflight {
		return 0, nil
	}
	now := time.Now()
	out := b.out[:0]
	wait := time.Duration(0)
	first := len(b.window)
	for len(b.window) < b.o.Inflight {
		if p.head < len(p.queue) {
			if wait = b.rest(p.queue[p.head], now); wait > 0 {
				break
			}
		}
		r := b.take(now)
		if r == nil {
			break
		}
		b.next++
		binary.BigEndian.PutUint16(r.frame, b.next)
		out = append(out, r.frame...)
		b.window = append(b.window, asked{r: r, tid: b.next})
		r.unit.counts.requests.Add(1)
	}
	b.out = out
	if len(out) == 0 {
		return wait, nil
	}
	if over(ctx) || !b.beforeWrite(now.Add(b.o.Timeout)) {
		return 0, nil // the read finds out
	}
	sent := b.now()
	for i := first; i < len(b.window); i++ {
		a := &b.window[i]
		a.sent = sent
		a.deadline = now.Add(a.r.unit.timeout(b))
		if b.pass.limit.Before(a.deadline) {
			a.deadline = b.pass.limit
		}
		b.recent[byte(a.tid)] = recent{tid: a.tid, used: true, unit: a.r.unit}
	}
	b.last = now
	n, err := b.conn.Write(out)
	b.bytesWrote.Add(uint64(n))
	if err != nil && !over(ctx) {
		return 0, b.ended(err)
	}
	return wait, nil
}

// rest returns how long a request must wait: pauses of the bus and of the unit
// count from the last answer.
func (b *Bus) rest(r *request, now time.Time) time.Duration {
	wait := r.earliest.Sub(now)
	if d := b.o.Pause; d > 0 {
		if len(b.window) > 0 {
			return d
		}
		wait = max(wait, b.last.Add(d).Sub(now))
	}
	if d := r.unit.pause(); d > 0 {
		for i := range b.window {
			if b.window[i].r.unit == r.unit {
				return d
			}
		}
		wait = max(wait, r.unit.done.Add(d).Sub(now))
	}
	return max(wait, 0)
}

// arrived notes n bytes that were read into the buffer.
func (b *Bus) arrived(n int) {
	if n <= 0 {
		return
	}
	t := time.Now()
	if b.r == b.w {
		b.since = t
	} else {
		b.gap = max(b.gap, t.Sub(b.last))
	}
	b.w += n
	b.last = t
	b.bytesRead.Add(uint64(n))
}

// takeTCP takes whole frames out of the buffer. Nothing is ever allocated or
// awaited because of a length that a header claims. A header that is none
// ends the connection: what follows cannot be told apart.
func (b *Bus) takeTCP(got int64) error {
	for b.w-b.r >= headerSize {
		f := b.in[b.r:b.w]
		if why := mbapFault(f); why != "" {
			return lose(acquisition.ReasonProtocol, "%s", foreign(f, why))
		}
		n := 6 + int(binary.BigEndian.Uint16(f[4:]))
		if len(f) < n {
			break
		}
		b.r += n
		b.frames.Add(1)
		b.since = b.last
		b.matchTCP(binary.BigEndian.Uint16(f), f[6], f[headerSize:n], got)
	}
	if b.r == b.w {
		b.r, b.w = 0, 0
	} else if b.r > 0 && len(b.in)-b.w < headerSize+longestPDU {
		b.w = copy(b.in, b.in[b.r:b.w])
		b.r = 0
	}
	return nil
}

// matchTCP gives a frame to the request that it answers.
func (b *Bus) matchTCP(tid uint16, id byte, pdu []byte, got int64) {
	for i := range b.window {
		a := b.window[i]
		if a.tid != tid {
			continue
		}
		b.settled(&a, true)
		last := len(b.window) - 1
		b.window[i] = b.window[last]
		b.window = b.window[:last]
		if id != a.r.unit.id {
			b.foreignUnit(a.r, id, pdu)
			return
		}
		b.answered(a.r, pdu, a.sent, got)
		return
	}
	u := b.byID[id]
	q := &b.recent[byte(tid)]
	switch {
	case q.used && q.tid == tid && q.answered:
		q.unit.counts.duplicate.Add(1)
	case q.used && q.tid == tid:
		q.unit.counts.late.Add(1)
		q.answered = true
		b.heard = time.Now()
	case u != nil:
		u.counts.unsolicited.Add(1)
	default:
		b.unknown.Add(1)
	}
}

// foreignUnit refuses an answer that bears the right transaction and the wrong
// unit.
func (b *Bus) foreignUnit(r *request, id byte, pdu []byte) {
	u := r.unit
	u.counts.protocol.Add(1)
	u.trying = false
	detail := foreignUnitText(u.id, id)
	u.counts.note(b.now(), acquisition.ReasonProtocol, detail, r.frame, pdu)
	if r.direct {
		b.answer = b.answer[:0]
		b.result = fault{reason: acquisition.ReasonProtocol, detail: detail}
		return
	}
	if !b.again(r, time.Now()) {
		mark(b.pass.scan, r, acquisition.ReasonProtocol)
	}
}

// settled notes what became of a transaction.
func (b *Bus) settled(a *asked, answered bool) {
	q := &b.recent[byte(a.tid)]
	if q.used && q.tid == a.tid {
		q.answered = answered
	}
}

// expire ends the requests whose time is over. Their late answers will be
// dropped; half a frame that stays half ends the connection, since the next
// frame could not be told from its rest.
func (b *Bus) expire() error {
	now := time.Now()
	var torn error
	for i := 0; i < len(b.window); {
		a := b.window[i]
		if now.Before(a.deadline) {
			i++
			continue
		}
		b.window = append(b.window[:i], b.window[i+1:]...)
		b.settled(&a, false)
		part := b.in[b.r:b.w]
		if len(part) >= 2 && binary.BigEndian.Uint16(part) == a.tid || len(part) == 1 {
			why := acquisition.ReasonShortFrame
			detail := "the answer stopped half way"
			if now.Sub(b.last) < a.r.unit.timeout(b)/2 && b.last.After(b.since) {
				why, detail = acquisition.ReasonSlow, "the answer trickled in and was not whole in time"
			}
			a.r.tries = a.r.unit.retries() // this connection is over
			b.failed(a.r, why, detail, part)
			torn = lose(why, "device %s (unit %d): %s", a.r.unit.name, a.r.unit.id, detail)
			continue
		}
		b.failed(a.r, acquisition.ReasonTimeout, "", part)
	}
	if torn == nil && b.r < b.w && now.Sub(b.since) > b.o.Timeout {
		torn = lose(acquisition.ReasonShortFrame, "half an answer that nobody waits for")
	}
	return torn
}

// stopped marks what is left of a pass that was told to stop, or whose
// context's own deadline came first.
func (b *Bus) stopped(ctx context.Context) {
	p := &b.pass
	asked, waiting := acquisition.ReasonStopped, acquisition.ReasonStopped
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		asked, waiting = acquisition.ReasonTimeout, acquisition.ReasonOverrun
	}
	leave := func(r *request, why acquisition.Reason) {
		r.unit.trying = false
		mark(p.scan, r, why)
		if r.direct {
			b.result = fault{reason: why, detail: "the time was over"}
		}
	}
	for i := range b.window {
		if b.window[i].sent == 0 { // it waited for the line
			leave(b.window[i].r, waiting)
			continue
		}
		leave(b.window[i].r, asked)
	}
	for _, r := range p.queue[p.head:] {
		leave(r, waiting)
	}
	for _, r := range p.held {
		leave(r, waiting)
	}
	b.abandon()
	p.head, p.held = len(p.queue), p.held[:0]
}

// ended words the end of a connection.
func (b *Bus) ended(err error) error {
	if part := b.in[b.r:b.w]; len(part) > 0 && !b.e.rtu() && looksLike(part) != "" {
		return lose(acquisition.ReasonProtocol, "%s", foreign(part, ""))
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return lose(acquisition.ReasonReset, "the device closed the connection")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return lose(acquisition.ReasonReset, "the device reset the connection")
	case isTimeout(err):
		return lose(acquisition.ReasonTimeout, "the connection took no more bytes: %w", err)
	}
	return lose(acquisition.ReasonReset, "the connection ended: %w", err)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// wake looks at a connection that was idle: a peer that closed it meanwhile
// costs no scan, since it is opened again here.
func (b *Bus) wake(ctx context.Context) error {
	n, err := b.look()
	b.arrived(n)
	if b.e.rtu() {
		b.dropRTU()
	} else if foreignErr := b.takeTCP(b.now()); foreignErr != nil {
		return foreignErr
	}
	switch {
	case err == nil || isTimeout(err) || over(ctx):
		return nil
	case b.e.scheme == rtuSerial || b.pass.redialed || b.o.Dial != nil:
		return b.ended(err)
	}
	b.pass.redialed = true
	ctx, cancel := context.WithDeadline(ctx, b.pass.end)
	defer cancel()
	b.mu.Lock()
	conn := b.conn
	b.conn = nil
	b.mu.Unlock()
	_ = conn.Close() // the peer has closed it already
	next, err := b.dial(ctx)
	if err != nil {
		return lose(acquisition.ReasonUnreachable, "the device closed the idle connection and takes no new one: %w", err)
	}
	b.adopt(next)
	return nil
}
