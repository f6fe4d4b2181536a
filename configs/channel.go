package configs

import (
	"slices"
	"strconv"
	"strings"

	"pneudaq/acquisition"
)

func (o *loader) channels(r *Rig) {
	ids := map[string]Place{}
	for i := range r.file.Channels.V {
		e := &r.file.Channels.V[i]
		f := &e.V
		s := subject{"channel", e.Key}
		c := Channel{Place: e.At, file: f, Group: f.Group.V, Accuracy: text(f.Accuracy)}
		c.Name, c.Unit = e.Key, f.Unit.V
		c.ID = r.Name + "/" + e.Key
		keep(&c.ID, f.ID)
		c.Display, c.Writable = f.DisplayOnly.V, f.Writable.V
		if before, taken := ids[c.ID]; taken {
			o.l.add(f.ID.At, s, pdIDTwice, c.ID, before.String())
		}
		ids[c.ID] = e.At
		if f.Group.Set {
			reference(o, f.Group, s, "group", r.Groups, func(g *Group) string { return g.Name })
		}
		c.Low, c.High = o.rangeOf(s, &f.Range)
		unit := o.channelUnit(f.Unit, s)
		o.channelOrigin(r, &c, s, unit)
		o.accuracy(f.Accuracy, unit, s)
		if f.Instrument.Set {
			c.Instrument = o.instrument(f.Instrument, r.origin, s)
			o.instrumentUnit(&c, unit, s)
		}
		r.Channels = append(r.Channels, c)
	}
	o.sameRegister(r)
}

// text returns an accuracy as a person wrote it.
func text(a value[accuracy]) string {
	if !a.Set {
		return ""
	}
	return number(a.V.Value) + " " + a.V.Of
}

// channelUnit returns the unit that a channel states, the plain ratio if it
// states none, nil if it is not known.
func (o *loader) channelUnit(v value[string], s subject) *acquisition.Unit {
	if v.absent() {
		return &acquisition.Unit{Dimension: acquisition.Ratio, Factor: 1, Name: "1"}
	}
	if u, ok := o.unit(v, s); ok {
		return &u
	}
	return nil
}

// accuracy checks the unit of a half width: it may be a difference.
func (o *loader) accuracy(a value[accuracy], unit *acquisition.Unit, s subject) {
	if !a.Set || a.V.Of == "" || a.V.Of == "% rdg" || a.V.Of == "% FS" {
		return
	}
	u, ok := o.unit(value[string]{V: a.V.Of, At: a.At, Set: true}, s)
	if !ok || unit == nil {
		return
	}
	same := u.Dimension == unit.Dimension
	pressure := strings.Contains(string(u.Dimension), "pressure") && strings.Contains(string(unit.Dimension), "pressure")
	temperature := strings.Contains(string(u.Dimension), "temperature") && strings.Contains(string(unit.Dimension), "temperature")
	if !same && !pressure && !temperature {
		o.l.add(a.At, s, pdAccuracyUnit, u.Name, string(u.Dimension), unit.Name, string(unit.Dimension))
	}
}

// channelOrigin finds out where a channel's value comes from.
func (o *loader) channelOrigin(r *Rig, c *Channel, s subject, unit *acquisition.Unit) {
	f := c.file
	loc, stated := o.locate(s, located{TableCoil, f.Coil}, located{TableDiscrete, f.Discrete},
		located{TableInput, f.Input}, located{TableHolding, f.Holding}, located{TableFIFO, f.FIFO})
	var device *Device
	if f.Device.Set {
		device = reference(o, f.Device, s, "device", r.Devices, func(d *Device) string { return d.Name })
		c.Device = f.Device.V
		if device != nil {
			c.Bus = device.Bus
		}
	}
	payload := f.Field.Set || f.Topic.Set
	switch {
	case f.Borrow.Set:
		o.borrow(r, c, s)
	case stated || f.Register.Set:
		if f.Device.absent() {
			o.l.add(c.Place, s, pdMissingKey, "device", "the device that the register belongs to")
			return
		}
		if device == nil {
			return
		}
		if bus := r.Bus(device.Bus); bus != nil && bus.MQTT {
			o.l.add(c.Place, s, pdRegisterOnMQTT, device.Name, bus.Name)
			return
		}
		o.registerChannel(c, s, device, loc, unit)
	case payload, o.ofMQTT(r, c, device):
		o.payloadChannel(r, c, s, device, unit)
	default:
		if wrong := slices.ContainsFunc([]value[address]{f.Coil, f.Discrete, f.Input, f.Holding, f.FIFO}, func(a value[address]) bool { return !a.absent() }); !wrong && f.Register.absent() && (f.Device.absent() || device != nil) {
			o.l.add(c.Place, s, pdNoOrigin)
		}
	}
	if c.Writable && c.Origin != FromRegister {
		o.l.add(f.Writable.At, s, pdNotWritable)
		c.Writable = false
	}
}

// ofMQTT says whether the channel's group arrives through a broker.
func (*loader) ofMQTT(r *Rig, c *Channel, device *Device) bool {
	name := ""
	if device != nil {
		name = device.Bus
	} else if g := r.Group(c.Group); g != nil {
		name = g.Bus
	}
	b := r.Bus(name)
	return b != nil && b.MQTT
}

func (o *loader) borrow(r *Rig, c *Channel, s subject) {
	f := c.file
	c.Origin = FromOtherRig
	c.Decoding.Origin = acquisition.FromNumbers
	rig, channel, ok := strings.Cut(f.Borrow.V, "/")
	if !ok || rig == "" || channel == "" || strings.Contains(channel, "/") {
		o.l.add(f.Borrow.At, s, pdBorrowForm, f.Borrow.V)
		return
	}
	if rig == r.Name {
		o.l.add(f.Borrow.At, s, pdBorrowSelf, channel)
		return
	}
	c.LenderRig, c.Lender, c.MaxAge = rig, channel, f.MaxAge.V
	if f.Unit.absent() {
		o.l.add(c.Place, s, pdMissingKey, "unit", "unit of the channel; the lender's is converted")
	}
	if g := r.Group(c.Group); g != nil && c.MaxAge == 0 {
		c.MaxAge = 10 * g.Period
	}
	c.Address = "borrowed from " + f.Borrow.V
}

// registerChannel resolves a channel that is read from a register: by the
// name of the model's register, or stated and then compared with the model.
func (o *loader) registerChannel(c *Channel, s subject, d *Device, loc located, unit *acquisition.Unit) {
	f := c.file
	if f.Register.Set && loc.table != "" {
		o.l.add(loc.at.At, s, pdTwoAddresses, "register", loc.table)
		return
	}
	if f.Texts.Set {
		o.l.add(f.Texts.At, s, pdOnlyMQTT, "texts")
	}
	if f.Register.Set {
		o.namedRegister(c, s, d, unit)
		return
	}
	c.Table = loc.table
	bits := loc.table == TableCoil || loc.table == TableDiscrete
	switch {
	case f.Type.Set:
		if t, err := acquisition.ParseType(f.Type.V); err == nil {
			c.Decoding.Type = t
		}
	case !bits && f.Type.absent():
		o.l.add(c.Place, s, pdMissingKey, "type", "how the bits are read, for example float32")
	}
	o.bitTable(s, loc.table, f.Type, c.Decoding.Type)
	words := c.Decoding.Type.Words()
	o.order(s, f.Order, words, &c.Decoding)
	if words > 1 && f.Order.absent() && f.Type.Set && !bits {
		o.l.add(f.Type.At, s, pdOrderMissing, f.Type.V)
	}
	c.Register = o.wireAddress(s, loc, d.AddressBase, words, d.basePlace())
	o.channelBits(c, s, words)
	if f.Scale.Set && f.Scale.V == 0 {
		o.l.add(f.Scale.At, s, pdScaleZero)
	}
	if (f.Scale.Set || f.Offset.Set || f.RegisterUnit.Set) && bits {
		at := f.Scale.At
		if !f.Scale.Set {
			at = f.Offset.At
		}
		if at.Line == 0 {
			at = f.RegisterUnit.At
		}
		o.l.add(at, s, pdBitScale)
	}
	c.Decoding.Sentinels = o.sentinels(s, &f.Sentinels, words)
	if f.DecimalsFrom.Set {
		w := int(f.DecimalsFrom.V) - d.AddressBase
		if w < 0 {
			o.l.add(f.DecimalsFrom.At, s, pdBelowBase, d.basePlace().String())
		} else {
			a := uint16(w)
			c.DecimalsFrom = &a
		}
	}
	c.Atomic, c.Element = f.Atomic.V, f.Element.V
	if f.Element.Set && loc.table != TableFIFO {
		o.l.add(f.Element.At, s, pdOnlyFIFO)
	}
	if c.Writable && (loc.table == TableDiscrete || loc.table == TableInput || loc.table == TableFIFO) {
		o.l.add(f.Writable.At, s, pdReadOnlyTable, loc.table)
	}
	if unit == nil {
		return
	}
	from := *unit
	if f.RegisterUnit.Set {
		ru, ok := o.unit(f.RegisterUnit, s)
		if !ok {
			return
		}
		if !o.sameDimension(f.RegisterUnit.At, s, ru, *unit) {
			return
		}
		from = ru
	}
	c.Decoding.Scale, c.Decoding.Offset = convert(f.Scale.V, f.Offset.V, from, *unit)
	if d.Model != nil {
		o.compareWithModel(c, s, d, loc, from, *unit)
	}
}

func (o *loader) channelBits(c *Channel, s subject, words int) {
	f := c.file
	if f.Bit.Set {
		c.Decoding.Bit = uint8(f.Bit.V)
	}
	if f.Bits.Set {
		c.Decoding.Bits = uint8(f.Bits.V)
	}
	width := max(1, f.Bits.V)
	if (f.Bit.Set || f.Bits.Set) && f.Bit.V+width > 16*words {
		at := f.Bit.At
		if !f.Bit.Set {
			at = f.Bits.At
		}
		o.l.add(at, s, pdBitRange, strconv.Itoa(f.Bit.V), strconv.Itoa(width), strconv.Itoa(16*words))
	}
	if f.Bit.Set && !f.Bits.Set && c.Decoding.Type != acquisition.TypeBool {
		o.l.add(f.Bit.At, s, pdBitsMissing)
	}
}

// sameDimension reports units that no factor connects.
func (o *loader) sameDimension(at Place, s subject, from, to acquisition.Unit) bool {
	if from.Dimension == to.Dimension {
		return true
	}
	o.l.add(at, s, pdDimension, from.Name, string(from.Dimension), to.Name, string(to.Dimension), unitHint(from, to))
	return false
}

// namedRegister takes everything from the model.
func (o *loader) namedRegister(c *Channel, s subject, d *Device, unit *acquisition.Unit) {
	f := c.file
	if d.Model == nil {
		if !d.file.Model.Set {
			o.l.add(f.Register.At, s, pdNoModel, d.Name)
		}
		return
	}
	for _, k := range []statedKey{
		{"type", f.Type.Set, f.Type.At},
		{"order", f.Order.Set, f.Order.At},
		{"scale", f.Scale.Set, f.Scale.At},
		{"offset", f.Offset.Set, f.Offset.At},
		{"register_unit", f.RegisterUnit.Set, f.RegisterUnit.At},
		{"bit", f.Bit.Set, f.Bit.At},
		{"bits", f.Bits.Set, f.Bits.At},
		{"decimals_from", f.DecimalsFrom.Set, f.DecimalsFrom.At},
		{"sentinels", f.Sentinels.Set, f.Sentinels.At},
	} {
		if k.set {
			o.l.add(k.at, s, pdModelSays, k.name, f.Register.V)
		}
	}
	reg := o.registerNamed(d.Model, f.Register, s)
	if reg == nil {
		return
	}
	if reg.String > 0 {
		o.l.add(f.Register.At, s, pdTextRegister, reg.Name)
		return
	}
	c.Table, c.Register, c.RegisterName, c.Atomic = reg.Table, reg.Address, reg.Name, reg.Atomic
	c.Decoding = reg.Decoding
	c.Display = c.Display || reg.Display
	if c.Writable && !reg.Writable {
		o.l.add(f.Writable.At, s, pdModelReadOnly, reg.Name)
	}
	if reg.DecimalsFrom != "" {
		if dec := d.Model.Register(reg.DecimalsFrom); dec != nil {
			c.DecimalsFrom = &dec.Address
		}
	}
	if unit == nil {
		return
	}
	from, ok := o.registerUnit(f.Unit, f.Register.At, c, s, d, reg, *unit)
	if !ok {
		return
	}
	c.Decoding.Scale, c.Decoding.Offset = convert(reg.Decoding.Scale, reg.Decoding.Offset, from, *unit)
	if c.Low == c.High && reg.Low != reg.High {
		c.Low, c.High = from.ToSI(reg.Low), from.ToSI(reg.High)
		c.Low, c.High = unit.FromSI(c.Low), unit.FromSI(c.High)
	}
}

// registerUnit returns the unit that a model's register has on a device.
func (o *loader) registerUnit(stated value[string], at Place, c *Channel, s subject, d *Device, reg *Register, unit acquisition.Unit) (acquisition.Unit, bool) {
	name := d.Units[reg.Name]
	if name == "" {
		switch {
		case len(reg.Units) == 0:
			name = "1"
		case len(reg.Units) == 1 && reg.Units[0] != unitConfigured:
			name = reg.Units[0]
		default:
			example := unit.Name
			if reg.Units[0] != unitConfigured {
				example = strings.Join(reg.Units, " or ")
			}
			o.l.add(at, s, pdUnitOpen, reg.Name, d.Model.Name, d.Name, example)
			return acquisition.Unit{}, false
		}
	}
	from, err := acquisition.LookupUnit(name)
	if err != nil {
		return from, false // said where it is written
	}
	if stated.Set {
		at = stated.At
	}
	if !stated.Set && name != "1" {
		o.l.add(c.Place, s, pdMissingKey, "unit", "unit of the channel; the register has "+name)
		return from, false
	}
	return from, o.sameDimension(at, s, from, unit)
}

// compareWithModel names what a stated register has that the model's has not.
func (o *loader) compareWithModel(c *Channel, s subject, d *Device, loc located, from, unit acquisition.Unit) {
	m := d.Model
	reg := m.at(c.Table, c.Register)
	if reg == nil {
		o.noSuchRegister(c, s, m, loc)
		return
	}
	c.RegisterName = reg.Name
	f := c.file
	if reg.String > 0 {
		o.l.add(loc.at.At, s, pdTextRegister, reg.Name)
		return
	}
	if reg.Decoding.Type != c.Decoding.Type || reg.Decoding.Bits != c.Decoding.Bits || reg.Decoding.Bit != c.Decoding.Bit {
		at := f.Type.At
		if !f.Type.Set {
			at = loc.at.At
		}
		o.l.add(at, s, pdModelType, c.Decoding.Type.String(), m.Name, reg.Name, reg.Decoding.Type.String())
		return
	}
	if reg.Words() > 1 && reg.Decoding.Order != c.Decoding.Order || reg.Words() == 1 && (reg.Decoding.Order^c.Decoding.Order)&2 != 0 {
		o.l.add(f.Order.At, s, pdModelOrder, c.Decoding.Order.String(), m.Name, reg.Name, reg.Decoding.Order.String())
	}
	if c.Writable && !reg.Writable {
		o.l.add(f.Writable.At, s, pdModelReadOnly, reg.Name)
	}
	c.Decoding.NegativeAbove = reg.Decoding.NegativeAbove
	if len(c.Decoding.Sentinels) == 0 {
		c.Decoding.Sentinels = reg.Decoding.Sentinels
	}
	if c.Atomic == "" {
		c.Atomic = reg.Atomic
	}
	c.Display = c.Display || reg.Display
	o.compareUnits(c, s, d, reg, from, unit)
}

// compareUnits checks that scale and unit of a stated register mean the same
// as the model's.
func (o *loader) compareUnits(c *Channel, s subject, d *Device, reg *Register, from, unit acquisition.Unit) {
	f := c.file
	at := f.Unit.At
	if f.RegisterUnit.Set {
		at = f.RegisterUnit.At
	}
	if at.Line == 0 {
		at = c.Place
	}
	truly, ok := o.registerUnit(value[string]{V: from.Name, At: at, Set: true}, at, c, s, d, reg, from)
	if !ok {
		return
	}
	wantScale, wantOffset := convert(reg.Decoding.Scale, reg.Decoding.Offset, truly, unit)
	near := func(a, b float64) bool {
		d := a - b
		return d*d <= 1e-18*max(a*a, b*b, 1e-12)
	}
	one := func(v float64) float64 {
		if v == 0 {
			return 1
		}
		return v
	}
	if near(one(c.Decoding.Scale), one(wantScale)) && near(c.Decoding.Offset, wantOffset) {
		return
	}
	if truly.Name != from.Name {
		o.l.add(at, s, pdModelUnitStated, from.Name, reg.Name, d.Name, truly.Name)
		return
	}
	if f.Scale.Set || !f.Offset.Set {
		if f.Scale.Set {
			at = f.Scale.At
		}
		o.l.add(at, s, pdModelScale, number(one(f.Scale.V)), number(f.Offset.V), reg.Name, number(one(reg.Decoding.Scale)), number(reg.Decoding.Offset))
		return
	}
	o.l.add(f.Offset.At, s, pdModelScale, number(one(f.Scale.V)), number(f.Offset.V), reg.Name, number(one(reg.Decoding.Scale)), number(reg.Decoding.Offset))
}

// noSuchRegister says what is near an address that the model does not have.
func (o *loader) noSuchRegister(c *Channel, s subject, m *Model, loc located) {
	shown := func(r *Register) string { return hexAddress(int(r.Address) + m.AddressBase) }
	for _, table := range []string{TableHolding, TableInput, TableCoil, TableDiscrete} {
		if r := m.at(table, c.Register); r != nil && table != c.Table {
			o.l.add(loc.at.At, s, pdModelTable, c.Table, m.Name, r.Name, table)
			return
		}
	}
	words := c.Decoding.Type.Words()
	var beside *Register
	for i := range m.Registers {
		r := &m.Registers[i]
		if r.Table != c.Table {
			continue
		}
		a, b := int(r.Address), int(c.Register)
		if b < a+r.Words() && a < b+words {
			o.l.add(loc.at.At, s, pdModelInside, hexAddress(int(loc.at.V)), m.Name, r.Name, shown(r))
			return
		}
		if a == b+1 || b == a+r.Words() {
			beside = r
		}
	}
	if beside != nil && int(c.Register)-int(beside.Address) == 1 || beside != nil && int(beside.Address)-int(c.Register) == 1 {
		o.l.add(loc.at.At, s, pdModelInside, hexAddress(int(loc.at.V)), m.Name, beside.Name, shown(beside))
		return
	}
	o.l.warn(loc.at.At, s, pdModelAbsent, c.Table, hexAddress(int(loc.at.V)), m.Name)
}

func hexAddress(a int) string {
	h := strings.ToUpper(strconv.FormatInt(int64(a), 16))
	return "0x" + strings.Repeat("0", max(0, 4-len(h))) + h
}

// payloadChannel resolves a channel that comes in messages.
func (o *loader) payloadChannel(r *Rig, c *Channel, s subject, d *Device, unit *acquisition.Unit) {
	f := c.file
	c.Origin = FromPayload
	c.Decoding.Origin = acquisition.FromNumbers
	c.Topic, c.Field = f.Topic.V, f.Field.V
	for i := range f.Texts.V {
		if c.Texts == nil {
			c.Texts = map[string]float64{}
		}
		c.Texts[f.Texts.V[i].Key] = f.Texts.V[i].V.V
	}
	for _, k := range []statedKey{
		{"type", f.Type.Set, f.Type.At},
		{"order", f.Order.Set, f.Order.At},
		{"bit", f.Bit.Set, f.Bit.At},
		{"bits", f.Bits.Set, f.Bits.At},
		{"decimals_from", f.DecimalsFrom.Set, f.DecimalsFrom.At},
		{"atomic", f.Atomic.Set, f.Atomic.At},
		{"sentinels", f.Sentinels.Set, f.Sentinels.At},
	} {
		if k.set {
			o.l.add(k.at, s, pdOnlyModbus, k.name)
		}
	}
	g := r.Group(c.Group)
	if g != nil && d == nil && g.file.Device.Set {
		c.Device = g.file.Device.V
	}
	if g != nil {
		if c.Bus == "" {
			c.Bus = g.Bus
		}
		if g.file.Payload.Set && g.file.Payload.V.Format.V != "number" && f.Field.absent() {
			o.l.add(c.Place, s, pdMissingKey, "field", "where the value is in the payload")
		}
		if len(g.file.Topics.V) == 0 && f.Topic.absent() {
			o.l.add(c.Place, s, pdNoTopic, c.Group)
		}
	}
	if f.Scale.Set && f.Scale.V == 0 {
		o.l.add(f.Scale.At, s, pdScaleZero)
	}
	if unit == nil {
		return
	}
	from := *unit
	if f.RegisterUnit.Set {
		ru, ok := o.unit(f.RegisterUnit, s)
		if !ok || !o.sameDimension(f.RegisterUnit.At, s, ru, *unit) {
			return
		}
		from = ru
	}
	c.Decoding.Scale, c.Decoding.Offset = convert(f.Scale.V, f.Offset.V, from, *unit)
}

// sameRegister warns of two channels that read the same bits.
func (o *loader) sameRegister(r *Rig) {
	type key struct {
		device, table string
		address       uint16
		bit, bits     uint8
	}
	seen := map[key]*Channel{}
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Origin != FromRegister || c.Table == "" || c.Table == TableFIFO {
			continue
		}
		k := key{c.Device, c.Table, c.Register, c.Decoding.Bit, c.Decoding.Bits}
		if before := seen[k]; before != nil {
			o.l.warn(c.Place, subject{"channel", c.Name}, pdSameRegister, before.Name, before.Place.String())
		}
		seen[k] = c
	}
}

// derived adds the channels that are computed.
func (o *loader) derived(r *Rig) {
	for i := range r.file.Derived.V {
		e := &r.file.Derived.V[i]
		f := &e.V
		s := subject{"channel", e.Key}
		if before := r.Channel(e.Key); before != nil {
			o.l.add(e.At, s, pdChannelTwice, e.Key, before.Place.String())
			continue
		}
		c := Channel{Place: e.At, Group: f.Group.V, Origin: FromExpression, Accuracy: text(f.Accuracy)}
		c.Name, c.Unit = e.Key, f.Unit.V
		c.ID = r.Name + "/" + e.Key
		keep(&c.ID, f.ID)
		c.Low, c.High = o.rangeOf(s, &f.Range)
		c.Decoding.Origin, c.Decoding.Expression = acquisition.FromExpression, f.Expr.V
		c.Address = "computed: " + f.Expr.V
		o.accuracy(f.Accuracy, o.channelUnit(f.Unit, s), s)
		if f.Group.Set {
			reference(o, f.Group, s, "group", r.Groups, func(g *Group) string { return g.Name })
		}
		r.Channels = append(r.Channels, c)
	}
}

// safety checks limits, safe state and what writing to a rig needs.
func (o *loader) safety(r *Rig) {
	for i := range r.file.Safe.V {
		e := &r.file.Safe.V[i]
		s := subject{"safe state", e.Key}
		c := r.Channel(e.Key)
		if c == nil {
			reference(o, value[string]{V: e.Key, At: e.At, Set: true}, s, "channel", r.Channels, func(c *Channel) string { return c.Name })
			continue
		}
		if !c.Writable {
			o.l.add(e.At, s, pdSafeReadOnly, e.Key)
			continue
		}
		if c.Low != c.High && (e.V.V < c.Low || e.V.V > c.High) {
			o.l.add(e.V.At, s, pdSafeRange, number(e.V.V), number(c.Low), number(c.High), c.Unit)
		}
		r.Safe = append(r.Safe, acquisition.Setpoint{Channel: e.Key, Value: e.V.V})
	}
	h := &r.file.Heartbeat
	if h.Set && h.V.Channel.Set {
		if c := reference(o, h.V.Channel, subject{"heartbeat", ""}, "channel", r.Channels, func(c *Channel) string { return c.Name }); c != nil {
			if !c.Writable {
				o.l.add(h.V.Channel.At, subject{"heartbeat", ""}, pdSafeReadOnly, c.Name)
			}
			r.Heartbeat = &Heartbeat{Channel: c.Name, Period: h.V.Period.V}
		}
	}
	var first *Channel
	for i := range r.Channels {
		c := &r.Channels[i]
		if !c.Writable {
			continue
		}
		if d := r.Device(c.Device); first == nil && (d == nil || !d.Watchdog) {
			first = c
		}
		beat := h.Set && h.V.Channel.V == c.Name
		if len(r.file.Safe.V) == 0 && !beat && c.file != nil && c.file.Writable.Set {
			o.l.warn(c.file.Writable.At, subject{"channel", c.Name}, pdNotInSafe, c.Name)
		}
	}
	if first != nil && !h.Set {
		o.l.add(first.file.Writable.At, subject{"channel", first.Name}, pdNoHeartbeat)
	}
}
