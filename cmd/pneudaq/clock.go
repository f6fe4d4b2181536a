package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pneudaq/acquisition"
)

// clockState is what is known of the wall clock: it goes with every recording.
type clockState struct {
	Source         string        `json:"source"`
	Synchronised   bool          `json:"synchronised"`
	EstimatedError time.Duration `json:"estimated_error_ns"`
	MaximumError   time.Duration `json:"maximum_error_ns"`
	Drift          time.Duration `json:"drift_ns"` // wall clock minus the service's time
	Steps          int           `json:"steps"`    // steps seen since the start
	Slept          time.Duration `json:"slept_ns"` // suspended since the start
}

const (
	clockInterval = time.Second
	stepLimit     = 100 * time.Millisecond // a change of the drift within one interval that is no slew: 500 ppm would be 0.5 ms
	slewReport    = time.Second            // drift that is worth an event although it came slowly
)

// clockWatch observes the wall clock beside the service's own time. It never
// corrects a running group: steps are events in the record. After a suspend,
// or a start without a valid clock, the service's time moves forward.
type clockWatch struct {
	clock  *acquisition.Clock
	kernel func() clockState
	asleep func() time.Duration
	event  func(acquisition.Event)
	logger *slog.Logger

	mu    sync.Mutex
	state clockState
}

func (w *clockWatch) get() clockState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *clockWatch) run(ctx context.Context) {
	last, reported := time.Duration(w.clock.Drift()), time.Duration(0)
	slept := w.asleep()
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	synchronised := true
	for {
		s := w.kernel()
		drift := time.Duration(w.clock.Drift())
		w.mu.Lock()
		s.Steps, s.Slept = w.state.Steps, w.state.Slept
		code, detail := "", ""
		switch now := w.asleep(); {
		case now-slept > stepLimit:
			moved := time.Duration(w.clock.Rebase())
			code, detail = "suspended", fmt.Sprintf("the machine was asleep for %s; the service's time moved forward by %s", (now-slept).Round(time.Millisecond), moved.Round(time.Millisecond))
			s.Slept += now - slept
			slept = now
			drift = time.Duration(w.clock.Drift())
			reported = drift
		case (drift - last).Abs() > stepLimit:
			s.Steps++
			code, detail = "clock_step", fmt.Sprintf("the wall clock stepped by %s; readings keep the service's own time, now %s from the wall clock", (drift-last).Round(time.Millisecond), drift.Round(time.Millisecond))
			reported = drift
		case (drift - reported).Abs() > slewReport:
			code, detail = "clock_slew", fmt.Sprintf("the wall clock has drifted by %s since the start", drift.Round(time.Millisecond))
			reported = drift
		case synchronised && !s.Synchronised && s.Source == "kernel":
			code, detail = "clock_unsynchronised", "the kernel says that the clock is not synchronised; methods that compare clocks are refused"
		case !synchronised && s.Synchronised:
			code, detail = "clock_synchronised", "the clock is synchronised"
		}
		last, s.Drift, synchronised = drift, drift, s.Synchronised || s.Source != "kernel"
		w.state = s
		w.mu.Unlock()
		if code != "" {
			w.logger.Info("clock", slog.String("code", code), slog.String("detail", detail))
			w.event(acquisition.Event{Time: w.clock.Now(), Code: code, Detail: detail})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
