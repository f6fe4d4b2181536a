package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// limits bound every request. Tests make them short.
type limits struct {
	header      time.Duration // to send the header
	body        time.Duration // to send header and body
	stall       time.Duration // without taking a byte of the answer
	idle        time.Duration // between requests of a connection
	request     time.Duration // to make the answer, where a route states no other
	streamStall time.Duration // as stall, for live streams
	keepalive   time.Duration // between comments of a quiet live stream
	shutdown    time.Duration // for answers under way at the stop
	connections int
	streams     int
}

func defaultLimits() limits {
	return limits{
		header: 5 * time.Second, body: 20 * time.Second, stall: 30 * time.Second, idle: 2 * time.Minute,
		request: 30 * time.Second, streamStall: 5 * time.Second, keepalive: 15 * time.Second,
		shutdown: 2 * time.Second, connections: 512, streams: 64,
	}
}

const headerBytes = 16 << 10

// Server is the listener of the service: the page, the API and the metrics.
type Server struct {
	o        Options
	limits   limits
	access   *gate
	sessions *sessions
	attempts *attempts
	hosts    hosts
	origin   *http.CrossOriginProtection
	page     *page
	handler  http.Handler
	counters counters
	started  int64

	mu     sync.Mutex
	ln     net.Listener
	tls    *tls.Config
	port   string
	token  string // of the start URL
	closed bool
}

// New checks the options and makes a server. It listens to nothing yet.
func New(o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Hub == nil {
		o.Hub = NewHub(HubOptions{Compile: o.Compile, Now: o.Now, Logger: o.Logger})
	}
	p, err := newPage(pageFiles())
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, limits: defaultLimits(), access: newGate(&o), sessions: newSessions(o.StateDir, o.Now),
		attempts: newAttempts(o.Now), hosts: newHosts(o.Listen, o.Hosts), origin: http.NewCrossOriginProtection(), page: p,
		started: o.Now(),
	}
	s.handler = s.protect(s.routes())
	return s, nil
}

// Listen reads the access file and takes the port: after it [Server.URL] is
// known and browsers can connect, though nobody answers before [Server.Run].
// A port that another program has is an [*OccupiedError].
func (s *Server) Listen(ctx context.Context) error {
	if err := s.access.load(); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(s.o.Listen)
	if !loopback(host) && !s.access.hasUsers() {
		return &ExposedError{Address: s.o.Listen, Lacks: "without a login", Do: "add a user with a password to " + s.o.AccessFile}
	}
	if err := s.sessions.load(); err != nil {
		return err
	}
	var config *tls.Config
	if s.o.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(s.o.TLSCert, s.o.TLSKey)
		if err != nil {
			return fmt.Errorf("read certificate %s and key %s: %w", s.o.TLSCert, s.o.TLSKey, err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.o.Listen)
	if occupied(err) {
		return &OccupiedError{Address: s.o.Listen, Err: err}
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.o.Listen, err)
	}
	address, ok := ln.Addr().(*net.TCPAddr)
	if loopback(host) && (!ok || !address.IP.IsLoopback()) {
		return errors.Join(fmt.Errorf("listen on %s: the name stands for %s, which other machines reach; write 127.0.0.1", s.o.Listen, ln.Addr()), ln.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln, s.tls, s.port = ln, config, strconv.Itoa(address.Port)
	if loopback(host) {
		s.token = s.sessions.startToken()
	}
	return nil
}

// occupied reports whether an address is in use. Windows has a number of its
// own for that.
func occupied(err error) bool {
	const windowsInUse = syscall.Errno(10048)
	n, ok := errors.AsType[syscall.Errno](err)
	return ok && (n == syscall.EADDRINUSE || runtime.GOOS == "windows" && n == windowsInUse)
}

// Run serves until ctx ends. It listens first if nobody did.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	ln, config := s.ln, s.tls
	s.mu.Unlock()
	if ln == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		ln, config = s.ln, s.tls
		s.mu.Unlock()
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var work sync.WaitGroup
	work.Go(func() { s.o.Hub.run(life) })
	work.Go(func() { s.observe(life) })
	h := &http.Server{
		Handler: s.handler, TLSConfig: config, ReadHeaderTimeout: s.limits.header, ReadTimeout: s.limits.body,
		IdleTimeout: s.limits.idle, MaxHeaderBytes: headerBytes,
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug), // what peers do wrong is no transition of ours
		BaseContext: func(net.Listener) context.Context { return life },
	}
	served := make(chan error, 1)
	go func() {
		l := newLimitListener(ln, s.limits.connections)
		if config != nil {
			served <- h.ServeTLS(l, "", "")
			return
		}
		served <- h.Serve(l)
	}()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		s.o.Hub.closeStreams()
		stop, cancel := context.WithTimeout(life, s.limits.shutdown)
		err = h.Shutdown(stop)
		cancel()
		end()
		if err != nil { // somebody still reads: the record does not wait for them
			err = h.Close()
		}
		if e := <-served; err == nil {
			err = e
		}
	}
	end()
	work.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Close gives up the port of a server that is not to run.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil || s.closed {
		return nil
	}
	s.closed = true
	return s.ln.Close() //nolint:wrapcheck // names the address itself
}

// URL is where the page is, without any token.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, _ := net.SplitHostPort(s.o.Listen)
	if s.port != "" {
		port = s.port
	}
	switch ip := net.ParseIP(host); {
	case len(s.o.Hosts) > 0 && !loopback(host):
		host = s.o.Hosts[0]
	case host == "" || ip != nil && ip.IsUnspecified():
		host = "localhost"
	}
	scheme := "http"
	if s.o.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// StartURL is the URL for the person who started the service: it lets one
// browser in, once. It is for a terminal and never for a log. On any address
// but loopback it is [Server.URL]: people log in there.
func (s *Server) StartURL() string {
	s.mu.Lock()
	token := s.token
	s.mu.Unlock()
	if token == "" {
		return s.URL() + "/"
	}
	return s.URL() + "/?token=" + token
}

// cookie is the name of the session's cookie. Browsers keep cookies per host
// and not per port, so the port is part of the name.
func (s *Server) cookie() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "pneudaq-" + s.port
}
