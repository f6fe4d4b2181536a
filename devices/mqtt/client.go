package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"pneudaq/acquisition"
)

// Bounds of what a client does.
const (
	quarantineBytes = 64 << 10                // of a payload that is set aside
	retryEvery      = 20 * time.Millisecond   // a delivery that was not taken is offered again
	quickEnd        = int64(10 * time.Second) // a connection that ends sooner may be a takeover
	quickEnds       = 3                       // so many in a row are one
	slowest         = time.Minute             // between attempts during a takeover
	certificateWarn = 30                      // days
	lookEvery       = int64(20e6)             // ns: waits that end are looked for this often under load
)

// Client receives one bus. Connect, Receive and Close are called by one
// goroutine; the other methods by any.
type Client struct {
	o             Options
	address       string
	tls           *tls.Config
	groups        []*group
	subscriptions []subscription
	out           outbox
	marks         marks
	scratch       []byte
	session       *session

	mu       sync.Mutex // guards what follows, and the groups while a message is placed
	stats    Stats
	routes   map[string][]route
	refusals []refusal
	link     *session
	full     bool // the limit of topics was reached
	strayed  map[string]bool
	topics   map[string]*Topic

	began     bool // there was a session before: a new one is a loss
	quick     int  // connections that ended soon, in a row
	notBefore int64
	untaken   bool
}

var _ acquisition.Receiver = (*Client)(nil)

// route is where messages of a topic go.
type route struct {
	g        *group
	part     int
	presence bool
}

// refusal is a payload to be set aside.
type refusal struct {
	topic   string
	payload []byte
	why     string
	flight  *inflight
}

// New checks the options and returns a client. It does no I/O. An error names
// the group and what to write instead.
func New(o Options) (*Client, error) {
	o = defaults(o)
	c := &Client{o: o, routes: map[string][]route{}, strayed: map[string]bool{}, topics: map[string]*Topic{}}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("bus %s: endpoint: %w", o.Name, err)
	}
	port := "1883"
	switch u.Scheme {
	case "mqtt":
	case "mqtts":
		port = "8883"
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLS != nil {
			cfg = o.TLS.Clone()
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		if cfg.Time == nil {
			cfg.Time = func() time.Time { return time.Unix(0, o.Now()) }
		}
		c.tls = cfg
	default:
		return nil, fmt.Errorf("bus %s: endpoint %q: write mqtt://host:1883 or mqtts://host:8883", o.Name, o.Endpoint)
	}
	if u.User != nil {
		return nil, fmt.Errorf("bus %s: the endpoint holds a user or password; put them into the environment or a secret file", o.Name)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("bus %s: endpoint %q: write mqtt://host:1883 with nothing behind it", o.Name, o.Endpoint)
	}
	c.address = net.JoinHostPort(u.Hostname(), port)
	switch {
	case o.ClientID == "":
		return nil, fmt.Errorf("bus %s: no client id; messages could not be kept for this client while it is away", o.Name)
	case o.Password != "" && o.Username == "":
		return nil, fmt.Errorf("bus %s: a password without a user name", o.Name)
	case o.KeepAlive%time.Second != 0 || o.KeepAlive < time.Second || o.KeepAlive > 65535*time.Second:
		return nil, fmt.Errorf("bus %s: keepalive %s: whole seconds from 1 s on are possible", o.Name, o.KeepAlive)
	case o.Window < 1 || o.MaxPacket < 128 || o.MaxTopics < 1 || o.Queue < 1:
		return nil, fmt.Errorf("bus %s: window, largest packet, topics and queue must be positive", o.Name)
	}
	c.marks = marks{session: sessionHash(c.address, o.ClientID), known: map[uint16]content{}}
	names := map[acquisition.GroupKey]bool{}
	var filters []subscription
	for i := range o.Groups {
		g, err := newGroup(&o.Groups[i], c)
		if err != nil {
			return nil, fmt.Errorf("bus %s: group %s: %w", o.Name, o.Groups[i].Group.Name, err)
		}
		if names[g.g.Key()] {
			return nil, fmt.Errorf("bus %s: there are two groups %s", o.Name, g.g.Key())
		}
		names[g.g.Key()] = true
		c.groups = append(c.groups, g)
		filters = append(filters, g.filters()...)
	}
	if len(c.groups) == 0 {
		return nil, fmt.Errorf("bus %s: no group arrives on it", o.Name)
	}
	c.subscriptions = reduce(filters)
	return c, nil
}

func defaults(o Options) Options {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Window, DefaultWindow)
	set(&o.MaxPacket, DefaultMaxPacket)
	set(&o.MaxTopics, DefaultMaxTopics)
	set(&o.Queue, DefaultQueue)
	if o.KeepAlive == 0 {
		o.KeepAlive = DefaultKeepAlive
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Dial == nil {
		d := &net.Dialer{Timeout: handshakeLimit}
		o.Dial = d.DialContext
	}
	if o.Quarantine == nil {
		o.Quarantine = func(string, []byte, string) {}
	}
	groups := make([]GroupOptions, len(o.Groups))
	for i, g := range o.Groups {
		g.Channels = slices.Clone(g.Channels)
		set(&g.Order, DefaultOrder)
		for _, d := range []struct {
			v *time.Duration
			d time.Duration
		}{{&g.Hold, DefaultHold}, {&g.Join, DefaultJoin}, {&g.Skew, DefaultSkew}, {&g.MaxAge, DefaultMaxAge}} {
			if *d.v == 0 {
				*d.v = d.d
			}
		}
		groups[i] = g
	}
	o.Groups = groups
	return o
}

// Groups returns the groups in the order of the options, with their channels.
func (c *Client) Groups() []*acquisition.Group {
	all := make([]*acquisition.Group, len(c.groups))
	for i, g := range c.groups {
		all[i] = g.g
	}
	return all
}

// Marks tells which messages are stored, oldest first, so that they are
// recognised when the broker sends them again. Call it before Connect.
func (c *Client) Marks(known [][]byte) {
	for _, m := range known {
		c.marks.learn(m)
	}
	c.began = c.began || len(c.marks.known) > 0
}

// Resume tells the newest stored slot and time (Unix ns) of a group, so that
// what is missing or repeated across a restart of the service is seen. Call it
// before Connect.
func (c *Client) Resume(key acquisition.GroupKey, slot uint64, t int64) {
	for _, g := range c.groups {
		if g.g.Key() == key {
			g.track.resume(slot, t)
			c.began = true
		}
	}
}

// Stats returns what was counted since the start.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Topics = len(c.routes)
	s.Groups = make([]GroupStats, len(c.groups))
	for i, g := range c.groups {
		s.Groups[i] = *g.track.counts
	}
	if l := c.link; l != nil {
		l.mu.Lock()
		s.Queued, s.QueuedMost = len(l.queue)-l.head, max(s.QueuedMost, l.most)
		s.Unacked = len(l.flights) - l.first
		s.Messages += l.received
		s.Bytes += l.volume
		s.Acknowledged += l.acked
		l.mu.Unlock()
	}
	return s
}

// Connect opens the connection, resumes the session and subscribes. Errors say
// what to do; [RefusedError] is one that does not go away by itself.
func (c *Client) Connect(ctx context.Context) error {
	now := c.o.Now()
	if now < c.notBefore {
		return fmt.Errorf("bus %s: %s; the next attempt is in %s", c.o.Name, c.takeover(), time.Duration(c.notBefore-now).Round(time.Second))
	}
	if c.session != nil {
		c.drop()
	}
	s, err := c.open(ctx)
	if err != nil {
		c.quick = 0
		return fmt.Errorf("bus %s: %w", c.o.Name, err)
	}
	c.session = s
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = s
	c.stats.Connects++
	if !s.present {
		clear(c.marks.known) // packet ids of a session that is gone
		if c.began {
			c.stats.SessionsLost++
			c.o.Logger.Warn("broker has lost the session", slog.String("bus", c.o.Name),
				slog.String("do", "let the broker keep its state on disk (mosquitto: persistence true)"))
		}
	}
	for _, g := range c.groups {
		g.track.connected(s.present, c.began, s.began)
	}
	c.began = true
	return nil
}

func (c *Client) takeover() string {
	return fmt.Sprintf("another client seems to use the client id %q: the broker ends each connection soon after it is made; give every service and tool its own client_id", c.o.ClientID)
}

// Close ends the connection and waits for what it started. Messages that are
// not committed by now come again with the next connection.
func (c *Client) Close() error {
	c.drop()
	return nil
}

func (c *Client) drop() {
	s := c.session
	if s == nil {
		return
	}
	c.session = nil
	s.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	c.stats.Messages += s.received
	c.stats.Bytes += s.volume
	c.stats.Acknowledged += s.acked
	c.stats.QueuedMost = max(c.stats.QueuedMost, s.most)
}

// Receive hands over deliveries until ctx ends or the connection is lost. A
// delivery and its scans are reused once deliver has returned nil. A delivery
// that is not taken is offered again, and everything behind it waits: then the
// queue fills, and the broker keeps the rest.
func (c *Client) Receive(ctx context.Context, deliver func(*acquisition.Delivery) error) error {
	s := c.session
	if s == nil {
		return fmt.Errorf("bus %s: receive: it is not connected", c.o.Name)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	if err := c.hand(ctx, s, deliver); err != nil {
		return err
	}
	looked := c.o.Now()
	wake := c.tick(looked)
	for {
		m, ok := s.pop()
		if ok {
			c.process(s, m)
			if m.arrival >= wake || m.arrival-looked > lookEvery {
				looked = c.o.Now()
				wake = c.tick(looked)
			}
			if err := c.hand(ctx, s, deliver); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return c.ended(ctx, deliver)
			}
			continue
		}
		looked = c.o.Now()
		wake = c.tick(looked)
		if err := c.hand(ctx, s, deliver); err != nil {
			return err
		}
		if err := c.resume(ctx, s, looked); err != nil {
			return err
		}
		if s.pending != 0 {
			wake = min(wake, s.pending)
		}
		d := time.Hour
		if wake != math.MaxInt64 {
			d = min(d, max(0, time.Duration(wake-c.o.Now())))
		}
		timer.Reset(d)
		select {
		case <-ctx.Done():
			return c.ended(ctx, deliver)
		case <-s.ready:
		case <-timer.C:
		case err := <-s.lost:
			return c.parted(ctx, s, deliver, err)
		}
	}
}

// ended hands over what would not come again: groups with QoS 0 wait for
// nothing any more. All else that waits is not acknowledged and comes again.
func (c *Client) ended(ctx context.Context, deliver func(*acquisition.Delivery) error) error {
	c.mu.Lock()
	for _, g := range c.groups {
		if g.o.AtMostOnce {
			g.flush(c.o.Now())
		}
	}
	c.mu.Unlock()
	c.setAside()
	for len(c.out.list) > 0 && deliver(c.out.list[0]) == nil {
		c.out.list = slices.Delete(c.out.list, 0, 1)
	}
	return fmt.Errorf("bus %s: %w", c.o.Name, context.Cause(ctx))
}

// parted hands over what came before the connection was lost.
func (c *Client) parted(ctx context.Context, s *session, deliver func(*acquisition.Delivery) error, why error) error {
	for m, ok := s.pop(); ok; m, ok = s.pop() {
		c.process(s, m)
	}
	c.mu.Lock()
	for _, g := range c.groups {
		g.parted(c.o.Now())
	}
	c.mu.Unlock()
	if err := c.hand(ctx, s, deliver); err != nil {
		return err
	}
	var closed *endedError
	if errors.As(why, &closed) && c.o.Now()-s.began < quickEnd {
		c.quick++
	} else {
		c.quick = 0
	}
	taken := c.quick >= quickEnds
	if taken {
		wait := min(time.Duration(quickEnd)<<min(c.quick-quickEnds, 3), slowest)
		c.notBefore = c.o.Now() + int64(wait)
	}
	c.mu.Lock()
	if taken && !c.stats.Takeover {
		c.o.Logger.Warn("client id is used twice", slog.String("bus", c.o.Name), slog.String("client_id", c.o.ClientID),
			slog.String("do", "give every service and tool its own client_id"))
	}
	c.stats.Takeover = taken
	c.mu.Unlock()
	if taken {
		return fmt.Errorf("bus %s: %s", c.o.Name, c.takeover())
	}
	return fmt.Errorf("bus %s: connection lost: %w", c.o.Name, why)
}

// hand offers what is in the outbox, in order, and sets aside what is refused.
func (c *Client) hand(ctx context.Context, s *session, deliver func(*acquisition.Delivery) error) error {
	c.setAside()
	for len(c.out.list) > 0 {
		d := c.out.list[0]
		d.Early = s.unacked()*2 >= c.o.Window
		err := deliver(d)
		if err == nil {
			if c.untaken {
				c.untaken = false
				c.o.Logger.Info("deliveries are taken again", slog.String("bus", c.o.Name))
			}
			c.learn(d)
			c.out.list = slices.Delete(c.out.list, 0, 1)
			c.out.give(d)
			continue
		}
		if !c.untaken {
			c.untaken = true
			c.o.Logger.Warn("delivery is not taken", slog.String("bus", c.o.Name), slog.String("group", string(d.Group.Key())), slog.Any("why", err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bus %s: %w", c.o.Name, context.Cause(ctx))
		case err := <-s.lost:
			return fmt.Errorf("bus %s: connection lost: %w", c.o.Name, err)
		case <-time.After(retryEvery):
		}
	}
	return nil
}

// learn remembers the marks of what was taken.
func (c *Client) learn(d *acquisition.Delivery) {
	c.marks.learn(d.Mark)
	for _, m := range d.Marks {
		c.marks.learn(m)
	}
}

// setAside gives refused payloads to the quarantine and then lets their
// messages be acknowledged.
func (c *Client) setAside() {
	c.mu.Lock()
	list := c.refusals
	c.refusals = nil
	c.mu.Unlock()
	for _, r := range list {
		c.o.Quarantine(r.topic, r.payload, r.why)
		if r.flight != nil {
			r.flight.done()
		}
	}
}

// refuse notes a payload for the quarantine. flight, if given, is done after it.
func (c *Client) refuse(topic string, payload []byte, why string, flight *inflight) {
	c.stats.Quarantined++
	p := append([]byte(nil), payload[:min(len(payload), quarantineBytes)]...)
	c.refusals = append(c.refusals, refusal{topic, p, why, flight})
}

// tooLarge is called by the guard, on the library's goroutine.
func (c *Client) tooLarge(topic string, size int, head []byte) {
	why := fmt.Sprintf("packet on topic %s has %d bytes, more than the limit of %d, and was not read; let the device publish smaller messages, or raise max_packet", topic, size, c.o.MaxPacket)
	c.mu.Lock()
	c.stats.Oversize++
	c.stats.Quarantined++
	c.mu.Unlock()
	c.o.Logger.Warn("packet is too large", slog.String("bus", c.o.Name), topicAttr(topic), slog.Int("bytes", size), slog.Int("limit", c.o.MaxPacket),
		slog.String("do", "let the device publish smaller messages, or raise max_packet"))
	c.o.Quarantine(topic, append([]byte(nil), head...), why)
}

// tick does what is due at now and returns when something is due again.
func (c *Client) tick(now int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := int64(math.MaxInt64)
	for _, g := range c.groups {
		wake = min(wake, g.tick(now))
	}
	return wake
}

// process decodes a message and places it.
func (c *Client) process(s *session, m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		if m.flight != nil {
			m.flight.done()
		}
	}()
	c.see(&m)
	routes := c.route(m.topic)
	if len(routes) == 0 {
		return
	}
	var hash content
	hash, c.scratch = contentHash(c.scratch, m.topic, m.payload)
	if known, ok := c.marks.known[m.id]; ok && m.flight != nil && m.dup && known == hash {
		c.stats.Redelivered++
		c.repeat(routes, m)
		return
	}
	for _, r := range routes {
		if r.presence {
			r.g.presence(m, c.flights(m))
			continue
		}
		if m.retained {
			c.stats.Retained++
			r.g.retained(m.topic)
			continue
		}
		r.g.message(r.part, m, hash, c.flights(m), s.now())
	}
}

// flights returns the message's acknowledgement once more.
func (c *Client) flights(m message) *inflight {
	if m.flight != nil {
		m.flight.left.Add(1)
	}
	return m.flight
}

// repeat acknowledges a redelivered message behind the commit of its first
// delivery, which may still be under way.
func (c *Client) repeat(routes []route, m message) {
	for _, r := range routes {
		f := c.flights(m)
		d := c.out.take(r.g.g)
		d.Ack = f.done
	}
}

// route returns where a topic's messages go.
func (c *Client) route(topic string) []route {
	if r, ok := c.routes[topic]; ok {
		return r
	}
	var found []route
	for _, g := range c.groups {
		found = append(found, g.route(topic)...)
	}
	switch {
	case len(found) == 0:
		c.stats.Unrouted++
		if len(c.strayed) < 100 && !c.strayed[topic] {
			c.strayed[topic] = true
			c.o.Logger.Info("message on a topic that no group wants", slog.String("bus", c.o.Name), topicAttr(topic),
				slog.String("why", "the session keeps subscriptions of an earlier rig file"))
		}
		return nil
	case len(c.routes) >= c.o.MaxTopics:
		c.stats.RefusedTopics++
		if !c.full {
			c.full = true
			c.o.Logger.Warn("too many topics", slog.String("bus", c.o.Name), topicAttr(topic), slog.Int("limit", c.o.MaxTopics),
				slog.String("do", "write narrower topics in the rig file, or raise max_topics"))
		}
		return nil
	}
	c.routes[topic] = found
	return found
}

// watchCertificates warns before a certificate of the connection expires.
func (c *Client) watchCertificates(peer []*x509.Certificate) {
	all := peer
	for _, own := range c.tls.Certificates {
		if leaf, err := x509.ParseCertificate(own.Certificate[0]); err == nil {
			all = append(slices.Clip(all), leaf)
		}
	}
	least, first := math.MaxInt, (*x509.Certificate)(nil)
	for _, x := range all {
		if d := int(x.NotAfter.Sub(time.Unix(0, c.o.Now())) / (24 * time.Hour)); d < least {
			least, first = d, x
		}
	}
	if first == nil {
		return
	}
	c.mu.Lock()
	c.stats.CertificateDays = least
	c.mu.Unlock()
	if least < certificateWarn {
		c.o.Logger.Warn("certificate expires soon", slog.String("bus", c.o.Name), slog.String("subject", first.Subject.String()),
			slog.Int("days", least), slog.String("do", "renew it"))
	}
}

func topicAttr(topic string) slog.Attr { return slog.String("topic", clip([]byte(topic))) }

func qosAttr(q byte) slog.Attr { return slog.Int("qos", int(q)) }

// mark64 is the part of a content hash that tracks compare.
func (h content) mark64() uint64 { return binary.BigEndian.Uint64(h[:]) }

func isWild(filter string) bool { return strings.ContainsAny(filter, "+#") }
