package modbus

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pneudaq/acquisition"
)

// Buckets is the number of buckets of a round-trip histogram.
const Buckets = 20

// BucketLimit returns the upper end of bucket i of a round-trip histogram:
// 32 µs · 2^i. The last bucket has none.
func BucketLimit(i int) time.Duration { return 32 * time.Microsecond << i }

// Stats is what a bus has done since it was made.
type Stats struct {
	Bus        string
	Connects   uint64 // connections opened
	Lost       uint64 // connections that ended without our asking
	Unknown    uint64 // frames whose unit is not on this bus
	Noise      uint64 // bytes that belonged to no frame
	Frames     uint64 // frames received, good or not
	BytesRead  uint64
	BytesWrote uint64
	Units      []UnitStats
}

// UnitStats is what one unit has done.
type UnitStats struct {
	Unit        byte
	Device      string
	Requests    uint64          // sent, retries included
	Answers     uint64          // that were valid, exceptions not included
	Late        uint64          // came after their timeout and were dropped
	Duplicate   uint64          // came a second time and were dropped
	Unsolicited uint64          // answered no request
	Timeouts    uint64          //
	Short       uint64          // stopped half way or trickled
	CRC         uint64          //
	Protocol    uint64          // not a valid answer to the request
	Exceptions  map[byte]uint64 // by code
	Retries     uint64
	Quarantined bool
	Stopped     int // requests of the plan that rest because of an exception
	RoundTrip   [Buckets]uint64
	LastFault   *Fault
}

// Fault is the last thing that went wrong with a unit.
type Fault struct {
	Time    int64 // Unix ns
	Reason  acquisition.Reason
	Detail  string
	Request []byte // frame as sent
	Answer  []byte // bytes as received, 64 at most
}

// counters is one unit's share of Stats; written by the owner of the bus, read
// by anybody.
type counters struct {
	requests, answers, late, duplicate, unsolicited, timeouts, short, crc, protocol, retries atomic.Uint64

	exceptions [256]atomic.Uint64
	roundTrip  [Buckets]atomic.Uint64
	away       atomic.Bool
	stopped    atomic.Int64

	mu   sync.Mutex
	last *Fault
}

// took notes how long an answer took.
func (c *counters) took(d time.Duration) {
	n := bits.Len64(uint64(d / (32 * time.Microsecond)))
	c.roundTrip[min(n, Buckets-1)].Add(1)
}

// note keeps the last fault with the start of what was received.
func (c *counters) note(at int64, r acquisition.Reason, detail string, request, answer []byte) {
	const limit = 64
	f := &Fault{Time: at, Reason: r, Detail: detail, Request: slices.Clone(request), Answer: slices.Clone(answer[:min(len(answer), limit)])}
	c.mu.Lock()
	c.last = f
	c.mu.Unlock()
}

// count counts what went wrong.
func (c *counters) count(r acquisition.Reason) {
	switch r { //nolint:exhaustive // only what happens on a wire
	case acquisition.ReasonTimeout:
		c.timeouts.Add(1)
	case acquisition.ReasonShortFrame, acquisition.ReasonSlow, acquisition.ReasonReset:
		c.short.Add(1)
	case acquisition.ReasonCRC:
		c.crc.Add(1)
	case acquisition.ReasonProtocol:
		c.protocol.Add(1)
	default: // exceptions are counted by code
	}
}

func (c *counters) snapshot(u *unit) UnitStats {
	s := UnitStats{
		Unit: u.id, Device: u.name, Requests: c.requests.Load(), Answers: c.answers.Load(), Late: c.late.Load(),
		Duplicate: c.duplicate.Load(), Unsolicited: c.unsolicited.Load(), Timeouts: c.timeouts.Load(), Short: c.short.Load(),
		CRC: c.crc.Load(), Protocol: c.protocol.Load(), Retries: c.retries.Load(), Exceptions: map[byte]uint64{},
		Quarantined: c.away.Load(), Stopped: int(c.stopped.Load()),
	}
	for i := range c.exceptions {
		if n := c.exceptions[i].Load(); n > 0 {
			s.Exceptions[byte(i)] = n
		}
	}
	for i := range c.roundTrip {
		s.RoundTrip[i] = c.roundTrip[i].Load()
	}
	c.mu.Lock()
	s.LastFault = c.last
	c.mu.Unlock()
	return s
}

// Stats returns what was done so far. Any goroutine may call it.
func (b *Bus) Stats() Stats {
	s := Stats{
		Bus: b.o.Name, Connects: b.connects.Load(), Lost: b.losses.Load(), Unknown: b.unknown.Load(), Noise: b.noise.Load(),
		Frames: b.frames.Load(), BytesRead: b.bytesRead.Load(), BytesWrote: b.bytesWrote.Load(),
	}
	for _, u := range b.units {
		s.Units = append(s.Units, u.counts.snapshot(u))
	}
	return s
}

// WireError is a request that did not get its answer.
type WireError struct {
	Bus      string
	Unit     byte
	Function byte
	Address  uint16
	Reason   acquisition.Reason
	Detail   string
}

// Error says which request and why.
func (e *WireError) Error() string {
	s := fmt.Sprintf("bus %s, unit %d, function %d, address %d: %s", e.Bus, e.Unit, e.Function, e.Address, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}
