package web

import (
	"net"
	"net/http"
	"os"
	"strings"
)

// hosts is the list of names that a request may be for. A page of another
// site whose name was made to point here (DNS rebinding) carries that name.
type hosts struct {
	local bool // only loopback addresses, not every address
	names map[string]bool
}

func newHosts(listen string, names []string) hosts {
	host, _, _ := net.SplitHostPort(listen)
	h := hosts{local: loopback(host), names: map[string]bool{"localhost": true}}
	for _, n := range names {
		h.names[strings.ToLower(strings.TrimSuffix(n, "."))] = true
	}
	if !h.local {
		if n, err := os.Hostname(); err == nil {
			h.names[strings.ToLower(n)] = true
		}
	}
	return h
}

// allows reports whether a Host header names this service. An address cannot
// be rebound; a name must be on the list.
func (h hosts) allows(header string) bool {
	host := header
	if name, _, err := net.SplitHostPort(header); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || !h.local || h.names[host]
	}
	return h.names[strings.ToLower(strings.TrimSuffix(host, "."))]
}

// fromHere reports whether a request comes from this machine and not through
// a proxy on it.
func fromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
