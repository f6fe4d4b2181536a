package simulator_test

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/simulator"
)

// shown returns what a register shows of a figure in SI: all its words.
func shown(t *testing.T, r simulator.Register, si string, v float64) []uint16 {
	t.Helper()
	b := simulator.NewBoard(time.Millisecond, simulator.Signal{Name: "x", Unit: si}, simulator.Signal{Name: "p_atm", Unit: "Pa"})
	if err := b.Set("x", v); err != nil {
		t.Fatal(err)
	}
	if err := b.Set("p_atm", 101325); err != nil {
		t.Fatal(err)
	}
	r.Table, r.Address, r.Signal = simulator.Holdings, 10, "x"
	u, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Registers: []simulator.Register{r}}, b)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{"16": 1, "32": 2, "64": 4}[r.Type[len(r.Type)-2:]]
	if n == 0 {
		n = 1
	}
	return words(t, u, simulator.Holdings, 10, n)
}

// TestRegisterWords compares with words that were worked out by hand or printed by a maker.
func TestRegisterWords(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, c := range []struct {
		name string
		r    simulator.Register
		si   string
		v    float64
		want []uint16
	}{
		// IEEE 754: -123.45 is C2F6E666 (Vaisala HMD60, test registers).
		{"float32 ABCD", simulator.Register{Type: "float32"}, "1", -123.45, []uint16{0xC2F6, 0xE666}},
		{"float32 CDAB", simulator.Register{Type: "float32", Order: "CDAB"}, "1", -123.45, []uint16{0xE666, 0xC2F6}},
		{"float32 BADC", simulator.Register{Type: "float32", Order: "BADC"}, "1", -123.45, []uint16{0xF6C2, 0x66E6}},
		{"float32 DCBA", simulator.Register{Type: "float32", Order: "DCBA"}, "1", -123.45, []uint16{0x66E6, 0xF6C2}},
		// Vaisala HMD60: -123.45 times 100 is CFC7.
		{"int16 scale", simulator.Register{Type: "int16", Scale: 0.01}, "1", -123.45, []uint16{0xCFC7}},
		{"int16 BA", simulator.Register{Type: "int16", Order: "BA", Scale: 0.01}, "1", -123.45, []uint16{0xC7CF}},
		// SUTO S430: 0A 11 42 C5 on the wire is 42C50A11.
		{"float32 CDAB of a maker", simulator.Register{Type: "float32", Order: "CDAB"}, "1", 98.51966094970703, []uint16{0x0A11, 0x42C5}},
		{"float64 ABCD", simulator.Register{Type: "float64"}, "1", 1, []uint16{0x3FF0, 0, 0, 0}},
		{"float64 CDAB", simulator.Register{Type: "float64", Order: "CDAB"}, "1", 1, []uint16{0, 0, 0, 0x3FF0}},
		{"float16 1", simulator.Register{Type: "float16"}, "1", 1, []uint16{0x3C00}},
		{"float16 -2", simulator.Register{Type: "float16"}, "1", -2, []uint16{0xC000}},
		{"float16 1/3", simulator.Register{Type: "float16"}, "1", 1.0 / 3, []uint16{0x3555}},
		{"float16 smallest", simulator.Register{Type: "float16"}, "1", math.Ldexp(1, -24), []uint16{0x0001}},
		{"float16 carries into the exponent", simulator.Register{Type: "float16"}, "1", 2047.9, []uint16{0x6800}},
		{"uint16", simulator.Register{Type: "uint16"}, "1", 65535, []uint16{0xFFFF}},
		{"uint16 ends", simulator.Register{Type: "uint16"}, "1", 70000, []uint16{0xFFFF}},
		{"int32 ABCD", simulator.Register{Type: "int32"}, "1", -2, []uint16{0xFFFF, 0xFFFE}},
		{"int32 CDAB", simulator.Register{Type: "int32", Order: "CDAB"}, "1", 0x12345678, []uint16{0x5678, 0x1234}},
		{"uint64 BADC", simulator.Register{Type: "uint64", Order: "BADC"}, "1", 0x0102030405060, []uint16{0x0000, 0x2010, 0x4030, 0x6050}},
		{"int64 lowest", simulator.Register{Type: "int64"}, "1", -1e30, []uint16{0x8000, 0, 0, 0}},
		{"bcd16", simulator.Register{Type: "bcd16"}, "1", 1234, []uint16{0x1234}},
		{"bcd32", simulator.Register{Type: "bcd32"}, "1", 12345678, []uint16{0x1234, 0x5678}},
		{"bcd16 ends", simulator.Register{Type: "bcd16"}, "1", 12345, []uint16{0x9999}},
		{"bits", simulator.Register{Type: "bits", Bit: 4, Width: 3}, "1", 5, []uint16{0x0050}},
		{"bool bit", simulator.Register{Type: "bool", Bit: 15}, "1", 1, []uint16{0x8000}},
		// Siargo MF5700: flow = (hi x 65536 + lo) / 1000 SLPM.
		{"siargo", simulator.Register{Type: "uint32", Scale: 0.001, Unit: "L/min_0C"}, "kg/s", 100 * 1.29228367e-3 / 60, []uint16{0x0001, 0x86A0}},
		// Bronkhorst: 32000 is 100 %, 65535 is -0.003 %, bounded at 41942 and 41943.
		{"bronkhorst 100 %", bronkhorst(), "1", 1, []uint16{32000}},
		{"bronkhorst below 0", bronkhorst(), "1", -0.00003125, []uint16{65535}},
		{"bronkhorst above", bronkhorst(), "1", 2, []uint16{41942}},
		{"bronkhorst far below", bronkhorst(), "1", -2, []uint16{41943}},
		// Keller: int32 in 1/100 mbar, 2147483647 and -2147483648 beyond the range, NaN for a broken channel.
		{"keller", keller("int32"), "Pa", 2e5, []uint16{0x0003, 0x0D40}},
		{"keller over", keller("int32"), "Pa", 31e5, []uint16{0x7FFF, 0xFFFF}},
		{"keller under", keller("int32"), "Pa", -2e5, []uint16{0x8000, 0x0000}},
		{"keller broken", simulator.Register{Type: "float32", Unit: "bar_a"}, "Pa", nan, []uint16{0x7FC0, 0x0000}},
		{"no value", simulator.Register{Type: "int16", NaN: new(uint64(32764))}, "1", nan, []uint16{32764}},
		{"negative scale", simulator.Register{Type: "int16", Scale: -1, Low: new(-10.0), High: new(100.0), Over: new(uint64(1)), Under: new(uint64(2))}, "1", 50, []uint16{0xFFCE}},
		{"negative scale, over", simulator.Register{Type: "int16", Scale: -1, Low: new(-10.0), High: new(100.0), Over: new(uint64(1)), Under: new(uint64(2))}, "1", 101, []uint16{1}},
		{"offset", simulator.Register{Type: "uint16", Scale: 0.1, Offset: -100, Unit: "degC"}, "K", 293.15, []uint16{1200}},
	} {
		if diff := cmp.Diff(c.want, shown(t, c.r, c.si, c.v)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func bronkhorst() simulator.Register {
	return simulator.Register{Type: "uint16", Unit: "%", Scale: 100.0 / 32000, Low: new(-23593 * 100.0 / 32000), High: new(41942 * 100.0 / 32000)}
}

func keller(kind string) simulator.Register {
	return simulator.Register{
		Type: kind, Unit: "mbar_a", Scale: 0.01, Low: new(-1000.0), High: new(30000.0), Over: new(uint64(0x7FFFFFFF)), Under: new(uint64(0x80000000)),
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit, si string
		v, want  float64
	}{
		{"", "Pa", 612345, 612345},
		{"kPa_a", "Pa", 612345, 612.345},
		{"kPa_g", "Pa", 612345, 511.02},
		{"bar_a", "Pa", 612345, 6.12345},
		{"bar_g", "Pa", 612345, 5.1102},
		{"MPa_a", "Pa", 612345, 0.612345},
		{"mbar_a", "Pa", 612345, 6123.45},
		{"psi_a", "Pa", 689475.7293168, 100},
		{"psi_g", "Pa", 101325, 0},
		{"mmHg_a", "Pa", 101325, 760},
		{"hPa_a", "Pa", 101325, 1013.25},
		{"degC", "K", 293.15, 20},
		{"degF", "K", 310.15, 98.6},
		{"g/s", "kg/s", 0.0123, 12.3},
		{"kg/h", "kg/s", 0.0123, 44.28},
		// ISO 8778: 1 cm3/min (ANR) is 1.975e-8 kg/s.
		{"cm3/min_ANR", "kg/s", 1.975e-8, 1},
		{"L/min_ANR", "kg/s", 1.975e-5, 1},
		{"m3/h_ANR", "kg/s", 1.185 / 3600, 1},
		// One cm3/min at 0 degC and 101.325 kPa is 1.0905 cm3/min (ANR) by mass.
		{"L/min_0C", "kg/s", 1.0905 * 1.975e-5, 1},
		{"sccm", "kg/s", 1.0905 * 1.975e-8, 1},
		{"mm", "m", 0.1, 100},
		{"ms", "s", 0.012, 12},
		{"%", "1", 0.42, 42},
		{"1", "1", 3, 3},
		{"mA", "A", 0.02, 20},
	} {
		words := shown(t, simulator.Register{Type: "float64", Unit: c.unit}, c.si, c.v)
		got := math.Float64frombits(uint64(words[0])<<48 | uint64(words[1])<<32 | uint64(words[2])<<16 | uint64(words[3]))
		if tolerance := 1e-4 * max(math.Abs(c.want), 1e-3); math.Abs(got-c.want) > tolerance {
			t.Errorf("%g %s is %g %s, want %g", c.v, c.si, got, c.unit, c.want)
		}
	}
}

// module is a unit with outputs, a bit field, text and memory.
func module(b *simulator.Board, watchdog *simulator.Watchdog) (*simulator.Unit, error) {
	return simulator.NewUnit(simulator.UnitOptions{
		ID: 1, Watchdog: watchdog,
		Registers: []simulator.Register{
			{Name: "set", Table: simulator.Holdings, Address: 0, Type: "float32", Signal: "set", Unit: "kPa_a", Writable: true, Low: new(0.0), High: new(1000.0)},
			{Name: "coil", Table: simulator.Coils, Address: 3, Type: "bool", Signal: "coil", Writable: true},
			{Name: "run", Table: simulator.Holdings, Address: 2, Type: "bool", Bit: 0, Signal: "coil"},
			{Name: "mode", Table: simulator.Holdings, Address: 2, Type: "bits", Bit: 4, Width: 3, Value: new(6.0)},
			{Name: "name", Table: simulator.Holdings, Address: 3, Type: "string", Length: 3, Text: "PX-1"},
			{Name: "memory", Table: simulator.Holdings, Address: 6, Type: "uint32", Value: new(70000.0), Writable: true, Volatile: true},
			{Name: "after", Table: simulator.Holdings, Address: 8, Type: "uint16", Signal: "@watchdog", Unit: "ms", Writable: true},
			{Name: "tripped", Table: simulator.Discretes, Address: 0, Type: "bool", Signal: "@watchdog_tripped"},
			{Name: "gap", Table: simulator.Holdings, Address: 20, Type: "uint16", Value: new(7.0)},
		},
	}, b)
}

func board(t *testing.T) *simulator.Board {
	t.Helper()
	b := simulator.NewBoard(time.Millisecond, simulator.Signal{Name: "set", Unit: "Pa"}, simulator.Signal{Name: "coil", Unit: "1"}, simulator.Signal{Name: "p", Unit: "Pa"})
	for name, v := range map[string]float64{"set": 100e3, "coil": 0, "p": 0} {
		if err := b.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func words(t *testing.T, u *simulator.Unit, table simulator.Table, address uint16, n int) []uint16 {
	t.Helper()
	w := make([]uint16, n)
	if e := u.Read(table, address, w); e != simulator.NoException {
		t.Fatalf("read %s %d: exception %d", table, address, e)
	}
	return w
}

func TestUnitReadsAndWrites(t *testing.T) {
	t.Parallel()
	b := board(t)
	u, err := module(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []uint16{0x42C8, 0, 0x0060, 'P'<<8 | 'X', '-'<<8 | '1', 0, 1, 4464, 0}
	if diff := cmp.Diff(want, words(t, u, simulator.Holdings, 0, 9)); diff != "" {
		t.Error(diff)
	}
	if e := u.Write(simulator.Coils, 3, []uint16{1}); e != simulator.NoException {
		t.Errorf("exception %d", e)
	}
	if got := words(t, u, simulator.Holdings, 2, 1)[0]; got != 0x0061 {
		t.Errorf("bit field %04X, want the coil in bit 0", got)
	}
	for name, c := range map[string]struct {
		address uint16
		words   []uint16
		want    simulator.Exception
	}{
		"above the range":  {0, []uint16{0x447A, 0x2000}, simulator.IllegalValue}, // 1000.5
		"into a constant":  {1, []uint16{0, 0}, simulator.IllegalAddress},
		"into text":        {3, []uint16{0}, simulator.IllegalAddress},
		"beyond the table": {8, []uint16{1, 1}, simulator.IllegalAddress},
		"into a hole":      {19, []uint16{1, 1}, simulator.IllegalAddress},
		"all or nothing":   {6, []uint16{0, 1, 0, 1}, simulator.IllegalAddress},
		"good":             {0, []uint16{0x4448, 0}, simulator.NoException}, // 800
		"memory":           {6, []uint16{0x0012, 0x3456}, simulator.NoException},
		"half a figure":    {1, []uint16{0x4000}, simulator.NoException}, // 801
	} {
		if got := u.Write(simulator.Holdings, c.address, c.words); got != c.want {
			t.Errorf("%s: exception %d, want %d", name, got, c.want)
		}
	}
	if v, err := b.Value("set"); err != nil || v != 800e3 && v != 801e3 { // the order of a map
		t.Errorf("setpoint %v, %v", v, err)
	}
	if got := words(t, u, simulator.Holdings, 6, 2); !slices.Equal(got, []uint16{0x0012, 0x3456}) {
		t.Errorf("memory %X", got)
	}
	for _, address := range []uint16{9, 19, 21, 8} {
		if e := u.Read(simulator.Holdings, address, make([]uint16, 2)); e != simulator.IllegalAddress {
			t.Errorf("read at %d: exception %d, want 2", address, e)
		}
	}
}

func TestUnitWithZerosBetweenRegisters(t *testing.T) {
	t.Parallel()
	u, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Holes: "zero", Registers: []simulator.Register{
		{Table: simulator.Inputs, Address: 5, Type: "uint16", Value: new(1.0)}, {Table: simulator.Inputs, Address: 9, Type: "float32", Signal: "set", Unit: "kPa_a"},
	}}, board(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := words(t, u, simulator.Inputs, 4, 6), []uint16{0, 1, 0, 0, 0, 0x42C8}; !slices.Equal(got, want) {
		t.Errorf("%X, want %X", got, want)
	}
	if e := u.Read(simulator.Holdings, 4, make([]uint16, 1)); e != simulator.IllegalAddress {
		t.Errorf("a table without registers: exception %d", e)
	}
}

func TestWatchdogMakesOutputsSafe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := board(t)
		u, err := module(b, &simulator.Watchdog{After: 500 * time.Millisecond, Safe: map[string]float64{"set": 0, "coil": 0, "memory": 5}})
		if err != nil {
			t.Fatal(err)
		}
		values := func() [3]float64 {
			set, _ := b.Value("set")
			coil, _ := b.Value("coil")
			return [3]float64{set, coil, float64(words(t, u, simulator.Holdings, 7, 1)[0])}
		}
		write := func() {
			t.Helper()
			if e := u.Write(simulator.Coils, 3, []uint16{1}) + u.Write(simulator.Holdings, 0, []uint16{0x4448, 0}); e != simulator.NoException {
				t.Fatalf("exception %d", e)
			}
		}
		for range 5 { // a beat every 400 ms holds the outputs
			write()
			time.Sleep(400 * time.Millisecond)
			if got := values(); got != [3]float64{800e3, 1, 4464} {
				t.Fatalf("outputs %v while the beat goes on", got)
			}
		}
		time.Sleep(101 * time.Millisecond)
		u.Guard(time.Now())
		if got := values(); got != [3]float64{0, 0, 5} {
			t.Errorf("outputs %v after the beat stopped", got)
		}
		if got := words(t, u, simulator.Discretes, 0, 1)[0]; got != 1 {
			t.Error("the watchdog does not say that it tripped")
		}
		if e := u.Write(simulator.Holdings, 8, []uint16{2000}); e != simulator.NoException {
			t.Fatalf("exception %d", e)
		}
		write()
		time.Sleep(1900 * time.Millisecond)
		if got := values(); got[0] != 800e3 || words(t, u, simulator.Discretes, 0, 1)[0] != 0 {
			t.Errorf("outputs %v: the time that was written does not hold", got)
		}
	})
}

// ramp feeds a board with p = 0, 1, 2 ... kPa, a sample every millisecond of a clock that begins at 1000 s.
func ramp(t *testing.T, b *simulator.Board, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := b.Set("p", float64(i)*1000); err != nil {
			t.Fatal(err)
		}
		b.Sample(time.Unix(1000, 0).Add(time.Duration(i) * time.Millisecond))
	}
}

func buffered(t *testing.T, b *simulator.Board, buffers ...simulator.Buffer) *simulator.Unit {
	t.Helper()
	for i := range buffers {
		buffers[i].Signal, buffers[i].Unit = "p", "kPa_a"
	}
	u, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Buffers: buffers}, b)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestF029TotalsWrapAndReset(t *testing.T) {
	t.Parallel()
	b := simulator.NewBoard(10*time.Millisecond, simulator.Signal{Name: "qm", Unit: "kg/s"})
	if err := b.Set("qm", 0.001); err != nil {
		t.Fatal(err)
	}
	u, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Registers: []simulator.Register{
		{Table: simulator.Holdings, Address: 0, Type: "uint16", Signal: "@total:qm", Unit: "g", Scale: 0.01, Wrap: true, Writable: true},
	}}, b)
	if err != nil {
		t.Fatal(err)
	}
	if e := u.Write(simulator.Holdings, 0, []uint16{65000}); e != simulator.NoException {
		t.Fatalf("exception %d", e)
	}
	last, wraps := 65000, 0
	for range 100 { // 0.1 s, 0.1 g, 10 counts each
		for range 10 {
			b.Sample(time.Now())
		}
		got := int(words(t, u, simulator.Holdings, 0, 1)[0])
		if got < last {
			wraps++
			got += 65536
		}
		if d := got - last; d < 9 || d > 11 {
			t.Fatalf("%d counts in 0.1 s", d)
		}
		last = got % 65536
	}
	if wraps != 1 {
		t.Errorf("wrapped %d times", wraps)
	}
	if e := u.Write(simulator.Holdings, 0, []uint16{0}); e != simulator.NoException || words(t, u, simulator.Holdings, 0, 1)[0] != 0 {
		t.Errorf("reset: exception %d", e)
	}
}

func TestFIFOCountsItsSamples(t *testing.T) {
	t.Parallel()
	b := board(t)
	u := buffered(t, b,
		simulator.Buffer{Kind: "fifo", Capacity: 100, Rate: 1000, Numbered: true, Consume: true, Register: simulator.Register{Address: 7, Type: "int16"}},
		simulator.Buffer{Kind: "fifo", Capacity: 100, Rate: 500, Register: simulator.Register{Address: 8, Type: "float32", Order: "CDAB"}},
	)
	s, c := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: u}})
	next, lost := uint32(0), uint32(0)
	poll := func() {
		t.Helper()
		pdu := ask(t, c, 1, []byte{24, 0, 7})
		bytes, n := int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
		if bytes != 2+2*n || len(pdu) != 3+bytes || n > 31 {
			t.Fatalf("answer % X", pdu)
		}
		number := binary.BigEndian.Uint32(pdu[5:])
		lost += number - next
		for i := range n - 2 {
			if got := binary.BigEndian.Uint16(pdu[9+2*i:]); uint32(got) != number+uint32(i) {
				t.Fatalf("sample %d is %d", number+uint32(i), got)
			}
		}
		next = number + uint32(n-2)
	}
	poll()
	for i := range 20 {
		ramp(t, b, 25*i, 25*i+25)
		poll()
	}
	if next != 500 || lost != 0 {
		t.Errorf("%d samples, %d lost: want 500 and none", next, lost)
	}
	ramp(t, b, 500, 700) // more than it holds
	poll()
	if lost != 100 {
		t.Errorf("%d lost, want the 100 that did not fit", lost)
	}
	pdu := ask(t, c, 1, []byte{24, 0, 8}) // every second sample, the newest 15
	if n := binary.BigEndian.Uint16(pdu[3:]); n != 30 {
		t.Errorf("%d registers, want 30", n)
	}
	last := pdu[len(pdu)-4:]
	if v := math.Float32frombits(uint32(last[2])<<24 | uint32(last[3])<<16 | uint32(last[0])<<8 | uint32(last[1])); v != 699 {
		t.Errorf("newest %v, want 699", v)
	}
	if got := ask(t, c, 1, []byte{24, 0, 9}); !cmp.Equal(got, []byte{0x98, 2}) {
		t.Errorf("no queue: % X", got)
	}
	if n := s.Counts().Functions[24]; n != 24 {
		t.Errorf("%d requests of function 24", n)
	}
}

func TestRingAndWindow(t *testing.T) {
	t.Parallel()
	b := board(t)
	u := buffered(t, b,
		simulator.Buffer{Kind: "ring", Capacity: 50, Rate: 1000, Register: simulator.Register{Table: simulator.Holdings, Address: 100, Type: "int16"}},
		simulator.Buffer{Kind: "window", Capacity: 40, Rate: 1000, Register: simulator.Register{Table: simulator.Inputs, Address: 0, Type: "float32"}},
	)
	ramp(t, b, 0, 10)
	early := words(t, u, simulator.Inputs, 0, 88)
	if v := math.Float32frombits(uint32(early[8])<<16 | uint32(early[9])); !math.IsNaN(float64(v)) {
		t.Errorf("a sample that was never taken reads %v", v)
	}
	if v := math.Float32frombits(uint32(early[86])<<16 | uint32(early[87])); v != 9 {
		t.Errorf("newest %v, want 9", v)
	}
	ramp(t, b, 10, 123)
	ring := words(t, u, simulator.Holdings, 100, 58)
	stamp := uint64(time.Unix(1000, 122e6).UnixNano())
	head := []uint16{0, 123, 1_000_000 >> 16, 1_000_000 & 0xFFFF, uint16(stamp >> 48), uint16(stamp >> 32 & 0xFFFF), uint16(stamp >> 16 & 0xFFFF), uint16(stamp & 0xFFFF)}
	if diff := cmp.Diff(head, ring[:8]); diff != "" {
		t.Errorf("head: %s", diff)
	}
	for n := 73; n < 123; n++ {
		if got := ring[8+n%50]; int(got) != n {
			t.Fatalf("sample %d reads %d", n, got)
		}
	}
	window := words(t, u, simulator.Inputs, 8, 80)
	for i := range 40 {
		if v := math.Float32frombits(uint32(window[2*i])<<16 | uint32(window[2*i+1])); v != float32(83+i) {
			t.Fatalf("window at %d reads %v, want %d", i, v, 83+i)
		}
	}
	if part := words(t, u, simulator.Holdings, 107, 3); part[1] != ring[8] || part[2] != ring[9] {
		t.Errorf("a read from within: %v", part)
	}
}

func TestNewUnitRefuses(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]simulator.UnitOptions{
		"rate 300 Hz does not divide":    {Buffers: []simulator.Buffer{{Kind: "fifo", Capacity: 1, Rate: 300, Register: simulator.Register{Type: "int16", Signal: "p"}}}},
		`kind "queue" is unknown`:        {Buffers: []simulator.Buffer{{Kind: "queue", Capacity: 1, Rate: 1000, Register: simulator.Register{Table: simulator.Holdings, Type: "int16", Signal: "p"}}}},
		"holds bool, not int16":          {Registers: []simulator.Register{{Table: simulator.Coils, Type: "int16"}}},
		"cannot be written":              {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "int16", Writable: true}}},
		"string needs length":            {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "string", Text: "x"}}},
		"longer than 1 registers":        {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "string", Text: "xyz", Length: 1}}},
		"bit 14 does not fit":            {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "bits", Bit: 14, Width: 3}}},
		"overlaps":                       {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "bits", Bit: 4, Width: 3}, {Table: simulator.Inputs, Type: "bool", Bit: 6}}},
		"beyond address 65535":           {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "int64", Address: 65533}}},
		"takes off the atmosphere":       {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "int64", Signal: "p", Unit: "kPa_g", Atmosphere: "x"}}},
		"exclude each other":             {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "int64", Signal: "p", Value: new(1.0)}}},
		"@clock needs an integer type":   {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "float64", Signal: "@clock"}}},
		"names no writable register":     {Watchdog: &simulator.Watchdog{After: 1, Safe: map[string]float64{"x": 1}}},
		`holes "random" is unknown`:      {Holes: "random"},
		`unit "parsec" is unknown`:       {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "int64", Signal: "p", Unit: "parsec"}}},
		"a watchdog needs a time":        {Watchdog: &simulator.Watchdog{}},
		"a string cannot carry a signal": {Registers: []simulator.Register{{Table: simulator.Inputs, Type: "string", Length: 1, Signal: "p"}}},
	} {
		if o.Registers != nil && o.Registers[0].Atmosphere != "" {
			want = "take off the atmosphere"
		}
		_, err := simulator.NewUnit(o, board(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
