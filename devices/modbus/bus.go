package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goburrow/modbus"

	"pneudaq/acquisition"
)

// Back-off and patience. The ceilings keep the promises that data flow again
// within 35 s of a cause's end and 2 s of a peer's return.
const (
	firstRest    = time.Second
	longestRest  = 30 * time.Second
	loneRest     = 2 * time.Second // nobody on the bus answers: there is nobody to protect
	silenceLimit = 2 * time.Second // without any answer until the connection is opened again
	idleLimit    = time.Second     // without a request until the connection is looked at first
	doubtful     = 2               // requests in a row without an answer, from which on a unit is asked one question a pass
	busyRetries  = 2
	busyPause    = 10 * time.Millisecond
	settleTime   = 20 * time.Millisecond // silence after a fault; longer than a USB adapter's latency timer
	babbleLimit  = time.Second           // until a line that is never silent is given up
	shortLife    = time.Second           // a connection that the peer ends earlier is a sign of another client
	flapLimit    = 4
	longestFlap  = 10 * time.Second
)

var (
	errNotConnected = errors.New("the bus is not connected")
	errBroken       = errors.New("the connection ended while a setpoint was written")
)

// stream is what frames run over.
type stream interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Bus is one connection to a rig. One goroutine owns it; Stats, Arm and Groups
// may be called by any.
type Bus struct {
	o     Options
	e     endpoint
	plan  *BusPlan
	log   *slog.Logger
	now   func() int64
	armed atomic.Bool
	crc   *crcTable
	units []*unit
	byID  [256]*unit
	lines []*groupLine

	mu   sync.Mutex // conn and cut, which the end of a context touches
	conn stream
	cut  bool

	watched   <-chan struct{}
	stopWatch func() bool
	timer     *time.Timer

	raw    syscall.RawConn // for a look without waiting; nil: none
	looker looker
	in     []byte
	r, w   int
	since  time.Time     // when the first byte of what is not whole yet came
	last   time.Time     // when the last byte came or went
	dirty  bool          // RTU: the line must fall silent first
	gap    time.Duration // RTU: longest pause inside the frame that is coming in
	quiet  time.Duration // RTU: how long the silence after a slow frame must be
	out    []byte
	window []asked
	next   uint16      // transaction id
	recent [256]recent // what became of the latest transactions
	pass   pass
	answer []byte // PDU of a direct request's answer
	result fault  // of a direct request

	connected time.Time
	heard     time.Time // last valid frame
	patience  time.Duration
	fruitful  bool // the connection gave an answer
	flaps     int
	broken    bool // a single request found the connection ended; the next pass says so
	holdUntil time.Time

	connects, losses, unknown, noise, frames, bytesRead, bytesWrote atomic.Uint64
}

// groupLine is the planned requests of one group.
type groupLine struct {
	name     string
	group    *acquisition.Group
	options  []ChannelOptions
	requests []*request
	last     int64 // time of its last scan
}

// request is one question with its frame ready to send.
type request struct {
	unit     *unit
	shape    shape
	frame    []byte
	pdu      []byte // within frame
	address  uint16
	exchange int
	plan     *Request
	direct   bool // asked once, by a person or a check; the answer goes to Bus.answer

	tries    int       // in this pass
	busy     int       // answers "busy" in this pass
	earliest time.Time // not before, after "busy"
	resting  bool
	until    time.Time
	rest     time.Duration
	why      acquisition.Reason
}

// asked is a request on its way.
type asked struct {
	r        *request
	tid      uint16
	sent     int64
	deadline time.Time
}

// recent says what became of a transaction, so that what comes after its end
// can be named.
type recent struct {
	tid      uint16
	used     bool
	answered bool
	unit     *unit
}

// pass is one pass over a group, or one direct request.
type pass struct {
	scan     *acquisition.Scan
	line     *groupLine
	queue    []*request
	head     int
	held     []*request
	end      time.Time // nothing is sent again after
	limit    time.Time // nothing is sent or awaited after
	answered bool
	redialed bool
}

// New plans the groups and returns a bus that is not connected.
func New(o Options) (*Bus, error) {
	e, err := o.settle()
	if err != nil {
		return nil, err
	}
	plan, err := Plan(o)
	if err != nil {
		return nil, err
	}
	b := newBus(o, e)
	b.plan = plan
	for i := range plan.Groups {
		g := &plan.Groups[i]
		l := &groupLine{name: g.Group.Name, group: g.Group, options: g.channels}
		for k := range g.Requests {
			r, err := b.planned(&g.Requests[k], k)
			if err != nil {
				return nil, err
			}
			l.requests = append(l.requests, r)
		}
		b.lines = append(b.lines, l)
	}
	return b, b.prepareChecks()
}

// newBus returns a bus with settled options and no groups.
func newBus(o Options, e endpoint) *Bus {
	b := &Bus{o: o, e: e, log: o.Logger, now: o.Now, crc: newCRCTable(), in: make([]byte, 4096), patience: silenceLimit}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = func() int64 { return time.Now().UnixNano() }
	}
	if b.o.Event == nil {
		b.o.Event = func(acquisition.Event) {}
	}
	for i := range b.o.Devices {
		d := &b.o.Devices[i]
		b.addUnit(d.Unit, d.Name, d)
	}
	return b
}

func (b *Bus) addUnit(id byte, name string, d *Device) *unit {
	u := &unit{id: id, name: name, device: d}
	b.units = append(b.units, u)
	b.byID[id] = u
	return u
}

// packager returns goburrow's packager of the bus's frames for one unit. Its
// transporter is never used.
func (b *Bus) packager(id byte) modbus.Packager { //nolint:ireturn // the library's two handlers share only this
	if b.e.rtu() {
		h := modbus.NewRTUClientHandler("")
		h.SlaveId = id
		return h
	}
	h := modbus.NewTCPClientHandler("")
	h.SlaveId = id
	return h
}

// request builds a question to a unit.
func (b *Bus) request(u *unit, function byte, data []byte) (*request, error) {
	frame, err := b.packager(u.id).Encode(&modbus.ProtocolDataUnit{FunctionCode: function, Data: data})
	if err != nil {
		return nil, fmt.Errorf("bus %s: encode request: %w", b.o.Name, err)
	}
	return b.framed(u, frame), nil
}

// framed returns the request of a whole frame.
func (b *Bus) framed(u *unit, frame []byte) *request {
	r := &request{unit: u, frame: frame, pdu: b.body(frame)}
	r.shape = shapeOf(r.pdu)
	if len(r.pdu) >= 3 && r.pdu[0] != functionFID {
		r.address = binary.BigEndian.Uint16(r.pdu[1:])
	}
	return r
}

// body returns the PDU of a frame.
func (b *Bus) body(frame []byte) []byte {
	if b.e.rtu() {
		return frame[1 : len(frame)-2]
	}
	return frame[headerSize:]
}

func (b *Bus) planned(p *Request, exchange int) (*request, error) {
	data := binary.BigEndian.AppendUint16(nil, p.Address)
	if p.Table != FIFO {
		data = binary.BigEndian.AppendUint16(data, p.Quantity)
	}
	r, err := b.request(b.byID[p.Unit], p.Table.function(), data)
	if err != nil {
		return nil, err
	}
	r.plan, r.exchange = p, exchange
	return r, nil
}

// Groups returns the planned groups in the order of the options.
func (b *Bus) Groups() []*acquisition.Group {
	gs := make([]*acquisition.Group, len(b.lines))
	for i, l := range b.lines {
		gs[i] = l.group
	}
	return gs
}

// Plan returns what goes over the bus.
func (b *Bus) Plan() *BusPlan { return b.plan }

// Connect opens the connection. An error says what could not be reached and
// what to look at.
func (b *Bus) Connect(ctx context.Context) error {
	_ = b.Close()
	if wait := time.Until(b.holdUntil); wait > 0 {
		return fmt.Errorf("connect to %s: the device ends every connection at once, so another client is probably connected and it allows no more; free it, or read through that client; next attempt in %s",
			b.o.Endpoint, wait.Round(100*time.Millisecond))
	}
	conn, err := b.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", b.o.Endpoint, err)
	}
	b.adopt(conn)
	for _, u := range b.units {
		u.silent, u.until, u.verified, u.wrong, u.recheck = 0, time.Time{}, false, acquisition.ReasonNone, time.Time{}
		u.restore()
	}
	return nil
}

func (b *Bus) adopt(conn stream) {
	b.mu.Lock()
	b.conn = conn
	b.mu.Unlock()
	b.raw = nil
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			b.raw = raw
		}
	}
	b.r, b.w, b.dirty = 0, 0, b.e.scheme == rtuSerial
	b.window = b.window[:0]
	b.connects.Add(1)
	t := time.Now()
	b.connected, b.heard, b.last, b.fruitful, b.broken = t, t, t, false, false
	if b.timer == nil {
		b.timer = time.NewTimer(time.Hour)
		b.timer.Stop()
	}
}

// Close releases the connection.
func (b *Bus) Close() error {
	b.unwatch()
	b.mu.Lock()
	conn := b.conn
	b.conn = nil
	b.mu.Unlock()
	b.abandon()
	if conn == nil {
		return nil
	}
	if err := conn.Close(); err != nil && b.e.scheme == rtuSerial {
		return fmt.Errorf("close bus %s: %w", b.o.Name, err)
	}
	return nil // what a peer's end of a connection says on closing helps nobody
}

// watch lets the end of ctx cut short whatever waits on the connection. The
// collector hands in one context for ever, so this costs nothing per pass.
func (b *Bus) watch(ctx context.Context) {
	done := ctx.Done()
	if done == b.watched {
		return
	}
	b.unwatch()
	if done == nil {
		return
	}
	b.mu.Lock()
	b.watched = done
	b.mu.Unlock()
	b.stopWatch = context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.watched != done {
			return
		}
		b.cut = true
		if b.conn != nil {
			past := time.Unix(1, 0)
			_ = b.conn.SetReadDeadline(past) // a connection that takes none is closed
			_ = b.conn.SetWriteDeadline(past)
		}
	})
}

func (b *Bus) unwatch() {
	if b.stopWatch != nil {
		b.stopWatch()
		b.stopWatch = nil
	}
	b.mu.Lock()
	b.watched, b.cut = nil, false
	b.mu.Unlock()
}

// beforeRead sets the deadline of the next read. It answers false once the
// context has ended.
func (b *Bus) beforeRead(deadline time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut || b.conn == nil {
		return false
	}
	_ = b.conn.SetReadDeadline(deadline) // the read itself says what is wrong
	return true
}

// beforeWrite does the same for the next write.
func (b *Bus) beforeWrite(deadline time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut || b.conn == nil {
		return false
	}
	_ = b.conn.SetWriteDeadline(deadline)
	return true
}

// sleep waits for d and says whether ctx goes on.
func (b *Bus) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return !over(ctx)
	}
	b.timer.Reset(d)
	select {
	case <-b.timer.C:
		return true
	case <-ctx.Done():
		b.timer.Stop()
		return false
	}
}

// over says whether ctx has ended; deadlines are looked at one by one.
func over(ctx context.Context) bool { return ctx.Err() != nil }

// describe names a request for people.
func (b *Bus) describe(r *request) string {
	s := fmt.Sprintf("%s: device %s (unit %d), function %d", b.o.Name, r.unit.name, r.unit.id, r.shape.function)
	if p := r.plan; p != nil {
		s += fmt.Sprintf(", %s 0x%04X, %d", p.Table, p.Address, p.Quantity)
	}
	return s
}

func (b *Bus) event(code, detail string) {
	e := acquisition.Event{Time: b.now(), Code: code, Detail: detail}
	if len(b.lines) > 0 {
		e.Rig = b.lines[0].group.Rig
	}
	b.o.Event(e)
}

// lostError ends a connection; reason is for what was on its way.
type lostError struct {
	reason acquisition.Reason
	err    error
}

// Error says what happened.
func (e *lostError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *lostError) Unwrap() error { return e.err }

// lossReason returns the reason for what was on its way when a connection ended.
func lossReason(err error) acquisition.Reason {
	if lost, ok := errors.AsType[*lostError](err); ok {
		return lost.reason
	}
	return acquisition.ReasonReset
}

func lose(why acquisition.Reason, format string, a ...any) error {
	return &lostError{why, fmt.Errorf(format, a...)}
}

// giveUp marks everything of the pass that has no answer.
func (b *Bus) giveUp(why acquisition.Reason) {
	p := &b.pass
	for i := range b.window {
		r := b.window[i].r
		r.unit.counts.count(why)
		r.unit.trying = false
		mark(p.scan, r, why)
		if r.direct {
			b.result = fault{reason: why, detail: "the connection ended"}
		}
	}
	for _, r := range slices.Concat(p.queue[p.head:], p.held) {
		mark(p.scan, r, why)
		if r.direct {
			b.result = fault{reason: why, detail: "the connection ended"}
		}
	}
	b.abandon()
	p.head, p.held = len(p.queue), p.held[:0]
}

// abandon forgets what is on its way.
func (b *Bus) abandon() {
	for i := range b.window {
		b.settled(&b.window[i], false)
	}
	b.window = b.window[:0]
}

// lost counts a connection that ended and sees whether another client takes it
// away again and again.
func (b *Bus) lost(err error) {
	b.losses.Add(1)
	byPeer := lossReason(err) == acquisition.ReasonReset && b.e.scheme != rtuSerial
	if !byPeer || time.Since(b.connected) > shortLife {
		b.flaps = 0
		return
	}
	b.flaps++
	if b.flaps >= flapLimit {
		hold := min(time.Second<<min(b.flaps-flapLimit, 10), longestFlap)
		b.holdUntil = time.Now().Add(hold)
		if b.flaps == flapLimit {
			b.event("other_client", fmt.Sprintf("%s: %s ends every connection within %s: another client is probably connected and the device allows no more", b.o.Name, b.o.Endpoint, shortLife))
		}
	}
}

// silence ends a connection on which nothing has come for so long that it may
// be dead. If a new one is as silent, the devices are: patience grows.
func (b *Bus) silence() error {
	if b.e.scheme == rtuSerial {
		return nil
	}
	quiet := time.Since(b.heard)
	if quiet < b.patience {
		return nil
	}
	asked := false
	for _, u := range b.units {
		asked = asked || u.silent >= 2
	}
	if !asked {
		return nil
	}
	if !b.fruitful {
		b.patience = min(2*b.patience, longestRest)
	}
	b.losses.Add(1)
	return fmt.Errorf("bus %s: no answer of any kind for %s: the connection is opened again", b.o.Name, quiet.Round(100*time.Millisecond))
}

// flush empties what a line holds of its own.
func (b *Bus) flush() {
	if p, ok := b.conn.(interface{ flush() }); ok {
		p.flush()
	}
}

// lookBriefly waits a moment for bytes where looking without waiting cannot be
// done.
func (b *Bus) lookBriefly() (int, error) {
	if !b.beforeRead(time.Now().Add(time.Millisecond)) {
		return 0, nil
	}
	n, err := b.conn.Read(b.in[b.w:])
	if isTimeout(err) {
		err = nil
	}
	return n, err
}

func foreignUnitText(want, got byte) string {
	return fmt.Sprintf("unit %d was asked, unit %d answered", want, got)
}
