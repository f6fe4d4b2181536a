package simulator

import (
	"fmt"
	"slices"
	"time"
)

// FaultKind names what goes wrong with one answer on the wire.
type FaultKind string

// The faults of one answer. N and Delay are those of the Fault.
const (
	FaultMute        FaultKind = "mute"        // no answer
	FaultDelay       FaultKind = "delay"       // the answer, and all after it, Delay later
	FaultLate        FaultKind = "late"        // the answer Delay later; answers to later requests overtake it
	FaultDuplicate   FaultKind = "duplicate"   // the answer twice, the second Delay after the first
	FaultTransaction FaultKind = "transaction" // transaction id + N (0 means 1); on RTU no answer
	FaultUnit        FaultKind = "unit"        // unit + N (0 means 1)
	FaultFunction    FaultKind = "function"    // function code + N (0 means 1)
	FaultByteCount   FaultKind = "byte_count"  // the count says N more bytes than follow (0 means 2)
	FaultShort       FaultKind = "short"       // a consistent answer of N registers fewer than asked (0 means 1)
	FaultLong        FaultKind = "long"        // a consistent answer of N registers more than asked (0 means 1)
	FaultSplit       FaultKind = "split"       // N bytes (0: by the seed), then the rest Delay later
	FaultDribble     FaultKind = "dribble"     // one byte every Delay
	FaultTruncate    FaultKind = "truncate"    // N bytes, then silence; the connection stays
	FaultCut         FaultKind = "cut"         // N bytes, then the connection is closed
	FaultReset       FaultKind = "reset"       // N bytes, then the connection is reset
	FaultFlip        FaultKind = "flip"        // bit N of the frame inverted, counted from its first bit (negative: by the seed)
	FaultChecksum    FaultKind = "checksum"    // a wrong CRC; on TCP a bit of the data inverted is no fault that can be seen, so no answer
	FaultException   FaultKind = "exception"   // exception N instead of the answer (0: any of 1 to 255 by the seed)
	FaultProtocol    FaultKind = "protocol"    // protocol id N (0 means 1); on RTU no answer
	FaultLength      FaultKind = "length"      // the header says a length of N; on RTU no answer
	FaultGarbage     FaultKind = "garbage"     // N bytes by the seed (0 means 16) instead of the answer
	FaultHTTP        FaultKind = "http"        // an HTTP answer, then the connection is closed
	FaultUnsolicited FaultKind = "unsolicited" // TCP: a well-formed frame that nobody asked for before the answer; RTU: Delay after it
	FaultRestart     FaultKind = "restart"     // all connections are reset, the port refuses for Delay, up time begins again
)

// faultKinds lists every kind; its order is the order of the counters.
func faultKinds() []FaultKind {
	return []FaultKind{
		FaultMute, FaultDelay, FaultLate, FaultDuplicate, FaultTransaction, FaultUnit, FaultFunction, FaultByteCount, FaultShort,
		FaultLong, FaultSplit, FaultDribble, FaultTruncate, FaultCut, FaultReset, FaultFlip, FaultChecksum, FaultException,
		FaultProtocol, FaultLength, FaultGarbage, FaultHTTP, FaultUnsolicited, FaultRestart,
	}
}

// A Fault spoils answers. Requests that fit Units and Functions are numbered from 1; the fault strikes those numbers that
// At, Every or Probability choose, and each of them when none of the three is given. At most one fault strikes a request,
// the first in the list that chooses it. The choice by Probability is a function of the seed, the fault's place in the
// list and the number, so a run repeats.
type Fault struct {
	Kind        FaultKind
	Units       []byte        // empty: all
	Functions   []byte        // empty: all
	At          []uint64      // request numbers
	Every       uint64        // each such request
	Probability float64       // 0 to 1
	After       uint64        // requests up to this number are spared
	Times       uint64        // strikes at most; 0: no limit
	N           int           // meaning by Kind
	Delay       time.Duration // meaning by Kind
}

// check returns what is wrong with the fault.
func (f *Fault) check() error {
	if !slices.Contains(faultKinds(), f.Kind) {
		return fmt.Errorf("fault %q is unknown: known are %v", f.Kind, faultKinds())
	}
	if f.Probability < 0 || f.Probability > 1 {
		return fmt.Errorf("fault %s: probability %g is not within 0 to 1", f.Kind, f.Probability)
	}
	if f.Delay < 0 {
		return fmt.Errorf("fault %s: delay %s is negative", f.Kind, f.Delay)
	}
	if f.Delay == 0 && (f.Kind == FaultLate || f.Kind == FaultDelay || f.Kind == FaultDribble) {
		return fmt.Errorf("fault %s needs a delay", f.Kind)
	}
	return nil
}

// armed is a Fault with its counters. Guarded by the server's fault mutex.
type armed struct {
	Fault
	seen, struck uint64
	choice       uint64 // random bits for the last strike
}

// strike numbers a request in every fault that it fits and returns the first that hits it, nil if none does.
func strike(faults []armed, seed uint64, unit, function byte) (hit *armed) {
	for i := range faults {
		a := &faults[i]
		if !a.fits(unit, function) {
			continue
		}
		a.seen++
		if hit == nil && a.chooses(seed+uint64(i)<<32) {
			a.struck++
			hit = a
		}
	}
	return hit
}

func (a *armed) fits(unit, function byte) bool {
	return (len(a.Units) == 0 || slices.Contains(a.Units, unit)) && (len(a.Functions) == 0 || slices.Contains(a.Functions, function))
}

// chooses says whether the fault takes the request with the number seen.
func (a *armed) chooses(seed uint64) bool {
	if a.seen <= a.After || a.Times > 0 && a.struck >= a.Times {
		return false
	}
	random := mix64(seed + a.seen*0x9E3779B97F4A7C15)
	a.choice = mix64(random)
	return len(a.At) == 0 && a.Every == 0 && a.Probability == 0 || slices.Contains(a.At, a.seen) ||
		a.Every > 0 && a.seen%a.Every == 0 || a.Probability > 0 && float64(random>>11)/(1<<53) < a.Probability
}

// mix64 is the finaliser of SplitMix64: a bijection that spreads every bit.
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
