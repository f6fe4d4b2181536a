package iso

import (
	"math"
	"slices"
)

// mean is the arithmetic mean; NaN of nothing.
func mean(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	// Deviations from the first value keep the digits that a large common
	// offset (a pressure of 7e5 Pa that moves by 10 Pa) would cost.
	base, sum := x[0], 0.0
	for _, v := range x {
		sum += v - base
	}
	return base + sum/float64(len(x))
}

// deviation is the standard deviation with n-1; 0 of a single value.
func deviation(x []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	m, sum := mean(x), 0.0
	for _, v := range x {
		d := v - m
		sum += float64(d * d)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

func span(x []float64) float64 { return slices.Max(x) - slices.Min(x) }

// A line is y = Intercept + Slope·x.
type line struct {
	Slope, Intercept float64
	SlopeError       float64 // standard error of the slope with n-2 degrees of freedom
	Residual         float64 // standard deviation of the residuals with n-2
}

// fitLine is ordinary least squares of y on x.
func fitLine(x, y []float64) line {
	mx, my := mean(x), mean(y)
	var sxx, sxy float64
	for i := range x {
		dx := x[i] - mx
		sxx += float64(dx * dx)
		sxy += float64(dx * (y[i] - my))
	}
	l := line{Slope: sxy / sxx}
	l.Intercept = my - float64(l.Slope*mx)
	if n := len(x); n > 2 {
		var sse float64
		for i := range x {
			d := (y[i] - my) - float64(l.Slope*(x[i]-mx))
			sse += float64(d * d)
		}
		l.Residual = math.Sqrt(sse / float64(n-2))
		l.SlopeError = l.Residual / math.Sqrt(sxx)
	}
	return l
}

// quantile is the p-quantile of a sorted sample, linear between order
// statistics (type 7 of Hyndman and Fan).
func quantile(sorted []float64, p float64) float64 {
	h := p * float64(len(sorted)-1)
	i := int(h)
	if i >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}

// interpolate reads y at x from points sorted by rising xs; x must lie inside.
func interpolate(xs, ys []float64, x float64) float64 {
	i, found := slices.BinarySearch(xs, x)
	if found {
		return ys[i]
	}
	i = min(max(i, 1), len(xs)-1)
	return ys[i-1] + (ys[i]-ys[i-1])*(x-xs[i-1])/(xs[i]-xs[i-1])
}
