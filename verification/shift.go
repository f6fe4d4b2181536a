package verification

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"pneudaq/acquisition"
	"pneudaq/verification/iso"
)

func shiftMethod() Method {
	return Method{
		Method: base("iso12238/1"),
		Parameters: []Parameter{
			{Name: "fraction", TitleEN: "change of the outlet pressure, as a share of p1 - p_atm", TitleZH: "出口压力变化份额", Default: "0.1"},
			{Name: "p1", Unit: "kPa_a", TitleEN: "supply pressure, where no channel has it", TitleZH: "供气压力（无通道时）"},
			{Name: "p_atm", Unit: "hPa_a", TitleEN: "atmospheric pressure, where no channel has it", TitleZH: "大气压（无通道时）"},
			{Name: "skip", TitleEN: "first shifts of each kind to leave out (conditioning)", TitleZH: "每种换向略去的前几次", Default: "0"},
			{Name: "lag", Unit: "ms", TitleEN: "time constant of the pressure sensor, as a half width", TitleZH: "压力传感器时间常数（误差限）", Default: "0 ms"},
		},
		optional: []iso.Channel{{Name: "record", Quantity: iso.Signal, Unit: "1"}},
		aliases: map[string][]string{
			"p_out": {"p4", "p2", "出口压力"}, "control": {"coil_edge", "coil", "控制信号"}, "p1": {"供气压力"}, "p_atm": {"大气压"},
		},
		evaluate: evaluateShift,
	}
}

// burst is a stretch of samples without a gap, as indexes.
type burst struct{ from, to int }

func bursts(times []float64, period float64) []burst {
	var all []burst
	from := 0
	for i := 1; i <= len(times); i++ {
		if i == len(times) || times[i]-times[i-1] > 1.5*period {
			all = append(all, burst{from, i})
			from = i
		}
	}
	return all
}

// shiftSeen is one measured shift.
type shiftSeen struct {
	at     float64
	trace  iso.ShiftTrace
	result iso.Crossing
}

func evaluateShift(e *evaluation) error {
	out, control := e.bound["p_out"], e.bound["control"]
	if out == nil || control == nil || len(out.trace.T) == 0 || len(control.trace.T) == 0 {
		return e.admit(nil)
	}
	ambient, uAmbient, _, err := e.atmosphere(nil)
	if err != nil {
		return err
	}
	if err := e.absolute(ambient, "p_out", "p1"); err != nil {
		return err
	}
	fraction, err := strconv.ParseFloat(e.parameter("fraction"), 64)
	if err != nil || !(fraction > 0 && fraction < 1) {
		return fmt.Errorf("parameter fraction = %q is not a share between 0 and 1", e.parameter("fraction"))
	}
	skip, err := strconv.Atoi(e.parameter("skip"))
	if err != nil || skip < 0 {
		return fmt.Errorf("parameter skip = %q is not a count", e.parameter("skip"))
	}
	var lag float64
	if lag, _, _, err = e.value("lag", acquisition.Duration, "ms"); err != nil {
		return err
	}
	period := out.period
	rate := 1 / period
	seen := map[iso.Shift][]shiftSeen{}
	var windows []iso.Window
	low, high := extremes(control.trace.Y)
	if !(high > low) {
		return e.refuse(iso.NoStep, "the control signal never changes in this record")
	}
	middle := (low + high) / 2
	for _, b := range bursts(out.trace.T, period) {
		times, y := out.trace.T[b.from:b.to], out.trace.Y[b.from:b.to]
		signal := control.trace.Resample(times, 2*period)
		if len(signal.T) != len(times) {
			if len(signal.T) == 0 {
				continue
			}
			return e.refuse(iso.RecordIncomplete, "control has no samples beside those of p_out around %s s", Round(times[0], 3))
		}
		var edges []int
		for i := 1; i < len(times); i++ {
			if (signal.Y[i] > middle) != (signal.Y[i-1] > middle) {
				edges = append(edges, i)
			}
		}
		for k, i := range edges {
			from, to := 0, len(times)
			if k > 0 {
				from = (edges[k-1] + i) / 2
			}
			if k+1 < len(edges) {
				to = edges[k+1]
			}
			if !e.recorded(times[i]) {
				continue
			}
			s := shiftSeen{at: times[i], trace: iso.ShiftTrace{
				Rate: rate, Edge: float64(i-from) - 0.5, Outlet: y[from:to], Ambient: ambient,
			}}
			if s.trace.Supply, err = e.supply(times[from], times[i]); err != nil {
				return err
			}
			s.trace.Kind = iso.Fill
			if end := mean(y[max(i, to-10):to]); end < mean(y[from:i]) {
				s.trace.Kind = iso.Exhaust
			}
			windows = append(windows, iso.Window{From: times[from], To: times[to-1]})
			seen[s.trace.Kind] = append(seen[s.trace.Kind], s)
		}
	}
	if len(windows) == 0 {
		return e.refuse(iso.RecordTooShort, "no edge of the control signal with samples around it")
	}
	if err := e.admit(windows); err != nil {
		return err
	}
	if ambient <= 0 {
		return e.refuse(iso.ChannelMissing, "the threshold is a share of p1 - p_atm, and p_atm is neither a channel nor a parameter")
	}
	if err := e.notGauge(ambient, "p_out"); err != nil {
		return err
	}
	for _, kind := range []iso.Shift{iso.Fill, iso.Exhaust} {
		list := seen[kind]
		list = list[min(skip, len(list)):]
		if len(list) == 0 {
			continue
		}
		if err := e.shifts(kind, list, fraction, lag, uAmbient); err != nil {
			return err
		}
	}
	if len(e.result.Figures) == 0 {
		return e.refuse(iso.TooFewPoints, "no shift is left after skipping %d", skip)
	}
	return nil
}

// recorded says whether the PLC counts a shift at this time; without its
// channel every shift counts. Its scan may come a little after the edge.
func (e *evaluation) recorded(at float64) bool {
	b := e.bound["record"]
	if b == nil {
		return true
	}
	w := b.trace.Window(at+0.5*b.period, at+2*b.period)
	return slices.ContainsFunc(w.Y, func(v float64) bool { return v > 0.5 })
}

func (e *evaluation) supply(from, to float64) (float64, error) {
	if b := e.bound["p1"]; b != nil {
		if y := b.trace.Window(from, to).Y; len(y) > 0 {
			return mean(y), nil
		}
		if y := b.trace.Window(from-3*b.period, to+3*b.period).Y; len(y) > 0 {
			return mean(y), nil
		}
	}
	if e.parameter("p1") == "" {
		return 0, e.refuse(iso.ChannelMissing, "p1 has no sample around %s s and no parameter states it", Round(from, 3))
	}
	v, _, _, err := e.value("p1", acquisition.PressureAbsolute, "kPa_a")
	return v, err
}

func extremes(y []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range y {
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

func (e *evaluation) shifts(kind iso.Shift, list []shiftSeen, fraction, lag, uAmbient float64) error {
	values := make([]float64, len(list))
	slope, supply := 0.0, 0.0
	for i := range list {
		c, err := list[i].trace.ShiftingTime(fraction)
		if err != nil {
			return fmt.Errorf("%s %d at %s s: %w", kind, i+1, Round(list[i].at, 3), err)
		}
		list[i].result = c
		values[i] = c.Time
		slope += math.Abs(c.Slope) / float64(len(list))
		supply += list[i].trace.Supply / float64(len(list))
	}
	s := iso.Summarise(values)
	out := e.bound["p_out"]
	scale := math.Hypot(out.accuracy.Scale, out.accuracy.Offset/supply)
	step := supply - list[0].trace.Ambient
	u1 := 0.0
	if b := e.bound["p1"]; b != nil {
		u1 = math.Hypot(b.accuracy.Offset, b.accuracy.Scale*supply)
	} else if e.parameter("p1") != "" {
		_, u, _, err := e.value("p1", acquisition.PressureAbsolute, "kPa_a")
		if err != nil {
			return err
		}
		u1 = u
	}
	pressure := fraction * math.Hypot(math.Hypot(u1, uAmbient), scale*step)
	dof := float64(s.N - 1)
	repeat := s.Std / math.Sqrt(float64(s.N))
	half := 0.0
	if out.channel.HalfWidths != nil {
		half = mean(out.channel.HalfWidths)
	}
	inputs := []iso.Input{
		{Name: "trigger", U: math.Hypot(0.5/list[0].trace.Rate, half) / math.Sqrt(3), Shape: iso.Rectangular},
		{Name: "threshold", U: pressure / slope, Shape: out.accuracy.Shape},
		{Name: "lag", U: lag / math.Sqrt(3), Shape: iso.Rectangular},
		{Name: "repeatability", U: repeat, DOF: dof},
	}
	if s.N > 2 {
		inputs[3].Shape = iso.StudentT
	}
	if s.N == 1 {
		e.result.note("a single %s: its repeatability is not known and not in U", kind)
	}
	model := func(x, y []float64) error {
		y[0] = s.Mean + x[0] + x[1] + x[2] + x[3]
		return nil
	}
	budget, err := iso.Propagate(model, 1, inputs)
	if err != nil {
		return err
	}
	var sample *iso.Sample
	if e.draws > 0 && s.N > 2 {
		m, err := iso.MonteCarlo(model, 1, inputs, e.draws, e.seed)
		if err != nil {
			return err
		}
		sample = &m
	}
	name, en, zh := "t_fill", "shifting time, filling", "换向时间（充气）"
	if kind == iso.Exhaust {
		name, en, zh = "t_exhaust", "shifting time, exhausting", "换向时间（排气）"
	}
	const ms = 1e-3
	e.result.Figures = append(e.result.Figures,
		figure(name, en, zh, "ms", ms, s.Mean, fromBudget(&budget, 0, sample, e.draws, e.seed)),
		figure(name+".std", "standard deviation of single shifts", "单次标准差", "ms", ms, s.Std, spread{}),
		figure(name+".max", "longest", "最长", "ms", ms, s.Max, spread{}),
		figure(name+".n", "shifts", "次数", "1", 1, float64(s.N), spread{}))
	for i := range list {
		e.result.Points = append(e.result.Points, map[string]float64{"at": list[i].at, "fill": boolean(kind == iso.Fill), "time": values[i], "p1": list[i].trace.Supply})
	}
	last := list[len(list)-1]
	trace := Series{Label: "outlet", Line: true}
	for i, v := range last.trace.Outlet {
		trace.X, trace.Y = append(trace.X, (float64(i)-last.trace.Edge)/last.trace.Rate*1e3), append(trace.Y, v/1e3)
	}
	low, high := extremes(trace.Y)
	at := last.result.Time * 1e3
	e.result.Plots = append(e.result.Plots, Plot{
		Name: name, Title: "Outlet pressure around the last edge, " + string(kind), X: "t after the edge, ms", Y: "p, kPa",
		Series: []Series{
			trace,
			{Label: "edge", Line: true, Dash: true, X: []float64{0, 0}, Y: []float64{low, high}},
			{Label: fmt.Sprintf("crossing at %s ms", Round(at, 2)), Line: true, Dash: true, X: []float64{at, at}, Y: []float64{low, high}},
		},
	})
	return nil
}

func boolean(b bool) float64 { //nolint:revive // it turns the bit into a number
	if b {
		return 1
	}
	return 0
}
