package web

import (
	"net"
	"sync"
)

// limitListener accepts no more connections than it has places; the rest wait
// in the kernel. A place is free again when its connection is closed.
type limitListener struct {
	net.Listener

	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

// sendBuffer bounds what the kernel keeps for a browser that does not read.
const sendBuffer = 256 << 10

func newLimitListener(l net.Listener, places int) *limitListener {
	return &limitListener{Listener: l, places: make(chan struct{}, places), done: make(chan struct{})}
}

// Accept waits for a place and a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err //nolint:wrapcheck // the server compares it
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(sendBuffer) // a larger buffer costs memory and breaks nothing
	}
	return &limitedConn{Conn: c, release: func() { <-l.places }}, nil
}

// Close ends accepting, also for who waits for a place.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close() //nolint:wrapcheck // the server compares it
}

type limitedConn struct {
	net.Conn

	once    sync.Once
	release func()
}

// Close gives the place back.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err //nolint:wrapcheck // the server compares it
}
