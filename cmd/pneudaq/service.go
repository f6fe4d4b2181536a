package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
	"pneudaq/storage"
	"pneudaq/storage/influx"
)

// service is everything that one `serve` runs: the store, the rigs with a
// collector for each bus, and a forwarder for each destination.
type service struct {
	o     serviceOptions
	store *storage.Store
	clock *acquisition.Clock
	watch *clockWatch
	log   *slog.Logger

	applying   sync.Mutex // one change of the rigs at a time
	mu         sync.Mutex
	rigs       map[string]*rig
	forwarders map[string]*forwarding // by name of the destination
	offers     []func([]*acquisition.Block)
	shown      func(acquisition.Event) // who looks at events as they happen

	running sync.WaitGroup
	failed  chan error
}

type serviceOptions struct {
	Dir           string
	Tick          time.Duration
	RecordingTick time.Duration
	Memory        int
	Retention     storage.Retention
	Sinks         []string // what they have not taken is never dropped
	Twin          bool     // put the twin of each rig in place of its buses
	TruthDir      string
	Logger        *slog.Logger
}

// rig is one rig in service.
type rig struct {
	file   *configs.Rig
	buses  []*bus
	twin   *simulator.Twin
	broker []*simulator.Broker
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// bus is one collector with what it drives.
type bus struct {
	name      string
	endpoint  string
	collector *acquisition.Collector
	modbus    *modbus.Bus  // nil for a broker
	mqtt      *mqtt.Client // nil for a Modbus bus
}

// forwarding is one destination: its forwarder sees the groups of the rigs
// that name it.
type forwarding struct {
	name      string
	where     configs.Delivery
	forwarder *storage.Forwarder
	sink      *influx.Sink
	feed      *rigFeed
	cancel    context.CancelFunc
	done      chan struct{}
}

// openService opens the store. Nothing acquires yet.
func openService(ctx context.Context, o serviceOptions) (*service, error) {
	s := &service{
		o: o, clock: acquisition.NewClock(true), log: o.Logger,
		rigs: map[string]*rig{}, forwarders: map[string]*forwarding{}, failed: make(chan error, 16),
	}
	store, err := s.openStore(ctx)
	if err != nil {
		return nil, storeError(o.Dir, err)
	}
	s.store = store
	s.watch = &clockWatch{clock: s.clock, kernel: kernelClock, asleep: asleep, event: s.event, logger: o.Logger}
	return s, nil
}

// lockPatience is how long a starting service waits for the store: a command
// that reads it holds the lock for a moment.
const lockPatience = 2 * time.Second

func (s *service) openStore(ctx context.Context) (*storage.Store, error) {
	o := s.o
	deadline := time.Now().Add(lockPatience)
	for {
		store, err := storage.Open(ctx, storage.Options{
			Dir: o.Dir, Tick: o.Tick, RecordingTick: o.RecordingTick, MemoryLimit: o.Memory, Retention: o.Retention, Sinks: o.Sinks, Compile: configs.Compile,
			Logger: o.Logger, Now: s.clock.Now, Offer: s.offer,
		})
		var locked *storage.LockedError
		if err == nil || !errors.As(err, &locked) || time.Now().After(deadline) {
			return store, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockPatience / 20):
		}
	}
}

// storeError gives an error of the store its exit code and its remedy.
func storeError(dir string, err error) error {
	var locked *storage.LockedError
	var format *storage.FormatError
	switch {
	case errors.As(err, &locked):
		return &exitError{code: exitLocked, err: err}
	case errors.As(err, &format):
		return &exitError{code: exitData, err: err}
	}
	return fails(exitIO, "%w; check the directory %s and the rights of this user there, or name another with --data", err, dir)
}

func (s *service) offer(blocks []*acquisition.Block) {
	s.mu.Lock()
	offers := s.offers
	s.mu.Unlock()
	for _, f := range offers {
		f(blocks)
	}
}

// event puts an event into the record and shows it.
func (s *service) event(e acquisition.Event) {
	s.store.AddEvent(e)
	s.mu.Lock()
	show := s.shown
	s.mu.Unlock()
	if show != nil {
		show(e)
	}
}

// subscribe adds a taker of committed blocks; it must not block.
func (s *service) subscribe(f func([]*acquisition.Block)) {
	s.mu.Lock()
	s.offers = append(slices.Clone(s.offers), f)
	s.mu.Unlock()
}

// run serves until ctx ends, then stops in order: collectors close their
// epochs, the store takes the last blocks, forwarders empty what they can.
func (s *service) run(ctx context.Context) error {
	life := context.WithoutCancel(ctx)
	storeCtx, stopStore := context.WithCancel(life)
	defer stopStore()
	storeDone := make(chan error, 1)
	go func() { storeDone <- s.store.Run(storeCtx) }()
	watchCtx, stopWatch := context.WithCancel(life)
	s.running.Go(func() { s.watch.run(watchCtx) })

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	case failure = <-storeDone:
		storeDone <- failure
	}
	s.mu.Lock()
	rigs := slices.Collect(maps.Values(s.rigs))
	s.mu.Unlock()
	for _, r := range rigs {
		r.cancel()
	}
	for _, r := range rigs {
		r.close()
	}
	stopWatch()
	stopStore()
	err := <-storeDone
	s.mu.Lock()
	fs := slices.Collect(maps.Values(s.forwarders))
	s.mu.Unlock()
	for _, f := range fs {
		f.cancel()
	}
	for _, f := range fs {
		<-f.done
	}
	s.running.Wait()
	return errors.Join(failure, err, s.store.Close()) //nolint:contextcheck // closing is not to be cut short
}

// apply makes the service run exactly these rigs: unchanged ones are left
// alone, changed ones are stopped and started, missing ones stopped. A changed
// rig with an open recording is refused and keeps its old file.
func (s *service) apply(ctx context.Context, files []*configs.Rig, recording func(rig string) bool) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	var errs []error
	named := map[string]bool{}
	var start []*configs.Rig
	for _, f := range files {
		named[f.Name] = true
		s.mu.Lock()
		old := s.rigs[f.Name]
		s.mu.Unlock()
		if old != nil {
			if old.file.Digest() == f.Digest() {
				continue
			}
			if recording != nil && recording(f.Name) {
				errs = append(errs, fails(exitConfig, "rig %s is being recorded: its changed file is taken after the recording has stopped", f.Name))
				continue
			}
			s.remove(f.Name)
		}
		start = append(start, f)
	}
	s.mu.Lock()
	var gone []string
	for name := range s.rigs {
		if !named[name] {
			gone = append(gone, name)
		}
	}
	s.mu.Unlock()
	for _, name := range gone {
		if recording != nil && recording(name) {
			errs = append(errs, fails(exitConfig, "rig %s is being recorded: it stays until the recording has stopped", name))
			continue
		}
		s.remove(name)
	}
	loans := s.loans(files)
	for _, f := range start {
		if err := s.add(ctx, f, loans); err != nil {
			errs = append(errs, err)
		}
	}
	if err := s.forward(ctx, files); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *service) remove(name string) {
	s.mu.Lock()
	r := s.rigs[name]
	delete(s.rigs, name)
	s.mu.Unlock()
	if r != nil {
		r.cancel()
		r.close()
		s.log.Info("rig stopped", slog.String("rig", name))
	}
}

// endpoint returns where a bus is really reached: at the twin's address, if one
// stands in its place.
func (r *rig) endpoint(bus, stated string) string {
	if r.twin == nil {
		return stated
	}
	u, err := url.Parse(stated)
	if err != nil || u.Host == "" {
		return stated
	}
	u.Host = r.twin.Addr(bus)
	return u.String()
}

func (r *rig) close() {
	r.done.Wait()
	if r.twin != nil {
		_ = r.twin.Close()
	}
	for _, b := range r.broker {
		_ = b.Close()
	}
}

// loans gives every channel that another rig borrows its place, by rig/channel.
func (s *service) loans(files []*configs.Rig) map[string]*acquisition.Loan {
	loans := map[string]*acquisition.Loan{}
	for _, f := range files {
		for i := range f.Channels {
			if c := &f.Channels[i]; c.Origin == configs.FromOtherRig {
				loans[c.LenderRig+"/"+c.Lender] = &acquisition.Loan{}
			}
		}
	}
	return loans
}

// add starts a rig.
func (s *service) add(ctx context.Context, f *configs.Rig, loans map[string]*acquisition.Loan) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &rig{file: f, cancel: cancel}
	if err := s.build(ctx, r, loans); err != nil {
		cancel()
		r.close()
		return fmt.Errorf("start rig %s: %w", f.Name, err)
	}
	for _, b := range r.buses {
		r.done.Go(func() {
			if err := b.collector.Run(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("collector ended", slog.String("rig", f.Name), slog.String("bus", b.name), slog.String("error", err.Error()))
				s.failed <- fmt.Errorf("rig %s bus %s: %w", f.Name, b.name, err)
			}
		})
	}
	s.mu.Lock()
	s.rigs[f.Name] = r
	s.mu.Unlock()
	s.log.Info("rig started", slog.String("rig", f.Name), slog.Int("buses", len(r.buses)), slog.Bool("simulated", r.twin != nil))
	return nil
}

func (s *service) build(ctx context.Context, r *rig, loans map[string]*acquisition.Loan) error {
	f := r.file
	if s.o.Twin {
		o, err := f.Simulator()
		if err != nil {
			return fmt.Errorf("the twin: %w", err)
		}
		if err := ownBrokers(f, &o); err != nil {
			return err
		}
		for i := range o.Buses {
			if o.Buses[i].Kind != simulator.BusRTU {
				o.Buses[i].Listen = "127.0.0.1:0"
			}
		}
		if s.o.TruthDir != "" {
			o.Truth = s.o.TruthDir + "/" + f.Name + "-truth.jsonl"
		}
		if r.twin, err = simulator.Open(ctx, o, s.log); err != nil {
			return fmt.Errorf("the twin: %w", err)
		}
		r.done.Go(func() {
			if err := r.twin.Run(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("twin ended", slog.String("rig", f.Name), slog.String("error", err.Error()))
			}
		})
	}
	lines, err := f.Modbus()
	if err != nil {
		return err
	}
	for _, o := range lines {
		o.Logger, o.Now = s.log, s.clock.Now
		if r.twin != nil {
			name := o.Name
			o.Dial = func(ctx context.Context) (io.ReadWriteCloser, error) { return r.twin.Dial(ctx, name) }
			for i := range o.Groups {
				o.Groups[i].Group.Simulated = true
			}
		}
		b, err := modbus.New(o)
		if err != nil {
			return err
		}
		if err := s.collector(r, &bus{name: o.Name, endpoint: r.endpoint(o.Name, o.Endpoint), modbus: b}, b.Groups(), loans); err != nil {
			return err
		}
	}
	brokers, err := f.MQTT()
	if err != nil {
		return err
	}
	for _, o := range brokers {
		if err := s.broker(r, &o); err != nil { //nolint:contextcheck // opening a listener on this machine does not wait
			return err
		}
		o.Logger, o.Now = s.log, s.clock.Now
		o.Quarantine = func(topic string, payload []byte, why string) {
			s.event(acquisition.Event{
				Time: s.clock.Now(), Rig: f.Name, Code: "quarantine",
				Detail: fmt.Sprintf("topic %s: %s; payload of %d bytes: %.200q", topic, why, len(payload), payload),
			})
		}
		c, err := mqtt.New(o)
		if err != nil {
			return err
		}
		c.Marks(s.store.Marks(f.Name))
		for _, g := range c.Groups() {
			if slot, at, ok := s.store.Last(g.Key()); ok {
				c.Resume(g.Key(), slot, at)
			}
		}
		if err := s.collector(r, &bus{name: o.Name, endpoint: o.Endpoint, mqtt: c}, c.Groups(), loans); err != nil {
			return err
		}
	}
	return nil
}

// ownBrokers gives the twin a broker of its own for each one that the rig names,
// so that what it publishes needs no broker outside.
func ownBrokers(f *configs.Rig, o *simulator.Options) error {
	brokers, err := f.MQTT()
	if err != nil {
		return err
	}
	for i := range brokers {
		b := &brokers[i]
		o.Buses = append(o.Buses, simulator.BusOptions{Name: b.Name, Kind: simulator.BusMQTT})
		for k := range o.Publishers {
			if p := &o.Publishers[k]; p.Broker == b.Endpoint {
				p.Broker, p.Username, p.Password, p.CA = b.Name, "", "", ""
			}
		}
		// The twin's broker lets everybody in.
	}
	return nil
}

// broker starts the broker that a bus asks for, or points the bus at the twin's.
func (s *service) broker(r *rig, o *mqtt.Options) error {
	if r.twin != nil {
		o.Endpoint = "mqtt://" + r.twin.Addr(o.Name)
		o.TLS = nil
		for i := range o.Groups {
			o.Groups[i].Group.Simulated = true
		}
		return nil
	}
	if b := r.file.Bus(o.Name); b == nil || !b.Embedded {
		return nil
	}
	broker, err := simulator.OpenBroker(simulator.BrokerOptions{Listen: hostPort(o.Endpoint), Logger: s.log})
	if err != nil {
		return fmt.Errorf("the embedded broker of bus %s: %w", o.Name, err)
	}
	r.broker = append(r.broker, broker)
	return nil
}

func (s *service) collector(r *rig, b *bus, groups []*acquisition.Group, loans map[string]*acquisition.Loan) error {
	if len(groups) == 0 {
		return nil
	}
	o := acquisition.CollectorOptions{
		Rig: r.file.Name, Bus: b.name, Groups: groups, Store: s.store, Clock: s.clock, Logger: s.log, Event: s.event,
	}
	if b.modbus != nil {
		o.Poller = b.modbus
	} else {
		o.Receiver = b.mqtt
	}
	for _, g := range groups {
		for i := range g.Channels {
			c := &g.Channels[i]
			if loan := loans[g.Rig+"/"+c.Name]; loan != nil && c.Decoding.Origin != acquisition.FromExpression {
				o.Lend = append(o.Lend, acquisition.Lend{Group: g.Key(), Channel: i, Loan: loan})
			}
			if x := r.file.Channel(c.Name); x != nil && x.Origin == configs.FromOtherRig {
				o.Borrow = append(o.Borrow, acquisition.Borrow{Group: g.Key(), Channel: i, Loan: loans[x.LenderRig+"/"+x.Lender], MaxAge: x.MaxAge})
			}
		}
	}
	c, err := acquisition.NewCollector(o)
	if err != nil {
		return err
	}
	b.collector = c
	r.buses = append(r.buses, b)
	return nil
}

// sinkName names a destination in positions and accounts.
func sinkName(d configs.Delivery) string { return "influx " + d.URL + " " + d.Bucket }

// forward makes a forwarder run for each destination that the rigs name.
func (s *service) forward(ctx context.Context, files []*configs.Rig) error {
	rigs := map[string][]string{}
	where := map[string]*configs.Rig{}
	for _, f := range files {
		if d := f.Delivery; d.Enabled {
			name := sinkName(d)
			rigs[name] = append(rigs[name], f.Name)
			where[name] = f
		}
	}
	s.mu.Lock()
	var end []*forwarding
	for name, f := range s.forwarders {
		if _, ok := where[name]; !ok || f.where != where[name].Delivery {
			end = append(end, f)
			delete(s.forwarders, name)
		} else {
			f.feed.set(rigs[name])
		}
	}
	s.mu.Unlock()
	for _, f := range end {
		f.cancel()
		<-f.done
	}
	for name, f := range where {
		s.mu.Lock()
		_, there := s.forwarders[name]
		s.mu.Unlock()
		if there {
			continue
		}
		if err := s.openForwarder(ctx, name, f, rigs[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) openForwarder(ctx context.Context, name string, file *configs.Rig, rigs []string) error {
	o, _, err := file.Influx()
	if err != nil {
		return &exitError{code: exitConfig, err: err}
	}
	o.Compile, o.Logger, o.Now = configs.Compile, s.log, s.clock.Now
	sink, err := influx.New(o)
	if err != nil {
		return fails(exitConfig, "%w", err)
	}
	feed := &rigFeed{ForwarderStore: s.store}
	feed.set(rigs)
	fw, err := storage.NewForwarder(storage.ForwarderOptions{
		Store: feed, Sink: sink, Name: name, Compile: configs.Compile, Now: s.clock.Now, Logger: s.log,
	})
	if err != nil {
		return fails(exitConfig, "%w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &forwarding{name: name, where: file.Delivery, forwarder: fw, sink: sink, feed: feed, cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	s.forwarders[name] = f
	s.mu.Unlock()
	s.subscribe(func(blocks []*acquisition.Block) {
		if ctx.Err() == nil {
			fw.Offer(feed.only(blocks))
		}
	})
	go func() {
		defer close(f.done)
		if err := fw.Run(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("forwarder ended", slog.String("sink", name), slog.String("error", err.Error()))
			s.failed <- fmt.Errorf("forwarder %s: %w", name, err)
		}
		_ = sink.Close()
	}()
	return nil
}

// rigFeed shows a forwarder the groups of some rigs only.
type rigFeed struct {
	storage.ForwarderStore

	mu   sync.RWMutex
	rigs []string
}

func (f *rigFeed) set(rigs []string) {
	f.mu.Lock()
	f.rigs = slices.Clone(rigs)
	f.mu.Unlock()
}

func (f *rigFeed) has(rig string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Contains(f.rigs, rig)
}

// Groups returns the newest version of each group of the rigs.
func (f *rigFeed) Groups() []*acquisition.Group {
	return slices.DeleteFunc(f.ForwarderStore.Groups(), func(g *acquisition.Group) bool { return !f.has(g.Rig) })
}

func (f *rigFeed) only(blocks []*acquisition.Block) []*acquisition.Block {
	var mine []*acquisition.Block
	for _, b := range blocks {
		if f.has(b.Group.Rig) {
			mine = append(mine, b)
		}
	}
	return mine
}
