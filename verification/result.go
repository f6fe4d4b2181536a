package verification

import (
	"fmt"
	"math"
	"strings"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

// SchemaName is what the JSON of a [Result] says it is. The number rises when
// a field changes its meaning.
const SchemaName = "pneudaq-result/1"

// Verdict is what comes of comparing a result with its limits.
type Verdict string

// Verdicts. No limits and no refusal give none.
const (
	VerdictNone         Verdict = ""
	VerdictPass         Verdict = "pass"
	VerdictFail         Verdict = "fail"
	VerdictInconclusive Verdict = "inconclusive" // the uncertainty does not allow a decision
	VerdictInvalid      Verdict = "invalid"      // the record does not allow one
)

// A Line is one contribution to a budget of uncertainty.
type Line struct {
	Name  string  `json:"name"`
	U     float64 `json:"u"`     // standard uncertainty of the figure that it causes, in the figure's unit
	Share float64 `json:"share"` // of the combined variance, 0..1
}

// A Check is a propagation of distributions (JCGM 101) beside a budget.
type Check struct {
	Draws  int     `json:"draws"`
	Seed   uint64  `json:"seed"`
	Mean   float64 `json:"mean"`
	Std    float64 `json:"std"`
	Low    float64 `json:"low"` // probabilistically symmetric 95 % interval
	High   float64 `json:"high"`
	Agrees bool    `json:"agrees"` // with the budget's interval, within half its last printed digit or three standard errors of the draws
}

// Decision compares a figure with its limits.
type Decision struct {
	Rule    string   `json:"rule"` // simple or guarded
	Low     *float64 `json:"low,omitempty"`
	High    *float64 `json:"high,omitempty"`
	Margin  float64  `json:"margin"` // to the nearer limit, positive inside
	U       float64  `json:"U"`
	Inside  float64  `json:"inside"` // probability that the value lies inside
	Verdict Verdict  `json:"verdict"`
}

// Figure is one result in the unit that the trade writes it in.
type Figure struct {
	Name     string    `json:"name"`
	TitleEN  string    `json:"title_en"`
	TitleZH  string    `json:"title_zh"`
	Unit     string    `json:"unit"`
	Value    float64   `json:"value"`
	Standard *float64  `json:"u"` // combined standard uncertainty; null: none can be stated
	U        *float64  `json:"U"` // expanded uncertainty, 95 %
	K        float64   `json:"k,omitempty"`
	DOF      *float64  `json:"dof,omitempty"` // effective degrees of freedom; absent: infinite
	Text     string    `json:"text"`          // as printed, rounded to U
	Budget   []Line    `json:"budget,omitempty"`
	Check    *Check    `json:"monte_carlo,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
}

// Used is a channel that a result rests on.
type Used struct {
	Role     string  `json:"role"`
	Channel  string  `json:"channel"`
	Unit     string  `json:"unit"`
	Samples  int     `json:"samples"`
	Rate     float64 `json:"rate"`    // Hz
	Missing  float64 `json:"missing"` // share, in the evaluated windows
	Gap      float64 `json:"gap"`     // longest there, s
	Accuracy string  `json:"accuracy"`
}

// Refusal says why a method does not judge.
type Refusal struct {
	Code string `json:"code"`
	What string `json:"what"`
}

// Result is what a method says about a record.
type Result struct {
	Schema      string               `json:"schema"`
	Method      string               `json:"method"` // name and version
	TitleEN     string               `json:"title_en"`
	TitleZH     string               `json:"title_zh"`
	Wording     string               `json:"wording"` // "evaluated following ISO ..."
	Recording   string               `json:"recording,omitempty"`
	Simulated   bool                 `json:"simulated"`
	Inputs      []Source             `json:"inputs"`
	Channels    []Used               `json:"channels"`
	Parameters  map[string]string    `json:"parameters"`
	Figures     []Figure             `json:"figures"`
	Verdict     Verdict              `json:"verdict,omitempty"`
	Refusal     *Refusal             `json:"refusal,omitempty"`
	Conventions []string             `json:"conventions"`
	Notes       []string             `json:"notes,omitempty"`
	Points      []map[string]float64 `json:"points,omitempty"` // what the figures follow from, in SI
	Plots       []Plot               `json:"-"`
}

// Figure returns the named figure, nil if there is none.
func (r *Result) Figure(name string) *Figure {
	for i := range r.Figures {
		if r.Figures[i].Name == name {
			return &r.Figures[i]
		}
	}
	return nil
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// wording says what a result follows, and what it does not claim.
func wording(standard string) string {
	return "evaluated following " + standard + "; no statement of conformity"
}

// spread is a value's uncertainty as a method found it.
type spread struct {
	u      float64
	dof    float64 // 0 or +Inf: infinite
	budget []Line
	check  *Check
}

// coverage of expanded uncertainties.
const coverage = 0.95

// endpointError times u/sqrt(draws) is three standard errors of an end of a
// 95 % interval of a normal sample: 3·sqrt(0.025·0.975)/0.0584.
const endpointError = 8.0

// figure makes a figure of a value in SI. factor is one unit in SI. Where the
// propagation of distributions disagrees with the budget's interval, its own
// interval gives U and k: two rectangular terms do not make a normal sum.
func figure(name, en, zh, unit string, factor, v float64, s spread) Figure {
	f := Figure{Name: name, TitleEN: en, TitleZH: zh, Unit: unit, Value: v / factor}
	if s.u > 0 {
		u := s.u / factor
		dof := s.dof
		if dof == 0 {
			dof = math.Inf(1)
		}
		k := 2.0
		if !math.IsInf(dof, 1) {
			d := dof
			f.DOF = &d
			if dof < 50 {
				k = iso.CoverageFactor(coverage, dof)
			}
		}
		expanded := k * u
		if c := s.check; c != nil {
			x := *c
			x.Mean, x.Std, x.Low, x.High = c.Mean/factor, c.Std/factor, c.Low/factor, c.High/factor
			// JCGM 101 8.1: half the last digit, but not less than the draws can tell.
			half := max(0.5*math.Pow10(-decimals(expanded, uncertaintyDigits)), endpointError/math.Sqrt(float64(c.Draws))*u)
			x.Agrees = math.Abs(f.Value-expanded-x.Low) <= half && math.Abs(f.Value+expanded-x.High) <= half
			if wide := max(x.High-f.Value, f.Value-x.Low); !x.Agrees && wide > 0 {
				expanded = wide
				k = expanded / u
			}
			f.Check = &x
		}
		f.Standard, f.U, f.K = &u, &expanded, k
		for _, l := range s.budget {
			if l.U > 0 {
				f.Budget = append(f.Budget, Line{Name: l.Name, U: l.U / factor, Share: l.U * l.U / (s.u * s.u)})
			}
		}
	}
	f.print()
	return f
}

func (f *Figure) print() {
	u := 0.0
	if f.U != nil {
		u = *f.U
	}
	value, uncertainty := RoundPair(f.Value, u)
	f.Text = value
	if uncertainty != "" {
		f.Text = fmt.Sprintf("%s ± %s (k = %s)", value, uncertainty, Round(f.K, 2))
	}
	if s := Symbol(f.Unit); s != "" {
		f.Text += " " + s
	}
}

// Symbol is how a unit is printed for people.
func Symbol(unit string) string {
	switch u, err := acquisition.LookupUnit(unit); {
	case unit == "" || unit == "1":
		return ""
	case err == nil:
		return u.Symbol
	}
	return unit
}

// fromBudget takes output j of a budget and its sample.
func fromBudget(b *iso.Budget, j int, s *iso.Sample, draws int, seed uint64) spread {
	x := spread{u: b.U[j], dof: b.DOF[j]}
	for _, c := range b.Contributions {
		x.budget = append(x.budget, Line{Name: c.Name, U: c.U[j]})
	}
	if s != nil && draws > 0 {
		low, high := s.Interval(j, coverage)
		x.check = &Check{Draws: draws, Seed: seed, Mean: s.Mean[j], Std: s.Std[j], Low: low, High: high}
	}
	return x
}

// A Limit is what a figure is compared with, in Unit.
type Limit struct {
	Figure    string
	Low, High *float64
	Unit      string
}

// ParseLimit reads "C >= 25 dm3/(s.bar)", "leak <= 5", "b 0.2..0.4": figure,
// comparison, value, and a unit unless it is the figure's own.
func ParseLimit(text string) (Limit, error) {
	bad := fmt.Errorf("limit %q is not a figure, a comparison and a value, for example \"C >= 25 dm3/(s.bar)\" or \"b 0.2..0.4\"", text)
	for _, op := range []string{">=", "<=", ">", "<"} {
		name, rest, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		v, unit, err := number(rest)
		if err != nil || strings.TrimSpace(name) == "" {
			return Limit{}, bad
		}
		l := Limit{Figure: strings.TrimSpace(name), Unit: unit}
		if op[0] == '>' {
			l.Low = &v
		} else {
			l.High = &v
		}
		return l, nil
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	low, high, ok := strings.Cut(rest, "..")
	if !ok {
		return Limit{}, bad
	}
	a, _, err1 := number(low)
	b, unit, err2 := number(high)
	if err1 != nil || err2 != nil || name == "" || a > b {
		return Limit{}, bad
	}
	return Limit{Figure: name, Low: &a, High: &b, Unit: unit}, nil
}

// Rules of decision (convention P-3).
const (
	RuleSimple  = "simple"
	RuleGuarded = "guarded"
)

// Decide compares the figures with limits and gives the result its verdict: a
// refused result is invalid, a limit whose figure is missing too.
func (r *Result) Decide(limits []Limit, rule string) error {
	if rule == "" {
		rule = RuleSimple
	}
	if rule != RuleSimple && rule != RuleGuarded {
		return fmt.Errorf("decision rule %q is not simple or guarded", rule)
	}
	if r.Refusal != nil {
		r.Verdict = VerdictInvalid
		return nil
	}
	for _, l := range limits {
		f := r.Figure(l.Figure)
		if f == nil {
			var names []string
			for i := range r.Figures {
				names = append(names, r.Figures[i].Name)
			}
			return fmt.Errorf("limit on %s: the method has no such figure; it has %s", l.Figure, strings.Join(names, ", "))
		}
		if err := f.decide(l, rule); err != nil {
			return err
		}
		r.Verdict = Worst(r.Verdict, f.Decision.Verdict)
	}
	return nil
}

// Worst is the verdict of a whole: fail before invalid before inconclusive
// before pass.
func Worst(a, b Verdict) Verdict {
	for _, v := range []Verdict{VerdictFail, VerdictInvalid, VerdictInconclusive, VerdictPass} {
		if a == v || b == v {
			return v
		}
	}
	return VerdictNone
}

func (f *Figure) decide(l Limit, rule string) error {
	convert := func(v float64) (float64, error) {
		if l.Unit == "" || l.Unit == f.Unit {
			return v, nil
		}
		from, err1 := acquisition.LookupUnit(l.Unit)
		to, err2 := acquisition.LookupUnit(f.Unit)
		if err1 != nil {
			return 0, err1
		}
		if err2 != nil {
			return 0, fmt.Errorf("%s is in %s and cannot be compared with %s", f.Name, f.Unit, l.Unit)
		}
		return acquisition.Convert(v, from, to)
	}
	d := &Decision{Rule: rule, Margin: math.Inf(1), Verdict: VerdictPass, Inside: 1}
	if f.U != nil {
		d.U = *f.U
	}
	for _, side := range []struct {
		at   *float64
		into **float64
		side iso.Side
	}{{l.Low, &d.Low, iso.LowerLimit}, {l.High, &d.High, iso.UpperLimit}} {
		if side.at == nil {
			continue
		}
		at, err := convert(*side.at)
		if err != nil {
			return fmt.Errorf("limit on %s: %w", f.Name, err)
		}
		*side.into = &at
		x := iso.Decide(f.Value, d.U, at, side.side)
		d.Margin = min(d.Margin, x.Margin)
		d.Inside = max(0, d.Inside+x.ProbConform-1)
		d.Verdict = Worst(d.Verdict, verdictOf(x, rule))
	}
	f.Decision = d
	return nil
}

func verdictOf(x iso.Decision, rule string) Verdict {
	outcome := x.Simple
	if rule == RuleGuarded {
		outcome = x.Guarded
	}
	switch outcome {
	case iso.Pass:
		return VerdictPass
	case iso.ConditionalPass, iso.ConditionalFail:
		return VerdictInconclusive
	case iso.Fail:
	}
	return VerdictFail
}
