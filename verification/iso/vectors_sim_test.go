package iso_test

import (
	"encoding/json"
	"fmt"
	"math"

	"pneudaq/simulator"
)

// simEvaluators are the families that judge the simulator's own components.
func simEvaluators() map[string]evaluator {
	return map[string]evaluator{
		"sim.tank":     simTank,
		"sim.cylinder": simCylinder,
	}
}

// The vectors are of the exact flow law; so the linear part near equal pressures is made narrow.
const simLinear = 0.99999

// simTank empties a tank through an orifice into the atmosphere.
func simTank(v vector) (map[string]any, error) {
	var in struct {
		C     float64 `json:"C"`
		B     float64 `json:"b"`
		M     float64 `json:"m"`
		V     float64 `json:"V"`
		HA    float64 `json:"hA"`
		TWall float64 `json:"T_wall"`
		PInit float64 `json:"p_init"`
		TInit float64 `json:"T_init"`
		PAtm  float64 `json:"p_atm"`
		R     float64 `json:"R"`
		Gamma float64 `json:"gamma"`
		Rho0  float64 `json:"rho0"`
		T0    float64 `json:"T0"`
	}
	if err := json.Unmarshal(v.Inputs, &in); err != nil {
		return nil, fmt.Errorf("inputs of %s: %w", v.ID, err)
	}
	if err := sameAir(in.R, in.Gamma, in.Rho0, in.T0); err != nil {
		return nil, err
	}
	var n simulator.Network
	tank := n.AddVolume(simulator.VolumeOptions{V: in.V, P: in.PInit, T: in.TInit, HA: in.HA, Wall: in.TWall})
	outside := n.AddBoundary(in.PAtm, in.TWall)
	n.Connect(simulator.Path{
		From: tank, To: outside, Open: 1,
		Orifice: simulator.Orifice{C: in.C, B: in.B, M: in.M, Linear: simLinear},
	})
	const h = 1e-3
	rows := []map[string]any{}
	now := 0.0
	for _, t := range v.arguments("t", "rows") {
		for ; now+h < t; now += h {
			n.Step(h)
		}
		n.Step(t - now)
		now = t
		rows = append(rows, map[string]any{"t": t, "p": n.Pressure(tank), "T": n.Temperature(tank)})
	}
	return map[string]any{"rows": rows}, nil
}

// simCylinder extends a cylinder against the exhaust of its rod side.
func simCylinder(v vector) (map[string]any, error) {
	var in struct {
		Bore     float64 `json:"bore"`
		Rod      float64 `json:"rod"`
		Stroke   float64 `json:"stroke"`
		Mass     float64 `json:"mass"`
		Load     float64 `json:"load"`
		Vd1      float64 `json:"Vd1"`
		Vd2      float64 `json:"Vd2"`
		CIn      float64 `json:"C_in"`
		BIn      float64 `json:"b_in"`
		CEx      float64 `json:"C_ex"`
		BEx      float64 `json:"b_ex"`
		PS       float64 `json:"p_s"`
		PAtm     float64 `json:"p_atm"`
		T        float64 `json:"T"`
		R        float64 `json:"R"`
		Friction struct {
			Fs   float64 `json:"Fs"`
			Fc   float64 `json:"Fc"`
			Vs   float64 `json:"vs"`
			V0   float64 `json:"v0"`
			Visc float64 `json:"visc"`
		} `json:"friction"`
	}
	if err := json.Unmarshal(v.Inputs, &in); err != nil {
		return nil, fmt.Errorf("inputs of %s: %w", v.ID, err)
	}
	if math.Abs(in.R-simulator.R) > 1e-9*in.R {
		return nil, fmt.Errorf("gas constant %v, the simulator has %v", in.R, simulator.R)
	}
	c := simulator.NewCylinder(simulator.CylinderOptions{
		Bore: in.Bore, Rod: in.Rod, Stroke: in.Stroke, Mass: in.Mass, Load: in.Load, Dead: [2]float64{in.Vd1, in.Vd2},
		Friction: simulator.Friction{
			Fs: in.Friction.Fs, Fc: in.Friction.Fc, Vs: in.Friction.Vs, V0: in.Friction.V0, Viscous: in.Friction.Visc,
		},
		Isothermal: true, T: in.T, Ambient: in.PAtm,
	}, 0, in.PAtm, in.PS)
	c.Port[0] = simulator.Port{
		Open: 1, P: in.PS, T: in.T,
		Path: simulator.Orifice{C: in.CIn, B: in.BIn, M: 0.5, Linear: simLinear},
	}
	c.Port[1] = simulator.Port{
		Open: 1, P: in.PAtm, T: in.T,
		Path: simulator.Orifice{C: in.CEx, B: in.BEx, M: 0.5, Linear: simLinear},
	}

	const h, limit = 1e-5, 60.0
	got := map[string]any{}
	times, rows := v.arguments("t", "rows"), []map[string]any{}
	was := cylinderRow(c)
	for i := 1; c.Position() < in.Stroke; i++ {
		now := float64(i) * h
		if now > limit {
			return nil, fmt.Errorf("the piston is at %v m of %v after %v s", c.Position(), in.Stroke, limit)
		}
		lifted := c.Drive()
		c.Step(h)
		is := cylinderRow(c)
		if _, ok := got["t_lift"]; !ok && c.Drive() > 0 {
			got["t_lift"] = 1e3 * (now - h*c.Drive()/(c.Drive()-min(lifted, 0)))
		}
		if _, ok := got["t_start_1mm"]; !ok && is["x"] >= 1e-3 {
			got["t_start_1mm"] = 1e3 * (now - h*(is["x"]-1e-3)/(is["x"]-was["x"]))
		}
		for len(times) > 0 && times[0] <= now+h/1e6 {
			share := (times[0] - now + h) / h
			row := map[string]any{"t": times[0]}
			for name := range is {
				row[name] = was[name] + share*(is[name]-was[name])
			}
			rows, times = append(rows, row), times[1:]
		}
		if c.Position() < in.Stroke {
			was = is
			continue
		}
		rest := (in.Stroke - was["x"]) / was["v"]
		got["stroke_time"] = 1e3 * (now - h + rest)
	}
	got["v_end"], got["p1_end"], got["p2_end"] = was["v"], was["p1"], was["p2"]
	got["rows"] = rows
	return got, nil
}

func cylinderRow(c *simulator.Cylinder) map[string]float64 {
	return map[string]float64{"x": c.Position(), "v": c.Velocity(), "p1": c.Pressure(1), "p2": c.Pressure(2)}
}

// sameAir refuses a vector of another gas than the simulator's.
func sameAir(r, gamma, rho0, t0 float64) error {
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"R", r, simulator.R}, {"gamma", gamma, simulator.Gamma}, {"rho0", rho0, simulator.Rho0}, {"T0", t0, simulator.T0}} {
		if math.Abs(c.got-c.want) > 1e-9*c.want {
			return fmt.Errorf("%s = %v, the simulator has %v", c.name, c.got, c.want)
		}
	}
	return nil
}
