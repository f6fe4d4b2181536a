package simulator

import (
	"fmt"
	"math"
)

// valueType is how a figure lies in registers.
type valueType uint8

const (
	typeBool valueType = iota + 1
	typeBits
	typeInt
	typeUint
	typeFloat
	typeBCD
	typeString
)

// layout is a value type with its width and the order of its bytes.
type layout struct {
	kind     valueType
	bits     int // 16, 32, 64; the field's width for typeBits
	words    int
	lowFirst bool // the word of least weight comes first: CDAB, DCBA
	swapped  bool // the byte of least weight comes first in each word: BADC, DCBA
}

// parseLayout reads a type name and an order of letters. A is the byte of most weight: ABCD is big endian, CDAB exchanges
// the words, BADC the bytes in each word, DCBA both; AB and BA serve 16-bit types, and the letters extend to 64 bits.
func parseLayout(name, order string, length, width int) (layout, error) {
	l := layout{}
	switch name {
	case "bool":
		l = layout{kind: typeBool, bits: 1, words: 1}
	case "bits":
		l = layout{kind: typeBits, bits: width, words: 1}
	case "int16", "int32", "int64":
		l.kind = typeInt
	case "uint16", "uint32", "uint64":
		l.kind = typeUint
	case "float16", "float32", "float64":
		l.kind = typeFloat
	case "bcd16", "bcd32", "bcd64":
		l.kind = typeBCD
	case "string":
		l = layout{kind: typeString, words: length, bits: 16}
	default:
		return l, fmt.Errorf("type %q is unknown: known are bool, bits, int16, int32, int64, uint16, uint32, uint64, float16, float32, float64, bcd16, bcd32, bcd64, string", name)
	}
	if l.words == 0 && l.kind != typeString {
		if _, err := fmt.Sscanf(name[len(name)-2:], "%d", &l.bits); err != nil {
			return l, fmt.Errorf("type %q: no width: %w", name, err)
		}
		l.words = l.bits / 16
	}
	switch order {
	case "", "ABCD", "AB", "ABCDEFGH":
	case "CDAB", "GHEFCDAB":
		l.lowFirst = true
	case "BADC", "BA", "BADCFEHG":
		l.swapped = true
	case "DCBA", "HGFEDCBA":
		l.lowFirst, l.swapped = true, true
	default:
		return l, fmt.Errorf("order %q is unknown: known are ABCD, CDAB, BADC, DCBA, and AB, BA for 16 bits", order)
	}
	if l.kind == typeString && (length < 1 || length > 125) {
		return l, fmt.Errorf("type string needs length, 1 to 125 registers, it has %d", length)
	}
	if l.kind == typeBits && (width < 1 || width > 16) {
		return l, fmt.Errorf("type bits needs width, 1 to 16, it has %d", width)
	}
	return l, nil
}

// put lays the l.bits low bits of raw into l.words words.
func (l *layout) put(dst []uint16, raw uint64) {
	for i := range l.words {
		shift := 16 * (l.words - 1 - i)
		if l.lowFirst {
			shift = 16 * i
		}
		w := uint16(raw >> shift)
		if l.swapped {
			w = w<<8 | w>>8
		}
		dst[i] = w
	}
}

// get is put's inverse.
func (l *layout) get(src []uint16) uint64 {
	var raw uint64
	for i := range l.words {
		w := src[i]
		if l.swapped {
			w = w<<8 | w>>8
		}
		shift := 16 * (l.words - 1 - i)
		if l.lowFirst {
			shift = 16 * i
		}
		raw |= uint64(w) << shift
	}
	return raw
}

// limits returns the smallest and the largest figure of the type.
func (l *layout) limits() (low, high float64) {
	switch l.kind {
	case typeBool:
		return 0, 1
	case typeBits, typeUint:
		return 0, math.Ldexp(1, l.bits) - 1
	case typeInt:
		return -math.Ldexp(1, l.bits-1), math.Ldexp(1, l.bits-1) - 1
	case typeBCD:
		return 0, math.Pow10(l.bits/4) - 1
	case typeFloat:
		switch l.bits {
		case 16:
			return -65504, 65504
		case 32:
			return -math.MaxFloat32, math.MaxFloat32
		}
	case typeString:
	}
	return -math.MaxFloat64, math.MaxFloat64
}

// pack returns the bits of a figure that lies within limits. Negative counts of an unsigned type wrap, as bidirectional
// instruments do (Bronkhorst: 65535 is -1).
func (l *layout) pack(v float64) uint64 {
	switch l.kind {
	case typeBool:
		if v != 0 {
			return 1
		}
		return 0
	case typeFloat:
		switch l.bits {
		case 16:
			return uint64(float16bits(v))
		case 32:
			return uint64(math.Float32bits(float32(v)))
		default:
			return math.Float64bits(v)
		}
	case typeBCD:
		return packBCD(uint64(math.Round(v)))
	case typeBits, typeInt, typeUint, typeString:
	}
	v = math.Round(v)
	mask := ^uint64(0) >> (64 - l.bits)
	switch {
	case v >= math.Ldexp(1, 64):
		return mask
	case v >= math.Ldexp(1, 63):
		if l.kind == typeInt {
			return math.MaxInt64
		}
		return uint64(v) & mask
	case v <= -math.Ldexp(1, 63):
		return (1 << 63) & mask
	default:
		return uint64(int64(v)) & mask
	}
}

// unpack is pack's inverse.
func (l *layout) unpack(raw uint64) float64 {
	switch l.kind {
	case typeInt:
		shift := 64 - l.bits
		return float64(int64(raw<<shift) >> shift)
	case typeFloat:
		switch l.bits {
		case 16:
			return float16value(uint16(raw))
		case 32:
			return float64(math.Float32frombits(uint32(raw)))
		default:
			return math.Float64frombits(raw)
		}
	case typeBCD:
		return unpackBCD(raw)
	case typeBool, typeBits, typeUint, typeString:
	}
	return float64(raw)
}

// packBCD writes decimal digits as nibbles.
func packBCD(v uint64) uint64 {
	var raw uint64
	for shift := 0; v > 0 && shift < 64; shift += 4 {
		raw |= v % 10 << shift
		v /= 10
	}
	return raw
}

// unpackBCD is packBCD's inverse; a nibble above 9 makes the figure NaN.
func unpackBCD(raw uint64) float64 {
	v, weight := 0.0, 1.0
	for ; raw > 0; raw >>= 4 {
		if raw&15 > 9 {
			return math.NaN()
		}
		v += float64(raw&15) * weight
		weight *= 10
	}
	return v
}

// float16bits rounds to IEEE 754 binary16, ties to even.
func float16bits(v float64) uint16 {
	sign := uint16(0)
	if math.Signbit(v) {
		sign, v = 0x8000, -v
	}
	switch {
	case math.IsNaN(v):
		return 0x7E00
	case v >= 65520:
		return sign | 0x7C00
	case v < math.Ldexp(1, -14):
		return sign | uint16(math.RoundToEven(math.Ldexp(v, 24)))
	}
	fraction, exponent := math.Frexp(v) // 0.5 <= fraction < 1
	mantissa := uint16(math.RoundToEven(math.Ldexp(fraction, 11)))
	return sign + uint16(exponent+13)<<10 + mantissa // the hidden bit carries into the exponent
}

// float16value returns the figure of IEEE 754 binary16 bits.
func float16value(h uint16) float64 {
	sign, exponent, mantissa := 1.0, int(h>>10&31), float64(h&1023)
	if h&0x8000 != 0 {
		sign = -1
	}
	switch {
	case exponent == 31 && mantissa == 0:
		return math.Inf(int(sign))
	case exponent == 31:
		return math.NaN()
	case exponent == 0:
		return math.Copysign(math.Ldexp(mantissa, -24), sign)
	default:
		return sign * math.Ldexp(1024+mantissa, exponent-25)
	}
}

// putText lays text into words, the first character in the byte of most weight, filled with zeros.
func (l *layout) putText(dst []uint16, text string) {
	for i := range l.words {
		var hi, lo byte
		if 2*i < len(text) {
			hi = text[2*i]
		}
		if 2*i+1 < len(text) {
			lo = text[2*i+1]
		}
		if l.swapped {
			hi, lo = lo, hi
		}
		dst[i] = uint16(hi)<<8 | uint16(lo)
	}
}
