package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Times of a connection.
const (
	handshakeLimit = 5 * time.Second
	writeLimit     = 5 * time.Second
	quiesce        = 500 * time.Millisecond
	queueBytes     = 32 << 20 // of payloads that may wait for the decoder
	resubscribe    = 250 * time.Millisecond
	pingPatience   = 10 * time.Minute // the guard's deadline finds a dead connection sooner
)

// RefusedError is a broker that does not want this client: credentials,
// permissions, certificates. Trying again without a change does not help.
type RefusedError struct {
	What string // what was refused
	Do   string // what to do about it
}

// Error returns both.
func (e *RefusedError) Error() string { return e.What + "; " + e.Do }

// message is one received message on its way to the decoder.
type message struct {
	topic    string
	payload  []byte
	arrival  int64
	retained bool
	dup      bool
	id       uint16    // packet id, 0 for QoS 0
	flight   *inflight // nil for QoS 0
}

// inflight is a message that the broker waits to have acknowledged.
type inflight struct {
	s    *session
	m    paho.Message
	left atomic.Int32 // deliveries that are not committed, and 1 until it is decoded
}

// done tells that one delivery of the message is committed. It never blocks.
func (f *inflight) done() {
	if f.left.Add(-1) == 0 {
		select {
		case f.s.settled <- struct{}{}:
		default:
		}
	}
}

// session is one connection.
type session struct {
	client  paho.Client
	guard   *guard
	now     func() int64
	limit   int // messages in the queue
	began   int64
	present bool  // the broker knew the session
	pending int64 // when to subscribe again, 0: all is subscribed

	mu       sync.Mutex
	queue    []message
	head     int
	bytes    int
	most     int
	received uint64
	volume   uint64
	flights  []*inflight
	first    int
	acked    uint64

	ready   chan struct{} // something is in the queue
	space   chan struct{} // the queue has room again
	settled chan struct{} // something may be acknowledged
	lost    chan error    // the connection ended
	closed  chan struct{}
	acker   sync.WaitGroup
}

// push is the library's handler: it only enqueues. With the queue full it
// waits, and with it everything that the broker sends; that is what keeps
// memory flat.
func (s *session) push(_ paho.Client, m paho.Message) {
	in := message{
		topic: m.Topic(), payload: m.Payload(), arrival: s.now(), retained: m.Retained(), dup: m.Duplicate(), id: m.MessageID(),
	}
	s.mu.Lock()
	for len(s.queue)-s.head >= s.limit || s.bytes >= queueBytes {
		s.mu.Unlock()
		select {
		case <-s.space:
		case <-s.closed:
			return
		}
		s.mu.Lock()
	}
	if m.Qos() > 0 {
		in.flight = &inflight{s: s, m: m}
		in.flight.left.Store(1)
		s.flights = append(s.flights, in.flight)
	}
	s.queue = append(s.queue, in)
	s.bytes += len(in.payload)
	s.received++
	s.volume += uint64(len(in.payload))
	s.most = max(s.most, len(s.queue)-s.head)
	s.mu.Unlock()
	signal(s.ready)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pop takes the next message.
func (s *session) pop() (message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.queue) {
		return message{}, false
	}
	m := s.queue[s.head]
	s.queue[s.head] = message{}
	s.head++
	s.bytes -= len(m.payload)
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	} else if s.head >= s.limit {
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	signal(s.space)
	return m, true
}

// unacked returns how many messages the broker has not had acknowledged.
func (s *session) unacked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights) - s.first
}

// acknowledge sends acknowledgements in the order of arrival until the session
// is closed.
func (s *session) acknowledge() {
	var batch []*inflight
	for {
		last := false
		select {
		case <-s.settled:
		case <-s.closed:
			last = true
		}
		s.mu.Lock()
		batch = batch[:0]
		for s.first < len(s.flights) && s.flights[s.first].left.Load() <= 0 {
			batch = append(batch, s.flights[s.first])
			s.flights[s.first] = nil
			s.first++
		}
		if s.first == len(s.flights) {
			s.flights, s.first = s.flights[:0], 0
		} else if s.first > 1024 {
			n := copy(s.flights, s.flights[s.first:])
			clear(s.flights[n:])
			s.flights, s.first = s.flights[:n], 0
		}
		s.mu.Unlock()
		for _, f := range batch {
			f.m.Ack()
		}
		s.mu.Lock()
		s.acked += uint64(len(batch))
		s.mu.Unlock()
		if last {
			return
		}
	}
}

// close ends the connection and waits for what it started.
func (s *session) close() {
	select {
	case <-s.closed:
		return
	default:
	}
	close(s.closed)
	s.acker.Wait()
	if s.client != nil {
		s.client.Disconnect(uint(quiesce / time.Millisecond))
	}
	if s.guard != nil {
		_ = s.guard.Close() // usually closed by then
	}
}

// open connects and subscribes.
func (c *Client) open(ctx context.Context) (*session, error) {
	s := &session{
		now: c.o.Now, limit: c.o.Queue,
		ready: make(chan struct{}, 1), space: make(chan struct{}, 1), settled: make(chan struct{}, 1),
		lost: make(chan error, 1), closed: make(chan struct{}),
	}
	var dialed error
	var opened atomic.Pointer[guard] // the library's goroutine opens it
	o := paho.NewClientOptions()
	o.AddBroker("tcp://" + c.address)
	o.SetProtocolVersion(4)
	o.SetClientID(c.o.ClientID)
	o.SetUsername(c.o.Username)
	o.SetPassword(c.o.Password)
	o.SetCleanSession(false)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetMaxReconnectInterval(5 * time.Second)
	o.SetOrderMatters(true)
	o.SetAutoAckDisabled(true)
	o.SetKeepAlive(c.o.KeepAlive)
	o.SetPingTimeout(pingPatience)
	o.SetConnectTimeout(handshakeLimit)
	o.SetWriteTimeout(writeLimit)
	o.SetDefaultPublishHandler(s.push)
	o.SetConnectionLostHandler(func(_ paho.Client, err error) {
		if why := opened.Load().why(); why != nil {
			err = why
		}
		select {
		case s.lost <- err:
		default:
		}
	})
	broker := brokerOf(c.address, c.tls != nil)
	o.SetCustomOpenConnectionFn(func(_ *url.URL, _ paho.ClientOptions) (net.Conn, error) {
		conn, err := c.dial(ctx)
		if err != nil {
			dialed = err
			return nil, err
		}
		g := newGuard(conn, c.o.MaxPacket, len(c.subscriptions), handshakeLimit, writeLimit, c.tooLarge)
		opened.Store(g)
		return g, nil
	})
	s.client = paho.NewClient(o)
	token := s.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		if g := opened.Load(); g != nil {
			_ = g.Close() // it makes the handshake end
		}
		<-token.Done()
	}
	s.guard = opened.Load()
	if err := token.Error(); err != nil {
		close(s.closed)
		s.client.Disconnect(0)
		switch {
		case dialed != nil:
			err = dialed
		case s.guard != nil && s.guard.why() != nil:
			err = s.guard.why()
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to %s: %w", broker, c.explain(err))
	}
	s.guard.idle.Store(int64(deadAfter(c.o.KeepAlive)))
	if t, ok := token.(*paho.ConnectToken); ok {
		s.present = t.SessionPresent()
	}
	s.began = c.o.Now()
	s.acker.Go(s.acknowledge)
	err := c.subscribe(ctx, s)
	var refused *RefusedError
	if errors.As(err, &refused) && s.present {
		// The session has its subscriptions, so messages come. A broker that
		// takes the packet id of the request for one of its own messages
		// refuses it until these are acknowledged.
		s.pending, err = s.began+int64(resubscribe), nil
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("subscribe at %s: %w", broker, err)
	}
	return s, nil
}

// resume subscribes again where the broker would not do it with messages
// under way. It returns when to look again.
func (c *Client) resume(ctx context.Context, s *session, now int64) error {
	if s.pending == 0 || now < s.pending {
		return nil
	}
	idle := s.unacked() == 0
	err := c.subscribe(ctx, s)
	var refused *RefusedError
	switch {
	case err == nil:
		s.pending = 0
	case errors.As(err, &refused) && !idle:
		s.pending = now + int64(resubscribe)
	default:
		return fmt.Errorf("bus %s: subscribe at %s: %w", c.o.Name, brokerOf(c.address, c.tls != nil), err)
	}
	return nil
}

// deadAfter returns how long a connection may be still: 1.5 times the
// keepalive, or what the library needs to send its ping and wait a second.
func deadAfter(keepAlive time.Duration) time.Duration {
	check := keepAlive / 4
	if keepAlive > 10*time.Second {
		check = 5 * time.Second
	}
	return max(keepAlive*3/2, keepAlive+check+min(time.Second, keepAlive/4))
}

func brokerOf(address string, secure bool) string { //nolint:revive // says which scheme
	if secure {
		return "mqtts://" + address
	}
	return "mqtt://" + address
}

// dial opens the connection to the broker, with TLS if the endpoint says so.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.o.Dial(ctx, "tcp", c.address)
	if err != nil || c.tls == nil {
		return conn, err
	}
	sec := tls.Client(conn, c.tls)
	hctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	if err := sec.HandshakeContext(hctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c.watchCertificates(sec.ConnectionState().PeerCertificates)
	return sec, nil
}

// explain turns what went wrong into words for the person who must act.
func (c *Client) explain(err error) error {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var ended *endedError
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword):
		return &RefusedError{fmt.Sprintf("the broker refuses user %q: wrong user name or password", c.o.Username), "correct the credentials in the environment or the secret file"}
	case errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return &RefusedError{fmt.Sprintf("the broker does not let user %q with client id %q in: wrong user name or password, or no right to connect", c.o.Username, c.o.ClientID), "correct the credentials in the environment or the secret file, or the broker's access list"}
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return &RefusedError{fmt.Sprintf("the broker refuses the client id %q", c.o.ClientID), "choose a client_id that the broker allows"}
	case errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		return &RefusedError{"the broker does not speak MQTT 3.1.1", "allow protocol version 4 at the broker"}
	case errors.Is(err, packets.ErrorRefusedServerUnavailable):
		return errors.New("the broker says that it is unavailable")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &RefusedError{fmt.Sprintf("the certificate of the broker is not valid now: it is valid from %s to %s", invalid.Cert.NotBefore.Format(time.DateOnly), invalid.Cert.NotAfter.Format(time.DateOnly)), "renew it, or set the clock of this machine"}
	case errors.As(err, &authority):
		return &RefusedError{"the certificate of the broker is signed by an authority that is not trusted here", "state the authority's certificate (ca) in the rig file"}
	case errors.As(err, &host):
		return &RefusedError{"the certificate of the broker is for another host: " + host.Error(), "use the name in the certificate as endpoint"}
	case errors.As(err, &record):
		return errors.New("the port does not speak TLS; write mqtt:// in the endpoint, or the TLS port")
	case errors.As(err, &ended):
		return errors.New("the broker closed the connection before it answered; it may want TLS (mqtts://), or refuse this client")
	case strings.Contains(err.Error(), "tls: "):
		return &RefusedError{err.Error(), "the broker probably wants a client certificate: state cert and key in the rig file"}
	}
	return err
}

// subscribe asks for all topics and looks at what was granted.
func (c *Client) subscribe(ctx context.Context, s *session) error {
	filters := make(map[string]byte, len(c.subscriptions))
	for _, f := range c.subscriptions {
		filters[f.filter] = f.qos
	}
	token := s.client.SubscribeMultiple(filters, nil)
	timer := time.NewTimer(handshakeLimit)
	defer timer.Stop()
	select {
	case <-token.Done():
	case err := <-s.lost:
		return fmt.Errorf("the connection ended; the broker may not allow these topics: %w", err)
	case <-timer.C:
		return fmt.Errorf("no answer within %s", handshakeLimit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := token.Error(); err != nil {
		return err //nolint:wrapcheck // wrapped by open
	}
	t, ok := token.(*paho.SubscribeToken)
	if !ok {
		return nil
	}
	var refused []string
	granted := t.Result()
	for _, f := range c.subscriptions {
		switch q, ok := granted[f.filter]; {
		case !ok || q > 2:
			refused = append(refused, f.filter)
		case q < f.qos:
			c.o.Logger.Warn("broker grants less than asked", topicAttr(f.filter), qosAttr(q))
		}
	}
	if len(refused) > 0 {
		return &RefusedError{"the broker refuses the topics " + strings.Join(refused, ", "), "give the client the right to read them in the broker's access list"}
	}
	return nil
}
