package storage_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
)

// TestStoreToRealInfluxDB leads a real store to a real InfluxDB that is missing
// its database first, is killed in between, and loses data in the end.
func TestStoreToRealInfluxDB(t *testing.T) {
	server := influxtest.StartReal(t, influxtest.RealOptions{})
	c := &clock{start}
	var f *storage.Forwarder
	s, err := storage.Open(t.Context(), storage.Options{Dir: t.TempDir(), Now: c.now, Sinks: []string{"influx"}, Offer: func(b []*acquisition.Block) { f.Offer(b) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	sink, err := influx.New(influx.Options{URL: server.URL, Bucket: "pneudaq/autogen", Gzip: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	f, stop := forward(t, s, sink)

	g := device("d")
	slot := uint64(start / int64(g.Period))
	open, err := s.OpenEpoch(t.Context(), g, 0, slot)
	if err != nil {
		t.Fatal(err)
	}
	x := newSignals(open.Group())
	scans := 0
	record := func(seconds int) {
		t.Helper()
		for range seconds {
			for range 100 {
				if r := open.Append(x.at(slot)); r != acquisition.ReasonNone {
					t.Fatal(r)
				}
				slot++
				scans++
			}
			c.t += int64(time.Second)
			if err := s.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitFor := func(what string, good func(st storage.ForwarderStats) bool) {
		t.Helper()
		var st storage.ForwarderStats
		for range 3000 {
			var err error
			if st, err = f.Stats(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st.Stored != st.Delivered+st.Waiting+st.Refused {
				t.Fatalf("stored %d != delivered %d + waiting %d + refused %d", st.Stored, st.Delivered, st.Waiting, st.Refused)
			}
			if good(st) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s: %+v", what, st)
	}
	delivered := func(st storage.ForwarderStats) bool { return int(st.Delivered) == scans && st.Waiting == 0 }
	agree := func(what string) {
		t.Helper()
		c.t += int64(time.Minute)
		r, err := f.Reconcile(t.Context(), storage.ReconcileQuery{})
		if err != nil || !r.Agrees() || int(r.Samples) != scans*125 {
			t.Errorf("%s: %d windows, %d samples, %d waiting, %d differences, %v; want %d samples that agree", what, r.Windows, r.Samples, r.Waiting, len(r.Differences), err, scans*125)
		}
		rows := server.Query("pneudaq", `SELECT count("ch007") FROM pneumatics`)
		if len(rows) != 1 || fmt.Sprint(rows[0][1]) != fmt.Sprint(scans) {
			t.Errorf("%s: InfluxDB counts %v, want %d", what, rows, scans)
		}
	}

	record(3)
	waitFor("F056 no database", func(st storage.ForwarderStats) bool { return st.State == storage.ForwarderHolding && st.Waiting > 0 })
	server.Query("", "CREATE DATABASE pneudaq")
	waitFor("database created", delivered)
	record(5)
	waitFor("live", delivered)
	agree("undisturbed")

	server.Kill()
	record(10)
	waitFor("F050 database killed", func(st storage.ForwarderStats) bool { return st.State == storage.ForwarderRetrying })
	server.Start()
	waitFor("database back", delivered)
	agree("after the outage")

	stop()
	record(5) // offered to a forwarder that does not run
	f, stop = forward(t, s, sink)
	waitFor("forwarder restarted", delivered)
	agree("after a restart of the forwarder")

	from := start + int64(4*time.Second)
	server.Query("pneudaq", fmt.Sprintf("DELETE FROM pneumatics WHERE time >= %d AND time < %d", from, from+int64(3*time.Second)))
	r, err := f.Reconcile(t.Context(), storage.ReconcileQuery{Resend: true})
	if err != nil || r.Agrees() || r.Resent == 0 {
		t.Fatalf("F063 deleted data are not seen: %d windows, %d differences, %v", r.Windows, len(r.Differences), err)
	}
	waitFor("sent again", delivered)
	agree("after the loss")
	stop()
}

// ahead puts the clock of the forwarder behind the times of the tests' clock.
const ahead = int64(5 * 365 * 24 * time.Hour)

// forward runs a forwarder until stop is called.
func forward(t *testing.T, s *storage.Store, sink acquisition.Sink) (f *storage.Forwarder, stop func()) {
	t.Helper()
	f, err := storage.NewForwarder(storage.ForwarderOptions{Store: s, Sink: sink, Name: "influx", Now: func() int64 { return time.Now().UnixNano() + ahead }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return f, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
