package modbus_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// serve starts the simulator's server on a loopback port until the test ends.
func serve(tb testing.TB, o simulator.ServerOptions) (*simulator.Server, string) {
	tb.Helper()
	s, err := simulator.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

// addressUnits returns units whose every register is its unit and address.
func addressUnits(ids ...byte) map[byte]simulator.Memory {
	m := map[byte]simulator.Memory{}
	for _, id := range ids {
		m[id] = &simulator.AddressMemory{Unit: id}
	}
	return m
}

// registers returns options with one group of n single registers per unit.
func registers(endpoint string, period time.Duration, n int, ids ...byte) modbus.Options {
	o := modbus.Options{Name: "field", Endpoint: endpoint, Timeout: 300 * time.Millisecond}
	g := modbus.GroupOptions{Group: acquisition.Group{Rig: "rig", Name: "steady", Period: period}}
	for _, id := range ids {
		d := fmt.Sprintf("d%d", id)
		o.Devices = append(o.Devices, modbus.Device{Name: d, Unit: id})
		for i := range n {
			name := fmt.Sprintf("u%d_%d", id, i)
			g.Channels = append(g.Channels, modbus.ChannelOptions{
				Channel: acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{Type: acquisition.TypeUint16}},
				Device:  d, Table: modbus.Holding, Address: uint16(i),
			})
		}
	}
	o.Groups = []modbus.GroupOptions{g}
	return o
}

// word is what AddressMemory holds.
func word(unit byte, address int) float64 { return float64(uint16(unit)<<10 | uint16(address)&0x3FF) }

func open(tb testing.TB, o modbus.Options) *modbus.Bus {
	tb.Helper()
	b, err := modbus.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func connect(tb testing.TB, b *modbus.Bus) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
	defer cancel()
	if err := b.Connect(ctx); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
}

func TestSuiteOverTCP(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "rtu+tcp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s, address := serve(t, simulator.ServerOptions{Units: addressUnits(1, 2), RTU: scheme != "tcp"})
			want := map[string]float64{}
			for id := byte(1); id <= 2; id++ {
				for i := range 10 {
					want[fmt.Sprintf("u%d_%d", id, i)] = word(id, i)
				}
			}
			acqtest.Poller(t, acqtest.PollerCase{
				Open: func(t *testing.T) (acquisition.Poller, *acquisition.Group) {
					t.Helper()
					s.Mute(1, false)
					s.Mute(2, false)
					b := open(t, registers(scheme+"://"+address, 100*time.Millisecond, 10, 1, 2))
					return b, b.Groups()[0]
				},
				Want: want,
				Away: func(*testing.T) { s.Unplug(true) },
				Back: func(*testing.T) { s.Unplug(false) },
				Mute: func(*testing.T) { s.Mute(1, true); s.Mute(2, true) },
			})
		})
	}
}
