package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// TruthFormat names the layout of a truth file: JSON lines, the first a header with parameters and signals, every
// further one the noiseless figures at one time.
const TruthFormat = "pneudaq-truth/1"

// truthPeriod is the plant's time between two rows.
const truthPeriod = 100 * time.Millisecond

// TruthHeader is the first line of a truth file.
type TruthHeader struct {
	Format  string        `json:"format"`
	Plant   string        `json:"plant"`
	Seed    uint64        `json:"seed"`
	Start   time.Time     `json:"start"`     // of the plant's time
	Dt      float64       `json:"dt"`        // s per step
	Params  []TruthParam  `json:"params"`    // as they stand, the errors of the sensors among them
	Signals []TruthSignal `json:"signals"`   // names and units
	Marker  string        `json:"simulated"` // never mistake it for a record
}

// TruthParam is a parameter in a truth file.
type TruthParam struct {
	Name        string  `json:"name"`
	Unit        string  `json:"unit"`
	Value       float64 `json:"value"`
	Description string  `json:"description"`
}

// TruthSignal is a signal in a truth file.
type TruthSignal struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Kind string `json:"kind"`
}

// A TruthWriter writes what a plant is to a file that nothing of the acquiring side reads.
type TruthWriter struct {
	plant *Plant
	out   *json.Encoder
	every uint64 // steps
	fixed map[string]bool
}

// NewTruthWriter writes the header of a plant whose time 0 is start.
func NewTruthWriter(w io.Writer, p *Plant, start time.Time) (*TruthWriter, error) {
	t := &TruthWriter{plant: p, out: json.NewEncoder(w), every: max(uint64(truthPeriod/p.dt), 1), fixed: map[string]bool{}}
	h := TruthHeader{
		Format: TruthFormat, Plant: p.kind, Seed: p.seed, Start: start.UTC(), Dt: p.dt.Seconds(), Marker: "SIMULATED",
	}
	for _, q := range p.params {
		h.Params = append(h.Params, TruthParam{Name: q.Name, Unit: q.Unit, Value: q.Value, Description: q.Description})
		t.fixed[q.Name] = true
	}
	for _, s := range p.Signals() {
		h.Signals = append(h.Signals, TruthSignal{Name: s.Name, Unit: s.Unit, Kind: s.Kind.String()})
	}
	if err := t.out.Encode(h); err != nil {
		return nil, fmt.Errorf("write truth of plant %s: %w", p.kind, err)
	}
	return t, nil
}

// Row writes the present figures when a tenth of a second of the plant's time is full, and is to be called after each
// Step; parameters, which the header holds, are left out.
func (t *TruthWriter) Row() error {
	if t.plant.steps%t.every != 0 {
		return nil
	}
	row := t.plant.Truth()
	for name := range t.fixed {
		delete(row, name)
	}
	if err := t.out.Encode(row); err != nil {
		return fmt.Errorf("write truth of plant %s: %w", t.plant.kind, err)
	}
	return nil
}
