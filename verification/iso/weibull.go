package iso

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

const methodWeibull = "weibull/1"

// A Life is what is known of Count units: they failed at T or were still
// whole then (suspended). T is in cycles, km or h, above 0. Count 0 is 1.
type Life struct {
	T      float64
	Failed bool
	Count  int
}

// expand gives one Life per unit by rising time; at equal times failures come
// before suspensions.
func expand(lives []Life) ([]Life, error) {
	var list []Life
	for i, l := range lives {
		if !(l.T > 0) || math.IsInf(l.T, 0) || l.Count < 0 {
			return nil, refuse(methodWeibull, OutOfRange, "life %d: time %g, count %d; times are positive", i+1, l.T, l.Count)
		}
		for range max(l.Count, 1) {
			list = append(list, Life{T: l.T, Failed: l.Failed, Count: 1})
		}
	}
	slices.SortStableFunc(list, func(a, b Life) int {
		if c := cmp.Compare(a.T, b.T); c != 0 || a.Failed == b.Failed {
			return c
		}
		if a.Failed {
			return -1
		}
		return 1
	})
	return list, nil
}

// A Rank is a failure's place among all units.
type Rank struct {
	T           float64
	Order       float64 // mean order number after Johnson, adjusted for suspensions
	Benard      float64 // (Order-0.3)/(n+0.4)
	Exact       float64 // exact median rank, BetaInv(0.5; Order, n+1-Order)
	KaplanMeier float64 // 1 - Π(1 - 1/remaining); for plotting only
}

// Ranks gives the rank of every failure by rising time. Johnson's increment is
// (n+1-previous order)/(1+units remaining with this one).
func Ranks(lives []Life) ([]Rank, error) {
	list, err := expand(lives)
	if err != nil {
		return nil, err
	}
	n := float64(len(list))
	var ranks []Rank
	order, surviving := 0.0, 1.0
	for i, l := range list {
		if !l.Failed {
			continue
		}
		remaining := n - float64(i)
		order += (n + 1 - order) / (1 + remaining)
		surviving *= 1 - 1/remaining
		ranks = append(ranks, Rank{
			T: l.T, Order: order,
			Benard:      (order - 0.3) / (n + 0.4),
			Exact:       mathext.InvRegIncBeta(order, n+1-order, 0.5),
			KaplanMeier: 1 - surviving,
		})
	}
	return ranks, nil
}

// Regression says how a line is put through the ranks.
type Regression struct {
	Exact bool // exact median ranks; else Benard's approximation
	YOnX  bool // minimise vertical distances; else horizontal ones (Abernethy's default)
}

// A Weibull is the distribution F(t) = 1 - exp(-(t/Eta)^Beta).
type Weibull struct {
	Eta  float64 // scale, in the unit of the times
	Beta float64 // shape
}

// Life is B_p, the time by which the share p has failed: B10 is Life(0.1).
func (w Weibull) Life(p float64) float64 {
	return w.Eta * math.Pow(-math.Log1p(-p), 1/w.Beta)
}

// Failed is F(t), the share that has failed by t.
func (w Weibull) Failed(t float64) float64 {
	return -math.Expm1(-math.Pow(t/w.Eta, w.Beta))
}

// Mean is the expected life.
func (w Weibull) Mean() float64 { return w.Eta * math.Gamma(1+1/w.Beta) }

// Std is the standard deviation of life.
func (w Weibull) Std() float64 {
	first := math.Gamma(1 + 1/w.Beta)
	return w.Eta * math.Sqrt(math.Gamma(1+2/w.Beta)-float64(first*first))
}

// Mu is ln Eta, the location of the smallest extreme value distribution of ln t.
func (w Weibull) Mu() float64 { return math.Log(w.Eta) }

// Sigma is 1/Beta, its scale.
func (w Weibull) Sigma() float64 { return 1 / w.Beta }

// RankLine is a rank regression.
type RankLine struct {
	Weibull
	R2 float64 // squared correlation of x = ln t and y = ln(-ln(1-F))
}

// FitRanks puts a line through x = ln t, y = ln(-ln(1-F)). It refuses ranks of
// fewer than two distinct failure times.
func FitRanks(ranks []Rank, how Regression) (RankLine, error) {
	if err := checkDistinct(ranks, func(r Rank) float64 { return r.T }); err != nil {
		return RankLine{}, err
	}
	x, y := make([]float64, len(ranks)), make([]float64, len(ranks))
	for i, r := range ranks {
		f := r.Benard
		if how.Exact {
			f = r.Exact
		}
		x[i], y[i] = math.Log(r.T), math.Log(-math.Log1p(-f))
	}
	mx, my := mean(x), mean(y)
	var sxx, sxy, syy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		sxx += float64(dx * dx)
		sxy += float64(dx * dy)
		syy += float64(dy * dy)
	}
	beta := syy / sxy
	if how.YOnX {
		beta = sxy / sxx
	}
	return RankLine{Weibull: Weibull{Beta: beta, Eta: math.Exp(mx - my/beta)}, R2: sxy / sxx * sxy / syy}, nil
}

func checkDistinct[T any](failures []T, time func(T) float64) error {
	if len(failures) == 0 {
		return refuse(methodWeibull, NoFailures, "no unit has failed; only a lower bound with an assumed shape can be given")
	}
	for _, f := range failures {
		if time(f) != time(failures[0]) {
			return nil
		}
	}
	return refuse(methodWeibull, FewDistinctFailures, "%d failures at one time; scale and shape need failures at two distinct times", len(failures))
}

// WeibullFit is a maximum likelihood fit with its Fisher information.
type WeibullFit struct {
	Weibull
	Units, Failures int
	LogLikelihood   float64
	EtaError        float64 // standard errors from the inverse of the observed information
	BetaError       float64
	Covariance      float64 // of Eta and Beta
	lives           []Life
}

// FitWeibull is the maximum likelihood fit with suspensions (right-censored):
// Beta solves Σt^β·ln t/Σt^β - 1/β - mean(ln t of failures) = 0 with sums over
// all units, Eta = (Σt^β/r)^(1/β). It refuses fewer than two distinct failure
// times.
func FitWeibull(lives []Life) (WeibullFit, error) {
	list, err := expand(lives)
	if err != nil {
		return WeibullFit{}, err
	}
	fit := WeibullFit{Units: len(list), lives: list}
	longest := 0.0
	var failures []Life
	for _, l := range list {
		longest = max(longest, l.T)
		if l.Failed {
			failures = append(failures, l)
		}
	}
	fit.Failures = len(failures)
	if err := checkDistinct(failures, func(l Life) float64 { return l.T }); err != nil {
		return fit, err
	}
	// Times over the longest keep t^β in range for any shape.
	logs := make([]float64, len(list))
	failed := 0.0
	for i, l := range list {
		logs[i] = math.Log(l.T / longest)
		if l.Failed {
			failed += logs[i]
		}
	}
	r := float64(fit.Failures)
	score := func(beta float64) float64 {
		var weight, weighted float64
		for _, l := range logs {
			w := math.Exp(beta * l)
			weight += w
			weighted += float64(w * l)
		}
		return weighted/weight - 1/beta - failed/r
	}
	low, high := 1e-2, 10.0
	for score(high) < 0 && high < 1e6 {
		high *= 10
	}
	fit.Beta = root(score, low, high)
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(fit.Beta * l)
	}
	fit.Eta = longest * math.Pow(sum/r, 1/fit.Beta)
	fit.LogLikelihood = logLikelihood(list, fit.Weibull)
	fit.information()
	return fit, nil
}

func logLikelihood(lives []Life, w Weibull) float64 {
	sum := 0.0
	for _, l := range lives {
		log := math.Log(l.T / w.Eta)
		if l.Failed {
			sum += math.Log(w.Beta/w.Eta) + float64((w.Beta-1)*log)
		}
		sum -= math.Exp(w.Beta * log)
	}
	return sum
}

// information inverts the observed information in (Eta, Beta).
func (f *WeibullFit) information() {
	eta, beta, r := f.Eta, f.Beta, float64(f.Failures)
	var z, zl, zll float64
	for _, l := range f.lives {
		log := math.Log(l.T / eta)
		w := math.Exp(beta * log)
		z += w
		zl += float64(w * log)
		zll += float64(w * log * log)
	}
	ee := beta*(beta+1)/(eta*eta)*z - r*beta/(eta*eta)
	bb := r/(beta*beta) + zll
	eb := r/eta - z/eta - beta/eta*zl
	det := ee*bb - float64(eb*eb)
	f.EtaError = math.Sqrt(bb / det)
	f.BetaError = math.Sqrt(ee / det)
	f.Covariance = -eb / det
}

// AIC is Akaike's criterion, 2·2 - 2·lnL.
func (f WeibullFit) AIC() float64 { return 4 - 2*f.LogLikelihood }

// A Bound is a confidence interval.
type Bound struct {
	Low, High float64
}

func logBound(x, relative, z float64) Bound {
	return Bound{Low: x * math.Exp(-z*relative), High: x * math.Exp(z*relative)}
}

func twoSided(confidence float64) float64 { return normalQuantile((1 + confidence) / 2) }

// EtaBound is the two-sided Fisher bound η·exp(±z·se/η).
func (f WeibullFit) EtaBound(confidence float64) Bound {
	return logBound(f.Eta, f.EtaError/f.Eta, twoSided(confidence))
}

// BetaBound is the two-sided Fisher bound β·exp(±z·se/β).
func (f WeibullFit) BetaBound(confidence float64) Bound {
	return logBound(f.Beta, f.BetaError/f.Beta, twoSided(confidence))
}

// LifeError is the standard error of ln B_p (delta method): Var = Var(η)/η² +
// k²·Var(β)/β⁴ - 2k·Cov/(ηβ²), k = ln(-ln(1-p)).
func (f WeibullFit) LifeError(p float64) float64 {
	k := math.Log(-math.Log1p(-p))
	e, b := f.EtaError/f.Eta, f.BetaError/(f.Beta*f.Beta)
	return math.Sqrt(float64(e*e) + float64(k*k*b*b) - 2*k*f.Covariance/(f.Eta*f.Beta*f.Beta))
}

// LifeBound is the two-sided Fisher bound of B_p. With fewer than ten failures
// it is optimistic; see LikelihoodBound.
func (f WeibullFit) LifeBound(p, confidence float64) Bound {
	return logBound(f.Life(p), f.LifeError(p), twoSided(confidence))
}

// LifeLower is the one-sided lower Fisher bound of B_p.
func (f WeibullFit) LifeLower(p, confidence float64) float64 {
	return f.Life(p) * math.Exp(-normalQuantile(confidence)*f.LifeError(p))
}

// FailedBound is the two-sided Fisher bound of F(t) on z = (ln t - µ)/σ, and the
// standard error of z.
func (f WeibullFit) FailedBound(t, confidence float64) (Bound, float64) {
	sigma := f.Sigma()
	z := (math.Log(t) - f.Mu()) / sigma
	varMu := f.EtaError * f.EtaError / (f.Eta * f.Eta)
	varSigma := f.BetaError * f.BetaError * math.Pow(f.Beta, -4)
	cov := -f.Covariance / (f.Eta * f.Beta * f.Beta)
	se := math.Sqrt(varMu+float64(z*z*varSigma)+2*z*cov) / sigma
	q := twoSided(confidence)
	return Bound{Low: -math.Expm1(-math.Exp(z - q*se)), High: -math.Expm1(-math.Exp(z + q*se))}, se
}

// LikelihoodBound is the two-sided likelihood ratio bound of B_p: all lives L
// with 2·(l_max - max over β of l(L, β)) at most the χ² quantile of one degree
// of freedom (convention P-12). It holds with few failures, where Fisher's does
// not.
func (f WeibullFit) LikelihoodBound(p, confidence float64) Bound {
	z := twoSided(confidence)
	limit := f.LogLikelihood - z*z/2
	k := math.Log(-math.Log1p(-p))
	excess := func(logLife float64) float64 { return f.profile(logLife, k) - limit }
	best := math.Log(f.Life(p))
	reach := max(f.LifeError(p), 0.05)
	edge := func(sign float64) float64 {
		step := reach
		for excess(best+sign*step) > 0 && step < 1e3 {
			step *= 1.5
		}
		return math.Exp(root(excess, best, best+sign*step))
	}
	return Bound{Low: edge(-1), High: edge(1)}
}

// profile is the largest log likelihood with ln B_p held, by golden section in
// ln β, in which it has one maximum.
func (f WeibullFit) profile(logLife, k float64) float64 {
	at := func(logBeta float64) float64 {
		beta := math.Exp(logBeta)
		return logLikelihood(f.lives, Weibull{Beta: beta, Eta: math.Exp(logLife - k/beta)})
	}
	golden := (math.Sqrt(5) - 1) / 2
	low, high := math.Log(f.Beta)-4, math.Log(f.Beta)+3
	a, b := high-golden*(high-low), low+golden*(high-low)
	fa, fb := at(a), at(b)
	for high-low > 1e-9 {
		if fa > fb {
			high, b, fb = b, a, fa
			a = high - golden*(high-low)
			fa = at(a)
		} else {
			low, a, fa = a, b, fb
			b = low + golden*(high-low)
			fb = at(b)
		}
	}
	return at((low + high) / 2)
}

// WeibayesLower is the lower bound of Eta at a one-sided confidence when no
// unit has failed and the shape is assumed: (Σt^β/(-ln(1-confidence)))^(1/β)
// (IEC 61649).
func WeibayesLower(suspensions []float64, beta, confidence float64) (Weibull, error) {
	if !(confidence > 0 && confidence < 1) {
		return Weibull{}, fmt.Errorf("confidence %g must lie between 0 and 1", confidence)
	}
	return weibayes(suspensions, beta, -math.Log1p(-confidence))
}

// Weibayes is Eta with an assumed shape and r failures among the units; with
// r = 1 and no failure yet it assumes that one is imminent.
func Weibayes(times []float64, beta, r float64) (Weibull, error) {
	return weibayes(times, beta, r)
}

func weibayes(times []float64, beta, r float64) (Weibull, error) {
	if len(times) == 0 || !(beta > 0) || !(r > 0) {
		return Weibull{}, refuse(methodWeibull, OutOfRange, "%d times, shape %g, %g failures: all must be positive", len(times), beta, r)
	}
	longest := slices.Max(times)
	sum := 0.0
	for _, t := range times {
		if !(t > 0) {
			return Weibull{}, refuse(methodWeibull, OutOfRange, "time %g is not positive", t)
		}
		sum += math.Pow(t/longest, beta)
	}
	return Weibull{Beta: beta, Eta: longest * math.Pow(sum/r, 1/beta)}, nil
}

// Safety are the figures of ISO 13849-1 Annex C for one valve in use.
type Safety struct {
	Operations float64 // cycles per year
	B10d       float64 // cycles until 10 % have failed dangerously
	MTTFd      float64 // years: B10d/(0.1·Operations)
	T10d       float64 // years: B10d/Operations
}

// SafetyFigures gives the figures of B10, cycles, with the factor B10d/B10 (2
// is customary where the dangerous share is unknown), days of use per year,
// hours per day and seconds per cycle.
func SafetyFigures(b10, factor, days, hours, cycle float64) Safety {
	n := days * hours * 3600 / cycle
	b10d := factor * b10
	return Safety{Operations: n, B10d: b10d, MTTFd: b10d / (0.1 * n), T10d: b10d / n}
}
