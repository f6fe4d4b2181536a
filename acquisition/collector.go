package acquisition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// Recorder is what a collector needs of the store.
type Recorder interface {
	// OpenEpoch writes the durable record of a stretch of schedule and returns
	// the group's open block. The group gets its version here.
	OpenEpoch(ctx context.Context, g *Group, anchor int64, first uint64) (*Open, error)
	// CloseEpoch commits what is open and closes the record: slot next is the
	// first that is no longer planned.
	CloseEpoch(ctx context.Context, o *Open, next uint64, why Reason) error
	// Last returns the newest stored slot and time of a group.
	Last(key GroupKey) (slot uint64, t int64, ok bool)
	// Hurry asks for a commit now.
	Hurry()
}

// Reconnect delays. The ceilings keep the promise that data flow again within
// two seconds of a device's return and five of a broker's.
const (
	firstDelay      = 100 * time.Millisecond
	busCeiling      = 1500 * time.Millisecond
	brokerCeiling   = 5 * time.Second
	connectLimit    = 5 * time.Second
	passLimit       = time.Second            // least time a pass may take, whatever its period
	stalledAfter    = int64(2 * time.Second) // a sleep that ends this late: the process did not run
	clockRecheck    = time.Second
	earliestTrusted = int64(1704067200e9) // 2024-01-01: no valid wall clock is before it
)

// CollectorOptions describe the collector of one bus. Exactly one of Poller and
// Receiver is given.
type CollectorOptions struct {
	Rig      string
	Bus      string
	Poller   Poller
	Receiver Receiver
	Groups   []*Group
	Store    Recorder
	Clock    *Clock
	Logger   *slog.Logger
	// Watch sees each scan at once, on the bus's goroutine and before any disk:
	// interlocks, triggers. It must not block and keeps no reference.
	Watch func(g *Group, s *Scan)
	// Event takes what belongs to the record beside samples; may be nil.
	Event  func(Event)
	Lend   []Lend
	Borrow []Borrow
}

// Loan is the latest value of a channel that other rigs borrow.
type Loan struct {
	mu      sync.Mutex
	value   float64
	time    int64
	quality Quality
	filled  bool
}

// Put stores the latest value with its time and quality.
func (l *Loan) Put(v float64, t int64, q Quality) {
	l.mu.Lock()
	l.value, l.time, l.quality, l.filled = v, t, q, true
	l.mu.Unlock()
}

// Get returns the latest value, its time and quality; no value yet is bad with
// reason no_data.
func (l *Loan) Get() (v float64, t int64, q Quality) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.filled {
		return 0, 0, Quality(ReasonNoData)
	}
	return l.value, l.time, l.quality
}

// Lend publishes a channel of one of the collector's groups.
type Lend struct {
	Group   GroupKey
	Channel int
	Loan    *Loan
}

// Borrow fills a column of a group's numbers from another rig's channel. A
// value older than MaxAge has quality held.
type Borrow struct {
	Group   GroupKey
	Channel int // whose Decoding.Origin is FromNumbers
	Loan    *Loan
	MaxAge  time.Duration
}

// BusState is what a person needs to know of one bus.
type BusState struct {
	Rig, Bus  string
	Up        bool
	Since     int64  // Unix ns of the last change
	Problem   string // why it is down, as the source said it
	Reconnect uint64 // how often it was connected again
	Groups    []GroupState
}

// GroupState counts the slots of one group since the start.
type GroupState struct {
	Group   GroupKey
	Running bool
	Waiting string // why it has not started
	Stored  uint64 // slots with a scan
	Missed  map[Reason]uint64
	Last    int64 // time of the last scan, Unix ns
}

// Collector owns one bus: its goroutine is the only one that talks to it.
type Collector struct {
	o        CollectorOptions
	commands chan command
	schedule Schedule
	lines    []*groupLine
	byKey    map[GroupKey]*groupLine

	mu    sync.Mutex
	state BusState
}

type groupLine struct {
	g       *Group
	open    *Open
	scan    *Scan
	lend    []Lend
	borrow  []Borrow
	decoder *Decoder
	values  []float64
	quality []Quality
	next    uint64 // first slot without an account
	state   GroupState
}

type command struct {
	ctx  context.Context //nolint:containedctx // travels with the request to the goroutine that owns the bus
	run  func(ctx context.Context, c Commander) error
	done chan error
}

// NewCollector returns the collector of a bus; nothing runs yet.
func NewCollector(o CollectorOptions) (*Collector, error) {
	if (o.Poller == nil) == (o.Receiver == nil) {
		return nil, fmt.Errorf("collector of bus %s: exactly one of poller and receiver is needed", o.Bus)
	}
	if o.Event == nil {
		o.Event = func(Event) {}
	}
	c := &Collector{o: o, commands: make(chan command), byKey: map[GroupKey]*groupLine{}}
	c.state = BusState{Rig: o.Rig, Bus: o.Bus}
	for _, g := range o.Groups {
		if o.Poller != nil && g.Period <= 0 {
			return nil, fmt.Errorf("collector of bus %s: group %s has no period", o.Bus, g.Key())
		}
		l := &groupLine{g: g, scan: NewScan(g)}
		l.state = GroupState{Group: g.Key(), Missed: map[Reason]uint64{}}
		for _, b := range o.Borrow {
			if b.Group == g.Key() {
				l.borrow = append(l.borrow, b)
			}
		}
		for _, b := range o.Lend {
			if b.Group == g.Key() {
				l.lend = append(l.lend, b)
			}
		}
		if len(l.lend) > 0 {
			plain := *g
			plain.Channels = append([]Channel(nil), g.Channels...)
			for i := range plain.Channels {
				if plain.Channels[i].Decoding.Origin == FromExpression {
					plain.Channels[i].Decoding = Decoding{Origin: FromNumbers}
				}
			}
			if plain.Numbers == 0 {
				plain.Numbers = 1
			}
			d, err := NewDecoder(&plain, nil)
			if err != nil {
				return nil, err
			}
			l.decoder = d
			l.values = make([]float64, len(g.Channels))
			l.quality = make([]Quality, len(g.Channels))
		}
		c.lines = append(c.lines, l)
		c.byKey[g.Key()] = l
	}
	return c, nil
}

// State returns the state of the bus and its groups.
func (c *Collector) State() BusState {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	s.Groups = nil
	for _, l := range c.lines {
		g := l.state
		g.Missed = make(map[Reason]uint64, len(l.state.Missed))
		maps.Copy(g.Missed, l.state.Missed)
		s.Groups = append(s.Groups, g)
	}
	return s
}

// Run acquires until ctx ends; it then accounts for every slot that was due,
// closes the epochs and the bus, and returns nil. An error is one of the store:
// wire faults never end a collector.
func (c *Collector) Run(ctx context.Context) error {
	if c.o.Receiver != nil {
		return c.runReceiver(ctx)
	}
	return c.runPoller(ctx)
}

// Write sends setpoints through the goroutine that owns the bus.
func (c *Collector) Write(ctx context.Context, p []Setpoint) error {
	return c.command(ctx, func(ctx context.Context, w Commander) error { return w.Write(ctx, p) })
}

// Safe writes the safe state through the goroutine that owns the bus.
func (c *Collector) Safe(ctx context.Context) error {
	return c.command(ctx, func(ctx context.Context, w Commander) error { return w.Safe(ctx) })
}

func (c *Collector) command(ctx context.Context, run func(context.Context, Commander) error) error {
	if _, ok := c.o.Poller.(Commander); !ok {
		return fmt.Errorf("write on bus %s: it takes no setpoints", c.o.Bus)
	}
	cmd := command{ctx: ctx, run: run, done: make(chan error, 1)}
	select {
	case c.commands <- cmd:
	case <-ctx.Done():
		return fmt.Errorf("write on bus %s: %w", c.o.Bus, context.Cause(ctx))
	}
	select {
	case err := <-cmd.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write on bus %s: %w", c.o.Bus, context.Cause(ctx))
	}
}

// passContext carries the deadline of a pass without an allocation per pass.
// Its Done is the parent's: a source looks at the deadline itself.
type passContext struct {
	context.Context //nolint:containedctx // it is a context
	deadline        time.Time
}

// Deadline returns when the pass must end.
func (p *passContext) Deadline() (time.Time, bool) { return p.deadline, true }

func (c *Collector) runPoller(ctx context.Context) error {
	started, err := c.start(ctx)
	if err != nil || !started {
		return err
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	defer func() { _ = c.o.Poller.Close() }()
	pass := &passContext{Context: ctx}
	delay := time.Duration(0)
	connected := false
	reason := ReasonUnreachable
	for ctx.Err() == nil {
		if !connected {
			if delay > 0 && c.pause(ctx, timer, delay) != nil {
				break
			}
			c.skip(c.o.Clock.Now(), reason)
			err := c.connect(ctx)
			now := c.o.Clock.Now()
			c.skip(now, reason)
			if err != nil {
				if ctx.Err() != nil {
					break
				}
				c.down(err)
				reason = ReasonUnreachable
				delay = nextDelay(delay, busCeiling)
				continue
			}
			connected, delay = true, 0
			c.up()
		}
		due, missed := c.schedule.Next(c.o.Clock.Now())
		c.missed(missed, ReasonOverrun)
		if due.Group < 0 {
			if c.pause(ctx, timer, time.Hour) != nil {
				break
			}
			continue
		}
		if err := c.wait(ctx, timer, due.At); err != nil {
			c.account(due.Group, due.Slot, due.Slot) // not due yet, or the last one: settle accounts below
			break
		}
		if late := c.o.Clock.Now() - due.At; late > stalledAfter {
			c.miss(due.Group, due.Slot, due.Slot+1, ReasonSuspended)
			c.skip(c.o.Clock.Now(), ReasonSuspended)
			continue
		}
		if err := c.poll(pass, due); err != nil { //nolint:contextcheck // pass carries ctx
			_ = c.o.Poller.Close()
			connected = false
			if ctx.Err() != nil {
				break
			}
			c.down(err)
			reason = ReasonUnreachable
		}
	}
	return c.stop(ctx)
}

// start opens the epochs. It waits for a wall clock that is after everything
// stored: nothing stored is ever overwritten by other data.
func (c *Collector) start(ctx context.Context) (bool, error) {
	for {
		waiting := ""
		now := c.o.Clock.Now()
		for _, l := range c.lines {
			_, last, ok := c.o.Store.Last(l.g.Key())
			switch {
			case now < earliestTrusted && c.o.Clock.fine:
				waiting = "the wall clock is not set: it shows a time before 2024; set the clock or wait for network time"
			case ok && now <= last:
				waiting = fmt.Sprintf("the wall clock is %s behind the last stored reading of group %s; set the clock right or wait",
					time.Duration(last-now).Round(time.Second), l.g.Key())
			}
		}
		if waiting == "" {
			break
		}
		c.mu.Lock()
		first := c.lines[0].state.Waiting == ""
		for _, l := range c.lines {
			l.state.Waiting = waiting
		}
		c.mu.Unlock()
		if first {
			c.o.Logger.Warn("bus waits for the clock", slog.String("rig", c.o.Rig), slog.String("bus", c.o.Bus), slog.String("why", waiting))
			c.o.Event(Event{Time: now, Rig: c.o.Rig, Code: "clock_behind", Detail: waiting})
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(clockRecheck):
		}
		c.o.Clock.Rebase()
	}
	now := c.o.Clock.Now()
	for i, l := range c.lines {
		if c.o.Poller == nil {
			continue
		}
		c.schedule.Add(l.g.Period, l.g.Phase, 0, now)
		l.next = c.schedule.NextSlot(i)
		open, err := c.o.Store.OpenEpoch(ctx, l.g, 0, l.next)
		if err != nil {
			return false, fmt.Errorf("start group %s: %w", l.g.Key(), err)
		}
		c.adopt(l, open)
		// Opening syncs a file; slots that passed meanwhile were never promised.
	}
	return true, nil
}

// adopt takes the open block that the store gave, whose group carries the version.
func (c *Collector) adopt(l *groupLine, open *Open) {
	c.mu.Lock()
	l.open = open
	l.g = open.Group()
	l.state.Running, l.state.Waiting = true, ""
	c.mu.Unlock()
}

func (c *Collector) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if err := c.o.Poller.Connect(ctx); err != nil {
		_ = c.o.Poller.Close()
		return err
	}
	return nil
}

func (c *Collector) poll(pass *passContext, due Due) error {
	l := c.lines[due.Group]
	s := l.scan
	s.Reset(l.g)
	s.Slot = due.Slot
	budget := max(time.Duration(due.End-due.At), passLimit)
	pass.deadline = time.Now().Add(budget)
	err := c.o.Poller.Poll(pass, l.g, due.Slot, s)
	s.Slot = due.Slot
	usable, why := false, ReasonNone
	for i, q := range s.Quality {
		if l.g.Channels[i].Decoding.Origin != FromWords {
			continue
		}
		if q.Class() != ClassBad {
			usable = true
			break
		}
		if why == ReasonNone {
			why = q.Reason()
		}
	}
	if !usable || s.Time == 0 {
		if why == ReasonNone {
			why = ReasonUnreachable
		}
		if pass.Err() != nil {
			why = ReasonStopped
		}
		c.miss(due.Group, due.Slot, due.Slot+1, why)
		return err
	}
	c.borrowInto(l, s)
	c.lend(l, s)
	if c.o.Watch != nil {
		c.o.Watch(l.g, s)
	}
	if r := l.open.Append(s); r != ReasonNone {
		c.miss(due.Group, due.Slot, due.Slot+1, r)
		return err
	}
	l.next = due.Slot + 1
	c.mu.Lock()
	l.state.Stored++
	l.state.Last = s.Time
	c.mu.Unlock()
	return err
}

func (c *Collector) borrowInto(l *groupLine, s *Scan) {
	for _, b := range l.borrow {
		v, t, q := b.Loan.Get()
		if q == Good && b.MaxAge > 0 && s.Time-t > int64(b.MaxAge) {
			q = Quality(ReasonHeld)
		}
		s.Numbers[l.g.Channels[b.Channel].Decoding.At] = v
		s.Quality[b.Channel] = q
	}
}

func (c *Collector) lend(l *groupLine, s *Scan) {
	if len(l.lend) == 0 {
		return
	}
	numbers := s.Numbers
	if len(numbers) == 0 {
		numbers = []float64{0}
	}
	l.decoder.Decode(s.Words, numbers, s.Quality, l.values, l.quality)
	for _, b := range l.lend {
		b.Loan.Put(l.values[b.Channel], s.Time, l.quality[b.Channel])
	}
}

// miss writes the gap of slots that this collector saw pass.
func (c *Collector) miss(group int, from, to uint64, why Reason) {
	l := c.lines[group]
	l.open.Miss(Gap{From: from, To: to, Reason: why})
	l.next = max(l.next, to)
	c.mu.Lock()
	l.state.Missed[why] += to - from
	c.mu.Unlock()
}

func (c *Collector) missed(m []Missed, why Reason) {
	for _, x := range m {
		c.miss(x.Group, x.From, x.To, why)
	}
}

func (c *Collector) skip(now int64, why Reason) { c.missed(c.schedule.Skip(now), why) }

// account notes that the slot taken from the schedule was not read after all.
func (c *Collector) account(group int, from, _ uint64) { c.lines[group].next = from }

// wait sleeps until a slot is due, serving commands meanwhile.
func (c *Collector) wait(ctx context.Context, timer *time.Timer, at int64) error {
	for {
		select {
		case cmd := <-c.commands:
			c.serve(cmd)
			continue
		default:
		}
		d := time.Duration(at - c.o.Clock.Now())
		if d <= 2*lead {
			return c.o.Clock.SleepUntil(ctx, at, timer)
		}
		timer.Reset(d - lead)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case cmd := <-c.commands:
			timer.Stop()
			c.serve(cmd)
		case <-timer.C:
		}
	}
}

func (c *Collector) serve(cmd command) {
	w, ok := c.o.Poller.(Commander)
	if !ok {
		cmd.done <- errors.New("the bus takes no setpoints")
		return
	}
	cmd.done <- cmd.run(cmd.ctx, w)
}

// pause waits with the bus down: commands are refused.
func (c *Collector) pause(ctx context.Context, timer *time.Timer, d time.Duration) error {
	timer.Reset(d)
	for {
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case cmd := <-c.commands:
			cmd.done <- fmt.Errorf("write on bus %s: it is not connected", c.o.Bus)
		case <-timer.C:
			return nil
		}
	}
}

func nextDelay(d, ceiling time.Duration) time.Duration {
	if d == 0 {
		d = firstDelay
	} else {
		d = min(2*d, ceiling)
	}
	// Jitter of ±20 %, so that many buses do not come back at once.
	return min(d-d/5+rand.N(2*d/5+1), ceiling)
}

func (c *Collector) down(err error) {
	now := c.o.Clock.Now()
	c.mu.Lock()
	was := c.state.Up || c.state.Since == 0
	c.state.Up, c.state.Problem = false, err.Error()
	if was {
		c.state.Since = now
	}
	c.mu.Unlock()
	if was {
		c.o.Logger.Warn("bus down", slog.String("rig", c.o.Rig), slog.String("bus", c.o.Bus), slog.String("error", err.Error()))
		c.o.Event(Event{Time: now, Rig: c.o.Rig, Code: "bus_down", Detail: c.o.Bus + ": " + err.Error()})
	}
}

func (c *Collector) up() {
	now := c.o.Clock.Now()
	c.mu.Lock()
	down := time.Duration(0)
	again := c.state.Since != 0
	if again {
		down = time.Duration(now - c.state.Since)
		c.state.Reconnect++
	}
	c.state.Up, c.state.Since, c.state.Problem = true, now, ""
	c.mu.Unlock()
	c.o.Logger.Info("bus up", slog.String("rig", c.o.Rig), slog.String("bus", c.o.Bus), slog.Duration("down", down.Round(time.Millisecond)))
	if again {
		c.o.Event(Event{Time: now, Rig: c.o.Rig, Code: "bus_up", Detail: c.o.Bus})
	}
}

// stop settles the account: every slot that was due and not read is a gap with
// reason stopped, and the epochs end with the first slot that is not due.
func (c *Collector) stop(ctx context.Context) error {
	now := c.o.Clock.Now()
	var errs []error
	ctx = context.WithoutCancel(ctx)
	for i, l := range c.lines {
		if l.open == nil {
			continue
		}
		next := l.next
		if c.o.Poller != nil {
			for int64(next)*int64(l.g.Period)+int64(l.g.Phase) < now {
				next++
			}
			if next > l.next {
				c.miss(i, l.next, next, ReasonStopped)
			}
		}
		if err := c.o.Store.CloseEpoch(ctx, l.open, next, ReasonStopped); err != nil {
			errs = append(errs, fmt.Errorf("stop group %s: %w", l.g.Key(), err))
		}
	}
	return errors.Join(errs...)
}

func (c *Collector) runReceiver(ctx context.Context) error {
	started, err := c.start(ctx)
	if err != nil || !started {
		return err
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	defer func() { _ = c.o.Receiver.Close() }()
	delay := time.Duration(0)
	for ctx.Err() == nil {
		if delay > 0 && c.pause(ctx, timer, delay) != nil {
			break
		}
		cctx, cancel := context.WithTimeout(ctx, 2*connectLimit)
		err := c.o.Receiver.Connect(cctx)
		cancel()
		if err != nil {
			_ = c.o.Receiver.Close()
			if ctx.Err() != nil {
				break
			}
			c.down(err)
			delay = nextDelay(delay, brokerCeiling)
			continue
		}
		c.up()
		began := c.o.Clock.Now()
		err = c.o.Receiver.Receive(ctx, func(d *Delivery) error { return c.deliver(ctx, d) })
		_ = c.o.Receiver.Close()
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			err = errors.New("the connection ended")
		}
		c.down(err)
		if c.o.Clock.Now()-began > int64(brokerCeiling) {
			delay = 0
		}
		delay = nextDelay(delay, brokerCeiling)
	}
	return c.stop(ctx)
}

func (c *Collector) deliver(ctx context.Context, d *Delivery) error {
	l := c.byKey[d.Group.Key()]
	if l == nil {
		return fmt.Errorf("deliver: group %s is not one of bus %s", d.Group.Key(), c.o.Bus)
	}
	first := l.next
	if len(d.Scans) > 0 {
		first = d.Scans[0].Slot
	}
	if len(d.Gaps) > 0 && (len(d.Scans) == 0 || d.Gaps[0].From < first) {
		first = d.Gaps[0].From
	}
	if d.NewEpoch && l.open != nil {
		if err := c.o.Store.CloseEpoch(ctx, l.open, l.next, ReasonReboot); err != nil {
			return fmt.Errorf("deliver to group %s: %w", l.g.Key(), err)
		}
		l.open = nil
	}
	if l.open == nil {
		open, err := c.o.Store.OpenEpoch(ctx, d.Group, 0, first)
		if err != nil {
			return fmt.Errorf("deliver to group %s: %w", l.g.Key(), err)
		}
		c.adopt(l, open)
		l.next = first
	}
	for i := range d.Scans {
		s := &d.Scans[i]
		c.borrowInto(l, s)
		c.lend(l, s)
		if c.o.Watch != nil {
			c.o.Watch(l.g, s)
		}
	}
	if r := l.open.Deliver(d); r != ReasonNone {
		c.o.Store.Hurry()
		return fmt.Errorf("deliver to group %s: %s", l.g.Key(), r)
	}
	c.mu.Lock()
	for _, g := range d.Gaps {
		l.state.Missed[g.Reason] += g.Count()
		l.next = max(l.next, g.To)
	}
	if n := len(d.Scans); n > 0 {
		l.state.Stored += uint64(n)
		l.state.Last = d.Scans[n-1].Time
		l.next = max(l.next, d.Scans[n-1].Slot+1)
	}
	c.mu.Unlock()
	if d.Early {
		c.o.Store.Hurry()
	}
	return nil
}
