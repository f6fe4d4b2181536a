package main

import (
	"time"

	"pneudaq/web"
)

// offerPage tells the page what this service can show.
func (s *service) offerPage(o *web.Options, _ *terminal, so *serveOptions) {
	b := &backend{s: s, began: time.Now()}
	a := &archive{store: s.store, forwarders: s.forwardings}
	l := newLedger(a, b)
	r := record{store: s.store}
	s.subscribe(l.offer)
	s.mu.Lock()
	s.shown = o.Hub.Event
	s.mu.Unlock()
	o.Rigs, o.Health, o.Recordings, o.Ledger, o.Record, o.Events, o.Files = b, b, l, l, r, r, &rigFiles{b: b}
	o.Exporter, o.Prober, o.Evaluator = exporter{a}, prober{}, evaluator{a: a, b: b}
	o.Evaluator = evaluator{a: &archive{store: s.store}, b: b}
	if so.demo {
		o.Demo = &demoFaults{b: b}
	}
}
