package simulator

import (
	"container/heap"
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// after says what follows a frame.
type after uint8

const (
	thenStay after = iota
	thenClose
	thenReset
)

// delivery is one frame, or what a fault has left of it, with the moment to send it.
type delivery struct {
	due   time.Time
	order uint64
	frame []byte
	first int           // bytes before pause, 0: all at once
	pause time.Duration // after first; with dribble after every byte
	drip  bool
	then  after
	whole bool // counts as an answer
	clean bool
}

// deliveries is a heap by due and order.
type deliveries []*delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	if d[i].due.Equal(d[j].due) {
		return d[i].order < d[j].order
	}
	return d[i].due.Before(d[j].due)
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *deliveries) Push(x any) {
	if v, ok := x.(*delivery); ok {
		*d = append(*d, v)
	}
}

// Pop implements heap.Interface.
func (d *deliveries) Pop() any { //nolint:ireturn // heap.Interface
	all := *d
	v := all[len(all)-1]
	*d = all[:len(all)-1]
	return v
}

// sender writes deliveries when they are due. One goroutine per conversation, so frames never mix.
type sender struct {
	c     *conn
	wake  chan struct{}
	mu    sync.Mutex
	heap  deliveries
	spare []*delivery
	next  uint64
}

// add hands over a delivery.
func (q *sender) add(d *delivery) {
	q.mu.Lock()
	q.next++
	d.order = q.next
	heap.Push(&q.heap, d)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it is awake already
	}
}

// blank returns a delivery to be filled.
func (q *sender) blank() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 {
		d := q.spare[n-1]
		q.spare = q.spare[:n-1]
		*d = delivery{frame: d.frame[:0]}
		return d
	}
	return &delivery{frame: make([]byte, 0, longestRTU+8)}
}

func (q *sender) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		q.mu.Lock()
		var due *delivery
		pause := time.Hour
		if len(q.heap) > 0 {
			if pause = time.Until(q.heap[0].due); pause <= 0 {
				due, _ = heap.Pop(&q.heap).(*delivery)
			}
		}
		q.mu.Unlock()
		if due != nil {
			if !q.send(ctx, due) {
				_ = q.c.close() // ends the reader too
				return
			}
			q.mu.Lock()
			q.spare = append(q.spare, due)
			q.mu.Unlock()
			continue
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

// send writes one delivery; false ends the conversation.
func (q *sender) send(ctx context.Context, d *delivery) bool {
	q.count(d, 1) // before the peer can see it: whoever has the answer finds it counted
	rest := d.frame
	for len(rest) > 0 {
		n := len(rest)
		switch {
		case d.drip:
			n = 1
		case d.first > 0 && d.first < len(d.frame) && len(rest) == len(d.frame):
			n = d.first
		}
		if _, err := q.c.line.Write(rest[:n]); err != nil {
			q.count(d, -1)
			return false
		}
		if rest = rest[n:]; len(rest) > 0 && d.pause > 0 {
			wait(ctx, d.pause, nil)
			if ctx.Err() != nil {
				q.count(d, -1)
				return false
			}
		}
	}
	switch d.then {
	case thenClose:
		return false
	case thenReset:
		q.c.reset()
		return false
	case thenStay:
	}
	return true
}

// count books a delivery, or takes it back.
func (q *sender) count(d *delivery, n int64) {
	if d.whole {
		q.c.s.answers.Add(uint64(n))
	}
	if d.clean {
		q.c.s.clean.Add(uint64(n))
	}
}

// serveWaiting answers one request with what delays and faults make of the answer.
func (c *conn) serveWaiting(ctx context.Context, transaction uint16, id byte, req []byte) bool {
	if c.flush() != nil {
		return false
	}
	if c.queue == nil {
		c.queue = &sender{c: c, wake: make(chan struct{}, 1)}
		c.sending.Go(func() { c.queue.run(ctx) })
	}
	hit, silent := c.s.strike(id, req[0])
	if silent {
		c.s.silent.Add(1)
		return true
	}
	d := c.queue.blank()
	d.frame = c.begin(d.frame, transaction, id)
	body := len(d.frame)
	switch hit.Kind { //nolint:exhaustive // the others spoil an answer that must be there first
	case FaultRestart:
		c.s.silent.Add(1)
		c.s.Restart(hit.Delay)
		return true // the reset ends the conversation
	case FaultException:
		code := byte(hit.N)
		if code == 0 {
			code = 1 + byte(hit.choice%255)
		}
		c.s.except[code].Add(1)
		d.frame = append(d.frame, req[0]|0x80, code)
	default:
		d.frame = c.s.respond(id, req, d.frame, c.words)
	}
	if len(d.frame) == body {
		c.s.silent.Add(1)
		return true
	}
	d.whole = true
	switch hit.Kind { //nolint:exhaustive // the others change the bytes
	case "", FaultDelay, FaultLate, FaultDuplicate, FaultSplit, FaultDribble, FaultUnsolicited:
		d.clean = true
	}
	const unitAndCRC = 3
	d.due = c.due(id, len(req)+len(d.frame)-body+2*unitAndCRC)
	c.spoil(d, &hit, body)
	return true
}

// due returns when an answer may leave.
func (c *conn) due(id byte, bytes int) time.Time {
	o := &c.s.o
	delay, ok := o.Delays[id]
	if !ok {
		delay = o.Delay
	}
	if o.Baud > 0 {
		delay += time.Duration(bytes) * 11 * time.Second / time.Duration(o.Baud)
	}
	from := time.Now()
	if o.Serial && c.busy.After(from) {
		from = c.busy
	}
	c.busy = from.Add(delay)
	if c.busy.Before(c.held) {
		c.busy = c.held
	}
	return c.busy
}

// strike chooses the fault for a request; silent means that there is no answer for a reason outside the list or by mute.
func (s *Server) strike(id, function byte) (hit armed, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted[id] || s.unplugged {
		return armed{}, true
	}
	f := strike(s.faults, s.o.Seed, id, function)
	if f == nil {
		return armed{}, false
	}
	s.struck[f.Kind]++
	return *f, f.Kind == FaultMute
}

// spoil completes the frame as the fault wants it and hands it over. The PDU begins at body.
func (c *conn) spoil(d *delivery, f *armed, body int) {
	n, rtu := f.N, c.s.o.RTU
	or := func(zero int) int {
		if n == 0 {
			return zero
		}
		return n
	}
	pdu := d.frame[body:]
	switch f.Kind { //nolint:exhaustive // what changes before the frame is closed
	case FaultUnit:
		d.frame[body-1] += byte(or(1))
	case FaultFunction:
		pdu[0] += byte(or(1))
	case FaultByteCount:
		pdu[1] += byte(or(2))
	case FaultShort:
		d.frame = resize(d.frame, body, -or(1))
	case FaultLong:
		d.frame = resize(d.frame, body, or(1))
	case FaultTransaction, FaultProtocol, FaultLength:
		d.whole = !rtu
	}
	d.frame = c.end(d.frame, 0)
	choose := func(limit int) int { // 1 to limit-1
		if n > 0 {
			return min(n, limit)
		}
		return 1 + int(f.choice%uint64(max(limit-1, 1)))
	}
	switch f.Kind { //nolint:exhaustive // what changes the closed frame, or when it goes
	case FaultTransaction:
		if !rtu {
			binary.BigEndian.PutUint16(d.frame, binary.BigEndian.Uint16(d.frame)+uint16(or(1)))
		}
	case FaultProtocol:
		if !rtu {
			binary.BigEndian.PutUint16(d.frame[2:], uint16(or(1)))
		}
	case FaultLength:
		if !rtu {
			binary.BigEndian.PutUint16(d.frame[4:], uint16(n))
		}
	case FaultChecksum:
		d.frame[len(d.frame)-1] ^= 0x55
		d.whole = rtu
	case FaultFlip:
		if n < 0 {
			n = int(f.choice % uint64(8*len(d.frame)))
		}
		d.frame[n/8%len(d.frame)] ^= 0x80 >> (n % 8)
	case FaultSplit:
		d.first, d.pause = choose(len(d.frame)), f.Delay
	case FaultDribble:
		d.drip, d.pause = true, f.Delay
	case FaultTruncate, FaultCut, FaultReset:
		d.frame, d.whole = d.frame[:min(n, len(d.frame))], false
		d.then = map[FaultKind]after{FaultTruncate: thenStay, FaultCut: thenClose, FaultReset: thenReset}[f.Kind]
	case FaultGarbage:
		d.frame, d.whole = d.frame[:0], false
		for i := range or(16) {
			d.frame = append(d.frame, byte(mix64(f.choice+uint64(i))))
		}
	case FaultHTTP:
		d.frame = append(d.frame[:0], "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><body>Bad Request</body></html>\n"...)
		d.whole, d.then = false, thenClose
	case FaultDelay:
		d.due = d.due.Add(f.Delay)
		c.busy, c.held = d.due, d.due
	case FaultLate:
		d.due = d.due.Add(f.Delay)
	}
	if !d.whole && rtu && (f.Kind == FaultTransaction || f.Kind == FaultProtocol || f.Kind == FaultLength) || f.Kind == FaultChecksum && !rtu {
		c.s.silent.Add(1)
		return
	}
	c.handOver(d, f, body)
}

// handOver queues the answer, and the frame that nobody asked for where the fault has one.
func (c *conn) handOver(d *delivery, f *armed, body int) {
	if f.Kind != FaultDuplicate && f.Kind != FaultUnsolicited {
		c.queue.add(d)
		return
	}
	more := c.queue.blank()
	more.frame = append(more.frame, d.frame...)
	more.due = d.due.Add(f.Delay)
	if f.Kind == FaultUnsolicited {
		for i := body + 2; i < len(more.frame); i++ {
			more.frame[i] ^= 0xA5
		}
		if c.s.o.RTU {
			more.frame = appendCRC(more.frame[:len(more.frame)-2], 0)
		} else {
			more.frame[0] ^= 0x80
			more.due, d.due = d.due, more.due
			d, more = more, d // it goes first
		}
	}
	c.queue.add(d)
	c.queue.add(more)
}

// resize makes the answer to a read n registers (bytes of bits) longer, or shorter if n is negative, its count with it;
// other answers by n bytes.
func resize(frame []byte, body, n int) []byte {
	pdu := frame[body:]
	counted := pdu[0] == 1 || pdu[0] == 2
	least := 1
	if pdu[0] == 3 || pdu[0] == 4 || pdu[0] == 23 {
		n *= 2
		counted = true
	}
	if counted {
		least = 2
	}
	n = max(min(n, maxPDU-len(pdu)), least-len(pdu))
	if counted {
		pdu[1] = byte(int(pdu[1]) + n)
	}
	for i := range n {
		frame = append(frame, byte(0xE0+i))
	}
	return frame[:body+len(pdu)+n]
}
