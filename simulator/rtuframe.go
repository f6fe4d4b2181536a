package simulator

// crc16 returns the checksum of MODBUS over Serial Line V1.02, section 6.2.2 (polynomial 0xA001, start 0xFFFF). Its byte
// of least weight goes on the line first.
func crc16(b []byte) uint16 {
	nibble := [16]uint16{
		0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
		0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400,
	}
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		crc = crc>>4 ^ nibble[crc&15]
		crc = crc>>4 ^ nibble[crc&15]
	}
	return crc
}

// appendCRC closes an RTU frame that begins at start.
func appendCRC(frame []byte, start int) []byte {
	crc := crc16(frame[start:])
	return append(frame, byte(crc), byte(crc>>8))
}

// goodCRC says whether the last two bytes are the checksum of those before.
func goodCRC(frame []byte) bool {
	if len(frame) < 4 {
		return false
	}
	n := len(frame) - 2
	return crc16(frame[:n]) == uint16(frame[n])|uint16(frame[n+1])<<8
}

// longestRTU is the longest frame on a serial line, checksum included.
const longestRTU = 256

// rtuRequestLength returns the whole length of the request that b begins with, 0 while more bytes are needed to tell, and
// false for a function whose length only silence tells.
func rtuRequestLength(b []byte) (n int, known bool) {
	if len(b) < 2 {
		return 0, true
	}
	counted := func(fixed, at int) (int, bool) {
		if len(b) <= at {
			return 0, true
		}
		return fixed + int(b[at]), true
	}
	switch b[1] {
	case 1, 2, 3, 4, 5, 6, 8:
		return 8, true
	case 7, 11, 12, 17:
		return 4, true
	case 15, 16:
		return counted(9, 6)
	case 20, 21:
		return counted(5, 2)
	case 22:
		return 10, true
	case 23:
		return counted(13, 10)
	case 24:
		return 6, true
	case 43:
		if len(b) < 3 {
			return 0, true
		}
		return 7, b[2] == 14
	}
	return 0, false
}
