package acquisition

import "time"

// Schedule says which group of one bus is due next. It is pure: time comes in
// as an argument. Slots are absolute, so there is no drift; a slot that cannot
// be met is reported as missed and never made up for later.
type Schedule struct {
	lines []line
}

type line struct {
	period, phase, anchor int64
	next                  uint64 // first slot that is neither done nor missed
}

// Due is one slot to be read.
type Due struct {
	Group int    // index as given to Add
	Slot  uint64 //
	At    int64  // planned instant, Unix ns
	End   int64  // when to give up: the next slot is due
}

// Missed is slots of one group that passed while the bus was busy.
type Missed struct {
	Group    int
	From, To uint64 // To excluded
}

// Add adds a group and returns its index. The first slot is the first one due
// at or after now.
func (s *Schedule) Add(period, phase time.Duration, anchor, now int64) int {
	l := line{period: int64(period), phase: int64(phase), anchor: anchor}
	l.next = l.at(now)
	if l.due(l.next) < now {
		l.next++
	}
	s.lines = append(s.lines, l)
	return len(s.lines) - 1
}

// at returns the slot that is due at or before t.
func (l *line) at(t int64) uint64 {
	d := t - l.anchor - l.phase
	if d < 0 {
		return 0
	}
	return uint64(d / l.period)
}

func (l *line) due(slot uint64) int64 { return l.anchor + l.phase + int64(slot)*l.period }

// NextSlot returns the first slot of a group that is neither done nor missed.
func (s *Schedule) NextSlot(group int) uint64 { return s.lines[group].next }

// Next returns the slot to read next. Of slots due at one time, the group with
// the shorter period goes first: it has less time. The slot counts as done.
//
// A slot may begin until half a period after it was due; later it is missed.
// So a bus that is a little too slow keeps an even pace, and one that stood
// still for a second does not catch up in a burst.
func (s *Schedule) Next(now int64) (Due, []Missed) {
	var missed []Missed
	best := -1
	var bestAt int64
	for i := range s.lines {
		l := &s.lines[i]
		if now > l.due(l.next)+l.period/2 {
			to := l.at(now)
			if now <= l.due(to)+l.period/2 {
				// to itself can still begin
			} else {
				to++
			}
			missed = append(missed, Missed{Group: i, From: l.next, To: to})
			l.next = to
		}
		// Everything that is due already counts as due now, so that the shorter period wins.
		at := max(l.due(l.next), now)
		if best < 0 || at < bestAt || at == bestAt && l.period < s.lines[best].period {
			best, bestAt = i, at
		}
	}
	if best < 0 {
		return Due{Group: -1}, missed
	}
	l := &s.lines[best]
	d := Due{Group: best, Slot: l.next, At: l.due(l.next), End: l.due(l.next + 1)}
	l.next++
	return d, missed
}

// Skip reports all slots of all groups due before now as missed.
func (s *Schedule) Skip(now int64) []Missed {
	var missed []Missed
	for i := range s.lines {
		l := &s.lines[i]
		if now <= l.due(l.next) {
			continue
		}
		to := l.at(now)
		if l.due(to) < now {
			to++
		}
		missed = append(missed, Missed{Group: i, From: l.next, To: to})
		l.next = to
	}
	return missed
}
