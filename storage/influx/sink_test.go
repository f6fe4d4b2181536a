package influx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
)

const secret = "c4n4ry-s3cr3t"

func open(tb testing.TB, address string, change ...func(*influx.Options)) *influx.Sink {
	tb.Helper()
	o := influx.Options{URL: address, Org: "lab", Bucket: "pneudaq/autogen", Timeout: 5 * time.Second, Token: func() (string, error) { return secret, nil }}
	for _, c := range change {
		c(&o)
	}
	s, err := influx.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSinkSuite(t *testing.T) {
	for _, v := range []influxtest.Version{influxtest.V18, influxtest.V20, influxtest.V27, influxtest.V3} {
		for _, zip := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d gzip %v", v, zip), func(t *testing.T) {
				server := influxtest.New()
				server.Version, server.Token = v, secret
				address := server.Start(t)
				acqtest.Sink(t, acqtest.SinkCase{
					Open: func(t *testing.T) acquisition.Sink {
						t.Helper()
						return open(t, address, func(o *influx.Options) { o.Gzip = zip })
					},
					Stored: func(_ *testing.T, g *acquisition.Group, channel string) map[int64]float64 {
						return server.Values(g, channel)
					},
					Down: func(*testing.T) { server.Always(influxtest.Status(503, "down")) },
					Up:   func(*testing.T) { server.Heal() },
					Poison: func(_ *testing.T, value float64) {
						server.Set(func(s *influxtest.Server) {
							s.Poison = func(_ string, p influxtest.Point, _ int64) bool { v, ok := p["a"].(float64); return ok && v == value }
						})
					},
				})
			})
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct{ url, bucket, want string }{
		{"127.0.0.1:8086", "b", "http://127.0.0.1:8086"},
		{"", "b", "http://127.0.0.1:8086"},
		{"http://user:password@host", "b", "token file"},
		{"http://host:8086", "", "database/policy"},
	} {
		_, err := influx.New(influx.Options{URL: c.url, Bucket: c.bucket})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("url %q bucket %q: error %v, want it to say %q", c.url, c.bucket, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "password@") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

// failing checks the error of one write against a server that fails.
func failing(t *testing.T, f influxtest.Fault) (*influxtest.Server, error) {
	t.Helper()
	server := influxtest.New()
	server.Always(f)
	_, err := open(t, server.Start(t)).Write(t.Context(), acqtest.Blocks("flow", 2, 10))
	if err == nil {
		t.Fatalf("%+v: the write succeeded", f)
	}
	if n := server.Seen().Lines; n != 0 {
		t.Fatalf("%d lines were stored by a server that should have failed", n)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the token is in the error: %v", err)
	}
	return server, err
}

func TestF052TooManyRequests(t *testing.T) {
	for _, c := range []struct {
		after string
		want  time.Duration
	}{
		{"7", 7 * time.Second},
		{"0.5", 500 * time.Millisecond},
		{time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat), 30 * time.Second},
		{"", 0},
		{"86400000", 5 * time.Minute},
		{time.Now().Add(1e6 * time.Second).UTC().Format(http.TimeFormat), 5 * time.Minute},
		{"1e300", 5 * time.Minute},
		{"-5", 0},
		{"soon", 0},
		{"NaN", 0},
		{time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 0},
	} {
		server, err := failing(t, influxtest.RetryAfter(c.after))
		var retry *influx.RetryError
		if !errors.As(err, &retry) {
			t.Errorf("Retry-After %q: %v is no RetryError", c.after, err)
			continue
		}
		if d := retry.After - c.want; d > 0 || d < -2*time.Second {
			t.Errorf("Retry-After %q: wait %v, want %v", c.after, retry.After, c.want)
		}
		if n := server.Seen().Answers[429]; n != 1 {
			t.Errorf("%d requests, want 1: whoever calls waits", n)
		}
	}
}

func TestF053ServerErrors(t *testing.T) {
	for _, code := range []int{500, 502, 503, 504} {
		server, err := failing(t, influxtest.Status(code, "timeout"))
		var retry *influx.RetryError
		if !errors.As(err, &retry) || server.Seen().Answers[code] != 1 {
			t.Errorf("%d: %v, want a RetryError after one request", code, err)
		}
	}
	for _, cut := range []influxtest.Cut{influxtest.CutBefore, influxtest.CutAfterBody} {
		server, err := failing(t, influxtest.Fault{Cut: cut})
		var retry *influx.RetryError
		if !errors.As(err, &retry) || server.Seen().Answers[0] == 0 {
			t.Errorf("cut %d: %v, want a RetryError", cut, err)
		}
	}
}

func TestF049NobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, err = open(t, "http://"+address).Write(t.Context(), acqtest.Blocks("flow", 1, 1))
	var retry *influx.RetryError
	if !errors.As(err, &retry) || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v, want a RetryError that names %s", err, address)
	}
}

func TestF051SlowServerHonoursTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := influxtest.New()
		server.Slow = 30 * time.Second
		s := open(t, "http://influx.test", func(o *influx.Options) { o.HTTPClient, o.Timeout = server.Pipe(t), 0 })
		begin := time.Now()
		if _, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 10)); err != nil {
			t.Errorf("an answer after 30 s is an answer: %v", err)
		}
		if d := time.Since(begin); d != 30*time.Second {
			t.Errorf("answered after %v, want 30 s", d)
		}
		server.Set(func(s *influxtest.Server) { s.Slow = time.Hour })
		begin = time.Now()
		_, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 10))
		var retry *influx.RetryError
		if d := time.Since(begin); !errors.As(err, &retry) || d != time.Minute {
			t.Errorf("a server that never answers: %v after %v, want a RetryError after the timeout of a minute", err, d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if _, err := s.Write(ctx, acqtest.Blocks("flow", 1, 10)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("cancelled: %v after %v", err, time.Since(begin))
		}
	})
}

func TestF054LostAnswer(t *testing.T) {
	server := influxtest.New()
	s := open(t, server.Start(t))
	blocks := acqtest.Blocks("flow", 2, 10)
	server.Next(influxtest.Fault{Cut: influxtest.CutAfterStore})
	_, err := s.Write(t.Context(), blocks)
	if _, ok := errors.AsType[*influx.RetryError](err); !ok {
		t.Fatalf("lost answer: %v, want a RetryError", err)
	}
	before := server.Points(influxtest.SeriesOf(blocks[0].Group))
	if len(before) != 20 {
		t.Fatalf("%d points stored before the answer was lost, want 20", len(before))
	}
	if _, err := s.Write(t.Context(), blocks); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, server.Points(influxtest.SeriesOf(blocks[0].Group))); diff != "" {
		t.Errorf("the repeat changed the content: %s", diff)
	}
	if n := server.Seen().Repeats; n != 20 {
		t.Errorf("%d repeats, want 20", n)
	}
}

func hold(t *testing.T, err error) *influx.HoldError {
	t.Helper()
	var h *influx.HoldError
	if !errors.As(err, &h) {
		t.Fatalf("error %v is no HoldError", err)
	}
	return h
}

func TestF055TokenRevokedAndRotated(t *testing.T) {
	server := influxtest.New()
	server.Token = secret
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(secret + "\n")
	s := open(t, server.Start(t), func(o *influx.Options) { o.Token, o.TokenFile = nil, file })
	blocks := acqtest.Blocks("flow", 1, 10)
	write := func() error { _, err := s.Write(t.Context(), blocks); return err }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	server.Set(func(s *influxtest.Server) { s.Token = "rotated" })
	err := write()
	if h := hold(t, err); h.Status != 401 || !strings.Contains(h.Remedy(), "token file") {
		t.Errorf("hold %+v, want 401 and what to do", h)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the token is in the error: %v", err)
	}
	put("rotated")
	if err := write(); err != nil {
		t.Errorf("a rotated token did not work without a restart: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if h := hold(t, write()); !strings.Contains(h.Error(), "token") {
		t.Errorf("without its file: %v", h)
	}
	server.Always(influxtest.Status(403, "forbidden"))
	put("rotated")
	if h := hold(t, write()); h.Status != 403 || !strings.Contains(h.Do, "GRANT") {
		t.Errorf("hold %+v, want 403 and what to do", h)
	}
}

func TestF056DatabaseOrBucketMissing(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault influxtest.Fault
		do    string
	}{
		{"1.8 database", influxtest.Fault{Status: 404, Body: `{"error":"database not found: \"pneudaq\""}`}, `CREATE DATABASE "pneudaq"`},
		{"1.8 policy", influxtest.Fault{Status: 500, Body: `{"error":"retention policy not found: autogen"}`}, `CREATE RETENTION POLICY "autogen" ON "pneudaq"`},
		{"2.x bucket", influxtest.Status(404, `bucket "pneudaq/autogen" not found`), `bucket create --org "lab"`},
		{"2.x organisation", influxtest.Status(404, `organization name "lab" not found`), `organisation "lab"`},
		{"no such path", influxtest.Fault{Status: 404, Type: "text/plain", Body: "404 page not found"}, "influx.url"},
		{"1.8 without a database", influxtest.Fault{Status: 400, Body: `{"error":"database is required"}`}, "influx.url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := failing(t, c.fault)
			if h := hold(t, err); !strings.Contains(h.Do, c.do) {
				t.Errorf("do %q, want it to name %s", h.Do, c.do)
			}
			if n := server.Seen().Requests; n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestF057MalformedLineIsFoundAmongOthers(t *testing.T) {
	for _, v := range []influxtest.Version{influxtest.V18, influxtest.V20, influxtest.V27, influxtest.V3} {
		server := influxtest.New()
		server.Version = v
		s := open(t, server.Start(t))
		blocks := acqtest.Blocks("flow", 4, 25)
		bad := map[int64]bool{blocks[1].Times[3]: true, blocks[3].Times[24]: true}
		server.Set(func(s *influxtest.Server) {
			s.Poison = func(_ string, _ influxtest.Point, at int64) bool { return bad[at] }
		})
		refused, err := s.Write(t.Context(), blocks)
		if err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		var got []string
		for _, r := range refused {
			got = append(got, fmt.Sprintf("%s %d %d", r.Group, r.Seq, r.Scan))
			if want := strings.TrimSuffix(encode(t, &acquisition.Block{
				Group: blocks[0].Group, Slots: []uint64{1}, Times: blocks[r.Seq-1].Times[r.Scan : r.Scan+1],
				Words: blocks[r.Seq-1].ScanWords(r.Scan), Quality: blocks[r.Seq-1].ScanQuality(r.Scan),
			}), "\n"); r.Text != want {
				t.Errorf("text %q, want %q", r.Text, want)
			}
			if !strings.Contains(r.Reason, "field type conflict") {
				t.Errorf("reason %q", r.Reason)
			}
		}
		if diff := cmp.Diff([]string{"rig/flow 2 3", "rig/flow 4 24"}, got); diff != "" {
			t.Errorf("version %d: %s", v, diff)
		}
		if n := len(server.Values(blocks[0].Group, "a")); n != 98 {
			t.Errorf("version %d: %d of the 98 good lines arrived", v, n)
		}
		if n := server.Seen().Requests; n > 40 {
			t.Errorf("version %d: %d requests to find two lines in 100", v, n)
		}
	}
}

func TestF058ConflictOfTypesIsNotRetriedForEver(t *testing.T) {
	for _, v := range []influxtest.Version{influxtest.V18, influxtest.V20, influxtest.V27, influxtest.V3} {
		server := influxtest.New()
		server.Version = v
		address := server.Start(t)
		// Somebody wrote channel a as a string once.
		resp, err := http.Post(address+"/api/v2/write", "text/plain", strings.NewReader("pneumatics,group=x a=\"text\" 1\n"))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatalf("prepare: %v %v", resp, err)
		}
		_ = resp.Body.Close()
		s := open(t, address)
		other := acqtest.Blocks("other", 1, 50)
		clone := *other[0].Group
		clone.Measurement = "elsewhere"
		other[0].Group = &clone
		refused, err := s.Write(t.Context(), append(acqtest.Blocks("flow", 2, 50), other...))
		if err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		if len(refused) != 100 {
			t.Errorf("version %d: %d lines refused, want the 100 that conflict", v, len(refused))
		}
		if n := len(server.Values(&clone, "a")); n != 50 {
			t.Errorf("version %d: %d of the 50 good lines arrived", v, n)
		}
		if n := server.Seen().Requests; n > 260 {
			t.Errorf("version %d: %d requests", v, n)
		}
	}
}

func TestBadRequestFromSomethingInFrontSetsNothingAside(t *testing.T) {
	for _, f := range []influxtest.Fault{
		{Status: 400, Type: "text/html", Body: "<html><h1>400 The plain HTTP request was sent to HTTPS port</h1></html>"},
		{Status: 400, Type: "text/plain", Body: "Client sent an HTTP request to an HTTPS server.\n"},
		{Status: 400, Body: `{"message":"policy of the gateway"}`},
		{Status: 422, Body: `{"detail":"schema"}`, Type: "application/problem+json"},
	} {
		server, err := failing(t, f)
		hold(t, err)
		if n := server.Seen().Requests; n > 10 {
			t.Errorf("%q: %d requests", f.Body, n)
		}
	}
}

func TestF059TooLargeIsHalved(t *testing.T) {
	server := influxtest.New()
	server.MaxBody = 1000
	s := open(t, server.Start(t))
	blocks := acqtest.Blocks("flow", 2, 100)
	if refused, err := s.Write(t.Context(), blocks); err != nil || len(refused) != 0 {
		t.Fatalf("%d refused, %v", len(refused), err)
	}
	seen := server.Seen()
	if seen.Answers[413] == 0 {
		t.Fatal("the server never said 413")
	}
	if n := len(server.Values(blocks[0].Group, "a")); n != 200 {
		t.Errorf("%d of 200 lines arrived", n)
	}
	if _, err := s.Write(t.Context(), blocks); err != nil {
		t.Fatal(err)
	}
	if again := server.Seen().Answers[413] - seen.Answers[413]; again != 0 {
		t.Errorf("%d answers 413 on the second write: the limit was not remembered", again)
	}
	server.Set(func(s *influxtest.Server) { s.MaxBody = 10 })
	refused, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 3))
	if err != nil || len(refused) != 3 || !strings.Contains(refused[0].Reason, "413") {
		t.Errorf("lines that never fit: %+v, %v; want three refused", refused, err)
	}
}

func TestF060OutsideRetention(t *testing.T) {
	server := influxtest.New()
	s := open(t, server.Start(t))
	blocks := acqtest.Blocks("flow", 2, 50)
	server.Retention = blocks[1].Times[0]
	refused, err := s.Write(t.Context(), blocks)
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) != 50 || refused[0].Seq != 1 || !strings.Contains(refused[0].Reason, "retention policy") {
		t.Errorf("%d refused, want the 50 of block 1", len(refused))
	}
	if n := server.Seen().Requests; n > 20 {
		t.Errorf("%d requests to set one block aside", n)
	}
}

func TestF061RedirectTakesNoToken(t *testing.T) {
	var mu sync.Mutex
	visits := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visits++
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to another host")
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		_, err := failing(t, influxtest.Fault{Status: code, Header: map[string]string{"Location": elsewhere.URL + "/api/v2/write"}})
		if h := hold(t, err); !strings.Contains(h.Error(), elsewhere.URL) || !strings.Contains(h.Do, "influx.url") {
			t.Errorf("%d: %v, want it to name the new address", code, h)
		}
	}
	if visits != 0 {
		t.Errorf("%d requests followed a redirect", visits)
	}
}

func TestF061UntrustedCertificate(t *testing.T) {
	server := influxtest.New()
	h := httptest.NewUnstartedServer(server)
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.StartTLS()
	defer h.Close()
	_, err := open(t, h.URL).Write(t.Context(), acqtest.Blocks("flow", 1, 1))
	var retry *influx.RetryError
	if !errors.As(err, &retry) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error %v, want a RetryError about the certificate", err)
	}
	s := open(t, h.URL, func(o *influx.Options) { o.HTTPClient = h.Client() })
	if _, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 1)); err != nil {
		t.Errorf("with the certificate trusted: %v", err)
	}
}

func TestF062Only204IsSuccess(t *testing.T) {
	for _, f := range []influxtest.Fault{influxtest.HTML(), {Status: 200}, {Status: 201, Body: "{}"}, {Status: 202}} {
		_, err := failing(t, f)
		if h := hold(t, err); h.Status != f.Status || !strings.Contains(h.Error(), "204") {
			t.Errorf("%d: %v", f.Status, h)
		}
	}
}

func TestTokenIsNowhere(t *testing.T) {
	var log bytes.Buffer
	server := influxtest.New()
	server.Always(influxtest.Status(401, "unauthorized"))
	s := open(t, server.Start(t), func(o *influx.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	_, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 1))
	for _, text := range []string{log.String(), err.Error(), fmt.Sprintf("%v %+v", s, err)} {
		if strings.Contains(text, secret) {
			t.Errorf("the token appears in %q", text)
		}
	}
	if got := server.Seen().Headers[0].Get("Authorization"); got != "Token "+secret {
		t.Errorf("authorization %q", got)
	}
}

func TestGzipIsReadByTheServer(t *testing.T) {
	server := influxtest.New()
	s := open(t, server.Start(t), func(o *influx.Options) { o.Gzip = true })
	for range 3 {
		if _, err := s.Write(t.Context(), acqtest.Blocks("flow", 5, 100)); err != nil {
			t.Fatal(err)
		}
	}
	seen := server.Seen()
	if seen.Headers[2].Get("Content-Encoding") != "gzip" || seen.Lines != 1500 {
		t.Errorf("encoding %q, %d lines", seen.Headers[2].Get("Content-Encoding"), seen.Lines)
	}
}

func TestUndecodableGroupDoesNotBlockTheRest(t *testing.T) {
	server := influxtest.New()
	s := open(t, server.Start(t))
	broken := acqtest.Blocks("broken", 1, 3)
	clone := *broken[0].Group
	clone.Channels = append([]acquisition.Channel{}, clone.Channels...)
	clone.Channels[0].Decoding = acquisition.Decoding{Origin: acquisition.FromExpression, Expression: "b*2"}
	broken[0].Group = &clone
	refused, err := s.Write(t.Context(), append(broken, acqtest.Blocks("flow", 1, 10)...))
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) != 3 || !strings.Contains(refused[0].Reason, "expression") || server.Seen().Lines != 10 {
		t.Errorf("refused %+v, %d lines arrived; want 3 and 10", refused, server.Seen().Lines)
	}
}

func TestConnectionIsKept(t *testing.T) {
	server := influxtest.New()
	h := httptest.NewUnstartedServer(server)
	var mu sync.Mutex
	opened := 0
	h.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if s == http.StateNew {
			opened++
		}
	}
	h.Start()
	defer h.Close()
	s := open(t, h.URL)
	for i := range 20 {
		if i%5 == 0 {
			server.Next(influxtest.Status(400, "partial write: nonsense dropped=10"))
		}
		if _, err := s.Write(t.Context(), acqtest.Blocks("flow", 1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 1 {
		t.Errorf("%d connections for 20 writes", opened)
	}
}

// counted answers 204 and counts bytes: the cheapest possible server.
type counted struct{ bytes int64 }

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	n, err := io.Copy(io.Discard, r.Body)
	c.bytes += n
	_ = r.Body.Close()
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Header: http.Header{}}, err
}

func BenchmarkWrite(b *testing.B) {
	for _, zip := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", zip), func(b *testing.B) {
			c := &counted{}
			s := open(b, "http://influx.test", func(o *influx.Options) { o.HTTPClient, o.Gzip = &http.Client{Transport: c}, zip })
			block := wide(125, 400, func(i int) uint16 { return uint16(i * 7919) }, 0.1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Write(b.Context(), []*acquisition.Block{block}); err != nil {
					b.Fatal(err)
				}
			}
			fields := float64(b.N) * 50_000
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/fields, "ns/field")
			b.ReportMetric(float64(c.bytes)/fields, "B/field")
		})
	}
}

func errorsAs[T error](err error, target *T) bool { return errors.As(err, target) }

// proxy forwards to a server what f does not answer.
func proxy(t *testing.T, to string, f func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f(w, r) {
			p.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h.URL
}

func TestF061NameLeadsElsewhere(t *testing.T) {
	old, fresh := influxtest.New(), influxtest.New()
	h := httptest.NewServer(old)
	defer h.Close()
	var mu sync.Mutex
	address := strings.TrimPrefix(h.URL, "http://")
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) { // the resolver
		mu.Lock()
		defer mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	s := open(t, "http://influx.lab:8086", func(o *influx.Options) { o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: dial}} })
	blocks := acqtest.Blocks("flow", 2, 10)
	if _, err := s.Write(t.Context(), blocks[:1]); err != nil {
		t.Fatal(err)
	}
	old.Always(influxtest.Status(http.StatusServiceUnavailable, "moved")) // its connections stay open
	mu.Lock()
	address = strings.TrimPrefix(fresh.Start(t), "http://")
	mu.Unlock()
	if _, err := s.Write(t.Context(), blocks[1:]); err == nil {
		t.Fatal("the old server took it")
	}
	if _, err := s.Write(t.Context(), blocks[1:]); err != nil {
		t.Errorf("after the name changed: %v", err)
	}
	if n := fresh.Seen().Lines; n != 10 {
		t.Errorf("%d lines at the new address, want 10", n)
	}
}
