package modbus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
)

// unruly is a server that shares no code with the driver or the simulator.
// Every register holds its unit (5 bits) and address (11 bits); answers come
// late (1 %), split (5 %), twice (1 %) and from a foreign unit (0.5 %).
type unruly struct {
	rtu  bool
	late time.Duration // least delay of a late answer; at most three times as much

	mu                                       sync.Mutex
	random                                   *rand.Rand
	requests, lates, splits, doubles, aliens int
	all                                      sync.WaitGroup
}

func (u *unruly) serve(conn net.Conn) {
	defer u.all.Wait()
	defer conn.Close()
	sending := make(chan struct{}, 1) // a mutex would hold virtual time
	send := func(b []byte, cut int) {
		sending <- struct{}{}
		defer func() { <-sending }()
		if cut > 0 {
			if _, err := conn.Write(b[:cut]); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		_, _ = conn.Write(b[cut:])
	}
	for {
		head := make([]byte, 12)
		if u.rtu {
			head = head[:8]
		}
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		unit, from, n := head[0], binary.BigEndian.Uint16(head[2:]), binary.BigEndian.Uint16(head[4:])
		if !u.rtu {
			unit, from, n = head[6], binary.BigEndian.Uint16(head[8:]), binary.BigEndian.Uint16(head[10:])
		}
		u.mu.Lock()
		u.requests++
		fate, extra := u.random.IntN(1000), u.random.Float64()
		answering := unit
		switch {
		case fate < 10:
			u.lates++
		case fate < 60:
			u.splits++
		case fate < 70:
			u.doubles++
		case fate < 75:
			u.aliens++
			answering = unit%31 + 1
		}
		u.mu.Unlock()
		pdu := []byte{3, byte(2 * n)}
		for i := range n {
			pdu = binary.BigEndian.AppendUint16(pdu, uint16(answering)<<11|(from+i)&0x7FF)
		}
		frame := rtuFrame(answering, pdu)
		if !u.rtu {
			frame = tcpFrame(binary.BigEndian.Uint16(head), answering, pdu)
		}
		switch {
		case fate < 10:
			u.all.Go(func() {
				time.Sleep(u.late + time.Duration(2*extra*float64(u.late)))
				send(frame, 0)
			})
		case fate < 60:
			send(frame, 1+int(extra*float64(len(frame)-1)))
		case fate < 70:
			send(append(append([]byte{}, frame...), frame...), 0)
		default:
			send(frame, 0)
		}
	}
}

// encoded returns options whose channels are registers of such a server: per
// unit three blocks of the same length, so that answers look alike.
func encoded(endpoint string, period, timeout time.Duration) modbus.Options {
	o := registers(endpoint, period, 0, 1, 2, 3)
	o.Timeout = timeout
	for id := 1; id <= 3; id++ {
		for block := range 3 {
			for i := range 8 {
				address := uint16(100*block + i)
				c := ch(fmt.Sprintf("u%d_%d", id, address), fmt.Sprintf("d%d", id), modbus.Holding, address, acquisition.TypeUint16)
				o.Groups[0].Channels = append(o.Groups[0].Channels, c)
			}
		}
	}
	return o
}

// wrongOf returns the channels of a scan whose good value is not their own.
func wrongOf(g *acquisition.Group, words []uint16, quality []acquisition.Quality) (wrong []string, good int) {
	for i := range g.Channels {
		if quality != nil && quality[i] != acquisition.Good {
			continue
		}
		var unit, address int
		if _, err := fmt.Sscanf(g.Channels[i].Name, "u%d_%d", &unit, &address); err != nil {
			panic(err)
		}
		if got := words[g.Channels[i].Decoding.At]; got != uint16(unit)<<11|uint16(address) {
			wrong = append(wrong, fmt.Sprintf("%s has %04X", g.Channels[i].Name, got))
			continue
		}
		good++
	}
	return wrong, good
}

// polls returns how many polls a test does: PNEUDAQ_POLLS overrides.
func polls(t *testing.T, usual int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("PNEUDAQ_POLLS")); err == nil {
		return n
	}
	t.Logf("%d polls; PNEUDAQ_POLLS=100000 for the long form", usual)
	return usual
}

// Real sockets: as fast as they go, or with several requests on their way.
func TestIndependentServer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		scheme   string
		inflight int
	}{{"tcp", 1}, {"tcp", 8}, {"rtu+tcp", 1}} {
		t.Run(fmt.Sprintf("%s inflight %d", tc.scheme, tc.inflight), func(t *testing.T) {
			t.Parallel()
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			u := &unruly{rtu: tc.scheme != "tcp", late: 12 * time.Millisecond, random: rand.New(rand.NewPCG(1, uint64(tc.inflight)))}
			var all sync.WaitGroup
			all.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					all.Go(func() { u.serve(c) })
				}
			})
			defer all.Wait()
			defer l.Close()
			o := encoded(tc.scheme+"://"+l.Addr().String(), time.Second, 10*time.Millisecond)
			o.Inflight, o.Late = tc.inflight, 60*time.Millisecond
			for i := range o.Devices {
				o.Devices[i].Quarantine = -1
			}
			b := open(t, o)
			connect(t, b)
			defer b.Close()
			g := b.Groups()[0]
			s := acquisition.NewScan(g)
			n := polls(t, 300)
			if tc.scheme != "tcp" {
				n /= 5 // a line's silences take their time; the virtual form below does the rest
			}
			good := 0
			reasons := map[acquisition.Reason]int{}
			for range n {
				s.Reset(g)
				if err := b.Poll(t.Context(), g, 1, s); err != nil {
					t.Logf("connection ended: %v", err)
					connect(t, b)
				}
				wrong, ok := wrongOf(g, s.Words, s.Quality)
				if len(wrong) > 0 {
					t.Fatalf("values under a wrong channel: %v", wrong)
				}
				good += ok
				for _, q := range s.Quality {
					if q != acquisition.Good {
						reasons[q.Reason()]++
					}
				}
			}
			bad := 0
			for _, k := range reasons {
				bad += k
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			t.Logf("%d polls of 9 requests: %d late, %d split, %d twice, %d foreign; %d readings good, bad %v; %+v", n, u.lates, u.splits, u.doubles, u.aliens, good, reasons, b.Stats().Units[0])
			if good+bad != n*len(g.Channels) || good < n*len(g.Channels)*8/10 {
				t.Errorf("%d good and %d bad readings of %d", good, bad, n*len(g.Channels))
			}
			if u.lates == 0 || u.splits == 0 || u.doubles == 0 || u.aliens == 0 {
				t.Error("a kind of fault never happened")
			}
		})
	}
}

// Virtual time and a real collector: every planned slot is a scan or a gap.
func TestIndependentServerCollected(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		t.Run(endpoint[:3], func(t *testing.T) {
			t.Parallel()
			n := polls(t, 5000)
			synctest.Test(t, func(t *testing.T) {
				u := &unruly{rtu: endpoint[:3] == "rtu", late: 60 * time.Millisecond, random: rand.New(rand.NewPCG(7, 7))}
				o := encoded(endpoint, 100*time.Millisecond, 50*time.Millisecond)
				var peers sync.WaitGroup
				o.Dial = func(context.Context) (io.ReadWriteCloser, error) {
					here, there := net.Pipe()
					peers.Go(func() { u.serve(there) })
					return here, nil
				}
				x := collect(t, o)
				good := 0
				x.see = func(b *acquisition.Block) {
					for i := range b.Len() {
						wrong, ok := wrongOf(b.Group, b.ScanWords(i), b.ScanQuality(i))
						good += ok
						if len(wrong) > 0 {
							t.Errorf("values under a wrong channel: %v", wrong)
						}
					}
				}
				for range n / 50 {
					time.Sleep(5 * time.Second)
					x.take()
				}
				x.stop(t)
				peers.Wait()
				x.audit(t)
				state := x.state()
				missed := uint64(0)
				for _, k := range state.Missed {
					missed += k
				}
				t.Logf("%d slots planned, %d stored, missed %v, %d readings good of %d; %d late, %d split, %d twice, %d foreign",
					x.next-x.first, state.Stored, state.Missed, good, 72*(x.next-x.first), u.lates, u.splits, u.doubles, u.aliens)
				if x.next-x.first != state.Stored+missed || int(state.Stored) != x.scans || state.Stored < (x.next-x.first)*9/10 {
					t.Errorf("%d slots planned, %d stored, %d missed", x.next-x.first, state.Stored, missed)
				}
				if u.aliens == 0 || u.lates == 0 {
					t.Error("a kind of fault never happened")
				}
			})
		})
	}
}
