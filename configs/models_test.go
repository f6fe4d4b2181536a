package configs_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/simulator"
)

func bundledModels() []string {
	return []string{"bronkhorst-el-flow", "keller-33x", "moxa-iologik-e1240", "siargo-mf5700"}
}

func loadModel(t *testing.T, name string) *configs.Model {
	t.Helper()
	m, problems := configs.LoadModel(name)
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	return m
}

// The bytes of every vector, taken from the cited page, read as the value that
// the document gives.
func TestVectorsOfTheBundledModels(t *testing.T) {
	t.Parallel()
	for _, name := range bundledModels() {
		m := loadModel(t, name)
		if m.Source.Document == "" || m.Source.Page == "" || m.Trust == "" || len(m.Vectors) == 0 {
			t.Errorf("%s: source, trust or vectors are missing", name)
		}
		for _, v := range m.Vectors {
			r := m.Register(v.Register)
			words := make([]uint16, len(v.Raw)/2)
			for i := range words {
				words[i] = uint16(v.Raw[2*i])<<8 | uint16(v.Raw[2*i+1])
			}
			g := &acquisition.Group{Words: len(words), Channels: []acquisition.Channel{{Name: r.Name, Decoding: r.Decoding}}}
			dec, err := acquisition.NewDecoder(g, nil)
			if err != nil {
				t.Fatal(err)
			}
			values, quality := make([]float64, 1), make([]acquisition.Quality, 1)
			dec.Decode(words, nil, nil, values, quality)
			switch {
			case quality[0].Reason() != v.Reason:
				t.Errorf("%s %s % X: %v, want %v", name, r.Name, v.Raw, quality[0], v.Reason)
			case v.Reason == acquisition.ReasonNone && math.Abs(values[0]-v.Value) > max(v.Within, 1e-6*math.Abs(v.Value)):
				t.Errorf("%s %s % X: %v, want %v within %v", name, r.Name, v.Raw, values[0], v.Value, v.Within)
			}
		}
	}
}

// The twin puts the same bytes on the wire for the value of each vector.
func TestTwinEmitsTheVectors(t *testing.T) {
	t.Parallel()
	count := 0
	for _, name := range bundledModels() {
		m := loadModel(t, name)
		for i := range m.Vectors {
			v := &m.Vectors[i]
			r := m.Register(v.Register)
			value, reason := r.Read(v.Raw)
			if reason != acquisition.ReasonNone {
				continue
			}
			count++
			got := twinBytes(t, m, r, value)
			if string(got) != string(v.Raw) {
				t.Errorf("%s %s = %v: the twin emits % X, the document has % X", name, r.Name, value, got, v.Raw)
			}
		}
	}
	if count < 15 {
		t.Errorf("%d vectors", count)
	}
}

func twinBytes(t *testing.T, m *configs.Model, r *configs.Register, value float64) []byte {
	t.Helper()
	unit := "1"
	if len(r.Units) > 0 {
		unit = r.Units[0]
	}
	units := ""
	if unit == "configured" {
		unit = "L/min_0C"
		units = fmt.Sprintf(", units: { %s: %s }", r.Name, unit)
	} else if len(r.Units) > 1 {
		units = fmt.Sprintf(", units: { %s: %s }", r.Name, unit)
	}
	text := fmt.Sprintf(`version: 1
rig: bench
buses:
  field: { modbus: "tcp://127.0.0.1:5020" }
devices:
  dev: { bus: field, unit: 7, model: %s%s }
groups:
  main: { period: 100ms }
channels:
  x: { group: main, device: dev, register: %s, unit: %q }
simulate:
  plant: flow-bench
  devices:
    dev: { constants: { %s: %s } }
`, m.Name, units, r.Name, unit, r.Name, strconv.FormatFloat(value, 'g', -1, 64))
	rigs, problems := configs.Load(written(t, "r.yaml", text))
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	o, err := rigs[0].Simulator()
	if err != nil {
		t.Fatal(err)
	}
	u, err := simulator.NewUnit(o.Buses[0].Units[0], simulator.NewBoard(1e6))
	if err != nil {
		t.Fatal(err)
	}
	words := make([]uint16, r.Words())
	if e := u.Read(simulator.Table(r.Table), r.Address, words); e != simulator.NoException {
		t.Fatalf("%s: exception %v", r.Name, e)
	}
	var out []byte
	for _, w := range words {
		out = append(out, byte(w>>8), byte(w))
	}
	return out
}

// A model by name and the same channel stated lead to the same decoding.
func TestNamedAndStatedChannelsAgree(t *testing.T) {
	t.Parallel()
	named := mutated(t, "flow-bench.yaml", "device: pt, holding: 0x0002, type: float32, order: ABCD, register_unit: bar_a,", "device: pt, register: P1,")
	a, problems := configs.Load(named)
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	b, problems := configs.Load("flow-bench")
	if problems != nil {
		t.Fatal(problems)
	}
	p, q := a[0].Channel("p1"), b[0].Channel("p1")
	if p.Table != q.Table || p.Register != q.Register || p.Decoding.Scale != 100 || p.Decoding.Scale != q.Decoding.Scale || p.RegisterName != "P1" || q.RegisterName != "P1" {
		t.Errorf("%+v\n%+v", p, q)
	}
	if !strings.Contains(bundledText(t, "models/keller-33x.yaml"), "page: p. 13") {
		t.Error("the model cites no page")
	}
}
