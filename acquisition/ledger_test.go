package acquisition_test

import (
	"testing"
	"time"

	"pneudaq/acquisition"
)

// The ledger is an account of sets: a slot in none or in two accounts is
// unexplained, even when the sum would be right.
func TestLedgerTellsSetsFromSums(t *testing.T) {
	t.Parallel()
	g := oneChannel("g", 100*time.Millisecond)
	block := func(slots []uint64, gaps ...acquisition.Gap) *acquisition.Block {
		b := &acquisition.Block{Group: g, Epoch: 1, Gaps: gaps}
		for _, s := range slots {
			b.Slots = append(b.Slots, s)
			b.Times = append(b.Times, int64(s)*100*ms)
			b.Words = append(b.Words, 1)
			b.Exchanges = append(b.Exchanges, acquisition.Exchange{})
		}
		return b
	}
	const r = acquisition.ReasonTimeout
	for _, tc := range []struct {
		name        string
		blocks      []*acquisition.Block
		stored, gap uint64
		unexplained uint64
	}{
		{"whole", []*acquisition.Block{block([]uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})}, 10, 0, 0},
		{"a gap", []*acquisition.Block{block([]uint64{0, 1, 2, 6, 7, 8, 9}, acquisition.Gap{From: 3, To: 6, Reason: r})}, 7, 3, 0},
		{"a hole", []*acquisition.Block{block([]uint64{0, 1, 2, 6, 7, 8, 9})}, 7, 0, 3},
		{"right sum, wrong sets", []*acquisition.Block{block([]uint64{0, 1, 2, 3, 6, 7, 8, 9}, acquisition.Gap{From: 3, To: 5, Reason: r})}, 7, 1, 2},
		{"scan twice", []*acquisition.Block{block([]uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), block([]uint64{4})}, 9, 0, 1},
		{"two gaps over one slot", []*acquisition.Block{block([]uint64{0, 1, 2, 3, 4}, acquisition.Gap{From: 5, To: 8, Reason: r}, acquisition.Gap{From: 7, To: 10, Reason: r})}, 5, 4, 1},
		{"gap beyond the plan", []*acquisition.Block{block([]uint64{0, 1, 2, 3, 4}, acquisition.Gap{From: 5, To: 50, Reason: r})}, 5, 5, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := &memory{blocks: tc.blocks, epochs: []acquisition.Epoch{{ID: 1, Group: g.Key(), Period: int64(g.Period)}}}
			a := m.audit(t, g, 0, 1000*ms)
			if a.Planned != 10 || a.Stored != tc.stored || a.Gaps[r] != tc.gap || a.Unexplained != tc.unexplained {
				t.Errorf("planned %d stored %d gap %d unexplained %d, want 10, %d, %d, %d", a.Planned, a.Stored, a.Gaps[r], a.Unexplained, tc.stored, tc.gap, tc.unexplained)
			}
			c := a.Channels[0]
			if c.Good+c.Missing+c.Unexplained != a.Planned {
				t.Errorf("channel: %+v does not sum to %d", c, a.Planned)
			}
		})
	}
}

// What was missing by its number and came after all, late, counts as stored:
// its gap was written at once and is settled by the backfill block. A gap with
// another cause, or a scan that is not late, stays a contradiction.
func TestLedgerLateScansSettleTheirGap(t *testing.T) {
	t.Parallel()
	g := oneChannel("g", 100*time.Millisecond)
	block := func(backfill bool, slots []uint64, gaps ...acquisition.Gap) *acquisition.Block {
		b := &acquisition.Block{Group: g, Epoch: 1, Gaps: gaps, Backfill: backfill}
		for _, s := range slots {
			b.Slots = append(b.Slots, s)
			b.Times = append(b.Times, int64(s)*100*ms)
			b.Words = append(b.Words, 1)
			b.Exchanges = append(b.Exchanges, acquisition.Exchange{})
		}
		return b
	}
	for _, tc := range []struct {
		name                     string
		reason                   acquisition.Reason
		backfill                 bool
		stored, gap, unexplained uint64
	}{
		{"late over a gap in the numbers", acquisition.ReasonSeqGap, true, 9, 1, 0},
		{"not late", acquisition.ReasonSeqGap, false, 8, 1, 1},
		{"late over a gap with another cause", acquisition.ReasonDiskFull, true, 8, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := &memory{blocks: []*acquisition.Block{
				block(false, []uint64{0, 1, 2, 5, 6, 7, 8, 9}, acquisition.Gap{From: 3, To: 5, Reason: tc.reason}),
				block(tc.backfill, []uint64{4}),
			}, epochs: []acquisition.Epoch{{ID: 1, Group: g.Key(), Period: int64(g.Period)}}}
			a := m.audit(t, g, 0, 1000*ms)
			if a.Stored != tc.stored || a.Gaps[tc.reason] != tc.gap || a.Unexplained != tc.unexplained {
				t.Errorf("stored %d gap %d unexplained %d, want %d, %d, %d", a.Stored, a.Gaps[tc.reason], a.Unexplained, tc.stored, tc.gap, tc.unexplained)
			}
		})
	}
}

// Late data may come in any order: none of it is dropped, and the times within
// each block increase.
func TestOpenKeepsLateDataInAnyOrder(t *testing.T) {
	t.Parallel()
	g := oneChannel("g", 100*time.Millisecond)
	o := acquisition.NewOpen(g, 1, 0, 0)
	acked := 0
	for _, at := range []int64{30, 10, 20} {
		s := acquisition.NewScan(g)
		s.Slot, s.Time = uint64(at), at
		d := &acquisition.Delivery{Group: g, Scans: []acquisition.Scan{*s}, Backfill: true, Mark: []byte{1}, Marks: [][]byte{{2}}, Ack: func() { acked++ }}
		if r := o.Deliver(d); r != acquisition.ReasonNone {
			t.Fatal(r)
		}
	}
	var scans, marks int
	for b := o.Take(); b != nil; b = o.Take() {
		for i := 1; i < b.Len(); i++ {
			if b.Times[i] <= b.Times[i-1] {
				t.Errorf("times %v do not increase", b.Times)
			}
		}
		scans += b.Len()
		marks += len(b.Marks)
		b.Committed()
	}
	if scans != 3 || marks != 6 || acked != 3 {
		t.Errorf("%d scans, %d marks, %d acknowledged; want 3, 6, 3", scans, marks, acked)
	}
}
