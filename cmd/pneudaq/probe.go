package main

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"pneudaq/devices/modbus"
)

// runProbe asks one bus who answers and shows what registers may mean.
func runProbe(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "probe", "URL [--unit N] [--table holding|input] [--from ADDRESS] [--count N]")
	asJSON := f.Bool("json", false, "print JSON")
	timeout := f.Duration("timeout", modbus.DefaultTimeout, "`time` for one question")
	table := f.String("table", "holding", "`table` of the registers to show")
	from := f.Uint("from", 0, "first register, wire `address` counted from 0")
	count := f.Uint("count", 0, "how many registers to show")
	o := modbus.ProbeOptions{}
	f.Func("unit", "ask this `unit`; may be repeated", func(s string) error {
		n, err := strconv.ParseUint(s, 0, 8)
		o.Units = append(o.Units, byte(n))
		return err //nolint:wrapcheck // the flag set says which flag
	})
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fails(exitUsage, "name one bus, for example tcp://192.168.1.20:502 or rtu:///dev/ttyUSB0?baud=9600")
	}
	o.Endpoint, o.Timeout = rest[0], *timeout
	if *count > 0 {
		tab, err := modbus.ParseTable(*table)
		if err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		if *from > 0xffff || *count > 1000 {
			return fails(exitUsage, "registers are 0 to 65535, at most 1000 at a time")
		}
		o.Registers = []modbus.RegisterRange{{Table: tab, Address: uint16(*from), Quantity: int(*count)}}
	}
	report, err := modbus.Probe(ctx, o)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if *asJSON {
		return writeJSON(t, report)
	}
	ok := true
	for _, r := range report.Rungs {
		mark := "ok  "
		if !r.OK {
			mark, ok = "FAIL", false
		}
		t.printf("%s %-12s %s\n", mark, r.Name, r.Detail)
		if !r.OK && r.Do != "" {
			t.printf("     %-12s %s\n", "", r.Do)
		}
	}
	w := tabwriter.NewWriter(t.out, 0, 4, 2, ' ', 0)
	for _, u := range report.Units {
		fmt.Fprintf(w, "unit %d\t%s\n", u.Unit, u.How) //nolint:errcheck // flushed below
		for _, k := range slices.Sorted(func(yield func(byte) bool) {
			for k := range u.Identity {
				if !yield(k) {
					return
				}
			}
		}) {
			fmt.Fprintf(w, "  identity %d\t%s\n", k, u.Identity[k]) //nolint:errcheck // as above
		}
		for _, r := range u.Registers {
			if r.Failure != "" {
				fmt.Fprintf(w, "  %s 0x%04X\t%s\n", r.Table, r.Address, r.Failure) //nolint:errcheck // as above
				continue
			}
			fmt.Fprintf(w, "  %s 0x%04X\t%d\t%d", r.Table, r.Address, r.Word, int16(r.Word)) //nolint:errcheck // as above
			if r.Pair {
				for _, p := range r.Float {
					star := ""
					if p.Plausible {
						star = "*"
					}
					fmt.Fprintf(w, "\t%s %.6g%s", p.Order, p.Value, star) //nolint:errcheck // as above
				}
			}
			fmt.Fprintln(w) //nolint:errcheck // as above
		}
	}
	if err := w.Flush(); err != nil {
		return err //nolint:wrapcheck // the terminal's own error
	}
	if !ok {
		return &exitError{code: exitUnavailable}
	}
	t.printf("\nto read it, in a rig file:\n\nbuses:\n  bus: { modbus: %q, timeout: %s }\n", report.Endpoint, *timeout)
	for _, u := range report.Units {
		if u.Answers {
			t.printf("devices:\n  dev%d: { bus: bus, unit: %d, address_base: 0 }\n", u.Unit, u.Unit)
		}
	}
	return nil
}

// runDiscover searches hosts or units for devices.
func runDiscover(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "discover", "URL|NETWORK... [--port N]")
	asJSON := f.Bool("json", false, "print JSON")
	o := modbus.DiscoverOptions{}
	f.DurationVar(&o.Timeout, "timeout", 200*time.Millisecond, "`time` for one question")
	f.Func("port", "look at this `port` of each host; may be repeated (default 502)", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		o.Ports = append(o.Ports, int(n))
		return err //nolint:wrapcheck // the flag set says which flag
	})
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return fails(exitUsage, "name what to search: a bus (tcp://HOST:PORT, rtu:///dev/ttyUSB0?baud=9600) or a network (192.168.1.0/24)")
	}
	for _, a := range rest {
		switch u, err := url.Parse(a); {
		case err == nil && u.Scheme != "" && strings.Contains(a, "://"):
			o.Endpoints = append(o.Endpoints, a)
		case strings.Contains(a, "/"):
			p, err := netip.ParsePrefix(a)
			if err != nil || p.Addr().Is4() && p.Bits() < 20 || p.Addr().Is6() && p.Bits() < 116 {
				return fails(exitUsage, "%q is not a network of at most 4096 addresses, for example 192.168.1.0/24", a)
			}
			for x := p.Masked().Addr(); p.Contains(x); x = x.Next() {
				o.Hosts = append(o.Hosts, x.String())
			}
		default:
			o.Hosts = append(o.Hosts, a)
		}
	}
	show := func(x modbus.Found) {
		if *asJSON || !x.Open {
			return
		}
		switch {
		case !x.Modbus:
			t.printf("%s: not Modbus: %s\n", x.Endpoint, x.Detail)
		case x.Any:
			t.printf("%s: answers to any unit\n", x.Endpoint)
		default:
			t.printf("%s: units %v\n", x.Endpoint, x.Units)
		}
	}
	found, err := modbus.Discover(ctx, o, show)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if *asJSON {
		return writeJSON(t, found)
	}
	if !slices.ContainsFunc(found, func(x modbus.Found) bool { return x.Modbus }) {
		return fails(exitUnavailable, "no Modbus device answers there")
	}
	return nil
}
