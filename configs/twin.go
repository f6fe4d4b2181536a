package configs

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
	"pneudaq/simulator"
)

// twinDevice is what stands behind one device of the twin. Nothing of it
// comes from a channel.
type twinDevice struct {
	device    *Device
	unit      int
	wire      *Model
	signals   map[string]string
	constants map[string]float64
	delay     time.Duration
	at        Place
}

// simulate resolves the section simulate.
func (o *loader) simulate(r *Rig) {
	if !r.file.Simulate.Set {
		return
	}
	f := &r.file.Simulate.V
	plant := o.plant(f)
	var signals []string
	if plant != nil {
		for _, s := range plant.Signals() {
			signals = append(signals, s.Name)
		}
	}
	for i := range f.Devices.V {
		e := &f.Devices.V[i]
		s := subject{"device", e.Key}
		d := reference(o, value[string]{V: e.Key, At: e.At, Set: true}, s, "device", r.Devices, func(d *Device) string { return d.Name })
		if d == nil {
			continue
		}
		o.twinDevice(r, e, d, signals)
	}
	for i := range r.Devices {
		d := &r.Devices[i]
		if b := r.Bus(d.Bus); b != nil && !b.MQTT && r.twin[d.Name] == nil && f.Devices.find(d.Name) == nil {
			o.l.warn(d.Place, subject{"device", d.Name}, pdTwinMissing)
			if d.Model == nil {
				continue
			}
			o.twinDevice(r, &entry[twinDeviceFile]{Key: d.Name, At: d.Place}, d, signals)
		}
	}
	for i := range f.Truth.V {
		e := &f.Truth.V[i]
		s := subject{"simulate", "truth"}
		reference(o, value[string]{V: e.Key, At: e.At, Set: true}, s, "channel", r.Channels, func(c *Channel) string { return c.Name })
		o.signal(e.V, s, signals)
	}
	for i := range f.Publishers.V {
		p := &f.Publishers.V[i].V
		s := subject{"publisher", f.Publishers.V[i].Key}
		if p.Bus.Set {
			if b := reference(o, p.Bus, s, "bus", r.Buses, func(b *Bus) string { return b.Name }); b != nil && !b.MQTT {
				o.l.add(p.Bus.At, s, pdTwinBroker, p.Bus.V)
			}
		}
		for j := range p.Signals.V {
			e := &p.Signals.V[j]
			o.signal(value[string]{V: e.Key, At: e.At, Set: true}, s, signals)
		}
	}
}

// plant makes the plant once to know its signals and parameters.
func (o *loader) plant(f *simulateFile) *simulator.Plant {
	if !f.Plant.Set || !slices.Contains(simulator.Kinds(), f.Plant.V) {
		return nil
	}
	params := map[string]float64{}
	for i := range f.Params.V {
		params[f.Params.V[i].Key] = f.Params.V[i].V.V
	}
	p, err := simulator.NewPlant(f.Plant.V, uint64(f.Seed.V), params)
	if err == nil {
		return p
	}
	plain, perr := simulator.NewPlant(f.Plant.V, uint64(f.Seed.V), nil)
	if perr != nil {
		o.l.add(f.Plant.At, subject{"simulate", ""}, pdTwinParam, f.Plant.V, perr.Error())
		return nil
	}
	var names []string
	for _, q := range plain.Params() {
		names = append(names, q.Name)
	}
	for i := range f.Params.V {
		e := &f.Params.V[i]
		s := subject{"simulate", "params"}
		at := slices.Index(names, e.Key)
		if at < 0 {
			near := nearest(e.Key, names)
			if near == "" {
				near = strings.Join(names[:min(12, len(names))], ", ") + " ..."
			}
			o.l.add(e.At, s, pdTwinParamName, e.Key, near)
		} else if q := plain.Params()[at]; e.V.V < q.Min || e.V.V > q.Max {
			o.l.add(e.V.At, s, pdTwinParam, e.Key, number(q.Min)+" - "+number(q.Max)+" "+q.Unit)
		}
	}
	return plain
}

// signal checks that the plant has a signal.
func (o *loader) signal(v value[string], s subject, signals []string) {
	if len(signals) == 0 || slices.Contains(signals, v.V) || strings.HasPrefix(v.V, "@") {
		return
	}
	if near := nearest(v.V, signals); near != "" {
		o.l.add(v.At, s, pdTwinSignalNear, v.V, near)
		return
	}
	o.l.add(v.At, s, pdTwinSignal, v.V, strings.Join(signals, ", "))
}

func (o *loader) twinDevice(r *Rig, e *entry[twinDeviceFile], d *Device, signals []string) {
	f := &e.V
	s := subject{"device", e.Key}
	t := &twinDevice{device: d, unit: d.Unit, wire: d.Model, signals: map[string]string{}, constants: map[string]float64{}, delay: f.Delay.V, at: e.At}
	keep(&t.unit, f.Unit)
	if f.Wire.Set {
		p := r.origin.join(f.Wire.V)
		if !r.origin.exists(p) {
			o.l.add(f.Wire.At, s, pdFileMissing, p)
			return
		}
		w := r.origin
		w.dir = dirOf(p)
		t.wire = o.modelFrom(named{origin: w, path: p, shown: r.origin.prefix + p})
	}
	if t.wire == nil {
		if f.Wire.absent() && d.file.Model.absent() {
			o.l.add(e.At, s, pdTwinNoWire, d.Name)
		}
		return
	}
	for i := range f.Signals.V {
		x := &f.Signals.V[i]
		o.signal(x.V, s, signals)
		reg := o.registerNamed(t.wire, value[string]{V: x.Key, At: x.At, Set: true}, s)
		if reg == nil && t.buffer(x.Key) == nil {
			continue
		}
		if reg != nil && (len(reg.Units) > 1 || len(reg.Units) == 1 && reg.Units[0] == unitConfigured) {
			o.l.add(x.At, s, pdTwinUnit, strings.Join(reg.Units, "/"), "the unit is open")
		}
		t.signals[x.Key] = x.V.V
	}
	for i := range f.Constants.V {
		x := &f.Constants.V[i]
		if o.registerNamed(t.wire, value[string]{V: x.Key, At: x.At, Set: true}, s) != nil {
			t.constants[x.Key] = x.V.V
		}
	}
	r.twin[d.Name] = t
}

// dirOf returns the directory of a path with either separator.
func dirOf(p string) string {
	if i := strings.LastIndexAny(p, `/\`); i >= 0 {
		return p[:i]
	}
	return "."
}

func (t *twinDevice) buffer(name string) *entry[bufferFile] {
	if t.wire.file == nil {
		return nil
	}
	return t.wire.file.Buffers.find(name)
}

// Truth returns which signal of the plant each channel should show, by the
// section simulate: what truth names, else the signal of the channel's name.
func (r *Rig) Truth() map[string]string {
	out := map[string]string{}
	if !r.file.Simulate.Set {
		return out
	}
	f := &r.file.Simulate.V
	p := newLoader().plant(f)
	if p == nil {
		return out
	}
	known := map[string]bool{}
	for _, s := range p.Signals() {
		known[s.Name] = true
	}
	for i := range r.Channels {
		if n := r.Channels[i].Name; known[n] {
			out[n] = n
		}
	}
	for i := range f.Truth.V {
		out[f.Truth.V[i].Key] = f.Truth.V[i].V.V
	}
	return out
}

// Simulator returns the twin of the rig: its plant behind buses that listen
// where the rig file has its buses, and publishers that go to its brokers. The
// wire side comes from models and wire files alone.
func (r *Rig) Simulator() (simulator.Options, error) {
	if !r.file.Simulate.Set {
		return simulator.Options{}, fmt.Errorf("rig %s has no section simulate: add simulate: { plant: ... } to its file %s", r.Name, r.File)
	}
	f := &r.file.Simulate.V
	o := simulator.Options{Rig: r.Name, Plant: f.Plant.V, Seed: 1, Params: map[string]float64{}}
	if f.Seed.Set {
		o.Seed = uint64(f.Seed.V)
	}
	for i := range f.Params.V {
		o.Params[f.Params.V[i].Key] = f.Params.V[i].V.V
	}
	for i := range r.Buses {
		b := &r.Buses[i]
		if b.MQTT {
			continue
		}
		bus, err := b.twin()
		if err != nil {
			return o, err
		}
		if c := &f.TLS.V; f.TLS.Set && bus.Kind == simulator.BusTLS {
			bus.TLS = simulator.TLSFiles{Certificate: r.origin.join(c.CertFile.V), Key: r.origin.join(c.KeyFile.V)}
			if c.ClientCA.Set {
				bus.TLS.ClientCA = r.origin.join(c.ClientCA.V)
			}
		}
		for j := range r.Devices {
			d := &r.Devices[j]
			t := r.twin[d.Name]
			if d.Bus != b.Name || t == nil {
				continue
			}
			bus.Units = append(bus.Units, t.options())
			if t.delay > 0 {
				if bus.Delays == nil {
					bus.Delays = map[byte]time.Duration{}
				}
				bus.Delays[byte(t.unit)] = t.delay
			}
		}
		o.Buses = append(o.Buses, bus)
	}
	for i := range f.Publishers.V {
		o.Publishers = append(o.Publishers, r.publisher(&f.Publishers.V[i].V))
	}
	return o, nil
}

// twin returns the bus as its other end.
func (b *Bus) twin() (simulator.BusOptions, error) {
	u, err := url.Parse(b.Endpoint)
	if err != nil {
		return simulator.BusOptions{}, fmt.Errorf("bus %s: %w", b.Name, err)
	}
	o := simulator.BusOptions{Name: b.Name, Listen: u.Host}
	q := u.Query()
	if baud, err := strconv.Atoi(q.Get("baud")); err == nil {
		o.Baud = baud
	}
	switch u.Scheme {
	case "tcp":
		o.Kind = simulator.BusTCP
	case "tls":
		o.Kind = simulator.BusTLS
	case "rtu+tcp":
		o.Kind = simulator.BusRTUOverTCP
	case "rtu":
		o.Kind, o.Listen = simulator.BusRTU, "pty"
		if p := u.Host + u.Path; !strings.HasPrefix(p, "/dev/") {
			o.Listen = "pty:" + p
		}
		parity, stop, data := q.Get("parity"), q.Get("stop"), q.Get("data")
		if parity == "" {
			parity = "E"
		}
		if stop == "" {
			stop = "1"
		}
		if data == "" {
			data = "8"
		}
		o.Frame = data + strings.ToUpper(parity) + stop
	}
	return o, nil
}

// options returns the unit as its model or wire file has it.
func (t *twinDevice) options() simulator.UnitOptions {
	o := simulator.UnitOptions{Name: t.device.Name, ID: byte(t.unit), Holes: t.wire.Holes}
	for i := range t.wire.Registers {
		o.Registers = append(o.Registers, t.register(&t.wire.Registers[i]))
	}
	f := t.wire.file
	for i := range f.Buffers.V {
		e := &f.Buffers.V[i]
		b := simulator.Buffer{Kind: e.V.Kind.V, Capacity: e.V.Capacity.V, Rate: e.V.Rate.V, Numbered: e.V.Numbered.V, Consume: e.V.Consume.V}
		b.Name, b.Type, b.Order, b.Scale, b.Offset, b.Unit = e.Key, e.V.Type.V, e.V.Order.V, e.V.Scale.V, e.V.Offset.V, e.V.Unit.V
		b.Table, b.Address = simulator.Holdings, uint16(int(e.V.Holding.V)-t.wire.AddressBase)
		if e.V.Input.Set {
			b.Table, b.Address = simulator.Inputs, uint16(int(e.V.Input.V)-t.wire.AddressBase)
		}
		b.Signal = e.V.Signal.V
		if s := t.signals[e.Key]; s != "" {
			b.Signal = s
		}
		o.Buffers = append(o.Buffers, b)
	}
	if w := &f.Watchdog; w.Set {
		o.Watchdog = &simulator.Watchdog{After: w.V.After.V, Safe: map[string]float64{}}
		for i := range w.V.Safe.V {
			o.Watchdog.Safe[w.V.Safe.V[i].Key] = w.V.Safe.V[i].V.V
		}
	}
	for i := range f.Objects.V {
		if n, err := strconv.ParseUint(f.Objects.V[i].Key, 0, 8); err == nil {
			if o.Objects == nil {
				o.Objects = map[byte]string{}
			}
			o.Objects[byte(n)] = f.Objects.V[i].V.V
		}
	}
	return o
}

func (t *twinDevice) register(r *Register) simulator.Register {
	d := &r.Decoding
	x := simulator.Register{
		Name: r.Name, Table: simulator.Table(r.Table), Address: r.Address, Type: d.Type.String(), Order: d.Order.String(),
		Bit: int(d.Bit), Scale: d.Scale, Offset: d.Offset, Writable: r.Writable, Volatile: r.volatile,
		Signal: t.signals[r.Name], Text: r.text,
	}
	if r.Words() == 1 {
		x.Order = x.Order[:2]
		if x.Order == "CD" {
			x.Order = "AB"
		}
		if x.Order == "DC" {
			x.Order = "BA"
		}
	}
	if r.String > 0 {
		x.Type, x.Length, x.Order = "string", r.String, ""
	}
	if d.Bits > 0 {
		x.Type, x.Width = "bits", int(d.Bits)
	}
	if x.Signal != "" && len(r.Units) == 1 {
		x.Unit = r.Units[0]
	}
	if v, ok := t.constants[r.Name]; ok {
		x.Value = &v
	} else if r.value != nil && x.Signal == "" {
		x.Value = r.value
	}
	if t.wire.AddressBase > 0 {
		x.Address = r.Address
	}
	scale := d.Scale
	if scale == 0 {
		scale = 1
	}
	if d.NegativeAbove != 0 {
		high := float64(d.NegativeAbove)*scale + d.Offset
		low := (float64(d.NegativeAbove)+1-float64(uint64(1)<<(16*r.Words())))*scale + d.Offset
		x.Low, x.High = &low, &high
	} else if r.Low != r.High && len(d.Sentinels) > 0 {
		low, high := r.Low, r.High
		x.Low, x.High = &low, &high
	}
	for _, s := range d.Sentinels {
		bits := s.Raw
		if s.Reason == acquisition.ReasonOverRange {
			x.Over = &bits
		}
		if s.Reason == acquisition.ReasonUnderRange {
			x.Under = &bits
		}
		if s.Reason == acquisition.ReasonNaN || s.Reason == acquisition.ReasonNoData {
			x.NaN = &bits
		}
	}
	return x
}

func (r *Rig) publisher(p *publisherFile) simulator.PublisherOptions {
	o := simulator.PublisherOptions{
		Topic: p.Topic.V, QoS: 1, Payload: p.Format.V, TimeUnit: p.TimeUnit.V, Rate: p.Rate.V, Samples: p.Samples.V, Bursts: p.Bursts.V,
		Presence: p.Presence.V,
	}
	if p.QoS.Set {
		o.QoS = byte(p.QoS.V)
	}
	if b := r.Bus(p.Bus.V); b != nil {
		o.Broker, o.Username = b.Endpoint, b.file.Username.V
		if b.file.CAFile.Set {
			o.CA = r.origin.join(b.file.CAFile.V)
		}
		o.Password, _ = r.brokerPassword(b)
	}
	for i := range p.Signals.V {
		e := &p.Signals.V[i]
		o.Signals = append(o.Signals, simulator.PublishedSignal{
			Signal: e.Key, Name: e.V.Name.V, Unit: e.V.Unit.V, Scale: e.V.Scale.V, Offset: e.V.Offset.V,
		})
	}
	return o
}

// brokerPassword reads the password of a bus: the environment, else the file.
func (r *Rig) brokerPassword(b *Bus) (string, error) {
	if p := r.loader.env(EnvMQTTPassword); p != "" && b.file.Username.Set {
		return p, nil
	}
	if !b.file.PasswordFile.Set {
		return "", nil
	}
	p := r.origin.join(b.file.PasswordFile.V)
	text, err := secret(p)
	if err != nil {
		return "", fmt.Errorf("bus %s: password_file %s: %w", b.Name, p, err)
	}
	return text, nil
}
