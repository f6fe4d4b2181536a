package storage_test

import (
	"testing"

	"pneudaq/acquisition"
	"pneudaq/storage"
)

func TestGapBlocksFindEveryGapAndReadNothingElse(t *testing.T) {
	c := &clock{t: start}
	s := open(t, t.TempDir(), c)
	g := pressures()
	first := slotAt(g, start)
	o, err := s.OpenEpoch(t.Context(), g, 0, first)
	if err != nil {
		t.Fatal(err)
	}
	at := first
	for i := range uint64(10) {
		fill(t, o, at, at+20)
		at += 20
		if i == 3 || i == 7 {
			o.Miss(acquisition.Gap{From: at, To: at + 5, Reason: acquisition.ReasonTimeout})
			at += 5
		}
		c.t = g.Due(0, at)
		commit(t, s)
	}
	all := blocks(t, s.Blocks(t.Context(), storage.Query{Group: o.Group().Key()}))
	some := blocks(t, s.GapBlocks(t.Context(), storage.Query{Group: o.Group().Key()}))
	want := 0
	for _, b := range all {
		want += len(b.Gaps)
	}
	got := 0
	for _, b := range some {
		got += len(b.Gaps)
	}
	if want != 2 || got != want || len(some) != 2 || len(all) != 10 {
		t.Errorf("%d gaps in %d blocks of %d, want %d in 2 of 10", got, len(some), len(all), want)
	}
}
