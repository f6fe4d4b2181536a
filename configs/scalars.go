package configs

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// address is a register address as a person writes it, in the device's own
// base.
type address int

func (a *address) parse(text string) bool {
	if octalLooking(text) {
		return false
	}
	v, err := strconv.ParseInt(text, 0, 32)
	if err != nil || v < 0 || v > 1<<16 {
		return false
	}
	*a = address(v)
	return true
}

func (*address) want() string    { return "0 to 65535 or 0x0000 to 0xFFFF, without leading zeros" }
func (*address) pattern() string { return `^(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)$` }

// size is a number of bytes.
type size int64

func (s *size) parse(text string) bool {
	factors := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}
	for _, f := range factors {
		rest, ok := strings.CutSuffix(text, f.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil || v < 0 || v*float64(f.factor) > 1e18 {
			return false
		}
		*s = size(v * float64(f.factor))
		return true
	}
	return false
}

func (*size) want() string {
	return "a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, for example 20GB"
}
func (*size) pattern() string { return `^[0-9.]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$` }

// raw is the bits of a register value: hexadecimal or decimal.
type raw uint64

func (r *raw) parse(text string) bool {
	if octalLooking(text) {
		return false
	}
	v, err := strconv.ParseUint(text, 0, 64)
	*r = raw(v)
	return err == nil
}

func (*raw) want() string    { return "the bits as 0x7FC00000 or as a number from 0" }
func (*raw) pattern() string { return `^(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)$` }

// octets is bytes as they travel, in hexadecimal.
type octets []byte

func (o *octets) parse(text string) bool {
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	*o = data
	return err == nil && len(data) > 0
}

func (*octets) want() string    { return `bytes in hexadecimal, for example "42 C5 0A 11"` }
func (*octets) pattern() string { return `^([0-9a-fA-F]{2} ?)+$` }

// day is a date.
type day time.Time

func (t *day) parse(text string) bool {
	v, err := time.Parse(time.DateOnly, text)
	*t = day(v)
	return err == nil
}

func (*day) want() string    { return "a date as 2026-03-31" }
func (*day) pattern() string { return `^[0-9]{4}-[0-9]{2}-[0-9]{2}$` }

// accuracy is a half width with its unit, or relative to the reading or the
// full scale.
type accuracy struct {
	Value float64
	Of    string // a unit, "% rdg" or "% FS"
}

func (a *accuracy) parse(text string) bool {
	number, of, ok := strings.Cut(strings.TrimSpace(text), " ")
	if !ok {
		return false
	}
	v, err := strconv.ParseFloat(number, 64)
	a.Value, a.Of = v, strings.TrimSpace(of)
	return err == nil && v >= 0 && a.Of != ""
}

func (*accuracy) want() string {
	return `a half width, a blank and a unit, "% rdg" or "% FS", for example "0.5 kPa"`
}
func (*accuracy) pattern() string { return `^[0-9.eE+-]+ .+$` }
