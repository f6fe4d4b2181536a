package configs_test

import (
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/storage"
)

// The size that Check promises is compared with what a real store takes for a
// minute of each group, with the jitter of a real bus and noise of real sensors.
func TestEstimateAgreesWithTheStore(t *testing.T) {
	t.Parallel()
	rep, problems := configs.Check("flow-bench")
	if problems != nil {
		t.Fatal(problems)
	}
	for _, r := range rep.Rigs[0].Groups {
		got := float64(storeBytes(t, r.Group, 60)) * 86400 / 60
		if ratio := float64(r.StorePerDay) / got; ratio < 0.7 || ratio > 1.5 {
			t.Errorf("group %s: estimate %d bytes a day, the store takes %.0f", r.Group, r.StorePerDay, got)
		}
	}
}

func flowBenchGroup(t *testing.T, name string) *acquisition.Group {
	t.Helper()
	rigs, problems := configs.Load("flow-bench")
	if problems != nil {
		t.Fatal(problems)
	}
	options, err := rigs[0].Modbus()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		b, err := modbus.New(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range b.Groups() {
			if g.Name == name {
				return g
			}
		}
	}
	t.Fatalf("no group %s", name)
	return nil
}

// storeBytes returns what the segments of a store grow by.
func storeBytes(t *testing.T, group string, seconds int) int64 {
	t.Helper()
	g := flowBenchGroup(t, group)
	dir := t.TempDir()
	now := int64(1.7e18)
	st, err := storage.Open(t.Context(), storage.Options{Dir: dir, Now: func() int64 { return now }, Compile: configs.Compile})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	slot := uint64(now/int64(g.Period)) + 1
	open, err := st.OpenEpoch(t.Context(), g, 0, slot)
	if err != nil {
		t.Fatal(err)
	}
	before := segmentBytes(t, dir)
	rng := rand.New(rand.NewPCG(1, 2))
	s := acquisition.NewScan(g)
	for range seconds {
		for range int(1e9 / int64(g.Period)) {
			s.Reset(g)
			s.Slot, s.Time = slot, int64(slot)*int64(g.Period)+rng.Int64N(300_000)
			for i := range s.Exchanges {
				s.Exchanges[i] = acquisition.Exchange{Offset: int64(i)*150_000 + rng.Int64N(60_000), HalfWidth: 80_000 + rng.Int64N(40_000)}
			}
			fill(g, s, rng)
			if r := open.Append(s); r != acquisition.ReasonNone {
				t.Fatal(r)
			}
			slot++
		}
		now = int64(slot) * int64(g.Period)
		if err := st.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return segmentBytes(t, dir) - before
}

func fill(g *acquisition.Group, s *acquisition.Scan, rng *rand.Rand) {
	for i := range g.Channels {
		d := &g.Channels[i].Decoding
		if d.Origin != acquisition.FromWords {
			continue
		}
		switch {
		case d.Type == acquisition.TypeFloat32:
			b := math.Float32bits(float32(730 + 0.1*rng.NormFloat64()))
			s.Words[d.At], s.Words[d.At+1] = uint16(b>>16), uint16(b)
		case g.Channels[i].High > 100: // a measured quantity
			s.Words[d.At] = uint16(7000 + 3*rng.NormFloat64())
		default: // a state of the PLC
			s.Words[d.At] = uint16(s.Slot / 50)
		}
	}
}

func segmentBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(e.Name(), "catalog") {
			return err
		}
		info, err := os.Stat(p)
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
