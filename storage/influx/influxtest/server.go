// Package influxtest is a stand-in for the write endpoint of InfluxDB: it
// parses what it gets with InfluxData's own decoder, holds the points, and can
// fail in every way that real servers and what stands in front of them do. It
// works over loopback and, with virtual time, over pipes.
package influxtest

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"pneudaq/acquisition"
)

// Version is whose words the server uses for lines that it does not take.
type Version int

// The versions.
const (
	V18 Version = iota // 400 partial write, the good lines are written
	V20                // 500 internal error for a conflict of types
	V27                // 422 for a conflict of types, 400 for a line that does not parse and then nothing is written
	V3                 // 400 with the lines as data
)

// Cut says where a connection breaks.
type Cut int

// Where a connection breaks.
const (
	CutNever Cut = iota
	CutBefore
	CutAfterBody  // the body was read, nothing is stored
	CutAfterStore // the points are stored, the 204 is lost
)

// Fault is one answer that is no success. The zero value answers as a healthy
// server.
type Fault struct {
	Status  int // instead of storing; 0: store and answer 204
	Header  map[string]string
	Type    string // Content-Type, default JSON
	Body    string
	Delay   time.Duration // before the answer
	Cut     Cut
	Forgets bool // answers 204 and stores nothing
	Partial int  // stores so many lines before it fails with Status
}

// HTML is a captive portal: 200 with a web page.
func HTML() Fault {
	return Fault{Status: http.StatusOK, Type: "text/html", Body: "<html><body>Please log in</body></html>"}
}

// Status returns an answer in the words of InfluxDB 2.
func Status(code int, message string) Fault {
	text, err := json.Marshal(map[string]string{"code": strings.ToLower(http.StatusText(code)), "message": message})
	if err != nil {
		panic("BUG: marshal strings: " + err.Error())
	}
	return Fault{Status: code, Body: string(text)}
}

// RetryAfter is a 429 that asks for a pause in its own words.
func RetryAfter(text string) Fault {
	f := Status(http.StatusTooManyRequests, "rate limit")
	if text != "" {
		f.Header = map[string]string{"Retry-After": text}
	}
	return f
}

// Point is the fields of one series at one time: float64, int64, uint64,
// string or bool.
type Point map[string]any

// Server is a write endpoint. Its exported fields are set before it is used.
type Server struct {
	Version   Version
	Token     string                                           // required if not empty
	Bucket    string                                           // the only one there is, if not empty
	MaxBody   int                                              // 413 above; 0: no limit
	Retention int64                                            // Unix ns: points before are refused
	Poison    func(measurement string, p Point, at int64) bool // refuses a line for good
	Slow      time.Duration                                    // before every answer

	mu       sync.Mutex
	next     []Fault
	always   *Fault
	chance   func() *Fault
	down     bool
	series   map[string]map[int64]Point
	types    map[string]string
	requests int
	answers  map[int]int
	lines    int
	repeats  int
	heads    []http.Header
	conns    map[net.Conn]struct{}
}

// New returns a healthy, empty server.
func New() *Server {
	return &Server{series: map[string]map[int64]Point{}, types: map[string]string{}, answers: map[int]int{}, conns: map[net.Conn]struct{}{}}
}

// Start serves on loopback until the test ends and returns the address.
func (s *Server) Start(tb testing.TB) string {
	tb.Helper()
	h := httptest.NewServer(s)
	tb.Cleanup(h.Close)
	return h.URL
}

// Pipe serves over pipes until the test ends, and returns a client that
// reaches the server under any address. It works in a bubble of synctest.
func (s *Server) Pipe(tb testing.TB) *http.Client {
	tb.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	h := &http.Server{Handler: s}
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Serve(l) })
	transport := &http.Transport{
		MaxIdleConnsPerHost: 4,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if s.isDown() {
				return nil, errors.New("dial: connection refused")
			}
			return l.dial(ctx, s)
		},
	}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = h.Close()
		wg.Wait()
	})
	return &http.Client{Transport: transport}
}

// pipes is a listener for net.Pipe.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) dial(ctx context.Context, s *Server) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		s.mu.Lock()
		s.conns[server] = struct{}{}
		s.mu.Unlock()
		return client, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

// Addr names the listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// Next makes the next requests fail, each in turn.
func (s *Server) Next(f ...Fault) {
	s.mu.Lock()
	s.next = append(s.next, f...)
	s.mu.Unlock()
}

// Always makes every request fail until [Server.Heal].
func (s *Server) Always(f Fault) {
	s.mu.Lock()
	s.always = &f
	s.mu.Unlock()
}

// Chance asks for a fault at each request; nil is none.
func (s *Server) Chance(f func() *Fault) {
	s.mu.Lock()
	s.chance = f
	s.mu.Unlock()
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	s.next, s.always, s.chance, s.down = nil, nil, nil, false
	s.mu.Unlock()
}

// Down refuses connections and breaks those that are open.
func (s *Server) Down() {
	s.mu.Lock()
	s.down = true
	for c := range s.conns {
		_ = c.Close()
	}
	clear(s.conns)
	s.mu.Unlock()
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Forget drops the points in [from, to), as a restored backup or a lost disk
// does.
func (s *Server) Forget(from, to int64) (points int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.series {
		for at := range p {
			if at >= from && at < to {
				delete(p, at)
				points++
			}
		}
	}
	return points
}

// Drops is how a server looked from outside.
type Drops struct {
	Requests int
	Answers  map[int]int // by status; 0: the connection was cut
	Lines    int         // taken, repeats counted again
	Repeats  int         // lines that were there already
	Headers  []http.Header
}

// Seen returns what happened so far.
func (s *Server) Seen() Drops {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Drops{Requests: s.requests, Answers: maps.Clone(s.answers), Lines: s.lines, Repeats: s.repeats, Headers: slices.Clone(s.heads)}
}

func (s *Server) fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.down {
		return Fault{Cut: CutBefore}
	}
	if len(s.next) > 0 {
		f := s.next[0]
		s.next = s.next[1:]
		return f
	}
	if s.always != nil {
		return *s.always
	}
	if s.chance != nil {
		if f := s.chance(); f != nil {
			return *f
		}
	}
	return Fault{Delay: s.Slow}
}

// ServeHTTP answers POST /api/v2/write and GET /health.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		_, _ = io.WriteString(w, `{"status":"pass"}`)
		return
	}
	if r.URL.Path != "/api/v2/write" {
		s.answer(w, Fault{Status: http.StatusNotFound, Type: "text/plain", Body: "404 page not found"})
		return
	}
	f := s.fault()
	s.mu.Lock()
	s.heads = append(s.heads, r.Header.Clone())
	if len(s.heads) > 100 {
		s.heads = s.heads[1:]
	}
	s.mu.Unlock()
	if f.Cut == CutBefore {
		s.cut(w)
		return
	}
	body, err := readBody(r)
	if f.Delay > 0 && !wait(r.Context(), f.Delay) {
		return
	}
	switch {
	case f.Cut == CutAfterBody:
		s.cut(w)
		return
	case err != nil:
		s.answer(w, Status(http.StatusBadRequest, err.Error()))
		return
	case f.Status != 0:
		if f.Partial > 0 {
			s.take(firstLines(body, f.Partial))
		}
		s.answer(w, f)
		return
	case f.Forgets:
		s.answer(w, Fault{Status: http.StatusNoContent})
		return
	}
	if refusal, refused := s.check(r, body); refused {
		s.answer(w, refusal)
		return
	}
	taken := s.take(body)
	if f.Cut == CutAfterStore {
		s.cut(w)
		return
	}
	s.answer(w, taken)
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func readBody(r *http.Request) ([]byte, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("not gzip: %w", err)
		}
		in = z
	}
	return io.ReadAll(in)
}

func firstLines(body []byte, n int) []byte {
	at := 0
	for range n {
		i := slices.Index(body[at:], '\n')
		if i < 0 {
			return body
		}
		at += i + 1
	}
	return body[:at]
}

// cut breaks the connection without an answer.
func (s *Server) cut(w http.ResponseWriter) {
	s.mu.Lock()
	s.answers[0]++
	s.mu.Unlock()
	if h, ok := w.(http.Hijacker); ok {
		if c, _, err := h.Hijack(); err == nil {
			_ = c.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

func (s *Server) answer(w http.ResponseWriter, f Fault) {
	s.mu.Lock()
	s.answers[f.Status]++
	s.mu.Unlock()
	if f.Type == "" {
		f.Type = "application/json; charset=utf-8"
	}
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	if f.Body != "" {
		w.Header().Set("Content-Type", f.Type)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body)
}

// check is what a server looks at before the lines.
func (s *Server) check(r *http.Request, body []byte) (Fault, bool) {
	s.mu.Lock()
	token, bucket, limit := s.Token, s.Bucket, s.MaxBody
	s.mu.Unlock()
	if token != "" && r.Header.Get("Authorization") != "Token "+token {
		return Status(http.StatusUnauthorized, "unauthorized access"), true
	}
	if asked := r.URL.Query().Get("bucket"); bucket != "" && asked != bucket {
		if s.Version == V18 {
			db, _, _ := strings.Cut(asked, "/")
			return Fault{Status: http.StatusNotFound, Body: fmt.Sprintf(`{"error":"database not found: \"%s\""}`, db)}, true
		}
		return Status(http.StatusNotFound, fmt.Sprintf("bucket %q not found", asked)), true
	}
	if limit > 0 && len(body) > limit {
		return Status(http.StatusRequestEntityTooLarge, "Request Entity Too Large"), true
	}
	return Fault{}, false
}

// Set changes what the server requires while it runs.
func (s *Server) Set(change func(s *Server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// line is one line as parsed.
type line struct {
	measurement, series string
	fields              Point
	at                  int64
	err                 error
	text                string
}

func parse(body []byte) []line {
	var out []line
	d := lineprotocol.NewDecoderWithBytes(body)
	texts := strings.Split(strings.TrimRight(string(body), "\n"), "\n")
	for d.Next() {
		l := line{fields: Point{}}
		if len(out) < len(texts) {
			l.text = texts[len(out)]
		}
		l.err = l.read(d)
		out = append(out, l)
	}
	return out
}

func (l *line) read(d *lineprotocol.Decoder) error {
	m, err := d.Measurement()
	if err != nil {
		return err
	}
	l.measurement = string(m)
	l.series = l.measurement
	for {
		k, v, err := d.NextTag()
		if err != nil {
			return err
		}
		if k == nil {
			break
		}
		l.series += fmt.Sprintf(",%s=%s", k, v)
	}
	for {
		k, v, err := d.NextField()
		if err != nil {
			return err
		}
		if k == nil {
			break
		}
		l.fields[string(k)] = v.Interface()
	}
	at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
	if err != nil {
		return err
	}
	if at.IsZero() {
		return errors.New("no time")
	}
	l.at = at.UnixNano()
	return nil
}

// take stores what it can and answers in the words of the version.
func (s *Server) take(body []byte) Fault {
	lines := parse(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Version == V27 || s.Version == V20 {
		for _, l := range lines {
			if l.err != nil {
				return Status(http.StatusBadRequest, fmt.Sprintf("unable to parse '%s': %v", l.text, l.err))
			}
		}
	}
	var reason string
	var data []map[string]any
	dropped, unparsed := 0, 0
	for i, l := range lines {
		var why string
		switch {
		case l.err != nil:
			why = fmt.Sprintf("unable to parse '%s': %v", l.text, l.err)
			unparsed++
		case l.at < s.Retention:
			why = "points beyond retention policy"
			dropped++
		case s.Poison != nil && s.Poison(l.measurement, l.fields, l.at):
			why = fmt.Sprintf("field type conflict: input field \"value\" on measurement %q is type float, already exists as type string", l.measurement)
			dropped++
		default:
			why = s.conflict(l)
			if why != "" {
				dropped++
			}
		}
		if why != "" {
			reason = why
			data = append(data, map[string]any{"original_line": l.text, "line_number": i + 1, "error_message": why})
			continue
		}
		s.keep(l)
	}
	return s.verdict(reason, dropped, unparsed, data)
}

func (s *Server) verdict(reason string, dropped, unparsed int, data []map[string]any) Fault {
	if reason == "" {
		return Fault{Status: http.StatusNoContent}
	}
	partial := fmt.Sprintf("partial write: %s dropped=%d", reason, dropped)
	switch s.Version {
	case V20:
		return Status(http.StatusInternalServerError, "unexpected error writing points to database: "+partial)
	case V27:
		return Status(http.StatusUnprocessableEntity, "failure writing points to database: "+partial)
	case V3:
		text, err := json.Marshal(map[string]any{"error": "partial write of line protocol occurred", "data": data})
		if err != nil {
			panic("BUG: marshal: " + err.Error())
		}
		return Fault{Status: http.StatusBadRequest, Body: string(text)}
	case V18:
	}
	if unparsed > 0 && dropped == 0 {
		partial = "partial write: " + reason + " dropped=0"
	}
	text, err := json.Marshal(map[string]string{"error": partial})
	if err != nil {
		panic("BUG: marshal: " + err.Error())
	}
	return Fault{Status: http.StatusBadRequest, Body: string(text)}
}

// conflict returns why the types of a line do not fit what is there.
func (s *Server) conflict(l line) string {
	for k, v := range l.fields {
		kind := fmt.Sprintf("%T", v)
		if known := s.types[l.measurement+"\x00"+k]; known != "" && known != kind {
			return fmt.Sprintf("field type conflict: input field %q on measurement %q is type %s, already exists as type %s", k, l.measurement, kind, known)
		}
	}
	return ""
}

func (s *Server) keep(l line) {
	s.lines++
	p := s.series[l.series]
	if p == nil {
		p = map[int64]Point{}
		s.series[l.series] = p
	}
	if old := p[l.at]; old != nil {
		s.repeats++
		maps.Copy(old, l.fields)
	} else {
		p[l.at] = l.fields
	}
	for k, v := range l.fields {
		s.types[l.measurement+"\x00"+k] = fmt.Sprintf("%T", v)
	}
}

// Points returns the points of a series, for example
// "pneumatics,group=g,rig=r,site=s" (names as they are, not escaped).
func (s *Server) Points(series string) map[int64]Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[int64]Point{}
	for at, p := range s.series[series] {
		out[at] = maps.Clone(p)
	}
	return out
}

// Series returns the names of the series, sorted.
func (s *Server) Series() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for k := range s.series {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// SeriesOf returns the name of the series of a group.
func SeriesOf(g *acquisition.Group) string {
	tags := map[string]string{"group": g.Name, "rig": g.Rig, "site": g.Site}
	for k, v := range g.Tags {
		if _, ours := tags[k]; !ours {
			tags[k] = v
		}
	}
	var all []string
	for k, v := range tags {
		if v != "" {
			all = append(all, k+"="+v)
		}
	}
	slices.Sort(all)
	return strings.Join(append([]string{g.Measurement}, all...), ",")
}

// Values returns the values of one channel of a group by time.
func (s *Server) Values(g *acquisition.Group, channel string) map[int64]float64 {
	out := map[int64]float64{}
	for at, p := range s.Points(SeriesOf(g)) {
		if v, ok := p[channel].(float64); ok {
			out[at] = v
		}
	}
	return out
}

// Digests says what the server holds of a group, as storage.Digester.
func (s *Server) Digests(_ context.Context, g *acquisition.Group, from, to int64, window time.Duration) ([]acquisition.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	points := s.series[SeriesOf(g)]
	times := make([]int64, 0, len(points))
	for at := range points {
		if at >= from && at < to {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	var out []acquisition.Digest
	for i := range g.Channels {
		name := g.Channels[i].Name
		for _, at := range times {
			v, valued := points[at][name].(float64)
			_, flagged := points[at][name+"__q"]
			if !valued && !flagged {
				continue
			}
			start := at - (at%int64(window)+int64(window))%int64(window)
			if n := len(out); n == 0 || out[n-1].Channel != name || out[n-1].From != start {
				out = append(out, acquisition.Digest{Channel: name, From: start, First: math.NaN()})
			}
			d := &out[len(out)-1]
			if flagged {
				d.Flagged++
			}
			if valued {
				if d.Count == 0 {
					d.First = v
				}
				d.Count++
				d.Last = v
				d.Sum += v
			}
		}
	}
	return out, nil
}
