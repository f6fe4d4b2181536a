package simulator

import "time"

// Register is one entry of a unit's register table: where a figure lies and what it looks like there.
type Register struct {
	Name    string
	Table   Table
	Address uint16 // on the wire, from 0
	Type    string // bool, bits, int16 ... uint64, float16 ... float64, bcd16 ... bcd64, string
	Order   string // ABCD, CDAB, BADC, DCBA; AB, BA
	Bit     int    // bool and bits in a holding or input register: the lowest bit, 0 to 15; several share an address
	Width   int    // of bits
	Length  int    // of string, in registers

	// Behind it is one of these. Signal names a signal of the plant or one of the unit's own: @clock (its clock, unit ns,
	// us, ms or s since 1970), @uptime (s), @requests, @watchdog (its time in s, may be written), @watchdog_tripped and
	// @total:SIGNAL, the signal summed over time (kg for kg/s), which a write sets.
	// With none of them the register is memory that holds what was written.
	Signal string
	Value  *float64 // a constant, in Unit
	Text   string   // a constant for type string

	Unit      string  // of the instrument, such as kPa_g or L/min_ANR; empty: SI
	Scale     float64 // counts = (figure - Offset) / Scale; 0 means 1
	Offset    float64
	Low, High *float64 // measuring range in Unit; what lies beyond reads as Under or Over, else as the end of the range
	NaN       *uint64  // bits in place of no value; without it floats say NaN, integers their smallest figure
	Over      *uint64
	Under     *uint64

	Atmosphere string // the signal that gauge pressures take off; empty: the plant's true one, on a plain Board "p_atm"
	Writable   bool
	Wrap       bool // of an integer: beyond its end counts begin again at its start, as totalizers do
	Identity   bool // a constant that names the device: see Twin.Break, impostor
	Volatile   bool // a written register without Signal falls back to Value at a restart
}

// Buffer is a stretch of fast samples in a unit's registers, laid out as Kind says.
//
//	fifo    function 24 at Address delivers the oldest samples that fit into 31 registers. With Numbered two registers
//	        come first: the number of the first sample, uint32 ABCD, the first ever being 0. Consume removes what was
//	        delivered; without it the newest samples are shown again and again.
//	ring    8 registers of head, then Capacity samples; sample n lies at place n modulo Capacity.
//	window  8 registers of head, then the newest Capacity samples, oldest first; before there are that many, what is
//	        missing reads as no value at the front.
//
// The head is, in ABCD: uint32 how many samples were taken (the newest has this number less 1), uint32 the time between
// samples in ns, uint64 the time of the newest sample by the unit's clock, ns since 1970.
type Buffer struct {
	Register         // Table, Address, Type, Order, Signal, Unit, Scale, ... of each sample
	Kind     string  // fifo, ring, window
	Capacity int     // samples kept
	Rate     float64 // Hz; an integer number of plant steps lies between samples
	Numbered bool
	Consume  bool
}

// Watchdog is the guard of an output module: when nothing was written to the unit for After, its outputs go to Safe.
type Watchdog struct {
	After time.Duration
	Safe  map[string]float64 // by register name, in the register's Unit
}

// UnitOptions is one Modbus unit as data.
type UnitOptions struct {
	Name      string
	ID        byte
	Registers []Register
	Buffers   []Buffer
	Holes     string // what lies between registers: "exception" (2, the default) or "zero"
	Watchdog  *Watchdog
	Objects   map[byte]string // function 43/14: 0 vendor, 1 product code, 2 revision, ...
}
