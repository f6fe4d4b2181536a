package acquisition

import (
	"sync"
)

// Open is the open block of one group: a collector appends, the store's
// committer takes. Both may call it at the same time.
type Open struct {
	mu       sync.Mutex
	group    *Group
	epoch    EpochID
	limit    int // bytes; 0: none
	b        *Block
	late     []*Block // old data that arrived late, in the order of time within each; goes behind what is stored
	lastTime int64    // of the last scan appended, also across blocks
	full     Reason   // why nothing more is taken once the limit is reached
	shed     uint64
}

// NewOpen returns the open block of a group in an epoch. lastTime is the time
// of the group's last stored scan, 0 if there is none: later scans must come
// after it. limit bounds the bytes that wait for a commit.
func NewOpen(g *Group, epoch EpochID, lastTime int64, limit int) *Open {
	return &Open{group: g, epoch: epoch, lastTime: lastTime, limit: limit, full: ReasonBackpressure}
}

// Epoch returns the epoch that the slots belong to.
func (o *Open) Epoch() EpochID { return o.epoch }

// SetLimit changes the bytes that may wait for a commit, 0 for no limit, and
// the reason that Append and Deliver give once they are reached: backpressure
// while the disk is slow, disk_full or io while it takes nothing.
func (o *Open) SetLimit(limit int, full Reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit, o.full = limit, full
}

// Group returns the group.
func (o *Open) Group() *Group { return o.group }

func (o *Open) block() *Block {
	if o.b == nil {
		o.b = &Block{Group: o.group, Epoch: o.epoch}
	}
	return o.b
}

// Append adds a scan. It copies, so the caller reuses the scan. It reports
// what was wrong if the scan cannot be taken: [ReasonBackpressure] when the
// limit is reached, [ReasonDuplicate] when the time is not after the last; the
// caller then writes the gap. [ReasonNone] means taken.
func (o *Open) Append(s *Scan) Reason {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.append(s)
}

func (o *Open) append(s *Scan) Reason {
	if s.Time <= o.lastTime {
		return ReasonDuplicate
	}
	if o.limit > 0 && o.block().Bytes() >= o.limit {
		o.shed++
		return o.full
	}
	return o.take(s)
}

func (o *Open) take(s *Scan) Reason {
	if s.Time <= o.lastTime {
		return ReasonDuplicate
	}
	o.lastTime = s.Time
	o.block().add(s)
	return ReasonNone
}

// add copies a scan to the end of a block that is still open.
func (b *Block) add(s *Scan) {
	n := len(b.Slots)
	channels := len(b.Group.Channels)
	b.Slots = append(b.Slots, s.Slot)
	b.Times = append(b.Times, s.Time)
	if s.Arrival != 0 || b.Arrivals != nil {
		for len(b.Arrivals) < n {
			b.Arrivals = append(b.Arrivals, b.Times[len(b.Arrivals)])
		}
		b.Arrivals = append(b.Arrivals, s.Arrival)
	}
	b.Exchanges = append(b.Exchanges, s.Exchanges...)
	b.Words = append(b.Words, s.Words...)
	b.Numbers = append(b.Numbers, s.Numbers...)
	if b.Quality == nil {
		for _, q := range s.Quality {
			if q != Good {
				b.Quality = make([]Quality, n*channels, (n+8)*channels)
				break
			}
		}
	}
	if b.Quality != nil {
		b.Quality = append(b.Quality, s.Quality...)
	}
}

// Miss adds a gap; neighbours with the same reason become one.
func (o *Open) Miss(g Gap) {
	if g.From >= g.To {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.block()
	if n := len(b.Gaps); n > 0 && b.Gaps[n-1].Reason == g.Reason && b.Gaps[n-1].To == g.From {
		b.Gaps[n-1].To = g.To
		return
	}
	b.Gaps = append(b.Gaps, g)
}

// Deliver adds everything of a delivery at once, so that its acknowledgement
// cannot be separated from its scans. Scans that cannot be taken for lack of
// memory make it return the reason of the limit with nothing added, and the
// receiver must not acknowledge; scans whose time is not after the last become
// a gap with reason duplicate.
func (o *Open) Deliver(d *Delivery) Reason {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.block()
	if o.limit > 0 && b.Bytes() >= o.limit {
		o.shed++
		return o.full
	}
	if d.Backfill {
		// Late data may go back in time: then another block begins.
		if n := len(o.late); n > 0 && (len(d.Scans) == 0 || o.late[n-1].Len() == 0 || d.Scans[0].Time > o.late[n-1].Times[o.late[n-1].Len()-1]) {
			b = o.late[n-1]
		} else {
			b = &Block{Group: o.group, Epoch: o.epoch, Backfill: true}
			o.late = append(o.late, b)
		}
		last := int64(0)
		if n := b.Len(); n > 0 {
			last = b.Times[n-1]
		}
		for i := range d.Scans {
			if s := &d.Scans[i]; s.Time > last {
				b.add(s)
				last = s.Time
			}
		}
	}
	b.Gaps = append(b.Gaps, d.Gaps...)
	for i := range d.Scans {
		if d.Backfill {
			break
		}
		s := &d.Scans[i]
		if o.take(s) == ReasonDuplicate { // the limit was looked at before the first: a delivery is whole
			b.Gaps = append(b.Gaps, Gap{From: s.Slot, To: s.Slot + 1, Reason: ReasonDuplicate})
		}
	}
	if len(d.Mark) > 0 {
		b.Marks = append(b.Marks, d.Mark)
	}
	b.Marks = append(b.Marks, d.Marks...)
	if d.Ack != nil {
		b.committed = append(b.committed, d.Ack)
	}
	return ReasonNone
}

// Take closes an open block and returns it without a number, nil if nothing is
// left: call it until then, for late data are a block of their own.
func (o *Open) Take() *Block {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.late) > 0 {
		b := o.late[0]
		o.late = o.late[1:]
		return b
	}
	b := o.b
	o.b = nil
	if b != nil && b.Len() > 0 {
		// The next block will be about as long: one allocation instead of many.
		o.b = &Block{
			Group: o.group, Epoch: o.epoch,
			Slots: make([]uint64, 0, b.Len()), Times: make([]int64, 0, b.Len()),
			Exchanges: make([]Exchange, 0, len(b.Exchanges)), Words: make([]uint16, 0, len(b.Words)),
			Numbers: make([]float64, 0, len(b.Numbers)),
		}
		return b
	}
	if b != nil && len(b.Gaps) == 0 && len(b.committed) == 0 && len(b.Marks) == 0 {
		o.b = b
		return nil
	}
	return b
}

// Shed returns how many scans were refused for lack of memory.
func (o *Open) Shed() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shed
}
