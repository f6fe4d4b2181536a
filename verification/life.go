package verification

import (
	"fmt"
	"math"
	"strconv"

	"pneudaq/verification/iso"
)

func enduranceMethod() Method {
	return Method{
		Method: base("iso19973-1/1"),
		Parameters: []Parameter{
			{Name: "threshold", TitleEN: "threshold level of the parameter, in its unit", TitleZH: "阈值（参数单位）", Required: true},
			{Name: "confidence", TitleEN: "confidence of the bounds", TitleZH: "置信水平", Default: "0.95"},
		},
		optional: []iso.Channel{{Name: "unit", Quantity: iso.Signal, Unit: "name"}},
		aliases:  map[string][]string{"cycles": {"n", "循环次数", "循环"}, "value": {"leak", "泄漏量", "数值"}, "unit": {"item", "样品", "试件"}},
		evaluate: evaluateEndurance,
	}
}

func weibullMethod() Method {
	free := func(name string) iso.Channel { return iso.Channel{Name: name, Quantity: iso.Signal, Unit: "any"} }
	return Method{
		Method: base("weibull/1"),
		Parameters: []Parameter{
			{Name: "confidence", TitleEN: "confidence of the bounds", TitleZH: "置信水平", Default: "0.95"},
		},
		optional: []iso.Channel{free("life"), free("failed"), free("count")},
		aliases:  map[string][]string{"life": {"time", "cycles", "寿命"}, "failed": {"status", "失效"}, "count": {"number", "数量"}},
		evaluate: evaluateWeibull,
	}
}

func (e *evaluation) confidence() (float64, error) {
	c, err := strconv.ParseFloat(e.parameter("confidence"), 64)
	if err != nil || !(c > 0 && c < 1) {
		return 0, fmt.Errorf("parameter confidence = %q is not a share between 0 and 1", e.parameter("confidence"))
	}
	return c, nil
}

func evaluateEndurance(e *evaluation) error {
	cycles, value := e.bound["cycles"], e.bound["value"]
	if cycles == nil || value == nil {
		return e.admit(nil)
	}
	threshold, _, err := number(e.parameter("threshold"))
	if err != nil {
		return fmt.Errorf("parameter threshold: %w", err)
	}
	var units []iso.Wear
	index := map[string]int{}
	for i, n := range cycles.channel.Values {
		name := "1"
		if b := e.bound["unit"]; b != nil {
			name = label(b.channel, i)
		}
		v := value.channel.Values[i]
		if math.IsNaN(n) || math.IsNaN(v) {
			continue
		}
		k, ok := index[name]
		if !ok {
			k = len(units)
			index[name] = k
			units = append(units, iso.Wear{Unit: name})
		}
		units[k].Cycles, units[k].Values = append(units[k].Cycles, n), append(units[k].Values, v)
	}
	if err := e.admit(nil); err != nil {
		return err
	}
	r, err := iso.EvaluateEndurance(units, threshold)
	for _, t := range r.Terminations {
		end := "suspended"
		if t.Failed {
			end = "failed"
		}
		e.result.note("unit %s %s at %s cycles", t.Unit, end, Round(t.Cycles, 0))
	}
	if err != nil {
		return err
	}
	return e.life(r.Fit, r.Ranks, "cycles")
}

func label(c *Channel, i int) string {
	if c.Texts != nil {
		return c.Texts[i]
	}
	return strconv.FormatFloat(c.Values[i], 'g', -1, 64)
}

func evaluateWeibull(e *evaluation) error {
	life := e.bound["life"]
	if life == nil {
		return e.refuse(iso.ChannelMissing, "a column with the lives is needed; map one to life")
	}
	var lives []iso.Life
	for i, t := range life.channel.Values {
		if math.IsNaN(t) {
			continue
		}
		l := iso.Life{T: t, Failed: true, Count: 1}
		if b := e.bound["failed"]; b != nil {
			switch text := label(b.channel, i); text {
			case "1", "true", "F", "f", "failed", "失效", "是":
			case "0", "false", "S", "s", "suspended", "中止", "否":
				l.Failed = false
			default:
				return e.refuse(iso.OutOfRange, "row %d: failed is %q; write 1 or 0, F or S", i+1, text)
			}
		}
		if b := e.bound["count"]; b != nil && !math.IsNaN(b.channel.Values[i]) {
			l.Count = int(b.channel.Values[i])
		}
		lives = append(lives, l)
	}
	ranks, err := iso.Ranks(lives)
	if err != nil {
		return err
	}
	fit, err := iso.FitWeibull(lives)
	if err != nil {
		return err
	}
	return e.life(fit, ranks, life.channel.Unit)
}

func (e *evaluation) life(fit iso.WeibullFit, ranks []iso.Rank, unit string) error {
	confidence, err := e.confidence()
	if err != nil {
		return err
	}
	bounded := func(name, en, zh, unit string, v float64, b iso.Bound) Figure {
		f := Figure{Name: name, TitleEN: en, TitleZH: zh, Unit: unit, Value: v}
		// The bounds are symmetric in the logarithm; U is the wider side.
		u, k := max(b.High-v, v-b.Low), -math.Sqrt2*math.Erfcinv(1+confidence)
		standard := u / k
		f.U, f.Standard, f.K = &u, &standard, k
		f.print()
		f.Text += fmt.Sprintf(" [%s, %s]", Round(b.Low, decimals(b.Low, 3)), Round(b.High, decimals(b.High, 3)))
		return f
	}
	b10 := fit.Life(0.1)
	lower := fit.LifeLower(0.1, confidence)
	e.result.Figures = append(e.result.Figures,
		bounded("B10", "life that 10 % do not reach", "B10 寿命", unit, b10, fit.LifeBound(0.1, confidence)),
		figure("B10.lower", "one-sided lower bound of B10", "B10 单侧下限", unit, 1, lower, spread{}),
		bounded("eta", "characteristic life", "特征寿命", unit, fit.Eta, fit.EtaBound(confidence)),
		bounded("beta", "shape", "形状参数", "1", fit.Beta, fit.BetaBound(confidence)))
	likelihood := fit.LikelihoodBound(0.1, confidence)
	e.result.note("likelihood ratio bounds of B10: %s to %s", Round(likelihood.Low, decimals(likelihood.Low, 4)), Round(likelihood.High, decimals(likelihood.High, 4)))
	failures := Series{Label: "failures, median ranks"}
	for _, r := range ranks {
		failures.X, failures.Y = append(failures.X, r.T), append(failures.Y, r.Benard)
	}
	line := Series{Label: "maximum likelihood, β = " + Round(fit.Beta, 2), Line: true}
	low := Series{Label: fmt.Sprintf("bounds, %s %%", Round(100*confidence, 1)), Line: true, Dash: true}
	high := Series{Line: true, Dash: true}
	for i := range 41 {
		p := 0.005 * math.Pow(0.995/0.005, float64(i)/40)
		bound := fit.LifeBound(p, confidence)
		line.X, line.Y = append(line.X, fit.Life(p)), append(line.Y, p)
		low.X, low.Y = append(low.X, bound.Low), append(low.Y, p)
		high.X, high.Y = append(high.X, bound.High), append(high.Y, p)
	}
	e.result.Plots = append(e.result.Plots, Plot{Name: "weibull", Title: "Weibull plot", X: "life, " + Symbol(unit), Y: "failed", LogX: true, Weibull: true, Series: []Series{line, failures, low, high}})
	return nil
}
