package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"pneudaq/acquisition"
)

// layout is the version of a chunk's payload that this program writes.
const layout = 1

// maxSection bounds what a damaged length can make us allocate.
const maxSection = 1 << 28

// Flags of a block inside a chunk.
const (
	blockBackfill = 1 << iota
	blockArrivals
	blockQuality
)

var errPayload = errors.New("the payload of a chunk does not follow its layout")

func newEncoder() (*zstd.Encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<18))
	if err != nil {
		return nil, fmt.Errorf("start encoder: %w", err)
	}
	return z, nil
}

func newDecoder() (*zstd.Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSection), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("start decoder: %w", err)
	}
	return z, nil
}

// encoder turns blocks into the payload of a chunk. It keeps its buffers and
// belongs to one goroutine.
type encoder struct {
	z      *zstd.Encoder
	dir    []byte
	body   []byte
	raw    []byte
	blocks []*acquisition.Block
	scans  int
}

// section closes the section that was gathered in raw.
func (e *encoder) section() {
	at := len(e.body)
	// Below this size the frame of the compressor costs more than it saves.
	const least = 48
	if len(e.raw) >= least {
		e.body = e.z.EncodeAll(e.raw, e.body)
	}
	if len(e.body) == at || len(e.body)-at >= len(e.raw) {
		e.body = append(e.body[:at], e.raw...)
	}
	e.dir = binary.AppendUvarint(e.dir, uint64(len(e.raw)))
	e.dir = binary.AppendUvarint(e.dir, uint64(len(e.body)-at))
	e.raw = e.raw[:0]
}

// append encodes blocks of one group and one epoch to the end of dst. stripe
// is how many columns share a section: all of them in small chunks, one in
// large ones, so that a reader of one channel decodes one column.
func (e *encoder) append(dst []byte, blocks []*acquisition.Block, stripe int) ([]byte, error) {
	g := blocks[0].Group
	e.scans = 0
	for _, b := range blocks {
		n := b.Len()
		if len(b.Times) != n || len(b.Words) != n*g.Words || len(b.Numbers) != n*g.Numbers || len(b.Exchanges) != n*g.Exchanges ||
			(b.Quality != nil && len(b.Quality) != n*len(g.Channels)) || (b.Arrivals != nil && len(b.Arrivals) != n) {
			return dst, fmt.Errorf("encode block of group %s: its columns do not have the length of its %d scans", g.Key(), n)
		}
		e.scans += n
	}
	e.blocks, e.dir, e.body, e.raw = blocks, e.dir[:0], e.body[:0], e.raw[:0]
	e.meta()
	e.section()
	e.exchanges(g)
	e.section()
	e.quality(g)
	e.section()
	sections := 3
	for c := 0; c < g.Words && e.scans > 0; c += stripe {
		for k := c; k < min(c+stripe, g.Words); k++ {
			e.words(k, g.Words)
		}
		e.section()
		sections++
	}
	for c := 0; c < g.Numbers && e.scans > 0; c += stripe {
		for k := c; k < min(c+stripe, g.Numbers); k++ {
			e.numbers(k, g.Numbers)
		}
		e.section()
		sections++
	}
	dst = append(dst, layout)
	dst = binary.AppendUvarint(dst, uint64(stripe))
	dst = binary.AppendUvarint(dst, uint64(sections))
	dst = append(dst, e.dir...)
	dst = append(dst, e.body...)
	e.blocks = nil
	return dst, nil
}

func (e *encoder) meta() {
	raw := binary.AppendUvarint(e.raw, uint64(len(e.blocks)))
	at := uint64(0)
	for _, b := range e.blocks {
		flags := byte(0)
		if b.Backfill {
			flags |= blockBackfill
		}
		if b.Arrivals != nil {
			flags |= blockArrivals
		}
		if b.Quality != nil {
			flags |= blockQuality
		}
		raw = binary.AppendUvarint(raw, uint64(b.Len()))
		raw = append(raw, flags)
		raw = binary.AppendUvarint(raw, uint64(len(b.Gaps)))
		for _, x := range b.Gaps {
			raw = binary.AppendVarint(raw, int64(x.From-at))
			raw = binary.AppendUvarint(raw, x.To-x.From)
			raw = append(raw, byte(x.Reason))
			at = x.To
		}
		raw = binary.AppendUvarint(raw, uint64(len(b.Marks)))
		for _, m := range b.Marks {
			raw = binary.AppendUvarint(raw, uint64(len(m)))
			raw = append(raw, m...)
		}
	}
	var v, d uint64
	for _, b := range e.blocks {
		for _, s := range b.Slots {
			raw = binary.AppendVarint(raw, int64(s-v-d))
			v, d = s, s-v
		}
	}
	v, d = 0, 0
	for _, b := range e.blocks {
		for _, t := range b.Times {
			raw = binary.AppendVarint(raw, int64(uint64(t)-v-d))
			v, d = uint64(t), uint64(t)-v
		}
	}
	v = 0
	for _, b := range e.blocks {
		for i, t := range b.Arrivals {
			late := uint64(t - b.Times[i])
			raw = binary.AppendVarint(raw, int64(late-v))
			v = late
		}
	}
	e.raw = raw
}

func (e *encoder) exchanges(g *acquisition.Group) {
	raw := e.raw
	for x := range g.Exchanges {
		var v int64
		for _, b := range e.blocks {
			for i := x; i < len(b.Exchanges); i += g.Exchanges {
				raw = binary.AppendVarint(raw, b.Exchanges[i].Offset-v)
				v = b.Exchanges[i].Offset
			}
		}
		v = 0
		for _, b := range e.blocks {
			for i := x; i < len(b.Exchanges); i += g.Exchanges {
				raw = binary.AppendVarint(raw, b.Exchanges[i].HalfWidth-v)
				v = b.Exchanges[i].HalfWidth
			}
		}
	}
	e.raw = raw
}

func (e *encoder) quality(g *acquisition.Group) {
	some := false
	for _, b := range e.blocks {
		some = some || b.Quality != nil
	}
	if !some {
		return
	}
	raw := e.raw
	n := uint64(0)
	last := acquisition.Good
	channels := len(g.Channels)
	for c := range channels {
		for _, b := range e.blocks {
			for i := c; i < len(b.Quality); i += channels {
				if q := b.Quality[i]; q != last {
					if n > 0 {
						raw = binary.AppendUvarint(raw, n)
						raw = append(raw, byte(last))
					}
					n, last = 0, q
				}
				n++
			}
		}
	}
	if n > 0 {
		raw = binary.AppendUvarint(raw, n)
		raw = append(raw, byte(last))
	}
	e.raw = raw
}

// grow returns n more bytes at the end of raw.
func (e *encoder) grow(n int) []byte {
	at := len(e.raw)
	if cap(e.raw) < at+n {
		bigger := make([]byte, at, 2*(at+n))
		copy(bigger, e.raw)
		e.raw = bigger
	}
	e.raw = e.raw[:at+n]
	return e.raw[at:]
}

// words appends one register's column: the zigzag of its differences, the low
// bytes and then the high ones.
func (e *encoder) words(c, width int) {
	n := e.scans
	p := e.grow(2 * n)
	lo, hi := p[:n], p[n:2*n]
	i, last := 0, uint16(0)
	for _, b := range e.blocks {
		w := b.Words
		for j := c; j < len(w); j += width {
			v := w[j]
			d := v - last
			z := d<<1 ^ uint16(int16(d)>>15)
			lo[i], hi[i] = byte(z), byte(z>>8)
			last = v
			i++
		}
	}
}

// numbers appends one column of numbers: the bits XOR those before, in eight
// planes of bytes.
func (e *encoder) numbers(c, width int) {
	n := e.scans
	p := e.grow(8 * n)
	i, last := 0, uint64(0)
	for _, b := range e.blocks {
		for j := c; j < len(b.Numbers); j += width {
			v := math.Float64bits(b.Numbers[j])
			x := v ^ last
			last = v
			for k := range 8 {
				p[k*n+i] = byte(x >> (8 * k))
			}
			i++
		}
	}
}

// chunk is a decoded or partly decoded payload.
type chunk struct {
	z        *zstd.Decoder
	g        *acquisition.Group
	stripe   int
	sections []section
	blocks   []acquisition.Block
	scans    int
	slots    []uint64
	times    []int64
	buf      []byte
}

type section struct {
	raw    int
	stored []byte
}

// open reads the directory of a payload.
func (c *chunk) open(payload []byte) error {
	if len(payload) == 0 {
		return errPayload
	}
	if payload[0] > layout {
		return fmt.Errorf("read chunk: its layout %d is newer than this program knows (%d); use a newer version", payload[0], layout)
	}
	r := reader{b: payload[1:]}
	c.stripe = r.count(math.MaxInt32)
	n := r.count(len(payload))
	if r.bad || payload[0] == 0 || n < 3 || c.stripe == 0 {
		return errPayload
	}
	c.sections = make([]section, n)
	stored := make([]int, n)
	for i := range c.sections {
		c.sections[i].raw = r.count(maxSection)
		stored[i] = r.count(len(payload))
	}
	for i := range c.sections {
		c.sections[i].stored = r.bytes(stored[i])
	}
	if r.bad || len(r.b) != 0 {
		return errPayload
	}
	return nil
}

// section returns the bytes of a section, valid until the next call.
func (c *chunk) section(i int) ([]byte, error) {
	s := c.sections[i]
	if len(s.stored) == s.raw {
		return s.stored, nil
	}
	if s.raw < len(s.stored) {
		return nil, errPayload
	}
	var err error
	if cap(c.buf) < s.raw && s.raw < 64*len(s.stored)+1<<16 {
		c.buf = make([]byte, 0, s.raw)
	}
	c.buf, err = c.z.DecodeAll(s.stored, c.buf[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress chunk: %w", err)
	}
	if len(c.buf) != s.raw {
		return nil, errPayload
	}
	return c.buf, nil
}

// meta decodes what a chunk says about its blocks, slots and times.
func (c *chunk) meta(wantBlocks, wantScans int) error {
	raw, err := c.section(0)
	if err != nil {
		return err
	}
	r := reader{b: raw}
	n := r.count(len(raw))
	if r.bad || n != wantBlocks || wantScans > len(raw) {
		return errPayload
	}
	c.blocks = make([]acquisition.Block, n)
	flags := make([]byte, n)
	ends := make([]int, n)
	at := uint64(0)
	arrivals, quality := 0, 0
	for i := range c.blocks {
		b := &c.blocks[i]
		scans := r.count(wantScans - c.scans)
		flags[i] = r.byte()
		b.Backfill = flags[i]&blockBackfill != 0
		if gaps := r.count(len(raw)); gaps > 0 && gaps <= len(r.b) {
			b.Gaps = make([]acquisition.Gap, gaps)
			for k := range b.Gaps {
				from := at + uint64(r.varint())
				at = from + r.uvarint()
				b.Gaps[k] = acquisition.Gap{From: from, To: at, Reason: acquisition.Reason(r.byte())}
			}
		} else if gaps > 0 {
			return errPayload
		}
		if marks := r.count(len(raw)); marks > 0 && marks <= len(r.b) {
			b.Marks = make([][]byte, marks)
			for k := range b.Marks {
				b.Marks[k] = append([]byte(nil), r.bytes(r.count(len(raw)))...)
			}
		} else if marks > 0 {
			return errPayload
		}
		c.scans += scans
		ends[i] = c.scans
		if flags[i]&blockArrivals != 0 {
			arrivals += scans
		}
		if flags[i]&blockQuality != 0 {
			quality += scans
		}
	}
	if r.bad || c.scans != wantScans {
		return errPayload
	}
	c.slots, c.times = make([]uint64, c.scans), make([]int64, c.scans)
	var v, d uint64
	for i := range c.slots {
		d += uint64(r.varint())
		v += d
		c.slots[i] = v
	}
	v, d = 0, 0
	for i := range c.times {
		d += uint64(r.varint())
		v += d
		c.times[i] = int64(v)
	}
	late := make([]int64, arrivals)
	v = 0
	for i := range late {
		v += uint64(r.varint())
		late[i] = int64(v)
	}
	var all []acquisition.Quality
	if quality > 0 {
		all = make([]acquisition.Quality, quality*len(c.g.Channels))
	}
	from := 0
	for i := range c.blocks {
		b := &c.blocks[i]
		to := ends[i]
		n := to - from
		b.Group = c.g
		b.Slots, b.Times = c.slots[from:to:to], c.times[from:to:to]
		if flags[i]&blockArrivals != 0 {
			b.Arrivals, late = late[:n:n], late[n:]
			for k := range b.Arrivals {
				b.Arrivals[k] += b.Times[k]
			}
		}
		if flags[i]&blockQuality != 0 {
			k := n * len(c.g.Channels)
			b.Quality, all = all[:k:k], all[k:]
		}
		from = to
	}
	if r.bad || len(r.b) != 0 {
		return errPayload
	}
	return c.quality()
}

func (c *chunk) quality() error {
	raw, err := c.section(2)
	if err != nil {
		return err
	}
	r := reader{b: raw}
	channels := len(c.g.Channels)
	n, q := 0, acquisition.Good
	for ch := range channels {
		for k := range c.blocks {
			b := &c.blocks[k]
			for i := ch; i < len(b.Quality); i += channels {
				if n == 0 {
					n = r.count(math.MaxInt32)
					q = acquisition.Quality(r.byte())
					if r.bad || n == 0 {
						return errPayload
					}
				}
				b.Quality[i] = q
				n--
			}
		}
	}
	if n != 0 || len(r.b) != 0 {
		return errPayload
	}
	return nil
}

func (c *chunk) exchanges() error {
	n := c.g.Exchanges
	if n == 0 || c.scans == 0 {
		return nil
	}
	raw, err := c.section(1)
	if err != nil {
		return err
	}
	if len(raw) < 2*n*c.scans {
		return errPayload
	}
	all := make([]acquisition.Exchange, n*c.scans)
	r := reader{b: raw}
	for x := range n {
		v := int64(0)
		for i := x; i < len(all); i += n {
			v += r.varint()
			all[i].Offset = v
		}
		v = 0
		for i := x; i < len(all); i += n {
			v += r.varint()
			all[i].HalfWidth = v
		}
	}
	if r.bad || len(r.b) != 0 {
		return errPayload
	}
	for i := range c.blocks {
		b := &c.blocks[i]
		k := n * b.Len()
		b.Exchanges, all = all[:k:k], all[k:]
	}
	return nil
}

// sectionOf returns the section of a column and its place there.
func (c *chunk) sectionOf(first, column int) (i, at int, err error) {
	i = first + column/c.stripe
	if i >= len(c.sections) {
		return 0, 0, errPayload
	}
	return i, column % c.stripe, nil
}

func (c *chunk) wordSections() int {
	if c.g.Words == 0 || c.scans == 0 {
		return 0
	}
	return (c.g.Words + c.stripe - 1) / c.stripe
}

// words decodes all columns of registers.
func (c *chunk) words() error {
	w := c.g.Words
	if w == 0 || c.scans == 0 {
		return nil
	}
	n := c.scans
	var all []uint16
	for first := 0; first < w; first += c.stripe {
		i, _, err := c.sectionOf(3, first)
		if err != nil {
			return err
		}
		raw, err := c.section(i)
		if err != nil {
			return err
		}
		columns := min(c.stripe, w-first)
		if len(raw) != 2*n*columns {
			return errPayload
		}
		if all == nil {
			all = make([]uint16, w*n)
		}
		for k := range columns {
			wordColumn(raw[2*n*k:2*n*(k+1)], all[first+k:], w)
		}
	}
	for i := range c.blocks {
		b := &c.blocks[i]
		k := w * b.Len()
		b.Words, all = all[:k:k], all[k:]
	}
	return nil
}

// wordColumn decodes one column into every width-th place of out.
func wordColumn(raw []byte, out []uint16, width int) {
	n := len(raw) / 2
	lo, hi := raw[:n], raw[n:2*n]
	v := uint16(0)
	at := 0
	for i := range lo {
		z := uint16(lo[i]) | uint16(hi[i])<<8
		v += z>>1 ^ -(z & 1)
		out[at] = v
		at += width
	}
}

// numberColumn decodes one column into every width-th place of out.
func numberColumn(raw []byte, out []float64, width int) {
	n := len(raw) / 8
	v := uint64(0)
	at := 0
	for i := range n {
		x := uint64(raw[i]) | uint64(raw[n+i])<<8 | uint64(raw[2*n+i])<<16 | uint64(raw[3*n+i])<<24 |
			uint64(raw[4*n+i])<<32 | uint64(raw[5*n+i])<<40 | uint64(raw[6*n+i])<<48 | uint64(raw[7*n+i])<<56
		v ^= x
		out[at] = math.Float64frombits(v)
		at += width
	}
}

func (c *chunk) numbers() error {
	w := c.g.Numbers
	if w == 0 || c.scans == 0 {
		return nil
	}
	n := c.scans
	var all []float64
	for first := 0; first < w; first += c.stripe {
		i, _, err := c.sectionOf(3+c.wordSections(), first)
		if err != nil {
			return err
		}
		raw, err := c.section(i)
		if err != nil {
			return err
		}
		columns := min(c.stripe, w-first)
		if len(raw) != 8*n*columns {
			return errPayload
		}
		if all == nil {
			all = make([]float64, w*n)
		}
		for k := range columns {
			numberColumn(raw[8*n*k:8*n*(k+1)], all[first+k:], w)
		}
	}
	for i := range c.blocks {
		b := &c.blocks[i]
		k := w * b.Len()
		b.Numbers, all = all[:k:k], all[k:]
	}
	return nil
}

// decodeChunk returns the blocks of a payload, without numbers of their own:
// the first has the sequence number of the frame, the others follow.
func decodeChunk(z *zstd.Decoder, g *acquisition.Group, h *header, payload []byte) ([]acquisition.Block, error) {
	c := chunk{z: z, g: g}
	if err := c.open(payload); err != nil {
		return nil, err
	}
	if err := c.meta(int(h.blocks), int(h.scans)); err != nil {
		return nil, err
	}
	if err := c.exchanges(); err != nil {
		return nil, err
	}
	if err := c.words(); err != nil {
		return nil, err
	}
	if err := c.numbers(); err != nil {
		return nil, err
	}
	for i := range c.blocks {
		c.blocks[i].Seq = h.seq + uint64(i)
		c.blocks[i].Epoch = acquisition.EpochID(h.epoch)
	}
	return c.blocks, nil
}

// reader reads variable-length numbers and remembers that one did not fit.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number that must not be above limit.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(max(0, limit)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
