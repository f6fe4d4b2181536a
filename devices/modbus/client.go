package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/goburrow/modbus"

	"pneudaq/acquisition"
)

// ErrNotArmed is what a write gets while the bus is not armed: no write
// function goes on the wire then, whoever asks.
var ErrNotArmed = errors.New("the rig is not armed: nothing is written")

// Client asks one unit single questions through goburrow's client: functions 1
// to 6, 15, 16, 22 and 23, and of our own 24 and 43/14. It belongs to the
// goroutine that owns the bus. Writes need an armed bus. An exception is a
// *modbus.ModbusError of goburrow's, all else a [*WireError].
type Client struct {
	modbus.Client

	carrier *carrier
}

// carrier carries goburrow's frames over the bus.
type carrier struct {
	b   *Bus
	u   *unit
	ctx context.Context //nolint:containedctx // goburrow's Transporter has no place for it
}

// Client returns a client for a unit, whether or not a device of the options
// has it. ctx bounds each of its questions.
func (b *Bus) Client(ctx context.Context, id byte) *Client {
	u := b.byID[id]
	if u == nil {
		u = &unit{id: id, name: fmt.Sprintf("unit %d", id)}
	}
	t := &carrier{b: b, u: u, ctx: ctx}
	return &Client{Client: modbus.NewClient2(b.packager(id), t), carrier: t}
}

// Send implements goburrow's Transporter.
func (t *carrier) Send(frame []byte) ([]byte, error) {
	b := t.b
	r := b.framed(t.u, append([]byte(nil), frame...))
	r.direct = true
	pdu, err := b.ask(t.ctx, r)
	if err != nil {
		return nil, err
	}
	if b.e.rtu() {
		answer := append([]byte{t.u.id}, pdu...)
		sum := b.crc.sum(answer)
		return append(answer, byte(sum), byte(sum>>8)), nil
	}
	answer := append(append([]byte(nil), frame[:headerSize]...), pdu...) // its own transaction id, not the wire's
	binary.BigEndian.PutUint16(answer[4:], uint16(len(pdu)+1))
	return answer, nil
}

// writes says whether a function changes something in the device.
func writes(function byte) bool {
	switch function {
	case 5, 6, 15, 16, 21, 22, 23:
		return true
	}
	return false
}

// ask sends a direct request and returns the PDU of its answer, exceptions
// included. It is the one place that all single requests pass.
func (b *Bus) ask(ctx context.Context, r *request) ([]byte, error) {
	fail := func(why acquisition.Reason, detail string) error {
		return &WireError{Bus: b.o.Name, Unit: r.unit.id, Function: r.shape.function, Address: r.address, Reason: why, Detail: detail}
	}
	if writes(r.shape.function) && !b.armed.Load() {
		return nil, fmt.Errorf("bus %s, unit %d, function %d: %w", b.o.Name, r.unit.id, r.shape.function, ErrNotArmed)
	}
	if b.conn == nil {
		return nil, fail(acquisition.ReasonUnreachable, errNotConnected.Error())
	}
	b.watch(ctx)
	limit := time.Now().Add(time.Hour)
	if d, ok := ctx.Deadline(); ok {
		limit = d
	}
	b.pass = pass{end: limit, limit: limit}
	if time.Since(b.last) > idleLimit {
		if err := b.wake(ctx); err != nil {
			b.lost(err)
			return nil, fail(acquisition.ReasonReset, err.Error())
		}
	}
	pdu, f, err := b.direct(ctx, r, limit)
	switch {
	case err != nil:
		b.abandon()
		b.lost(err)
		b.broken = true
		return nil, fail(lossReason(err), err.Error())
	case over(ctx) && f.reason == acquisition.ReasonStopped:
		return nil, fail(acquisition.ReasonStopped, context.Cause(ctx).Error())
	case f.reason != acquisition.ReasonNone && f.code == 0:
		return nil, fail(f.reason, f.detail)
	}
	return pdu, nil
}

// ReadFIFOQueue asks with function 24 for the registers of a queue, at most
// 31. goburrow's own refuses every answer that keeps to the specification.
func (c *Client) ReadFIFOQueue(address uint16) ([]byte, error) {
	pdu, err := c.send(24, binary.BigEndian.AppendUint16(nil, address))
	if err != nil {
		return nil, err
	}
	return pdu[5:], nil
}

// Identification asks with function 43/14 for the objects that a unit gives
// in the category: 1 basic, 2 regular, 3 extended. It follows a device that
// answers in several parts.
func (c *Client) Identification(category byte) (map[byte]string, error) {
	objects := map[byte]string{}
	next := byte(0)
	for range 32 { // a device that never ends is no device
		pdu, err := c.send(functionFID, []byte{meiIdentity, category, next})
		if err != nil {
			return objects, err
		}
		maps.Copy(objects, identityObjects(pdu))
		if pdu[4] == 0 || pdu[5] <= next {
			break
		}
		next = pdu[5]
	}
	return objects, nil
}

// send asks with a function that goburrow's client does not know or knows
// wrongly; its packager codes the frames.
func (c *Client) send(function byte, data []byte) ([]byte, error) {
	t := c.carrier
	p := t.b.packager(t.u.id)
	frame, err := p.Encode(&modbus.ProtocolDataUnit{FunctionCode: function, Data: data})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	answer, err := t.Send(frame)
	if err != nil {
		return nil, err
	}
	if err := p.Verify(frame, answer); err != nil {
		return nil, fmt.Errorf("verify answer: %w", err)
	}
	pdu, err := p.Decode(answer)
	if err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if pdu.FunctionCode == function|exception {
		return nil, &modbus.ModbusError{FunctionCode: pdu.FunctionCode, ExceptionCode: pdu.Data[0]}
	}
	return append([]byte{pdu.FunctionCode}, pdu.Data...), nil
}
