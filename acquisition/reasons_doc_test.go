package acquisition_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pneudaq/acquisition"
)

// TestReasonsTable keeps the operators' table as the enumeration has it; -update
// writes it.
func TestReasonsTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("# Why a reading is missing or not good\n\n# 读数缺失或不可用的原因\n\n" +
		"A gap, and a reading that is not good, carry one of these reasons. Uncertain readings are kept with their value; bad ones have none.\n" +
		"缺口和不合格读数都带有下列原因之一。uncertain(存疑)的读数保留数值,bad(不可用)的没有数值。\n\n" +
		"| reason | class | meaning | 含义 |\n|---|---|---|---|\n")
	for _, r := range acquisition.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Name, r.Class, r.EN, r.ZH)
	}
	const path = "../docs/reasons.md"
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Error("docs/reasons.md is stale: go test ./acquisition -run TestReasonsTable -update")
	}
}

var _ = flag.Bool("update", false, "write generated files")
