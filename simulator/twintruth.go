package simulator

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// truthFile takes the plant's truth as lines of JSON: first a head {"rig","plant","seed","speed","simulated","params"},
// then {"time","step","values"} with the wall time of the step in ns since 1970 and every figure in SI that Truth has
// beyond the parameters. Guarded by the board's lock; a nil one takes nothing.
type truthFile struct {
	file  *os.File
	out   *bufio.Writer
	every uint64
	fixed map[string]bool
	err   error
}

type truthHead struct {
	Rig       string             `json:"rig"`
	Plant     string             `json:"plant"`
	Seed      uint64             `json:"seed"`
	Speed     float64            `json:"speed"`
	Simulated bool               `json:"simulated"`
	Params    map[string]float64 `json:"params"`
}

type truthLine struct {
	Time   int64              `json:"time"`
	Step   uint64             `json:"step"`
	Values map[string]float64 `json:"values"`
}

func (t *Twin) openTruth() error {
	if t.o.Truth == "" || t.plant == nil {
		return nil
	}
	period := t.o.TruthPeriod
	if period == 0 {
		period = 100 * time.Millisecond
	}
	f, err := os.Create(t.o.Truth)
	if err != nil {
		return fmt.Errorf("create truth file: %w", err)
	}
	t.truth = &truthFile{file: f, out: bufio.NewWriter(f), every: uint64(max(1, period/t.plant.Dt())), fixed: map[string]bool{}}
	head := truthHead{Rig: t.o.Rig, Plant: t.o.Plant, Seed: t.o.Seed, Speed: t.o.Speed, Simulated: true, Params: map[string]float64{}}
	for _, p := range t.plant.Params() {
		head.Params[p.Name] = p.Value
		t.truth.fixed[p.Name] = true
	}
	t.truth.write(head)
	return t.truth.err
}

// step writes a line when one is due.
func (f *truthFile) step(t *Twin) {
	if f == nil || t.plant.Steps()%f.every != 0 {
		return
	}
	line := truthLine{Time: t.wall(t.plant.Steps()).UnixNano(), Step: t.plant.Steps(), Values: map[string]float64{}}
	for name, v := range t.plant.Truth() {
		if !f.fixed[name] && !math.IsNaN(v) && !math.IsInf(v, 0) {
			line.Values[name] = v
		}
	}
	f.write(line)
}

func (f *truthFile) write(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = f.out.Write(append(b, '\n'))
	}
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("write truth file: %w", err)
	}
}

// settle brings the lines to the file and returns what went wrong with it.
func (f *truthFile) settle() error {
	if f == nil {
		return nil
	}
	if err := f.out.Flush(); err != nil && f.err == nil {
		f.err = fmt.Errorf("write truth file: %w", err)
	}
	return f.err
}

func (f *truthFile) close() error {
	if f == nil || f.file == nil {
		return nil
	}
	err := errors.Join(f.out.Flush(), f.file.Close())
	f.file = nil
	if err != nil {
		return fmt.Errorf("close truth file: %w", err)
	}
	return nil
}
