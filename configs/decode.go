package configs

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The types below are the fields of file structures. Each knows how to take a
// node and how to describe itself as JSON Schema, so that what is read and
// what editors complete cannot differ.

// field is what every field of a file structure can do.
type field interface {
	decode(d *decoder, n *node, tag reflect.StructTag)
	schema(s *schemas, tag reflect.StructTag) jsonObject
}

// text-like scalars parse themselves; the word says what is wanted instead.
type scalar interface {
	parse(text string) bool
	want() string
	pattern() string
}

// value is one scalar with its place.
type value[T any] struct {
	V   T
	At  Place
	Set bool
}

// many is a list of scalars; a single scalar is a list of one.
type many[T any] struct {
	V   []value[T]
	At  Place
	Set bool
}

// section is a nested structure.
type section[T any] struct {
	V   T
	At  Place
	Set bool
}

// sections is a list of structures.
type sections[T any] struct {
	V   []section[T]
	At  Place
	Set bool
}

// entry is one named member of entries.
type entry[T any] struct {
	Key     string
	At      Place // of the key
	ValueAt Place
	V       T
}

// entries is a mapping whose keys are names given by a person, in their order.
type entries[T any] struct {
	V   []entry[T]
	At  Place
	Set bool
}

// find returns the entry with a name, nil if there is none.
func (e *entries[T]) find(name string) *entry[T] {
	for i := range e.V {
		if e.V[i].Key == name {
			return &e.V[i]
		}
	}
	return nil
}

// decoder fills file structures from nodes.
type decoder struct {
	l       *list
	subject subject
}

// structure fills a struct from a mapping: unknown keys, missing ones.
func (d *decoder) structure(n *node, into any) {
	if n.kind == nullNode {
		n = &node{kind: mappingNode, at: n.at}
	}
	if n.kind != mappingNode {
		d.l.add(n.at, d.subject, pdWantMapping, strings.Join(keysOf(reflect.TypeOf(into).Elem()), ", "))
		return
	}
	v := reflect.ValueOf(into).Elem()
	t := v.Type()
	known := keysOf(t)
	for i := range n.pairs {
		p := &n.pairs[i]
		if !slices.Contains(known, p.key) {
			d.unknownKey(p, known)
		}
	}
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		key := tag.Get("yaml")
		f, ok := reflect.TypeAssert[field](v.Field(i).Addr())
		if key == "" || !ok {
			continue
		}
		child := n.get(key)
		if child == nil {
			if _, required := tag.Lookup("required"); required {
				d.l.add(n.at, d.subject, pdMissingKey, key, tag.Get("doc"))
			}
			continue
		}
		if child.kind == nullNode {
			if _, optional := f.(interface{ nullable() }); !optional {
				d.l.add(child.at, d.subject, pdNull, key)
				if n, ok := f.(interface{ noted(at Place) }); ok {
					n.noted(child.at)
				}
				continue
			}
		}
		f.decode(d, child, tag)
	}
}

// unknownKey says what was probably meant.
func (d *decoder) unknownKey(p *pair, known []string) {
	low := strings.ToLower(p.key)
	for _, secret := range []string{"password", "token", "secret", "api_key"} {
		if strings.Contains(low, secret) {
			instead := "token_file"
			if slices.Contains(known, "password_file") {
				instead = "password_file"
			}
			d.l.add(p.at, d.subject, pdSecret, p.key, instead)
			return
		}
	}
	if ours, ok := foreignWords()[strings.ReplaceAll(low, "-", "_")]; ok && slices.Contains(known, ours) {
		d.l.add(p.at, d.subject, pdUnknownKeyNear, p.key, ours)
		return
	}
	if near := nearest(p.key, known); near != "" {
		d.l.add(p.at, d.subject, pdUnknownKeyNear, p.key, near)
		return
	}
	d.l.add(p.at, d.subject, pdUnknownKey, p.key, strings.Join(known, ", "))
}

// foreignWords maps the words of other programs to ours.
func foreignWords() map[string]string {
	return map[string]string{
		"slave": "unit", "slave_id": "unit", "slaveid": "unit", "unit_id": "unit", "unitid": "unit",
		"byte_order": "order", "word_order": "order", "endian": "order", "endianness": "order", "swap": "order",
		"data_type": "type", "datatype": "type", "format": "type",
		"interval": "period", "rate": "period", "poll": "period", "poll_interval": "period",
		"factor": "scale", "gain": "scale", "multiplier": "scale", "bias": "offset",
		"units": "unit", "min": "range", "max": "range", "limits": "range",
		"host": "modbus", "url": "modbus", "address": "holding", "holding_register": "holding", "input_register": "input",
		"formula": "expr", "expression": "expr", "name": "description", "access": "writable", "rw": "writable",
		"broker_url": "mqtt", "base": "address_base", "topic": "topics", "poll_period": "period",
	}
}

// keysOf returns the keys of a file structure in their order.
func keysOf(t reflect.Type) []string {
	var keys []string
	for f := range t.Fields() {
		if k := f.Tag.Get("yaml"); k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

func (v *value[T]) decode(d *decoder, n *node, tag reflect.StructTag) {
	v.At = n.at
	before := len(d.l.errors)
	if n.kind != scalarNode {
		d.l.add(n.at, d.subject, pdWantScalar, tag.Get("yaml"))
		return
	}
	d.scalar(n, any(&v.V), tag)
	v.Set = len(d.l.errors) == before
}

// absent says that the file does not give the value at all; one that is given
// and wrong is neither absent nor set.
func (v *value[T]) absent() bool { return v.At.Line == 0 }

func (v *value[T]) noted(at Place) { v.At = at }

// scalar parses one scalar.
func (d *decoder) scalar(n *node, into any, tag reflect.StructTag) {
	key := tag.Get("yaml")
	switch p := into.(type) {
	case *string:
		*p = n.text
		if choices := oneOf(tag); choices != nil && !slices.Contains(choices, n.text) {
			if near := nearest(n.text, choices); near != "" {
				d.l.add(n.at, d.subject, pdChoiceNear, key, n.text, near, strings.Join(choices, ", "))
				return
			}
			d.l.add(n.at, d.subject, pdChoice, key, n.text, strings.Join(choices, ", "))
		}
	case *bool:
		switch n.text {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			d.l.add(n.at, d.subject, pdWantBool, key, n.text)
		}
	case *int:
		if v, ok := d.integer(n, key); ok {
			*p = int(v)
			if key == "version" && v > 1 {
				d.l.add(n.at, d.subject, pdVersion, n.text)
				return
			}
			d.bounds(n, key, float64(v), tag)
		}
	case *float64:
		if v, ok := d.number(n, key); ok {
			*p = v
			d.bounds(n, key, v, tag)
		}
	case *time.Duration:
		d.duration(n, key, p, tag)
	case scalar:
		if !p.parse(n.text) {
			d.l.add(n.at, d.subject, pdWantForm, key, n.text, p.want())
		}
	}
}

// oneOf returns the words that a field accepts, nil for any.
func oneOf(tag reflect.StructTag) []string {
	if s := tag.Get("oneof"); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

// bounds applies the tags min and max.
func (d *decoder) bounds(n *node, key string, v float64, tag reflect.StructTag) {
	if s := tag.Get("min"); s != "" {
		if low, err := strconv.ParseFloat(s, 64); err == nil && v < low {
			d.l.add(n.at, d.subject, pdTooSmall, key, n.text, s)
		}
	}
	if s := tag.Get("max"); s != "" {
		if high, err := strconv.ParseFloat(s, 64); err == nil && v > high {
			d.l.add(n.at, d.subject, pdTooBig, key, n.text, s)
		}
	}
}

// octalLooking says whether a number begins with zeros that some readers take
// for octal and others do not.
func octalLooking(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

func (d *decoder) integer(n *node, key string) (int64, bool) {
	if octalLooking(n.text) {
		d.l.add(n.at, d.subject, pdOctal, key, n.text, strings.TrimLeft(n.text, "0"))
		return 0, false
	}
	v, err := strconv.ParseInt(n.text, 0, 64)
	if err != nil || n.quoted {
		d.l.add(n.at, d.subject, pdWantInteger, key, n.text)
		return 0, false
	}
	return v, true
}

func (d *decoder) number(n *node, key string) (float64, bool) {
	if octalLooking(n.text) && !strings.ContainsAny(n.text, ".eE") {
		d.l.add(n.at, d.subject, pdOctal, key, n.text, strings.TrimLeft(n.text, "0"))
		return 0, false
	}
	if i, err := strconv.ParseInt(n.text, 0, 64); err == nil && !n.quoted {
		return float64(i), true
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || n.quoted || math.IsNaN(v) || math.IsInf(v, 0) {
		if strings.Count(n.text, ",") == 1 {
			if _, err := strconv.ParseFloat(strings.Replace(n.text, ",", ".", 1), 64); err == nil {
				d.l.add(n.at, d.subject, pdDecimalComma, key, n.text, strings.Replace(n.text, ",", ".", 1))
				return 0, false
			}
		}
		d.l.add(n.at, d.subject, pdWantNumber, key, n.text)
		return 0, false
	}
	return v, true
}

func (d *decoder) duration(n *node, key string, p *time.Duration, tag reflect.StructTag) {
	v, err := time.ParseDuration(n.text)
	if _, plain := strconv.ParseFloat(n.text, 64); plain == nil && n.text != "0" {
		d.l.add(n.at, d.subject, pdDurationUnit, key, n.text)
		return
	}
	if err != nil || v < 0 {
		d.l.add(n.at, d.subject, pdWantDuration, key, n.text)
		return
	}
	*p = v
	if s := tag.Get("min"); s != "" {
		if low, err := time.ParseDuration(s); err == nil && v < low {
			d.l.add(n.at, d.subject, pdTooSmall, key, n.text, s)
		}
	}
	if s := tag.Get("max"); s != "" {
		if high, err := time.ParseDuration(s); err == nil && v > high {
			d.l.add(n.at, d.subject, pdTooBig, key, n.text, s)
		}
	}
}

func (v *many[T]) decode(d *decoder, n *node, tag reflect.StructTag) {
	v.At, v.Set = n.at, true
	items := n.items
	switch n.kind {
	case sequenceNode:
	case scalarNode:
		items = []*node{n}
	case mappingNode, nullNode:
		d.l.add(n.at, d.subject, pdWantList, tag.Get("yaml"))
		return
	}
	before := len(d.l.errors)
	for _, item := range items {
		var one value[T]
		one.decode(d, item, tag)
		v.V = append(v.V, one)
	}
	if s := tag.Get("len"); s != "" && s != strconv.Itoa(len(v.V)) {
		d.l.add(n.at, d.subject, pdListLength, tag.Get("yaml"), s, strconv.Itoa(len(v.V)))
	}
	v.Set = len(d.l.errors) == before
}

// all returns the plain values.
func (v *many[T]) all() []T {
	out := make([]T, len(v.V))
	for i := range v.V {
		out[i] = v.V[i].V
	}
	return out
}

func (s *section[T]) decode(d *decoder, n *node, _ reflect.StructTag) {
	s.At, s.Set = n.at, true
	d.structure(n, &s.V)
}

func (*section[T]) nullable() {}

func (s *sections[T]) decode(d *decoder, n *node, tag reflect.StructTag) {
	s.At, s.Set = n.at, true
	if n.kind != sequenceNode {
		d.l.add(n.at, d.subject, pdWantList, tag.Get("yaml"))
		return
	}
	before := d.subject
	for i, item := range n.items {
		if kind := tag.Get("subject"); kind != "" {
			d.subject = subject{kind, strconv.Itoa(i + 1)}
		}
		one := section[T]{At: item.at, Set: true}
		d.structure(item, &one.V)
		s.V = append(s.V, one)
	}
	d.subject = before
}

func (e *entries[T]) decode(d *decoder, n *node, tag reflect.StructTag) {
	e.At, e.Set = n.at, true
	if n.kind == nullNode {
		return
	}
	if n.kind != mappingNode {
		d.l.add(n.at, d.subject, pdWantNames, tag.Get("yaml"), tag.Get("subject"))
		return
	}
	before := d.subject
	for i := range n.pairs {
		p := &n.pairs[i]
		kind := tag.Get("subject")
		if kind != "" {
			d.subject = subject{kind, p.key}
		}
		if why := badName(p.key, tag.Get("names")); why != "" {
			d.l.add(p.at, d.subject, pdName, p.key, why)
		}
		one := entry[T]{Key: p.key, At: p.at, ValueAt: p.value.at}
		if f, ok := any(&one.V).(field); ok {
			if p.value.kind == nullNode {
				d.l.add(p.at, d.subject, pdNull, p.key)
			} else {
				f.decode(d, p.value, reflect.StructTag(`yaml:`+strconv.Quote(p.key)))
			}
		} else {
			d.structure(p.value, &one.V)
		}
		e.V = append(e.V, one)
		d.subject = before
	}
}

func (*entries[T]) nullable() {}

// maxName is how many characters a name may have: it becomes a tag or field
// of the database and a part of file names.
const maxName = 64

// badName says what a name breaks: rules "field" is for channels, which are
// operands of expressions and fields of the database, "any" takes any text,
// "" is for everything else.
func badName(name, rules string) string {
	if rules == "any" {
		return ""
	}
	if name == "" || utf8.RuneCountInString(name) > maxName {
		return "1 to " + strconv.Itoa(maxName) + " characters"
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r >= 0x2e80
		digit := r >= '0' && r <= '9'
		switch {
		case letter, digit && (i > 0 || rules == ""):
		case rules == "" && i > 0 && strings.ContainsRune("-.", r):
		default:
			if rules == "field" {
				return "letters, digits and _, beginning with a letter"
			}
			return "letters, digits, _ - and ., beginning with a letter or digit"
		}
	}
	if rules == "field" && strings.Contains(name, "__") {
		return "no __, which marks the quality"
	}
	return ""
}

// nearest returns the option that a word was probably meant to be, "" if none
// is near.
func nearest(word string, options []string) string {
	best, bestAt := "", math.MaxInt
	w := strings.ToLower(word)
	for _, o := range options {
		dist := editDistance(w, strings.ToLower(o))
		if dist < bestAt {
			best, bestAt = o, dist
		}
	}
	if bestAt > max(1, min(3, len([]rune(word))/3)) {
		return ""
	}
	return best
}

// editDistance counts insertions, deletions, replacements and exchanges of
// neighbours.
func editDistance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra) > 2*maxName || len(rb) > 2*maxName {
		return math.MaxInt
	}
	before2, before, row := make([]int, len(rb)+1), make([]int, len(rb)+1), make([]int, len(rb)+1)
	for j := range before {
		before[j] = j
	}
	for i := 1; i <= len(ra); i++ {
		row[0] = i
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			row[j] = min(before[j]+1, row[j-1]+1, before[j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				row[j] = min(row[j], before2[j-2]+1)
			}
		}
		before2, before, row = before, row, before2
	}
	return before[len(rb)]
}
