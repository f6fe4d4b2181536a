package modbus_test

import (
	"fmt"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

func benchmarked(tb testing.TB, so simulator.ServerOptions, change func(o *modbus.Options), n int, ids ...byte) (*modbus.Bus, *acquisition.Group) {
	tb.Helper()
	so.Units = addressUnits(ids...)
	_, address := serve(tb, so)
	scheme := "tcp"
	if so.RTU {
		scheme = "rtu+tcp"
	}
	o := registers(scheme+"://"+address, time.Second, n, ids...)
	o.Timeout = 2 * time.Second
	if change != nil {
		change(&o)
	}
	b := open(tb, o)
	connect(tb, b)
	return b, b.Groups()[0]
}

// One request of 125 registers a poll; CPU of driver and server together.
func BenchmarkPoll125Registers(b *testing.B) {
	bus, g := benchmarked(b, simulator.ServerOptions{}, nil, 125, 1)
	s := acquisition.NewScan(g)
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(g)
		if err := bus.Poll(b.Context(), g, 1, s); err != nil || s.Quality[0] != acquisition.Good {
			b.Fatal(err, s.Quality[0])
		}
	}
}

func BenchmarkPollInflight(b *testing.B) {
	for _, inflight := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(inflight), func(b *testing.B) {
			ids := make([]byte, 32)
			for i := range ids {
				ids[i] = byte(i + 1)
			}
			bus, g := benchmarked(b, simulator.ServerOptions{Delay: time.Millisecond}, func(o *modbus.Options) { o.Inflight = inflight }, 20, ids...)
			s := acquisition.NewScan(g)
			for b.Loop() {
				s.Reset(g)
				if err := bus.Poll(b.Context(), g, 1, s); err != nil || s.Quality[0] != acquisition.Good {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(32*b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// A device that takes 1 ms: sixteen at a time must be at least eight times as
// fast as one at a time.
func TestPipeliningIsEightTimesAsFast(t *testing.T) {
	ids := make([]byte, 32)
	for i := range ids {
		ids[i] = byte(i + 1)
	}
	best := 0.0
	for range 5 { // the machine may be busy
		rate := func(inflight int) float64 {
			bus, g := benchmarked(t, simulator.ServerOptions{Delay: time.Millisecond}, func(o *modbus.Options) { o.Inflight = inflight }, 20, ids...)
			defer bus.Close()
			s := acquisition.NewScan(g)
			began, n := time.Now(), 0
			for time.Since(began) < 300*time.Millisecond {
				s.Reset(g)
				if err := bus.Poll(t.Context(), g, 1, s); err != nil {
					t.Fatal(err)
				}
				n += 32
			}
			return float64(n) / time.Since(began).Seconds()
		}
		one, sixteen := rate(1), rate(16)
		t.Logf("1 at a time %.0f requests/s, 16 at a time %.0f: %.1f times", one, sixteen, sixteen/one)
		if best = max(best, sixteen/one); best >= 8 {
			return
		}
	}
	t.Errorf("only %.1f times as fast", best)
}

func TestPollAllocatesNothing(t *testing.T) {
	for _, rtu := range []bool{false, true} {
		bus, g := benchmarked(t, simulator.ServerOptions{RTU: rtu}, nil, 125, 1)
		s := acquisition.NewScan(g)
		ctx := t.Context()
		n := testing.AllocsPerRun(100, func() {
			s.Reset(g)
			if err := bus.Poll(ctx, g, 1, s); err != nil {
				t.Fatal(err)
			}
		})
		if n >= 1 { // the server in this process is counted too
			t.Errorf("rtu %v: a poll of 125 registers allocates %v times", rtu, n)
		}
	}
}
