package web_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"pneudaq/acquisition"
	"pneudaq/web"
)

// liveValues is the event of readings.
type liveValues struct {
	T0     float64 `json:"t0"`
	T1     float64 `json:"t1"`
	Series map[string]struct {
		T    []float64  `json:"t"`
		Min  []*float64 `json:"min"`
		Max  []*float64 `json:"max"`
		Last struct {
			T float64  `json:"t"`
			V *float64 `json:"v"`
			Q string   `json:"q"`
		} `json:"last"`
	} `json:"series"`
}

func valuesOf(t *testing.T, e event) liveValues {
	t.Helper()
	var v liveValues
	if err := json.Unmarshal([]byte(e.data), &v); err != nil {
		t.Fatalf("%v: %.300s", err, e.data)
	}
	return v
}

// fastGroup has samples every 100 µs, as bursts have.
func fastGroup() *acquisition.Group { return group("bench", "g", 100*time.Microsecond) }

func TestDecimationKeepsEverySpike(t *testing.T) {
	r := start(t, nil)
	events := r.listen("channels=bench/p1&points=50&rate=60")
	next(t, events, "hello")
	g := fastGroup()
	const n = 10_000 // one second
	spikes := map[uint64]int16{1234: 3000, 4321: -3000, 9999: 2500}
	for at := uint64(0); at < n; at += 1000 {
		r.hub.Offer([]*acquisition.Block{block(g, 1+at/1000, 1_000_000+at, 1_000_000+at+1000, func(s uint64) int16 {
			if v, ok := spikes[s-1_000_000]; ok {
				return v
			}
			return int16(100 + s%10)
		})})
	}
	high, low := math.Inf(-1), math.Inf(1)
	points := 0
	last := 0.0
	for {
		s := valuesOf(t, next(t, events, "values")).Series["bench/p1"]
		for i := range s.T {
			if s.T[i] <= last {
				t.Fatalf("time %v after %v", s.T[i], last)
			}
			last = s.T[i]
			high, low = max(high, *s.Max[i]), min(low, *s.Min[i])
		}
		points += len(s.T)
		if s.Last.V != nil && *s.Last.V == 2500 {
			break
		}
	}
	if high != 3000 || low != -3000 {
		t.Errorf("%d points from %v to %v: spikes are lost", points, low, high)
	}
	if points < 50 || points > 50+20 {
		t.Errorf("%d points for one second at 50 a second and ten commits", points)
	}
}

func TestSlowSamplesComeOneByOne(t *testing.T) {
	r := start(t, nil)
	events := r.listen("channels=bench/p1&points=20") // 50 ms a point, 100 ms a sample, not in step
	next(t, events, "hello")
	g := group("bench", "g", 100*time.Millisecond)
	r.hub.Offer([]*acquisition.Block{block(g, 1, 1000, 1030, func(s uint64) int16 { return int16(s) })})
	s := valuesOf(t, next(t, events, "values")).Series["bench/p1"]
	if len(s.T) != 30 {
		t.Fatalf("%d points for 30 samples", len(s.T))
	}
	for i := range s.T {
		if *s.Min[i] != float64(1000+i) || *s.Max[i] != *s.Min[i] || !near(s.T[i], float64(1000+i)*100) {
			t.Errorf("point %d: %v at %v", i, *s.Min[i], s.T[i])
		}
	}
}

func TestNewStreamsSeeTheNewestReadingAtOnce(t *testing.T) {
	r := start(t, nil)
	g := group("bench", "g", 100*time.Millisecond)
	r.hub.Offer([]*acquisition.Block{block(g, 1, 1000, 1010, func(s uint64) int16 { return int16(s) })})
	first := r.listen("channels=bench/p1")
	e := next(t, first, "values")
	if v := valuesOf(t, e).Series["bench/p1"].Last.V; v == nil || *v != 1009 {
		t.Errorf("last reading: %s", e.data)
	}
	// Coming back, nothing that was had comes again, and what is missing is said.
	r.hub.Event(acquisition.Event{Time: 1, Code: "one"})
	had := next(t, first, "event")
	r.hub.Event(acquisition.Event{Time: 2, Code: "two"})
	r.hub.Offer([]*acquisition.Block{block(g, 2, 1010, 1012, func(s uint64) int16 { return int16(s) })})
	again := r.listen("channels=bench/p1", header("Last-Event-ID", had.id))
	hello := next(t, again, "hello")
	if !strings.Contains(hello.data, `"since":100900`) {
		t.Errorf("hello does not say since when: %.200s", hello.data)
	}
	if e := next(t, again, "event"); !strings.Contains(e.data, `"two"`) {
		t.Errorf("the event that was missed: %s", e.data)
	}
	s := valuesOf(t, next(t, again, "values")).Series["bench/p1"]
	if len(s.T) == 0 || s.T[0] != 101000 {
		t.Errorf("readings from %v on, want 101000", s.T)
	}
}

func TestSleepingBrowserCostsNoMemoryAndHoldsNobodyUp(t *testing.T) {
	r := start(t, nil, func(s *web.Server) {
		s.SetTimes(time.Second, time.Second, time.Second, time.Second)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(c, "GET /api/v1/live?channels=bench/p1,bench/twice&points=1000&rate=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", canary)
	for range 100 {
		if r.hub.Streams() == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	g := fastGroup()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := block(g, 1, 0, 10_000, func(s uint64) int16 { return int16(s) })
	gone := false
	most := 0
	for i := range 400 { // 400 s of samples at 10 kHz
		next := *b
		next.Times = slices.Clone(b.Times)
		for k := range next.Times {
			next.Times[k] += int64(i+1) * 1e9
		}
		began := time.Now()
		r.hub.Offer([]*acquisition.Block{&next})
		if d := time.Since(began); d > 50*time.Millisecond {
			t.Fatalf("the store waited %s", d)
		}
		most = max(most, r.hub.Waiting())
		if r.hub.Streams() == 0 {
			gone = true
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !gone {
		t.Error("a browser that never reads is still served")
	}
	if most > 2*1024 {
		t.Errorf("%d points waited for it", most)
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
		t.Errorf("memory grew by %d kB", grown>>10)
	}
}

func TestOfferNeverWaitsThoughNobodyRunsTheHub(t *testing.T) {
	h := web.NewHub(web.HubOptions{Compile: compile})
	g := group("bench", "g", time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(1000) {
			h.Offer([]*acquisition.Block{block(g, i, i, i+1, func(uint64) int16 { return 0 })})
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Offer waits")
	}
	if h.Dropped() == 0 {
		t.Error("nothing was dropped: the queue has no end")
	}
}

func TestStreamsAreLimited(t *testing.T) {
	r := start(t, nil, func(s *web.Server) { s.SetStreams(2) })
	next(t, r.listen("channels=bench/p1"), "hello")
	next(t, r.listen(""), "hello")
	if a := r.operator("GET", "/api/v1/live", ""); a.status != http.StatusServiceUnavailable || a.problem(t)["code"] != string(web.CodeManyStreams) {
		t.Errorf("third stream: %d", a.status)
	}
	if a := r.operator("GET", "/api/v1/live?channels=bench/none", ""); a.status != http.StatusNotFound {
		t.Errorf("unknown channel: %d", a.status)
	}
}

func TestDataIsRawWhereFewAndAnOverviewWhereMany(t *testing.T) {
	r := start(t, nil)
	g := group("bench", "g", 100*time.Millisecond)
	first := uint64(begin / 1e8)
	b := block(g, 1, first, first+50, func(s uint64) int16 { return int16(s - first) })
	b.Quality = make([]acquisition.Quality, 100)
	b.Quality[2*7] = acquisition.Quality(acquisition.ReasonTimeout)
	b.Gaps = []acquisition.Gap{{From: first + 50, To: first + 53, Reason: acquisition.ReasonOverrun}, {From: first + 53, To: first + 55, Reason: acquisition.ReasonOverrun}}
	late := block(g, 2, first+53, first+54, func(uint64) int16 { return -1 })
	late.Backfill = true
	rest := block(g, 3, first+55, first+60, func(s uint64) int16 { return int16(s - first) })
	r.parts.blocks = []*acquisition.Block{b, rest, late}
	r.parts.overview = web.Overview{
		Channels: []web.OverviewChannel{{Channel: "p1", Rows: []web.OverviewRow{{From: begin, To: begin + 2e9, Min: -5, Max: 9, Mean: 1, Count: 20}}}},
		Gaps:     []web.RecordGap{{From: begin + 5e9, To: begin + 6e9, Slots: 10, Reason: acquisition.ReasonPower}},
	}
	ms := float64(begin) / 1e6
	type data struct {
		Series map[string]struct {
			Symbol string     `json:"symbol"`
			Raw    bool       `json:"raw"`
			T      []float64  `json:"t"`
			V      []*float64 `json:"v"`
			Min    []*float64 `json:"min"`
			Max    []*float64 `json:"max"`
			Q      []string   `json:"q"`
			N      []int      `json:"n"`
		} `json:"series"`
		Gaps []struct {
			From   float64 `json:"from"`
			To     float64 `json:"to"`
			Reason string  `json:"reason"`
			Slots  int     `json:"slots"`
		} `json:"gaps"`
		Events []struct {
			Code string `json:"code"`
		} `json:"events"`
	}
	ask := func(query string) data {
		t.Helper()
		a := r.operator("GET", "/api/v1/data?rig=bench&"+query, "")
		if a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, a.status, a.body)
		}
		var d data
		if err := json.Unmarshal([]byte(a.body), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ask(fmt.Sprintf("channels=p1&from=%.0f&to=%.0f", ms+200, ms+10_000))
	p := d.Series["p1"]
	if !p.Raw || len(p.T) != 54 || p.T[0] != ms+200 || *p.V[0] != 2 || p.V[5] != nil || p.Q[5] != "timeout" || p.Q[4] != "" || p.Min != nil || p.Symbol != "kPa abs" {
		t.Errorf("raw: %d samples, first %v, %+v", len(p.T), p.T[0]-ms, p)
	}
	if !slices.IsSorted(p.T) || *p.V[48] != -1 {
		t.Errorf("late data are not in their place: %v", p.T)
	}
	if len(d.Gaps) != 1 || d.Gaps[0].From != ms+5000 || d.Gaps[0].To != ms+5500 || d.Gaps[0].Slots != 5 || d.Gaps[0].Reason != "overrun" {
		t.Errorf("gaps %+v", d.Gaps)
	}
	if len(d.Events) != 1 {
		t.Errorf("events %+v", d.Events)
	}
	d = ask(fmt.Sprintf("channels=p1&points=10&from=%.0f&to=%.0f", ms, ms+10_000))
	p = d.Series["p1"]
	if p.Raw || p.V != nil || len(p.Min) != 1 || *p.Min[0] != -5 || *p.Max[0] != 9 || p.N[0] != 20 || p.T[0] != ms+1000 {
		t.Errorf("overview: %+v", p)
	}
	if len(d.Gaps) != 1 || d.Gaps[0].Reason != "power" {
		t.Errorf("gaps %+v", d.Gaps)
	}
	if p := ask(fmt.Sprintf("channels=twice&from=%.0f&to=%.0f", ms, ms+300)).Series["twice"]; len(p.V) != 3 || *p.V[2] != 4 {
		t.Errorf("derived channel %+v", p)
	}
	if p := ask(fmt.Sprintf("from=%.0f&to=%.0f", ms-9000, ms-8000)).Series["p1"]; !p.Raw || p.T == nil || p.V == nil || len(p.T) != 0 {
		t.Errorf("an empty interval has no empty lists: %+v", p)
	}
	for _, query := range []string{"rig=none", "rig=bench&channels=none"} {
		if a := r.operator("GET", "/api/v1/data?"+query, ""); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", query, a.status)
		}
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	r := start(t, nil)
	r.do("GET", "/api/v1/rigs", "")
	a := r.do("GET", "/metrics", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, labels ...string) float64 {
		t.Helper()
		f := families[name]
		if f == nil {
			t.Errorf("there is no %s", name)
			return math.NaN()
		}
	next:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue next
				}
			}
			switch {
			case m.Counter != nil:
				return m.Counter.GetValue()
			case m.Gauge != nil:
				return m.Gauge.GetValue()
			case m.Histogram != nil:
				return float64(m.Histogram.GetSampleCount())
			}
		}
		t.Errorf("%s has no %v", name, labels)
		return math.NaN()
	}
	for _, x := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"pneudaq_slots_stored_total", []string{"rig", "bench", "group", "g"}, 95},
		{"pneudaq_slots_missed_total", []string{"rig", "bench", "group", "g", "reason", "timeout"}, 5},
		{"pneudaq_forwarder_waiting", []string{"sink", "influx"}, 2},
		{"pneudaq_forwarder_delivered", []string{"sink", "influx"}, 7},
		{"pneudaq_forwarder_refused", []string{"sink", "influx"}, 1},
		{"pneudaq_forwarder_up", []string{"sink", "influx"}, 0},
		{"pneudaq_commit_seconds", nil, 6},
		{"pneudaq_age_at_durability_seconds", nil, 6},
		{"pneudaq_bus_requests_total", []string{"rig", "bench", "bus", "field"}, 100},
		{"pneudaq_bus_late_total", []string{"bus", "field"}, 2},
		{"pneudaq_bus_exceptions_total", []string{"bus", "field", "code", "2"}, 3},
		{"pneudaq_bus_round_trip_seconds", []string{"bus", "field"}, 97},
		{"pneudaq_clock_synchronised", nil, 1},
		{"pneudaq_problems", []string{"severity", "error"}, 1},
		{"pneudaq_scrape_complete", nil, 1},
		{"pneudaq_http_requests_total", []string{"route", "/api/v1/rigs", "status", "401"}, 1},
	} {
		if got := value(x.name, x.labels...); got != x.want {
			t.Errorf("%s %v is %v, want %v", x.name, x.labels, got, x.want)
		}
	}
	for _, f := range []string{"go_goroutines", "process_open_fds"} {
		if runtime.GOOS == "linux" && families[f] == nil {
			t.Errorf("there is no %s", f)
		}
	}
}

func TestReadyzSaysWhatIsMissing(t *testing.T) {
	r := start(t, nil)
	r.parts.notReady = fmt.Errorf("no rig has started")
	a := r.do("GET", "/readyz", "")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "no rig has started") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestPartsThatAreNotThereSaySo(t *testing.T) {
	r := start(t, func(o *web.Options) {
		o.Demo, o.Evaluator, o.Prober, o.Exporter, o.Files, o.Ledger, o.Record, o.Recordings, o.Events, o.Health, o.Rigs = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
	})
	for op := range r.Operations() {
		method, path, _ := strings.Cut(op, " ")
		if !strings.HasPrefix(path, "/api/v1/") || strings.Contains(path, "session") || strings.HasSuffix(path, "login") || strings.HasSuffix(path, "openapi.json") {
			continue
		}
		path = strings.NewReplacer("{rig}", "bench", "{id}", "x").Replace(path)
		if path == "/api/v1/data" {
			path += "?rig=bench"
		}
		if a := r.operator(method, path, ""); a.status != http.StatusNotFound || a.problem(t)["code"] != string(web.CodeNotHere) {
			t.Errorf("%s: %d %s", op, a.status, a.body)
		}
	}
	if a := r.do("GET", "/metrics", ""); a.status != http.StatusOK {
		t.Errorf("metrics: %d", a.status)
	}
}

func TestLinesMadeHereLetPeopleIn(t *testing.T) {
	user, err := web.UserLine("王", web.Operator, "a long password")
	if err != nil {
		t.Fatal(err)
	}
	token, secret, err := web.TokenLine("nightly", web.Viewer)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(path, []byte(user+"\r\n"+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, func(o *web.Options) { o.AccessFile = path })
	if a := r.do("POST", "/api/v1/login", `{"user":"王","password":"a long password"}`); a.status != http.StatusOK {
		t.Errorf("login: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/api/v1/session", "", bearer(secret)); a.status != http.StatusOK || !strings.Contains(a.body, `"role":"viewer"`) {
		t.Errorf("token: %d %s", a.status, a.body)
	}
}

func BenchmarkLive(b *testing.B) {
	g := &acquisition.Group{Rig: "bench", Name: "g", Period: 100 * time.Microsecond, Words: 16}
	for i := range 16 {
		name := fmt.Sprintf("c%d", i)
		g.Channels = append(g.Channels, acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeInt16}})
	}
	blk := &acquisition.Block{Group: g}
	const scans = 500 // 50 ms of 16 channels at 10 kHz
	for i := range scans {
		blk.Slots = append(blk.Slots, uint64(i))
		blk.Times = append(blk.Times, int64(i)*100_000)
	}
	blk.Words = make([]uint16, 16*scans)
	show := web.NewShow(g, compile, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for k := range blk.Times {
			blk.Times[k] += 50e6
		}
		show(blk)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(16*scans), "ns/sample")
}
