package simulator

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// PublisherOptions is one device that publishes signals of the plant.
type PublisherOptions struct {
	Broker             string // name of a bus of kind mqtt, or mqtt://host:port, mqtts://host:port
	ClientID           string // empty: from rig and topic
	Username, Password string
	CA                 string   // mqtts: PEM file of the authorities; empty: the system's
	TLS                TLSFiles // mqtts: a client certificate
	Topic              string   // {rig} and {signal} are filled in; with {signal} each signal has its message
	QoS                byte
	Retained           bool
	Presence           string // topic that says "online", and as last will "offline", both retained

	Payload     string // one of the Payload constants
	TimeUnit    string // s, ms (if empty), us, ns, rfc3339, text, none
	TimeLayout  string // of text, as package time writes it
	Zone        string // of text and rfc3339, such as Asia/Shanghai; empty: UTC
	ClockOffset time.Duration
	NoSequence  bool
	Measurement string // line_protocol: with tags, such as rig,device=a
	Header      bool   // csv

	// Rate is in messages per second; with Samples in samples per second, of which each message carries so many. Bursts
	// publishes each burst that the plant takes of the signals instead.
	Rate    float64
	Samples int
	Bursts  bool
	Signals []PublishedSignal

	// Faults of the messages: mute (lost on the way), duplicate, late (after its successor), garbage (a broken payload).
	Faults []Fault
}

// PublishedSignal is one signal in a payload.
type PublishedSignal struct {
	Signal string
	Name   string  // in the payload; empty: Signal
	Unit   string  // as in Register
	Scale  float64 // int16; 0 means 1
	Offset float64
}

// PublisherCounts is what a publisher has done.
type PublisherCounts struct {
	Published uint64 // messages handed to the client, duplicates included
	Acked     uint64 // answered by the broker (QoS 0: sent)
	Lost      uint64 // never sent: no connection, too many outstanding, or ended by an error
	Faults    map[FaultKind]uint64
}

// pubSignal is a PublishedSignal made ready.
type pubSignal struct {
	PublishedSignal
	unit       wireUnit
	index      int
	atmosphere int
}

// publisher is one publishing device. Its goroutine is run's.
type publisher struct {
	o       *PublisherOptions
	twin    *Twin
	broker  *twinBus // nil: a URL
	signals []pubSignal
	writer  writer
	stream  *stream
	faults  []armed
	client  paho.Client
	seq     uint64
	held    []outgoing // by fault late
	waiting []paho.Token
	backlog []outgoing // not sent yet

	published, acked, lost atomic.Uint64
	struck                 [4]atomic.Uint64 // as publisherFaults
}

// outgoing is a message on its way.
type outgoing struct {
	topic   string
	payload []byte
}

// publisherFaults are the kinds that a publisher knows.
func publisherFaults() []FaultKind {
	return []FaultKind{FaultMute, FaultDuplicate, FaultLate, FaultGarbage}
}

// stream collects samples at plant steps into blocks. Guarded by the board's lock.
type stream struct {
	p     *publisher
	every uint64
	dt    time.Duration
	block *message
	seq   uint64
	full  chan *message // to the publisher's goroutine; what does not fit is lost, its number shows it
}

// newPublisher checks the options against the twin's board.
func newPublisher(o *PublisherOptions, t *Twin) (*publisher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &publisher{o: o, twin: t}
	zone, err := time.LoadLocation(cmp.Or(o.Zone, "UTC"))
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	p.writer = writer{o: o, zone: zone}
	for _, s := range o.Signals {
		ready, err := p.connect(s)
		if err != nil {
			return nil, err
		}
		p.signals = append(p.signals, ready)
	}
	for i := range o.Faults {
		if err := o.Faults[i].check(); err != nil && o.Faults[i].Kind != FaultLate {
			return nil, err
		}
		if p.faultIndex(o.Faults[i].Kind) < 0 {
			return nil, fmt.Errorf("fault %s is none of a publisher: %v", o.Faults[i].Kind, publisherFaults())
		}
		p.faults = append(p.faults, armed{Fault: o.Faults[i]})
	}
	if o.Samples > 0 {
		if err := p.openStream(); err != nil {
			return nil, err
		}
	}
	if p.broker, err = t.bus(o.Broker); err != nil && !strings.Contains(o.Broker, "://") {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if p.broker != nil && p.broker.broker == nil {
		return nil, fmt.Errorf("broker: bus %s is not of kind mqtt", o.Broker)
	}
	return p, nil
}

func (p *publisher) faultIndex(kind FaultKind) int {
	for i, k := range publisherFaults() {
		if k == kind {
			return i
		}
	}
	return -1
}

// connect finds a signal.
func (p *publisher) connect(s PublishedSignal) (r pubSignal, err error) {
	r = pubSignal{PublishedSignal: s, atmosphere: -1}
	b := p.twin.board
	if r.index, err = b.find(s.Signal); err != nil {
		return r, err
	}
	r.Name, r.Scale = cmp.Or(s.Name, s.Signal), cmp.Or(s.Scale, 1)
	if r.unit, err = lookupUnit(s.Unit, b.signals[r.index].Unit); err != nil {
		return r, fmt.Errorf("signal %s: %w", s.Signal, err)
	}
	if r.Unit == "" {
		r.Unit = r.unit.si
	}
	if r.unit.gauge {
		if r.atmosphere, err = b.atmosphere(""); err != nil {
			return r, err
		}
	}
	if p.o.Bursts {
		if p.twin.plant == nil {
			return r, errors.New("bursts need a plant")
		}
		if _, err = p.twin.plant.Burst(s.Signal, 0); err != nil {
			return r, err
		}
	}
	return r, nil
}

// openStream lets the board feed blocks.
func (p *publisher) openStream() error {
	b := p.twin.board
	every, err := b.stepsFor(p.o.Rate)
	if err != nil {
		return err
	}
	p.stream = &stream{p: p, every: every, dt: b.between(every), full: make(chan *message, 256)}
	b.taps = append(b.taps, p.stream)
	return nil
}

// due implements sampler.
func (s *stream) due() uint64 { return s.every }

// take implements sampler.
func (s *stream) take(b *Board) {
	if s.block == nil {
		s.block = &message{signals: s.p.signals, values: make([][]float64, len(s.p.signals)), t0: b.time, dt: s.dt, seq: s.seq}
		for j := range s.block.values {
			s.block.values[j] = make([]float64, 0, s.p.o.Samples)
		}
		s.seq++
	}
	for j := range s.p.signals {
		s.block.values[j] = append(s.block.values[j], s.p.signals[j].figure(b))
	}
	if s.block.samples() < s.p.o.Samples {
		return
	}
	select {
	case s.full <- s.block:
	default:
		s.p.lost.Add(1)
	}
	s.block = nil
}

// figure returns a signal's present value in its unit; the board's lock is held.
func (s *pubSignal) figure(b *Board) float64 {
	atmosphere := 0.0
	if s.atmosphere >= 0 {
		atmosphere = b.values[s.atmosphere]
	}
	return s.unit.fromSI(b.values[s.index], atmosphere)
}

// run connects, publishes until ctx ends, and disconnects.
func (p *publisher) run(ctx context.Context) error {
	o, err := p.clientOptions()
	if err != nil {
		return err
	}
	p.client = paho.NewClient(o)
	defer p.client.Disconnect(100)
	select {
	case <-p.client.Connect().Done(): // the client tries for ever
	case <-ctx.Done():
		return nil
	}
	switch {
	case p.stream != nil:
		for {
			select {
			case m := <-p.stream.full:
				p.publish(m)
			case <-ctx.Done():
				p.finish()
				return nil
			}
		}
	case p.o.Bursts:
		p.followBursts(ctx)
	default:
		p.follow(ctx)
	}
	p.finish()
	return nil
}

// follow publishes one scan every period, by an absolute schedule; what is due at once goes at once.
func (p *publisher) follow(ctx context.Context) {
	period := time.Duration(float64(time.Second) / p.o.Rate)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if late := time.Since(start) - time.Duration(n)*period; late > time.Second { // a device that slept does not catch up
			n += int(late / period)
		}
		for ; !time.Now().Before(start.Add(time.Duration(n) * period)); n++ {
			p.scan()
			if ctx.Err() != nil {
				return
			}
		}
		timer.Reset(time.Until(start.Add(time.Duration(n) * period)))
	}
}

// scan publishes the present figures.
func (p *publisher) scan() {
	m := &message{signals: p.signals, values: make([][]float64, len(p.signals)), seq: p.seq}
	p.seq++
	b := p.twin.board
	b.mu.Lock()
	b.present()
	m.t0 = time.Now()
	for j := range p.signals {
		m.values[j] = []float64{p.signals[j].figure(b)}
	}
	b.mu.Unlock()
	p.publish(m)
}

// followBursts publishes what the plant takes.
func (p *publisher) followBursts(ctx context.Context) {
	const look = 20 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	after := make([]uint64, len(p.signals))
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, m := range p.bursts(after) {
				p.publish(m)
			}
		}
	}
}

// bursts returns the messages of the bursts that came since; signals of one edge share a message unless the topic has
// {signal}.
func (p *publisher) bursts(after []uint64) (all []*message) {
	t := p.twin
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	t.board.present()
	found := map[uint64]*message{}
	for j := range p.signals {
		s := &p.signals[j]
		list, err := t.plant.Burst(s.Signal, after[j])
		if err != nil {
			continue // newPublisher has asked
		}
		atmosphere := 0.0
		if s.atmosphere >= 0 {
			atmosphere = t.board.values[s.atmosphere]
		}
		for _, burst := range list {
			after[j] = burst.Seq
			m := found[burst.Seq]
			if m == nil {
				m = &message{t0: t.wall(burst.Step), dt: t.board.scaled(burst.Dt), seq: burst.Seq}
				found[burst.Seq] = m
				all = append(all, m)
			}
			values := make([]float64, len(burst.Values))
			for i, v := range burst.Values {
				values[i] = s.unit.fromSI(v, atmosphere)
			}
			if len(m.values) > 0 && len(values) != m.samples() {
				continue // another length of the same number cannot share the message
			}
			m.signals, m.values = append(m.signals, *s), append(m.values, values)
		}
	}
	return all
}

// publish sends a message, one for each signal where the topic says so, as the faults want it.
func (p *publisher) publish(m *message) {
	m.t0 = m.t0.Add(p.o.ClockOffset)
	if !strings.Contains(p.o.Topic, "{signal}") {
		p.deliver(outgoing{topic(p.o.Topic, p.twin.o.Rig, ""), p.writer.payload(m)})
		return
	}
	for j := range m.signals {
		one := &message{signals: m.signals[j : j+1], values: m.values[j : j+1], t0: m.t0, dt: m.dt, seq: m.seq}
		p.deliver(outgoing{topic(p.o.Topic, p.twin.o.Rig, m.signals[j].Signal), p.writer.payload(one)})
	}
}

// deliver applies faults.
func (p *publisher) deliver(g outgoing) {
	held := p.held
	p.held = nil
	times := 1
	if f := strike(p.faults, p.twin.o.Seed, 0, 0); f != nil {
		switch f.Kind { //nolint:exhaustive // newPublisher lets no others in
		case FaultMute:
			times = 0
		case FaultDuplicate:
			times = 2
		case FaultLate:
			times, p.held = 0, append(p.held, g)
		default:
			g.payload = []byte("{\"value\": \xff\xfe, [")
		}
		p.struck[p.faultIndex(f.Kind)].Add(1)
	}
	for range times {
		p.send(g)
	}
	for _, late := range held {
		p.send(late)
	}
}

// outstanding is how many messages may wait for the network or for an answer; what is beyond is lost, and counted.
const outstanding = 20000

// send hands one message to the client. Without a connection QoS 0 is lost, the rest waits here, so that the order stays.
func (p *publisher) send(g outgoing) {
	p.settle()
	switch {
	case len(p.waiting)+len(p.backlog) >= outstanding, p.o.QoS == 0 && !p.client.IsConnectionOpen():
		p.lost.Add(1)
		return
	}
	p.backlog = append(p.backlog, g)
	sent := 0
	for ; sent < len(p.backlog) && p.client.IsConnectionOpen(); sent++ {
		p.published.Add(1)
		p.waiting = append(p.waiting, p.client.Publish(p.backlog[sent].topic, p.o.QoS, p.o.Retained, p.backlog[sent].payload))
	}
	p.backlog = append(p.backlog[:0], p.backlog[sent:]...)
}

// settle counts the answers that have come.
func (p *publisher) settle() {
	done := 0
	for _, token := range p.waiting {
		select {
		case <-token.Done():
			if token.Error() != nil {
				p.lost.Add(1)
			} else {
				p.acked.Add(1)
			}
			done++
			continue
		default:
		}
		break
	}
	p.waiting = append(p.waiting[:0], p.waiting[done:]...)
}

// finish gives the answers a moment.
func (p *publisher) finish() {
	for _, late := range p.held {
		p.send(late)
	}
	deadline := time.Now().Add(time.Second)
	for _, token := range p.waiting {
		if !token.WaitTimeout(max(0, time.Until(deadline))) {
			break
		}
	}
	p.settle()
	p.lost.Add(uint64(len(p.waiting) + len(p.backlog)))
}

// clientOptions returns what paho wants to know.
func (p *publisher) clientOptions() (*paho.ClientOptions, error) {
	url := p.o.Broker
	if p.broker != nil {
		url = p.broker.broker.URL()
	}
	id := cmp.Or(p.o.ClientID, p.twin.o.Rig+"/"+p.o.Topic)
	o := paho.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername(p.o.Username).SetPassword(p.o.Password).
		SetCleanSession(false).SetConnectRetry(true).SetConnectRetryInterval(300 * time.Millisecond).
		SetMaxReconnectInterval(time.Second).SetKeepAlive(10 * time.Second).SetConnectTimeout(3 * time.Second).
		SetWriteTimeout(5 * time.Second).SetMessageChannelDepth(1000)
	o.SetDialer(&net.Dialer{Timeout: 3 * time.Second})
	if strings.HasPrefix(url, "mqtts:") || strings.HasPrefix(url, "ssl:") {
		conf, err := p.tls()
		if err != nil {
			return nil, err
		}
		o.SetTLSConfig(conf)
	}
	if p.o.Presence != "" {
		presence := topic(p.o.Presence, p.twin.o.Rig, "")
		o.SetWill(presence, "offline", 1, true)
		o.SetOnConnectHandler(func(c paho.Client) { c.Publish(presence, 1, true, "online") })
	}
	o.SetConnectionLostHandler(func(_ paho.Client, err error) {
		p.twin.log.Warn("publisher lost its broker", slog.String("topic", p.o.Topic), slog.Any("error", err))
	})
	return o, nil
}

func (p *publisher) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.o.CA != "" {
		pem, err := os.ReadFile(p.o.CA)
		if err != nil {
			return nil, fmt.Errorf("load CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA %s holds no certificate", p.o.CA)
		}
	}
	if p.o.TLS.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(p.o.TLS.Certificate, p.o.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Published returns what the publisher of a topic (as in its options) has done.
func (t *Twin) Published(topic string) (PublisherCounts, bool) {
	for _, p := range t.pubs {
		if p.o.Topic != topic {
			continue
		}
		n := PublisherCounts{Published: p.published.Load(), Acked: p.acked.Load(), Lost: p.lost.Load(), Faults: map[FaultKind]uint64{}}
		for i, kind := range publisherFaults() {
			if v := p.struck[i].Load(); v > 0 {
				n.Faults[kind] = v
			}
		}
		return n, true
	}
	return PublisherCounts{}, false
}
