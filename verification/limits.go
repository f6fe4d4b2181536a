package verification

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

// LimitsMethod is the name and version of results defined in a file.
const LimitsMethod = "limits/1"

// LimitsFile defines results without a programmer: statistics of channels or
// expressions in windows, and readings entered by hand, each with limits. A
// product standard or a customer's drawing becomes such a file.
type LimitsFile struct {
	Version    int               `yaml:"version"`
	Title      string            `yaml:"title"`
	TitleZH    string            `yaml:"title_zh"`
	Standard   string            `yaml:"standard"` // as cited: "evaluated following ..."
	Rule       string            `yaml:"rule"`     // simple or guarded
	Windows    map[string]Span   `yaml:"windows"`
	Results    []Wanted          `yaml:"results"`
	Accuracies map[string]string `yaml:"accuracies"` // by channel, where the record states none
}

// Span is a stretch of the record: where a condition holds (the Nth such
// stretch, from 1; -1 is the last, 0 the longest), or from and to in seconds.
type Span struct {
	When string   `yaml:"when"`
	Nth  int      `yaml:"nth"`
	From *float64 `yaml:"from"`
	To   *float64 `yaml:"to"`
	Skip float64  `yaml:"skip"` // s left out at its start
}

// Wanted is one result of a limits file.
type Wanted struct {
	Name    string   `yaml:"name"`
	Title   string   `yaml:"title"`
	TitleZH string   `yaml:"title_zh"`
	Of      string   `yaml:"of"`   // channel or expression, in the units of its channels
	In      string   `yaml:"in"`   // window; "" is the whole record
	Take    string   `yaml:"take"` // mean, min, max, slope, duration, value_at, time_to, count, reading
	At      float64  `yaml:"at"`   // s from the window's start, for value_at
	Level   *float64 `yaml:"level"`
	Falling bool     `yaml:"falling"` // time_to and count: passing the level downwards
	Unit    string   `yaml:"unit"`    // of the result; a channel's value is converted to it
	Low     *float64 `yaml:"low"`
	High    *float64 `yaml:"high"`
}

// Takes are what a result may take of a window.
func Takes() []string {
	return []string{"mean", "min", "max", "slope", "duration", "value_at", "time_to", "count", "reading"}
}

// Check says what is wrong with the file itself.
func (f *LimitsFile) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.Version != 1 {
		bad("version %d: this program reads version 1", f.Version)
	}
	if len(f.Results) == 0 {
		bad("there are no results")
	}
	seen := map[string]bool{}
	for i := range f.Results {
		w := &f.Results[i]
		switch {
		case w.Name == "" || seen[w.Name]:
			bad("result %d: the name %q is empty or taken", i+1, w.Name)
		case !slices.Contains(Takes(), w.Take):
			bad("result %s: take %q is not one of %s", w.Name, w.Take, strings.Join(Takes(), ", "))
		case w.Take != "reading" && w.Of == "":
			bad("result %s: of names no channel or expression", w.Name)
		case w.Take == "reading" && w.Unit == "":
			bad("result %s: a reading needs its unit", w.Name)
		case w.Take == "time_to" && w.Level == nil:
			bad("result %s: time_to needs a level", w.Name)
		case w.Low != nil && w.High != nil && *w.Low > *w.High:
			bad("result %s: low %g is above high %g", w.Name, *w.Low, *w.High)
		}
		if _, ok := f.Windows[w.In]; w.In != "" && !ok {
			bad("result %s: there is no window %s", w.Name, w.In)
		}
		if _, err := acquisition.LookupUnit(w.Unit); err != nil {
			bad("result %s: %w", w.Name, err)
		}
		seen[w.Name] = true
	}
	return errors.Join(errs...)
}

// EvaluateLimits computes the results of a file from a record and from readings
// entered by hand, by name, written as "182 N ± 3 N". compile turns expressions
// into functions.
func EvaluateLimits(f *LimitsFile, d *Dataset, readings map[string]string, compile acquisition.Compile) (*Result, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	standard := f.Standard
	if standard == "" {
		standard = "the limits of " + f.Title
	}
	r := &Result{
		Schema: SchemaName, Method: LimitsMethod, TitleEN: f.Title, TitleZH: f.TitleZH, Wording: wording(standard), Recording: d.Recording,
		Simulated: d.Simulated, Inputs: slices.Clone(d.Sources), Channels: []Used{}, Figures: []Figure{}, Conventions: []string{"P-3"}, Parameters: map[string]string{},
	}
	l := &limiter{f: f, d: d, compile: compile, shift: map[string]float64{}}
	var limits []Limit
	for i := range f.Results {
		w := &f.Results[i]
		fig, err := l.result(w, readings)
		if refusal, ok := errors.AsType[*iso.Refusal](err); ok {
			r.Refusal = &Refusal{Code: string(refusal.Reason), What: w.Name + ": " + refusal.Detail}
			r.Figures = []Figure{}
			break
		}
		if err != nil {
			return nil, fmt.Errorf("result %s: %w", w.Name, err)
		}
		r.Figures = append(r.Figures, fig)
		if fig.U == nil {
			r.note("no uncertainty can be stated for %s: its channels have no accuracy", w.Name)
		}
		if w.Low != nil || w.High != nil {
			limits = append(limits, Limit{Figure: w.Name, Low: w.Low, High: w.High})
		}
	}
	for name, text := range readings {
		if !slices.ContainsFunc(f.Results, func(w Wanted) bool { return w.Name == name && w.Take == "reading" }) {
			return nil, fmt.Errorf("reading %s = %s: the file has no result of that name with take: reading", name, text)
		}
		r.Parameters["reading."+name] = text
	}
	return r, r.Decide(limits, f.Rule)
}

// limiter computes results; shift moves channels by so much, to see what their
// errors do.
type limiter struct {
	f       *LimitsFile
	d       *Dataset
	compile acquisition.Compile
	shift   map[string]float64
}

func (l *limiter) result(w *Wanted, readings map[string]string) (Figure, error) {
	title, zh := w.Title, w.TitleZH
	if title == "" {
		title = w.Name
	}
	if zh == "" {
		zh = title
	}
	if w.Take == "reading" {
		text, ok := readings[w.Name]
		if !ok {
			return Figure{}, refuse(LimitsMethod, iso.ChannelMissing, "the reading is not entered; give it with --reading %q", w.Name+"=VALUE "+w.Unit+" ± U")
		}
		e := &evaluation{result: &Result{Parameters: map[string]string{w.Name: text}}}
		unit, _ := acquisition.LookupUnit(w.Unit) // checked
		v, u, _, err := e.value(w.Name, unit.Dimension, w.Unit)
		if err != nil {
			return Figure{}, err
		}
		return figure(w.Name, title, zh, w.Unit, 1, unit.FromSI(v), spread{u: u / unit.Factor, budget: []Line{{Name: "reading", U: u / unit.Factor}}}), nil
	}
	v, own, unit, err := l.take(w)
	if err != nil {
		return Figure{}, err
	}
	s := spread{}
	if own > 0 {
		s.budget = append(s.budget, Line{Name: "scatter, sampling", U: own})
		s.u = own
	}
	operands, err := l.operands(w.Of)
	if err != nil {
		return Figure{}, err
	}
	for _, c := range operands {
		u, err := l.standard(c)
		if err != nil {
			return Figure{}, err
		}
		if u == 0 {
			continue
		}
		var ends [2]float64
		for i, sign := range []float64{1, -1} {
			l.shift[c.Name] = sign * u
			ends[i], _, _, err = l.take(w)
			delete(l.shift, c.Name)
			if err != nil {
				return Figure{}, err
			}
		}
		part := math.Abs(ends[0]-ends[1]) / 2
		s.budget = append(s.budget, Line{Name: c.Name, U: part})
		s.u = math.Hypot(s.u, part)
	}
	return figure(w.Name, title, zh, unit, 1, v, s), nil
}

// standard is the standard uncertainty of a channel at its mean, in its unit.
func (l *limiter) standard(c *Channel) (float64, error) {
	text := c.Accuracy
	if text == "" {
		text = l.f.Accuracies[c.Name]
	}
	unit, err := acquisition.LookupUnit(c.Unit)
	if err != nil {
		return 0, fmt.Errorf("channel %s: %w", c.Name, err)
	}
	full := 0.0
	if c.High > c.Low {
		full = c.High
	}
	a, err := ParseAccuracy(text, unit, full)
	if err != nil {
		return 0, fmt.Errorf("channel %s: %w", c.Name, err)
	}
	sum, n := 0.0, 0
	for _, v := range c.Values {
		if !math.IsNaN(v) {
			sum += math.Abs(v)
			n++
		}
	}
	return math.Hypot(math.Hypot(a.Offset/unit.Factor, a.Scale*sum/float64(max(n, 1))), c.Resolution/math.Sqrt(12)), nil
}

func (l *limiter) operands(text string) ([]*Channel, error) {
	if c := l.d.Channel(text); c != nil {
		return []*Channel{c}, nil
	}
	names := make([]string, len(l.d.Channels))
	for i, c := range l.d.Channels {
		names[i] = c.Name
	}
	e, err := l.compile(text, names)
	if err != nil {
		return nil, fmt.Errorf("%w; the record has %s", err, strings.Join(names, ", "))
	}
	var list []*Channel
	for _, i := range e.Operands {
		list = append(list, l.d.Channels[i])
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("expression %q uses no channel", text)
	}
	return list, nil
}

// longestHold is how many periods a slower channel's value stands for.
const longestHold = 3

// trace evaluates a channel or expression over time, at the samples of its
// fastest channel; the others hold their last value.
func (l *limiter) trace(text string) (iso.Trace, float64, error) {
	operands, err := l.operands(text)
	if err != nil {
		return iso.Trace{}, 0, err
	}
	lead := operands[0]
	for _, c := range operands {
		if len(c.Times) > len(lead.Times) {
			lead = c
		}
	}
	if len(lead.Times) == 0 {
		return iso.Trace{}, 0, refuse(LimitsMethod, iso.TooFewPoints, "channel %s has no samples", lead.Name)
	}
	eval := func(values []float64) float64 { return values[slices.Index(l.d.Channels, lead)] }
	if l.d.Channel(text) == nil {
		names := make([]string, len(l.d.Channels))
		for i, c := range l.d.Channels {
			names[i] = c.Name
		}
		e, err := l.compile(text, names)
		if err != nil {
			return iso.Trace{}, 0, err
		}
		eval = e.Eval
	}
	values := make([]float64, len(l.d.Channels))
	at := make([]int, len(operands))
	out := iso.Trace{}
	for _, t := range lead.Times {
		usable := true
		for k, c := range operands {
			i := at[k]
			for i+1 < len(c.Times) && c.Times[i+1] <= t+1e-9 {
				i++
			}
			at[k] = i
			v := math.NaN()
			if i < len(c.Times) && c.Times[i] <= t+1e-9 && t-c.Times[i] <= longestHold*c.period()+1e-9 {
				v = c.Values[i]
			}
			usable = usable && !math.IsNaN(v)
			values[slices.Index(l.d.Channels, c)] = v + l.shift[c.Name]
		}
		if !usable {
			continue
		}
		if v := eval(values); !math.IsNaN(v) && !math.IsInf(v, 0) {
			out.T, out.Y = append(out.T, t), append(out.Y, v)
		}
	}
	return out, lead.period(), nil
}

func (l *limiter) window(name string, t iso.Trace) (iso.Window, error) {
	all := iso.Window{From: t.T[0], To: t.T[len(t.T)-1] + 1e-9}
	if name == "" {
		return all, nil
	}
	s := l.f.Windows[name]
	if s.When == "" {
		if s.From != nil {
			all.From = *s.From
		}
		if s.To != nil {
			all.To = *s.To
		}
		all.From += s.Skip
		return all, nil
	}
	shift := l.shift
	l.shift = map[string]float64{} // a window stays where the record has it
	condition, period, err := l.trace(s.When)
	l.shift = shift
	if err != nil {
		return all, err
	}
	var spans []iso.Window
	open := false
	for i, at := range condition.T {
		switch {
		case condition.Y[i] == 0:
			open = false
		case open && at-spans[len(spans)-1].To <= longestHold*period:
			spans[len(spans)-1].To = at + 1e-9
		default:
			spans = append(spans, iso.Window{From: at, To: at + 1e-9})
			open = true
		}
	}
	if len(spans) == 0 {
		return all, refuse(LimitsMethod, iso.RecordTooShort, "window %s: %q never holds in this record", name, s.When)
	}
	chosen := 0
	switch {
	case s.Nth == 0:
		for i, x := range spans {
			if x.To-x.From > spans[chosen].To-spans[chosen].From {
				chosen = i
			}
		}
	case s.Nth < 0:
		chosen = len(spans) + s.Nth
	default:
		chosen = s.Nth - 1
	}
	if chosen < 0 || chosen >= len(spans) {
		return all, refuse(LimitsMethod, iso.RecordTooShort, "window %s: stretch %d of %d is asked for", name, s.Nth, len(spans))
	}
	w := spans[chosen]
	w.From += s.Skip
	return w, nil
}

// take computes one result in its unit, with the part of its uncertainty that
// scatter and sampling cause.
func (l *limiter) take(w *Wanted) (v, own float64, unit string, err error) {
	t, period, err := l.trace(w.Of)
	if err != nil {
		return 0, 0, "", err
	}
	if len(t.T) == 0 {
		return 0, 0, "", refuse(LimitsMethod, iso.TooFewPoints, "%s has no good samples", w.Of)
	}
	span, err := l.window(w.In, t)
	if err != nil {
		return 0, 0, "", err
	}
	in := t.Window(span.From, span.To)
	if len(in.T) == 0 {
		return 0, 0, "", refuse(LimitsMethod, iso.TooFewPoints, "%s has no good samples in window %s", w.Of, w.In)
	}
	from, to := w.Unit, w.Unit
	if c := l.d.Channel(w.Of); c != nil {
		from = c.Unit
	}
	if to == "" {
		to = from
	}
	half := period / 2 / math.Sqrt(3)
	low, high := extremes(in.Y)
	level := 0.5
	if w.Level != nil {
		level = *w.Level
	}
	beyond := func(y float64) bool {
		if w.Falling {
			return y <= level
		}
		return y >= level
	}
	switch w.Take {
	case "mean":
		v, own = mean(in.Y), deviation(in.Y)/math.Sqrt(float64(len(in.Y)))
	case "min":
		v = low
	case "max":
		v = high
	case "value_at":
		at := in.T[0] + w.At
		x := t.Resample([]float64{at}, longestHold*period)
		if len(x.Y) == 0 {
			return 0, 0, "", refuse(LimitsMethod, iso.RecordTooShort, "%s has no sample %g s after the start of the window", w.Of, w.At)
		}
		v = x.Y[0]
	case "slope":
		if len(in.T) < 3 {
			return 0, 0, "", refuse(LimitsMethod, iso.TooFewPoints, "%d samples; a slope needs three", len(in.T))
		}
		length := in.T[len(in.T)-1] - in.T[0]
		move, se := movement(in)
		if mean(in.Y[len(in.Y)/2:]) < mean(in.Y[:len(in.Y)/2]) {
			move = -move
		}
		v, own = move/length, se/length
		return v * perUnit(from, to), own * perUnit(from, to), to + "/s", nil
	case "duration":
		for i := range in.T {
			if in.Y[i] >= level && i+1 < len(in.T) {
				v += in.T[i+1] - in.T[i]
			}
		}
		return v, math.Sqrt2 * half, "s", nil
	case "time_to":
		i := slices.IndexFunc(in.Y, beyond)
		if i < 0 {
			return 0, 0, "", refuse(LimitsMethod, iso.NoCrossing, "%s never passes %g in the window", w.Of, level)
		}
		at := in.T[i]
		if i > 0 && in.Y[i] != in.Y[i-1] {
			at = in.T[i-1] + (level-in.Y[i-1])/(in.Y[i]-in.Y[i-1])*(in.T[i]-in.T[i-1])
		}
		return at - span.From, half, "s", nil
	case "count":
		for i := 1; i < len(in.Y); i++ {
			if beyond(in.Y[i]) && !beyond(in.Y[i-1]) {
				v++
			}
		}
		return v, 0, "count", nil
	}
	if from != to {
		a, err1 := acquisition.LookupUnit(from)
		b, err2 := acquisition.LookupUnit(to)
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, "", err
		}
		if v, err = acquisition.Convert(v, a, b); err != nil {
			return 0, 0, "", err
		}
		own *= a.Factor / b.Factor
	}
	return v, own, to, nil
}

// perUnit is how many units to one unit from is, for differences.
func perUnit(from, to string) float64 {
	a, err1 := acquisition.LookupUnit(from)
	b, err2 := acquisition.LookupUnit(to)
	if err1 != nil || err2 != nil || a.Dimension != b.Dimension {
		return 1
	}
	return a.Factor / b.Factor
}
