package mqtt_test

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
)

// record keeps what deliveries say, as a store would.
type record struct {
	t        *testing.T
	scans    map[uint64]int64 // slot -> time, of the present epoch
	late     map[uint64]int64
	quality  map[uint64]acquisition.Reason // of channel 0
	gaps     []acquisition.Gap
	epochs   int
	last     int64
	order    []uint64
	acks     int
	deliver  int
	arrivals map[uint64]int64
}

func newRecord(t *testing.T) *record {
	t.Helper()
	return &record{t: t, scans: map[uint64]int64{}, late: map[uint64]int64{}, quality: map[uint64]acquisition.Reason{}, arrivals: map[uint64]int64{}}
}

func (r *record) take(ds []*acquisition.Delivery) {
	r.t.Helper()
	for _, d := range ds {
		r.deliver++
		if d.NewEpoch {
			r.epochs++
			r.scans, r.late = map[uint64]int64{}, map[uint64]int64{}
		}
		r.gaps = append(r.gaps, d.Gaps...)
		for _, s := range d.Scans {
			into := r.scans
			if d.Backfill {
				into = r.late
			}
			if _, there := into[s.Slot]; there {
				r.t.Errorf("slot %d is there twice", s.Slot)
			}
			into[s.Slot] = s.Time
			r.quality[s.Slot] = s.Quality[0].Reason()
			r.arrivals[s.Slot] = s.Arrival
			if d.Backfill {
				continue
			}
			if s.Time <= r.last {
				r.t.Errorf("slot %d: time %d is not after %d", s.Slot, s.Time, r.last)
			}
			r.last = s.Time
			r.order = append(r.order, s.Slot)
		}
		if d.Ack != nil {
			r.acks++
			d.Ack()
		}
	}
}

func jsonGroup(change func(*mqtt.GroupOptions)) mqtt.GroupOptions {
	g := groupOf(mqtt.FormatJSON, "rig/a", chans("v=v")...)
	g.Sequence.Field = "seq"
	g.Skew, g.MaxAge = 0, 0
	if change != nil {
		change(&g)
	}
	return g
}

func harness(t *testing.T, g ...mqtt.GroupOptions) *mqtt.Harness {
	t.Helper()
	h, err := mqtt.NewHarness(mqtt.Options{Groups: g})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func numbered(seq uint64, v float64) []byte { return fmt.Appendf(nil, `{"seq":%d,"v":%g}`, seq, v) }

func (r *record) feed(h *mqtt.Harness, at int64, id uint16, payload []byte) {
	r.t.Helper()
	r.take(h.Feed(mqtt.Fed{Topic: "rig/a", Payload: payload, Arrival: at, ID: id}))
}

const second = int64(time.Second)

// long asks for the full length of the tests that are shortened by default.
var long = flag.Bool("long", false, "run the full length: 24 h at 10 kHz in every variant, brokers for a minute")

// F036: a message that comes twice, with the DUP flag or without, is stored
// once, and every copy is acknowledged.
func TestF036DuplicateMessages(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(nil)), newRecord(t)
	at := arrival
	id := uint16(0)
	for seq := range uint64(100) {
		id++
		r.feed(h, at, id, numbered(seq, float64(seq)))
		if seq%3 == 0 { // republished by the device: a new packet id, no DUP flag
			id++
			r.feed(h, at+1, id, numbered(seq, float64(seq)))
		}
		if seq%5 == 0 { // redelivered by the broker
			r.take(h.Feed(mqtt.Fed{Topic: "rig/a", Payload: numbered(seq, float64(seq)), Arrival: at + 2, ID: id, Dup: true}))
		}
		at += second / 10
	}
	st := h.C.Stats()
	if len(r.scans) != 100 || len(r.gaps) != 0 || r.epochs != 0 {
		t.Errorf("%d scans, %d gaps, %d epochs; want 100, 0, 0", len(r.scans), len(r.gaps), r.epochs)
	}
	if st.Groups[0].Duplicates != 34 || st.Redelivered != 20 || r.acks != 154 {
		t.Errorf("%d duplicates, %d redelivered, %d acknowledged; want 34, 20, 154", st.Groups[0].Duplicates, st.Redelivered, r.acks)
	}
}

// F036: events without a number but with a time are recognised by time and
// content.
func TestF036DuplicateEvents(t *testing.T) {
	t.Parallel()
	g := groupOf(mqtt.FormatJSON, "rig/a", chans("v=v")...)
	g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli}
	h, r := harness(t, g), newRecord(t)
	for i := range int64(20) {
		p := fmt.Appendf(nil, `{"t":%d,"v":1}`, (arrival+i*second)/1e6)
		r.feed(h, arrival+i*second, uint16(2*i+1), p)
		r.feed(h, arrival+i*second+5e6, uint16(2*i+2), p)
	}
	if len(r.scans) != 20 || r.acks != 40 || h.C.Stats().Groups[0].Duplicates != 20 {
		t.Errorf("%d scans, %d acknowledged, %+v; want 20 and 40", len(r.scans), r.acks, h.C.Stats().Groups[0])
	}
}

// F037: messages out of order within the window are put in order; what comes
// later still is kept as late, over the gap that was written.
func TestF037OutOfOrder(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) { g.Order = 4 })), newRecord(t)
	order := []uint64{0, 1, 3, 2, 6, 5, 4, 7, 8}
	for i, seq := range order {
		r.feed(h, arrival+int64(i)*1e6, uint16(i+1), numbered(seq, float64(seq)))
	}
	if !slices.IsSorted(r.order) || len(r.order) != 9 || len(r.gaps) != 0 {
		t.Fatalf("order %v, gaps %v", r.order, r.gaps)
	}
	if n := h.C.Stats().Groups[0].Reordered; n != 3 {
		t.Errorf("%d reordered, want 3 (two waits, one of them for two)", n)
	}
	// Number 9 comes after more than the window.
	for i, seq := range []uint64{10, 11, 12, 13, 14, 15, 16, 9} {
		r.feed(h, arrival+second+int64(i)*1e6, uint16(i+20), numbered(seq, float64(seq)))
	}
	if diff := cmp.Diff([]acquisition.Gap{{From: 9, To: 10, Reason: acquisition.ReasonSeqGap}}, r.gaps); diff != "" {
		t.Fatal(diff)
	}
	if _, ok := r.late[9]; !ok || r.quality[9] != acquisition.ReasonLate || r.epochs != 0 {
		t.Errorf("late %v quality %s epochs %d: number 9 should be late", r.late, r.quality[9], r.epochs)
	}
	if r.acks != len(order)+8 {
		t.Errorf("%d acknowledged, want %d", r.acks, len(order)+8)
	}
}

// A wait for a predecessor ends by itself.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) { g.Hold = 100 * time.Millisecond })), newRecord(t)
	r.feed(h, arrival, 1, numbered(1, 1))
	r.feed(h, arrival+1, 2, numbered(3, 3))
	r.take(h.Tick(arrival + 99e6))
	if len(r.scans) != 1 || r.acks != 1 {
		t.Fatalf("%d scans before the wait is over", len(r.scans))
	}
	r.take(h.Tick(arrival + 101e6))
	if len(r.scans) != 2 || len(r.gaps) != 1 || r.acks != 2 {
		t.Fatalf("scans %v gaps %v after the wait", r.scans, r.gaps)
	}
}

// F038: what is missing by the numbers is a gap with exact bounds.
func TestF038LostMessages(t *testing.T) {
	t.Parallel()
	g := jsonGroup(func(g *mqtt.GroupOptions) {
		g.Payload.Format = mqtt.FormatArrays
		g.Sequence.Samples = 10
		g.Group.Period = 10 * time.Millisecond
	})
	h, r := harness(t, g), newRecord(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var want []acquisition.Gap
	lost := map[uint64]bool{}
	for i, seq := 0, uint64(1000); seq < 2000; seq++ {
		if seq > 1000 && seq < 1999 && rng.IntN(20) == 0 {
			lost[seq] = true
			if n := len(want); n > 0 && want[n-1].To == seq*10 {
				want[n-1].To += 10
			} else {
				want = append(want, acquisition.Gap{From: seq * 10, To: seq*10 + 10, Reason: acquisition.ReasonSeqGap})
			}
			continue
		}
		i++
		r.feed(h, arrival+int64(seq)*second/10, uint16(i), fmt.Appendf(nil, `{"seq":%d,"v":[1,2,3,4,5,6,7,8,9,%d]}`, seq, seq))
	}
	r.take(h.Tick(arrival + 3000*second))
	if len(lost) == 0 {
		t.Fatal("nothing was lost, so nothing is tested")
	}
	if diff := cmp.Diff(want, r.gaps); diff != "" {
		t.Error(diff)
	}
	if len(r.scans) != (1000-len(lost))*10 {
		t.Errorf("%d scans, want %d", len(r.scans), (1000-len(lost))*10)
	}
}

// F034: after the broker lost its state, the hole in the numbers has that
// reason; with the session kept it is the device's.
func TestF034BrokerLostItsState(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) { g.Order = -1 })), newRecord(t)
	h.Reconnect(false, arrival)
	for seq := range uint64(5) {
		r.feed(h, arrival+int64(seq)*second, uint16(seq+1), numbered(seq, 1))
	}
	h.Reconnect(false, arrival+20*second)
	r.feed(h, arrival+21*second, 1, numbered(21, 1))
	h.Reconnect(true, arrival+30*second)
	r.feed(h, arrival+31*second, 2, numbered(23, 1))
	want := []acquisition.Gap{{From: 5, To: 21, Reason: acquisition.ReasonBrokerLoss}, {From: 22, To: 23, Reason: acquisition.ReasonSeqGap}}
	if diff := cmp.Diff(want, r.gaps); diff != "" {
		t.Error(diff)
	}
}

// F041: a retained message is never a live sample.
func TestF041RetainedMessages(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(nil)), newRecord(t)
	r.take(h.Feed(mqtt.Fed{Topic: "rig/a", Payload: numbered(1, 99), Arrival: arrival, ID: 1, Retained: true}))
	if len(r.scans) != 0 || h.C.Stats().Retained != 1 {
		t.Fatalf("scans %v, %d retained counted", r.scans, h.C.Stats().Retained)
	}
	r.feed(h, arrival+second, 2, numbered(2, 1))
	if len(r.scans) != 1 || len(r.gaps) != 0 {
		t.Errorf("scans %v gaps %v", r.scans, r.gaps)
	}
}

// F042: a device clock that is off by more than the limit makes the samples
// uncertain, keeping both stamps; one that is off by more than a day is
// refused with what may be wrong.
func TestF042DeviceClock(t *testing.T) {
	t.Parallel()
	timed := func(change func(*mqtt.GroupOptions)) mqtt.GroupOptions {
		return jsonGroup(func(g *mqtt.GroupOptions) {
			g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli}
			if change != nil {
				change(g)
			}
		})
	}
	payload := func(seq int, ms int64) []byte { return fmt.Appendf(nil, `{"seq":%d,"t":%d,"v":1}`, seq, ms) }
	for _, tc := range []struct {
		name   string
		offset time.Duration // of the device's clock
		want   acquisition.Reason
	}{
		{"right", -20 * time.Millisecond, acquisition.ReasonNone},
		{"behind", -time.Minute, acquisition.ReasonSkew},
		{"ahead", time.Minute, acquisition.ReasonSkew},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, r := harness(t, timed(nil)), newRecord(t)
			for i := range 10 {
				at := arrival + int64(i)*second
				r.feed(h, at, uint16(i+1), payload(i, (at+int64(tc.offset))/1e6))
			}
			for slot := range uint64(10) {
				at := arrival + int64(slot)*second
				if r.quality[slot] != tc.want || r.scans[slot] != (at+int64(tc.offset))/1e6*1e6 || r.arrivals[slot] != at {
					t.Fatalf("slot %d: quality %s, time %d, arrival %d", slot, r.quality[slot], r.scans[slot], r.arrivals[slot])
				}
			}
			if off := h.C.Stats().Groups[0].ClockOffset; (off + tc.offset).Abs() > time.Millisecond {
				t.Errorf("offset %s, want %s", off, -tc.offset)
			}
		})
	}
	t.Run("seconds taken for milliseconds", func(t *testing.T) {
		t.Parallel()
		why := ""
		h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{timed(nil)}, Quarantine: func(_ string, _ []byte, w string) { why = w }})
		if err != nil {
			t.Fatal(err)
		}
		r := newRecord(t)
		r.feed(h, arrival, 1, payload(4, arrival/1e6))
		r.feed(h, arrival+second, 2, payload(5, arrival/1e9+1))
		r.feed(h, arrival+2*second, 3, payload(6, arrival/1e6+2000))
		if !strings.Contains(why, "time.unit s instead of ms") {
			t.Errorf("reason %q does not name the unit", why)
		}
		want := []acquisition.Gap{{From: 5, To: 6, Reason: acquisition.ReasonSkew}}
		if diff := cmp.Diff(want, r.gaps); diff != "" {
			t.Error(diff)
		}
		if len(r.scans) != 2 || r.acks != 3 {
			t.Errorf("%d scans, %d acknowledged", len(r.scans), r.acks)
		}
	})
	t.Run("clock set back an hour", func(t *testing.T) {
		t.Parallel()
		h, r := harness(t, timed(nil)), newRecord(t)
		for i := range 20 {
			at := arrival + int64(i)*second
			dev := at
			if i >= 10 {
				dev -= 3600 * second
			}
			r.feed(h, at, uint16(i+1), payload(i, dev/1e6))
		}
		if len(r.scans) != 20 || len(r.gaps) != 0 || r.epochs != 0 {
			t.Fatalf("%d scans, gaps %v", len(r.scans), r.gaps)
		}
		if r.quality[9] != acquisition.ReasonNone || r.quality[15] != acquisition.ReasonSkew || r.scans[15] != arrival+15*second {
			t.Errorf("quality %s %s, time %d", r.quality[9], r.quality[15], r.scans[15])
		}
	})
	t.Run("1970", func(t *testing.T) {
		t.Parallel()
		h, r := harness(t, timed(nil)), newRecord(t)
		r.feed(h, arrival, 1, payload(1, 12345))
		if len(r.scans) != 0 || h.C.Stats().Groups[0].Refused != 1 || r.acks != 1 {
			t.Errorf("scans %v, %+v", r.scans, h.C.Stats().Groups[0])
		}
	})
}

// A backlog that the broker kept while nobody was there is not a clock that is
// off: it arrives faster than it was made.
func TestBacklogIsNotSkew(t *testing.T) {
	t.Parallel()
	g := jsonGroup(func(g *mqtt.GroupOptions) { g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli} })
	h, r := harness(t, g), newRecord(t)
	h.Reconnect(true, arrival)
	for i := range 300 {
		dev := arrival - 600*second + int64(i)*2*second
		at := max(arrival+int64(i)*2e6, dev)
		r.feed(h, at, uint16(i+1), fmt.Appendf(nil, `{"seq":%d,"t":%d,"v":1}`, i, dev/1e6))
	}
	for slot, q := range r.quality {
		if q != acquisition.ReasonNone {
			t.Fatalf("slot %d has quality %s", slot, q)
		}
	}
	if len(r.scans) != 300 {
		t.Errorf("%d scans, want 300", len(r.scans))
	}
}

// A device that counts anew opens a new epoch, whatever its first number is.
func TestDeviceRestarts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		group func(*mqtt.GroupOptions)
		time  bool
		bits  int
		from  uint64
		again uint64
	}{
		{"numbers only", nil, false, 0, 500, 0},
		{"numbers and time", func(g *mqtt.GroupOptions) { g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli} }, true, 0, 500, 1},
		{"soon after its start", func(g *mqtt.GroupOptions) { g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli} }, true, 0, 0, 0},
		{"16 bits, back to 0 as if it were far ahead", func(g *mqtt.GroupOptions) { g.Group.Period = 100 * time.Millisecond }, false, 16, 40000, 0},
		{"far ahead", func(g *mqtt.GroupOptions) { g.Group.Period = 100 * time.Millisecond }, false, 0, 500, 1 << 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) {
				g.Sequence.Bits = tc.bits
				if tc.group != nil {
					tc.group(g)
				}
			})), newRecord(t)
			id, at := uint16(0), arrival
			feed := func(seq uint64) {
				id++
				at += second / 10
				p := fmt.Appendf(nil, `{"seq":%d,"v":%d}`, seq, id)
				if tc.time {
					p = fmt.Appendf(nil, `{"seq":%d,"t":%d,"v":%d}`, seq, at/1e6, id)
				}
				r.feed(h, at, id, p)
			}
			for i := range uint64(50) {
				feed(tc.from + i)
			}
			if r.epochs != 0 || len(r.scans) != 50 {
				t.Fatalf("%d epochs, %d scans before the restart", r.epochs, len(r.scans))
			}
			for i := range uint64(50) {
				feed(tc.again + i)
			}
			r.take(h.Tick(at + second))
			if r.epochs != 1 || len(r.scans) != 50 || len(r.gaps) != 0 || r.scans[tc.again+49] == 0 {
				t.Errorf("%d epochs, %d scans, gaps %v", r.epochs, len(r.scans), r.gaps)
			}
		})
	}
}

// Numbers of 8, 16 and 32 bits go on over their end.
func TestNumbersWrap(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{8, 16, 32} {
		h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) { g.Sequence.Bits = bits })), newRecord(t)
		start := uint64(1)<<bits - 20
		for i := range uint64(600) {
			if i == 30 {
				continue // lost, behind the wrap
			}
			r.feed(h, arrival+int64(i)*1e6, uint16(i+1), numbered((start+i)%(1<<bits), float64(i)))
		}
		r.take(h.Tick(arrival + 100*second))
		want := []acquisition.Gap{{From: start + 30, To: start + 31, Reason: acquisition.ReasonSeqGap}}
		if diff := cmp.Diff(want, r.gaps); diff != "" || len(r.scans) != 599 || r.epochs != 0 {
			t.Errorf("%d bits: %d scans, %d epochs, gaps %s", bits, len(r.scans), r.epochs, diff)
		}
	}
}

// 24 hours of a 10 kHz publisher whose sample clock is 50 ppm off and that
// loses 3 bursts: exactly these are the gaps. Once with numbers, once with
// nothing but the clock; the clock of the time stamps is right, so the
// distance of samples is not what the payload says.
func TestDriftingPublisherForADay(t *testing.T) {
	t.Parallel()
	const bursts = 24 * 3600
	for _, tc := range []struct {
		name  string
		ppm   float64
		clock bool
		given bool // samples stated
		full  bool // 10 kHz also in a run without -long; the others then sample at 100 Hz
	}{
		{"numbers, fast", 50, false, true, false},
		{"clock alone, fast", 50, true, true, true},
		{"clock alone, slow", -50, true, true, false},
		{"clock alone, samples not stated", 50, true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			samples := uint64(10000)
			if !*long && (!tc.full || testing.Short()) {
				samples = 100
			}
			dt := uint32(uint64(time.Second) / samples)
			g := groupOf(mqtt.FormatBinary, "rig/a", chans("p")...)
			g.Skew, g.MaxAge = 0, 0
			g.Payload.Layout = twinLayout(acquisition.TypeInt8)
			g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
			if tc.clock {
				g.Payload.Layout.Seq = mqtt.Item{}
				g.Sequence.Clock = true
			}
			if tc.given {
				g.Sequence.Samples = int(samples)
			}
			h := harness(t, g)
			payload := make([]byte, 20+samples)
			copy(payload, burst(0, dt, 0, []float64{}))
			copy(payload[16:], []byte{1, 0, byte(samples), byte(samples >> 8)})
			truly := float64(dt) / (1 + tc.ppm*1e-6) // ns between samples
			lost := map[int]bool{7: true, 40000: true, 40001: true}
			var gaps []acquisition.Gap
			var count, first, last uint64
			var lastTime int64
			for i := range bursts {
				if lost[i] {
					continue
				}
				t0 := arrival + int64(float64(i)*float64(samples)*truly)
				putLE(payload, uint64(t0), uint32(i))
				for _, d := range h.Feed(mqtt.Fed{Topic: "rig/a", Payload: payload, Arrival: t0 + second + 3e6, ID: uint16(i%60000 + 1)}) {
					gaps = append(gaps, d.Gaps...)
					if d.NewEpoch {
						t.Fatalf("burst %d began a new epoch", i)
					}
					if n := len(d.Scans); n > 0 {
						if count == 0 {
							first = d.Scans[0].Slot
						}
						count += uint64(n)
						last = d.Scans[n-1].Slot
						if d.Scans[0].Time <= lastTime || d.Scans[n-1].Time <= d.Scans[0].Time {
							t.Fatalf("burst %d: times do not increase", i)
						}
						truth := arrival + int64(float64(d.Scans[0].Slot-first)*truly)
						if off := d.Scans[0].Time - truth; off < -1000 || off > 2*int64(dt) {
							t.Fatalf("burst %d is %d ns off its time", i, off)
						}
						lastTime = d.Scans[n-1].Time
						if d.Scans[0].Quality[0] != acquisition.Good {
							t.Fatalf("burst %d has quality %s", i, d.Scans[0].Quality[0])
						}
					}
				}
			}
			want := []acquisition.Gap{
				{From: first + 7*samples, To: first + 8*samples, Reason: acquisition.ReasonSeqGap},
				{From: first + 40000*samples, To: first + 40002*samples, Reason: acquisition.ReasonSeqGap},
			}
			if diff := cmp.Diff(want, gaps); diff != "" {
				t.Error(diff)
			}
			if count != (bursts-3)*samples || last != first+bursts*samples-1 {
				t.Errorf("%d samples in slots %d to %d", count, first, last)
			}
		})
	}
}

func putLE(p []byte, t0 uint64, seq uint32) {
	for i := range 8 {
		p[i] = byte(t0 >> (8 * i))
	}
	for i := range 4 {
		p[12+i] = byte(seq >> (8 * i))
	}
}

// A clock that counts from power-on is laid against the arrivals: the times
// are right to within the delay of the messages, although it drifts.
func TestFittedClock(t *testing.T) {
	t.Parallel()
	g := jsonGroup(func(g *mqtt.GroupOptions) {
		g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMicro, Basis: mqtt.BasisFitted}
	})
	h := harness(t, g)
	rng := rand.New(rand.NewPCG(3, 4))
	const ppm = 40e-6
	worst := int64(0)
	n := 0
	for i := range 6 * 3600 {
		truth := arrival + int64(i)*second
		uptime := int64(float64(int64(i)*second)*(1+ppm)) + 5*second
		delay := int64(2e6) + int64(rng.ExpFloat64()*10e6)
		for _, d := range h.Feed(mqtt.Fed{Topic: "rig/a", Payload: fmt.Appendf(nil, `{"seq":%d,"t":%d,"v":1}`, i, uptime/1000), Arrival: truth + delay}) {
			for _, s := range d.Scans {
				n++
				if i > 60 {
					worst = max(worst, max(s.Time-truth, truth-s.Time))
				}
			}
		}
	}
	if n != 6*3600 || worst > 10e6 {
		t.Errorf("%d scans, at worst %s off; a message takes 2 ms at least", n, time.Duration(worst))
	}
}

// Silence longer than expected is a gap, in a group whose completeness cannot
// be proved otherwise.
func TestSilence(t *testing.T) {
	t.Parallel()
	g := groupOf(mqtt.FormatNumber, "rig/a", chans("v")...)
	g.Group.ExpectEvery = time.Second
	h, r := harness(t, g), newRecord(t)
	h.Reconnect(false, arrival)
	for i := range 5 {
		r.feed(h, arrival+int64(i)*second/2, uint16(i+1), []byte("1"))
	}
	last := arrival + 2*second
	r.take(h.Tick(last + 900e6))
	if len(r.gaps) != 0 {
		t.Fatalf("gaps %v before the silence", r.gaps)
	}
	for ms := int64(1000); ms < 9500; ms += 100 {
		r.take(h.Tick(last + ms*1e6))
	}
	if !h.C.Stats().Groups[0].Silent {
		t.Error("the silence is not shown")
	}
	r.feed(h, last+9500e6, 9, []byte("2"))
	missing := uint64(0)
	for _, g := range r.gaps {
		if g.Reason != acquisition.ReasonSilent {
			t.Errorf("gap %v", g)
		}
		missing += g.Count()
	}
	if missing != 9 || len(r.scans) != 6 || h.C.Stats().Groups[0].Silent {
		t.Errorf("%d missing in %v, %d scans", missing, r.gaps, len(r.scans))
	}
	if len(r.gaps) > 5 {
		t.Errorf("%d gaps for one silence of 9 s", len(r.gaps))
	}
}

// F046: the last will of a device, and its death in Sparkplug, mean that it is
// gone from its last sample on; historical values go behind what is stored and
// leave the live value alone.
func TestF046LastWillAndHistory(t *testing.T) {
	t.Parallel()
	t.Run("will", func(t *testing.T) {
		t.Parallel()
		g := groupOf(mqtt.FormatNumber, "rig/a", chans("v")...)
		g.Presence = mqtt.Presence{Topic: "rig/{device}/state", Offline: "offline"}
		g.Device = "d1"
		h, r := harness(t, g), newRecord(t)
		r.feed(h, arrival, 1, []byte("1"))
		r.take(h.Feed(mqtt.Fed{Topic: "rig/d1/state", Payload: []byte("offline"), Arrival: arrival + second, ID: 2, Retained: true}))
		r.take(h.Feed(mqtt.Fed{Topic: "rig/d1/state", Payload: []byte("offline"), Arrival: arrival + 2*second, ID: 3}))
		r.take(h.Feed(mqtt.Fed{Topic: "rig/d1/state", Payload: []byte("online"), Arrival: arrival + 3*second, ID: 4}))
		r.feed(h, arrival+4*second, 5, []byte("2"))
		want := []acquisition.Gap{{From: 1, To: 2, Reason: acquisition.ReasonUnreachable}}
		if diff := cmp.Diff(want, r.gaps); diff != "" || len(r.scans) != 2 || r.acks != 5 {
			t.Errorf("gaps %s, %d scans, %d acknowledged", diff, len(r.scans), r.acks)
		}
	})
	t.Run("Sparkplug", func(t *testing.T) {
		t.Parallel()
		g := groupOf(mqtt.FormatSparkplug, "spBv1.0/plant/+/gw/rig1", chans("p=p")...)
		h, r := harness(t, g), newRecord(t)
		ms := uint64(arrival / 1e6)
		feed := func(kind string, payload []byte) {
			r.take(h.Feed(mqtt.Fed{Topic: "spBv1.0/plant/" + kind + "/gw/rig1", Payload: payload, Arrival: arrival + 10*second}))
		}
		feed("DBIRTH", sparkplug(ms, metric("p", 7, 9, sparkFloat(1))))
		feed("DDATA", sparkplug(ms+1000, metric("", 7, 9, sparkFloat(2))))
		feed("DDATA", sparkplug(ms-60000, metric("", 7, 9, sparkHistorical(sparkFloat(3)))))
		feed("DDEATH", nil)
		if len(r.scans) != 2 || len(r.late) != 1 || len(r.gaps) != 1 || r.gaps[0].Reason != acquisition.ReasonUnreachable {
			t.Fatalf("scans %v late %v gaps %v", r.scans, r.late, r.gaps)
		}
		for slot, at := range r.late {
			if at != int64(ms-60000)*1e6 || r.quality[slot] != acquisition.ReasonNone {
				t.Errorf("historical value at %d with quality %s", at, r.quality[slot])
			}
		}
	})
}

// F048: topics beyond the limit are refused and told once; the others go on.
func TestF048TopicExplosion(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	g := groupOf(mqtt.FormatNumber, "rig/+/v", chans("v")...)
	h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{g}, MaxTopics: 10, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecord(t)
	for i := range 20000 {
		r.take(h.Feed(mqtt.Fed{Topic: fmt.Sprintf("rig/%d/v", i), Payload: []byte("1"), Arrival: arrival + int64(i)*1e6, ID: uint16(i + 1)}))
	}
	r.take(h.Feed(mqtt.Fed{Topic: "rig/3/v", Payload: []byte("2"), Arrival: arrival + 100*second, ID: 1}))
	st := h.C.Stats()
	if st.Topics != 10 || st.RefusedTopics != 19990 || len(r.scans) != 11 {
		t.Errorf("%d topics, %d refused, %d scans", st.Topics, st.RefusedTopics, len(r.scans))
	}
	if n := strings.Count(log.String(), "too many topics"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// Bare numbers on topics of their own become one scan; a channel that does not
// come is missing in it and not repeated.
func TestJoinedTopics(t *testing.T) {
	t.Parallel()
	g := groupOf(mqtt.FormatNumber, "", chans("p1", "p2")...)
	g.Topics = nil
	g.Join = 50 * time.Millisecond
	for i := range g.Channels {
		g.Channels[i].Topic = "rig/" + g.Channels[i].Name
	}
	h := harness(t, g)
	var got []row
	marks := 0
	acks := 0
	feed := func(at int64, id uint16, topic, v string) {
		for _, ds := range [][]*acquisition.Delivery{h.Feed(mqtt.Fed{Topic: "rig/" + topic, Payload: []byte(v), Arrival: arrival + at*1e6, ID: id})} {
			got = append(got, rowsOf(ds)...)
			for _, d := range ds {
				marks += len(d.Marks)
				if len(d.Mark) > 0 {
					marks++
				}
				if d.Ack != nil {
					acks++
				}
			}
		}
	}
	feed(0, 1, "p1", "1")
	feed(2, 2, "p2", "10")
	feed(100, 3, "p2", "20") // the other order
	feed(101, 4, "p1", "2")
	feed(200, 5, "p1", "3") // p2 does not come
	feed(300, 6, "p1", "4")
	feed(310, 7, "p2", "40")
	const noData = acquisition.ReasonNoData
	want := []row{
		{slot: 0, time: arrival + 2e6, values: []float64{1, 10}},
		{slot: 1, time: arrival + 101e6, values: []float64{2, 20}},
		{slot: 2, time: arrival + 200e6, values: []float64{3, 0}, quality: []acquisition.Reason{0, noData}},
		{slot: 3, time: arrival + 310e6, values: []float64{4, 40}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
	if marks != 7 || acks != 4 {
		t.Errorf("%d marks, %d acknowledgements; want 7 and 4", marks, acks)
	}
}

// Bursts of two channels on two topics are put together by their number, also
// out of order, and a burst that stays away is missing in its channel alone.
func TestJoinedBursts(t *testing.T) {
	t.Parallel()
	g := groupOf(mqtt.FormatBinary, "", chans("p1=0", "p2=0")...)
	g.Topics = nil
	g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
	g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
	g.Sequence = mqtt.Sequence{Samples: 2, Bits: 32}
	for i := range g.Channels {
		g.Channels[i].Topic = "rig/" + g.Channels[i].Name
	}
	h, r := harness(t, g), newRecord(t)
	values := map[uint64][]float64{}
	feed := func(at int64, id uint16, topic string, seq uint32, v float64) {
		ds := h.Feed(mqtt.Fed{Topic: "rig/" + topic, Payload: burst(arrival+int64(seq)*second, 1e6, seq, []float64{v, v + 1}), Arrival: arrival + at*1e6, ID: id})
		r.take(ds)
		for _, x := range rowsOf(ds) {
			values[x.slot] = x.values
		}
	}
	feed(0, 1, "p1", 1, 10)
	feed(1, 2, "p2", 1, 20)
	feed(1000, 3, "p1", 2, 30)
	feed(1001, 4, "p1", 3, 50)
	feed(1002, 5, "p2", 3, 60)
	feed(1003, 6, "p2", 2, 40)
	feed(1004, 7, "p2", 2, 40) // twice
	feed(3000, 8, "p1", 4, 70)
	r.take(h.Tick(arrival + 4*second))
	feed(5000, 9, "p1", 5, 90)
	feed(5001, 10, "p2", 5, 100)
	want := map[uint64][]float64{2: {10, 20}, 3: {11, 21}, 4: {30, 40}, 5: {31, 41}, 6: {50, 60}, 7: {51, 61}, 10: {90, 100}, 11: {91, 101}}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error(diff)
	}
	if len(r.scans) != 10 || len(r.gaps) != 0 || !slices.IsSorted(r.order) || r.acks != 6 {
		t.Errorf("scans %v gaps %v acks %d", r.scans, r.gaps, r.acks)
	}
}

// What is stored already is compared across a restart of the service: a
// redelivered message is recognised by its mark, and a hole by the numbers.
func TestResume(t *testing.T) {
	t.Parallel()
	first, r := harness(t, jsonGroup(nil)), newRecord(t)
	first.Reconnect(false, arrival)
	var marks [][]byte
	for seq := range uint64(10) {
		ds := first.Feed(mqtt.Fed{Topic: "rig/a", Payload: numbered(seq, 7), Arrival: arrival + int64(seq)*1e6, ID: uint16(seq + 1)})
		for _, d := range ds {
			if len(d.Mark) == 0 || len(d.Mark) > 32 {
				t.Fatalf("mark % x", d.Mark)
			}
			marks = append(marks, d.Mark)
		}
		r.take(ds)
	}
	second, r2 := harness(t, jsonGroup(nil)), newRecord(t)
	second.C.Marks(marks)
	second.C.Resume("bench/g", 9, arrival+9e6)
	second.Reconnect(true, arrival+20e6)
	for _, seq := range []uint64{8, 9, 12} { // the acknowledgements of 8 and 9 were lost, 10 and 11 were never sent
		r2.take(second.Feed(mqtt.Fed{Topic: "rig/a", Payload: numbered(seq, 7), Arrival: arrival + 20e6 + int64(seq), ID: uint16(seq + 1), Dup: seq < 10}))
	}
	r2.take(second.Tick(arrival + 10e9))
	if second.C.Stats().Redelivered != 2 || r2.acks != 3 {
		t.Errorf("%d redelivered, %d acknowledged", second.C.Stats().Redelivered, r2.acks)
	}
	want := []acquisition.Gap{{From: 10, To: 12, Reason: acquisition.ReasonSeqGap}}
	if diff := cmp.Diff(want, r2.gaps); diff != "" || len(r2.scans) != 1 || r2.epochs != 0 {
		t.Errorf("gaps %s scans %v", diff, r2.scans)
	}
}

// The same packet id with the same content is another message unless the
// broker says that it repeats one; and once an id is used again, only its
// latest content is a repeat.
func TestMarksAreOfTheLatestUse(t *testing.T) {
	t.Parallel()
	g := groupOf(mqtt.FormatNumber, "rig/a", chans("v")...)
	h, r := harness(t, g), newRecord(t)
	h.Reconnect(false, arrival)
	at := arrival
	feed := func(v string, id uint16, dup bool) {
		at += 1e9
		r.take(h.Feed(mqtt.Fed{Topic: "rig/a", Payload: []byte(v), Arrival: at, ID: id, Dup: dup}))
	}
	feed("1", 5, false)
	feed("1", 5, false) // the id is free again: another message
	if len(r.scans) != 2 {
		t.Fatalf("%d scans, want 2", len(r.scans))
	}
	feed("1", 5, true)
	if len(r.scans) != 2 {
		t.Fatal("a repeat was stored")
	}
	feed("2", 5, false)
	feed("1", 5, true) // cannot be the first one: its id was used since
	if len(r.scans) != 4 {
		t.Errorf("%d scans, want 4", len(r.scans))
	}
	h.Reconnect(false, at) // the session is gone, and with it every packet id
	feed("1", 5, true)
	if len(r.scans) != 5 {
		t.Errorf("%d scans, want 5", len(r.scans))
	}
}

// With QoS 0 what was published while the connection was down is lost by the
// connection, not by the device or the broker.
func TestAtMostOnceLosesByTheConnection(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) { g.AtMostOnce = true })), newRecord(t)
	h.Reconnect(false, arrival)
	r.feed(h, arrival+1, 0, numbered(1, 1))
	r.feed(h, arrival+2, 0, numbered(2, 1))
	h.Reconnect(true, arrival+5*second)
	r.feed(h, arrival+6*second, 0, numbered(5, 1))
	r.take(h.Tick(arrival + 7*second))
	want := []acquisition.Gap{{From: 3, To: 5, Reason: acquisition.ReasonUnreachable}}
	if diff := cmp.Diff(want, r.gaps); diff != "" || len(r.scans) != 3 || r.acks != 0 {
		t.Errorf("%s; %d scans, %d acknowledgements", diff, len(r.scans), r.acks)
	}
}

// Samples that have nothing but their arrival for a time are uncertain when
// the broker kept them while nobody was there.
func TestBacklogWithoutTimeIsLate(t *testing.T) {
	t.Parallel()
	h, r := harness(t, jsonGroup(nil)), newRecord(t)
	h.Reconnect(false, arrival)
	r.feed(h, arrival, 1, numbered(0, 1))
	h.Reconnect(true, arrival+60*second)
	for seq := range uint64(50) { // the backlog, as fast as it can
		r.feed(h, arrival+60*second+int64(seq)*1e5, uint16(seq+2), numbered(seq+1, 1))
	}
	for seq := range uint64(10) { // and live again
		r.feed(h, arrival+61*second+int64(seq)*second, uint16(seq+60), numbered(seq+51, 1))
	}
	for slot, q := range r.quality {
		want := acquisition.ReasonNone
		if slot >= 1 && slot <= 50 {
			want = acquisition.ReasonLate
		}
		if q != want {
			t.Errorf("slot %d has quality %s, want %s", slot, q, want)
		}
	}
	if len(r.scans) != 61 || len(r.gaps) != 0 {
		t.Errorf("%d scans, gaps %v", len(r.scans), r.gaps)
	}
}
