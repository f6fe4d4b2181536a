package modbus

import (
	"fmt"
	"log/slog"
	"time"

	"pneudaq/acquisition"
)

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
	u.restore()
	b.log.Info("unit back", slog.String("bus", b.o.Name), slog.String("device", u.name), slog.Int("unit", int(u.id)))
	b.event("unit_back", fmt.Sprintf("%s: device %s (unit %d) answers again", b.o.Name, u.name, u.id))
	// What silenced one may have silenced the others: look at once.
	for _, other := range b.units {
		if other.away {
			other.until, other.rest = time.Time{}, 0
		}
	}
}

// restore takes a unit out of quarantine.
func (u *unit) restore() {
	u.away, u.trying, u.rest = false, false, 0
	u.counts.away.Store(false)
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
	u.away, u.trying = true, false
	u.counts.away.Store(true)
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
