package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/web"
)

// prober asks a bus who is there. It reads only.
type prober struct{}

const probeRegisters = 32 // where nobody says how many

// Probe climbs from the connection to values.
func (prober) Probe(ctx context.Context, q web.ProbeRequest) (web.ProbeReport, error) {
	o := modbus.ProbeOptions{Endpoint: q.URL, Timeout: 500 * time.Millisecond}
	for _, u := range q.Units {
		o.Units = append(o.Units, byte(u))
	}
	count := q.Count
	if count == 0 {
		count = min(probeRegisters, 0x10000-q.From)
	}
	for _, t := range []modbus.Table{modbus.Holding, modbus.Input} {
		if q.Table == "" || q.Table == t.String() {
			o.Registers = append(o.Registers, modbus.RegisterRange{Table: t, Address: uint16(q.From), Quantity: count})
		}
	}
	r, err := modbus.Probe(ctx, o)
	if err != nil {
		return web.ProbeReport{}, web.Refuse(err.Error(), "correct the question")
	}
	doc := web.ProbeReport{URL: q.URL}
	for _, x := range r.Rungs {
		if !x.OK && x.Do != "" {
			doc.Problems = append(doc.Problems, strings.TrimSpace(x.Name+": "+x.Detail+"; "+x.Do))
		}
	}
	var devices, channels strings.Builder
	for i := range r.Units {
		if u := &r.Units[i]; u.Answers || u.How != "silence" {
			doc.Units = append(doc.Units, asProbeUnit(u))
			if u.Answers {
				unitYAML(&devices, &channels, u)
			}
		}
	}
	if devices.Len() > 0 {
		doc.YAML = fmt.Sprintf("buses:\n  bus1: { modbus: %q }\ndevices:\n%schannels:\n%s", q.URL, devices.String(), channels.String())
	}
	return doc, nil
}

// identityNames are the objects of function 43/14.
func identityNames() map[byte]string {
	return map[byte]string{0: "vendor", 1: "product code", 2: "revision", 3: "vendor url", 4: "product", 5: "model", 6: "application"}
}

func asProbeUnit(u *modbus.ProbedUnit) web.ProbeUnit {
	doc := web.ProbeUnit{Unit: int(u.Unit), Identity: map[string]string{}, Note: u.How}
	for id, text := range u.Identity {
		name, ok := identityNames()[id]
		if !ok {
			name = fmt.Sprintf("object %d", id)
		}
		doc.Identity[name] = text
	}
	for i := range u.Registers {
		x := &u.Registers[i]
		if x.Failure != "" {
			continue
		}
		reg := web.ProbeRegister{Table: x.Table.String(), Address: int(x.Address), Words: []int{int(x.Word)}, Decodings: []web.ProbeDecoding{}}
		if x.Pair && i+1 < len(u.Registers) {
			reg.Words = append(reg.Words, int(u.Registers[i+1].Word))
			for _, r := range x.Float {
				reg.Decodings = append(reg.Decodings, asDecoding("float32", r))
			}
			for _, r := range x.Int {
				reg.Decodings = append(reg.Decodings, asDecoding("int32", r))
			}
		}
		doc.Registers = append(doc.Registers, reg)
	}
	return doc
}

func asDecoding(kind string, r modbus.PairReading) web.ProbeDecoding {
	d := web.ProbeDecoding{Type: kind, Order: r.Order.String(), Plausible: r.Plausible}
	if v := r.Value; v == v && v-v == 0 { // a number, and finite
		d.Value = &v
	}
	return d
}

// unitYAML appends a device with the channels that look like readings. Names,
// units and ranges are for the person to fill in.
func unitYAML(devices, channels *strings.Builder, u *modbus.ProbedUnit) {
	fmt.Fprintf(devices, "  unit%d: { bus: bus1, unit: %d, address_base: 0 }\n", u.Unit, u.Unit)
	skip := -1
	for i := range u.Registers {
		x := &u.Registers[i]
		if i <= skip || x.Failure != "" || !x.Pair {
			continue
		}
		best := -1
		for k, r := range x.Float {
			if r.Plausible && (best < 0 || r.Order == acquisition.OrderABCD) {
				best = k
			}
		}
		if best < 0 || x.Float[best].Value == 0 {
			continue
		}
		fmt.Fprintf(channels, "  u%d_%04x: { group: main, device: unit%d, %s: 0x%04X, type: float32, order: %s, unit: \"1\" }   # reads %.6g\n",
			u.Unit, x.Address, u.Unit, x.Table, x.Address, x.Float[best].Order, x.Float[best].Value)
		skip = i + 1
	}
}
