package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
	"pneudaq/storage"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
	"pneudaq/storage/storagetest"
)

var (
	simSeeds = flag.Int("seeds", 0, "TestSimulation: how many seeds to run; 0: the fixed number")
	simSeed  = flag.Uint64("seed", 1, "TestSimulation: the first seed")
)

// fixedSeeds is how many seeds a plain `go test` runs.
const fixedSeeds = 24

// TestSimulation runs the whole path from the wire to the database in virtual
// time, with faults on the wire, of the disk, of the database and of the process
// at moments that follow from a seed. After each seed every planned sample must
// have exactly one account, every value must come from the register and the
// moment that it is stored under, what was once durable must still be there, and
// the database must hold exactly what the store holds. A goroutine that is left
// over ends the test.
//
//	go test ./cmd/pneudaq -run TestSimulation -seeds 1000 -seed 1
func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds := *simSeeds
	if seeds == 0 {
		seeds = fixedSeeds
		if testing.Short() {
			seeds = 6
		}
	}
	var total simTally
	began := time.Now()
	for seed := *simSeed; seed < *simSeed+uint64(seeds); seed++ {
		plan := planSimulation(seed)
		problems := simulate(t, plan, &total)
		if len(problems) == 0 {
			continue
		}
		t.Errorf("seed %d (again: go test ./cmd/pneudaq -run TestSimulation -seeds 1 -seed %d)\n%s\nwith\n%s",
			seed, seed, strings.Join(problems, "\n"), plan)
		if short := reduceSimulation(t, plan); len(short.faults) < len(plan.faults) {
			t.Logf("seed %d also without the other faults:\n%s", seed, short)
		}
	}
	took := time.Since(began)
	t.Logf("%d seeds, %s of rig time in %s: %d scans, %d slots in gaps, %d lives ended by a crash, %d by a stop, %d starts refused, %d requests refused or lost by the database, faults %v",
		seeds, total.time.Round(time.Minute), took.Round(time.Millisecond), total.scans, total.gaps, total.crashes, total.stops, total.refusals, total.retries, total.struck)
	if seeds >= 20 && (total.crashes == 0 || total.stops == 0 || total.retries == 0 || total.gaps == 0 || len(total.struck) < 10) {
		t.Errorf("the faults did not happen: %+v", total)
	}
}

// simTally is what happened in all seeds.
type simTally struct {
	time                     time.Duration
	scans, gaps, retries     uint64
	crashes, stops, refusals int
	struck                   map[simulator.FaultKind]uint64
}

// simFault is one fault of a plan.
type simFault struct {
	at     time.Duration
	length time.Duration
	kind   string // wire, unplug, black hole, database, slow sync, ...
	bus    int
	wire   simulator.Fault
	answer string // of the database
	n      int
}

func (f simFault) String() string {
	s := fmt.Sprintf("  %9s  %s", f.at.Round(time.Millisecond), f.kind)
	switch f.kind {
	case "wire":
		s += fmt.Sprintf(" of bus %d: %s p=%.2f units=%v n=%d delay=%s", f.bus, f.wire.Kind, f.wire.Probability, f.wire.Units, f.wire.N, f.wire.Delay)
	case "unplug", "black hole", "mute":
		s += fmt.Sprintf(" of bus %d", f.bus)
	case "database":
		s += ": " + f.answer
	}
	return s + fmt.Sprintf(" n=%d for %s", f.n, f.length.Round(time.Millisecond))
}

// simPlan is everything that a seed decides.
type simPlan struct {
	seed    uint64
	length  time.Duration // until the faults end
	periods [3]time.Duration
	tick    time.Duration
	memory  int
	segment int64
	flight  int
	poison  bool
	faults  []simFault
}

func (p simPlan) String() string {
	s := fmt.Sprintf("  %s, periods %v, tick %s, memory %d, segment %d, inflight %d, poison %t\n", p.length, p.periods, p.tick, p.memory, p.segment, p.flight, p.poison)
	for _, f := range p.faults {
		s += f.String() + "\n"
	}
	return s
}

func planSimulation(seed uint64) simPlan {
	r := rand.New(rand.NewPCG(seed, 0x5EED))
	pick := func(d ...time.Duration) time.Duration { return d[r.IntN(len(d))] }
	p := simPlan{
		seed: seed, length: time.Minute + time.Duration(r.Int64N(int64(5*time.Minute))),
		periods: [3]time.Duration{pick(100*time.Millisecond, 200*time.Millisecond, 250*time.Millisecond), time.Second, pick(300*time.Millisecond, 500*time.Millisecond)},
		tick:    pick(time.Second, time.Second, 200*time.Millisecond), memory: []int{0, 1}[r.IntN(2)],
		segment: []int64{8 << 10, 64 << 10, 1 << 20}[r.IntN(3)], flight: 1 + 3*r.IntN(2), poison: r.IntN(4) == 0,
	}
	if r.IntN(8) == 0 { // a long one
		p.length = time.Hour
		p.periods = [3]time.Duration{2 * time.Second, 5 * time.Second, 3 * time.Second}
	}
	n := 4 + r.IntN(12)
	for range n {
		p.faults = append(p.faults, simulationFault(r, p.length))
	}
	slices.SortStableFunc(p.faults, func(a, b simFault) int { return int(a.at - b.at) })
	return p
}

func simulationFault(r *rand.Rand, length time.Duration) simFault {
	f := simFault{
		at: time.Duration(r.Int64N(int64(length))), length: time.Duration(r.Int64N(int64(30 * time.Second))),
		bus: r.IntN(2), n: 1 + r.IntN(40),
	}
	kinds := []string{
		"wire", "wire", "wire", "wire", "unplug", "black hole", "mute", "database", "database", "database", "database down",
		"slow sync", "failed sync", "failed write", "disk full", "kill", "power cut", "power cut at operation", "kill at operation", "restart",
		"recording",
	}
	f.kind = kinds[r.IntN(len(kinds))]
	switch f.kind {
	case "wire":
		f.wire = wireFault(r, f.bus)
	case "database":
		answers := []string{"503", "500", "429", "429 for a while", "401", "404", "lost answer", "lost body", "reset", "slow", "portal"}
		f.answer = answers[r.IntN(len(answers))]
	default:
	}
	return f
}

func wireFault(r *rand.Rand, bus int) simulator.Fault {
	isRTU := bus == 1
	kinds := []simulator.FaultKind{
		simulator.FaultMute, simulator.FaultDelay, simulator.FaultLate, simulator.FaultDuplicate, simulator.FaultUnit, simulator.FaultFunction,
		simulator.FaultByteCount, simulator.FaultShort, simulator.FaultLong, simulator.FaultSplit, simulator.FaultDribble, simulator.FaultTruncate,
		simulator.FaultCut, simulator.FaultReset, simulator.FaultException, simulator.FaultGarbage, simulator.FaultRestart,
	}
	if isRTU {
		kinds = append(kinds, simulator.FaultFlip, simulator.FaultChecksum)
	} else {
		// A bit that flips on TCP is no fault that a client can see.
		kinds = append(kinds, simulator.FaultTransaction, simulator.FaultProtocol, simulator.FaultLength, simulator.FaultHTTP, simulator.FaultUnsolicited)
	}
	f := simulator.Fault{
		Kind: kinds[r.IntN(len(kinds))], Probability: []float64{0.05, 0.3, 1}[r.IntN(3)],
		Delay: 20*time.Millisecond + time.Duration(r.Int64N(int64(580*time.Millisecond))),
	}
	if r.IntN(2) == 0 {
		f.Units = []byte{byte(1 + r.IntN(2))}
		if isRTU {
			f.Units[0] += 2
		}
	}
	switch f.Kind {
	case simulator.FaultDuplicate:
		if isRTU {
			f.Delay = 0 // the same answer again at any later moment cannot be told from one to the same question
		}
	case simulator.FaultSplit, simulator.FaultTruncate, simulator.FaultCut, simulator.FaultReset:
		f.N = 1 + r.IntN(12)
	case simulator.FaultFlip:
		f.N = -1
	case simulator.FaultLength:
		f.N = []int{0, 1, 255, 300, 65535}[r.IntN(5)]
	case simulator.FaultDribble:
		f.Delay = time.Duration(1+r.IntN(100)) * time.Millisecond
	case simulator.FaultException:
		f.N = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11}[r.IntN(11)]
	default:
	}
	return f
}

// reduceSimulation leaves faults out for as long as the plan goes on to fail.
func reduceSimulation(t *testing.T, p simPlan) simPlan {
	t.Helper()
	for i := 0; i < len(p.faults); {
		q := p
		q.faults = slices.Delete(slices.Clone(p.faults), i, i+1)
		var ignored simTally
		if len(simulate(t, q, &ignored)) > 0 {
			p = q
		} else {
			i++
		}
	}
	return p
}

// world is what outlives the process: the rig, the database and the disk.
type world struct {
	t      *testing.T
	plan   simPlan
	r      *rand.Rand
	wires  [2]*simWire
	server *influxtest.Server
	client *http.Client
	boot   int

	mu       sync.Mutex
	disk     *storagetest.Disk
	badSyncs int // to be answered with an error
	badWrite int
	stopAt   int                                       // operation at which the power goes, 0: none
	durable  map[acquisition.GroupKey]map[uint64]int64 // slot to time of what was once durable

	again   time.Time // when the service is started again
	refusal error     // of the last start that was none
	slow    time.Time // until then a sync may be under way that takes seconds

	life     *simLife
	tally    *simTally
	problems []string
}

func (w *world) problem(format string, a ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.problems) < 20 {
		w.problems = append(w.problems, "- "+time.Since(simEpoch()).Round(time.Millisecond).String()+" "+fmt.Sprintf(format, a...))
	}
}

// simEpoch is when the clock of a bubble begins.
func simEpoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// simWire is a bus with its devices.
type simWire struct {
	server *simulator.Server
	ctx    context.Context // the life of the devices
	all    sync.WaitGroup

	mu     sync.Mutex
	down   int // refuses
	hole   int // neither answers nor refuses
	faults []*simulator.Fault
}

func (x *simWire) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	x.mu.Lock()
	down, hole := x.down > 0, x.hole > 0
	x.mu.Unlock()
	switch {
	case hole:
		<-ctx.Done()
		return nil, ctx.Err()
	case down:
		return nil, syscall.ECONNREFUSED
	}
	client, server := net.Pipe()
	x.all.Go(func() { _ = x.server.ServeConn(x.ctx, server) })
	return client, nil
}

// set changes the faults of a wire.
func (x *simWire) set(change func()) {
	x.mu.Lock()
	change()
	var all []simulator.Fault
	for _, f := range x.faults {
		all = append(all, *f)
	}
	down, hole := x.down > 0, x.hole > 0
	x.mu.Unlock()
	_ = x.server.SetFaults(all) // the plan has only faults that are possible
	x.server.Unplug(down)
	for _, u := range []byte{1, 2, 3, 4} {
		x.server.Mute(u, hole)
	}
}

const (
	clockAddress = 400 // of the four registers that carry the device's clock
	simURL       = "http://influx.example"
)

// simBuses returns the buses of the rig. Each group of the field bus reads both
// units; the registers of the line are read in two shapes.
func (w *world) simBuses(clock *acquisition.Clock) []modbus.Options {
	channel := func(unit byte, table modbus.Table, address uint16) modbus.ChannelOptions {
		name := fmt.Sprintf("u%d_%s_%d", unit, table, address)
		kind := acquisition.TypeUint16
		if address == clockAddress {
			kind = acquisition.TypeUint64
		}
		return modbus.ChannelOptions{
			Channel: acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{Type: kind}},
			Device:  fmt.Sprintf("d%d", unit), Table: table, Address: address,
		}
	}
	group := func(name string, period time.Duration, c ...modbus.ChannelOptions) modbus.GroupOptions {
		return modbus.GroupOptions{Group: acquisition.Group{Rig: "rig", Site: "ningbo", Name: name, Measurement: "pneumatics", Period: period}, Channels: c}
	}
	logger := slog.New(slog.DiscardHandler)
	return []modbus.Options{{
		Name: "field", Endpoint: "tcp://rig:502", Timeout: 150 * time.Millisecond, Inflight: w.plan.flight, Dial: w.wires[0].dial, Now: clock.Now, Logger: logger,
		Devices: []modbus.Device{{Name: "d1", Unit: 1}, {Name: "d2", Unit: 2}},
		Groups: []modbus.GroupOptions{
			group("fast", w.plan.periods[0], channel(1, modbus.Holding, 0), channel(1, modbus.Holding, 3), channel(2, modbus.Holding, 7), channel(2, modbus.Holding, clockAddress)),
			group("slow", w.plan.periods[1], channel(2, modbus.Input, 100), channel(1, modbus.Input, 50), channel(1, modbus.Holding, 200), channel(1, modbus.Input, clockAddress)),
		},
	}, {
		Name: "line", Endpoint: "rtu+tcp://rig:4001", Timeout: 100 * time.Millisecond, Late: 700 * time.Millisecond, Dial: w.wires[1].dial, Now: clock.Now, Logger: logger,
		Devices: []modbus.Device{{Name: "d3", Unit: 3}, {Name: "d4", Unit: 4}},
		Groups: []modbus.GroupOptions{
			group("line", w.plan.periods[2], channel(3, modbus.Holding, 10), channel(3, modbus.Holding, 12), channel(3, modbus.Holding, clockAddress), channel(4, modbus.Input, 40), channel(4, modbus.Input, 44)),
		},
	}}
}

// simLife is one run of the service process.
type simLife struct {
	store      *storage.Store
	clock      *acquisition.Clock
	forwarder  *storage.Forwarder
	sink       *influx.Sink
	dead       atomic.Bool
	stopping   atomic.Bool
	collectors sync.WaitGroup
	endCollect context.CancelFunc
	storeDone  chan error
	endStore   context.CancelFunc
	fwDone     chan error
	endForward context.CancelFunc
	failed     chan error
}

// cord is the process's way to the database; a process that is dead has none.
type cord struct {
	l    *simLife
	base http.RoundTripper
}

var errDead = errors.New("the process is not there any more")

// RoundTrip passes a request on.
func (c cord) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.l.dead.Load() {
		return nil, errDead
	}
	resp, err := c.base.RoundTrip(r)
	if err == nil && c.l.dead.Load() {
		_ = resp.Body.Close()
		return nil, errDead
	}
	return resp, err
}

// start starts the service. An error is what keeps it from starting.
func (w *world) start() error {
	l := &simLife{clock: acquisition.NewClock(false), failed: make(chan error, 8), storeDone: make(chan error, 1), fwDone: make(chan error, 1)}
	var offer atomic.Pointer[storage.Forwarder]
	store, err := storage.Open(w.t.Context(), storage.Options{
		FS: w.disk, Tick: w.plan.tick, RecordingTick: 50 * time.Millisecond, MemoryLimit: w.plan.memory, SegmentSize: w.plan.segment,
		Now: l.clock.Now, BootID: fmt.Sprintf("boot-%d", w.boot),
		Offer: func(blocks []*acquisition.Block) {
			w.sawDurable(blocks)
			if f := offer.Load(); f != nil {
				f.Offer(blocks)
			}
		},
	})
	if err != nil {
		return err
	}
	l.store = store
	if l.sink, err = influx.New(influx.Options{
		URL: simURL, Bucket: "pneudaq/autogen", HTTPClient: &http.Client{Transport: cord{l, w.client.Transport}}, Now: l.clock.Now, Timeout: 20 * time.Second,
	}); err != nil {
		return errors.Join(err, store.Close())
	}
	if l.forwarder, err = storage.NewForwarder(storage.ForwarderOptions{
		Store: store, Sink: l.sink, Name: "influx", Check: w.server, CheckEvery: 5 * time.Minute, Now: l.clock.Now, SaveEvery: 5 * time.Second,
	}); err != nil {
		return errors.Join(err, store.Close())
	}
	offer.Store(l.forwarder)
	var collectors []*acquisition.Collector
	for _, o := range w.simBuses(l.clock) {
		b, err := modbus.New(o)
		if err != nil {
			return errors.Join(err, store.Close())
		}
		c, err := acquisition.NewCollector(acquisition.CollectorOptions{
			Rig: "rig", Bus: o.Name, Poller: b, Groups: b.Groups(), Store: store, Clock: l.clock, Logger: slog.New(slog.DiscardHandler), Event: store.AddEvent,
		})
		if err != nil {
			return errors.Join(err, store.Close())
		}
		collectors = append(collectors, c)
	}
	life := context.WithoutCancel(w.t.Context())
	storeCtx, endStore := context.WithCancel(life)
	fwCtx, endForward := context.WithCancel(life)
	collectCtx, endCollect := context.WithCancel(life)
	l.endStore, l.endForward, l.endCollect = endStore, endForward, endCollect
	go func() { err := store.Run(storeCtx); l.report("store", err); l.storeDone <- err }()
	go func() { err := l.forwarder.Run(fwCtx); l.report("forwarder", err); l.fwDone <- err }()
	for _, c := range collectors {
		l.collectors.Go(func() { l.report("collector", c.Run(collectCtx)) })
	}
	w.life = l
	return nil
}

// report notes a part that ended by itself, which ends a service.
func (l *simLife) report(part string, err error) {
	if err != nil && !l.stopping.Load() && !l.dead.Load() {
		l.failed <- fmt.Errorf("%s: %w", part, err)
	}
}

// sawDurable notes what the store has said to be durable.
func (w *world) sawDurable(blocks []*acquisition.Block) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range blocks {
		m := w.durable[b.Group.Key()]
		if m == nil {
			m = map[uint64]int64{}
			w.durable[b.Group.Key()] = m
		}
		for i, s := range b.Slots {
			m[s] = b.Times[i]
		}
	}
}

// end ends the goroutines of a life in the order of a service.
func (l *simLife) end() error {
	l.stopping.Store(true)
	l.endCollect()
	l.collectors.Wait()
	l.endStore()
	err := <-l.storeDone
	l.endForward()
	return errors.Join(err, <-l.fwDone, l.sink.Close(), l.store.Close())
}

// crash ends the process without a last word; the disk is left as image says.
func (w *world) crash(image func(*storagetest.Disk) *storagetest.Disk) {
	l := w.life
	l.dead.Store(true)
	disk := image(w.disk)
	w.tally.crashes++
	_ = l.end() // the rest of what runs in memory; it reaches neither disk nor database
	w.life = nil
	w.mu.Lock()
	w.disk, w.stopAt, w.badSyncs, w.badWrite = disk, 0, 0, 0
	w.mu.Unlock()
	disk.Hook(w.hook)
}

func (w *world) kill() {
	w.crash(func(d *storagetest.Disk) *storagetest.Disk { return d.Kill() })
}

func (w *world) powerCut() {
	w.boot++
	w.crash(func(d *storagetest.Disk) *storagetest.Disk { return d.PowerCut(w.r) })
}

// hook is what the disk asks before each operation.
func (w *world) hook(o storagetest.Op) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopAt > 0 && o.N >= w.stopAt:
		return storagetest.ErrOff
	case o.Kind == storagetest.Sync && w.badSyncs > 0:
		w.badSyncs--
		return syscall.EIO
	case o.Kind == storagetest.Write && w.badWrite > 0:
		w.badWrite--
		return syscall.EIO
	}
	return nil
}

// pass lets time pass until at. A service that is down is started when its time
// has come, as often as a service manager does; one that ends by itself too.
func (w *world) pass(at time.Time) {
	for d := time.Until(at); d > 0; d = time.Until(at) {
		if w.life == nil {
			if wait := time.Until(w.again); wait > 0 {
				time.Sleep(min(wait, d))
				continue
			}
			if err := w.start(); err != nil {
				w.refusal = err
				w.tally.refusals++
				w.again = time.Now().Add(time.Second)
			}
			continue
		}
		select {
		case err := <-w.life.failed:
			w.problem("the service ended by itself: %v", err)
			w.kill()
			w.again = time.Now().Add(time.Second)
		case <-time.After(d):
		}
	}
}

// simulate runs a plan and returns what is wrong.
func simulate(t *testing.T, plan simPlan, tally *simTally) (problems []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, plan: plan, r: rand.New(rand.NewPCG(plan.seed, 0xD15C)), disk: storagetest.New(), server: influxtest.New(),
			durable: map[acquisition.GroupKey]map[uint64]int64{}, tally: tally,
		}
		w.disk.Hook(w.hook)
		w.client = w.server.Pipe(t)
		if plan.poison {
			w.server.Poison = poisoned
		}
		ctx, cancel := context.WithCancel(context.Background())
		for i, units := range [][]byte{{1, 2}, {3, 4}} {
			m := map[byte]simulator.Memory{}
			for _, u := range units {
				m[u] = &simulator.AddressMemory{Unit: u, ClockFrom: clockAddress, ClockTo: clockAddress + 4}
			}
			s, err := simulator.NewServer(simulator.ServerOptions{Units: m, RTU: i == 1, Seed: plan.seed, Delay: 2 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			w.wires[i] = &simWire{server: s, ctx: ctx}
		}
		time.Sleep(time.Duration(w.r.Int64N(int64(2 * time.Second))))
		w.play()
		w.finish()
		cancel()
		for _, x := range w.wires {
			x.all.Wait()
			for k, n := range x.server.Counts().Faults {
				if tally.struck == nil {
					tally.struck = map[simulator.FaultKind]uint64{}
				}
				tally.struck[k] += n
			}
		}
		problems = w.problems
	})
	return problems
}

// poisoned says which lines the database will never take.
func poisoned(measurement string, _ influxtest.Point, at int64) bool {
	return measurement == "pneumatics" && (at/int64(time.Second))%37 == 0
}

// step is the beginning or the end of a fault.
type step struct {
	at time.Duration
	do func()
}

// play lets the faults happen.
func (w *world) play() {
	began := time.Now()
	var steps []step
	add := func(at time.Duration, do func()) { steps = append(steps, step{at, do}) }
	var answers []influxtest.Fault
	database := func() {
		w.server.Heal()
		if len(answers) > 0 {
			w.server.Always(answers[len(answers)-1])
		}
	}
	down := 0
	for _, f := range w.plan.faults {
		end := min(f.at+f.length, w.plan.length)
		switch f.kind {
		case "wire":
			x, fault := w.wires[f.bus], f.wire
			add(f.at, func() { x.set(func() { x.faults = append(x.faults, &fault) }) })
			add(end, func() {
				x.set(func() { x.faults = slices.DeleteFunc(x.faults, func(g *simulator.Fault) bool { return g == &fault }) })
			})
		case "unplug":
			x := w.wires[f.bus]
			add(f.at, func() { x.set(func() { x.down++ }) })
			add(end, func() { x.set(func() { x.down-- }) })
		case "black hole", "mute":
			x := w.wires[f.bus]
			add(f.at, func() { x.set(func() { x.hole++ }) })
			add(end, func() { x.set(func() { x.hole-- }) })
		case "database":
			once, always := databaseFault(f.answer)
			if once != nil {
				add(f.at, func() {
					for range 1 + f.n%4 {
						w.server.Next(*once)
					}
				})
				break
			}
			add(f.at, func() { answers = append(answers, *always); database() })
			add(end, func() { answers = answers[1:]; database() })
		case "database down":
			add(f.at, func() { down++; w.server.Down() })
			add(end, func() {
				if down--; down == 0 {
					database()
				}
			})
		case "slow sync":
			add(f.at, func() {
				w.slow = began.Add(end + 10*time.Second)
				w.disk.SetSyncTime(time.Duration(f.n) * 100 * time.Millisecond)
			})
			add(end, func() { w.slow = time.Now().Add(10 * time.Second); w.disk.SetSyncTime(0) })
		case "failed sync":
			add(f.at, func() { w.mu.Lock(); w.badSyncs = 1 + f.n%3; w.mu.Unlock() })
		case "failed write":
			add(f.at, func() { w.mu.Lock(); w.badWrite = 1 + f.n%3; w.mu.Unlock() })
		case "disk full":
			add(f.at, func() { w.disk.SetCapacity(w.disk.Used() + int64(f.n)*50) })
			add(end, func() { w.disk.SetCapacity(0) })
		case "kill", "power cut", "kill at operation", "power cut at operation":
			add(f.at, func() { w.fall(f) })
		case "restart":
			add(f.at, func() { w.restart(f) })
		case "recording":
			add(f.at, func() { w.record(f) })
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	for _, s := range steps {
		w.pass(began.Add(s.at))
		s.do()
		w.balance("while faults happen")
	}
	w.pass(began.Add(w.plan.length))
	// Whatever is left of the faults ends here.
	w.server.Heal()
	w.mu.Lock()
	w.badSyncs, w.badWrite, w.stopAt = 0, 0, 0
	w.mu.Unlock()
	w.disk.SetCapacity(0)
	w.disk.SetSyncTime(0)
}

func databaseFault(answer string) (once, always *influxtest.Fault) {
	f := influxtest.Fault{}
	switch answer {
	case "503":
		f = influxtest.Status(http.StatusServiceUnavailable, "unavailable")
	case "500":
		f = influxtest.Status(http.StatusInternalServerError, "internal error")
	case "429 for a while":
		f = influxtest.RetryAfter("3")
	case "401":
		f = influxtest.Status(http.StatusUnauthorized, "unauthorized access")
	case "404":
		f = influxtest.Fault{Status: http.StatusNotFound, Body: `{"error":"database not found: \"pneudaq\""}`}
	case "slow":
		f.Delay = 7 * time.Second
	case "portal":
		f = influxtest.HTML()
	case "429":
		f = influxtest.RetryAfter("2")
		return &f, nil
	case "lost answer":
		f.Cut = influxtest.CutAfterStore
		return &f, nil
	case "lost body":
		f.Cut = influxtest.CutAfterBody
		return &f, nil
	case "reset":
		f.Cut = influxtest.CutBefore
		return &f, nil
	}
	return nil, &f
}

// fall ends the process hard, now or at an operation of the disk soon.
func (w *world) fall(f simFault) {
	if w.life == nil {
		return
	}
	if strings.HasSuffix(f.kind, "at operation") {
		w.mu.Lock()
		w.stopAt = w.disk.Count() + f.n
		w.mu.Unlock()
		select {
		case <-w.disk.Dead():
		case <-time.After(10 * time.Second):
		}
	}
	synctest.Wait()
	if strings.HasPrefix(f.kind, "kill") {
		w.kill()
	} else {
		w.powerCut()
	}
	w.again = time.Now().Add(f.length)
}

// restart stops the service as an operator does, and starts it again.
func (w *world) restart(f simFault) {
	if w.life == nil {
		return
	}
	w.tally.stops++
	if err := w.life.end(); err != nil && !w.diskInTrouble() {
		w.problem("stop: %v", err)
	}
	w.life = nil
	w.again = time.Now().Add(f.length)
}

// diskInTrouble reports whether a fault of the disk may have come into a stop.
func (w *world) diskInTrouble() bool {
	return slices.ContainsFunc(w.plan.faults, func(f simFault) bool {
		return f.kind == "disk full" || f.kind == "failed sync" || f.kind == "failed write" || f.kind == "slow sync"
	})
}

// record makes a recording of some seconds: commits come at the fast tick.
func (w *world) record(f simFault) {
	if w.life == nil {
		return
	}
	store := w.life.store
	rec, err := store.StartRecording(w.t.Context(), acquisition.Recording{Rig: "rig", Owner: "operator"})
	if err != nil {
		return // the disk takes nothing at the moment
	}
	time.Sleep(f.length / 4)
	_, _ = store.StopRecording(w.t.Context(), rec.ID, 0, "completed")
}

// balance checks stored = delivered + waiting + refused.
func (w *world) balance(when string) (s storage.ForwarderStats) {
	if w.life == nil || time.Now().Before(w.slow) {
		return s // to ask for the account is to wait for the disk, and time does not pass while a mutex is waited for
	}
	s, err := w.life.forwarder.Stats(w.t.Context())
	if err != nil {
		return s // the catalog's disk is in trouble
	}
	for _, g := range s.Groups {
		if g.Stored != g.Delivered+g.Waiting+g.Refused {
			w.problem("%s: group %s: %d stored, but %d delivered, %d waiting, %d refused", when, g.Group, g.Stored, g.Delivered, g.Waiting, g.Refused)
		}
	}
	return s
}

// finish waits until everything has come back, stops and checks the record.
func (w *world) finish() {
	w.again = time.Time{}
	w.pass(time.Now().Add(45 * time.Second))
	if w.life == nil {
		w.problem("45 s after the last fault the service does not start: %v", w.refusal)
		return
	}
	// Without hands all data flow again 35 s after the last fault.
	since := time.Now().UnixNano()
	w.pass(time.Now().Add(15 * time.Second))
	for _, g := range w.life.store.Groups() {
		good, bad := w.goodSince(g, since)
		if good == 0 || bad > 0 {
			w.problem("group %s: 45 s after the last fault %d scans are whole and %d are not", g.Key(), good, bad)
		}
	}
	deadline := time.Now().Add(20 * time.Minute)
	for s := w.balance("at the end"); s.Waiting > 40 && time.Now().Before(deadline); s = w.balance("at the end") {
		w.pass(time.Now().Add(time.Second))
	}
	l := w.life
	w.tally.retries += w.life.forwarderRetries(w.t.Context())
	stop := l.clock.Now()
	l.stopping.Store(true)
	l.endCollect()
	l.collectors.Wait()
	time.Sleep(5 * time.Second) // the live lane and the backlog have what was committed last
	w.check(stop)
	if err := l.end(); err != nil {
		w.problem("stop at the end: %v", err)
	}
	w.tally.time += time.Since(simEpoch())
}

func (l *simLife) forwarderRetries(ctx context.Context) uint64 {
	s, err := l.forwarder.Stats(ctx)
	if err != nil {
		return 0
	}
	return s.Counts.Retries
}

func (w *world) goodSince(g *acquisition.Group, since int64) (good, bad int) {
	for b, err := range w.life.store.Blocks(w.t.Context(), storage.Query{Group: g.Key(), From: since}) {
		if err != nil {
			w.problem("read group %s: %v", g.Key(), err)
			return good, bad
		}
		for i, at := range b.Times {
			switch q := b.ScanQuality(i); {
			case at < since:
			case slices.ContainsFunc(q, func(q acquisition.Quality) bool { return q != acquisition.Good }):
				bad++
			default:
				good++
			}
		}
	}
	return good, bad
}

// check compares the record with the schedule, the devices and the database.
func (w *world) check(stop int64) {
	store := w.life.store
	stats := w.balance("after the stop")
	if stats.Waiting != 0 || stats.State != storage.ForwarderOK {
		w.problem("after the stop %d scans wait, state %s %s", stats.Waiting, stats.State, stats.Problem)
	}
	groups := store.Groups()
	if len(groups) != 3 {
		w.problem("%d groups are in the store", len(groups))
	}
	for _, g := range groups {
		w.checkLedger(g, stop)
		w.checkGroup(g, stats)
	}
}

func (w *world) checkLedger(g *acquisition.Group, stop int64) {
	store := w.life.store
	epochs := store.Epochs(g.Key())
	grid := acquisition.Grid{Period: int64(g.Period), Phase: int64(g.Phase)}
	start := grid.Due(epochs[0].First)
	a, err := acquisition.Audit(g, acquisition.Planned(epochs, start, stop), start, stop,
		store.Blocks(w.t.Context(), storage.Query{Group: g.Key()}),
		func(acquisition.EpochID) acquisition.Grid { return grid },
		func(g *acquisition.Group) (*acquisition.Decoder, error) { return acquisition.NewDecoder(g, nil) })
	if err != nil {
		w.problem("audit of group %s: %v", g.Key(), err)
		return
	}
	if want := grid.First(stop) - epochs[0].First; a.Planned != want {
		w.problem("group %s: %d slots are planned, %d were due", g.Key(), a.Planned, want)
	}
	if !a.Balanced() {
		w.problem("group %s: %d of %d slots are unexplained: %+v; epochs %+v", g.Key(), a.Unexplained, a.Planned, a.Spans, epochs)
	}
	for _, c := range a.Channels {
		if c.Unexplained != 0 {
			w.problem("group %s: %d samples of %s are unexplained", g.Key(), c.Unexplained, c.Channel)
		}
	}
	if a.Stored == 0 {
		w.problem("group %s has no scans", g.Key())
	}
	w.tally.scans += a.Stored
	w.tally.gaps += a.Planned - a.Stored - a.Unexplained
}

// checkGroup holds every scan against its registers, its slot and the database.
func (w *world) checkGroup(g *acquisition.Group, stats storage.ForwarderStats) {
	points := w.server.Points(influxtest.SeriesOf(g))
	left := w.durable[g.Key()]
	refused, scans := uint64(0), 0
	missing := map[acquisition.Reason]uint64{}
	last := int64(0)
	for b, err := range w.life.store.Blocks(w.t.Context(), storage.Query{Group: g.Key()}) {
		if err != nil {
			w.problem("read group %s: %v", g.Key(), err)
			return
		}
		for _, x := range b.Gaps {
			missing[x.Reason] += x.Count()
		}
		for i, at := range b.Times {
			scans++
			if at <= last {
				w.problem("group %s: the scan of slot %d is not after the one before", g.Key(), b.Slots[i])
			}
			last = at
			if late := at - g.Due(0, b.Slots[i]); late < 0 || late > int64(g.Period)/2+int64(1500*time.Millisecond) {
				w.problem("group %s: slot %d was read %s after it was due", g.Key(), b.Slots[i], time.Duration(late))
			}
			if t, ok := left[b.Slots[i]]; ok {
				if t != at {
					w.problem("group %s: slot %d was durable with time %d and has %d", g.Key(), b.Slots[i], t, at)
				}
				delete(left, b.Slots[i])
			}
			p := points[at]
			delete(points, at)
			if w.plan.poison && poisoned(g.Measurement, nil, at) {
				refused++
				if p != nil {
					w.problem("group %s: the database has a line that it refuses", g.Key())
				}
				w.checkScan(g, b, i, nil)
				continue
			}
			if p == nil {
				w.problem("group %s: slot %d is not in the database", g.Key(), b.Slots[i])
				continue
			}
			w.checkScan(g, b, i, p)
		}
	}
	if len(left) > 0 {
		w.problem("group %s: %d scans that were durable are gone", g.Key(), len(left))
	}
	if len(points) > 0 {
		w.problem("group %s: %d points in the database are not in the store", g.Key(), len(points))
	}
	for _, s := range stats.Groups {
		if s.Group == g.Key() && (s.Refused != refused || s.Stored != uint64(scans)) {
			w.problem("group %s: the forwarder counts %d stored and %d refused, the store has %d and %d", g.Key(), s.Stored, s.Refused, scans, refused)
		}
	}
	told := map[acquisition.Reason]uint64{}
	for _, p := range w.server.Points(influx.GapMeasurement + ",group=" + g.Name + ",rig=rig,site=ningbo") {
		name, _ := p["reason"].(string)
		why, err := acquisition.ParseReason(name)
		n, _ := p["count"].(int64)
		if err != nil {
			w.problem("group %s: gap with reason %q", g.Key(), name)
		}
		told[why] += uint64(n)
	}
	for why, n := range missing {
		if told[why] != n {
			w.problem("group %s: %d slots are missing for %s, the database knows %d", g.Key(), n, why, told[why])
		}
		delete(told, why)
	}
	if len(told) > 0 {
		w.problem("group %s: the database has gaps that the store does not have: %v", g.Key(), told)
	}
}

// checkScan holds the words against the registers that they must come from: an
// address server says in every register which one it is, and in four of them
// when it was read.
func (w *world) checkScan(g *acquisition.Group, b *acquisition.Block, i int, p influxtest.Point) {
	for c := range g.Channels {
		ch := &g.Channels[c]
		var unit, address int
		var table string
		if _, err := fmt.Sscanf(strings.ReplaceAll(ch.Name, "_", " "), "u%d %s %d", &unit, &table, &address); err != nil {
			w.problem("channel %s: %v", ch.Name, err)
			continue
		}
		good := b.ScanQuality(i) == nil || b.ScanQuality(i)[c] == acquisition.Good
		words := b.ScanWords(i)[ch.Decoding.At:]
		value, has := p[ch.Name].(float64)
		if p != nil && has != good {
			w.problem("group %s slot %d: channel %s is good: %t, and in the database: %t", g.Key(), b.Slots[i], ch.Name, good, has)
		}
		if !good {
			continue
		}
		if address == clockAddress {
			read := int64(words[0])<<48 | int64(words[1])<<32 | int64(words[2])<<16 | int64(words[3])
			at, half := b.SampleTime(i, c)
			if off := read - at; max(off, -off) > half+int64(time.Microsecond) {
				w.problem("group %s slot %d: channel %s was read at %d, stored as %d ± %d", g.Key(), b.Slots[i], ch.Name, read, at, half)
			}
			continue
		}
		from := simulator.Holdings
		if table == modbus.Input.String() {
			from = simulator.Inputs
		}
		want := simulator.AddressWord(from, byte(unit), uint16(address))
		if words[0] != want || p != nil && value != float64(want) {
			w.problem("group %s slot %d: channel %s holds %#x and %v, its register %#x", g.Key(), b.Slots[i], ch.Name, words[0], value, want)
		}
	}
}
