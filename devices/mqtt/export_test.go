package mqtt

import (
	"bufio"
	"bytes"
	"net"
	"time"

	"pneudaq/acquisition"
)

// Harness places messages without a broker, in the caller's time.
type Harness struct {
	C       *Client
	s       *session
	before  []*acquisition.Delivery
	flights []*inflight
}

// Unacked returns how many messages are not acknowledged, or more than once.
func (h *Harness) Unacked() int {
	n := 0
	for _, f := range h.flights {
		if f.left.Load() != 0 {
			n++
		}
	}
	return n
}

// NewHarness returns a client that is fed by hand.
func NewHarness(o Options) (*Harness, error) {
	if o.Endpoint == "" {
		o.Endpoint = "mqtt://127.0.0.1"
	}
	if o.ClientID == "" {
		o.ClientID = "test"
	}
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	h := &Harness{C: c, s: &session{now: c.o.Now, settled: make(chan struct{}, 1)}}
	return h, nil
}

// Fed is a message as the broker sends it.
type Fed struct {
	Topic    string
	Payload  []byte
	Arrival  int64
	ID       uint16 // 0: QoS 0
	Dup      bool
	Retained bool
}

// Feed decodes and places a message and returns what it made.
func (h *Harness) Feed(m Fed) []*acquisition.Delivery {
	h.s.now = func() int64 { return m.Arrival }
	in := message{topic: m.Topic, payload: m.Payload, arrival: m.Arrival, dup: m.Dup, retained: m.Retained, id: m.ID}
	if m.ID != 0 {
		in.flight = &inflight{s: h.s}
		in.flight.left.Store(1)
		h.flights = append(h.flights, in.flight)
	}
	h.C.process(h.s, in)
	h.C.tick(m.Arrival)
	return h.take()
}

// Tick lets time pass.
func (h *Harness) Tick(now int64) []*acquisition.Delivery {
	h.C.tick(now)
	return h.take()
}

// Reconnect tells the tracks of a new connection.
func (h *Harness) Reconnect(kept bool, now int64) { //nolint:revive // a state
	if !kept {
		clear(h.C.marks.known)
	}
	for _, g := range h.C.groups {
		g.track.connected(kept, h.C.began, now)
	}
	h.C.began = true
}

func (h *Harness) take() []*acquisition.Delivery {
	h.C.setAside()
	for _, d := range h.before { // what Feed returned is valid until the next call
		h.C.out.give(d)
	}
	h.before = append(h.before[:0], h.C.out.list...)
	h.C.out.list = h.C.out.list[:0]
	list := h.before
	for _, d := range list {
		h.C.learn(d)
	}
	return list
}

// Decoder decodes payloads of the first topic of a group.
type Decoder struct {
	t *track
	d decodeFunc
}

// NewDecoder returns the decoder that a client would use.
func NewDecoder(g GroupOptions) (*Decoder, error) {
	h, err := NewHarness(Options{Groups: []GroupOptions{g}})
	if err != nil {
		return nil, err
	}
	return &Decoder{h.C.groups[0].track, h.C.groups[0].parts[0].decode}, nil
}

// Decode decodes one payload and returns how many rows and values it holds.
func (d *Decoder) Decode(topic string, payload []byte) (rows, values int, err error) {
	b := d.t.take()
	defer d.t.give(b)
	if err := d.d(topic, payload, 1700000000e9, b); err != nil {
		return 0, 0, err
	}
	if err := b.check(); err != nil {
		return 0, 0, err
	}
	return b.rows, len(b.numbers), nil
}

// NewGuard returns the framing guard over a connection.
func NewGuard(conn net.Conn, limit, filters int, oversize func(topic string, size int, head []byte)) net.Conn {
	return newGuard(conn, limit, filters, time.Minute, time.Minute, oversize)
}

// NewGuardReader returns a guard that reads from memory.
func NewGuardReader(data []byte, limit, filters int, oversize func(topic string, size int, head []byte)) net.Conn {
	g := newGuard(nullConn{}, limit, filters, time.Minute, time.Minute, oversize)
	g.r = bufio.NewReader(bytes.NewReader(data))
	return g
}

type nullConn struct{ net.Conn }

func (nullConn) Write(b []byte) (int, error)      { return len(b), nil }
func (nullConn) SetWriteDeadline(time.Time) error { return nil }

// Matches and Covers are the topic rules.
var (
	Matches = matches
	Covers  = covers
)
