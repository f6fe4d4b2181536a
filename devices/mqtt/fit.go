package mqtt

import "math"

// Limits of the fits, ns and ratios.
const (
	fitLeast  = int64(60e9)  // a shorter stretch says less about a clock than its label
	fitShift  = int64(600e9) // the fit is over the last 10 to 20 minutes
	fitBound  = 0.01         // a clock further off than this is another clock: a wrong step in the rig file
	leakPerNS = 100e-6       // how fast the fitted offset may grow: clocks drift less
)

// rate fits how long a slot really is by the device's own times.
type rate struct {
	nominal  float64 // ns; 0: not known
	slope    float64 // ns; 0: not fitted yet
	have     bool
	old, mid point
	off      bool // the seen distance contradicts the stated one
}

type point struct {
	slot uint64
	time int64
}

// step returns the distance of slots in ns.
func (r *rate) step() float64 {
	if r.slope != 0 {
		return r.slope
	}
	return r.nominal
}

// add takes the device time of a slot that was placed.
func (r *rate) add(slot uint64, t int64) {
	p := point{slot, t}
	if !r.have || slot < r.old.slot || t < r.old.time {
		r.old, r.mid, r.have = p, p, true
		return
	}
	if t-r.mid.time > fitShift {
		r.old, r.mid = r.mid, p
	}
	if t-r.old.time < fitLeast || slot == r.old.slot {
		return
	}
	s := float64(t-r.old.time) / float64(slot-r.old.slot)
	r.off = r.nominal > 0 && math.Abs(s/r.nominal-1) > fitBound
	if !r.off {
		r.slope = s
	}
}

// offset lays a device's clock against ours. Messages are delayed and never
// early, so the smallest difference seen is the nearest to the truth; it is
// let go slowly, because clocks drift.
type offset struct {
	have bool
	off  int64
	last int64
}

// add takes a pair of readings of the two clocks, ns; off is then how far ours
// is ahead of the device's.
func (o *offset) add(device, arrival int64) {
	e := arrival - device
	switch {
	case !o.have:
		o.have, o.off = true, e
	case e < o.off:
		o.off = e
	default:
		if d := device - o.last; d > 0 {
			o.off += min(e-o.off, int64(float64(d)*leakPerNS))
		}
	}
	o.last = device
}
