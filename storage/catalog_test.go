package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/storage"
)

var _ storage.ForwarderStore = (*storage.Store)(nil)

// catalogued fills a store with one of everything that the catalog holds and
// returns what must be there again.
func catalogued(t *testing.T, s *storage.Store, c *clock) acquisition.Recording {
	t.Helper()
	ctx := t.Context()
	g := pressures()
	first := slotAt(g, start)
	o, err := s.OpenEpoch(ctx, g, 0, first)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, o, first, first+10)
	commit(t, s)
	c.t += second
	r, err := s.StartRecording(ctx, acquisition.Recording{Rig: "flow-bench", Groups: []string{"steady"}, Owner: "Li", Detail: map[string]string{"dut": "V1"}})
	if err != nil {
		t.Fatal(err)
	}
	c.t += second
	if r, err = s.StopRecording(ctx, r.ID, 0, "completed"); err != nil {
		t.Fatal(err)
	}
	s.AddEvent(acquisition.Event{Time: c.t, Rig: "flow-bench", Code: "bus_up", Detail: "field"})
	commit(t, s)
	if err := s.SetDelivered(ctx, "influx", map[acquisition.GroupKey]storage.SeqSet{g.Key(): {{From: 1, To: 2}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(ctx, "influx", []acquisition.Refused{{Group: g.Key(), Seq: 1, Scan: 3, Text: "m f=1 2", Reason: "type"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutDocument(ctx, "certificate", "pt-1/2026", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseEpoch(ctx, o, first+10, acquisition.ReasonStopped); err != nil {
		t.Fatal(err)
	}
	return r
}

// restored checks what survives the loss of the catalog.
func restored(t *testing.T, s *storage.Store, want acquisition.Recording) {
	t.Helper()
	got, err := s.Recording(want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	events, err := s.Events(t.Context(), storage.EventQuery{Rig: "flow-bench"})
	if err != nil || len(events) != 1 || events[0].Code != "bus_up" {
		t.Fatalf("events %v %v", events, err)
	}
	if body, err := s.Document(t.Context(), "certificate", "pt-1/2026"); err != nil || string(body) != "{}" {
		t.Fatalf("document %q %v", body, err)
	}
	g := pressures()
	first := slotAt(g, start)
	verify(t, s, g.Key(), first, first+10)
	if es := s.Epochs(g.Key()); len(es) != 1 || es[0].Closed == 0 {
		t.Fatalf("epochs %+v", es)
	}
}

func TestCatalogReopens(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	want := catalogued(t, s, c)
	if !strings.HasPrefix(want.ID, "20270115T080001Z-flow-bench-") {
		t.Fatalf("id %s", want.ID)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, c)
		restored(t, s, want)
		set, err := s.Delivered(t.Context(), "influx", pressures().Key())
		if d := cmp.Diff(storage.SeqSet{{From: 1, To: 2}}, set); d != "" || err != nil {
			t.Fatal(d, err)
		}
		n, err := s.CountAside(t.Context(), "influx", pressures().Key(), storage.Seqs{From: 1, To: 2})
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := s.ForgetAside(t.Context(), "influx", pressures().Key(), storage.Seqs{From: 1, To: 9}); err != nil {
		t.Fatal(err)
	}
	if l, err := s.ListAside(t.Context(), "influx", "", storage.Seqs{}); err != nil || len(l) != 0 {
		t.Fatal(l, err)
	}
	if _, err := s.StopRecording(t.Context(), "x", 0, ""); !errors.Is(err, storage.ErrNoRecording) {
		t.Fatal(err)
	}
	if _, err := s.StopRecording(t.Context(), want.ID, 0, ""); err == nil {
		t.Fatal("stopped twice")
	}
}

func findings(s *storage.Store) map[string]int {
	m := map[string]int{}
	for _, f := range s.Recovery().Findings {
		m[f.Code]++
	}
	return m
}

func TestF074CatalogLostOrDamaged(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"garbage": func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"one byte": func(t *testing.T, path string) {
			t.Helper()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2+17] ^= 0x10
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"cut": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{start}
			s := open(t, dir, c)
			want := catalogued(t, s, c)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			hurt(t, filepath.Join(dir, "catalog.db"))
			s = open(t, dir, c)
			restored(t, s, want)
			f := findings(s)
			if f["catalog_rebuilt"] != 1 || f["catalog_restored"] != 1 {
				t.Fatalf("findings %+v", s.Recovery())
			}
			set, err := s.Delivered(t.Context(), "influx", pressures().Key())
			if err != nil || len(set) != 0 {
				t.Fatalf("lost positions must be empty, so that everything is sent again: %v %v", set, err)
			}
			if name != "deleted" {
				aside, err := filepath.Glob(filepath.Join(dir, "damaged-*catalog.db"))
				if err != nil || len(aside) != 1 {
					t.Fatalf("the damaged catalog must be kept: %v %v", aside, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, c)
			restored(t, s, want)
			if len(s.Recovery().Findings) != 0 {
				t.Fatalf("findings %+v", s.Recovery())
			}
		})
	}
}

// A number that a sink has answered for is never given to other data, even if
// its block is lost.
func TestF074DeliveredNumberIsNotGivenAgain(t *testing.T) {
	dir, c := t.TempDir(), &clock{start}
	s := open(t, dir, c)
	g := pressures()
	first := slotAt(g, start)
	o, err := s.OpenEpoch(t.Context(), g, 0, first)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		fill(t, o, first+10*i, first+10*i+10)
		commit(t, s)
	}
	if err := s.SetDelivered(context.WithoutCancel(t.Context()), "influx", map[acquisition.GroupKey]storage.SeqSet{g.Key(): {{From: 1, To: 4}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The last bytes of the file are lost although they were committed.
	raw := newest(t, dir)
	i, err := os.Stat(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, i.Size()-20); err != nil {
		t.Fatal(err)
	}
	c.t += 10 * second
	s = open(t, dir, c)
	if f := findings(s); f["torn_tail"] != 1 || f["lost_blocks"] != 1 || f["crash"] != 1 {
		t.Fatalf("%+v", s.Recovery())
	}
	if o, err = s.OpenEpoch(t.Context(), g, 0, first+100); err != nil {
		t.Fatal(err)
	}
	gaps := verify(t, s, g.Key(), first, first+100)
	if gaps[first+20] != acquisition.ReasonProcess || len(gaps) != 80 {
		t.Fatalf("gaps %v", gaps)
	}
	fill(t, o, first+100, first+110)
	commit(t, s)
	verify(t, s, g.Key(), first, first+110)
	if h := s.Held(g.Key()); h.To != 6 {
		t.Fatalf("held %+v", h)
	}
}

// newest returns the path of the newest raw file.
func newest(t *testing.T, dir string) string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, "raw-*.pns"))
	if err != nil || len(m) == 0 {
		t.Fatal(m, err)
	}
	return m[len(m)-1]
}
