package influx

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pneudaq/acquisition"
)

// QualitySuffix makes the name of a quality field out of a channel's name.
const QualitySuffix = "__q"

// GapMeasurement is the measurement of gap lines.
const GapMeasurement = "pneudaq_gap"

// Encoder turns the scans of one group version into line protocol. It is
// immutable and may be shared.
type Encoder struct {
	group   *acquisition.Group
	decoder *acquisition.Decoder
	head    []byte   // measurement and tags
	gapHead []byte   // the same of gap lines
	value   [][]byte // per channel: name=
	quality [][]byte // per channel: name__q="
	reasons [][]byte // per reason: timeout"
}

// NewEncoder returns the encoder of a group. compile may be nil if no channel
// is an expression.
func NewEncoder(g *acquisition.Group, compile acquisition.Compile) (*Encoder, error) {
	d, err := acquisition.NewDecoder(g, compile)
	if err != nil {
		return nil, err
	}
	e := &Encoder{group: g, decoder: d}
	e.head = appendHead(nil, g.Measurement, seriesTags(g))
	e.gapHead = appendHead(nil, GapMeasurement, map[string]string{"site": g.Site, "rig": g.Rig, "group": g.Name})
	for i := range g.Channels {
		name := g.Channels[i].Name
		e.value = append(e.value, append(appendKey(nil, name), '='))
		e.quality = append(e.quality, append(appendKey(nil, name+QualitySuffix), '=', '"'))
	}
	for _, r := range acquisition.Reasons() {
		e.reasons = append(e.reasons, append([]byte(r.Name), '"'))
	}
	return e, nil
}

// Scratch is the memory that encoding needs beside its output. Each goroutine
// has its own.
type Scratch struct {
	values  []float64
	quality []acquisition.Quality
}

// AppendScan appends the line of scan i of a block, with its newline. A scan
// of a group without channels has no line.
func (e *Encoder) AppendScan(dst []byte, b *acquisition.Block, i int, s *Scratch) []byte {
	n := len(e.value)
	if n == 0 {
		return dst
	}
	if cap(s.values) < n {
		s.values, s.quality = make([]float64, n), make([]acquisition.Quality, n)
	}
	values, quality := s.values[:n], s.quality[:n]
	e.decoder.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
	dst = append(dst, e.head...)
	separator := byte(' ')
	for c, v := range values {
		q := quality[c]
		if q == acquisition.Good {
			if v-v == 0 { // finite
				dst = append(dst, separator)
				dst = append(dst, e.value[c]...)
				dst = appendFloat(dst, v)
				separator = ','
				continue
			}
			q = acquisition.Quality(acquisition.ReasonNaN)
		}
		if q.Class() != acquisition.ClassBad && v-v == 0 {
			dst = append(dst, separator)
			dst = append(dst, e.value[c]...)
			dst = appendFloat(dst, v)
			separator = ','
		}
		dst = append(dst, separator)
		dst = append(dst, e.quality[c]...)
		dst = e.appendReason(dst, q)
		separator = ','
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, b.Times[i], 10)
	return append(dst, '\n')
}

func (e *Encoder) appendReason(dst []byte, q acquisition.Quality) []byte {
	if int(q) < len(e.reasons) {
		return append(dst, e.reasons[q]...)
	}
	return append(append(dst, q.String()...), '"')
}

// AppendGap appends the line of gap i of a block: fields from_slot, to_slot
// (not included), count, reason, and start and end in Unix nanoseconds; the
// line's time is the start.
func (e *Encoder) AppendGap(dst []byte, b *acquisition.Block, i int) []byte {
	g := b.Gaps[i]
	start, end := gapTimes(b, g)
	at := start
	for j := range i { // two gaps of one instant must not overwrite each other
		if s, _ := gapTimes(b, b.Gaps[j]); s == start {
			at++
		}
	}
	dst = append(dst, e.gapHead...)
	dst = append(dst, " count="...)
	dst = strconv.AppendUint(dst, g.Count(), 10)
	dst = append(dst, "i,end="...)
	dst = strconv.AppendInt(dst, end, 10)
	dst = append(dst, "i,from_slot="...)
	dst = strconv.AppendUint(dst, g.From, 10)
	dst = append(dst, `i,reason="`...)
	dst = e.appendReason(dst, acquisition.Quality(g.Reason))
	dst = append(dst, ",start="...)
	dst = strconv.AppendInt(dst, start, 10)
	dst = append(dst, "i,to_slot="...)
	dst = strconv.AppendUint(dst, g.To, 10)
	dst = append(dst, "i "...)
	dst = strconv.AppendInt(dst, at, 10)
	return append(dst, '\n')
}

// gapTimes returns when the slots of a gap were due. The slots of a schedule
// count from the Unix epoch; the numbers of a device are placed by the scans
// beside them, else by the opening of the epoch.
func gapTimes(b *acquisition.Block, g acquisition.Gap) (start, end int64) {
	period := int64(b.Group.Period)
	if b.Group.Completeness == acquisition.BySchedule {
		return b.Group.Due(0, g.From), b.Group.Due(0, g.To)
	}
	length := int64(g.Count()) * period
	next, _ := slices.BinarySearch(b.Slots, g.From)
	switch {
	case next > 0:
		start = b.Times[next-1] + int64(g.From-b.Slots[next-1])*period
	case next < len(b.Slots):
		start = b.Times[next] - int64(b.Slots[next]-g.From)*period
	default:
		start = int64(b.Epoch) + int64(g.From)*period
	}
	return start, start + length
}

// appendHead appends measurement and tags, sorted, without empty tags.
func appendHead(dst []byte, measurement string, tags map[string]string) []byte {
	dst = appendEscaped(dst, clean(measurement), ", ")
	keys := make([]string, 0, len(tags))
	for k, v := range tags {
		if k != "" && v != "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		dst = append(dst, ',')
		dst = appendKey(dst, k)
		dst = append(dst, '=')
		dst = appendKey(dst, tags[k])
	}
	return dst
}

// appendKey appends a tag key, tag value or field key.
func appendKey(dst []byte, s string) []byte { return appendEscaped(dst, clean(s), ",= ") }

func appendEscaped(dst []byte, s, special string) []byte {
	for i := range len(s) {
		if strings.IndexByte(special, s[i]) >= 0 {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// clean replaces what no name can carry in line protocol: control characters,
// bytes that are not UTF-8, a backslash at the end and nothing at all. Without
// it a name could end a line and begin another.
func clean(s string) string {
	ok := s != "" && utf8.ValidString(s) && s[len(s)-1] != '\\'
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] >= ' ' && s[i] != 0x7f
	}
	if ok {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if s == "" || s[len(s)-1] == '\\' {
		s += "_"
	}
	return s
}

// appendString appends a quoted string field. Line breaks become two
// characters, so that a line stays a line.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendFloat appends the shortest text that reads back as exactly v, as
// strconv does with format g. Whole numbers and numbers of up to three decimals,
// which is most of what registers hold, take a path three times as fast: a
// decimal of at most 15 digits that reads back as v is the shortest one.
func appendFloat(dst []byte, v float64) []byte {
	if v > -1e6 && v < 1e6 {
		n := int64(v)
		if float64(n) == v {
			if n == 0 && math.Signbit(v) {
				dst = append(dst, '-')
			}
			return strconv.AppendInt(dst, n, 10)
		}
		m := v * 1000
		if m < 0 {
			m = -m
		}
		k := int64(m + 0.5)
		if k >= 1 && float64(k)/1000 == math.Abs(v) {
			if v < 0 {
				dst = append(dst, '-')
			}
			dst = strconv.AppendInt(dst, k/1000, 10)
			f := k % 1000
			dst = append(dst, '.', byte('0'+f/100))
			if f %= 100; f != 0 {
				dst = append(dst, byte('0'+f/10))
				if f %= 10; f != 0 {
					dst = append(dst, byte('0'+f))
				}
			}
			return dst
		}
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}
