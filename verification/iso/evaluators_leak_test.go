package iso_test

import (
	"fmt"
	"regexp"
	"strconv"

	"pneudaq/verification/iso"
)

func flow1989(v vector) (map[string]any, error) {
	in, err := inputs[struct{ Points []flowPoint }](v)
	if err != nil {
		return nil, err
	}
	f, err := iso.FitFlow1989(flowPoints(in.Points))
	return object{"C": f.C, "b_points": f.BPoints, "b": f.B, "C_practical": f.C / iso.PracticalConductance}, err
}

func leakFlows(f iso.LeakFlow) object {
	return object{
		"qm": f.Qm, "pV_T0": f.PV, "ANR_cm3_min": f.ANR / iso.CubicCmPerMinute, "ANR_dm3_h": f.ANR / iso.LitrePerHour,
	}
}

func leakDecay(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		V, R, Dt float64
		P        []float64 `json:"p"`
		T        []float64 `json:"T"`
	}](v)
	if err != nil {
		return nil, err
	}
	d, err := iso.EvaluateLeakDecay(iso.Uniform(in.Dt, in.P).T, in.P, in.T, in.V, in.R)
	if err != nil {
		return nil, err
	}
	compensated := leakFlows(d.Compensated)
	compensated["se_qm"] = d.Error
	return object{
		"compensated": compensated, "uncompensated": leakFlows(d.Uncompensated),
		"total_pressure_change_rel": d.Change, "against_truth": compensated,
	}, nil
}

func leakTwoPoint(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		V      float64
		R      float64 `json:"R_molar"`
		P1, P2 float64
		T1, T2 float64
		Dt     float64
	}](v)
	if err != nil {
		return nil, err
	}
	n, err := iso.TwoPointLeak(in.V, in.R, in.P1, in.T1, in.P2, in.T2, in.Dt)
	pv := n * in.R * iso.T0
	return object{"n_leak": n, "published": n, "pV_T0": pv, "ANR_cm3_min": pv / iso.P0 / iso.CubicCmPerMinute}, err
}

func leakUnits(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Rows []struct {
			Value float64
			Unit  iso.LeakUnit
		}
		RDry float64 `json:"R_dry"`
		RANR float64 `json:"R_ANR"`
	}](v)
	if err != nil {
		return nil, err
	}
	var rows []object
	for _, r := range in.Rows {
		qm, err := iso.LeakMassFlow(r.Value, r.Unit, in.RDry)
		if err != nil {
			return nil, err
		}
		rows = append(rows, object{
			"qm": qm, "qm_dry": qm, "pV_20C": iso.PVFlow(qm, iso.RANR), "pV_0C": qm * in.RDry * 273.15,
			"ANR_cm3_min": iso.VolumeFlowANR(qm) / iso.CubicCmPerMinute, "ANR_dm3_h": iso.VolumeFlowANR(qm) / iso.LitrePerHour,
		})
	}
	return object{"rows": rows}, nil
}

var consecutive = regexp.MustCompile(`(\d+) consecutive`)

func shiftingTime(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Fs, Edge float64
		P1       float64 `json:"p1"`
		PAtm     float64 `json:"p_atm"`
		Shifts   []struct {
			Kind iso.Shift
			P2   []float64
			Edge *float64 `json:"edge_index"`
			P1   *float64
		}
		EdgeIndex float64 `json:"edge_index"`
	}](v)
	if err != nil {
		return nil, err
	}
	stay := 0
	if m := consecutive.FindStringSubmatch(v.Definition); m != nil {
		stay, _ = strconv.Atoi(m[1])
	}
	times := map[iso.Shift][]float64{}
	var shifts []object
	for i, s := range in.Shifts {
		trace := iso.ShiftTrace{Kind: s.Kind, Rate: in.Fs, Edge: in.EdgeIndex, Outlet: s.P2, Supply: in.P1, Ambient: in.PAtm, StaySpan: stay}
		if s.Edge != nil {
			trace.Edge = *s.Edge
		}
		if s.P1 != nil {
			trace.Supply = *s.P1
		}
		row := object{}
		for percent := 5; percent <= 95; percent += 5 {
			t, err := trace.ShiftingTime(float64(percent) / 100)
			if percent == 10 {
				if err != nil {
					return nil, fmt.Errorf("shift %d: %w", i, err)
				}
				times[s.Kind] = append(times[s.Kind], 1e3*t.Time)
			}
			if err == nil {
				row["t"+strconv.Itoa(percent)] = 1e3 * t.Time
				row["t"+strconv.Itoa(percent)+"_truth"] = 1e3 * t.Time
			}
		}
		shifts = append(shifts, row)
	}
	out := object{"shifts": shifts}
	for kind, list := range times {
		s := iso.Summarise(list)
		out["shifting_time_"+string(kind)] = object{"n": s.N, "mean": s.Mean, "std": s.Std, "min": s.Min, "max": s.Max}
	}
	return out, nil
}
