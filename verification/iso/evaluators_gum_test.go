package iso_test

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"pneudaq/verification/iso"
)

const (
	draws = 200_000
	seed  = 20260101
)

func shape(text string) iso.Distribution {
	for _, d := range []iso.Distribution{iso.Rectangular, iso.Triangular, iso.ArcSine} {
		if strings.HasPrefix(text, string(d)) {
			return d
		}
	}
	return iso.Normal
}

func interval(s iso.Sample, j int) []float64 {
	low, high := s.Interval(j, 0.95)
	return []float64{low, high}
}

func gumC(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Qm, P1, T1 float64
		U          struct {
			Qm     float64 `json:"qm_rel"`
			P1, T1 float64
			Repeat float64 `json:"repeatability_rel"`
		}
		Distributions map[string]string
		K             float64
	}](v)
	if err != nil {
		return nil, err
	}
	p := iso.FlowPoint{P1: in.P1, T1: in.T1, Qm: in.Qm}
	u := iso.ConductanceInputs{
		FlowRelative: in.U.Qm, P1: in.U.P1, T1: in.U.T1, Repeatability: in.U.Repeat,
		FlowShape: shape(in.Distributions["qm"]), P1Shape: shape(in.Distributions["p1"]),
		T1Shape: shape(in.Distributions["T1"]), RepeatabilityShape: shape(in.Distributions["repeatability"]),
	}
	b := iso.PropagateConductance(p, u)
	s, err := iso.SampleConductance(p, u, draws, seed)
	if err != nil {
		return nil, err
	}
	return object{
		"C":             b.C,
		"sensitivity":   object{"qm": b.DQm, "p1": b.DP1, "T1": b.DT1},
		"contributions": object{"q": b.UQm, "p1": b.UP1, "T1": b.UT1, "repeatability": b.URepeat},
		"u_c":           b.U, "u_c_rel": b.U / b.C, "U_k2": in.K * b.U,
		"monte_carlo": object{
			"mean": s.Mean[0], "std": s.Std[0], "interval95": interval(s, 0),
			"coverage_of_k2": s.Within(0, b.C-in.K*b.U, b.C+in.K*b.U),
		},
	}, nil
}

func gumB(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Qm     float64
		Choked float64 `json:"qm_choked"`
		P1, P2 float64
		U      struct {
			Q      float64 `json:"q_rel"`
			Choked float64 `json:"qstar_rel"`
			P1, P2 float64
		}
		K float64
	}](v)
	if err != nil {
		return nil, err
	}
	u := iso.PointBInputs{FlowRelative: in.U.Q, ChokedRelative: in.U.Choked, P1: in.U.P1, P2: in.U.P2}
	b, err := iso.PropagatePointB(in.Qm, in.Choked, in.P1, in.P2, u)
	if err != nil {
		return nil, err
	}
	s, err := iso.SamplePointB(in.Qm, in.Choked, in.P1, in.P2, u, draws, seed)
	if err != nil {
		return nil, err
	}
	return object{
		"b":           b.B,
		"sensitivity": object{"qm": b.DQm, "qm_choked": b.DChoked, "p1": b.DP1, "p2": b.DP2},
		"u_b":         b.U, "U_k2": in.K * b.U,
		"monte_carlo": object{
			"u_b": s.Std[0], "b95": interval(s, 0), "mean": s.Mean[0],
			"coverage_of_k2": s.Within(0, b.B-in.K*b.U, b.B+in.K*b.U),
		},
	}, nil
}

func gumFit(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Points []flowPoint
		Dpc    float64
		U      struct {
			QScale   float64 `json:"q_scale_rel"`
			P1Offset float64 `json:"p1_offset"`
			P2Offset float64 `json:"p2_offset"`
			TOffset  float64 `json:"T_offset"`
			QRandom  float64 `json:"q_random_rel"`
		}
		K float64
	}](v)
	if err != nil {
		return nil, err
	}
	u := iso.FlowInputs{
		FlowScale: in.U.QScale, P1Offset: in.U.P1Offset, P2Offset: in.U.P2Offset, T1Offset: in.U.TOffset, FlowRandom: in.U.QRandom,
	}
	// The definition begins with its estimator: "E2 with m=0.5 (see ...)".
	e := iso.Estimator{Joint: !strings.HasPrefix(v.Definition, "E1"), FreeM: !strings.Contains(v.Definition, "m=0.5")}
	points := flowPoints(in.Points)
	if !e.Joint && points[0].Region == iso.Unassigned {
		if points, err = iso.AssignRegions(points, in.Dpc); err != nil {
			return nil, err
		}
	}
	b, s, err := iso.FlowUncertainty(points, in.Dpc, e, u, 20_000, seed)
	if err != nil {
		return nil, err
	}
	contributions := object{}
	for _, c := range b.Contributions {
		contributions[c.Name] = object{"C": c.U[iso.OutputC], "b": c.U[iso.OutputB]}
	}
	c, bb, uc, ub := b.Y[iso.OutputC], b.Y[iso.OutputB], b.U[iso.OutputC], b.U[iso.OutputB]
	return object{
		"C": c, "b": bb, "u_C": uc, "u_C_rel": uc / c, "u_b": ub,
		"corr_Cb": b.Correlation(iso.OutputC, iso.OutputB), "U_C_k2": in.K * uc, "U_b_k2": in.K * ub,
		"contributions": contributions,
		"monte_carlo": object{
			"u_C": s.Std[iso.OutputC], "u_b": s.Std[iso.OutputB], "C95": interval(s, iso.OutputC), "b95": interval(s, iso.OutputB),
			"coverage_of_k2": object{
				"C": s.Within(iso.OutputC, c-in.K*uc, c+in.K*uc), "b": s.Within(iso.OutputB, bb-in.K*ub, bb+in.K*ub),
			},
		},
	}, nil
}

func gumWelch(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Components []struct{ U, Nu float64 }
		Coverage   float64
	}](v)
	if err != nil {
		return nil, err
	}
	var u, dof []float64
	for _, c := range in.Components {
		u, dof = append(u, c.U), append(dof, c.Nu)
	}
	combined, effective := iso.WelchSatterthwaite(u, dof)
	k := iso.CoverageFactor(in.Coverage, effective)
	expanded := "U" + strconv.Itoa(int(math.Round(100*in.Coverage)))
	return object{
		"u_c": combined, "nu_eff": effective, "k": k, "t": k, "U": k * combined, expanded: k * combined,
		"published": object{"u_c": combined, "nu_eff": effective, "k": k, expanded: k * combined},
	}, nil
}

// The cases of an additive model are written as text.
var (
	normals     = regexp.MustCompile(`^(\w+) N\(([-\d.]+), ?([-\d.]+)\)$`)
	shapes      = regexp.MustCompile(`^(\w+) (rectangular|triangular|arcsine), mean 0, standard deviation ([\d.]+)$`)
	derivations = regexp.MustCompile(`^as (\w+), X(\d+) standard deviation ([\d.]+)$`)
	counts      = map[string]int{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
)

func additiveInputs(cases map[string]string, name string) ([]iso.Input, error) {
	text := cases[name]
	repeat := func(count, u string, shape iso.Distribution) ([]iso.Input, error) {
		x, err := strconv.ParseFloat(u, 64)
		n := counts[count]
		if err != nil || n == 0 {
			return nil, fmt.Errorf("case %s: %q is not understood", name, text)
		}
		var list []iso.Input
		for range n {
			list = append(list, iso.Input{U: x, Shape: shape})
		}
		return list, nil
	}
	if m := normals.FindStringSubmatch(text); m != nil {
		return repeat(m[1], m[3], iso.Normal)
	}
	if m := shapes.FindStringSubmatch(text); m != nil {
		return repeat(m[1], m[3], iso.Distribution(m[2]))
	}
	if m := derivations.FindStringSubmatch(text); m != nil {
		list, err := additiveInputs(cases, m[1])
		if err != nil {
			return nil, err
		}
		i, _ := strconv.Atoi(m[2])
		list[i-1].U, err = strconv.ParseFloat(m[3], 64)
		return list, err
	}
	return nil, fmt.Errorf("case %s: %q is not understood", name, text)
}

func gumMonteCarlo(v vector) (map[string]any, error) {
	in, err := inputs[struct{ Cases map[string]string }](v)
	if err != nil {
		return nil, err
	}
	out := object{}
	for name := range in.Cases {
		list, err := additiveInputs(in.Cases, name)
		if err != nil {
			return nil, err
		}
		sum := func(d, y []float64) error {
			y[0] = 0
			for _, x := range d {
				y[0] += x
			}
			return nil
		}
		b, err := iso.Propagate(sum, 1, list)
		if err != nil {
			return nil, err
		}
		s, err := iso.MonteCarlo(sum, 1, list, 4_000_000, seed)
		if err != nil {
			return nil, err
		}
		half := iso.CoverageFactor(0.95, math.Inf(1)) * b.U[0]
		answer := object{"u": s.Std[0], "interval95": interval(s, 0), "gum_interval95": []float64{-half, half}}
		out[name] = object{"u": s.Std[0], "interval95": interval(s, 0), "published": answer}
	}
	return out, nil
}

func decision(v vector) (map[string]any, error) {
	in, err := inputs[struct {
		Rows []struct {
			Y, U, Limit float64
			Kind        iso.Side
		}
	}](v)
	if err != nil {
		return nil, err
	}
	var rows []object
	for _, r := range in.Rows {
		d := iso.Decide(r.Y, r.U, r.Limit, r.Kind)
		rows = append(rows, object{
			"margin": d.Margin, "simple": string(d.Simple), "guarded": string(d.Guarded), "prob_conform": d.ProbConform,
		})
	}
	return object{"rows": rows}, nil
}
