package main

import "pneudaq/web"

// offerPage tells the page what this service can show.
func (s *service) offerPage(o *web.Options, _ *terminal, _ *serveOptions) {
	a := &archive{store: s.store, forwarders: s.forwardings}
	o.Recordings = a
}
