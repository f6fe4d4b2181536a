package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"pneudaq/simulator"
	"pneudaq/web"
)

// runDemo shows everything at work: twins in place of the hardware, the service
// on an embedded store, a recording, and the page.
func runDemo(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "demo", "[--data DIR] [--listen ADDR] [--for TIME]")
	var o serveFlags
	o.add(f)
	length := f.Duration("for", 0, "stop after this `time` instead of at Ctrl-C")
	if _, err := parse(f, args); err != nil {
		return err
	}
	dir := o.data.dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "pneudaq-demo-"); err != nil {
			return fails(exitIO, "make a data directory for the demo: %w", err)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fails(exitIO, "the data directory: %w", err)
	}
	rigs, file, err := load(t, []string{"flow-bench"})
	if err != nil {
		return err
	}
	options, err := storeOptions(rigs, file)
	if err != nil {
		return err
	}
	t.printf("pneudaq demo: a simulated rig (SIMULATED data), real Modbus on the loopback network, an embedded store\n")
	t.printf("data      %s (stays there; `pneudaq runs list --data %s` reads it)\n", dir, dir)
	options.Dir, options.Twin, options.TruthDir = dir, true, o.truth
	options.Logger = slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := openService(ctx, options)
	if err != nil {
		return err
	}
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	// The service outlives ctx by a moment, so that the recording is stopped first.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ready := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- s.serve(life, t, serveOptions{rigs: rigs, listen: o.listen, insecure: o.insecure, demo: true, ready: func(url string) { ready <- url }})
	}()
	select {
	case err := <-done:
		return err
	case url := <-ready:
		t.printf("page      %s\n", url)
	}
	a := &archive{store: s.store, forwarders: s.forwardings}
	id := ""
	begin := time.Now()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		if id == "" {
			if doc, err := a.Start(ctx, web.NewRecording{Rig: rigs[0].Name, Owner: "demo", Note: "the demo"}); err == nil {
				id = doc.ID
				t.printf("recording %s\n", id)
			}
		}
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			t.printf("stopping: the last readings are committed\n")
			if id != "" {
				if _, err := a.Stop(life, id, "demo"); err != nil {
					t.logger.Error("stop the recording", slog.String("error", err.Error()))
				}
			}
			end()
			return <-done
		case <-tick.C:
		}
		if id != "" {
			if doc, err := a.Recording(ctx, id); err == nil {
				t.printf("%4.0f s    planned %d slots, stored %d, missing with a reason %d, unexplained %d\n",
					time.Since(begin).Seconds(), doc.Planned, doc.Stored, doc.Missing, doc.Unexplained)
			}
		}
	}
}

func openTwin(ctx context.Context, o simulator.Options, log *slog.Logger) (*simulator.Twin, error) {
	twin, err := simulator.Open(ctx, o, log)
	if err != nil {
		return nil, fails(exitUnavailable, "start the twin of %s: %w; is a port taken, perhaps by another twin?", o.Rig, err)
	}
	return twin, nil
}

func counted(problems int) string {
	if problems == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", problems)
}
