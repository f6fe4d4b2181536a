package configs

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// DefaultMeasurement is the measurement of groups that state none.
const DefaultMeasurement = "pneumatics"

// Rig is one rig file with everything resolved.
type Rig struct {
	Name        string
	Site        string
	Description string
	File        string
	Buses       []Bus
	Devices     []Device
	Groups      []Group
	Channels    []Channel
	Limits      []Limit
	Safe        []acquisition.Setpoint
	Heartbeat   *Heartbeat
	Tick        time.Duration // commit this often while recording, 0: default
	Retention   Retention
	Delivery    Delivery
	Warnings    Problems // what is allowed and probably not meant

	file   *rigFile
	origin origin
	twin   map[string]*twinDevice
	loader *loader
}

// Bus is one connection.
type Bus struct {
	Name     string
	Endpoint string
	MQTT     bool
	Embedded bool // the service runs the broker at Endpoint
	Place    Place

	file *busFile
}

// Device is one device on a bus.
type Device struct {
	Name        string
	Bus         string
	Unit        int
	Model       *Model // nil: channels state everything
	AddressBase int
	Units       map[string]string // by register, as set on the device
	Watchdog    bool
	Place       Place

	file *deviceFile
}

// Group is channels acquired together.
type Group struct {
	acquisition.Group
	Bus   string
	Place Place

	file *groupFile
}

// Origin of a channel's value.
type Origin uint8

// The origins.
const (
	FromRegister Origin = iota
	FromPayload
	FromOtherRig
	FromExpression
)

// Channel is one channel with everything that its origin needs.
type Channel struct {
	acquisition.Channel
	Group        string
	Bus          string
	Origin       Origin
	Table        string
	Register     uint16 // wire address
	RegisterName string // of the model, "" if none
	DecimalsFrom *uint16
	Element      int // of a queue
	Atomic       string
	Topic        string
	Field        string
	Texts        map[string]float64
	LenderRig    string
	Lender       string // channel of the lender
	MaxAge       time.Duration
	Accuracy     string
	Instrument   *Instrument
	Place        Place

	file *channelFile
}

// Limit is a condition that is watched while the rig is acquired.
type Limit struct {
	Name  string
	Group string
	When  string // condition over the channels of the group; Compile gives 1 where it holds
	For   time.Duration
	Do    string // warn, stop, safe
	Text  string
	Place Place
}

// Heartbeat is a sign of life written to the rig while it is armed.
type Heartbeat struct {
	Channel string
	Period  time.Duration
}

// Retention says how long the record is kept on this machine.
type Retention struct {
	Keep string // always, during_recordings, trend
	Days int    // 0: no limit
	Size int64  // bytes, 0: no limit
	// Outside is how long samples outside recordings stay when Keep is not
	// always; 0: the store's default.
	Outside time.Duration
}

// Bus returns the bus with a name, nil if there is none.
func (r *Rig) Bus(name string) *Bus {
	return pick(r.Buses, func(b *Bus) bool { return b.Name == name })
}

// Device returns the device with a name, nil if there is none.
func (r *Rig) Device(name string) *Device {
	return pick(r.Devices, func(d *Device) bool { return d.Name == name })
}

// Group returns the group with a name, nil if there is none.
func (r *Rig) Group(name string) *Group {
	return pick(r.Groups, func(g *Group) bool { return g.Name == name })
}

// Channel returns the channel with a name, nil if there is none.
func (r *Rig) Channel(name string) *Channel {
	return pick(r.Channels, func(c *Channel) bool { return c.Name == name })
}

func pick[T any](all []T, is func(*T) bool) *T {
	for i := range all {
		if is(&all[i]) {
			return &all[i]
		}
	}
	return nil
}

// rig turns a document into a rig.
func (o *loader) rig(d *document, from origin) *Rig {
	f := &rigFile{}
	warned := len(o.l.warnings)
	dec := &decoder{l: o.l}
	dec.structure(d.root, f)
	r := &Rig{
		Name: f.Rig.V, Site: f.Site.V, Description: f.Description.V, File: d.name, file: f, origin: from,
		Tick: f.Recording.V.Tick.V, twin: map[string]*twinDevice{}, loader: o,
	}
	if why := badName(r.Name, ""); f.Rig.Set && why != "" {
		o.l.add(f.Rig.At, subject{"rig", r.Name}, pdName, r.Name, why)
	}
	o.measurement(f.Measurement, subject{"rig", r.Name})
	o.buses(r)
	o.devices(r)
	o.groups(r)
	o.channels(r)
	o.derived(r)
	o.groupBuses(r)
	o.expressions(r)
	o.safety(r)
	o.simulate(r)
	r.Retention = retention(&f.Store.V)
	r.Delivery = o.delivery(&f.Influx, from)
	o.unused(r)
	r.Warnings = slices.Clone(o.l.warnings[warned:])
	return r
}

func retention(f *storeFile) Retention {
	r := Retention{Keep: f.Keep.V, Days: f.Days.V, Size: int64(f.Size.V), Outside: f.Outside.V}
	if r.Keep == "" {
		r.Keep = "always"
	}
	return r
}

// measurement refuses names that are ours.
func (o *loader) measurement(m value[string], s subject) {
	if strings.HasPrefix(m.V, "pneudaq_") {
		o.l.add(m.At, s, pdOurMeasurement, m.V)
	}
	if m.Set {
		if why := badName(m.V, ""); why != "" {
			o.l.add(m.At, s, pdName, m.V, why)
		}
	}
}

func (o *loader) buses(r *Rig) {
	for i := range r.file.Buses.V {
		e := &r.file.Buses.V[i]
		f := &e.V
		s := subject{"bus", e.Key}
		b := Bus{Name: e.Key, Place: e.At, file: f}
		switch {
		case f.Modbus.Set && f.MQTT.Set:
			o.l.add(f.MQTT.At, s, pdTwoProtocols)
		case f.Modbus.Set:
			b.Endpoint = f.Modbus.V
			o.endpoint(f.Modbus, s, "tcp", "tls", "rtu+tcp", "rtu")
		case f.MQTT.Set:
			b.Endpoint, b.MQTT = f.MQTT.V, true
			if f.MQTT.V == "embedded" {
				b.Endpoint = "mqtt://127.0.0.1:1883"
				b.Embedded = true
			} else {
				o.endpoint(f.MQTT, s, "mqtt", "mqtts")
			}
		case f.Modbus.absent() && f.MQTT.absent():
			o.l.add(e.At, s, pdNoProtocol)
		}
		if f.Broker.V == "embedded" {
			b.Embedded = true
			if !b.MQTT {
				o.l.add(f.Broker.At, s, pdOnlyMQTT, "broker")
			}
		}
		o.busKeys(b, s)
		r.Buses = append(r.Buses, b)
	}
}

// statedKey is a key of a file with whether and where it is given.
type statedKey struct {
	name string
	set  bool
	at   Place
}

// busKeys refuses keys of the other protocol.
func (o *loader) busKeys(b Bus, s subject) {
	f := b.file
	if b.Endpoint == "" {
		return
	}
	modbusOnly := []statedKey{
		{"timeout", f.Timeout.Set, f.Timeout.At},
		{"retries", f.Retries.Set, f.Retries.At},
		{"inflight", f.Inflight.Set, f.Inflight.At},
		{"pause", f.Pause.Set, f.Pause.At},
		{"gap_limit", f.GapLimit.Set, f.GapLimit.At},
	}
	mqttOnly := []statedKey{
		{"client_id", f.ClientID.Set, f.ClientID.At},
		{"username", f.Username.Set, f.Username.At},
		{"password_file", f.PasswordFile.Set, f.PasswordFile.At},
		{"keep_alive", f.KeepAlive.Set, f.KeepAlive.At},
		{"window", f.Window.Set, f.Window.At},
		{"max_packet", f.MaxPacket.Set, f.MaxPacket.At},
		{"max_topics", f.MaxTopics.Set, f.MaxTopics.At},
	}
	for _, k := range modbusOnly {
		if k.set && b.MQTT {
			o.l.add(k.at, s, pdOnlyModbus, k.name)
		}
	}
	for _, k := range mqttOnly {
		if k.set && !b.MQTT {
			o.l.add(k.at, s, pdOnlyMQTT, k.name)
		}
	}
	if f.Inflight.V > 1 && strings.HasPrefix(b.Endpoint, "rtu") {
		o.l.add(f.Inflight.At, s, pdInflightRTU, strconv.Itoa(f.Inflight.V))
	}
	if (f.CAFile.Set || f.CertFile.Set || f.KeyFile.Set || f.ServerName.Set) && !strings.HasPrefix(b.Endpoint, "tls:") && !strings.HasPrefix(b.Endpoint, "mqtts:") {
		at := f.CAFile.At
		for _, v := range []value[string]{f.CertFile, f.KeyFile, f.ServerName} {
			if at.Line == 0 {
				at = v.At
			}
		}
		o.l.add(at, s, pdTLSKeys)
	}
	if f.CertFile.Set != f.KeyFile.Set {
		at := f.CertFile.At
		if f.KeyFile.Set {
			at = f.KeyFile.At
		}
		o.l.add(at, s, pdCertAndKey)
	}
}

// endpoint checks what can be checked of an address without the network.
func (o *loader) endpoint(v value[string], s subject, schemes ...string) {
	if strings.Contains(v.V, "@") && !strings.HasPrefix(v.V, "rtu:") {
		o.l.add(v.At, s, pdSecretInURL)
		return
	}
	u, err := url.Parse(v.V)
	if err != nil || u.Scheme == "" || !strings.Contains(v.V, "://") {
		o.l.add(v.At, s, pdEndpoint, v.V, strings.Join(schemes, "://..., ")+"://...")
		return
	}
	if !slices.Contains(schemes, u.Scheme) {
		if near := nearest(u.Scheme, schemes); near != "" {
			o.l.add(v.At, s, pdSchemeNear, u.Scheme, near, strings.Join(schemes, ", "))
		} else {
			o.l.add(v.At, s, pdScheme, u.Scheme, strings.Join(schemes, ", "))
		}
		return
	}
	if u.Scheme == "rtu" {
		if u.Host+u.Path == "" {
			o.l.add(v.At, s, pdEndpoint, v.V, "rtu:///dev/ttyUSB0?baud=19200&parity=E&stop=1")
		}
		return
	}
	if u.Hostname() == "" {
		o.l.add(v.At, s, pdHost, v.V)
		return
	}
	port := u.Port()
	if port == "" && u.Scheme == "rtu+tcp" {
		o.l.add(v.At, s, pdPort, v.V)
		return
	}
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			o.l.add(v.At, s, pdPort, v.V)
		}
	}
}

// reference finds what a key names; the error says what there is.
func reference[T any](o *loader, v value[string], s subject, kind string, all []T, name func(*T) string) *T {
	var names []string
	for i := range all {
		n := name(&all[i])
		if n == v.V {
			return &all[i]
		}
		names = append(names, n)
	}
	if len(names) == 0 && len(o.l.errors) > 0 {
		return nil // the whole section is wrong or missing, which was said
	}
	if near := nearest(v.V, names); near != "" {
		o.l.add(v.At, s, pdReferenceNear, kind, v.V, near)
	} else {
		o.l.add(v.At, s, pdReference, kind, v.V, strings.Join(names, ", "))
	}
	return nil
}

func (o *loader) devices(r *Rig) {
	units := map[string]*Device{}
	for i := range r.file.Devices.V {
		e := &r.file.Devices.V[i]
		f := &e.V
		s := subject{"device", e.Key}
		d := Device{Name: e.Key, Bus: f.Bus.V, Unit: 1, Watchdog: f.Watchdog.V, Place: e.At, file: f, Units: map[string]string{}}
		keep(&d.Unit, f.Unit)
		var bus *Bus
		if f.Bus.Set {
			bus = reference(o, f.Bus, s, "bus", r.Buses, func(b *Bus) string { return b.Name })
		}
		if f.Model.Set {
			d.Model = o.model(f.Model, r.origin, s)
			if d.Model != nil {
				d.AddressBase = d.Model.AddressBase
			}
		}
		if bus != nil && !bus.MQTT {
			o.modbusDevice(&d, bus, s, units)
		}
		if bus != nil && bus.MQTT && f.Unit.Set {
			o.l.add(f.Unit.At, s, pdOnlyModbus, "unit")
		}
		for j := range f.Units.V {
			u := &f.Units.V[j]
			if d.Model == nil {
				if !f.Model.Set {
					o.l.add(u.At, s, pdUnitsWithoutModel)
				}
				continue
			}
			o.unit(u.V, s)
			if reg := o.registerNamed(d.Model, value[string]{V: u.Key, At: u.At, Set: true}, s); reg != nil {
				o.deviceUnit(reg, u.V, s)
				d.Units[u.Key] = u.V.V
			}
		}
		r.Devices = append(r.Devices, d)
	}
}

func (o *loader) modbusDevice(d *Device, bus *Bus, s subject, units map[string]*Device) {
	f := d.file
	switch {
	case f.AddressBase.Set:
		if d.Model != nil && f.AddressBase.V != d.Model.AddressBase {
			o.l.add(f.AddressBase.At, s, pdModelBase, strconv.Itoa(f.AddressBase.V), d.Model.Name, strconv.Itoa(d.Model.AddressBase))
		}
		d.AddressBase = f.AddressBase.V
	case d.Model == nil && f.Model.absent() && f.AddressBase.absent():
		o.l.add(d.Place, s, pdMissingKey, "address_base", "0: addresses as on the wire; 1: the first register is number 1; never guessed")
	}
	if strings.HasPrefix(bus.Endpoint, "rtu") && (d.Unit < 1 || d.Unit > 247) {
		o.l.add(f.Unit.At, s, pdUnitID, strconv.Itoa(d.Unit))
	}
	key := bus.Name + "/" + strconv.Itoa(d.Unit)
	if other := units[key]; other != nil {
		o.l.add(d.unitPlace(), s, pdUnitTaken, strconv.Itoa(d.Unit), bus.Name, other.Name, other.unitPlace().String())
	}
	before := *d
	units[key] = &before
}

// unitPlace is where a device's unit id is written, or the device.
func (d *Device) unitPlace() Place {
	if d.file.Unit.Set {
		return d.file.Unit.At
	}
	return d.Place
}

// basePlace is where it is said from what number a device counts.
func (d *Device) basePlace() Place {
	if !d.file.AddressBase.Set && d.Model != nil && d.Model.file.AddressBase.Set {
		return d.Model.file.AddressBase.At
	}
	if d.file.AddressBase.Set {
		return d.file.AddressBase.At
	}
	return d.Place
}

// deviceUnit checks that the model lets the device have a unit.
func (o *loader) deviceUnit(reg *Register, u value[string], s subject) {
	if len(reg.Units) == 0 || slices.Contains(reg.Units, unitConfigured) || slices.Contains(reg.Units, u.V) {
		return
	}
	o.l.add(u.At, s, pdModelUnit, u.V, reg.Name, strings.Join(reg.Units, ", "))
}

// unit checks the name of a unit.
func (o *loader) unit(v value[string], s subject) (acquisition.Unit, bool) {
	u, err := acquisition.LookupUnit(v.V)
	if err == nil {
		return u, true
	}
	low := strings.ToLower(v.V)
	switch low {
	case "c", "°c", "celsius", "deg_c", "℃":
		o.l.add(v.At, s, pdUnitNear, v.V, "degC")
		return u, false
	case "":
		return u, false
	}
	var near, all []string
	base, _, _ := strings.Cut(low, "_")
	for _, x := range acquisition.Units() {
		all = append(all, x.Name)
		if b, _, _ := strings.Cut(strings.ToLower(x.Name), "_"); strings.EqualFold(x.Name, low) || b == base {
			near = append(near, x.Name)
		}
	}
	if len(near) == 0 {
		if n := nearest(v.V, all); n != "" {
			near = []string{n}
		}
	}
	if len(near) == 0 {
		o.l.add(v.At, s, pdUnit, v.V)
		return u, false
	}
	o.l.add(v.At, s, pdUnitNear, v.V, strings.Join(near, " / "))
	return u, false
}

func (o *loader) groups(r *Rig) {
	for i := range r.file.Groups.V {
		e := &r.file.Groups.V[i]
		f := &e.V
		s := subject{"group", e.Key}
		g := Group{Place: e.At, file: f, Bus: f.Bus.V}
		g.Rig, g.Site, g.Name = r.Name, r.Site, e.Key
		g.Period, g.Phase, g.ExpectEvery = f.Period.V, f.Phase.V, f.ExpectEvery.V
		g.Measurement = DefaultMeasurement
		keep(&g.Measurement, r.file.Measurement)
		keep(&g.Measurement, f.Measurement)
		o.measurement(f.Measurement, s)
		for j := range f.Tags.V {
			t := &f.Tags.V[j]
			if slices.Contains([]string{"site", "rig", "group"}, t.Key) || strings.Contains(t.Key, "__") {
				o.l.add(t.At, s, pdOurTag, t.Key)
				continue
			}
			if g.Tags == nil {
				g.Tags = map[string]string{}
			}
			g.Tags[t.Key] = t.V.V
		}
		if f.Phase.V >= f.Period.V && f.Period.V > 0 && f.Phase.V > 0 {
			o.l.add(f.Phase.At, s, pdPhase, f.Phase.V.String(), f.Period.V.String())
		}
		if f.Bus.Set {
			reference(o, f.Bus, s, "bus", r.Buses, func(b *Bus) string { return b.Name })
		}
		if f.Device.Set {
			if d := reference(o, f.Device, s, "device", r.Devices, func(d *Device) string { return d.Name }); d != nil && g.Bus == "" {
				g.Bus = d.Bus
			}
		}
		r.Groups = append(r.Groups, g)
	}
}

// groupBuses gives each group the bus of its channels and checks what its
// protocol needs.
func (o *loader) groupBuses(r *Rig) {
	for i := range r.Groups {
		g := &r.Groups[i]
		s := subject{"group", g.Name}
		count := 0
		for j := range r.Channels {
			c := &r.Channels[j]
			if c.Group != g.Name {
				continue
			}
			count++
			switch {
			case c.Bus == "" || g.Bus == c.Bus:
			case g.Bus == "":
				g.Bus = c.Bus
			default:
				o.l.add(c.Place, subject{"channel", c.Name}, pdGroupBuses, g.Name, g.Bus, c.Bus)
			}
		}
		if count == 0 {
			if len(r.Channels) > 0 || len(o.l.errors) == 0 {
				o.l.add(g.Place, s, pdGroupEmpty)
			}
			continue
		}
		bus := r.Bus(g.Bus)
		if bus == nil {
			if g.Bus == "" && len(o.l.errors) == 0 {
				o.l.add(g.Place, s, pdGroupNoBus)
			}
			continue
		}
		o.groupKeys(g, bus, s)
		for j := range r.Channels {
			if c := &r.Channels[j]; c.Group == g.Name && c.Bus == "" {
				c.Bus = g.Bus
			}
		}
	}
}

func (o *loader) groupKeys(g *Group, bus *Bus, s subject) {
	f := g.file
	if !bus.MQTT {
		if f.Period.absent() {
			o.l.add(g.Place, s, pdMissingKey, "period", "distance of scans, for example 100ms")
		}
		for _, k := range []statedKey{
			{"topics", f.Topics.Set, f.Topics.At},
			{"payload", f.Payload.Set, f.Payload.At},
			{"sequence", f.Sequence.Set, f.Sequence.At},
			{"time", f.Time.Set, f.Time.At},
			{"qos", f.QoS.Set, f.QoS.At},
			{"expect_every", f.ExpectEvery.Set, f.ExpectEvery.At},
			{"order", f.Order.Set, f.Order.At},
			{"hold", f.Hold.Set, f.Hold.At},
			{"join", f.Join.Set, f.Join.At},
			{"skew", f.Skew.Set, f.Skew.At},
			{"max_age", f.MaxAge.Set, f.MaxAge.At},
		} {
			if k.set {
				o.l.add(k.at, s, pdOnlyMQTT, k.name)
			}
		}
		return
	}
	if !f.Payload.Set {
		o.l.add(g.Place, s, pdMissingKey, "payload", "how a message is written, for example { format: json }")
	}
	if f.Phase.Set {
		o.l.add(f.Phase.At, s, pdOnlyModbus, "phase")
	}
	if f.Payload.V.Format.V == "binary" && !f.Payload.V.Layout.Set {
		o.l.add(f.Payload.At, s, pdMissingKey, "layout", "how the burst is laid out")
	}
	if z := f.Time.V.Zone; z.Set {
		if _, err := time.LoadLocation(z.V); err != nil {
			o.l.add(z.At, s, pdZone, z.V)
		}
	}
}

// between checks what needs more than one rig.
func (o *loader) between(rigs []*Rig) {
	seen := map[string]*Rig{}
	for _, r := range rigs {
		if before := seen[r.Name]; before != nil {
			o.l.add(r.file.Rig.At, subject{"rig", r.Name}, pdRigTwice, r.Name, before.file.Rig.At.String())
		}
		seen[r.Name] = r
	}
	for _, r := range rigs {
		for i := range r.Channels {
			c := &r.Channels[i]
			if c.Origin != FromOtherRig || c.LenderRig == "" {
				continue
			}
			o.borrowed(r, c, seen[c.LenderRig], rigs)
		}
	}
}

// borrowed checks a borrowed channel against its lender.
func (o *loader) borrowed(r *Rig, c *Channel, lender *Rig, rigs []*Rig) {
	s := subject{"channel", c.Name}
	at := c.file.Borrow.At
	if lender == nil {
		p := o.l.make(at, s, pdLenderRig, c.LenderRig, rigNames(rigs))
		r.Warnings = append(r.Warnings, p)
		return
	}
	l := lender.Channel(c.Lender)
	if l == nil {
		var names []string
		for i := range lender.Channels {
			names = append(names, lender.Channels[i].Name)
		}
		near := nearest(c.Lender, names)
		if near == "" {
			near = strings.Join(names, ", ")
		}
		o.l.add(at, s, pdLenderChannel, c.LenderRig, c.Lender, near)
		return
	}
	from, err1 := acquisition.LookupUnit(l.Unit)
	to, err2 := acquisition.LookupUnit(c.Unit)
	if err1 != nil || err2 != nil {
		return
	}
	if from.Dimension != to.Dimension {
		o.l.add(c.file.Unit.At, s, pdDimension, from.Name, string(from.Dimension), to.Name, string(to.Dimension), unitHint(from, to))
		return
	}
	c.Decoding.Scale, c.Decoding.Offset = convert(1, 0, from, to)
}

func rigNames(rigs []*Rig) string {
	var names []string
	for _, r := range rigs {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// convert returns scale and offset that lead from a register's number to the
// channel's unit, when number · scale + offset is in another unit of the same
// dimension. A scale of 1 comes back as 0, which decoders take for none.
func convert(scale, offset float64, from, to acquisition.Unit) (s, o float64) {
	if scale == 0 {
		scale = 1
	}
	s, o = scale, offset
	if from.Name != to.Name {
		s = scale * from.Factor / to.Factor
		o = (offset*from.Factor + from.Offset - to.Offset) / to.Factor
		if math.Abs(o) < 1e-15 {
			o = 0
		}
	}
	if s == 1 {
		s = 0
	}
	return s, o
}

// unitHint says what to write when dimensions differ.
func unitHint(from, to acquisition.Unit) string {
	f, t := string(from.Dimension), string(to.Dimension)
	switch {
	case strings.Contains(f, "pressure") && strings.Contains(t, "pressure"):
		base, _, _ := strings.Cut(to.Name, "_")
		suffix := map[acquisition.Dimension]string{acquisition.PressureAbsolute: "_a", acquisition.PressureGauge: "_g", acquisition.PressureDelta: ""}[from.Dimension]
		return fmt.Sprintf("unit: %s%s, and a derived channel that adds or takes off the atmospheric pressure", base, suffix)
	case from.Dimension == acquisition.MassFlow && to.Dimension == acquisition.VolumeFlow:
		return fmt.Sprintf("unit: %s_ANR or %s_0C", to.Name, to.Name)
	case from.Dimension == acquisition.VolumeFlow && to.Dimension == acquisition.MassFlow:
		base, _, _ := strings.Cut(to.Name, "_")
		return "unit: " + base
	}
	return "unit: " + from.Name
}

// unused warns of what nothing uses.
func (o *loader) unused(r *Rig) {
	used := map[string]bool{}
	for i := range r.Channels {
		used["device "+r.Channels[i].Device] = true
		used["bus "+r.Channels[i].Bus] = true
	}
	for i := range r.Groups {
		used["device "+r.Groups[i].file.Device.V] = true
	}
	for i := range r.Devices {
		if d := &r.Devices[i]; !used["device "+d.Name] {
			o.l.warn(d.Place, subject{"device", d.Name}, pdUnusedDevice)
		}
	}
	for i := range r.Buses {
		if b := &r.Buses[i]; !used["bus "+b.Name] {
			o.l.warn(b.Place, subject{"bus", b.Name}, pdUnusedBus)
		}
	}
}
