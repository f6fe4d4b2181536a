package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"pneudaq/configs"
)

// serveFlags are what serve and demo share.
type serveFlags struct {
	data     dataFlags
	listen   string
	insecure bool
	twin     bool
	truth    string
}

func (o *serveFlags) add(f *flag.FlagSet) {
	o.data.add(f)
	f.StringVar(&o.listen, "listen", "", "`address` of the page and its API (default 127.0.0.1:8470)")
	f.BoolVar(&o.insecure, "insecure", false, "serve the page without TLS on an address other machines reach")
	f.BoolVar(&o.twin, "twin", false, "put the simulated twin of each rig in place of its buses")
	f.StringVar(&o.truth, "truth", "", "`directory` for the twin's truth, which nothing of the service reads")
}

// load reads the files of a command line and prints what is wrong with them.
func load(t *terminal, paths []string) ([]*configs.Rig, *configs.Service, error) {
	if len(paths) == 0 {
		return nil, nil, fails(exitUsage, "name at least one rig file; `pneudaq check FILE` explains one, and the bundled flow-bench and valve-stand can be named as they are")
	}
	rigs, problems := configs.Load(paths...)
	var service *configs.Service
	if len(paths) == 1 && len(problems) == 0 {
		if s, r, p := configs.LoadService(paths[0]); len(p) == 0 {
			service, rigs = s, r
		}
	}
	if len(problems) > 0 {
		printProblems(t, problems)
		return nil, nil, fails(exitConfig, "%s", counted(len(problems))+" in the files: nothing was started")
	}
	for _, r := range rigs {
		printProblems(t, r.Warnings)
	}
	return rigs, service, nil
}

func printProblems(t *terminal, p configs.Problems) {
	for _, x := range p {
		for _, line := range []string{x.Text(configs.Language(t.lang))} {
			_, _ = t.err.Write([]byte(line + "\n"))
		}
	}
}

func runServe(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "serve", "RIG... [--data DIR] [--listen ADDR] [--twin]")
	var o serveFlags
	o.add(f)
	paths, err := parse(f, args)
	if err != nil {
		return err
	}
	rigs, file, err := load(t, paths)
	if err != nil {
		return err
	}
	dir := ""
	if file != nil && o.data.dir == "" {
		dir = file.Data
	}
	if dir == "" {
		if dir, err = o.data.directory(); err != nil {
			return err
		}
	}
	if file != nil && o.listen == "" {
		o.listen = file.Listen
	}
	options, err := storeOptions(rigs, file)
	if err != nil {
		return err
	}
	options.Dir, options.Twin, options.TruthDir, options.Logger = dir, o.twin, o.truth, t.logger
	s, err := openService(ctx, options)
	if err != nil {
		return err
	}
	t.logger.Info("store open", slog.String("data", dir))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reload := func(ctx context.Context) {
		again, problems := configs.Load(paths...)
		if len(problems) > 0 {
			t.logger.Error("reload refused: the files in force stay", slog.Int("problems", len(problems)))
			printProblems(t, problems)
			return
		}
		if err := s.apply(ctx, again, s.recording); err != nil {
			t.logger.Error("reload in part", slog.String("error", err.Error()))
			return
		}
		t.logger.Info("reloaded", slog.Int("rigs", len(again)))
	}
	return s.serve(ctx, t, serveOptions{
		rigs: rigs, listen: o.listen, insecure: o.insecure, hup: hup, reload: reload,
	})
}

type serveOptions struct {
	rigs     []*configs.Rig
	listen   string
	insecure bool
	demo     bool
	hup      <-chan os.Signal
	reload   func(context.Context)
	ready    func(url string) // called once the page can be opened
}

// serve runs the service and its page until ctx ends.
func (s *service) serve(ctx context.Context, t *terminal, o serveOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	page, err := s.openPage(ctx, t, &o)
	if err != nil {
		return errors.Join(err, s.store.Close()) //nolint:contextcheck // closing is not to be cut short
	}
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	if err := s.apply(ctx, o.rigs, nil); err != nil {
		cancel()
		return errors.Join(err, page.close(), <-done)
	}
	notifySystemd(ctx, "READY=1")
	if o.ready != nil {
		o.ready(page.url)
	}
	for {
		select {
		case err := <-done:
			return errors.Join(err, page.close())
		case <-o.hup:
			notifySystemd(ctx, "RELOADING=1")
			o.reload(ctx)
			notifySystemd(ctx, "READY=1")
		}
	}
}

// storeOptions takes the widest of what the rigs ask of the store.
func storeOptions(rigs []*configs.Rig, file *configs.Service) (serviceOptions, error) {
	o, err := configs.Storage(rigs...)
	if err != nil {
		return serviceOptions{}, &exitError{code: exitConfig, err: err}
	}
	so := serviceOptions{Tick: o.Tick, RecordingTick: o.RecordingTick, Memory: o.MemoryLimit, Retention: o.Retention}
	for _, r := range rigs {
		if name := sinkName(r.Delivery); r.Delivery.Enabled && !slices.Contains(so.Sinks, name) {
			so.Sinks = append(so.Sinks, name)
		}
	}
	if file != nil {
		if file.Commit > 0 {
			so.Tick = file.Commit
		}
		if file.Memory > 0 {
			so.Memory = int(file.Memory)
		}
	}
	return so, nil
}

// notifySystemd tells a service manager about the state, if one listens.
func notifySystemd(ctx context.Context, state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unixgram", path)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte(state))
}

// hostPort returns the address of an endpoint's URL.
func hostPort(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "1883")
	}
	return u.Host
}

func runSimulate(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "simulate", "RIG... [--seed N] [--speed X] [--truth DIR]")
	seed := f.Uint64("seed", 0, "draw the plant's truth from this `number` instead of the file's")
	speed := f.Float64("speed", 1, "plant seconds per second")
	truth := f.String("truth", "", "`directory` for the plant's truth as JSON lines")
	paths, err := parse(f, args)
	if err != nil {
		return err
	}
	rigs, _, err := load(t, paths)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(rigs))
	for _, r := range rigs {
		o, err := r.Simulator()
		if err != nil {
			return fails(exitConfig, "simulate %s: %w", r.Name, err)
		}
		if *seed != 0 {
			o.Seed = *seed
		}
		o.Speed = *speed
		if *truth != "" {
			o.Truth = filepath.Join(*truth, r.Name+"-truth.jsonl")
		}
		twin, err := openTwin(ctx, o, t.logger)
		if err != nil {
			return err
		}
		for _, b := range o.Buses {
			t.printf("%s %s: %s %s\n", r.Name, b.Name, b.Kind, twin.Addr(b.Name))
		}
		go func() { failed <- errors.Join(twin.Run(ctx), twin.Close()) }()
	}
	var errs []error
	for range rigs {
		err := <-failed
		if ctx.Err() == nil {
			cancel()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
