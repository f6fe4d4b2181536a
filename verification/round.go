package verification

import (
	"math"
	"strconv"
	"strings"
)

// uncertaintyDigits is how many significant digits an expanded uncertainty is
// printed with.
const uncertaintyDigits = 2

// Round rounds v to digits after the decimal point (negative: before it), a
// tie to the even digit (GB/T 8170, ISO 80000-1 rule A). The tie is judged on
// the decimal value that a person sees, at 15 significant digits, not on its
// binary image: 0.15 rounds to 0.2, 0.25 to 0.2.
func Round(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(math.Abs(v), 'e', 14, 64), "e")
	power, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	figures := []byte(strings.Replace(mantissa, ".", "", 1))
	// figures stand for d.dddd·10^power; keep those up to 10^-digits.
	keep := power + 1 + digits
	if keep < 0 {
		figures, keep, power = []byte("0"), 0, -digits-1
	}
	if keep < len(figures) {
		rest := figures[keep:]
		odd := keep > 0 && (figures[keep-1]-'0')%2 == 1
		half := rest[0] == '5' && strings.Trim(string(rest[1:]), "0") == ""
		up := rest[0] > '5' || rest[0] == '5' && !half || half && odd
		figures = append([]byte{'0'}, figures[:keep]...)
		for i := len(figures) - 1; up && i >= 0; i-- {
			if figures[i] < '9' {
				figures[i]++
				break
			}
			figures[i] = '0'
		}
		power++
	}
	// Lay the figures out around the decimal point.
	whole := power + 1
	text := string(figures)
	if whole <= 0 {
		text = strings.Repeat("0", 1-whole) + text
		whole = 1
	}
	if need := whole + max(digits, 0); len(text) < need {
		text += strings.Repeat("0", need-len(text))
	}
	out := strings.TrimLeft(text[:whole], "0")
	if out == "" {
		out = "0"
	}
	if digits > 0 {
		out += "." + text[whole:whole+digits]
	}
	if math.Signbit(v) && strings.Trim(out, "0.") != "" {
		out = "-" + out
	}
	return out
}

// decimals is how many digits after the point show n significant digits of v.
func decimals(v float64, n int) int {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return n - 1
	}
	power := int(math.Floor(math.Log10(math.Abs(v)) + 1e-12))
	d := n - 1 - power
	// 0.0996 with two digits is 0.10, one digit fewer after the point.
	if r, err := strconv.ParseFloat(Round(v, d), 64); err == nil && math.Abs(r) >= math.Pow10(power+1)*(1-1e-12) {
		d--
	}
	return d
}

// RoundPair prints a value and its expanded uncertainty: U with two significant
// digits, the value to the same place. Without an uncertainty (0 or less) the
// value has four significant digits.
func RoundPair(v, u float64) (value, uncertainty string) {
	if !(u > 0) || math.IsInf(u, 0) {
		return Round(v, decimals(v, 4)), ""
	}
	d := decimals(u, uncertaintyDigits)
	return Round(v, d), Round(u, d)
}
