package influx_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/storage/influx"
)

// oracle encodes a scan with the encoder of InfluxData.
func oracle(tb testing.TB, b *acquisition.Block, i int) string {
	tb.Helper()
	g := b.Group
	d, err := acquisition.NewDecoder(g, nil)
	if err != nil {
		tb.Fatal(err)
	}
	values, quality := make([]float64, len(g.Channels)), make([]acquisition.Quality, len(g.Channels))
	d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
	var e lineprotocol.Encoder
	e.SetPrecision(lineprotocol.Nanosecond)
	e.StartLine(g.Measurement)
	tags := map[string]string{"group": g.Name, "rig": g.Rig, "site": g.Site}
	for k, v := range g.Tags {
		if _, ours := tags[k]; !ours {
			tags[k] = v
		}
	}
	var keys []string
	for k, v := range tags {
		if v != "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		e.AddTag(k, tags[k])
	}
	for c := range g.Channels {
		name := g.Channels[c].Name
		if quality[c].Class() != acquisition.ClassBad {
			v, ok := lineprotocol.FloatValue(values[c])
			if !ok {
				tb.Fatalf("value %v of quality %v", values[c], quality[c])
			}
			e.AddField(name, v)
		}
		if quality[c] != acquisition.Good {
			v, _ := lineprotocol.StringValue(quality[c].String())
			e.AddField(name+"__q", v)
		}
	}
	e.EndLine(time.Unix(0, b.Times[i]))
	if err := e.Err(); err != nil {
		tb.Fatal(err)
	}
	return string(e.Bytes())
}

func numbers(names []string, values []float64, quality []acquisition.Quality) *acquisition.Block {
	g := &acquisition.Group{Rig: "rig 1", Site: "宁波,a=b", Name: "fast", Version: 1, Measurement: "pneu matics,x=y", Numbers: len(names), Period: time.Millisecond}
	for i, n := range names {
		g.Channels = append(g.Channels, acquisition.Channel{ID: n, Name: n, Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers, At: i}})
	}
	return &acquisition.Block{Group: g, Seq: 1, Slots: []uint64{7}, Times: []int64{1_700_000_000_000_000_123}, Numbers: values, Quality: quality}
}

func encode(tb testing.TB, b *acquisition.Block) string {
	tb.Helper()
	e, err := influx.NewEncoder(b.Group, nil)
	if err != nil {
		tb.Fatal(err)
	}
	var out []byte
	var s influx.Scratch
	for i := range b.Len() {
		out = e.AppendScan(out, b, i, &s)
	}
	for i := range b.Gaps {
		out = e.AppendGap(out, b, i)
	}
	return string(out)
}

func TestScanLines(t *testing.T) {
	bad, dubious := acquisition.Quality(acquisition.ReasonTimeout), acquisition.Quality(acquisition.ReasonStuck)
	for _, c := range []struct {
		name    string
		values  []float64
		quality []acquisition.Quality
		want    string
	}{
		{"good", []float64{101.325, 20}, nil, "p\\ 1=101.325,q\\,2=20"},
		{"one bad: no value, its reason", []float64{1, 2}, []acquisition.Quality{bad, 0}, `p\ 1__q="timeout",q\,2=2`},
		{"uncertain: value and reason", []float64{1, 2}, []acquisition.Quality{0, dubious}, `p\ 1=1,q\,2=2,q\,2__q="stuck"`},
		{"all bad: a line of reasons", []float64{1, 2}, []acquisition.Quality{bad, bad}, `p\ 1__q="timeout",q\,2__q="timeout"`},
		{"not a number", []float64{math.NaN(), 2}, nil, `p\ 1__q="nan",q\,2=2`},
		{"infinities", []float64{math.Inf(1), math.Inf(-1)}, nil, `p\ 1__q="over_range",q\,2__q="under_range"`},
		{"uncertain and not a number", []float64{math.NaN(), 2}, []acquisition.Quality{dubious, 0}, `p\ 1__q="nan",q\,2=2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := numbers([]string{"p 1", "q,2"}, c.values, c.quality)
			got := encode(t, b)
			want := `pneu\ matics\,x=y,group=fast,rig=rig\ 1,site=宁波\,a\=b ` + c.want + " 1700000000000000123\n"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if want := oracle(t, b, 0); got != want {
				t.Errorf("got %q, the encoder of InfluxData writes %q", got, want)
			}
		})
	}
}

func TestRegisterLinesLikeOracle(t *testing.T) {
	for _, b := range acqtest.Blocks("flow", 3, 200) {
		var want strings.Builder
		for i := range b.Len() {
			want.WriteString(oracle(t, b, i))
		}
		if got := encode(t, b); got != want.String() {
			t.Fatal(cmp.Diff(want.String(), got))
		}
	}
}

func TestGapLines(t *testing.T) {
	b := acqtest.Blocks("flow", 1, 3)[0]
	g := b.Group
	b.Gaps = []acquisition.Gap{{From: 100, To: 103, Reason: acquisition.ReasonTimeout}, {From: 100, To: 101, Reason: acquisition.ReasonOverrun}}
	due := g.Due(0, 100)
	got := strings.Split(encode(t, b), "\n")[3:5]
	want := []string{
		fmt.Sprintf(`pneudaq_gap,group=flow,rig=rig,site=site count=3i,end=%di,from_slot=100i,reason="timeout",start=%di,to_slot=103i %d`, due+3*int64(g.Period), due, due),
		fmt.Sprintf(`pneudaq_gap,group=flow,rig=rig,site=site count=1i,end=%di,from_slot=100i,reason="overrun",start=%di,to_slot=101i %d`, due+int64(g.Period), due, due+1),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGapOfNumberedSamplesStandsBesideThem(t *testing.T) {
	b := numbers([]string{"p"}, []float64{1}, nil)
	b.Group.Completeness = acquisition.BySequence
	b.Gaps = []acquisition.Gap{{From: 8, To: 10, Reason: acquisition.ReasonSeqGap}}
	want := fmt.Sprintf("start=%di,to_slot=10i %[1]d\n", b.Times[0]+int64(time.Millisecond))
	if got := encode(t, b); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want the end %q", got, want)
	}
	b = &acquisition.Block{Group: b.Group, Seq: 2, Epoch: 5_000_000_000, Gaps: b.Gaps}
	want = fmt.Sprintf("start=%di,to_slot=10i %[1]d\n", 5_000_000_000+8*int64(time.Millisecond))
	if got := encode(t, b); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want the end %q", got, want)
	}
}

// lines reads line protocol with the decoder of InfluxData.
func lines(tb testing.TB, text []byte) []string {
	tb.Helper()
	var out []string
	d := lineprotocol.NewDecoderWithBytes(text)
	for d.Next() {
		m, err := d.Measurement()
		if err != nil {
			tb.Fatalf("%v in %q", err, text)
		}
		line := fmt.Sprintf("%q", m)
		for {
			k, v, err := d.NextTag()
			if err != nil {
				tb.Fatalf("%v in %q", err, text)
			}
			if k == nil {
				break
			}
			line += fmt.Sprintf(" %q=%q", k, v)
		}
		for {
			k, v, err := d.NextField()
			if err != nil {
				tb.Fatalf("%v in %q", err, text)
			}
			if k == nil {
				break
			}
			line += fmt.Sprintf(" %q:%v", k, v.Interface())
		}
		at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
		if err != nil {
			tb.Fatalf("%v in %q", err, text)
		}
		out = append(out, line+fmt.Sprintf(" @%d", at.UnixNano()))
	}
	return out
}

func TestRecordLines(t *testing.T) {
	got := influx.AppendEvent(nil, "ningbo", acquisition.Event{Time: 5, Rig: "hall 3", Code: "clock_step", Detail: "stepped by \"1 h\"\nback\\"})
	got = influx.AppendGateway(got, "", "", "gw-1", map[string]float64{"load": 0.25, "age": math.NaN()}, map[string]string{"version": "1.0"}, 6)
	got = influx.AppendGateway(got, "", "", "gw-1", map[string]float64{"age": math.Inf(1)}, nil, 6)
	got = influx.AppendRun(got, "ningbo", acquisition.Recording{ID: "a b", Rig: "r", Start: 7, Stop: 9, End: "completed", Detail: map[string]string{"dut": "SY5120"}})
	want := []string{
		`"pneudaq_event" "code"="clock_step" "rig"="hall 3" "site"="ningbo" "detail":stepped by "1 h"` + "\nback\\ @5",
		`"pneudaq_gateway" "gateway"="gw-1" "load":0.25 "version":1.0 @6`,
		`"pneudaq_run" "rig"="r" "site"="ningbo" "stop":9 "detail_dut":SY5120 "end":completed "id":a b "note": "owner": @7`,
	}
	if diff := cmp.Diff(want, lines(t, got)); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(string(got), "\n"); n != 3 {
		t.Errorf("%d lines, want 3: a text may not break a line\n%s", n, got)
	}
}

func TestFloatsReadBackExactly(t *testing.T) {
	check := func(v float64) {
		t.Helper()
		text := encode(t, numbers([]string{"p"}, []float64{v}, nil))
		_, text, _ = strings.Cut(text, " p=")
		text, _, _ = strings.Cut(text, " ")
		if want := strconv.FormatFloat(v, 'g', -1, 64); text != want {
			t.Fatalf("%v is written %q, want %q", v, text, want)
		}
	}
	for _, v := range []float64{
		0, 1, -1, 0.1, 0.001, 0.0001, 0.0009, -0.001, 0.5, 999999, 1e6, 999999.999, 123456.789, 1e-300, 5e-324,
		math.MaxFloat64, -123.45, 100.01, 0.1 + 0.2, 1.0005, 9.999, 0.0123, 4.35, 8.07, 2.675,
	} {
		check(v)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		check(float64(r.IntN(2_000_000)-1_000_000) / 1000)
		check(float64(r.IntN(65536)) * 0.1)
		check(float64(float32(r.NormFloat64() * 100)))
		check((r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(30)-12)))
	}
}

func FuzzEncodeLikeOracle(f *testing.F) {
	f.Add("pneumatics", "p1", "rig", "tag", "value", 1.5, byte(0), int64(1))
	f.Add("a b,c=d", "x\\y", "r\\", "k=", "宁波", math.Inf(1), byte(35), int64(-1))
	f.Add("m", "a\nb", "r", "site", "", 1e-9, byte(200), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, measurement, name, rig, key, value string, v float64, q byte, at int64) {
		b := numbers([]string{name, "other"}, []float64{v, 3}, []acquisition.Quality{acquisition.Quality(q % 45), 0})
		b.Group.Measurement, b.Group.Rig, b.Group.Tags = measurement, rig, map[string]string{key: value}
		b.Times[0] = at
		got := encode(t, b)
		if strings.Count(got, "\n") != 1 {
			t.Fatalf("not one line: %q", got)
		}
		for _, s := range []string{measurement, name, rig, key, value} {
			if !writable(s) {
				if key != "" || value == "" {
					lines(t, []byte(got)) // what has no faithful form must still be a line of one point
				}
				return
			}
		}
		if want := oracle(t, b, 0); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

// writable reports whether line protocol has a form for a name.
func writable(s string) bool {
	return s != "" && utf8.ValidString(s) && s[len(s)-1] != '\\' && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func wide(channels, scans int, value func(i int) uint16, scale float64) *acquisition.Block {
	g := &acquisition.Group{Rig: "flow-bench", Site: "ningbo", Name: "steady", Version: 1, Measurement: "pneumatics", Words: channels, Exchanges: 1, Period: 10 * time.Millisecond}
	for i := range channels {
		g.Channels = append(g.Channels, acquisition.Channel{ID: fmt.Sprint(i), Name: fmt.Sprintf("p%03d", i), Decoding: acquisition.Decoding{At: i, Type: acquisition.TypeUint16, Scale: scale}})
	}
	b := &acquisition.Block{Group: g, Seq: 1}
	for s := range scans {
		b.Slots = append(b.Slots, uint64(s))
		b.Times = append(b.Times, 1_700_000_000_000_000_000+int64(s)*10_000_000)
		b.Exchanges = append(b.Exchanges, acquisition.Exchange{})
		for i := range channels {
			b.Words = append(b.Words, value(s*channels+i))
		}
	}
	return b
}

func TestEncodingAllocatesNothing(t *testing.T) {
	b := wide(125, 100, func(i int) uint16 { return uint16(i * 7919) }, 0.1)
	b.Gaps = []acquisition.Gap{{From: 1, To: 2, Reason: acquisition.ReasonTimeout}}
	e, err := influx.NewEncoder(b.Group, nil)
	if err != nil {
		t.Fatal(err)
	}
	var s influx.Scratch
	buf := make([]byte, 0, 1<<20)
	buf = e.AppendScan(buf, b, 0, &s)
	if n := testing.AllocsPerRun(10, func() {
		buf = buf[:0]
		for i := range b.Len() {
			buf = e.AppendScan(buf, b, i, &s)
		}
		buf = e.AppendGap(buf, b, 0)
	}); n != 0 {
		t.Errorf("%v allocations for 100 scans, want 0", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct {
		name  string
		value func(i int) uint16
		scale float64
	}{
		{"integers", func(i int) uint16 { return uint16(i * 7919) }, 0},
		{"scaled", func(i int) uint16 { return uint16(i * 7919) }, 0.1},
		{"irrational", func(i int) uint16 { return uint16(i * 7919) }, math.Pi / 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			block := wide(125, 100, c.value, c.scale)
			e, err := influx.NewEncoder(block.Group, nil)
			if err != nil {
				b.Fatal(err)
			}
			var s influx.Scratch
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = buf[:0]
				for i := range block.Len() {
					buf = e.AppendScan(buf, block, i, &s)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/12500, "ns/field")
			b.ReportMetric(float64(len(buf))/12500, "B/field")
		})
	}
}
