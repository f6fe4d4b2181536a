package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"pneudaq/acquisition"
)

// Defaults of [Options].
const (
	DefaultTick          = time.Second
	DefaultRecordingTick = 50 * time.Millisecond
	DefaultMemoryLimit   = 16 << 20
	DefaultSegmentSize   = 16 << 20
)

// Options describe a store.
type Options struct {
	Dir           string
	Tick          time.Duration // between commits, default 1 s
	RecordingTick time.Duration // while a recording is open, default 50 ms
	MemoryLimit   int           // bytes of all open blocks together, default 16 MiB; beyond it scans become gaps
	SegmentSize   int64         // bytes after which a new segment begins, default 16 MiB
	Retention     Retention
	Sinks         []string            // what they have not taken is never dropped
	Compile       acquisition.Compile // for derived channels in overviews; nil: they are read from their samples
	// Needed reports whether a recording is not archived yet; its samples stay
	// until it is. nil: only open recordings are needed.
	Needed func(acquisition.Recording) bool
	FS     FS           // nil: the directory Dir of the operating system, locked
	Logger *slog.Logger // nil: silent
	Now    func() int64 // Unix ns, the service's time; nil: time.Now
	BootID string       // of this boot of the machine; "": as the kernel says
	// Offer takes blocks that were just committed: the live page, forwarders.
	// It must not block.
	Offer func([]*acquisition.Block)
}

// Store is the embedded store of one directory. Its methods may be called from
// any goroutine.
type Store struct {
	o    Options
	fs   FS
	log  *slog.Logger
	lock *os.File
	z    *zstd.Decoder
	cat  *catalog

	// writer is held by whoever writes segments. It is a channel and no mutex,
	// because it is held while a disk is waited for.
	writer     chan struct{}
	hurry      chan struct{}
	enc        encoder
	buf        []byte
	active     *segment
	nextID     uint64
	newestRaw  uint64               // at the start: only its end may be torn
	pending    []*acquisition.Block // taken and numbered, not yet durable
	extra      []note               // epochs and events, not yet durable
	trouble    trouble
	noticed    int64 // when the reserve was written last, 0: it is empty
	noticeTurn int
	located    []located

	compact    chan struct{} // there may be work for the compaction
	tidy       chan struct{} // held by whoever compacts or drops
	tidyEnc    encoder
	spaceLevel int // how full the disk was last; of the background alone

	mu          sync.RWMutex // the index; never held while a disk is waited for
	groups      map[acquisition.GroupKey]*groupState
	keys        []acquisition.GroupKey
	descriptors map[uint64]*acquisition.Group
	ids         map[*acquisition.Group]uint64
	opens       []*acquisition.Open
	events      []acquisition.Event // to be committed
	lastEpoch   acquisition.EpochID
	files       []*file
	recordings  int // open
	report      Recovery
	closed      bool
	stats       counters
	recorded    map[string]acquisition.Recording
	delivered   map[sinkGroup]SeqSet // as last stored
	damaged     map[place]bool
	unread      map[place]int64 // chunks that the disk does not give back, and since when
	rebuilt     bool            // the catalog is new
	held        error           // why the disk takes nothing
	activeFile  *file
	started     int64
}

// note is a small frame that waits for a commit.
type note struct {
	h       header
	payload []byte
}

// groupState is what is known of one group.
type groupState struct {
	key      acquisition.GroupKey
	versions []*acquisition.Group // by version
	current  *acquisition.Group
	entries  []entry // by seq; readers keep slices of it, so it is only appended to or replaced
	next     uint64  // seq of the next block
	dropped  SeqSet  // gone by retention
	lastSlot uint64
	lastTime int64
	cover    uint64 // first slot of the newest epoch without an account
	epochs   []acquisition.Epoch
	open     *acquisition.Open
	amended  []Amendment
}

// entry is one chunk in the index.
type entry struct {
	seq, blocks      uint64
	slotFrom, slotTo uint64
	from, to         int64
	lastSlot         uint64
	lastTime         int64
	epoch            acquisition.EpochID
	g                *acquisition.Group
	file             *file
	off              int64 // of the frame
	length           uint32
	scans            uint32
	flags            uint8
}

func (e *entry) end() uint64 { return e.seq + e.blocks }

func entryOf(h *header, g *acquisition.Group, f *file, off int64) entry {
	return entry{
		seq: h.seq, blocks: uint64(h.blocks), slotFrom: h.slotFrom, slotTo: h.slotTo, from: h.from, to: h.to,
		lastSlot: h.lastSlot, lastTime: h.lastTime, epoch: acquisition.EpochID(h.epoch), g: g, file: f, off: off,
		length: h.length, scans: h.scans, flags: h.flags,
	}
}

// header returns the header that the frame of the entry has.
func (e *entry) header(id uint64) header {
	return header{
		length: e.length, kind: kindBlocks, flags: e.flags, group: id, epoch: uint64(e.epoch), seq: e.seq,
		slotFrom: e.slotFrom, slotTo: e.slotTo, from: e.from, to: e.to, lastSlot: e.lastSlot, lastTime: e.lastTime,
		blocks: uint32(e.blocks), scans: e.scans,
	}
}

// Open opens or creates the store of a directory. It takes the directory's
// lock (a second process gets a [*LockedError]), reads what is there, cuts torn
// ends, gives every hole its gap and closes epochs that a crash left open. What
// it found is in [Store.Recovery]. It refuses a directory that a newer version
// wrote ([*FormatError]) and touches nothing there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Tick == 0 {
		o.Tick = DefaultTick
	}
	if o.RecordingTick == 0 {
		o.RecordingTick = min(DefaultRecordingTick, o.Tick)
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BootID == "" {
		o.BootID = bootID()
	}
	if err := o.Retention.check(); err != nil {
		return nil, err
	}
	s := &Store{
		o: o, fs: o.FS, log: o.Logger,
		writer: make(chan struct{}, 1), hurry: make(chan struct{}, 1), compact: make(chan struct{}, 1),
		tidy:   make(chan struct{}, 1),
		groups: map[acquisition.GroupKey]*groupState{}, descriptors: map[uint64]*acquisition.Group{},
		ids: map[*acquisition.Group]uint64{}, nextID: 1, started: o.Now(),
		damaged: map[place]bool{}, unread: map[place]int64{}, recorded: map[string]acquisition.Recording{}, delivered: map[sinkGroup]SeqSet{},
	}
	var err error
	if s.fs == nil {
		if err := os.MkdirAll(o.Dir, 0o750); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		s.fs = dirFS{o.Dir}
		if err := checkFormat(s.fs, o.Dir); err != nil {
			return nil, err
		}
		if s.lock, err = lockDir(o.Dir); err != nil {
			return nil, err
		}
		if name := unsafeMount(o.Dir); name != "" {
			s.report.Mount = name
			s.log.Warn("store is not safe against power cuts", slog.String("dir", o.Dir), slog.String("file_system", name))
		}
	}
	if err := s.start(ctx); err != nil {
		err = fmt.Errorf("open store %s: %w", o.Dir, err)
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	if err := checkFormat(s.fs, s.o.Dir); err != nil {
		return err
	}
	var err error
	if s.enc.z, err = newEncoder(); err != nil {
		return err
	}
	if s.tidyEnc.z, err = newEncoder(); err != nil {
		return err
	}
	if s.z, err = newDecoder(); err != nil {
		return err
	}
	if err := writeFormat(s.fs); err != nil {
		return err
	}
	return s.recover(ctx)
}

// Close closes the store. Run must have returned. What is still open is
// committed by CloseEpoch, not here.
func (s *Store) Close() error {
	s.acquire()
	defer func() { <-s.writer }()
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	// What the catalog does not take now it takes from the segments at the next start.
	_ = s.flush(context.Background()) //nolint:forbidigo // closing is not cancelled
	return s.release()
}

func (s *Store) release() error {
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.file.close())
		s.active = nil
	}
	for _, f := range s.files {
		errs = append(errs, f.close())
	}
	if s.cat != nil {
		errs = append(errs, s.cat.close())
	}
	if s.z != nil {
		s.z.Close()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// acquire takes the right to write.
func (s *Store) acquire() { s.writer <- struct{}{} }

func (s *Store) acquireContext(ctx context.Context) error {
	select {
	case s.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// descriptorID returns what frames call a group version.
func descriptorID(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.LittleEndian.Uint64(sum[:8])
}

// adopt returns the one instance of a group version, adding it if it is new.
// The caller holds mu or is alone.
func (s *Store) adopt(g *acquisition.Group) (*acquisition.Group, error) {
	text, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", g.Key(), err)
	}
	id := descriptorID(text)
	if known := s.descriptors[id]; known != nil {
		return known, nil
	}
	s.descriptors[id] = g
	s.ids[g] = id
	st := s.group(g.Key())
	st.versions = append(st.versions, g)
	slices.SortFunc(st.versions, func(a, b *acquisition.Group) int { return int(a.Version) - int(b.Version) })
	return g, nil
}

// group returns the state of a group, adding it if it is new.
func (s *Store) group(key acquisition.GroupKey) *groupState {
	st := s.groups[key]
	if st == nil {
		st = &groupState{key: key, next: 1}
		s.groups[key] = st
		s.keys = append(s.keys, key)
		slices.Sort(s.keys)
	}
	return st
}

// Last returns the newest stored slot of a group and its time, Unix ns. A group
// whose clock is not after it must not start.
func (s *Store) Last(key acquisition.GroupKey) (slot uint64, t int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[key]
	if st == nil || st.lastTime == 0 {
		return 0, 0, false
	}
	return st.lastSlot, st.lastTime, true
}

// Groups returns the newest version of each group, by key.
func (s *Store) Groups() []*acquisition.Group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*acquisition.Group
	for _, k := range s.keys {
		if g := s.groups[k].current; g != nil {
			out = append(out, g)
		}
	}
	return out
}

// GroupVersion returns one version of a group, nil if there is none.
func (s *Store) GroupVersion(key acquisition.GroupKey, version uint32) *acquisition.Group {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.groups[key]; st != nil {
		for _, g := range st.versions {
			if g.Version == version {
				return g
			}
		}
	}
	return nil
}

// Epochs returns the epochs of a group in the order of their opening.
func (s *Store) Epochs(key acquisition.GroupKey) []acquisition.Epoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.groups[key]; st != nil {
		return slices.Clone(st.epochs)
	}
	return nil
}

// due returns the planned instant of a slot, if the epoch has a grid.
func (s *Store) due(key acquisition.GroupKey, id acquisition.EpochID, slot uint64) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[key]
	if st == nil {
		return 0, false
	}
	if e := st.epoch(id); e != nil && e.Period > 0 && st.scheduled() {
		return grid(e).Due(slot), true
	}
	return 0, false
}

func (st *groupState) scheduled() bool {
	return st.current != nil && st.current.Completeness == acquisition.BySchedule
}

func (st *groupState) epoch(id acquisition.EpochID) *acquisition.Epoch {
	for i := len(st.epochs) - 1; i >= 0; i-- {
		if st.epochs[i].ID == id {
			return &st.epochs[i]
		}
	}
	return nil
}

func grid(e *acquisition.Epoch) acquisition.Grid {
	return acquisition.Grid{Anchor: e.Anchor, Period: e.Period, Phase: e.Phase}
}

// OpenEpoch writes the durable record of a stretch of schedule and returns the
// group's open block. The group of the open block has its version: the same
// descriptor as the newest has the same version. Slots between the end of the
// epoch before and first get their gap here, with the reason for which that
// epoch ended. It waits while the disk takes nothing, until ctx ends.
func (s *Store) OpenEpoch(ctx context.Context, g *acquisition.Group, anchor int64, first uint64) (*acquisition.Open, error) {
	for {
		if err := s.acquireContext(ctx); err != nil {
			return nil, fmt.Errorf("open epoch of group %s: %w", g.Key(), err)
		}
		o, err := s.openEpoch(g, anchor, first)
		<-s.writer
		if err == nil {
			return o, nil
		}
		if _, ok := errors.AsType[*heldError](err); !ok {
			return nil, fmt.Errorf("open epoch of group %s: %w", g.Key(), err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("open epoch of group %s: %w", g.Key(), err)
		case <-time.After(retryPause):
		}
	}
}

// retryPause is between attempts while the disk takes nothing.
const retryPause = time.Second

// openEpoch is OpenEpoch with the right to write.
func (s *Store) openEpoch(g *acquisition.Group, anchor int64, first uint64) (*acquisition.Open, error) {
	if s.isClosed() {
		return nil, errClosed
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	st := s.group(g.Key())
	g, err := s.version(st, g)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	now := s.o.Now()
	id := max(acquisition.EpochID(max(now, 1)), s.lastEpoch+1)
	e := acquisition.Epoch{
		ID: id, Group: st.key, Version: g.Version, Anchor: anchor, Period: int64(g.Period), Phase: int64(g.Phase),
		First: first, Boot: s.o.BootID, Opened: now,
	}
	var ended *acquisition.Epoch
	var hole *acquisition.Block
	if n := len(st.epochs); n > 0 {
		before := st.epochs[n-1]
		if before.Closed == 0 {
			// The collector did not close it: a restart of the bus inside the process.
			before.Closed, before.Next, before.End = now, max(st.cover, before.First), acquisition.ReasonStopped
			ended = &before
		}
		hole = s.hole(st, &before, &e)
	}
	open := acquisition.NewOpen(g, id, st.lastTime, 0)
	s.mu.Unlock()

	if ended != nil {
		if err := s.noteEpoch(*ended); err != nil {
			return nil, err
		}
	}
	if hole != nil {
		hole.Seq = s.number(hole.Group.Key())
		s.pending = append(s.pending, hole)
	}
	if err := s.noteEpoch(e); err != nil {
		return nil, err
	}
	if err := s.commitPending(g); err != nil {
		return nil, err
	}
	s.mu.Lock()
	st.open = open
	s.opens = append(s.opens, open)
	s.share()
	s.mu.Unlock()
	return open, nil
}

// hole returns a block with the gap between two epochs, nil if there is none.
func (s *Store) hole(st *groupState, before, after *acquisition.Epoch) *acquisition.Block {
	from := max(st.cover, before.Next, before.First)
	to := after.First
	if before.Period > 0 && st.scheduled() {
		if after.Period <= 0 {
			return nil
		}
		to = grid(before).First(grid(after).Due(after.First))
	} else if st.current == nil || st.current.Completeness == acquisition.ByNothing ||
		before.End == acquisition.ReasonReboot {
		return nil
	}
	if from >= to || from == 0 {
		return nil
	}
	return &acquisition.Block{Group: s.versionOf(st, before.Version), Epoch: before.ID, Gaps: []acquisition.Gap{{From: from, To: to, Reason: before.End}}}
}

// version returns the group with its version set.
func (s *Store) version(st *groupState, g *acquisition.Group) (*acquisition.Group, error) {
	next := uint32(1)
	for _, v := range st.versions {
		next = max(next, v.Version+1)
	}
	c := *g
	if st.current != nil {
		c.Version = st.current.Version
		a, err := json.Marshal(&c)
		if err != nil {
			return nil, fmt.Errorf("describe group %s: %w", g.Key(), err)
		}
		if descriptorID(a) == s.ids[st.current] {
			return st.current, nil
		}
	}
	c.Version = next
	v, err := s.adopt(&c)
	if err != nil {
		return nil, err
	}
	st.current = v
	return v, nil
}

// number takes the next sequence number of a group.
func (s *Store) number(key acquisition.GroupKey) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.group(key)
	n := st.next
	st.next++
	return n
}

// CloseEpoch commits what is open and closes the record: slot next is the first
// that is no longer planned. While the disk takes nothing it tries for a few
// seconds.
func (s *Store) CloseEpoch(ctx context.Context, o *acquisition.Open, next uint64, why acquisition.Reason) error {
	const attempts = 4
	for i := 1; ; i++ {
		if err := s.acquireContext(ctx); err != nil {
			return fmt.Errorf("close epoch of group %s: %w", o.Group().Key(), err)
		}
		err := s.closeEpoch(o, next, why)
		<-s.writer
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*heldError](err); !ok || i == attempts {
			return fmt.Errorf("close epoch of group %s: %w", o.Group().Key(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("close epoch of group %s: %w", o.Group().Key(), err)
		case <-time.After(retryPause):
		}
	}
}

func (s *Store) closeEpoch(o *acquisition.Open, next uint64, why acquisition.Reason) error {
	if s.isClosed() {
		return errClosed
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.RLock()
	st := s.groups[o.Group().Key()]
	known := slices.Contains(s.opens, o)
	var e acquisition.Epoch
	if st != nil {
		if p := st.epoch(o.Epoch()); p != nil {
			e = *p
		}
	}
	s.mu.RUnlock()
	if !known || e.ID == 0 {
		return fmt.Errorf("epoch %d is not open", o.Epoch())
	}
	s.take()
	e.Closed, e.Next, e.End = max(s.o.Now(), 1), next, why
	if err := s.noteEpoch(e); err != nil {
		return err
	}
	if err := s.commitPending(o.Group()); err != nil {
		return err
	}
	s.mu.Lock()
	s.opens = slices.DeleteFunc(s.opens, func(x *acquisition.Open) bool { return x == o })
	if st.open == o {
		st.open = nil
	}
	s.share()
	s.mu.Unlock()
	return nil
}

// noteEpoch queues the record of an epoch for the next commit.
func (s *Store) noteEpoch(e acquisition.Epoch) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("describe epoch: %w", err)
	}
	s.mu.RLock()
	next := uint64(0)
	if st := s.groups[e.Group]; st != nil {
		next = st.next
	}
	s.mu.RUnlock()
	// The next number shows at a reopen that the last block is lost.
	s.extra = append(s.extra, note{h: header{kind: kindEpoch, epoch: uint64(e.ID), seq: next}, payload: text})
	return nil
}

// setEpoch puts the record of an epoch into the index. The caller holds mu or
// is alone.
func (s *Store) setEpoch(e acquisition.Epoch) {
	st := s.group(e.Group)
	s.lastEpoch = max(s.lastEpoch, e.ID)
	if p := st.epoch(e.ID); p != nil {
		if p.Closed == 0 {
			*p = e
		}
		return
	}
	st.epochs = append(st.epochs, e)
	slices.SortFunc(st.epochs, func(a, b acquisition.Epoch) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if st.epochs[len(st.epochs)-1].ID == e.ID {
		st.cover = e.First
	}
}

// share divides the memory limit over the open blocks by what they bring in.
// The caller holds mu.
func (s *Store) share() {
	const least = 64 << 10
	total := 0.0
	for _, o := range s.opens {
		total += rate(o.Group())
	}
	reason := s.trouble.reason()
	for _, o := range s.opens {
		o.SetLimit(max(least, int(float64(s.o.MemoryLimit)*rate(o.Group())/total)), reason)
	}
}

// rate returns the bytes a second that a group brings into memory.
func rate(g *acquisition.Group) float64 {
	bytes := float64(24 + 2*g.Words + 8*g.Numbers + 16*g.Exchanges)
	period := g.Period
	if period <= 0 {
		period = 100 * time.Millisecond
	}
	return bytes / period.Seconds()
}

var errClosed = errors.New("the store is closed")

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// AddEvent puts an event into the record; it is durable with the next commit.
func (s *Store) AddEvent(e acquisition.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// Now returns the store's time, Unix ns.
func (s *Store) Now() int64 { return s.o.Now() }
