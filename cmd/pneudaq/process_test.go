package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/storage"
	"pneudaq/storage/influx/influxtest"
)

// binary builds the program once, as `go build` makes it.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pneudaq-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pneudaq")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is one running command.
type process struct {
	cmd *exec.Cmd
	out *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), out: &lockedBuffer{}}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), "PNEUDAQ_LANG=en")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

func (p *process) stop(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(t, 10*time.Second)
}

func (p *process) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	timer := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// pneudaq runs a command to its end.
func pneudaq(t *testing.T, args ...string) (string, int) {
	t.Helper()
	p := start(t, args...)
	code := p.wait(t, 30*time.Second)
	return p.out.String(), code
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// ownFlowBench copies the bundled configuration to a directory of the test,
// with ports of its own and lines added, and returns the rig file.
func ownFlowBench(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	err := fs.WalkDir(configs.Bundle(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(configs.Bundle(), name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			return err
		}
		if name == "rigs/flow-bench.yaml" {
			s := strings.NewReplacer("127.0.0.1:5020", freePort(t), "127.0.0.1:5021", freePort(t)).Replace(string(data))
			data = []byte(s + "\n" + more + "\n")
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "rigs", "flow-bench.yaml")
}

// series is count, first, last, sum and a hash over (time, value) of a field.
type series struct {
	Count       int
	First, Last int64
	Sum         float64
	Hash        uint64
}

func (s *series) add(at int64, v float64) {
	if s.Count == 0 {
		s.First = at
	}
	s.Count++
	s.Last = at
	s.Sum += v
	h := fnv.New64a()
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], s.Hash)
	binary.LittleEndian.PutUint64(b[8:], uint64(at))
	binary.LittleEndian.PutUint64(b[16:], math.Float64bits(v))
	_, _ = h.Write(b[:])
	s.Hash = h.Sum64()
}

// inStore reads the store itself: group/channel to what it holds.
func inStore(t *testing.T, dir string) map[string]*series {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{Dir: dir, Compile: configs.Compile})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	all := map[string]*series{}
	for _, g := range store.Groups() {
		for b, err := range store.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
			if err != nil {
				t.Fatal(err)
			}
			d, err := acquisition.NewDecoder(b.Group, configs.Compile)
			if err != nil {
				t.Fatal(err)
			}
			n := len(b.Group.Channels)
			values, quality := make([]float64, n), make([]acquisition.Quality, n)
			for i := range b.Slots {
				d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
				for c := range values {
					if quality[c].Class() == acquisition.ClassBad {
						continue
					}
					key := g.Name + "/" + b.Group.Channels[c].Name
					if all[key] == nil {
						all[key] = &series{}
					}
					all[key].add(b.Times[i], values[c])
				}
			}
		}
	}
	return all
}

// inInflux asks the database over InfluxQL: group/field to what it holds.
func inInflux(t *testing.T, base string) map[string]*series {
	t.Helper()
	q := url.Values{"db": {"pneudaq"}, "epoch": {"ns"}, "q": {`SELECT * FROM "pneumatics" GROUP BY "group"`}}
	resp, err := http.Get(base + "/query?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Tags    map[string]string
				Columns []string
				Values  [][]any
			}
		}
	}
	d := json.NewDecoder(resp.Body)
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	all := map[string]*series{}
	for _, r := range answer.Results {
		if r.Error != "" {
			t.Fatal(r.Error)
		}
		for _, s := range r.Series {
			for _, row := range s.Values {
				at, err := row[0].(json.Number).Int64()
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range row {
					n, ok := v.(json.Number)
					if i == 0 || !ok {
						continue
					}
					x, err := n.Float64()
					if err != nil {
						t.Fatal(err)
					}
					key := s.Tags["group"] + "/" + s.Columns[i]
					if all[key] == nil {
						all[key] = &series{}
					}
					all[key].add(at, x)
				}
			}
		}
	}
	return all
}

func query(t *testing.T, base, q string) {
	t.Helper()
	resp, err := http.PostForm(base+"/query", url.Values{"q": {q}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// The built binary as two processes against a real InfluxDB, which must in the
// end hold exactly what the store holds: after undisturbed acquisition, after
// the database was away, and after kill -9 of the service.
func TestInfluxHoldsWhatTheStoreHolds(t *testing.T) {
	db := influxtest.StartReal(t, influxtest.RealOptions{})
	query(t, db.URL, "CREATE DATABASE pneudaq")
	rig := ownFlowBench(t, fmt.Sprintf("influx: { url: %q, bucket: pneudaq/autogen }", db.URL))
	dir := filepath.Join(t.TempDir(), "data")
	twin := start(t, "simulate", rig)
	pause := 6 * time.Second
	if os.Getenv("PNEUDAQ_LONG") != "" {
		pause = time.Minute
	}
	serve := func() *process { return start(t, "serve", rig, "--data", dir, "--listen", "127.0.0.1:0") }
	compare := func(what string) {
		t.Helper()
		want := inStore(t, dir)
		if len(want) < 20 {
			t.Fatalf("%s: the store holds %d series", what, len(want))
		}
		got := inInflux(t, db.URL)
		for key, w := range want {
			g := got[key]
			if g == nil {
				t.Errorf("%s: %s is not in InfluxDB", what, key)
				continue
			}
			if g.Count != w.Count || g.First != w.First || g.Last != w.Last || g.Hash != w.Hash || math.Abs(g.Sum-w.Sum) > 1e-9*math.Abs(w.Sum) {
				t.Errorf("%s: %s is %+v in InfluxDB and %+v in the store", what, key, *g, *w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d series in InfluxDB, %d in the store", what, len(got), len(want))
		}
	}

	p := serve()
	time.Sleep(pause)
	if code := p.stop(t); code != 0 {
		t.Fatalf("serve ended with %d: %s", code, p.out)
	}
	compare("undisturbed")

	p = serve()
	time.Sleep(pause / 2)
	db.Stop()
	time.Sleep(pause)
	db.Start()
	time.Sleep(pause + 6*time.Second)
	if code := p.stop(t); code != 0 {
		t.Fatalf("serve ended with %d: %s", code, p.out)
	}
	compare("database away")

	p = serve()
	time.Sleep(pause)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p = serve()
	time.Sleep(pause)
	if code := p.stop(t); code != 0 {
		t.Fatalf("serve ended with %d: %s", code, p.out)
	}
	compare("kill -9")
	if code := twin.stop(t); code != 0 {
		t.Errorf("simulate ended with %d: %s", code, twin.out)
	}
}

// F087: kill -9 in the middle of a recording. After the restart the record goes
// on, the hole is a gap with reason process, and the account is exact.
func TestF087KillDuringARecordingIsAccountedFor(t *testing.T) {
	t.Parallel()
	rig := ownFlowBench(t, "")
	dir := filepath.Join(t.TempDir(), "data")
	serve := func() *process {
		p := start(t, "serve", rig, "--twin", "--data", dir, "--listen", "127.0.0.1:0")
		eventually(t, 10*time.Second, "the service answers", func() bool {
			out, code := pneudaq(t, "runs", "list", "--data", dir, "--json")
			return code == 0 && strings.HasPrefix(strings.TrimSpace(out), "[")
		})
		return p
	}
	p := serve()
	eventually(t, 5*time.Second, "a recording starts", func() bool {
		_, code := pneudaq(t, "runs", "start", "flow-bench", "--data", dir)
		return code == 0
	})
	time.Sleep(2 * time.Second)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	time.Sleep(1500 * time.Millisecond)
	p = serve()
	time.Sleep(2 * time.Second)
	if out, code := pneudaq(t, "runs", "stop", "last", "--data", dir); code != 0 {
		t.Fatalf("runs stop: %d %s", code, out)
	}
	time.Sleep(2500 * time.Millisecond) // the last slots are committed with the next tick
	out, code := pneudaq(t, "runs", "audit", "last", "--data", dir, "--json")
	if code != 0 {
		t.Fatalf("runs audit: exit %d\n%s", code, out)
	}
	var report struct {
		Balanced bool
		Accounts []acquisition.Account
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, a := range report.Accounts {
		// 1.5 s dead and up to a second to start, at 10 and 5 slots a second.
		if n := a.Gaps[acquisition.ReasonProcess]; n < 7 || n > 60 {
			t.Errorf("group %s: %d slots are missing with reason process: %v", a.Group, n, a.Gaps)
		}
		if !a.Balanced() {
			t.Errorf("group %s: %d slots unexplained: %v", a.Group, a.Unexplained, a.Spans)
		}
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("serve ended with %d: %s", code, p.out)
	}
}

// Every way to start wrongly gives one clear message, the right exit code, and
// damages nothing.
func TestWrongStartsAreExplained(t *testing.T) {
	good := ownFlowBench(t, "")
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "serve", good, "--twin", "--data", dir, "--listen", "127.0.0.1:0")
	eventually(t, 10*time.Second, "the service is up", func() bool { _, err := os.Stat(filepath.Join(dir, "server.json")); return err == nil })
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = occupied.Close() }()
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("version: 1\nrig: r\nbuses:\n  b: { modbus: \"tcp://127.0.0.1:1\", timeuot: 1s }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(readOnly, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a wrong rig file", []string{"serve", wrong, "--data", t.TempDir()}, 78, "wrong.yaml:4:"},
		{"no rig file", []string{"serve", "absent.yaml", "--data", t.TempDir()}, 78, "absent.yaml"},
		{"an occupied port", []string{"serve", good, "--twin", "--data", filepath.Join(t.TempDir(), "d"), "--listen", occupied.Addr().String()}, 69, "another program has this port"},
		{"a second process on the store", []string{"serve", good, "--twin", "--data", dir, "--listen", "127.0.0.1:0"}, 75, fmt.Sprint(p.cmd.Process.Pid)},
		{"a data directory that is a file", []string{"serve", good, "--data", readOnly}, 74, "--data"},
		{"no such command", []string{"sreve"}, 64, "no command"},
		{"no argument", []string{"serve"}, 64, "rig file"},
		{"no store", []string{"runs", "list", "--data", filepath.Join(t.TempDir(), "none")}, 69, "no store"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, code := pneudaq(t, tc.args...)
			if code != tc.code || !strings.Contains(out, tc.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, tc.code, tc.says, out)
			}
		})
	}
	if out, code := pneudaq(t, "runs", "list", "--data", dir); code != 0 {
		t.Errorf("the running service was disturbed: %d %s", code, out)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("serve ended with %d: %s", code, p.out)
	}
}

// SIGTERM under load: everything committed within 5 s, exit 0 (F088), and
// SIGHUP with a wrong file changes nothing (F090).
func TestF088F090StopAndReload(t *testing.T) {
	t.Parallel()
	rig := ownFlowBench(t, "")
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "serve", rig, "--twin", "--data", dir, "--listen", "127.0.0.1:0")
	eventually(t, 10*time.Second, "the rig runs", func() bool { return strings.Contains(p.out.String(), "rig started") })
	text, err := os.ReadFile(rig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rig, append(text, []byte("\nnonsense: 1\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, 5*time.Second, "the reload is refused", func() bool { return strings.Contains(p.out.String(), "reload refused") })
	if strings.Contains(p.out.String(), "rig stopped") {
		t.Error("a wrong file stopped the rig")
	}
	if err := os.WriteFile(rig, bytes.Replace(text, []byte("flow: { period: 100ms }"), []byte("flow: { period: 50ms }"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, 10*time.Second, "the rig runs again", func() bool { return strings.Count(p.out.String(), "rig started") == 2 })
	time.Sleep(time.Second)
	began := time.Now()
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d: %s", code, p.out)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if all := inStore(t, dir); all["flow/p1"] == nil || all["flow/p1"].Count < 20 {
		t.Errorf("the store holds %v", all["flow/p1"])
	}
}

// The whole on a machine with nothing: within ten seconds of the start samples
// are in the store, and what the demo leaves can be read.
func TestDemoLeavesAReadableStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "demo", "--data", dir, "--listen", "127.0.0.1:0")
	eventually(t, 10*time.Second, "the page's address", func() bool { return strings.Contains(p.out.String(), "page      http://127.0.0.1:") })
	eventually(t, 10*time.Second, "a recording", func() bool { return strings.Contains(p.out.String(), "recording ") })
	time.Sleep(3 * time.Second)
	_ = p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(t, 10*time.Second); code != 0 {
		t.Fatalf("exit %d: %s", code, p.out)
	}
	out, code := pneudaq(t, "runs", "list", "--data", dir)
	if code != 0 || !strings.Contains(out, "flow-bench") || !strings.Contains(out, "SIMULATED") {
		t.Errorf("runs list: %d %s", code, out)
	}
	out, code = pneudaq(t, "runs", "audit", "last", "--data", dir)
	if code != 0 || !strings.Contains(out, "balanced") {
		t.Errorf("runs audit: %d %s", code, out)
	}
}
