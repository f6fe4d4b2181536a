package simulator

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BrokerOptions says how an embedded broker behaves.
type BrokerOptions struct {
	Listen    string       // host:port; empty means 127.0.0.1:0
	TLS       *tls.Config  // mqtts
	Users     []BrokerUser // none: everybody may do everything
	MaxPacket uint32       // bytes; 16 MiB if 0
	Pending   int32        // messages that may wait to be written to one client; beyond, they are dropped and counted; 1<<20 if 0
	Logger    *slog.Logger // nil: none
}

// BrokerUser is one line of the broker's ledger. Without filters a user may do everything.
type BrokerUser struct {
	Name, Password     string
	Subscribe, Publish []string // topic filters
}

// A Broker is an MQTT broker (3.1.1 and 5) in this process. Sessions and retained messages live as long as it is plugged.
type Broker struct {
	o       BrokerOptions
	address string

	mu      sync.Mutex
	server  *broker.Server // nil: unplugged or closed
	closed  bool
	dropped uint64 // by earlier servers
}

// OpenBroker opens the listener and serves until Close.
func OpenBroker(o BrokerOptions) (*Broker, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.MaxPacket == 0 {
		o.MaxPacket = 16 << 20
	}
	if o.Pending == 0 {
		o.Pending = 1 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Broker{o: o}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b, b.openLocked(o.Listen)
}

func (b *Broker) openLocked(address string) error {
	capabilities := broker.NewDefaultServerCapabilities()
	capabilities.MaximumClientWritesPending = b.o.Pending
	capabilities.MaximumInflight = math.MaxUint16
	capabilities.MaximumPacketSize = b.o.MaxPacket
	s := broker.New(&broker.Options{
		Capabilities: capabilities, Logger: b.o.Logger, ClientNetReadBufferSize: 1 << 14, ClientNetWriteBufferSize: 1 << 14,
		SysTopicResendInterval: math.MaxInt32, // nobody reads $SYS, and to retain it races with subscriptions
	})
	if err := s.AddHook(&doorkeeper{users: b.o.Users, retained: map[string]packets.Packet{}}, nil); err != nil {
		return fmt.Errorf("set up broker: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address) //nolint:forbidigo // the bind of an address does not wait
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	b.address = l.Addr().String()
	if b.o.TLS != nil {
		l = tls.NewListener(l, b.o.TLS)
	}
	if err := s.AddListener(listeners.NewNet("bus", l)); err != nil {
		return errors.Join(fmt.Errorf("add listener: %w", err), l.Close())
	}
	if err := s.Serve(); err != nil {
		return errors.Join(fmt.Errorf("serve: %w", err), s.Close())
	}
	b.server = s
	return nil
}

// doorkeeper lets the ledger's users in, or everybody when it is empty. It also keeps the retained messages: the broker's
// own index is written by one client and read by another without a common lock (v2.7.9).
type doorkeeper struct {
	broker.HookBase
	users    []BrokerUser
	mu       sync.Mutex
	retained map[string]packets.Packet
}

// ID implements the broker's hook.
func (*doorkeeper) ID() string { return "doorkeeper" }

// Provides implements the broker's hook.
func (*doorkeeper) Provides(what byte) bool {
	switch what {
	case broker.OnConnectAuthenticate, broker.OnACLCheck, broker.OnPublish, broker.OnWill, broker.OnSubscribe, broker.OnSubscribed:
		return true
	}
	return false
}

// OnConnectAuthenticate implements the broker's hook.
func (d *doorkeeper) OnConnectAuthenticate(_ *broker.Client, p packets.Packet) bool {
	u := d.user(p.Connect.Username)
	return len(d.users) == 0 || u != nil && subtle.ConstantTimeCompare([]byte(u.Password), p.Connect.Password) == 1
}

// OnACLCheck implements the broker's hook.
func (d *doorkeeper) OnACLCheck(c *broker.Client, topic string, write bool) bool {
	u := d.user(c.Properties.Username)
	switch {
	case len(d.users) == 0:
		return true
	case u == nil:
		return false
	case len(u.Subscribe)+len(u.Publish) == 0:
		return true
	case write:
		return slices.ContainsFunc(u.Publish, func(f string) bool { return covers(f, topic) })
	}
	return slices.ContainsFunc(u.Subscribe, func(f string) bool { return covers(f, topic) })
}

// OnPublish implements the broker's hook: a message to be retained is kept here, and goes on as if it were not.
func (d *doorkeeper) OnPublish(_ *broker.Client, p packets.Packet) (packets.Packet, error) {
	if p.FixedHeader.Retain {
		d.retain(p.Copy(false))
		p.FixedHeader.Retain = false
	}
	return p, nil
}

// OnWill implements the broker's hook.
func (d *doorkeeper) OnWill(c *broker.Client, will broker.Will) (broker.Will, error) {
	if will.Retain {
		d.retain(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: will.Qos, Retain: true},
			TopicName:   will.TopicName, Payload: will.Payload, Origin: c.ID,
		})
		will.Retain = false
	}
	return will, nil
}

func (d *doorkeeper) retain(p packets.Packet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(p.Payload) == 0 {
		delete(d.retained, p.TopicName)
		return
	}
	p.FixedHeader.Retain, p.FixedHeader.Dup, p.PacketID = true, false, 0
	d.retained[p.TopicName] = p
}

// OnSubscribe implements the broker's hook: retain handling 1 asks for retained messages with a new subscription only.
func (*doorkeeper) OnSubscribe(c *broker.Client, p packets.Packet) packets.Packet {
	const onlyIfNew, never = 1, 2
	for i := range p.Filters {
		if _, known := c.State.Subscriptions.Get(p.Filters[i].Filter); known && p.Filters[i].RetainHandling == onlyIfNew {
			p.Filters[i].RetainHandling = never
		}
	}
	return p
}

// OnSubscribed implements the broker's hook: the retained messages go out before the answer, which MQTT allows.
func (d *doorkeeper) OnSubscribed(c *broker.Client, p packets.Packet, reasons []byte) {
	const refused, never = 0x80, 2
	for i, sub := range p.Filters {
		if reasons[i] >= refused || sub.RetainHandling == never || strings.HasPrefix(sub.Filter, "$share/") {
			continue
		}
		d.mu.Lock()
		var kept []packets.Packet
		for topic := range d.retained {
			if covers(sub.Filter, topic) {
				kept = append(kept, d.retained[topic])
			}
		}
		d.mu.Unlock()
		for _, message := range kept {
			if !handOut(c, message, reasons[i]) {
				return
			}
		}
	}
}

// handOut writes a retained message; false if the client is gone.
func handOut(c *broker.Client, p packets.Packet, granted byte) bool {
	p.FixedHeader.Qos = min(p.FixedHeader.Qos, granted)
	if p.FixedHeader.Qos > 0 {
		id, err := c.NextPacketID()
		if err != nil {
			return false
		}
		p.PacketID = uint16(id)
		if c.State.Inflight.Set(p) {
			c.State.Inflight.DecreaseSendQuota()
		}
	}
	return c.WritePacket(p) == nil
}

func (d *doorkeeper) user(name []byte) *BrokerUser {
	for i := range d.users {
		if d.users[i].Name == string(name) {
			return &d.users[i]
		}
	}
	return nil
}

// covers says whether a filter allows a topic, or every topic of another filter.
func covers(filter, topic string) bool {
	allowed, asked := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range allowed {
		switch {
		case level == "#":
			return true
		case i >= len(asked) || asked[i] == "#":
			return false
		case level != "+" && level != asked[i]:
			return false
		}
	}
	return len(allowed) == len(asked)
}

// Addr returns host:port.
func (b *Broker) Addr() string { return b.address }

// URL returns mqtt://host:port, mqtts:// with TLS.
func (b *Broker) URL() string {
	if b.o.TLS != nil {
		return "mqtts://" + b.address
	}
	return "mqtt://" + b.address
}

// Dropped returns how many messages the broker has thrown away because a client did not take them fast enough.
func (b *Broker) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped + b.droppedLocked()
}

func (b *Broker) droppedLocked() uint64 {
	if b.server == nil {
		return 0
	}
	n := atomic.LoadInt64(&b.server.Info.MessagesDropped) + atomic.LoadInt64(&b.server.Info.InflightDropped)
	return uint64(max(n, 0))
}

// Unplug stops the broker, all it holds is lost, or starts it again at the same address.
func (b *Broker) Unplug(on bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed, on == (b.server == nil):
		return nil
	case on:
		return b.closeLocked()
	}
	return b.openLocked(b.address)
}

// Close disconnects every client and releases the address.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.closeLocked()
}

func (b *Broker) closeLocked() error {
	if b.server == nil {
		return nil
	}
	b.dropped += b.droppedLocked()
	err := b.server.Close()
	b.server = nil
	if err != nil {
		return fmt.Errorf("close broker: %w", err)
	}
	return nil
}
