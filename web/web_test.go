package web_test

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pneudaq/acquisition"
	"pneudaq/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hour   = int64(time.Hour)
	begin  = int64(1_790_000_000e9)
	html   = `<img src=x onerror=alert(1)>`
	canary = "canary-7f3a9e51-secret-token"
)

// group is a group with one register channel and one derived one.
func group(rig, name string, period time.Duration) *acquisition.Group {
	return &acquisition.Group{
		Rig: rig, Name: name, Version: 1, Measurement: "pneumatics", Period: period, Words: 1, Exchanges: 1,
		Channels: []acquisition.Channel{
			{ID: "p1", Name: "p1", Unit: "kPa_a", Decoding: acquisition.Decoding{Type: acquisition.TypeInt16}},
			{ID: "x2", Name: "twice", Unit: "kPa_a", Decoding: acquisition.Decoding{Origin: acquisition.FromExpression, Expression: "2*p1"}},
		},
	}
}

func compile(text string, _ []string) (acquisition.Expression, error) {
	if text != "2*p1" {
		return acquisition.Expression{}, errors.New("only 2*p1 here")
	}
	return acquisition.Expression{Operands: []int{0}, Eval: func(v []float64) float64 { return 2 * v[0] }}, nil
}

// block returns a block of scans whose value is f(slot).
func block(g *acquisition.Group, seq, from, to uint64, f func(uint64) int16) *acquisition.Block {
	b := &acquisition.Block{Group: g, Seq: seq, Epoch: 1}
	for s := from; s < to; s++ {
		b.Slots = append(b.Slots, s)
		b.Times = append(b.Times, g.Due(0, s))
		b.Exchanges = append(b.Exchanges, acquisition.Exchange{})
		b.Words = append(b.Words, uint16(f(s)))
	}
	return b
}

// parts is a service made of fixed answers, in which tests change what they are
// about.
type parts struct {
	mu         sync.Mutex
	rigs       []web.Rig
	health     web.HealthReport
	notReady   error
	recordings []web.RecordingDetail
	blocks     []*acquisition.Block
	overview   web.Overview
	events     []acquisition.Event
	file       web.RigFile
	exportErr  error
	faults     []web.DemoFault
	asked      []string
	amended    []web.Amendment
	starts     atomic.Int64
}

func newParts() *parts {
	p := &parts{}
	days := 12.5
	low, high := 0.0, 1100.0
	p.health = web.HealthReport{
		Clock: web.ClockState{Source: "kernel", Synchronised: true, EstimatedErrorMS: 0.2},
		Store: web.StoreState{
			Dir: "/data", Bytes: 4096, Written: 4096, DaysLeft: &days,
			Commit: web.Histogram{Bounds: []float64{1, 10}, Counts: []uint64{3, 2, 1}, SumMS: 44},
			Age:    web.Histogram{Bounds: []float64{1, 10}, Counts: []uint64{0, 5, 1}, SumMS: 60},
		},
		Forwarders: []web.ForwarderState{{Name: "influx", Rigs: []string{"bench"}, State: "holding", Stored: 10, Delivered: 7, Waiting: 2, Refused: 1, What: "401", Do: "renew the token"}},
		Problems:   []web.ProblemDocument{{Code: "PD3101", Severity: web.SeverityError, What: "bus field is down", Rig: "bench", Bus: "field"}},
	}
	p.rigs = []web.Rig{{
		Name: "bench", Site: "ningbo", File: "bench.yaml",
		Buses: []web.Bus{{
			Name: "field", Endpoint: "tcp://127.0.0.1:5020", Protocol: "modbus", Up: true, Since: web.Time(begin),
			Stats: web.BusStats{Requests: 100, Answers: 97, Timeouts: 1, Late: 2, Exceptions: map[string]uint64{"2": 3}, RoundTrip: web.Histogram{Bounds: []float64{1}, Counts: []uint64{90, 7}, SumMS: 80}},
		}},
		Groups: []web.Group{{
			Name: "g", Bus: "field", PeriodMS: 100, Completeness: "schedule", Measurement: "pneumatics", Running: true, Stored: 95,
			Missed: map[acquisition.Reason]uint64{acquisition.ReasonTimeout: 5}, Last: web.Time(begin),
			Channels: []web.Channel{
				{ID: "p1", Name: "p1", Unit: "kPa_a", Symbol: "kPa abs", Low: &low, High: &high, Device: "pt", Address: "unit 5 holding 0x0002"},
				{ID: "x2", Name: "twice", Unit: "kPa_a", Symbol: "kPa abs", Derived: true, Expression: "2*p1"},
			},
		}},
	}}
	p.recordings = []web.RecordingDetail{{
		Recording: web.Recording{
			ID: "20260921T112640Z-bench-abc", Rig: "bench", Groups: []string{"g"}, Owner: "li", Start: web.Time(begin), Stop: web.Time(begin + hour),
			End: "completed", Planned: 100, Stored: 95, Missing: 5, Delivered: "part",
		},
		Content: []web.RecordingGroup{{Name: "g", PeriodMS: 100, Completeness: "schedule", Channels: p.rigs[0].Groups[0].Channels}},
	}}
	p.events = []acquisition.Event{{Time: begin + 5e9, Rig: "bench", Code: "bus_down", Detail: "no answer"}}
	p.file = web.RigFile{Name: "bench.yaml", Text: []byte("version: 1\nrig: bench\n"), ETag: "v1"}
	p.faults = []web.DemoFault{{Name: "unplug", TitleEN: "Unplug", TitleZH: "拔掉"}}
	return p
}

func (p *parts) Rigs(context.Context) ([]web.Rig, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.rigs)
	for i := range out {
		out[i].Buses, out[i].Groups = slices.Clone(out[i].Buses), slices.Clone(out[i].Groups)
	}
	return out, nil
}

func (p *parts) Topics(_ context.Context, rig, _ string) ([]web.Topic, error) {
	if rig != "" && rig != "bench" {
		return nil, web.NotFound("rig", rig)
	}
	return []web.Topic{{Topic: "rig/p1", Count: 3, Last: web.Time(begin), Payload: "1.5"}}, nil
}

func (p *parts) Health(context.Context, web.Language) (web.HealthReport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health
	h.Forwarders, h.Problems = slices.Clone(h.Forwarders), slices.Clone(h.Problems)
	return h, nil
}

func (p *parts) Ready(context.Context) error { return p.notReady }

func (p *parts) Recordings(_ context.Context, q web.RecordingQuery) ([]web.Recording, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []web.Recording
	for _, r := range p.recordings {
		if len(out) < q.Limit && (q.Rig == "" || q.Rig == r.Rig) {
			out = append(out, r.Recording)
		}
	}
	return out, nil
}

func (p *parts) Recording(_ context.Context, id string) (web.RecordingDetail, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, id)
	for _, r := range p.recordings {
		if r.ID == id {
			return r, nil
		}
	}
	return web.RecordingDetail{}, web.NotFound("recording", id)
}

func (p *parts) Start(_ context.Context, n web.NewRecording) (web.RecordingDetail, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.recordings {
		if r.Rig == n.Rig && r.Stop == 0 {
			return web.RecordingDetail{}, web.RecordingOpen(n.Rig, r.Owner, r.ID)
		}
	}
	r := web.RecordingDetail{Recording: web.Recording{ID: fmt.Sprintf("20260921T112640Z-%s-%d", n.Rig, p.starts.Add(1)), Rig: n.Rig, Owner: n.Owner, Note: n.Note, Start: web.Time(begin), Delivered: "n/a"}}
	p.recordings = append(p.recordings, r)
	return r, nil
}

func (p *parts) Stop(_ context.Context, id, by string) (web.RecordingDetail, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.recordings {
		if r := &p.recordings[i]; r.ID == id {
			if r.Stop != 0 {
				return *r, web.RecordingEnded(id)
			}
			r.Stop, r.End = web.Time(begin+hour), "completed by "+by
			return *r, nil
		}
	}
	return web.RecordingDetail{}, web.NotFound("recording", id)
}

func (p *parts) Audit(ctx context.Context, id string) (web.AuditReport, error) {
	r, err := p.Recording(ctx, id)
	return web.AuditReport{Recording: r.Recording, Balanced: true, Accounts: []acquisition.Account{{
		Group: "bench/g", Completeness: "schedule", Planned: 100, Stored: 95, Gaps: map[acquisition.Reason]uint64{acquisition.ReasonTimeout: 5},
		Channels: []acquisition.ChannelAccount{{Channel: "p1", Good: 90, Bad: map[acquisition.Reason]uint64{acquisition.ReasonNaN: 5}, Missing: 5}},
		Spans:    []acquisition.Span{{Grid: acquisition.Grid{Period: 1}, From: 1, To: 2}},
	}}, Sinks: []web.SinkAccount{{Name: "influx", Stored: 95, Delivered: 95}}}, err
}

func (p *parts) Open(context.Context) ([]web.RecordState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []web.RecordState
	for _, r := range p.recordings {
		if r.Stop == 0 {
			out = append(out, web.RecordState{Rig: r.Rig, Recording: r.ID, Start: r.Start, Planned: 10, Stored: 9, Missing: map[acquisition.Reason]uint64{acquisition.ReasonTimeout: 1}})
		}
	}
	return out, nil
}

func (p *parts) Amend(_ context.Context, _ string, a web.Amendment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.amended = append(p.amended, a)
	return nil
}

func (p *parts) Reconcile(context.Context, web.ReconcileQuery) ([]web.ReconcileReport, error) {
	return []web.ReconcileReport{{Sink: "influx", From: web.Time(begin), To: web.Time(begin + hour), Groups: 1, Differences: []web.ReconcileDifference{
		{Group: "g", Channel: "p1", From: web.Time(begin), To: web.Time(begin + 1), Kind: "missing", Store: 10, Sink: 9},
	}}}, nil
}

func (p *parts) Groups(context.Context) ([]*acquisition.Group, error) {
	var out []*acquisition.Group
	for _, b := range p.blocks {
		if !slices.Contains(out, b.Group) {
			out = append(out, b.Group)
		}
	}
	return out, nil
}

func (p *parts) Blocks(_ context.Context, s web.Span) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		for _, b := range p.blocks {
			if b.Group.Key() == s.Group && !yield(b, nil) {
				return
			}
		}
	}
}

func (p *parts) Overview(context.Context, web.Span, []string, int) (web.Overview, error) {
	return p.overview, nil
}

func (p *parts) Gaps(_ context.Context, b *acquisition.Block) []web.RecordGap {
	var out []web.RecordGap
	for _, g := range b.Gaps {
		out = append(out, web.RecordGap{From: b.Group.Due(0, g.From), To: b.Group.Due(0, g.To), Slots: g.Count(), Reason: g.Reason})
	}
	return out
}

func (p *parts) Events(context.Context, web.EventQuery) ([]acquisition.Event, error) {
	return p.events, nil
}

func (p *parts) Describe(_ context.Context, q web.ExportQuery) (web.ExportFile, bool, error) {
	f := web.ExportFile{Media: "text/csv; charset=utf-8", Extension: q.Format}
	if q.Format == "csv" && p.exportErr != nil {
		return f, true, p.exportErr
	}
	return f, q.Format == "csv" || q.Format == "jsonl", nil
}

func (p *parts) Export(_ context.Context, w io.Writer, _ web.ExportQuery) error {
	if _, err := io.WriteString(w, "time,p1\n"); err != nil {
		return err
	}
	return p.exportErr
}

func (p *parts) RigFile(_ context.Context, rig string) (web.RigFile, error) {
	if rig != "bench" {
		return web.RigFile{}, web.NotFound("rig", rig)
	}
	return p.file, nil
}

func (p *parts) Check(_ context.Context, _ string, text []byte, _ web.Language) (web.CheckReport, error) {
	r := web.CheckReport{LoadPercent: 12, Series: 3, Plan: []web.BusPlan{{Bus: "field", LoadPercent: 12, Requests: []web.PlanRequest{{Group: "g", PeriodMS: 100, Text: "unit 5", TimeMS: 4}}}}}
	if bytes.Contains(text, []byte("wrong")) {
		r.Problems = []web.ProblemDocument{{Code: "PD1042", Severity: web.SeverityError, What: "unknown key", Do: "write right", File: "bench.yaml", Line: 3, Column: 1}}
	}
	return r, nil
}

func (p *parts) Replace(ctx context.Context, rig, etag string, text []byte, l web.Language) (web.CheckReport, web.RigFile, error) {
	if etag != p.file.ETag {
		return web.CheckReport{}, p.file, web.Changed(p.file.Name)
	}
	r, err := p.Check(ctx, rig, text, l)
	if err != nil || r.Wrong() {
		return r, p.file, err
	}
	p.file.Text, p.file.ETag = text, "v2"
	return r, p.file, nil
}

func (p *parts) Probe(_ context.Context, r web.ProbeRequest) (web.ProbeReport, error) {
	v := 1.5
	return web.ProbeReport{URL: r.URL, YAML: "channels:\n", Units: []web.ProbeUnit{{Unit: 1, Identity: map[string]string{"vendor": "X"}, Registers: []web.ProbeRegister{
		{Table: "holding", Address: 2, Words: []int{1, 2}, Decodings: []web.ProbeDecoding{{Type: "float32", Order: "ABCD", Value: &v, Plausible: true}, {Type: "float32", Order: "CDAB"}}},
	}}}}, nil
}

func (p *parts) Methods(context.Context) ([]web.Method, error) {
	return []web.Method{{Name: "iso6358-1/1", TitleEN: "Flow", TitleZH: "流量", Channels: []web.MethodChannel{{Name: "p1", Quantity: "absolute pressure", Unit: "Pa", Required: true, MinRate: 1}}}}, nil
}

func (p *parts) Evaluate(_ context.Context, id string, r web.EvaluateRequest, _ web.Language) (web.Evaluation, error) {
	u := 0.02
	return web.Evaluation{
		Method: r.Method, Recording: id, Wording: "evaluated following ISO 6358-1:2013", Figures: []web.Figure{{Name: "C", Value: 1.2, U: &u, K: 2, Text: "1.20 ± 0.02"}},
		Plot: "<svg/>", Curve: json.RawMessage(`{"method":"x"}`), Notes: []string{"n"}, Conventions: []string{"P-1"}, Refusal: &web.Refusal{Code: "x", What: "y"},
	}, nil
}

func (p *parts) Faults(context.Context) ([]web.DemoFault, error) { return p.faults, nil }

func (p *parts) SetFault(_ context.Context, name string, on bool) error {
	if name != "unplug" {
		return web.NotFound("fault", name)
	}
	p.faults[0].On = on
	return nil
}

// lockedBuffer collects what is logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a server on a free loopback port.
type running struct {
	*web.Server

	t      *testing.T
	parts  *parts
	hub    *web.Hub
	log    *lockedBuffer
	stop   func()
	client *http.Client
	clock  *atomic.Int64 // added to the time
}

func options(p *parts, log io.Writer) web.Options {
	return web.Options{
		Listen: "127.0.0.1:0", Version: "1.2.3", Zone: "Asia/Shanghai", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Compile: compile, Rigs: p, Health: p, Recordings: p, Ledger: p, Record: p, Events: p, Exporter: p, Files: p, Prober: p, Evaluator: p, Demo: p,
		Tokens: []web.Token{{Name: "commands", Role: web.Operator, Secret: canary}, {Name: "screen", Role: web.Viewer, Secret: "viewer-" + canary}},
	}
}

// start runs a server; change may alter its options and prepare the server.
func start(t *testing.T, change func(*web.Options), prepare ...func(*web.Server)) *running {
	t.Helper()
	r := &running{t: t, parts: newParts(), log: &lockedBuffer{}, clock: &atomic.Int64{}}
	o := options(r.parts, r.log)
	o.Now = func() int64 { return time.Now().UnixNano() + r.clock.Load() }
	r.hub = web.NewHub(web.HubOptions{Compile: compile, Now: o.Now, Logger: o.Logger})
	o.Hub = r.hub
	if change != nil {
		change(&o)
	}
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(s)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) problem(t *testing.T) map[string]any {
	t.Helper()
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
		t.Fatalf("status %d with %s, want a problem: %.200s", a.status, ct, a.body)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// edit changes a request before it is sent.
type edit func(*http.Request)

func header(name, value string) edit { return func(r *http.Request) { r.Header.Set(name, value) } }
func host(name string) edit          { return func(r *http.Request) { r.Host = name } }
func bearer(token string) edit       { return header("Authorization", "Bearer "+token) }
func cookies(list []*http.Cookie) edit {
	return func(r *http.Request) {
		for _, c := range list {
			r.AddCookie(c)
		}
	}
}

func (r *running) do(method, path, body string, edits ...edit) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.URL()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, e := range edits {
		e(req)
	}
	resp, err := r.client.Do(req)
	// A server that refuses a body need not read all of it: now and then its
	// answer is lost with the connection, and the request is made again.
	for range 20 {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			break
		}
		again := req.Clone(r.t.Context())
		again.Body = io.NopCloser(strings.NewReader(body))
		resp, err = r.client.Do(again)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{resp.StatusCode, resp.Header, string(text) + " CUT: " + err.Error()}
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// operator asks with a machine's token.
func (r *running) operator(method, path, body string, edits ...edit) answer {
	r.t.Helper()
	return r.do(method, path, body, append([]edit{bearer(canary)}, edits...)...)
}

// enter opens the start URL as a browser does and returns its cookies.
func (r *running) enter() []*http.Cookie {
	r.t.Helper()
	_, token, _ := strings.Cut(r.StartURL(), "token=")
	a := r.do("GET", "/?token="+token, "")
	if a.status != http.StatusSeeOther {
		r.t.Fatalf("start URL: %d %s", a.status, a.body)
	}
	return (&http.Response{Header: a.header}).Cookies()
}

// accessFile writes an access file with a user of each role, cheap to check.
func accessFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access")
	var b strings.Builder
	b.WriteString("# who may come in\n")
	for _, u := range []struct {
		name string
		role web.Role
	}{{"li", web.Operator}, {"guest", web.Viewer}} {
		salt := []byte("salt of " + u.name)
		hash, err := pbkdf2.Key(sha256.New, "correct horse "+u.name, salt, 100_000, 32)
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.RawStdEncoding
		fmt.Fprintf(&b, "user %s %s pbkdf2-sha256 100000 %s %s\n", u.name, u.role, b64.EncodeToString(salt), b64.EncodeToString(hash))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
