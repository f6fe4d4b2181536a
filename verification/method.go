package verification

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

// A Parameter is what a person states beside the record, as text: a word, a
// number, or a value with its unit and half width ("250 cm3 ± 1 %").
type Parameter struct {
	Name     string
	Unit     string
	TitleEN  string
	TitleZH  string
	Default  string
	Required bool
}

// A Method is a way of judging that works, with what it asks for.
type Method struct {
	iso.Method
	Parameters []Parameter

	optional []iso.Channel       // channels that help: what a PLC says of its program
	aliases  map[string][]string // names that channels of a role usually have, best first
	evaluate func(e *evaluation) error
}

// Options say how to judge.
type Options struct {
	Map        map[string]string // the method's channel to the record's; others by name
	Parameters map[string]string
	Limits     []Limit
	Rule       string
}

// Parameters that every method takes.
const (
	parameterFrom  = "from"
	parameterTo    = "to"
	parameterDraws = "draws"
	parameterSeed  = "seed"
)

func common() []Parameter {
	return []Parameter{
		{Name: parameterFrom, Unit: "s", TitleEN: "judge from here on, seconds from the first sample", TitleZH: "评定起点（自首个采样起的秒数）"},
		{Name: parameterTo, Unit: "s", TitleEN: "judge up to here", TitleZH: "评定终点"},
		{Name: parameterDraws, TitleEN: "draws of the Monte Carlo check, 0: none", TitleZH: "蒙特卡洛次数，0 为不做", Default: "20000"},
		{Name: parameterSeed, TitleEN: "seed of the Monte Carlo check", TitleZH: "蒙特卡洛种子", Default: "1"},
	}
}

// Methods lists the methods that work, in the order of their worth to a rig.
func Methods() []Method {
	var all []Method
	for _, m := range []Method{flowMethod(), leakMethod(), shiftMethod(), stepMethod(), enduranceMethod(), weibullMethod(), dischargeMethod(), chargeMethod(), flow1989Method()} {
		m.Parameters = append(m.Parameters, common()...)
		all = append(all, m)
	}
	return all
}

// MethodNamed is the method of this name, with or without its version.
func MethodNamed(name string) (Method, bool) {
	for _, m := range Methods() {
		if m.Name == name || strings.TrimSuffix(m.Name, m.Name[strings.LastIndex(m.Name, "/"):]) == name {
			return m, true
		}
	}
	return Method{}, false
}

// base is the arithmetic's description of a method.
func base(name string) iso.Method {
	m, _ := iso.MethodNamed(name)
	return m
}

// evaluation is one judgement on its way.
type evaluation struct {
	method Method
	data   *Dataset
	o      Options
	result *Result
	bound  map[string]*bound
	draws  int
	seed   uint64
}

// bound is a channel in the role that a method has for it, in SI.
type bound struct {
	role     iso.Channel
	channel  *Channel
	quantity iso.Quantity
	trace    iso.Trace // good samples
	accuracy Accuracy
	step     float64 // resolution, SI
	period   float64 // s
}

// Evaluate judges a record. What the method refuses stands in the result; an
// error says that the question itself was wrong: an unknown method, parameter,
// channel or unit.
func Evaluate(name string, d *Dataset, o Options) (*Result, error) {
	m, ok := MethodNamed(name)
	if !ok {
		var names []string
		for _, x := range Methods() {
			names = append(names, x.Name)
		}
		return nil, fmt.Errorf("there is no method %q; there are %s, and limits with a file of its own", name, strings.Join(names, ", "))
	}
	e := &evaluation{method: m, data: d, o: o, bound: map[string]*bound{}}
	e.result = &Result{
		Schema: SchemaName, Method: m.Name, TitleEN: m.English, TitleZH: m.Chinese, Wording: wording(m.Standard),
		Recording: d.Recording, Simulated: d.Simulated, Inputs: slices.Clone(d.Sources), Channels: []Used{}, Figures: []Figure{},
		Conventions: append([]string{}, m.Conventions...), Parameters: map[string]string{},
	}
	if len(o.Limits) > 0 {
		e.result.Conventions = append(e.result.Conventions, "P-3")
	}
	if err := e.prepare(); err != nil {
		return nil, err
	}
	err := e.bind()
	if err == nil {
		err = m.evaluate(e)
	}
	var refusal *iso.Refusal
	switch {
	case errors.As(err, &refusal):
		e.result.Refusal = &Refusal{Code: string(refusal.Reason), What: refusal.Detail}
		e.result.Figures = []Figure{}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	if err := e.result.Decide(o.Limits, o.Rule); err != nil {
		return nil, err
	}
	return e.result, nil
}

// prepare checks the parameters and cuts the record.
func (e *evaluation) prepare() error {
	known := map[string]bool{}
	for _, p := range e.method.Parameters {
		known[p.Name] = true
		v, given := e.o.Parameters[p.Name]
		if !given {
			v = p.Default
		}
		if v == "" && p.Required {
			return fmt.Errorf("%s needs the parameter %s (%s), for example %s", e.method.Name, p.Name, p.TitleEN, p.Unit)
		}
		if v != "" {
			e.result.Parameters[p.Name] = v
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.o.Parameters)) {
		if !known[name] {
			return fmt.Errorf("%s has no parameter %s; it has %s", e.method.Name, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	draws, err := strconv.Atoi(e.parameter(parameterDraws))
	if err != nil || draws < 0 || draws == 1 || draws > 1e7 {
		return fmt.Errorf("parameter draws = %q: 0, or 2 to 10000000", e.parameter(parameterDraws))
	}
	seed, err := strconv.ParseUint(e.parameter(parameterSeed), 10, 64)
	if err != nil {
		return fmt.Errorf("parameter seed = %q is not a whole number", e.parameter(parameterSeed))
	}
	e.draws, e.seed = draws, seed
	from, to := math.Inf(-1), math.Inf(1)
	for _, x := range []struct {
		name string
		into *float64
	}{{parameterFrom, &from}, {parameterTo, &to}} {
		text := e.parameter(x.name)
		if text == "" {
			continue
		}
		if *x.into, err = strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), "s"), 64); err != nil {
			return fmt.Errorf("parameter %s = %q is not a number of seconds", x.name, text)
		}
	}
	if !math.IsInf(from, -1) || !math.IsInf(to, 1) {
		e.data = e.data.Between(from, to)
	}
	return nil
}

func (e *evaluation) parameter(name string) string { return e.result.Parameters[name] }

// number reads "25 dm3/(s.bar)".
func number(text string) (v float64, unit string, err error) {
	text = strings.TrimSpace(text)
	head, unit, _ := strings.Cut(text, " ")
	v, err = strconv.ParseFloat(strings.ReplaceAll(head, ",", "."), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, "", fmt.Errorf("%q is not a number", text)
	}
	return v, strings.TrimSpace(unit), nil
}

// value reads a parameter "250 cm3 ± 1 %" (or "+- 2 cm3", or "U 2 cm3 k=2") in SI: the value and its standard
// uncertainty with its shape.
func (e *evaluation) value(name string, like acquisition.Dimension, plain string) (v, u float64, shape iso.Distribution, err error) {
	text := e.parameter(name)
	fail := func(err error) (float64, float64, iso.Distribution, error) {
		return 0, 0, "", fmt.Errorf("parameter %s = %q: %w", name, text, err)
	}
	text = strings.ReplaceAll(text, "+-", "±")
	head, half, uncertain := strings.Cut(text, "±")
	v, unit, err := number(head)
	if err != nil {
		return fail(err)
	}
	if unit == "" {
		unit = plain
	}
	x, err := acquisition.LookupUnit(unit)
	if err != nil {
		return fail(err)
	}
	if like != "" && x.Dimension != like {
		return fail(fmt.Errorf("%s is a %s; a %s is needed", x.Name, x.Dimension, like))
	}
	shape = iso.Rectangular
	if uncertain {
		half = strings.TrimSpace(half)
		if p, ok := strings.CutSuffix(half, "%"); ok {
			half = strings.TrimSpace(p) + " % rdg"
		} else if _, err := strconv.ParseFloat(half, 64); err == nil {
			half += " " + unit
		}
		a, err := ParseAccuracy(half, x, 0)
		if err != nil {
			return fail(err)
		}
		u = math.Hypot(a.Offset, a.Scale*math.Abs(x.ToSI(v)))
		shape = a.Shape
	}
	return x.ToSI(v), u, shape, nil
}

func refuse(method string, reason iso.Reason, format string, args ...any) error {
	return &iso.Refusal{Method: method, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

func (e *evaluation) refuse(reason iso.Reason, format string, args ...any) error {
	return refuse(e.method.Name, reason, format, args...)
}

// dimensions are what a quantity may be measured in.
func dimensions(q iso.Quantity) []acquisition.Dimension {
	switch q {
	case iso.AbsolutePressure, iso.GaugePressure:
		return []acquisition.Dimension{acquisition.PressureAbsolute, acquisition.PressureGauge}
	case iso.AtmosphericPressure:
		return []acquisition.Dimension{acquisition.PressureAbsolute}
	case iso.Temperature:
		return []acquisition.Dimension{acquisition.Temperature}
	case iso.MassFlow:
		return []acquisition.Dimension{acquisition.MassFlow}
	case iso.Position:
		return []acquisition.Dimension{acquisition.Length}
	case iso.Cycles:
		return []acquisition.Dimension{acquisition.Count, acquisition.Ratio}
	case iso.Signal, iso.Degradation:
	}
	return nil
}

// bind gives every channel of the method its channel of the record, in SI.
func (e *evaluation) bind() error {
	roles := slices.Concat(e.method.Channels, e.method.optional)
	for _, name := range slices.Sorted(maps.Keys(e.o.Map)) {
		if !slices.ContainsFunc(roles, func(c iso.Channel) bool { return c.Name == name }) {
			var names []string
			for _, c := range roles {
				names = append(names, c.Name)
			}
			return fmt.Errorf("there is no channel %s to map to; the method has %s", name, strings.Join(names, ", "))
		}
	}
	for _, role := range roles {
		c, err := e.find(role)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		b, err := e.fill(role, c)
		if err != nil {
			return err
		}
		e.bound[role.Name] = b
	}
	return nil
}

func (e *evaluation) find(role iso.Channel) (*Channel, error) {
	if name, ok := e.o.Map[role.Name]; ok {
		if name == "" || name == "-" {
			return nil, nil //nolint:nilnil // the caller was told to leave it out
		}
		c := e.data.Channel(name)
		if c == nil {
			var names []string
			for _, x := range e.data.Channels {
				names = append(names, x.Name)
			}
			return nil, fmt.Errorf("the record has no channel %s for %s; it has %s", name, role.Name, strings.Join(names, ", "))
		}
		return c, nil
	}
	for _, name := range append([]string{role.Name}, e.method.aliases[role.Name]...) {
		for _, c := range e.data.Channels {
			if strings.EqualFold(c.Name, name) {
				return c, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // optional or refused by Admit
}

func (e *evaluation) fill(role iso.Channel, c *Channel) (*bound, error) {
	unit, err := acquisition.LookupUnit(c.Unit)
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", c.Name, err)
	}
	b := &bound{role: role, channel: c, quantity: role.Quantity, period: c.period(), step: c.Resolution * unit.Factor}
	if allowed := dimensions(role.Quantity); allowed != nil && !slices.Contains(allowed, unit.Dimension) {
		what := string(unit.Dimension)
		if unit.Dimension == acquisition.PressureDelta {
			what = "pressure that is neither said to be absolute nor gauge"
		}
		if unit.Dimension == acquisition.VolumeFlow {
			what = "volume flow at actual conditions; the method needs a mass flow or a flow at a reference state"
		}
		return nil, e.refuse(iso.ChannelMissing, "channel %s for %s is in %s, a %s; name the unit as it is, for example %s", c.Name, role.Name, c.Unit, what, example(role.Quantity))
	}
	switch {
	case unit.Dimension == acquisition.PressureGauge:
		b.quantity = iso.GaugePressure
	case unit.Dimension == acquisition.PressureAbsolute && role.Quantity == iso.GaugePressure:
		b.quantity = iso.AbsolutePressure
	}
	full := 0.0
	if c.High > c.Low {
		full = c.High
	}
	if b.accuracy, err = ParseAccuracy(c.Accuracy, unit, full); err != nil {
		return nil, fmt.Errorf("channel %s: %w", c.Name, err)
	}
	b.trace = iso.Trace{T: make([]float64, 0, len(c.Times)), Y: make([]float64, 0, len(c.Times))}
	for i, t := range c.Times {
		if v := c.Values[i]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			b.trace.T, b.trace.Y = append(b.trace.T, t), append(b.trace.Y, unit.ToSI(v))
		}
	}
	return b, nil
}

func example(q iso.Quantity) string {
	switch q {
	case iso.AbsolutePressure, iso.AtmosphericPressure:
		return "kPa_a"
	case iso.GaugePressure:
		return "kPa_g"
	case iso.Temperature:
		return "degC"
	case iso.MassFlow:
		return "L/min_ANR"
	case iso.Position:
		return "mm"
	case iso.Signal, iso.Cycles, iso.Degradation:
	}
	return "1"
}

// CalibrationExpired refuses a record whose instruments were due.
const CalibrationExpired iso.Reason = "CALIBRATION_EXPIRED"

// admit checks the channels in the windows that are evaluated and notes which
// were used.
func (e *evaluation) admit(windows []iso.Window) error {
	var offers []iso.Offer
	for _, role := range e.method.Channels {
		b := e.bound[role.Name]
		if b == nil {
			continue
		}
		if b.channel.Expired != "" {
			return e.refuse(CalibrationExpired, "%s; calibrate it, what it shows has no stated uncertainty", b.channel.Expired)
		}
		o := iso.Offer{Name: role.Name, Quantity: b.quantity}
		if b.period > 0 {
			o.Rate = 1 / b.period * (1 + 1e-9)
		}
		samples := 0
		for _, w := range windows {
			missing, gap, n := b.completeness(w)
			o.Missing, o.Gap = max(o.Missing, missing), max(o.Gap, gap)
			samples += n
		}
		offers = append(offers, o)
		e.result.Channels = append(e.result.Channels, Used{
			Role: role.Name, Channel: b.channel.Name, Unit: b.channel.Unit, Samples: samples, Rate: o.Rate, Missing: o.Missing, Gap: o.Gap,
			Accuracy: b.accuracy.Wording,
		})
		if b.channel.Uncertain > 0 {
			e.result.note("%d samples of %s have an uncertain quality and were used", b.channel.Uncertain, b.channel.Name)
		}
		if !b.accuracy.Stated && dimensions(role.Quantity) != nil && role.Quantity != iso.Cycles {
			e.result.note("no accuracy is stated for %s: its systematic error is not in U", b.channel.Name)
		}
	}
	if e.bound["p_atm"] == nil && e.result.Parameters["p_atm"] != "" {
		offers = append(offers, iso.Offer{Name: "p_atm", Quantity: iso.AtmosphericPressure, Rate: 1e9})
	}
	return e.method.Admit(offers)
}

// completeness of a channel in a window: the share of planned samples that is
// missing, the longest time without planned samples, and the samples there.
func (b *bound) completeness(w iso.Window) (missing, gap float64, n int) {
	in := b.trace.Window(w.From, w.To)
	n = len(in.T)
	if b.period <= 0 {
		return 0, 0, n
	}
	planned := math.Floor((w.To-w.From)/b.period - 1e-6)
	if planned > 0 && float64(n) < planned {
		missing = (planned - float64(n)) / planned
	}
	last := w.From
	for i, t := range in.T {
		if i > 0 || t-last > b.period {
			gap = max(gap, t-last-b.period*1.5)
		}
		last = t
	}
	if w.To-last > b.period {
		gap = max(gap, w.To-last-1.5*b.period)
	}
	return missing, max(gap, 0), n
}

// atmosphere is the mean atmospheric pressure over windows, Pa, with its
// standard uncertainty; 0 where it was neither measured nor stated.
func (e *evaluation) atmosphere(windows []iso.Window) (p, u float64, shape iso.Distribution, err error) {
	if b := e.bound["p_atm"]; b != nil {
		sum, n := 0.0, 0
		for _, w := range windows {
			for _, v := range b.trace.Window(w.From, w.To).Y {
				sum += v
				n++
			}
		}
		if n == 0 { // slower than the windows are long
			for _, v := range b.trace.Y {
				sum += v
				n++
			}
		}
		if n > 0 {
			p = sum / float64(n)
			return p, math.Hypot(b.accuracy.Offset, b.accuracy.Scale*p), b.accuracy.Shape, nil
		}
	}
	if e.parameter("p_atm") == "" {
		return 0, 0, "", nil
	}
	return e.value("p_atm", acquisition.PressureAbsolute, "hPa_a")
}

// absolute turns the gauge channels among names into absolute ones.
func (e *evaluation) absolute(ambient float64, names ...string) error {
	for _, name := range names {
		b := e.bound[name]
		if b == nil || b.quantity != iso.GaugePressure {
			continue
		}
		y, err := iso.Absolute(e.method.Name, b.trace.Y, ambient)
		if err != nil {
			return err
		}
		b.trace = iso.Trace{T: b.trace.T, Y: y}
		e.result.note("%s is a gauge pressure; the atmospheric pressure of %s kPa was added", b.channel.Name, Round(ambient/1e3, 2))
	}
	return nil
}

// lowestShare of the atmospheric pressure is less than any absolute pressure on
// a rig without a vacuum pump.
const lowestShare = 0.9

// notGauge refuses absolute pressures that go where only a gauge can show: a
// vented rig reads the atmosphere, not nothing.
func (e *evaluation) notGauge(ambient float64, names ...string) error {
	if ambient <= 0 {
		return nil
	}
	for _, name := range names {
		b := e.bound[name]
		if b == nil || b.quantity != iso.AbsolutePressure || len(b.trace.Y) == 0 {
			continue
		}
		sorted := slices.Sorted(slices.Values(b.trace.Y))
		// One sample in five hundred may be a spike.
		if low := sorted[len(sorted)/500]; low < lowestShare*ambient {
			return e.refuse(iso.GaugeAsAbsolute, "%s goes down to %s kPa, below the atmosphere's %s kPa: it is a gauge pressure declared absolute; correct the unit of the channel (for example kPa_g)",
				b.channel.Name, Round(low/1e3, 1), Round(ambient/1e3, 1))
		}
	}
	return nil
}

func mean(y []float64) float64 {
	if len(y) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range y {
		sum += v - y[0]
	}
	return y[0] + sum/float64(len(y))
}

func deviation(y []float64) float64 {
	if len(y) < 2 {
		return 0
	}
	m, sum := mean(y), 0.0
	for _, v := range y {
		sum += (v - m) * (v - m)
	}
	return math.Sqrt(sum / float64(len(y)-1))
}

// movement is how far a trace moves over its length by its least squares line,
// and the standard error of that: noise is not movement.
func movement(t iso.Trace) (move, se float64) {
	n := len(t.T)
	if n < 3 {
		return 0, 0
	}
	mt, my := mean(t.T), mean(t.Y)
	var sxx, sxy, syy float64
	for i := range t.T {
		dx, dy := t.T[i]-mt, t.Y[i]-my
		sxx += dx * dx
		sxy += dx * dy
		syy += dy * dy
	}
	length := t.T[n-1] - t.T[0]
	slope := sxy / sxx
	residual := max(syy-slope*sxy, 0) / float64(n-2)
	return math.Abs(slope) * length, math.Sqrt(residual/sxx) * length
}

// residual is the standard deviation of a trace around its least squares line:
// the scatter of a window without its movement.
func residual(t iso.Trace) float64 {
	n := len(t.T)
	if n < 3 {
		return deviation(t.Y)
	}
	_, se := movement(t)
	mt, sxx := mean(t.T), 0.0
	for _, x := range t.T {
		sxx += (x - mt) * (x - mt)
	}
	return se / (t.T[n-1] - t.T[0]) * math.Sqrt(sxx)
}
