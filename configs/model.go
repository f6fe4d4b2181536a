package configs

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// The tables of a Modbus device.
const (
	TableCoil     = "coil"
	TableDiscrete = "discrete"
	TableInput    = "input"
	TableHolding  = "holding"
	TableFIFO     = "fifo"
)

// unitConfigured stands in a model for a unit that is set on the device.
const unitConfigured = "configured"

// Model is one instrument, or, from a wire file, one device as it was found.
type Model struct {
	Name        string
	File        string
	Wire        bool // from a wire file
	Maker       string
	Product     string
	Trust       string
	Source      Source
	AddressBase int
	MaxRead     int
	ValidStarts []uint16 // wire
	MinGap      time.Duration
	Holes       string
	Registers   []Register
	Identity    []Constant
	Constants   []Constant
	Vectors     []Vector

	file *modelFile
}

// Source is the document that a model was read in.
type Source struct{ Document, Page, Revision, Date, URL, Note string }

// Register is one register of a model.
type Register struct {
	Name         string
	Table        string
	Address      uint16 // wire, from 0
	String       int    // registers of text, 0 for numbers
	Decoding     acquisition.Decoding
	Units        []string // the first is that of vectors
	DecimalsFrom string
	Atomic       string
	Low, High    float64 // in the first unit; equal: none
	Writable     bool
	Display      bool
	Page         string
	Description  string
	Place        Place

	value    *float64
	text     string
	volatile bool
}

// Words returns how many registers it takes.
func (r *Register) Words() int {
	if r.String > 0 {
		return r.String
	}
	return r.Decoding.Type.Words()
}

// Constant is what a register must hold if the device is what the model says.
type Constant struct {
	Register string
	Raw      []byte
	Page     string
	Place    Place
}

// Vector is bytes as they travel with the value that they mean.
type Vector struct {
	Register string
	Raw      []byte
	Value    float64 // in the register's first unit
	Within   float64
	Reason   acquisition.Reason // not none: they are no value
	Page     string
	Printed  bool // the document prints the pair; else the rule that gives it
	Place    Place
}

// Register returns the register with a name, nil if there is none.
func (m *Model) Register(name string) *Register {
	for i := range m.Registers {
		if m.Registers[i].Name == name {
			return &m.Registers[i]
		}
	}
	return nil
}

// at returns the register at a wire address of a table.
func (m *Model) at(table string, a uint16) *Register {
	for i := range m.Registers {
		if r := &m.Registers[i]; r.Table == table && r.Address == a {
			return r
		}
	}
	return nil
}

func (m *Model) names() []string {
	all := make([]string, len(m.Registers))
	for i := range m.Registers {
		all[i] = m.Registers[i].Name
	}
	return all
}

// model finds the model that a device names.
func (o *loader) model(name value[string], from origin, s subject) *Model {
	if strings.ContainsAny(name.V, `/\`) || strings.HasSuffix(name.V, ".yaml") || strings.HasSuffix(name.V, ".yml") {
		return o.modelNamed(name, named{origin: from, path: from.join(name.V)}, s)
	}
	for _, dir := range []string{"../models", "models", "."} {
		p := from.join(dir + "/" + name.V + ".yaml")
		if from.exists(p) {
			return o.modelNamed(name, named{origin: from, path: p}, s)
		}
	}
	b := inBundle("models")
	if p := path.Join("models", name.V+".yaml"); b.exists(p) {
		return o.modelNamed(name, named{origin: b, path: p}, s)
	}
	if near := nearest(name.V, bundledModels()); near != "" {
		o.l.add(name.At, s, pdModelNear, name.V, near, strings.Join(bundledModels(), ", "))
		return nil
	}
	o.l.add(name.At, s, pdModelUnknown, name.V, strings.Join(bundledModels(), ", "))
	return nil
}

func (o *loader) modelNamed(name value[string], f named, s subject) *Model {
	if !f.origin.exists(f.path) {
		o.l.add(name.At, s, pdFileMissing, f.path)
		return nil
	}
	f.origin.dir = path.Dir(f.path)
	f.shown = f.origin.prefix + f.path
	return o.modelFrom(f)
}

// bundledModels returns the names of the bundled models.
func bundledModels() []string {
	files, err := bundled.ReadDir("models")
	if err != nil {
		panic("BUG: the bundle has no models: " + err.Error())
	}
	var names []string
	for _, f := range files {
		if n, ok := strings.CutSuffix(f.Name(), ".yaml"); ok {
			names = append(names, n)
		}
	}
	return names
}

func (o *loader) modelFrom(f named) *Model {
	if m, ok := o.models[f.shown]; ok {
		return m
	}
	o.models[f.shown] = nil
	d, kind := o.open(f, KindModel, KindWire)
	if d == nil {
		return nil
	}
	file := &modelFile{}
	before := len(o.l.errors)
	dec := &decoder{l: o.l}
	dec.structure(d.root, file)
	m := &Model{
		File: f.shown, Wire: kind == KindWire, Name: file.Model.V, Maker: file.Maker.V, Product: file.Product.V,
		Trust: file.Trust.V, AddressBase: file.AddressBase.V, MaxRead: file.MaxRead.V, Holes: file.Holes.V,
		MinGap: time.Duration(file.MinGapMS.V * float64(time.Millisecond)), file: file,
	}
	if m.Wire {
		m.Name = file.Wire.V
	}
	if s := &file.Source; s.Set {
		m.Source = Source{s.V.Document.V, s.V.Page.V, s.V.Revision.V, s.V.Date.V, s.V.URL.V, s.V.Note.V}
	}
	o.modelHead(m, d)
	if m.Wire && file.Model.Set {
		o.inheritModel(m, f.origin)
	}
	for i := range file.Registers.V {
		o.register(m, &file.Registers.V[i])
	}
	o.modelOverlaps(m)
	for _, a := range file.ValidStarts.V {
		if w := int(a.V) - m.AddressBase; w >= 0 {
			m.ValidStarts = append(m.ValidStarts, uint16(w))
		}
	}
	o.modelProofs(m)
	if len(o.l.errors) == before {
		o.checkVectors(m)
	}
	o.models[f.shown] = m
	return m
}

// modelHead checks what only a bundled quality of model may leave out.
func (o *loader) modelHead(m *Model, d *document) {
	file := m.file
	if m.Wire && file.Model.Set {
		return // the base says the rest
	}
	if file.AddressBase.absent() {
		o.l.add(d.root.at, subject{}, pdMissingKey, "address_base", "0: addresses as on the wire; 1: the first register is number 1; never guessed")
	}
	if m.Wire {
		return
	}
	if !file.Source.Set {
		o.l.add(d.root.at, subject{}, pdMissingKey, "source", "the document that the registers were read in")
	}
	if file.Trust.absent() {
		o.l.add(d.root.at, subject{}, pdMissingKey, "trust", "how far it was confirmed, for example documented")
	}
}

// inheritModel lays the wire file over its base model: what it says of a
// register replaces what the model says.
func (o *loader) inheritModel(m *Model, from origin) {
	base := o.model(m.file.Model, from, subject{"wire", m.Name})
	if base == nil {
		return
	}
	m.Maker, m.Product, m.Source = base.Maker, base.Product, base.Source
	if !m.file.AddressBase.Set {
		m.AddressBase = base.AddressBase
	}
	if !m.file.MaxRead.Set {
		m.MaxRead = base.MaxRead
	}
	if !m.file.Holes.Set {
		m.Holes = base.Holes
	}
	if !m.file.ValidStarts.Set {
		m.ValidStarts = base.ValidStarts
	}
	m.Registers = slices.Clone(base.Registers)
}

// located is the address of a register or channel as a file states it.
type located struct {
	table string
	at    value[address]
}

// locate returns which table and address a file states, and false if it states
// none; several are a problem.
func (o *loader) locate(s subject, all ...located) (located, bool) {
	all = slices.DeleteFunc(all, func(a located) bool { return !a.at.Set })
	if len(all) == 0 {
		return located{}, false
	}
	if len(all) > 1 {
		o.l.add(all[1].at.At, s, pdTwoAddresses, all[0].table, all[1].table)
	}
	return all[0], true
}

// wireAddress takes the base off.
func (o *loader) wireAddress(s subject, a located, base, words int, stated Place) uint16 {
	w := int(a.at.V) - base
	if w < 0 {
		o.l.add(a.at.At, s, pdBelowBase, stated.String())
		return 0
	}
	if w+words > 1<<16 {
		o.l.add(a.at.At, s, pdBeyondTable, strconv.Itoa(int(a.at.V)))
		return 0
	}
	return uint16(w)
}

func (o *loader) register(m *Model, e *entry[registerFile]) {
	f := &e.V
	s := subject{"register", e.Key}
	var r Register
	inherited := m.Register(e.Key)
	if inherited != nil {
		r = *inherited
	}
	r.Name, r.Place = e.Key, e.At
	if f.Type.Set {
		r.String = 0
		if f.Type.V == "string" {
			if f.Length.absent() {
				o.l.add(f.Type.At, s, pdMissingKey, "length", "of the text, in registers")
			}
			r.String = max(1, f.Length.V)
		} else if t, err := acquisition.ParseType(f.Type.V); err == nil {
			r.Decoding.Type = t
		}
	} else if inherited == nil && f.Coil.absent() && f.Discrete.absent() && f.Type.absent() {
		o.l.add(e.At, s, pdMissingKey, "type", "how the bits are read")
	}
	loc, ok := o.locate(s, located{TableCoil, f.Coil}, located{TableDiscrete, f.Discrete},
		located{TableInput, f.Input}, located{TableHolding, f.Holding})
	if !ok && inherited == nil && f.Coil.absent() && f.Discrete.absent() && f.Input.absent() && f.Holding.absent() {
		o.l.add(e.At, s, pdNoAddress)
	}
	if ok {
		r.Table = loc.table
		r.Address = o.wireAddress(s, loc, m.AddressBase, r.Words(), m.file.AddressBase.At)
	}
	o.bitTable(s, r.Table, f.Type, r.Decoding.Type)
	o.order(s, f.Order, r.Decoding.Type.Words(), &r.Decoding)
	if f.Bit.Set {
		r.Decoding.Bit = uint8(f.Bit.V)
	}
	if f.Bits.Set {
		r.Decoding.Bits = uint8(f.Bits.V)
	}
	if f.Scale.Set {
		if f.Scale.V == 0 {
			o.l.add(f.Scale.At, s, pdScaleZero)
		}
		r.Decoding.Scale = f.Scale.V
	}
	if f.Offset.Set {
		r.Decoding.Offset = f.Offset.V
	}
	if f.NegativeAbove.Set {
		r.Decoding.NegativeAbove = uint64(f.NegativeAbove.V)
	}
	if f.Sentinels.Set {
		r.Decoding.Sentinels = o.sentinels(s, &f.Sentinels, r.Words())
	}
	if f.Unit.Set {
		r.Units = nil
		for _, u := range f.Unit.V {
			if u.V != unitConfigured {
				o.unit(u, s)
			}
			r.Units = append(r.Units, u.V)
		}
	}
	if f.Range.Set {
		r.Low, r.High = o.rangeOf(s, &f.Range)
	}
	keep(&r.DecimalsFrom, f.DecimalsFrom)
	keep(&r.Atomic, f.Atomic)
	keep(&r.Page, f.Page)
	keep(&r.Description, f.Description)
	keep(&r.text, f.Text)
	keep(&r.volatile, f.Volatile)
	if f.Writable.Set {
		r.Writable = true
		if r.Table == TableInput || r.Table == TableDiscrete {
			o.l.add(f.Writable.At, s, pdReadOnlyTable, r.Table)
		}
	}
	if f.Use.Set {
		r.Display = f.Use.V == "display_only"
	}
	if f.Value.Set {
		v := f.Value.V
		r.value = &v
	}
	if inherited != nil {
		*inherited = r
		return
	}
	m.Registers = append(m.Registers, r)
}

// keep takes a value that the file states.
func keep[T any](into *T, v value[T]) {
	if v.Set {
		*into = v.V
	}
}

// bitTable refuses numbers in tables of bits.
func (o *loader) bitTable(s subject, table string, stated value[string], t acquisition.Type) {
	if (table == TableCoil || table == TableDiscrete) && stated.Set && t != acquisition.TypeBool {
		o.l.add(stated.At, s, pdBitTable, table, stated.V)
	}
}

// order takes the letters and checks them against the number of registers.
func (o *loader) order(s subject, letters value[string], words int, into *acquisition.Decoding) {
	if !letters.Set {
		return
	}
	v, err := acquisition.ParseOrder(letters.V)
	if err != nil {
		return // said by the decoder
	}
	if len(letters.V) == 2 && words > 1 {
		o.l.add(letters.At, s, pdOrderLetters, letters.V, strconv.Itoa(words))
	}
	into.Order = v
}

// sentinels reads bits and reasons.
func (o *loader) sentinels(s subject, e *entries[value[string]], words int) []acquisition.Sentinel {
	var out []acquisition.Sentinel
	for i := range e.V {
		var bits raw
		if !bits.parse(e.V[i].Key) || words < 4 && uint64(bits)>>(16*words) != 0 {
			o.l.add(e.V[i].At, s, pdSentinelBits, e.V[i].Key, strconv.Itoa(16*words))
			continue
		}
		r, ok := o.reason(s, e.V[i].V)
		if ok {
			out = append(out, acquisition.Sentinel{Raw: uint64(bits), Reason: r})
		}
	}
	return out
}

func (o *loader) reason(s subject, v value[string]) (acquisition.Reason, bool) {
	r, err := acquisition.ParseReason(v.V)
	if err == nil && r != acquisition.ReasonNone {
		return r, true
	}
	var names []string // what devices say in place of a value
	for _, r := range []acquisition.Reason{
		acquisition.ReasonNaN, acquisition.ReasonNoData, acquisition.ReasonOverRange, acquisition.ReasonUnderRange, acquisition.ReasonDeviceFault, acquisition.ReasonBusy,
	} {
		names = append(names, r.String())
	}
	if near := nearest(v.V, names); near != "" {
		o.l.add(v.At, s, pdReasonNear, v.V, near)
	} else {
		o.l.add(v.At, s, pdReason, v.V, strings.Join(names, ", "))
	}
	return 0, false
}

// rangeOf checks that a range has two different ends in order.
func (o *loader) rangeOf(s subject, r *many[float64]) (low, high float64) {
	if len(r.V) != 2 {
		return 0, 0
	}
	low, high = r.V[0].V, r.V[1].V
	if low >= high {
		o.l.add(r.V[0].At, s, pdRange, number(low), number(high))
		return 0, 0
	}
	return low, high
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 12, 64) }

// modelOverlaps refuses two registers of a model that share words, bit fields
// apart, because one of the two addresses is a mistake.
func (o *loader) modelOverlaps(m *Model) {
	for i := range m.Registers {
		a := &m.Registers[i]
		for j := range i {
			b := &m.Registers[j]
			apart := a.Table != b.Table || int(a.Address) >= int(b.Address)+b.Words() || int(b.Address) >= int(a.Address)+a.Words()
			bits := a.Address == b.Address && (a.Decoding.Bits > 0 || b.Decoding.Bits > 0 || a.Decoding.Type == acquisition.TypeBool && b.Decoding.Type == acquisition.TypeBool && a.Decoding.Bit != b.Decoding.Bit)
			if !apart && !bits {
				o.l.add(a.Place, subject{"register", a.Name}, pdOverlap, a.Name, b.Name)
			}
		}
	}
}

// modelProofs takes identity, constants and vectors.
func (o *loader) modelProofs(m *Model) {
	take := func(all sections[checkFile], kind string) []Constant {
		var out []Constant
		for i := range all.V {
			c := &all.V[i].V
			s := subject{kind, strconv.Itoa(i + 1)}
			r := o.registerNamed(m, c.Register, s)
			if r != nil && c.Raw.Set && len(c.Raw.V) != 2*r.Words() {
				o.l.add(c.Raw.At, s, pdRawLength, strconv.Itoa(len(c.Raw.V)), strconv.Itoa(2*r.Words()))
			}
			out = append(out, Constant{Register: c.Register.V, Raw: c.Raw.V, Page: c.Page.V, Place: all.V[i].At})
		}
		return out
	}
	m.Identity = take(m.file.Identity, "identity check")
	m.Constants = take(m.file.Check, "constant")
	for i := range m.file.Vectors.V {
		v := &m.file.Vectors.V[i].V
		s := subject{"vector", strconv.Itoa(i + 1)}
		r := o.registerNamed(m, v.Register, s)
		if v.Value.absent() == v.Reason.absent() {
			o.l.add(m.file.Vectors.V[i].At, s, pdValueOrReason)
			continue
		}
		if r != nil && v.Raw.Set && len(v.Raw.V) != 2*r.Words() {
			o.l.add(v.Raw.At, s, pdRawLength, strconv.Itoa(len(v.Raw.V)), strconv.Itoa(2*r.Words()))
			continue
		}
		x := Vector{
			Register: v.Register.V, Raw: v.Raw.V, Value: v.Value.V, Within: v.Within.V, Page: v.Page.V,
			Printed: v.From.V == "printed", Place: m.file.Vectors.V[i].At,
		}
		if v.Reason.Set {
			x.Reason, _ = o.reason(s, v.Reason)
		}
		m.Vectors = append(m.Vectors, x)
	}
	for i := range m.Registers {
		r := &m.Registers[i]
		if r.DecimalsFrom != "" && m.Register(r.DecimalsFrom) == nil {
			o.registerNamed(m, value[string]{V: r.DecimalsFrom, At: r.Place, Set: true}, subject{"register", r.Name})
		}
	}
}

func (o *loader) registerNamed(m *Model, name value[string], s subject) *Register {
	if r := m.Register(name.V); r != nil {
		return r
	}
	if near := nearest(name.V, m.names()); near != "" {
		o.l.add(name.At, s, pdRegisterNear, name.V, near, m.Name)
	} else {
		o.l.add(name.At, s, pdRegisterUnknown, name.V, m.Name, strings.Join(m.names(), ", "))
	}
	return nil
}

// checkVectors reads each vector as a service would and refuses a model that
// contradicts its own document.
func (o *loader) checkVectors(m *Model) {
	for i := range m.Vectors {
		v := &m.Vectors[i]
		r := m.Register(v.Register)
		if r == nil || r.String > 0 {
			continue
		}
		got, reason := r.Read(v.Raw)
		s := subject{"vector", strconv.Itoa(i + 1)}
		switch {
		case v.Reason != acquisition.ReasonNone:
			if reason != v.Reason {
				o.l.add(v.Place, s, pdVector, fmt.Sprintf("% X", v.Raw), reading(got, reason), v.Reason.String())
			}
		case reason != acquisition.ReasonNone || math.Abs(got-v.Value) > max(v.Within, 1e-6*math.Abs(v.Value)):
			o.l.add(v.Place, s, pdVector, fmt.Sprintf("% X", v.Raw), reading(got, reason), number(v.Value))
		}
	}
}

// reading names a value, or the reason why there is none.
func reading(v float64, r acquisition.Reason) string {
	if r != acquisition.ReasonNone {
		return r.String()
	}
	return number(v)
}

// Read returns the value, in the register's own unit, of its bytes as they
// travel. Registers whose decimals come from another register are read as if
// that held 0.
func (r *Register) Read(wire []byte) (float64, acquisition.Reason) {
	words := make([]uint16, len(wire)/2)
	for i := range words {
		words[i] = uint16(wire[2*i])<<8 | uint16(wire[2*i+1])
	}
	g := &acquisition.Group{Words: len(words), Channels: []acquisition.Channel{{Decoding: r.Decoding}}}
	dec, err := acquisition.NewDecoder(g, nil)
	if err != nil {
		return math.NaN(), acquisition.ReasonDecode
	}
	var v [1]float64
	var q [1]acquisition.Quality
	dec.Decode(words, nil, nil, v[:], q[:])
	return v[0], q[0].Reason()
}
