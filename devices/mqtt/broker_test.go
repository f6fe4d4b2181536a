package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBroker is a broker that can be stopped and started again.
type testBroker struct {
	url     string
	shuffle bool // it sends again in any order, and loses what is published while a client comes back
	stop    func(t *testing.T)
	start   func(t *testing.T)
	dropped func() uint64
}

// embedded opens the simulator's broker. Stopping it loses its state.
func embedded(t *testing.T, o simulator.BrokerOptions) *testBroker {
	t.Helper()
	b, err := simulator.OpenBroker(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	unplug := func(on bool) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := b.Unplug(on); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &testBroker{url: b.URL(), shuffle: true, stop: unplug(true), start: unplug(false), dropped: b.Dropped}
}

// mosquitto starts the real broker with its default settings, plus the given
// lines of configuration.
func mosquitto(t *testing.T, lines ...string) *testBroker {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
		_, err = os.Stat(program)
	}
	if err != nil {
		if os.Getenv("PNEUDAQ_REQUIRE_ALL") == "1" {
			t.Fatal("mosquitto is not installed, and PNEUDAQ_REQUIRE_ALL=1 wants it; install it: apt-get install mosquitto")
		}
		t.Skip("left out: mosquitto is not installed (apt-get install mosquitto)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	conf := "listener " + port + " 127.0.0.1\n"
	if !slices.Contains(lines, "allow_anonymous false") {
		conf += "allow_anonymous true\n"
	}
	for _, line := range lines {
		conf += line + "\n"
	}
	if slices.Contains(lines, "persistence true") {
		conf += "persistence_location " + dir + "/\n"
	}
	if os.Geteuid() == 0 {
		conf += "user root\n"
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	stop := func(t *testing.T) {
		t.Helper()
		if cmd == nil {
			return
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		cmd = nil
	}
	start := func(t *testing.T) {
		t.Helper()
		cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program, "-c", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if c, err := net.Dial("tcp", addr); err == nil {
				_ = c.Close()
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("mosquitto does not listen")
	}
	start(t)
	t.Cleanup(func() { stop(t) })
	return &testBroker{url: "mqtt://" + addr, stop: stop, start: start}
}

// keeper stands in for collector and store: it keeps what is delivered in open
// blocks, and commits them at a tick or when it is told to hurry, each commit
// taking as long as a sync.
type keeper struct {
	sync  time.Duration
	tick  time.Duration
	hurry chan struct{}

	mu     sync.Mutex
	open   *acquisition.Open
	seen   map[uint64]int // slots, committed
	late   int
	gaps   []acquisition.Gap
	epochs int
	early  int
	marks  [][]byte
	next   uint64
	last   int64
	frozen bool // it takes but never commits
	refuse bool // it takes nothing
}

func newKeeper(tick, fsync time.Duration) *keeper {
	return &keeper{sync: fsync, tick: tick, hurry: make(chan struct{}, 1), seen: map[uint64]int{}}
}

func (k *keeper) deliver(d *acquisition.Delivery) error {
	k.mu.Lock()
	if k.refuse {
		k.mu.Unlock()
		return errors.New("no room")
	}
	if k.open == nil || d.NewEpoch {
		k.epochs++
		k.open = acquisition.NewOpen(d.Group, acquisition.EpochID(k.epochs), 0, 0)
	}
	o := k.open
	if d.Early {
		k.early++
	}
	k.mu.Unlock()
	if r := o.Deliver(d); r != acquisition.ReasonNone {
		return errors.New(r.String())
	}
	if d.Early {
		select {
		case k.hurry <- struct{}{}:
		default:
		}
	}
	return nil
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(k.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-k.hurry:
		}
		k.commit()
	}
}

func (k *keeper) commit() {
	k.mu.Lock()
	o := k.open
	if o == nil || k.frozen {
		k.mu.Unlock()
		return
	}
	k.mu.Unlock()
	var taken []*acquisition.Block
	for b := o.Take(); b != nil; b = o.Take() {
		taken = append(taken, b)
	}
	if len(taken) == 0 {
		return
	}
	time.Sleep(k.sync) // a sync takes its time
	k.mu.Lock()
	for _, b := range taken {
		for i, s := range b.Slots {
			k.seen[s]++
			k.next = max(k.next, s+1)
			k.last = max(k.last, b.Times[i])
		}
		if b.Backfill {
			k.late += b.Len()
		}
		k.gaps = append(k.gaps, b.Gaps...)
		k.marks = append(k.marks, b.Marks...)
	}
	k.mu.Unlock()
	for _, b := range taken {
		b.Committed()
	}
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.seen)
}

// service runs a client as the collector does: connect, receive, close, again.
type service struct {
	c      *mqtt.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
	ups    atomic.Int32
}

func serve(t *testing.T, o mqtt.Options, k *keeper) *service {
	t.Helper()
	c, err := mqtt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	c.Marks(k.marks)
	if k.next > 0 {
		c.Resume(c.Groups()[0].Key(), k.next-1, k.last)
	}
	k.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{c: c, cancel: cancel}
	s.wg.Go(func() { k.run(ctx) })
	s.wg.Go(func() {
		for ctx.Err() == nil {
			err := c.Connect(ctx)
			if err == nil {
				s.ups.Add(1)
				err = c.Receive(ctx, k.deliver)
			}
			_ = c.Close()
			s.mu.Lock()
			s.errs = append(s.errs, err)
			s.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *service) stop() {
	s.cancel()
	s.wg.Wait()
}

func (s *service) wait(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("%s: not within %s; statistics %+v; %d errors, the last %v", what, limit, s.c.Stats(), len(s.errs), s.errs[max(0, len(s.errs)-3):])
		}
		time.Sleep(5 * time.Millisecond) // it waits for a broker
	}
}

// device publishes numbered messages.
type device struct {
	c    paho.Client
	next uint64
}

func newDevice(t *testing.T, url, id string) *device {
	t.Helper()
	o := paho.NewClientOptions().AddBroker("tcp" + url[len("mqtt"):]).SetClientID(id).SetCleanSession(false).SetConnectRetry(true).
		SetConnectRetryInterval(50 * time.Millisecond).SetMaxReconnectInterval(200 * time.Millisecond).SetConnectTimeout(time.Second).SetWriteTimeout(5 * time.Second).SetOrderMatters(true)
	c := paho.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("the device does not reach the broker: %v", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(200) })
	return &device{c: c}
}

func (d *device) publish(qos byte) paho.Token { //nolint:ireturn // the library's
	seq := d.next
	d.next++
	return d.c.Publish("rig/a", qos, false, fmt.Appendf(nil, `{"seq":%d,"v":%d.5}`, seq, seq))
}

// send publishes n messages at a rate and waits until the broker has them.
func (d *device) send(t *testing.T, n int, rate float64) {
	t.Helper()
	tokens := make([]paho.Token, 0, n)
	began := time.Now()
	for i := range n {
		if wait := time.Until(began.Add(time.Duration(float64(i) / rate * 1e9))); wait > time.Millisecond {
			time.Sleep(wait) // the pace of a device
		}
		tokens = append(tokens, d.publish(1))
	}
	for _, tok := range tokens {
		if !tok.WaitTimeout(20 * time.Second) {
			t.Fatal("the broker does not take the messages")
		}
	}
}

func busOf(url string, change func(*mqtt.Options)) mqtt.Options {
	o := mqtt.Options{Name: "broker", Endpoint: url, ClientID: "pneudaq-test", KeepAlive: 2 * time.Second, Groups: []mqtt.GroupOptions{jsonGroup(nil)}}
	if change != nil {
		change(&o)
	}
	return o
}

// eachBroker runs a test against the embedded broker and against mosquitto.
func eachBroker(t *testing.T, test func(t *testing.T, b *testBroker)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embedded(t, simulator.BrokerOptions{}))
	})
	t.Run("mosquitto", func(t *testing.T) {
		t.Parallel()
		test(t, mosquitto(t))
	})
}

func (k *keeper) whole(t *testing.T, n uint64) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	missing, twice := 0, 0
	for s := range n {
		switch k.seen[s] {
		case 0:
			missing++
		case 1:
		default:
			twice++
		}
	}
	open := 0 // slots of gaps that nothing came for after all
	for _, g := range k.gaps {
		for s := g.From; s < g.To; s++ {
			if k.seen[s] == 0 {
				open++
			}
		}
	}
	if missing+twice+open > 0 || uint64(len(k.seen)) != n || k.epochs != 1 {
		t.Errorf("%d missing and %d twice of %d; %d stored; gaps %v; %d epochs", missing, twice, n, len(k.seen), k.gaps, k.epochs)
	}
}

// 4000 messages a second with QoS 1 through a broker that sends 20 without an
// acknowledgement and keeps 1000: commits come early, and nothing is dropped.
func TestFourThousandMessagesASecond(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		seconds := 10
		switch {
		case *long:
			seconds = 60
		case testing.Short():
			seconds = 2
		}
		n := 4000 * seconds
		k := newKeeper(time.Second, 2*time.Millisecond)
		s := serve(t, busOf(b.url, nil), k)
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d := newDevice(t, b.url, "device")
		began := time.Now()
		d.send(t, n, 4000)
		took := time.Since(began)
		s.wait(t, 20*time.Second, "store", func() bool { return k.count() >= n })
		k.whole(t, uint64(n))
		st := s.c.Stats()
		if k.early == 0 || s.ups.Load() != 1 {
			t.Errorf("%d early commits, %d connections", k.early, s.ups.Load())
		}
		s.wait(t, 5*time.Second, "acknowledge", func() bool { return s.c.Stats().Unacked == 0 })
		if b.dropped != nil && b.dropped() > 0 {
			t.Errorf("the broker dropped %d", b.dropped())
		}
		t.Logf("%d messages in %s, at most %d in the queue", n, took.Round(time.Millisecond), st.QueuedMost)
	})
}

// F045: a service that is killed between receiving and persisting gets again
// what it did not acknowledge, and stores everything once.
func TestF045ResumeAfterKill(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		k := newKeeper(20*time.Millisecond, time.Millisecond)
		s := serve(t, busOf(b.url, nil), k)
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d := newDevice(t, b.url, "device")
		total := 0
		redelivered := uint64(0)
		for life := range 4 {
			d.send(t, 200, 2000)
			total += 200
			s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= total })
			k.mu.Lock()
			k.frozen = true // from here on nothing is committed: these messages are in memory only
			k.mu.Unlock()
			d.send(t, 30, 2000)
			total += 30
			s.wait(t, 10*time.Second, "receive", func() bool { return s.c.Stats().Unacked >= min(20, 30) })
			if k.count() > total-20 {
				t.Fatalf("life %d: %d stored, so nothing was at risk", life, k.count())
			}
			s.stop()
			redelivered += s.c.Stats().Redelivered
			k.mu.Lock()
			k.open, k.frozen, k.epochs = nil, false, 0 // what was not committed is gone with the process
			k.mu.Unlock()
			d.send(t, 50, 2000) // while it is away
			total += 50
			if b.shuffle {
				time.Sleep(50 * time.Millisecond) // it answers a device before it has passed the message on
			}
			s = serve(t, busOf(b.url, nil), k)
			if b.shuffle {
				s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
			}
		}
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= total })
		k.whole(t, uint64(total))
		if !b.shuffle && (len(k.gaps) > 0 || k.late > 0) {
			t.Errorf("gaps %v, %d late", k.gaps, k.late)
		}
		s.wait(t, 5*time.Second, "acknowledge", func() bool { return s.c.Stats().Unacked == 0 })
	})
}

// Acknowledgements that are lost with the connection make the broker send
// again what is stored: it is recognised and stored once. A group without
// numbers has nothing but the marks for this.
func TestRedeliveryIsRecognisedByMarks(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *testBroker) {
		t.Helper()
		k := newKeeper(10*time.Millisecond, 0)
		cut := &proxy{}
		cut.open(t, b.url)
		o := busOf(cut.url, func(o *mqtt.Options) {
			g := groupOf(mqtt.FormatNumber, "rig/a", chans("v")...)
			o.Groups = []mqtt.GroupOptions{g}
		})
		s := serve(t, o, k)
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d := newDevice(t, b.url, "device")
		cut.mute.Store(true) // from the service to the broker: no acknowledgement arrives
		for range 10 {
			d.c.Publish("rig/a", 1, false, "7.5").Wait()
		}
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() == 10 })
		s.wait(t, 10*time.Second, "acknowledge", func() bool { return s.c.Stats().Unacked == 0 })
		cut.drop()
		cut.mute.Store(false)
		s.wait(t, 10*time.Second, "redeliver", func() bool { return s.c.Stats().Redelivered == 10 })
		s.stop()
		if k.count() != 10 {
			t.Errorf("%d stored of 10", k.count())
		}
		s = serve(t, o, k) // and across a restart, by the marks that are stored
		s.wait(t, 10*time.Second, "connect", func() bool { return s.ups.Load() == 1 })
		d.c.Publish("rig/a", 1, false, "8.5").Wait()
		s.wait(t, 10*time.Second, "store", func() bool { return k.count() >= 11 })
		if k.count() != 11 || len(k.marks) < 11 {
			t.Errorf("%d stored of 11, %d marks", k.count(), len(k.marks))
		}
	})
}

// proxy passes a connection on, until it is told not to.
type proxy struct {
	url   string
	mute  atomic.Bool // swallow what goes to the broker
	hole  atomic.Bool // pass nothing, keep the connection
	mu    sync.Mutex
	conns []net.Conn
	l     net.Listener
	wg    sync.WaitGroup
}

func (p *proxy) open(t *testing.T, url string) {
	t.Helper()
	var err error
	if p.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.url = "mqtt://" + p.l.Addr().String()
	p.wg.Go(func() {
		for {
			near, err := p.l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", url[len("mqtt://"):])
			if err != nil {
				_ = near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			pipe := func(from, to net.Conn, mute *atomic.Bool) {
				buf := make([]byte, 4096)
				for {
					n, err := from.Read(buf)
					if err != nil {
						if !p.hole.Load() { // a partition passes no end of the connection either
							_ = to.Close()
						}
						return
					}
					if p.hole.Load() || mute != nil && mute.Load() {
						continue
					}
					if _, err := to.Write(buf[:n]); err != nil {
						return
					}
				}
			}
			p.wg.Go(func() { pipe(near, far, &p.mute) })
			p.wg.Go(func() { pipe(far, near, nil) })
		}
	})
	t.Cleanup(func() {
		_ = p.l.Close()
		p.drop()
		p.wg.Wait()
	})
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
