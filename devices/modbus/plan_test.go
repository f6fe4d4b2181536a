package modbus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
)

// ch is a channel in a few words.
func ch(name, device string, table modbus.Table, address uint16, typ acquisition.Type) modbus.ChannelOptions {
	return modbus.ChannelOptions{
		Channel: acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{Type: typ}},
		Device:  device, Table: table, Address: address,
	}
}

func plan(channels []modbus.ChannelOptions, change func(o *modbus.Options)) (*modbus.BusPlan, error) {
	o := modbus.Options{
		Name: "field", Endpoint: "tcp://10.0.0.1", Devices: []modbus.Device{{Name: "a", Unit: 1}, {Name: "b", Unit: 2}},
		Groups: []modbus.GroupOptions{{Group: acquisition.Group{Rig: "rig", Name: "steady", Period: 100 * time.Millisecond}, Channels: channels}},
	}
	if change != nil {
		change(&o)
	}
	return modbus.Plan(o)
}

// requests prints a plan's requests as "device function address quantity".
func requests(p *modbus.BusPlan) []string {
	var out []string
	for _, r := range p.Groups[0].Requests {
		out = append(out, fmt.Sprintf("%s %s %d+%d", r.Device, r.Table, r.Address, r.Quantity))
	}
	return out
}

func TestPlanMakesFewRequests(t *testing.T) {
	t.Parallel()
	const u16, f32, f64, bit = acquisition.TypeUint16, acquisition.TypeFloat32, acquisition.TypeFloat64, acquisition.TypeBool
	const h, in, coil, disc, fifo = modbus.Holding, modbus.Input, modbus.Coil, modbus.Discrete, modbus.FIFO
	dec := uint16(4)
	decimals := ch("p", "a", h, 20, u16)
	decimals.DecimalsFrom = &dec
	atomic := func(name string, address uint16) modbus.ChannelOptions {
		c := ch(name, "a", h, address, u16)
		c.Atomic = "trace"
		return c
	}
	element := func(name string, e int) modbus.ChannelOptions {
		c := ch(name, "a", fifo, 0x4DE, u16)
		c.Element = e
		return c
	}
	var run []modbus.ChannelOptions
	for i := range 130 {
		run = append(run, ch(fmt.Sprintf("c%d", i), "a", h, uint16(i), u16))
	}
	for _, tc := range []struct {
		name     string
		channels []modbus.ChannelOptions
		change   func(o *modbus.Options)
		want     []string
		words    int
	}{
		{"neighbours", []modbus.ChannelOptions{ch("y", "a", h, 2, f32), ch("x", "a", h, 0, f32)}, nil, []string{"a holding 0+4"}, 4},
		{"a gap is read over and not kept", []modbus.ChannelOptions{ch("x", "a", h, 0, u16), ch("y", "a", h, 9, u16)}, nil, []string{"a holding 0+10"}, 2},
		{"a wide gap is not", []modbus.ChannelOptions{ch("x", "a", h, 0, u16), ch("y", "a", h, 10, u16)}, nil, []string{"a holding 0+1", "a holding 10+1"}, 2},
		{"no gap at all", []modbus.ChannelOptions{ch("x", "a", h, 0, u16), ch("y", "a", h, 2, u16)}, func(o *modbus.Options) { o.GapLimit = -1 }, []string{"a holding 0+1", "a holding 2+1"}, 2},
		{"tables and devices apart", []modbus.ChannelOptions{ch("x", "b", h, 0, u16), ch("y", "a", in, 0, u16), ch("z", "a", h, 0, u16)}, nil, []string{"a holding 0+1", "a input 0+1", "b holding 0+1"}, 3},
		{"125 registers at most", run, nil, []string{"a holding 0+125", "a holding 125+5"}, 130},
		{"a device that gives fewer", run[:10], func(o *modbus.Options) { o.Devices[0].MaxRead = 4 }, []string{"a holding 0+4", "a holding 4+4", "a holding 8+2"}, 10},
		{"a value is not split", []modbus.ChannelOptions{ch("x", "a", h, 0, f64), ch("y", "a", h, 4, f64)}, func(o *modbus.Options) { o.Devices[0].MaxRead = 6 }, []string{"a holding 0+4", "a holding 4+4"}, 8},
		{"an atomic group is not split", []modbus.ChannelOptions{run[0], run[1], atomic("s", 3), atomic("t", 6)}, func(o *modbus.Options) { o.Devices[0].MaxRead = 5 }, []string{"a holding 0+2", "a holding 3+4"}, 6},
		{"bits of one register", []modbus.ChannelOptions{ch("x", "a", h, 7, bit), ch("y", "a", h, 7, bit)}, nil, []string{"a holding 7+1"}, 1},
		{"valid starts (ifm AL1940)", []modbus.ChannelOptions{ch("x", "a", in, 1002, u16), ch("y", "a", in, 1004, u16)}, func(o *modbus.Options) { o.Devices[0].ValidStarts = []uint16{1001, 1000, 2000} }, []string{"a input 1001+4"}, 2},
		{"coils", []modbus.ChannelOptions{ch("x", "a", coil, 3, bit), ch("y", "a", coil, 40, bit)}, nil, []string{"a coil 3+38"}, 3},
		{"coils far apart", []modbus.ChannelOptions{ch("x", "a", disc, 3, bit), ch("y", "a", disc, 1000, bit)}, nil, []string{"a discrete 3+1", "a discrete 1000+1"}, 2},
		{"decimals from a register", []modbus.ChannelOptions{decimals}, nil, []string{"a holding 4+1", "a holding 20+1"}, 2},
		{"queue", []modbus.ChannelOptions{element("e0", 0), element("e30", 30)}, nil, []string{"a fifo 1246+31"}, 32},
		{"last register", []modbus.ChannelOptions{ch("x", "a", h, 65534, f32)}, nil, []string{"a holding 65534+2"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := plan(tc.channels, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, requests(p)); diff != "" {
				t.Error(diff)
			}
			g := p.Groups[0].Group
			if g.Words != tc.words || g.Exchanges != len(tc.want) {
				t.Errorf("%d words and %d exchanges, want %d and %d", g.Words, g.Exchanges, tc.words, len(tc.want))
			}
			if _, err := acquisition.NewDecoder(g, nil); err != nil {
				t.Error(err)
			}
			covered := map[int]bool{}
			for _, r := range p.Groups[0].Requests {
				for i := r.At; i < r.At+r.Words; i++ {
					if covered[i] {
						t.Errorf("word %d is filled twice", i)
					}
					covered[i] = true
				}
			}
			for i := range g.Channels {
				c := &g.Channels[i]
				r := p.Groups[0].Requests[c.Exchange]
				if c.Device == "" || c.Address == "" || c.Decoding.At < r.At || c.Decoding.At+c.Decoding.Type.Words() > r.At+r.Words {
					t.Errorf("channel %+v does not lie in its request %+v", c, r)
				}
			}
		})
	}
}

func TestPlanPassesBorrowedAndDerivedThrough(t *testing.T) {
	t.Parallel()
	borrowed := modbus.ChannelOptions{Channel: acquisition.Channel{Name: "p_atm", Decoding: acquisition.Decoding{Origin: acquisition.FromNumbers}}}
	derived := modbus.ChannelOptions{Channel: acquisition.Channel{Name: "dp", Decoding: acquisition.Decoding{Origin: acquisition.FromExpression, Expression: "x"}}}
	p, err := plan([]modbus.ChannelOptions{borrowed, ch("x", "a", modbus.Holding, 0, acquisition.TypeUint16), derived}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if g := p.Groups[0].Group; g.Numbers != 1 || g.Words != 1 || g.Channels[2].Decoding.Expression != "x" || g.Channels[0].Decoding.At != 0 {
		t.Errorf("%+v", g)
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	one := []modbus.ChannelOptions{ch("x", "a", modbus.Holding, 0, acquisition.TypeUint16)}
	with := func(f func(c *modbus.ChannelOptions)) []modbus.ChannelOptions {
		c := one[0]
		f(&c)
		return []modbus.ChannelOptions{c}
	}
	for _, tc := range []struct {
		name     string
		channels []modbus.ChannelOptions
		change   func(o *modbus.Options)
		want     string
	}{
		{"unknown device", with(func(c *modbus.ChannelOptions) { c.Device = "c" }), nil, `device "c" is not on this bus`},
		{"beyond the end", with(func(c *modbus.ChannelOptions) { c.Address, c.Decoding.Type = 65535, acquisition.TypeFloat32 }), nil, "beyond 65535"},
		{"a coil that is a number", with(func(c *modbus.ChannelOptions) { c.Table = modbus.Coil }), nil, "its type is bool, not uint16"},
		{"a writable input", with(func(c *modbus.ChannelOptions) { c.Table, c.Writable = modbus.Input, true }), nil, "cannot be written"},
		{"a bit outside", with(func(c *modbus.ChannelOptions) { c.Decoding.Type, c.Decoding.Bit = acquisition.TypeBool, 16 }), nil, "outside the value's 16 bits"},
		{"twice the same name", []modbus.ChannelOptions{one[0], one[0]}, nil, "there twice"},
		{"atomic group too wide", []modbus.ChannelOptions{
			with(func(c *modbus.ChannelOptions) { c.Atomic = "t" })[0],
			with(func(c *modbus.ChannelOptions) { c.Name, c.Address, c.Atomic = "y", 125, "t" })[0],
		}, nil, "atomic group t: 126 registers cannot be read at once"},
		{"no valid start", one, func(o *modbus.Options) { o.Devices[0].ValidStarts = []uint16{5} }, "no read that begins at or before 0"},
		{"no period", one, func(o *modbus.Options) { o.Groups[0].Group.Period = 0 }, "period 0s must be above 0"},
		{"two devices on a unit", one, func(o *modbus.Options) { o.Devices[1].Unit = 1 }, "unit 1 belongs to device a"},
		{"unit 0 on a line", one, func(o *modbus.Options) { o.Endpoint, o.Devices[0].Unit = "rtu:///dev/ttyS0", 0 }, "not within 1 to 247"},
		{"inflight on a line", one, func(o *modbus.Options) { o.Endpoint, o.Inflight = "rtu+tcp://h:1", 2 }, "no transaction ids"},
		{"scheme", one, func(o *modbus.Options) { o.Endpoint = "udp://h" }, "not one of tcp, tls, rtu+tcp, rtu"},
		{"no port", one, func(o *modbus.Options) { o.Endpoint = "rtu+tcp://h" }, "the port is missing"},
		{"user", one, func(o *modbus.Options) { o.Endpoint = "tcp://me:secret@h" }, "names a user"},
		{"parity", one, func(o *modbus.Options) { o.Endpoint = "rtu:///dev/ttyS0?parity=X" }, "not N, E or O"},
		{"unknown setting", one, func(o *modbus.Options) { o.Endpoint = "rtu:///dev/ttyS0?speed=9600" }, "not one of baud, parity"},
		{"settings on TCP", one, func(o *modbus.Options) { o.Endpoint = "tcp://h?baud=9600" }, "belong to rtu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := plan(tc.channels, tc.change); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// The line's time, by hand: 10 float32 in one request are 8 + 45 characters of
// 11 bits at 19200 baud, 30.36 ms; twice 2.005 ms of silence, 1 ms to answer.
func TestPlanLoadOfALine(t *testing.T) {
	t.Parallel()
	var channels []modbus.ChannelOptions
	for i := range 10 {
		channels = append(channels, ch(fmt.Sprintf("c%d", i), "a", modbus.Holding, uint16(2*i), acquisition.TypeFloat32))
	}
	p, err := plan(channels, func(o *modbus.Options) { o.Endpoint = "rtu:///dev/ttyS0?baud=19200" })
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Groups[0].Pass.Round(time.Microsecond); got != 35375*time.Microsecond {
		t.Errorf("a pass takes %s, want 35.375 ms", got)
	}
	if p.Load < 35 || p.Load > 36 {
		t.Errorf("load %.1f %%", p.Load)
	}
	_, err = plan(channels, func(o *modbus.Options) {
		o.Endpoint, o.Groups[0].Group.Period = "rtu:///dev/ttyS0?baud=9600", 50*time.Millisecond
	})
	if err == nil || !strings.Contains(err.Error(), "needs 139 % of the bus's time") {
		t.Errorf("%v, want a refusal with the figure", err)
	}
}

func TestPlanPrint(t *testing.T) {
	t.Parallel()
	p, err := plan([]modbus.ChannelOptions{
		ch("p1", "a", modbus.Input, 8, acquisition.TypeFloat32), ch("T1", "a", modbus.Input, 12, acquisition.TypeFloat32), ch("start", "b", modbus.Coil, 0, acquisition.TypeBool),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `bus field tcp://10.0.0.1: load 0.2 % (100µs an answer, 1 at a time)
  group steady every 100ms: 2 requests, 200µs a pass, 0.2 %
    a unit 1, function 4, input 0x0008 to 0x000D, 6 registers of which 4 are used, 100µs: p1, T1
    b unit 2, function 1, coil 0x0000 to 0x0000, 1 bits, 100µs: start
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Error(diff)
	}
}
