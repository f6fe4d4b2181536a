package verification_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pneudaq/verification"
	"pneudaq/verification/iso"
)

// hour is a flow test of an hour at 100 Hz: 20 set points of three minutes.
func hour() *verification.Dataset {
	const n, period = 360_000, 0.01
	law := iso.FlowLaw{C: 3e-8, B: 0.3, M: 0.5}
	g := rand.New(rand.NewPCG(1, 2))
	columns := map[string]*verification.Channel{
		"p1": {Name: "p1", Unit: "Pa_a", Accuracy: "0.1 % rdg + 500 Pa"}, "p2": {Name: "p2", Unit: "Pa_a", Accuracy: "0.1 % rdg + 500 Pa"},
		"T1": {Name: "T1", Unit: "K", Accuracy: "0.1 K_delta"}, "qm": {Name: "qm", Unit: "kg/s", Accuracy: "0.5 % rdg"},
	}
	times := make([]float64, n)
	d := &verification.Dataset{}
	for _, name := range []string{"p1", "p2", "T1", "qm"} {
		columns[name].Times, columns[name].Values, columns[name].Period = times, make([]float64, n), period
		d.Channels = append(d.Channels, columns[name])
	}
	p2 := 100e3
	for i := range times {
		times[i] = float64(i) * period
		target := 730e3 * (0.15 + 0.82*float64(int(times[i])/180)/19)
		p2 += (target - p2) * period / 3
		columns["p1"].Values[i] = 730e3 + 100*g.NormFloat64()
		columns["p2"].Values[i] = p2 + 100*g.NormFloat64()
		columns["T1"].Values[i] = 293.15 + 0.01*g.NormFloat64()
		columns["qm"].Values[i] = law.MassFlow(730e3, p2, 293.15) * (1 + 0.003*g.NormFloat64())
	}
	return d
}

func TestHourOfFlow(t *testing.T) {
	r, err := verification.Evaluate("iso6358-1", hour(), verification.Options{Parameters: map[string]string{"draws": "2000"}})
	if err != nil || r.Refusal != nil {
		t.Fatal(err, r)
	}
	if len(r.Points) != 20 || math.Abs(r.Figure("C").Value-3) > 0.003 || math.Abs(r.Figure("b").Value-0.3) > 0.005 {
		t.Errorf("%d windows, C %s, b %s", len(r.Points), r.Figure("C").Text, r.Figure("b").Text)
	}
}

// BenchmarkHourOfFlow judges an hour at 100 Hz with 20 000 draws.
func BenchmarkHourOfFlow(b *testing.B) {
	d := hour()
	for b.Loop() {
		r, err := verification.Evaluate("iso6358-1", d, verification.Options{})
		if err != nil || r.Refusal != nil {
			b.Fatal(err, r)
		}
	}
}
