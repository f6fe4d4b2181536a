package simulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"pneudaq/simulator"
)

func TestTruthFile(t *testing.T) {
	t.Parallel()
	for _, kind := range simulator.Kinds() {
		var file bytes.Buffer
		p := newPlant(t, kind, 11, map[string]float64{"plc.auto": 1, "plc.rest": 0})
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		w, err := simulator.NewTruthWriter(&file, p, start)
		if err != nil {
			t.Fatal(err)
		}
		for range int(2 / p.Dt().Seconds()) {
			p.Step()
			if err := w.Row(); err != nil {
				t.Fatal(err)
			}
		}
		lines := bytes.Split(bytes.TrimSpace(file.Bytes()), []byte("\n"))
		if len(lines) != 21 {
			t.Fatalf("%s: %d lines in 2 s, want a header and 20 rows", kind, len(lines))
		}
		var h simulator.TruthHeader
		if err := json.Unmarshal(lines[0], &h); err != nil {
			t.Fatal(err)
		}
		if h.Format != simulator.TruthFormat || h.Plant != kind || h.Seed != 11 || !h.Start.Equal(start) || h.Marker != "SIMULATED" {
			t.Errorf("%s: header %+v", kind, h)
		}
		if len(h.Params) != len(p.Params()) || len(h.Signals) != len(p.Signals()) {
			t.Errorf("%s: %d parameters and %d signals in the header", kind, len(h.Params), len(h.Signals))
		}
		var last map[string]float64
		for i, line := range lines[1:] {
			last = nil
			if err := json.Unmarshal(line, &last); err != nil {
				t.Fatal(err)
			}
			if math.Abs(last["t"]-0.1*float64(i+1)) > 1e-9 {
				t.Errorf("%s: row %d is of %v s", kind, i+1, last["t"])
			}
		}
		if _, ok := last["C"]; ok {
			t.Errorf("%s: a row repeats parameters", kind)
		}
		if truth := p.Truth(); last["p1"] != truth["p1"] || last["p1"] == 0 {
			t.Errorf("%s: p1 %v in the last row, %v in the plant", kind, last["p1"], truth["p1"])
		}
	}
}

// full is a file on a full disk.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestTruthFileSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "flow-bench", 1, nil)
	if _, err := simulator.NewTruthWriter(full{}, p, time.Time{}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
