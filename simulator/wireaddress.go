package simulator

import (
	"math/bits"
	"time"
)

// AddressMemory is a unit whose every register says where it is, so that a value under a wrong channel shows: see
// AddressWord. Nothing can be written. From ClockFrom to ClockTo the registers of both tables carry the unit's clock
// instead: uint64 ABCD, ns since 1970, one every four registers, all of one request the same.
type AddressMemory struct {
	Unit               byte
	ClockFrom, ClockTo uint16 // ClockTo is the first address behind; equal: no clock
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// AddressWord returns what the register at an address of a unit holds: the address in the ten lowest bits, the unit in the
// next five, and 1 in the highest for input registers. Up to unit 31 and address 1023 no two registers are alike. Coils
// and discrete inputs hold the parity of that word.
func AddressWord(t Table, unit byte, address uint16) uint16 {
	w := uint16(unit)<<10 + address
	switch t {
	case Inputs:
		return w ^ 0x8000
	case Discretes:
		return uint16(bits.OnesCount16(w^0x8000) & 1)
	case Coils:
		return uint16(bits.OnesCount16(w) & 1)
	case Holdings:
	}
	return w
}

// Read implements Memory.
func (m *AddressMemory) Read(t Table, address uint16, words []uint16) Exception {
	var clock uint64
	for i := range words {
		a := address + uint16(i)
		if a >= m.ClockFrom && a < m.ClockTo && (t == Holdings || t == Inputs) {
			if clock == 0 {
				clock = uint64(m.now().UnixNano())
			}
			words[i] = uint16(clock >> (48 - 16*((a-m.ClockFrom)&3)))
			continue
		}
		words[i] = AddressWord(t, m.Unit, a)
	}
	return NoException
}

func (m *AddressMemory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Write implements Memory: every address is read-only.
func (*AddressMemory) Write(Table, uint16, []uint16) Exception { return IllegalAddress }

// FIFO implements Memory: the queue at an address holds address modulo 32 words, each as AddressWord has it.
func (m *AddressMemory) FIFO(address uint16, words []uint16) (int, Exception) {
	n := int(address % 32)
	for i := range words[:n] {
		words[i] = AddressWord(Holdings, m.Unit, address+1+uint16(i))
	}
	return n, NoException
}

// Objects implements Memory.
func (*AddressMemory) Objects() map[byte]string {
	return map[byte]string{0: "pneudaq", 1: "address server", 2: "1"}
}
