package mqtt_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
)

// rowsPayload renders n rows of k channels with a time, as a gateway would.
func rowsPayload(n, k int) []byte {
	var b strings.Builder
	b.WriteString("[")
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "[%d", arrival/1e6+int64(i)*10)
		for j := range k {
			fmt.Fprintf(&b, ",%.3f", 500+float64(i*k+j)*0.137)
		}
		b.WriteString("]")
	}
	b.WriteString("]")
	return []byte(b.String())
}

func rowsGroup(k int) mqtt.GroupOptions {
	var specs []string
	for j := range k {
		specs = append(specs, fmt.Sprintf("c%d=%d", j, j+1))
	}
	g := groupOf(mqtt.FormatRows, "rig/a", chans(specs...)...)
	g.Time = mqtt.Time{Field: "0", Unit: mqtt.UnitMilli}
	return g
}

func perValue(b *testing.B, values int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(values), "ns/value")
}

// BenchmarkDecodeJSONRows: the aim is 380 ns a value for everything that
// happens to a message; decoding has to be a small part of it.
func BenchmarkDecodeJSONRows(b *testing.B) {
	const n, k = 100, 10
	d, err := mqtt.NewDecoder(rowsGroup(k))
	if err != nil {
		b.Fatal(err)
	}
	p := rowsPayload(n, k)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if rows, _, err := d.Decode("rig/a", p); rows != n || err != nil {
			b.Fatal(rows, err)
		}
	}
	perValue(b, n*k)
}

// BenchmarkDecodeJSONRowsStandardLibrary is the yardstick.
func BenchmarkDecodeJSONRowsStandardLibrary(b *testing.B) {
	const n, k = 100, 10
	p := rowsPayload(n, k)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		var rows [][]float64
		if err := json.Unmarshal(p, &rows); err != nil || len(rows) != n {
			b.Fatal(err)
		}
	}
	perValue(b, n*k)
}

func BenchmarkDecodeJSONObject(b *testing.B) {
	d, err := mqtt.NewDecoder(groupOf(mqtt.FormatJSON, "rig/a", chans("a=a", "b=b", "c=d.c")...))
	if err != nil {
		b.Fatal(err)
	}
	p := []byte(`{"time":"2026-03-08T14:05:06Z","seq":12345,"a":512.375,"b":293.15,"d":{"c":-0.0125,"unit":"kPa"},"ok":true}`)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.Decode("rig/a", p); err != nil {
			b.Fatal(err)
		}
	}
	perValue(b, 3)
}

func BenchmarkDecodeBinaryBurst(b *testing.B) {
	g := groupOf(mqtt.FormatBinary, "rig/a", chans("p1", "p2")...)
	g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
	g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
	g.Sequence = mqtt.Sequence{Samples: 1000}
	d, err := mqtt.NewDecoder(g)
	if err != nil {
		b.Fatal(err)
	}
	values := make([]float64, 1000)
	p := burst(arrival, 100000, 1, values, values)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if rows, _, err := d.Decode("rig/a", p); rows != 1000 || err != nil {
			b.Fatal(rows, err)
		}
	}
	perValue(b, 2000)
}

// BenchmarkPlace is everything between the queue and the collector: hash,
// decode, order, slots, times, delivery.
func BenchmarkPlace(b *testing.B) {
	for _, tc := range []struct {
		name    string
		group   mqtt.GroupOptions
		payload func(i int) []byte
		values  int
	}{
		{"rows of 10 values", rowsGroup(10), func(i int) []byte {
			p := rowsPayload(100, 10)
			return []byte(strings.ReplaceAll(string(p), fmt.Sprint(arrival / 1e6)[:7], fmt.Sprint(arrival/1e6 + int64(i)*1e6)[:7]))
		}, 1000},
		{"one value a message", jsonGroup(nil), func(i int) []byte { return numbered(uint64(i), 512.375) }, 1},
		{"bursts of 1000", with(groupOf(mqtt.FormatBinary, "rig/a", chans("p")...), func(g *mqtt.GroupOptions) {
			g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
			g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
			g.Sequence = mqtt.Sequence{Samples: 1000}
		}), func(i int) []byte { return burst(arrival+int64(i)*100e6, 100000, uint32(i), make([]float64, 1000)) }, 1000},
	} {
		b.Run(tc.name, func(b *testing.B) {
			h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{tc.group}})
			if err != nil {
				b.Fatal(err)
			}
			const distinct = 1000
			payloads := make([][]byte, distinct)
			for i := range payloads {
				payloads[i] = tc.payload(i)
			}
			b.ReportAllocs()
			at, n := arrival, 0
			for b.Loop() {
				if n > 0 && n%distinct == 0 { // the device counts anew
					b.StopTimer()
					if h, err = mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{tc.group}}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				at += int64(time.Millisecond)
				if ds := h.Feed(mqtt.Fed{Topic: "rig/a", Payload: payloads[n%distinct], Arrival: at, ID: uint16(n + 1)}); len(ds) == 0 {
					b.Fatal("nothing was delivered")
				}
				n++
			}
			perValue(b, tc.values)
		})
	}
}

// Decoding a payload of numbers allocates nothing.
//
//nolint:paralleltest // it counts allocations
func TestDecodingAllocatesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		group   mqtt.GroupOptions
		payload []byte
	}{
		{"rows", rowsGroup(10), rowsPayload(100, 10)},
		{"object", groupOf(mqtt.FormatJSON, "a", chans("a=a", "b=b.c")...), []byte(`{"a":1.5,"b":{"c":-3e-2},"n":"a\nb"}`)},
		{"name-value", groupOf(mqtt.FormatNameValue, "a", chans("a=a", "b=b")...), []byte(`[{"name":"a","value":1},{"name":"b","value":2}]`)},
		{"line protocol", groupOf(mqtt.FormatLine, "a", chans("a=a", "b=b")...), []byte("m,t=x a=1,b=2i 1700000000000000000\n")},
		{"CSV", groupOf(mqtt.FormatCSV, "a", chans("a=0", "b=1")...), []byte("1.5,2\n2.5,3\n")},
	} {
		d, err := mqtt.NewDecoder(tc.group)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, _, err := d.Decode("a", tc.payload); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%s: %.0f allocations for one payload", tc.name, n)
		}
	}
}
