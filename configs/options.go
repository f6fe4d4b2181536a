package configs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/devices/mqtt"
	"pneudaq/storage"
	"pneudaq/storage/influx"
)

// Modbus returns the options of every Modbus bus, in the order of the file.
// Logger, Now and Event are the caller's. The error is about certificates.
func (r *Rig) Modbus() ([]modbus.Options, error) {
	var all []modbus.Options
	for i := range r.Buses {
		b := &r.Buses[i]
		if b.MQTT {
			continue
		}
		o, err := r.modbusBus(b)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (r *Rig) modbusBus(b *Bus) (modbus.Options, error) {
	f := b.file
	o := modbus.Options{
		Name: b.Name, Endpoint: b.Endpoint, Timeout: f.Timeout.V, Late: f.Late.V, Retries: f.Retries.V, Inflight: f.Inflight.V,
		Pause: f.Pause.V, Answer: f.Answer.V, GapLimit: f.GapLimit.V,
	}
	if f.GapLimit.Set && f.GapLimit.V == 0 {
		o.GapLimit = -1
	}
	if strings.HasPrefix(b.Endpoint, "tls:") {
		c, err := r.tls(b)
		if err != nil {
			return o, err
		}
		o.TLS = c
	}
	for i := range r.Devices {
		if d := &r.Devices[i]; d.Bus == b.Name {
			o.Devices = append(o.Devices, d.modbus())
		}
	}
	here := map[string]bool{}
	for i := range r.Groups {
		g := &r.Groups[i]
		if g.Bus != b.Name {
			continue
		}
		group := modbus.GroupOptions{Group: g.Group}
		for j := range r.Channels {
			c := &r.Channels[j]
			if c.Group != g.Name {
				continue
			}
			group.Channels = append(group.Channels, c.modbus())
			here[c.Name] = true
		}
		o.Groups = append(o.Groups, group)
	}
	for _, s := range r.Safe {
		if here[s.Channel] {
			o.Safe = append(o.Safe, s)
		}
	}
	return o, nil
}

func (d *Device) modbus() modbus.Device {
	f := d.file
	o := modbus.Device{
		Name: d.Name, Unit: byte(d.Unit), Timeout: f.Timeout.V, Answer: f.Answer.V, Quarantine: f.Quarantine.V, OnlyFC16: f.OnlyFC16.V,
		MaxRead: f.MaxRead.V, Pause: f.Pause.V,
	}
	for _, a := range f.ValidStarts.V {
		o.ValidStarts = append(o.ValidStarts, uint16(max(0, int(a.V)-d.AddressBase)))
	}
	m := d.Model
	if m == nil {
		return o
	}
	if !f.MaxRead.Set {
		o.MaxRead = m.MaxRead
	}
	if !f.Pause.Set {
		o.Pause = m.MinGap
	}
	if !f.ValidStarts.Set {
		o.ValidStarts = slices.Clone(m.ValidStarts)
	}
	if f.Identity.Set && !f.Identity.V {
		return o
	}
	for _, c := range slices.Concat(m.Identity, m.Constants) {
		reg := m.Register(c.Register)
		if reg == nil || reg.Table != TableHolding && reg.Table != TableInput {
			continue
		}
		table, err := modbus.ParseTable(reg.Table)
		if err != nil {
			continue
		}
		k := modbus.Check{Name: c.Register, Table: table, Address: reg.Address}
		for i := 0; i+1 < len(c.Raw); i += 2 {
			k.Words = append(k.Words, uint16(c.Raw[i])<<8|uint16(c.Raw[i+1]))
		}
		o.Identity = append(o.Identity, k)
	}
	return o
}

func (c *Channel) modbus() modbus.ChannelOptions {
	o := modbus.ChannelOptions{
		Channel: c.Channel, Device: c.Device, Address: c.Register, Atomic: c.Atomic, DecimalsFrom: c.DecimalsFrom, Element: c.Element,
	}
	if c.Origin == FromRegister {
		if t, err := modbus.ParseTable(c.Table); err == nil {
			o.Table = t
		}
	}
	return o
}

// MQTT returns the options of every broker's bus, in the order of the file.
// Quarantine, Logger and Now are the caller's. The error is about passwords
// and certificates.
func (r *Rig) MQTT() ([]mqtt.Options, error) {
	var all []mqtt.Options
	for i := range r.Buses {
		b := &r.Buses[i]
		if !b.MQTT {
			continue
		}
		o, err := r.mqttBus(b)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (r *Rig) mqttBus(b *Bus) (mqtt.Options, error) {
	f := b.file
	o := mqtt.Options{
		Name: b.Name, Endpoint: b.Endpoint, ClientID: f.ClientID.V, Username: f.Username.V, KeepAlive: f.KeepAlive.V, Window: f.Window.V,
		MaxPacket: int(f.MaxPacket.V), MaxTopics: f.MaxTopics.V,
	}
	if o.ClientID == "" {
		o.ClientID = "pneudaq-" + r.Name + "-" + b.Name
	}
	var err error
	if o.Password, err = r.brokerPassword(b); err != nil {
		return o, err
	}
	if strings.HasPrefix(b.Endpoint, "mqtts:") {
		if o.TLS, err = r.tls(b); err != nil {
			return o, err
		}
	}
	for i := range r.Groups {
		if g := &r.Groups[i]; g.Bus == b.Name {
			group, err := r.mqttGroup(g)
			if err != nil {
				return o, err
			}
			o.Groups = append(o.Groups, group)
		}
	}
	return o, nil
}

func (r *Rig) mqttGroup(g *Group) (mqtt.GroupOptions, error) {
	f := g.file
	o := mqtt.GroupOptions{
		Group: g.Group, Topics: f.Topics.all(), AtMostOnce: f.QoS.Set && f.QoS.V == 0,
		Order: f.Order.V, Hold: f.Hold.V, Join: f.Join.V, Skew: f.Skew.V, MaxAge: f.MaxAge.V,
		Presence: mqtt.Presence{Topic: f.Presence.V.Topic.V, Offline: f.Presence.V.Offline.V},
		Sequence: mqtt.Sequence{
			Field: f.Sequence.V.Field.V, Bits: f.Sequence.V.Bits.V, Samples: f.Sequence.V.Samples.V,
			CountsSamples: f.Sequence.V.CountsSamples.V, Clock: f.Sequence.V.Clock.V,
		},
	}
	if f.Order.Set && f.Order.V == 0 {
		o.Order = -1
	}
	var err error
	if o.Payload, err = payload(&f.Payload.V); err != nil {
		return o, fmt.Errorf("group %s: %w", g.Name, err)
	}
	if o.Time, err = payloadTime(&f.Time.V); err != nil {
		return o, fmt.Errorf("group %s: %w", g.Name, err)
	}
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Group != g.Name {
			continue
		}
		o.Channels = append(o.Channels, mqtt.ChannelOptions{
			Channel: c.Channel, Topic: c.Topic, Field: c.Field, Texts: c.Texts, Borrowed: c.Origin == FromOtherRig,
		})
		if d := r.Device(c.Device); d != nil && o.Device == "" {
			o.Device = d.topic()
		}
	}
	if d := r.Device(f.Device.V); d != nil {
		o.Device = d.topic()
	}
	return o, nil
}

// topic returns what {device} stands for.
func (d *Device) topic() string {
	if d.file.Topic.Set {
		return d.file.Topic.V
	}
	return d.Name
}

func payload(f *payloadFile) (mqtt.Payload, error) {
	format, err := mqtt.ParseFormat(f.Format.V)
	if err != nil {
		return mqtt.Payload{}, err
	}
	o := mqtt.Payload{
		Format: format, Root: f.Root.V, NameKey: f.NameKey.V, ValueKey: f.ValueKey.V, Header: f.Header.V, DecimalComma: f.DecimalComma.V,
	}
	if s := f.Separator.V; s != "" {
		o.Separator = s[0]
	}
	l := &f.Layout.V
	if !f.Layout.Set {
		return o, nil
	}
	o.Layout = mqtt.Layout{
		LittleEndian: l.Endian.V == "little", Header: l.Header.V, Magic: l.Magic.V, Channels: l.Number.V, Planar: l.Planar.V,
		Seq: item(&l.Seq), T0: item(&l.T0), Dt: item(&l.Dt), Count: item(&l.Count), Width: item(&l.Width),
	}
	if o.Layout.Sample, err = acquisition.ParseType(l.Sample.V); err != nil {
		return o, err
	}
	return o, nil
}

func item(f *section[itemFile]) mqtt.Item {
	return mqtt.Item{At: f.V.At.V, Size: f.V.Size.V, Float: f.V.Float.V}
}

func payloadTime(f *timeFile) (mqtt.Time, error) {
	o := mqtt.Time{Field: f.Field.V, Layout: f.Layout.V, Step: f.Step.V}
	var err error
	if f.Unit.Set {
		if o.Unit, err = mqtt.ParseTimeUnit(f.Unit.V); err != nil {
			return o, err
		}
	}
	if f.StepUnit.Set {
		if o.StepUnit, err = mqtt.ParseTimeUnit(f.StepUnit.V); err != nil {
			return o, err
		}
	}
	if f.Basis.Set {
		if o.Basis, err = mqtt.ParseBasis(f.Basis.V); err != nil {
			return o, err
		}
	}
	if f.Zone.Set {
		if o.Zone, err = time.LoadLocation(f.Zone.V); err != nil {
			return o, fmt.Errorf("zone %s: %w", f.Zone.V, err)
		}
	}
	return o, nil
}

// tls reads the certificates of a bus.
func (r *Rig) tls(b *Bus) (*tls.Config, error) {
	f := b.file
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName.V}
	if f.CAFile.Set {
		pool, err := roots(r.origin.join(f.CAFile.V))
		if err != nil {
			return nil, fmt.Errorf("bus %s: ca_file: %w", b.Name, err)
		}
		c.RootCAs = pool
	}
	if f.CertFile.Set && f.KeyFile.Set {
		pair, err := tls.LoadX509KeyPair(r.origin.join(f.CertFile.V), r.origin.join(f.KeyFile.V))
		if err != nil {
			return nil, fmt.Errorf("bus %s: cert_file and key_file: %w", b.Name, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// roots reads certificates of authorities.
func roots(path string) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxFile))
	if err != nil {
		return nil, fmt.Errorf("read %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New(path + " holds no certificate in PEM form")
	}
	return pool, nil
}

// Influx returns the options of the sink; ok is false if the rig delivers
// nothing. Logger and Now are the caller's. The token is read again before
// each request, from PNEUDAQ_INFLUX_TOKEN or token_file.
func (r *Rig) Influx() (o influx.Options, ok bool, err error) {
	d := &r.Delivery
	if !d.Enabled {
		return influx.Options{}, false, nil
	}
	o = influx.Options{
		URL: d.URL, Org: d.Org, Bucket: d.Bucket, TokenFile: d.TokenFile, Gzip: d.Gzip, Timeout: d.Timeout, Compile: Compile,
	}
	if env := r.loader.env; env(EnvInfluxToken) != "" {
		o.Token = func() (string, error) { return env(EnvInfluxToken), nil }
	}
	if d.CAFile != "" {
		pool, err := roots(r.origin.join(d.CAFile))
		if err != nil {
			return o, true, fmt.Errorf("influx: ca_file: %w", err)
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return o, true, nil
}

// Storage returns the options of a store that takes these rigs: the shortest
// tick that a rig asks for, and the widest retention, because one store keeps
// one set of files. Dir, Logger, Now and Offer are the caller's.
func Storage(rigs ...*Rig) (storage.Options, error) {
	o := storage.Options{Compile: Compile}
	for i, r := range rigs {
		if r.Tick > 0 && (o.RecordingTick == 0 || r.Tick < o.RecordingTick) {
			o.RecordingTick = r.Tick
		}
		keep, err := storage.ParseKeep(r.Retention.Keep)
		if err != nil {
			return o, fmt.Errorf("rig %s: %w", r.Name, err)
		}
		if i == 0 {
			o.Retention = storage.Retention{Keep: keep, Days: r.Retention.Days, Size: r.Retention.Size, Outside: r.Retention.Outside}
			continue
		}
		if keep == storage.KeepAlways || o.Retention.Keep == storage.KeepDuringRecordings {
			o.Retention.Keep = keep
		}
		o.Retention.Days = wider(o.Retention.Days, r.Retention.Days)
		o.Retention.Outside = max(o.Retention.Outside, r.Retention.Outside)
		if o.Retention.Size > 0 && r.Retention.Size > 0 {
			o.Retention.Size += r.Retention.Size
		} else {
			o.Retention.Size = 0
		}
	}
	return o, nil
}

// wider returns the longer of two bounds, where 0 is none.
func wider(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}
