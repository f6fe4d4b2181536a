package iso_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"pneudaq/verification/iso"
)

// isoEvaluators are the evaluators of this package's methods.
func isoEvaluators() map[string]evaluator {
	return map[string]evaluator{
		"iso6358-1.fit":           flowFit,
		"iso6358.flow":            flowForward,
		"iso6358-1.hysteresis":    flowHysteresis,
		"iso6358-1.quality":       flowQuality,
		"iso6358-1.run":           flowRun,
		"iso6358-1989.fit":        flow1989,
		"leak.two_point":          leakTwoPoint,
		"leak.decay":              leakDecay,
		"leak.units":              leakUnits,
		"iso12238.shifting_time":  shiftingTime,
		"gum.C":                   gumC,
		"gum.b_point":             gumB,
		"gum.fit":                 gumFit,
		"gum.welch":               gumWelch,
		"gum.monte_carlo":         gumMonteCarlo,
		"decision":                decision,
		"weibull":                 weibull,
		"weibull.weibayes":        weibayes,
		"weibull.reject":          weibullReject,
		"b10d":                    safety,
		"iso19973.3pma":           threePointMovingAverage,
		"iso19973.chain":          enduranceChain,
		"iso6358-2.discharge":     discharge,
		"iso6358-2.charge":        charge,
		"iso6358-2.isothermality": isothermality,
		"iso6358-3.series":        series,
		"cylinder.functional":     cylinder,
		"iso6953-2.regulator":     regulator,
		"iso10094-2.static":       static,
		"step_response":           stepResponse,
	}
}

type object = map[string]any

// inputs reads the inputs of v.
func inputs[T any](v vector) (T, error) {
	var in T
	if err := json.Unmarshal(v.Inputs, &in); err != nil {
		return in, fmt.Errorf("read inputs: %w", err)
	}
	return in, nil
}

// truth reads what a definition takes from the truth of v.
func truth[T any](v vector) (T, error) {
	var in T
	if len(v.Truth) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(v.Truth, &in); err != nil {
		return in, fmt.Errorf("read truth: %w", err)
	}
	return in, nil
}

// refusal is what a refused input answers; another error is one.
func refusal(err error) (object, error) {
	if r, ok := errors.AsType[*iso.Refusal](err); ok {
		return object{"status": "reject", "reason_code": string(r.Reason)}, nil
	}
	return object{"status": "accept"}, err
}

type flowPoint struct {
	P1, P2, T1, Qm float64
	Region         iso.Region
}

func flowPoints(list []flowPoint) []iso.FlowPoint {
	points := make([]iso.FlowPoint, len(list))
	for i, p := range list {
		points[i] = iso.FlowPoint(p)
	}
	return points
}

func flowFitResult(f iso.FlowFit) object {
	return object{
		"C": f.C, "C_practical": f.C / iso.PracticalConductance, "b": f.B, "m": f.M, "dpc": f.Dpc, "rms_rel": f.RMS,
	}
}

func flowFits(points []iso.FlowPoint, dpc float64) (object, error) {
	out := object{}
	for name, e := range map[string]iso.Estimator{
		"E1": iso.E1(), "E1_m05": iso.E1M05(), "E2": iso.E2(), "E2_m05": iso.E2M05(), "E3_dpc_free": iso.E3(),
	} {
		fit, err := iso.FitFlow(points, dpc, e)
		if err != nil && e.FreeDpc {
			continue // not every set of points carries four unknowns
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = flowFitResult(fit)
	}
	out["against_truth"] = out["E1"]
	return out, nil
}

func flowFit(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Dpc    float64
		Points []flowPoint
	}](v)
	if err != nil {
		return nil, err
	}
	points := flowPoints(in.Points)
	for _, p := range points {
		if p.Region == iso.Unassigned {
			if points, err = iso.AssignRegions(points, in.Dpc); err != nil {
				return nil, err
			}
			break
		}
	}
	return flowFits(points, in.Dpc)
}

func flowForward(v vector) (map[string]any, error) {
	type row struct {
		C, B, M, Dpc, P1, P2, T1 float64
	}
	in, err := inputs[struct {
		Rows        []row
		CPractical  float64 `json:"C_practical"`
		B           float64
		M           *float64
		P1          float64 `json:"p1_gauge_MPa"`
		P2          float64 `json:"p2_gauge_MPa"`
		PAtm        float64 `json:"p_atm_MPa"`
		Temperature float64 `json:"T_C"`
	}](v)
	if err != nil {
		return nil, err
	}
	var rows []object
	for _, r := range in.Rows {
		qm := iso.FlowLaw{C: r.C, B: r.B, M: r.M, Dpc: r.Dpc}.MassFlow(r.P1, r.P2, r.T1)
		rows = append(rows, object{
			"qm": qm, "q_ANR": iso.VolumeFlowANR(qm), "q_ANR_l_min": iso.VolumeFlowANR(qm) / iso.LitrePerMinute,
		})
	}
	m := 0.5
	if in.M != nil {
		m = *in.M
	}
	p1, p2 := (in.P1+in.PAtm)*1e6, (in.P2+in.PAtm)*1e6
	// The sheet's temperatures are 273 + t over 293, to the kelvin.
	t1 := (in.Temperature + 273) / 293 * iso.T0
	law := iso.FlowLaw{C: in.CPractical * iso.PracticalConductance, B: in.B, M: m}
	sheet := object{
		"q_max_ANR":  iso.VolumeFlowANR(law.MassFlow(p1, 0, t1)) / iso.LitrePerMinute,
		"q_ANR":      iso.VolumeFlowANR(law.MassFlow(p1, p2, t1)) / iso.LitrePerMinute,
		"flow_ratio": law.Ratio(p1, p2),
	}
	return object{"rows": rows, "published": sheet, "exact": sheet}, nil
}

func flowHysteresis(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Sweeps struct {
			Decreasing []flowPoint `json:"decreasing_flow"`
			Increasing []flowPoint `json:"increasing_flow"`
		}
		B float64 `json:"b_for_choked_selection"`
	}](v)
	if err != nil {
		return nil, err
	}
	h, err := iso.FlowHysteresis(flowPoints(in.Sweeps.Decreasing), flowPoints(in.Sweeps.Increasing), in.B)
	return object{"C": h.C, "hysteresis_abs": h.Absolute, "hysteresis_rel": h.Relative}, err
}

func flowQuality(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Points  []flowPoint `json:"fit_points"`
		Windows []struct {
			P1, Qm, T1 []float64
		}
	}](v)
	if err != nil {
		return nil, err
	}
	fit, err := refusal(iso.CheckPlateau(flowPoints(in.Points)))
	if err != nil {
		return nil, err
	}
	var windows []object
	for _, w := range in.Windows {
		s, err := iso.CheckSteady(w.P1, w.Qm, w.T1)
		if err != nil {
			return nil, err
		}
		windows = append(windows, object{"spread_p_rel": s.SpreadP1, "spread_q_rel": s.SpreadFlow, "spread_T": s.SpreadT1, "steady": s.Steady})
	}
	return object{"fit": fit, "windows": windows}, nil
}

func flowRun(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Dt      float64
		Average float64 `json:"average_last_s"`
		Dpc     float64
		Columns []string
		Rows    [][]float64
	}](v)
	if err != nil {
		return nil, err
	}
	column := map[string][]float64{}
	for _, row := range in.Rows {
		for i, name := range in.Columns {
			column[name] = append(column[name], row[i])
		}
	}
	run := iso.FlowRun{
		P1: iso.Uniform(in.Dt, column["p1"]), P2: iso.Uniform(in.Dt, column["p2"]),
		T1: iso.Uniform(in.Dt, column["T1"]), Qm: iso.Uniform(in.Dt, column["qm"]),
		Dpc: in.Dpc, AllowUnsteady: true,
	}
	setpoint := column["setpoint"]
	averaged := int(math.Round(in.Average / in.Dt))
	for i := range setpoint {
		if i+1 == len(setpoint) || setpoint[i+1] != setpoint[i] {
			end := float64(i) + 0.5
			run.Dwells = append(run.Dwells, iso.Window{From: (end - float64(averaged)) * in.Dt, To: end * in.Dt})
		}
	}
	result, err := iso.EvaluateFlowRun(run)
	if err != nil {
		return nil, err
	}
	var points []object
	for _, p := range result.Points {
		points = append(points, object{"p1": p.P1, "p2": p.P2, "T1": p.T1, "qm": p.Qm, "region": string(p.Region)})
	}
	return object{
		"points": points, "E1": flowFitResult(result.E1), "E1_m05": flowFitResult(result.E1M05),
		"E2": flowFitResult(result.E2), "E2_m05": flowFitResult(result.E2M05), "against_truth": flowFitResult(result.E1),
	}, nil
}
