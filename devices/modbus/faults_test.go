package modbus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// The catalogue's numbers stand in the names: F009 is row 9. Most tests run the
// simulator's server over pipes in virtual time, so a timeout costs nothing.

func bothFramings() []string {
	return []string{"tcp://10.0.0.1:502", "rtu+tcp://10.0.0.1:4001"}
}

// twin returns a connected bus whose peer is the simulator's server, over pipes.
func twin(t *testing.T, o modbus.Options, so simulator.ServerOptions) (*simulator.Server, *modbus.Bus) {
	t.Helper()
	so.RTU = strings.HasPrefix(o.Endpoint, "rtu")
	s, err := simulator.NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	b := piped(t, o, func(w *wire) { _ = s.ServeConn(t.Context(), w.conn) })
	return s, b
}

// tally is what became of the channels of some scans.
type tally struct {
	good    int
	wrong   []string
	reasons map[acquisition.Reason]int
	errs    []error
}

// look checks a scan against AddressMemory: a good channel has the value of its
// own unit and address, or it is wrong.
func (y *tally) look(g *acquisition.Group, s *acquisition.Scan, err error) {
	if y.reasons == nil {
		y.reasons = map[acquisition.Reason]int{}
	}
	if err != nil {
		y.errs = append(y.errs, err)
	}
	for i := range g.Channels {
		c := &g.Channels[i]
		if q := s.Quality[i]; q != acquisition.Good {
			y.reasons[q.Reason()]++
			continue
		}
		var unit, address int
		if _, err := fmt.Sscanf(c.Name, "u%d_%d", &unit, &address); err != nil {
			panic(err)
		}
		v, why := c.Decoding.Value(s.Words)
		if why != acquisition.ReasonNone || v != word(byte(unit), address) {
			y.wrong = append(y.wrong, fmt.Sprintf("%s has %v (%s)", c.Name, v, why))
			continue
		}
		y.good++
	}
}

// poll polls the first group once with a deadline of a second.
func poll(t *testing.T, b *modbus.Bus, y *tally) *acquisition.Scan {
	t.Helper()
	g := b.Groups()[0]
	s := acquisition.NewScan(g)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := b.Poll(ctx, g, 1, s)
	y.look(g, s, err)
	return s
}

// again polls n times in step with the period, connecting anew after an error.
func again(t *testing.T, b *modbus.Bus, n int) *tally {
	t.Helper()
	y := &tally{}
	period := b.Groups()[0].Period
	for range n {
		due := time.Now().Add(period)
		before := len(y.errs)
		poll(t, b, y)
		if len(y.errs) > before {
			if err := b.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(due))
	}
	if len(y.wrong) > 0 {
		t.Errorf("%d values under a wrong channel: %v", len(y.wrong), y.wrong[:min(3, len(y.wrong))])
	}
	return y
}

// struck fails the test if a fault did not really happen.
func struck(t *testing.T, s *simulator.Server, kind simulator.FaultKind) {
	t.Helper()
	if s.Counts().Faults[kind] == 0 {
		t.Errorf("the fault %s never struck", kind)
	}
}

// spoilt is one kind of spoilt answer and what must come of it.
type spoilt struct {
	name   string
	fault  simulator.Fault
	tcp    acquisition.Reason // ReasonNone: harmless
	rtu    acquisition.Reason
	noTCP  bool
	noRTU  bool
	broken bool // TCP: the connection ends
	both   bool // RTU too
}

func TestF001NoReply(t *testing.T)              { spoil(t, "F001") }
func TestF004ResetMidReply(t *testing.T)        { spoil(t, "F004") }
func TestF005HalfFrame(t *testing.T)            { spoil(t, "F005") }
func TestF006Slowloris(t *testing.T)            { spoil(t, "F006") }
func TestF007SplitAnswer(t *testing.T)          { spoil(t, "F007") }
func TestF008WrongTransaction(t *testing.T)     { spoil(t, "F008") }
func TestF009LateAnswers(t *testing.T)          { spoil(t, "F009") }
func TestF011DuplicateUnsolicited(t *testing.T) { spoil(t, "F011") }
func TestF012WrongAnswer(t *testing.T)          { spoil(t, "F012") }
func TestF013HeaderThatIsNone(t *testing.T)     { spoil(t, "F013") }
func TestF016BusyOnce(t *testing.T)             { spoil(t, "F016") }
func TestF017DeviceMemory(t *testing.T)         { spoil(t, "F017") }
func TestF018Gateway(t *testing.T)              { spoil(t, "F018") }
func TestF019UnknownException(t *testing.T)     { spoil(t, "F019") }
func TestF020CRC(t *testing.T)                  { spoil(t, "F020") }

// spoil spoils one request in three in every way of a row of the catalogue: its
// channels say why, the others are right, and the bus goes on.
func spoil(t *testing.T, number string) {
	t.Helper()
	t.Parallel()
	const ms = time.Millisecond
	rows := []spoilt{
		{name: "F001NoReply", fault: simulator.Fault{Kind: simulator.FaultMute}, tcp: acquisition.ReasonTimeout, rtu: acquisition.ReasonTimeout},
		{name: "F004ResetBeforeReply", fault: simulator.Fault{Kind: simulator.FaultReset}, tcp: acquisition.ReasonReset, rtu: acquisition.ReasonReset, broken: true, both: true},
		{name: "F004ResetMidReply", fault: simulator.Fault{Kind: simulator.FaultReset, N: 9}, tcp: acquisition.ReasonReset, rtu: acquisition.ReasonReset, broken: true, both: true},
		{name: "F005HalfFrameThenSilence", fault: simulator.Fault{Kind: simulator.FaultTruncate, N: 9}, tcp: acquisition.ReasonShortFrame, rtu: acquisition.ReasonShortFrame, broken: true},
		{name: "F005TwoBytesThenSilence", fault: simulator.Fault{Kind: simulator.FaultTruncate, N: 2}, tcp: acquisition.ReasonShortFrame, rtu: acquisition.ReasonShortFrame, broken: true},
		{name: "F006Slowloris", fault: simulator.Fault{Kind: simulator.FaultDribble, Delay: 40 * ms}, tcp: acquisition.ReasonSlow, rtu: acquisition.ReasonSlow, broken: true},
		{name: "F007Split", fault: simulator.Fault{Kind: simulator.FaultSplit, Delay: 20 * ms}},
		{name: "F008WrongTransaction", fault: simulator.Fault{Kind: simulator.FaultTransaction}, tcp: acquisition.ReasonTimeout, noRTU: true},
		{name: "F009LateReply", fault: simulator.Fault{Kind: simulator.FaultLate, Delay: 250 * ms}, tcp: acquisition.ReasonTimeout, rtu: acquisition.ReasonTimeout},
		{name: "F011Duplicate", fault: simulator.Fault{Kind: simulator.FaultDuplicate}},
		{name: "F011DuplicateLater", fault: simulator.Fault{Kind: simulator.FaultDuplicate, Delay: 500 * ms}},
		{name: "F011Unsolicited", fault: simulator.Fault{Kind: simulator.FaultUnsolicited, Delay: 50 * ms}},
		{name: "F012WrongUnit", fault: simulator.Fault{Kind: simulator.FaultUnit, N: 7}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F012AnotherUnitOfTheBus", fault: simulator.Fault{Kind: simulator.FaultUnit, N: 1, Units: []byte{1}}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F012WrongFunction", fault: simulator.Fault{Kind: simulator.FaultFunction}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F012ByteCount", fault: simulator.Fault{Kind: simulator.FaultByteCount}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F012Shorter", fault: simulator.Fault{Kind: simulator.FaultShort}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F012Longer", fault: simulator.Fault{Kind: simulator.FaultLong}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol},
		{name: "F013ProtocolID", fault: simulator.Fault{Kind: simulator.FaultProtocol}, tcp: acquisition.ReasonProtocol, broken: true, noRTU: true},
		{name: "F013LengthZero", fault: simulator.Fault{Kind: simulator.FaultLength, N: 0}, tcp: acquisition.ReasonProtocol, broken: true, noRTU: true},
		{name: "F013LengthOne", fault: simulator.Fault{Kind: simulator.FaultLength, N: 1}, tcp: acquisition.ReasonProtocol, broken: true, noRTU: true},
		{name: "F013Length255", fault: simulator.Fault{Kind: simulator.FaultLength, N: 255}, tcp: acquisition.ReasonProtocol, broken: true, noRTU: true},
		{name: "F013Length65535", fault: simulator.Fault{Kind: simulator.FaultLength, N: 65535}, tcp: acquisition.ReasonProtocol, broken: true, noRTU: true},
		{name: "F016Acknowledge", fault: simulator.Fault{Kind: simulator.FaultException, N: 5}}, // asked again inside the slot
		{name: "F016Busy", fault: simulator.Fault{Kind: simulator.FaultException, N: 6}},
		{name: "F017Refused", fault: simulator.Fault{Kind: simulator.FaultException, N: 7}, tcp: acquisition.ReasonDeviceMemory, rtu: acquisition.ReasonDeviceMemory},
		{name: "F017Memory", fault: simulator.Fault{Kind: simulator.FaultException, N: 8}, tcp: acquisition.ReasonDeviceMemory, rtu: acquisition.ReasonDeviceMemory},
		{name: "F018GatewayPath", fault: simulator.Fault{Kind: simulator.FaultException, N: 10}, tcp: acquisition.ReasonGateway, rtu: acquisition.ReasonGateway},
		{name: "F018GatewayTarget", fault: simulator.Fault{Kind: simulator.FaultException, N: 11}, tcp: acquisition.ReasonGateway, rtu: acquisition.ReasonGateway},
		{name: "F020CRC", fault: simulator.Fault{Kind: simulator.FaultChecksum}, rtu: acquisition.ReasonCRC, noTCP: true},
		{name: "F020BitFlip", fault: simulator.Fault{Kind: simulator.FaultFlip, N: 60}, rtu: acquisition.ReasonCRC, noTCP: true},
	}
	for code := 9; code <= 255; code++ {
		if code == 10 || code == 11 {
			continue
		}
		rows = append(rows, spoilt{
			name:  fmt.Sprintf("F019Exception%d", code),
			fault: simulator.Fault{Kind: simulator.FaultException, N: code}, tcp: acquisition.ReasonProtocol, rtu: acquisition.ReasonProtocol,
		})
	}
	for _, r := range rows {
		if !strings.HasPrefix(r.name, number) {
			continue
		}
		for _, endpoint := range bothFramings() {
			isRTU := strings.HasPrefix(endpoint, "rtu")
			want, broken := r.tcp, r.broken
			if isRTU {
				want, broken = r.rtu, r.both
			}
			if isRTU && r.noRTU || !isRTU && r.noTCP {
				continue
			}
			t.Run(r.name+"/"+strings.Split(endpoint, ":")[0], func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := r.fault
					f.Every, f.Times = 3, 5
					o := registers(endpoint, time.Second, 10, 1, 2)
					o.Timeout, o.Devices[0].Timeout, o.Devices[1].Timeout = 200*time.Millisecond, 0, 0
					s, b := twin(t, o, simulator.ServerOptions{Units: addressUnits(1, 2), Faults: []simulator.Fault{f}})
					y := again(t, b, 12)
					struck(t, s, f.Kind)
					if want == acquisition.ReasonNone {
						if len(y.reasons) > 0 || len(y.errs) > 0 {
							t.Errorf("a harmless fault spoilt %v, %v", y.reasons, y.errs)
						}
						return
					}
					if y.reasons[want] == 0 {
						t.Errorf("no channel has reason %s: %v", want, y.reasons)
					}
					for reason, n := range y.reasons {
						if isRTU && f.Kind == simulator.FaultDribble && reason == acquisition.ReasonOverrun {
							continue // the line was busy with it until the scan's time was over
						}
						if reason != want && (!broken || reason != acquisition.ReasonReset) {
							t.Errorf("%d channels have reason %s, want %s alone", n, reason, want)
						}
					}
					if (len(y.errs) > 0) != broken {
						t.Errorf("the connection ended %d times (%v), want %v", len(y.errs), y.errs, broken)
					}
					if y.good < 12*20/2 {
						t.Errorf("only %d of 240 readings are good", y.good)
					}
				})
			})
		}
	}
}

// F005: whatever part of an answer comes, it is never taken for the whole.
func TestF005HalfFrameAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		for n := range 25 {
			synctest.Test(t, func(t *testing.T) {
				o := registers(endpoint, time.Second, 10, 1)
				s, b := twin(t, o, simulator.ServerOptions{
					Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultTruncate, N: n, At: []uint64{2, 3}}},
				})
				y := again(t, b, 6)
				struck(t, s, simulator.FaultTruncate)
				if y.good != 40 {
					t.Errorf("%s cut at %d: %d readings are good, want the 40 of four scans; %v", endpoint, n, y.good, y.reasons)
				}
			})
		}
	}
}

// F007: an answer split at every place, and many answers in one segment.
func TestF007SplitAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		for n := 1; n < 29; n++ {
			synctest.Test(t, func(t *testing.T) {
				o := registers(endpoint, time.Second, 10, 1)
				s, b := twin(t, o, simulator.ServerOptions{
					Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultSplit, N: n, Delay: 30 * time.Millisecond}},
				})
				y := again(t, b, 3)
				struck(t, s, simulator.FaultSplit)
				if y.good != 30 {
					t.Errorf("%s split at %d: %d good, %v", endpoint, n, y.good, y.reasons)
				}
			})
		}
	}
}

func TestF007ManyAnswersInOneSegment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ids := []byte{1, 2, 3, 4, 5, 6, 7, 8}
		o := registers("tcp://10.0.0.1", time.Second, 10, ids...)
		o.Inflight = 8
		b := piped(t, o, func(w *wire) {
			var all []byte
			for {
				tid, pdu, err := w.request(5)
				if err != nil {
					return
				}
				unit := w.sent[len(w.sent)-6]
				answer := []byte{3, 20}
				for i := range binary.BigEndian.Uint16(pdu[3:]) {
					answer = binary.BigEndian.AppendUint16(answer, uint16(unit)<<10|i)
				}
				all = append(w.frame(tid, unit, answer), all...) // the last request first
				if unit == 8 {
					w.write(all)
					all = nil
				}
			}
		})
		y := again(t, b, 5)
		if y.good != 5*80 || len(y.reasons) > 0 {
			t.Errorf("%d good, %v", y.good, y.reasons)
		}
	})
}

// F009 and acceptance (a): an answer after its timeout. The next request gets
// its own value, the connection lives, the late frame is counted.
func TestF009LateReply(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			o := registers(endpoint, 400*time.Millisecond, 10, 1)
			o.Timeout = 200 * time.Millisecond
			at := []uint64{2, 5, 6, 9}
			s, b := twin(t, o, simulator.ServerOptions{
				Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultLate, Delay: 300 * time.Millisecond, At: at}},
			})
			y := again(t, b, 12)
			st := b.Stats()
			if n := s.Counts().Faults[simulator.FaultLate]; n != 4 || st.Units[0].Late != 4 {
				t.Errorf("%s: %d answers were late, %d counted, want 4", endpoint, n, st.Units[0].Late)
			}
			if y.good != 80 || y.reasons[acquisition.ReasonTimeout] != 40 || len(y.errs) > 0 || st.Connects != 1 {
				t.Errorf("%s: %d good, %v, errors %v, %d connections; want 80, 40 timeouts and one connection", endpoint, y.good, y.reasons, y.errs, st.Connects)
			}
		})
	}
}

// F009: two groups ask different registers of one unit in turn, so that a late
// answer meets a request of the same shape. Delays sweep over all phases.
func TestF010LateReplyMeetsARequestOfItsShape(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			o := registers(endpoint, 50*time.Millisecond, 5, 1)
			o.Timeout = 40 * time.Millisecond
			for i := range o.Groups[0].Channels {
				o.Groups[0].Channels[i].Address += uint16(40 * i) // five requests of one shape
				o.Groups[0].Channels[i].Name = fmt.Sprintf("u1_%d", 41*i)
			}
			var faults []simulator.Fault
			for i := range 60 {
				faults = append(faults, simulator.Fault{Kind: simulator.FaultLate, Delay: time.Duration(41+7*i) * time.Millisecond, Every: 97, After: uint64(13 * i)})
			}
			s, b := twin(t, o, simulator.ServerOptions{Units: addressUnits(1), Faults: faults, Delay: time.Millisecond})
			y := again(t, b, 4000)
			n := s.Counts().Faults[simulator.FaultLate]
			late := b.Stats().Units[0].Late
			t.Logf("%s: %d late answers, %d counted late, %d readings good, %v", endpoint, n, late, y.good, y.reasons)
			if n < 100 || late < n/2 || y.good < 5000 {
				t.Errorf("%s: %d late answers, %d counted late, %d readings good", endpoint, n, late, y.good)
			}
		})
	}
}

// F010: noise before and after an answer, as a line driver makes it when it
// turns round.
func TestF010NoiseAroundAnAnswer(t *testing.T) {
	t.Parallel()
	for _, noise := range [][]byte{{0}, {0xFF}, {1}, {1, 3}, {1, 3, 20}, {1, 0x83}, {0, 0, 0}, {1, 1, 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			o := registers("rtu+tcp://10.0.0.1:1", time.Second, 10, 1)
			b := piped(t, o, func(w *wire) {
				for {
					_, pdu, err := w.request(5)
					if err != nil {
						return
					}
					answer := []byte{3, 20}
					for i := range binary.BigEndian.Uint16(pdu[3:]) {
						answer = binary.BigEndian.AppendUint16(answer, 1<<10|i)
					}
					w.write(slices.Concat(noise, rtuFrame(1, answer), noise))
				}
			})
			if y := again(t, b, 5); y.good != 50 {
				t.Errorf("noise % X: %d good, %v", noise, y.good, y.reasons)
			}
		})
	}
}

// F011: what nobody asked for is counted and never delivered.
func TestF011DuplicateIsCounted(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			o := registers(endpoint, 100*time.Millisecond, 10, 1)
			s, b := twin(t, o, simulator.ServerOptions{
				Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultDuplicate, Every: 2, Delay: time.Millisecond}},
			})
			y := again(t, b, 20)
			u := b.Stats().Units[0]
			if n := s.Counts().Faults[simulator.FaultDuplicate]; n != 10 || u.Duplicate+u.Unsolicited < 9 || y.good != 200 {
				t.Errorf("%s: %d duplicates sent, %d and %d counted, %d good, %v", endpoint, n, u.Duplicate, u.Unsolicited, y.good, y.reasons)
			}
		})
	}
}

// F012: the frame that was refused is kept, with what was asked.
func TestF012RefusedFrameIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, b := twin(t, registers("tcp://10.0.0.1", time.Second, 40, 1), simulator.ServerOptions{
			Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultShort, N: 4}},
		})
		again(t, b, 1)
		f := b.Stats().Units[0].LastFault
		if f == nil || f.Reason != acquisition.ReasonProtocol || len(f.Answer) != 64 || len(f.Request) != 12 || !strings.Contains(f.Detail, "82 bytes were asked, 74 answered") {
			t.Errorf("last fault %+v", f)
		}
	})
}

// F014: the device refuses a request. Its channels stop, the others go on, it
// is asked again with growing pauses and comes back by itself.
func TestF014IllegalAddressStopsItsChannels(t *testing.T) {
	t.Parallel()
	for code := 1; code <= 3; code++ {
		for _, endpoint := range bothFramings() {
			synctest.Test(t, func(t *testing.T) {
				var events []acquisition.Event
				o := registers(endpoint, 100*time.Millisecond, 10, 1, 2)
				o.Event = func(e acquisition.Event) { events = append(events, e) }
				s, b := twin(t, o, simulator.ServerOptions{
					Units: addressUnits(1, 2), Faults: []simulator.Fault{{Kind: simulator.FaultException, N: code, Units: []byte{1}}},
				})
				y := again(t, b, 600) // a minute
				asked := s.Counts().Faults[simulator.FaultException]
				if y.good != 6000 || y.reasons[acquisition.ReasonException]+y.reasons[acquisition.ReasonConfig] != 6000 || asked < 4 || asked > 8 {
					t.Errorf("%s exception %d: %d good, %v, asked %d times in a minute", endpoint, code, y.good, y.reasons, asked)
				}
				if len(events) != 1 || !strings.Contains(events[0].Detail, "holding 0x0000") || !strings.Contains(events[0].Detail, fmt.Sprintf("exception %d", code)) {
					t.Errorf("events %+v: want one that names register and exception", events)
				}
				if err := s.SetFaults(nil); err != nil {
					t.Fatal(err)
				}
				healed := time.Now()
				for {
					var y tally
					poll(t, b, &y)
					if y.good == 20 {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if d := time.Since(healed); d > 35*time.Second {
					t.Errorf("back after %s", d)
				}
				if len(events) != 2 {
					t.Errorf("events %+v: want a second one when it is back", events)
				}
			})
		}
	}
}

// F015: a device that reports a fault of its own is asked with growing pauses.
func TestF015DeviceFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := twin(t, registers("tcp://10.0.0.1", 100*time.Millisecond, 10, 1, 2), simulator.ServerOptions{
			Units: addressUnits(1, 2), Faults: []simulator.Fault{{Kind: simulator.FaultException, N: 4, Units: []byte{2}}},
		})
		y := again(t, b, 300)
		if n := s.Counts().Faults[simulator.FaultException]; y.reasons[acquisition.ReasonDeviceFault] != 3000 || y.good != 3000 || n > 8 {
			t.Errorf("%d good, %v, asked %d times", y.good, y.reasons, n)
		}
	})
}

// F016: a device that stays busy is asked a bounded number of times.
func TestF016BusyForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := twin(t, registers("tcp://10.0.0.1", time.Second, 10, 1), simulator.ServerOptions{
			Units: addressUnits(1), Faults: []simulator.Fault{{Kind: simulator.FaultException, N: 6}},
		})
		y := again(t, b, 10)
		if n := s.Counts().Faults[simulator.FaultException]; y.reasons[acquisition.ReasonBusy] != 100 || n != 30 {
			t.Errorf("%v, asked %d times, want 3 a scan", y.reasons, n)
		}
	})
}

// F018: units behind a gateway that answers for the dead one keep their rate.
func TestF018GatewayBlamesOneUnit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := registers("tcp://10.0.0.1", 100*time.Millisecond, 5, 1, 2, 3)
		o.Devices[2].Unit = 9
		_, b := twin(t, o, simulator.ServerOptions{Units: addressUnits(1, 2), Absent: simulator.GatewayNoAnswer})
		y := again(t, b, 600)
		if y.good != 6000 || y.reasons[acquisition.ReasonGateway] == 0 || y.reasons[acquisition.ReasonQuarantine] == 0 || len(y.reasons) != 2 {
			t.Errorf("%d good of 6000, %v", y.good, y.reasons)
		}
	})
}

// F021 and acceptance (e): something else listens at the port.
func TestF021ForeignProtocolIsNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ says, want string }{
		{"HTTP/1.1 400 Bad Request\r\n\r\n", "looks like HTTP"},
		{"<html><body>no</body></html>", "looks like HTTP"},
		{"\x15\x03\x01\x00\x02\x02\x46", "looks like TLS"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "looks like SSH"},
		{"220 ready\r\n", "looks like FTP or SMTP"},
		{"\x20\x02\x00\x05nonsense", "looks like MQTT"},
		{"garbage of no kind", "not Modbus: protocol id"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := piped(t, registers("tcp://10.0.0.1", time.Second, 10, 1), func(w *wire) {
				if _, _, err := w.request(5); err == nil {
					w.write([]byte(tc.says))
				}
			})
			y := &tally{}
			poll(t, b, y)
			if len(y.errs) != 1 || !strings.Contains(y.errs[0].Error(), tc.want) || y.reasons[acquisition.ReasonProtocol] != 10 {
				t.Errorf("%q: %v, %v; want %q", tc.says, y.errs, y.reasons, tc.want)
			}
		})
	}
}

// F002 and acceptance (f): the peer goes and comes back; a collector reads it
// again within two seconds, and every slot between is accounted for.
func TestF002PeerRestarts(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtu+tcp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s, address := serve(t, simulator.ServerOptions{Units: addressUnits(1), RTU: scheme != "tcp"})
			c := collect(t, registers(scheme+"://"+address, 20*time.Millisecond, 10, 1))
			c.waitGood(t, 10)
			s.Unplug(true)
			time.Sleep(1500 * time.Millisecond)
			before := c.stored()
			s.Unplug(false)
			back := time.Now()
			c.waitGood(t, before+1)
			if d := time.Since(back); d > 2*time.Second {
				t.Errorf("back after %s", d)
			}
			c.waitGood(t, before+10)
			c.stop(t)
			if c.missed(acquisition.ReasonUnreachable) == 0 {
				t.Errorf("missed %v: no slot is unreachable", c.state().Missed)
			}
			c.audit(t)
		})
	}
}

// F003: a peer that takes the connection and nothing else.
func TestF003HalfOpenConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		connections := 0
		b := piped(t, registers("tcp://10.0.0.1", 100*time.Millisecond, 10, 1), func(w *wire) {
			connections++
			_, _ = io.Copy(io.Discard, w.conn) // reads for ever, says nothing
		})
		y := again(t, b, 600)
		if y.good != 0 || y.reasons[acquisition.ReasonTimeout] != 6000 || len(y.errs) == 0 {
			t.Errorf("%v, %d errors", y.reasons, len(y.errs))
		}
		if connections < 4 || connections > 12 {
			t.Errorf("%d connections in a minute: want a few, with growing patience", connections)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := piped(t, registers("tcp://10.0.0.1", time.Second, 10, 1), func(*wire) {
			<-t.Context().Done() // reads nothing at all
		})
		began := time.Now()
		y := &tally{}
		poll(t, b, y)
		if d := time.Since(began); d > time.Second || len(y.errs) != 1 || y.reasons[acquisition.ReasonTimeout] != 10 {
			t.Errorf("after %s: %v, %v", d, y.reasons, y.errs)
		}
	})
}

// Acceptance (g): cancel returns at once, whatever the bus waits for.
func TestCancelReturnsAtOnce(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		for _, inflight := range []int{1, 4} {
			if inflight > 1 && strings.HasPrefix(endpoint, "rtu") {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				o := registers(endpoint, time.Minute, 10, 1, 2, 3, 4, 5)
				o.Timeout, o.Inflight = 30*time.Second, inflight
				o.Devices[0].Timeout = 0
				_, b := twin(t, o, simulator.ServerOptions{Units: addressUnits(1, 2, 3, 4, 5), Faults: []simulator.Fault{{Kind: simulator.FaultMute, Units: []byte{3}}}})
				tries := 3 // and the bus goes on afterwards
				if strings.HasPrefix(endpoint, "rtu") {
					tries = 1 // where the answer is overdue for a minute
				}
				for range tries {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(70*time.Millisecond, cancel)
					began := time.Now()
					g := b.Groups()[0]
					s := acquisition.NewScan(g)
					if err := b.Poll(ctx, g, 1, s); err != nil {
						t.Error(err)
					}
					if d := time.Since(began); d != 70*time.Millisecond {
						t.Errorf("%s: cancel took until %s", endpoint, d)
					}
					y := &tally{}
					y.look(g, s, nil)
					if y.good < 20 || y.reasons[acquisition.ReasonStopped] < 10 || len(y.wrong) > 0 {
						t.Errorf("%s: %d good, %v, %v", endpoint, y.good, y.reasons, y.wrong)
					}
				}
			})
		}
	}
}

// F025: the server changes a 32-bit value between any two reads; one that is
// read by one request is never torn.
func TestF025ValueOfTwoRegistersIsNeverTorn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := registers("tcp://10.0.0.1", 10*time.Millisecond, 0, 1)
		o.Devices[0].MaxRead = 5
		for i := range 20 {
			name := fmt.Sprintf("v%d", i)
			o.Groups[0].Channels = append(o.Groups[0].Channels, modbus.ChannelOptions{
				Channel: acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{Type: acquisition.TypeUint32}},
				Device:  "d1", Table: modbus.Holding, Address: uint16(2*i + 1),
			})
		}
		count := uint32(0)
		b := piped(t, o, func(w *wire) {
			for {
				tid, pdu, err := w.request(5)
				if err != nil {
					return
				}
				count += 0x10001 // both halves move together
				answer := []byte{3, 2 * pdu[4]}
				for i := range pdu[4] {
					if (int(pdu[2])+int(i))%2 == 1 {
						answer = binary.BigEndian.AppendUint16(answer, uint16(count>>16))
					} else {
						answer = binary.BigEndian.AppendUint16(answer, uint16(count))
					}
				}
				w.write(w.frame(tid, 1, answer))
			}
		})
		g := b.Groups()[0]
		s := acquisition.NewScan(g)
		for range 100 {
			s.Reset(g)
			if err := b.Poll(t.Context(), g, 1, s); err != nil {
				t.Fatal(err)
			}
			for i := range g.Channels {
				v, _ := g.Channels[i].Decoding.Value(s.Words)
				if n := uint32(v); n>>16 != n&0xFFFF || n == 0 {
					t.Fatalf("%s is torn: %08X", g.Channels[i].Name, n)
				}
			}
		}
		if count < 100*10*0x10001 {
			t.Errorf("the plan did not need several requests")
		}
	})
}

// F026: firmware changed the word order; a constant register says so.
// F028: another device answers at the same address. Nothing of it is recorded.
func TestF028AnotherDeviceAnswers(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			var events []acquisition.Event
			o := registers(endpoint, 100*time.Millisecond, 10, 1, 2)
			o.Event = func(e acquisition.Event) { events = append(events, e) }
			o.Devices[0].Identity = []modbus.Check{{Name: "serial number", Table: modbus.Holding, Address: 900, Words: []uint16{0x1234, 0x5678}}}
			right := &overlay{AddressMemory: simulator.AddressMemory{Unit: 1}, at: map[uint16]uint16{900: 0x1234, 901: 0x5678}}
			s, b := twin(t, o, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: right, 2: &simulator.AddressMemory{Unit: 2}}})
			if y := again(t, b, 5); y.good != 100 {
				t.Fatalf("%s: the right device: %d good, %v", endpoint, y.good, y.reasons)
			}
			right.set(901, 0x5679) // exchanged: the connection ends, as on a network
			s.Mute(1, true)
			again(t, b, 2)
			s.Mute(1, false)
			y := again(t, b, 50)
			if y.good != 500 || y.reasons[acquisition.ReasonIdentity] < 400 {
				t.Errorf("%s: %d good, %v; want nothing of the wrong device", endpoint, y.good, y.reasons)
			}
			right.set(901, 0x5678)
			y = again(t, b, 350)
			if y.good < 4000 {
				t.Errorf("%s: %d good after the right device was back", endpoint, y.good)
			}
			var codes []string
			for _, e := range events {
				codes = append(codes, e.Code)
			}
			if got := strings.Join(codes, " "); !strings.Contains(got, "identity identity_right") && !strings.Contains(got, "identity") {
				t.Errorf("%s: events %v", endpoint, codes)
			}
		})
	}
}

// F027: the device restarts; its uptime begins again. The slot is a gap, the
// event says so, and reading goes on.
func TestF027DeviceRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events []acquisition.Event
		o := registers("rtu+tcp://10.0.0.1:1", 100*time.Millisecond, 10, 1, 2)
		o.Event = func(e acquisition.Event) { events = append(events, e) }
		o.Devices[0].Uptime = &modbus.Register{Table: modbus.Holding, Address: 900, Type: acquisition.TypeUint16}
		m := &overlay{AddressMemory: simulator.AddressMemory{Unit: 1}, at: map[uint16]uint16{900: 5000}}
		s, b := twin(t, o, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: m, 2: &simulator.AddressMemory{Unit: 2}}})
		again(t, b, 5)
		s.Mute(1, true)
		again(t, b, 2)
		m.set(900, 3)
		s.Mute(1, false)
		y := again(t, b, 20)
		if y.reasons[acquisition.ReasonReboot] != 10 || y.good < 300 {
			t.Errorf("%d good, %v; want one scan of the unit with reason reboot", y.good, y.reasons)
		}
		if len(events) == 0 || events[0].Code != "device_restart" {
			t.Errorf("events %+v", events)
		}
	})
}

// F031: one of eight units is dead; the others keep at least 95 % of their
// rate, and it comes back by itself within 35 s.
func TestF031DeadUnit(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"rtu+tcp", "tcp"} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ids := []byte{1, 2, 3, 4, 5, 6, 7, 8}
				o := registers(endpoint+"://10.0.0.1:1", 200*time.Millisecond, 5, ids...)
				var events []string
				o.Event = func(e acquisition.Event) { events = append(events, e.Code) }
				s, b := twin(t, o, simulator.ServerOptions{Units: addressUnits(ids...), Delay: 5 * time.Millisecond})
				s.Mute(4, true)
				began := time.Now()
				scans, good := 0, 0
				next := began
				for time.Since(began) < 2*time.Minute {
					var y tally
					poll(t, b, &y)
					scans, good = scans+1, good+y.good
					for next = next.Add(200 * time.Millisecond); time.Until(next) < 0; next = next.Add(200 * time.Millisecond) {
						scans++ // missed
					}
					time.Sleep(time.Until(next))
				}
				if rate := float64(good) / float64(scans*35); rate < 0.95 {
					t.Errorf("the others have %.1f %% of their rate", 100*rate)
				}
				if !b.Stats().Units[3].Quarantined || !slices.Equal(events, []string{"unit_lost"}) {
					t.Errorf("quarantined %v, events %v", b.Stats().Units[3].Quarantined, events)
				}
				s.Mute(4, false)
				healed := time.Now()
				for b.Stats().Units[3].Quarantined && time.Since(healed) < time.Minute {
					again(t, b, 1)
				}
				if d := time.Since(healed); d > 35*time.Second {
					t.Errorf("back after %s", d)
				}
				if !slices.Equal(events, []string{"unit_lost", "unit_back"}) {
					t.Errorf("events %v", events)
				}
			})
		})
	}
}

// F031: the whole line is cut and comes back: nobody waits for half a minute.
func TestF031WholeLineBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ids := []byte{1, 2, 3, 4}
		s, b := twin(t, registers("rtu+tcp://10.0.0.1:1", 100*time.Millisecond, 5, ids...), simulator.ServerOptions{Units: addressUnits(ids...)})
		for _, id := range ids {
			s.Mute(id, true)
		}
		again(t, b, 1200)
		for _, id := range ids {
			s.Mute(id, false)
		}
		healed := time.Now()
		for {
			var y tally
			poll(t, b, &y)
			if len(y.errs) > 0 {
				if err := b.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if y.good == 20 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(healed); d > 5*time.Second {
			t.Errorf("all back after %s", d)
		}
	})
}

// F032: a device with one connection, and another master that takes it. The
// operator is told, and there is no fight.
func TestF032AnotherClientTakesTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events []acquisition.Event
		connections := 0
		o := registers("tcp://10.0.0.1", 100*time.Millisecond, 10, 1)
		o.Event = func(e acquisition.Event) { events = append(events, e) }
		b := piped(t, o, func(*wire) { connections++ }) // closed at once, every time
		held := 0
		for range 600 {
			var y tally
			poll(t, b, &y)
			if len(y.errs) > 0 {
				if err := b.Connect(t.Context()); err != nil {
					held++
					if !strings.Contains(err.Error(), "another client is probably connected") {
						t.Fatal(err)
					}
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if connections > 20 || held < 400 || len(events) != 1 || events[0].Code != "other_client" {
			t.Errorf("%d connections and %d held back in a minute, events %+v", connections, held, events)
		}
	})
}

// overlay is AddressMemory with some registers of its own.
type overlay struct {
	simulator.AddressMemory

	at map[uint16]uint16
}

func (o *overlay) set(address, v uint16) { o.at[address] = v }

// Read implements simulator.Memory.
func (o *overlay) Read(t simulator.Table, address uint16, words []uint16) simulator.Exception {
	if e := o.AddressMemory.Read(t, address, words); e != simulator.NoException {
		return e
	}
	for i := range words {
		if v, ok := o.at[address+uint16(i)]; ok {
			words[i] = v
		}
	}
	return simulator.NoException
}
