package acquisition_test

import (
	"math"
	"testing"

	"pneudaq/acquisition"
)

// Words as they stand in the makers' manuals and in IEEE 754, typed by hand.
func TestDecodingValue(t *testing.T) {
	t.Parallel()
	type d = acquisition.Decoding
	for _, tc := range []struct {
		name  string
		d     d
		words []uint16
		want  float64
		why   acquisition.Reason
	}{
		{"float32 ABCD -123.45", d{Type: acquisition.TypeFloat32}, []uint16{0xC2F6, 0xE666}, float64(float32(-123.45)), 0},
		{"float32 CDAB", d{Type: acquisition.TypeFloat32, Order: acquisition.OrderCDAB}, []uint16{0x0A11, 0x42C5}, float64(math.Float32frombits(0x42C50A11)), 0},
		{"float32 BADC", d{Type: acquisition.TypeFloat32, Order: acquisition.OrderBADC}, []uint16{0xF6C2, 0x66E6}, float64(float32(-123.45)), 0},
		{"float32 DCBA", d{Type: acquisition.TypeFloat32, Order: acquisition.OrderDCBA}, []uint16{0x66E6, 0xF6C2}, float64(float32(-123.45)), 0},
		{"float64", d{Type: acquisition.TypeFloat64}, []uint16{0x3FF0, 0, 0, 0}, 1, 0},
		{"float64 DCBA", d{Type: acquisition.TypeFloat64, Order: acquisition.OrderDCBA}, []uint16{0, 0, 0, 0xF03F}, 1, 0},
		{"float16 one third", d{Type: acquisition.TypeFloat16}, []uint16{0x3555}, 0.333251953125, 0},
		{"float16 least", d{Type: acquisition.TypeFloat16}, []uint16{0x0001}, math.Ldexp(1, -24), 0},
		{"int16 scaled", d{Type: acquisition.TypeInt16, Scale: 0.01}, []uint16{0xCFC7}, -123.45, 0},
		{"uint16", d{Type: acquisition.TypeUint16}, []uint16{0xCFC7}, 53191, 0},
		{"uint16 up to where it wraps", d{Type: acquisition.TypeUint16, NegativeAbove: 41942}, []uint16{41942}, 41942, 0},
		{"uint16 wrapped", d{Type: acquisition.TypeUint16, NegativeAbove: 41942}, []uint16{41943}, -23593, 0},
		{"int32", d{Type: acquisition.TypeInt32}, []uint16{0xFFFF, 0xFFFE}, -2, 0},
		{"uint32 low word first", d{Type: acquisition.TypeUint32, Order: acquisition.OrderCDAB}, []uint16{2, 1}, 65538, 0},
		{"int64", d{Type: acquisition.TypeInt64}, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFF6}, -10, 0},
		{"bool bit 3", d{Type: acquisition.TypeBool, Bit: 3}, []uint16{0x0008}, 1, 0},
		{"bit field", d{Type: acquisition.TypeUint16, Bit: 4, Bits: 4}, []uint16{0xABCD}, 12, 0},
		{"signed bit field", d{Type: acquisition.TypeInt16, Bit: 4, Bits: 4}, []uint16{0xABCD}, -4, 0},
		{"bcd16", d{Type: acquisition.TypeBCD16}, []uint16{0x1234}, 1234, 0},
		{"bcd32", d{Type: acquisition.TypeBCD32}, []uint16{0x0012, 0x3456}, 123456, 0},
		{"bcd with a letter", d{Type: acquisition.TypeBCD16}, []uint16{0x12A4}, 0, acquisition.ReasonDecode},
		{"decimals", d{Type: acquisition.TypeInt16, At: 1, Decimals: 1}, []uint16{2, 0xFF9C}, -1, 0},
		{"impossible decimals", d{Type: acquisition.TypeInt16, At: 1, Decimals: 1}, []uint16{200, 5}, 0, acquisition.ReasonDecode},
		{
			"sentinel",
			d{Type: acquisition.TypeInt32, Sentinels: []acquisition.Sentinel{{Raw: 0x7FFFFFFF, Reason: acquisition.ReasonOverRange}}},
			[]uint16{0x7FFF, 0xFFFF},
			0, acquisition.ReasonOverRange,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, why := tc.d.Value(tc.words)
			if why != tc.why || why == acquisition.ReasonNone && math.Abs(got-tc.want) > 1e-12*math.Abs(tc.want) {
				t.Fatalf("got %v, %v; want %v, %v", got, why, tc.want, tc.why)
			}
		})
	}
}

func decodeGroup() *acquisition.Group {
	return &acquisition.Group{
		Rig: "r", Name: "g", Words: 4, Numbers: 1,
		Channels: []acquisition.Channel{
			{ID: "p1", Name: "p1", Unit: "kPa_a", High: 1000, Decoding: acquisition.Decoding{Type: acquisition.TypeFloat32}},
			{ID: "p2", Name: "p2", Unit: "kPa_a", Decoding: acquisition.Decoding{Type: acquisition.TypeFloat32, At: 2}},
			{ID: "dp", Name: "dp", Unit: "kPa", Decoding: acquisition.Decoding{Origin: acquisition.FromExpression, Expression: "p1 - p2"}},
			{ID: "t", Name: "t", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers}},
		},
	}
}

func compileDifference(string, []string) (acquisition.Expression, error) {
	return acquisition.Expression{Operands: []int{0, 1}, Eval: func(v []float64) float64 { return v[0] - v[1] }}, nil
}

// F022: NaN is a channel error, infinities are range errors, and neither is
// ever handed on as a number.
func TestF022NotANumberBecomesQuality(t *testing.T) {
	t.Parallel()
	d, err := acquisition.NewDecoder(decodeGroup(), compileDifference)
	if err != nil {
		t.Fatal(err)
	}
	values, quality := make([]float64, 4), make([]acquisition.Quality, 4)
	words := func(a, b float32) []uint16 {
		x, y := math.Float32bits(a), math.Float32bits(b)
		return []uint16{uint16(x >> 16), uint16(x), uint16(y >> 16), uint16(y)}
	}
	inf := float32(math.Inf(1))
	for _, tc := range []struct {
		a, b       float32
		q1, q2, qd acquisition.Reason
	}{
		{500, 200, 0, 0, 0},
		{float32(math.NaN()), 200, acquisition.ReasonNaN, 0, acquisition.ReasonDerived},
		{inf, 200, acquisition.ReasonOverRange, 0, acquisition.ReasonDerived},
		{200, -inf, 0, acquisition.ReasonUnderRange, acquisition.ReasonDerived},
		{2000, 200, acquisition.ReasonOutOfRange, 0, acquisition.ReasonOutOfRange},
	} {
		d.Decode(words(tc.a, tc.b), []float64{1}, nil, values, quality)
		if quality[0].Reason() != tc.q1 || quality[1].Reason() != tc.q2 || quality[2].Reason() != tc.qd {
			t.Errorf("%v, %v: got quality %v", tc.a, tc.b, quality)
		}
		for i, q := range quality {
			if (q.Class() == acquisition.ClassBad) != math.IsNaN(values[i]) {
				t.Errorf("%v, %v: channel %d has value %v and quality %v", tc.a, tc.b, i, values[i], q)
			}
		}
	}
	if d.Decode(words(500, 200), []float64{1}, nil, values, quality); values[2] != 300 {
		t.Errorf("derived: got %v, want 300", values[2])
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d, err := acquisition.NewDecoder(decodeGroup(), compileDifference)
	if err != nil {
		t.Fatal(err)
	}
	values, quality := make([]float64, 4), make([]acquisition.Quality, 4)
	words, numbers := make([]uint16, 4), make([]float64, 1)
	if n := testing.AllocsPerRun(100, func() { d.Decode(words, numbers, nil, values, quality) }); n != 0 {
		t.Errorf("decoding a scan allocates %v times", n)
	}
}

func BenchmarkDecode125Registers(b *testing.B) {
	g := &acquisition.Group{Rig: "r", Name: "g", Words: 125}
	for i := range 125 {
		g.Channels = append(g.Channels, acquisition.Channel{Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeUint16, Scale: 0.1}})
	}
	d, err := acquisition.NewDecoder(g, nil)
	if err != nil {
		b.Fatal(err)
	}
	values, quality, words := make([]float64, 125), make([]acquisition.Quality, 125), make([]uint16, 125)
	b.ReportAllocs()
	for b.Loop() {
		d.Decode(words, nil, nil, values, quality)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/125, "ns/sample")
}

func FuzzDecodingValueNeverPanics(f *testing.F) {
	f.Add(uint8(0), uint8(0), uint8(0), uint8(0), uint16(1), uint16(2), uint16(3), uint16(4))
	f.Fuzz(func(_ *testing.T, typ, order, bit, bits uint8, a, b, c, e uint16) {
		d := acquisition.Decoding{Type: acquisition.Type(typ % 14), Order: acquisition.Order(order % 4), Bit: bit % 64, Bits: bits % 64, Decimals: int(bits % 2)}
		_, _ = d.Value([]uint16{a, b, c, e})
	})
}

func TestUnitsConvertAndRefuse(t *testing.T) {
	t.Parallel()
	unit := func(name string) acquisition.Unit {
		u, err := acquisition.LookupUnit(name)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tc := range []struct {
		v        float64
		from, to string
		want     float64
	}{
		{6.3, "bar_g", "kPa_g", 630},
		{25, "degC", "K", 298.15},
		{32, "degF", "degC", 0},
		{1, "dm3/(s.bar)", "m3/(s.Pa)", 1e-8},
		{1, "mL/min_0C", "cm3/min_ANR", 1.0905}, // the field's figure, 4 digits
		{1, "dm3/h_ANR", "cm3/min_ANR", 16.667},
	} {
		got, err := acquisition.Convert(tc.v, unit(tc.from), unit(tc.to))
		if err != nil || math.Abs(got-tc.want) > 5e-5*math.Abs(tc.want)+1e-9 {
			t.Errorf("%v %s is %v %s (%v), want %v", tc.v, tc.from, got, tc.to, err, tc.want)
		}
	}
	if _, err := acquisition.Convert(1, unit("bar_g"), unit("bar_a")); err == nil {
		t.Error("gauge became absolute without an atmospheric pressure")
	}
	if _, err := acquisition.LookupUnit("bars"); err == nil {
		t.Error("unit bars is known")
	}
}

func TestReasonsAreClosedAndNamedOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, r := range acquisition.Reasons() {
		if int(r.Reason) != i || seen[r.Name] || r.EN == "" || r.ZH == "" {
			t.Errorf("entry %d is %+v", i, r)
		}
		seen[r.Name] = true
		if q := acquisition.Quality(r.Reason); q.Class() != r.Class {
			t.Errorf("%s: class %v in the table, %v in use", r.Name, r.Class, q.Class())
		}
		if back, err := acquisition.ParseReason(r.Name); err != nil || back != r.Reason {
			t.Errorf("%s reads back as %v, %v", r.Name, back, err)
		}
	}
}
