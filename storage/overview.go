package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"pneudaq/acquisition"
)

// overviewEntry is where the overview rows of one group lie in a file.
type overviewEntry struct {
	group    uint64 // the descriptor by which the rows were decoded
	off      int64
	length   uint32
	from, to int64
	seq      uint64
	blocks   uint32
}

// Row summarises the usable samples (good and uncertain) of one channel in an
// interval that begins at Time, Unix ns.
type Row struct {
	Time  int64   `json:"time"`
	Count uint32  `json:"count"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Mean  float64 `json:"mean"`
}

func (r *Row) add(o Row) {
	if r.Count == 0 {
		t := r.Time
		*r = o
		r.Time = t
		return
	}
	n := r.Count + o.Count
	r.Mean += (o.Mean - r.Mean) * float64(o.Count) / float64(n)
	r.Min, r.Max, r.Count = min(r.Min, o.Min), max(r.Max, o.Max), n
}

// overviewWidth is the interval of a group's overview rows: the shortest that
// holds some 200 scans, a minute at most. Groups that are so slow that a minute
// holds few have none: reading their samples costs as little.
func overviewWidth(g *acquisition.Group) int64 {
	const scans = 200
	if g.Period > 15*time.Second || g.Completeness == acquisition.ByNothing {
		return 0
	}
	for _, w := range []time.Duration{time.Second, 10 * time.Second} {
		if g.Period > 0 && w/g.Period >= scans {
			return int64(w)
		}
	}
	return int64(time.Minute)
}

// summary gathers overview rows of one group version.
type summary struct {
	g       *acquisition.Group
	decoder *acquisition.Decoder
	width   int64
	to      int // which file
	seq     uint64
	blocks  uint64
	rows    [][]Row // per channel
	values  []float64
	quality []acquisition.Quality
}

// summarise adds a block to the rows of its file.
func (g *gathering) summarise(b *acquisition.Block) error {
	v := *b
	g.s.amendedGroup(&v)
	if m := g.summary; m != nil && (m.g != v.Group || m.to != g.to || m.seq+m.blocks != b.Seq) {
		if err := g.endSummary(); err != nil {
			return err
		}
	}
	if g.summary == nil {
		m := &summary{g: v.Group, width: overviewWidth(v.Group), to: g.to, seq: b.Seq}
		if m.width != 0 {
			d, err := acquisition.NewDecoder(v.Group, g.s.o.Compile)
			if err != nil {
				// Without a compiler for its derived channels a group is read from its samples.
				m.width = 0
			}
			m.decoder = d
			m.rows = make([][]Row, len(v.Group.Channels))
			m.values = make([]float64, len(v.Group.Channels))
			m.quality = make([]acquisition.Quality, len(v.Group.Channels))
		}
		g.summary = m
	}
	m := g.summary
	m.blocks++
	if m.width == 0 {
		return nil
	}
	for i, t := range v.Times {
		m.decoder.Decode(v.ScanWords(i), v.ScanNumbers(i), v.ScanQuality(i), m.values, m.quality)
		at := floor(t, m.width)
		for c, x := range m.values {
			if m.quality[c].Class() == acquisition.ClassBad {
				continue
			}
			rows := m.rows[c]
			n := len(rows)
			if n == 0 || rows[n-1].Time != at {
				// Late data open a row of their own; readers join rows of one time.
				rows = append(rows, Row{Time: at})
				n++
			}
			rows[n-1].add(Row{Count: 1, Min: x, Max: x, Mean: x})
			m.rows[c] = rows
		}
	}
	return nil
}

func floor(t, width int64) int64 {
	r := t % width
	if r < 0 {
		r += width
	}
	return t - r
}

func (g *gathering) endSummary() error {
	m := g.summary
	g.summary = nil
	if m == nil || m.width == 0 || m.blocks == 0 {
		return nil
	}
	w := g.outs[m.to]
	id, err := w.introduce(m.g)
	if err != nil {
		return err
	}
	h := header{kind: kindOverview, group: id, seq: m.seq, blocks: uint32(m.blocks)}
	for _, rows := range m.rows {
		for _, r := range rows {
			if h.from == 0 || r.Time < h.from {
				h.from = r.Time
			}
			h.to = max(h.to, r.Time+m.width-1)
		}
	}
	if h.from == 0 {
		return nil
	}
	off, at := w.off+int64(len(w.buf)), len(w.buf)
	w.buf, err = appendFrame(w.buf, h, func(dst []byte) ([]byte, error) { return appendRows(dst, g.s.tidyEnc.z, m.width, m.rows), nil })
	if err != nil {
		return err
	}
	w.rows = append(w.rows, overviewEntry{
		group: id, off: off, length: uint32(len(w.buf) - at - headerSize), from: h.from, to: h.to, seq: m.seq, blocks: h.blocks,
	})
	w.file.rows = w.rows
	return w.write(false)
}

// appendRows encodes overview rows: a section for each channel.
func appendRows(dst []byte, z *zstd.Encoder, width int64, channels [][]Row) []byte {
	dst = append(dst, layout)
	dst = binary.AppendUvarint(dst, uint64(width))
	dst = binary.AppendUvarint(dst, uint64(len(channels)))
	var body, raw []byte
	for _, rows := range channels {
		raw = binary.AppendUvarint(raw[:0], uint64(len(rows)))
		last := int64(0)
		for _, r := range rows {
			raw = binary.AppendVarint(raw, r.Time/width-last)
			last = r.Time / width
			raw = binary.AppendUvarint(raw, uint64(r.Count))
		}
		for _, pick := range []func(*Row) float64{func(r *Row) float64 { return r.Min }, func(r *Row) float64 { return r.Max }, func(r *Row) float64 { return r.Mean }} {
			n, at := len(rows), len(raw)
			raw = append(raw, make([]byte, 8*n)...)
			p, prev := raw[at:], uint64(0)
			for i := range rows {
				v := math.Float64bits(pick(&rows[i]))
				x := v ^ prev
				prev = v
				for k := range 8 {
					p[k*n+i] = byte(x >> (8 * k))
				}
			}
		}
		at := len(body)
		body = z.EncodeAll(raw, body)
		dst = binary.AppendUvarint(dst, uint64(len(raw)))
		dst = binary.AppendUvarint(dst, uint64(len(body)-at))
	}
	return append(dst, body...)
}

var errRows = errors.New("the overview rows do not follow their layout")

// readRows decodes the rows of some channels and calls visit for each row.
func readRows(z *zstd.Decoder, payload []byte, want []int, visit func(channel int, r Row)) error {
	if len(payload) == 0 || payload[0] != layout {
		return errRows
	}
	r := reader{b: payload[1:]}
	width := int64(r.uvarint())
	n := r.count(len(payload))
	if r.bad || width <= 0 {
		return errRows
	}
	sizes := make([][2]int, n)
	for i := range sizes {
		sizes[i] = [2]int{r.count(maxSection), r.count(len(payload))}
	}
	var buf []byte
	for i := range sizes {
		stored := r.bytes(sizes[i][1])
		if r.bad {
			return errRows
		}
		if !slices.Contains(want, i) {
			continue
		}
		var err error
		if buf, err = z.DecodeAll(stored, buf[:0]); err != nil || len(buf) != sizes[i][0] {
			return errRows
		}
		q := reader{b: buf}
		rows := make([]Row, q.count(len(buf)/26+1))
		at := int64(0)
		for k := range rows {
			at += q.varint()
			rows[k].Time = at * width
			rows[k].Count = uint32(q.uvarint())
		}
		if q.bad || len(q.b) != 24*len(rows) {
			return errRows
		}
		m := len(rows)
		values := make([]float64, m)
		numberColumn(q.b[:8*m], values, 1)
		for k := range rows {
			rows[k].Min = values[k]
		}
		numberColumn(q.b[8*m:16*m], values, 1)
		for k := range rows {
			rows[k].Max = values[k]
		}
		numberColumn(q.b[16*m:], values, 1)
		for k := range rows {
			rows[k].Mean = values[k]
			visit(i, rows[k])
		}
	}
	return nil
}

// OverviewQuery says which channels of a group are wanted over which interval.
type OverviewQuery struct {
	Group     acquisition.GroupKey
	Channels  []string // names; none: all that the newest version has
	From      int64    // Unix ns, included
	To        int64    // Unix ns, not included
	MaxPoints int      // rows of a channel; 0: every sample
}

// Series is one channel over an interval.
type Series struct {
	Channel string `json:"channel"`
	Unit    string `json:"unit,omitempty"`
	Width   int64  `json:"width"` // ns of a row's interval; 0: the rows are samples
	Rows    []Row  `json:"rows"`
}

// Overview reads channels over an interval with at most MaxPoints rows each,
// minimum and maximum kept. Intervals of sealed files are answered from their
// overview rows where those are fine enough, so that a day reads no samples.
// Bad samples do not count. Intervals without usable samples have no row.
func (s *Store) Overview(ctx context.Context, q OverviewQuery) ([]Series, error) {
	if q.From >= q.To {
		return nil, fmt.Errorf("overview of group %s: the interval is empty", q.Group)
	}
	s.mu.RLock()
	st := s.groups[q.Group]
	if st == nil || st.current == nil {
		s.mu.RUnlock()
		return nil, fmt.Errorf("overview: there is no group %s", q.Group)
	}
	current := st.current
	s.mu.RUnlock()
	names := q.Channels
	if len(names) == 0 {
		for i := range current.Channels {
			names = append(names, current.Channels[i].Name)
		}
	}
	out := make([]Series, len(names))
	for i, n := range names {
		out[i].Channel = n
		if c := current.Channel(n); c >= 0 {
			out[i].Unit = current.Channels[c].Unit
		}
	}
	chunks, release, err := s.snapshot(Query{Group: q.Group, From: q.From, To: q.To})
	if err != nil {
		return nil, fmt.Errorf("overview of group %s: %w", q.Group, err)
	}
	defer release()
	width := int64(0)
	if q.MaxPoints > 0 {
		if s.expected(chunks, q) > float64(q.MaxPoints) {
			width = max(1, (q.To-q.From+int64(q.MaxPoints)-1)/int64(q.MaxPoints))
		}
	}
	b := &building{q: q, width: width, names: names, out: out, last: make([]map[int64]int, len(names))}
	if width == 0 {
		err = s.samples(ctx, chunks, b)
	} else {
		for i := range out {
			out[i].Width = width
			b.last[i] = map[int64]int{}
		}
		rest, rerr := s.fromRows(ctx, chunks, b)
		err = rerr
		if err == nil {
			err = s.samples(ctx, rest, b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("overview of group %s: %w", q.Group, err)
	}
	for i := range out {
		slices.SortStableFunc(out[i].Rows, func(a, c Row) int { return cmp.Compare(a.Time, c.Time) })
	}
	return out, nil
}

// expected estimates how many scans of a group lie in an interval.
func (s *Store) expected(chunks []entry, q OverviewQuery) float64 {
	n := 0.0
	for i := range chunks {
		e := &chunks[i]
		share := 1.0
		if e.to > e.from {
			share = float64(min(e.to, q.To)-max(e.from, q.From)) / float64(e.to-e.from)
		}
		n += share * float64(e.scans)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.files {
		for _, r := range f.rows {
			if g := s.descriptors[r.group]; f.trend && g != nil && g.Key() == q.Group && r.from < q.To && r.to >= q.From {
				return math.Inf(1) // there are rows and no samples any more
			}
		}
	}
	return n
}

// building gathers the answer to a query.
type building struct {
	q     OverviewQuery
	width int64
	names []string
	out   []Series
	last  []map[int64]int // per channel: row of an interval
}

func (b *building) add(i int, r Row) {
	if b.width == 0 {
		b.out[i].Rows = append(b.out[i].Rows, r)
		return
	}
	n := (r.Time - b.q.From) / b.width
	k, ok := b.last[i][n]
	if !ok {
		k = len(b.out[i].Rows)
		b.last[i][n] = k
		b.out[i].Rows = append(b.out[i].Rows, Row{Time: b.q.From + n*b.width})
	}
	b.out[i].Rows[k].add(r)
}

// fromRows answers from overview rows what they can answer and returns the
// chunks that are left.
func (s *Store) fromRows(ctx context.Context, chunks []entry, b *building) ([]entry, error) {
	s.mu.RLock()
	files := slices.Clone(s.files)
	s.mu.RUnlock()
	type span struct{ from, to uint64 }
	var done []span
	covered := func(from, to uint64) bool {
		return slices.ContainsFunc(done, func(x span) bool { return x.from <= from && to <= x.to })
	}
	for _, f := range files {
		for _, r := range f.rows {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s.mu.RLock()
			g := s.descriptors[r.group]
			s.mu.RUnlock()
			if g == nil || g.Key() != b.q.Group || r.from >= b.q.To || r.to < b.q.From || covered(r.seq, r.seq+uint64(r.blocks)) {
				continue
			}
			w := overviewWidth(g)
			inside := r.from >= b.q.From && r.to < b.q.To
			// Rows at the edge of the interval would count samples outside it, so
			// they serve only where a row is short against what was asked for.
			if w == 0 || w > b.width || !inside && b.width < 4*w || !s.decodedBy(g, r.seq, uint64(r.blocks)) {
				continue
			}
			if err := s.addRows(f, &r, g, b); err != nil {
				s.log.Debug("overview rows are not readable; samples are read", "error", err.Error()) //nolint:sloglint // short
				continue
			}
			done = append(done, span{r.seq, r.seq + uint64(r.blocks)})
		}
	}
	var rest []entry
	for i := range chunks {
		if !covered(chunks[i].seq, chunks[i].end()) {
			rest = append(rest, chunks[i])
		}
	}
	return rest, nil
}

func (s *Store) addRows(f *file, r *overviewEntry, g *acquisition.Group, b *building) error {
	if err := f.pin(); err != nil {
		return err
	}
	defer func() { _ = f.release() }()
	payload, _, err := readFrame(f, r.off, r.length, nil)
	if err != nil {
		return err
	}
	var want, place []int
	for i, n := range b.names {
		if c := g.Channel(n); c >= 0 {
			want, place = append(want, c), append(place, i)
		}
	}
	type found struct {
		i int
		r Row
	}
	var rows []found
	err = readRows(s.z, payload, want, func(c int, x Row) {
		if x.Time >= b.q.From && x.Time < b.q.To {
			rows = append(rows, found{place[slices.Index(want, c)], x})
		}
	})
	if err != nil {
		return err
	}
	for _, x := range rows {
		b.add(x.i, x.r)
	}
	return nil
}

// decodedBy reports whether blocks are read by a group version today, that is
// whether no amendment came after rows were made.
func (s *Store) decodedBy(g *acquisition.Group, seq, blocks uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[g.Key()]
	for _, a := range slices.Backward(st.amended) {
		if a.Seqs.From < seq+blocks && seq < a.Seqs.To {
			return a.Version == g.Version && a.Seqs.From <= seq && seq+blocks <= a.Seqs.To
		}
	}
	return true
}

// samples reads the wanted channels from their samples, and only those columns.
func (s *Store) samples(ctx context.Context, chunks []entry, b *building) error {
	readers := map[*acquisition.Group]*channelReader{}
	var buf []byte
	for i := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &chunks[i]
		var payload []byte
		var err error
		payload, buf, err = readFrame(e.file, e.off, e.length, buf)
		if err != nil {
			s.unreadable(e, err)
			continue
		}
		if err := s.chunkSamples(e, payload, readers, b); errors.Is(err, errPayload) {
			s.unreadable(e, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) chunkSamples(e *entry, payload []byte, readers map[*acquisition.Group]*channelReader, b *building) error {
	c := chunk{z: s.z, g: e.g}
	if err := c.open(payload); err != nil {
		return err
	}
	if err := c.meta(int(e.blocks), int(e.scans)); err != nil {
		return err
	}
	if c.scans == 0 {
		return nil
	}
	row := 0
	for k := range c.blocks {
		block := c.blocks[k]
		block.Seq = e.seq + uint64(k)
		s.amendedGroup(&block)
		r := readers[block.Group]
		if r == nil {
			var err error
			if r, err = newChannelReader(block.Group, b.names, s.o.Compile); err != nil {
				return err
			}
			readers[block.Group] = r
		}
		if k == 0 || r.chunk != e.off || r.file != e.file {
			if err := r.load(&c); err != nil {
				return err
			}
			r.chunk, r.file = e.off, e.file
		}
		for i, t := range block.Times {
			if t >= b.q.From && t < b.q.To {
				r.decode(row+i, block.ScanQuality(i))
				for j, at := range r.place {
					if r.outQuality[j].Class() != acquisition.ClassBad && at >= 0 {
						v := r.values[j]
						b.add(at, Row{Time: t, Count: 1, Min: v, Max: v, Mean: v})
					}
				}
			}
		}
		row += block.Len()
	}
	return nil
}

// channelReader decodes some channels of a group and reads only their columns.
type channelReader struct {
	g          *acquisition.Group // with the wanted channels and their operands only
	decoder    *acquisition.Decoder
	from       []int // channel in the full group
	place      []int // wanted name, -1: an operand
	words      []int // columns
	numbers    []int
	chunk      int64
	file       *file
	w          []uint16
	n          []float64
	values     []float64
	inQuality  []acquisition.Quality
	outQuality []acquisition.Quality
}

func newChannelReader(g *acquisition.Group, names []string, compile acquisition.Compile) (*channelReader, error) {
	all := make([]string, len(g.Channels))
	for i := range g.Channels {
		all[i] = g.Channels[i].Name
	}
	need := map[int]bool{}
	var want func(c int) error
	want = func(c int) error {
		if need[c] {
			return nil
		}
		need[c] = true
		if d := &g.Channels[c].Decoding; d.Origin == acquisition.FromExpression {
			if compile == nil {
				return fmt.Errorf("channel %s is derived and no compiler of expressions is there", g.Channels[c].Name)
			}
			e, err := compile(d.Expression, all)
			if err != nil {
				return fmt.Errorf("channel %s: %w", g.Channels[c].Name, err)
			}
			for _, o := range e.Operands {
				if err := want(o); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, n := range names {
		if c := g.Channel(n); c >= 0 {
			if err := want(c); err != nil {
				return nil, err
			}
		}
	}
	part := *g
	part.Channels = nil
	r := &channelReader{}
	words, numbers := map[int]bool{}, map[int]bool{}
	for c := range g.Channels {
		if !need[c] {
			continue
		}
		ch := g.Channels[c]
		r.from = append(r.from, c)
		r.place = append(r.place, slices.Index(names, ch.Name))
		part.Channels = append(part.Channels, ch)
		switch ch.Decoding.Origin {
		case acquisition.FromWords:
			for k := range ch.Decoding.Type.Words() {
				words[ch.Decoding.At+k] = true
			}
			if ch.Decoding.Decimals > 0 {
				words[ch.Decoding.Decimals-1] = true
			}
		case acquisition.FromNumbers:
			numbers[ch.Decoding.At] = true
		case acquisition.FromExpression:
		}
	}
	for c := range words {
		r.words = append(r.words, c)
	}
	for c := range numbers {
		r.numbers = append(r.numbers, c)
	}
	slices.Sort(r.words)
	slices.Sort(r.numbers)
	r.g = &part
	var err error
	if r.decoder, err = acquisition.NewDecoder(&part, compile); err != nil {
		return nil, fmt.Errorf("read channels: %w", err)
	}
	n := len(part.Channels)
	r.values, r.inQuality, r.outQuality = make([]float64, n), make([]acquisition.Quality, n), make([]acquisition.Quality, n)
	return r, nil
}

// load decodes the needed columns of a chunk into rows that are empty elsewhere.
func (r *channelReader) load(c *chunk) error {
	n, w := c.scans, c.g.Words
	if len(r.words) > 0 {
		if cap(r.w) < n*w {
			r.w = make([]uint16, n*w)
		}
		r.w = r.w[:n*w]
		last, raw := -1, []byte(nil)
		for _, col := range r.words {
			i, at, err := c.sectionOf(3, col)
			if err != nil {
				return err
			}
			if i != last {
				if raw, err = c.section(i); err != nil {
					return err
				}
				last = i
			}
			if len(raw) < 2*n*(at+1) {
				return errPayload
			}
			wordColumn(raw[2*n*at:2*n*(at+1)], r.w[col:], w)
		}
	}
	m := c.g.Numbers
	if len(r.numbers) > 0 {
		if cap(r.n) < n*m {
			r.n = make([]float64, n*m)
		}
		r.n = r.n[:n*m]
		last, raw := -1, []byte(nil)
		for _, col := range r.numbers {
			i, at, err := c.sectionOf(3+c.wordSections(), col)
			if err != nil {
				return err
			}
			if i != last {
				if raw, err = c.section(i); err != nil {
					return err
				}
				last = i
			}
			if len(raw) < 8*n*(at+1) {
				return errPayload
			}
			numberColumn(raw[8*n*at:8*n*(at+1)], r.n[col:], m)
		}
	}
	return nil
}

func (r *channelReader) decode(row int, quality []acquisition.Quality) {
	in := []acquisition.Quality(nil)
	if quality != nil {
		in = r.inQuality
		for i, c := range r.from {
			in[i] = quality[c]
		}
	}
	var words []uint16
	var numbers []float64
	if len(r.words) > 0 {
		words = r.w[row*r.g.Words : (row+1)*r.g.Words]
	}
	if len(r.numbers) > 0 {
		numbers = r.n[row*r.g.Numbers : (row+1)*r.g.Numbers]
	}
	r.decoder.Decode(words, numbers, in, r.values, r.outQuality)
}
