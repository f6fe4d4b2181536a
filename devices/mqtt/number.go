package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"
)

// decimal is a number as written: ± mant · 10^exp. Times and sequence numbers
// are taken from it without passing through a float.
type decimal struct {
	mant  uint64
	exp   int
	neg   bool
	exact bool // all digits are in mant
}

// pow10 are the powers of ten that a float64 holds exactly.
func pow10(n int) float64 {
	return [...]float64{
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
	}[n]
}

// scanDecimal reads a number at data[pos] as JSON writes it, lenient with
// leading zeros and a leading plus, and returns the position behind it. ok is
// false if there is none. mark is the decimal mark, '.' or ','.
func scanDecimal(data []byte, pos int, mark byte) (d decimal, end int, ok bool) {
	i := pos
	if i < len(data) && (data[i] == '-' || data[i] == '+') {
		d.neg = data[i] == '-'
		i++
	}
	d.exact = true
	digits := 0
	for ; i < len(data) && data[i]-'0' <= 9; i++ {
		digits++
		if d.mant < (1<<63)/10 {
			d.mant = d.mant*10 + uint64(data[i]-'0')
		} else {
			d.exp++
			d.exact = d.exact && data[i] == '0'
		}
	}
	if i < len(data) && data[i] == mark {
		i++
		first := i
		for ; i < len(data) && data[i]-'0' <= 9; i++ {
			digits++
			if d.mant < (1<<63)/10 {
				d.mant = d.mant*10 + uint64(data[i]-'0')
				d.exp--
			} else {
				d.exact = d.exact && data[i] == '0'
			}
		}
		if i == first {
			return d, pos, false
		}
	}
	if digits == 0 {
		return d, pos, false
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		neg := false
		if i < len(data) && (data[i] == '-' || data[i] == '+') {
			neg = data[i] == '-'
			i++
		}
		first, e := i, 0
		for ; i < len(data) && data[i]-'0' <= 9; i++ {
			e = min(e*10+int(data[i]-'0'), 1e6)
		}
		if i == first {
			return d, pos, false
		}
		if neg {
			e = -e
		}
		d.exp += e
	}
	return d, i, true
}

// float returns the float64 nearest to the number. text is what was scanned,
// for the rare number whose rounding needs all of it; commas become points.
func (d decimal) float(text []byte) float64 {
	if d.exact && d.mant < 1<<53 && d.exp >= -22 && d.exp <= 22 {
		v := float64(d.mant)
		if d.exp < 0 {
			v /= pow10(-d.exp)
		} else {
			v *= pow10(d.exp)
		}
		if d.neg {
			v = -v
		}
		return v
	}
	var buf [64]byte
	plain := append(buf[:0], text...)
	for i := range plain {
		if plain[i] == ',' {
			plain[i] = '.'
		}
	}
	v, err := strconv.ParseFloat(string(plain), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return math.NaN()
	}
	return v
}

var errRange = errors.New("the number is outside what a 64-bit integer holds")

// scaled returns the number times 10^shift as an integer, rounded to nearest.
func (d decimal) scaled(shift int) (int64, error) {
	m, e := d.mant, d.exp+shift
	if m == 0 {
		return 0, nil
	}
	for ; e > 0; e-- {
		hi, lo := bits.Mul64(m, 10)
		if hi != 0 {
			return 0, errRange
		}
		m = lo
	}
	if e < -20 {
		return 0, nil
	}
	if e < 0 {
		div := uint64(1)
		for ; e < 0; e++ {
			hi, lo := bits.Mul64(div, 10)
			if hi != 0 {
				return 0, nil
			}
			div = lo
		}
		q, r := m/div, m%div
		if r >= div-r {
			q++
		}
		m = q
	}
	if m > math.MaxInt64 {
		return 0, errRange
	}
	if d.neg {
		return -int64(m), nil
	}
	return int64(m), nil
}

// sequence returns the number as a sequence number.
func (d decimal) sequence() (uint64, error) {
	v, err := d.scaled(0)
	if err != nil {
		return 0, fmt.Errorf("read sequence number: %w", err)
	}
	if v < 0 {
		return 0, fmt.Errorf("read sequence number: %d is negative", v)
	}
	back := decimal{mant: uint64(v), exact: true}
	if d.exp < 0 && back.float(nil) != d.float(nil) && d.mant < 1<<53 {
		return 0, errors.New("read sequence number: it is not a whole number")
	}
	return uint64(v), nil
}

// shift returns the power of ten between a unit and nanoseconds.
func (u TimeUnit) shift() int {
	switch u {
	case UnitSeconds:
		return 9
	case UnitMilli:
		return 6
	case UnitMicro:
		return 3
	case UnitNano, UnitDefault, UnitRFC3339, UnitText:
	}
	return 0
}

// timeReader reads device times of one group.
type timeReader struct {
	unit   TimeUnit
	layout string
	zone   *time.Location
}

// number reads a numeric time, ns.
func (r timeReader) number(d decimal) (int64, error) {
	switch r.unit {
	case UnitRFC3339, UnitText:
		return 0, fmt.Errorf("read time: a number, where time.unit %s expects a text; state s, ms, us or ns", r.unit)
	case UnitDefault, UnitSeconds, UnitMilli, UnitMicro, UnitNano:
	}
	t, err := d.scaled(r.unit.shift())
	if err != nil {
		return 0, fmt.Errorf("read time: %w", err)
	}
	return t, nil
}

// text reads a time given as text: a number, RFC 3339, or the group's layout
// in its zone. arrival decides which of two equal local times is meant.
func (r timeReader) text(s []byte, arrival int64) (int64, error) {
	switch r.unit {
	case UnitDefault, UnitSeconds, UnitMilli, UnitMicro, UnitNano:
		d, end, ok := scanDecimal(s, 0, '.')
		if !ok || end != len(s) {
			return 0, fmt.Errorf("read time: %q is not a number; state time.unit rfc3339, or text with a layout", clip(s))
		}
		return r.number(d)
	case UnitRFC3339:
		t, err := time.Parse(time.RFC3339Nano, string(s))
		if err != nil {
			return 0, fmt.Errorf("read time: %q is not RFC 3339 with an offset; for a local time state time.unit text with layout and zone", clip(s))
		}
		return unixNano(t)
	case UnitText:
	}
	t, err := time.ParseInLocation(r.layout, string(s), r.zone)
	if err != nil {
		return 0, fmt.Errorf("read time: %q does not look like %q", clip(s), r.layout)
	}
	best := t
	for _, d := range [...]time.Duration{-time.Hour, -30 * time.Minute, 30 * time.Minute, time.Hour} {
		other := t.Add(d)
		_, a := t.Zone()
		_, b := other.Zone()
		if a != b && other.Format(r.layout) == t.Format(r.layout) && distance(other, arrival) < distance(best, arrival) {
			best = other
		}
	}
	return unixNano(best)
}

func distance(t time.Time, arrival int64) time.Duration { return t.Sub(time.Unix(0, arrival)).Abs() }

func unixNano(t time.Time) (int64, error) {
	if y := t.Year(); y < 1700 || y > 2250 {
		return 0, fmt.Errorf("read time: the year %d cannot be stored", y)
	}
	return t.UnixNano(), nil
}

// clip shortens text for a message.
func clip(s []byte) string {
	const most = 60
	if len(s) > most {
		return string(s[:most]) + "..."
	}
	return string(s)
}

// special reads what is no number in JSON but is sent as one.
func special(s []byte) (float64, bool) {
	switch string(s) {
	case "NaN", "nan", "NAN":
		return math.NaN(), true
	case "Infinity", "Inf", "inf", "+Inf", "+inf":
		return math.Inf(1), true
	case "-Infinity", "-Inf", "-inf":
		return math.Inf(-1), true
	}
	return 0, false
}

// word reads a whole text as a number: digits, a special value, a word of the
// channel's own, or true and false.
func word(s []byte, mark byte, texts map[string]float64) (float64, bool) {
	s = bytes.TrimSpace(s)
	if v, ok := texts[string(s)]; ok {
		return v, true
	}
	if d, end, ok := scanDecimal(s, 0, mark); ok && end == len(s) {
		return d.float(s), true
	}
	switch string(s) {
	case "true", "True", "TRUE":
		return 1, true
	case "false", "False", "FALSE":
		return 0, true
	}
	return special(s)
}
