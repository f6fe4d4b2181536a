package iso

import "math"

const methodFlow1989 = "iso6358-1989/1"

// Flow1989 is the result of the five-point method of ISO 6358:1989.
type Flow1989 struct {
	C       float64   // of the choked point, m³/(s·Pa)
	B       float64   // mean of BPoints
	BPoints []float64 // of each subsonic point
}

// FitFlow1989 evaluates the legacy method: the first point is choked and gives
// C, each further one gives b (see PointB), and b is their mean. The points
// share p1 and T1.
func FitFlow1989(points []FlowPoint) (Flow1989, error) {
	var f Flow1989
	if len(points) < 2 {
		return f, refuse(methodFlow1989, TooFewPoints, "%d points; the method takes the choked flow and points at 80, 60, 40 and 20 %% of it", len(points))
	}
	f.C = points[0].Conductance()
	if !(f.C > 0) {
		return f, refuse(methodFlow1989, OutOfRange, "no flow at the first, choked point")
	}
	for i, p := range points[1:] {
		if math.Abs(p.P1-points[0].P1) > 0.05*points[0].P1 {
			return f, refuse(methodFlow1989, UpstreamNotConstant, "p1 of point %d is %.1f kPa, of the choked point %.1f kPa; the method keeps it constant", i+2, p.P1/1e3, points[0].P1/1e3)
		}
		b, err := PointB(p.Qm, points[0].Qm, p.P1, p.P2)
		if err != nil {
			return f, err
		}
		f.BPoints = append(f.BPoints, b)
	}
	f.B = mean(f.BPoints)
	return f, nil
}

// PointB is b = 1 - (1 - p2/p1)/(1 - sqrt(1 - (qm/q*)²)) of one subsonic point
// of flow qm, where q* is the choked flow at the same p1 and T1 (m = 0.5).
func PointB(qm, choked, p1, p2 float64) (float64, error) {
	if !(qm > 0) || !(qm < choked) {
		return 0, refuse(methodFlow1989, OutOfRange, "the point's flow %g kg/s must lie between 0 and the choked flow %g kg/s", qm, choked)
	}
	return pointB(qm, choked, p1, p2), nil
}

func pointB(qm, choked, p1, p2 float64) float64 {
	q := qm / choked
	return 1 - (1-p2/p1)/(1-math.Sqrt(1-float64(q*q)))
}
