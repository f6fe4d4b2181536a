package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/goburrow/modbus"

	"pneudaq/acquisition"
)

const (
	readBackTries = 3
	readBackPause = 20 * time.Millisecond
	maxWriteWords = 123  // V1.1b3 section 6.12
	maxWriteBits  = 1968 // V1.1b3 section 6.11
)

// Arm lets write functions through, or stops them. Any goroutine may call it.
func (b *Bus) Arm(on bool) { b.armed.Store(on) }

// Armed says whether write functions are let through.
func (b *Bus) Armed() bool { return b.armed.Load() }

// move is one write: values for neighbouring coils or registers of a device.
type move struct {
	channel string
	device  *Device
	table   Table
	address uint16
	words   []uint16 // registers, or 0 and 1 for coils
	mask    uint16   // of a bit field: the bits that are written; 0: whole registers
}

func (m *move) next() int { return int(m.address) + len(m.words) }

// Write writes setpoints in the order given and reads each back. Setpoints of
// neighbouring coils or registers that follow each other go out in one request.
// Nothing is written unless every setpoint can be: writable, encodable, within
// range, and the bus armed.
func (b *Bus) Write(ctx context.Context, setpoints []acquisition.Setpoint) error {
	var moves []move
	var errs []error
	for _, p := range setpoints {
		m, err := b.move(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		moves = append(moves, m)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !b.Armed() && len(moves) > 0 {
		return fmt.Errorf("write %s: %w", moves[0].channel, ErrNotArmed)
	}
	for _, m := range joined(moves) {
		if err := b.carryOut(ctx, m); err != nil {
			return fmt.Errorf("write %s: %w", m.channel, err)
		}
	}
	return nil
}

// Safe writes the safe state: every setpoint of it, even if others do not
// succeed. Without a safe state it does nothing.
func (b *Bus) Safe(ctx context.Context) error {
	var errs []error
	for _, p := range b.o.Safe {
		if err := b.Write(ctx, []acquisition.Setpoint{p}); err != nil {
			errs = append(errs, fmt.Errorf("safe state: %w", err))
		}
	}
	return errors.Join(errs...)
}

// find returns a channel by "name" or "group/name".
func (b *Bus) find(name string) (*acquisition.Channel, *ChannelOptions) {
	group, channel, qualified := strings.Cut(name, "/")
	for _, l := range b.lines {
		if qualified && l.name != group {
			continue
		}
		if !qualified {
			channel = name
		}
		if i := l.group.Channel(channel); i >= 0 && l.group.Channels[i].Decoding.Origin == acquisition.FromWords {
			return &l.group.Channels[i], &l.options[i]
		}
	}
	return nil, nil
}

// move turns a setpoint into what is to be written.
func (b *Bus) move(p acquisition.Setpoint) (move, error) {
	bad := func(format string, a ...any) (move, error) {
		return move{}, fmt.Errorf("write %s: "+format, append([]any{p.Channel}, a...)...)
	}
	c, o := b.find(p.Channel)
	switch {
	case c == nil:
		return bad("no channel of bus %s has this name", b.o.Name)
	case !c.Writable:
		return bad("the channel is not writable; the rig file says so by writable: true")
	case c.Low != c.High && !(p.Value >= c.Low && p.Value <= c.High):
		return bad("%v is outside the channel's range %v to %v %s", p.Value, c.Low, c.High, c.Unit)
	case o.DecimalsFrom != nil:
		return bad("the channel's decimals are in the device; a setpoint needs a fixed scale")
	}
	d := b.device(o.Device)
	m := move{channel: p.Channel, device: d, table: o.Table, address: o.Address}
	if o.Table == Coil {
		if p.Value != 0 && p.Value != 1 {
			return bad("a coil is 0 or 1, not %v", p.Value)
		}
		m.words = []uint16{uint16(p.Value)}
		return m, nil
	}
	var err error
	if m.words, m.mask, err = encode(&c.Decoding, p.Value); err != nil {
		return bad("%w", err)
	}
	return m, nil
}

func (b *Bus) device(name string) *Device {
	i := slices.IndexFunc(b.o.Devices, func(d Device) bool { return d.Name == name })
	return &b.o.Devices[i]
}

// encode is the reverse of [acquisition.Decoding.Value]. For a bit field the
// mask says which bits of the one register are meant.
func encode(d *acquisition.Decoding, value float64) (words []uint16, mask uint16, err error) {
	v := value - d.Offset
	if d.Scale != 0 {
		v /= d.Scale
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, 0, fmt.Errorf("%v is no number that can be written", value)
	}
	n := d.Type.Words()
	var raw uint64
	fits := func(low, high float64) bool {
		v = math.Round(v)
		return v >= low && v <= high
	}
	ok := true
	switch d.Type {
	case acquisition.TypeBool:
		ok = fits(0, 1)
		raw = uint64(v) << d.Bit
	case acquisition.TypeInt8:
		ok, raw = fits(-128, 127), uint64(uint8(int8(v)))
	case acquisition.TypeUint8:
		ok, raw = fits(0, 255), uint64(v)
	case acquisition.TypeInt16:
		ok, raw = fits(-1<<15, 1<<15-1), uint64(uint16(int16(v)))
	case acquisition.TypeUint16:
		ok, raw = fits(0, 1<<16-1), uint64(v)
	case acquisition.TypeInt32:
		ok, raw = fits(-1<<31, 1<<31-1), uint64(uint32(int32(v)))
	case acquisition.TypeUint32:
		ok, raw = fits(0, 1<<32-1), uint64(v)
	case acquisition.TypeInt64:
		ok, raw = fits(-1<<53, 1<<53), uint64(int64(v))
	case acquisition.TypeUint64:
		ok, raw = fits(0, 1<<53), uint64(v)
	case acquisition.TypeFloat32:
		ok, raw = math.Abs(v) <= math.MaxFloat32, uint64(math.Float32bits(float32(v)))
	case acquisition.TypeFloat64:
		raw = math.Float64bits(v)
	case acquisition.TypeBCD16, acquisition.TypeBCD32:
		ok = fits(0, math.Pow10(4*n)-1)
		for i, rest := 0, uint64(v); i < 4*n; i, rest = i+1, rest/10 {
			raw |= rest % 10 << (4 * i)
		}
	case acquisition.TypeFloat16:
		return nil, 0, errors.New("a float16 cannot be written")
	}
	if d.Bits > 0 && d.Type != acquisition.TypeBool {
		if n != 1 {
			return nil, 0, errors.New("a bit field of more than one register cannot be written")
		}
		low, high := 0.0, float64(uint64(1)<<d.Bits-1)
		if d.Type == acquisition.TypeInt16 || d.Type == acquisition.TypeInt8 {
			low, high = -float64(uint64(1)<<(d.Bits-1)), float64(uint64(1)<<(d.Bits-1)-1)
		}
		ok = fits(low, high)
		raw = uint64(int64(v)) & (1<<d.Bits - 1) << d.Bit
		mask = uint16(1<<d.Bits-1) << d.Bit
	}
	if !ok {
		return nil, 0, fmt.Errorf("%v becomes %v in the device, which a %s cannot hold", value, v, d.Type)
	}
	if d.Type == acquisition.TypeBool {
		mask = 1 << d.Bit
	}
	words = make([]uint16, n)
	for i := range n {
		w := uint16(raw >> (16 * (n - 1 - i)))
		if d.Order&2 != 0 {
			w = w<<8 | w>>8
		}
		at := i
		if d.Order&1 != 0 {
			at = n - 1 - i
		}
		words[at] = w
	}
	if d.Order&2 != 0 && mask != 0 {
		mask = mask<<8 | mask>>8
	}
	return words, mask, nil
}

// joined puts neighbours that follow each other into one request, so that the
// device takes them at once.
func joined(moves []move) []move {
	var out []move
	for _, m := range moves {
		if k := len(out) - 1; k >= 0 {
			p := &out[k]
			limit := maxWriteWords
			if m.table == Coil {
				limit = maxWriteBits
			}
			if p.device == m.device && p.table == m.table && p.mask == 0 && m.mask == 0 &&
				p.next() == int(m.address) && len(p.words)+len(m.words) <= limit {
				p.words = append(slices.Clip(p.words), m.words...)
				p.channel += ", " + m.channel
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

// carryOut writes and reads back.
func (b *Bus) carryOut(ctx context.Context, m move) error {
	c := b.Client(ctx, m.device.Unit)
	want, err := m.write(c)
	if err != nil {
		return err
	}
	var got []uint16
	for try := range readBackTries {
		if try > 0 && !b.sleep(ctx, readBackPause) {
			break
		}
		if got, err = m.read(c); err != nil {
			return fmt.Errorf("written, but it cannot be read back: %w", err)
		}
		if equal(got, want, m.mask) {
			return nil
		}
	}
	return fmt.Errorf("%s was written and %s is read back: the device did not take it, or another client writes too", hexWords(want), hexWords(got))
}

func equal(got, want []uint16, mask uint16) bool {
	if mask == 0 {
		return slices.Equal(got, want)
	}
	return got[0]&mask == want[0]&mask
}

// write sends the write with the function that fits and returns what must be
// read back.
func (m *move) write(c *Client) ([]uint16, error) {
	var err error
	switch {
	case m.table == Coil && len(m.words) == 1:
		_, err = c.WriteSingleCoil(m.address, 0xFF00*m.words[0])
	case m.table == Coil:
		_, err = c.WriteMultipleCoils(m.address, uint16(len(m.words)), packed(m.words))
	case m.mask != 0:
		return m.words, m.writeBits(c)
	case len(m.words) == 1 && !m.device.OnlyFC16:
		_, err = c.WriteSingleRegister(m.address, m.words[0])
	default:
		_, err = c.WriteMultipleRegisters(m.address, uint16(len(m.words)), bytesOf(m.words))
	}
	return m.words, explainWrite(err)
}

// writeBits changes some bits of a register: with function 22, or, in a device
// that does not know it, by reading, changing and writing the register.
func (m *move) writeBits(c *Client) error {
	_, err := c.MaskWriteRegister(m.address, ^m.mask, m.words[0]&m.mask)
	refused, ok := errors.AsType[*modbus.ModbusError](err)
	if !ok || refused.ExceptionCode != 1 {
		return explainWrite(err)
	}
	data, err := c.ReadHoldingRegisters(m.address, 1)
	if err != nil {
		return explainWrite(err)
	}
	v := binary.BigEndian.Uint16(data)&^m.mask | m.words[0]&m.mask
	if m.device.OnlyFC16 {
		_, err = c.WriteMultipleRegisters(m.address, 1, bytesOf([]uint16{v}))
	} else {
		_, err = c.WriteSingleRegister(m.address, v)
	}
	return explainWrite(err)
}

// read reads what write has written.
func (m *move) read(c *Client) ([]uint16, error) {
	if m.table == Coil {
		data, err := c.ReadCoils(m.address, uint16(len(m.words)))
		if err != nil {
			return nil, explainWrite(err)
		}
		got := make([]uint16, len(m.words))
		for i := range got {
			got[i] = uint16(data[i/8] >> (i % 8) & 1)
		}
		return got, nil
	}
	got := make([]uint16, 0, len(m.words))
	for len(got) < len(m.words) {
		n := min(len(m.words)-len(got), m.device.MaxRead)
		data, err := c.ReadHoldingRegisters(m.address+uint16(len(got)), uint16(n))
		if err != nil {
			return nil, explainWrite(err)
		}
		for i := range n {
			got = append(got, binary.BigEndian.Uint16(data[2*i:]))
		}
	}
	return got, nil
}

// explainWrite words an exception for the person who reads it.
func explainWrite(err error) error {
	if refused, ok := errors.AsType[*modbus.ModbusError](err); ok {
		return fmt.Errorf("%s: %w", exceptionText(refused.ExceptionCode), err)
	}
	return err
}

func packed(bits []uint16) []byte {
	b := make([]byte, (len(bits)+7)/8)
	for i, v := range bits {
		b[i/8] |= byte(v) << (i % 8)
	}
	return b
}

func bytesOf(words []uint16) []byte {
	b := make([]byte, 0, 2*len(words))
	for _, w := range words {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}

// hexWords prints registers.
func hexWords(words []uint16) string { return fmt.Sprintf("% X", bytesOf(words)) }
