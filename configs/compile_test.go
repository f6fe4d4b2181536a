package configs_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pneudaq/acquisition"
	"pneudaq/configs"
)

func TestCompile(t *testing.T) {
	channels := []string{"p1", "p2", "流量", "T1"}
	values := []float64{700, 350, 12, 293.15}
	for text, want := range map[string]float64{
		"p1 - p2":                           350,
		"p1 / p2 + 1":                       3,
		"-p1 + 2 * 流量":                      -676,
		"2 ** 3 * 流量":                       96,
		"pow(p2, 2)":                        122500,
		"sqrt(p1 * p1)":                     700,
		"min(p1, p2, 流量)":                   12,
		"max(p1, p2)":                       700,
		"mean(p1, p2)":                      525,
		"abs(p2 - p1)":                      350,
		"exp(log(流量))":                      12,
		"p1 > 600":                          1,
		"p1 > 600 and p2 > 600":             0,
		"p1 > 600 or p2 > 600":              1,
		"not (p1 > 600)":                    0,
		"p2 / p1 <= 0.5 ? 流量 : 0":           12,
		"流量 * sqrt(T1 / 293.15) / (p1 * 1)": 12.0 / 700,
		"1 / 2 * p1":                        350,
	} {
		e, err := configs.Compile(text, channels)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.Eval(values); math.Abs(got-want) > 1e-12*math.Abs(want) {
			t.Errorf("%s = %v, want %v", text, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { e.Eval(values) }); n != 0 {
			t.Errorf("%s allocates %v times", text, n)
		}
	}
	e, err := configs.Compile("p2 + T1 + p2", channels)
	if err != nil || !slices.Equal(e.Operands, []int{1, 3}) {
		t.Errorf("operands %v, %v", e.Operands, err)
	}
}

func TestCompileSaysWhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int{
		"":                          {1, 1},
		"p1 +":                      {1, 4},
		"p1 + p3":                   {1, 6},
		"p1 +\n  pressure":          {2, 3},
		"len(p1)":                   {1, 1},
		"p1 > 3 ? \"high\" : \"x\"": {1, 10},
		"[p1, p2]":                  {1, 1},
		"p1.x":                      {1, 4},
		"min()":                     {1, 1},
		"pow(p1)":                   {1, 1},
		"1 + 1":                     {1, 1},
		"let x = 1; x + p1":         {1, 5},
		"p1 % 2":                    {1, 4},
		"p1 matches \"a\"":          {1, 4},
	} {
		_, err := configs.Compile(text, []string{"p1", "p2"})
		var e *configs.ExpressionError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if e.Line != want[0] || e.Column != want[1] {
			t.Errorf("%q: line %d column %d (%s), want %v", text, e.Line, e.Column, e.Message, want)
		}
	}
}

func TestCompileServesTheDecoder(t *testing.T) {
	t.Parallel()
	var compile acquisition.Compile = configs.Compile
	g := flowBenchGroup(t, "steady")
	d, err := acquisition.NewDecoder(g, compile)
	if err != nil {
		t.Fatal(err)
	}
	s := acquisition.NewScan(g)
	values, quality := make([]float64, len(g.Channels)), make([]acquisition.Quality, len(g.Channels))
	s.Words[g.Channels[g.Channel("p_supply")].Decoding.At] = 8000 // low word first, 0.001 bar
	s.Words[g.Channels[g.Channel("p_atm")].Decoding.At] = 51325   // 0.01 hPa above 500
	d.Decode(s.Words, s.Numbers, nil, values, quality)
	if i := g.Channel("p_supply_a"); math.Abs(values[i]-901.325) > 1e-9 || quality[i] != acquisition.Good {
		t.Errorf("p_supply_a = %v, %v", values[i], quality[i])
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"p1 - p2", "min(p1, 3)", "p1 > 3 ? p2 : 0", "((((p1", "p1 ** p2 ** 2", "let a = 1; a", "p1?.x", "{}", "map([1], #)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := configs.Compile(text, []string{"p1", "p2"})
		if err != nil {
			var x *configs.ExpressionError
			if !errors.As(err, &x) || x.Line < 1 || x.Column < 1 {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		if len(e.Operands) == 0 {
			t.Fatalf("%q uses no channel", text)
		}
		_ = e.Eval([]float64{1, 2})
	})
}
