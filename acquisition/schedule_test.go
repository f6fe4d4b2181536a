package acquisition_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
)

const ms = int64(time.Millisecond)

func TestScheduleAlignsToTheEpochAndNeverDrifts(t *testing.T) {
	t.Parallel()
	var s acquisition.Schedule
	s.Add(100*time.Millisecond, 20*time.Millisecond, 0, 1234*ms)
	now := 1234 * ms
	for want := uint64(13); want < 10_000; want++ {
		d, missed := s.Next(now)
		if len(missed) > 0 || d.Slot != want || d.At != int64(want)*100*ms+20*ms || d.End != d.At+100*ms {
			t.Fatalf("slot %d: got %+v, missed %v", want, d, missed)
		}
		now = d.At + 73*ms // every pass takes 73 ms: no drift
	}
}

func TestScheduleGivesTheShorterPeriodTheFirstTurn(t *testing.T) {
	t.Parallel()
	var s acquisition.Schedule
	s.Add(time.Second, 0, 0, 0)
	s.Add(10*time.Millisecond, 0, 0, 0)
	d, _ := s.Next(0)
	if d.Group != 1 || d.Slot != 0 {
		t.Fatalf("first turn: got %+v, want slot 0 of group 1", d)
	}
	d, _ = s.Next(2 * ms)
	if d.Group != 0 || d.Slot != 0 {
		t.Fatalf("second turn: got %+v, want slot 0 of group 0", d)
	}
}

// A device that needs 1.5 periods: slots are skipped evenly, never bunched.
func TestF030ScheduleSkipsAndNeverBunches(t *testing.T) {
	t.Parallel()
	var s acquisition.Schedule
	s.Add(10*time.Millisecond, 0, 0, 0)
	now, last := int64(0), int64(-1)
	read, missed := 0, uint64(0)
	for now < 10_000*ms {
		d, m := s.Next(now)
		for _, x := range m {
			missed += x.To - x.From
		}
		begin := max(now, d.At)
		if begin-d.At > 5*ms {
			t.Fatalf("slot %d began %d ns late", d.Slot, begin-d.At)
		}
		if last >= 0 && begin-last < 10*ms {
			t.Fatalf("slot %d began %d ns after the one before", d.Slot, begin-last)
		}
		last, now = begin, begin+15*ms
		read++
	}
	if total := uint64(read) + missed; total < 999 || total > 1001 {
		t.Fatalf("read %d + missed %d is not the 1000 planned slots", read, missed)
	}
	if missed == 0 {
		t.Fatal("the fault did not happen: nothing was missed")
	}
}

func TestScheduleStandstillIsOneGapAndNoBurst(t *testing.T) {
	t.Parallel()
	var s acquisition.Schedule
	s.Add(100*time.Millisecond, 0, 0, 0)
	d, _ := s.Next(0)
	if d.Slot != 0 {
		t.Fatalf("got slot %d", d.Slot)
	}
	d, missed := s.Next(5_030 * ms)
	want := []acquisition.Missed{{Group: 0, From: 1, To: 50}}
	if diff := cmp.Diff(want, missed); diff != "" || d.Slot != 50 {
		t.Fatalf("slot %d, missed differ (-want +got):\n%s", d.Slot, diff)
	}
	if m := s.Skip(5_250 * ms); len(m) != 1 || m[0].From != 51 || m[0].To != 53 {
		t.Fatalf("skip: got %+v, want slots 51 to 53", m)
	}
}

func FuzzScheduleAccountsForEverySlotOnce(f *testing.F) {
	f.Add(uint64(10), []byte{1, 200, 3, 255, 0, 9})
	f.Fuzz(func(t *testing.T, period uint64, passes []byte) {
		period = period%1000 + 1
		var s acquisition.Schedule
		s.Add(time.Duration(period)*time.Millisecond, 0, 0, 0)
		now, next := int64(0), uint64(0)
		for _, p := range passes {
			d, missed := s.Next(now)
			for _, m := range missed {
				if m.From != next {
					t.Fatalf("missed from %d, expected %d", m.From, next)
				}
				next = m.To
			}
			if d.Slot != next {
				t.Fatalf("slot %d, expected %d", d.Slot, next)
			}
			next++
			now = max(now, d.At) + int64(p)*7*ms
			if p == 255 {
				for _, m := range s.Skip(now) {
					if m.From != next {
						t.Fatalf("skipped from %d, expected %d", m.From, next)
					}
					next = m.To
				}
			}
		}
	})
}
