package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pneudaq/acquisition"
)

// Feed is what a forwarder reads: the committed blocks of each group. The
// blocks are immutable. It may be used while the store is written.
type Feed interface {
	// Groups returns the newest version of each group.
	Groups() []*acquisition.Group
	// Held returns the oldest number of a group that the store still has and
	// the number after the newest. Numbers in between may be lost.
	Held(key acquisition.GroupKey) Seqs
	// Feed yields the blocks of a range in order; lost numbers are left out. A
	// damaged one is left out too, an error ends the sequence.
	Feed(ctx context.Context, key acquisition.GroupKey, r Seqs) iter.Seq2[*acquisition.Block, error]
	// Scans counts the scans of a range of blocks without reading them.
	Scans(key acquisition.GroupKey, r Seqs) uint64
}

// Positions is where a forwarder keeps what a sink has answered for, durably.
type Positions interface {
	Delivered(ctx context.Context, sink string, key acquisition.GroupKey) (SeqSet, error)
	SetDelivered(ctx context.Context, sink string, sets map[acquisition.GroupKey]SeqSet) error
}

// Asides is where lines wait that a sink will never take, durably. A line is
// known by sink, group, number of its block and scan; setting it aside again
// replaces it. Scan -1 is the line of a gap; counts are of scans alone.
type Asides interface {
	SetAside(ctx context.Context, sink string, refused []acquisition.Refused) error
	CountAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) (uint64, error)
	ListAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) ([]acquisition.Refused, error)
	ForgetAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) error
}

// ForwarderStore is what a forwarder needs of the store.
type ForwarderStore interface {
	Feed
	TimeFeed
	Positions
	Asides
}

// The states of a forwarder.
const (
	ForwarderOK       = "ok"
	ForwarderRetrying = "retrying" // the sink cannot take anything now; it is tried again
	ForwarderHolding  = "holding"  // the sink takes nothing until a person does something; it is tried again
)

const (
	forwarderTick   = time.Second
	forwarderFloor  = 250 * time.Millisecond // first back-off
	forwarderCeil   = 5 * time.Second        // largest back-off, unless the sink asked for more
	forwarderQueue  = 8 << 20                // bytes of new blocks in memory before they are left to the backlog
	forwarderFresh  = 2 * time.Second        // what waited longer is left to the backlog when the live lane is behind
	forwarderSave   = 10 * time.Second       // how often positions are saved: a page or two of the catalog each time
	forwarderGrace  = 3 * time.Second        // for emptying at the stop
	forwarderLook   = 10 * time.Minute       // how far before an outage the sink is looked through
	forwarderFields = 50_000
)

// ForwarderOptions says what a forwarder moves, and how.
type ForwarderOptions struct {
	Store       ForwarderStore
	Sink        acquisition.Sink
	Name        string              // of the sink in positions and stats, for example "influx"
	BatchFields int                 // a batch leaves when it holds so many fields, default 50 000
	MaxAge      time.Duration       // or when its oldest sample is so old, default 1 s
	Writers     int                 // requests at a time, 1 or 2 (default)
	QueueBytes  int                 // new blocks kept in memory, default 8 MiB
	SaveEvery   time.Duration       // positions, default 10 s; what was sent since is sent again after a crash
	Grace       time.Duration       // for emptying at the stop, default 3 s
	Compile     acquisition.Compile // for reconciling derived channels
	Check       Digester            // what the sink holds, for reconciling; nil: the sink itself if it can say
	Window      time.Duration       // of reconciling, default 10 min
	CheckEvery  time.Duration       // how often to reconcile without an outage, default 1 h; negative: never
	Now         func() int64        // Unix ns; nil: time.Now
	Jitter      func() float64      // in [0, 1); nil: random
	Logger      *slog.Logger        // nil: silent
}

// Forwarder moves blocks from the store to one sink, for ever. Two lanes work
// side by side, each in the order of the numbers of a group: the live lane
// takes blocks as they are offered, the backlog lane everything else that the
// sink has not answered for, oldest first. What counts as delivered is a set of
// numbers for each group; a number enters it only after the sink has answered.
type Forwarder struct {
	o       ForwarderOptions
	writers chan struct{}

	mu     sync.Mutex
	groups map[acquisition.GroupKey]*forwardGroup
	order  []acquisition.GroupKey // of the backlog's turns
	turn   int
	queue  []offered
	bytes  int
	ends   bool // no more waiting: the service stops
	outage outage

	sendingBacklog bool
	checking       []pendingCheck

	book chan struct{} // held while set-aside lines and positions move together; a channel, because a disk is waited for

	wake     chan struct{}
	backlogs chan struct{}
	lanes    [2]lane

	answer, delay                    atomic.Int64
	batches, fields, scans, lost     atomic.Uint64
	resent, refused, retries, checks atomic.Uint64
	mismatch                         atomic.Uint64
}

// forwardGroup is what is known of one group.
type forwardGroup struct {
	done    SeqSet
	busy    SeqSet // in the queue or being sent
	settled uint64 // numbers below it were there a tick ago: not coming by offer any more
	newest  uint64
	loaded  bool
	dirty   bool
}

type offered struct {
	block *acquisition.Block
	at    int64
}

// lane is one of the two ways to the sink.
type lane struct {
	name     string
	state    string
	since    int64
	problem  string
	do       string
	failures int
	missed   uint64 // answers that were no success since the state changed
}

const (
	laneLive = iota
	laneBacklog
)

// NewForwarder checks the options and returns a forwarder. It reads nothing.
func NewForwarder(o ForwarderOptions) (*Forwarder, error) {
	if o.Store == nil || o.Sink == nil || o.Name == "" {
		return nil, errors.New("forwarder needs a store, a sink and a name")
	}
	if o.Writers < 0 || o.Writers > 2 {
		return nil, fmt.Errorf("forwarder %s: %d writers, want 1 or 2: a lane has one", o.Name, o.Writers)
	}
	o.Writers = orDefault(o.Writers, 2)
	o.BatchFields = orDefault(o.BatchFields, forwarderFields)
	o.MaxAge = orDefault(o.MaxAge, time.Second)
	o.QueueBytes = orDefault(o.QueueBytes, forwarderQueue)
	o.SaveEvery = orDefault(o.SaveEvery, forwarderSave)
	o.Grace = orDefault(o.Grace, forwarderGrace)
	o.Window = orDefault(o.Window, 10*time.Minute)
	if o.CheckEvery == 0 {
		o.CheckEvery = time.Hour
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Check == nil {
		o.Check, _ = o.Sink.(Digester)
	}
	f := &Forwarder{
		o: o, writers: make(chan struct{}, o.Writers), groups: map[acquisition.GroupKey]*forwardGroup{},
		wake: make(chan struct{}, 1), backlogs: make(chan struct{}, 1), book: make(chan struct{}, 1),
	}
	f.lanes[laneLive] = lane{name: "live", state: ForwarderOK}
	f.lanes[laneBacklog] = lane{name: "backlog", state: ForwarderOK}
	return f, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Offer hands over blocks that were just committed, so that they need not be
// read back. It never waits; what does not fit is left to the backlog.
func (f *Forwarder) Offer(blocks []*acquisition.Block) {
	now := f.o.Now()
	f.mu.Lock()
	for _, b := range blocks {
		g := f.group(b.Group.Key())
		g.newest = max(g.newest, b.Seq+1)
		if g.done.Has(b.Seq) || g.busy.Has(b.Seq) {
			continue
		}
		g.busy.Add(Seqs{b.Seq, b.Seq + 1})
		f.queue = append(f.queue, offered{b, now})
		f.bytes += b.Bytes()
	}
	f.shed(func(offered) bool { return f.bytes > f.o.QueueBytes })
	f.mu.Unlock()
	poke(f.wake)
}

// shed leaves blocks to the backlog from the front of the queue, as long as
// they are too many or too old. The caller holds f.mu.
func (f *Forwarder) shed(excess func(q offered) bool) {
	n := 0
	for ; n < len(f.queue) && excess(f.queue[n]); n++ {
		b := f.queue[n].block
		f.bytes -= b.Bytes()
		f.group(b.Group.Key()).busy.Remove(Seqs{b.Seq, b.Seq + 1})
	}
	f.queue = slices.Delete(f.queue, 0, n)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// group returns what is known of a group. The caller holds f.mu.
func (f *Forwarder) group(key acquisition.GroupKey) *forwardGroup {
	g := f.groups[key]
	if g == nil {
		g = &forwardGroup{}
		f.groups[key] = g
		f.order = append(f.order, key)
	}
	return g
}

// Run moves blocks until ctx ends; then it sends what it can within the grace
// time and saves the positions. What is left is sent at the next start.
func (f *Forwarder) Run(ctx context.Context) error {
	if err := f.load(ctx); err != nil {
		return err
	}
	f.tick()
	f.tick() // what is there at the start is not offered any more
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { f.runLane(ctx, sending, laneLive) })
	wg.Go(func() { f.runLane(ctx, sending, laneBacklog) })
	wg.Go(func() { f.runChecks(ctx) })
	f.keep(ctx)
	unread := f.load(sending) // groups that came since the last tick
	held := f.held()
	f.mu.Lock()
	f.ends = true
	for key, r := range held {
		f.groups[key].settled = r.To
	}
	f.mu.Unlock()
	poke(f.wake)
	poke(f.backlogs)
	deadline := time.AfterFunc(f.o.Grace, cancel)
	wg.Wait()
	deadline.Stop()
	last, cancelSave := context.WithTimeout(context.WithoutCancel(ctx), f.o.Grace)
	defer cancelSave()
	return errors.Join(unread, f.save(last))
}

// keep ticks until ctx ends: it looks for new groups, lets the backlog have
// what was not offered, and saves positions.
func (f *Forwarder) keep(ctx context.Context) {
	ticker := time.NewTicker(forwarderTick)
	defer ticker.Stop()
	saved := f.o.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := f.load(ctx); err != nil && ctx.Err() == nil {
			f.o.Logger.Error("positions cannot be read", slog.String("sink", f.o.Name), slog.Any("error", err))
		}
		f.tick()
		if now := f.o.Now(); now-saved >= int64(f.o.SaveEvery) || now < saved {
			saved = now
			if err := f.save(ctx); err != nil && ctx.Err() == nil {
				f.o.Logger.Error("positions cannot be saved", slog.String("sink", f.o.Name), slog.Any("error", err))
			}
		}
	}
}

// load reads the delivered sets of groups that are new.
func (f *Forwarder) load(ctx context.Context) error {
	var fresh []acquisition.GroupKey
	groups := f.o.Store.Groups()
	f.mu.Lock()
	for _, g := range groups {
		f.group(g.Key())
	}
	for _, key := range f.order {
		if !f.groups[key].loaded {
			fresh = append(fresh, key)
		}
	}
	f.mu.Unlock()
	for _, key := range fresh {
		held := f.o.Store.Held(key)
		set, err := f.o.Store.Delivered(ctx, f.o.Name, key)
		if err != nil {
			return fmt.Errorf("read what %s has of %s: %w", f.o.Name, key, err)
		}
		f.mu.Lock()
		g := f.group(key)
		for _, r := range set {
			g.done.Add(r.Within(held)) // numbers that the store does not have may come again with other data
		}
		g.loaded = true
		f.mu.Unlock()
	}
	return nil
}

// tick lets the backlog take what was committed before the last tick.
func (f *Forwarder) tick() {
	held := f.held()
	f.mu.Lock()
	for key, r := range held {
		g := f.groups[key]
		g.settled = g.newest
		g.newest = max(g.newest, r.To)
	}
	f.mu.Unlock()
	poke(f.backlogs)
}

// held asks the store what it has of each group. It is called without f.mu:
// the store may offer blocks while it is asked.
func (f *Forwarder) held() map[acquisition.GroupKey]Seqs {
	f.mu.Lock()
	keys := slices.Clone(f.order)
	f.mu.Unlock()
	all := make(map[acquisition.GroupKey]Seqs, len(keys))
	for _, key := range keys {
		all[key] = f.o.Store.Held(key)
	}
	return all
}

// save writes the delivered sets that changed.
func (f *Forwarder) save(ctx context.Context) error {
	sets := map[acquisition.GroupKey]SeqSet{}
	f.mu.Lock()
	for key, g := range f.groups {
		if g.dirty && g.loaded {
			sets[key] = slices.Clone(g.done)
			g.dirty = false
		}
	}
	f.mu.Unlock()
	if len(sets) == 0 {
		return nil
	}
	if err := f.o.Store.SetDelivered(ctx, f.o.Name, sets); err != nil {
		f.mu.Lock()
		for key := range sets {
			f.groups[key].dirty = true
		}
		f.mu.Unlock()
		return fmt.Errorf("save what %s has: %w", f.o.Name, err)
	}
	return nil
}

// runLane sends batch after batch. After ctx has ended it goes on without
// waiting until nothing is left, the sink fails, or sending ends.
func (f *Forwarder) runLane(ctx, sending context.Context, which int) {
	halved := 0
	for {
		limit := max(f.o.BatchFields>>halved, 1)
		var batch []*acquisition.Block
		if which == laneLive {
			batch = f.takeLive(ctx, limit)
		} else {
			batch = f.takeBacklog(ctx, sending, limit)
		}
		if len(batch) == 0 {
			return
		}
		err := f.send(sending, which, batch)
		if which == laneBacklog {
			f.mu.Lock()
			f.sendingBacklog = false
			f.mu.Unlock()
		}
		if err == nil {
			halved /= 2
			continue
		}
		f.release(batch)
		if ctx.Err() != nil || sending.Err() != nil {
			return
		}
		wait, failures := f.failed(which, err)
		if failures%4 == 0 && halved < 16 { // too much at once is one reason to fail every time
			halved++
		}
		pause(ctx, wait)
	}
}

// pause waits, shorter if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// fieldsOf returns how many fields a block becomes in a sink, about.
func fieldsOf(b *acquisition.Block) int { return b.Len()*len(b.Group.Channels) + 6*len(b.Gaps) }

// takeLive waits for a batch of offered blocks: full, old enough, or the last
// ones. It returns nothing once ctx has ended and the queue is empty.
func (f *Forwarder) takeLive(ctx context.Context, limit int) []*acquisition.Block {
	for {
		f.mu.Lock()
		fields, n := 0, 0
		now := f.o.Now()
		age := time.Duration(0)
		if f.lanes[laneLive].failures > 0 || len(f.queue) > 0 && f.queued() > 2*limit {
			// Behind: what is new comes first, the backlog takes the rest.
			f.shed(func(q offered) bool { return now-q.at > int64(forwarderFresh) })
		}
		for ; n < len(f.queue) && (n == 0 || fields < limit); n++ {
			q := f.queue[n]
			fields += fieldsOf(q.block)
			age = max(age, time.Duration(now-q.at))
			if q.block.Len() > 0 && !q.block.Backfill {
				age = max(age, time.Duration(now-q.block.Times[0]))
			}
		}
		if n > 0 && (fields >= limit || age >= f.o.MaxAge || f.ends) {
			batch := make([]*acquisition.Block, n)
			for i := range batch {
				batch[i] = f.queue[i].block
				f.bytes -= batch[i].Bytes()
			}
			f.queue = slices.Delete(f.queue, 0, n)
			f.mu.Unlock()
			return batch
		}
		ends := f.ends
		f.mu.Unlock()
		if ends {
			return nil
		}
		wait := time.Hour
		if n > 0 {
			wait = f.o.MaxAge - age
		}
		f.await(ctx, f.wake, wait)
	}
}

// queued counts the fields that wait in the queue. The caller holds f.mu.
func (f *Forwarder) queued() int {
	n := 0
	for _, q := range f.queue {
		n += fieldsOf(q.block)
	}
	return n
}

// await returns when poked, after d, or when ctx ends; in the last case only
// once the forwarder knows that it stops.
func (f *Forwarder) await(ctx context.Context, poked chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	if ctx.Err() != nil {
		<-poked // Run pokes after it has set ends
		return
	}
	select {
	case <-ctx.Done():
	case <-poked:
	case <-t.C:
	}
}

// takeBacklog waits for a batch of stored blocks that the sink has not
// answered for.
func (f *Forwarder) takeBacklog(ctx, sending context.Context, limit int) []*acquisition.Block {
	for {
		f.mu.Lock()
		ends := f.ends // before looking: what settles with the end must be seen
		f.mu.Unlock()
		if batch := f.gather(sending, limit); len(batch) > 0 {
			return batch
		}
		f.mu.Lock()
		f.sendingBacklog = false
		f.mu.Unlock()
		if ends {
			return nil
		}
		f.await(ctx, f.backlogs, time.Hour)
	}
}

// gather reads one batch, group after group, each from its oldest number on.
// The group whose turn it is comes first, so that each gets its share.
func (f *Forwarder) gather(ctx context.Context, limit int) []*acquisition.Block {
	f.mu.Lock()
	order := slices.Clone(f.order)
	first := f.turn
	f.turn++
	f.mu.Unlock()
	var batch []*acquisition.Block
	fields := 0
	for i := range order {
		key := order[(first+i)%len(order)]
		for fields < limit {
			r, ok := f.claim(key)
			if !ok {
				break
			}
			var ended bool
			batch, fields, ended = f.read(ctx, key, r, batch, fields, limit)
			if !ended {
				break
			}
		}
		if fields >= limit {
			break
		}
	}
	return batch
}

// claim marks the oldest range of a group that waits as being sent.
func (f *Forwarder) claim(key acquisition.GroupKey) (Seqs, bool) {
	held := f.o.Store.Held(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.group(key)
	if !g.loaded {
		return Seqs{}, false
	}
	r, ok := g.waiting(held)
	if ok {
		g.busy.Add(r)
		f.sendingBacklog = true
	}
	return r, ok
}

// waiting returns the oldest range that the sink has not answered for and that
// no lane has in hand.
func (g *forwardGroup) waiting(held Seqs) (Seqs, bool) {
	r := Seqs{max(held.From, 1), min(held.To, g.settled)}
	for {
		free, ok := g.done.Missing(r)
		if !ok {
			return Seqs{}, false
		}
		if part, ok := g.busy.Missing(free); ok {
			return part, true
		}
		r.From = free.To
	}
}

// read adds the blocks of a claimed range to a batch until it is full, and
// gives the rest of the range back. Numbers that the store does not have count
// as done: nothing can be sent for them, and the store's own record says why.
// It reports whether the whole range was read.
func (f *Forwarder) read(ctx context.Context, key acquisition.GroupKey, r Seqs, batch []*acquisition.Block, fields, limit int) ([]*acquisition.Block, int, bool) {
	next := r.From
	var broken error
	for b, err := range f.o.Store.Feed(ctx, key, r) {
		if err != nil {
			broken = err
			break
		}
		if b.Seq < next || b.Seq >= r.To {
			continue
		}
		f.skip(key, Seqs{next, b.Seq})
		batch = append(batch, b)
		fields += fieldsOf(b)
		next = b.Seq + 1
		if fields >= limit {
			break
		}
	}
	if broken == nil && ctx.Err() == nil && fields < limit {
		f.skip(key, Seqs{next, r.To})
		return batch, fields, true
	}
	f.mu.Lock()
	f.group(key).busy.Remove(Seqs{next, r.To})
	f.mu.Unlock()
	if broken != nil && ctx.Err() == nil {
		f.o.Logger.Error("stored blocks cannot be read", slog.String("sink", f.o.Name), slog.String("group", string(key)), slog.Any("error", broken))
	}
	return batch, fields, false
}

func (f *Forwarder) skip(key acquisition.GroupKey, r Seqs) {
	if r.Empty() {
		return
	}
	f.lost.Add(r.To - r.From)
	f.mu.Lock()
	g := f.group(key)
	g.done.Add(r)
	g.busy.Remove(r)
	g.dirty = true
	f.mu.Unlock()
}

// release lets the backlog have blocks that could not be sent.
func (f *Forwarder) release(batch []*acquisition.Block) {
	f.mu.Lock()
	for _, b := range batch {
		f.group(b.Group.Key()).busy.Remove(Seqs{b.Seq, b.Seq + 1})
	}
	f.mu.Unlock()
}

// hold takes the book, unless ctx ends first.
func (f *Forwarder) hold(ctx context.Context) error {
	select {
	case f.book <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("account of %s: %w", f.o.Name, context.Cause(ctx))
	}
}

// send writes a batch and moves the positions once the sink has answered.
func (f *Forwarder) send(ctx context.Context, which int, batch []*acquisition.Block) error {
	select {
	case f.writers <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("send to %s: %w", f.o.Name, context.Cause(ctx))
	}
	refused, err := f.o.Sink.Write(ctx, batch)
	<-f.writers
	if err != nil {
		return err
	}
	if err := f.hold(ctx); err != nil {
		return err
	}
	if len(refused) > 0 {
		if err := f.o.Store.SetAside(ctx, f.o.Name, refused); err != nil {
			<-f.book
			return fmt.Errorf("set %d refused lines aside: %w", len(refused), err)
		}
	}
	f.mu.Lock()
	var newest int64
	fields, scans := 0, 0
	for _, b := range batch {
		g := f.group(b.Group.Key())
		r := Seqs{b.Seq, b.Seq + 1}
		g.done.Add(r)
		g.busy.Remove(r)
		g.dirty = true
		fields += b.Len() * len(b.Group.Channels)
		scans += b.Len()
		if n := b.Len(); n > 0 {
			newest = max(newest, b.Times[n-1])
		}
	}
	f.mu.Unlock()
	<-f.book
	now := f.o.Now()
	f.answer.Store(now)
	f.batches.Add(1)
	f.fields.Add(uint64(fields))
	f.scans.Add(uint64(scans))
	f.refused.Add(uint64(len(refused)))
	if which == laneLive && newest > 0 {
		f.delay.Store(now - newest)
	}
	if len(refused) > 0 {
		f.o.Logger.Warn("sink refused lines for good; they are set aside", slog.String("sink", f.o.Name),
			slog.Int("lines", len(refused)), slog.String("group", string(refused[0].Group)), slog.String("reason", refused[0].Reason))
	}
	f.worked(which)
	return nil
}
