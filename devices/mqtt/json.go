package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"pneudaq/acquisition"
)

// maxDepth is how deep a payload may be nested.
const maxDepth = 64

// leafKind says what a value found at a path is for.
type leafKind uint8

const (
	leafValue leafKind = iota
	leafSeq
	leafTime
	leafStep
)

// node is a place in a payload that leads to something wanted.
type node struct {
	members []member
	hint    int // the member after the one found last: payloads repeat their order
	items   []*node
	star    *node
	pairs   bool // name-value objects are here

	wanted  bool
	kind    leafKind
	targets []column
	seen    uint32 // the payload in which it was last found
	row     int    // and the row
	count   int    // elements, for arrays of samples
	name    string // for messages
}

type member struct {
	key  string
	node *node
}

// jsonDecoder decodes the JSON formats. It walks the payload once and keeps
// what lies on a wanted path; nothing else is stored. It is not for concurrent
// use.
type jsonDecoder struct {
	top     *node
	columns []*node // arrays of samples, which must have one length
	names   map[string]*node
	pairRow int
	pairSeq node // places of number and time inside the objects
	pairAt  node
	nameKey []byte
	valKey  []byte
	clock   timeReader
	stepBy  int // power of ten between the unit of the step and ns
	spread  bool

	data    []byte
	pos     int
	depth   int
	gen     uint32
	arrival int64
	b       *burst
	scratch []byte
}

// newJSONDecoder compiles the paths of one part of a group.
func newJSONDecoder(p *partPlan) (*jsonDecoder, error) {
	d := &jsonDecoder{top: &node{}, clock: p.clock, stepBy: p.stepUnit.shift(), spread: p.payload.Format == FormatArrays}
	root, err := parsePath(p.payload.Root)
	if err != nil {
		return nil, fmt.Errorf("payload root: %w", err)
	}
	if p.payload.Format == FormatRows {
		root = append(root, step{index: every})
	}
	place := func(field string, rows bool) ([]step, error) {
		rel := root
		if rest, ok := cutTop(field); ok {
			rel, field = nil, rest
		} else if rows && p.payload.Format == FormatRows {
			if n, ok := columnNumber(field); ok {
				return append(slices.Clone(rel), step{index: n}), nil
			}
		}
		path, err := parsePath(field)
		if err != nil {
			return nil, err
		}
		return append(slices.Clone(rel), path...), nil
	}
	if p.payload.Format == FormatNameValue {
		d.names = map[string]*node{}
		d.nameKey, d.valKey = []byte("name"), []byte("value")
		if p.payload.NameKey != "" {
			d.nameKey = []byte(p.payload.NameKey)
		}
		if p.payload.ValueKey != "" {
			d.valKey = []byte(p.payload.ValueKey)
		}
		d.top.add(root).pairs = true
		root = nil
	}
	for _, c := range p.columns {
		if d.names != nil {
			n := d.names[c.field]
			if n == nil {
				n = &node{name: c.name, wanted: true}
				d.names[c.field] = n
			}
			n.targets = append(n.targets, c)
			continue
		}
		path, err := place(c.field, true)
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", c.name, err)
		}
		n := d.top.add(path)
		if n.wanted && n.kind != leafValue {
			return nil, fmt.Errorf("channel %s: field %s is the time or the number already", c.name, c.field)
		}
		if !n.wanted && d.spread {
			d.columns = append(d.columns, n)
		}
		n.wanted, n.name = true, c.name
		n.targets = append(n.targets, c)
	}
	for _, f := range []struct {
		field string
		kind  leafKind
		name  string
	}{{p.seqField, leafSeq, "sequence number"}, {p.timeField, leafTime, "time"}, {p.stepField, leafStep, "step"}} {
		if f.field == "" {
			continue
		}
		if _, top := cutTop(f.field); d.names != nil && !top && f.kind != leafStep {
			n := &d.pairSeq
			if f.kind == leafTime {
				n = &d.pairAt
			}
			*n = node{wanted: true, kind: f.kind, name: f.field}
			continue
		}
		path, err := place(f.field, f.kind != leafStep)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		n := d.top.add(path)
		if n.wanted {
			return nil, fmt.Errorf("%s: field %s is a channel or something else already", f.name, f.field)
		}
		n.wanted, n.kind, n.name = true, f.kind, f.name
	}
	return d, nil
}

// add returns the node at the end of a path, with all nodes on the way.
func (n *node) add(path []step) *node {
	for _, s := range path {
		var next *node
		switch {
		case s.index == every:
			if n.star == nil {
				n.star = &node{}
			}
			next = n.star
		case s.index >= 0:
			for len(n.items) <= s.index {
				n.items = append(n.items, nil)
			}
			if n.items[s.index] == nil {
				n.items[s.index] = &node{}
			}
			next = n.items[s.index]
		default:
			for _, m := range n.members {
				if m.key == s.key {
					next = m.node
				}
			}
			if next == nil {
				next = &node{}
				n.members = append(n.members, member{s.key, next})
			}
		}
		n = next
	}
	return n
}

func cutTop(field string) (string, bool) {
	if len(field) > 2 && field[:2] == "$." {
		return field[2:], true
	}
	return field, false
}

func columnNumber(field string) (int, bool) {
	n := 0
	for i := range len(field) {
		if field[i] < '0' || field[i] > '9' || n > 6553 {
			return 0, false
		}
		n = n*10 + int(field[i]-'0')
	}
	return n, field != ""
}

// malformed is a payload that is no JSON.
func (d *jsonDecoder) malformed(why string) error {
	return fmt.Errorf("not valid JSON at byte %d: %s", d.pos, why)
}

func (d *jsonDecoder) decode(_ string, payload []byte, arrival int64, b *burst) error {
	payload = bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(payload) {
		return errors.New("not valid UTF-8; set the device to UTF-8")
	}
	d.data, d.pos, d.depth, d.arrival, d.b, d.pairRow = payload, 0, 0, arrival, b, 0
	d.gen++
	defer func() { d.data, d.b = nil, nil }()
	d.space()
	if err := d.value(d.top, -1); err != nil {
		return err
	}
	d.space()
	if d.pos != len(d.data) {
		return d.malformed("something follows the value")
	}
	if d.spread {
		first := -1
		for i, n := range d.columns {
			switch {
			case n.seen != d.gen:
			case first < 0:
				first = i
			case n.count != d.columns[first].count:
				return fmt.Errorf("arrays of different length: %s has %d samples, %s has %d", d.columns[first].name, d.columns[first].count, n.name, n.count)
			}
		}
	}
	return nil
}

func (d *jsonDecoder) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// value reads one value. n is nil where nothing is wanted; row is the sample
// it belongs to, -1 outside of any array of samples.
func (d *jsonDecoder) value(n *node, row int) error {
	if d.pos >= len(d.data) {
		return d.malformed("it ends where a value should be")
	}
	switch c := d.data[d.pos]; c {
	case '{':
		if n != nil && n.wanted {
			if err := d.unusable(n, row); err != nil {
				return err
			}
		}
		if n != nil && n.pairs {
			return d.pair()
		}
		return d.object(n, row)
	case '[':
		return d.array(n, row)
	case '"':
		s, err := d.str()
		if err != nil || n == nil || !n.wanted {
			return err
		}
		return d.text(n, row, s)
	case 't', 'f', 'n', 'N', 'I':
		return d.literal(n, row)
	default:
		return d.number(n, row)
	}
}

func (d *jsonDecoder) enter() error {
	d.depth++
	if d.depth > maxDepth {
		return d.malformed(fmt.Sprintf("nested deeper than %d", maxDepth))
	}
	d.pos++
	d.space()
	return nil
}

func (d *jsonDecoder) object(n *node, row int) error {
	if err := d.enter(); err != nil {
		return err
	}
	if d.pos < len(d.data) && d.data[d.pos] == '}' {
		d.pos++
		d.depth--
		return nil
	}
	for {
		if d.pos >= len(d.data) || d.data[d.pos] != '"' {
			return d.malformed("a key in quotes should be here")
		}
		key, err := d.str()
		if err != nil {
			return err
		}
		var next *node
		if n != nil {
			next = n.member(key)
		}
		d.space()
		if d.pos >= len(d.data) || d.data[d.pos] != ':' {
			return d.malformed("a colon should be here")
		}
		d.pos++
		d.space()
		if err := d.value(next, row); err != nil {
			return err
		}
		more, err := d.more('}')
		if err != nil || !more {
			return err
		}
	}
}

// more reads what stands behind an element: a comma, or the closing bracket.
func (d *jsonDecoder) more(closing byte) (bool, error) {
	d.space()
	if d.pos >= len(d.data) {
		return false, d.malformed("it ends early")
	}
	switch d.data[d.pos] {
	case ',':
		d.pos++
		d.space()
		return true, nil
	case closing:
		d.pos++
		d.depth--
		return false, nil
	}
	return false, d.malformed("a comma or a closing bracket should be here")
}

func (n *node) member(key []byte) *node {
	if h := n.hint; h < len(n.members) && n.members[h].key == string(key) {
		n.hint++
		return n.members[h].node
	}
	for i := range n.members {
		if n.members[i].key == string(key) {
			n.hint = i + 1
			return n.members[i].node
		}
	}
	n.hint = 0
	return nil
}

func (d *jsonDecoder) array(n *node, row int) error {
	column := n != nil && n.wanted && n.kind == leafValue && d.spread && row < 0
	if n != nil && n.wanted && !column {
		if err := d.unusable(n, row); err != nil {
			return err
		}
	}
	if column {
		if n.seen == d.gen {
			return fmt.Errorf("key of %s is there twice", n.name)
		}
		n.seen, n.row, n.count = d.gen, -1, 0
	}
	if err := d.enter(); err != nil {
		return err
	}
	if d.pos < len(d.data) && d.data[d.pos] == ']' {
		d.pos++
		d.depth--
		return nil
	}
	for i := 0; ; i++ {
		var next *node
		at := row
		switch {
		case n == nil:
		case column:
			next, at = n, i
		case n.pairs:
			if d.pos >= len(d.data) || d.data[d.pos] != '{' {
				return d.malformed("an object with a name and a value should be here")
			}
			if err := d.pair(); err != nil {
				return err
			}
			more, err := d.more(']')
			if err != nil || !more {
				return err
			}
			continue
		case n.star != nil:
			next, at = n.star, i
			if row >= 0 {
				at = row // stars within rows lead to one sample
			}
		case i < len(n.items):
			next = n.items[i]
		}
		if err := d.value(next, at); err != nil {
			return err
		}
		more, err := d.more(']')
		if err != nil || !more {
			return err
		}
	}
}

// pair reads one object with a name and a value.
func (d *jsonDecoder) pair() error {
	if err := d.enter(); err != nil {
		return err
	}
	var n *node
	named := false
	at, when, seq := -1, -1, -1
	if d.pos < len(d.data) && d.data[d.pos] == '}' {
		d.pos++
		d.depth--
		return nil
	}
	for more := true; more; {
		if d.pos >= len(d.data) || d.data[d.pos] != '"' {
			return d.malformed("a key in quotes should be here")
		}
		key, err := d.str()
		if err != nil {
			return err
		}
		isName := bytes.Equal(key, d.nameKey)
		var place *int
		switch {
		case isName:
		case bytes.Equal(key, d.valKey):
			place = &at
		case d.pairAt.wanted && string(key) == d.pairAt.name:
			place = &when
		case d.pairSeq.wanted && string(key) == d.pairSeq.name:
			place = &seq
		}
		d.space()
		if d.pos >= len(d.data) || d.data[d.pos] != ':' {
			return d.malformed("a colon should be here")
		}
		d.pos++
		d.space()
		if isName && d.pos < len(d.data) && d.data[d.pos] == '"' {
			if named {
				return errors.New("an object has two names")
			}
			name, err := d.str()
			if err != nil {
				return err
			}
			n, named = d.names[string(name)], true
		} else {
			if place != nil {
				if *place >= 0 {
					return fmt.Errorf("an object has %q twice", key)
				}
				*place = d.pos
			}
			if err := d.value(nil, -1); err != nil {
				return err
			}
		}
		if more, err = d.more('}'); err != nil {
			return err
		}
	}
	if n == nil || at < 0 {
		return nil
	}
	if n.seen == d.gen && n.row == d.pairRow {
		d.pairRow++ // the names begin again: the next sample
	}
	end, depth := d.pos, d.depth
	defer func() { d.pos, d.depth = end, depth }()
	for _, f := range []struct {
		n  *node
		at int
	}{{&d.pairAt, when}, {&d.pairSeq, seq}, {n, at}} {
		if f.at < 0 || f.n != n && f.n.seen == d.gen && f.n.row == d.pairRow {
			continue // not there, or told by another object of this sample
		}
		d.pos = f.at
		if err := d.value(f.n, d.pairRow); err != nil {
			return err
		}
	}
	return nil
}

// str reads a string. What it returns is valid until the next call.
func (d *jsonDecoder) str() ([]byte, error) {
	start := d.pos + 1
	for i := start; i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '"':
			d.pos = i + 1
			return d.data[start:i], nil
		case c == '\\':
			return d.escaped(start, i)
		case c < 0x20:
			d.pos = i
			return nil, d.malformed("a control character in a text")
		}
	}
	d.pos = len(d.data)
	return nil, d.malformed("a text without end")
}

func (d *jsonDecoder) escaped(start, i int) ([]byte, error) {
	out := append(d.scratch[:0], d.data[start:i]...)
	for i < len(d.data) {
		c := d.data[i]
		switch {
		case c == '"':
			d.pos = i + 1
			d.scratch = out
			return out, nil
		case c < 0x20:
			d.pos = i
			return nil, d.malformed("a control character in a text")
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(d.data) {
			break
		}
		e := d.data[i+1]
		i += 2
		switch e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(d.data, i)
			if !ok {
				d.pos = i
				return nil, d.malformed(`\u without four hexadecimal digits`)
			}
			i += 4
			if utf16.IsSurrogate(r) && i+1 < len(d.data) && d.data[i] == '\\' && d.data[i+1] == 'u' {
				if low, ok := hex4(d.data, i+2); ok {
					if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
						r = both
						i += 6
					}
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			d.pos = i - 1
			return nil, d.malformed("an unknown escape in a text")
		}
	}
	d.pos = len(d.data)
	return nil, d.malformed("a text without end")
}

func hex4(data []byte, i int) (rune, bool) {
	if i+4 > len(data) {
		return 0, false
	}
	var r rune
	for _, c := range data[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (d *jsonDecoder) literal(n *node, row int) error {
	for _, w := range [...]string{"true", "false", "null", "NaN", "Infinity"} {
		if !bytes.HasPrefix(d.data[d.pos:], []byte(w)) {
			continue
		}
		text := d.data[d.pos : d.pos+len(w)]
		d.pos += len(w)
		switch {
		case n == nil || !n.wanted:
			return nil
		case w == "null":
			return d.empty(n, row)
		case n.kind != leafValue:
			return fmt.Errorf("%s is %s", n.name, w)
		}
		return d.text(n, row, text)
	}
	return d.malformed("neither a value nor a bracket")
}

// found notes that a wanted place is there, once in each payload and row.
func (d *jsonDecoder) found(n *node, row int) error {
	if n.seen == d.gen && n.row == row {
		return fmt.Errorf("key of %s is there twice", n.name)
	}
	n.seen, n.row, n.count = d.gen, row, row+1
	if n.kind == leafValue {
		d.b.found++
	}
	return nil
}

func (d *jsonDecoder) number(n *node, row int) error {
	start := d.pos
	if c := d.data[start]; c != '-' && (c < '0' || c > '9') {
		return d.malformed("neither a value nor a bracket")
	}
	dec, end, ok := scanDecimal(d.data, start, '.')
	if !ok {
		if bytes.HasPrefix(d.data[start:], []byte("-Infinity")) {
			d.pos += len("-Infinity")
			if n == nil || !n.wanted || n.kind != leafValue {
				return nil
			}
			return d.text(n, row, d.data[start:d.pos])
		}
		return d.malformed("a number is not complete")
	}
	first := start
	if dec.neg {
		first++
	}
	if d.data[first] == '0' && first+1 < end && d.data[first+1] >= '0' && d.data[first+1] <= '9' || d.data[first] == '.' {
		return d.malformed("a number begins with a 0 or a point")
	}
	d.pos = end
	if n == nil || !n.wanted {
		return nil
	}
	if n.kind == leafValue {
		if err := d.found(n, row); err != nil {
			return err
		}
		v := dec.float(d.data[start:end])
		for i := range n.targets {
			if err := d.b.put(max(row, 0), &n.targets[i], v); err != nil {
				return err
			}
		}
		return nil
	}
	return d.meta(n, row, dec)
}

// meta stores a sequence number, a time or a step.
func (d *jsonDecoder) meta(n *node, row int, dec decimal) error {
	if err := d.found(n, row); err != nil {
		return err
	}
	switch n.kind {
	case leafSeq:
		v, err := dec.sequence()
		if err != nil {
			return err
		}
		if row < 0 {
			d.b.seq, d.b.hasSeq = v, true
			return nil
		}
		if len(d.b.seqs) >= maxValues {
			return errTooMany
		}
		d.b.seqs = append(d.b.seqs, v)
	case leafTime:
		t, err := d.clock.number(dec)
		if err != nil {
			return err
		}
		return d.setTime(row, t)
	case leafStep:
		v, err := dec.scaled(d.stepBy + 6)
		if err != nil || v <= 0 {
			return errors.New("the step between samples is not a positive number")
		}
		d.b.step, d.b.hasStep = float64(v)/1e6, true
	case leafValue:
	}
	return nil
}

func (d *jsonDecoder) setTime(row int, t int64) error {
	if row < 0 {
		d.b.time, d.b.hasTime = t, true
		return nil
	}
	if len(d.b.times) >= maxValues {
		return errTooMany
	}
	d.b.times = append(d.b.times, t)
	return nil
}

// text takes a value that is written as text, or a literal.
func (d *jsonDecoder) text(n *node, row int, s []byte) error {
	if n.kind != leafValue {
		if n.kind == leafTime {
			if err := d.found(n, row); err != nil {
				return err
			}
			t, err := d.clock.text(s, d.arrival)
			if err != nil {
				return err
			}
			return d.setTime(row, t)
		}
		dec, end, ok := scanDecimal(s, 0, '.')
		if !ok || end != len(s) {
			return fmt.Errorf("%s is %q, no number", n.name, clip(s))
		}
		return d.meta(n, row, dec)
	}
	if err := d.found(n, row); err != nil {
		return err
	}
	used := false
	for i := range n.targets {
		v, ok := word(s, '.', n.targets[i].texts)
		var err error
		if ok {
			used = true
			err = d.b.put(max(row, 0), &n.targets[i], v)
		} else {
			err = d.b.mark(max(row, 0), n.targets[i].col, acquisition.ReasonDecode)
		}
		if err != nil {
			return err
		}
	}
	if !used {
		d.b.unusable++
	}
	return nil
}

// empty takes a null: the device says that it has no value.
func (d *jsonDecoder) empty(n *node, row int) error {
	if err := d.found(n, row); err != nil {
		return err
	}
	if n.kind != leafValue {
		return fmt.Errorf("%s is null", n.name)
	}
	for i := range n.targets {
		if err := d.b.mark(max(row, 0), n.targets[i].col, acquisition.ReasonNoData); err != nil {
			return err
		}
	}
	return nil
}

// unusable takes a bracket where a value should be.
func (d *jsonDecoder) unusable(n *node, row int) error {
	if err := d.found(n, row); err != nil {
		return err
	}
	if n.kind != leafValue {
		return fmt.Errorf("%s is no number", n.name)
	}
	d.b.unusable++
	for i := range n.targets {
		if err := d.b.mark(max(row, 0), n.targets[i].col, acquisition.ReasonDecode); err != nil {
			return err
		}
	}
	return nil
}
