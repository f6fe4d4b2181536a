package web

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Time is an instant in Unix nanoseconds, in JSON written as RFC 3339 with
// nanoseconds in UTC. 0 is unknown.
type Time int64

// MarshalJSON writes RFC 3339, null for an unknown time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return t.appendTo(nil), nil
}

func (t Time) appendTo(b []byte) []byte {
	b = append(b, '"')
	b = time.Unix(0, int64(t)).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// UnmarshalJSON reads RFC 3339 or null.
func (t *Time) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*t = 0
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	*t = Time(v.UnixNano())
	return nil
}

// String returns RFC 3339, "" for an unknown time.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano)
}

// milliseconds returns Unix milliseconds; a float64 keeps about 0.2 µs today.
func milliseconds(ns int64) float64 { return float64(ns) / 1e6 }

// parseTime reads RFC 3339 or Unix milliseconds.
func parseTime(s string) (int64, error) {
	if ms, err := strconv.ParseFloat(s, 64); err == nil {
		if math.IsNaN(ms) || math.Abs(ms) > 9e12 {
			return 0, fmt.Errorf("%q is not Unix milliseconds", s)
		}
		whole, part := math.Modf(ms)
		return int64(whole)*1e6 + int64(math.Round(part*1e6)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is neither RFC 3339 nor Unix milliseconds", s)
	}
	return t.UnixNano(), nil
}
