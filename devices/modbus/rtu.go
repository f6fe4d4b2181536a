package modbus

import (
	"context"
	"os"
	"time"

	"pneudaq/acquisition"
)

// runRTU sends what the pass holds, one request at a time. A frame has no
// transaction id: only a silent line, and the shape of an answer, say to which
// request it belongs.
func (b *Bus) runRTU(ctx context.Context) error {
	p := &b.pass
	for p.head < len(p.queue) {
		r := b.take(time.Now())
		if r == nil {
			break
		}
		b.window = append(b.window[:0], asked{r: r})
		err := b.askRTU(ctx, r)
		if err != nil {
			return err
		}
		if over(ctx) && len(b.window) > 0 {
			b.stopped(ctx)
			return nil
		}
		b.window = b.window[:0]
	}
	return nil
}

// askRTU sends one request and takes its answer. A window that is left full
// means that ctx has ended.
func (b *Bus) askRTU(ctx context.Context, r *request) error {
	if free, err := b.clear(ctx, r); err != nil || !free {
		return err
	}
	now := time.Now()
	deadline := now.Add(r.unit.timeout(b))
	if b.pass.limit.Before(deadline) {
		deadline = b.pass.limit
	}
	if over(ctx) || !b.beforeWrite(deadline) {
		return nil
	}
	b.flush()
	b.gap = 0
	sent := b.now()
	b.window[0].sent = sent
	n, err := b.conn.Write(r.frame)
	b.last = time.Now()
	b.bytesWrote.Add(uint64(n))
	r.unit.counts.requests.Add(1)
	if err != nil {
		if over(ctx) {
			return nil
		}
		return b.ended(err)
	}
	return b.awaitRTU(ctx, r, sent, deadline)
}

// clear makes the line ready: pauses kept, silent, and no answer outstanding
// that could be taken for the one to this request. It answers false when the
// request must not be sent; it is marked then, or ctx has ended.
func (b *Bus) clear(ctx context.Context, r *request) (bool, error) {
	u := r.unit
	for begin := time.Now(); ; {
		now := time.Now()
		switch {
		case !now.Before(b.pass.limit):
			b.leaveOut(r, acquisition.ReasonOverrun, "the line was busy for too long")
			return false, nil
		case now.Sub(begin) > babbleLimit+b.quiet+u.pause()+b.o.Pause:
			return false, lose(acquisition.ReasonProtocol, "the line is never silent: something sends without being asked, or the line's settings are wrong")
		case b.dirty:
			if err := b.settle(ctx); err != nil || over(ctx) {
				return false, err
			}
			continue
		}
		wait := max(b.last.Add(max(b.e.silence(), b.o.Pause)).Sub(now), u.done.Add(u.pause()).Sub(now), r.earliest.Sub(now))
		if wait > 0 && !b.sleep(ctx, wait) {
			return false, nil
		}
		n, err := b.look()
		b.arrived(n)
		if err != nil {
			if over(ctx) {
				return false, nil
			}
			return false, b.ended(err)
		}
		if n == 0 {
			break
		}
		b.dropRTU()
		b.dirty = b.dirty || b.r < b.w
	}
	for {
		now := time.Now()
		until := u.owes(&r.shape, now)
		if until.IsZero() {
			return true, nil
		}
		if !until.Add(u.timeout(b)).Before(b.pass.end) {
			b.leaveOut(r, acquisition.ReasonTimeout, "the answer to an earlier request is overdue and could be taken for this one's")
			return false, nil
		}
		if !b.beforeRead(until) {
			return false, nil
		}
		n, err := b.conn.Read(b.in[b.w:])
		b.arrived(n)
		b.dropRTU()
		if err != nil && !isTimeout(err) {
			return false, b.ended(err)
		}
		if over(ctx) {
			return false, nil
		}
	}
}

// leaveOut ends a request without sending it.
func (b *Bus) leaveOut(r *request, why acquisition.Reason, detail string) {
	b.window = b.window[:0]
	r.unit.trying = false
	if r.direct {
		b.result = fault{reason: why, detail: detail}
	}
	mark(b.pass.scan, r, why)
}

// settle reads until the line has been silent for a while, the pass is over or
// patience is.
func (b *Bus) settle(ctx context.Context) error {
	quiet := max(settleTime, b.e.silence(), b.quiet)
	give := time.Now().Add(babbleLimit)
	if b.pass.limit.Before(give) {
		give = b.pass.limit
	}
	for time.Now().Before(give) {
		if !b.beforeRead(time.Now().Add(quiet)) {
			return nil
		}
		n, err := b.conn.Read(b.in[b.w:])
		b.arrived(n)
		b.dropRTU()
		switch {
		case n > 0, err == nil, over(ctx):
		case isTimeout(err):
			b.noise.Add(uint64(b.w - b.r))
			b.r, b.w, b.dirty, b.quiet = 0, 0, false, 0
			return nil
		default:
			return b.ended(err)
		}
		if over(ctx) {
			return nil
		}
	}
	return nil
}

// dropRTU takes what nobody waits for out of the buffer: late answers, answers
// of others, noise. What may still become a frame stays.
func (b *Bus) dropRTU() {
	for b.r < b.w {
		f := b.in[b.r:b.w]
		n := rtuLength(f)
		switch {
		case n == 0 || n > len(f) && n > 0:
			if len(f) < longestRTU {
				return
			}
			fallthrough
		case n < 0 || !b.crc.fits(f[:n]):
			b.noise.Add(1)
			b.r++
			b.dirty = true
		default:
			b.r += n
			b.frames.Add(1)
			b.stray(f[:n])
		}
	}
	b.r, b.w = 0, 0
}

// stray names a whole frame that answers nothing that is waited for.
func (b *Bus) stray(frame []byte) {
	u := b.byID[frame[0]]
	if u == nil {
		b.unknown.Add(1)
		return
	}
	if u.pays(frame[1 : len(frame)-2]) {
		u.counts.late.Add(1)
		b.heard = time.Now()
		return
	}
	u.counts.unsolicited.Add(1)
}

// owes returns until when an answer may come that looks like one of the given
// shape, zero if none.
func (u *unit) owes(s *shape, now time.Time) time.Time {
	var until time.Time
	keep := u.debts[:0]
	for _, d := range u.debts {
		if !now.Before(d.until) {
			continue
		}
		keep = append(keep, d)
		if d.function == s.function && (d.length == s.length || d.length == 0 || s.length == 0) && d.until.After(until) {
			until = d.until
		}
	}
	u.debts = keep
	return until
}

// pays says whether a PDU is the late answer to a request of this unit.
func (u *unit) pays(pdu []byte) bool {
	for i, d := range u.debts {
		if pdu[0] == d.function && (d.length == 0 || d.length == len(pdu)) || pdu[0] == d.function|exception {
			u.debts = append(u.debts[:i], u.debts[i+1:]...)
			return true
		}
	}
	return false
}

// awaitRTU reads until the answer is whole or its time is over. The deadline
// counts from the request.
func (b *Bus) awaitRTU(ctx context.Context, r *request, sent int64, deadline time.Time) error {
	echo := 0
	if b.e.echo {
		echo = len(r.frame)
	}
	foreign := false // something came that was not for us
	for {
		now := time.Now()
		until := deadline
		if b.whole(r) { // enough bytes, no frame: the check sum is wrong unless more comes
			if t := b.last.Add(max(settleTime, b.e.silence())); t.Before(until) {
				until = t
			}
		}
		var n int
		var err error
		if now.Before(until) {
			if !b.beforeRead(until) {
				b.owe(r, now)
				return nil
			}
			n, err = b.conn.Read(b.in[b.w:])
		} else {
			err = os.ErrDeadlineExceeded
		}
		got := b.now()
		b.arrived(n)
		if echo > 0 && b.w-b.r >= echo {
			if string(b.in[b.r:b.r+echo]) != string(r.frame) {
				echo = 0
			} else {
				b.r += echo
				echo = 0
			}
		}
		if echo == 0 && n > 0 {
			switch what := b.findRTU(r, sent, got); what {
			case foundAnswer:
				return nil
			case foundForeign:
				foreign = true
			case foundNothing:
			}
		}
		if err == nil {
			continue
		}
		if over(ctx) {
			b.owe(r, time.Now())
			return nil
		}
		if !isTimeout(err) {
			return b.ended(err)
		}
		b.missRTU(r, foreign)
		return nil
	}
}

// found is what findRTU made of the buffer.
type found uint8

const (
	foundNothing found = iota
	foundForeign       // a whole frame that is not for us; ours may still come
	foundAnswer        // the request has its answer, or its refusal
)

// findRTU looks for the answer to r in the buffer. Only a frame of the right
// unit, function and length with the right check sum is one, wherever in the
// noise it begins.
func (b *Bus) findRTU(r *request, sent, got int64) found {
	u := r.unit
	what := foundNothing
	for b.r < b.w {
		f := b.in[b.r:b.w]
		if n := b.expects(r, f); n > 0 && n <= len(f) && b.crc.fits(f[:n]) {
			if f[1]&exception != 0 && u.pays(f[1:n-2]) {
				u.counts.late.Add(1)
				b.r += n
				continue
			}
			b.accept(r, n, sent, got)
			return foundAnswer
		}
		n := rtuLength(f)
		if n <= 0 || n > len(f) || !b.crc.fits(f[:n]) {
			break
		}
		if f[0] == u.id && !u.expected(f[1:n-2]) { // of our unit, and nothing else is overdue: a wrong answer
			b.accept(r, n, sent, got)
			return foundAnswer
		}
		b.r += n
		b.frames.Add(1)
		b.stray(f[:n])
		what = foundForeign
	}
	for i := b.r + 1; i+4 < b.w; i++ {
		f := b.in[i:b.w]
		if n := b.expects(r, f); n > 0 && n <= len(f) && b.crc.fits(f[:n]) {
			if f[1]&exception != 0 && u.pays(f[1:n-2]) {
				continue
			}
			b.noise.Add(uint64(i - b.r))
			b.r = i
			b.accept(r, n, sent, got)
			return foundAnswer
		}
	}
	if b.r == b.w {
		b.r, b.w = 0, 0
	} else if b.w-b.r > 2*longestRTU { // noise without end
		b.noise.Add(uint64(longestRTU))
		b.r += longestRTU
	}
	if len(b.in)-b.w < 2*longestRTU {
		b.w = copy(b.in, b.in[b.r:b.w])
		b.r = 0
	}
	return what
}

// expected says whether a PDU pays a debt, without taking it.
func (u *unit) expected(pdu []byte) bool {
	for _, d := range u.debts {
		if pdu[0] == d.function && (d.length == 0 || d.length == len(pdu)) || pdu[0] == d.function|exception {
			return true
		}
	}
	return false
}

// expects returns the length of the frame that answers r if f begins with it,
// 0 if f begins with something else or more bytes are needed to tell.
func (b *Bus) expects(r *request, f []byte) int {
	if len(f) < 2 || f[0] != r.unit.id {
		return 0
	}
	switch f[1] {
	case r.shape.function:
		if r.shape.length > 0 {
			return r.shape.length + 3
		}
		return max(rtuLength(f), 0)
	case r.shape.function | exception:
		return 5
	}
	return 0
}

// accept hands over the frame of n bytes that the buffer begins with.
func (b *Bus) accept(r *request, n int, sent, got int64) {
	pdu := b.in[b.r+1 : b.r+n-2]
	b.r += n
	b.frames.Add(1)
	b.window = b.window[:0]
	b.answered(r, pdu, sent, got)
	if b.r == b.w {
		b.r, b.w = 0, 0
		return
	}
	b.dirty = true
}

// whole says whether as many bytes are there as the answer has.
func (b *Bus) whole(r *request) bool {
	have := b.w - b.r
	if r.shape.length > 0 {
		return have >= r.shape.length+3
	}
	n := rtuLength(b.in[b.r:b.w])
	return have >= 5 && (n < 0 || n > 0 && have >= n)
}

// missRTU ends a request that got no answer.
func (b *Bus) missRTU(r *request, foreignSeen bool) {
	now := time.Now()
	f := b.in[b.r:b.w]
	b.window = b.window[:0]
	b.dirty = true
	switch {
	case len(f) > 0 && b.whole(r):
		b.failed(r, acquisition.ReasonCRC, "the check sum is wrong", f)
	case len(f) > 1 && f[0] == r.unit.id && f[1]&^exception == r.shape.function:
		why, detail := acquisition.ReasonShortFrame, "the answer stopped half way"
		b.quiet = min(2*b.gap+settleTime, r.unit.timeout(b)) // its rest may come as slowly
		if now.Sub(b.last) < r.unit.timeout(b)/2 && b.last.After(b.since) {
			why, detail = acquisition.ReasonSlow, "the answer trickled in and was not whole in time"
		}
		b.failed(r, why, detail, f)
	case len(f) > 1:
		b.failed(r, acquisition.ReasonCRC, "bytes that are no frame: noise, or the line's settings are wrong", f)
	case foreignSeen:
		b.owe(r, now)
		b.failed(r, acquisition.ReasonProtocol, "only answers of others came", f)
	default:
		b.owe(r, now)
		b.failed(r, acquisition.ReasonTimeout, "", f)
	}
}

// owe notes that the answer to r may still come.
func (b *Bus) owe(r *request, now time.Time) {
	const limit = 16
	u := r.unit
	if len(u.debts) >= limit {
		u.debts = append(u.debts[:0], u.debts[1:]...)
	}
	u.debts = append(u.debts, debt{function: r.shape.function, length: r.shape.length, until: now.Add(b.o.Late)})
}
