package storage_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
	"pneudaq/storage/storagetest"
)

// filled returns a store that holds some seconds of devices at 100 Hz, in
// blocks of a second, and how many samples that is.
func filled(tb testing.TB, devices, seconds int) (*storage.Store, int) {
	tb.Helper()
	c := &clock{start}
	s, err := storage.Open(tb.Context(), storage.Options{FS: storagetest.New(), Now: c.now, MemoryLimit: 64 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	first := uint64(start / int64(10*time.Millisecond))
	var opens []*acquisition.Open
	var sources []*signals
	for i := range devices {
		o, err := s.OpenEpoch(tb.Context(), device(fmt.Sprintf("d%02d", i)), 0, first)
		if err != nil {
			tb.Fatal(err)
		}
		opens, sources = append(opens, o), append(sources, newSignals(o.Group()))
	}
	for second := range seconds {
		for i, o := range opens {
			for slot := range uint64(100) {
				if r := o.Append(sources[i].at(first + uint64(second)*100 + slot)); r != acquisition.ReasonNone {
					tb.Fatal(r)
				}
			}
		}
		c.t += int64(time.Second)
		if err := s.Commit(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	return s, devices * seconds * 100 * 125
}

// drain forwards everything that a store holds and returns how long it took.
func drain(tb testing.TB, s *storage.Store, sink acquisition.Sink, samples int, name string) time.Duration {
	tb.Helper()
	f, err := storage.NewForwarder(storage.ForwarderOptions{Store: s, Sink: sink, Name: name, CheckEvery: -1})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- f.Run(ctx) }()
	var took time.Duration
	for {
		st, err := f.Stats(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		if st.Counts.Fields >= uint64(samples) {
			took = time.Since(begin)
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return took
}

// counting takes everything and keeps nothing.
type counting struct{ fields int }

func (c *counting) Write(_ context.Context, blocks []*acquisition.Block) ([]acquisition.Refused, error) {
	for _, b := range blocks {
		c.fields += b.Len() * len(b.Group.Channels)
	}
	return nil, nil
}

// RoundTrip answers 204 to a body that it does not keep.
func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Header: http.Header{}}, err
}

// BenchmarkForward replays a full store on one processor: into a sink that only
// counts, and as line protocol into a server that only counts.
func BenchmarkForward(b *testing.B) {
	s, samples := filled(b, 8, 30)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	lines, err := influx.New(influx.Options{URL: "http://influx.test", Bucket: "b", HTTPClient: &http.Client{Transport: &counting{}}})
	if err != nil {
		b.Fatal(err)
	}
	for name, sink := range map[string]acquisition.Sink{"counting": &counting{}, "line protocol": lines} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			took := time.Duration(0)
			n := 0
			for b.Loop() {
				n++
				took += drain(b, s, sink, samples, fmt.Sprintf("%s %d %d", name, b.N, n+int(time.Now().UnixNano())))
			}
			b.ReportMetric(float64(n*samples)/took.Seconds()/1e6, "Mfields/s")
		})
	}
}

// BenchmarkForwardRealInfluxDB replays a store into a real InfluxDB, in turns
// with the same bodies rendered beforehand; the ratio is what forwarding costs.
func BenchmarkForwardRealInfluxDB(b *testing.B) {
	server := influxtest.StartReal(b, influxtest.RealOptions{})
	s, samples := filled(b, 8, 30)
	bodies := rendered(b, s)
	turn := 0
	var forwarded, prepared time.Duration
	for b.Loop() {
		turn++
		bucket := fmt.Sprintf("turn%d", turn)
		server.Query("", "CREATE DATABASE "+bucket)
		server.Query("", "CREATE DATABASE p"+bucket)
		sink, err := influx.New(influx.Options{URL: server.URL, Bucket: bucket + "/autogen"})
		if err != nil {
			b.Fatal(err)
		}
		forwarded += drain(b, s, sink, samples, bucket)
		_ = sink.Close()
		begin := time.Now()
		for _, body := range bodies {
			resp, err := http.Post(server.URL+"/api/v2/write?precision=ns&bucket=p"+bucket+"/autogen", "text/plain", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusNoContent {
				b.Fatal(resp.Status)
			}
		}
		prepared += time.Since(begin)
		server.Query("", "DROP DATABASE "+bucket)
		server.Query("", "DROP DATABASE p"+bucket)
	}
	b.ReportMetric(float64(turn*samples)/forwarded.Seconds()/1e6, "Mfields/s")
	b.ReportMetric(100*prepared.Seconds()/forwarded.Seconds(), "%_of_prepared")
}

// rendered returns what a store holds as bodies of 50 000 fields.
func rendered(tb testing.TB, s *storage.Store) []string {
	tb.Helper()
	var bodies []string
	var buf []byte
	var scratch influx.Scratch
	for _, g := range s.Groups() {
		e, err := influx.NewEncoder(g, nil)
		if err != nil {
			tb.Fatal(err)
		}
		fields := 0
		for b, err := range s.Feed(tb.Context(), g.Key(), s.Held(g.Key())) {
			if err != nil {
				tb.Fatal(err)
			}
			for i := range b.Len() {
				buf = e.AppendScan(buf, b, i, &scratch)
			}
			if fields += b.Len() * 125; fields >= 50_000 {
				bodies, buf, fields = append(bodies, string(buf)), buf[:0], 0
			}
		}
		if fields > 0 {
			bodies, buf = append(bodies, string(buf)), buf[:0]
		}
	}
	return bodies
}
