package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goburrow/modbus"

	"pneudaq/acquisition"
)

// BufferKind is how a device lays out its fast samples.
type BufferKind uint8

// The kinds of buffers. All numbers are uint32 in the order ABCD.
const (
	// QueueBuffer is a queue of function 24 that a read empties. Two registers
	// with the number of the first sample come before the samples.
	QueueBuffer BufferKind = iota
	// RingBuffer is a head whose first two registers say how many samples were
	// taken, then Capacity samples: sample n lies at place n modulo Capacity.
	RingBuffer
	// WindowBuffer has the same head, then the newest Capacity samples, the
	// oldest first. One read must take all of it.
	WindowBuffer
)

const (
	defaultHead    = 8
	burstQueueRead = 64   // reads of a queue in a row, so that others get their turn
	driftShare     = 5000 // a device's clock is off by at most one part in this many: 200 ppm
)

// BurstOptions describe a connection over which devices are asked for what they
// sampled themselves: kHz traces through slow reads.
type BurstOptions struct {
	// Bus gives Name, Endpoint, TLS, Timeout, Late, Pause, Devices, Dial,
	// Logger and Now. It is a connection of its own.
	Bus     Options
	Buffers []BufferOptions
}

// BufferOptions describe one buffer, which is one group with one channel.
type BufferOptions struct {
	// Group is the template. Period is the time between samples; the planner
	// sets Channels, Words, Exchanges and Completeness (by sequence).
	Group    acquisition.Group
	Channel  acquisition.Channel // Decoding.Type, Order, Scale, Offset, Sentinels are filled in
	Device   string
	Kind     BufferKind
	Table    Table         // RingBuffer and WindowBuffer: Holding or Input
	Address  uint16        // of the queue's pointer, or of the head
	Head     int           // registers of the head; 0: 8
	Capacity int           // samples that a ring or window holds
	Every    time.Duration // how often it is read; 0: when half of it is new, at most every second
}

// Burst reads device-side buffers. It is an [acquisition.Receiver]: slots are
// the device's own sample numbers, so what it lost is known. Times follow from
// the numbers and the sample distance; every read narrows them down to the
// instants between which the newest sample was taken, so the device's clock may
// drift. The half width of an exchange is what remains.
type Burst struct {
	b       *Bus
	buffers []*buffer
}

type buffer struct {
	o       BufferOptions
	group   *acquisition.Group
	words   int // of a sample
	started bool
	restart bool   // the numbers began again: the next delivery opens an epoch
	next    uint64 // number of the next sample
	base    int64  // instant of sample 0, Unix ns; between low and high
	low     int64
	high    int64
	newest  uint64                // sample at which that was seen
	last    int64                 // time of the last scan
	pending *acquisition.Delivery // read and not taken yet
	due     time.Time
}

// NewBurst checks the options; nothing is opened.
func NewBurst(o BurstOptions) (*Burst, error) {
	o.Bus.Groups = nil
	b, err := New(o.Bus)
	if err != nil {
		return nil, err
	}
	r := &Burst{b: b}
	names := map[string]bool{}
	for i := range o.Buffers {
		c := &o.Buffers[i]
		x, err := newBuffer(b, c)
		if err != nil {
			return nil, fmt.Errorf("bus %s: buffer %s: %w", o.Bus.Name, c.Group.Name, err)
		}
		if names[c.Group.Name] {
			return nil, fmt.Errorf("bus %s: buffer %s: the name is there twice", o.Bus.Name, c.Group.Name)
		}
		names[c.Group.Name] = true
		r.buffers = append(r.buffers, x)
	}
	return r, nil
}

func newBuffer(b *Bus, o *BufferOptions) (*buffer, error) {
	x := &buffer{o: *o, words: o.Channel.Decoding.Type.Words()}
	if x.o.Head == 0 {
		x.o.Head = defaultHead
	}
	d := -1
	for i := range b.o.Devices {
		if b.o.Devices[i].Name == o.Device {
			d = i
		}
	}
	size := x.o.Head + o.Capacity*x.words
	switch {
	case d < 0:
		return nil, fmt.Errorf("device %q is not on this bus", o.Device)
	case o.Group.Name == "" || o.Channel.Name == "":
		return nil, errors.New("group and channel need a name")
	case o.Group.Period <= 0:
		return nil, errors.New("the period, which is the time between samples, must be above 0")
	case o.Kind == QueueBuffer:
		x.o.Capacity = (fifoWords - 3) / x.words
	case o.Table != Holding && o.Table != Input:
		return nil, errors.New("a ring or window lies in holding or input registers")
	case o.Capacity < 2 || x.o.Head < 2 || int(o.Address)+size > 1<<16:
		return nil, fmt.Errorf("%d samples behind %d registers of head from 0x%04X do not fit", o.Capacity, x.o.Head, o.Address)
	case o.Kind == WindowBuffer && size > b.o.Devices[d].MaxRead:
		return nil, fmt.Errorf("a window moves while it is read: its %d registers must fit into one read of %d", size, b.o.Devices[d].MaxRead)
	}
	if x.o.Every == 0 {
		x.o.Every = min(time.Duration(x.o.Capacity)*o.Group.Period/2, time.Second)
	}
	g := o.Group
	c := o.Channel
	c.Device, c.Decoding.At, c.Decoding.Origin = o.Device, 0, acquisition.FromWords
	c.Address = fmt.Sprintf("unit %d %s buffer 0x%04X", b.o.Devices[d].Unit, o.Table, o.Address)
	if o.Kind == QueueBuffer {
		c.Address = fmt.Sprintf("unit %d queue 0x%04X", b.o.Devices[d].Unit, o.Address)
	}
	g.Channels = []acquisition.Channel{c}
	g.Words, g.Exchanges, g.Numbers, g.Completeness = x.words, 1, 0, acquisition.BySequence
	x.group = &g
	return x, nil
}

// Groups returns the groups in the order of the options.
func (r *Burst) Groups() []*acquisition.Group {
	gs := make([]*acquisition.Group, len(r.buffers))
	for i, x := range r.buffers {
		gs[i] = x.group
	}
	return gs
}

// Stats returns what the connection has done. Any goroutine may call it.
func (r *Burst) Stats() Stats { return r.b.Stats() }

// Connect opens the connection.
func (r *Burst) Connect(ctx context.Context) error { return r.b.Connect(ctx) }

// Close releases the connection.
func (r *Burst) Close() error { return r.b.Close() }

// Receive reads every buffer in time and hands over its new samples until ctx
// ends or the connection is lost. What deliver does not take stays: it is
// handed over again, and nothing more is read of its buffer meanwhile.
func (r *Burst) Receive(ctx context.Context, deliver func(*acquisition.Delivery) error) error {
	if len(r.buffers) == 0 {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		next := time.Now().Add(time.Hour)
		for _, x := range r.buffers {
			if now := time.Now(); !now.Before(x.due) {
				if x.due = x.due.Add(x.o.Every); !now.Before(x.due) {
					x.due = now.Add(x.o.Every)
				}
				if err := r.read(ctx, x, deliver); err != nil && ctx.Err() == nil {
					return err
				}
			}
			if x.due.Before(next) {
				next = x.due
			}
		}
		if wait := time.Until(next); wait > 0 {
			r.b.sleep(ctx, wait)
		}
	}
	return nil
}

// read takes what is new in a buffer. Only the end of the connection is an
// error: a device that refuses or is silent is asked again at the next turn.
func (r *Burst) read(ctx context.Context, x *buffer, deliver func(*acquisition.Delivery) error) error {
	if x.pending != nil && !x.handOver(deliver) {
		return nil
	}
	c := r.b.Client(ctx, r.b.device(x.o.Device).Unit)
	for range burstQueueRead {
		more, err := x.take(r.b, c)
		if x.pending != nil && !x.handOver(deliver) {
			return nil
		}
		switch {
		case r.b.broken || r.b.conn == nil:
			return fmt.Errorf("read buffer %s: %w", x.group.Name, err)
		case err != nil:
			if _, refused := errors.AsType[*modbus.ModbusError](err); refused {
				x.due = time.Now().Add(max(x.o.Every, firstRest))
			}
			return nil // counted by the bus; the numbers show what it cost
		case !more:
			return nil
		}
	}
	return nil
}

// handOver delivers what waits and says whether it was taken.
func (x *buffer) handOver(deliver func(*acquisition.Delivery) error) bool {
	if deliver(x.pending) != nil {
		return false
	}
	x.pending = nil
	return true
}

// take reads once and leaves new samples in pending. more says that the device
// holds further ones.
func (x *buffer) take(b *Bus, c *Client) (more bool, err error) {
	sent := b.now()
	switch x.o.Kind {
	case QueueBuffer:
		data, err := c.ReadFIFOQueue(x.o.Address)
		if err != nil || len(data) < 4 {
			return false, err
		}
		words := wordsOf(data)
		n := (len(words) - 2) / x.words
		first, more := uint32(words[0])<<16|uint32(words[1]), n == x.o.Capacity
		if x.again(first, n); !x.started && more {
			return true, nil // what waited in the queue has no time: only the newest sample is known to be new
		}
		if !more && n > 0 {
			x.hold(x.extend(first)+uint64(n)-1, sent, b.now())
		}
		x.add(first, words[2:2+n*x.words], b.now())
		return more, nil
	case WindowBuffer:
		words, err := readWords(c, x.o.Table, x.o.Address, x.o.Head+x.o.Capacity*x.words)
		if err != nil {
			return false, err
		}
		count := uint32(words[0])<<16 | uint32(words[1])
		held := min(int(count), x.o.Capacity)
		x.again(count-uint32(held), held)
		if held > 0 {
			x.hold(x.extend(count-1), sent, b.now())
		}
		x.add(count-uint32(held), words[len(words)-held*x.words:], b.now())
		return false, nil
	case RingBuffer:
		return false, x.takeRing(b, c)
	}
	return false, nil
}

// takeRing reads the count, the samples since the last time, and the count
// again: what was overwritten meanwhile is not used.
func (x *buffer) takeRing(b *Bus, c *Client) error {
	sent := b.now()
	head, err := readWords(c, x.o.Table, x.o.Address, 2)
	if err != nil {
		return err
	}
	got := b.now()
	count := uint32(head[0])<<16 | uint32(head[1])
	held := min(count, uint32(x.o.Capacity-1)) // the oldest may be under the pen
	x.again(count-held, int(held))
	from := count - held
	if fresh := count - uint32(x.next); x.started && fresh < held {
		from = count - fresh
	}
	if from == count {
		return nil
	}
	limit := b.device(x.o.Device).MaxRead / x.words
	var words []uint16
	for at := from; at != count; {
		place := int(at % uint32(x.o.Capacity))
		n := min(int(count-at), x.o.Capacity-place, limit)
		part, err := readWords(c, x.o.Table, x.o.Address+uint16(x.o.Head+place*x.words), n*x.words)
		if err != nil {
			return err
		}
		words = append(words, part...)
		at += uint32(n)
	}
	if head, err = readWords(c, x.o.Table, x.o.Address, 2); err != nil {
		return err
	}
	// Sample n is written over once n + Capacity are taken, and may be half
	// written from one before on.
	if lost := int(uint32(head[0])<<16|uint32(head[1])-from) + 1 - x.o.Capacity; lost > 0 {
		lost = min(lost, int(count-from))
		from += uint32(lost)
		words = words[lost*x.words:]
	}
	x.hold(x.extend(count-1), sent, got)
	x.add(from, words, got)
	return nil
}

// again notices that the device's numbers began again: n samples from first on
// end before what was read already.
func (x *buffer) again(first uint32, n int) {
	if x.started && int64(x.extend(first))+int64(n) < int64(x.next) {
		x.started, x.restart, x.base = false, true, 0
	}
}

// extend continues a 32-bit number from the last one.
func (x *buffer) extend(n uint32) uint64 {
	if !x.started {
		return uint64(n)
	}
	return x.next + uint64(int64(int32(n-uint32(x.next))))
}

// hold narrows down when sample 0 was, or would have been. The newest sample was
// taken at most one distance before the device read its buffer, which was
// between sent and got; what was known before stays true but for the drift of
// the device's clock.
func (x *buffer) hold(newest uint64, sent, got int64) {
	dt := int64(x.o.Group.Period)
	zero := int64(newest) * dt
	low, high := sent-dt-dt/driftShare-zero, got-zero
	if x.base != 0 && newest >= x.newest {
		drift := int64(newest-x.newest) * dt / driftShare
		if l, h := max(low, x.low-drift), min(high, x.high+drift); l <= h {
			low, high = l, h
		}
	}
	x.low, x.high, x.newest = low, high, newest
	x.base = low + (high-low)/2
}

// half is the half width of a sample's instant.
func (x *buffer) half(slot uint64) int64 {
	away := int64(slot - x.newest)
	if slot < x.newest {
		away = -away
	}
	return (x.high-x.low)/2 + away*int64(x.o.Group.Period)/driftShare + 1
}

// add makes scans of samples from number first on, skips what was there, and
// notes what is missing.
func (x *buffer) add(first uint32, words []uint16, got int64) {
	n := len(words) / x.words
	if n == 0 {
		return
	}
	d := &acquisition.Delivery{Group: x.group, NewEpoch: x.restart}
	from := x.extend(first)
	if !x.started {
		x.started, x.restart, x.next = true, false, from
	}
	if from > x.next {
		d.Gaps = append(d.Gaps, acquisition.Gap{From: x.next, To: from, Reason: acquisition.ReasonSeqGap})
		x.next = from
	}
	for i := range n {
		slot := from + uint64(i)
		if slot < x.next {
			continue
		}
		t := max(x.base+int64(slot)*int64(x.o.Group.Period), x.last+1)
		x.last = t
		d.Scans = append(d.Scans, acquisition.Scan{
			Slot: slot, Time: t, Arrival: got, Exchanges: []acquisition.Exchange{{HalfWidth: x.half(slot)}},
			Words: words[i*x.words : (i+1)*x.words], Quality: []acquisition.Quality{acquisition.Good},
		})
		x.next = slot + 1
	}
	if len(d.Scans) > 0 || len(d.Gaps) > 0 {
		x.pending = d
	}
}

// readWords reads registers, in as many reads as the device needs.
func readWords(c *Client, t Table, address uint16, n int) ([]uint16, error) {
	var data []byte
	var err error
	if t == Input {
		data, err = c.ReadInputRegisters(address, uint16(n))
	} else {
		data, err = c.ReadHoldingRegisters(address, uint16(n))
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // goburrow's exception or our own WireError, which name everything
	}
	return wordsOf(data), nil
}

func wordsOf(data []byte) []uint16 {
	words := make([]uint16, len(data)/2)
	for i := range words {
		words[i] = uint16(data[2*i])<<8 | uint16(data[2*i+1])
	}
	return words
}
