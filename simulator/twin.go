package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// trueAtmosphere is the signal that gauge transmitters take off: the atmosphere as it is, not as the barometer says.
const trueAtmosphere = "p_atm.true"

// A Twin is a simulated rig that runs: a plant in wall time behind buses that clients reach.
type Twin struct {
	o     Options
	log   *slog.Logger
	board *Board
	buses []*twinBus
	pubs  []*publisher
	truth *truthFile

	// guarded by the board's lock
	plant  *Plant
	used   []int // signals that registers or publishers show
	tapped []int // of these, the ones that buffers and streams sample at every step
	barom  int   // index of p_atm in the plant, -1 if it has none
	anchor time.Time
	base   uint64 // plant steps at anchor
	behind bool   // the machine is too slow for Speed

	dialled chan dialled
	running chan struct{} // closed when Run has begun
	started sync.Once
	done    chan struct{} // closed when Run ends
}

// twinBus is one bus of a twin.
type twinBus struct {
	BusOptions
	server   *Server
	listener net.Listener
	port     *port
	broker   *Broker
}

// dialled is the far end of a pipe that Dial has made.
type dialled struct {
	server *Server
	conn   net.Conn
}

// Open checks the options, makes the plant, binds every listener and opens pseudo terminals and brokers. Nothing is
// answered before Run. Close gives up what Run never takes over.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Twin, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Twin{o: o, log: log, barom: -1, dialled: make(chan dialled), running: make(chan struct{}), done: make(chan struct{})}
	if err := t.open(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Twin) open(ctx context.Context) error {
	if t.o.Speed < 0 {
		return fmt.Errorf("speed %g: it must be above 0", t.o.Speed)
	}
	if t.o.Speed == 0 {
		t.o.Speed = 1
	}
	if err := t.openPlant(); err != nil {
		return err
	}
	names := map[string]bool{}
	for i := range t.o.Buses {
		b := &t.o.Buses[i]
		if b.Name == "" || names[b.Name] {
			return fmt.Errorf("bus %d: name %q is empty or taken", i+1, b.Name)
		}
		names[b.Name] = true
		if err := t.openBus(ctx, b); err != nil {
			return fmt.Errorf("bus %s: %w", b.Name, err)
		}
	}
	for i := range t.o.Publishers {
		p, err := newPublisher(&t.o.Publishers[i], t)
		if err != nil {
			return fmt.Errorf("publisher %s: %w", t.o.Publishers[i].Topic, err)
		}
		t.pubs = append(t.pubs, p)
	}
	t.findUsed()
	t.anchor = time.Now()
	t.show()
	return t.openTruth()
}

// openPlant makes the plant and its board.
func (t *Twin) openPlant() (err error) {
	if t.o.Plant == "" {
		t.board = NewBoard(time.Millisecond)
		return nil
	}
	if t.plant, err = NewPlant(t.o.Plant, t.o.Seed, t.o.Params); err != nil {
		return err
	}
	signals := t.plant.Signals()
	t.barom = slices.IndexFunc(signals, func(s Signal) bool { return s.Name == "p_atm" })
	if t.barom >= 0 {
		signals = append(signals, Signal{Name: trueAtmosphere, Unit: "Pa", Kind: State, Description: "the atmosphere without the barometer"})
	}
	t.board = NewBoard(t.plant.Dt(), signals...)
	t.board.pace = 1 / t.o.Speed
	t.board.refresh = func() { t.advance(time.Now()) }
	t.board.actuate = func(i int, v float64) error {
		if err := t.plant.Actuate(t.board.signals[i].Name, v); err != nil {
			return err
		}
		t.read(i)
		return nil
	}
	return nil
}

// openBus makes one bus.
func (t *Twin) openBus(ctx context.Context, o *BusOptions) (err error) {
	b := &twinBus{BusOptions: *o}
	t.buses = append(t.buses, b)
	if o.Kind == BusMQTT {
		conf, err := o.TLS.config()
		if err != nil {
			return err
		}
		b.broker, err = OpenBroker(BrokerOptions{Listen: o.Listen, TLS: conf, Users: o.Users}) //nolint:contextcheck // binding an address does not wait
		return err
	}
	if err := t.newServer(b); err != nil {
		return err
	}
	switch {
	case o.Listen == "none":
		return nil
	case o.Kind == BusRTU:
		listen := o.Listen
		if listen == "" {
			listen = "pty"
		}
		b.port, err = openPort(listen, o.Baud, o.Frame)
		return err
	}
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	var config net.ListenConfig
	if b.listener, err = config.Listen(ctx, "tcp", listen); err != nil {
		return fmt.Errorf("listen (is another simulator running?): %w", err)
	}
	return nil
}

// newServer makes the Modbus side of a bus.
func (t *Twin) newServer(b *twinBus) (err error) {
	o := ServerOptions{
		Units: map[byte]Memory{}, Delay: b.Delay, Delays: b.Delays, Serial: b.Serial, Absent: b.Absent, MaxConns: b.MaxConns,
		Steal: b.Steal, Faults: b.Faults, Seed: t.o.Seed, Logger: t.log, Baud: b.Baud,
	}
	switch b.Kind {
	case BusTCP:
	case BusTLS:
		if o.TLS, err = b.TLS.config(); err != nil {
			return err
		}
		if o.TLS == nil {
			return errors.New("kind tls needs a certificate and a key")
		}
	case BusRTUOverTCP, BusRTU:
		o.RTU = true
	default:
		return fmt.Errorf("kind %q is unknown: known are tcp, tls, rtu_over_tcp, rtu, mqtt", b.Kind)
	}
	for i := range b.Units {
		id := b.Units[i].ID
		if o.Units[id] != nil {
			return fmt.Errorf("unit %d is there twice", id)
		}
		if o.Units[id], err = NewUnit(b.Units[i], t.board); err != nil {
			return err
		}
	}
	for _, id := range b.Addresses {
		if o.Units[id] != nil {
			return fmt.Errorf("unit %d is there twice", id)
		}
		o.Units[id] = &AddressMemory{Unit: id, ClockFrom: b.ClockFrom, ClockTo: b.ClockTo}
	}
	b.server, err = NewServer(o)
	return err
}

// config reads the files; nil without any.
func (f *TLSFiles) config() (*tls.Config, error) {
	if f.Certificate == "" && f.Key == "" && f.ClientCA == "" {
		return nil, nil //nolint:nilnil // no files, no TLS
	}
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client CA %s holds no certificate", f.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// findUsed lists the signals that anybody shows.
func (t *Twin) findUsed() {
	used, tapped := map[int]bool{}, map[int]bool{}
	for _, b := range t.buses {
		if b.server == nil {
			continue
		}
		for _, u := range b.server.units {
			m, ok := u.memory.(*Unit)
			if !ok {
				continue
			}
			for _, k := range m.banks {
				for _, r := range k.all {
					used[r.signal], used[r.atmosphere] = true, true
				}
			}
		}
	}
	for _, s := range t.board.taps {
		if b, ok := s.(*tap); ok {
			tapped[b.r.signal], tapped[b.r.atmosphere] = true, true
		}
	}
	for _, p := range t.pubs {
		for _, s := range p.signals {
			used[s.index], used[s.atmosphere] = true, true
			if p.stream != nil {
				tapped[s.index], tapped[s.atmosphere] = true, true
			}
		}
	}
	for i := range t.board.signals {
		if used[i] || tapped[i] {
			t.used = append(t.used, i)
		}
		if tapped[i] {
			t.tapped = append(t.tapped, i)
		}
	}
}

// read brings one signal's figure to the board; lock held.
func (t *Twin) read(i int) {
	if t.board.frozen[i] {
		return
	}
	name := t.board.signals[i].Name
	if name == trueAtmosphere {
		t.board.values[i] = t.plant.signals[t.barom].value()
		return
	}
	t.board.values[i], _ = t.plant.Read(name) // its own name is known
}

// show brings the used signals to the board; lock held.
func (t *Twin) show() {
	for _, i := range t.used {
		t.read(i)
	}
}

// advance steps the plant to an instant; lock held. Of more than the machine can do within a moment, or of a long absence,
// the rest is dropped: the plant's time then lags, and its owner is told.
func (t *Twin) advance(now time.Time) {
	const patience, budget = time.Second, 50 * time.Millisecond
	if t.plant == nil {
		return
	}
	target := t.base + uint64(max(0, float64(now.Sub(t.anchor))*t.o.Speed/float64(t.plant.Dt())))
	if t.plant.Steps() >= target {
		return
	}
	began, before := time.Now(), t.plant.Steps()
	for n := uint64(1); t.plant.Steps() < target; n++ {
		t.plant.Step()
		if len(t.tapped) > 0 {
			for _, i := range t.tapped {
				t.read(i)
			}
			t.board.time = t.wall(t.plant.Steps())
			t.board.step++
			t.board.tap()
		}
		t.truth.step(t)
		if n%64 == 0 && time.Since(began) > budget {
			break
		}
	}
	t.show()
	t.board.add(t.plant.Steps() - before)
	if late := time.Duration(float64(target-t.plant.Steps()) * float64(t.plant.Dt()) / t.o.Speed); late > patience {
		if !t.behind {
			t.log.Warn("the plant cannot keep up, its time lags", slog.Duration("late", late))
		}
		t.behind = true
		t.anchor, t.base = now, t.plant.Steps()
	}
}

// wall returns when a step ends by the wall clock; lock held.
func (t *Twin) wall(step uint64) time.Time {
	return t.anchor.Add(time.Duration(float64(int64(step-t.base)) * float64(t.plant.Dt()) / t.o.Speed))
}

// Addr returns what a client opens: host:port, the path of a serial line, nothing for a bus without network.
func (t *Twin) Addr(bus string) string {
	b, err := t.bus(bus)
	switch {
	case err != nil:
		return ""
	case b.listener != nil:
		return b.listener.Addr().String()
	case b.port != nil:
		return b.port.path
	case b.broker != nil:
		return b.broker.Addr()
	}
	return ""
}

// Server returns the Modbus server of a bus, for its counts and faults; nil if there is none.
func (t *Twin) Server(bus string) *Server {
	b, err := t.bus(bus)
	if err != nil {
		return nil
	}
	return b.server
}

// Broker returns the broker of a bus; nil if there is none.
func (t *Twin) Broker(bus string) *Broker {
	b, err := t.bus(bus)
	if err != nil {
		return nil
	}
	return b.broker
}

func (t *Twin) bus(name string) (*twinBus, error) {
	names := make([]string, len(t.buses))
	for i, b := range t.buses {
		if b.Name == name {
			return b, nil
		}
		names[i] = b.Name
	}
	return nil, fmt.Errorf("bus %q is unknown: there are %s", name, strings.Join(names, ", "))
}

// Dial returns a connection to a Modbus bus inside the process, which works in virtual time too. It waits for Run.
func (t *Twin) Dial(ctx context.Context, bus string) (net.Conn, error) {
	b, err := t.bus(bus)
	if err != nil {
		return nil, err
	}
	if b.server == nil {
		return nil, fmt.Errorf("bus %s speaks no Modbus", bus)
	}
	here, there := net.Pipe()
	select {
	case t.dialled <- dialled{b.server, there}:
		return here, nil
	case <-t.done:
		return nil, fmt.Errorf("bus %s: the twin has ended", bus)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Run lets the plant run and answers on every bus until ctx ends; it closes what Open has opened and joins everything. It
// runs once.
func (t *Twin) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	first := true
	t.started.Do(func() { first = false })
	if first {
		return errors.New("a twin runs once: open another")
	}
	t.board.mu.Lock()
	t.anchor, t.base = time.Now(), t.steps()
	t.board.mu.Unlock()
	keep := func(f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	for _, b := range t.buses {
		if b.listener != nil {
			keep(func(ctx context.Context) error { return b.server.Serve(ctx, b.listener) })
		}
		if b.port != nil {
			keep(func(ctx context.Context) error { return b.server.ServeConn(ctx, b.port) })
		}
	}
	for _, p := range t.pubs {
		keep(p.run)
	}
	keep(t.tick)
	close(t.running)
	for ctx.Err() == nil {
		select {
		case d := <-t.dialled:
			keep(func(ctx context.Context) error { return d.server.ServeConn(ctx, d.conn) })
		case <-ctx.Done():
		}
	}
	close(t.done)
	all.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return errors.Join(err, t.Close())
}

func (t *Twin) steps() uint64 {
	if t.plant == nil {
		return 0
	}
	return t.plant.Steps()
}

// tick keeps the plant going when nobody asks, and the watchdogs.
func (t *Twin) tick(ctx context.Context) error {
	const period = 2 * time.Millisecond
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var guarded []*Unit
	for _, b := range t.buses {
		if b.server == nil {
			continue
		}
		for _, u := range b.server.units {
			if m, ok := u.memory.(*Unit); ok && m.o.Watchdog != nil {
				guarded = append(guarded, m)
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			t.board.mu.Lock()
			t.advance(now)
			for _, u := range guarded {
				u.guard(now)
			}
			err := t.truth.settle()
			t.board.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// Close releases listeners, lines, brokers and the truth file. Run does this itself.
func (t *Twin) Close() error {
	t.started.Do(func() { close(t.done) })
	var all []error
	for _, b := range t.buses {
		if b.listener != nil {
			_ = b.listener.Close() // Serve may have closed it
		}
		if b.port != nil {
			if err := b.port.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				all = append(all, err)
			}
		}
		if b.broker != nil {
			all = append(all, b.broker.Close())
		}
	}
	if t.board != nil {
		t.board.mu.Lock()
		defer t.board.mu.Unlock()
	}
	all = append(all, t.truth.close())
	return errors.Join(all...)
}

// Truth returns the plant's noiseless figures now.
func (t *Twin) Truth() map[string]float64 {
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	t.board.present()
	if t.plant == nil {
		return map[string]float64{}
	}
	return t.plant.Truth()
}

// Signals returns the signals that registers and publishers may show.
func (t *Twin) Signals() []Signal { return slices.Clone(t.board.signals) }

// Value returns what the sensor behind a signal delivers now, in SI.
func (t *Twin) Value(signal string) (float64, error) {
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	i, err := t.board.find(signal)
	if err != nil {
		return 0, err
	}
	t.board.present()
	if t.plant != nil {
		t.read(i)
	}
	return t.board.values[i], nil
}

// Actuate commands a signal of the plant from outside the wire, as a hand on the rig does.
func (t *Twin) Actuate(signal string, v float64) error {
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	i, err := t.board.find(signal)
	if err != nil {
		return err
	}
	t.board.present()
	return t.board.command(i, v)
}

// Faults returns what Break accepts.
func (t *Twin) Faults() []string {
	var all []string
	for _, b := range t.buses {
		all = append(all, "unplug:"+b.Name)
		if b.server == nil {
			continue
		}
		all = append(all, "restart:"+b.Name)
		for id := range 256 {
			if b.server.units[byte(id)] != nil {
				for _, kind := range []string{"mute:", "swap:", "impostor:"} {
					all = append(all, kind+b.Name+"/"+strconv.Itoa(id))
				}
			}
		}
	}
	for _, s := range t.board.signals {
		all = append(all, "freeze:"+s.Name)
	}
	if t.plant != nil {
		all = append(all, t.plant.Faults()...)
	}
	return all
}

// Break turns a fault on or off: "unplug:BUS", "restart:BUS" (off a second later by itself), "mute:BUS/UNIT",
// "swap:BUS/UNIT" (the words of every figure change places), "impostor:BUS/UNIT" (another device of the same make answers:
// constants marked Identity and the identification differ), "freeze:SIGNAL" (registers and payloads hold their figure), or
// one of the plant's own.
func (t *Twin) Break(fault string, on bool) error {
	kind, what, _ := strings.Cut(fault, ":")
	switch kind {
	case "unplug", "restart", "mute", "swap", "impostor":
		name, unit, _ := strings.Cut(what, "/")
		b, err := t.bus(name)
		if err != nil {
			return fmt.Errorf("fault %s: %w", fault, err)
		}
		return t.breakBus(b, kind, unit, on)
	case "freeze":
		return t.board.Freeze(what, on)
	}
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	if t.plant == nil {
		return fmt.Errorf("fault %q is unknown: known are %s", fault, strings.Join(t.Faults(), ", "))
	}
	t.board.present()
	return t.plant.Break(fault, on)
}

func (t *Twin) breakBus(b *twinBus, kind, unit string, on bool) error { //nolint:revive // a fault is on or off
	switch {
	case kind == "unplug" && b.broker != nil:
		return b.broker.Unplug(on)
	case b.server == nil:
		return fmt.Errorf("bus %s: %s is for Modbus", b.Name, kind)
	case kind == "unplug":
		b.server.Unplug(on)
	case kind == "restart":
		if on {
			b.server.Restart(time.Second)
		}
	default:
		id, err := strconv.ParseUint(unit, 10, 8)
		if err != nil || b.server.units[byte(id)] == nil {
			return fmt.Errorf("bus %s has no unit %q", b.Name, unit)
		}
		m, ok := b.server.units[byte(id)].memory.(*Unit)
		switch {
		case kind == "mute":
			b.server.Mute(byte(id), on)
		case !ok:
			return fmt.Errorf("unit %d of bus %s has no register table", id, b.Name)
		case kind == "swap":
			m.swap(on)
		default:
			m.impostor(on)
		}
	}
	return nil
}
