package iso

import (
	"fmt"
	"math"
	"slices"
)

// A FlowRun is the record of an ISO 6358-1 test: channels over time and, per
// setpoint, the window that was held steady. Channels may have rates of their
// own.
type FlowRun struct {
	P1, P2, T1, Qm Trace    // Pa absolute, Pa absolute, K, kg/s
	Dwells         []Window // the averaged end of each dwell, in order
	Dpc            float64  // known cracking pressure, Pa
	PAtm           float64  // atmospheric pressure, Pa; 0 where it was not measured
	Upstream       Upstream // which side was held
	Component      Component
	AllowUnsteady  bool // judge dwells that did not settle too (the result says which)
}

// Upstream is the circuit of a flow test.
type Upstream string

// Circuits of ISO 6358-1: upstream pressure held while the downstream one is
// throttled, or exhaust to the atmosphere with a varied upstream pressure.
const (
	ConstantUpstream Upstream = "constant"
	VariableUpstream Upstream = "variable"
)

// Limits of a flow run.
const (
	leastDwellSamples    = 4    // slower channels (T1 at 1 Hz) have ten
	longestDwellGap      = 0.2  // of the window
	upstreamVariation    = 0.05 // of p1 over all points of a constant-upstream run
	steadinessBlocks     = 20   // means of which P-2's spread is taken in long windows
	leastRunPoints       = 6
	estimatorDifference  = 0.01 // of C between E1 and E2: a warning (P-4)
	estimatorScatter     = 0.01 // rms: a warning (P-4)
	lowestBelowAmbient   = 0.98 // of p_atm: less downstream pressure than that is a gauge reading
	significantSubsonicM = 0.02 // |m-0.5| worth publishing where u(m) is unknown (P-5)
)

// FlowRunPoint is one dwell of a run.
type FlowRunPoint struct {
	FlowPoint
	Steadiness
	Samples int // of the channel with fewest
}

// A FlowRunResult is what a run gives: E1 is reported, the others are checks.
type FlowRunResult struct {
	Points               []FlowRunPoint
	E1, E1M05, E2, E2M05 FlowFit
	Warnings             []string // codes of what a reader must know
}

// FlowPoints are the points of the result without their steadiness.
func (r FlowRunResult) FlowPoints() []FlowPoint {
	list := make([]FlowPoint, len(r.Points))
	for i, p := range r.Points {
		list[i] = p.FlowPoint
	}
	return list
}

// Warnings of a flow run.
const (
	WarnEstimatorsDiffer = "ESTIMATORS_DIFFER" // C of E1 and E2 differ by more than 1 %
	WarnScatter          = "FIT_SCATTER"       // rms of the fit above 1 %
	WarnPublishM         = "PUBLISH_M"         // m differs from 0.5; b of m = 0.5 is not comparable
	WarnUnusualB         = "UNUSUAL_B"         // b outside 0..0.6: a static tap in the jet?
	WarnUnsteady         = "UNSTEADY"          // dwells that did not settle were used
)

// EvaluateFlowRun averages each dwell, checks that it was steady, assigns
// regions and fits. It refuses a run without choked plateau, with too few or
// unsteady points, with a varying upstream pressure in the constant-upstream
// circuit, with a downstream pressure below the atmosphere (a gauge reading
// declared absolute), and components that the standard excludes.
func EvaluateFlowRun(run FlowRun) (FlowRunResult, error) {
	var result FlowRunResult
	for _, c := range run.channels() {
		if err := c.check(); err != nil {
			return result, fmt.Errorf("channel %s: %w", c.name, err)
		}
	}
	if run.Component != "" {
		if err := AdmitComponent(methodFlow, run.Component, run.Upstream); err != nil {
			return result, err
		}
	}
	if len(run.Dwells) < leastRunPoints {
		return result, refuse(methodFlow, TooFewPoints, "%d dwells; the fit of C, b and m needs %d, the standard's curve 10", len(run.Dwells), leastRunPoints)
	}
	points := make([]FlowPoint, 0, len(run.Dwells))
	for i, w := range run.Dwells {
		p, err := run.dwell(i, w)
		if err != nil {
			return result, err
		}
		result.Points = append(result.Points, p)
		points = append(points, p.FlowPoint)
	}
	if err := run.checkPoints(points); err != nil {
		return result, err
	}
	for i, p := range result.Points {
		if p.Steady {
			continue
		}
		if !run.AllowUnsteady {
			return result, refuse(methodFlow, NotSteady, "dwell %d moved by %.2f %% in p1, %.2f %% in qm, %.2f K in T1 (at most %.1f %%, %.1f %%, %.1f K); wait longer before averaging",
				i+1, 100*p.SpreadP1, 100*p.SpreadFlow, p.SpreadT1, 100*steadyPressure, 100*steadyFlow, steadyTemperature)
		}
		result.warn(WarnUnsteady)
	}
	points, err := AssignRegions(points, run.Dpc)
	if err != nil {
		return result, err
	}
	for i := range points {
		result.Points[i].Region = points[i].Region
	}
	for _, task := range []struct {
		e   Estimator
		fit *FlowFit
	}{{E1(), &result.E1}, {E1M05(), &result.E1M05}, {E2(), &result.E2}, {E2M05(), &result.E2M05}} {
		if *task.fit, err = FitFlow(points, run.Dpc, task.e); err != nil {
			return result, err
		}
	}
	result.judge()
	return result, nil
}

func (r *FlowRunResult) warn(code string) {
	if !slices.Contains(r.Warnings, code) {
		r.Warnings = append(r.Warnings, code)
	}
}

func (r *FlowRunResult) judge() {
	if math.Abs(r.E1.C-r.E2.C) > estimatorDifference*r.E1.C {
		r.warn(WarnEstimatorsDiffer)
	}
	if r.E1.RMS > estimatorScatter {
		r.warn(WarnScatter)
	}
	if math.Abs(r.E1.M-0.5) > significantSubsonicM {
		r.warn(WarnPublishM)
	}
	if r.E1.B < 0 || r.E1.B > 0.6 {
		r.warn(WarnUnusualB)
	}
}

type namedTrace struct {
	Trace
	name string
}

func (run FlowRun) channels() [4]namedTrace {
	return [...]namedTrace{{run.P1, "p1"}, {run.Qm, "qm"}, {run.T1, "T1"}, {run.P2, "p2"}}
}

func (run FlowRun) dwell(i int, w Window) (FlowRunPoint, error) {
	p := FlowRunPoint{Samples: math.MaxInt}
	var samples [4][]float64
	for k, c := range run.channels() {
		gap, n := c.longestGap(w.From, w.To)
		if n < leastDwellSamples {
			return p, refuse(methodFlow, TooFewPoints, "dwell %d (%.1f to %.1f s) has %d samples of %s; it needs %d", i+1, w.From, w.To, n, c.name, leastDwellSamples)
		}
		if gap > longestDwellGap*(w.To-w.From)+2*(w.To-w.From)/float64(n) {
			return p, refuse(methodFlow, GapTooLong, "dwell %d (%.1f to %.1f s) has a gap of %.1f s in %s", i+1, w.From, w.To, gap, c.name)
		}
		samples[k] = c.Window(w.From, w.To).Y
		p.Samples = min(p.Samples, n)
	}
	p.FlowPoint = FlowPoint{P1: mean(samples[0]), Qm: mean(samples[1]), T1: mean(samples[2]), P2: mean(samples[3])}
	steadiness, err := CheckSteady(blockMeans(samples[0]), blockMeans(samples[1]), blockMeans(samples[2]))
	p.Steadiness = steadiness
	return p, err
}

// blockMeans averages a long window into steadinessBlocks means: max-min of
// raw samples grows with their number, and noise is not unsteadiness.
func blockMeans(y []float64) []float64 {
	if len(y) <= steadinessBlocks {
		return y
	}
	list := make([]float64, steadinessBlocks)
	for i := range list {
		list[i] = mean(y[i*len(y)/steadinessBlocks : (i+1)*len(y)/steadinessBlocks])
	}
	return list
}

func (run FlowRun) checkPoints(points []FlowPoint) error {
	lowest, highest, sum, least := math.Inf(1), 0.0, 0.0, math.Inf(1)
	for _, p := range points {
		lowest, highest, sum = min(lowest, p.P1), max(highest, p.P1), sum+p.P1
		least = min(least, p.P2)
	}
	if run.PAtm > 0 && least < lowestBelowAmbient*run.PAtm {
		return refuse(methodFlow, GaugeAsAbsolute, "p2 goes down to %.1f kPa, below the atmosphere's %.1f kPa; p2 (and p1?) is a gauge pressure declared absolute", least/1e3, run.PAtm/1e3)
	}
	if variation := (highest - lowest) / (sum / float64(len(points))); run.Upstream == ConstantUpstream && variation > upstreamVariation {
		return refuse(methodFlow, UpstreamNotConstant, "p1 varies by %.1f %% over the points (at most %.0f %%); the constant-upstream method needs a supply that holds", 100*variation, 100*upstreamVariation)
	}
	return nil
}
