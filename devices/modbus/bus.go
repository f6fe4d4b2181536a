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

// ErrNotConnected says that Connect has not succeeded yet.
var errNotConnected = errors.New("the bus is not connected")

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
	since  time.Time // when the first byte of what is not whole yet came
	last   time.Time // when the last byte came or went
	dirty  bool      // RTU: the line must fall silent first
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
	holdUntil time.Time

	connects, losses, unknown, noise, frames, bytesRead, bytesWrote atomic.Uint64
}

// groupLine is the planned requests of one group.
type groupLine struct {
	name     string
	group    *acquisition.Group
	options  []ChannelOptions
	requests []*request
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
	queue    []*request
	head     int
	held     []*request
	end      time.Time // nothing is sent again after
	limit    time.Time // nothing is sent or awaited after
	answered bool
	redialed bool
}

// unit is one device on the bus and what is known of its health.
type unit struct {
	id       byte
	name     string
	device   *Device
	counts   counters
	silent   int // requests in a row without an answer
	away     bool
	trying   bool // a request is on its way to see whether it is back
	until    time.Time
	rest     time.Duration
	done     time.Time // of its last answer
	debts    []debt
	verified bool               // identity was read and is right
	wrong    acquisition.Reason // why it is not asked: identity
	once     bool               // wrong holds for one pass
	recheck  time.Time
	uptime   uint64
	counted  bool // uptime is known
	checks   []check
}

// debt is an answer that may still come on a line without transaction ids.
type debt struct {
	function byte
	length   int // of the PDU, 0: any
	until    time.Time
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
	if len(r.pdu) >= 3 {
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
		b.setAway(u, false)
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
	b.connected, b.heard, b.last, b.fruitful = t, t, t, false
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

// sleep waits for d or the end of ctx.
func (b *Bus) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	b.timer.Reset(d)
	select {
	case <-b.timer.C:
		return nil
	case <-ctx.Done():
		b.timer.Stop()
		return ctx.Err()
	}
}

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
	b.watch(ctx)
	start := time.Now()
	b.begin(ctx, s, start, g.Period)
	for _, r := range l.requests {
		r.tries, r.busy, r.earliest = 0, 0, time.Time{}
		b.pass.queue = append(b.pass.queue, r)
	}
	err := b.run(ctx)
	if err != nil {
		why := acquisition.ReasonReset
		var lost *lostError
		if errors.As(err, &lost) {
			why = lost.reason
		}
		b.giveUp(why)
		b.lost(err)
		return fmt.Errorf("bus %s: %w", b.o.Name, err)
	}
	return b.silence()
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
		s.Time = mid
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

func (u *unit) timeout(b *Bus) time.Duration {
	if u.device != nil {
		return u.device.Timeout
	}
	return b.o.Timeout
}

func (u *unit) retries() int {
	if u.device != nil {
		return u.device.Retries
	}
	return 0
}

func (u *unit) pause() time.Duration {
	if u.device != nil {
		return u.device.Pause
	}
	return 0
}

// alive notes that a unit answered.
func (b *Bus) alive(u *unit) {
	u.silent = 0
	if !u.away {
		return
	}
	b.setAway(u, false)
	b.log.Info("unit back", slog.String("bus", b.o.Name), slog.String("device", u.name), slog.Int("unit", int(u.id)))
	b.event("unit_back", fmt.Sprintf("%s: device %s (unit %d) answers again", b.o.Name, u.name, u.id))
	// What silenced one may have silenced the others: look at once.
	for _, other := range b.units {
		if other.away {
			other.until, other.rest = time.Time{}, 0
		}
	}
}

func (b *Bus) setAway(u *unit, away bool) {
	u.away, u.trying = away, false
	u.counts.away.Store(away)
	if !away {
		u.rest = 0
	}
}

// mute notes that a unit did not answer. One that is silent again and again is
// asked less often, so that the others keep their rate.
func (b *Bus) mute(u *unit, now time.Time) {
	u.silent++
	u.verified = false
	if u.device == nil || u.device.Quarantine < 0 || len(b.units) < 2 || u.silent < u.device.Quarantine {
		return
	}
	first := !u.away
	b.setAway(u, true)
	lone := true
	for _, other := range b.units {
		lone = lone && (other.away || other.silent > 0)
	}
	u.rest = min(max(2*u.rest, 2*firstRest), longestRest)
	if lone {
		u.rest = loneRest
	}
	u.until = now.Add(u.rest)
	if first {
		b.log.Warn("unit does not answer", slog.String("bus", b.o.Name), slog.String("device", u.name), slog.Int("unit", int(u.id)))
		b.event("unit_lost", fmt.Sprintf("%s: device %s (unit %d) did not answer %d times in a row and is asked less often; look at its power and wiring",
			b.o.Name, u.name, u.id, u.silent))
	}
}

// stop lets a request rest that the device refuses: the rig file and the
// device disagree, and asking again at once would change nothing.
func (b *Bus) stop(r *request, why acquisition.Reason, code byte, now time.Time) {
	first := !r.resting
	if first {
		r.rest = 0
		r.unit.counts.stopped.Add(1)
	}
	r.rest = min(max(2*r.rest, firstRest), longestRest)
	r.resting, r.until, r.why = true, now.Add(r.rest), why
	if why == acquisition.ReasonException {
		r.why = acquisition.ReasonConfig
	}
	if first {
		text := b.describe(r) + ": " + exceptionText(code)
		b.log.Warn("device refuses a request", slog.String("bus", b.o.Name), slog.String("device", r.unit.name), slog.String("request", text))
		b.event("request_refused", text)
	}
}

func (b *Bus) restored(r *request) {
	r.resting, r.rest = false, 0
	r.unit.counts.stopped.Add(-1)
	b.log.Info("device answers the request again", slog.String("bus", b.o.Name), slog.String("device", r.unit.name), slog.String("request", b.describe(r)))
	b.event("request_answered", b.describe(r))
}

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
	var lost *lostError
	byPeer := errors.As(err, &lost) && lost.reason == acquisition.ReasonReset && b.e.scheme != rtuSerial
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
	return n, err //nolint:wrapcheck // the callers word what a connection says
}

func foreignUnitText(want, got byte) string {
	return fmt.Sprintf("unit %d was asked, unit %d answered", want, got)
}
