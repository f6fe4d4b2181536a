package configs_test

import (
	"io/fs"
	"strings"
	"testing"

	"pneudaq/configs"
)

func TestTextIsReadUnderItsNameWithoutBeingWritten(t *testing.T) {
	text, err := fs.ReadFile(configs.Bundle(), "rigs/flow-bench.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, problems := configs.LoadText("flow-bench", text)
	if len(problems) > 0 || r == nil || r.Name != "flow-bench" {
		t.Fatalf("the bundled text: %v %v", r, problems)
	}
	want, _ := configs.Load("flow-bench")
	if r.Digest() != want[0].Digest() {
		t.Error("the same text is another rig")
	}
	wrong := strings.Replace(string(text), "period: 100ms", "period: 100 parsecs", 1)
	if _, problems = configs.LoadText("flow-bench", []byte(wrong)); len(problems) == 0 {
		t.Fatal("a wrong period passed")
	}
	line := 1 + strings.Count(wrong[:strings.Index(wrong, "100 parsecs")], "\n")
	if p := problems[0]; p.Line != line || !strings.Contains(p.File, "flow-bench.yaml") {
		t.Errorf("problem at %v, want line %d", p.Place, line)
	}
	rep, problems := configs.CheckText("flow-bench", text)
	if len(problems) > 0 || len(rep.Rigs) != 1 || len(rep.Rigs[0].Buses) == 0 {
		t.Errorf("report %+v, problems %v", rep, problems)
	}
}
