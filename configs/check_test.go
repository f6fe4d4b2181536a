package configs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pneudaq/configs"
)

func TestCheckSaysWhatTheBundledRigsNeed(t *testing.T) {
	t.Parallel()
	rep, problems := configs.Check("flow-bench", "valve-stand", "bundle:models/keller-33x.yaml")
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	if len(rep.Warnings) != 0 {
		t.Error(rep.Warnings.Text(configs.English))
	}
	if len(rep.Rigs) != 2 || len(rep.Models) != 1 {
		t.Fatalf("got %d rigs and %d models", len(rep.Rigs), len(rep.Models))
	}
	r := rep.Rigs[0]
	if r.Series != 8 || r.Fields != 24 || r.Samples != 160 {
		t.Errorf("flow-bench: %d series, %d fields, %v samples/s; want 8, 24, 160", r.Series, r.Fields, r.Samples)
	}
	// The line carries two requests every 100 ms of 1 ms each and a silence.
	if line := r.Buses[1]; line.Load < 5 || line.Load > 15 || len(line.Requests) != 2 {
		t.Errorf("bus line: load %.1f %%, %d requests", line.Load, len(line.Requests))
	}
	if r.StorePerDay <= 0 || r.WrittenPerDay < r.StorePerDay || r.WrittenPerDay > 3e9 {
		t.Errorf("flow-bench: %d bytes a day, %d written", r.StorePerDay, r.WrittenPerDay)
	}
	if m := rep.Models[0]; m.Vectors != 8 || m.Printed != 2 {
		t.Errorf("keller-33x: %d vectors, %d printed", m.Vectors, m.Printed)
	}
	for l, words := range map[configs.Language][]string{
		configs.English: {"rig flow-bench", "load", "series in the database", "a day", "holding 0xA100 x 2"},
		configs.Chinese: {"台架 flow-bench", "负载", "个数据库序列", "每天", "holding 0xA100 x 2"},
	} {
		text := rep.Text(l)
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", l, w, text)
			}
		}
	}
	if _, err := json.Marshal(rep); err != nil {
		t.Error(err)
	}
}

func TestCheckRefusesAnOverloadedBusWithTheFigure(t *testing.T) {
	t.Parallel()
	name := mutated(t, "flow-bench.yaml", "flow: { period: 100ms }", "flow: { period: 5ms }")
	_, problems := configs.Check(name)
	if len(problems) != 1 || problems[0].Code != "PD1281" || !strings.Contains(problems[0].What, "180 %") {
		t.Fatalf("got %s", problems.Text(configs.English))
	}
	if problems[0].Line != 10 {
		t.Errorf("line %d", problems[0].Line)
	}
}
