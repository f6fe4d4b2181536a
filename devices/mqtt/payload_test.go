package mqtt_test

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
)

// arrival is when the payloads of these tests arrive: 2026-03-08 06:05:07 UTC.
const arrival = int64(1772949907e9)

func chans(specs ...string) []mqtt.ChannelOptions {
	var all []mqtt.ChannelOptions
	for _, s := range specs {
		name, field, _ := strings.Cut(s, "=")
		all = append(all, mqtt.ChannelOptions{Channel: acquisition.Channel{ID: name, Name: name}, Field: field})
	}
	return all
}

func groupOf(format mqtt.Format, topic string, channels ...mqtt.ChannelOptions) mqtt.GroupOptions {
	return mqtt.GroupOptions{
		Group:    acquisition.Group{Rig: "bench", Name: "g", Measurement: "pneumatics"},
		Topics:   []string{topic},
		Payload:  mqtt.Payload{Format: format},
		Channels: channels,
		MaxAge:   20 * 365 * 24 * time.Hour,
		Skew:     20 * 365 * 24 * time.Hour,
	}
}

func with(g mqtt.GroupOptions, change func(*mqtt.GroupOptions)) mqtt.GroupOptions {
	change(&g)
	return g
}

// burst renders the twin's binary layout: t0 ns, dt ns, number, channels,
// samples, then interleaved samples, little endian.
func burst(t0 int64, dt, seq uint32, values ...[]float64) []byte {
	le := binary.LittleEndian
	p := le.AppendUint64(nil, uint64(t0))
	p = le.AppendUint32(p, dt)
	p = le.AppendUint32(p, seq)
	p = le.AppendUint16(p, uint16(len(values)))
	p = le.AppendUint16(p, uint16(len(values[0])))
	for i := range values[0] {
		for j := range values {
			p = le.AppendUint32(p, math.Float32bits(float32(values[j][i])))
		}
	}
	return p
}

func twinLayout(sample acquisition.Type) mqtt.Layout {
	return mqtt.Layout{
		LittleEndian: true, Header: 20, T0: mqtt.Item{At: 0, Size: 8}, Dt: mqtt.Item{At: 8, Size: 4}, Seq: mqtt.Item{At: 12, Size: 4},
		Width: mqtt.Item{At: 16, Size: 2}, Count: mqtt.Item{At: 18, Size: 2}, Sample: sample,
	}
}

func sparkplug(stamp uint64, metrics ...[]byte) []byte {
	p := protowire.AppendTag(nil, 1, protowire.VarintType)
	p = protowire.AppendVarint(p, stamp)
	for _, m := range metrics {
		p = protowire.AppendTag(p, 2, protowire.BytesType)
		p = protowire.AppendBytes(p, m)
	}
	p = protowire.AppendTag(p, 3, protowire.VarintType)
	return protowire.AppendVarint(p, 42)
}

func metric(name string, alias uint64, kind uint64, set func(p []byte) []byte) []byte {
	var p []byte
	if name != "" {
		p = protowire.AppendString(protowire.AppendTag(p, 1, protowire.BytesType), name)
	}
	if alias > 0 {
		p = protowire.AppendVarint(protowire.AppendTag(p, 2, protowire.VarintType), alias)
	}
	p = protowire.AppendVarint(protowire.AppendTag(p, 4, protowire.VarintType), kind)
	return set(p)
}

func sparkFloat(v float32) func([]byte) []byte {
	return func(p []byte) []byte {
		return protowire.AppendFixed32(protowire.AppendTag(p, 12, protowire.Fixed32Type), math.Float32bits(v))
	}
}

func sparkInt(v uint64) func([]byte) []byte {
	return func(p []byte) []byte {
		return protowire.AppendVarint(protowire.AppendTag(p, 10, protowire.VarintType), v)
	}
}

func sparkHistorical(set func([]byte) []byte) func([]byte) []byte {
	return func(p []byte) []byte {
		return set(protowire.AppendVarint(protowire.AppendTag(p, 5, protowire.VarintType), 1))
	}
}

// row is what a scan should hold.
type row struct {
	slot    uint64
	time    int64 // 0: the arrival
	values  []float64
	quality []acquisition.Reason // nil: all good
}

func rowsOf(ds []*acquisition.Delivery) []row {
	var all []row
	for _, d := range ds {
		for _, s := range d.Scans {
			r := row{slot: s.Slot, time: s.Time, values: append([]float64(nil), s.Numbers...)}
			bad := false
			for _, q := range s.Quality {
				r.quality = append(r.quality, q.Reason())
				bad = bad || q != acquisition.Good
			}
			if !bad {
				r.quality = nil
			}
			for i, q := range s.Quality {
				if q.Class() == acquisition.ClassBad {
					r.values[i] = 0 // whatever it holds means nothing
				}
			}
			all = append(all, r)
		}
	}
	return all
}

var unequalNaN = cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })

// TestPayloadShapes reads what real devices publish.
func TestPayloadShapes(t *testing.T) {
	t.Parallel()
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Skip("no time zone database on this machine: ", err)
	}
	const noData, decode = acquisition.ReasonNoData, acquisition.ReasonDecode
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	for _, tc := range []struct {
		name    string
		group   mqtt.GroupOptions
		topic   string
		payload string
		want    []row
		bad     string // part of the reason for the quarantine
	}{
		{
			name: "bare number", group: groupOf(mqtt.FormatNumber, "rig/p1", chans("p1")...), topic: "rig/p1", payload: "512.3",
			want: []row{{values: []float64{512.3}}},
		},
		{
			name: "bare number with its unit, as a display sends it", group: groupOf(mqtt.FormatNumber, "rig/p1", chans("p1")...), topic: "rig/p1",
			payload: " -12.50 kPa\r\n", want: []row{{values: []float64{-12.5}}},
		},
		{
			name: "bare number with a decimal comma", group: with(groupOf(mqtt.FormatNumber, "rig/p1", chans("p1")...), func(g *mqtt.GroupOptions) { g.Payload.DecimalComma = true }),
			topic: "rig/p1", payload: "1,25e2", want: []row{{values: []float64{125}}},
		},
		{
			name: "switch state in words", group: with(groupOf(mqtt.FormatNumber, "stat/+/POWER", chans("on")...), func(g *mqtt.GroupOptions) {
				g.Channels[0].Texts = map[string]float64{"ON": 1, "OFF": 0}
			}), topic: "stat/valve/POWER", payload: "ON", want: []row{{values: []float64{1}}},
		},
		{
			name: "Tasmota SENSOR, local time without offset",
			group: with(groupOf(mqtt.FormatJSON, "tele/{device}/SENSOR", chans("T=BME280.Temperature", "rh=BME280.Humidity", "p=BME280.Pressure")...), func(g *mqtt.GroupOptions) {
				g.Device = "lab"
				g.Time = mqtt.Time{Field: "Time", Unit: mqtt.UnitText, Layout: "2006-01-02T15:04:05", Zone: shanghai}
			}),
			topic:   "tele/lab/SENSOR",
			payload: `{"Time":"2026-03-08T14:05:06","BME280":{"Temperature":23.4,"Humidity":41.7,"DewPoint":9.6,"Pressure":1012.8},"PressureUnit":"hPa","TempUnit":"C"}`,
			want:    []row{{time: at("2026-03-08T06:05:06Z"), values: []float64{23.4, 41.7, 1012.8}}},
		},
		{
			name:    "Shelly Gen2 status with nested energy",
			group:   with(groupOf(mqtt.FormatJSON, "shellies/+/status/switch:0", chans("P=apower", "T=temperature.tC", "on=output")...), func(g *mqtt.GroupOptions) { g.Time = mqtt.Time{Field: "aenergy.minute_ts", Unit: mqtt.UnitSeconds} }),
			topic:   "shellies/pump/status/switch:0",
			payload: `{"id":0, "source":"init", "output":true, "apower":748.5, "voltage":229.9, "aenergy":{"total":11.679,"by_minute":[0.000,0.000,0.000],"minute_ts":1772949900},"temperature":{"tC":53.3, "tF":128.0}}`,
			want:    []row{{time: 1772949900e9, values: []float64{748.5, 53.3, 1}}},
		},
		{
			name:  "Zigbee2MQTT, a field is left out and one is null",
			group: groupOf(mqtt.FormatJSON, "zigbee2mqtt/室内 传感器", chans("T=temperature", "rh=humidity", "bat=battery")...), topic: "zigbee2mqtt/室内 传感器",
			payload: `{"battery":null,"linkquality":120,"temperature":21.93,"update":{"state":"idle"}}`,
			want:    []row{{values: []float64{21.93, 0, 0}, quality: []acquisition.Reason{0, noData, noData}}},
		},
		{
			name:  "IO-Link master, process data by port",
			group: groupOf(mqtt.FormatJSON, "iolink/v1/master/1/pdin", chans(`p=data.payload["/processdatamaster/port[1]/pdin"].data`, "dev=data.payload[\"/deviceinfo/serialnumber\"].data")...),
			topic: "iolink/v1/master/1/pdin",
			payload: `{"code":"event","cid":4711,"adr":"","data":{"eventno":"6317","srcurl":"000201701234/timer[1]/counter/datachanged",` +
				`"payload":{"/timer[1]/counter":{"code":200,"data":1},"/deviceinfo/serialnumber":{"code":200,"data":"000201701234"},"/processdatamaster/port[1]/pdin":{"code":200,"data":603}}}}`,
			want: []row{{values: []float64{603, 201701234}}},
		},
		{
			name: "name-value objects", group: with(groupOf(mqtt.FormatNameValue, "gw/data", chans("p1=p1", "p2=p2")...), func(g *mqtt.GroupOptions) {
				g.Time = mqtt.Time{Field: "time", Unit: mqtt.UnitMilli}
				g.Sequence.Field = "seq"
			}), topic: "gw/data",
			payload: `[{"value":512.3,"name":"p1","unit":"kPa_a","time":1772949906500,"seq":7},{"name":"T9","value":{"x":[1]}},{"name":"p2","value":"101.2","time":1772949906500,"seq":7}]`,
			want:    []row{{slot: 7, time: 1772949906500e6, values: []float64{512.3, 101.2}}},
		},
		{
			name: "name-value below a root with other keys (SenML style)", group: with(groupOf(mqtt.FormatNameValue, "gw/data", chans("p1=p1", "p2=p2")...), func(g *mqtt.GroupOptions) {
				g.Payload.Root, g.Payload.NameKey, g.Payload.ValueKey = "d.readings", "n", "v"
				g.Time = mqtt.Time{Field: "$.d.ts", Unit: mqtt.UnitRFC3339}
			}), topic: "gw/data", payload: `{"d":{"readings":[{"n":"p1","v":1},{"n":"p2","v":2}],"ts":"2026-03-08T14:05:06.5+08:00"}}`,
			want: []row{{time: at("2026-03-08T06:05:06.5Z"), values: []float64{1, 2}}},
		},
		{
			name: "arrays {t0, dt, values}", group: with(groupOf(mqtt.FormatArrays, "rig/burst", chans("p=values")...), func(g *mqtt.GroupOptions) {
				g.Time = mqtt.Time{Field: "t0", Unit: mqtt.UnitMicro, Step: "dt", StepUnit: mqtt.UnitMicro}
				g.Sequence = mqtt.Sequence{Field: "seq", Samples: 4}
			}), topic: "rig/burst", payload: `{"t0":1772949906000001,"dt":100.5,"seq":3,"values":[1,2.5,null,-4e-1]}`,
			want: []row{
				{slot: 12, time: 1772949906000001e3, values: []float64{1}},
				{slot: 13, time: 1772949906000001e3 + 100500, values: []float64{2.5}},
				{slot: 14, time: 1772949906000001e3 + 201000, values: []float64{0}, quality: []acquisition.Reason{noData}},
				{slot: 15, time: 1772949906000001e3 + 301500, values: []float64{-0.4}},
			},
		},
		{
			name: "arrays of rows", group: with(groupOf(mqtt.FormatArrays, "rig/burst", chans("p=samples[*][0]", "q=samples[*][1]")...), func(g *mqtt.GroupOptions) {
				g.Group.Period = time.Millisecond
				g.Time = mqtt.Time{Field: "start", Unit: mqtt.UnitRFC3339}
			}), topic: "rig/burst", payload: `{"start":"2026-03-08T06:05:06Z","samples":[[1,10],[2,20]]}`,
			want: []row{{slot: 0, time: at("2026-03-08T06:05:06Z"), values: []float64{1, 10}}, {slot: 1, time: at("2026-03-08T06:05:06.001Z"), values: []float64{2, 20}}},
		},
		{
			name: "rows [[t, p1, T1], ...]", group: with(groupOf(mqtt.FormatRows, "rig/rows", chans("p1=1", "T1=2")...), func(g *mqtt.GroupOptions) {
				g.Time = mqtt.Time{Field: "0", Unit: mqtt.UnitMilli}
			}), topic: "rig/rows", payload: "[[1772949906000,512.3,293.1],\n [1772949906100,512.4,293.2]]",
			want: []row{{slot: 0, time: 1772949906000e6, values: []float64{512.3, 293.1}}, {slot: 1, time: 1772949906100e6, values: []float64{512.4, 293.2}}},
		},
		{
			name: "rows of objects, each with the number of the message", group: with(groupOf(mqtt.FormatRows, "rig/rows", chans("p1=p1", "T1=T1")...), func(g *mqtt.GroupOptions) {
				g.Time = mqtt.Time{Field: "time", Unit: mqtt.UnitMilli}
				g.Sequence = mqtt.Sequence{Field: "seq", Samples: 2}
			}), topic: "rig/rows", payload: `[{"time":1772949906000,"seq":7,"p1":512.3,"T1":293.1},{"time":1772949906100,"seq":7,"p1":512.4,"T1":293.2}]`,
			want: []row{{slot: 14, time: 1772949906000e6, values: []float64{512.3, 293.1}}, {slot: 15, time: 1772949906100e6, values: []float64{512.4, 293.2}}},
		},
		{
			name: "line protocol with tags, text and integer", group: with(groupOf(mqtt.FormatLine, "telegraf/rig", chans("p1=rig.p1", "n=count", "on=open")...), func(g *mqtt.GroupOptions) {
				g.Sequence.Field = "seq"
			}), topic: "telegraf/rig",
			payload: "# comment\nrig,device=a\\ b,site=宁波 p1=512.3,count=12i,open=t,note=\"a, \\\"b\\\" c\",seq=7i 1772949906000000001\ncpu,host=x usage=3 1772949906000000001\n",
			want:    []row{{slot: 7, time: 1772949906000000001, values: []float64{512.3, 12, 1}}},
		},
		{
			name: "CSV with header, a column more and an empty cell", group: with(groupOf(mqtt.FormatCSV, "rig/csv", chans("T1=T1", "p1=p1")...), func(g *mqtt.GroupOptions) {
				g.Payload.Header = true
				g.Time = mqtt.Time{Field: "time", Unit: mqtt.UnitSeconds}
				g.Sequence = mqtt.Sequence{Field: "seq"}
			}), topic: "rig/csv", payload: "\xef\xbb\xbftime,seq,p1,note,T1\r\n1772949906.25,8,512.3,\"a, b\",293.1\r\n1772949906.50,9,,x,293.2\r\n",
			want: []row{
				{slot: 8, time: 1772949906250e6, values: []float64{293.1, 512.3}},
				{slot: 9, time: 1772949906500e6, values: []float64{293.2, 0}, quality: []acquisition.Reason{0, noData}},
			},
		},
		{
			name: "local-time text with decimal commas", group: with(groupOf(mqtt.FormatCSV, "rig/text", chans("p=1", "T=2")...), func(g *mqtt.GroupOptions) {
				g.Payload.Separator, g.Payload.DecimalComma = ';', true
				g.Time = mqtt.Time{Field: "0", Unit: mqtt.UnitText, Layout: "2006-01-02 15:04:05.000", Zone: shanghai}
			}), topic: "rig/text", payload: "2026-03-08 14:05:06.123;512,3;293,1",
			want: []row{{time: at("2026-03-08T06:05:06.123Z"), values: []float64{512.3, 293.1}}},
		},
		{
			name: "binary float32 burst", group: with(groupOf(mqtt.FormatBinary, "rig/fast", chans("p1", "p2")...), func(g *mqtt.GroupOptions) {
				g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
				g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
				g.Sequence = mqtt.Sequence{Samples: 3, Bits: 32}
			}), topic: "rig/fast", payload: string(burst(1772949906e9, 100000, 5, []float64{1, 2, 3}, []float64{0.5, 0.25, 0.125})),
			want: []row{
				{slot: 15, time: 1772949906e9, values: []float64{1, 0.5}},
				{slot: 16, time: 1772949906e9 + 100000, values: []float64{2, 0.25}},
				{slot: 17, time: 1772949906e9 + 200000, values: []float64{3, 0.125}},
			},
		},
		{
			name: "binary int16, big endian, planar, with magic and a sentinel", group: with(groupOf(mqtt.FormatBinary, "rig/fast", chans("p1", "p2")...), func(g *mqtt.GroupOptions) {
				g.Payload.Layout = mqtt.Layout{Header: 10, Magic: []byte("PX"), Seq: mqtt.Item{At: 2, Size: 2}, T0: mqtt.Item{At: 4, Size: 4}, Dt: mqtt.Item{At: 8, Size: 2}, Planar: true, Sample: acquisition.TypeInt16}
				g.Time = mqtt.Time{Unit: mqtt.UnitSeconds, StepUnit: mqtt.UnitMilli}
				g.Sequence = mqtt.Sequence{Samples: 2, Bits: 16}
				for i := range g.Channels {
					g.Channels[i].Decoding.Sentinels = []acquisition.Sentinel{{Raw: 0x8000, Reason: noData}}
				}
			}), topic: "rig/fast", payload: "PX\x00\x01" + "\x69\xad\x11\x12" + "\x00\x0a" + "\x00\x01\xff\xfe" + "\x80\x00\x00\x04",
			want: []row{
				{slot: 2, time: 1772949778e9, values: []float64{1, 0}, quality: []acquisition.Reason{0, noData}},
				{slot: 3, time: 1772949778e9 + 10e6, values: []float64{-2, 4}},
			},
		},
		{
			name:  "Sparkplug B birth with names",
			group: groupOf(mqtt.FormatSparkplug, "spBv1.0/plant/+/gw/rig1", chans("p=In/p1", "n=In/count")...), topic: "spBv1.0/plant/DBIRTH/gw/rig1",
			payload: string(sparkplug(1772949906000, metric("In/p1", 1, 9, sparkFloat(512.5)), metric("In/count", 2, 3, sparkInt(uint64(uint32(0xfffffffe)))))),
			want:    []row{{time: 1772949906000e6, values: []float64{512.5, -2}}},
		},
		{name: "malformed JSON", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: `{"p": 1,`, bad: "not valid JSON"},
		{name: "HTML", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: "<html>", bad: "not valid JSON at byte 0"},
		{name: "empty", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: "", bad: "ends where a value"},
		{name: "bad UTF-8 (GBK)", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: "{\"p\":1,\"n\":\"\xd1\xb9\xc1\xa6\"}", bad: "UTF-8"},
		{name: "duplicate key", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: `{"p":1,"p":2}`, bad: "twice"},
		{name: "deep", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: strings.Repeat("[", 10000), bad: "deeper"},
		{name: "wrong type", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: `{"p":{"x":1}}`, bad: "usable"},
		{name: "nothing wanted in it", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: `{"q":1}`, bad: "none of the group's fields"},
		{name: "leading zero", group: groupOf(mqtt.FormatJSON, "a", chans("p=p")...), topic: "a", payload: `{"p":007}`, bad: "begins with a 0"},
		{name: "arrays of different length", group: with(groupOf(mqtt.FormatArrays, "a", chans("p=p", "q=q")...), func(g *mqtt.GroupOptions) { g.Group.Period = 1 }), topic: "a", payload: `{"p":[1,2],"q":[1]}`, bad: "different length"},
		{name: "one of two usable", group: groupOf(mqtt.FormatJSON, "a", chans("p=p", "q=q")...), topic: "a", payload: `{"p":"n/a","q":2}`, want: []row{{values: []float64{0, 2}, quality: []acquisition.Reason{decode, 0}}}},
		{name: "NaN and Infinity as Python writes them", group: groupOf(mqtt.FormatJSON, "a", chans("p=p", "q=q", "r=r")...), topic: "a", payload: `{"p":NaN,"q":-Infinity,"r":1}`, want: []row{{values: []float64{math.NaN(), math.Inf(-1), 1}}}},
		{name: "no number", group: groupOf(mqtt.FormatNumber, "a", chans("p")...), topic: "a", payload: "12.5.3", bad: "not a number"},
		{name: "short burst", group: with(groupOf(mqtt.FormatBinary, "a", chans("p")...), func(g *mqtt.GroupOptions) {
			g.Payload.Layout = twinLayout(acquisition.TypeFloat32)
			g.Time = mqtt.Time{Unit: mqtt.UnitNano, StepUnit: mqtt.UnitNano}
			g.Sequence.Samples = 3
		}), topic: "a", payload: string(burst(1, 1, 1, []float64{1, 2, 3})[:27]), bad: "counts 3 samples"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			why := ""
			h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{tc.group}, Quarantine: func(_ string, _ []byte, w string) { why = w }})
			if err != nil {
				t.Fatal(err)
			}
			ds := h.Feed(mqtt.Fed{Topic: tc.topic, Payload: []byte(tc.payload), Arrival: arrival, ID: 1})
			if tc.bad != "" {
				if !strings.Contains(why, tc.bad) || len(rowsOf(ds)) > 0 {
					t.Fatalf("reason %q with %d deliveries, want one with %q and none (payload %s)", why, len(ds), tc.bad, hex.EncodeToString([]byte(tc.payload[:min(len(tc.payload), 40)])))
				}
				return
			}
			if why != "" {
				t.Fatalf("quarantined: %s", why)
			}
			for i := range tc.want {
				if tc.want[i].time == 0 {
					tc.want[i].time = arrival
				}
			}
			if diff := cmp.Diff(tc.want, rowsOf(ds), cmp.AllowUnexported(row{}), unequalNaN); diff != "" {
				t.Error(diff)
			}
			for _, d := range ds {
				for _, s := range d.Scans {
					if s.Arrival != arrival {
						t.Errorf("arrival %d was not kept", s.Arrival)
					}
				}
				if _, err := acquisition.NewDecoder(d.Group, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
