package configs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/text/encoding/simplifiedchinese"

	"pneudaq/configs"
)

// through writes a table in a form, reads it back, and returns the YAML of it.
func through(t *testing.T, table *configs.Table, form, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch form {
	case "csv":
		err = table.WriteCSV(&b, false)
	case "csv with mark":
		err = table.WriteCSV(&b, true)
	case "xlsx":
		err = table.WriteXLSX(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	back, problems := configs.ReadTable(file)
	if problems != nil {
		t.Fatalf("%s\n%s", problems.Text(configs.English), b.String())
	}
	return back.YAML(name)
}

func TestTableRoundTripOfModels(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"keller-33x", "bronkhorst-el-flow", "moxa-iologik-e1240", "siargo-mf5700"} {
		for _, form := range []string{"csv", "csv with mark", "xlsx"} {
			t.Run(name+" "+form, func(t *testing.T) {
				t.Parallel()
				want, problems := configs.LoadModel(name)
				if problems != nil {
					t.Fatal(problems)
				}
				table, problems := configs.TableOf("bundle:models/" + name + ".yaml")
				if problems != nil {
					t.Fatal(problems)
				}
				text := through(t, table, form, name)
				file := filepath.Join(t.TempDir(), name+".yaml")
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
				got, problems := configs.LoadModel(file)
				if problems != nil {
					t.Fatalf("%s\n%s", problems.Text(configs.English), text)
				}
				// What belongs together (unit_from) and places are no part of a table.
				ignore := cmpopts.IgnoreFields(configs.Register{}, "Place")
				if diff := cmp.Diff(want.Registers, got.Registers, ignore, cmpopts.IgnoreUnexported(configs.Register{}), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s\n%s", diff, text)
				}
			})
		}
	}
}

func TestTableRoundTripOfARig(t *testing.T) {
	t.Parallel()
	rigs, problems := configs.Load("flow-bench")
	if problems != nil {
		t.Fatal(problems)
	}
	table, problems := configs.TableOf("flow-bench")
	if problems != nil {
		t.Fatal(problems)
	}
	for _, form := range []string{"csv", "xlsx"} {
		text := through(t, table, form, "flow-bench")
		// What a table cannot say a person must add, and is told so.
		file := written(t, "copy.yaml", string(text))
		if _, problems := configs.Load(file); len(problems) != 1 || problems[0].Code != "PD1231" {
			t.Fatalf("%s\n%s", problems.Text(configs.English), text)
		}
		file = written(t, "copy.yaml", string(text)+"heartbeat: { channel: beat, period: 500ms }\nsafe: { abort: 1 }\n")
		copied, problems := configs.Load(file)
		if problems != nil {
			t.Fatalf("%s\n%s", problems.Text(configs.English), text)
		}
		for i := range rigs[0].Channels {
			want := &rigs[0].Channels[i]
			if want.Origin != configs.FromRegister {
				continue
			}
			got := copied[0].Channel(want.Name)
			if got == nil {
				t.Errorf("%s: channel %s is lost", form, want.Name)
				continue
			}
			if diff := cmp.Diff(want.Channel, got.Channel); diff != "" || want.Table != got.Table || want.Register != got.Register || want.Group != got.Group {
				t.Errorf("%s: channel %s: %s", form, want.Name, diff)
			}
		}
	}
}

func TestTableTakesWhatLaboratoriesHave(t *testing.T) {
	t.Parallel()
	const chinese = "名称,寄存器类型,寄存器地址,数据类型,字节序,单位,比例,说明\r\n压力,保持寄存器,0016H,int16,,kPa_a,\"0,1\",进口压力\r\n流量,3x,40,float32,CDAB,L/min_ANR,,\r\n"
	gbk, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte(chinese))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"utf-8":     []byte(chinese),
		"mark":      []byte("\ufeff" + chinese),
		"gbk":       gbk,
		"semicolon": []byte("Name;Area;Address;Data type;Byte order;Units;Factor;Note\n压力;holding;0x16;int16;;kPa_a;0,1;进口压力\n流量;input;40.0;float32;CDAB;L/min_ANR;;\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "table.csv")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			table, problems := configs.ReadTable(file)
			if problems != nil {
				t.Fatal(problems.Text(configs.English))
			}
			model := filepath.Join(t.TempDir(), "m.yaml")
			if err := os.WriteFile(model, table.YAML("m"), 0o600); err != nil {
				t.Fatal(err)
			}
			m, problems := configs.LoadModel(model)
			if problems != nil {
				t.Fatal(problems.Text(configs.English))
			}
			p, q := m.Register("压力"), m.Register("流量")
			if p == nil || q == nil || p.Address != 0x16 || p.Decoding.Scale != 0.1 || p.Description != "进口压力" || q.Table != "input" || q.Address != 40 || q.Decoding.Order.String() != "CDAB" {
				t.Errorf("%+v %+v", p, q)
			}
		})
	}
}

func TestTableProblemsHaveRowAndColumn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data, code   string
		line, column int
	}{
		"no column":    {"name,address,type\np,1,int16\n", "PD1301", 1, 1},
		"bad table":    {"name,table,address,type\np,register,1,int16\n", "PD1302", 2, 2},
		"bad address":  {"name,table,address,type\np,holding,1,int16\nq,holding,010x,int16\n", "PD1302", 3, 3},
		"bad scale":    {"name,table,address,type,scale\np,holding,1,int16,tenth\n", "PD1302", 2, 5},
		"bad writable": {"name,table,address,type,writable\np,holding,1,int16,maybe\n", "PD1302", 2, 5},
		"empty":        {"name,table,address,type\n", "PD1303", 0, 0},
		"no text":      {"\x00\x01\x02,\n,,\n", "PD1304", 0, 0},
		"twice":        {"name,table,address,type\np,holding,1,int16\np,holding,2,int16\n", "PD1305", 3, 1},
	} {
		file := filepath.Join(t.TempDir(), "table.csv")
		if err := os.WriteFile(file, []byte(tc.data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := configs.ReadTable(file)
		if len(problems) != 1 || string(problems[0].Code) != tc.code || problems[0].Line != tc.line || problems[0].Column != tc.column {
			t.Errorf("%s: %s", name, problems.Text(configs.English))
		}
	}
}

// F102: a text that a spreadsheet would run as a formula goes out marked, and
// comes back as it was.
func TestF102FormulasInTables(t *testing.T) {
	t.Parallel()
	table := &configs.Table{Rows: []configs.Row{{Name: "p", Table: "holding", Address: "0x0001", Type: "int16", Offset: "-5", Description: "=cmd|' /C calc'!A0"}}}
	var b bytes.Buffer
	if err := table.WriteCSV(&b, false); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), ",'=cmd|") || !strings.Contains(b.String(), ",-5,") {
		t.Fatal(b.String())
	}
	file := filepath.Join(t.TempDir(), "t.csv")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	back, problems := configs.ReadTable(file)
	if problems != nil || back.Rows[0].Description != table.Rows[0].Description {
		t.Fatalf("%v %+v", problems, back)
	}
}
