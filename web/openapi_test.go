package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pneudaq/acquisition"
	"pneudaq/web"
)

// description is the API's description with its schemas compiled.
type description struct {
	doc map[string]any
	c   *jsonschema.Compiler
}

func describe(t *testing.T) *description {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return &description{doc: doc.(map[string]any), c: c}
}

func (d *description) check(t *testing.T, pointer string, body []byte) {
	t.Helper()
	s, err := d.c.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatalf("schema %s: %v", pointer, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v: %.200s", pointer, err, body)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: the answer is not as described: %v\n%.600s", pointer, err, body)
	}
}

func escape(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1") }

// answerOf validates an answer against the description of its operation.
func (d *description) answerOf(t *testing.T, method, path string, a answer) {
	t.Helper()
	op := "/paths/" + escape(path) + "/" + strings.ToLower(method) + "/responses/"
	responses := d.doc["paths"].(map[string]any)[path].(map[string]any)[strings.ToLower(method)].(map[string]any)["responses"].(map[string]any)
	status := "default"
	for code := range responses {
		if code == strconv.Itoa(a.status) {
			status = code
		}
	}
	content, _ := responses[status].(map[string]any)["content"].(map[string]any)
	if content == nil {
		if a.body != "" {
			t.Errorf("%s %s: %d has a body that is not described", method, path, a.status)
		}
		return
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	if _, ok := content[media]; !ok {
		if _, file := content["application/octet-stream"]; file && a.status == http.StatusOK {
			return
		}
		t.Fatalf("%s %s: %d as %s, described are %v", method, path, a.status, media, slices.Collect(maps.Keys(content)))
	}
	if strings.HasSuffix(media, "json") {
		d.check(t, op+status+"/content/"+escape(media)+"/schema", []byte(a.body))
	}
}

func TestEveryRouteIsDescribedAndNothingElse(t *testing.T) {
	d := describe(t)
	s, err := web.New(options(newParts(), &lockedBuffer{}))
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]web.Role{}
	for path, ops := range d.doc["paths"].(map[string]any) {
		for method, op := range ops.(map[string]any) {
			role := op.(map[string]any)["x-role"].(string)
			if role == "none" {
				role = ""
			}
			described[strings.ToUpper(method)+" "+path] = web.Role(role)
		}
	}
	if got := s.Operations(); !maps.Equal(got, described) {
		for k, v := range got {
			if w, ok := described[k]; !ok || v != w {
				t.Errorf("%s with role %q is described as %q (there: %t)", k, v, w, ok)
			}
		}
		for k := range described {
			if _, ok := got[k]; !ok {
				t.Errorf("%s is described and not served", k)
			}
		}
	}
}

func TestAnswersAreAsDescribed(t *testing.T) {
	r := start(t, nil)
	g := group("bench", "g", 100*time.Millisecond)
	first := uint64(begin / 1e8)
	b := block(g, 1, first, first+20, func(s uint64) int16 { return int16(s % 7) })
	b.Gaps = []acquisition.Gap{{From: first + 20, To: first + 25, Reason: acquisition.ReasonTimeout}}
	b.Quality = make([]acquisition.Quality, 40)
	b.Quality[4] = acquisition.Quality(acquisition.ReasonTimeout)
	r.parts.blocks = []*acquisition.Block{b}
	r.parts.overview = web.Overview{Channels: []web.OverviewChannel{{Channel: "p1", Rows: []web.OverviewRow{{From: begin, To: begin + 1e9, Min: 1, Max: 3, Mean: 2, Count: 10}}}}}
	d := describe(t)
	_, token, _ := strings.Cut(r.StartURL(), "token=")
	id := "20260921T112640Z-bench-abc"
	done := map[string]bool{}
	for _, x := range []struct {
		method, path, concrete, body string
		status                       int
		edits                        []edit
	}{
		{"GET", "/api/v1/health", "", "", 200, nil},
		{"GET", "/api/v1/session", "", "", 200, nil},
		{"POST", "/api/v1/session", "", `{"token":"` + token + `"}`, 200, nil},
		{"POST", "/api/v1/session", "", `{"token":"` + token + `"}`, 401, nil},
		{"DELETE", "/api/v1/session", "", "", 204, nil},
		{"POST", "/api/v1/session/link", "", "", 201, nil},
		{"POST", "/api/v1/login", "", `{"user":"li","password":"x"}`, 404, nil},
		{"GET", "/api/v1/rigs", "", "", 200, nil},
		{"GET", "/api/v1/rigs/{rig}", "/api/v1/rigs/bench", "", 200, nil},
		{"GET", "/api/v1/rigs/{rig}", "/api/v1/rigs/other", "", 404, nil},
		{"GET", "/api/v1/rigs/{rig}/file", "/api/v1/rigs/bench/file", "", 200, nil},
		{"PUT", "/api/v1/rigs/{rig}/file", "/api/v1/rigs/bench/file", "wrong: 1\n", 422, []edit{header("If-Match", `"v1"`), header("Content-Type", "text/yaml")}},
		{"PUT", "/api/v1/rigs/{rig}/file", "/api/v1/rigs/bench/file", "rig: bench\n", 428, []edit{header("Content-Type", "text/yaml")}},
		{"PUT", "/api/v1/rigs/{rig}/file", "/api/v1/rigs/bench/file", "rig: bench\n", 412, []edit{header("If-Match", `"v0"`), header("Content-Type", "text/yaml")}},
		{"PUT", "/api/v1/rigs/{rig}/file", "/api/v1/rigs/bench/file", "rig: bench\n", 200, []edit{header("If-Match", `"v1"`), header("Content-Type", "text/yaml")}},
		{"POST", "/api/v1/check", "", `{"name":"bench","text":"wrong: 1"}`, 200, nil},
		{"POST", "/api/v1/probe", "", `{"url":"tcp://127.0.0.1:502","units":[1]}`, 200, nil},
		{"POST", "/api/v1/probe", "", `{"url":"file:///etc/passwd"}`, 400, nil},
		{"GET", "/api/v1/topics", "", "", 200, nil},
		{"GET", "/api/v1/data", "/api/v1/data?rig=bench&from=1790000000000&to=1790000005000", "", 200, nil},
		{"GET", "/api/v1/data", "/api/v1/data?rig=bench&channels=p1&from=1790000000000&to=1790036000000", "", 200, nil},
		{"GET", "/api/v1/data", "/api/v1/data?rig=bench&from=1790000000000&to=1790000005000&fron=1", "", 400, nil},
		{"GET", "/api/v1/events", "", "", 200, nil},
		{"GET", "/api/v1/recordings", "", "", 200, nil},
		{"GET", "/api/v1/recordings", "/api/v1/recordings?limit=1", "", 200, nil},
		{"POST", "/api/v1/recordings", "", `{"rig":"bench","note":"x"}`, 201, nil},
		{"POST", "/api/v1/recordings", "", `{"rig":"bench"}`, 409, nil},
		{"GET", "/api/v1/recordings/{id}", "/api/v1/recordings/" + id, "", 200, nil},
		{"POST", "/api/v1/recordings/{id}/stop", "/api/v1/recordings/20260921T112640Z-bench-1/stop", "", 200, nil},
		{"POST", "/api/v1/recordings/{id}/stop", "/api/v1/recordings/20260921T112640Z-bench-1/stop", "", 409, nil},
		{"GET", "/api/v1/recordings/{id}/audit", "/api/v1/recordings/" + id + "/audit", "", 200, nil},
		{"GET", "/api/v1/recordings/{id}/data", "/api/v1/recordings/" + id + "/data", "", 200, nil},
		{"GET", "/api/v1/recordings/{id}/export", "/api/v1/recordings/" + id + "/export?bom=1", "", 200, nil},
		{"POST", "/api/v1/recordings/{id}/evaluate", "/api/v1/recordings/" + id + "/evaluate", `{"method":"iso6358-1/1"}`, 200, nil},
		{"POST", "/api/v1/recordings/{id}/amend", "/api/v1/recordings/" + id + "/amend", `{"group":"g","channel":"p1","decoding":{"type":"float32","order":"CDAB","at":0},"why":"word order"}`, 200, nil},
		{"GET", "/api/v1/methods", "", "", 200, nil},
		{"GET", "/api/v1/reconcile", "", "", 200, nil},
		{"POST", "/api/v1/reconcile", "", `{"resend":true}`, 200, nil},
		{"GET", "/api/v1/demo/faults", "", "", 200, nil},
		{"POST", "/api/v1/demo/faults", "", `{"name":"unplug","on":true}`, 200, nil},
		{"GET", "/api/v1/openapi.json", "", "", 200, nil},
		{"GET", "/healthz", "", "", 200, nil},
		{"GET", "/readyz", "", "", 200, nil},
		{"GET", "/metrics", "", "", 200, nil},
	} {
		concrete := x.concrete
		if concrete == "" {
			concrete = x.path
		}
		a := r.operator(x.method, concrete, x.body, x.edits...)
		if a.status != x.status {
			t.Errorf("%s %s: %d, want %d: %.300s", x.method, concrete, a.status, x.status, a.body)
			continue
		}
		d.answerOf(t, x.method, x.path, a)
		done[x.method+" "+x.path] = true
	}
	for op := range r.Operations() {
		if !done[op] && op != "GET /api/v1/live" {
			t.Errorf("%s was not asked", op)
		}
	}
}

// event is one server-sent event.
type event struct{ name, id, data string }

// listen opens a live stream and returns what comes, until the test ends.
func (r *running) listen(query string, edits ...edit) <-chan event {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.URL()+"/api/v1/live?"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range append([]edit{bearer(canary)}, edits...) {
		e(req)
	}
	resp, err := r.client.Do(req) //nolint:bodyclose // by whoever reads the stream
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		r.t.Fatalf("live: %d", resp.StatusCode)
	}
	out := make(chan event, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					select {
					case out <- e:
					default:
					}
				}
				e = event{}
			}
		}
	}()
	r.t.Cleanup(func() { resp.Body.Close(); <-done })
	return out
}

func next(t *testing.T, from <-chan event, name string) event {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-from:
			if !ok {
				t.Fatalf("the stream ended before %s", name)
			}
			if e.name == name {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %s", name)
		}
	}
}

func TestLiveEventsAreAsDescribed(t *testing.T) {
	r := start(t, nil)
	if a := r.operator("POST", "/api/v1/recordings", `{"rig":"bench"}`); a.status != http.StatusCreated {
		t.Fatal(a)
	}
	events := r.listen("channels=bench/p1,bench/twice&lang=zh")
	d := describe(t)
	g := group("bench", "g", 100*time.Millisecond)
	b := block(g, 1, 100, 110, func(s uint64) int16 { return int16(s) })
	b.Gaps = []acquisition.Gap{{From: 110, To: 112, Reason: acquisition.ReasonTimeout}}
	b.Quality = make([]acquisition.Quality, 20)
	b.Quality[2] = acquisition.Quality(acquisition.ReasonTimeout)
	for _, x := range []struct{ name, schema string }{{"hello", "LiveHello"}, {"record", "RecordState"}, {"problem", "LiveProblems"}, {"rigs", "LiveRigs"}} {
		d.check(t, "/components/schemas/"+x.schema, []byte(next(t, events, x.name).data))
	}
	r.hub.Event(acquisition.Event{Time: begin, Rig: "bench", Code: "bus_down", Detail: html})
	e := next(t, events, "event")
	d.check(t, "/components/schemas/Event", []byte(e.data))
	if strings.Contains(e.data, "<img") {
		t.Errorf("HTML is not escaped: %s", e.data)
	}
	r.hub.Offer([]*acquisition.Block{b})
	e = next(t, events, "values")
	d.check(t, "/components/schemas/LiveValues", []byte(e.data))
	var v struct {
		Series map[string]struct {
			T    []float64  `json:"t"`
			Min  []*float64 `json:"min"`
			Q    []string   `json:"q"`
			Last struct {
				V float64 `json:"v"`
				Q string  `json:"q"`
			} `json:"last"`
		} `json:"series"`
		Gaps []struct {
			From   float64 `json:"from"`
			To     float64 `json:"to"`
			Reason string  `json:"reason"`
		} `json:"gaps"`
	}
	if err := json.Unmarshal([]byte(e.data), &v); err != nil {
		t.Fatal(err)
	}
	p := v.Series["bench/p1"]
	if len(p.T) != 10 || p.Last.V != 109 || p.Last.Q != "good" || p.Min[1] != nil || p.Q[1] != "timeout" || *p.Min[2] != 102 {
		t.Errorf("p1: %s", e.data)
	}
	if tw := v.Series["bench/twice"]; tw.Last.V != 218 || tw.Q[1] != "derived" {
		t.Errorf("derived channel: %s", e.data)
	}
	if len(v.Gaps) != 1 || v.Gaps[0].From != 11000 || v.Gaps[0].To != 11200 || v.Gaps[0].Reason != "timeout" {
		t.Errorf("gaps: %s", e.data)
	}
	if a := r.operator("POST", "/api/v1/recordings/20260921T112640Z-bench-1/stop", ""); a.status != http.StatusOK {
		t.Fatal(a)
	}
	for {
		if e := next(t, events, "record"); strings.Contains(e.data, `"ended":true`) {
			break
		}
	}
}
