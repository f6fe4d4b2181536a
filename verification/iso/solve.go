package iso

import "math"

// maxParameters is the most unknowns a fit of this package has.
const maxParameters = 4

// A curve is a nonlinear least squares problem of few unknowns. Parameters are
// scaled by whoever states it so that they are of order one.
type curve struct {
	n, k int // residuals, parameters
	// evaluate fills the residuals and, unless jac is nil, jac[i*k+j] = ∂r_i/∂p_j.
	evaluate func(p []float64, r, jac []float64)
	lower    [maxParameters]float64
	upper    [maxParameters]float64
}

// workspace is what a minimisation needs; a Monte Carlo reuses one.
type workspace struct {
	r, jac []float64
}

func (w *workspace) fit(n, k int) {
	if cap(w.r) < n {
		w.r = make([]float64, n)
	}
	if cap(w.jac) < n*k {
		w.jac = make([]float64, n*k)
	}
	w.r, w.jac = w.r[:n], w.jac[:n*k]
}

func sumSquares(r []float64) float64 {
	sum := 0.0
	for _, v := range r {
		sum += float64(v * v)
	}
	return sum
}

// minimise is Levenberg-Marquardt from p, which it moves to the minimum; it
// gives the sum of squares there and whether it converged. The last steps are
// plain Gauss-Newton steps, taken while they shrink: the sum of squares alone
// tells the minimum only to half the digits, and figures must agree across
// platforms to more.
func (c *curve) minimise(p []float64, w *workspace) (float64, bool) {
	w.fit(c.n, c.k)
	const maxSteps = 200
	c.evaluate(p, w.r, w.jac)
	sse := sumSquares(w.r)
	lambda := 1e-3
	var trial, step [maxParameters]float64
	converged := false
	for range maxSteps {
		var normal [maxParameters * maxParameters]float64
		var gradient [maxParameters]float64
		c.normal(w, &normal, &gradient)
		accepted := false
		for range 40 {
			if !c.step(&normal, &gradient, lambda, &step) {
				lambda = max(10*lambda, 1e-12)
				continue
			}
			size := c.clampedMove(p, step[:c.k], trial[:c.k])
			if size < 1e-13 {
				converged = true
				break
			}
			c.evaluate(trial[:c.k], w.r, nil)
			next := sumSquares(w.r)
			if next < sse {
				converged = size < 1e-9 || sse-next <= 1e-14*sse
				copy(p, trial[:c.k])
				sse = next
				lambda = max(lambda*0.1, 1e-15)
				accepted = true
				break
			}
			if size < 1e-7 {
				// No better sum of squares in the last half of the digits.
				converged = true
				break
			}
			lambda = max(lambda*10, 1e-12)
		}
		if !accepted || converged {
			break
		}
		c.evaluate(p, w.r, w.jac)
	}
	c.polish(p, w)
	c.evaluate(p, w.r, nil)
	return sumSquares(w.r), converged
}

func (c *curve) polish(p []float64, w *workspace) {
	last := 1e-4
	var step, trial [maxParameters]float64
	for range 12 {
		c.evaluate(p, w.r, w.jac)
		var normal [maxParameters * maxParameters]float64
		var gradient [maxParameters]float64
		c.normal(w, &normal, &gradient)
		if !c.step(&normal, &gradient, 0, &step) {
			return
		}
		size := c.clampedMove(p, step[:c.k], trial[:c.k])
		if !(size < 0.9*last) {
			return
		}
		copy(p, trial[:c.k])
		if size < 1e-14 {
			return
		}
		last = size
	}
}

// normal forms JᵀJ and Jᵀr.
func (c *curve) normal(w *workspace, normal *[maxParameters * maxParameters]float64, gradient *[maxParameters]float64) {
	k := c.k
	for i := range c.n {
		row := w.jac[i*k : i*k+k]
		for a := range k {
			gradient[a] += float64(row[a] * w.r[i])
			for b := 0; b <= a; b++ {
				normal[a*k+b] += float64(row[a] * row[b])
			}
		}
	}
	for a := range k {
		for b := range a {
			normal[b*k+a] = normal[a*k+b]
		}
	}
}

// step solves (N + lambda·diag N)·step = -gradient.
func (c *curve) step(normal *[maxParameters * maxParameters]float64, gradient *[maxParameters]float64, lambda float64, step *[maxParameters]float64) bool {
	k := c.k
	damped := *normal
	for a := range k {
		damped[a*k+a] += lambda*damped[a*k+a] + 1e-300
	}
	for a := range k {
		step[a] = -gradient[a]
	}
	return solveSymmetric(damped[:k*k], step[:k])
}

// clampedMove puts p+step into trial, kept inside the bounds, and gives the
// largest move.
func (c *curve) clampedMove(p, step, trial []float64) float64 {
	size := 0.0
	for j := range trial {
		trial[j] = min(max(p[j]+step[j], c.lower[j]), c.upper[j])
		size = max(size, math.Abs(trial[j]-p[j]))
	}
	return size
}

// solveSymmetric solves A·x = x in place for a positive definite A (k×k, row
// major, destroyed) by Cholesky; false when A is not.
func solveSymmetric(a, x []float64) bool {
	k := len(x)
	for i := range k {
		for j := 0; j <= i; j++ {
			sum := a[i*k+j]
			for l := range j {
				sum -= float64(a[i*k+l] * a[j*k+l])
			}
			if i == j {
				if !(sum > 0) {
					return false
				}
				a[i*k+i] = math.Sqrt(sum)
			} else {
				a[i*k+j] = sum / a[j*k+j]
			}
		}
	}
	for i := range k {
		for l := range i {
			x[i] -= float64(a[i*k+l] * x[l])
		}
		x[i] /= a[i*k+i]
	}
	for i := k - 1; i >= 0; i-- {
		for l := i + 1; l < k; l++ {
			x[i] -= float64(a[l*k+i] * x[l])
		}
		x[i] /= a[i*k+i]
	}
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// root finds where f changes its sign between lo and hi, where it must have
// opposite signs, to the last digit by bisection.
func root(f func(float64) float64, lo, hi float64) float64 {
	rising := f(lo) < 0
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid <= min(lo, hi) || mid >= max(lo, hi) {
			break
		}
		if (f(mid) < 0) == rising {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + (hi-lo)/2
}
