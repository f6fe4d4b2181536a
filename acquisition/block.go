package acquisition

// Exchange is the time of one request and its answer relative to the scan's
// time: the true instant of its registers lies within Offset ± HalfWidth.
// Nanoseconds.
type Exchange struct {
	Offset    int64 `json:"offset"`
	HalfWidth int64 `json:"half_width"`
}

// Scan is one pass over a group. The collector owns it and reuses it; a source
// fills it and keeps no reference.
type Scan struct {
	Slot      uint64
	Time      int64      // midpoint of the first exchange that was answered; for payloads the sample's time
	Arrival   int64      // when a payload arrived; 0 for polled scans
	Exchanges []Exchange // len Group.Exchanges
	Words     []uint16   // len Group.Words, as received
	Numbers   []float64  // len Group.Numbers
	Quality   []Quality  // len(Group.Channels); decoding may lower it further
}

// NewScan returns a scan with room for the group's data.
func NewScan(g *Group) *Scan {
	s := &Scan{}
	s.Reset(g)
	return s
}

// Reset empties the scan and gives it the shape of the group, reusing memory.
func (s *Scan) Reset(g *Group) {
	s.Slot, s.Time, s.Arrival = 0, 0, 0
	s.Exchanges = zeroed(s.Exchanges, g.Exchanges)
	s.Words = zeroed(s.Words, g.Words)
	s.Numbers = zeroed(s.Numbers, g.Numbers)
	s.Quality = zeroed(s.Quality, len(g.Channels))
}

func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// EpochID names a stretch of schedule. It is the Unix nanosecond of its
// opening, made unique within a store.
type EpochID uint64

// Epoch is the durable record of a stretch of schedule, written before the
// first read of its group. Slot n is due at Anchor + n*Period + Phase.
type Epoch struct {
	ID      EpochID  `json:"id"`
	Group   GroupKey `json:"group"`
	Version uint32   `json:"version"`
	Anchor  int64    `json:"anchor"` // Unix ns of slot 0; 0 for schedules aligned to the Unix epoch
	Period  int64    `json:"period"` // ns
	Phase   int64    `json:"phase"`  // ns
	First   uint64   `json:"first"`  // first planned slot
	Boot    string   `json:"boot"`   // boot id of the machine
	Opened  int64    `json:"opened"`
	Closed  int64    `json:"closed,omitempty"` // 0 while open
	Next    uint64   `json:"next,omitempty"`   // first slot that it no longer plans, once closed
	End     Reason   `json:"end,omitempty"`    // why it was closed: stopped, process, power ...
}

// Gap is slots that were due and are not in the record: From included, To not.
type Gap struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason Reason `json:"reason"`
}

// Count returns the number of slots.
func (g Gap) Count() uint64 { return g.To - g.From }

// Block is consecutive scans of one group, closed and numbered. It is
// immutable once the store has numbered it; readers share it.
type Block struct {
	Group     *Group
	Seq       uint64     // per group from 1; a hole is a lost block
	Epoch     EpochID    // the stretch of schedule that the slots belong to
	Backfill  bool       // late data, behind what was stored before
	Slots     []uint64   // which slot each scan fills
	Times     []int64    // one per scan, strictly increasing within a group
	Arrivals  []int64    // one per scan for received groups, else nil
	Exchanges []Exchange // Group.Exchanges per scan
	Words     []uint16   // Group.Words per scan
	Numbers   []float64  // Group.Numbers per scan
	Quality   []Quality  // len(Group.Channels) per scan; nil: all good
	Gaps      []Gap      // slots that were due and are not here
	Marks     [][]byte   // what makes a redelivered message recognisable (at most 32 bytes each)

	committed []func() // called once the block is durable
}

// Len returns the number of scans.
func (b *Block) Len() int { return len(b.Slots) }

// ScanWords returns the register words of scan i.
func (b *Block) ScanWords(i int) []uint16 { return b.Words[i*b.Group.Words : (i+1)*b.Group.Words] }

// ScanNumbers returns the numbers of scan i.
func (b *Block) ScanNumbers(i int) []float64 {
	return b.Numbers[i*b.Group.Numbers : (i+1)*b.Group.Numbers]
}

// ScanQuality returns the quality per channel of scan i, nil if all are good.
func (b *Block) ScanQuality(i int) []Quality {
	if b.Quality == nil {
		return nil
	}
	n := len(b.Group.Channels)
	return b.Quality[i*n : (i+1)*n]
}

// ScanExchanges returns the exchanges of scan i.
func (b *Block) ScanExchanges(i int) []Exchange {
	return b.Exchanges[i*b.Group.Exchanges : (i+1)*b.Group.Exchanges]
}

// SampleTime returns the time of channel c in scan i with its half width: the
// scan's time for payloads, the midpoint of the channel's exchange for
// registers. Unix ns and ns.
func (b *Block) SampleTime(i, c int) (t, halfWidth int64) {
	t = b.Times[i]
	if b.Group.Exchanges == 0 || b.Group.Channels[c].Decoding.Origin != FromWords {
		return t, 0
	}
	e := b.Exchanges[i*b.Group.Exchanges+b.Group.Channels[c].Exchange]
	return t + e.Offset, e.HalfWidth
}

// Committed tells whoever waits (a broker's acknowledgement) that the block is
// durable. The store calls it once, after the sync and never before.
func (b *Block) Committed() {
	for _, f := range b.committed {
		f()
	}
	b.committed = nil
}

// Bytes returns about how much memory the block's data hold.
func (b *Block) Bytes() int {
	n := 8*(len(b.Slots)+len(b.Times)+len(b.Arrivals)+len(b.Numbers)) +
		16*len(b.Exchanges) + 2*len(b.Words) + len(b.Quality) + 24*len(b.Gaps)
	return n
}
