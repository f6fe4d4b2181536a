package simulator_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/simulator"
)

// table is a Memory of plain words, for the specification's examples.
type table struct {
	words map[simulator.Table]map[uint16]uint16
	queue map[uint16][]uint16
	texts map[byte]string
}

func (m *table) Read(t simulator.Table, address uint16, words []uint16) simulator.Exception {
	for i := range words {
		v, ok := m.words[t][address+uint16(i)]
		if !ok {
			return simulator.IllegalAddress
		}
		words[i] = v
	}
	return simulator.NoException
}

func (m *table) Write(t simulator.Table, address uint16, words []uint16) simulator.Exception {
	for i := range words {
		if _, ok := m.words[t][address+uint16(i)]; !ok {
			return simulator.IllegalAddress
		}
	}
	for i, w := range words {
		m.words[t][address+uint16(i)] = w
	}
	return simulator.NoException
}

func (m *table) FIFO(address uint16, words []uint16) (int, simulator.Exception) {
	q, ok := m.queue[address]
	if !ok {
		return 0, simulator.IllegalAddress
	}
	copy(words, q)
	return len(q), simulator.NoException
}

func (m *table) Objects() map[byte]string { return m.texts }

// specification returns the memory that stands behind the examples of MODBUS Application Protocol V1.1b3, section 6.
func specification() *table {
	bits := func(start uint16, s string) map[uint16]uint16 {
		m := map[uint16]uint16{}
		for i, c := range strings.ReplaceAll(s, " ", "") {
			m[start+uint16(i)] = uint16(c - '0')
		}
		return m
	}
	return &table{
		words: map[simulator.Table]map[uint16]uint16{
			// Outputs 20 to 38 (addresses 19 to 37): CD 6B 05, least bit first; 173 (0xAC) written by function 5.
			simulator.Coils: func() map[uint16]uint16 {
				m := bits(19, "10110011 11010110 101")
				m[0xAC] = 0
				return m
			}(),
			// Inputs 197 to 218: AC DB 35.
			simulator.Discretes: bits(196, "00110101 11011011 101011"),
			simulator.Holdings: {
				107: 0x022B, 108: 0, 109: 0x0064, // read holding registers 108 to 110
				1: 9, 2: 9, // write single 2, write multiple 2 and 3
				4: 0x12, // mask write 5
				3: 0xFE, 5: 0x0ACD, 6: 0x01, 7: 0x03, 8: 0x0D, 14: 1, 15: 1, 16: 1,
			},
			simulator.Inputs: {8: 0x000A},
		},
		queue: map[uint16][]uint16{0x04DE: {0x01B8, 0x1284}, 0x0500: make([]uint16, 32), 0x0501: {}},
		texts: map[byte]string{0: "Company identification", 1: "Product code XX", 2: "V2.11"},
	}
}

// frames are request and answer PDUs, typed from the specification: V1.1b3 sections 6.1 to 6.21.
func frames() [][3]string {
	return [][3]string{
		{"6.1 read coils", "01 0013 0013", "01 03 CD 6B 05"},
		{"6.2 read discrete inputs", "02 00C4 0016", "02 03 AC DB 35"},
		{"6.3 read holding registers", "03 006B 0003", "03 06 022B 0000 0064"},
		{"6.4 read input registers", "04 0008 0001", "04 02 000A"},
		{"6.5 write single coil", "05 00AC FF00", "05 00AC FF00"},
		{"6.5 and it is on", "01 00AC 0001", "01 01 01"},
		{"6.6 write single register", "06 0001 0003", "06 0001 0003"},
		{"6.6 and it is 3", "03 0001 0001", "03 02 0003"},
		{"6.11 write multiple coils", "0F 0013 000A 02 CD01", "0F 0013 000A"},
		{"6.11 and they are written", "01 0013 000A", "01 02 CD 01"},
		{"6.12 write multiple registers", "10 0001 0002 04 000A 0102", "10 0001 0002"},
		{"6.12 and they are written", "03 0001 0002", "03 04 000A 0102"},
		{"6.16 mask write register", "16 0004 00F2 0025", "16 0004 00F2 0025"},
		{"6.16 current 12 becomes 17", "03 0004 0001", "03 02 0017"},
		{"6.16 back", "06 0004 0012", "06 0004 0012"},
		{"6.17 read/write multiple registers", "17 0003 0006 000E 0003 06 00FF 00FF 00FF", "17 0C 00FE 0012 0ACD 0001 0003 000D"},
		{"6.17 and they are written", "03 000E 0003", "03 06 00FF 00FF 00FF"},
		{"6.18 read FIFO queue", "18 04DE", "18 0006 0002 01B8 1284"},
		{"6.18 empty queue", "18 0501", "18 0002 0000"},
		{"6.18 more than 31", "18 0500", "98 03"},
		{"6.18 no queue", "18 0007", "98 02"},
		{"6.21 identification, basic", "2B 0E 01 00", "2B 0E 01 81 00 00 03" +
			" 00 16 436F6D70616E79206964656E74696669636174696F6E 01 0F 50726F6475637420636F6465205858 02 05 56322E3131"},
		{"6.21 single object", "2B 0E 04 02", "2B 0E 04 81 00 00 01 02 05 56322E3131"},
		{"6.21 unknown single object", "2B 0E 04 07", "AB 02"},
		{"6.21 unknown object starts at the beginning", "2B 0E 01 09", "2B 0E 01 81 00 00 03" +
			" 00 16 436F6D70616E79206964656E74696669636174696F6E 01 0F 50726F6475637420636F6465205858 02 05 56322E3131"},
		{"6.21 unknown code", "2B 0E 05 00", "AB 03"},
		{"6.21 other MEI type", "2B 0D 01 00", "AB 01"},
		{"7 unknown function", "41 00", "C1 01"},
		{"7 function 7 is not served", "07", "87 01"},
		{"quantity 0 coils", "01 0013 0000", "81 03"},
		{"quantity 2001 coils", "01 0013 07D1", "81 03"},
		{"quantity 0 registers", "03 006B 0000", "83 03"},
		{"quantity 126 registers", "03 006B 007E", "83 03"},
		{"quantity before address", "03 FFFF 007E", "83 03"},
		{"register that is not there", "03 006B 0004", "83 02"},
		{"beyond the end", "03 FFFF 0002", "83 02"},
		{"input that is not there", "04 0009 0001", "84 02"},
		{"coil that is neither on nor off", "05 00AC 0001", "85 03"},
		{"coil that is not there", "05 0000 FF00", "85 02"},
		{"write 1969 coils", "0F 0013 07B1 02 CD01", "8F 03"},
		{"write coils, count wrong", "0F 0013 000A 03 CD0100", "8F 03"},
		{"write registers, count wrong", "10 0001 0002 03 000A 01", "90 03"},
		{"write 124 registers", "10 0001 007C F8 0000", "90 03"},
		{"write register that is not there", "10 0008 0002 04 0001 0002", "90 02"},
		{"mask write, not there", "16 0400 00F2 0025", "96 02"},
		{"exchange, write count wrong", "17 0003 0006 000E 0003 05 00FF 00FF 00", "97 03"},
		{"exchange 122 written", "17 0003 0006 000E 007A F4 00FF", "97 03"},
		{"exchange, read not there: nothing written", "17 0200 0001 000E 0001 02 0BAD", "97 02"},
		{"and indeed", "03 000E 0001", "03 02 00FF"},
		{"request too short", "03 00", "83 03"},
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serve starts a server on a loopback port and returns a connection to it.
func serve(t *testing.T, o simulator.ServerOptions) (*simulator.Server, net.Conn) {
	t.Helper()
	s, l := listen(t, o)
	return s, dial(t, l)
}

func listen(t *testing.T, o simulator.ServerOptions) (*simulator.Server, string) {
	t.Helper()
	s, err := simulator.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// mbap frames a PDU for TCP.
func mbap(transaction uint16, unit byte, pdu []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, transaction)
	b = binary.BigEndian.AppendUint16(append(b, 0, 0), uint16(len(pdu)+1))
	return append(append(b, unit), pdu...)
}

// rtu frames a PDU for a serial line. The checksum is computed bit by bit, as the specification's flow chart has it.
func rtu(unit byte, pdu []byte) []byte {
	frame := append([]byte{unit}, pdu...)
	crc := uint16(0xFFFF)
	for _, b := range frame {
		crc ^= uint16(b)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			if odd == 1 {
				crc ^= 0xA001
			}
		}
	}
	return append(frame, byte(crc), byte(crc>>8))
}

func send(t *testing.T, c io.Writer, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return b
}

func TestSpecificationFramesOverTCP(t *testing.T) {
	t.Parallel()
	s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{17: specification()}})
	for i, f := range frames() {
		want := mbap(uint16(i), 17, unhex(t, f[2]))
		send(t, c, mbap(uint16(i), 17, unhex(t, f[1])))
		if diff := cmp.Diff(want, receive(t, c, len(want))); diff != "" {
			t.Fatalf("%s: %s", f[0], diff)
		}
	}
	n := s.Counts()
	if want := uint64(len(frames())); n.Requests != want || n.Answers != want || n.Clean != want {
		t.Errorf("counts %+v, want %d requests, answers and clean ones", n, want)
	}
	if n.Exceptions[simulator.IllegalValue] == 0 || n.Functions[24] != 4 {
		t.Errorf("counts %+v: exceptions 3 and four requests of function 24 are missing", n)
	}
}

func TestSpecificationFramesOverRTU(t *testing.T) {
	t.Parallel()
	s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{17: specification()}, RTU: true})
	sent := uint64(0)
	for _, f := range frames() {
		switch f[0] { // a wrong count means a frame of another length on a serial line
		case "write 1969 coils", "write 124 registers", "exchange 122 written", "request too short":
			continue
		}
		sent++
		want := rtu(17, unhex(t, f[2]))
		send(t, c, rtu(17, unhex(t, f[1])))
		if diff := cmp.Diff(want, receive(t, c, len(want))); diff != "" {
			t.Fatalf("%s: %s", f[0], diff)
		}
	}
	if n := s.Counts(); n.Clean != sent || n.BadFrames != 0 {
		t.Errorf("counts %+v, want %d clean answers", n, sent)
	}
}

func TestRTUChecksumExample(t *testing.T) {
	t.Parallel()
	// MODBUS over Serial Line V1.02, appendix B: the frame 02 07 has the checksum 0x1241, sent as 41 12.
	if got := rtu(2, []byte{7}); !cmp.Equal(got, []byte{2, 7, 0x41, 0x12}) {
		t.Fatalf("checksum of the test itself: % X", got)
	}
	_, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{2: specification()}, RTU: true})
	send(t, c, []byte{2, 7, 0x41, 0x12})
	if got, want := receive(t, c, 5), rtu(2, []byte{0x87, 1}); !cmp.Equal(got, want) {
		t.Errorf("answer % X, want % X", got, want)
	}
}

func TestRTULineRecoversFromNoise(t *testing.T) {
	t.Parallel()
	s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: &simulator.AddressMemory{Unit: 1}}, RTU: true, Idle: 10 * time.Millisecond})
	good := rtu(1, []byte{3, 0, 7, 0, 1})
	bad := append([]byte{}, good...)
	bad[3] ^= 1
	for _, noise := range [][]byte{bad, {0xFF}, {1, 3, 0}, make([]byte, 3000), {1, 0x42, 9, 9, 9}} {
		send(t, c, noise)
		time.Sleep(60 * time.Millisecond)
		send(t, c, good)
		if got, want := receive(t, c, 7), rtu(1, []byte{3, 2, 0x04, 0x07}); !cmp.Equal(got, want) {
			t.Fatalf("after % X: % X, want % X", noise[:min(5, len(noise))], got, want)
		}
	}
	if n := s.Counts(); n.BadFrames != 5 {
		t.Errorf("%d bad frames counted, want 5", n.BadFrames)
	}
}

func TestRTUBroadcastWritesEveryUnitInSilence(t *testing.T) {
	t.Parallel()
	a, b := specification(), specification()
	s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: a, 2: b}, RTU: true})
	send(t, c, rtu(0, unhex(t, "06 0001 7777")))
	for unit := byte(1); unit <= 2; unit++ {
		send(t, c, rtu(unit, unhex(t, "03 0001 0001")))
		if got, want := receive(t, c, 7), rtu(unit, unhex(t, "03 02 7777")); !cmp.Equal(got, want) {
			t.Errorf("unit %d: % X, want % X", unit, got, want)
		}
	}
	if n := s.Counts(); n.Silent != 1 {
		t.Errorf("%d silent requests, want the broadcast alone", n.Silent)
	}
}

func TestAbsentUnit(t *testing.T) {
	t.Parallel()
	two := map[byte]simulator.Memory{1: specification(), 2: specification()}
	_, c := serve(t, simulator.ServerOptions{Units: two, Absent: simulator.GatewayNoAnswer})
	send(t, c, mbap(1, 9, unhex(t, "03 006B 0001")))
	if got, want := receive(t, c, 9), mbap(1, 9, []byte{0x83, 11}); !cmp.Equal(got, want) {
		t.Errorf("gateway: % X, want % X", got, want)
	}
	s, c := serve(t, simulator.ServerOptions{Units: two})
	send(t, c, mbap(1, 9, unhex(t, "03 006B 0001")))
	send(t, c, mbap(2, 1, unhex(t, "03 006B 0001")))
	if got, want := receive(t, c, 11), mbap(2, 1, unhex(t, "03 02 022B")); !cmp.Equal(got, want) {
		t.Errorf("after a silent unit: % X, want % X", got, want)
	}
	if n := s.Counts(); n.Silent != 1 {
		t.Errorf("%d silent, want 1", n.Silent)
	}
}

func TestBadHeaderClosesTheConnection(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"protocol": {0, 1, 0, 1, 0, 6, 1, 3, 0, 0, 0, 1}, "length 1": {0, 1, 0, 0, 0, 1, 1, 3}, "length 255": {0, 1, 0, 0, 0, 255, 1},
		"length 65535": {0, 1, 0, 0, 255, 255, 1}, "http": []byte("GET / HTTP/1.1\r\n"),
	} {
		s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: specification()}})
		send(t, c, b)
		if n, err := c.Read(make([]byte, 100)); n != 0 || err == nil {
			t.Errorf("%s: %d bytes, %v: want the end", name, n, err)
		}
		if got := s.Counts().BadFrames; got != 1 {
			t.Errorf("%s: %d bad frames, want 1", name, got)
		}
	}
}

func TestAnswersOfAWindowComeInOneWrite(t *testing.T) {
	t.Parallel()
	_, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{5: &simulator.AddressMemory{Unit: 5}}})
	var all, want []byte
	for i := range uint16(40) {
		all = append(all, mbap(i, 5, unhex(t, "04 0010 007D"))...)
		pdu := []byte{4, 250}
		for a := range uint16(125) {
			pdu = binary.BigEndian.AppendUint16(pdu, simulator.AddressWord(simulator.Inputs, 5, 0x10+a))
		}
		want = append(want, mbap(i, 5, pdu)...)
	}
	for _, size := range []int{len(all), 1, 5, 7, 11, 100} { // however the stream is cut
		go func() {
			for rest := all; len(rest) > 0; {
				n := min(size, len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		if !cmp.Equal(receive(t, c, len(want)), want) {
			t.Fatalf("pieces of %d: answers differ", size)
		}
	}
}

func TestAddressWordsAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[uint16]bool{}
	for _, table := range []simulator.Table{simulator.Holdings, simulator.Inputs} {
		for unit := range byte(32) {
			for address := range uint16(1024) {
				w := simulator.AddressWord(table, unit, address)
				if seen[w] {
					t.Fatalf("%s %d %d repeats %d", table, unit, address, w)
				}
				seen[w] = true
			}
		}
	}
}

func TestAddressMemoryClock(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 123_456_789)
	m := &simulator.AddressMemory{Unit: 3, ClockFrom: 100, ClockTo: 108, Now: func() time.Time { return at }}
	_, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{3: m}})
	send(t, c, mbap(1, 3, unhex(t, "03 0063 000A")))
	got := receive(t, c, 9+20)[9:]
	if a := binary.BigEndian.Uint16(got); a != 3<<10+99 {
		t.Errorf("register 99 holds %d", a)
	}
	for _, from := range []int{2, 10} {
		if ns := binary.BigEndian.Uint64(got[from:]); ns != uint64(at.UnixNano()) {
			t.Errorf("clock %d, want %d", ns, at.UnixNano())
		}
	}
}

// FuzzServer feeds arbitrary bytes to both framings: no panic, no answer longer than a frame, and the server ends.
func FuzzServer(f *testing.F) {
	for _, frame := range frames() {
		b, err := hex.DecodeString(strings.ReplaceAll(frame[1], " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(mbap(1, 17, b), false)
		f.Add(rtu(17, b), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, serial bool) {
		synctest.Test(t, func(t *testing.T) {
			s, err := simulator.NewServer(simulator.ServerOptions{
				Units: map[byte]simulator.Memory{17: specification(), 1: &simulator.AddressMemory{Unit: 1}}, RTU: serial,
			})
			if err != nil {
				t.Fatal(err)
			}
			here, there := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- s.ServeConn(t.Context(), there) }()
			var client sync.WaitGroup
			defer client.Wait()
			client.Go(func() {
				_, _ = here.Write(b) // the server may have closed
				time.Sleep(time.Second)
				_ = here.Close()
			})
			answers, err := io.ReadAll(here)
			if err != nil && !strings.Contains(err.Error(), "closed pipe") {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			n := s.Counts()
			if n.Answers > n.Requests || len(answers) > int(n.Answers)*260 {
				t.Fatalf("%d bytes in %d answers to %d requests", len(answers), n.Answers, n.Requests)
			}
		})
	})
}

func BenchmarkServer(b *testing.B) {
	for _, window := range []int{1, 16} {
		b.Run(map[int]string{1: "window=1", 16: "window=16"}[window], func(b *testing.B) {
			board := simulator.NewBoard(time.Millisecond, simulator.Signal{Name: "p", Unit: "Pa"})
			var registers []simulator.Register
			for i := range uint16(62) {
				registers = append(registers, simulator.Register{Table: simulator.Holdings, Address: 2 * i, Type: "float32", Signal: "p", Unit: "kPa_a"})
			}
			registers = append(registers, simulator.Register{Table: simulator.Holdings, Address: 124, Type: "int16", Signal: "p", Unit: "kPa_a"})
			u, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Registers: registers}, board)
			if err != nil {
				b.Fatal(err)
			}
			if err := board.Set("p", 612345); err != nil {
				b.Fatal(err)
			}
			s, err := simulator.NewServer(simulator.ServerOptions{Units: map[byte]simulator.Memory{1: u}})
			if err != nil {
				b.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- s.Serve(ctx, l) }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			var requests []byte
			for range window {
				requests = append(requests, mbap(7, 1, []byte{3, 0, 0, 0, 125})...)
			}
			answers := make([]byte, window*259)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(requests); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, answers); err != nil {
					b.Fatal(err)
				}
			}
			if v := math.Float32frombits(binary.BigEndian.Uint32(answers[9:])); v != 612.345 {
				b.Fatalf("read %v", v)
			}
			b.ReportMetric(float64(b.N*window)/b.Elapsed().Seconds(), "req/s")
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
