package mqtt

import (
	"fmt"
	"slices"
	"strings"
)

func formatNames() []string {
	return []string{"number", "json", "name_value", "arrays", "rows", "line_protocol", "csv", "binary", "sparkplug_b"}
}

// ParseFormat returns the format with the name used in rig files: number,
// json, name_value, arrays, rows, line_protocol, csv, binary or sparkplug_b.
func ParseFormat(name string) (Format, error) {
	if i := slices.Index(formatNames(), name); i >= 0 {
		return Format(i), nil
	}
	return 0, fmt.Errorf("payload format %q is not one of %s", name, strings.Join(formatNames(), ", "))
}

// String returns the name used in rig files.
func (f Format) String() string {
	if n := formatNames(); int(f) < len(n) {
		return n[f]
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

func unitNames() []string { return []string{"", "s", "ms", "us", "ns", "rfc3339", "text"} }

// ParseTimeUnit returns the unit with the name used in rig files: s, ms, us,
// ns, rfc3339 or text; "" is what the format says.
func ParseTimeUnit(name string) (TimeUnit, error) {
	if i := slices.Index(unitNames(), name); i >= 0 {
		return TimeUnit(i), nil
	}
	return 0, fmt.Errorf("time unit %q is not one of %s", name, strings.Join(unitNames()[1:], ", "))
}

// String returns the name used in rig files.
func (u TimeUnit) String() string {
	if n := unitNames(); int(u) < len(n) {
		return n[u]
	}
	return fmt.Sprintf("unit(%d)", uint8(u))
}

// nanoseconds returns how many nanoseconds a numeric unit has, 0 for text.
func (u TimeUnit) nanoseconds() int64 {
	switch u {
	case UnitSeconds:
		return 1e9
	case UnitMilli:
		return 1e6
	case UnitMicro:
		return 1e3
	case UnitNano:
		return 1
	case UnitDefault, UnitRFC3339, UnitText:
	}
	return 0
}

func basisNames() []string { return []string{"auto", "device", "fitted", "arrival"} }

// ParseBasis returns the basis of time with the name used in rig files: auto,
// device, fitted or arrival.
func ParseBasis(name string) (Basis, error) {
	if i := slices.Index(basisNames(), name); i >= 0 {
		return Basis(i), nil
	}
	return 0, fmt.Errorf("basis of time %q is not one of %s", name, strings.Join(basisNames(), ", "))
}

// String returns the name used in rig files.
func (b Basis) String() string {
	if n := basisNames(); int(b) < len(n) {
		return n[b]
	}
	return fmt.Sprintf("basis(%d)", uint8(b))
}
