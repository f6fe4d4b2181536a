package configs_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pneudaq/configs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// F094: every wrong file of the corpus is refused with line, column, nearest
// key and what to do, exactly as the file beside it says.
func TestF094WrongFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 45 {
		t.Fatalf("%d wrong files", len(files))
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			t.Parallel()
			_, problems := configs.Check(name)
			if len(problems) == 0 {
				t.Fatal("no problem was found")
			}
			for _, p := range problems {
				if p.Line == 0 && !strings.Contains("PD1001 PD1003 PD1004", string(p.Code)) {
					t.Errorf("no line: %s", p.Error())
				}
			}
			got := filepath.ToSlash(problems.Text(configs.English) + "\n" + problems.Text(configs.Chinese))
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
