package mqtt_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
)

// locked is a log that several goroutines write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// F033: a broker that keeps its state is restarted; the session is resumed and
// nothing is lost or twice.
func TestF033BrokerRestartWithItsState(t *testing.T) {
	t.Parallel()
	b := mosquitto(t, "persistence true")
	k := newKeeper(20*time.Millisecond, time.Millisecond)
	s := serve(t, busOf(b.url, nil), k)
	s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
	d := newDevice(t, b.url, "device")
	d.send(t, 300, 2000)
	b.stop(t)
	var sent sync.WaitGroup
	sent.Go(func() { // it goes on while the broker is away
		for range 100 {
			d.publish(1)
			time.Sleep(2 * time.Millisecond) // the pace of a device
		}
	})
	time.Sleep(100 * time.Millisecond) // the broker stays away a moment
	b.start(t)
	sent.Wait()
	s.wait(t, 15*time.Second, "store", func() bool { return k.count() >= 400 })
	d.send(t, 100, 2000)
	s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= 500 })
	k.whole(t, 500)
	if n := s.ups.Load(); n < 2 {
		t.Errorf("%d connections: the broker was not away", n)
	}
	if s.c.Stats().SessionsLost != 0 {
		t.Error("the session was lost")
	}
}

// F034: a broker that is killed and loses its state loses what it had not
// delivered; the numbers show exactly that, with the reason.
func TestF034BrokerKilledStateLost(t *testing.T) {
	t.Parallel()
	b := embedded(t, simulator.BrokerOptions{})
	p := &proxy{}
	p.open(t, b.url)
	k := newKeeper(10*time.Millisecond, 0)
	s := serve(t, busOf(p.url, nil), k)
	s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
	d := newDevice(t, b.url, "device")
	d.send(t, 50, 2000)
	s.wait(t, 10*time.Second, "store", func() bool { return k.count() == 50 })
	p.hole.Store(true)
	d.send(t, 20, 2000) // the broker has these, and nobody else
	b.stop(t)
	p.hole.Store(false)
	p.drop()
	b.start(t)
	s.wait(t, 10*time.Second, "connect again", func() bool { return s.ups.Load() >= 2 && d.c.IsConnectionOpen() })
	d.send(t, 30, 2000)
	s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= 80 })
	k.mu.Lock()
	defer k.mu.Unlock()
	want := []acquisition.Gap{{From: 50, To: 70, Reason: acquisition.ReasonBrokerLoss}}
	if diff := cmp.Diff(want, k.gaps); diff != "" || k.epochs != 1 {
		t.Errorf("%s; %d epochs", diff, k.epochs)
	}
	if s.c.Stats().SessionsLost == 0 {
		t.Error("the lost session is not counted")
	}
}

// F035: a partition in which the TCP connection stays up is found within 1.5
// times the keepalive, and nothing is lost by it.
func TestF035Partition(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		p := &proxy{}
		p.open(t, b.url)
		k := newKeeper(10*time.Millisecond, 0)
		s := serve(t, busOf(p.url, func(o *mqtt.Options) { o.KeepAlive = 2 * time.Second }), k)
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d := newDevice(t, b.url, "device")
		d.send(t, 50, 2000)
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() == 50 })
		p.hole.Store(true)
		began := time.Now()
		d.send(t, 15, 2000)
		s.wait(t, 10*time.Second, "notice", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.errs) > 0 })
		if took := time.Since(began); took > 4*time.Second || // 3 s, and a busy machine
			took < 1500*time.Millisecond {
			t.Errorf("noticed after %s, with a keepalive of 2 s", took)
		}
		s.mu.Lock()
		if err := s.errs[0]; !strings.Contains(err.Error(), "nothing came from the broker") {
			t.Errorf("error %v", err)
		}
		s.mu.Unlock()
		p.drop()
		p.hole.Store(false)
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= 65 })
		k.whole(t, 65)
	})
}

// F039: a message above the limit that a real broker passes on is refused by
// topic and size; the connection lives, and the broker does not send it again.
func TestF039LargeMessage(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		var mu sync.Mutex
		var whys []string
		k := newKeeper(10*time.Millisecond, 0)
		o := busOf(b.url, func(o *mqtt.Options) {
			o.MaxPacket = 100_000
			o.Quarantine = func(topic string, payload []byte, why string) {
				mu.Lock()
				defer mu.Unlock()
				whys = append(whys, fmt.Sprintf("%s %d %s", topic, len(payload), why))
			}
		})
		s := serve(t, o, k)
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d := newDevice(t, b.url, "device")
		d.send(t, 10, 2000)
		d.c.Publish("rig/a", 1, false, bytes.Repeat([]byte("x"), 3<<20)).Wait()
		d.send(t, 10, 2000)
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= 20 })
		k.whole(t, 20)
		mu.Lock()
		defer mu.Unlock()
		if len(whys) != 1 || !strings.HasPrefix(whys[0], "rig/a 256 ") || !strings.Contains(whys[0], "3145737 bytes, more than the limit of 100000") ||
			!strings.Contains(whys[0], "smaller messages") {
			t.Errorf("reasons %q", whys)
		}
		if s.ups.Load() != 1 || s.c.Stats().Oversize != 1 {
			t.Errorf("%d connections, %+v", s.ups.Load(), s.c.Stats())
		}
	})
}

// F039: a flood is held back at the queue: memory stays flat, and with QoS 1
// nothing is lost once deliveries are taken again.
//
//nolint:paralleltest // it measures memory
func TestF039Flood(t *testing.T) {
	b := embedded(t, simulator.BrokerOptions{})
	k := newKeeper(10*time.Millisecond, 0)
	k.refuse = true
	s := serve(t, busOf(b.url, func(o *mqtt.Options) { o.Queue = 500; o.KeepAlive = 30 * time.Second }), k)
	s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
	d := newDevice(t, b.url, "device")
	const n = 20000
	d.send(t, n, 1e6)
	s.wait(t, 10*time.Second, "fill the queue", func() bool { return s.c.Stats().Queued >= 499 })
	time.Sleep(200 * time.Millisecond) // whatever else might come
	if st := s.c.Stats(); st.QueuedMost > 500 || st.Messages > 600 || k.count() != 0 {
		t.Errorf("%d in the queue, %d received", st.QueuedMost, st.Messages)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	k.mu.Lock()
	k.refuse = false
	k.mu.Unlock()
	s.wait(t, 30*time.Second, "store", func() bool { return k.count() >= n })
	k.whole(t, n)
	if s.ups.Load() != 1 {
		t.Errorf("%d connections", s.ups.Load())
	}
}

// F040: broken payloads are set aside, acknowledged and counted, told once,
// and do no harm to what follows.
func TestF040BrokenPayloads(t *testing.T) {
	t.Parallel()
	var log locked
	var whys []string
	h, err := mqtt.NewHarness(mqtt.Options{
		Groups:     []mqtt.GroupOptions{jsonGroup(nil)},
		Quarantine: func(_ string, _ []byte, why string) { whys = append(whys, why) },
		Logger:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecord(t)
	broken := []string{
		`{"seq":1,"v":`, "{\"seq\":1,\"v\":1,\"n\":\"\xff\xfe\"}", `{"seq":1,"v":` + strings.Repeat("[", 10000), `{"seq":1,"seq":2,"v":1}`,
		`{"seq":"one","v":1}`, `{"seq":1.5,"v":1}`, `{"seq":-1,"v":1}`, `{"seq":1,"v":{}}`, `{"v":1}`, `null`, `12`, ``, strings.Repeat("9", 1<<16),
	}
	id := uint16(0)
	for i, p := range broken {
		id++
		r.feed(h, arrival+int64(i)*second, id, []byte(p))
		id++
		r.feed(h, arrival+int64(i)*second+1, id, numbered(uint64(i), 1))
	}
	if len(r.scans) != len(broken) || len(r.gaps) != 0 || len(whys) != len(broken) || h.Unacked() != 0 {
		t.Errorf("%d scans, gaps %v, %d set aside, %d not acknowledged: %q", len(r.scans), r.gaps, len(whys), h.Unacked(), whys)
	}
	if n := strings.Count(log.String(), "payload cannot be used"); n != 1 || h.C.Stats().Quarantined != uint64(len(broken)) {
		t.Errorf("told %d times, counted %d", n, h.C.Stats().Quarantined)
	}
}

// F041: what the broker kept of a device is not what it measures now.
func TestF041RetainedAtTheBroker(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		d := newDevice(t, b.url, "device")
		d.c.Publish("rig/a", 1, true, `{"seq":99,"v":1}`).Wait()
		k := newKeeper(10*time.Millisecond, 0)
		s := serve(t, busOf(b.url, nil), k)
		s.wait(t, 10*time.Second, "receive", func() bool { return s.c.Stats().Retained == 1 })
		d.send(t, 5, 1000)
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() == 5 })
		k.whole(t, 5)
		s.wait(t, 5*time.Second, "acknowledge", func() bool { return s.c.Stats().Unacked == 0 })
	})
}

// F043: two services with one client id throw each other out; both notice,
// say so, and slow down.
func TestF043ClientIDUsedTwice(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		var log locked
		change := func(o *mqtt.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
		first := serve(t, busOf(b.url, change), newKeeper(time.Second, 0))
		second := serve(t, busOf(b.url, change), newKeeper(time.Second, 0))
		first.wait(t, 15*time.Second, "notice", func() bool { return first.c.Stats().Takeover || second.c.Stats().Takeover })
		time.Sleep(2 * time.Second) // they would go on
		if n := first.ups.Load() + second.ups.Load(); n > 12 {
			t.Errorf("%d connections: it went on", n)
		}
		if !strings.Contains(log.String(), "client id is used twice") || !strings.Contains(log.String(), "give every service and tool its own client_id") {
			t.Errorf("log %s", log.String())
		}
		first.mu.Lock()
		second.mu.Lock()
		defer first.mu.Unlock()
		defer second.mu.Unlock()
		found := false
		for _, err := range append(first.errs, second.errs...) {
			found = found || strings.Contains(err.Error(), `another client seems to use the client id "pneudaq-test"`)
		}
		if !found {
			t.Errorf("errors %v %v", first.errs, second.errs)
		}
	})
}

func connectError(t *testing.T, o mqtt.Options) error {
	t.Helper()
	c, err := mqtt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = c.Connect(ctx)
	_ = c.Close()
	return err
}

// F044: a topic that the broker does not let this client read is an error at
// the start that names the topic; so are wrong credentials.
func TestF044RefusedTopicsAndCredentials(t *testing.T) {
	t.Parallel()
	b := embedded(t, simulator.BrokerOptions{Users: []simulator.BrokerUser{
		{Name: "rig", Password: "secret", Subscribe: []string{"rig/b"}},
		{Name: "all", Password: "secret"},
	}})
	b2 := mosquitto(t, "allow_anonymous false") // no user at all
	t.Run("mosquitto without users", func(t *testing.T) {
		t.Parallel()
		err := connectError(t, busOf(b2.url, func(o *mqtt.Options) { o.Username, o.Password = "rig", "guess" }))
		var refused *mqtt.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "wrong user name or password") {
			t.Errorf("error %v", err)
		}
	})
	for _, tc := range []struct{ name, user, password, want string }{
		{"no right to the topic", "rig", "secret", "the broker refuses the topics rig/a; give the client the right"},
		{"wrong password", "rig", "guess", `the broker does not let user "rig" with client id "test-wrong password" in: wrong user name or password`},
		{"nobody", "", "", `user "" with client id`},
		{"of another's user", "all", "", `user "all"`},
		{"right", "all", "secret", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := connectError(t, busOf(b.url, func(o *mqtt.Options) {
				o.Username, o.Password, o.ClientID = tc.user, tc.password, "test-"+tc.name
			}))
			var refused *mqtt.RefusedError
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "guess") {
				t.Error("the error tells the password")
			}
		})
	}
}

// authority makes certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{key, cert, pool}
}

func (a *authority) issue(t *testing.T, name string, until time.Time, ips ...net.IP) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		DNSNames: []string{name}, IPAddresses: ips, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// F047: an expired certificate, a foreign authority, another host and a missing
// client certificate are told apart; a certificate that expires within 30 days
// is warned of with the days left.
func TestF047Certificates(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	loopback := net.IPv4(127, 0, 0, 1)
	until := time.Now().AddDate(1, 0, 0)
	open := func(cert tls.Certificate, auth tls.ClientAuthType) *testBroker {
		return embedded(t, simulator.BrokerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: auth, ClientCAs: ours.pool, MinVersion: tls.VersionTLS12}})
	}
	plain := open(ours.issue(t, "broker", until, loopback), tls.NoClientCert)
	other := open(ours.issue(t, "other.example", until), tls.NoClientCert)
	mutual := open(ours.issue(t, "broker", until, loopback), tls.RequireAndVerifyClientCert)
	later := func(d time.Duration) func() int64 { return func() int64 { return time.Now().Add(d).UnixNano() } }
	client := ours.issue(t, "client", time.Now().AddDate(2, 0, 0))
	for _, tc := range []struct {
		name string
		url  string
		tls  *tls.Config
		now  func() int64
		want string
		days int
	}{
		{"right", plain.url, &tls.Config{RootCAs: ours.pool}, nil, "", 364},
		{"expires in ten days", plain.url, &tls.Config{RootCAs: ours.pool}, later(time.Until(until) - 10*24*time.Hour - time.Hour), "", 10},
		{"expired", plain.url, &tls.Config{RootCAs: ours.pool}, later(2 * 365 * 24 * time.Hour), "not valid now", 0},
		{"clock at 1970", plain.url, &tls.Config{RootCAs: ours.pool}, func() int64 { return 1e9 }, "set the clock", 0},
		{"foreign authority", plain.url, &tls.Config{RootCAs: theirs.pool}, nil, "authority that is not trusted", 0},
		{"another host", other.url, &tls.Config{RootCAs: ours.pool}, nil, "for another host", 0},
		{"no client certificate", mutual.url, &tls.Config{RootCAs: ours.pool}, nil, "client certificate", 0},
		{"client certificate", mutual.url, &tls.Config{RootCAs: ours.pool, Certificates: []tls.Certificate{client}}, nil, "", 364},
		{"TLS to a port without", "mqtts" + embedded(t, simulator.BrokerOptions{}).url[len("mqtt"):], &tls.Config{RootCAs: ours.pool}, nil, "", -1},
		{"no TLS to a port with", "mqtt" + plain.url[len("mqtts"):], nil, nil, "mqtts://", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log locked
			c, err := mqtt.New(busOf(tc.url, func(o *mqtt.Options) {
				o.TLS, o.Now, o.ClientID = tc.tls, tc.now, "test "+tc.name
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			err = c.Connect(ctx)
			defer func() { _ = c.Close() }()
			switch {
			case tc.days == -1:
				if err == nil {
					t.Error("no error")
				}
				return
			case tc.want == "" && err != nil:
				t.Fatal(err)
			case tc.want != "":
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want one with %q", err, tc.want)
				}
				return
			}
			if d := c.Stats().CertificateDays; d != tc.days {
				t.Errorf("%d days left, want %d", d, tc.days)
			}
			if warned := strings.Contains(log.String(), "certificate expires soon"); warned != (tc.days < 30) {
				t.Errorf("warned: %t", warned)
			}
		})
	}
}

// Ending the context ends whatever is under way at once.
func TestCancelReturnsAtOnce(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := mqtt.New(busOf("mqtt://"+mute.Addr().String(), nil))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("connect: %v", err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("connect returned after %s", d)
	}
	_ = c.Close()

	b := embedded(t, simulator.BrokerOptions{})
	if c, err = mqtt.New(busOf(b.url, nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	began = time.Now()
	if err := c.Receive(ctx, func(*acquisition.Delivery) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("receive: %v", err)
	}
	_ = c.Close()
	if d := time.Since(began); d > time.Second {
		t.Errorf("receive and close took %s", d)
	}
}

// Every mistake in the options is told with what to write instead.
func TestOptionErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		bus    func(*mqtt.Options)
		group  func(*mqtt.GroupOptions)
		number bool
		want   string
	}{
		{name: "scheme", bus: func(o *mqtt.Options) { o.Endpoint = "tcp://host" }, want: "mqtt://host:1883"},
		{name: "secret in the endpoint", bus: func(o *mqtt.Options) { o.Endpoint = "mqtt://me:secret@host" }, want: "secret file"},
		{name: "no client id", bus: func(o *mqtt.Options) { o.ClientID = "" }, want: "client id"},
		{name: "no groups", bus: func(o *mqtt.Options) { o.Groups = nil }, want: "no group"},
		{name: "keepalive", bus: func(o *mqtt.Options) { o.KeepAlive = 1500 * time.Millisecond }, want: "whole seconds"},
		{name: "device", group: func(g *mqtt.GroupOptions) { g.Topics = []string{"rig/{device}"} }, want: "{device} stands for nothing"},
		{name: "wildcard", group: func(g *mqtt.GroupOptions) { g.Topics = []string{"rig/a+"} }, want: "one whole level"},
		{name: "shared", group: func(g *mqtt.GroupOptions) { g.Topics = []string{"$share/x/rig/a"} }, want: "shared subscription"},
		{name: "no topic", group: func(g *mqtt.GroupOptions) { g.Topics = nil }, want: "no topic"},
		{name: "no field", group: func(g *mqtt.GroupOptions) { g.Channels[0].Field = "" }, want: "no field"},
		{name: "no channel", group: func(g *mqtt.GroupOptions) { g.Channels = nil }, want: "no channel"},
		{name: "channel twice", group: func(g *mqtt.GroupOptions) { g.Channels = chans("v=v", "v=w") }, want: "two channels v"},
		{name: "bad path", group: func(g *mqtt.GroupOptions) { g.Channels[0].Field = "a[x]" }, want: "not an index"},
		{name: "time without unit", group: func(g *mqtt.GroupOptions) { g.Time.Field = "t" }, want: "state the unit"},
		{name: "text without zone", group: func(g *mqtt.GroupOptions) { g.Time = mqtt.Time{Field: "t", Unit: mqtt.UnitText, Layout: "15:04"} }, want: "zone"},
		{name: "step without unit", group: func(g *mqtt.GroupOptions) { g.Time.Step = "dt" }, want: "unit of the step"},
		{name: "arrays without step", group: func(g *mqtt.GroupOptions) { g.Payload.Format = mqtt.FormatArrays }, want: "distance of samples"},
		{name: "arrays without length", group: func(g *mqtt.GroupOptions) { g.Payload.Format, g.Group.Period = mqtt.FormatArrays, 1 }, want: "how many samples"},
		{name: "number and clock", group: func(g *mqtt.GroupOptions) { g.Sequence.Clock = true }, want: "one of them"},
		{name: "clock without time", group: func(g *mqtt.GroupOptions) { g.Sequence = mqtt.Sequence{Clock: true} }, want: "no time"},
		{name: "bits", group: func(g *mqtt.GroupOptions) { g.Sequence.Bits = 12 }, want: "8, 16, 32"},
		{name: "channel is the number", group: func(g *mqtt.GroupOptions) { g.Channels[0].Field = "seq" }, want: "already"},
		{name: "number in a bare number", number: true, group: func(g *mqtt.GroupOptions) { g.Sequence.Field = "seq" }, want: "another payload format"},
		{name: "layout", group: func(g *mqtt.GroupOptions) {
			g.Group.Period, g.Sequence = 1, mqtt.Sequence{Samples: 2}
			g.Payload = mqtt.Payload{Format: mqtt.FormatBinary, Layout: mqtt.Layout{Header: 4, Seq: mqtt.Item{At: 2, Size: 4}, Sample: acquisition.TypeInt16}}
		}, want: "does not fit"},
		{name: "overlapping topics", group: func(g *mqtt.GroupOptions) {
			g.Channels = chans("v=v", "w=w")
			g.Channels[0].Topic, g.Channels[1].Topic = "rig/+", "rig/a"
		}, want: "overlap"},
		{name: "more parts than the window", bus: func(o *mqtt.Options) { o.Window = 2 }, group: func(g *mqtt.GroupOptions) {
			g.Channels = chans("u=v", "v=v", "w=v")
			for i := range g.Channels {
				g.Channels[i].Topic = "rig/" + g.Channels[i].Name
			}
		}, want: "raise its window"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := jsonGroup(nil)
			if tc.number {
				g = groupOf(mqtt.FormatNumber, "rig/a", chans("v")...)
			}
			if tc.group != nil {
				tc.group(&g)
			}
			o := busOf("mqtt://127.0.0.1", func(o *mqtt.Options) { o.Groups = []mqtt.GroupOptions{g} })
			if tc.bus != nil {
				tc.bus(&o)
			}
			_, err := mqtt.New(o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret@") {
				t.Error("the error tells the password")
			}
		})
	}
}

// Topics fall under filters as MQTT 3.1.1 section 4.7 says.
func TestTopicFilters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/b/c", false},
		{"a/+", "a/b", true},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"+/+", "/b", true},
		{"a/#", "a/b/c", true},
		{"a/#", "a", true},
		{"#", "a/b", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"a/+/c", "a/b/d", false},
	} {
		if got := mqtt.Matches(tc.filter, tc.topic); got != tc.want {
			t.Errorf("%s under %s: %t", tc.topic, tc.filter, got)
		}
	}
	for _, tc := range []struct {
		a, b string
		want bool
	}{{"a/+", "a/b", true}, {"a/b", "a/+", false}, {"a/#", "a/+/c", true}, {"a/#", "a", true}, {"+/+", "a/#", false}, {"#", "a", true}} {
		if got := mqtt.Covers(tc.a, tc.b); got != tc.want {
			t.Errorf("%s covers %s: %t", tc.a, tc.b, got)
		}
	}
}
