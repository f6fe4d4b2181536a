package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/storage/export"
)

func of(blocks ...*acquisition.Block) export.Blocks {
	return func(yield func(*acquisition.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// small is three scans: good, one bad, one uncertain, and a gap.
func small() *acquisition.Block {
	g := &acquisition.Group{
		Rig: "flow-bench", Site: "ningbo", Name: "steady", Version: 2, Period: 100 * time.Millisecond, Numbers: 2,
		Channels: []acquisition.Channel{
			{ID: "1", Name: "p1", Unit: "kPa_a", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers}},
			{ID: "2", Name: `=cmd|"x", y`, Unit: "degC", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers, At: 1}},
		},
	}
	const slot = 17_000_000_000
	return &acquisition.Block{
		Group: g, Seq: 1, Slots: []uint64{slot, slot + 1, slot + 2},
		Times:   []int64{1_700_000_000_000_000_001, 1_700_000_000_100_000_002, 1_700_000_000_200_000_003},
		Numbers: []float64{101.325, 20, 99, 21.5, -0.5, math.NaN()},
		Quality: []acquisition.Quality{0, 0, acquisition.Quality(acquisition.ReasonTimeout), 0, acquisition.Quality(acquisition.ReasonStuck), 0},
		Gaps:    []acquisition.Gap{{From: slot + 3, To: slot + 8, Reason: acquisition.ReasonTimeout}},
	}
}

func TestCSV(t *testing.T) {
	shanghai := time.FixedZone("CST", 8*3600)
	for _, c := range []struct {
		name string
		o    export.Options
		want string
	}{
		{"quality per channel", export.Options{}, "time,p1,p1__q,\"'=cmd|\"\"x\"\", y\",\"'=cmd|\"\"x\"\", y__q\"\r\n" +
			"ISO 8601,kPa_a,,degC,\r\n" +
			"2023-11-14T22:13:20.000000001+00:00,101.325,good,20,good\r\n" +
			"2023-11-14T22:13:20.100000002+00:00,,timeout,21.5,good\r\n" +
			"2023-11-14T22:13:20.200000003+00:00,-0.5,stuck,,nan\r\n"},
		{
			"one column, local time, semicolon, mark",
			export.Options{Quality: export.QualityOneColumn, Location: shanghai, Comma: ';', BOM: true},
			"\ufefftime;p1;\"'=cmd|\"\"x\"\", y\";quality\r\n" +
				"ISO 8601;kPa_a;degC;\r\n" +
				"2023-11-15T06:13:20.000000001+08:00;101.325;20;\r\n" +
				"2023-11-15T06:13:20.100000002+08:00;;21.5;p1=timeout\r\n" +
				"2023-11-15T06:13:20.200000003+08:00;-0.5;;\"p1=stuck;=cmd|\"\"x\"\", y=nan\"\r\n",
		},
		{
			"part, no quality",
			export.Options{Quality: export.QualityNone, Channels: small().Group.Channels[:1], From: 1_700_000_000_100_000_002, To: 1_700_000_000_200_000_003},
			"time,p1\r\nISO 8601,kPa_a\r\n2023-11-14T22:13:20.100000002+00:00,\r\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			sum, err := export.CSV(&out, of(small()), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Error(diff)
			}
			if want := strings.Count(c.want, "\r\n") - 2; sum.Rows != want {
				t.Errorf("%d rows, want %d", sum.Rows, want)
			}
		})
	}
	sum, err := export.CSV(io.Discard, of(small()), export.Options{})
	want := export.Summary{Rows: 3, Values: 4, Missing: map[acquisition.Reason]uint64{acquisition.ReasonTimeout: 5}, First: 1_700_000_000_000_000_001, Last: 1_700_000_000_200_000_003}
	if diff := cmp.Diff(want, sum); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestF102NoFormulaLeaves(t *testing.T) {
	for _, name := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＠x"} {
		b := small()
		b.Group.Channels[0].Name, b.Group.Channels[0].Unit = name, name
		var out bytes.Buffer
		if _, err := export.CSV(&out, of(b), export.Options{}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range rows[:2] {
			if row[1] != "'"+strings.ReplaceAll(name, "\r", "\r") {
				t.Errorf("row %d: %q is exported as %q, want it with an apostrophe", i, name, row[1])
			}
		}
		if rows[4][1] != "-0.5" {
			t.Errorf("a negative value became %q", rows[4][1])
		}
	}
}

func TestJSONLines(t *testing.T) {
	var out bytes.Buffer
	if _, err := export.JSONLines(&out, of(small()), export.Options{}); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for d := json.NewDecoder(&out); d.More(); {
		var v map[string]any
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	n := func(s string) json.Number { return json.Number(s) }
	odd := `=cmd|"x", y`
	want := []map[string]any{
		{"rig": "flow-bench", "site": "ningbo", "group": "steady", "units": map[string]any{"p1": "kPa_a", odd: "degC"}},
		{"time": "2023-11-14T22:13:20.000000001+00:00", "time_ns": n("1700000000000000001"), "p1": n("101.325"), odd: n("20")},
		{"time": "2023-11-14T22:13:20.100000002+00:00", "time_ns": n("1700000000100000002"), "p1": nil, "p1__q": "timeout", odd: n("21.5")},
		{"time": "2023-11-14T22:13:20.200000003+00:00", "time_ns": n("1700000000200000003"), "p1": n("-0.5"), "p1__q": "stuck", odd: nil, odd + "__q": "nan"},
		{"gap": map[string]any{"from_slot": n("17000000003"), "to_slot": n("17000000008"), "count": n("5"), "reason": "timeout"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParquet(t *testing.T) {
	var out bytes.Buffer
	blocks := append([]*acquisition.Block{}, acqtest.Blocks("flow", 30, 100)...)
	sum, err := export.Parquet(&out, of(blocks...), export.Options{})
	if err != nil || sum.Rows != 3000 {
		t.Fatal(sum, err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"pneudaq.units": `{"a":"kPa_a","b":"degC"}`, "unit.a": "kPa_a", "pneudaq.rig": "rig", "pneudaq.group": "flow", "pneudaq.version": "1", "pneudaq.simulated": "false",
	} {
		if got, _ := f.Lookup(k); got != want {
			t.Errorf("metadata %s is %q, want %q", k, got, want)
		}
	}
	var names []string
	for _, c := range f.Schema().Columns() {
		names = append(names, strings.Join(c, "."))
	}
	if diff := cmp.Diff([]string{"time", "a", "a__q", "b", "b__q"}, names); diff != "" {
		t.Errorf("columns: %s", diff)
	}
	if lt := f.Schema().Fields()[0].Type().LogicalType(); lt == nil || !strings.Contains(lt.String(), "NANOS") {
		t.Errorf("time is %v, want a timestamp in ns", lt)
	}
	type scan struct {
		Time int64    `parquet:"time"`
		A    *float64 `parquet:"a,optional"`
		AQ   string   `parquet:"a__q"`
		B    *float64 `parquet:"b,optional"`
		BQ   string   `parquet:"b__q"`
	}
	rows, err := parquet.Read[scan](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || len(rows) != 3000 {
		t.Fatal(len(rows), err)
	}
	i := 0
	for _, b := range blocks {
		for j, slot := range b.Slots {
			r := rows[i]
			i++
			if r.Time != b.Times[j] || r.A == nil || *r.A != float64(slot%1000) || r.AQ != "good" {
				t.Fatalf("row %d: %+v", i, r)
			}
			bad := slot%7 == 0
			if (r.B == nil) != bad || (r.BQ == "timeout") != bad || !bad && math.Abs(*r.B-float64(slot%1000)*0.1) > 1e-9 {
				t.Fatalf("row %d: %+v", i, r)
			}
		}
	}
}

func TestXLSX(t *testing.T) {
	var out bytes.Buffer
	other := small()
	sums, err := export.XLSX(&out, []export.Table{{"steady/1", of(small())}, {"steady?1", of(other)}, {"", of(acqtest.Blocks("flow", 2, 10)...)}}, export.Options{})
	if err != nil || len(sums) != 3 || sums[2].Rows != 20 {
		t.Fatal(sums, err)
	}
	f, err := excelize.OpenReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if diff := cmp.Diff([]string{"steady_1", "steady_1 (2)", "data"}, f.GetSheetList()); diff != "" {
		t.Error(diff)
	}
	rows, err := f.GetRows("steady_1")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"time", "t", "p1", "p1__q", `=cmd|"x", y`, `=cmd|"x", y__q`},
		{"ISO 8601", "s", "kPa_a", "", "degC"},
		{"2023-11-14T22:13:20.000000001+00:00", "0", "101.325", "good", "20", "good"},
		{"2023-11-14T22:13:20.100000002+00:00", "0.100000001", "", "timeout", "21.5", "good"},
		{"2023-11-14T22:13:20.200000003+00:00", "0.200000002", "-0.5", "stuck", "", "nan"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	if formula, err := f.GetCellFormula("steady_1", "E1"); err != nil || formula != "" {
		t.Errorf("the name became the formula %q, %v", formula, err)
	}
}

func TestGroupThatChanges(t *testing.T) {
	a, b := small(), small()
	renamed := *b.Group
	renamed.Version = 3
	renamed.Channels = append([]acquisition.Channel{}, b.Group.Channels...)
	renamed.Channels[0].Name = "p_up"
	b.Group, b.Seq = &renamed, 2
	var out bytes.Buffer
	if sum, err := export.CSV(&out, of(a, b), export.Options{}); err != nil || sum.Values != 8 {
		t.Errorf("a rename: %+v %v, want one column for the channel", sum, err)
	}
	grown := renamed
	grown.Channels = append(grown.Channels[:2:2], acquisition.Channel{ID: "3", Name: "extra", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers}})
	b.Group, b.Quality, b.Numbers[5] = &grown, nil, 1
	var changed *export.ChangedError
	if _, err := export.CSV(&out, of(a, b), export.Options{}); !errors.As(err, &changed) || changed.Channel != "extra" || changed.Seq != 2 {
		t.Errorf("a new channel: %v, want a ChangedError", err)
	}
	out.Reset()
	if _, err := export.CSV(&out, of(a, b), export.Options{Channels: grown.Channels}); err != nil {
		t.Errorf("with the columns named: %v", err)
	}
	if line := strings.Split(out.String(), "\r\n")[2]; !strings.HasSuffix(line, ",,no_data") {
		t.Errorf("a channel that was not there yet: %q", line)
	}
	other := renamed
	other.Channels = append([]acquisition.Channel{}, renamed.Channels...)
	other.Channels[0].Unit = "kPa_g"
	b.Group = &other
	if _, err := export.CSV(&out, of(a, b), export.Options{}); !errors.As(err, &changed) || !strings.Contains(err.Error(), "kPa_g") {
		t.Errorf("another unit: %v, want a ChangedError", err)
	}
}

func TestNothingToExport(t *testing.T) {
	var out bytes.Buffer
	for name, f := range formats() {
		out.Reset()
		if err := f(&out, of(), export.Options{Channels: small().Group.Channels}); err != nil || out.Len() == 0 {
			t.Errorf("%s: %v, %d bytes; want a head without rows", name, err, out.Len())
		}
	}
}

func TestErrorsComeThrough(t *testing.T) {
	broken := errors.New("segment 7: the check sum is wrong")
	blocks := func(yield func(*acquisition.Block, error) bool) {
		if yield(small(), nil) {
			yield(nil, broken)
		}
	}
	full := errors.New("no space left on device")
	for name, f := range formats() {
		if err := f(io.Discard, blocks, export.Options{}); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the error of the store", name, err)
		}
		if err := f(failing{full}, of(small()), export.Options{}); !errors.Is(err, full) {
			t.Errorf("%s: %v, want the error of the disk", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func formats() map[string]func(w io.Writer, b export.Blocks, o export.Options) error {
	return map[string]func(w io.Writer, b export.Blocks, o export.Options) error{
		"csv": func(w io.Writer, b export.Blocks, o export.Options) error { _, err := export.CSV(w, b, o); return err },
		"jsonl": func(w io.Writer, b export.Blocks, o export.Options) error {
			_, err := export.JSONLines(w, b, o)
			return err
		},
		"parquet": func(w io.Writer, b export.Blocks, o export.Options) error {
			_, err := export.Parquet(w, b, o)
			return err
		},
		"xlsx": func(w io.Writer, b export.Blocks, o export.Options) error {
			_, err := export.XLSX(w, []export.Table{{"t", b}}, o)
			return err
		},
	}
}

// many yields n blocks of 1000 scans of 20 channels without holding them.
func many(n int, watch func(i int)) export.Blocks {
	g := &acquisition.Group{Rig: "r", Name: "g", Version: 1, Words: 20, Period: time.Millisecond}
	for i := range 20 {
		g.Channels = append(g.Channels, acquisition.Channel{ID: fmt.Sprint(i), Name: fmt.Sprintf("c%d", i), Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeUint16, Scale: 0.1}})
	}
	return func(yield func(*acquisition.Block, error) bool) {
		for i := range n {
			b := &acquisition.Block{Group: g, Seq: uint64(i + 1)}
			for j := range 1000 {
				b.Slots = append(b.Slots, uint64(i*1000+j))
				b.Times = append(b.Times, int64(i*1000+j)*1_000_000)
				for c := range 20 {
					b.Words = append(b.Words, uint16(i*7919+j*31+c))
				}
			}
			watch(i)
			if !yield(b, nil) {
				return
			}
		}
	}
}

func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			file, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			start, worst := heap(), uint64(0)
			if err := f(file, many(300, func(i int) {
				if i%60 == 59 {
					worst = max(worst, heap())
				}
			}), export.Options{Quality: export.QualityOneColumn}); err != nil {
				t.Fatal(err)
			}
			if grown := int64(worst) - int64(start); grown > 64<<20 {
				t.Errorf("6 million values took %d MiB of memory", grown>>20)
			}
		})
	}
}

func BenchmarkFormats(b *testing.B) {
	for name, f := range formats() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(io.Discard, many(20, func(int) {}), export.Options{Quality: export.QualityOneColumn}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400_000, "ns/value")
		})
	}
}
