package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"pneudaq/acquisition"
)

// check is one thing read from a device to know that it is the right one.
type check struct {
	r      *request
	name   string
	words  []uint16 // what registers must say
	object byte     // function 43/14: the object and what it must say
	text   string
	uptime *Register
}

// prepareChecks builds the requests of every device's identity.
func (b *Bus) prepareChecks() error {
	for _, u := range b.units {
		d := u.device
		for _, c := range d.Identity {
			r, err := b.readRequest(u, c.Table, c.Address, len(c.Words))
			if err != nil {
				return err
			}
			u.checks = append(u.checks, check{r: r, name: c.Name, words: c.Words})
		}
		for _, id := range slices.Sorted(maps.Keys(d.Objects)) {
			r, err := b.request(u, functionFID, []byte{meiIdentity, 4, id})
			if err != nil {
				return err
			}
			r.direct = true
			u.checks = append(u.checks, check{r: r, name: fmt.Sprintf("identification object %d", id), object: id, text: d.Objects[id]})
		}
		if d.Uptime != nil {
			r, err := b.readRequest(u, d.Uptime.Table, d.Uptime.Address, d.Uptime.Type.Words())
			if err != nil {
				return err
			}
			u.checks = append(u.checks, check{r: r, name: "uptime", uptime: d.Uptime})
		}
	}
	return nil
}

// readRequest builds a direct read of registers.
func (b *Bus) readRequest(u *unit, t Table, address uint16, n int) (*request, error) {
	data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, address), uint16(n))
	r, err := b.request(u, t.function(), data)
	if err != nil {
		return nil, err
	}
	r.direct = true
	return r, nil
}

// verify makes sure, after a connection or a silence, that each unit of the
// pass is the device that it should be.
func (b *Bus) verify(ctx context.Context) error {
	for i := b.pass.head; i < len(b.pass.queue); i++ {
		u := b.pass.queue[i].unit
		if u.once {
			u.wrong, u.once = acquisition.ReasonNone, false
		}
		if u.verified || b.pass.queue[i].direct {
			continue
		}
		if len(u.checks) == 0 {
			u.verified = true
			continue
		}
		now := time.Now()
		if u.away && now.Before(u.until) || now.Before(u.recheck) || !now.Before(b.pass.limit) {
			continue
		}
		if err := b.identify(ctx, u); err != nil {
			return err
		}
		if over(ctx) {
			return nil
		}
	}
	return nil
}

// identify reads the checks of a unit and notes what is wrong.
func (b *Bus) identify(ctx context.Context, u *unit) error {
	was := u.wrong
	u.wrong = acquisition.ReasonNone
	restarted := false
	for i := range u.checks {
		c := &u.checks[i]
		pdu, f, err := b.direct(ctx, c.r, b.pass.limit)
		if err != nil {
			return err
		}
		if f.reason != acquisition.ReasonNone && f.code == 0 {
			u.wrong, u.once = f.reason, true // not read: no data this time
			if f.reason == acquisition.ReasonTimeout {
				b.mute(u, time.Now())
			}
			return nil
		}
		b.alive(u)
		got, right := "", false
		switch {
		case f.code != 0:
			got = exceptionText(f.code)
		case c.uptime != nil:
			right = true
			restarted = u.restarted(c.uptime, pdu)
		case c.words != nil:
			words := registers(pdu)
			right = slices.Equal(words, c.words)
			got = hexWords(words) + " instead of " + hexWords(c.words)
		default:
			text := identityObjects(pdu)[c.object]
			right = text == c.text
			got = fmt.Sprintf("%q instead of %q", text, c.text)
		}
		if !right {
			u.wrong = acquisition.ReasonIdentity
			u.rest = min(max(2*u.rest, firstRest), longestRest)
			u.recheck = time.Now().Add(u.rest)
			if was != acquisition.ReasonIdentity {
				b.event("identity", fmt.Sprintf("%s: another device answers as %s (unit %d): %s is %s; nothing is recorded from it", b.o.Name, u.name, u.id, c.name, got))
			}
			return nil
		}
	}
	u.verified, u.recheck, u.rest = true, time.Time{}, 0
	if was == acquisition.ReasonIdentity {
		b.event("identity_right", fmt.Sprintf("%s: device %s (unit %d) is the right one again", b.o.Name, u.name, u.id))
	}
	if restarted {
		u.wrong, u.once = acquisition.ReasonReboot, true
		b.event("device_restart", fmt.Sprintf("%s: device %s (unit %d) has restarted: its uptime began again", b.o.Name, u.name, u.id))
	}
	return nil
}

// restarted takes the uptime of an answer and says whether it began again.
func (u *unit) restarted(r *Register, pdu []byte) bool {
	d := acquisition.Decoding{Type: r.Type, Order: r.Order}
	v, why := d.Value(registers(pdu))
	if why != acquisition.ReasonNone {
		return false
	}
	before, known := u.uptime, u.counted
	u.uptime, u.counted = uint64(max(v, 0)), true
	return known && u.uptime < before
}

// registers returns the words of the answer to a read of registers.
func registers(pdu []byte) []uint16 {
	words := make([]uint16, (len(pdu)-2)/2)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(pdu[2+2*i:])
	}
	return words
}

// identityObjects returns the objects of an answer of function 43/14 that was
// verified.
func identityObjects(pdu []byte) map[byte]string {
	objects := map[byte]string{}
	if len(pdu) < 7 {
		return objects
	}
	at := 7
	for range pdu[6] {
		if at+2 > len(pdu) || at+2+int(pdu[at+1]) > len(pdu) {
			break
		}
		objects[pdu[at]] = string(pdu[at+2 : at+2+int(pdu[at+1])])
		at += 2 + int(pdu[at+1])
	}
	return objects
}

// direct asks one question beside or outside a pass. The PDU is good until the
// next question. An error ends the connection.
func (b *Bus) direct(ctx context.Context, r *request, limit time.Time) ([]byte, fault, error) {
	saved := b.pass
	b.pass = pass{queue: []*request{r}, end: limit, limit: limit}
	b.answer = b.answer[:0]
	b.result = fault{reason: acquisition.ReasonTimeout, detail: "there was no time left"}
	var err error
	if b.e.rtu() {
		err = b.runRTU(ctx)
	} else {
		err = b.runTCP(ctx)
	}
	b.pass = saved
	return b.answer, b.result, err
}
