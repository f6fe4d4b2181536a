package acquisition

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Type is how the bits of a value are to be read.
type Type uint8

// The types of register values.
const (
	TypeBool Type = iota
	TypeInt16
	TypeUint16
	TypeInt32
	TypeUint32
	TypeInt64
	TypeUint64
	TypeFloat16
	TypeFloat32
	TypeFloat64
	TypeBCD16
	TypeBCD32
	TypeInt8  // low byte of a word
	TypeUint8 // low byte of a word
)

func typeNames() []string {
	return []string{
		"bool", "int16", "uint16", "int32", "uint32", "int64", "uint64",
		"float16", "float32", "float64", "bcd16", "bcd32", "int8", "uint8",
	}
}

// ParseType returns the type with the given name, for example "float32".
func ParseType(name string) (Type, error) {
	if i := slices.Index(typeNames(), name); i >= 0 {
		return Type(i), nil
	}
	return 0, fmt.Errorf("type %q is not one of %v", name, typeNames())
}

// String returns the name used in files.
func (t Type) String() string {
	if n := typeNames(); int(t) < len(n) {
		return n[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Words returns how many registers a value of the type takes.
func (t Type) Words() int {
	switch t {
	case TypeInt32, TypeUint32, TypeFloat32, TypeBCD32:
		return 2
	case TypeInt64, TypeUint64, TypeFloat64:
		return 4
	case TypeBool, TypeInt16, TypeUint16, TypeFloat16, TypeBCD16, TypeInt8, TypeUint8:
		return 1
	}
	return 1
}

// MarshalJSON writes the name.
func (t Type) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalJSON reads the name.
func (t *Type) UnmarshalJSON(data []byte) error {
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return fmt.Errorf("read type: %w", err)
	}
	v, err := ParseType(name)
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// Order is the order of bytes and words on the wire. Its letters name the
// bytes of a big-endian 32-bit value in the order in which they arrive.
type Order uint8

// The orders, by their letters.
const (
	OrderABCD Order = 0 // high word first, high byte first (big endian)
	OrderCDAB Order = 1 // low word first, high byte first
	OrderBADC Order = 2 // high word first, low byte first
	OrderDCBA Order = 3 // low word first, low byte first (little endian)
)

// ParseOrder returns the order with the given letters. "" is ABCD; "AB" and
// "BA" serve values of one register.
func ParseOrder(letters string) (Order, error) {
	switch letters {
	case "", "ABCD", "AB":
		return OrderABCD, nil
	case "CDAB":
		return OrderCDAB, nil
	case "BADC", "BA":
		return OrderBADC, nil
	case "DCBA":
		return OrderDCBA, nil
	}
	return 0, fmt.Errorf("order %q is not one of ABCD, CDAB, BADC, DCBA", letters)
}

// String returns the letters.
func (o Order) String() string { return [...]string{"ABCD", "CDAB", "BADC", "DCBA"}[o&3] }

// MarshalJSON writes the letters.
func (o Order) MarshalJSON() ([]byte, error) { return []byte(`"` + o.String() + `"`), nil }

// UnmarshalJSON reads the letters.
func (o *Order) UnmarshalJSON(data []byte) error {
	var letters string
	if err := json.Unmarshal(data, &letters); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	v, err := ParseOrder(letters)
	if err != nil {
		return err
	}
	*o = v
	return nil
}

// Sentinel is a bit pattern that the device sends instead of a value.
type Sentinel struct {
	Raw    uint64 `json:"raw"` // the value's bits, big endian, low 16, 32 or 64 of them
	Reason Reason `json:"reason"`
}

// Decoding says how the value of one channel comes out of a scan. Value =
// number · Scale · 10^-decimals + Offset, in the channel's unit.
type Decoding struct {
	Origin        Origin     `json:"origin,omitempty"`
	At            int        `json:"at"` // first word of the scan, or column of its numbers
	Type          Type       `json:"type"`
	Order         Order      `json:"order"`
	Bit           uint8      `json:"bit,omitempty"`  // lowest bit of a bit field
	Bits          uint8      `json:"bits,omitempty"` // width of a bit field, 0: the whole value
	Scale         float64    `json:"scale,omitempty"`
	Offset        float64    `json:"offset,omitempty"`
	NegativeAbove uint64     `json:"negative_above,omitempty"` // unsigned numbers above it are negative, for devices that wrap there; 0: none is
	Decimals      int        `json:"decimals,omitempty"`       // 1 + word of the scan that holds the number of decimals, 0: none
	Sentinels     []Sentinel `json:"sentinels,omitempty"`
	Expression    string     `json:"expression,omitempty"` // for FromExpression
}

// Expression is a compiled expression over the channels of a group.
type Expression struct {
	Operands []int // indexes of the channels it uses
	Eval     func(values []float64) float64
}

// Compile turns the text of an expression over named channels into a function.
type Compile func(text string, channels []string) (Expression, error)

// Decoder turns the words and numbers of scans of one group into values. It
// is pure and may be shared.
type Decoder struct {
	group   *Group
	derived []derivedChannel
}

type derivedChannel struct {
	channel int
	Expression
}

// NewDecoder returns the decoder of a group. compile may be nil if no channel
// is an expression.
func NewDecoder(g *Group, compile Compile) (*Decoder, error) {
	d := &Decoder{group: g}
	names := make([]string, len(g.Channels))
	for i := range g.Channels {
		names[i] = g.Channels[i].Name
	}
	for i := range g.Channels {
		c := &g.Channels[i]
		switch c.Decoding.Origin {
		case FromWords:
			if c.Decoding.At < 0 || c.Decoding.At+c.Decoding.Type.Words() > g.Words || c.Decoding.Decimals > g.Words {
				return nil, fmt.Errorf("decode channel %s: word %d is outside the %d words of group %s", c.Name, c.Decoding.At, g.Words, g.Key())
			}
		case FromNumbers:
			if c.Decoding.At < 0 || c.Decoding.At >= g.Numbers {
				return nil, fmt.Errorf("decode channel %s: number %d is outside the %d numbers of group %s", c.Name, c.Decoding.At, g.Numbers, g.Key())
			}
		case FromExpression:
			if compile == nil {
				return nil, fmt.Errorf("decode channel %s: no compiler for expression %q", c.Name, c.Decoding.Expression)
			}
			e, err := compile(c.Decoding.Expression, names)
			if err != nil {
				return nil, fmt.Errorf("decode channel %s: %w", c.Name, err)
			}
			d.derived = append(d.derived, derivedChannel{channel: i, Expression: e})
		}
	}
	return d, nil
}

// Group returns the group.
func (d *Decoder) Group() *Group { return d.group }

// Decode fills values and quality (one per channel) from the words and numbers
// of one scan. in is the scan's quality per channel, nil if all are good. A
// sample that is bad has the value NaN; whoever uses values must look at the
// quality first, NaN alone never means missing.
func (d *Decoder) Decode(words []uint16, numbers []float64, in []Quality, values []float64, quality []Quality) {
	channels := d.group.Channels
	for i := range channels {
		c := &channels[i]
		q := Good
		if in != nil {
			q = in[i]
		}
		if q != Good && q.Class() == ClassBad {
			values[i], quality[i] = math.NaN(), q
			continue
		}
		var v float64
		switch c.Decoding.Origin {
		case FromWords:
			var r Reason
			v, r = c.Decoding.Value(words)
			if r != ReasonNone {
				q = Quality(r)
			}
		case FromNumbers:
			v = numbers[c.Decoding.At]
			if c.Decoding.Scale != 0 {
				v *= c.Decoding.Scale
			}
			v += c.Decoding.Offset
		case FromExpression:
			continue
		}
		values[i], quality[i] = judged(c, v, q)
	}
	for _, e := range d.derived {
		c := &channels[e.channel]
		q := Good
		if in != nil {
			q = in[e.channel]
		}
		for _, o := range e.Operands {
			switch quality[o].Class() {
			case ClassGood:
			case ClassUncertain:
				if q == Good {
					q = quality[o]
				}
			case ClassBad:
				q = Quality(ReasonDerived)
			}
		}
		if q.Class() == ClassBad {
			values[e.channel], quality[e.channel] = math.NaN(), q
			continue
		}
		values[e.channel], quality[e.channel] = judged(c, e.Eval(values), q)
	}
}

// judged applies what holds for every origin: not-a-number, infinities, range.
func judged(c *Channel, v float64, q Quality) (float64, Quality) {
	switch {
	case q.Class() == ClassBad:
		return math.NaN(), q
	case v != v:
		return math.NaN(), Quality(ReasonNaN)
	case math.IsInf(v, 1):
		return math.NaN(), Quality(ReasonOverRange)
	case math.IsInf(v, -1):
		return math.NaN(), Quality(ReasonUnderRange)
	case q == Good && c.Low != c.High && (v < c.Low || v > c.High):
		return v, Quality(ReasonOutOfRange)
	}
	return v, q
}

// Value reads one value from the words of a scan. The reason is that of a
// sentinel or of digits that are none (BCD), else [ReasonNone].
func (d *Decoding) Value(words []uint16) (float64, Reason) {
	var raw uint64
	n := d.Type.Words()
	w := words[d.At : d.At+n]
	if d.Order&1 == 0 {
		for i := range n {
			raw = raw<<16 | uint64(d.word(w[i]))
		}
	} else {
		for i := n - 1; i >= 0; i-- {
			raw = raw<<16 | uint64(d.word(w[i]))
		}
	}
	for _, s := range d.Sentinels {
		if s.Raw == raw {
			return math.NaN(), s.Reason
		}
	}
	var v float64
	if d.Bits > 0 {
		field := raw >> d.Bit & (1<<d.Bits - 1)
		switch d.Type {
		case TypeInt16, TypeInt32, TypeInt64, TypeInt8:
			shift := 64 - d.Bits
			v = float64(int64(field<<shift) >> shift)
		case TypeBool, TypeUint16, TypeUint32, TypeUint64, TypeUint8, TypeFloat16, TypeFloat32, TypeFloat64, TypeBCD16, TypeBCD32:
			v = float64(field)
		}
	} else {
		switch d.Type {
		case TypeBool:
			v = float64(raw >> d.Bit & 1)
		case TypeInt8:
			v = float64(int8(raw))
		case TypeUint8:
			v = float64(uint8(raw))
		case TypeInt16:
			v = float64(int16(raw))
		case TypeInt32:
			v = float64(int32(raw))
		case TypeInt64:
			v = float64(int64(raw))
		case TypeUint16, TypeUint32, TypeUint64:
			v = float64(raw)
			if d.NegativeAbove != 0 && raw > d.NegativeAbove {
				v -= math.Ldexp(1, 16*n)
			}
		case TypeFloat16:
			v = float16(uint16(raw))
		case TypeFloat32:
			v = float64(math.Float32frombits(uint32(raw)))
		case TypeFloat64:
			v = math.Float64frombits(raw)
		case TypeBCD16, TypeBCD32:
			var ok bool
			if v, ok = bcd(raw, 4*n); !ok {
				return math.NaN(), ReasonDecode
			}
		}
	}
	if d.Scale != 0 {
		v *= d.Scale
	}
	if d.Decimals > 0 {
		dec := int(int16(words[d.Decimals-1]))
		if dec < -12 || dec > 12 {
			return math.NaN(), ReasonDecode
		}
		v /= math.Pow10(dec)
	}
	return v + d.Offset, ReasonNone
}

func (d *Decoding) word(w uint16) uint16 {
	if d.Order&2 != 0 {
		return w<<8 | w>>8
	}
	return w
}

// float16 reads an IEEE 754 binary16.
func float16(b uint16) float64 {
	sign := 1.0
	if b&0x8000 != 0 {
		sign = -1
	}
	exp, frac := int(b>>10&0x1f), float64(b&0x3ff)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

func bcd(raw uint64, digits int) (float64, bool) {
	var v uint64
	for i := digits - 1; i >= 0; i-- {
		d := raw >> (4 * uint(i)) & 0xf
		if d > 9 {
			return 0, false
		}
		v = v*10 + d
	}
	return float64(v), true
}
