package acquisition

import "context"

// Poller is a polled source: one bus, owned by one goroutine, which alone may
// call it. The collector reconnects; nobody else does.
type Poller interface {
	// Connect opens the bus. It returns when the bus can be used, ctx ends, or
	// the attempt did not succeed; it may be called again after Close.
	Connect(ctx context.Context) error
	// Poll sends the planned requests of a group and fills the scan: words,
	// exchanges, quality per channel and the time. A request that did not
	// succeed lowers the quality of its channels and is no error. An error
	// means that the connection is of no use any more; channels that were not
	// read have a quality by then. The deadline of ctx bounds the whole pass.
	Poll(ctx context.Context, g *Group, slot uint64, s *Scan) error
	// Close releases the bus. It may be called when nothing is open.
	Close() error
}

// Delivery is what a Receiver hands over for one group: scans in order, what
// it found missing, and what to acknowledge once all of it is durable.
type Delivery struct {
	Group    *Group
	Scans    []Scan
	Gaps     []Gap
	Mark     []byte   // recognises a redelivered message, at most 32 bytes
	Marks    [][]byte // further marks, when several messages made the delivery
	Ack      func()   // called after the commit, never before; may be nil
	Early    bool     // the broker's window is half full: commit now
	Backfill bool     // old data, which goes behind what is stored
	NewEpoch bool     // the device's numbers started again: slots belong to a new epoch
}

// Receiver is a pushed source: it hands over what arrives.
type Receiver interface {
	// Connect opens the connection and subscribes.
	Connect(ctx context.Context) error
	// Receive hands over deliveries until ctx ends or the connection is lost.
	// When deliver returns an error, the message must stay unacknowledged.
	Receive(ctx context.Context, deliver func(*Delivery) error) error
	Close() error
}

// Setpoint is a value commanded, in the unit of its channel.
type Setpoint struct {
	Channel string
	Value   float64
}

// Commander writes setpoints through the goroutine that owns the bus, ahead of
// polls and never inside an exchange. Every write is read back.
type Commander interface {
	Write(ctx context.Context, p []Setpoint) error
	// Safe writes the rig's safe state.
	Safe(ctx context.Context) error
}

// Refused is what a sink will never take: one scan of one block, with the
// exact text and the sink's reason.
type Refused struct {
	Group  GroupKey
	Seq    uint64
	Scan   int    // index in the block
	Text   string // the line as sent
	Reason string // as the sink said it
}

// Sink takes blocks. It answers for all of them, the refused ones apart, once
// Write has returned nil. An error means that none of it counts. Write may be
// called by several goroutines with different blocks.
type Sink interface {
	Write(ctx context.Context, blocks []*Block) ([]Refused, error)
}
