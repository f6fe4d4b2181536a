package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Packet types that a server sends (MQTT 3.1.1, section 2.2.1).
const (
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typePubrec     = 5
	typePubrel     = 6
	typePubcomp    = 7
	typeSuback     = 9
	typeUnsuback   = 11
	typePingresp   = 13
	typeDisconnect = 14 // servers of MQTT 5 send it, and some to older clients too
)

// takenOver is the reason code of a session that another client took over
// (MQTT 5, section 3.14.2.1).
const takenOver = 0x8e

// endedError is a connection that the broker ended.
type endedError struct {
	reason byte // MQTT 5 reason code, 0: none was given
}

// Error says how.
func (e *endedError) Error() string {
	switch e.reason {
	case 0:
		return "the broker closed the connection"
	case takenOver:
		return "the broker closed the connection because another client uses the client id (reason 0x8E)"
	}
	return fmt.Sprintf("the broker closed the connection (reason 0x%02X)", e.reason)
}

// guardBuffer is read from the network at a time.
const guardBuffer = 32 << 10

// guard stands between the network and the MQTT library. It reads the header
// of each packet, and lets through only what a broker may send and what fits
// into the limit: the library would allocate whatever a header claims. A
// message that is too large is read and thrown away in pieces, reported, and
// acknowledged, because the broker would send it again for ever.
//
// It also owns the deadlines: nothing for longer than idle is a dead
// connection, and no write blocks for longer than the write limit.
type guard struct {
	net.Conn
	r         *bufio.Reader
	limit     int // bytes of a packet
	subscribe int // filters that a SUBACK may answer
	oversize  func(topic string, size int, head []byte)

	head    [5]byte
	pending []byte // header bytes that the library has not had
	body    int    // bytes of the packet's body that it has not had
	open    bool   // CONNACK was seen

	idle  atomic.Int64 // ns
	write time.Duration
	mu    sync.Mutex // writes: the library's and the guard's own
	fault atomic.Pointer[error]
}

func newGuard(conn net.Conn, limit, subscribe int, handshake, write time.Duration, oversize func(string, int, []byte)) *guard {
	g := &guard{Conn: conn, limit: limit, subscribe: subscribe, write: write, oversize: oversize}
	g.idle.Store(int64(handshake))
	g.r = bufio.NewReaderSize((*patient)(g), guardBuffer)
	return g
}

// patient reads from the connection with the guard's deadline.
type patient guard

// Read implements [io.Reader].
func (p *patient) Read(b []byte) (int, error) {
	idle := time.Duration(p.idle.Load())
	if err := p.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return 0, err
	}
	n, err := p.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		return n, &endedError{}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = fmt.Errorf("nothing came from the broker for %s; the connection is dead", idle)
	}
	return n, err
}

// SetDeadline does nothing: the guard has its own.
func (g *guard) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: the guard has its own.
func (p *patient) SetReadDeadline(t time.Time) error {
	return p.Conn.SetReadDeadline(t) //nolint:wrapcheck // passed on
}

// SetWriteDeadline does nothing: the guard has its own.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// Write implements [net.Conn].
func (g *guard) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.Conn.SetWriteDeadline(time.Now().Add(g.write)); err != nil {
		return 0, err //nolint:wrapcheck // a connection's error
	}
	return g.Conn.Write(b) //nolint:wrapcheck // a connection's error
}

// Read implements [net.Conn]: it gives only whole headers that were looked at.
func (g *guard) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for len(g.pending) == 0 && g.body == 0 {
		if err := g.next(); err != nil {
			g.fault.CompareAndSwap(nil, &err)
			return 0, err
		}
	}
	if len(g.pending) > 0 {
		n := copy(b, g.pending)
		g.pending = g.pending[n:]
		return n, nil
	}
	n, err := g.r.Read(b[:min(len(b), g.body)])
	g.body -= n
	if err != nil {
		g.fault.CompareAndSwap(nil, &err)
	}
	return n, err //nolint:wrapcheck // a reader's error
}

// why returns what ended the connection on the reading side, nil if nothing did.
func (g *guard) why() error {
	if p := g.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// next reads the header of the next packet.
func (g *guard) next() error {
	first, err := g.r.ReadByte()
	if err != nil {
		return err //nolint:wrapcheck // a reader's error
	}
	if !g.open && first != typeConnack<<4 {
		return g.stranger(first)
	}
	g.head[0] = first
	size, n := 0, 1
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return errors.New("the broker's packet has a length of more than four bytes; the stream is damaged")
		}
		c, err := g.r.ReadByte()
		if err != nil {
			return cut(err)
		}
		g.head[n] = c
		n++
		size |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			break
		}
	}
	pass, err := g.look(first, size)
	if err != nil || !pass {
		return err
	}
	g.pending, g.body = g.head[:n], size
	return nil
}

func cut(err error) error {
	var ended *endedError
	if errors.Is(err, io.EOF) || errors.As(err, &ended) {
		return fmt.Errorf("in the middle of a packet: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// stranger says what answers if it is no broker.
func (g *guard) stranger(first byte) error {
	start := make([]byte, 8)
	start[0] = first
	n := 1
	if g.r.Buffered() > 0 {
		more, _ := g.r.Peek(min(g.r.Buffered(), 7))
		n += copy(start[1:], more)
	}
	start = start[:n]
	switch {
	case n >= 4 && string(start[:4]) == "HTTP":
		return errors.New("what answers is no MQTT broker but an HTTP server; check the port of the endpoint")
	case first == 0x15 || first == 0x16:
		return errors.New("the port speaks TLS; write mqtts:// in the endpoint")
	}
	return fmt.Errorf("what answers is no MQTT broker: it begins with % x; check the port of the endpoint", start)
}

// look decides about a packet whose header was read.
func (g *guard) look(first byte, size int) (pass bool, err error) {
	var want int
	switch first >> 4 {
	case typeConnack:
		if g.open {
			return false, errors.New("the broker accepts a connection that is open already; the stream is damaged")
		}
		if size != 2 {
			return false, fmt.Errorf("the broker's CONNACK has %d bytes instead of 2; it does not speak MQTT 3.1.1", size)
		}
		b, err := g.r.Peek(2)
		if err != nil {
			return false, cut(err)
		}
		if b[1] > 5 {
			return false, fmt.Errorf("the broker refuses with the unknown code %d", b[1])
		}
		g.open = true
		return true, nil
	case typePublish:
		return g.publish(first, size)
	case typePuback, typePubrec, typePubrel, typePubcomp, typeUnsuback:
		want = 2
	case typePingresp:
		want = 0
	case typeSuback:
		if size < 3 || size > 2+g.subscribe {
			return false, fmt.Errorf("the broker answers a subscription with %d bytes; the stream is damaged", size)
		}
		return true, nil
	case typeDisconnect:
		ended := &endedError{}
		if size > 0 {
			if b, err := g.r.Peek(1); err == nil {
				ended.reason = b[0]
			}
		}
		return false, ended
	default:
		return false, fmt.Errorf("the broker sends a packet of type %d, which only clients send; the stream is damaged", first>>4)
	}
	if size != want {
		return false, fmt.Errorf("the broker's packet of type %d has %d bytes instead of %d; the stream is damaged", first>>4, size, want)
	}
	return true, nil
}

func (g *guard) publish(first byte, size int) (pass bool, err error) {
	qos := first >> 1 & 3
	least := 3 // length and one byte of the topic
	if qos > 0 {
		least += 2
	}
	if qos > 1 {
		return false, fmt.Errorf("the broker sends a message with QoS %d, and 1 is the highest subscribed; the stream is damaged", qos)
	}
	if size < least {
		return false, fmt.Errorf("the broker's message has %d bytes, less than a topic needs; the stream is damaged", size)
	}
	b, err := g.r.Peek(2)
	if err != nil {
		return false, cut(err)
	}
	topic := int(binary.BigEndian.Uint16(b))
	if topic == 0 || topic+least-1 > size {
		return false, fmt.Errorf("the broker's message of %d bytes has a topic of %d; the stream is damaged", size, topic)
	}
	if size <= g.limit {
		return true, nil
	}
	return false, g.discard(qos, topic, size)
}

// discard reads a message that is too large and throws it away.
func (g *guard) discard(qos byte, topic, size int) error {
	const sample = 256
	intro := 2 + topic
	if qos > 0 {
		intro += 2
	}
	buf := make([]byte, intro+min(sample, size-intro))
	if _, err := io.ReadFull(g.r, buf); err != nil {
		return cut(err)
	}
	if _, err := g.r.Discard(size - len(buf)); err != nil {
		return cut(err)
	}
	g.oversize(string(buf[2:2+topic]), size, buf[intro:])
	if qos == 0 {
		return nil
	}
	_, err := g.Write([]byte{typePuback << 4, 2, buf[2+topic], buf[3+topic]})
	return err
}
