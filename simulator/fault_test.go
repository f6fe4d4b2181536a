package simulator_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/simulator"
)

// piped runs a server over net.Pipe in virtual time, writes a request for three holding registers and hands over the
// client's end.
func piped(t *testing.T, framing string, f simulator.Fault, check func(t *testing.T, s *simulator.Server, c net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := simulator.NewServer(simulator.ServerOptions{
			Units: map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}, RTU: framing == "rtu", Faults: []simulator.Fault{f}, Seed: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeConn(ctx, there) }()
		if framing == "rtu" {
			send(t, here, rtu(5, three()))
		} else {
			send(t, here, mbap(0x0102, 5, three()))
		}
		check(t, s, here)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.Counts().Faults[f.Kind]; n != 1 {
			t.Errorf("the fault struck %d times, want once", n)
		}
	})
}

// three is a request for three holding registers from 2, answer its answer by unit 5.
func three() []byte { return []byte{3, 0, 2, 0, 3} }

func answer() []byte { return []byte{3, 6, 0x14, 2, 0x14, 3, 0x14, 4} }

// drain reads what comes until a stretch of virtual time without bytes, and says whether the line ended.
func drain(t *testing.T, c net.Conn) (all []byte, ended bool) {
	t.Helper()
	b := make([]byte, 1024)
	for {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return all, true
		}
		n, err := c.Read(b)
		all = append(all, b[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all, false
		}
		if err != nil {
			return all, true
		}
	}
}

func TestFaultsChangeTheAnswer(t *testing.T) {
	t.Parallel()
	at := []uint64{1}
	tcp := func(change func(b []byte) []byte) []byte { return change(mbap(0x0102, 5, answer())) }
	line := func(change func(b []byte) []byte) []byte { return change(rtu(5, answer())) }
	same := func(b []byte) []byte { return b }
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	head := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for name, c := range map[string]struct {
		fault    simulator.Fault
		tcp, rtu []byte
		ends     bool
	}{
		"F001 mute":               {simulator.Fault{Kind: simulator.FaultMute, At: at}, nil, nil, false},
		"F005 truncate 4":         {simulator.Fault{Kind: simulator.FaultTruncate, At: at, N: 4}, tcp(head(4)), line(head(4)), false},
		"F004 cut 0":              {simulator.Fault{Kind: simulator.FaultCut, At: at}, nil, nil, true},
		"F004 cut 9":              {simulator.Fault{Kind: simulator.FaultCut, At: at, N: 9}, tcp(head(9)), line(head(9)), true},
		"F004 reset 3":            {simulator.Fault{Kind: simulator.FaultReset, At: at, N: 3}, tcp(head(3)), line(head(3)), true},
		"F007 split":              {simulator.Fault{Kind: simulator.FaultSplit, At: at, N: 5, Delay: time.Second}, tcp(same), line(same), false},
		"F008 transaction":        {simulator.Fault{Kind: simulator.FaultTransaction, At: at}, tcp(set(1, 3)), nil, false},
		"F009 late":               {simulator.Fault{Kind: simulator.FaultLate, At: at, Delay: 5 * time.Second}, tcp(same), line(same), false},
		"F011 duplicate":          {simulator.Fault{Kind: simulator.FaultDuplicate, At: at, Delay: time.Second}, tcp(func(b []byte) []byte { return append(b, b...) }), line(func(b []byte) []byte { return append(b, b...) }), false},
		"F012 unit":               {simulator.Fault{Kind: simulator.FaultUnit, At: at, N: 2}, mbap(0x0102, 7, answer()), rtu(7, answer()), false},
		"F012 function":           {simulator.Fault{Kind: simulator.FaultFunction, At: at}, mbap(0x0102, 5, append([]byte{4}, answer()[1:]...)), rtu(5, append([]byte{4}, answer()[1:]...)), false},
		"F012 byte count":         {simulator.Fault{Kind: simulator.FaultByteCount, At: at}, mbap(0x0102, 5, append([]byte{3, 8}, answer()[2:]...)), rtu(5, append([]byte{3, 8}, answer()[2:]...)), false},
		"F012 short":              {simulator.Fault{Kind: simulator.FaultShort, At: at}, mbap(0x0102, 5, []byte{3, 4, 0x14, 2, 0x14, 3}), rtu(5, []byte{3, 4, 0x14, 2, 0x14, 3}), false},
		"F012 long":               {simulator.Fault{Kind: simulator.FaultLong, At: at}, mbap(0x0102, 5, []byte{3, 8, 0x14, 2, 0x14, 3, 0x14, 4, 0xE0, 0xE1}), rtu(5, []byte{3, 8, 0x14, 2, 0x14, 3, 0x14, 4, 0xE0, 0xE1}), false},
		"F013 protocol":           {simulator.Fault{Kind: simulator.FaultProtocol, At: at}, tcp(set(3, 1)), nil, false},
		"F013 length":             {simulator.Fault{Kind: simulator.FaultLength, At: at, N: 255}, tcp(set(5, 255)), nil, false},
		"F016 busy":               {simulator.Fault{Kind: simulator.FaultException, At: at, N: 6}, mbap(0x0102, 5, []byte{0x83, 6}), rtu(5, []byte{0x83, 6}), false},
		"F020 checksum":           {simulator.Fault{Kind: simulator.FaultChecksum, At: at}, nil, line(func(b []byte) []byte { b[len(b)-1] ^= 0x55; return b }), false},
		"F020 flip":               {simulator.Fault{Kind: simulator.FaultFlip, At: at, N: 16}, tcp(set(2, 0x80)), line(set(2, 6^0x80)), false},
		"F003 dribble":            {simulator.Fault{Kind: simulator.FaultDribble, At: at, Delay: 100 * time.Millisecond}, tcp(same), line(same), false},
		"delay":                   {simulator.Fault{Kind: simulator.FaultDelay, At: at, Delay: time.Second}, tcp(same), line(same), false},
		"F032 restart by a fault": {simulator.Fault{Kind: simulator.FaultRestart, At: at, Delay: time.Second}, nil, nil, true},
	} {
		for framing, want := range map[string][]byte{"tcp": c.tcp, "rtu": c.rtu} {
			t.Run(name+"/"+framing, func(t *testing.T) {
				t.Parallel()
				piped(t, framing, c.fault, func(t *testing.T, _ *simulator.Server, conn net.Conn) {
					t.Helper()
					got, ended := drain(t, conn)
					if !bytes.Equal(got, want) {
						t.Errorf("answer % X, want % X", got, want)
					}
					if ended != c.ends {
						t.Errorf("ended %v, want %v", ended, c.ends)
					}
				})
			})
		}
	}
}

func TestF019EveryExceptionCode(t *testing.T) {
	t.Parallel()
	seen := map[byte]bool{}
	for code := 1; code < 256; code++ {
		piped(t, "tcp", simulator.Fault{Kind: simulator.FaultException, N: code}, func(t *testing.T, s *simulator.Server, c net.Conn) {
			t.Helper()
			got := receive(t, c, 9)
			seen[got[8]] = got[7] == 0x83 && s.Counts().Exceptions[simulator.Exception(code)] == 1
		})
	}
	for code := 1; code < 256; code++ {
		if !seen[byte(code)] {
			t.Errorf("exception %d was not answered", code)
		}
	}
}

func TestF021ForeignProtocols(t *testing.T) {
	t.Parallel()
	piped(t, "tcp", simulator.Fault{Kind: simulator.FaultHTTP}, func(t *testing.T, _ *simulator.Server, c net.Conn) {
		t.Helper()
		if got, ended := drain(t, c); !bytes.HasPrefix(got, []byte("HTTP/1.1 400")) || !ended {
			t.Errorf("answer %q, ended %v", got, ended)
		}
	})
	piped(t, "rtu", simulator.Fault{Kind: simulator.FaultGarbage, N: 40}, func(t *testing.T, _ *simulator.Server, c net.Conn) {
		t.Helper()
		if got, ended := drain(t, c); len(got) != 40 || ended {
			t.Errorf("answer % X, ended %v", got, ended)
		}
	})
}

func TestF011UnsolicitedFrame(t *testing.T) {
	t.Parallel()
	piped(t, "tcp", simulator.Fault{Kind: simulator.FaultUnsolicited}, func(t *testing.T, _ *simulator.Server, c net.Conn) {
		t.Helper()
		got, _ := drain(t, c)
		if len(got) != 30 || got[0] == 1 || got[15] != 1 || !bytes.Equal(got[15:], mbap(0x0102, 5, answer())) {
			t.Errorf("% X: want a foreign transaction, then the answer", got)
		}
	})
	piped(t, "rtu", simulator.Fault{Kind: simulator.FaultUnsolicited, Delay: time.Second}, func(t *testing.T, _ *simulator.Server, c net.Conn) {
		t.Helper()
		began := time.Now()
		if got := receive(t, c, 11); !bytes.Equal(got, rtu(5, answer())) {
			t.Errorf("% X", got)
		}
		got := receive(t, c, 11)
		if time.Since(began) != time.Second || !bytes.Equal(got, rtu(5, got[1:9])) || bytes.Equal(got, rtu(5, answer())) {
			t.Errorf("% X after %s: want other data in a good frame a second later", got, time.Since(began))
		}
	})
}

// TestF009LateAnswerIsOvertaken proves the order that the driver's own test rests on.
func TestF009LateAnswerIsOvertaken(t *testing.T) {
	t.Parallel()
	for kind, want := range map[simulator.FaultKind][2]uint16{simulator.FaultLate: {2, 1}, simulator.FaultDelay: {1, 2}} {
		synctest.Test(t, func(t *testing.T) {
			s, err := simulator.NewServer(simulator.ServerOptions{
				Units: map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}, Delay: 10 * time.Millisecond,
				Faults: []simulator.Fault{{Kind: kind, At: []uint64{1}, Delay: time.Second}},
			})
			if err != nil {
				t.Fatal(err)
			}
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.ServeConn(ctx, there) }()
			began := time.Now()
			send(t, here, append(mbap(1, 5, three()), mbap(2, 5, three())...))
			first, second := receive(t, here, 15), receive(t, here, 15)
			if got := [2]uint16{binary.BigEndian.Uint16(first), binary.BigEndian.Uint16(second)}; got != want {
				t.Errorf("%s: order %v, want %v", kind, got, want)
			}
			if d := time.Since(began); d != 1010*time.Millisecond {
				t.Errorf("%s: the last answer after %s", kind, d)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := s.Counts(); n.Clean != 2 || n.Faults[kind] != 1 {
				t.Errorf("%s: counts %+v", kind, n)
			}
		})
	}
}

func TestDelaysRunSideBySideUnlessSerial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    simulator.ServerOptions
		want time.Duration
	}{
		{simulator.ServerOptions{Delay: 20 * time.Millisecond}, 20 * time.Millisecond},
		{simulator.ServerOptions{Delay: 20 * time.Millisecond, Serial: true}, 160 * time.Millisecond},
		{simulator.ServerOptions{Delays: map[byte]time.Duration{5: 30 * time.Millisecond}}, 30 * time.Millisecond},
		// 11 bits a byte: 8 bytes asked and 11 answered make 19 ms at 11000 baud, whatever frames them.
		{simulator.ServerOptions{Baud: 11000}, 19 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.o.Units = map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}
			s, err := simulator.NewServer(c.o)
			if err != nil {
				t.Fatal(err)
			}
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.ServeConn(ctx, there) }()
			began := time.Now()
			for i := range uint16(8) {
				send(t, here, mbap(i, 5, three()))
			}
			receive(t, here, 8*15)
			if d := time.Since(began); d != c.want {
				t.Errorf("%+v: eight answers after %s, want %s", c.o, d, c.want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFaultChoiceRepeats(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (struck []uint16) {
		synctest.Test(t, func(t *testing.T) {
			s, err := simulator.NewServer(simulator.ServerOptions{
				Units: map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}, Seed: seed,
				Faults: []simulator.Fault{
					{Kind: simulator.FaultException, N: 4, Probability: 0.1},
					{Kind: simulator.FaultException, N: 6, Every: 100, After: 500, Times: 2, Units: []byte{5}, Functions: []byte{3}},
					{Kind: simulator.FaultException, N: 7, Units: []byte{6}},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.ServeConn(ctx, there) }()
			busy := 0
			for i := range uint16(1000) {
				if pdu := ask(t, here, 5, three()); pdu[0] == 0x83 {
					struck = append(struck, i<<3+uint16(pdu[1]))
					if pdu[1] == 6 {
						busy++
					}
				}
			}
			if n := s.Counts(); busy != 2 || n.Faults[simulator.FaultException] != uint64(len(struck)) || n.Clean != 1000-uint64(len(struck)) {
				t.Errorf("busy %d times, want 2; counts %+v", busy, n)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return struck
	}
	a, b, other := run(1), run(1), run(2)
	if !cmp.Equal(a, b) || cmp.Equal(a, other) {
		t.Error("the same seed must repeat, another must not")
	}
	if len(a) < 60 || len(a) > 145 {
		t.Errorf("%d of 1000 struck at a probability of 0.1", len(a))
	}
}

func TestF032OneClientOnly(t *testing.T) {
	t.Parallel()
	units := map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}
	s, address := listen(t, simulator.ServerOptions{Units: units, MaxConns: 1, Steal: true})
	first := dial(t, address)
	ask(t, first, 5, three())
	second := dial(t, address)
	ask(t, second, 5, three())
	if n, err := first.Read(make([]byte, 1)); err == nil {
		t.Errorf("the older client still reads %d bytes", n)
	}
	if n := s.Counts(); n.Stolen != 1 || n.Connections != 2 {
		t.Errorf("counts %+v", n)
	}
	s, address = listen(t, simulator.ServerOptions{Units: units, MaxConns: 1})
	first = dial(t, address)
	ask(t, first, 5, three())
	second = dial(t, address)
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("the newer client reads %d bytes", n)
	}
	ask(t, first, 5, three())
	if n := s.Counts(); n.Refused != 1 {
		t.Errorf("counts %+v", n)
	}
}

// through runs a proxy in front of an address server.
func through(t *testing.T, o simulator.ProxyOptions) (*simulator.Proxy, string) {
	t.Helper()
	_, o.Target = listen(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}})
	p, err := simulator.OpenProxy(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p, p.Addr()
}

func TestProxyPassesAndRechunks(t *testing.T) {
	t.Parallel()
	var up int
	p, address := through(t, simulator.ProxyOptions{Tap: func(upstream bool, b []byte) {
		if upstream {
			up += len(b)
		}
	}})
	c := dial(t, address)
	for _, f := range []simulator.ProxyFault{
		{},
		{Down: simulator.Toll{Piece: 1}},
		{Up: simulator.Toll{Piece: 3}, Down: simulator.Toll{Piece: 7, Pause: time.Millisecond}},
		{Up: simulator.Toll{Delay: 30 * time.Millisecond}, Down: simulator.Toll{Delay: 30 * time.Millisecond}},
	} {
		p.Set(f)
		began := time.Now()
		for range 3 {
			if got := ask(t, c, 5, three()); !bytes.Equal(got, answer()) {
				t.Fatalf("%+v: % X", f, got)
			}
		}
		if want := 3 * (f.Up.Delay + f.Down.Delay); time.Since(began) < want {
			t.Errorf("%+v: three answers after %s, want %s", f, time.Since(began), want)
		}
	}
	if n := p.Counts(); n.Up != 12*12 || n.Down != 12*15 || up != 12*12 {
		t.Errorf("counts %+v, tapped %d", n, up)
	}
}

func TestProxyFaults(t *testing.T) {
	t.Parallel()
	p, address := through(t, simulator.ProxyOptions{Seed: 1})
	silent := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Read(make([]byte, 64))
		return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
	}
	c := dial(t, address)
	p.Set(simulator.ProxyFault{Up: simulator.Toll{Hole: true}})
	send(t, c, mbap(1, 5, three()))
	if !silent(c) {
		t.Error("a black hole answers")
	}
	p.Set(simulator.ProxyFault{Down: simulator.Toll{CutAfter: 20, End: simulator.EndSilence}})
	send(t, c, append(mbap(1, 5, three()), mbap(2, 5, three())...))
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got := receive(t, c, 20); got[1] != 1 || !silent(c) {
		t.Errorf("% X: want 20 bytes, then silence", got)
	}
	p.Set(simulator.ProxyFault{Down: simulator.Toll{CutAfter: 4, End: simulator.EndHalfClose}})
	c = dial(t, address)
	send(t, c, mbap(1, 5, three()))
	if got, err := io.ReadAll(c); len(got) != 4 || err != nil {
		t.Errorf("half close: % X, %v", got, err)
	}
	p.Set(simulator.ProxyFault{Down: simulator.Toll{CutAfter: 4, End: simulator.EndReset}})
	c = dial(t, address)
	send(t, c, mbap(1, 5, three()))
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("reset: % X without an error", got)
	}
	p.Set(simulator.ProxyFault{Down: simulator.Toll{Damage: 1}})
	c = dial(t, address)
	send(t, c, mbap(1, 5, three()))
	if got, want := receive(t, c, 15), mbap(1, 5, answer()); bytes.Equal(got, want) {
		t.Error("nothing was damaged")
	}
	if n := p.Counts(); n.Damaged != 15 || n.Cut != 3 || n.Vanished < 12 {
		t.Errorf("counts %+v", n)
	}
	p.Set(simulator.ProxyFault{Refuse: true})
	if n, err := dial(t, address).Read(make([]byte, 1)); err == nil {
		t.Errorf("a refused connection delivers %d bytes", n)
	}
	p.Set(simulator.ProxyFault{Swallow: true})
	c = dial(t, address)
	send(t, c, mbap(1, 5, three()))
	if !silent(c) {
		t.Error("a swallowed connection answers")
	}
	p.Set(simulator.ProxyFault{})
	c = dial(t, address)
	ask(t, c, 5, three())
	p.Cut(simulator.EndReset)
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection that was cut delivers %d bytes", n)
	}
}
