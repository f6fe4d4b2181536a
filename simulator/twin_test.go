package simulator_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/simulator"
)

// quiet makes the sensors of flow-bench exact.
func quiet() map[string]float64 { return map[string]float64{"sensors.ideal": 1} }

// gauges is a unit that shows flow-bench in several dresses.
func gauges(id byte) simulator.UnitOptions {
	low, high := 0.0, 1000.0
	over := uint64(0x7FFF)
	return simulator.UnitOptions{
		ID: id, Objects: map[byte]string{0: "maker", 1: "gauges", 2: "1.0"},
		Registers: []simulator.Register{
			{Name: "p1", Table: simulator.Holdings, Address: 0, Type: "float32", Signal: "p1", Unit: "kPa_a"},
			{Name: "p1g", Table: simulator.Holdings, Address: 2, Type: "float32", Order: "CDAB", Signal: "p1", Unit: "bar_g"},
			{Name: "T1", Table: simulator.Holdings, Address: 4, Type: "int16", Scale: 0.01, Signal: "T1", Unit: "degC"},
			{Name: "supply", Table: simulator.Inputs, Address: 100, Type: "int16", Scale: 0.1, Signal: "p_supply", Unit: "kPa_a", Low: &low, High: &high, Over: &over},
			{Name: "p_set", Table: simulator.Holdings, Address: 10, Type: "float32", Order: "DCBA", Signal: "p_set", Unit: "kPa_a", Writable: true},
			{Name: "valve", Table: simulator.Coils, Address: 7, Type: "bool", Signal: "valve", Writable: true},
			{Name: "clock", Table: simulator.Holdings, Address: 20, Type: "uint64", Signal: "@clock", Unit: "ns"},
			{Name: "uptime", Table: simulator.Holdings, Address: 24, Type: "uint32", Scale: 0.001, Signal: "@uptime", Unit: "s"},
		},
	}
}

// start runs a twin until the test ends.
func start(t *testing.T, o simulator.Options) *simulator.Twin {
	t.Helper()
	twin, err := simulator.Open(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- twin.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return twin
}

// ask sends a request over TCP framing and returns the answer's PDU.
func ask(t *testing.T, c net.Conn, unit byte, pdu []byte) []byte {
	t.Helper()
	send(t, c, mbap(0x4711, unit, pdu))
	head := receive(t, c, 7)
	if head[0] != 0x47 || head[1] != 0x11 || head[6] != unit {
		t.Fatalf("header % X", head)
	}
	return receive(t, c, int(binary.BigEndian.Uint16(head[4:]))-1)
}

func TestTwinShowsThePlant(t *testing.T) {
	t.Parallel()
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "flow-bench", Seed: 3, Params: quiet(),
		Buses: []simulator.BusOptions{{Name: "a", Kind: simulator.BusTCP, Units: []simulator.UnitOptions{gauges(1)}}},
	})
	c := dial(t, twin.Addr("a"))
	// A regulator's setpoint, least byte first: 500 kPa is 43FA0000, so 0000 FA43.
	if got := ask(t, c, 1, unhex(t, "10 000A 0002 04 0000 FA43")); got[0] != 0x10 {
		t.Fatalf("write p_set: % X", got)
	}
	if got, want := ask(t, c, 1, unhex(t, "03 000A 0002")), unhex(t, "03 04 0000 FA43"); !cmp.Equal(got, want) {
		t.Errorf("read back % X, want % X", got, want)
	}
	if got := ask(t, c, 1, unhex(t, "05 0007 FF00")); got[0] != 5 {
		t.Fatalf("open valve: % X", got)
	}
	if v, err := twin.Value("p_set"); err != nil || v != 500e3 {
		t.Errorf("the plant was told %v, %v", v, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		truth := twin.Truth()
		got := ask(t, c, 1, unhex(t, "03 0000 0005"))
		p1 := float64(math.Float32frombits(binary.BigEndian.Uint32(got[2:]))) * 1e3
		swapped := []byte{got[8], got[9], got[6], got[7]}
		p1g := float64(math.Float32frombits(binary.BigEndian.Uint32(swapped))) * 1e5
		temperature := float64(int16(binary.BigEndian.Uint16(got[10:])))*0.01 + 273.15
		if truth["p1"] > 400e3 && math.Abs(p1-truth["p1"]) < 3000 && math.Abs(p1g+truth["p_atm"]-p1) < 2 && math.Abs(temperature-truth["T1"]) < 0.5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("registers say p1 %v Pa, gauge %v Pa, T1 %v K; truth %v, %v, %v", p1, p1g, temperature, truth["p1"], truth["p_atm"], truth["T1"])
		}
		time.Sleep(5 * time.Millisecond)
	}
	before := time.Now().UnixNano()
	clock := int64(binary.BigEndian.Uint64(ask(t, c, 1, unhex(t, "03 0014 0004"))[2:]))
	if after := time.Now().UnixNano(); clock < before || clock > after {
		t.Errorf("clock %d is not within %d to %d", clock, before, after)
	}
	if got := ask(t, c, 1, unhex(t, "06 0004 0001")); !cmp.Equal(got, []byte{0x86, 2}) {
		t.Errorf("write to a sensor: % X", got)
	}
	if got := ask(t, c, 1, unhex(t, "10 000A 0002 04 0000 C07F")); !cmp.Equal(got, []byte{0x90, 3}) {
		t.Errorf("write NaN: % X", got)
	}
	if got := ask(t, c, 1, unhex(t, "2B 0E 04 01")); string(got[len(got)-6:]) != "gauges" {
		t.Errorf("identification % X", got)
	}
}

func TestTwinFaults(t *testing.T) {
	t.Parallel()
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "flow-bench", Seed: 3,
		Buses: []simulator.BusOptions{{Name: "a", Kind: simulator.BusTCP, Units: []simulator.UnitOptions{gauges(1), gauges(2)}}},
	})
	address := twin.Addr("a")
	c := dial(t, address)
	breaks := func(fault string, on bool) {
		t.Helper()
		if err := twin.Break(fault, on); err != nil {
			t.Fatal(err)
		}
	}
	breaks("freeze:p1", true)
	first := ask(t, c, 1, unhex(t, "03 0000 0002"))
	for range 20 {
		time.Sleep(2 * time.Millisecond)
		if got := ask(t, c, 1, unhex(t, "03 0000 0002")); !cmp.Equal(got, first) {
			t.Fatalf("a frozen signal moved: % X, % X", got, first)
		}
	}
	breaks("freeze:p1", false)
	breaks("mute:a/1", true)
	send(t, c, mbap(1, 1, unhex(t, "03 0000 0002")))
	if got := ask(t, c, 2, unhex(t, "03 0000 0002")); got[0] != 3 {
		t.Errorf("the other unit: % X", got)
	}
	breaks("mute:a/1", false)
	ask(t, c, 1, unhex(t, "03 0000 0002"))
	breaks("unplug:a", true)
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes from an unplugged bus", n)
	}
	if other, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		_ = other.Close()
		t.Error("an unplugged bus takes connections")
	}
	breaks("unplug:a", false)
	c = redial(t, address)
	ask(t, c, 1, unhex(t, "03 0000 0002"))
	if err := twin.Server("a").SetFaults([]simulator.Fault{{Kind: simulator.FaultRestart, At: []uint64{1}, Delay: 50 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	send(t, c, mbap(1, 1, unhex(t, "03 0000 0002")))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes from a device that boots", n)
	}
	c = redial(t, address)
	if up := binary.BigEndian.Uint32(ask(t, c, 1, unhex(t, "03 0018 0002"))[2:]); up > 5000 {
		t.Errorf("up time %d ms after a restart", up)
	}
	if n := twin.Server("a").Counts(); n.Faults[simulator.FaultRestart] != 1 || n.Silent < 2 {
		t.Errorf("counts %+v", n)
	}
	for _, wrong := range []string{"unplug:b", "mute:a/9", "mute:a/x", "freeze:p9", "nonsense"} {
		if err := twin.Break(wrong, true); err == nil {
			t.Errorf("fault %q was accepted", wrong)
		}
	}
	if !strings.Contains(strings.Join(twin.Faults(), " "), "mute:a/2") {
		t.Errorf("faults %v", twin.Faults())
	}
}

func TestF026F028SwapAndImpostor(t *testing.T) {
	t.Parallel()
	twin := start(t, simulator.Options{Rig: "r", Buses: []simulator.BusOptions{{Name: "a", Kind: simulator.BusTCP, Units: []simulator.UnitOptions{{
		ID: 1, Objects: map[byte]string{0: "maker", 1: "X1", 2: "1.0"}, Registers: []simulator.Register{
			{Table: simulator.Holdings, Address: 0, Type: "float32", Value: new(-123.45)},
			{Table: simulator.Holdings, Address: 2, Type: "uint32", Value: new(70000.0), Identity: true},
			{Table: simulator.Holdings, Address: 4, Type: "string", Length: 2, Text: "S123", Identity: true},
		},
	}}}}})
	c := dial(t, twin.Addr("a"))
	check := func(fault string, on bool, registers, object string) {
		t.Helper()
		if fault != "" {
			if err := twin.Break(fault, on); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := ask(t, c, 1, unhex(t, "03 0000 0006")), unhex(t, "03 0C"+registers); !cmp.Equal(got, want) {
			t.Errorf("%s %v: % X, want % X", fault, on, got, want)
		}
		if got, want := ask(t, c, 1, unhex(t, "2B 0E 04 01")), unhex(t, "2B 0E 04 81 00 00 01 01 02"+object); !cmp.Equal(got, want) {
			t.Errorf("%s %v: % X, want % X", fault, on, got, want)
		}
	}
	check("", false, "C2F6 E666 0001 1170 53313233", "5831")
	check("swap:a/1", true, "E666 C2F6 1170 0001 53313233", "5831")
	check("swap:a/1", false, "C2F6 E666 0001 1170 53313233", "5831")
	check("impostor:a/1", true, "C2F6 E666 0001 1171 53313232", "5830")
	check("impostor:a/1", false, "C2F6 E666 0001 1170 53313233", "5831")
}

// redial waits until the port takes connections again.
func redial(t *testing.T, address string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestTwinInVirtualTime(t *testing.T) {
	t.Parallel()
	series := func() (words []uint16) {
		synctest.Test(t, func(t *testing.T) {
			twin, err := simulator.Open(t.Context(), simulator.Options{
				Rig: "r", Plant: "flow-bench", Seed: 5,
				Buses: []simulator.BusOptions{{Name: "a", Kind: simulator.BusTCP, Listen: "none", Units: []simulator.UnitOptions{gauges(1)}}},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- twin.Run(ctx) }()
			c, err := twin.Dial(ctx, "a")
			if err != nil {
				t.Fatal(err)
			}
			for range 30 {
				time.Sleep(100 * time.Millisecond)
				got := ask(t, c, 1, unhex(t, "03 0000 0005"))
				for i := 2; i < len(got); i += 2 {
					words = append(words, binary.BigEndian.Uint16(got[i:]))
				}
			}
			if now := twin.Truth()["t"]; now != 3 {
				t.Errorf("plant time %v s after 3 s", now)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if _, err := twin.Dial(t.Context(), "a"); err == nil {
				t.Error("a twin that has ended was dialled")
			}
		})
		return words
	}
	if a, b := series(), series(); !cmp.Equal(a, b) {
		t.Error("the same seed gave two series")
	}
}

func TestTwinOverRTU(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("pseudo terminals of the twin need Linux")
	}
	link := filepath.Join(t.TempDir(), "rig.tty")
	twin := start(t, simulator.Options{
		Rig: "r", Plant: "flow-bench", Seed: 3,
		Buses: []simulator.BusOptions{
			{Name: "stream", Kind: simulator.BusRTUOverTCP, Addresses: []byte{4, 9}},
			{Name: "line", Kind: simulator.BusRTU, Listen: "pty:" + link, Addresses: []byte{4}, Units: []simulator.UnitOptions{gauges(1)}},
		},
	})
	c := dial(t, twin.Addr("stream"))
	line, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	if path, err := filepath.EvalSymlinks(link); err != nil || path != twin.Addr("line") {
		t.Errorf("link leads to %s (%v), the line is %s", path, err, twin.Addr("line"))
	}
	for i := range uint16(200) {
		pdu := binary.BigEndian.AppendUint16([]byte{3}, i)
		pdu = append(pdu, 0, 5)
		want := []byte{3, 10}
		for a := range uint16(5) {
			want = binary.BigEndian.AppendUint16(want, 4<<10+i+a)
		}
		send(t, c, rtu(4, pdu))
		if got := receive(t, c, 15); !cmp.Equal(got, rtu(4, want)) {
			t.Fatalf("stream: % X", got)
		}
		send(t, line, rtu(4, pdu))
		if got := receive(t, line, 15); !cmp.Equal(got, rtu(4, want)) {
			t.Fatalf("line: % X", got)
		}
	}
	if err := line.Close(); err != nil {
		t.Fatal(err)
	}
	if line, err = os.OpenFile(link, os.O_RDWR, 0); err != nil { // clients come and go
		t.Fatal(err)
	}
	send(t, line, rtu(1, unhex(t, "03 0000 0002")))
	if got := receive(t, line, 9); got[1] != 3 {
		t.Errorf("second client: % X", got)
	}
}

// authority writes a certificate authority and a certificate for 127.0.0.1 and returns their files.
func authority(t *testing.T) (ca string, files simulator.TLSFiles) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ca = write("ca.pem", "CERTIFICATE", der)
	return ca, simulator.TLSFiles{Certificate: write("cert.pem", "CERTIFICATE", leafDER), Key: write("key.pem", "EC PRIVATE KEY", keyDER)}
}

func TestTwinOverTLS(t *testing.T) {
	t.Parallel()
	ca, files := authority(t)
	server := files
	server.ClientCA = ca
	twin := start(t, simulator.Options{
		Rig:   "r",
		Buses: []simulator.BusOptions{{Name: "a", Kind: simulator.BusTLS, TLS: server, Addresses: []byte{4}}},
	})
	roots := x509.NewCertPool()
	b, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(b)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(dial(t, twin.Addr("a")), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if got, want := ask(t, c, 4, unhex(t, "03 0003 0001")), unhex(t, "03 02 1003"); !cmp.Equal(got, want) {
		t.Errorf("% X, want % X", got, want)
	}
	stranger := tls.Client(dial(t, twin.Addr("a")), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	_, err = stranger.Write(mbap(1, 4, unhex(t, "03 0003 0001")))
	if err == nil {
		_, err = stranger.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a client without a certificate was answered")
	}
}

func TestTwinTruthFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "truth.jsonl")
	twin, err := simulator.Open(t.Context(), simulator.Options{Rig: "r", Plant: "flow-bench", Seed: 9, Truth: path, TruthPeriod: 10 * time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := twin.Run(ctx); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	var head struct {
		Plant     string             `json:"plant"`
		Seed      uint64             `json:"seed"`
		Simulated bool               `json:"simulated"`
		Params    map[string]float64 `json:"params"`
	}
	if err := json.Unmarshal(lines.Bytes(), &head); err != nil || head.Plant != "flow-bench" || head.Seed != 9 || !head.Simulated || head.Params["C"] == 0 {
		t.Fatalf("head %s, %v", lines.Text(), err)
	}
	n, last := 0, uint64(0)
	for lines.Scan() {
		var line struct {
			Time   int64              `json:"time"`
			Step   uint64             `json:"step"`
			Values map[string]float64 `json:"values"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if n > 0 && line.Step != last+10 {
			t.Fatalf("step %d after %d", line.Step, last)
		}
		if at := time.Unix(0, line.Time); at.Before(began) || at.After(time.Now()) || line.Values["p1"] < 50e3 {
			t.Fatalf("line %s", lines.Text())
		}
		n, last = n+1, line.Step
	}
	if n < 15 || n > 31 {
		t.Errorf("%d lines in 300 ms", n)
	}
}

func TestOpenRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	unit := func(r simulator.Register) simulator.Options {
		return simulator.Options{Plant: "flow-bench", Buses: []simulator.BusOptions{{
			Name: "a", Kind: simulator.BusTCP, Units: []simulator.UnitOptions{{ID: 1, Registers: []simulator.Register{
				r, {Name: "other", Table: simulator.Holdings, Address: 50, Type: "float32"},
			}}},
		}}}
	}
	for name, c := range map[string]struct {
		o    simulator.Options
		want string
	}{
		"plant":    {simulator.Options{Plant: "x"}, `plant "x" is unknown`},
		"bus kind": {simulator.Options{Buses: []simulator.BusOptions{{Name: "a", Kind: "can"}}}, `bus a: kind "can" is unknown`},
		"bus name": {simulator.Options{Buses: []simulator.BusOptions{{Kind: "tcp"}}}, `name "" is empty`},
		"no units": {simulator.Options{Buses: []simulator.BusOptions{{Name: "a", Kind: "tcp"}}}, "without units"},
		"signal":   {unit(simulator.Register{Name: "x", Table: simulator.Holdings, Type: "int16", Signal: "p9"}), `unit 1 x holding 0x0000: signal "p9" is unknown`},
		"unit":     {unit(simulator.Register{Table: simulator.Holdings, Type: "int16", Signal: "p1", Unit: "degC"}), "unit degC is made from K"},
		"type":     {unit(simulator.Register{Table: simulator.Holdings, Type: "int15"}), `type "int15" is unknown`},
		"order":    {unit(simulator.Register{Table: simulator.Holdings, Type: "int16", Order: "ACBD"}), `order "ACBD" is unknown`},
		"overlap":  {unit(simulator.Register{Name: "x", Table: simulator.Holdings, Address: 49, Type: "int32"}), "other holding 0x0032 overlaps x holding 0x0031"},
		"written":  {unit(simulator.Register{Table: simulator.Holdings, Type: "int16", Signal: "p1", Writable: true}), "signal p1 is measured"},
		"table":    {unit(simulator.Register{Table: "4x", Type: "int16"}), `table "4x" is unknown`},
		"publisher": {simulator.Options{Plant: "flow-bench", Publishers: []simulator.PublisherOptions{{
			Topic: "t", Payload: "json", Rate: 1, Broker: "b", Signals: []simulator.PublishedSignal{{Signal: "p1"}},
		}}}, `publisher t: broker: bus "b" is unknown`},
	} {
		twin, err := simulator.Open(t.Context(), c.o, nil)
		if err == nil {
			t.Errorf("%s: accepted", name)
			_ = twin.Close()
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q does not say %q", name, err, c.want)
		}
	}
}
