package web

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// attempts slows down guessing. Each key has some free attempts; after them
// each one that is not accepted doubles the time until the next is looked at.
type attempts struct {
	mu  sync.Mutex
	now func() int64
	by  map[string]*attempt
}

type attempt struct {
	count int
	until int64 // Unix ns; nothing is looked at before
	last  int64
}

const (
	firstLock    = 15 * time.Second
	longestLock  = 15 * time.Minute
	forgetAfter  = time.Hour
	mostAttempts = 4096 // keys; beyond, the oldest is forgotten
)

func newAttempts(now func() int64) *attempts {
	return &attempts{now: now, by: map[string]*attempt{}}
}

// begin counts an attempt before it is looked at, so that many at once gain
// nothing, and says how long to wait if it is one too many.
func (a *attempts) begin(key string, free int) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	t := a.by[key]
	if t != nil && now-t.last > int64(forgetAfter) && now > t.until {
		t.count = 0
	}
	if t == nil {
		if len(a.by) >= mostAttempts {
			a.forget(now)
		}
		t = &attempt{}
		a.by[key] = t
	}
	if now < t.until {
		return time.Duration(t.until - now)
	}
	t.count++
	t.last = now
	if over := t.count - free; over >= 0 {
		t.until = now + int64(min(firstLock<<min(over, 10), longestLock))
	}
	return 0
}

// accepted forgets what was counted.
func (a *attempts) accepted(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, key)
}

// forget makes room: what is old first, else the oldest.
func (a *attempts) forget(now int64) {
	oldest, at := "", now+1
	for k, t := range a.by {
		if now-t.last > int64(forgetAfter) {
			delete(a.by, k)
		} else if t.last < at {
			oldest, at = k, t.last
		}
	}
	if len(a.by) >= mostAttempts {
		delete(a.by, oldest)
	}
}

// peer returns the address of whoever asks; of an IPv6 address the network,
// because one machine has as many as it likes there.
func peer(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
