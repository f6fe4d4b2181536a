package simulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"pneudaq/simulator"
)

// subscriber keeps what arrives.
type subscriber struct {
	mu   sync.Mutex
	got  []paho.Message
	more chan struct{}
}

// subscribe connects to a broker and keeps everything under a filter.
func subscribe(t *testing.T, url, filter string, qos byte, change func(o *paho.ClientOptions)) (*subscriber, paho.Client) { //nolint:ireturn // paho has no other
	t.Helper()
	s := &subscriber{more: make(chan struct{}, 1)}
	o := paho.NewClientOptions().AddBroker(url).SetClientID(t.Name()).SetConnectTimeout(3 * time.Second).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			s.mu.Lock()
			s.got = append(s.got, m)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
		})
	if change != nil {
		change(o)
	}
	c := paho.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(50) })
	if token := c.Subscribe(filter, qos, nil); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	return s, c
}

// wait returns at least n messages.
func (s *subscriber) wait(t *testing.T, n int) []paho.Message {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		all := s.got
		s.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-s.more:
		case <-timeout:
			t.Fatalf("%d messages, want %d", len(all), n)
		}
	}
}

// published runs a twin of flow-bench with one publisher and returns the first n messages.
func published(t *testing.T, o simulator.PublisherOptions, n int) (*simulator.Twin, []paho.Message) {
	t.Helper()
	broker, err := simulator.OpenBroker(simulator.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, broker.URL(), "#", 1, nil)
	o.Broker = broker.URL()
	twin := start(t, simulator.Options{Rig: "hall-1", Plant: "flow-bench", Seed: 3, Params: quiet(), Publishers: []simulator.PublisherOptions{o}})
	all := s.wait(t, n)
	t.Cleanup(func() {
		if broker.Dropped() != 0 {
			t.Errorf("the broker dropped %d messages", broker.Dropped())
		}
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return twin, all
}

// two are p1 in kPa and T1 in degC under a name of its own.
func two() []simulator.PublishedSignal {
	return []simulator.PublishedSignal{
		{Signal: "p_atm", Unit: "kPa_a", Scale: 0.01}, {Signal: "T1", Name: "temperature", Unit: "degC", Scale: 0.01, Offset: 20},
	}
}

// plausible says whether figures can be those of two().
func plausible(v ...float64) bool {
	return len(v) == 2 && v[0] > 95 && v[0] < 108 && v[1] > 10 && v[1] < 30
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPublishedPayloads(t *testing.T) {
	t.Parallel()
	decode := func(t *testing.T, b []byte, v any) {
		t.Helper()
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	recent := func(t *testing.T, at time.Time) {
		t.Helper()
		if d := time.Since(at); d < -time.Second || d > 30*time.Second {
			t.Errorf("time %s is %s ago", at, d)
		}
	}
	for _, c := range []struct {
		name  string
		o     simulator.PublisherOptions
		check func(t *testing.T, i int, m paho.Message)
	}{
		{"number", simulator.PublisherOptions{Payload: "number", Rate: 100, Topic: "{rig}/{signal}"}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			v := number(t, string(m.Payload()))
			if topic := []string{"hall-1/p_atm", "hall-1/T1"}[i%2]; m.Topic() != topic || !(i%2 == 0 && plausible(v, 20) || i%2 == 1 && plausible(100, v)) {
				t.Errorf("%s: %s", m.Topic(), m.Payload())
			}
		}},
		{"json", simulator.PublisherOptions{Payload: "json", Rate: 100, Topic: "t", QoS: 1}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			var v struct {
				Time        int64   `json:"time"`
				Seq         int     `json:"seq"`
				P           float64 `json:"p_atm"`
				Temperature float64 `json:"temperature"`
			}
			decode(t, m.Payload(), &v)
			recent(t, time.UnixMilli(v.Time))
			if v.Seq != i || !plausible(v.P, v.Temperature) {
				t.Errorf("%d: %s", i, m.Payload())
			}
		}},
		{"json rfc3339", simulator.PublisherOptions{Payload: "json", Rate: 100, Topic: "t", TimeUnit: "rfc3339", Zone: "Asia/Shanghai", NoSequence: true}, func(t *testing.T, _ int, m paho.Message) {
			t.Helper()
			var v map[string]any
			decode(t, m.Payload(), &v)
			text, _ := v["time"].(string)
			at, err := time.Parse(time.RFC3339, text)
			if err != nil || !strings.HasSuffix(text, "+08:00") || len(v) != 3 {
				t.Errorf("%s: %v", m.Payload(), err)
			}
			recent(t, at)
		}},
		{"name_value", simulator.PublisherOptions{Payload: "name_value", Rate: 100, Topic: "t", TimeUnit: "s"}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			var v []struct {
				Name, Unit  string
				Value, Time float64
				Seq         int
			}
			decode(t, m.Payload(), &v)
			if len(v) != 2 || v[0].Name != "p_atm" || v[0].Unit != "kPa_a" || v[1].Name != "temperature" || v[0].Seq != i || !plausible(v[0].Value, v[1].Value) {
				t.Errorf("%s", m.Payload())
			}
			recent(t, time.UnixMicro(int64(v[0].Time*1e6)))
		}},
		{"arrays", simulator.PublisherOptions{Payload: "arrays", Rate: 1000, Samples: 20, Topic: "t", TimeUnit: "us"}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			var v struct {
				T0          int64 `json:"t0"`
				Dt          float64
				Seq         int
				P           []float64 `json:"p_atm"`
				Temperature []float64 `json:"temperature"`
			}
			decode(t, m.Payload(), &v)
			recent(t, time.UnixMicro(v.T0))
			if v.Dt != 1000 || v.Seq != i || len(v.P) != 20 || len(v.Temperature) != 20 || !plausible(v.P[19], v.Temperature[0]) {
				t.Errorf("%s", m.Payload())
			}
		}},
		{"rows", simulator.PublisherOptions{Payload: "rows", Rate: 100, Samples: 2, Topic: "t"}, func(t *testing.T, _ int, m paho.Message) {
			t.Helper()
			var v [][]float64
			decode(t, m.Payload(), &v)
			if len(v) != 2 || v[1][0] != v[0][0]+10 || !plausible(v[1][1:]...) {
				t.Errorf("%s", m.Payload())
			}
		}},
		{"line_protocol", simulator.PublisherOptions{Payload: "line_protocol", Rate: 100, Topic: "t", Measurement: "bench,device=a"}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			part := strings.Fields(string(m.Payload()))
			fields := strings.Split(part[1], ",")
			if len(part) != 3 || part[0] != "bench,device=a" || fields[2] != "seq="+strconv.Itoa(i)+"i" ||
				!plausible(number(t, strings.TrimPrefix(fields[0], "p_atm=")), number(t, strings.TrimPrefix(fields[1], "temperature="))) {
				t.Errorf("%s", m.Payload())
			}
			recent(t, time.Unix(0, int64(number(t, part[2]))))
		}},
		{"csv", simulator.PublisherOptions{Payload: "csv", Rate: 100, Topic: "t", Header: true}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			lines := strings.Split(string(m.Payload()), "\n")
			part := strings.Split(lines[1], ",")
			if lines[0] != "time,seq,p_atm,temperature" || len(lines) != 3 || part[1] != strconv.Itoa(i) || !plausible(number(t, part[2]), number(t, part[3])) {
				t.Errorf("%q", m.Payload())
			}
		}},
		{"text", simulator.PublisherOptions{Payload: "text", Rate: 100, Topic: "t", Zone: "Asia/Shanghai"}, func(t *testing.T, _ int, m paho.Message) {
			t.Helper()
			part := strings.Split(strings.TrimSpace(string(m.Payload())), ";")
			at, err := time.ParseInLocation("2006-01-02 15:04:05.000", part[0], time.FixedZone("", 8*3600))
			if err != nil || len(part) != 3 || !plausible(number(t, part[1]), number(t, part[2])) {
				t.Errorf("%q: %v", m.Payload(), err)
			}
			recent(t, at)
		}},
		{"float32", simulator.PublisherOptions{Payload: "float32", Rate: 1000, Samples: 50, Topic: "t"}, func(t *testing.T, i int, m paho.Message) {
			t.Helper()
			b, le := m.Payload(), binary.LittleEndian
			if len(b) != 20+50*2*4 || le.Uint32(b[8:]) != 1e6 || le.Uint32(b[12:]) != uint32(i) || le.Uint16(b[16:]) != 2 || le.Uint16(b[18:]) != 50 {
				t.Fatalf("% X", b[:20])
			}
			recent(t, time.Unix(0, int64(le.Uint64(b))))
			for at := 20; at < len(b); at += 8 {
				if p, temperature := math.Float32frombits(le.Uint32(b[at:])), math.Float32frombits(le.Uint32(b[at+4:])); !plausible(float64(p), float64(temperature)) {
					t.Fatalf("%v, %v", p, temperature)
				}
			}
		}},
		{"int16", simulator.PublisherOptions{Payload: "int16", Rate: 1000, Samples: 50, Topic: "t", ClockOffset: -2 * time.Hour}, func(t *testing.T, _ int, m paho.Message) {
			t.Helper()
			b, le := m.Payload(), binary.LittleEndian
			if len(b) != 20+50*2*2 {
				t.Fatalf("%d bytes", len(b))
			}
			recent(t, time.Unix(0, int64(le.Uint64(b))).Add(2*time.Hour))
			if p, temperature := float64(int16(le.Uint16(b[20:])))*0.01, 20+float64(int16(le.Uint16(b[22:])))*0.01; !plausible(p, temperature) {
				t.Errorf("%v, %v", p, temperature)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.o.Signals = two()
			_, all := published(t, c.o, 6)
			for i, m := range all[:6] {
				if m.Retained() {
					t.Error("retained")
				}
				c.check(t, i, m)
			}
		})
	}
}

// TestF036F037F038MessageFaults publishes numbers that are lost, doubled, out of order and broken.
func TestF036F037F038MessageFaults(t *testing.T) {
	t.Parallel()
	twin, all := published(t, simulator.PublisherOptions{
		Payload: "csv", Rate: 500, Topic: "t", QoS: 1, Signals: two(),
		Faults: []simulator.Fault{
			{Kind: simulator.FaultMute, At: []uint64{3}},
			{Kind: simulator.FaultDuplicate, At: []uint64{4}},
			{Kind: simulator.FaultLate, At: []uint64{6}},
			{Kind: simulator.FaultGarbage, At: []uint64{10}},
		},
	}, 20)
	var order []string
	for _, m := range all[:20] {
		if _, rest, ok := strings.Cut(string(m.Payload()), ","); ok && !strings.HasPrefix(string(m.Payload()), "{") {
			seq, _, _ := strings.Cut(rest, ",")
			order = append(order, seq)
		} else {
			order = append(order, "broken")
		}
	}
	want := "0 1 3 3 4 6 5 7 8 broken 10 11 12 13 14 15 16 17 18 19"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("order %s\n want %s", got, want)
	}
	n, ok := twin.Published("t")
	if !ok || n.Faults[simulator.FaultMute] != 1 || n.Faults[simulator.FaultDuplicate] != 1 || n.Faults[simulator.FaultLate] != 1 || n.Faults[simulator.FaultGarbage] != 1 {
		t.Errorf("counts %+v", n)
	}
}

// TestBurstsAreSeamless lets the valve-stand publish 10 kHz bursts back to back, by the plant and by a stream of its own.
func TestBurstsAreSeamless(t *testing.T) {
	t.Parallel()
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "valve-stand", Seed: 1, Params: map[string]float64{"burst.continuous": 1},
		Buses: []simulator.BusOptions{{Name: "m", Kind: simulator.BusMQTT}},
		Publishers: []simulator.PublisherOptions{
			{Broker: "m", Topic: "{rig}/burst", Payload: "float32", Bursts: true, QoS: 1, Signals: []simulator.PublishedSignal{{Signal: "p2", Unit: "kPa_g"}, {Signal: "p4", Unit: "kPa_g"}}},
			{Broker: "m", Topic: "{rig}/{signal}/stream", Payload: "int16", Rate: 10000, Samples: 500, QoS: 1, Signals: []simulator.PublishedSignal{{Signal: "p1", Unit: "kPa_a", Scale: 0.1}, {Signal: "coil"}}},
		},
	})
	s, _ := subscribe(t, "mqtt://"+twin.Addr("m"), "#", 1, nil)
	type series struct {
		messages    int
		next, first uint64 // ns
		seq         uint32
	}
	all := map[string]*series{}
	done := func() bool {
		return len(all) == 3 && all["r/burst"].messages > 3 && all["r/p1/stream"].messages > 10 && all["r/coil/stream"].messages > 10
	}
	for n, read := 1, 0; !done(); n++ {
		for got := s.wait(t, n); read < len(got); read++ {
			b, le := got[read].Payload(), binary.LittleEndian
			t0, dt, seq, signals, samples := le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint16(b[16:]), le.Uint16(b[18:])
			k := all[got[read].Topic()]
			if k == nil {
				k = &series{seq: seq, next: t0, first: t0}
				all[got[read].Topic()] = k
			}
			if size := map[bool]int{true: 4, false: 2}[got[read].Topic() == "r/burst"]; dt != 100_000 || len(b) != 20+int(signals)*int(samples)*size {
				t.Fatalf("%s: dt %d ns, %d bytes for %d x %d", got[read].Topic(), dt, len(b), signals, samples)
			}
			if d := int64(t0 - k.next); seq != k.seq || d < -1000 || d > 1000 {
				t.Fatalf("%s: number %d at %d, want %d at %d", got[read].Topic(), seq, t0, k.seq, k.next)
			}
			k.messages, k.seq, k.next = k.messages+1, seq+1, t0+uint64(samples)*uint64(dt)
		}
	}
	for topic, k := range all {
		if d := time.Since(time.Unix(0, int64(k.next))); d < 0 || d > 10*time.Second {
			t.Errorf("%s: the newest sample is %s old", topic, d)
		}
	}
}

func TestTwinWithABrokerOfItsOwn(t *testing.T) {
	t.Parallel()
	ca, files := authority(t)
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "flow-bench",
		Buses: []simulator.BusOptions{{Name: "m", Kind: simulator.BusMQTT, TLS: files, Users: []simulator.BrokerUser{
			{Name: "rig", Password: "secret"}, {Name: "reader", Password: "other", Subscribe: []string{"r/+/now", "status"}},
		}}},
		Publishers: []simulator.PublisherOptions{{
			Broker: "m", CA: ca, Username: "rig", Password: "secret", Topic: "{rig}/p/now", Payload: "number", Rate: 50, QoS: 2, Retained: true,
			Presence: "status", Signals: []simulator.PublishedSignal{{Signal: "p1"}},
		}},
	})
	roots := x509.NewCertPool()
	b, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(b)
	url := "mqtts://" + twin.Addr("m")
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	s, c := subscribe(t, url, "r/+/now", 1, func(o *paho.ClientOptions) { o.SetTLSConfig(conf).SetUsername("reader").SetPassword("other") })
	for _, m := range s.wait(t, 5) {
		if v := number(t, string(m.Payload())); m.Topic() != "r/p/now" || v < 90e3 {
			t.Errorf("%s: %v", m.Topic(), v)
		}
	}
	if token := c.Subscribe("#", 1, nil); !token.WaitTimeout(5 * time.Second) {
		t.Error("no answer to a subscription beyond the ledger")
	} else if sub, ok := token.(*paho.SubscribeToken); !ok || sub.Result()["#"] != 0x80 {
		t.Errorf("subscription beyond the ledger: %v", sub.Result())
	}
	if token := c.Subscribe("status", 1, nil); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	before := len(s.wait(t, 5))
	online := false
	for _, m := range s.wait(t, before+10) {
		online = online || m.Topic() == "status" && string(m.Payload()) == "online" && m.Retained()
	}
	if !online {
		t.Error("the device does not say that it is there")
	}
	o := paho.NewClientOptions().AddBroker(url).SetTLSConfig(conf).SetClientID("x").SetUsername("rig").SetPassword("wrong").SetConnectRetry(false)
	if token := paho.NewClient(o).Connect(); !token.WaitTimeout(5*time.Second) || token.Error() == nil {
		t.Error("a wrong password was let in")
	}
	if err := twin.Break("unplug:m", true); err != nil {
		t.Fatal(err)
	}
	if err := twin.Break("unplug:m", false); err != nil {
		t.Fatal(err)
	}
	again, _ := subscribe(t, url, "r/+/now", 0, func(o *paho.ClientOptions) {
		o.SetTLSConfig(conf).SetUsername("reader").SetPassword("other").SetClientID("again")
	})
	again.wait(t, 3) // the publisher has found its broker again
}

func TestBrokerRetains(t *testing.T) {
	t.Parallel()
	broker, err := simulator.OpenBroker(simulator.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}()
	live, c := subscribe(t, broker.URL(), "a/#", 2, nil)
	for _, m := range []struct {
		topic, payload string
		qos            byte
	}{{"a/1", "old", 1}, {"a/1", "new", 1}, {"a/2", "gone", 1}, {"a/2", "", 1}, {"a/3/x", "deep", 2}, {"b", "other", 0}} {
		if token := c.Publish(m.topic, m.qos, true, m.payload); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	for _, m := range live.wait(t, 5) {
		if m.Retained() {
			t.Errorf("%s reached a standing subscription as retained", m.Topic())
		}
	}
	late, _ := subscribe(t, broker.URL(), "a/#", 1, func(o *paho.ClientOptions) { o.SetClientID("late") })
	got := map[string]string{}
	for _, m := range late.wait(t, 2) {
		if !m.Retained() || m.Qos() != 1 {
			t.Errorf("%s: retained %v, QoS %d", m.Topic(), m.Retained(), m.Qos())
		}
		got[m.Topic()] = string(m.Payload())
	}
	if got["a/1"] != "new" || got["a/3/x"] != "deep" || len(got) != 2 {
		t.Errorf("retained %v", got)
	}
	if token := c.Publish("a/1", 2, false, "live"); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	if m := late.wait(t, 3)[2]; m.Retained() || string(m.Payload()) != "live" {
		t.Errorf("%s %s: want the live message alone", m.Topic(), m.Payload())
	}
}

func TestBrokerCountsWhatItDrops(t *testing.T) {
	t.Parallel()
	broker, err := simulator.OpenBroker(simulator.BrokerOptions{Pending: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	block := make(chan struct{})
	o := paho.NewClientOptions().AddBroker(broker.URL()).SetClientID("slow").SetDefaultPublishHandler(func(paho.Client, paho.Message) { <-block })
	slow := paho.NewClient(o)
	if token := slow.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	if token := slow.Subscribe("#", 0, nil); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	_, fast := subscribe(t, broker.URL(), "none", 0, nil)
	payload := make([]byte, 64<<10)
	for range 1000 {
		fast.Publish("t", 0, false, payload)
	}
	for deadline := time.Now().Add(15 * time.Second); broker.Dropped() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("64 MB for a client that takes nothing, and no drop was counted")
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(block)
	slow.Disconnect(10)
}

func TestMosquittoClientsReadTheBroker(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("mosquitto_sub") //nolint:misspell // its name
	if err != nil {
		leaveOut(t, "mosquitto_sub is not installed: interoperation with its clients was not tested") //nolint:misspell // its name
	}
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "flow-bench", Buses: []simulator.BusOptions{{Name: "m", Kind: simulator.BusMQTT}},
		Publishers: []simulator.PublisherOptions{{
			Broker: "m", Topic: "a", Payload: "csv", Rate: 100, QoS: 2, Signals: []simulator.PublishedSignal{{Signal: "p1", Unit: "kPa_a"}},
		}},
	})
	host, port, _ := strings.Cut(twin.Addr("m"), ":")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-h", host, "-p", port, "-t", "a", "-q", "2", "-C", "5", "-V", "mqttv5").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(out))); n != 5 {
		t.Errorf("%d messages, want 5:\n%s", n, out)
	}
}
