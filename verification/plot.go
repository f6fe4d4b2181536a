package verification

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
)

// A Series is points, or a line through them.
type Series struct {
	Label string
	X, Y  []float64
	Line  bool
	Dash  bool
}

// A Plot is a diagram of a result.
type Plot struct {
	Name   string // "flow", "decay", a file name without its ending
	Title  string
	X, Y   string // labels with units
	Series []Series
	LogX   bool
	// Weibull scales y (a share, 0..1) so that a Weibull distribution over a logarithmic x is a line.
	Weibull bool
}

// Size of a plot and its margins, px.
const (
	plotWidth, plotHeight = 720, 440
	left, right           = 70, 20
	top, bottom           = 40, 55
)

func colours() []string {
	return []string{"#0b61a4", "#c2410c", "#4d7c0f", "#7e22ce", "#0f766e", "#be123c"}
}

// SVG draws the plot; it stands alone, without script or outer reference.
func (p Plot) SVG() []byte {
	fx := func(v float64) float64 { return v }
	fy := fx
	if p.LogX {
		fx = math.Log10
	}
	if p.Weibull {
		fy = func(f float64) float64 { return math.Log(-math.Log1p(-f)) }
	}
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range p.Series {
		for i := range s.X {
			x, y := fx(s.X[i]), fy(s.Y[i])
			if finite(x) && finite(y) {
				x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
			}
		}
	}
	if !(x1 > x0) {
		x0, x1 = orZero(x0)-1, orZero(x0)+1
	}
	if !(y1 > y0) {
		y0, y1 = orZero(y0)-1, orZero(y0)+1
	}
	pad := 0.04 * (y1 - y0)
	y0, y1 = y0-pad, y1+pad
	px := func(v float64) float64 { return left + (v-x0)/(x1-x0)*(plotWidth-left-right) }
	py := func(v float64) float64 { return plotHeight - bottom - (v-y0)/(y1-y0)*(plotHeight-top-bottom) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img"><title>%s</title>`, plotWidth, plotHeight, html.EscapeString(p.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/><text x="%d" y="22" font-size="15">%s</text>`, plotWidth, plotHeight, left, html.EscapeString(p.Title))
	for _, t := range p.ticks(x0, x1, p.LogX) {
		x := px(t.at)
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x, top, plotHeight-bottom, x, plotHeight-bottom+18, t.text)
	}
	for _, t := range p.yTicks(y0, y1, fy) {
		y := py(t.at)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, left, y, plotWidth-right, left-6, y+4, t.text)
	}
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#333"/>`, left, top, plotHeight-bottom, plotWidth-right)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`, (left+plotWidth-right)/2, plotHeight-14, html.EscapeString(p.X))
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`, (top+plotHeight-bottom)/2, html.EscapeString(p.Y))
	for i, s := range p.Series {
		colour := colours()[i%len(colours())]
		if s.Line {
			fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="1.5"`, colour)
			if s.Dash {
				b.WriteString(` stroke-dasharray="6 4"`)
			}
			b.WriteString(` d="`)
			pen := "M"
			for k := range s.X {
				x, y := fx(s.X[k]), fy(s.Y[k])
				if !finite(x) || !finite(y) {
					pen = "M"
					continue
				}
				fmt.Fprintf(&b, "%s%.1f %.1f", pen, px(x), py(y))
				pen = "L"
			}
			b.WriteString(`"/>`)
		} else {
			for k := range s.X {
				if x, y := fx(s.X[k]), fy(s.Y[k]); finite(x) && finite(y) {
					fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.2" fill="%s"/>`, px(x), py(y), colour)
				}
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`, left+10, top+16+15*i, colour, html.EscapeString(s.Label))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func orZero(v float64) float64 {
	if finite(v) {
		return v
	}
	return 0
}

type tick struct {
	at   float64
	text string
}

func (p Plot) ticks(low, high float64, log bool) []tick { //nolint:revive // the axis is one or the other
	var all []tick
	if log {
		for d := math.Floor(low); d <= high; d++ {
			for _, m := range []float64{1, 2, 5} {
				if at := d + math.Log10(m); at >= low && at <= high {
					all = append(all, tick{at, strconv.FormatFloat(m*math.Pow(10, d), 'g', 4, 64)})
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	for _, m := range []float64{5, 2} {
		if (high-low)/(step*m) >= 4 {
			step *= m
			break
		}
	}
	for k := math.Ceil(low / step); k*step <= high+1e-9*step; k++ {
		all = append(all, tick{k * step, strconv.FormatFloat(k*step, 'g', 6, 64)})
	}
	return all
}

func (p Plot) yTicks(low, high float64, scale func(float64) float64) []tick {
	if !p.Weibull {
		return p.ticks(low, high, false)
	}
	var all []tick
	for _, f := range []float64{0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.632, 0.9, 0.99, 0.999} {
		if at := scale(f); at >= low && at <= high {
			all = append(all, tick{at, strconv.FormatFloat(100*f, 'g', 4, 64) + " %"})
		}
	}
	return all
}
