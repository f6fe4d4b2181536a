package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/web"
)

// bench is a service on twins, with its page.
type bench struct {
	t     *testing.T
	s     *service
	rig   string // file of the rig
	url   string
	token string
	stop  func()
}

// startBench copies the bundled files, starts the rig on its twin and serves
// the page.
func startBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	err := fs.WalkDir(configs.Bundle(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(configs.Bundle(), name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, "conf", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, rig: filepath.Join(dir, "conf", "rigs", "flow-bench.yaml")}
	rigs, problems := configs.Load(b.rig)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	options, err := storeOptions(rigs, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	options.Dir, options.Twin, options.Logger = data, true, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if b.s, err = openService(ctx, options); err != nil {
		cancel()
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	done := make(chan error, 1)
	term := &terminal{in: strings.NewReader(""), out: io.Discard, err: io.Discard, logger: options.Logger, lang: "en"}
	go func() {
		done <- b.s.serve(ctx, term, serveOptions{rigs: rigs, listen: "127.0.0.1:0", demo: true, ready: func(url string) { ready <- url }})
	}()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(b.stop)
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("the service is not ready")
	}
	server, ok, err := readServerFile(data)
	if err != nil || !ok {
		t.Fatal("no server file", err)
	}
	b.url, b.token = server.URL, server.Token
	return b
}

func (b *bench) do(method, path, body string, header ...string) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// get reads a document.
func (b *bench) get(path string, into any) {
	b.t.Helper()
	status, body, _ := b.do("GET", path, "")
	if status != http.StatusOK {
		b.t.Fatalf("%s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		b.t.Fatal(err)
	}
}

// within waits until something holds.
func (b *bench) within(d time.Duration, what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func (b *bench) rigDocument() web.Rig {
	var r web.Rig
	b.get("/api/v1/rigs/flow-bench", &r)
	return r
}

func TestPageShowsARigAsItRuns(t *testing.T) {
	b := startBench(t)
	b.within(5*time.Second, "every group stores", func() bool {
		r := b.rigDocument()
		return len(r.Groups) > 0 && !slices.ContainsFunc(r.Groups, func(g web.Group) bool { return !g.Running || g.Stored < 3 })
	})
	r := b.rigDocument()
	if !r.Simulated || r.Armed || r.Recording != nil || len(r.Buses) != 2 {
		t.Errorf("rig: %+v", r)
	}
	for _, x := range r.Buses {
		if !x.Up || x.Stats.Requests == 0 || x.Stats.Answers == 0 || strings.Contains(x.Endpoint, "@") {
			t.Errorf("bus: %+v", x)
		}
	}
	var h web.HealthReport
	b.within(5*time.Second, "a commit", func() bool { b.get("/api/v1/health", &h); return h.Store.Bytes > 0 && h.Store.CommitP99MS > 0 })
	if !h.Simulated || !h.Demo || h.Clock.Source == "" || len(h.Store.Commit.Counts) != len(h.Store.Commit.Bounds)+1 {
		t.Errorf("health: %+v", h)
	}

	// A recording: the running account and the audit agree, live and after.
	status, body, _ := b.do("POST", "/api/v1/recordings", `{"rig":"flow-bench","note":"test"}`)
	if status != http.StatusCreated {
		t.Fatalf("start: %d %s", status, body)
	}
	var doc web.RecordingDetail
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Owner != "commands" || doc.Note != "test" {
		t.Errorf("recording %+v", doc.Recording)
	}
	if status, body, _ := b.do("POST", "/api/v1/recordings", `{"rig":"flow-bench"}`); status != http.StatusConflict || !strings.Contains(body, doc.ID) {
		t.Errorf("a second recording: %d %s", status, body)
	}
	if status, body, _ := b.do("POST", "/api/v1/recordings", `{"rig":"nothing"}`); status != http.StatusNotFound {
		t.Errorf("a recording of nothing: %d %s", status, body)
	}
	stream := b.listen("channels=flow-bench/p1,flow-bench/qm")
	var state web.RecordState
	b.within(5*time.Second, "a running account of 20 slots", func() bool {
		e := <-stream
		if e.name == "record" {
			if err := json.Unmarshal([]byte(e.data), &state); err != nil {
				t.Fatal(err)
			}
		}
		return state.Stored >= 20
	})
	if state.Unexplained != 0 || state.Recording != doc.ID {
		t.Errorf("running account: %+v", state)
	}

	// A break is a gap with its reason, in the data and in the account.
	if status, body, _ := b.do("POST", "/api/v1/demo/faults", `{"name":"flow-bench:unplug:line","on":true}`); status != http.StatusOK || !strings.Contains(body, `"on":true`) {
		t.Fatalf("break: %d %s", status, body)
	}
	b.within(5*time.Second, "the bus is down and said to be", func() bool {
		b.get("/api/v1/health?lang=zh", &h)
		return slices.ContainsFunc(h.Problems, func(p web.ProblemDocument) bool {
			return p.Code == string(web.CodeBusDown) && p.Bus == "line" && strings.Contains(p.What, "总线")
		})
	})
	b.do("POST", "/api/v1/demo/faults", `{"name":"flow-bench:unplug:line","on":false}`)
	b.within(8*time.Second, "the bus is up again", func() bool { return b.rigDocument().Buses[1].Up })
	time.Sleep(500 * time.Millisecond)
	status, body, _ = b.do("POST", "/api/v1/recordings/"+doc.ID+"/stop", "{}")
	if status != http.StatusOK {
		t.Fatalf("stop: %d %s", status, body)
	}
	var audit web.AuditReport
	b.within(5*time.Second, "everything is committed", func() bool {
		b.get("/api/v1/recordings/"+doc.ID+"/audit", &audit)
		return audit.Balanced
	})
	if audit.Recording.Missing == 0 || audit.Recording.Stored == 0 {
		t.Errorf("audit: %+v", audit.Recording)
	}
	var data struct {
		Series map[string]struct {
			Raw bool
			T   []float64
			V   []*float64
		}
		Gaps []struct {
			From, To float64
			Reason   string
			Group    string
			Slots    uint64
		}
	}
	b.get("/api/v1/recordings/"+doc.ID+"/data?channels=p1,p2&points=2000", &data)
	slots := uint64(0)
	for _, g := range data.Gaps {
		if g.Group == "flow" {
			slots += g.Slots
			if g.From >= g.To || g.Reason == "" {
				t.Errorf("gap %+v", g)
			}
		}
	}
	i := slices.IndexFunc(audit.Accounts, func(a acquisition.Account) bool { return a.Group == "flow-bench/flow" })
	missing := uint64(0)
	for _, n := range audit.Accounts[i].Gaps {
		missing += n
	}
	// Data are selected by the time of a reading, the account by the instant its
	// slot was due, a few milliseconds earlier: one slot at each edge may differ.
	if n := uint64(len(data.Series["p1"].T)); n+1 < audit.Accounts[i].Stored || n > audit.Accounts[i].Stored+1 || missing == 0 || slots < missing || slots > missing+10 {
		t.Errorf("group flow: %d samples and %d slots in gaps; the audit has %d and %d", n, slots, audit.Accounts[i].Stored, missing)
	}
	b.get("/api/v1/recordings/"+doc.ID+"/data?channels=p1&points=10", &data)
	if len(data.Series["p1"].T) > 12 || data.Series["p1"].Raw || len(data.Gaps) == 0 {
		t.Errorf("overview: %d points, %d gaps", len(data.Series["p1"].T), len(data.Gaps))
	}
	var events struct{ Events []web.EventDocument }
	b.get("/api/v1/events?rig=flow-bench", &events)
	if !slices.ContainsFunc(events.Events, func(e web.EventDocument) bool { return e.Rig == "flow-bench" }) {
		t.Errorf("events: %+v", events.Events)
	}
	b.asDescribed(doc.ID)
	for _, format := range []string{"csv", "jsonl", "parquet", "xlsx"} {
		status, body, header := b.do("GET", "/api/v1/recordings/"+doc.ID+"/export?format="+format, "")
		if status != http.StatusOK || !strings.HasPrefix(body, "PK") || !strings.Contains(header.Get("Content-Disposition"), doc.ID) {
			t.Errorf("%s of all groups: %d %s %.40q", format, status, header.Get("Content-Disposition"), body)
		}
	}
	status, body, header := b.do("GET", "/api/v1/recordings/"+doc.ID+"/export?format=csv&channels=p1&bom=1", "")
	rows := uint64(strings.Count(body, "\n"))
	if status != http.StatusOK || header.Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(body, "\ufeff") || rows < audit.Accounts[i].Stored {
		t.Errorf("csv of p1: %d %v, %d rows: %.120q", status, header, rows, body)
	}
	if status, body, _ := b.do("GET", "/api/v1/recordings/"+doc.ID+"/export?channels=nothing", ""); status != http.StatusNotFound {
		t.Errorf("a channel that is not there: %d %s", status, body)
	}
	b.s.mu.Lock()
	address := b.s.rigs["flow-bench"].twin.Addr("field")
	b.s.mu.Unlock()
	status, body, _ = b.do("POST", "/api/v1/probe", fmt.Sprintf(`{"url":"tcp://%s","units":[1],"from":0,"count":16}`, address))
	var probe web.ProbeReport
	if err := json.Unmarshal([]byte(body), &probe); err != nil || status != http.StatusOK {
		t.Fatalf("probe: %d %s", status, body)
	}
	if len(probe.Units) == 0 || len(probe.Units[0].Registers) == 0 || len(probe.Units[0].Registers[0].Decodings) != 8 || !strings.Contains(probe.YAML, "unit1") {
		t.Errorf("probe: %.600s", body)
	}
	b.stop()
}

// asDescribed compares answers of the running service with the description.
func (b *bench) asDescribed(id string) {
	b.t.Helper()
	text, err := os.ReadFile("../../web/openapi.json")
	if err != nil {
		b.t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		b.t.Fatal(err)
	}
	for path, operation := range map[string]string{
		"/api/v1/health": "/api/v1/health", "/api/v1/rigs": "/api/v1/rigs", "/api/v1/rigs/flow-bench": "/api/v1/rigs/{rig}", "/api/v1/topics": "/api/v1/topics",
		"/api/v1/data?rig=flow-bench": "/api/v1/data", "/api/v1/events": "/api/v1/events", "/api/v1/recordings": "/api/v1/recordings",
		"/api/v1/recordings/" + id: "/api/v1/recordings/{id}", "/api/v1/recordings/" + id + "/audit": "/api/v1/recordings/{id}/audit",
		"/api/v1/recordings/" + id + "/data": "/api/v1/recordings/{id}/data", "/api/v1/reconcile": "/api/v1/reconcile", "/api/v1/demo/faults": "/api/v1/demo/faults",
		"/api/v1/session": "/api/v1/session", "/healthz": "/healthz", "/readyz": "/readyz",
	} {
		status, body, _ := b.do("GET", path, "")
		if status != http.StatusOK {
			b.t.Errorf("%s: %d %s", path, status, body)
			continue
		}
		s, err := c.Compile("openapi.json#/paths/" + strings.ReplaceAll(operation, "/", "~1") + "/get/responses/200/content/application~1json/schema")
		if err != nil {
			b.t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			b.t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			b.t.Errorf("%s is not as described: %v", path, err)
		}
	}
}

type liveEvent struct{ name, data string }

func (b *bench) listen(query string) <-chan liveEvent {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+"/api/v1/live?"+query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // by whoever reads the stream
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("live: %v %v", resp, err)
	}
	out := make(chan liveEvent, 10_000)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		var e liveEvent
		for lines.Scan() {
			switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
			case "event":
				e.name = value
			case "data":
				e.data = value
				select {
				case out <- e:
				default:
				}
			}
		}
	}()
	return out
}

func TestRigFilesAreSavedOnlyWhenRight(t *testing.T) {
	b := startBench(t)
	status, text, header := b.do("GET", "/api/v1/rigs/flow-bench/file", "")
	tag := header.Get("ETag")
	if status != http.StatusOK || tag == "" || !strings.Contains(text, "rig: flow-bench") {
		t.Fatalf("file: %d %q %.100s", status, tag, text)
	}
	put := func(text, tag string) (int, string, http.Header) {
		return b.do("PUT", "/api/v1/rigs/flow-bench/file", text, "Content-Type", "text/yaml", "If-Match", tag)
	}
	onDisk := func() string {
		got, err := os.ReadFile(b.rig)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	wrong := strings.Replace(text, "period: 100ms", "period: fast", 1)
	status, body, _ := put(wrong, tag)
	line := 1 + strings.Count(wrong[:strings.Index(wrong, "period: fast")], "\n")
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, `"line":`+strconv.Itoa(line)) || onDisk() != text {
		t.Errorf("a wrong text: %d %s", status, body)
	}
	if status, body, _ := put(text+"# more\n", `"other"`); status != http.StatusPreconditionFailed || onDisk() != text {
		t.Errorf("another version: %d %s", status, body)
	}
	if status, body, _ := put(strings.Replace(text, "rig: flow-bench", "rig: other", 1), tag); status != http.StatusUnprocessableEntity || onDisk() != text {
		t.Errorf("another rig: %d %s", status, body)
	}
	b.within(5*time.Second, "data", func() bool { return b.rigDocument().Groups[0].Stored > 2 })
	_, body, _ = b.do("POST", "/api/v1/recordings", `{"rig":"flow-bench"}`)
	var doc web.RecordingDetail
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	better := strings.Replace(text, "site: ningbo", "site: ningbo-2", 1)
	if better == text {
		t.Fatal("the bundled file has no such site")
	}
	if status, body, _ := put(better, tag); status != http.StatusUnprocessableEntity || !strings.Contains(body, "recorded") || onDisk() != text {
		t.Errorf("while it is recorded: %d %s", status, body)
	}
	b.do("POST", "/api/v1/recordings/"+doc.ID+"/stop", "{}")
	status, body, header = put(better, tag)
	if status != http.StatusOK || header.Get("ETag") == tag || onDisk() != better {
		t.Fatalf("a right text: %d %s", status, body)
	}
	if r := b.rigDocument(); r.Site != "ningbo-2" {
		t.Errorf("the rig was not reloaded: %+v", r.Site)
	}
	b.within(8*time.Second, "data again", func() bool { return b.rigDocument().Groups[0].Stored > 2 })
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(b.rig), "*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	status, body, _ = b.do("POST", "/api/v1/check", fmt.Sprintf(`{"name":"flow-bench","text":%q}`, wrong), "Accept-Language", "zh")
	if status != http.StatusOK || !strings.Contains(body, `"severity":"error"`) {
		t.Errorf("check: %d %s", status, body)
	}
	status, body, _ = b.do("POST", "/api/v1/check", fmt.Sprintf(`{"name":"flow-bench","text":%q}`, better))
	var report web.CheckReport
	if err := json.Unmarshal([]byte(body), &report); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	if report.Wrong() || len(report.Plan) != 2 || len(report.Plan[0].Requests) == 0 || report.Series == 0 || report.BytesPerDay == 0 || report.LoadPercent <= 0 {
		t.Errorf("check: %s", body)
	}
}

// F100: a rig file that is a link to somewhere else is neither read nor written.
func TestF100RigFileThatLeadsElsewhere(t *testing.T) {
	b := startBench(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("root:x:0:0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.rig); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, b.rig); err != nil {
		t.Fatal(err)
	}
	status, body, _ := b.do("GET", "/api/v1/rigs/flow-bench/file", "")
	if status == http.StatusOK || strings.Contains(body, "root:x") {
		t.Errorf("the link was followed: %d %s", status, body)
	}
}

func TestEndpointsAreShownWithoutSecrets(t *testing.T) {
	for in, want := range map[string]string{
		"mqtt://user:pass@10.0.0.1:1883": "mqtt://10.0.0.1:1883", "tcp://10.0.0.1:502": "tcp://10.0.0.1:502",
		"rtu:///dev/ttyUSB0?baud=19200": "rtu:///dev/ttyUSB0?baud=19200", "mqtt://u:p%zz@h": "mqtt://?",
	} {
		if got := withoutSecrets(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
