package modbus_test

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// hmd60 is the self test of a Vaisala HMD60 (user guide, table 17): the wire
// registers 0x1F00 to 0x1F02 never change.
func hmd60(shift int, float ...uint16) *registersAndCoils {
	m := newMemory()
	put := func(a int, w ...uint16) {
		for i, v := range w {
			m.words[simulator.Holdings][uint16(a+shift+i)] = v
		}
	}
	put(0x1EF8, make([]uint16, 32)...)
	put(0x1F00, 0xCFC7)
	put(0x1F01, float...)
	return m
}

func constants() []modbus.Constant {
	return []modbus.Constant{
		{Name: "test integer", Table: modbus.Holding, Address: 0x1F00, Words: []uint16{0xCFC7}},
		{Name: "test float", Table: modbus.Holding, Address: 0x1F01, Words: []uint16{0xC2F6, 0xE666}},
	}
}

func rung(t *testing.T, r *modbus.ProbeReport, name string) modbus.Rung {
	t.Helper()
	i := slices.IndexFunc(r.Rungs, func(x modbus.Rung) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no rung %s: %+v", name, r.Rungs)
	}
	return r.Rungs[i]
}

func TestProbeClimbsToValues(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtu+tcp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			m := hmd60(0, 0xC2F6, 0xE666)
			_, address := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{3: m, 4: &simulator.AddressMemory{Unit: 4}}, RTU: scheme != "tcp"})
			r, err := modbus.Probe(t.Context(), modbus.ProbeOptions{
				Endpoint: scheme + "://" + address, Timeout: 150 * time.Millisecond, Units: []byte{1, 3}, Constants: constants(),
				Registers: []modbus.RegisterRange{{Table: modbus.Holding, Address: 0x1F00, Quantity: 3}, {Table: modbus.Input, Address: 0, Quantity: 2}},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"connection", "protocol", "units", "identity", "constants"} {
				if x := rung(t, r, name); !x.OK || x.Do != "" {
					t.Errorf("rung %+v", x)
				}
			}
			if x := rung(t, r, "registers"); x.OK || x.Detail != "3 of 5 registers read" {
				t.Errorf("rung %+v", x)
			}
			if r.Units[0].Answers || r.Units[0].How != "silence" || !r.Units[1].Answers {
				t.Errorf("units %+v", r.Units)
			}
			q := r.Units[1].Registers[1]
			if f := q.Float[acquisition.OrderABCD]; math.Abs(f.Value+123.45) > 1e-5 || !f.Plausible {
				t.Errorf("0x1F01 as ABCD reads %+v", f)
			}
			if f := q.Float[acquisition.OrderCDAB]; f.Plausible {
				t.Errorf("0x1F01 as CDAB reads %+v, which is not plausible", f)
			}
		})
	}
}

// F095: an address that is off by one, and another word order, are named.
func TestF095OffByOneRegister(t *testing.T) {
	t.Parallel()
	abcd := []uint16{0xC2F6, 0xE666}
	for _, tc := range []struct {
		shift int
		float []uint16
		want  []string
	}{
		{-1, abcd, []string{"one register before", "address_base: 1"}},
		{1, abcd, []string{"one register behind", "address_base: 0"}},
		{0, []uint16{0xE666, 0xC2F6}, []string{"test float is found in the order CDAB"}},
		{3, abcd, []string{"not found at holding 0x1F00 or beside it"}},
	} {
		_, address := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: hmd60(tc.shift, tc.float...)}})
		r, err := modbus.Probe(t.Context(), modbus.ProbeOptions{Endpoint: "tcp://" + address, Units: []byte{1}, Constants: constants(), Timeout: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		x := rung(t, r, "constants")
		for _, w := range tc.want {
			if x.OK || !strings.Contains(x.Do, w) {
				t.Errorf("shift %d: rung %+v, want %q", tc.shift, x, w)
			}
		}
	}
}

// F026: the word order that a device suddenly has is found by its constant.
func TestF026WordOrderChanged(t *testing.T) {
	t.Parallel()
	m := hmd60(0, 0xC2F6, 0xE666)
	_, address := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: m}})
	o := registers("tcp://"+address, 100*time.Millisecond, 1, 1)
	o.Devices[0].Identity = []modbus.Check{{Name: "test float", Table: modbus.Holding, Address: 0x1F01, Words: []uint16{0xC2F6, 0xE666}}}
	b := open(t, o)
	connect(t, b)
	s := acquisition.NewScan(b.Groups()[0])
	if err := b.Poll(t.Context(), b.Groups()[0], 1, s); err != nil || s.Quality[0] != acquisition.Good {
		t.Fatal(err, s.Quality)
	}
	_ = b.Close()
	m.words[simulator.Holdings][0x1F01], m.words[simulator.Holdings][0x1F02] = 0xE666, 0xC2F6
	connect(t, b)
	s.Reset(b.Groups()[0])
	if err := b.Poll(t.Context(), b.Groups()[0], 2, s); err != nil || s.Quality[0].Reason() != acquisition.ReasonIdentity {
		t.Error(err, s.Quality)
	}
}

// F021: what else may listen at a port, each real.
func TestF021ProbeNamesWhatListens(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	_, rtu := serve(t, simulator.ServerOptions{Units: addressUnits(1), RTU: true})
	_, tcp := serve(t, simulator.ServerOptions{Units: addressUnits(1)})
	for _, tc := range []struct{ endpoint, want string }{
		{"tcp://" + web.Listener.Addr().String(), "not Modbus: looks like HTTP"},
		{"tcp://" + secure.Listener.Addr().String(), "looks like"},
		{"tcp://" + rtu, "write rtu+tcp://"},
		{"rtu+tcp://" + tcp, "write tcp://"},
	} {
		r, err := modbus.Probe(t.Context(), modbus.ProbeOptions{Endpoint: tc.endpoint, Units: []byte{1}, Timeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if x := rung(t, r, "protocol"); x.OK || !strings.Contains(x.Detail, tc.want) || x.Do == "" {
			t.Errorf("%s: %+v, want %q", tc.endpoint, x, tc.want)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	r, err := modbus.Probe(t.Context(), modbus.ProbeOptions{Endpoint: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if x := rung(t, r, "connection"); x.OK || !strings.Contains(x.Detail, "nothing listens there") {
		t.Errorf("%+v", x)
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	_, gateway := serve(t, simulator.ServerOptions{Units: addressUnits(1, 17, 99), Absent: simulator.GatewayNoAnswer})
	_, alone := serve(t, simulator.ServerOptions{Units: map[byte]simulator.Memory{1: &simulator.AddressMemory{Unit: 1}}})
	_, line := serve(t, simulator.ServerOptions{Units: addressUnits(5, 7), RTU: true})
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	told := 0
	got, err := modbus.Discover(ctx, modbus.DiscoverOptions{
		Endpoints: []string{"tcp://" + gateway, "tcp://" + alone, "rtu+tcp://" + line, "tcp://" + web.Listener.Addr().String()},
		Units:     []byte{1, 2, 5, 6, 7, 17, 99}, Timeout: 150 * time.Millisecond,
	}, func(modbus.Found) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{{1, 17, 99}, {0, 1, 255}, {5, 7}, nil}
	for i := range want {
		if !got[i].Open || !slices.Equal(got[i].Units, want[i]) || got[i].Modbus != (want[i] != nil) {
			t.Errorf("%+v, want units %v", got[i], want[i])
		}
	}
	if told != 4 || !strings.Contains(got[3].Detail, "HTTP") {
		t.Errorf("told %d times; %+v", told, got[3])
	}
	if _, err := modbus.Discover(ctx, modbus.DiscoverOptions{Hosts: make([]string, 5000)}, nil); err == nil {
		t.Error("5000 hosts are not too many")
	}
}
