package simulator

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
)

// Table names one of the four tables of a Modbus unit, as wire files write it.
type Table string

// The four tables.
const (
	Coils     Table = "coil"     // functions 1, 5, 15
	Discretes Table = "discrete" // function 2
	Holdings  Table = "holding"  // functions 3, 6, 16, 22, 23
	Inputs    Table = "input"    // function 4
)

// Exception is a Modbus exception code; 0 is none.
type Exception byte

// The exception codes of MODBUS Application Protocol V1.1b3, section 7.
const (
	NoException      Exception = 0
	IllegalFunction  Exception = 1
	IllegalAddress   Exception = 2
	IllegalValue     Exception = 3
	DeviceFailure    Exception = 4
	Acknowledge      Exception = 5
	DeviceBusy       Exception = 6
	MemoryParity     Exception = 8
	GatewayPath      Exception = 10
	GatewayNoAnswer  Exception = 11
	maxPDU                     = 253
	maxReadBits                = 2000
	maxReadWords               = 125
	maxWriteBits               = 1968
	maxWriteWords              = 123
	maxExchangeWords           = 121 // written by function 23
	maxFIFO                    = 31
	coilOn                     = 0xFF00
)

// Memory is what stands behind one Modbus unit. Bits are words of 0 and 1. The addresses are those on the wire, from 0;
// address+len(words) never exceeds 65536. Write either writes all words or none. Methods are called from several
// connections at once.
type Memory interface {
	Read(t Table, address uint16, words []uint16) Exception
	Write(t Table, address uint16, words []uint16) Exception
	// FIFO fills words (31 of them) from the queue whose pointer is at address and returns how many there are.
	FIFO(address uint16, words []uint16) (int, Exception)
	// Objects returns the identification objects by number for function 43/14, nil if the unit has none.
	Objects() map[byte]string
}

// unit is a Memory with what the server keeps for it.
type unit struct {
	memory  Memory
	writing sync.Mutex // makes mask write and read/write whole
}

func newUnit(m Memory) *unit { return &unit{memory: m} }

// answer appends the answer to a request PDU to out. It allocates nothing when out has room, but for function 43; words holds
// 2000.
func (u *unit) answer(req, out []byte, words []uint16) []byte {
	function, start := req[0], len(out)
	exception := IllegalFunction
	switch function {
	case 1:
		out, exception = u.readBits(Coils, req, out, words)
	case 2:
		out, exception = u.readBits(Discretes, req, out, words)
	case 3:
		out, exception = u.readWords(Holdings, req, out, words)
	case 4:
		out, exception = u.readWords(Inputs, req, out, words)
	case 5, 6:
		out, exception = u.writeOne(req, out, words)
	case 15:
		out, exception = u.writeBits(req, out, words)
	case 16:
		out, exception = u.writeWords(req, out, words)
	case 22:
		out, exception = u.maskWrite(req, out, words)
	case 23:
		out, exception = u.exchange(req, out, words)
	case 24:
		out, exception = u.readFIFO(req, out, words)
	case 43:
		out, exception = u.identify(req, out)
	}
	if exception != NoException {
		return append(out[:start], function|0x80, byte(exception))
	}
	return out
}

// span reads address and quantity; a quantity that the function does not allow is exception 3, a stretch beyond 65535
// exception 2, in this order, as the state diagrams of the specification have it.
func span(b []byte, limit int) (address uint16, n int, exception Exception) {
	address, n = binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case n < 1 || n > limit:
		return 0, 0, IllegalValue
	case int(address)+n > 1<<16:
		return 0, 0, IllegalAddress
	}
	return address, n, NoException
}

func (u *unit) readBits(t Table, req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) != 5 {
		return out, IllegalValue
	}
	address, n, exception := span(req[1:], maxReadBits)
	if exception != NoException {
		return out, exception
	}
	if exception = u.memory.Read(t, address, words[:n]); exception != NoException {
		return out, exception
	}
	out = append(out, req[0], byte((n+7)/8))
	var b byte
	for i, w := range words[:n] {
		if w != 0 {
			b |= 1 << (i & 7)
		}
		if i&7 == 7 || i == n-1 {
			out, b = append(out, b), 0
		}
	}
	return out, NoException
}

func (u *unit) readWords(t Table, req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) != 5 {
		return out, IllegalValue
	}
	address, n, exception := span(req[1:], maxReadWords)
	if exception != NoException {
		return out, exception
	}
	if exception = u.memory.Read(t, address, words[:n]); exception != NoException {
		return out, exception
	}
	return appendWords(append(out, req[0], byte(2*n)), words[:n]), NoException
}

func appendWords(out []byte, words []uint16) []byte {
	for _, w := range words {
		out = append(out, byte(w>>8), byte(w))
	}
	return out
}

func takeWords(words []uint16, b []byte) {
	for i := range words {
		words[i] = binary.BigEndian.Uint16(b[2*i:])
	}
}

func (u *unit) writeOne(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) != 5 {
		return out, IllegalValue
	}
	t, v := Holdings, binary.BigEndian.Uint16(req[3:])
	if req[0] == 5 {
		if v != 0 && v != coilOn {
			return out, IllegalValue
		}
		t, v = Coils, v>>15
	}
	u.writing.Lock()
	defer u.writing.Unlock()
	words[0] = v
	exception := u.memory.Write(t, binary.BigEndian.Uint16(req[1:]), words[:1])
	return append(out, req...), exception
}

func (u *unit) writeBits(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) < 6 {
		return out, IllegalValue
	}
	address, n, exception := span(req[1:], maxWriteBits)
	if exception != NoException {
		return out, exception
	}
	if int(req[5]) != (n+7)/8 || len(req) != 6+int(req[5]) {
		return out, IllegalValue
	}
	for i := range words[:n] {
		words[i] = uint16(req[6+i/8] >> (i & 7) & 1)
	}
	u.writing.Lock()
	defer u.writing.Unlock()
	exception = u.memory.Write(Coils, address, words[:n])
	return append(out, req[:5]...), exception
}

func (u *unit) writeWords(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) < 6 {
		return out, IllegalValue
	}
	address, n, exception := span(req[1:], maxWriteWords)
	if exception != NoException {
		return out, exception
	}
	if int(req[5]) != 2*n || len(req) != 6+2*n {
		return out, IllegalValue
	}
	takeWords(words[:n], req[6:])
	u.writing.Lock()
	defer u.writing.Unlock()
	exception = u.memory.Write(Holdings, address, words[:n])
	return append(out, req[:5]...), exception
}

// maskWrite sets a register to (current AND and) OR (or AND NOT and).
func (u *unit) maskWrite(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) != 7 {
		return out, IllegalValue
	}
	address := binary.BigEndian.Uint16(req[1:])
	and, or := binary.BigEndian.Uint16(req[3:]), binary.BigEndian.Uint16(req[5:])
	u.writing.Lock()
	defer u.writing.Unlock()
	if exception := u.memory.Read(Holdings, address, words[:1]); exception != NoException {
		return out, exception
	}
	words[0] = words[0]&and | or&^and
	exception := u.memory.Write(Holdings, address, words[:1])
	return append(out, req...), exception
}

// exchange is function 23: the write comes before the read.
func (u *unit) exchange(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) < 10 {
		return out, IllegalValue
	}
	from, n, exception := span(req[1:], maxReadWords)
	if exception == IllegalValue {
		return out, exception
	}
	to, m, other := span(req[5:], maxExchangeWords)
	if other == IllegalValue || int(req[9]) != 2*m || len(req) != 10+2*m {
		return out, IllegalValue
	}
	if exception != NoException || other != NoException {
		return out, IllegalAddress
	}
	u.writing.Lock()
	defer u.writing.Unlock()
	if exception = u.memory.Read(Holdings, from, words[:n]); exception != NoException { // nothing is written for a bad read
		return out, exception
	}
	takeWords(words[:m], req[10:])
	if exception = u.memory.Write(Holdings, to, words[:m]); exception != NoException {
		return out, exception
	}
	if exception = u.memory.Read(Holdings, from, words[:n]); exception != NoException {
		return out, exception
	}
	return appendWords(append(out, req[0], byte(2*n)), words[:n]), NoException
}

func (u *unit) readFIFO(req, out []byte, words []uint16) ([]byte, Exception) {
	if len(req) != 3 {
		return out, IllegalValue
	}
	n, exception := u.memory.FIFO(binary.BigEndian.Uint16(req[1:]), words[:maxFIFO])
	if exception != NoException {
		return out, exception
	}
	if n > maxFIFO {
		return out, IllegalValue
	}
	out = append(out, req[0], 0, byte(2+2*n), 0, byte(n))
	return appendWords(out, words[:n]), NoException
}

// identify is function 43 with MEI type 14, read device identification.
func (u *unit) identify(req, out []byte) ([]byte, Exception) {
	const mei, individual = 14, 4
	objects := u.memory.Objects()
	if len(req) < 2 || req[1] != mei || len(objects) == 0 {
		return out, IllegalFunction
	}
	if len(req) != 4 || req[2] < 1 || req[2] > individual {
		return out, IllegalValue
	}
	code, object := req[2], req[3]
	level := byte(0x81) // basic; 0x80 says that single objects may be asked for
	order := slices.Sorted(maps.Keys(objects))
	switch last := order[len(order)-1]; {
	case last >= 0x80:
		level = 0x83
	case last >= 3:
		level = 0x82
	}
	top := [...]byte{1: 2, 2: 0x7F, 3: 0xFF, individual: 0xFF}[code]
	text, known := objects[object]
	start := len(out)
	out = append(out, 43, mei, code, level, 0, 0, 0)
	if code == individual {
		if !known {
			return out, IllegalAddress
		}
		out[start+6] = 1
		return appendObject(out, object, text), NoException
	}
	if !known || object > top {
		object = 0 // as the specification has it: an unknown object starts the stream at its beginning
	}
	for _, id := range order {
		if id < object || id > top {
			continue
		}
		if len(out)-start+2+len(objects[id]) > maxPDU {
			out[start+4], out[start+5] = 0xFF, id
			break
		}
		out = appendObject(out, id, objects[id])
		out[start+6]++
	}
	return out, NoException
}

func appendObject(out []byte, id byte, text string) []byte {
	return append(append(out, id, byte(len(text))), text...)
}
