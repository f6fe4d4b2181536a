package simulator

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ServerOptions says how a Modbus server behaves. The zero value of everything but Units is a fast, correct Modbus TCP
// server.
type ServerOptions struct {
	Units   map[byte]Memory
	RTU     bool        // frames with unit and CRC instead of the MBAP header: serial lines, RTU over TCP
	TLS     *tls.Config // Serve speaks Modbus/TCP Security; with ClientAuth it asks for certificates
	Absent  Exception   // the answer for a unit that is not there; 0 is silence, GatewayNoAnswer what a gateway says
	Network string      // of Serve's listener when it returns after Unplug or Restart; "tcp" if empty

	Delay  time.Duration          // from request to answer; requests sent meanwhile wait their own Delay, side by side
	Delays map[byte]time.Duration // the same for single units
	Serial bool                   // one request at a time: each waits for the answer of the one before
	Baud   int                    // answers come after the time that request and answer take on a line of this rate
	Idle   time.Duration          // RTU: silence that ends a frame; 20 ms if 0

	MaxConns int  // connections at a time; 0: no limit
	Steal    bool // beyond MaxConns the oldest connection is closed instead of the newest

	Faults []Fault
	Seed   uint64 // of the faults

	// Observe is called with each whole request and its answer before faults (nil for none); it must not keep them.
	Observe func(unit byte, request, answer []byte)
	Logger  *slog.Logger // nil: none
}

// Counts is what a server has done since it was made.
type Counts struct {
	Connections uint64 // taken
	Refused     uint64 // beyond MaxConns
	Stolen      uint64 // closed for a newer one
	Requests    uint64 // whole and well framed
	Answers     uint64 // frames sent whole, spoilt ones and exceptions included
	Clean       uint64 // of these, as they should be
	Silent      uint64 // requests that got no answer: absent or muted unit, broadcast, unplugged
	BadFrames   uint64 // wrong CRC, wrong MBAP header, half frames
	Functions   map[byte]uint64
	Exceptions  map[Exception]uint64
	Faults      map[FaultKind]uint64 // struck
}

// A Server answers Modbus requests on any number of listeners and lines.
type Server struct {
	o        ServerOptions
	log      *slog.Logger
	units    map[byte]*unit
	kinds    []FaultKind
	calm     atomic.Bool // no faults and no delays: answers are written at once
	requests atomic.Uint64
	answers  atomic.Uint64
	clean    atomic.Uint64
	silent   atomic.Uint64
	bad      atomic.Uint64
	by       [256]atomic.Uint64 // requests by function
	except   [256]atomic.Uint64 // answered exceptions by code

	mu          sync.Mutex
	faults      []armed
	struck      map[FaultKind]uint64
	muted       map[byte]bool
	conns       []*conn               // oldest first
	listeners   map[net.Listener]bool // false: the server itself closed it
	unplugged   bool
	downUntil   time.Time
	back        chan struct{} // closed and replaced when the server comes back
	onRestart   []func()
	connections uint64
	refused     uint64
	stolen      uint64
}

// NewServer checks the options and returns a server that serves nothing yet.
func NewServer(o ServerOptions) (*Server, error) {
	s := &Server{
		o: o, log: o.Logger, units: make(map[byte]*unit, len(o.Units)), kinds: faultKinds(), struck: map[FaultKind]uint64{},
		muted: map[byte]bool{}, listeners: map[net.Listener]bool{}, back: make(chan struct{}),
	}
	if len(o.Units) == 0 {
		return nil, errors.New("a Modbus server without units answers nothing: give at least one")
	}
	if o.RTU && o.TLS != nil {
		return nil, errors.New("TLS carries Modbus TCP frames (Modbus/TCP Security): RTU and TLS exclude each other")
	}
	for id, m := range o.Units {
		if m == nil {
			return nil, fmt.Errorf("unit %d has no memory", id)
		}
		s.units[id] = newUnit(m)
		if r, ok := m.(interface{ restart() }); ok {
			s.onRestart = append(s.onRestart, r.restart)
		}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.o.Idle == 0 {
		s.o.Idle = 20 * time.Millisecond
	}
	if s.o.Network == "" {
		s.o.Network = "tcp"
	}
	return s, s.SetFaults(o.Faults)
}

// SetFaults replaces the faults; numbering begins again.
func (s *Server) SetFaults(faults []Fault) error {
	all := make([]armed, len(faults))
	for i := range faults {
		if err := faults[i].check(); err != nil {
			return err
		}
		all[i].Fault = faults[i]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = all
	s.settle()
	return nil
}

// Mute makes a unit silent, or lets it speak again.
func (s *Server) Mute(unit byte, on bool) { //nolint:revive // a fault is on or off, as Twin.Break has it
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.muted[unit] = true
	} else {
		delete(s.muted, unit)
	}
	s.settle()
}

// settle decides whether the short path may be taken.
func (s *Server) settle() {
	s.calm.Store(len(s.faults) == 0 && len(s.muted) == 0 && !s.unplugged && s.o.Delay == 0 && len(s.o.Delays) == 0 && s.o.Baud == 0)
}

// Unplug takes the server off the wire, or puts it back: connections are reset, ports refuse, lines are silent.
func (s *Server) Unplug(on bool) { //nolint:revive // a fault is on or off, as Twin.Break has it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unplugged = on
	s.settle()
	if on {
		s.dropLocked()
		return
	}
	close(s.back)
	s.back = make(chan struct{})
}

// Restart resets all connections and lets ports refuse for a while, as a device does that boots.
func (s *Server) Restart(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downUntil = time.Now().Add(pause)
	s.dropLocked()
	for _, f := range s.onRestart {
		f()
	}
}

func (s *Server) dropLocked() {
	for l := range s.listeners {
		s.listeners[l] = false
		_ = l.Close() // Serve sees the error and comes back
	}
	for _, c := range s.conns {
		if c.network {
			c.reset()
		}
	}
}

// Counts returns what was done so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := Counts{
		Connections: s.connections, Refused: s.refused, Stolen: s.stolen, Requests: s.requests.Load(), Answers: s.answers.Load(),
		Clean: s.clean.Load(), Silent: s.silent.Load(), BadFrames: s.bad.Load(),
		Functions: map[byte]uint64{}, Exceptions: map[Exception]uint64{}, Faults: make(map[FaultKind]uint64, len(s.struck)),
	}
	for i := range 256 {
		if v := s.by[i].Load(); v > 0 {
			n.Functions[byte(i)] = v
		}
		if v := s.except[i].Load(); v > 0 {
			n.Exceptions[Exception(i)] = v
		}
	}
	maps.Copy(n.Faults, s.struck)
	return n
}

// Serve takes connections until ctx ends, which closes l; it returns after every connection has ended. After Unplug and
// Restart it listens again at the same address. The error is what made listening impossible.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	address := l.Addr().String()
	for {
		err := s.accept(ctx, l, &all)
		_ = l.Close() // it may be closed already
		if ctx.Err() != nil {
			return nil
		}
		if !s.wasDropped(l) {
			return fmt.Errorf("accept on %s: %w", address, err)
		}
		if l, err = s.listenAgain(ctx, address); err != nil {
			return err
		}
		if l == nil {
			return nil
		}
	}
}

// accept serves connections of one listener until it fails or is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup) error {
	s.mu.Lock()
	s.listeners[l] = true
	if s.downLocked() { // unplugged before it began
		s.listeners[l] = false
		_ = l.Close() // Accept tells
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err //nolint:wrapcheck // Serve says where
			}
			wait(ctx, 20*time.Millisecond, nil) // a client that went away, or too many open files: it passes
			continue
		}
		if s.o.TLS != nil {
			c = tls.Server(c, s.o.TLS)
		}
		all.Go(func() { _ = s.ServeConn(ctx, c) })
	}
}

func (s *Server) downLocked() bool { return s.unplugged || time.Now().Before(s.downUntil) }

// wasDropped says whether the server itself took the listener down.
func (s *Server) wasDropped(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	standing := s.listeners[l]
	delete(s.listeners, l)
	return !standing
}

// listenAgain waits until the server is back; nil without an error means that ctx has ended.
func (s *Server) listenAgain(ctx context.Context, address string) (net.Listener, error) {
	const patience = 5 * time.Second // for a port that somebody else took meanwhile
	var config net.ListenConfig
	var since time.Time
	for ctx.Err() == nil {
		s.mu.Lock()
		back, pause, unplugged := s.back, time.Until(s.downUntil), s.unplugged
		s.mu.Unlock()
		if pause > 0 || unplugged {
			if unplugged {
				pause = time.Hour
			}
			wait(ctx, pause, back)
			continue
		}
		l, err := config.Listen(ctx, s.o.Network, address)
		if err == nil {
			return l, nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > patience {
			return nil, fmt.Errorf("listen again: %w", err)
		}
		wait(ctx, 20*time.Millisecond, nil)
	}
	return nil, nil //nolint:nilnil // the end of ctx is no error and there is no listener
}

// wait returns after d, at the end of ctx, or when early is closed.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-early:
	case <-ctx.Done():
	}
}

// A Line is what one conversation runs over: a net.Conn, a pipe, a pseudo terminal, a serial port.
type Line interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
}

// ServeConn answers on one line until it ends, ctx ends, or a fault closes it; the line is closed on return. What a peer
// does is no error.
func (s *Server) ServeConn(ctx context.Context, line Line) error {
	if err := line.SetReadDeadline(time.Time{}); err != nil && s.o.RTU {
		return fmt.Errorf("RTU needs a line with read deadlines, to see the silence between frames: %w", err)
	}
	_, network := line.(net.Conn)
	c := &conn{s: s, line: line, network: network, in: make([]byte, 2048), out: make([]byte, 0, 4096), words: make([]uint16, maxReadBits)}
	if !s.admit(c) {
		return c.close()
	}
	defer s.dismiss(c)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = c.close() })
	c.read(ctx)
	cancel()
	stop()
	_ = c.close() // perhaps for the second time
	c.sending.Wait()
	return nil
}

// admit enforces MaxConns.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.network && s.downLocked() {
		return false
	}
	if s.o.MaxConns > 0 && len(s.conns) >= s.o.MaxConns {
		if !s.o.Steal {
			s.refused++
			return false
		}
		s.stolen++
		s.conns[0].reset()
		s.conns = s.conns[1:]
	}
	s.connections++
	s.conns = append(s.conns, c)
	return true
}

func (s *Server) dismiss(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.conns {
		if other == c {
			s.conns = append(s.conns[:i:i], s.conns[i+1:]...)
			return
		}
	}
}

// conn is one conversation. Its reader goroutine is the caller of ServeConn; once an answer must wait there is a sender.
type conn struct {
	s       *Server
	line    Line
	network bool
	in      []byte
	have    int // bytes of in
	out     []byte
	whole   int // answers in out
	words   []uint16
	queue   *sender
	sending sync.WaitGroup
	busy    time.Time // when the last answer leaves
	held    time.Time // no answer leaves before
	closing sync.Once
}

func (c *conn) close() (err error) {
	c.closing.Do(func() { err = c.line.Close() })
	return err //nolint:wrapcheck // looked at by nobody but a caller that was refused
}

// reset closes a connection so that the peer sees a reset.
func (c *conn) reset() {
	inner := c.line
	if t, ok := inner.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a connection that is gone needs none
		c.closing.Do(func() { _ = t.Close() })
		return
	}
	_ = c.close()
}

// read takes bytes and serves whole requests until the line ends.
func (c *conn) read(ctx context.Context) {
	for {
		var used int
		var ok bool
		if c.s.o.RTU {
			used, ok = c.takeRTU(ctx)
		} else {
			used, ok = c.takeTCP(ctx)
		}
		if c.flush() != nil || !ok {
			return
		}
		c.have = copy(c.in, c.in[used:c.have])
		n, err := c.line.Read(c.in[c.have:])
		c.have += n
		switch {
		case err == nil:
		case c.s.o.RTU && errors.Is(err, os.ErrDeadlineExceeded):
			c.silence(ctx)
		default:
			return
		}
	}
}

// takeTCP serves the whole requests in c.in. A header that is none ends the conversation, as devices do it.
func (c *conn) takeTCP(ctx context.Context) (used int, ok bool) {
	const header = 7
	for c.have-used >= header {
		b := c.in[used:c.have]
		n := int(binary.BigEndian.Uint16(b[4:]))
		if binary.BigEndian.Uint16(b[2:]) != 0 || n < 2 || n > maxPDU+1 {
			c.s.bad.Add(1)
			return used, false
		}
		if len(b) < 6+n {
			break
		}
		if !c.serve(ctx, binary.BigEndian.Uint16(b), b[6], b[header:6+n]) {
			return used, false
		}
		used += 6 + n
	}
	return used, true
}

// takeRTU serves the whole requests in c.in and arms the deadline that tells the end of what is not whole.
func (c *conn) takeRTU(ctx context.Context) (used int, ok bool) {
	for {
		b := c.in[used:c.have]
		n, known := rtuRequestLength(b)
		if len(b) == 0 {
			_ = c.line.SetReadDeadline(time.Time{}) // the next Read tells
			return used, true
		}
		if !known || n == 0 || len(b) < n {
			return c.awaitSilence(used), true
		}
		if !goodCRC(b[:n]) {
			return c.awaitSilence(used), true // which throws it away
		}
		if !c.serve(ctx, 0, b[0], b[1:n-2]) {
			return used, false
		}
		used += n
	}
}

// awaitSilence arms the deadline that ends a frame and returns used. Of noise without end it keeps the tail.
func (c *conn) awaitSilence(used int) int {
	_ = c.line.SetReadDeadline(time.Now().Add(c.s.o.Idle)) // a line that cannot was refused
	if c.have-used > 2*longestRTU {
		return c.have - longestRTU
	}
	return used
}

// silence is the end of what came on an RTU line and was no known request: a function that only silence delimits is
// answered, all else is thrown away.
func (c *conn) silence(ctx context.Context) {
	b := c.in[:c.have]
	c.have = 0
	if _, known := rtuRequestLength(b); !known && goodCRC(b) && len(b) <= longestRTU {
		c.serve(ctx, 0, b[0], b[1:len(b)-2])
		return
	}
	if len(b) > 0 {
		c.s.bad.Add(1)
	}
}

// flush writes the answers that need not wait.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	n := uint64(c.whole)
	c.s.answers.Add(n) // before the peer can see them: whoever has the answer finds it counted
	c.s.clean.Add(n)
	_, err := c.line.Write(c.out)
	if err != nil {
		c.s.answers.Add(-n)
		c.s.clean.Add(-n)
	}
	c.out, c.whole = c.out[:0], 0
	return err //nolint:wrapcheck // it ends the conversation and is told to nobody
}

// serve answers one request PDU; false ends the conversation.
func (c *conn) serve(ctx context.Context, transaction uint16, id byte, req []byte) bool {
	s := c.s
	s.requests.Add(1)
	s.by[req[0]].Add(1)
	if s.calm.Load() && c.queue == nil {
		start := len(c.out)
		c.out = c.begin(c.out, transaction, id)
		body := len(c.out)
		c.out = s.respond(id, req, c.out, c.words)
		if len(c.out) == body {
			c.out = c.out[:start]
			s.silent.Add(1)
			return true
		}
		c.out = c.end(c.out, start)
		c.whole++
		if len(c.out) > 32<<10 {
			return c.flush() == nil
		}
		return true
	}
	return c.serveWaiting(ctx, transaction, id, req)
}

// respond appends the answer PDU, nothing for silence.
func (s *Server) respond(id byte, req, out []byte, words []uint16) []byte {
	start := len(out)
	u := s.units[id]
	switch {
	case u != nil:
		out = u.answer(req, out, words)
	case id == 0 && s.o.RTU:
		s.broadcast(req, words)
	case (id == 0 || id == 255) && !s.o.RTU && len(s.units) == 1: // a device that stands alone ignores the unit
		for _, only := range s.units {
			out = only.answer(req, out, words)
		}
	case s.o.Absent != NoException:
		out = append(out, req[0]|0x80, byte(s.o.Absent))
	}
	if answer := out[start:]; len(answer) > 1 && answer[0]&0x80 != 0 {
		s.except[answer[1]].Add(1)
	}
	if s.o.Observe != nil {
		s.o.Observe(id, req, out[start:])
	}
	return out
}

// broadcast lets every unit do what is written; nobody answers.
func (s *Server) broadcast(req []byte, words []uint16) {
	switch req[0] {
	case 5, 6, 15, 16, 22:
		for _, u := range s.units {
			u.answer(req, make([]byte, 0, longestRTU), words)
		}
	}
}

// begin appends what stands before a PDU.
func (c *conn) begin(out []byte, transaction uint16, id byte) []byte {
	if c.s.o.RTU {
		return append(out, id)
	}
	return append(out, byte(transaction>>8), byte(transaction), 0, 0, 0, 0, id)
}

// end completes the frame that begins at start.
func (c *conn) end(out []byte, start int) []byte {
	if c.s.o.RTU {
		return appendCRC(out, start)
	}
	binary.BigEndian.PutUint16(out[start+4:], uint16(len(out)-start-6))
	return out
}
