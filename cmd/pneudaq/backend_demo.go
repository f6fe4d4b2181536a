package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"pneudaq/web"
)

// demoFaults breaks the twins of a demonstration and mends them.
type demoFaults struct {
	b *backend

	mu sync.Mutex
	on map[string]bool
}

// kind of fault as visitors read it.
type faultText struct{ kind, en, zh string }

func faultTexts() []faultText {
	return []faultText{
		{"unplug", "Unplug bus", "拔掉总线"},
		{"restart", "Restart the device server of bus", "重启总线设备"},
		{"mute", "Silence unit", "使从站无应答"},
		{"freeze", "Freeze sensor", "冻结传感器"},
		{"leak", "Leak in the test item", "样品泄漏"},
		{"throttle_shut", "Throttle shut", "节流阀关死"},
		{"sticking_spool", "Spool sticks", "阀芯卡滞"},
		{"compressor_off", "Compressor off", "空压机停机"},
	}
}

// faults returns what can be broken, by "RIG:FAULT".
func (d *demoFaults) faults() []web.DemoFault {
	var out []web.DemoFault
	for _, r := range d.b.sorted() {
		if r.twin == nil {
			continue
		}
		for _, name := range r.twin.Faults() {
			kind, what, _ := strings.Cut(name, ":")
			i := slices.IndexFunc(faultTexts(), func(t faultText) bool { return t.kind == kind })
			if i < 0 {
				if strings.Contains(name, ":") {
					continue // for tests, nothing that a visitor would see
				}
				out = append(out, web.DemoFault{Name: r.file.Name + ":" + name, TitleEN: name, TitleZH: name})
				continue
			}
			if kind == "freeze" && r.file.Channel(what) == nil {
				continue // an inner quantity of the plant
			}
			t := faultTexts()[i]
			out = append(out, web.DemoFault{
				Name: r.file.Name + ":" + name, TitleEN: strings.TrimSpace(t.en + " " + what), TitleZH: strings.TrimSpace(t.zh + " " + what),
			})
		}
	}
	return out
}

// Faults lists what can be broken.
func (d *demoFaults) Faults(context.Context) ([]web.DemoFault, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.faults()
	for i := range list {
		list[i].On = d.on[list[i].Name]
	}
	return list, nil
}

// SetFault breaks or mends.
func (d *demoFaults) SetFault(_ context.Context, name string, on bool) error { //nolint:revive // a fault is on or off
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.ContainsFunc(d.faults(), func(f web.DemoFault) bool { return f.Name == name }) {
		return web.NotFound("fault", name)
	}
	rigName, fault, _ := strings.Cut(name, ":")
	for _, r := range d.b.sorted() {
		if r.file.Name == rigName && r.twin != nil {
			if err := r.twin.Break(fault, on); err != nil { //nolint:contextcheck // the broker that starts again outlives the request
				return fmt.Errorf("break the twin: %w", err)
			}
		}
	}
	if d.on == nil {
		d.on = map[string]bool{}
	}
	d.on[name] = on && !strings.HasPrefix(fault, "restart:")
	return nil
}
