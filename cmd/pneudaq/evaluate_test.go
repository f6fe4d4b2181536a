package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"

	"pneudaq/configs"
	"pneudaq/simulator"
	"pneudaq/verification"
	"pneudaq/web"
)

// command runs one command line in process.
func command(t *testing.T, lang string, args ...string) (code int, out, errors string) {
	t.Helper()
	var o, e bytes.Buffer
	term := &terminal{in: strings.NewReader(""), out: &o, err: &e, logger: slog.New(slog.DiscardHandler), lang: lang}
	code = run(t.Context(), term, args)
	return code, o.String(), e.String()
}

// flowRow is a line of a flow test as other software records it.
type flowRow struct {
	Time float64 `parquet:"time"`
	P1   float64 `parquet:"p1"`
	P2   float64 `parquet:"p2"`
	T1   float64 `parquet:"T1"`
	Qm   float64 `parquet:"qm"`
}

// flowRows plays a flow test on the bench of software: kPa absolute, °C,
// L/min (ANR), every 100 ms.
func flowRows(t *testing.T) ([]flowRow, map[string]float64) {
	t.Helper()
	p, err := simulator.NewPlant("flow-bench", 3, map[string]float64{"dwell": 6})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Actuate("plc.start", 1); err != nil {
		t.Fatal(err)
	}
	read := func(name string) float64 {
		v, err := p.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var rows []flowRow
	for k := 0; read("plc.done") == 0; k++ {
		if k > 200e3 {
			t.Fatal("the test does not end")
		}
		p.Step()
		if k%100 == 0 {
			rows = append(rows, flowRow{
				Time: float64(k) / 1e3, P1: read("p1") / 1e3, P2: read("p2") / 1e3, T1: read("T1") - 273.15, Qm: read("qm") / 1.185 * 60e3,
			})
		}
	}
	return rows, p.Truth()
}

func chinese(rows []flowRow, comma, point string) string {
	var b strings.Builder
	b.WriteString(strings.Join([]string{"时间", "上游压力", "下游压力", "上游温度", "流量"}, comma) + "\r\n")
	for _, r := range rows {
		line := fmt.Sprintf("%.1f|%.3f|%.3f|%.3f|%.3f\r\n", r.Time, r.P1, r.P2, r.T1, r.Qm)
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(line, ".", point), "|", comma))
	}
	return b.String()
}

func TestEvaluateFiles(t *testing.T) {
	t.Parallel()
	rows, truth := flowRows(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(chinese(rows, ",", "."))
	if err != nil {
		t.Fatal(err)
	}
	book := excelize.NewFile()
	_ = book.SetSheetRow("Sheet1", "A1", &[]any{"时间", "上游压力", "下游压力", "上游温度", "流量"})
	start := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for i, r := range rows {
		at := start.Add(time.Duration(r.Time * 1e9))
		_ = book.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+2), &[]any{at, r.P1, r.P2, r.T1, r.Qm})
	}
	var xlsx, table bytes.Buffer
	if err := book.Write(&xlsx); err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[flowRow](&table)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	zh := []string{"--map", "p1=上游压力:kPa_a", "--map", "p2=下游压力:kPa_a", "--map", "T1=上游温度:degC", "--map", "qm=流量:L/min_ANR"}
	with := write("columns.yaml", []byte(`version: 1
time: { column: 时间 }
channels:
  p1: { column: 上游压力, unit: kPa_a, accuracy: 0.1 % rdg + 0.5 kPa }
  p2: { column: 下游压力, unit: kPa_a, accuracy: 0.1 % rdg + 0.5 kPa }
  T1: { column: 上游温度, unit: degC, accuracy: 0.1 K_delta }
  qm: { column: 流量, unit: L/min_ANR, accuracy: 0.5 % rdg }
parameters: { window: 2 }
limits: ["C >= 10 dm3/(s.bar)"]
`))
	for _, c := range []struct {
		name string
		file string
		args []string
		code int
	}{
		{"byte-order mark", write("bom.csv", []byte("\xef\xbb\xbf"+chinese(rows, ",", "."))), zh, 0},
		{"semicolons and decimal commas", write("semi.csv", []byte(chinese(rows, ";", ","))), zh, 0},
		{"GBK", write("gbk.csv", []byte(gbk)), zh, 0},
		{"spreadsheet", write("book.xlsx", xlsx.Bytes()), zh, 0},
		{"Parquet", write("run.parquet", table.Bytes()), []string{"--map", "p1=p1:kPa_a", "--map", "p2=p2:kPa_a", "--map", "T1=T1:degC", "--map", "qm=qm:L/min_ANR"}, 0},
		{"columns in a file, a limit not kept", filepath.Join(dir, "bom.csv"), []string{"--with", with, "--rule", "guarded"}, exitFail},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plots := t.TempDir()
			args := append([]string{"evaluate", "iso6358-1", c.file, "--json", "--param", "window=2", "--param", "draws=0", "--svg", plots}, c.args...)
			code, out, errs := command(t, "en", args...)
			if code != c.code {
				t.Fatalf("exit code %d, want %d: %s %s", code, c.code, errs, out)
			}
			var r verification.Result
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			if f := r.Figure("C"); f == nil || math.Abs(f.Value/(truth["C"]*1e8)-1) > 0.01 {
				t.Errorf("C %+v, truth %g; %v", f, truth["C"]*1e8, r.Notes)
			}
			if len(r.Inputs) != 1 || len(r.Inputs[0].SHA256) != 64 || r.Schema != verification.SchemaName {
				t.Errorf("inputs %+v, schema %s", r.Inputs, r.Schema)
			}
			if svg, err := os.ReadFile(filepath.Join(plots, "flow.svg")); err != nil || !bytes.Contains(svg, []byte("critical ratio b")) {
				t.Errorf("the plot: %v", err)
			}
		})
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"gauge without atmosphere", []string{"--map", "p1=上游压力:kPa_g", "--map", "p2=下游压力:kPa_a", "--map", "T1=上游温度:degC", "--map", "qm=流量:L/min_ANR"}, exitInvalid, "GAUGE_WITHOUT_ATMOSPHERE"},
		{"no such column", []string{"--map", "p1=压力:kPa_a"}, exitData, "its columns are 时间, 上游压力"},
		{"no such unit", []string{"--map", "p1=上游压力:kPas"}, exitUsage, ""},
		{"conclusive", append([]string{"--limit", "C >= 1", "--rule", "guarded"}, zh...), exitOK, "pass"},
	} {
		code, out, errs := command(t, "zh", append([]string{"evaluate", "iso6358-1", filepath.Join(dir, "bom.csv"), "--param", "window=2", "--param", "draws=0"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%s: exit code %d, want %d; %s %s", c.name, code, c.code, out, errs)
		}
	}
	if code, _, errs := command(t, "en", "evaluate", "iso6358-1", write("broken.xlsx", []byte("PK\x03\x04 no workbook"))); code != exitData {
		t.Errorf("a broken workbook: %d %s", code, errs)
	}
	if code, out, _ := command(t, "en", "evaluate", "methods"); code != 0 || !strings.Contains(out, "iso6358-1/1") || !strings.Contains(out, "volume") {
		t.Errorf("methods: %d %s", code, out)
	}
}

// The bundled example of a limits file judges a proof test with its leak and a
// pull-out force read by hand.
func TestLimitsOfPushInFitting(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "configs", "limits", "push-in-fitting.yaml")
	csv := filepath.Join(t.TempDir(), "proof.csv")
	var b strings.Builder
	b.WriteString("\xef\xbb\xbf时间,试验压力 [kPa_g],阶段,泄漏量 [cm3/min_ANR]\n")
	for k := range 1200 {
		at := float64(k) / 10
		p, step := 0.0, 0
		switch {
		case at < 20:
			p, step = 2000*at/20, 1
		case at < 80:
			p, step = 2000+5*math.Sin(at), 2
		case at < 110:
			p, step = 1000, 3
		}
		fmt.Fprintf(&b, "%.1f,%.2f,%d,%.3f\n", at, p, step, 0.4+0.01*math.Sin(at))
	}
	if err := os.WriteFile(csv, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"evaluate", "limits", csv, "--with", path, "--map", "p=试验压力", "--map", "step=阶段:1", "--map", "leak=泄漏量", "--json"}
	for _, c := range []struct {
		reading string
		code    int
	}{{"182 N ± 3 N", exitOK}, {"151 N ± 3 N", exitInconclusive}, {"120 N ± 3 N", exitFail}, {"", exitInvalid}} {
		all := args
		if c.reading != "" {
			all = append(all, "--reading", "pull_out="+c.reading)
		}
		code, out, errs := command(t, "en", all...)
		if code != c.code {
			t.Fatalf("pull-out force %q: exit code %d, want %d: %s %s", c.reading, code, c.code, errs, out)
		}
		if c.code != exitOK {
			continue
		}
		var r verification.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][2]float64{
			"proof_pressure": {1995, 0.5}, "proof_time": {59.9, 0.3}, "ramp": {100, 1}, "leak": {0.4, 0.01}, "pull_out": {182, 1e-9},
		} {
			if f := r.Figure(name); f == nil || math.Abs(f.Value-want[0]) > want[1] || f.Decision == nil {
				t.Errorf("%s: %+v, want %g ± %g", name, f, want[0], want[1])
			}
		}
		if f := r.Figure("pull_out"); *f.U < 3 || *f.U > 3.6 {
			t.Errorf("U of a rectangular ±3 N is %g", *f.U)
		}
	}
}

// A recording of the twin's flow test, taken over real Modbus by the service,
// gives the truth; faulty twins are found as what they are.
func TestRecordingsOfTwinsAreEvaluated(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of real time")
	}
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "configs", "rigs", "flow-bench.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"wires", "models"} {
		if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(filepath.Join("..", "..", "configs", sub))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "rigs"), 0o750); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, params, fault string
		codes               []string
	}{
		{name: "good"},
		{name: "shut", fault: "throttle_shut", codes: []string{"NO_CHOKED_POINT", "OUT_OF_RANGE"}},
		{name: "leaking", fault: "leak", codes: []string{"LEAKING"}},
		{name: "sticking", fault: "sticking_spool", codes: []string{"NO_CHOKED_POINT", "NOT_STEADY", "NO_FIT", "UPSTREAM_NOT_CONSTANT", "LEAKING"}},
		{name: "gauge", params: ", p1.gauge: 1", codes: []string{"GAUGE_DECLARED_ABSOLUTE"}},
	}
	var files []string
	for i, c := range cases {
		x := strings.Replace(string(text), "rig: flow-bench", "rig: "+c.name, 1)
		x = strings.Replace(x, "params: { plc.auto: 1, host.timeout: 5 }", "params: { plc.auto: 1, plc.rest: 2, dwell: 2"+c.params+" }", 1)
		x = strings.Replace(x, "5020", fmt.Sprint(5120+2*i), 1)
		x = strings.Replace(x, "5021", fmt.Sprint(5121+2*i), 1)
		path := filepath.Join(dir, "rigs", c.name+".yaml")
		if err := os.WriteFile(path, []byte(x), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	rigs, problems := configs.Load(files...)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	options, err := storeOptions(rigs, nil)
	if err != nil {
		t.Fatal(err)
	}
	options.Dir, options.Twin, options.Logger = filepath.Join(dir, "data"), true, slog.New(slog.DiscardHandler)
	s, err := openService(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan string, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	term := &terminal{in: strings.NewReader(""), out: io.Discard, err: io.Discard, logger: options.Logger, lang: "en"}
	go func() {
		defer close(ended)
		done <- s.serve(ctx, term, serveOptions{rigs: rigs, listen: "127.0.0.1:0", ready: func(url string) { ready <- url }})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("the service is not ready")
	}
	s.mu.Lock()
	for _, c := range cases {
		if c.fault != "" {
			if err := s.rigs[c.name].twin.Break(c.fault, true); err != nil {
				t.Error(err)
			}
		}
	}
	s.mu.Unlock()
	a := &archive{store: s.store}
	for _, c := range cases {
		_, err := a.Start(ctx, web.NewRecording{Rig: c.name, Owner: "test"})
		for k := 0; err != nil && k < 100; k++ { // its first epoch opens when its bus is there
			time.Sleep(50 * time.Millisecond)
			_, err = a.Start(ctx, web.NewRecording{Rig: c.name, Owner: "test"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// 2 s rest, 11.5 s until the first point, 13 points of 2 s, venting.
	select {
	case err := <-done:
		t.Fatal(err)
	case <-time.After(50 * time.Second):
	}
	recordings := map[string]string{}
	for _, r := range s.store.Recordings("") {
		if _, err := a.Stop(ctx, r.ID, "test"); err != nil {
			t.Fatal(err)
		}
		recordings[r.Rig] = r.ID
	}
	for _, c := range cases {
		// The command finds the service by the data directory and asks it.
		code, out, errs := command(t, "en", "runs", "evaluate", recordings[c.name], "iso6358-1", "--data", options.Dir, "--json",
			"--accuracy", "p1=0.1 % rdg + 0.5 kPa", "--accuracy", "p2=0.1 % rdg + 0.5 kPa")
		var r verification.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: exit code %d: %s %s", c.name, code, out, errs)
		}
		if r.Recording != recordings[c.name] || !r.Simulated {
			t.Errorf("%s: recording %q, simulated %t", c.name, r.Recording, r.Simulated)
		}
		if c.codes != nil {
			if r.Refusal == nil {
				t.Errorf("%s: judged, C %s, b %s; %v", c.name, r.Figure("C").Text, r.Figure("b").Text, r.Notes)
				continue
			}
			t.Logf("%s: %s %s", c.name, r.Refusal.Code, r.Refusal.What)
			found := false
			for _, x := range c.codes {
				found = found || r.Refusal.Code == x
			}
			if !found || code != exitInvalid {
				t.Errorf("%s: %s with exit code %d; want one of %v and %d", c.name, r.Refusal.Code, code, c.codes, exitInvalid)
			}
			continue
		}
		if code != exitOK || r.Refusal != nil {
			t.Errorf("%s: exit code %d, %+v, %s", c.name, code, r.Refusal, errs)
			continue
		}
		truth := twinTruth(t, rigs[0])
		cf, bf := r.Figure("C"), r.Figure("b")
		t.Logf("C %s, truth %.4f; b %s, truth %.4f; %v", cf.Text, truth["C"]*1e8, bf.Text, truth["b"], r.Notes)
		if d := math.Abs(cf.Value - truth["C"]*1e8); d > 0.01*cf.Value || d > *cf.U {
			t.Errorf("C %s, truth %g", cf.Text, truth["C"]*1e8)
		}
		if d := math.Abs(bf.Value - truth["b"]); d > 0.02 || d > *bf.U {
			t.Errorf("b %s, truth %g", bf.Text, truth["b"])
		}
	}
}

// twinTruth is what the plant of a rig's twin has drawn from its seed.
func twinTruth(t *testing.T, r *configs.Rig) map[string]float64 {
	t.Helper()
	o, err := r.Simulator()
	if err != nil {
		t.Fatal(err)
	}
	p, err := simulator.NewPlant(o.Plant, o.Seed, o.Params)
	if err != nil {
		t.Fatal(err)
	}
	return p.Truth()
}

// A recording of the valve stand gives shifting times and the leak, here judged
// on the store after the service has stopped.
func TestRecordingOfTheValveStandIsEvaluated(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute of real time")
	}
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"wires", "models", "rigs"} {
		if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(filepath.Join("..", "..", "configs", sub))); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "rigs", "valve-stand.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short := strings.Replace(string(text), "params: { plc.auto: 1, host.timeout: 5 }",
		"params: { plc.auto: 1, plc.rest: 3, host.timeout: 5, cycles: 6, conditioning: 1, fill: 4, stabilise: 30, measure: 30 }", 1)
	if short == string(text) {
		t.Fatal("the bundled rig file has other parameters")
	}
	if err := os.WriteFile(path, []byte(short), 0o600); err != nil {
		t.Fatal(err)
	}
	rigs, problems := configs.Load(path)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	options, err := storeOptions(rigs, nil)
	if err != nil {
		t.Fatal(err)
	}
	options.Dir, options.Twin, options.Logger, options.TruthDir = filepath.Join(dir, "data"), true, slog.New(slog.DiscardHandler), dir
	s, err := openService(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	term := &terminal{in: strings.NewReader(""), out: io.Discard, err: io.Discard, logger: options.Logger, lang: "en"}
	go func() { done <- s.serve(ctx, term, serveOptions{rigs: rigs, listen: "127.0.0.1:0"}) }()
	a := &archive{store: s.store}
	_, err = a.Start(ctx, web.NewRecording{Rig: "valve-stand", Owner: "test"})
	for k := 0; err != nil && k < 200; k++ {
		time.Sleep(50 * time.Millisecond)
		_, err = a.Start(ctx, web.NewRecording{Rig: "valve-stand", Owner: "test"})
	}
	if err != nil {
		cancel()
		t.Fatal(err, <-done)
	}
	// 3 s rest, 2 s pressure, 14 shifts of 0.3 s, 4 + 0.5 + 30 + 30 s.
	select {
	case err := <-done:
		t.Fatal(err)
	case <-time.After(77 * time.Second):
	}
	for _, r := range s.store.Recordings("") {
		if _, err := a.Stop(ctx, r.ID, "test"); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	judge := func(args ...string) *verification.Result {
		t.Helper()
		code, out, errs := command(t, "en", append([]string{"runs", "evaluate", "last"}, append(args, "--json", "--data", options.Dir, "--rig", path)...)...)
		var r verification.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK || r.Refusal != nil {
			t.Fatalf("%v: exit code %d: %v %s %s", args, code, r.Refusal, errs, out)
		}
		return &r
	}
	truth := lastTruth(t, filepath.Join(dir, "valve-stand-truth.jsonl"))
	shift := judge("iso12238", "--accuracy", "p1=0.1 % rdg + 0.5 kPa", "--accuracy", "p4=0.1 % rdg + 0.5 kPa")
	for name, stat := range map[string]string{"t_fill": "shift.fill.4.mean", "t_exhaust": "shift.exhaust.4.mean"} {
		f := shift.Figure(name)
		t.Logf("%s %s, truth of these shifts %.3f", name, f.Text, truth[stat]*1e3)
		if d := math.Abs(f.Value - truth[stat]*1e3); d > *f.U {
			t.Errorf("%s %s, truth %g", name, f.Text, truth[stat]*1e3)
		}
		if n := shift.Figure(name + ".n").Value; n != 6 {
			t.Errorf("%s: %g shifts, 6 are measured", name, n)
		}
	}
	leak := judge("leak.decay", "--param", "volume=330 cm3 ± 2.5 cm3").Figure("leak")
	want := truth["leak.mean"] / 1.185 * 60e6
	t.Logf("leak %s, truth %.4g", leak.Text, want)
	if math.Abs(leak.Value-want) > *leak.U {
		t.Errorf("leak %s, truth %g", leak.Text, want)
	}
}

// lastTruth reads the twin's truth: its last figures, and the mean leak of the
// measured decay.
func lastTruth(t *testing.T, path string) map[string]float64 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	truth := map[string]float64{}
	sum, n := 0.0, 0.0
	for line := range strings.Lines(string(data)) {
		var x struct {
			Values map[string]float64 `json:"values"`
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Values == nil {
			continue
		}
		if x.Values["plc.step"] == 7 {
			sum += x.Values["q_leak"]
			n++
		}
		maps.Copy(truth, x.Values)
	}
	if n == 0 {
		t.Fatal("the twin never measured a decay")
	}
	truth["leak.mean"] = sum / n
	return truth
}
