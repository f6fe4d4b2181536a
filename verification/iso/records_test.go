package iso_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pneudaq/verification/iso"
)

// plantRun is the record of a flow-bench run: rate samples per second, twelve
// ratios of dwell seconds, the last ten seconds of each averaged.
func plantRun(law iso.FlowLaw, rate, dwell float64, g *rand.Rand) iso.FlowRun {
	ratios := []float64{0.15, 0.18, 0.25, 0.30, 0.45, 0.55, 0.65, 0.74, 0.82, 0.88, 0.93, 0.97}
	n := int(dwell * rate)
	var p1, p2, t1, qm []float64
	run := iso.FlowRun{Dpc: law.Dpc, PAtm: 101325, Upstream: iso.ConstantUpstream, Component: iso.DirectionalValve}
	for i, r := range ratios {
		for range n {
			a, temperature := 730e3, 295.0
			p1 = append(p1, a+200*g.NormFloat64())
			p2 = append(p2, a*r+200*g.NormFloat64())
			t1 = append(t1, temperature+0.02*g.NormFloat64())
			qm = append(qm, law.MassFlow(a, a*r, temperature)*(1+0.002*g.NormFloat64()))
		}
		end := float64((i+1)*n) / rate
		run.Dwells = append(run.Dwells, iso.Window{From: end - 10, To: end})
	}
	run.P1, run.P2, run.T1, run.Qm = iso.Uniform(1/rate, p1), iso.Uniform(1/rate, p2), iso.Uniform(1/rate, t1), iso.Uniform(1/rate, qm)
	return run
}

func TestFlowRunRecoversLaw(t *testing.T) {
	law := iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}
	run := plantRun(law, 20, 20, generator(1))
	result, err := iso.EvaluateFlowRun(run)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "C", result.E1.C, law.C, 0.002*law.C)
	within(t, "b", result.E1.B, law.B, 0.02)
	if len(result.Warnings) != 0 {
		t.Errorf("warnings %v on a sound run", result.Warnings)
	}
	if len(result.FlowPoints()) != 12 || result.Points[3].Region != iso.Choked || result.Points[4].Region != iso.Subsonic {
		t.Errorf("points %+v", result.Points)
	}
	// A slower temperature channel does as well.
	run.T1 = iso.Uniform(1, slices.Repeat([]float64{295}, 240))
	if _, err := iso.EvaluateFlowRun(run); err != nil {
		t.Errorf("temperature at 1 Hz: %v", err)
	}
}

func TestFlowRunFindsWhatIsWrong(t *testing.T) {
	law := iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}
	for name, c := range map[string]struct {
		change func(*iso.FlowRun)
		reason iso.Reason
	}{
		"gauge as absolute": {func(r *iso.FlowRun) {
			for i := range r.P2.Y {
				r.P1.Y[i] -= 101325
				r.P2.Y[i] -= 101325
			}
		}, iso.GaugeAsAbsolute},
		"throttle left shut": {func(r *iso.FlowRun) { r.Dwells = r.Dwells[5:] }, iso.NoChokedPoint},
		"too few dwells":     {func(r *iso.FlowRun) { r.Dwells = r.Dwells[:5] }, iso.TooFewPoints},
		"supply sags": {func(r *iso.FlowRun) {
			for i := range r.P1.Y {
				r.P1.Y[i] *= 1 - 0.06*float64(i)/float64(len(r.P1.Y))
			}
		}, iso.UpstreamNotConstant},
		"not settled": {func(r *iso.FlowRun) {
			w := r.Dwells[6]
			for i, at := range r.Qm.T {
				if at >= w.From && at < w.To {
					r.Qm.Y[i] *= 1 + 0.02*(at-w.From)/10
				}
			}
		}, iso.NotSteady},
		"gap in p2": {func(r *iso.FlowRun) {
			w := r.Dwells[3]
			r.P2 = iso.Trace{
				T: slices.Concat(r.P2.Window(0, w.From+2).T, r.P2.Window(w.From+6, 1e9).T),
				Y: slices.Concat(r.P2.Window(0, w.From+2).Y, r.P2.Window(w.From+6, 1e9).Y),
			}
		}, iso.GapTooLong},
		"temperature missing": {func(r *iso.FlowRun) { r.T1 = r.T1.Window(0, 95) }, iso.TooFewPoints},
		"regulator":           {func(r *iso.FlowRun) { r.Component = iso.Regulator }, iso.ComponentExcluded},
		"silencer":            {func(r *iso.FlowRun) { r.Component = iso.Silencer }, iso.ComponentExcluded},
		"filter, exhausting": {func(r *iso.FlowRun) {
			r.Component, r.Upstream = iso.Filter, iso.VariableUpstream
		}, iso.ComponentExcluded},
	} {
		t.Run(name, func(t *testing.T) {
			run := plantRun(law, 20, 15, generator(2))
			c.change(&run)
			_, err := iso.EvaluateFlowRun(run)
			refused(t, err, c.reason)
		})
	}
	run := plantRun(law, 20, 15, generator(2))
	run.Qm.Y[17] = math.NaN()
	if _, err := iso.EvaluateFlowRun(run); err == nil {
		t.Error("NaN was taken for a sample")
	}
	// A downstream pressure 1 % below the barometer is sensor error, 3 % is not.
	for share, ok := range map[float64]bool{0.99: true, 0.97: false} {
		run = plantRun(law, 20, 15, generator(2))
		run.PAtm = 730e3 * 0.15 / share
		if _, err := iso.EvaluateFlowRun(run); (err == nil) != ok {
			t.Errorf("lowest p2 at %g of the atmosphere: %v", share, err)
		}
	}
	run = plantRun(iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.58}, 20, 15, generator(2))
	result, err := iso.EvaluateFlowRun(run)
	if err != nil || !slices.Contains(result.Warnings, iso.WarnPublishM) {
		t.Errorf("m 0.58: warnings %v, %v", result.Warnings, err)
	}
}

func TestLeakDecay(t *testing.T) {
	const volume, temperature, dt = 5e-4, 296.0, 0.2
	qm := 1e-8
	decay := func(n int, start float64) (times, p, temperatures []float64) {
		for i := range n {
			at := float64(i) * dt
			// The gas warms by 1 mK/s while it leaks.
			now := temperature + 1e-3*at
			mass := start*volume/(iso.RANR*temperature) - qm*at
			times, temperatures = append(times, at), append(temperatures, now)
			p = append(p, mass*iso.RANR*now/volume)
		}
		return times, p, temperatures
	}
	times, p, temperatures := decay(600, 7.3e5)
	d, err := iso.EvaluateLeakDecay(times, p, temperatures, volume, iso.RANR)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "compensated", d.Compensated.Qm/qm, 1, 1e-7)
	within(t, "pV", d.Compensated.PV, qm*iso.RANR*iso.T0, 1e-9)
	within(t, "ANR", d.Compensated.ANR*iso.P0, d.Compensated.PV, 1e-12)
	if d.Uncompensated.Qm > 0 {
		t.Errorf("uncompensated %g must have the wrong sign here", d.Uncompensated.Qm)
	}
	b, err := iso.LeakUncertainty(d, volume, iso.RANR, 7.3e5, temperature, iso.LeakInputs{
		Volume: 0.01, Pressure: 0.002, Temperature: 0.5, PressureDrift: 0.05, TemperatureDrift: 2e-5, RepeatabilityMean: 1e-9,
	})
	if err != nil {
		t.Fatal(err)
	}
	mass := volume / (iso.RANR * temperature)
	for i, want := range []float64{d.Error, 0.01 * qm, 0.002 * qm, mass * 0.05, qm * 0.5 / temperature, mass * 7.3e5 / temperature * 2e-5, 1e-9} {
		within(t, b.Contributions[i].Name, b.Contributions[i].U[0], want, 1e-6*want+1e-18)
	}
	within(t, "detection limit", iso.LeakDetectionLimit(2e-9), 6e-9, 1e-20)
	within(t, "laminar", iso.LaminarLeak(1, 3e5, 2e5, 1e5), 3.0/8, 1e-12)

	_, err = iso.EvaluateLeakDecay(times[:19], p[:19], temperatures[:19], volume, iso.RANR)
	refused(t, err, iso.TooFewPoints)
	_, err = iso.EvaluateLeakDecay(times, p, temperatures, 0, iso.RANR)
	refused(t, err, iso.OutOfRange)
	bad := slices.Clone(temperatures)
	bad[4] = -3
	_, err = iso.EvaluateLeakDecay(times, p, bad, volume, iso.RANR)
	refused(t, err, iso.OutOfRange)
	qm = 4e-6
	times, p, temperatures = decay(600, 7.3e5)
	_, err = iso.EvaluateLeakDecay(times, p, temperatures, volume, iso.RANR)
	refused(t, err, iso.PressureChangeTooLarge)
	_, err = iso.TwoPointLeak(1e-3, 8.314, 1e5, 0, 1e5, 293, 10)
	refused(t, err, iso.OutOfRange)
}

func TestLeakUnitsAgree(t *testing.T) {
	qm := 2e-7
	anr := iso.VolumeFlowANR(qm)
	for unit, value := range map[iso.LeakUnit]float64{
		iso.CubicCmPerMinuteANR: anr * 60e6, iso.LitrePerMinuteANR: anr * 60e3, iso.LitrePerHourANR: anr * 3.6e6,
		iso.LitrePerSecondANR: anr * 1e3, iso.CubicMetrePerSecond: anr, iso.PascalCubicMetre: anr * 1e5, iso.MillibarLitre: anr * 1e6,
		iso.PascalCubicMetreCold: qm * iso.RDry * 273.15, iso.StandardCubicCm: qm * iso.RDry * 273.15 / 101325 * 60e6,
		iso.StandardLitre: qm * iso.RDry * 273.15 / 101325 * 60e3, iso.KilogramPerSecond: qm, iso.GramPerHour: qm * 3.6e6,
	} {
		got, err := iso.LeakMassFlow(value, unit, iso.RDry)
		if err != nil {
			t.Fatal(err)
		}
		within(t, string(unit), got/qm, 1, 1e-12)
	}
	if _, err := iso.LeakMassFlow(1, "bubbles", iso.RDry); err == nil {
		t.Error("an unknown unit was converted")
	}
}

func TestShiftingTimeRefusals(t *testing.T) {
	trace := func(rate float64, answer int) iso.ShiftTrace {
		p := slices.Repeat([]float64{101325}, 100+answer)
		for i := range 300 {
			p = append(p, 101325+6e5*(1-math.Exp(-float64(i)/20)))
		}
		return iso.ShiftTrace{Kind: iso.Fill, Rate: rate, Edge: 100, Outlet: p, Supply: 701325, Ambient: 101325}
	}
	s := trace(10e3, 50)
	c, err := s.ShiftingTime(0.1)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "time", c.Time, (50+20*math.Log(1/0.9))/10e3, 2e-6)
	within(t, "slope", c.Slope, 6e5*0.9/20*10e3, 2e7)
	// An edge between two samples counts.
	s.Edge = 99.5
	if half, err := s.ShiftingTime(0.1); err != nil || math.Abs(half.Time-c.Time-0.5/10e3) > 1e-6 {
		t.Errorf("edge half a sample earlier: %v, %v", half.Time, err)
	}
	s = trace(50, 50)
	_, err = s.ShiftingTime(0.1)
	refused(t, err, iso.SamplingTooSlow)
	s = trace(10e3, 1)
	_, err = s.ShiftingTime(0.1)
	refused(t, err, iso.SamplingTooSlow)
	s = trace(10e3, 50)
	s.Outlet = s.Outlet[:150]
	_, err = s.ShiftingTime(0.1)
	refused(t, err, iso.NoCrossing)
	s.Edge = 2
	_, err = s.ShiftingTime(0.1)
	refused(t, err, iso.RecordTooShort)
	s.Edge, s.Supply = 100, 1e5
	_, err = s.ShiftingTime(0.1)
	refused(t, err, iso.OutOfRange)
	// A spike of four samples is no shift; five are.
	s = trace(10e3, 50)
	for i := 110; i < 114; i++ {
		s.Outlet[i] = 4e5
	}
	if c, err = s.ShiftingTime(0.1); err != nil || c.Time < 4e-3 {
		t.Errorf("a spike of four samples counted: %v, %v", c, err)
	}
	s.Outlet[114] = 4e5
	if c, err = s.ShiftingTime(0.1); err != nil || c.Time > 2e-3 {
		t.Errorf("five samples did not count: %v, %v", c, err)
	}
	b, err := iso.ShiftUncertainty(0.012, iso.ShiftInputs{Trigger: 2e-5, Rate: 1e4, Pressure: 2e3, Slope: -2e7, Lag: 5e-5, Repeatability: 3e-4, Shifts: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{2e-5, 1e-4 / math.Sqrt(12), 5e-5, 3e-4 / math.Sqrt(10), 1e-4} {
		within(t, b.Contributions[i].Name, b.Contributions[i].U[0], want, 1e-9)
	}
	within(t, "mean", b.Y[0], 0.012, 0)
}

func TestStrokeAndBreakaway(t *testing.T) {
	x := slices.Repeat([]float64{0}, 100)
	for i := range 200 {
		x = append(x, 0.2*float64(i)/200)
	}
	x = append(x, slices.Repeat([]float64{0.2}, 50)...)
	s := iso.StrokeTrace{Rate: 1000, Edge: 0.08, Stroke: 0.2, X: x}
	m, err := iso.MeasureStroke(s)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "start", m.Start, 0.024, 1e-9)
	within(t, "end", m.End, 0.216, 1e-9)
	within(t, "velocity", m.Velocity, 1, 1e-9)
	back := slices.Clone(x)
	for i := range back {
		back[i] = 0.2 - x[i]
	}
	s.X, s.Retract = back, true
	if r, err := iso.MeasureStroke(s); err != nil || math.Abs(r.End-m.End) > 1e-12 {
		t.Errorf("retracting: %+v, %v", r, err)
	}
	s = iso.StrokeTrace{Rate: 1000, Edge: 0.08, Stroke: 0.25, X: x}
	_, err = iso.MeasureStroke(s)
	refused(t, err, iso.NoCrossing)
	coarse := []float64{0, 0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2}
	_, err = iso.MeasureStroke(iso.StrokeTrace{Rate: 20, Stroke: 0.2, X: coarse})
	refused(t, err, iso.SamplingTooSlow)
	_, err = iso.MeasureStroke(iso.StrokeTrace{Rate: 20, X: coarse})
	refused(t, err, iso.OutOfRange)
	p, err := iso.Breakaway([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, []float64{0, 0.002, 0, 0.001, 0.001, 0.001, 0.001, 0.001, 0.1})
	if err != nil || p != 4 {
		t.Errorf("break-away at %g, want 4: %v", p, err)
	}
	_, err = iso.Breakaway([]float64{1, 2}, []float64{0, 0.1})
	refused(t, err, iso.NoCrossing)
	within(t, "stick-slip", iso.StickSlip([]float64{-1, -3}), math.Sqrt2/2, 1e-12)
}

func TestRegulatorAndProportionalRefusals(t *testing.T) {
	_, err := iso.EvaluateRegulator(iso.RegulatorTest{})
	refused(t, err, iso.OutOfRange)
	_, err = iso.EvaluateRegulator(iso.RegulatorTest{FullScale: 8e5, Increasing: []iso.RegulatorPoint{{X: 1, P2: 4e5}}})
	refused(t, err, iso.TooFewPoints)
	_, err = iso.EvaluateRegulator(iso.RegulatorTest{FullScale: 8e5, Regulation: []iso.RegulatorPoint{{X: 1, P2: 4e5}}})
	refused(t, err, iso.TooFewPoints)
	_, err = iso.EvaluateRegulator(iso.RegulatorTest{
		FullScale: 8e5, Increasing: []iso.RegulatorPoint{{X: 0, P2: 4e5}, {X: 10, P2: 3e5}}, Decreasing: []iso.RegulatorPoint{{X: 5, P2: 3e5}, {X: 0, P2: 4e5}},
	})
	refused(t, err, iso.RecordTooShort)
	r, err := iso.EvaluateRegulator(iso.RegulatorTest{FullScale: 8e5, Repeats: []float64{1, 2}})
	if err != nil || !math.IsNaN(r.Hysteresis) || r.RepeatabilitySpan != 1 {
		t.Errorf("what was not measured must be NaN: %+v, %v", r, err)
	}
	_, err = iso.EvaluateStatic(iso.StaticTest{})
	refused(t, err, iso.TooFewPoints)
	static := iso.StaticTest{Signal: []float64{0, 5, 10}, Cycles: []iso.StaticCycle{{Up: []float64{0, 3, 6}, Down: []float64{6, 3, 0}}}}
	_, err = iso.EvaluateStatic(static)
	refused(t, err, iso.OutOfRange)
	static.SignalHigh, static.PressureHigh = 10, 6
	static.Cycles[0].Down = static.Cycles[0].Down[:2]
	if _, err = iso.EvaluateStatic(static); err == nil {
		t.Error("a cycle with a missing value was judged")
	}

	step := func(n int, tau float64) iso.StepTrace {
		y := slices.Repeat([]float64{1}, 100)
		for i := range n {
			y = append(y, 2-math.Exp(-float64(i)/tau))
		}
		return iso.StepTrace{Rate: 1000, Edge: 0.1, Band: 0.05, Y: y}
	}
	m, err := iso.MeasureStep(step(1000, 50))
	if err != nil {
		t.Fatal(err)
	}
	within(t, "t63", m.T63, 0.05, 1e-4)
	within(t, "rise", m.Rise, 0.05*math.Log(9), 1e-4)
	within(t, "settling", m.Settling, 0.05*math.Log(20), 1e-3)
	_, err = iso.MeasureStep(step(10, 5))
	refused(t, err, iso.RecordTooShort)
	_, err = iso.MeasureStep(step(1000, 0.3))
	refused(t, err, iso.SamplingTooSlow)
	flat := step(1000, 50)
	for i := range flat.Y {
		flat.Y[i] = 1
	}
	_, err = iso.MeasureStep(flat)
	refused(t, err, iso.NoStep)
	slow := step(1000, 50)
	slow.Rate, slow.Edge = 10, 10
	_, err = iso.MeasureStep(slow)
	refused(t, err, iso.SamplingTooSlow)
	ringing := step(1000, 50)
	for i := 100; i < len(ringing.Y); i++ {
		ringing.Y[i] += 0.2 * math.Sin(float64(i)/9)
	}
	_, err = iso.MeasureStep(ringing)
	refused(t, err, iso.RecordTooShort)
}

func TestTrace(t *testing.T) {
	trace := iso.Trace{T: []float64{0, 1, 2, 10, 11}, Y: []float64{0, 10, 20, 100, 110}}
	got := trace.Resample([]float64{-1, 0, 0.5, 1.5, 2, 5, 10.25, 11, 12}, 2)
	if !slices.Equal(got.T, []float64{0, 0.5, 1.5, 2, 10.25, 11}) || !slices.Equal(got.Y, []float64{0, 5, 15, 20, 102.5, 110}) {
		t.Errorf("got %+v", got)
	}
	if w := trace.Window(1, 10); !slices.Equal(w.Y, []float64{10, 20}) {
		t.Errorf("window %+v", w)
	}
}

func TestMethodsDescribeThemselves(t *testing.T) {
	texts := map[string]bool{}
	for _, c := range iso.Conventions() {
		texts[c.ID] = c.English != "" && c.Chinese != ""
	}
	seen := map[string]bool{}
	for _, m := range iso.Methods() {
		if seen[m.Name] || m.English == "" || m.Chinese == "" || m.Standard == "" || len(m.Conventions) == 0 {
			t.Errorf("method %+v is named twice or lacks a text", m)
		}
		seen[m.Name] = true
		for _, id := range m.Conventions {
			if !texts[id] {
				t.Errorf("%s uses the convention %s, which has no text", m.Name, id)
			}
		}
		offers := []iso.Offer{{Name: "barometer", Quantity: iso.AtmosphericPressure, Rate: 1}}
		for _, c := range m.Channels {
			offers = append(offers, iso.Offer{Name: c.Name, Quantity: c.Quantity, Rate: c.MinRate, Missing: m.MaxMissing, Gap: m.MaxGap})
		}
		if err := m.Admit(offers); err != nil {
			t.Errorf("%s refuses a record that has what it needs: %v", m.Name, err)
		}
		for i, c := range m.Channels {
			if !c.Required {
				continue
			}
			k := i + 1
			check := func(change func(*iso.Offer), want iso.Reason) {
				t.Helper()
				changed := slices.Clone(offers)
				change(&changed[k])
				refused(t, m.Admit(changed), want)
			}
			refused(t, m.Admit(slices.Delete(slices.Clone(offers), k, k+1)), iso.ChannelMissing)
			check(func(o *iso.Offer) { o.Missing += 0.01 }, iso.RecordIncomplete)
			check(func(o *iso.Offer) { o.Gap += 0.01 }, iso.GapTooLong)
			if c.MinRate > 0 {
				check(func(o *iso.Offer) { o.Rate *= 0.9 }, iso.SamplingTooSlow)
			}
			if c.Quantity == iso.AbsolutePressure {
				gauge := slices.Clone(offers)
				gauge[k].Quantity = iso.GaugePressure
				if err := m.Admit(gauge); err != nil {
					t.Errorf("%s: gauge pressure with a barometer: %v", m.Name, err)
				}
				for j := range gauge {
					if gauge[j].Quantity == iso.AtmosphericPressure {
						gauge[j].Quantity = iso.AbsolutePressure
					}
				}
				if err := m.Admit(gauge); err == nil {
					t.Errorf("%s took a gauge pressure without atmospheric pressure", m.Name)
				}
			}
		}
	}
	if _, ok := iso.MethodNamed("iso6358-1/0"); ok {
		t.Error("a method of another version was found")
	}
}

func TestAbsolute(t *testing.T) {
	got, err := iso.Absolute("iso6358-1/1", []float64{0, 6e5}, 98e3)
	if err != nil || !slices.Equal(got, []float64{98e3, 6.98e5}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, p := range []float64{0, math.NaN(), 101.3, 3e5} {
		_, err := iso.Absolute("iso6358-1/1", []float64{0}, p)
		refused(t, err, iso.GaugeWithoutAmbient)
	}
}

func TestComponentScopes(t *testing.T) {
	const steady, discharge = "iso6358-1/1", "iso6358-2.discharge/1"
	for _, c := range []struct {
		method    string
		component iso.Component
		upstream  iso.Upstream
		ok        bool
	}{
		{steady, iso.DirectionalValve, iso.ConstantUpstream, true},
		{steady, iso.DirectionalValve, iso.VariableUpstream, true},
		{steady, iso.NonReturnValve, iso.ConstantUpstream, true},
		{discharge, iso.NonReturnValve, iso.ConstantUpstream, false},
		{steady, iso.Tube, iso.VariableUpstream, false},
		{steady, iso.BlowNozzle, iso.VariableUpstream, true},
		{steady, iso.QuickExhaustValve, iso.ConstantUpstream, false},
		{steady, iso.Cylinder, iso.ConstantUpstream, false},
		{steady, iso.ElectroPneumatic, iso.VariableUpstream, false},
		{steady, "teapot", iso.VariableUpstream, false},
	} {
		err := iso.AdmitComponent(c.method, c.component, c.upstream)
		if c.ok && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if !c.ok {
			refused(t, err, iso.ComponentExcluded)
		}
	}
}

func BenchmarkFitE1(b *testing.B) {
	points := lawPoints(generator(1), iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.52}, iso.ConstantUpstream)
	for b.Loop() {
		if _, err := iso.FitFlow(points, 0, iso.E1()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlowRunHour is a complete run of one hour at 100 Hz with its budget
// and 20 000 draws: it must take less than a second.
func BenchmarkFlowRunHour(b *testing.B) {
	run := plantRun(iso.FlowLaw{C: 2.6e-8, B: 0.35, M: 0.5}, 100, 300, generator(1))
	u := iso.FlowInputs{
		FlowScale: 0.005, P1Offset: 800, P2Offset: 800, P1Scale: 0.001, P2Scale: 0.001, PressureOffset: 50, T1Offset: 0.3,
		FlowRandom: 0.002, P1Random: 30, P2Random: 30, T1Random: 0.02,
	}
	for b.Loop() {
		result, err := iso.EvaluateFlowRun(run)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := iso.FlowUncertainty(result.FlowPoints(), 0, iso.E1(), u, 20_000, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// Four samples beyond a level are a spike, five are an arrival: for strokes and
// steps alike.
func TestFiveSamplesStay(t *testing.T) {
	x := slices.Repeat([]float64{0}, 100)
	for i := range 201 {
		x = append(x, 0.2*float64(i)/200)
	}
	x = append(x, slices.Repeat([]float64{0.2}, 50)...)
	for _, c := range []struct {
		samples int
		start   float64
	}{{4, 0.104}, {5, 0.0094}} {
		spiked := slices.Clone(x)
		for i := range c.samples {
			spiked[10+i] = 0.01
		}
		m, err := iso.MeasureStroke(iso.StrokeTrace{Rate: 1000, Stroke: 0.2, X: spiked})
		if err != nil {
			t.Fatal(err)
		}
		within(t, "stroke start", m.Start, c.start, 1e-9)
	}
	for _, c := range []struct {
		samples int
		t5      float64
	}{{4, 0.1 + 0.05*math.Log(1/0.95)}, {5, 0.0095}} {
		y := slices.Repeat([]float64{0}, 200)
		for i := range 1000 {
			y = append(y, 1-math.Exp(-float64(i)/50))
		}
		for i := range c.samples {
			y[110+i] = 0.1
		}
		m, err := iso.MeasureStep(iso.StepTrace{Rate: 1000, Edge: 0.1, Band: 0.05, Y: y})
		if err != nil {
			t.Fatal(err)
		}
		within(t, "t5", m.T5, c.t5, 2e-5)
	}
}
