package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ProxyOptions says where a Proxy listens and what stands behind it.
type ProxyOptions struct {
	Target string // host:port
	Listen string // empty means 127.0.0.1:0
	Seed   uint64 // of Damage
	// Tap sees every piece that is passed on, upstream (from client to target) or not; it must not keep it.
	Tap func(upstream bool, b []byte)
}

// End says what happens to a connection.
type End uint8

// The ends of a connection.
const (
	EndClose     End = iota // both sides are closed
	EndReset                // both sides are reset
	EndHalfClose            // the receiving side sees the end of the stream, the other direction lives on
	EndSilence              // nothing more is passed on in this direction, all connections stay
)

// Toll is what one direction of a Proxy does to bytes. The zero value passes them on.
type Toll struct {
	Delay  time.Duration // each piece arrives so much later
	Piece  int           // bytes passed on at a time; 0: as they come
	Pause  time.Duration // after each piece
	Damage float64       // probability that a byte has one bit inverted
	Hole   bool          // bytes are taken and vanish
	// CutAfter bytes, counted on each connection from Set on, the connection comes to its End; 0: never.
	CutAfter int64
	End      End
}

// ProxyFault is the state of a Proxy.
type ProxyFault struct {
	Up, Down Toll // from the client to the target, and back
	Refuse   bool // new connections are reset at once
	Swallow  bool // new connections are taken and nothing ever answers
}

// ProxyCounts is what a Proxy has done.
type ProxyCounts struct {
	Connections, Refused, Swallowed uint64
	Up, Down                        uint64 // bytes passed on
	Vanished                        uint64 // bytes in a Hole or behind EndSilence
	Damaged                         uint64 // bytes
	Cut                             uint64 // connections ended by CutAfter or Cut
}

// A Proxy stands between a client and a TCP service and spoils the connection. What happens is Set, at any time.
type Proxy struct {
	o        ProxyOptions
	listener net.Listener
	fault    atomic.Pointer[ProxyFault]
	closing  sync.Once
	closed   error
	mu       sync.Mutex
	pairs    map[*pair]bool

	connections, refused, swallowed, up, down, vanished, damaged, cut, random atomic.Uint64
}

// OpenProxy listens; nothing is passed on before Run.
func OpenProxy(ctx context.Context, o ProxyOptions) (*Proxy, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{o: o, listener: l, pairs: map[*pair]bool{}}
	p.fault.Store(&ProxyFault{})
	p.random.Store(o.Seed)
	return p, nil
}

// Addr returns host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes what happens from now on, on connections that stand too.
func (p *Proxy) Set(f ProxyFault) { p.fault.Store(&f) }

// Cut ends all connections that stand.
func (p *Proxy) Cut(end End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.end(end)
		p.cut.Add(1)
	}
}

// Counts returns what was done so far.
func (p *Proxy) Counts() ProxyCounts {
	return ProxyCounts{
		Connections: p.connections.Load(), Refused: p.refused.Load(), Swallowed: p.swallowed.Load(), Up: p.up.Load(),
		Down: p.down.Load(), Vanished: p.vanished.Load(), Damaged: p.damaged.Load(), Cut: p.cut.Load(),
	}
}

// Close releases the address of a Proxy that does not run; Run does this itself.
func (p *Proxy) Close() error {
	p.closing.Do(func() { p.closed = p.listener.Close() })
	return p.closed
}

// Run passes connections on until ctx ends; all of them are closed on return.
func (p *Proxy) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		all.Go(func() { p.serve(ctx, c) })
	}
}

// serve passes one connection on.
func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // it may be closed already
	switch f := p.fault.Load(); {
	case f.Refuse:
		p.refused.Add(1)
		resetConn(client)
		return
	case f.Swallow:
		p.swallowed.Add(1)
		stop := context.AfterFunc(ctx, func() { _ = client.Close() })
		defer stop()
		n, _ := io.Copy(io.Discard, client) // until the client gives up
		p.vanished.Add(uint64(max(n, 0)))
		return
	}
	var dialer net.Dialer
	target, err := dialer.DialContext(ctx, "tcp", p.o.Target)
	if err != nil {
		p.refused.Add(1)
		resetConn(client)
		return
	}
	p.connections.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &pair{p: p, client: client, target: target, cancel: cancel}
	p.mu.Lock()
	p.pairs[c] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { c.end(EndClose) })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { c.pump(ctx, client, target, up) })
	both.Go(func() { c.pump(ctx, target, client, down) })
	both.Wait()
	c.end(EndClose)
}

func resetConn(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a connection that is gone needs none
	}
	_ = c.Close() // perhaps for the second time
}

// pair is one connection through the proxy.
type pair struct {
	p              *Proxy
	client, target net.Conn
	cancel         context.CancelFunc
}

// end brings both sides to an end.
func (c *pair) end(how End) {
	switch how {
	case EndReset:
		resetConn(c.client)
		resetConn(c.target)
	case EndClose, EndHalfClose, EndSilence:
		_ = c.client.Close() // perhaps for the second time
		_ = c.target.Close()
	}
	c.cancel()
}

// piece is bytes on their way, nil for the end of the stream.
type piece struct {
	due time.Time
	b   []byte
}

// direction is which way bytes go.
type direction uint8

const (
	up direction = iota // from the client to the target
	down
)

// pump takes bytes of one direction; a second goroutine passes them on when they are due.
func (c *pair) pump(ctx context.Context, from, to net.Conn, way direction) {
	line := make(chan piece, 1024)
	var passing sync.WaitGroup
	passing.Go(func() { c.pass(ctx, line, to, way) })
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		toll := c.toll(way)
		if n > 0 {
			send(ctx, line, piece{time.Now().Add(toll.Delay), append([]byte(nil), buffer[:n]...)})
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				send(ctx, line, piece{time.Now().Add(toll.Delay), nil})
			} else {
				c.end(EndReset)
			}
			break
		}
	}
	close(line)
	passing.Wait()
}

func send(ctx context.Context, line chan<- piece, v piece) {
	select {
	case line <- v:
	case <-ctx.Done():
	}
}

func (c *pair) toll(way direction) Toll {
	f := c.p.fault.Load()
	if way == up {
		return f.Up
	}
	return f.Down
}

// pass writes pieces when they are due, as the toll of the moment wants it.
func (c *pair) pass(ctx context.Context, line <-chan piece, to net.Conn, way direction) {
	var state *ProxyFault
	var since int64
	deaf := false
	for v := range line {
		if d := time.Until(v.due); d > 0 {
			wait(ctx, d, nil)
		}
		if v.b == nil {
			halfClose(to)
			return
		}
		for rest := v.b; len(rest) > 0 && ctx.Err() == nil; {
			if f := c.p.fault.Load(); f != state {
				state, since, deaf = f, 0, false
			}
			toll := c.toll(way)
			n := len(rest)
			if toll.Piece > 0 {
				n = min(n, toll.Piece)
			}
			if toll.CutAfter > 0 {
				n = int(min(int64(n), toll.CutAfter-since))
			}
			if deaf || toll.Hole {
				c.p.vanished.Add(uint64(len(rest)))
				break
			}
			if !c.write(to, rest[:n], &toll, way) {
				return
			}
			since += int64(n)
			rest = rest[n:]
			if toll.CutAfter > 0 && since >= toll.CutAfter {
				c.p.cut.Add(1)
				switch toll.End {
				case EndSilence:
					deaf = true
				case EndHalfClose:
					halfClose(to)
					deaf = true
				case EndClose, EndReset:
					c.end(toll.End)
					return
				}
			}
			if toll.Pause > 0 {
				wait(ctx, toll.Pause, nil)
			}
		}
	}
}

// write passes one piece on.
func (c *pair) write(to net.Conn, b []byte, toll *Toll, way direction) bool {
	if toll.Damage > 0 {
		for i := range b {
			r := mix64(c.p.random.Add(0x9E3779B97F4A7C15))
			if float64(r>>11)/(1<<53) < toll.Damage {
				b[i] ^= 1 << (r & 7)
				c.p.damaged.Add(1)
			}
		}
	}
	if c.p.o.Tap != nil {
		c.p.o.Tap(way == up, b)
	}
	passed := &c.p.down
	if way == up {
		passed = &c.p.up
	}
	n := uint64(len(b))
	passed.Add(n) // before the peer can see them: whoever has the bytes finds them counted
	if _, err := to.Write(b); err != nil {
		passed.Add(-n)
		c.end(EndReset)
		return false
	}
	return true
}

func halfClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite() // a connection that is gone needs none
	}
}
