package storage

import (
	"fmt"
	"time"
)

// Retention says what the store keeps. It drops whole files, never what a sink
// still needs or an open recording uses.
type Retention struct {
	Keep Keep
	Days int   // older files are dropped; 0: never for their age
	Size int64 // bytes; the oldest files are dropped beyond it; 0: no bound
	// Outside is how long samples outside recordings stay when Keep does not
	// keep them, default 24 h: a recording may be declared afterwards.
	Outside time.Duration
}

// Keep says which samples are kept until Days or Size drop them.
type Keep uint8

// The values of keep in a rig file.
const (
	KeepAlways           Keep = iota // everything
	KeepDuringRecordings             // outside recordings nothing
	KeepTrendOutside                 // outside recordings the overview rows
)

func keepNames() []string { return []string{"always", "during_recordings", "trend"} }

// ParseKeep returns the value with the given name in a rig file.
func ParseKeep(name string) (Keep, error) {
	for i, n := range keepNames() {
		if n == name || name == "" {
			return Keep(i), nil
		}
	}
	return 0, fmt.Errorf("keep %q is not one of %v", name, keepNames())
}

// String returns the name in a rig file.
func (k Keep) String() string {
	if n := keepNames(); int(k) < len(n) {
		return n[k]
	}
	return fmt.Sprintf("keep(%d)", uint8(k))
}

func (r *Retention) check() error {
	if r.Days < 0 || r.Size < 0 || r.Outside < 0 || int(r.Keep) >= len(keepNames()) {
		return fmt.Errorf("retention keep=%s days=%d size=%d: none of them may be negative", r.Keep, r.Days, r.Size)
	}
	if r.Outside == 0 {
		r.Outside = 24 * time.Hour
	}
	return nil
}
