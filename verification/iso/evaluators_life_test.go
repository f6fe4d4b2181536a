package iso_test

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"pneudaq/verification/iso"
)

func bound(b iso.Bound) []float64 { return []float64{b.Low, b.High} }

func weibullResult(v vector, lives []iso.Life) (object, error) {
	ranks, err := iso.Ranks(lives)
	if err != nil {
		return nil, err
	}
	var t, order, benard, exact, kaplan []float64
	for _, r := range ranks {
		t, order = append(t, r.T), append(order, r.Order)
		benard, exact, kaplan = append(benard, r.Benard), append(exact, r.Exact), append(kaplan, r.KaplanMeier)
	}
	regressions := object{}
	var benardLines [2]iso.RankLine
	for name, how := range map[string]iso.Regression{
		"benard_x_on_y": {}, "benard_y_on_x": {YOnX: true}, "exact_x_on_y": {Exact: true}, "exact_y_on_x": {Exact: true, YOnX: true},
	} {
		line, err := iso.FitRanks(ranks, how)
		if err != nil {
			return nil, err
		}
		regressions[name] = object{"beta": line.Beta, "eta": line.Eta, "r2": line.R2, "B10": line.Life(0.1)}
		switch name {
		case "benard_x_on_y":
			benardLines[0] = line
		case "benard_y_on_x":
			benardLines[1] = line
		}
	}
	fit, err := iso.FitWeibull(lives)
	if err != nil {
		return nil, err
	}
	bounds := func(confidence float64) object {
		return object{
			"eta": bound(fit.EtaBound(confidence)), "beta": bound(fit.BetaBound(confidence)), "B10": bound(fit.LifeBound(0.1, confidence)),
		}
	}
	out := object{
		"n": fit.Units, "r": fit.Failures,
		"mle": object{
			"beta": fit.Beta, "eta": fit.Eta, "loglik": fit.LogLikelihood, "mu": fit.Mu(), "sigma": fit.Sigma(),
			"mean": fit.Mean(), "std": fit.Std(), "B1": fit.Life(0.01), "B10": fit.Life(0.1), "B50": fit.Life(0.5),
		},
		"fisher": object{
			"se_eta": fit.EtaError, "se_beta": fit.BetaError, "cov_eta_beta": fit.Covariance,
			"bounds90": bounds(0.9), "bounds95": bounds(0.95), "bounds99": bounds(0.99),
			"B10_lower_one_sided_90": fit.LifeLower(0.1, 0.9), "B10_lower_one_sided_95": fit.LifeLower(0.1, 0.95),
		},
		"ranks":           object{"t": t, "MON": order, "benard": benard, "exact_median_rank": exact, "kaplan_meier_F": kaplan},
		"rank_regression": regressions,
	}
	out["published"] = published(v, fit, benardLines, object{"MON": order, "benard": benard, "exact": exact, "kaplan_meier": kaplan})
	return out, nil
}

// published is what sources print, under the names that the files give it.
func published(v vector, fit iso.WeibullFit, lines [2]iso.RankLine, ranks object) object {
	relEta, relBeta := fit.EtaError/fit.Eta, fit.BetaError/fit.Beta
	sigma := fit.Sigma()
	mu := func(z float64) []float64 { return []float64{fit.Mu() - z*relEta, fit.Mu() + z*relEta} }
	sigmas := func(z float64) []float64 { return []float64{sigma * math.Exp(-z*relBeta), sigma * math.Exp(z*relBeta)} }
	const z90, z95 = 1.6448536269514722, 1.959963984540054
	var shares, times []object
	for _, t := range v.arguments("t", "published", "fisher_F95") {
		b, se := fit.FailedBound(t, 0.95)
		shares = append(shares, object{"t": t, "F": fit.Failed(t), "se_z": se, "bounds": bound(b)})
	}
	for _, t := range v.arguments("t", "published", "fisher_t_lower95_one_sided") {
		p := fit.Failed(t)
		times = append(times, object{"t": t, "F": p, "se_t": t * fit.LifeError(p), "lower": fit.LifeLower(p, 0.95)})
	}
	line := func(l iso.RankLine) object {
		return object{"mu": l.Mu(), "sigma": l.Sigma(), "beta": l.Beta, "eta": l.Eta}
	}
	out := object{
		"eta": fit.Eta, "beta": fit.Beta, "loglik": fit.LogLikelihood, "AIC": fit.AIC(), "mean": fit.Mean(), "std": fit.Std(),
		"mle": object{
			"mu": fit.Mu(), "sigma": sigma, "loglik": fit.LogLikelihood, "eta": fit.Eta, "beta": fit.Beta,
			"var_mu": relEta * relEta, "var_sigma": sigma * sigma * relBeta * relBeta,
			"cov_mu_sigma": -fit.Covariance / (fit.Eta * fit.Beta * fit.Beta),
			"mu90":         mu(z90), "mu95": mu(z95), "sigma90": sigmas(z90), "sigma95": sigmas(z95),
		},
		"rank_regression_benard": object{"x_on_y": line(lines[0]), "y_on_x": line(lines[1]), "r2": lines[0].R2},
		"fisher_F95":             shares, "fisher_t_lower95_one_sided": times,
	}
	maps.Copy(out, ranks)
	return out
}

func weibull(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Items []struct {
			T     float64
			Event string
			Count int
		}
	}](v)
	if err != nil {
		return nil, err
	}
	var lives []iso.Life
	for _, item := range in.Items {
		if item.Event != "failure" && item.Event != "suspension" {
			return nil, fmt.Errorf("unknown event %q", item.Event)
		}
		lives = append(lives, iso.Life{T: item.T, Failed: item.Event == "failure", Count: item.Count})
	}
	return weibullResult(v, lives)
}

func weibayes(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Beta, Confidence float64
		Suspensions      []float64
	}](v)
	if err != nil {
		return nil, err
	}
	lower, err := iso.WeibayesLower(in.Suspensions, in.Beta, in.Confidence)
	if err != nil {
		return nil, err
	}
	imminent, err := iso.Weibayes(in.Suspensions, in.Beta, 1)
	return object{
		"eta_lower": lower.Eta, "B10_lower": lower.Life(0.1), "eta_weibayes_r1": imminent.Eta, "B10_weibayes_r1": imminent.Life(0.1),
	}, err
}

func weibullReject(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Cases []struct {
			Times    []float64
			Failures []int
		}
	}](v)
	if err != nil {
		return nil, err
	}
	var cases []object
	for _, c := range in.Cases {
		var lives []iso.Life
		for i, t := range c.Times {
			lives = append(lives, iso.Life{T: t, Failed: c.Failures[i] != 0})
		}
		_, err := iso.FitWeibull(lives)
		answer, err := refusal(err)
		if err != nil {
			return nil, err
		}
		cases = append(cases, answer)
	}
	return object{"cases": cases}, nil
}

func safety(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Rows []struct {
			B10    float64
			Factor *float64 `json:"B10d_factor"`
			Days   float64  `json:"d_op"`
			Hours  float64  `json:"h_op"`
			Cycle  float64  `json:"t_cycle"`
		}
	}](v)
	if err != nil {
		return nil, err
	}
	var rows []object
	for _, r := range in.Rows {
		factor := 2.0
		if r.Factor != nil {
			factor = *r.Factor
		}
		s := iso.SafetyFigures(r.B10, factor, r.Days, r.Hours, r.Cycle)
		rows = append(rows, object{"n_op": s.Operations, "B10d": s.B10d, "MTTFd": s.MTTFd, "T10d": s.T10d})
	}
	return object{"rows": rows}, nil
}

// enduranceInput takes a hard failure by any of the names it may have.
type enduranceInput struct {
	Threshold float64
	Units     []struct {
		Unit          string
		Cycles        []float64
		Value         []float64
		HardFailure   any      `json:"hard_failure"`
		HardFailureAt *float64 `json:"hard_failure_cycles"`
		HardFailureN  *float64 `json:"hard_failure_at"`
		Event         string
	}
}

func (in enduranceInput) wear() []iso.Wear {
	var list []iso.Wear
	for _, u := range in.Units {
		w := iso.Wear{Unit: u.Unit, Cycles: u.Cycles, Values: u.Value}
		for _, at := range []*float64{u.HardFailureAt, u.HardFailureN} {
			if at != nil {
				w.HardFailure = *at
			}
		}
		if strings.Contains(u.Event, "hard") && w.HardFailure == 0 {
			w.HardFailure = u.Cycles[len(u.Cycles)-1]
		}
		switch hard := u.HardFailure.(type) {
		case float64:
			w.HardFailure = hard
		case map[string]any:
			w.HardFailure, _ = hard["cycles"].(float64)
		case bool:
			if hard && w.HardFailure == 0 {
				w.HardFailure = u.Cycles[len(u.Cycles)-1]
			}
		}
		list = append(list, w)
	}
	return list
}

// null is what JSON has for NaN.
func null(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}

func terminationResult(t iso.Termination) object {
	averages := make([]*float64, len(t.MovingAverages))
	for i, a := range t.MovingAverages {
		averages[i] = null(a)
	}
	event := "suspension"
	if t.Failed {
		event = "failure"
	}
	return object{
		"moving_average": averages, "event": event, "hard_failure": t.Hard, "termination_cycles": t.Cycles,
		"first_raw_exceedance_cycles": null(t.FirstRaw), "interpolated_cycles": null(t.Interpolated),
	}
}

func threePointMovingAverage(v vector) (map[string]any, error) {
	in, err := inputs[enduranceInput](v)
	if err != nil {
		return nil, err
	}
	var units []object
	for _, w := range in.wear() {
		t, err := iso.Terminate(w, in.Threshold)
		if err != nil {
			return nil, err
		}
		units = append(units, terminationResult(t))
	}
	return object{"units": units}, nil
}

func enduranceChain(v vector) (map[string]any, error) {
	in, err := inputs[enduranceInput](v)
	if err != nil {
		return nil, err
	}
	e, err := iso.EvaluateEndurance(in.wear(), in.Threshold)
	if err != nil && len(e.Terminations) != len(in.Units) {
		return nil, err
	}
	var units []object
	for _, t := range e.Terminations {
		units = append(units, terminationResult(t))
	}
	result, err := weibullResult(v, e.Lives)
	if err != nil {
		result, err = refusal(err)
	}
	return object{"units": units, "weibull": result}, err
}
