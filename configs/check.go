package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
)

// Report is what a person wants to know of files before anything starts.
type Report struct {
	Files       []string           `json:"files"` // read, in their order
	Rigs        []RigReport        `json:"rigs,omitempty"`
	Models      []ModelReport      `json:"models,omitempty"`
	Instruments []InstrumentReport `json:"instruments,omitempty"`
	Warnings    Problems           `json:"warnings,omitempty"`
}

// RigReport is one rig.
type RigReport struct {
	Rig           string        `json:"rig"`
	Site          string        `json:"site,omitempty"`
	File          string        `json:"file"`
	Channels      int           `json:"channels"`
	Writable      int           `json:"writable"`
	Buses         []BusReport   `json:"buses"`
	Groups        []GroupReport `json:"groups"`
	Series        int           `json:"series"` // in the database, the rig's own and those of pneudaq_*
	Fields        int           `json:"fields"` // of all groups
	Samples       float64       `json:"samples_per_second"`
	StorePerDay   int64         `json:"store_bytes_per_day"`   // what the record takes on the disk
	WrittenPerDay int64         `json:"written_bytes_per_day"` // what the disk is written with at the usual tick
	FullAfterDays float64       `json:"full_after_days,omitempty"`
	Delivery      string        `json:"delivery,omitempty"` // where to, without secrets
	Twin          string        `json:"twin,omitempty"`     // kind of plant
}

// BusReport is one bus with what goes over it.
type BusReport struct {
	Bus      string          `json:"bus"`
	Endpoint string          `json:"endpoint"`
	Load     float64         `json:"load_percent"`
	Assumed  string          `json:"assumed,omitempty"` // what the load stands on
	Requests []RequestReport `json:"requests,omitempty"`
	Topics   []string        `json:"topics,omitempty"`
}

// RequestReport is one planned read.
type RequestReport struct {
	Group    string   `json:"group"`
	Device   string   `json:"device"`
	Unit     int      `json:"unit"`
	Table    string   `json:"table"`
	Address  int      `json:"address"` // wire
	Quantity int      `json:"quantity"`
	Micros   int64    `json:"micros"`
	Channels []string `json:"channels"`
}

// GroupReport is one group.
type GroupReport struct {
	Group        string   `json:"group"`
	Bus          string   `json:"bus"`
	Measurement  string   `json:"measurement"`
	Period       string   `json:"period,omitempty"`
	Completeness string   `json:"completeness"`
	Channels     []string `json:"channels"`
	Samples      float64  `json:"samples_per_second"`
	StorePerDay  int64    `json:"store_bytes_per_day"`
	AtMost       bool     `json:"at_most,omitempty"` // bursts: the figures are for a device that never pauses
}

// ModelReport is one model or wire file.
type ModelReport struct {
	Model     string `json:"model"`
	File      string `json:"file"`
	Trust     string `json:"trust,omitempty"`
	Source    string `json:"source,omitempty"`
	Registers int    `json:"registers"`
	Vectors   int    `json:"vectors"` // all read as the document says
	Printed   int    `json:"printed"` // of these, printed in the document itself
}

// InstrumentReport is one instrument.
type InstrumentReport struct {
	Instrument   string `json:"instrument"`
	File         string `json:"file"`
	Unit         string `json:"unit"`
	Certificates int    `json:"certificates"`
	Due          string `json:"due,omitempty"` // of the newest certificate
}

// Check reads files of any kind and says everything that can be known of them
// without a network: problems, the requests and the load of each bus, series,
// and what the store will need.
func Check(files ...string) (*Report, Problems) {
	return checkAt(time.Now(), files)
}

// checkAt is Check at a given time, which certificates are compared with.
func checkAt(now time.Time, files []string) (*Report, Problems) {
	o := newLoader()
	rep := &Report{}
	var rigs []string
	for _, name := range files {
		f := find(name)
		probe := newLoader()
		d, kind := probe.open(f)
		if d == nil || kind == KindRig || kind == KindService {
			rigs = append(rigs, name)
			continue
		}
		o.checkOther(rep, f, kind)
	}
	loaded, _ := o.load(rigs)
	for _, r := range loaded {
		rep.Rigs = append(rep.Rigs, o.checkRig(r, now))
		rep.Warnings = append(rep.Warnings, r.Warnings...)
	}
	rep.Files = slices.Clone(o.l.order)
	rep.Warnings = append(rep.Warnings, o.l.warnings...).sorted(o.l.order)
	return rep, o.problems()
}

func (o *loader) checkOther(rep *Report, f named, kind Kind) {
	if kind == KindInstrument {
		i := o.instrumentFrom(f)
		if i == nil {
			return
		}
		r := InstrumentReport{Instrument: i.Serial, File: i.File, Unit: i.Unit, Certificates: len(i.Certificates)}
		if n := len(i.Certificates); n > 0 {
			r.Due = i.Certificates[n-1].Due.Format(time.DateOnly)
		}
		rep.Instruments = append(rep.Instruments, r)
		return
	}
	m := o.modelFrom(f)
	if m == nil {
		return
	}
	r := ModelReport{Model: m.Name, File: m.File, Trust: m.Trust, Registers: len(m.Registers), Vectors: len(m.Vectors)}
	if s := m.Source; s.Document != "" {
		r.Source = s.Document + ", " + s.Page
	}
	for i := range m.Vectors {
		if m.Vectors[i].Printed {
			r.Printed++
		}
	}
	rep.Models = append(rep.Models, r)
}

func (o *loader) checkRig(r *Rig, now time.Time) RigReport {
	rep := RigReport{Rig: r.Name, Site: r.Site, File: r.File, Channels: len(r.Channels)}
	for i := range r.Channels {
		if r.Channels[i].Writable {
			rep.Writable++
		}
		o.entityNumber(r, &r.Channels[i])
		o.certificate(&r.Channels[i], now)
	}
	exchanges := map[string]int{}
	if len(o.l.errors) == 0 {
		o.checkBuses(r, &rep, exchanges)
		o.checkTwin(r)
	}
	o.checkGroups(r, &rep, exchanges)
	if r.Delivery.Enabled {
		rep.Delivery = r.Delivery.URL + " " + r.Delivery.Bucket
	}
	if r.file.Simulate.Set {
		rep.Twin = r.file.Simulate.V.Plant.V
	}
	if size := r.Retention.Size; size > 0 && rep.StorePerDay > 0 {
		rep.FullAfterDays = float64(size) / float64(rep.StorePerDay)
		if d := r.Retention.Days; d > 0 && rep.FullAfterDays < float64(d) {
			o.l.warn(r.file.Store.V.Size.At, subject{"rig", r.Name}, pdStoreSize, bytesText(size), strconv.FormatFloat(rep.FullAfterDays, 'f', 1, 64), strconv.Itoa(d))
		}
	}
	return rep
}

// entityNumber warns of addresses that look like 40001 in a device without a
// model to compare with.
func (o *loader) entityNumber(r *Rig, c *Channel) {
	d := r.Device(c.Device)
	if c.Origin != FromRegister || d == nil || d.Model != nil || c.file == nil {
		return
	}
	at := map[string]value[address]{TableHolding: c.file.Holding, TableInput: c.file.Input, TableDiscrete: c.file.Discrete}[c.Table]
	first := map[string]int{TableHolding: 40001, TableInput: 30001, TableDiscrete: 10001}[c.Table]
	if a := int(at.V); at.Set && first > 0 && a >= first && a < first+9999 {
		o.l.warn(at.At, subject{"channel", c.Name}, pdEntity, strconv.Itoa(a), strconv.Itoa(a-first), c.Table)
	}
}

// certificate warns of instruments whose calibration is over.
func (o *loader) certificate(c *Channel, now time.Time) {
	i := c.Instrument
	if i == nil || i.InForce(now) != nil {
		return
	}
	s := subject{"channel", c.Name}
	if n := len(i.Certificates); n > 0 && now.After(i.Certificates[n-1].Due) {
		o.l.warn(c.file.Instrument.At, s, pdCertificateExpired, i.Serial, i.Certificates[n-1].Due.Format(time.DateOnly))
		return
	}
	o.l.warn(c.file.Instrument.At, s, pdNoCertificate, i.Serial)
}

// checkBuses makes each bus's plan as the service would.
func (o *loader) checkBuses(r *Rig, rep *RigReport, exchanges map[string]int) {
	for i := range r.Buses {
		b := &r.Buses[i]
		out := BusReport{Bus: b.Name, Endpoint: b.Endpoint}
		if b.MQTT {
			o.checkBroker(r, b, &out)
		} else {
			o.checkPlan(r, b, &out, exchanges)
		}
		rep.Buses = append(rep.Buses, out)
	}
}

func (o *loader) checkPlan(r *Rig, b *Bus, out *BusReport, exchanges map[string]int) {
	s := subject{"bus", b.Name}
	options, err := r.modbusBus(b)
	if err != nil {
		o.certificateFiles(b, s, err)
		return
	}
	if len(options.Groups) == 0 {
		return
	}
	plan, err := modbus.Plan(options)
	if err != nil {
		if plan != nil && plan.Load > 100 {
			o.l.add(b.Place, s, pdPlan, strconv.FormatFloat(plan.Load, 'f', 0, 64), plan.Assumed)
		} else {
			text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "bus "+b.Name+": "), "\n")
			otherwise := b.Place
			if strings.Contains(text, "endpoint ") {
				otherwise = b.file.Modbus.At
			}
			at, about := r.placeOf(text, otherwise, s)
			o.l.add(at, about, pdBus, text)
		}
		if plan == nil {
			return
		}
	}
	out.Load, out.Assumed = plan.Load, plan.Assumed
	for i := range plan.Groups {
		g := &plan.Groups[i]
		exchanges[g.Group.Name] = g.Group.Exchanges
		for _, q := range g.Requests {
			request := RequestReport{
				Group: g.Group.Name, Device: q.Device, Unit: int(q.Unit), Table: q.Table.String(), Address: int(q.Address),
				Quantity: int(q.Quantity), Micros: q.Time.Microseconds(),
			}
			for _, c := range q.Channels {
				request.Channels = append(request.Channels, g.Group.Channels[c].Name)
			}
			out.Requests = append(out.Requests, request)
		}
	}
	if plan.Load > 70 && plan.Load <= 100 {
		o.l.warn(b.Place, s, pdPlanHigh, b.Name, strconv.FormatFloat(plan.Load, 'f', 0, 64))
	}
}

// placeOf finds what the message of another package is about.
func (r *Rig) placeOf(message string, otherwise Place, s subject) (Place, subject) {
	words := strings.FieldsFunc(message, func(c rune) bool { return c == ' ' || c == ':' || c == ',' })
	named := map[string]string{}
	for i := len(words) - 2; i >= 0; i-- {
		named[words[i]] = words[i+1]
	}
	if c := r.Channel(named["channel"]); c != nil {
		return c.Place, subject{"channel", c.Name}
	}
	if d := r.Device(named["device"]); d != nil {
		return d.Place, subject{"device", d.Name}
	}
	if g := r.Group(named["group"]); g != nil {
		return g.Place, subject{"group", g.Name}
	}
	return otherwise, s
}

func (o *loader) checkBroker(r *Rig, b *Bus, out *BusReport) {
	s := subject{"bus", b.Name}
	f := b.file
	if f.PasswordFile.Set {
		if _, err := secret(r.origin.join(f.PasswordFile.V)); err != nil {
			o.l.add(f.PasswordFile.At, s, pdSecretFile, "password_file", plainError(err))
			return
		}
	}
	options, err := r.mqttBus(b)
	if err != nil {
		o.certificateFiles(b, s, err)
		return
	}
	for i := range options.Groups {
		for _, t := range options.Groups[i].Topics {
			out.Topics = append(out.Topics, strings.ReplaceAll(t, "{device}", options.Groups[i].Device))
		}
	}
	if len(options.Groups) == 0 {
		return
	}
	if _, err := mqtt.New(options); err != nil {
		text := strings.TrimPrefix(err.Error(), "bus "+b.Name+": ")
		at, about := r.placeOf(text, b.Place, s)
		o.l.add(at, about, pdBus, text)
	}
}

// certificateFiles says which of the PEM files is of no use.
func (o *loader) certificateFiles(b *Bus, s subject, err error) {
	at := b.file.CAFile.At
	if strings.Contains(err.Error(), "cert_file") {
		at = b.file.CertFile.At
	}
	o.l.add(at, s, pdCertificates, plainError(err))
}

// checkTwin makes the units of the twin without a network.
func (o *loader) checkTwin(r *Rig) {
	if !r.file.Simulate.Set {
		return
	}
	options, err := r.Simulator()
	if err == nil {
		err = checkUnits(options)
	}
	if err != nil {
		o.l.add(r.file.Simulate.At, subject{"simulate", ""}, pdTwinOptions, err.Error())
	}
}

// checkUnits lets the simulator check its register tables.
func checkUnits(o simulator.Options) error {
	plant, err := simulator.NewPlant(o.Plant, o.Seed, o.Params)
	if err != nil {
		return fmt.Errorf("make plant: %w", err)
	}
	board := simulator.NewBoard(plant.Dt(), plant.Signals()...)
	var all []error
	for i := range o.Buses {
		for _, u := range o.Buses[i].Units {
			if _, err := simulator.NewUnit(u, board); err != nil {
				all = append(all, fmt.Errorf("device %s: %w", u.Name, err))
			}
		}
	}
	return errors.Join(all...)
}

// What a sample takes on the disk until compaction, from measurements with the
// store and the groups of the flow bench: a register word, a number of a
// payload, the time of an exchange, and what each scan and each commit of a
// group cost beside. Compaction only makes it less.
const (
	bytesPerWord     = 1.1
	bytesPerNumber   = 5.0
	bytesPerExchange = 8.0
	bytesPerScan     = 5.0
	bytesPerFrame    = 90.0
	usualTick        = 1.0    // s
	pagePerCommit    = 4096.0 // the last page is written again
	metaPerCommit    = 4096.0 // what the file system writes of its own
	compactionFactor = 0.7    // sealed files are written once more, smaller
	secondsPerDay    = 86400.0
	ownSeries        = 5 // pneudaq_run, _gap, _verdict, _event, _gateway
)

func (o *loader) checkGroups(r *Rig, rep *RigReport, exchanges map[string]int) {
	tick := 0.0
	for i := range r.Groups {
		g := &r.Groups[i]
		out := GroupReport{Group: g.Name, Bus: g.Bus, Measurement: g.Measurement, Completeness: acquisition.BySchedule.String()}
		b := r.Bus(g.Bus)
		received := b != nil && b.MQTT
		if received {
			out.Completeness = acquisition.ByNothing.String()
			if f := g.file; f.Sequence.Set || f.Payload.V.Layout.V.Seq.Set {
				out.Completeness = acquisition.BySequence.String()
			}
		}
		words, numbers := 0, 0
		for j := range r.Channels {
			c := &r.Channels[j]
			if c.Group != g.Name {
				continue
			}
			out.Channels = append(out.Channels, c.Name)
			switch c.Origin {
			case FromRegister:
				words += c.Decoding.Type.Words()
			case FromPayload, FromOtherRig:
				numbers++
			case FromExpression:
			}
		}
		if g.Period > 0 {
			out.Period = g.Period.String()
			rate := float64(time.Second) / float64(g.Period)
			if g.file.Duty.Set {
				rate *= g.file.Duty.V
			}
			out.Samples = rate * float64(len(out.Channels))
			out.AtMost = received && g.Period < 10*time.Millisecond && !g.file.Duty.Set
			perScan := bytesPerScan + bytesPerWord*float64(words) + bytesPerNumber*float64(numbers) + bytesPerExchange*float64(exchanges[g.Name])
			perSecond := rate*perScan + min(rate, 1/usualTick)*bytesPerFrame
			out.StorePerDay = int64(perSecond * secondsPerDay)
			tick = max(tick, min(rate, 1/usualTick))
		}
		rep.Samples += out.Samples
		rep.StorePerDay += out.StorePerDay
		rep.Fields += len(out.Channels)
		rep.Groups = append(rep.Groups, out)
	}
	rep.Series = len(rep.Groups) + ownSeries
	rep.WrittenPerDay = int64(float64(rep.StorePerDay)*(1+compactionFactor) + tick*(pagePerCommit+metaPerCommit)*secondsPerDay)
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v := float64(n)
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	if i == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// words of the report in both languages.
type reportWords struct {
	rig, channels, writable, bus, load, everything, group, samples, perDay, atMost, registers, written, full, series, delivery, nowhere, twin, model, vectors, instrument, due string
}

func wordsOf(l Language) reportWords {
	if l == Chinese {
		return reportWords{
			"台架", "个通道", "个可写", "总线", "负载", "依据", "组", "个读数/秒", "每天", "最多", "个寄存器", "磁盘每天写入", "天后写满", "个数据库序列", "投递到", "不投递", "孪生", "型号", "个测试向量", "仪器", "有效期至",
		}
	}
	return reportWords{
		"rig", "channels", "writable", "bus", "load", "for", "group", "samples/s", "a day", "at most", "registers", "written to the disk a day", "days until the store is full", "series in the database", "delivered to", "delivered nowhere", "twin", "model", "vectors", "instrument", "due",
	}
}

// Text returns the report for a person.
func (rep *Report) Text(l Language) string {
	w := wordsOf(l)
	var b strings.Builder
	for i := range rep.Rigs {
		rep.Rigs[i].text(&b, &w)
	}
	for i := range rep.Models {
		m := &rep.Models[i]
		fmt.Fprintf(&b, "%s %s (%s): %d %s, %d %s, %s\n", w.model, m.Model, m.File, m.Registers, w.registers, m.Vectors, w.vectors, m.Source)
	}
	for i := range rep.Instruments {
		m := &rep.Instruments[i]
		fmt.Fprintf(&b, "%s %s (%s): %s, %s %s\n", w.instrument, m.Instrument, m.File, m.Unit, w.due, m.Due)
	}
	b.WriteString(rep.Warnings.Text(l))
	return b.String()
}

func (r *RigReport) text(b *strings.Builder, w *reportWords) {
	fmt.Fprintf(b, "%s %s (%s): %d %s, %d %s, %.0f %s\n", w.rig, r.Rig, r.File, r.Channels, w.channels, r.Writable, w.writable, r.Samples, w.samples)
	for i := range r.Buses {
		u := &r.Buses[i]
		fmt.Fprintf(b, "  %s %s %s", w.bus, u.Bus, u.Endpoint)
		if u.Assumed != "" {
			fmt.Fprintf(b, ": %s %.1f %% (%s %s)", w.load, u.Load, w.everything, u.Assumed)
		}
		b.WriteByte('\n')
		for _, q := range u.Requests {
			fmt.Fprintf(b, "    %s %s: %s unit %d %s 0x%04X x %d, %s: %s\n", w.group, q.Group, q.Device, q.Unit, q.Table, q.Address, q.Quantity,
				time.Duration(q.Micros)*time.Microsecond, strings.Join(q.Channels, ", "))
		}
		for _, t := range u.Topics {
			fmt.Fprintf(b, "    %s\n", t)
		}
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		most := ""
		if g.AtMost {
			most = w.atMost + " "
		}
		fmt.Fprintf(b, "  %s %s: %s, %s, %s%.0f %s, %s%s %s\n", w.group, g.Group, g.Measurement, g.Period, most, g.Samples, w.samples, most, bytesText(g.StorePerDay), w.perDay)
	}
	fmt.Fprintf(b, "  %s %s, %s %s", bytesText(r.StorePerDay), w.perDay, bytesText(r.WrittenPerDay), w.written)
	if r.FullAfterDays > 0 {
		fmt.Fprintf(b, ", %.0f %s", r.FullAfterDays, w.full)
	}
	fmt.Fprintf(b, "\n  %d %s; ", r.Series, w.series)
	if r.Delivery != "" {
		fmt.Fprintf(b, "%s %s", w.delivery, r.Delivery)
	} else {
		b.WriteString(w.nowhere)
	}
	if r.Twin != "" {
		fmt.Fprintf(b, "; %s %s", w.twin, r.Twin)
	}
	b.WriteByte('\n')
}
