package modbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// registersAndCoils is a memory of words that can be written.
type registersAndCoils struct {
	words map[simulator.Table]map[uint16]uint16
	stuck bool // takes writes and changes nothing
}

func newMemory() *registersAndCoils {
	m := &registersAndCoils{words: map[simulator.Table]map[uint16]uint16{simulator.Holdings: {}, simulator.Coils: {}}}
	for i := range uint16(64) {
		m.words[simulator.Holdings][i], m.words[simulator.Coils][i] = 0, 0
	}
	return m
}

// Read implements simulator.Memory.
func (m *registersAndCoils) Read(t simulator.Table, address uint16, words []uint16) simulator.Exception {
	for i := range words {
		v, ok := m.words[t][address+uint16(i)]
		if !ok {
			return simulator.IllegalAddress
		}
		words[i] = v
	}
	return simulator.NoException
}

// Write implements simulator.Memory.
func (m *registersAndCoils) Write(t simulator.Table, address uint16, words []uint16) simulator.Exception {
	for i := range words {
		if _, ok := m.words[t][address+uint16(i)]; !ok {
			return simulator.IllegalAddress
		}
		if !m.stuck {
			m.words[t][address+uint16(i)] = words[i]
		}
	}
	return simulator.NoException
}

func setpoints(endpoint string) modbus.Options {
	o := modbus.Options{Name: "field", Endpoint: endpoint, Devices: []modbus.Device{{Name: "plc", Unit: 10}}}
	w := func(name string, table modbus.Table, address uint16, d acquisition.Decoding) modbus.ChannelOptions {
		return modbus.ChannelOptions{
			Channel: acquisition.Channel{ID: name, Name: name, Writable: true, Decoding: d}, Device: "plc", Table: table, Address: address,
		}
	}
	o.Groups = []modbus.GroupOptions{{
		Group: acquisition.Group{Rig: "rig", Name: "plc", Period: 100 * time.Millisecond},
		Channels: []modbus.ChannelOptions{
			w("valve", modbus.Coil, 0, acquisition.Decoding{}),
			w("vent", modbus.Coil, 1, acquisition.Decoding{}),
			w("step", modbus.Holding, 2, acquisition.Decoding{Type: acquisition.TypeUint16}),
			w("p_set", modbus.Holding, 4, acquisition.Decoding{Type: acquisition.TypeInt16, Scale: 0.1, Offset: -10}),
			w("q_set", modbus.Holding, 6, acquisition.Decoding{Type: acquisition.TypeFloat32, Order: acquisition.OrderCDAB}),
			w("run", modbus.Holding, 9, acquisition.Decoding{Type: acquisition.TypeBool, Bit: 3}),
			w("mode", modbus.Holding, 9, acquisition.Decoding{Type: acquisition.TypeUint16, Bit: 8, Bits: 4}),
			w("count", modbus.Holding, 10, acquisition.Decoding{Type: acquisition.TypeInt32, Order: acquisition.OrderDCBA}),
			w("code", modbus.Holding, 12, acquisition.Decoding{Type: acquisition.TypeBCD16}),
			w("time", modbus.Holding, 14, acquisition.Decoding{Type: acquisition.TypeFloat64}),
		},
	}}
	readOnly := w("reading", modbus.Holding, 20, acquisition.Decoding{Type: acquisition.TypeUint16})
	readOnly.Writable = false
	limited := w("limited", modbus.Holding, 21, acquisition.Decoding{Type: acquisition.TypeUint16})
	limited.Low, limited.High = 10, 20
	o.Groups[0].Channels = append(o.Groups[0].Channels, readOnly, limited)
	o.Safe = []acquisition.Setpoint{{Channel: "valve"}, {Channel: "p_set"}}
	return o
}

// Every kind of setpoint: the function that goes out, the words in the device,
// and the value that the next scan decodes.
func TestWriteAndReadBack(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			var functions []string
			m := newMemory()
			m.words[simulator.Holdings][9] = 0xFFFF &^ (1<<3 | 0xF00)
			_, b := twin(t, setpoints(endpoint), simulator.ServerOptions{
				Units:   map[byte]simulator.Memory{10: m},
				Observe: func(_ byte, request, _ []byte) { functions = append(functions, fmt.Sprint(request[0])) },
			})
			b.Arm(true)
			g := b.Groups()[0]
			for _, tc := range []struct {
				points    []acquisition.Setpoint
				functions string
			}{
				{[]acquisition.Setpoint{{Channel: "valve", Value: 1}}, "5 1"},
				{[]acquisition.Setpoint{{Channel: "valve", Value: 0}, {Channel: "vent", Value: 1}}, "15 1"},
				{[]acquisition.Setpoint{{Channel: "step", Value: 7}}, "6 3"},
				{[]acquisition.Setpoint{{Channel: "p_set", Value: 123.4}}, "6 3"},
				{[]acquisition.Setpoint{{Channel: "q_set", Value: -123.45}}, "16 3"},
				{[]acquisition.Setpoint{{Channel: "run", Value: 1}}, "22 3"},
				{[]acquisition.Setpoint{{Channel: "mode", Value: 9}}, "22 3"},
				{[]acquisition.Setpoint{{Channel: "count", Value: -70000}, {Channel: "code", Value: 1234}}, "16 3"},
				{[]acquisition.Setpoint{{Channel: "plc/time", Value: 1e-300}}, "16 3"},
				{[]acquisition.Setpoint{{Channel: "limited", Value: 15}, {Channel: "step", Value: 8}}, "6 3 6 3"},
			} {
				functions = nil
				if err := b.Write(t.Context(), tc.points); err != nil {
					t.Fatalf("%v: %v", tc.points, err)
				}
				if got := strings.Join(functions, " "); got != tc.functions {
					t.Errorf("%v: functions %s, want %s", tc.points, got, tc.functions)
				}
				s := acquisition.NewScan(g)
				if err := b.Poll(t.Context(), g, 1, s); err != nil {
					t.Fatal(err)
				}
				for _, p := range tc.points {
					name := strings.TrimPrefix(p.Channel, "plc/")
					v, _ := g.Channels[g.Channel(name)].Decoding.Value(s.Words)
					if diff := v - p.Value; diff > 1e-5 || diff < -1e-5 {
						t.Errorf("%s reads %v, want %v", name, v, p.Value)
					}
				}
			}
			want := map[uint16]uint16{
				2: 8, 4: 1334, 6: 0xE666, 7: 0xC2F6, 9: 0xF9FF, 10: 0x90EE, 11: 0xFEFF, 12: 0x1234, 21: 15,
				14: 0x01A5, 15: 0x6E1F, 16: 0xC2F8, 17: 0xF359, // 1e-300 as binary64
			}
			got := map[uint16]uint16{}
			for a, v := range m.words[simulator.Holdings] {
				if v != 0 {
					got[a] = v
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: registers in the device: %s", endpoint, diff)
			}
			if err := b.Safe(t.Context()); err != nil {
				t.Error(err)
			}
			if m.words[simulator.Coils][0] != 0 || m.words[simulator.Holdings][4] != 100 {
				t.Errorf("safe state: valve %d, p_set %d", m.words[simulator.Coils][0], m.words[simulator.Holdings][4])
			}
		})
	}
}

func TestWriteRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := twin(t, setpoints("tcp://h"), simulator.ServerOptions{Units: map[byte]simulator.Memory{10: newMemory()}})
		b.Arm(true)
		for _, tc := range []struct {
			p    acquisition.Setpoint
			want string
		}{
			{acquisition.Setpoint{Channel: "nothing"}, "no channel of bus field has this name"},
			{acquisition.Setpoint{Channel: "reading"}, "not writable"},
			{acquisition.Setpoint{Channel: "limited", Value: 21}, "outside the channel's range 10 to 20"},
			{acquisition.Setpoint{Channel: "valve", Value: 0.5}, "a coil is 0 or 1"},
			{acquisition.Setpoint{Channel: "step", Value: 65536}, "a uint16 cannot hold"},
			{acquisition.Setpoint{Channel: "step", Value: -1}, "a uint16 cannot hold"},
			{acquisition.Setpoint{Channel: "q_set", Value: 1e39}, "a float32 cannot hold"},
			{acquisition.Setpoint{Channel: "mode", Value: 16}, "cannot hold"},
			{acquisition.Setpoint{Channel: "code", Value: 10000}, "a bcd16 cannot hold"},
		} {
			// The good one in front must not go out either.
			err := b.Write(t.Context(), []acquisition.Setpoint{{Channel: "step", Value: 1}, tc.p})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v: %v, want %q", tc.p, err, tc.want)
			}
		}
		if n := s.Counts().Requests; n != 0 {
			t.Errorf("%d requests went out", n)
		}
	})
}

func TestWriteThatTheDeviceDoesNotTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.stuck = true
		_, b := twin(t, setpoints("tcp://h"), simulator.ServerOptions{Units: map[byte]simulator.Memory{10: m}})
		b.Arm(true)
		err := b.Write(t.Context(), []acquisition.Setpoint{{Channel: "step", Value: 7}})
		if err == nil || !strings.Contains(err.Error(), "write step: 00 07 was written and 00 00 is read back") {
			t.Error(err)
		}
	})
}

// F103: with no arm not one write function goes on the wire, whoever asks and
// however; the capture is of the bytes themselves.
func TestF103NoWriteWithoutArm(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			s, b := twin(t, setpoints(endpoint), simulator.ServerOptions{Units: map[byte]simulator.Memory{10: newMemory()}})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var errs []error
			try := func() {
				errs = nil
				c := b.Client(ctx, 10)
				for _, e := range examples() {
					_, err := e.ask(c)
					if strings.Contains(e.name, "write") {
						errs = append(errs, err)
					}
				}
				errs = append(errs, b.Safe(ctx))
				for _, c := range b.Groups()[0].Channels {
					errs = append(errs, b.Write(ctx, []acquisition.Setpoint{{Channel: c.Name, Value: 1}}))
				}
				for range 20 {
					s := acquisition.NewScan(b.Groups()[0])
					if err := b.Poll(ctx, b.Groups()[0], 1, s); err != nil {
						t.Error(err)
					}
				}
			}
			try()
			armed := 0
			for _, err := range errs {
				if errors.Is(err, modbus.ErrNotArmed) {
					armed++
				}
			}
			n := s.Counts()
			for _, f := range []byte{5, 6, 15, 16, 21, 22, 23} {
				if n.Functions[f] != 0 {
					t.Errorf("%s: function %d went out %d times", endpoint, f, n.Functions[f])
				}
			}
			if armed < 6+10 || n.Functions[3] == 0 {
				t.Errorf("%s: %d refusals of %d (%v), functions %v", endpoint, armed, len(errs), errs, n.Functions)
			}
			b.Arm(true)
			try() // the counting itself works
			if n := s.Counts(); n.Functions[5] == 0 || n.Functions[6] == 0 || n.Functions[16] == 0 {
				t.Errorf("%s: armed, functions %v", endpoint, n.Functions)
			}
			b.Arm(false)
			if err := b.Write(ctx, []acquisition.Setpoint{{Channel: "step", Value: 1}}); !errors.Is(err, modbus.ErrNotArmed) {
				t.Error(err)
			}
		})
	}
}

// FIFO implements simulator.Memory.
func (*registersAndCoils) FIFO(uint16, []uint16) (int, simulator.Exception) {
	return 0, simulator.IllegalAddress
}

// Objects implements simulator.Memory.
func (*registersAndCoils) Objects() map[byte]string { return nil }
