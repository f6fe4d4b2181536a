package simulator

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// headWords is the length of the head of a ring or window.
const headWords = 8

// tap takes samples of one signal for a Buffer. Guarded by the board's lock.
type tap struct {
	Buffer
	r       *register
	every   uint64 // board steps between samples
	ring    []uint64
	count   uint64 // samples taken
	first   uint64 // fifo: number of the oldest that was not delivered
	newest  time.Time
	between time.Duration
}

// addBuffer makes a buffer ready and lets the board feed it.
func (u *Unit) addBuffer(o *Buffer) error {
	if o.Kind == "fifo" {
		o.Table = Holdings
	}
	r, err := u.prepare(o.Register)
	if err != nil {
		return err
	}
	if r.from != fromSignal || r.kind == typeString || r.kind == typeBool || r.kind == typeBits {
		return fmt.Errorf("a buffer holds figures of a signal, not %s of %q", o.Type, o.Signal)
	}
	if o.Capacity < 1 || o.Rate <= 0 {
		return fmt.Errorf("capacity %d and rate %g Hz must be above 0", o.Capacity, o.Rate)
	}
	every, err := u.board.stepsFor(o.Rate)
	if err != nil {
		return err
	}
	b := &tap{Buffer: *o, r: r, every: every, ring: make([]uint64, o.Capacity), between: u.board.between(every)}
	switch o.Kind {
	case "fifo":
		if u.fifos[o.Address] != nil {
			return fmt.Errorf("a second fifo at 0x%04X", o.Address)
		}
		u.fifos[o.Address] = b
	case "ring", "window":
		if int(o.Address)+headWords+o.Capacity*r.words > 1<<16 {
			return errors.New("it reaches beyond address 65535")
		}
		u.banks[o.Table].buffers = append(u.banks[o.Table].buffers, b)
	default:
		return fmt.Errorf("kind %q is unknown: known are fifo, ring, window", o.Kind)
	}
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.board.taps = append(u.board.taps, b)
	return nil
}

// place returns the stretch of registers that a ring or window covers, as one register of memory.
func (b *tap) place() *register {
	return &register{
		Register: Register{Name: b.Name, Table: b.Table, Address: b.Address},
		layout:   layout{kind: typeString, words: headWords + b.Capacity*b.r.words},
	}
}

// due implements sampler.
func (b *tap) due() uint64 { return b.every }

// take implements sampler.
func (b *tap) take(board *Board) {
	atmosphere := 0.0
	if b.r.atmosphere >= 0 {
		atmosphere = board.values[b.r.atmosphere]
	}
	b.ring[b.count%uint64(len(b.ring))] = b.r.bits(board.values[b.r.signal], atmosphere)
	b.count++
	b.newest = board.time
	if b.count-b.first > uint64(len(b.ring)) {
		b.first = b.count - uint64(len(b.ring)) // the oldest is gone; numbers show it
	}
}

// drain fills the answer to function 24.
func (b *tap) drain(words []uint16) int {
	n := 0
	if b.Numbered {
		n = 2
	}
	fits := uint64((len(words) - n) / b.r.words)
	from := b.first
	if !b.Consume && b.count-from > fits {
		from = b.count - fits
	}
	if b.Numbered {
		words[0], words[1] = uint16(from>>16), uint16(from)
	}
	for ; fits > 0 && from < b.count; fits, from = fits-1, from+1 {
		b.r.put(words[n:], b.ring[from%uint64(len(b.ring))])
		n += b.r.words
	}
	if b.Consume {
		b.first = from
	}
	return n
}

// read fills what of words lies within the ring or window.
func (b *tap) read(address int, words []uint16) {
	start, size := int(b.Address), uint64(len(b.ring))
	from, to := max(address, start), min(address+len(words), start+headWords+len(b.ring)*b.r.words)
	var sample [4]uint16
	for a := from; a < to; a++ {
		at := a - start
		if at < headWords {
			words[a-address] = b.head(at)
			continue
		}
		place := uint64(at-headWords) / uint64(b.r.words)
		part := (at - headWords) % b.r.words
		if b.Kind == "window" {
			if place+b.count < size { // not taken yet
				b.r.put(sample[:], b.r.bits(math.NaN(), 0))
				words[a-address] = sample[part]
				continue
			}
			place = (b.count + place) % size
		}
		b.r.put(sample[:], b.ring[place])
		words[a-address] = sample[part]
	}
}

// head returns one register of the head.
func (b *tap) head(at int) uint16 {
	switch {
	case at < 2:
		return uint16(b.count >> (16 * (1 - at)))
	case at < 4:
		return uint16(uint64(b.between) >> (16 * (3 - at)))
	case b.count == 0:
		return 0
	default:
		return uint16(uint64(b.newest.UnixNano()) >> (16 * (7 - at)))
	}
}
