package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"time"

	"pneudaq/configs"
	"pneudaq/web"
)

// accessFileName is the ledger of users in the data directory, if there is one.
const accessFileName = "access"

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// page is the listener of the service.
type page struct {
	server *web.Server
	url    string
	cancel context.CancelFunc
	done   chan error
}

// openPage takes the port and serves the page and its API. Commands find it by
// the file that it leaves in the data directory.
func (s *service) openPage(ctx context.Context, t *terminal, o *serveOptions) (*page, error) {
	hub := web.NewHub(web.HubOptions{Compile: configs.Compile, Now: s.clock.Now, Logger: s.log})
	token := rand.Text()
	options := web.Options{
		Listen: o.listen, Insecure: o.insecure, StateDir: s.o.Dir,
		Tokens:  []web.Token{{Name: "commands", Role: web.Operator, Secret: token}},
		Version: thisBuild().Version, Zone: time.Local.String(), Simulated: s.o.Twin, Now: s.clock.Now, Logger: s.log, Compile: configs.Compile, Hub: hub,
	}
	if path := filepath.Join(s.o.Dir, accessFileName); exists(path) {
		options.AccessFile = path
	}
	s.offerPage(&options, t, o)
	server, err := web.New(options)
	if err != nil {
		return nil, pageError(err)
	}
	if err := server.Listen(ctx); err != nil {
		return nil, pageError(err)
	}
	s.subscribe(hub.Offer)
	if err := writeServerFile(s.o.Dir, serverFile{URL: server.URL(), PID: os.Getpid(), Token: token}); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &page{server: server, url: server.StartURL(), cancel: cancel, done: make(chan error, 1)}
	go func() { p.done <- server.Run(life) }()
	return p, nil
}

func (p *page) close() error {
	p.cancel()
	return <-p.done
}

func pageError(err error) error {
	var occupied *web.OccupiedError
	var exposed *web.ExposedError
	switch {
	case errors.As(err, &occupied):
		return &exitError{code: exitUnavailable, err: err}
	case errors.As(err, &exposed):
		return &exitError{code: exitConfig, err: err}
	}
	return fails(exitConfig, "the page: %w", err)
}

// recording reports whether a recording of the rig is open.
func (s *service) recording(rig string) bool {
	for _, r := range s.store.Recordings(rig) {
		if r.Stop == 0 {
			return true
		}
	}
	return false
}

func (s *service) forwardings() []*forwarding {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*forwarding
	for _, f := range s.forwarders {
		all = append(all, f)
	}
	return all
}
