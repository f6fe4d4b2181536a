package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"pneudaq/acquisition"
)

var errEncoding = errors.New("not valid UTF-8; set the device to UTF-8")

// numberDecoder decodes a bare number, possibly with its unit behind it.
type numberDecoder struct {
	columns []column
	mark    byte
}

func newNumberDecoder(p *partPlan) (*numberDecoder, error) {
	if len(p.columns) == 0 {
		return nil, errors.New("a topic of bare numbers has no channel")
	}
	return &numberDecoder{columns: p.columns, mark: decimalMark(p.payload)}, nil
}

func decimalMark(p Payload) byte {
	if p.DecimalComma {
		return ','
	}
	return '.'
}

func (d *numberDecoder) decode(_ string, payload []byte, _ int64, b *burst) error {
	s := bytes.TrimSpace(bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf")))
	for i := range d.columns {
		c := &d.columns[i]
		v, ok := word(s, d.mark, c.texts)
		if !ok {
			v, ok = withUnit(s, d.mark)
		}
		if !ok {
			return fmt.Errorf("%q is not a number", clip(s))
		}
		b.found++
		if err := b.put(0, c, v); err != nil {
			return err
		}
	}
	return nil
}

// withUnit reads a number with a unit behind it, such as "12.5 kPa" or "40%".
func withUnit(s []byte, mark byte) (float64, bool) {
	d, end, ok := scanDecimal(s, 0, mark)
	if !ok || !utf8.Valid(s) {
		return 0, false
	}
	rest := bytes.TrimSpace(s[end:])
	r, _ := utf8.DecodeRune(rest)
	const longest = 16
	if len(rest) > longest || !unicode.IsLetter(r) && r != '%' && r != '°' {
		return 0, false
	}
	return d.float(s[:end]), true
}

// csvDecoder decodes separated text, a sample a line.
type csvDecoder struct {
	columns              []column
	index                []int // of each column in the line; -1: found by the header
	seq, when            int   // -1: none, -2: by the header
	seqName, whenName    string
	clock                timeReader
	separator, mark      byte
	header               bool
	cells                [][]byte
	at                   []int
	seqAt, whenAt, lines int
}

const byHeader = -2

func newCSVDecoder(p *partPlan) (*csvDecoder, error) {
	d := &csvDecoder{
		columns: p.columns, clock: p.clock, separator: ',', mark: decimalMark(p.payload), header: p.payload.Header,
		seqName: p.seqField, whenName: p.timeField,
	}
	if p.payload.Separator != 0 {
		d.separator = p.payload.Separator
	}
	if d.separator == d.mark {
		return nil, errors.New("the separator and the decimal mark are the same; state separator: \";\"")
	}
	place := func(field, who string) (int, error) {
		n, ok := columnNumber(field)
		switch {
		case field == "":
			return -1, nil
		case ok:
			return n, nil
		case d.header:
			return byHeader, nil
		}
		return 0, fmt.Errorf("%s: field %q is not a column number and the payload has no header line", who, field)
	}
	for _, c := range p.columns {
		n, err := place(c.field, "channel "+c.name)
		if err != nil {
			return nil, err
		}
		d.index = append(d.index, n)
	}
	d.at = make([]int, len(d.index))
	var err error
	if d.seq, err = place(p.seqField, "sequence number"); err != nil {
		return nil, err
	}
	if d.when, err = place(p.timeField, "time"); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *csvDecoder) decode(_ string, payload []byte, arrival int64, b *burst) error {
	payload = bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(payload) {
		return errEncoding
	}
	copy(d.at, d.index)
	d.seqAt, d.whenAt, d.lines = d.seq, d.when, 0
	header := d.header
	for len(payload) > 0 {
		var line []byte
		line, payload = cutLine(payload)
		d.lines++
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		if err := d.split(line); err != nil {
			return err
		}
		if header {
			header = false
			if err := d.named(); err != nil {
				return err
			}
			continue
		}
		if err := d.row(arrival, b); err != nil {
			return err
		}
	}
	return nil
}

func cutLine(p []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(p, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// split cuts a line into cells.
func (d *csvDecoder) split(line []byte) error {
	d.cells = d.cells[:0]
	for {
		line = bytes.TrimLeft(line, " ")
		if len(line) > 0 && line[0] == '"' {
			end := 1
			for end < len(line) && (line[end] != '"' || end+1 < len(line) && line[end+1] == '"') {
				if line[end] == '"' {
					end++
				}
				end++
			}
			if end >= len(line) {
				return fmt.Errorf("line %d: a quote without end", d.lines)
			}
			d.cells = append(d.cells, bytes.TrimSpace(line[1:end]))
			line = bytes.TrimLeft(line[end+1:], " ")
			if len(line) == 0 {
				return nil
			}
			if line[0] != d.separator {
				return fmt.Errorf("line %d: text behind a quote", d.lines)
			}
			line = line[1:]
			continue
		}
		i := bytes.IndexByte(line, d.separator)
		if i < 0 {
			d.cells = append(d.cells, bytes.TrimSpace(line))
			return nil
		}
		d.cells = append(d.cells, bytes.TrimSpace(line[:i]))
		line = line[i+1:]
	}
}

func (d *csvDecoder) named() error {
	find := func(name string) (int, error) {
		at := -1
		for i, c := range d.cells {
			if string(c) != name {
				continue
			}
			if at >= 0 {
				return 0, fmt.Errorf("the header has two columns %q", name)
			}
			at = i
		}
		return at, nil
	}
	var err error
	for i, n := range d.index {
		if n == byHeader {
			if d.at[i], err = find(d.columns[i].field); err != nil {
				return err
			}
		}
	}
	if d.seq == byHeader {
		if d.seqAt, err = find(d.seqName); err != nil {
			return err
		}
	}
	if d.when == byHeader {
		d.whenAt, err = find(d.whenName)
	}
	return err
}

func (d *csvDecoder) row(arrival int64, b *burst) error {
	row := b.rows
	if err := b.grow(row); err != nil {
		return err
	}
	for i := range d.columns {
		c, at := &d.columns[i], d.at[i]
		if at < 0 || at >= len(d.cells) {
			continue
		}
		b.found++
		cell := d.cells[at]
		if len(cell) == 0 {
			continue // no_data
		}
		if v, ok := word(cell, d.mark, c.texts); ok {
			if err := b.put(row, c, v); err != nil {
				return err
			}
			continue
		}
		b.unusable++
		if err := b.mark(row, c.col, acquisition.ReasonDecode); err != nil {
			return err
		}
	}
	if d.seqAt >= 0 && d.seqAt < len(d.cells) {
		v, err := sequenceText(d.cells[d.seqAt])
		if err != nil {
			return fmt.Errorf("line %d: %w", d.lines, err)
		}
		b.seqs = append(b.seqs, v)
	}
	if d.whenAt >= 0 && d.whenAt < len(d.cells) {
		t, err := d.clock.text(d.cells[d.whenAt], arrival)
		if err != nil {
			return fmt.Errorf("line %d: %w", d.lines, err)
		}
		b.times = append(b.times, t)
	}
	return nil
}

func sequenceText(s []byte) (uint64, error) {
	dec, end, ok := scanDecimal(s, 0, '.')
	if !ok || end != len(s) {
		return 0, fmt.Errorf("read sequence number: %q is not a number", clip(s))
	}
	return dec.sequence()
}

// lineDecoder decodes InfluxDB line protocol, a sample a line.
type lineDecoder struct {
	columns []column
	names   []lineName
	seq     lineName
	clock   timeReader
	timed   bool
	key     []byte
}

type lineName struct{ measurement, field string }

func newLineDecoder(p *partPlan) (*lineDecoder, error) {
	d := &lineDecoder{columns: p.columns, clock: p.clock, timed: p.timed}
	if d.clock.unit == UnitDefault {
		d.clock.unit = UnitNano
	}
	for _, c := range p.columns {
		if c.field == "" {
			return nil, fmt.Errorf("channel %s: no field", c.name)
		}
		d.names = append(d.names, lineField(c.field))
	}
	if p.seqField != "" {
		d.seq = lineField(p.seqField)
	}
	return d, nil
}

func lineField(s string) lineName {
	if m, f, ok := strings.Cut(s, "."); ok {
		return lineName{m, f}
	}
	return lineName{"", s}
}

func (n lineName) match(measurement, field []byte) bool {
	return n.field == string(field) && (n.measurement == "" || n.measurement == string(measurement))
}

func (d *lineDecoder) decode(_ string, payload []byte, arrival int64, b *burst) error {
	if !utf8.Valid(payload) {
		return errEncoding
	}
	for n := 1; len(payload) > 0; n++ {
		var line []byte
		line, payload = cutRecord(payload)
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := d.line(line, arrival, b); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

// cutRecord cuts at a line end that is not inside a quoted text.
func cutRecord(p []byte) (line, rest []byte) {
	quoted := false
	for i, c := range p {
		switch {
		case c == '\n' && !quoted:
			return p[:i], p[i+1:]
		case c == '"' && (i == 0 || p[i-1] != '\\'):
			quoted = !quoted
		}
	}
	return p, nil
}

// token reads up to an unescaped byte of stops and removes the escapes.
func (d *lineDecoder) token(s []byte, stops string) (tok, rest []byte) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			d.key = append(d.key[:0], s[:i]...)
			for ; i < len(s) && strings.IndexByte(stops, s[i]) < 0; i++ {
				if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(", =\\", s[i+1]) >= 0 {
					i++
				}
				d.key = append(d.key, s[i])
			}
			return bytes.Clone(d.key), s[min(i, len(s)):]
		}
		if strings.IndexByte(stops, s[i]) >= 0 {
			return s[:i], s[i:]
		}
	}
	return s, nil
}

func (d *lineDecoder) line(s []byte, arrival int64, b *burst) error {
	measurement, rest := d.token(s, ", ")
	for len(rest) > 0 && rest[0] == ',' { // tags
		_, rest = d.token(rest[1:], ", ")
	}
	if len(rest) == 0 {
		return errors.New("no fields")
	}
	row, used := b.rows, false
	var seq uint64
	hasSeq := false
	for more := true; more; {
		var name, value []byte
		name, rest = d.token(rest[1:], "= ,")
		if len(rest) == 0 || rest[0] != '=' {
			return fmt.Errorf("field %q without a value", clip(name))
		}
		value, rest = fieldValue(rest[1:])
		if len(value) == 0 {
			return fmt.Errorf("field %q without a value", clip(name))
		}
		if d.seq.field != "" && d.seq.match(measurement, name) {
			var err error
			if seq, err = sequenceText(bytes.TrimRight(value, "iu")); err != nil {
				return err
			}
			hasSeq = true
		}
		for i := range d.names {
			if !d.names[i].match(measurement, name) {
				continue
			}
			used = true
			if err := d.put(b, row, &d.columns[i], value); err != nil {
				return err
			}
		}
		more = len(rest) > 0 && rest[0] == ','
	}
	if !used {
		return nil // a line about something else
	}
	if hasSeq {
		b.seqs = append(b.seqs, seq)
	}
	if stamp := bytes.TrimSpace(rest); len(stamp) > 0 && d.timed {
		t, err := d.clock.text(stamp, arrival)
		if err != nil {
			return err
		}
		// Lines of one time are one sample.
		if n := len(b.times); n > 0 && n == row && b.times[n-1] == t && !hasSeq {
			return b.fold()
		}
		b.times = append(b.times, t)
	}
	return nil
}

func (d *lineDecoder) put(b *burst, row int, c *column, value []byte) error {
	b.found++
	if v, ok := lineNumber(value, c.texts); ok {
		return b.put(row, c, v)
	}
	b.unusable++
	return b.mark(row, c.col, acquisition.ReasonDecode)
}

// fold merges the last row into the one before.
func (b *burst) fold() error {
	last := (b.rows - 1) * b.cols
	for c := range b.cols {
		if b.quality[last+c] == acquisition.Quality(acquisition.ReasonNoData) {
			continue
		}
		if b.quality[last-b.cols+c] != acquisition.Quality(acquisition.ReasonNoData) {
			return errors.New("a field is there twice for one time")
		}
		b.numbers[last-b.cols+c], b.quality[last-b.cols+c] = b.numbers[last+c], b.quality[last+c]
	}
	b.numbers, b.quality, b.rows = b.numbers[:last], b.quality[:last], b.rows-1
	return nil
}

func fieldValue(s []byte) (value, rest []byte) {
	if len(s) > 0 && s[0] == '"' {
		for i := 1; i < len(s); i++ {
			if s[i] == '"' && s[i-1] != '\\' {
				return s[:i+1], s[i+1:]
			}
		}
		return nil, nil
	}
	i := bytes.IndexAny(s, ", ")
	if i < 0 {
		return s, nil
	}
	return s[:i], s[i:]
}

func lineNumber(s []byte, texts map[string]float64) (float64, bool) {
	switch c := s[len(s)-1]; {
	case s[0] == '"':
		v, ok := texts[strings.ReplaceAll(string(s[1:len(s)-1]), `\"`, `"`)]
		return v, ok
	case (c == 'i' || c == 'u') && len(s) > 1:
		v, err := strconv.ParseInt(string(s[:len(s)-1]), 10, 64)
		return float64(v), err == nil
	case string(s) == "t" || string(s) == "T":
		return 1, true
	case string(s) == "f" || string(s) == "F":
		return 0, true
	}
	return word(s, '.', nil)
}
