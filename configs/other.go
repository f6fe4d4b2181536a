package configs

import (
	"path"
	"path/filepath"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// Instrument is one instrument by serial number with its calibrations.
type Instrument struct {
	Serial       string
	File         string
	Maker, Model string
	Unit         string
	Low, High    float64 // in Unit
	Resolution   float64
	Drift        string // half width in a year, as written
	Certificates []Certificate
}

// Certificate is one calibration.
type Certificate struct {
	Number, Laboratory string
	Date, Due          time.Time
	Coverage           float64
	Points             []Point
	Place              Place
}

// Point is one point of a calibration, in the instrument's unit.
type Point struct{ Reference, Indication, U float64 }

// InForce returns the newest certificate that holds at a time, nil if none.
func (i *Instrument) InForce(at time.Time) *Certificate {
	for n := len(i.Certificates) - 1; n >= 0; n-- {
		if c := &i.Certificates[n]; !at.Before(c.Date) && at.Before(c.Due.AddDate(0, 0, 1)) {
			return c
		}
	}
	return nil
}

// instrument finds the file that a channel names, by path or serial number.
func (o *loader) instrument(name value[string], from origin, s subject) *Instrument {
	if strings.HasSuffix(name.V, ".yaml") || strings.HasSuffix(name.V, ".yml") {
		p := from.join(name.V)
		if !from.exists(p) {
			o.l.add(name.At, s, pdFileMissing, p)
			return nil
		}
		return o.instrumentFrom(named{origin: from, path: p, shown: from.prefix + p})
	}
	for _, dir := range []string{"../instruments", "instruments", "."} {
		if p := from.join(dir + "/" + name.V + ".yaml"); from.exists(p) {
			return o.instrumentFrom(named{origin: from, path: p, shown: from.prefix + p})
		}
	}
	o.l.add(name.At, s, pdInstrumentMissing, name.V)
	return nil
}

func (o *loader) instrumentFrom(f named) *Instrument {
	if i, ok := o.instruments[f.shown]; ok {
		return i
	}
	o.instruments[f.shown] = nil
	d, _ := o.open(f, KindInstrument)
	if d == nil {
		return nil
	}
	file := &instrumentFile{}
	dec := &decoder{l: o.l}
	dec.structure(d.root, file)
	s := subject{"instrument", file.Instrument.V}
	i := &Instrument{
		Serial: file.Instrument.V, File: f.shown, Maker: file.Maker.V, Model: file.Model.V, Unit: file.Unit.V,
		Resolution: file.Resolution.V, Drift: text(file.Drift),
	}
	if file.Unit.Set {
		o.unit(file.Unit, s)
	}
	i.Low, i.High = o.rangeOf(s, &file.Range)
	for n := range file.Certificates.V {
		c := &file.Certificates.V[n]
		cs := subject{"certificate", c.V.Number.V}
		out := Certificate{
			Number: c.V.Number.V, Laboratory: c.V.Laboratory.V, Date: time.Time(c.V.Date.V), Due: time.Time(c.V.Due.V),
			Coverage: 2, Place: c.At,
		}
		keep(&out.Coverage, c.V.Coverage)
		if c.V.Date.Set && c.V.Due.Set && !out.Due.After(out.Date) {
			o.l.add(c.V.Due.At, cs, pdCertificateDates, out.Due.Format(time.DateOnly), out.Date.Format(time.DateOnly))
		}
		if n > 0 && c.V.Date.Set && out.Date.Before(i.Certificates[n-1].Date) {
			o.l.add(c.V.Date.At, cs, pdCertificateOrder)
		}
		if c.V.Points.Set && len(c.V.Points.V) == 0 {
			o.l.add(c.V.Points.At, cs, pdMissingKey, "points", "at least one of reference, indication and U")
		}
		last := 0.0
		for k := range c.V.Points.V {
			p := &c.V.Points.V[k].V
			if k > 0 && p.Reference.V <= last {
				o.l.add(p.Reference.At, cs, pdPointOrder, number(p.Reference.V), number(last))
			}
			last = p.Reference.V
			out.Points = append(out.Points, Point{p.Reference.V, p.Indication.V, p.U.V})
		}
		i.Certificates = append(i.Certificates, out)
	}
	o.instruments[f.shown] = i
	return i
}

// instrumentUnit checks that the instrument measures what the channel says.
func (o *loader) instrumentUnit(c *Channel, unit *acquisition.Unit, s subject) {
	if c.Instrument == nil || unit == nil {
		return
	}
	iu, err := acquisition.LookupUnit(c.Instrument.Unit)
	if err != nil {
		return
	}
	if iu.Dimension != unit.Dimension {
		o.l.add(c.file.Instrument.At, s, pdInstrumentUnit, c.Instrument.Serial, iu.Name, unit.Name)
	}
}

// Delivery is where a rig's record goes.
type Delivery struct {
	Enabled   bool
	URL       string
	Org       string
	Bucket    string
	TokenFile string
	Gzip      bool
	Timeout   time.Duration
	CAFile    string
}

// The environment that overrides files.
const (
	EnvInfluxURL       = "PNEUDAQ_INFLUX_URL"
	EnvInfluxOrg       = "PNEUDAQ_INFLUX_ORG"
	EnvInfluxBucket    = "PNEUDAQ_INFLUX_BUCKET"
	EnvInfluxToken     = "PNEUDAQ_INFLUX_TOKEN"      //nolint:gosec // the name of the variable, not a secret
	EnvInfluxTokenFile = "PNEUDAQ_INFLUX_TOKEN_FILE" //nolint:gosec // the name of the variable, not a secret
	EnvMQTTPassword    = "PNEUDAQ_MQTT_PASSWORD"     //nolint:gosec // the name of the variable, not a secret
	EnvData            = "PNEUDAQ_DATA"
	EnvListen          = "PNEUDAQ_LISTEN"
)

// delivery reads the section and lets the environment override it.
func (o *loader) delivery(f *section[influxFile], from origin) Delivery {
	v := &f.V
	d := Delivery{URL: v.URL.V, Org: v.Org.V, Bucket: v.Bucket.V, CAFile: v.CAFile.V, Gzip: true, Timeout: 10 * time.Second}
	keep(&d.Gzip, v.Gzip)
	keep(&d.Timeout, v.Timeout)
	if v.TokenFile.Set {
		d.TokenFile = from.join(v.TokenFile.V)
	}
	s := subject{"influx", ""}
	if v.URL.Set {
		o.endpoint(v.URL, s, "http", "https")
	}
	for _, e := range []struct {
		name string
		into *string
	}{{EnvInfluxURL, &d.URL}, {EnvInfluxOrg, &d.Org}, {EnvInfluxBucket, &d.Bucket}, {EnvInfluxTokenFile, &d.TokenFile}} {
		if x := o.env(e.name); x != "" {
			*e.into = x
		}
	}
	d.Enabled = d.URL != "" && (!v.Enabled.Set || v.Enabled.V)
	if f.Set && d.Enabled && d.Bucket == "" && v.Bucket.absent() {
		o.l.add(f.At, s, pdMissingKey, "bucket", "for InfluxDB 1.8 DATABASE/RETENTION, for example pneudaq/autogen")
	}
	if f.Set && d.URL == "" && v.URL.absent() && (!v.Enabled.Set || v.Enabled.V) {
		o.l.warn(f.At, s, pdNoURL, EnvInfluxURL)
	}
	return d
}

// Service is what one machine runs.
type Service struct {
	Name      string
	File      string
	Rigs      []string // paths
	Data      string   // "": the system's place
	Listen    string   // "": the default
	Commit    time.Duration
	Memory    int64
	Retention *Retention
	Delivery  Delivery

	places []Place // of the rigs
}

func (o *loader) service(d *document, from origin) *Service {
	f := &serviceFile{}
	dec := &decoder{l: o.l}
	dec.structure(d.root, f)
	v := &Service{Name: f.Service.V, File: d.name, Data: f.Data.V, Listen: f.Listen.V, Commit: f.Commit.V, Memory: int64(f.Memory.V)}
	seen := map[string]bool{}
	for _, r := range f.Rigs.V {
		p := r.V
		bare := !strings.ContainsAny(p, `/\`) && filepath.Ext(p) == "" && inBundle("rigs").exists(path.Join("rigs", p+".yaml"))
		switch {
		case strings.HasPrefix(p, bundlePrefix):
		case bare:
			p = bundlePrefix + path.Join("rigs", p+".yaml")
		default:
			p = from.prefix + from.join(p)
		}
		if seen[p] {
			o.l.add(r.At, subject{"service", v.Name}, pdRigListed, r.V)
			continue
		}
		seen[p] = true
		v.Rigs = append(v.Rigs, p)
		v.places = append(v.places, r.At)
	}
	if f.Rigs.Set && len(f.Rigs.V) == 0 {
		o.l.add(f.Rigs.At, subject{"service", v.Name}, pdNoRigs)
	}
	if f.Store.Set {
		r := retention(&f.Store.V)
		v.Retention = &r
	}
	v.Delivery = o.delivery(&f.Influx, from)
	if x := o.env(EnvData); x != "" {
		v.Data = x
	}
	if x := o.env(EnvListen); x != "" {
		v.Listen = x
	}
	return v
}

// inherit takes from the service what the rig does not state.
func (r *Rig) inherit(s *Service) {
	if !r.file.Influx.Set {
		r.Delivery = s.Delivery
	}
	if !r.file.Store.Set && s.Retention != nil {
		r.Retention = *s.Retention
	}
}
