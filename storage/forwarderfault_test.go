package storage_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
)

// faulty runs two minutes of two groups with the fault from second 20 to 80,
// and then checks that everything arrived.
func faulty(t *testing.T, begin, end func(s *station), check func(s *station, during, after storage.ForwarderStats)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(20, "flow", "steady")
		s.began = time.Now()
		begin(s)
		s.run(60, "flow", "steady")
		during := s.stats()
		end(s)
		s.run(40, "flow", "steady")
		after := s.settle(10 * time.Second)
		s.complete()
		if after.Delivered != 2400 || after.Refused != 0 || after.State != storage.ForwarderOK || after.Do != "" || after.Problem != "" {
			t.Errorf("at the end: %+v, want 2400 delivered and state ok", after)
		}
		check(s, during, after)
	})
}

func down(t *testing.T, during storage.ForwarderStats, state string) {
	t.Helper()
	if during.State != state || during.Waiting < 1000 || during.Problem == "" {
		t.Errorf("during the fault: state %q, %d waiting, problem %q; want %s with a minute of data waiting", during.State, during.Waiting, during.Problem, state)
	}
	if (state == storage.ForwarderHolding) != (during.Do != "") {
		t.Errorf("state %s says what to do: %q", state, during.Do)
	}
}

func TestF049DatabaseDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.server.Down()
		s.run(60, "flow")
		down(t, func() storage.ForwarderStats { st := s.stats(); st.Waiting *= 2; return st }(), storage.ForwarderRetrying)
		s.server.Heal()
		s.settle(10 * time.Second)
		s.complete()
	})
}

// counter is a sink that takes a fixed time for each request and some for each
// field, in virtual time.
type counter struct {
	mu     sync.Mutex
	down   bool
	per    time.Duration
	field  time.Duration
	fields int
	scans  map[acquisition.GroupKey]map[uint64]int
	order  []uint64
}

func (c *counter) Write(ctx context.Context, blocks []*acquisition.Block) ([]acquisition.Refused, error) {
	c.mu.Lock()
	d := c.per
	for _, b := range blocks {
		d += time.Duration(b.Len()*len(b.Group.Channels)) * c.field
	}
	isDown := c.down
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if isDown {
		return nil, errors.New("nobody answers")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range blocks {
		m := c.scans[b.Group.Key()]
		if m == nil {
			m = map[uint64]int{}
			c.scans[b.Group.Key()] = m
		}
		m[b.Seq]++
		c.fields += b.Len() * len(b.Group.Channels)
		c.order = append(c.order, b.Seq)
	}
	return nil, nil
}

func (c *counter) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func TestF050DatabaseAwayFor72Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{per: 20 * time.Millisecond, field: 2 * time.Microsecond, scans: map[acquisition.GroupKey]map[uint64]int{}}
		s := newStation(t, func(o *storage.ForwarderOptions, _ *influx.Options) { o.Sink, o.Check, o.BatchFields = c, nil, 2000 })
		hours := 72
		if testing.Short() {
			hours = 2
		}
		s.run(5, "flow", "steady")
		c.set(func() { c.down = true })
		s.run(hours*3600, "flow", "steady")
		if st := s.stats(); st.Waiting < uint64(hours*3600*20-100) || st.State != storage.ForwarderRetrying {
			t.Fatalf("after the outage: %d waiting, %s", st.Waiting, st.State)
		}
		c.set(func() { c.down = false })
		begin := time.Now()
		worst := time.Duration(0)
		time.Sleep(6 * time.Second) // the longest back-off
		for s.stats().Waiting > 100 {
			s.run(10, "flow", "steady")
			if d := time.Duration(s.stats().LiveDelay); d > worst {
				worst = d
			}
			if time.Since(begin) > time.Duration(hours)*6*time.Minute {
				t.Fatalf("the backlog of %d h is not gone after a tenth of it: %d waiting", hours, s.stats().Waiting)
			}
		}
		s.settle(10 * time.Second)
		if worst > 2*time.Second {
			t.Errorf("F080 live data were delivered %v late while the backlog drained, want at most 2 s", worst)
		}
		for key, m := range c.scans {
			if held := s.shelf.Held(key); uint64(len(m)) != held.To-1 {
				t.Errorf("group %s: %d of %d blocks arrived", key, len(m), held.To-1)
			}
		}
	})
}

func TestEachLaneIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{per: 10 * time.Millisecond, scans: map[acquisition.GroupKey]map[uint64]int{}}
		s := newStation(t, func(o *storage.ForwarderOptions, _ *influx.Options) { o.Sink, o.Check, o.BatchFields = c, nil, 100 })
		c.set(func() { c.down = true })
		s.run(200, "flow")
		c.set(func() { c.down = false })
		s.run(100, "flow")
		s.settle(30 * time.Second)
		var lanes [2]uint64 // the last number of each
		for _, seq := range c.order {
			if lanes[0] < lanes[1] {
				lanes[0], lanes[1] = lanes[1], lanes[0]
			}
			switch {
			case seq > lanes[0]:
				lanes[0] = seq
			case seq > lanes[1]:
				lanes[1] = seq
			default:
				t.Fatalf("block %d comes after %v: two lanes in order cannot do that", seq, lanes)
			}
		}
		if lanes[1] == 0 {
			t.Error("there was only one lane")
		}
	})
}

func TestF051SlowDatabase(t *testing.T) {
	begin := time.Now()
	faulty(t,
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.Slow = 30 * time.Second }) },
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.Slow = 0 }) },
		func(s *station, during, after storage.ForwarderStats) {
			if during.Waiting == 0 || after.Counts.Retries > 0 {
				s.t.Errorf("%d waiting during, %d retries: slow is not broken", during.Waiting, after.Counts.Retries)
			}
		})
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("two minutes of virtual time took %v", d)
	}
}

func TestF052ForwarderHonoursRetryAfter(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Always(influxtest.RetryAfter("20")) },
		func(s *station) { s.server.Heal() },
		func(s *station, during, _ storage.ForwarderStats) {
			down(s.t, during, storage.ForwarderRetrying)
			if n := s.server.Seen().Answers[429]; n < 2 || n > 10 {
				s.t.Errorf("%d requests in a minute of Retry-After: 20, want about 3 for each lane", n)
			}
		})
}

func TestF053ForwarderBacksOff(t *testing.T) {
	for _, code := range []int{500, 502, 503, 504} {
		faulty(t,
			func(s *station) { s.server.Always(influxtest.Status(code, "timeout")) },
			func(s *station) { s.server.Heal() },
			func(s *station, during, _ storage.ForwarderStats) {
				down(s.t, during, storage.ForwarderRetrying)
				if n := s.server.Seen().Answers[code]; n < 10 || n > 50 {
					s.t.Errorf("%d: %d requests in a minute, want one about every 4 s for each lane", code, n)
				}
			})
	}
}

func TestF053ConnectionBreaks(t *testing.T) {
	for _, cut := range []influxtest.Cut{influxtest.CutBefore, influxtest.CutAfterBody} {
		faulty(t,
			func(s *station) { s.server.Always(influxtest.Fault{Cut: cut}) },
			func(s *station) { s.server.Heal() },
			func(s *station, during, _ storage.ForwarderStats) { down(s.t, during, storage.ForwarderRetrying) })
	}
}

func TestF054AnswersLost(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Always(influxtest.Fault{Cut: influxtest.CutAfterStore}) },
		func(s *station) { s.server.Heal() },
		func(s *station, during, _ storage.ForwarderStats) {
			down(s.t, during, storage.ForwarderRetrying)
			if s.server.Seen().Repeats == 0 {
				s.t.Error("nothing was sent twice: no answer was lost")
			}
		})
}

func TestF055TokenRevokedMidRun(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.Token = "new" }) },
		func(s *station) { rotated := "new"; s.token.Store(&rotated) },
		func(s *station, during, _ storage.ForwarderStats) {
			down(s.t, during, storage.ForwarderHolding)
			if !strings.Contains(during.Do, "token file") {
				s.t.Errorf("do %q", during.Do)
			}
			if told := time.Duration(during.Since - s.began.UnixNano()); told > 10*time.Second {
				s.t.Errorf("the operator was told after %v, want within 10 s", told)
			}
		})
}

func TestF056DatabaseDropped(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.Bucket = "another" }) },
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.Bucket = "" }) },
		func(s *station, during, _ storage.ForwarderStats) {
			down(s.t, during, storage.ForwarderHolding)
			if !strings.Contains(during.Do, `CREATE DATABASE "pneudaq"`) {
				s.t.Errorf("do %q", during.Do)
			}
		})
}

func TestF057RefusedLinesNeverBlockTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.server.Set(func(x *influxtest.Server) {
			x.Poison = func(_ string, p influxtest.Point, _ int64) bool {
				v, ok := p["a"].(float64)
				return ok && int(v)%50 == 3
			}
		})
		s.run(60, "flow", "steady")
		st := s.settle(5 * time.Second)
		poisoned := uint64(0)
		for _, g := range s.groups {
			for b := range s.shelf.Feed(t.Context(), g.Key(), s.shelf.Held(g.Key())) {
				for _, slot := range b.Slots {
					if slot%1000%50 == 3 {
						poisoned++
					}
				}
			}
		}
		if poisoned == 0 || st.Refused != poisoned || st.Delivered != 1200-poisoned {
			t.Errorf("refused %d, delivered %d; want %d and the rest of 1200", st.Refused, st.Delivered, poisoned)
		}
		if uint64(len(s.shelf.aside)) != poisoned {
			t.Errorf("%d lines set aside, want %d", len(s.shelf.aside), poisoned)
		}
		for _, r := range s.shelf.aside {
			if !strings.Contains(r.Text, "a=") || !strings.Contains(r.Reason, "conflict") {
				t.Fatalf("set aside without its text or reason: %+v", r)
			}
		}
		// After a restart with the positions lost everything is sent again and
		// the account is the same.
		s.stop()
		clear(s.shelf.delivered)
		s.start()
		if again := s.settle(20 * time.Second); again.Refused != poisoned || again.Delivered != st.Delivered {
			t.Errorf("F074 after the positions were lost: refused %d, delivered %d; want %d and %d", again.Refused, again.Delivered, poisoned, st.Delivered)
		}
	})
}

func TestF059SmallServer(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.MaxBody = 300 }) },
		func(s *station) { s.server.Set(func(x *influxtest.Server) { x.MaxBody = 0 }) },
		func(s *station, during, _ storage.ForwarderStats) {
			if s.server.Seen().Answers[413] == 0 || during.Waiting > 40 {
				s.t.Errorf("%d answers 413, %d waiting", s.server.Seen().Answers[413], during.Waiting)
			}
		})
}

func TestF060OldDataOutsideRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.server.Down()
		s.run(60, "flow")
		s.server.Heal()
		s.server.Set(func(x *influxtest.Server) { x.Retention = time.Now().Add(-30 * time.Second).UnixNano() })
		s.run(30, "flow")
		st := s.settle(10 * time.Second)
		if st.Refused < 200 || st.Refused > 350 || st.Delivered+st.Refused != 900 {
			t.Errorf("refused %d, delivered %d; want about 300 of 900 refused", st.Refused, st.Delivered)
		}
		r, err := s.f.Reconcile(t.Context(), storage.ReconcileQuery{})
		if err != nil || !r.Agrees() || r.Refused != st.Refused {
			t.Errorf("reconcile: %+v %v, want agreement about what was not refused", r, err)
		}
	})
}

func TestF062CaptivePortal(t *testing.T) {
	faulty(t,
		func(s *station) { s.server.Always(influxtest.HTML()) },
		func(s *station) { s.server.Heal() },
		func(s *station, during, _ storage.ForwarderStats) { down(s.t, during, storage.ForwarderHolding) })
}

func TestF063AcknowledgedThenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(20, "flow", "steady")
		s.server.Always(influxtest.Fault{Forgets: true})
		s.run(20, "flow", "steady")
		s.server.Heal()
		s.run(20, "flow", "steady")
		time.Sleep(10 * time.Second)
		if st := s.stats(); st.Delivered != 1200 {
			t.Fatalf("%d delivered, want 1200 as the server said", st.Delivered)
		}
		if n := len(s.server.Values(s.groups["flow"], "a")); n != 400 {
			t.Fatalf("the server holds %d scans, want 400: it should have forgotten a third", n)
		}
		r, err := s.f.Reconcile(t.Context(), storage.ReconcileQuery{})
		if err != nil || r.Agrees() || r.Resent != 0 {
			t.Fatalf("looking only: %+v %v", r, err)
		}
		r, err = s.f.Reconcile(t.Context(), storage.ReconcileQuery{Resend: true})
		if err != nil || r.Resent < 40 || r.Differences[0].Kind != storage.DifferenceMissing {
			t.Fatalf("with resend: %+v %v", r, err)
		}
		if st := s.stats(); st.Waiting == 0 {
			t.Error("nothing waits although blocks were taken back")
		}
		s.settle(10 * time.Second)
		s.complete()
		if r, err = s.f.Reconcile(t.Context(), storage.ReconcileQuery{}); err != nil || !r.Agrees() || r.Samples == 0 {
			t.Errorf("afterwards: %+v %v", r, err)
		}
	})
}

func TestF063AutomaticAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(60, "flow")
		s.server.Down()
		lost := s.server.Forget(time.Now().Add(-20*time.Second).UnixNano(), 1<<62) // the disk had not got it yet
		s.run(30, "flow")
		s.server.Heal()
		s.run(60, "flow")
		if lost == 0 {
			t.Fatal("the server lost nothing")
		}
		s.settle(10 * time.Second)
		s.complete()
		if c := s.stats().Counts; c.Resent == 0 || c.Checks < 2 {
			t.Errorf("%d blocks sent again in %d checks", c.Resent, c.Checks)
		}
	})
}

func TestF063AutomaticFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(600, "flow")
		if s.server.Forget(time.Now().Add(-5*time.Minute).UnixNano(), time.Now().Add(-4*time.Minute).UnixNano()) == 0 {
			t.Fatal("the server lost nothing")
		}
		s.run(3700, "flow")
		s.settle(10 * time.Second)
		s.complete()
		if c := s.stats().Counts; c.Retries != 0 || c.Resent == 0 {
			t.Errorf("%d retries, %d blocks sent again; want the loss found without an outage", c.Retries, c.Resent)
		}
	})
}

func TestF063SinkThatLosesForEverIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.server.Always(influxtest.Fault{Forgets: true})
		s.run(3*3600, "flow")
		st := s.stats()
		if st.Mismatch == 0 {
			t.Error("the mismatch is not shown")
		}
		if blocks := st.Stored / 10; st.Counts.Resent > blocks {
			t.Errorf("%d blocks were sent again for %d stored: it does not end", st.Counts.Resent, blocks)
		}
	})
}

func TestF064AnotherGatewayWritesTheSameRig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(30, "flow")
		other, err := influx.New(influx.Options{URL: "http://influx.test:8086", Bucket: "pneudaq/autogen", HTTPClient: s.server.Pipe(t)})
		if err != nil {
			t.Fatal(err)
		}
		foreign := &acquisition.Block{Group: s.groups["flow"], Seq: 1, Slots: []uint64{1}, Times: []int64{time.Now().Add(-20*time.Second).UnixNano() + 77}, Words: []uint16{1, 2}, Exchanges: make([]acquisition.Exchange, 1)}
		if _, err := other.Write(t.Context(), []*acquisition.Block{foreign}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r, err := s.f.Reconcile(t.Context(), storage.ReconcileQuery{Resend: true})
		if err != nil || len(r.Differences) != 2 || r.Differences[0].Kind != storage.DifferenceExtra || r.Resent != 0 {
			t.Errorf("reconcile: %+v %v, want one sample too many in both channels and nothing sent", r, err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestReconcileSeesOtherContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.run(30, "flow")
		b := s.shelf.blocks["rig/flow"][9]
		changed := *b
		changed.Words = make([]uint16, len(b.Words))
		copy(changed.Words, b.Words)
		changed.Words[4] += 5
		if _, err := s.options.Sink.Write(t.Context(), []*acquisition.Block{&changed}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r, err := s.f.Reconcile(t.Context(), storage.ReconcileQuery{Resend: true, Groups: []acquisition.GroupKey{"rig/flow"}})
		if err != nil || len(r.Differences) != 1 || r.Differences[0].Kind != storage.DifferenceContent || r.Differences[0].Channel != "a" {
			t.Fatalf("reconcile: %+v %v", r, err)
		}
		s.settle(10 * time.Second)
		s.complete()
	})
}

func TestF050MemoryStaysFlatInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, func(o *storage.ForwarderOptions, _ *influx.Options) { o.QueueBytes = 64 << 10 })
		s.server.Down()
		s.run(1000, "flow")
		if st := s.stats(); st.Waiting != 10_000 {
			t.Errorf("%d waiting", st.Waiting)
		}
		s.server.Heal()
		s.settle(20 * time.Second)
		s.complete()
		if s.shelf.reads == 0 {
			t.Error("nothing was read back: the queue kept more than its limit")
		}
	})
}

// TestForwarderSeeds drives a forwarder through random faults and restarts.
func TestForwarderSeeds(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 5
	}
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			r, x, jitter := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8)), rand.New(rand.NewPCG(seed, 9))
			s := newStation(t, func(o *storage.ForwarderOptions, _ *influx.Options) {
				o.QueueBytes, o.BatchFields, o.Jitter, o.Writers = 1<<(10+r.IntN(8)), 20+r.IntN(400), jitter.Float64, 1+r.IntN(2)
			})
			faults := func() *influxtest.Fault {
				if x.IntN(3) > 0 {
					return nil
				}
				all := []influxtest.Fault{
					influxtest.Status(500, "x"), influxtest.Status(503, "x"), influxtest.RetryAfter("3"), influxtest.Status(401, "x"), influxtest.Status(404, "bucket"),
					influxtest.HTML(),
					{Cut: influxtest.CutBefore},
					{Cut: influxtest.CutAfterBody},
					{Cut: influxtest.CutAfterStore},
					{Delay: 5 * time.Second},
					{Delay: time.Duration(x.IntN(90)) * time.Second, Cut: influxtest.CutAfterStore},
					influxtest.Status(413, "large"),
					{Status: 503, Partial: 3},
				}
				return &all[x.IntN(len(all))]
			}
			for range 12 {
				switch r.IntN(5) {
				case 0:
					s.server.Down()
				case 1:
					s.server.Heal()
				case 2:
					s.server.Chance(faults)
				case 3:
					if s.running {
						s.stop()
					} else {
						s.start()
					}
				case 4:
					for _, set := range s.shelf.delivered {
						if len(set) > 0 && r.IntN(2) == 0 {
							s.shelf.mu.Lock()
							clear(s.shelf.delivered)
							s.shelf.mu.Unlock()
							break
						}
					}
				}
				names := []string{"flow", "steady!", "third"}[:1+r.IntN(3)]
				for range r.IntN(30) {
					time.Sleep(time.Duration(1000+r.IntN(100)) * time.Millisecond)
					for _, n := range names {
						if r.IntN(4) > 0 {
							s.record(n)
						} else {
							s.commit(n)
						}
					}
				}
				if s.running {
					s.stats()
				}
			}
			s.server.Heal()
			if !s.running {
				s.start()
			}
			st := s.settle(5 * time.Minute)
			s.complete()
			if st.Refused != 0 && s.server.Seen().Answers[413] == 0 {
				t.Errorf("seed %d: %d refused", seed, st.Refused)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}
