package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"pneudaq/acquisition"
)

// HubOptions describe a hub.
type HubOptions struct {
	Compile acquisition.Compile // for derived channels
	Now     func() int64        // Unix ns
	Logger  *slog.Logger
}

// Hub gives committed blocks and events to the live streams. Offer may be
// called before anybody runs the hub, and never waits.
type Hub struct {
	o       HubOptions
	blocks  chan []*acquisition.Block
	dropped atomic.Uint64

	work     sync.Mutex // of decoding
	decoders map[*acquisition.Group]*acquisition.Decoder
	values   []float64
	quality  []acquisition.Quality

	mu      sync.Mutex
	streams map[*stream]bool
	last    map[acquisition.GroupKey]*acquisition.Block
	events  []numbered
	count   uint64 // events so far
	closing chan struct{}
	closed  bool
}

type numbered struct {
	number uint64
	text   []byte
}

const (
	hubQueue   = 64  // commits that may wait for decoding: more than three seconds at the shortest usual tick
	eventsKept = 512 // for streams that come back
)

// NewHub returns a hub without streams.
func NewHub(o HubOptions) *Hub {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{
		o: o, blocks: make(chan []*acquisition.Block, hubQueue), decoders: map[*acquisition.Group]*acquisition.Decoder{},
		streams: map[*stream]bool{}, last: map[acquisition.GroupKey]*acquisition.Block{}, closing: make(chan struct{}),
	}
}

// Offer hands over blocks that were just committed. It never waits: when the
// hub is behind they are not shown live; they are in the store. The slice
// must not be changed afterwards.
func (h *Hub) Offer(blocks []*acquisition.Block) {
	select {
	case h.blocks <- blocks:
	default:
		h.dropped.Add(uint64(len(blocks)))
	}
}

// Event shows an event to whoever looks.
func (h *Hub) Event(e acquisition.Event) {
	text, err := json.Marshal(eventDocument(e))
	if err != nil {
		panic("BUG: event document: " + err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	n := numbered{h.count, text}
	if len(h.events) >= eventsKept {
		h.events = append(h.events[:0], h.events[1:]...)
	}
	h.events = append(h.events, n)
	for s := range h.streams {
		s.event(n)
	}
}

// run decodes until ctx ends.
func (h *Hub) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case blocks := <-h.blocks:
			for _, b := range blocks {
				h.show(b)
			}
		}
	}
}

// show gives one block to the streams that want something of its group. It is
// decoded once, whatever their number.
func (h *Hub) show(b *acquisition.Block) {
	if b.Backfill {
		return
	}
	key := b.Group.Key()
	h.mu.Lock()
	h.last[key] = b
	var takers []*stream
	for s := range h.streams {
		if s.wants(key) {
			takers = append(takers, s)
		}
	}
	h.mu.Unlock()
	if len(takers) > 0 {
		h.decode(b, takers)
	}
}

func (h *Hub) decode(b *acquisition.Block, takers []*stream) {
	h.work.Lock()
	defer h.work.Unlock()
	d := h.decoders[b.Group]
	if d == nil {
		var err error
		if d, err = acquisition.NewDecoder(b.Group, h.o.Compile); err != nil {
			h.o.Logger.Warn("group is not shown live", slog.String("group", string(b.Group.Key())), slog.String("problem", err.Error()))
			return
		}
		for g := range h.decoders { // older versions of the group are over
			if g.Key() == b.Group.Key() {
				delete(h.decoders, g)
			}
		}
		h.decoders[b.Group] = d
	}
	n, channels := b.Len(), len(b.Group.Channels)
	if cap(h.values) < n*channels {
		h.values, h.quality = make([]float64, n*channels), make([]acquisition.Quality, n*channels)
	}
	values, quality := h.values[:n*channels], h.quality[:n*channels]
	for i := range n {
		d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values[i*channels:(i+1)*channels], quality[i*channels:(i+1)*channels])
	}
	for _, s := range takers {
		s.add(b, values, quality)
	}
	if cap(h.values) > keptSamples {
		h.values, h.quality = nil, nil
	}
}

// keptSamples bounds the memory that decoding keeps between blocks.
const keptSamples = 1 << 20

// join adds a stream and gives it the newest block of its groups, and the
// events since it was here last. It returns false when no more are served.
func (h *Hub) join(s *stream, most int, since uint64) bool {
	h.mu.Lock()
	if h.closed || len(h.streams) >= most {
		h.mu.Unlock()
		return false
	}
	if since == 0 || since > h.count { // a new browser, or one from before a restart
		since = h.count
	}
	s.number = since
	for _, e := range h.events {
		if e.number > since {
			s.event(e)
		}
	}
	h.streams[s] = true
	var newest []*acquisition.Block
	for key := range s.groups {
		if b := h.last[key]; b != nil {
			newest = append(newest, b)
		}
	}
	h.mu.Unlock()
	for _, b := range newest {
		h.decode(b, []*stream{s})
	}
	return true
}

func (h *Hub) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
}

// number returns how many streams there are.
func (h *Hub) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// each calls f for every stream.
func (h *Hub) each(f func(*stream)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		f(s)
	}
}

// closeStreams ends all streams; no new one begins.
func (h *Hub) closeStreams() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.closing)
	}
}

// wanted is a channel of a stream.
type wanted struct {
	channel string
	name    string // rig/channel
	index   int    // in the group that was seen last
	buckets []bucket
	t       int64 // of the last reading
	v       float64
	q       acquisition.Quality
}

// bucket sums up the samples of a short time: never an average, but the first
// and last instant and the least and greatest reading.
type bucket struct {
	number   int64 // which stretch of time; -1 once several were merged
	from, to int64
	min, max float64             // NaN: no usable reading
	q        acquisition.Quality // the first that was not good
}

type liveGap struct {
	from, to   int64
	rig, group string
	reason     acquisition.Reason
}

// stream is one browser that looks. What it has not taken is summed up within
// a fixed memory, so that a slow one sees coarser minima and maxima and costs
// nothing.
type stream struct {
	width  int64 // of a bucket, ns
	groups map[acquisition.GroupKey][]*wanted
	lang   Language
	wake   chan struct{}

	mu     sync.Mutex
	seen   map[acquisition.GroupKey]*acquisition.Group
	gaps   []liveGap
	dirty  bool // readings or gaps wait
	number uint64
	queue  []numbered
	state  map[string][]byte // newest of each kind
	order  []string
}

const (
	mostBuckets     = 512 // of one channel that wait for a browser
	mostLiveGaps    = 256
	mostQueueEvents = 256
)

func newStream(groups map[acquisition.GroupKey][]*wanted, points int, l Language) *stream {
	return &stream{
		width: int64(1e9) / int64(points), groups: groups, lang: l, wake: make(chan struct{}, 1),
		seen: map[acquisition.GroupKey]*acquisition.Group{}, state: map[string][]byte{},
	}
}

func (s *stream) wants(key acquisition.GroupKey) bool { return len(s.groups[key]) > 0 }

func (s *stream) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// event queues an event; of too many the oldest goes, the log has them all.
func (s *stream) event(e numbered) {
	s.mu.Lock()
	if len(s.queue) >= mostQueueEvents {
		s.queue = append(s.queue[:0], s.queue[1:]...)
	}
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	s.ring()
}

// put sets the newest state of a kind; what was not sent yet is replaced.
func (s *stream) put(kind string, text []byte) {
	s.mu.Lock()
	if _, waits := s.state[kind]; !waits {
		s.order = append(s.order, kind)
	}
	s.state[kind] = text
	s.mu.Unlock()
	s.ring()
}

// add takes the samples of a block.
func (s *stream) add(b *acquisition.Block, values []float64, quality []acquisition.Quality) {
	key := b.Group.Key()
	channels := len(b.Group.Channels)
	s.mu.Lock()
	list := s.groups[key]
	if s.seen[key] != b.Group {
		s.seen[key] = b.Group
		for _, w := range list {
			w.index = b.Group.Channel(w.channel)
		}
	}
	width := s.width
	if int64(b.Group.Period) >= width { // each sample has a bucket of its own
		width = 1
	}
	for _, w := range list {
		if w.index < 0 {
			continue
		}
		for i := range b.Slots {
			t, _ := b.SampleTime(i, w.index)
			if t <= w.t { // it was there before
				continue
			}
			w.add(t, t/width, values[i*channels+w.index], quality[i*channels+w.index])
		}
		s.dirty = s.dirty || len(w.buckets) > 0
	}
	s.addGaps(b)
	s.mu.Unlock()
	s.ring()
}

func (w *wanted) add(t, number int64, v float64, q acquisition.Quality) {
	w.t, w.v, w.q = t, v, q
	if n := len(w.buckets); n > 0 && w.buckets[n-1].number == number {
		w.buckets[n-1].merge(bucket{to: t, min: v, max: v, q: q})
		return
	}
	if len(w.buckets) >= mostBuckets {
		w.coarsen()
	}
	w.buckets = append(w.buckets, bucket{number: number, from: t, to: t, min: v, max: v, q: q})
}

// merge adds what came later.
func (b *bucket) merge(o bucket) {
	b.to = o.to
	if math.IsNaN(b.min) || o.min < b.min {
		b.min = o.min
	}
	if math.IsNaN(b.max) || o.max > b.max {
		b.max = o.max
	}
	if b.q == acquisition.Good {
		b.q = o.q
	}
}

// coarsen makes one of every two buckets.
func (w *wanted) coarsen() {
	n := 0
	for i := 0; i < len(w.buckets); i += 2 {
		b := w.buckets[i]
		if i+1 < len(w.buckets) {
			b.merge(w.buckets[i+1])
			b.number = -1
		}
		w.buckets[n] = b
		n++
	}
	w.buckets = w.buckets[:n]
}

// addGaps takes the gaps of a block whose slots have a place in time.
func (s *stream) addGaps(b *acquisition.Block) {
	if b.Group.Completeness != acquisition.BySchedule || b.Group.Period <= 0 {
		return
	}
	for _, g := range b.Gaps {
		if len(s.gaps) >= mostLiveGaps {
			s.gaps = append(s.gaps[:0], s.gaps[1:]...)
		}
		s.gaps = append(s.gaps, liveGap{
			from: b.Group.Due(0, g.From), to: b.Group.Due(0, g.To), rig: b.Group.Rig, group: b.Group.Name, reason: g.Reason,
		})
		s.dirty = true
	}
}
