package modbus

import (
	"encoding/binary"
	"fmt"
	"strings"

	"pneudaq/acquisition"
)

const (
	headerSize  = 7   // MBAP
	longestPDU  = 253 // V1.1b3 section 4.1
	longestRTU  = 256
	exception   = 0x80
	functionFID = 43 // encapsulated interface; MEI type 14 is device identification
	meiIdentity = 14
)

// crcTable is the table of the check sum of MODBUS over Serial Line V1.02,
// section 6.2.2: polynomial 0xA001, start 0xFFFF.
type crcTable [256]uint16

func newCRCTable() *crcTable {
	t := new(crcTable)
	for i := range t {
		v := uint16(i)
		for range 8 {
			if v&1 == 1 {
				v = v>>1 ^ 0xA001
			} else {
				v >>= 1
			}
		}
		t[i] = v
	}
	return t
}

func (t *crcTable) sum(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc = crc>>8 ^ t[byte(crc)^v]
	}
	return crc
}

// fits says whether the last two bytes are the check sum of those before.
func (t *crcTable) fits(frame []byte) bool {
	n := len(frame) - 2
	return n >= 2 && t.sum(frame[:n]) == uint16(frame[n])|uint16(frame[n+1])<<8
}

// shape is what an answer to a request must look like.
type shape struct {
	function byte
	length   int // of the PDU, 0: it tells its length itself
	echo     int // bytes of the request PDU that the answer repeats from its start
	bytes    int // value of the byte count in the second byte, 0: there is none
}

// shapeOf returns the shape of the answer to a request PDU.
func shapeOf(pdu []byte) shape {
	s := shape{function: pdu[0]}
	quantity := 0
	if len(pdu) >= 5 {
		quantity = int(binary.BigEndian.Uint16(pdu[3:]))
	}
	switch pdu[0] {
	case 1, 2:
		s.bytes = (quantity + 7) / 8
		s.length = 2 + s.bytes
	case 3, 4, 23:
		s.bytes = 2 * quantity
		s.length = 2 + s.bytes
	case 5, 6, 15, 16:
		s.length, s.echo = 5, min(5, len(pdu))
	case 22:
		s.length, s.echo = 7, min(7, len(pdu))
	}
	return s
}

// fault is why an answer (or its absence) is no good.
type fault struct {
	reason acquisition.Reason
	code   byte   // of an exception
	detail string // for people
}

// verify says whether an answer PDU has the shape that was asked for. It
// returns the reason why not; the hot path has none and builds no text.
func (s *shape) verify(request, pdu []byte) (reason acquisition.Reason, code byte) {
	if len(pdu) == 0 {
		return acquisition.ReasonProtocol, 0
	}
	if pdu[0] == s.function|exception {
		if len(pdu) != 2 {
			return acquisition.ReasonProtocol, 0
		}
		return exceptionReason(pdu[1]), pdu[1]
	}
	switch {
	case pdu[0] != s.function,
		s.length > 0 && len(pdu) != s.length,
		s.bytes > 0 && int(pdu[1]) != s.bytes:
		return acquisition.ReasonProtocol, 0
	}
	for i := 1; i < s.echo; i++ {
		if pdu[i] != request[i] {
			return acquisition.ReasonProtocol, 0
		}
	}
	switch s.function {
	case 24: // byte count (2), number of registers (2), registers
		if len(pdu) < 5 || int(binary.BigEndian.Uint16(pdu[1:])) != len(pdu)-3 ||
			int(binary.BigEndian.Uint16(pdu[3:]))*2 != len(pdu)-5 || len(pdu) > 5+2*(fifoWords-1) {
			return acquisition.ReasonProtocol, 0
		}
	case functionFID:
		if n, whole := identityLength(pdu); !whole || n != len(pdu) {
			return acquisition.ReasonProtocol, 0
		}
	}
	return acquisition.ReasonNone, 0
}

// explain says in words what verify found.
func (s *shape) explain(pdu []byte) string {
	switch {
	case len(pdu) == 0:
		return "an answer without a function"
	case pdu[0] == s.function|exception && len(pdu) == 2:
		return exceptionText(pdu[1])
	case pdu[0] != s.function:
		return fmt.Sprintf("function %d was asked, function %d answered", s.function, pdu[0])
	case s.length > 0 && len(pdu) != s.length:
		return fmt.Sprintf("%d bytes were asked, %d answered", s.length, len(pdu))
	case s.bytes > 0 && int(pdu[1]) != s.bytes:
		return fmt.Sprintf("the byte count says %d, %d were asked", pdu[1], s.bytes)
	case s.echo > 0:
		return "the answer does not repeat address and value of the request"
	}
	return "the counts inside the answer contradict its length"
}

// exceptionReason maps exception codes, V1.1b3 section 7.
func exceptionReason(code byte) acquisition.Reason {
	switch code {
	case 1, 2, 3:
		return acquisition.ReasonException
	case 4:
		return acquisition.ReasonDeviceFault
	case 5, 6:
		return acquisition.ReasonBusy
	case 7, 8:
		return acquisition.ReasonDeviceMemory
	case 10, 11:
		return acquisition.ReasonGateway
	}
	return acquisition.ReasonProtocol
}

func exceptionText(code byte) string {
	switch code {
	case 1:
		return "exception 1: the device does not know the function"
	case 2:
		return "exception 2: the device has no such address"
	case 3:
		return "exception 3: the device does not take this quantity or value"
	case 4:
		return "exception 4: the device reports a fault of its own"
	case 5:
		return "exception 5: the device needs longer for the answer"
	case 6:
		return "exception 6: the device is busy"
	case 7:
		return "exception 7: the device cannot do it now"
	case 8:
		return "exception 8: memory parity error in the device"
	case 10:
		return "exception 10: the gateway has no path to this unit"
	case 11:
		return "exception 11: the gateway got no answer from this unit"
	}
	return fmt.Sprintf("exception %d, which the specification does not know", code)
}

// identityLength returns the length of the answer PDU of function 43/14 that b
// begins with; whole is false while more bytes are needed to tell. A length of
// -1 is an answer that cannot be one.
func identityLength(b []byte) (n int, whole bool) {
	if len(b) >= 2 && b[1] != meiIdentity {
		return -1, true
	}
	const fixed = 7 // function, MEI, code, conformity, more follows, next object, number of objects
	if len(b) < fixed {
		return 0, false
	}
	n = fixed
	for range b[fixed-1] {
		if len(b) < n+2 {
			return 0, false
		}
		n += 2 + int(b[n+1])
		if n > longestPDU {
			return -1, true
		}
	}
	return n, len(b) >= n
}

// rtuLength returns the length of the RTU answer frame that b begins with, 0
// while more bytes are needed to tell, -1 if it can be none. It is told by the
// function code alone, never by how the bytes came in.
func rtuLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	const around = 3 // unit and check sum
	f := b[1]
	switch {
	case f&exception != 0:
		return around + 2
	case f == 5 || f == 6 || f == 15 || f == 16 || f == 8 || f == 11:
		return around + 5
	case f == 22:
		return around + 7
	case f == 7:
		return around + 2
	case f == 1 || f == 2 || f == 3 || f == 4 || f == 23 || f == 17 || f == 12 || f == 20 || f == 21:
		if len(b) < 3 {
			return 0
		}
		if n := around + 2 + int(b[2]); n <= longestRTU {
			return n
		}
		return -1
	case f == 24:
		if len(b) < 4 {
			return 0
		}
		if n := around + 3 + int(binary.BigEndian.Uint16(b[2:])); n <= longestRTU {
			return n
		}
		return -1
	case f == functionFID:
		n, whole := identityLength(b[1:])
		switch {
		case n < 0:
			return -1
		case !whole && n == 0:
			return 0
		}
		return around + n
	}
	return -1
}

// mbapFault says what is wrong with an MBAP header, "" if nothing is. A frame
// has a unit, a function and at most 252 bytes more.
func mbapFault(header []byte) string {
	protocol, n := binary.BigEndian.Uint16(header[2:]), int(binary.BigEndian.Uint16(header[4:]))
	switch {
	case protocol != 0:
		return fmt.Sprintf("protocol id %d in a Modbus TCP header, where 0 must be", protocol)
	case n < 2 || n > longestPDU+1:
		return fmt.Sprintf("a Modbus TCP header says that %d bytes follow; 2 to %d can be", n, longestPDU+1)
	}
	return ""
}

// looksLike names the protocol that bytes seem to belong to, "" for none.
func looksLike(b []byte) string {
	s := string(b[:min(len(b), 64)])
	switch {
	case strings.HasPrefix(s, "HTTP/"), strings.HasPrefix(strings.ToLower(s), "<!doctype"), strings.HasPrefix(strings.ToLower(s), "<html"):
		return "HTTP"
	case strings.HasPrefix(s, "SSH-"):
		return "SSH"
	case len(b) >= 3 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3 && b[2] <= 4:
		return "TLS"
	case strings.HasPrefix(s, "220 "), strings.HasPrefix(s, "220-"):
		return "FTP or SMTP"
	case strings.HasPrefix(s, "RFB "):
		return "VNC"
	case strings.HasPrefix(s, "-ERR"), strings.HasPrefix(s, "+OK"):
		return "a text protocol"
	case len(b) >= 4 && b[0] == 0x20 && b[1] == 2:
		return "MQTT"
	case len(b) >= 2 && b[0] == 0xFF && b[1] >= 0xFB && b[1] != 0xFF:
		return "Telnet"
	}
	return ""
}

// foreign words the error for bytes that are not Modbus.
func foreign(b []byte, what string) string {
	if p := looksLike(b); p != "" {
		return "not Modbus: looks like " + p
	}
	if len(b) > 16 {
		b = b[:16]
	}
	return fmt.Sprintf("not Modbus: %s (bytes % X)", what, b)
}
