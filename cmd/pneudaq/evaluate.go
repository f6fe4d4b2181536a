package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"pneudaq/configs"
	"pneudaq/verification"
)

// evaluateFlags are what `evaluate` and `runs evaluate` share.
type evaluateFlags struct {
	layout
	mapping  map[string]string
	accuracy map[string]string
	params   map[string]string
	readings map[string]string
	limits   []string
	with     string
	svg      string
	rig      string
}

func (o *evaluateFlags) add(f *flag.FlagSet) {
	o.mapping, o.accuracy, o.params, o.readings = map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	pair := func(into map[string]string) func(string) error {
		return func(s string) error {
			k, v, ok := strings.Cut(s, "=")
			if !ok || k == "" {
				return fmt.Errorf("%q is not NAME=VALUE", s)
			}
			into[strings.TrimSpace(k)] = strings.TrimSpace(v)
			return nil
		}
	}
	f.Func("map", "`NAME=COLUMN[:UNIT]`: which channel of the record is the method's NAME; may be repeated", pair(o.mapping))
	f.Func("accuracy", "`NAME=TEXT`: accuracy of a channel, for example \"p1=0.1 % rdg + 0.5 kPa\" or \"p1=U 0.2 kPa k=2\"; may be repeated", pair(o.accuracy))
	f.Func("param", "`NAME=VALUE`: a parameter of the method; may be repeated", pair(o.params))
	f.Func("reading", "`NAME=VALUE`: a reading entered by hand, for limits files, for example \"pull_out=182 N ± 3 N\"", pair(o.readings))
	f.Func("limit", "`LIMIT`, for example \"C >= 25 dm3/(s.bar)\"; may be repeated", func(s string) error { o.limits = append(o.limits, s); return nil })
	f.StringVar(&o.Rule, "rule", "", "decision `rule`: simple or guarded (default simple)")
	f.StringVar(&o.with, "with", "", "YAML `file` with columns, parameters and limits; for the method limits the file that defines them")
	f.StringVar(&o.svg, "svg", "", "write the plots as SVG into this `directory`")
}

func (o *evaluateFlags) addTable(f *flag.FlagSet) {
	f.StringVar(&o.Time.Column, "time", "", "`COLUMN[:UNIT]` of the times (default: a column named time, t, 时间 ...)")
	f.Float64Var(&o.Rate, "rate", 0, "samples per second, in `Hz`, where there is no column of times")
	f.StringVar(&o.Sheet, "sheet", "", "`name` of the sheet (.xlsx; default: the one that was open)")
	f.IntVar(&o.Skip, "skip", 0, "`lines` before the header")
}

// runEvaluate judges a file acquired elsewhere.
func runEvaluate(ctx context.Context, t *terminal, args []string) error {
	const about = "METHOD FILE [--map NAME=COLUMN:UNIT] [--param NAME=VALUE] [--limit ...] [--json] [--svg DIR]"
	f := flags(t, "evaluate", about)
	var o evaluateFlags
	o.add(f)
	o.addTable(f)
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) == 1 && rest[0] == "methods" || len(rest) == 0 {
		return printMethods(t, *asJSON)
	}
	if len(rest) != 2 {
		return fails(exitUsage, "say the method and the file: pneudaq evaluate %s; `pneudaq evaluate methods` lists the methods", about)
	}
	name := rest[0]
	if err := ctx.Err(); err != nil {
		return err
	}
	limits, err := o.file(name)
	if err != nil {
		return err
	}
	table, err := readSheet(rest[1], &o.layout)
	if err != nil {
		return err
	}
	if o.Channels == nil {
		o.Channels = map[string]column{}
	}
	for role, text := range o.mapping {
		c := o.Channels[role]
		c.Column = text
		if table.index(text) < 0 {
			if i := strings.LastIndex(text, ":"); i > 0 {
				c.Column, c.Unit = text[:i], text[i+1:]
			}
		}
		o.Channels[role] = c
	}
	if column, unit, ok := strings.Cut(o.Time.Column, ":"); ok && table.index(o.Time.Column) < 0 {
		o.Time.Column, o.Time.Unit = column, unit
	}
	m, known := verification.MethodNamed(name)
	lives := known && (strings.HasPrefix(m.Name, "weibull") || strings.HasPrefix(m.Name, "iso19973"))
	d, mapped, err := table.dataset(&o.layout, !lives)
	if err != nil {
		return err
	}
	if limits != nil {
		// A limits file names channels itself: a mapped column takes its role's name.
		for role, name := range mapped {
			d.Channel(name).Name = role
		}
	}
	for role, text := range o.accuracy {
		name, ok := mapped[role]
		if !ok || limits != nil {
			name = role
		}
		c := d.Channel(name)
		if c == nil {
			return fails(exitUsage, "--accuracy %s: there is no such channel", role)
		}
		c.Accuracy = text
	}
	r, err := o.judge(name, limits, d, mapped)
	if err != nil {
		return err
	}
	return o.finish(t, r, *asJSON)
}

// file reads the YAML file beside the command line: columns and parameters, or
// for the method limits the results themselves.
func (o *evaluateFlags) file(method string) (*verification.LimitsFile, error) {
	isLimits := method == "limits" || method == verification.LimitsMethod
	if o.with == "" {
		if isLimits {
			return nil, fails(exitUsage, "the method limits needs the file that defines the results: --with FILE")
		}
		return nil, nil //nolint:nilnil // everything is on the command line
	}
	data, err := os.ReadFile(o.with)
	if err != nil {
		return nil, fails(exitConfig, "read %s: %w", o.with, err)
	}
	if isLimits {
		return readLimits(o.with, data)
	}
	var l layout
	if err := yaml.UnmarshalWithOptions(data, &l, yaml.Strict()); err != nil {
		return nil, fails(exitConfig, "%s: %w", o.with, err)
	}
	// The command line goes before the file.
	if o.Time.Column == "" {
		o.Time = l.Time
	}
	if o.Rate == 0 {
		o.Rate = l.Rate
	}
	if o.Sheet == "" {
		o.Sheet = l.Sheet
	}
	if o.Skip == 0 {
		o.Skip = l.Skip
	}
	if o.Rule == "" {
		o.Rule = l.Rule
	}
	o.Channels = l.Channels
	for k, v := range l.Parameters {
		if _, ok := o.params[k]; !ok {
			o.params[k] = v
		}
	}
	o.limits = append(slices.Clone(l.Limits), o.limits...)
	return nil, nil //nolint:nilnil // no limits file
}

func readLimits(name string, data []byte) (*verification.LimitsFile, error) {
	var f verification.LimitsFile
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return nil, fails(exitConfig, "%s: %w", name, err)
	}
	if err := f.Check(); err != nil {
		return nil, fails(exitConfig, "%s: %w", name, err)
	}
	return &f, nil
}

// judge evaluates a dataset by the method and limits of the flags.
func (o *evaluateFlags) judge(name string, limits *verification.LimitsFile, d *verification.Dataset, mapped map[string]string) (*verification.Result, error) {
	if limits != nil {
		if o.Rule != "" {
			limits.Rule = o.Rule
		}
		r, err := verification.EvaluateLimits(limits, d, o.readings, configs.Compile)
		if err != nil {
			return nil, fails(exitData, "%w", err)
		}
		return r, nil
	}
	options := verification.Options{Map: mapped, Parameters: o.params, Rule: o.Rule}
	for _, text := range o.limits {
		l, err := verification.ParseLimit(text)
		if err != nil {
			return nil, fails(exitUsage, "%w", err)
		}
		options.Limits = append(options.Limits, l)
	}
	r, err := verification.Evaluate(name, d, options)
	if err != nil {
		return nil, fails(exitUsage, "%w", err)
	}
	return r, nil
}

// finish prints a result, writes its plots and gives its exit code.
func (o *evaluateFlags) finish(t *terminal, r *verification.Result, asJSON bool) error {
	if o.svg != "" {
		if err := os.MkdirAll(o.svg, 0o750); err != nil {
			return fails(exitIO, "make the directory for the plots: %w", err)
		}
		for _, p := range r.Plots {
			if err := os.WriteFile(filepath.Join(o.svg, p.Name+".svg"), p.SVG(), 0o600); err != nil {
				return fails(exitIO, "write the plot %s: %w", p.Name, err)
			}
		}
	}
	if asJSON {
		if err := writeJSON(t, r); err != nil {
			return err
		}
	} else if err := printResult(t, r); err != nil {
		return err
	}
	return verdictExit(r)
}

// verdictExit is the exit code of a result, without a further word.
func verdictExit(r *verification.Result) error {
	code := exitOK
	switch r.Verdict {
	case verification.VerdictFail:
		code = exitFail
	case verification.VerdictInvalid:
		code = exitInvalid
	case verification.VerdictInconclusive:
		code = exitInconclusive
	case verification.VerdictPass, verification.VerdictNone:
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// say picks the operator's language.
func (t *terminal) say(en, zh string) string {
	if t.lang == "zh" && zh != "" {
		return zh
	}
	return en
}

func printMethods(t *terminal, asJSON bool) error {
	all := verification.Methods()
	if asJSON {
		return writeJSON(t, all)
	}
	for i := range all {
		m := &all[i]
		t.printf("%s  %s (%s)\n", m.Name, t.say(m.English, m.Chinese), m.Standard)
		for _, c := range m.Channels {
			t.printf("    %-10s %s, %s%s\n", c.Name, c.Quantity, c.Unit, map[bool]string{true: "", false: t.say(" (optional)", "（可选）")}[c.Required])
		}
		for _, p := range m.Parameters {
			t.printf("    %-10s = %-14s %s\n", p.Name, p.Default, t.say(p.TitleEN, p.TitleZH))
		}
	}
	t.printf("%s  %s\n", verification.LimitsMethod, t.say("results defined in a YAML file, given with --with", "由 YAML 文件定义的结果（--with）"))
	return nil
}

// printResult prints a result for a person.
func printResult(t *terminal, r *verification.Result) error {
	t.printf("%s  %s\n%s\n", r.Method, t.say(r.TitleEN, r.TitleZH), r.Wording)
	if r.Simulated {
		t.printf("SIMULATED\n")
	}
	if r.Recording != "" {
		t.printf("%s %s\n", t.say("recording", "记录"), r.Recording)
	}
	for _, s := range r.Inputs {
		t.printf("%s %s  sha256 %s\n", t.say("input", "输入"), s.Name, s.SHA256)
	}
	if r.Refusal != nil {
		t.printf("%s %s: %s\n", t.say("REFUSED", "拒绝评定"), r.Refusal.Code, r.Refusal.What)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(w, format, args...) } //nolint:errcheck // a buffer takes everything
	for i := range r.Figures {
		f := &r.Figures[i]
		line("%s\t%s\t%s", f.Name, f.Text, t.say(f.TitleEN, f.TitleZH))
		if d := f.Decision; d != nil {
			line("\t%s, %s %s", d.Verdict, t.say("margin", "裕度"), verification.Round(d.Margin, 3))
			if d.U > 0 {
				m, u := verification.RoundPair(d.Margin, d.U)
				line(" (%s, U %s)", m, u)
			}
		}
		line("\n")
	}
	for i := range r.Figures {
		f := &r.Figures[i]
		if len(f.Budget) == 0 {
			continue
		}
		line("\n%s %s\tu\t%%\n", t.say("budget of", "不确定度分量："), f.Name)
		for _, l := range f.Budget {
			line("  %s\t%.2g\t%s\n", l.Name, l.U, verification.Round(100*l.Share, 1))
		}
		if c := f.Check; c != nil {
			word := map[bool]string{true: t.say("agrees", "一致"), false: t.say("differs: its interval gives U", "不一致：采用其区间")}[c.Agrees]
			line("  Monte Carlo, %d\t%.2g\t[%.6g, %.6g] %s\n", c.Draws, c.Std, c.Low, c.High, word)
		}
	}
	if len(r.Channels) > 0 {
		line("\n%s\t\t\t\t\t\n", t.say("channels", "通道"))
		for _, c := range r.Channels {
			line("  %s\t%s\t%s\t%.4g Hz\t%s %s %%\t%s\n", c.Role, c.Channel, c.Unit, c.Rate, t.say("missing", "缺失"), verification.Round(100*c.Missing, 2), c.Accuracy)
		}
	}
	if err := w.Flush(); err != nil {
		return fails(exitIO, "print the result: %w", err)
	}
	t.printf("%s", b.String())
	for _, n := range r.Notes {
		t.printf("- %s\n", n)
	}
	t.printf("%s %s\n", t.say("conventions", "约定"), strings.Join(r.Conventions, ", "))
	if r.Verdict != verification.VerdictNone {
		t.printf("%s %s\n", t.say("verdict:", "结论："), r.Verdict)
	}
	return nil
}
