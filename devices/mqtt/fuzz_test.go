package mqtt_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
)

func fuzzed(f *testing.F, g mqtt.GroupOptions, seeds ...string) {
	f.Helper()
	d, err := mqtt.NewDecoder(g)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		rows, values, err := d.Decode("spBv1.0/a/DBIRTH/b/c", payload)
		if err == nil && rows*2 != values && rows != values {
			t.Errorf("%d rows with %d values", rows, values)
		}
		again, n, err2 := d.Decode("spBv1.0/a/DBIRTH/b/c", payload)
		if (err == nil) != (err2 == nil) || again != rows || n != values {
			t.Errorf("decoded twice: %d %d %v, then %d %d %v", rows, values, err, again, n, err2)
		}
	})
}

func FuzzNumber(f *testing.F) {
	fuzzed(f, groupOf(mqtt.FormatNumber, "a", chans("p")...), "512.3", " -1,5e3 kPa", "NaN", "ON")
}

// FuzzJSON also compares with the standard library: what this decoder accepts
// is JSON, up to the NaN and Infinity that devices write.
func FuzzJSON(f *testing.F) {
	d, err := mqtt.NewDecoder(groupOf(mqtt.FormatJSON, "a", chans("p=a.p", "q=b[1]")...))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{"a":{"p":1.5e-3},"b":[0,"2"]}`, `{"a":{"p":null},"x":"\u00e9\ud83d\ude00"}`, `{"a":{"p":NaN}}`, `[]`, `{"a":{"p":1}} x`, `{"\u0061":{"p":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, _, err := d.Decode("a", payload)
		if err == nil && !json.Valid(payload) {
			s := string(payload)
			if !containsAny(s, "NaN", "Infinity", "\xef\xbb\xbf") {
				t.Errorf("accepted %q", s)
			}
		}
	})
}

func containsAny(s string, words ...string) bool {
	for _, w := range words {
		for i := 0; i+len(w) <= len(s); i++ {
			if s[i:i+len(w)] == w {
				return true
			}
		}
	}
	return false
}

// FuzzJSONValid: what the standard library takes for a number is read as the
// same number.
func FuzzJSONValid(f *testing.F) {
	h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{groupOf(mqtt.FormatJSON, "a", chans("p=p")...)}})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"0", "-0.0", "123456789012345678901234567890", "1e400", "4.9e-324", "0.1", "2.2250738585072011e-308", "179769313486231580793728971405301e277", "9007199254740993"} {
		f.Add(s)
	}
	at := arrival
	f.Fuzz(func(t *testing.T, number string) {
		var v json.Number
		if json.Unmarshal([]byte(number), &v) != nil || number[0] == '"' || number[0] == 'n' {
			return
		}
		want, _ := strconv.ParseFloat(string(v), 64)
		at += 1e9
		got := rowsOf(h.Feed(mqtt.Fed{Topic: "a", Payload: []byte(`{"p":` + number + `}`), Arrival: at}))
		if len(got) != 1 || got[0].values[0] != want {
			t.Errorf("%s: %v, want %v", number, got, want)
		}
	})
}

func FuzzNameValue(f *testing.F) {
	g := groupOf(mqtt.FormatNameValue, "a", chans("p=p", "q=q")...)
	g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli}
	g.Sequence = mqtt.Sequence{Field: "n"}
	fuzzed(f, g, `[{"name":"p","value":1,"t":5,"n":1},{"value":2,"name":"q"},{"name":"p","value":3,"t":6,"n":2}]`, `{"name":"p","value":{}}`)
}

func FuzzArrays(f *testing.F) {
	g := groupOf(mqtt.FormatArrays, "a", chans("p=p", "q=r[*][1]")...)
	g.Time = mqtt.Time{Field: "t0", Unit: mqtt.UnitMicro, Step: "dt", StepUnit: mqtt.UnitMicro}
	g.Sequence = mqtt.Sequence{Field: "seq", CountsSamples: true}
	fuzzed(f, g, `{"t0":1,"dt":2,"seq":3,"p":[1,2,null],"r":[[1,2],[3,4],[5,6]]}`, `{"p":[[1]],"r":{}}`)
}

func FuzzRows(f *testing.F) {
	g := groupOf(mqtt.FormatRows, "a", chans("p=1", "q=2")...)
	g.Time = mqtt.Time{Field: "0", Unit: mqtt.UnitSeconds}
	fuzzed(f, g, `[[1.5,2,3],[2.5,4,5]]`, `[{"a":1}]`, `[[],[]]`)
}

func FuzzLine(f *testing.F) {
	g := groupOf(mqtt.FormatLine, "a", chans("p=m.p", "q=q")...)
	g.Sequence.Field = "n"
	fuzzed(f, g, "m,t=a\\ b p=1,q=2i,n=3i 1700000000000000000\nm p=t,n=4i 1700000000000000001\n", `m p="a,\"b" 5`, "m p=1,\\", "m\\")
}

func FuzzCSV(f *testing.F) {
	g := groupOf(mqtt.FormatCSV, "a", chans("p=p", "q=q")...)
	g.Payload.Header, g.Payload.Separator, g.Payload.DecimalComma = true, ';', true
	g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitText, Layout: "2006-01-02 15:04:05", Zone: time.UTC}
	fuzzed(f, g, "t;p;q\n2026-03-08 14:05:06;1,5;\"2\"\n", "p;p\n1;2", "\"", "p;q\n\"1\";\"2\"\"\"\r\n")
}

func FuzzBinary(f *testing.F) {
	g := groupOf(mqtt.FormatBinary, "a", chans("p", "q")...)
	g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
	g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
	g.Sequence = mqtt.Sequence{Samples: 3}
	fuzzed(f, g, string(burst(1, 2, 3, []float64{1, 2}, []float64{3, 4})), "")
}

func FuzzBinaryPlanar(f *testing.F) {
	g := groupOf(mqtt.FormatBinary, "a", chans("p", "q")...)
	g.Payload.Layout = mqtt.Layout{Header: 12, Seq: mqtt.Item{At: 0, Size: 2}, T0: mqtt.Item{At: 4, Size: 8, Float: true}, Planar: true, Sample: acquisition.TypeInt16}
	g.Time = mqtt.Time{Unit: mqtt.UnitSeconds}
	g.Group.Period = time.Millisecond
	g.Sequence = mqtt.Sequence{CountsSamples: true, Bits: 16}
	fuzzed(f, g, "\x00\x01\x00\x00\x41\xd9\x6a\x6b\x9f\x80\x00\x00\x00\x01\x00\x02\x00\x03\x00\x04")
}

func FuzzSparkplug(f *testing.F) {
	fuzzed(f, groupOf(mqtt.FormatSparkplug, "spBv1.0/a/+/b/c", chans("p=p", "q=q")...),
		string(sparkplug(1700000000000, metric("p", 1, 9, sparkFloat(1.5)), metric("q", 2, 3, sparkInt(7)))), "\x12\x00", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
}

// FuzzTrack: whatever numbers come in whatever order, the deliveries' slots
// increase, are never given twice in an epoch, and times increase.
func FuzzTrack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 5, 4, 4, 9, 200, 1})
	f.Add([]byte{0, 0, 0, 255, 254, 1})
	f.Fuzz(func(t *testing.T, moves []byte) {
		for _, timed := range []bool{false, true} {
			h, r := harness(t, jsonGroup(func(g *mqtt.GroupOptions) {
				g.Sequence.Bits = 8
				if timed {
					g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitMilli}
				}
			})), newRecord(t)
			h.Reconnect(false, arrival)
			at := arrival
			for i, m := range moves {
				at += int64(m%7) * 30e6
				p := numbered(uint64(m), float64(i%3))
				if timed {
					p = []byte(`{"seq":` + strconv.Itoa(int(m)) + `,"t":` + strconv.FormatInt((at+int64(m%11)*1e9)/1e6, 10) + `,"v":1}`)
				}
				r.feed(h, at, uint16(i+1), p)
				if m%31 == 0 {
					h.Reconnect(m%2 == 0, at)
				}
			}
			r.take(h.Tick(at + 10*second))
			if n := h.Unacked(); n != 0 {
				t.Errorf("%d of %d messages are not acknowledged exactly once", n, len(moves))
			}
		}
	})
}
