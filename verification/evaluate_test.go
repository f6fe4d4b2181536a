package verification_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pneudaq/verification"
)

func TestRoundHalfToEvenOnDecimals(t *testing.T) {
	for _, c := range []struct {
		v      float64
		digits int
		want   string
	}{
		{0.15, 1, "0.2"},
		{0.25, 1, "0.2"},
		{0.35, 1, "0.4"},
		{2.5, 0, "2"},
		{3.5, 0, "4"},
		{-2.5, 0, "-2"},
		{1050, -2, "1000"},
		{1150, -2, "1200"},
		{0.1 + 0.2, 2, "0.30"},
		{9.996, 2, "10.00"},
		{0.0049, 2, "0.00"},
		{-0.0049, 2, "0.00"},
		{0.005, 2, "0.00"},
		{0.0051, 2, "0.01"},
		{123456, 0, "123456"},
		{1e-9, 10, "0.0000000010"},
		{12.345, 2, "12.34"},
		{12.355, 2, "12.36"},
		{0, 1, "0.0"},
		{99.95, 1, "100.0"},
		{6, -1, "10"},
		{4, -1, "0"},
		{5, -1, "0"},
		{15, -1, "20"},
		{25.678, 3, "25.678"},
	} {
		if got := verification.Round(c.v, c.digits); got != c.want {
			t.Errorf("Round(%g, %d) = %s, want %s", c.v, c.digits, got, c.want)
		}
	}
	for _, c := range []struct {
		v, u        float64
		value, want string
	}{{25.9876, 0.2345, "25.99", "0.23"}, {25.9876, 0.0996, "25.99", "0.10"}, {1234.5, 123, "1230", "120"}, {0.3597, 0.0123, "0.360", "0.012"}} {
		if value, u := verification.RoundPair(c.v, c.u); value != c.value || u != c.want {
			t.Errorf("RoundPair(%g, %g) = %s, %s, want %s, %s", c.v, c.u, value, u, c.value, c.want)
		}
	}
}

func judgeFlow(t *testing.T, params map[string]float64, faults ...string) (*verification.Result, map[string]float64) {
	t.Helper()
	params["dwell"] = 3
	data, truth := flowBench(t, 3, params, faults...)
	r, err := verification.Evaluate("iso6358-1", data, verification.Options{Parameters: map[string]string{"draws": "2000"}})
	if err != nil {
		t.Fatal(err)
	}
	return r, truth
}

func TestFlowRunOfTheTwin(t *testing.T) {
	r, truth := judgeFlow(t, map[string]float64{})
	if r.Refusal != nil {
		t.Fatal(r.Refusal)
	}
	c, b := r.Figure("C"), r.Figure("b")
	if d := math.Abs(c.Value/(truth["C"]*1e8) - 1); d > 0.01 || d*c.Value > *c.U {
		t.Errorf("C %s, truth %g", c.Text, truth["C"]*1e8)
	}
	if d := math.Abs(b.Value - truth["b"]); d > 0.02 || d > *b.U {
		t.Errorf("b %s, truth %g", b.Text, truth["b"])
	}
	if !strings.HasPrefix(r.Wording, "evaluated following ISO 6358-1:2013") || !strings.Contains(r.Wording, "no statement of conformity") {
		t.Errorf("wording %q", r.Wording)
	}
	if !r.Simulated || len(r.Conventions) == 0 || len(c.Budget) < 3 || c.Check == nil {
		t.Errorf("simulated %t, conventions %v, budget of C %v, check %v", r.Simulated, r.Conventions, c.Budget, c.Check)
	}
	sum := 0.0
	for _, l := range c.Budget {
		sum += l.Share
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the shares of the budget of C sum to %g", sum)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	for _, p := range r.Plots {
		wellFormed(t, p.SVG())
	}
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("svg: %v", err)
		}
	}
}

// What is wrong with a rig must not come out as a figure.
func TestFaultyFlowBenchIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		params map[string]float64
		fault  []string
		codes  []string
	}{
		{"throttle shut", map[string]float64{}, []string{"throttle_shut"}, []string{"NO_CHOKED_POINT", "OUT_OF_RANGE"}},
		{"leak", map[string]float64{}, []string{"leak"}, []string{"LEAKING"}},
		{"sticking spool", map[string]float64{}, []string{"sticking_spool"}, []string{"NO_CHOKED_POINT", "NOT_STEADY", "NO_FIT", "UPSTREAM_NOT_CONSTANT"}},
		{"gauge declared absolute", map[string]float64{"p1.gauge": 1}, nil, []string{"GAUGE_DECLARED_ABSOLUTE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, _ := judgeFlow(t, c.params, c.fault...)
			if r.Refusal == nil {
				t.Fatalf("it was judged: C %s, b %s", r.Figure("C").Text, r.Figure("b").Text)
			}
			t.Logf("%s: %s", r.Refusal.Code, r.Refusal.What)
			found := false
			for _, code := range c.codes {
				found = found || r.Refusal.Code == code
			}
			if !found || r.Verdict != verification.VerdictInvalid || len(r.Figures) != 0 {
				t.Errorf("refusal %s, verdict %s, %d figures; want one of %v, invalid, none", r.Refusal.Code, r.Verdict, len(r.Figures), c.codes)
			}
		})
	}
}

func TestSteadyWindowsAreFoundWithoutPLC(t *testing.T) {
	t.Parallel()
	data, truth := flowBench(t, 3, map[string]float64{"dwell": 6})
	r, err := verification.Evaluate("iso6358-1", data, verification.Options{
		Map: map[string]string{"record": "-", "point": "-"}, Parameters: map[string]string{"draws": "0", "window": "2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Refusal != nil {
		t.Fatalf("%+v %v", r.Refusal, r.Notes)
	}
	if n := len(r.Points); n < 12 {
		t.Errorf("%d windows of 13 set points", n)
	}
	if c := r.Figure("C"); math.Abs(c.Value/(truth["C"]*1e8)-1) > 0.01 {
		t.Errorf("C %s, truth %g", c.Text, truth["C"]*1e8)
	}
}

func TestGaugeChannelNeedsTheAtmosphere(t *testing.T) {
	t.Parallel()
	data, truth := flowBench(t, 3, map[string]float64{"dwell": 3, "p1.gauge": 1})
	data.Channel("p1").Unit = "kPa_g"
	o := verification.Options{Parameters: map[string]string{"draws": "0"}}
	r, err := verification.Evaluate("iso6358-1", data, o)
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r.Refusal)
	}
	if c := r.Figure("C"); math.Abs(c.Value/(truth["C"]*1e8)-1) > 0.01 {
		t.Errorf("C %s, truth %g", c.Text, truth["C"]*1e8)
	}
	o.Map = map[string]string{"p_atm": "-"}
	if r, err = verification.Evaluate("iso6358-1", data, o); err != nil || r.Refusal == nil || r.Refusal.Code != "GAUGE_WITHOUT_ATMOSPHERE" {
		t.Errorf("without the atmosphere: %v %+v", err, r.Refusal)
	}
	data.Channel("p1").Unit = "kPa"
	if r, err = verification.Evaluate("iso6358-1", data, o); err != nil || r.Refusal == nil || r.Refusal.Code != "CHANNEL_MISSING" {
		t.Errorf("a bare kPa: %v %+v", err, r.Refusal)
	}
}

func TestValveStand(t *testing.T) {
	t.Parallel()
	slow, fast, truth := valveStand(t, 2, stand())
	o := verification.Options{Parameters: map[string]string{"volume": "330 cm3 ± 2.5 cm3", "draws": "2000"}}
	r, err := verification.Evaluate("leak.decay", slow, o)
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r.Refusal)
	}
	leak := r.Figure("leak")
	if want := truth["leak.mean"] / 1.185 / (1e-6 / 60); math.Abs(leak.Value-want) > 1.5**leak.U {
		t.Errorf("leak %s, truth %g", leak.Text, want)
	}
	shift := verification.Options{Map: map[string]string{"p_out": "p4"}, Parameters: map[string]string{"draws": "0"}}
	s, err := verification.Evaluate("iso12238", fast, shift)
	if err != nil || s.Refusal != nil {
		t.Fatal(err, s.Refusal)
	}
	if n := s.Figure("t_fill.n").Value; n != stand()["cycles"] {
		t.Errorf("%g shifts were judged, %g are marked by the PLC", n, stand()["cycles"])
	}
	if f := s.Figure("t_fill"); math.Abs(f.Value-truth["shift.fill.4.mean"]*1e3) > 0.3 {
		t.Errorf("t_fill %s, truth of these shifts %g", f.Text, truth["shift.fill.4.mean"]*1e3)
	}
	for _, p := range append(r.Plots, s.Plots...) {
		wellFormed(t, p.SVG())
	}
	// 500 samples a second cannot tell a shifting time.
	for _, c := range fast.Channels[:3] {
		c.Period *= 20
		n := 0
		for i := 0; i < len(c.Times); i += 20 {
			c.Times[n], c.Values[n] = c.Times[i], c.Values[i]
			n++
		}
		c.Times, c.Values = c.Times[:n], c.Values[:n]
	}
	if s, err = verification.Evaluate("iso12238", fast, shift); err != nil || s.Refusal == nil || s.Refusal.Code != "SAMPLING_TOO_SLOW" {
		t.Errorf("500 Hz: %v %+v", err, s.Refusal)
	}
	// A leak is found as what it is.
	slow, _, truth = valveStand(t, 2, stand(), "leak")
	if r, err = verification.Evaluate("leak.decay", slow, o); err != nil || r.Refusal != nil {
		t.Fatal(err, r.Refusal)
	}
	leak = r.Figure("leak")
	if want := truth["leak.mean"] / 1.185 / (1e-6 / 60); want < 60 || math.Abs(leak.Value-want) > 1.5**leak.U {
		t.Errorf("leaking valve: %s, truth %g", leak.Text, want)
	}
}

func TestDecisions(t *testing.T) {
	data, truth := flowBench(t, 3, map[string]float64{"dwell": 3})
	c := truth["C"] * 1e8
	for _, x := range []struct {
		limit float64
		rule  string
		want  verification.Verdict
	}{
		{0.9 * c, "simple", "pass"}, {0.9 * c, "guarded", "pass"}, {0.999 * c, "guarded", "inconclusive"}, {1.2 * c, "guarded", "fail"}, {1.2 * c, "simple", "fail"},
	} {
		r, err := verification.Evaluate("iso6358-1", data, verification.Options{
			Parameters: map[string]string{"draws": "0"}, Limits: []verification.Limit{{Figure: "C", Low: &x.limit, Unit: "dm3/(s.bar)"}}, Rule: x.rule,
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := r.Figure("C").Decision; r.Verdict != x.want || d.U != *r.Figure("C").U || math.Abs(d.Margin-(r.Figure("C").Value-x.limit)) > 1e-9 {
			t.Errorf("limit %g, rule %s: %s, %+v; want %s", x.limit, x.rule, r.Verdict, d, x.want)
		}
	}
	l, err := verification.ParseLimit("b 0.2..0.4")
	if err != nil || *l.Low != 0.2 || *l.High != 0.4 {
		t.Errorf("%+v %v", l, err)
	}
	if l, err = verification.ParseLimit("C >= 25 dm3/(s.bar)"); err != nil || l.Figure != "C" || *l.Low != 25 || l.Unit != "dm3/(s.bar)" || l.High != nil {
		t.Errorf("%+v %v", l, err)
	}
	if _, err = verification.ParseLimit("C about 25"); err == nil {
		t.Error("a limit without comparison was taken")
	}
}

func TestWeibullAndEndurance(t *testing.T) {
	// The shape of a known fit: NIST handbook 8.4.1.3, eta 606.5, beta 1.72.
	life := []float64{54, 187, 216, 240, 244, 335, 361, 373, 375, 386, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500}
	failed := make([]float64, len(life))
	for i := range 10 {
		failed[i] = 1
	}
	d := &verification.Dataset{Channels: []*verification.Channel{{Name: "life", Unit: "h", Values: life}, {Name: "failed", Values: failed}}}
	r, err := verification.Evaluate("weibull", d, verification.Options{})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	if eta, beta := r.Figure("eta").Value, r.Figure("beta").Value; math.Abs(eta-606.5) > 0.1 || math.Abs(beta-1.7208) > 1e-3 {
		t.Errorf("eta %g, beta %g", eta, beta)
	}
	wellFormed(t, r.Plots[0].SVG())
	wear := &verification.Dataset{Channels: []*verification.Channel{{Name: "unit"}, {Name: "cycles", Unit: "cycles"}, {Name: "value", Unit: "cm3/min_ANR"}}}
	for u, ends := range []float64{5e6, 7e6, 9e6, 1.2e7} {
		for k := range 20 {
			n := float64(k+1) * 1e6
			wear.Channels[0].Values = append(wear.Channels[0].Values, float64(u+1))
			wear.Channels[1].Values = append(wear.Channels[1].Values, n)
			wear.Channels[2].Values = append(wear.Channels[2].Values, 10*n/ends)
		}
	}
	r, err = verification.Evaluate("iso19973-1", wear, verification.Options{Parameters: map[string]string{"threshold": "10"}})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	if b10 := r.Figure("B10"); b10.Value < 3e6 || b10.Value > 8e6 || r.Figure("B10.lower").Value >= b10.Value {
		t.Errorf("B10 %s", b10.Text)
	}
}

func TestQuestionsThatAreWrong(t *testing.T) {
	d := &verification.Dataset{Channels: []*verification.Channel{{Name: "x", Unit: "kPa_a"}}}
	for name, c := range map[string]struct {
		method string
		o      verification.Options
		want   string
	}{
		"method":    {"iso9999", verification.Options{}, "there are iso6358-1/1"},
		"parameter": {"leak.decay", verification.Options{Parameters: map[string]string{"volume": "1 L", "colour": "red"}}, "has no parameter colour"},
		"missing":   {"leak.decay", verification.Options{}, "needs the parameter volume"},
		"map":       {"iso6358-1", verification.Options{Map: map[string]string{"p1": "y"}}, "no channel y"},
		"role":      {"iso6358-1", verification.Options{Map: map[string]string{"p9": "x"}}, "no channel p9"},
		"unit":      {"leak.decay", verification.Options{Map: map[string]string{"p": "x"}, Parameters: map[string]string{"volume": "1 kPa_a"}}, ""},
	} {
		r, err := verification.Evaluate(c.method, d, c.o)
		if c.want == "" {
			if err == nil && r.Refusal == nil {
				t.Errorf("%s: judged", name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}
