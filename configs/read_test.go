package configs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pneudaq/configs"
)

func code(problems configs.Problems) string {
	if len(problems) == 0 {
		return ""
	}
	return string(problems[0].Code)
}

// F102: what would exhaust memory or time is refused at once.
func TestF102HostileFilesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	huge := filepath.Join(t.TempDir(), "huge.yaml")
	f, err := os.Create(huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 30); err != nil { // sparse: takes no disk
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, problems := configs.Load(huge); code(problems) != "PD1003" {
		t.Errorf("1 GiB: %v", problems)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("1 GiB took %s", d)
	}
	lines := func(line string) string { return strings.Repeat(line, configs.MaxLines-10) }
	for name, tc := range map[string]struct{ text, code string }{
		"brackets on one line":    {"version: 1\nrig: " + strings.Repeat("[", 100_000), "PD1025"},
		"brackets on many lines":  {"version: 1\nrig:\n" + lines(" [\n"), "PD1026"},
		"braces":                  {"version: 1\nrig:\n" + lines(" {a:\n"), "PD1026"},
		"dashes":                  {"version: 1\nrig:\n" + strings.Repeat("- ", 1900) + "a\n", "PD1026"},
		"deep indentation":        {"version: 1\nrig:\n" + strings.Repeat(" ", 2000) + "a: 1\n", "PD1026"},
		"many keys":               {"version: 1\nrig: x\n" + lines("a: 1\n"), "PD1031"},
		"long comment":            {"version: 1\n" + lines("# x\n"), "PD1007"},
		"too many lines":          {"version: 1\n" + lines("# x\n") + lines("# x\n"), "PD1032"},
		"many anchors":            {"version: 1\nrig: &a x\nsafe:\n" + lines("  b: &b [*a]\n"), "PD1031"},
		"quotes that never close": {"version: 1\nrig: \"" + lines("x\n"), "PD1021"},
	} {
		file := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, problems := configs.Load(file)
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s took %s", name, d)
		}
		if code(problems) != tc.code {
			t.Errorf("%s: %s, want %s", name, code(problems), tc.code)
		}
	}
}

func TestReadingFilesThatAreNone(t *testing.T) {
	t.Parallel()
	if _, problems := configs.Load(filepath.Join(t.TempDir(), "none.yaml")); code(problems) != "PD1001" {
		t.Errorf("missing file: %v", problems)
	}
	if _, problems := configs.Load(t.TempDir()); code(problems) != "PD1002" {
		t.Errorf("directory: %v", problems)
	}
}

func TestAliasesAndMarksAreRead(t *testing.T) {
	t.Parallel()
	text := "\ufeffversion: 1\r\nrig: bench\r\nbuses:\r\n  field: { modbus: \"tcp://127.0.0.1\" }\r\ndevices:\r\n  plc: { bus: field, address_base: 0 }\r\n" +
		"groups:\r\n  a: &usual { period: 100ms }\r\n  b: *usual\r\nchannels:\r\n  压力: { group: a, device: plc, holding: 2, type: uint16, unit: kPa_a }\r\n  p2: { group: b, device: plc, holding: 3, type: uint16, unit: kPa_a }\r\n"
	rigs, problems := configs.Load(written(t, "alias.yaml", text))
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	if g := rigs[0].Group("b"); g == nil || g.Period != 100*time.Millisecond {
		t.Errorf("group b: %+v", g)
	}
	if c := rigs[0].Channel("压力"); c == nil || c.Place.Line != 11 || c.Place.Column != 3 {
		t.Errorf("channel 压力 is at %v", c)
	}
}

// A column counts characters, and the caret stands under the place also
// behind wide characters.
func TestCaretStandsUnderThePlace(t *testing.T) {
	t.Parallel()
	text := "version: 1\nrig: bench # 流量台\nbuses: { 现场: { modbus: \"tcp://127.0.0.1\", timout: 1s } }\ngroups: {}\nchannels: {}\n"
	_, problems := configs.Load(written(t, "wide.yaml", text))
	if len(problems) != 1 || problems[0].Line != 3 || problems[0].Column != 43 {
		t.Fatal(problems.Text(configs.English))
	}
	lines := strings.Split(problems[0].Text(configs.English), "\n")
	caret := strings.Index(lines[2], "^")
	// 现 and 场 take two cells each and three bytes each.
	if at := strings.Index(lines[1], "timout"); caret != at-2 {
		t.Errorf("caret at %d, the key at byte %d\n%s", caret, at, problems[0].Text(configs.English))
	}
}

func TestProblemInBothLanguages(t *testing.T) {
	t.Parallel()
	_, problems := configs.Check("testdata/wrong/unknown-key-near.yaml")
	if len(problems) != 1 {
		t.Fatal(problems)
	}
	p := problems[0]
	if p.Code != "PD1042" || p.Do != "write period" || p.Where != "group main" {
		t.Errorf("%+v", p)
	}
	if zh := p.In(configs.Chinese); zh.Where != "组 main" || zh.Do != "请写 period" {
		t.Errorf("%+v", zh)
	}
	data, err := problems.JSON(configs.Chinese)
	if err != nil || !bytes.Contains(data, []byte(`"line":8`)) || !bytes.Contains(data, []byte("请写 period")) {
		t.Errorf("%s %v", data, err)
	}
	if err := problems.Err(); err == nil || !strings.Contains(err.Error(), "unknown-key-near.yaml:8:11: PD1042 group main") {
		t.Error(err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"rigs/flow-bench.yaml", "rigs/valve-stand.yaml", "models/keller-33x.yaml", "wires/flow-bench-io.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	wrong, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range wrong {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "f.yaml")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		rep, problems := configs.Check(file)
		for _, p := range problems {
			if p.Line < 0 || p.Column < 0 || p.What == "" || p.Do == "" {
				t.Fatalf("%+v", p)
			}
			for _, l := range []configs.Language{configs.English, configs.Chinese} {
				if strings.ContainsAny(strings.ReplaceAll(p.Text(l), "\n", ""), "\x00\x1b\x07") {
					t.Fatalf("a control character comes through: %q", p.Text(l))
				}
			}
		}
		_ = rep.Text(configs.Chinese)
	})
}
