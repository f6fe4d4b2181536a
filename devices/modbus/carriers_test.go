package modbus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
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
	return &authority{cert, key, pool}
}

func (a *authority) issue(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "device"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// MODBUS/TCP Security: both sides show certificates; what is wrong is said.
func TestTLS(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	hour := time.Hour
	now := time.Now()
	device, client := a.issue(t, now.Add(-hour), now.Add(hour)), a.issue(t, now.Add(-hour), now.Add(hour))
	expired := a.issue(t, now.Add(-2*hour), now.Add(-hour))
	for _, tc := range []struct {
		name   string
		server tls.Certificate
		client *tls.Config
		want   string // in the error; "": it works
	}{
		{"both certificates right", device, &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{client}}, ""},
		{"unknown authority", device, &tls.Config{RootCAs: stranger.pool, Certificates: []tls.Certificate{client}}, "authority that is not trusted"},
		{"out of date", expired, &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{client}}, "out of date"},
		{"wrong name", device, &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{client}, ServerName: "other.example"}, "for another name"},
		{"no client certificate", device, &tls.Config{RootCAs: a.pool}, "certificate required"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, address := serve(t, simulator.ServerOptions{
				Units:  addressUnits(1, 2),
				TLS:    &tls.Config{Certificates: []tls.Certificate{tc.server}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
				Faults: []simulator.Fault{{Kind: simulator.FaultLate, Delay: 150 * time.Millisecond, At: []uint64{3}}},
			})
			o := registers("tls://"+address, 300*time.Millisecond, 10, 1, 2)
			o.TLS, o.Timeout = tc.client, 100*time.Millisecond
			b := open(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := b.Connect(ctx)
			defer b.Close()
			y := &tally{}
			if err == nil {
				for range 5 {
					poll(t, b, y)
					time.Sleep(100 * time.Millisecond)
				}
				if len(y.errs) > 0 {
					err = y.errs[0]
				}
			}
			switch {
			case tc.want == "" && (err != nil || y.good != 90 || y.reasons[acquisition.ReasonTimeout] != 10 || len(y.wrong) > 0 || b.Stats().Units[0].Late != 1):
				t.Errorf("%v, %d good, %v, %v", err, y.good, y.reasons, y.wrong)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestTLSAtAPlainPort(t *testing.T) {
	t.Parallel()
	_, address := serve(t, simulator.ServerOptions{Units: addressUnits(1)})
	b := open(t, registers("tls://"+address, time.Second, 1, 1))
	if err := b.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("%v", err)
	}
}

// A serial line: a pseudo terminal whose other end is the simulator.
func TestSerialLine(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		o := registers("rtu:///COM3", time.Second, 1, 1)
		if err := open(t, o).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "rtu+tcp://") {
			t.Errorf("%v: want the way out", err)
		}
		return
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	path := slave.Name()
	_ = slave.Close()
	s, err := simulator.NewServer(simulator.ServerOptions{
		Units: addressUnits(1, 2), RTU: true,
		Faults: []simulator.Fault{
			{Kind: simulator.FaultLate, Delay: 600 * time.Millisecond, At: []uint64{5}},
			{Kind: simulator.FaultChecksum, At: []uint64{9}},
			{Kind: simulator.FaultSplit, Delay: 10 * time.Millisecond, At: []uint64{13, 14}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	// Hold the slave side open, so that the master sees no hang-up between connections.
	hold, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() { _ = s.ServeConn(ctx, master) })
	defer all.Wait()
	defer cancel()
	defer hold.Close()
	o := registers("rtu://"+path+"?baud=115200&parity=N", 3*time.Second, 10, 1, 2)
	o.Timeout = 400 * time.Millisecond
	b := open(t, o)
	y := &tally{}
	for round := range 2 { // it can be closed and opened again
		connect(t, b)
		for range 8 {
			g := b.Groups()[0]
			s := acquisition.NewScan(g)
			y.look(g, s, b.Poll(t.Context(), g, 1, s))
		}
		if err := b.Close(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	st := b.Stats()
	if len(y.wrong) > 0 || len(y.errs) > 0 || y.good != 32*10-20 || y.reasons[acquisition.ReasonTimeout] != 10 || y.reasons[acquisition.ReasonCRC] != 10 {
		t.Errorf("%d good, %v, wrong %v, errors %v", y.good, y.reasons, y.wrong, y.errs)
	}
	if st.Units[0].Late != 1 || st.Units[0].CRC+st.Units[1].CRC != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSerialPortThatIsNotThere(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("serial lines are driven on Linux only")
	}
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/dev/serial/by-id/none": "is not there", plain: "is no terminal"} {
		err := open(t, registers("rtu://"+path, time.Second, 1, 1)).Connect(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// An adapter that hands back what it sends.
func TestSerialEcho(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := piped(t, registers("rtu+tcp://10.0.0.1:1?echo=1", time.Second, 10, 1), func(w *wire) {
			for {
				_, pdu, err := w.request(5)
				if err != nil {
					return
				}
				w.write(w.sent[len(w.sent)-8:])
				answer := []byte{3, 2 * pdu[4]}
				for i := range pdu[4] {
					answer = append(answer, 4, i)
				}
				w.write(rtuFrame(1, answer))
			}
		})
		if y := again(t, b, 3); y.good != 30 {
			t.Errorf("%d good, %v", y.good, y.reasons)
		}
	})
}

// Coils, discrete inputs, a queue, bits and decimals in one group.
func TestPollOfEveryTable(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			const bit = acquisition.TypeBool
			o := registers(endpoint, time.Second, 0, 17)
			add := func(name string, table modbus.Table, address uint16, typ acquisition.Type, change func(*modbus.ChannelOptions)) {
				c := ch(name, "d17", table, address, typ)
				if change != nil {
					change(&c)
				}
				o.Groups[0].Channels = append(o.Groups[0].Channels, c)
			}
			for i, name := range []string{"q20", "q21", "q22", "q23", "q24", "q25", "q26", "q27", "q28"} { // outputs 20 to 28
				add(name, modbus.Coil, uint16(19+i), bit, nil)
			}
			add("q38", modbus.Coil, 37, bit, nil)
			add("i197", modbus.Discrete, 196, bit, nil)
			add("i199", modbus.Discrete, 198, bit, nil)
			add("i218", modbus.Discrete, 217, bit, nil)
			for e := range 4 {
				add([]string{"f0", "f1", "f2", "f3"}[e], modbus.FIFO, 0x4DE, acquisition.TypeUint16, func(c *modbus.ChannelOptions) { c.Element = e })
			}
			add("word", modbus.Input, 8, acquisition.TypeUint16, nil)
			decimals := uint16(109)
			add("scaled", modbus.Holding, 107, acquisition.TypeInt16, func(c *modbus.ChannelOptions) { c.DecimalsFrom = &decimals })
			b := piped(t, o, func(w *wire) {
				// The specification's examples, 6.1, 6.2, 6.18 and 6.4; registers by hand.
				for {
					head := 8 // the function stands behind it
					if w.rtu {
						head = 2
					}
					f := make([]byte, head)
					if _, err := readFull(w.conn, f); err != nil {
						return
					}
					n := map[byte]int{24: 2}[f[head-1]]
					if n == 0 {
						n = 4
					}
					if w.rtu {
						n += 2
					}
					rest := make([]byte, n)
					if _, err := readFull(w.conn, rest); err != nil {
						return
					}
					answer := map[byte]string{
						1: "01 03 CD6B05", 2: "02 03 ACDB35", 24: "18 0006 0002 01B8 1284", 4: "04 02 000A", 3: "03 06 04D2 0000 0002",
					}[f[head-1]]
					w.write(w.frame(uint16(f[0])<<8|uint16(f[1]), 17, unhex(t, answer)))
				}
			})
			g := b.Groups()[0]
			s := acquisition.NewScan(g)
			if err := b.Poll(t.Context(), g, 1, s); err != nil {
				t.Fatal(err)
			}
			want := map[string]float64{
				"q20": 1, "q21": 0, "q22": 1, "q23": 1, "q24": 0, "q25": 0, "q26": 1, "q27": 1, "q28": 1, "q38": 1,
				"i197": 0, "i199": 1, "i218": 1, "f0": 440, "f1": 4740, "word": 10, "scaled": 12.34,
			}
			for name, w := range want {
				i := g.Channel(name)
				if v, _ := g.Channels[i].Decoding.Value(s.Words); v != w || s.Quality[i] != acquisition.Good {
					t.Errorf("%s: %s is %v (%s), want %v", endpoint, name, v, s.Quality[i], w)
				}
			}
			for _, name := range []string{"f2", "f3"} {
				if q := s.Quality[g.Channel(name)]; q.Reason() != acquisition.ReasonNoData {
					t.Errorf("%s beyond the queue's end has quality %s", name, q)
				}
			}
		})
	}
}

func readFull(c net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// A device that closes idle connections costs no scan.
func TestIdleConnectionClosedByThePeer(t *testing.T) {
	t.Parallel()
	_, address := serve(t, simulator.ServerOptions{Units: addressUnits(1), MaxConns: 1, Steal: true})
	o := registers("tcp://"+address, 3*time.Second, 10, 1)
	b := open(t, o)
	connect(t, b)
	y := &tally{}
	poll(t, b, y)
	other, err := net.Dial("tcp", address) // takes the only connection away
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	time.Sleep(1100 * time.Millisecond)
	poll(t, b, y)
	if y.good != 20 || len(y.errs) > 0 || b.Stats().Connects != 2 {
		t.Errorf("%d good, %v, errors %v, %d connections", y.good, y.reasons, y.errs, b.Stats().Connects)
	}
}

// Acceptance of the time: eight units on one RTU-over-TCP line at 20 ms an
// answer, whose registers are the server's own clock: the instant of each value
// lies within the stated half width.
func TestTimeOfEveryChannelLiesWithinItsHalfWidth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ids := []byte{1, 2, 3, 4, 5, 6, 7, 8}
		o := registers("rtu+tcp://10.0.0.1:1", 250*time.Millisecond, 0, ids...)
		for _, id := range ids {
			name := string('a' + rune(id))
			o.Groups[0].Channels = append(o.Groups[0].Channels, ch(name, "d"+string('0'+rune(id)), modbus.Holding, 0, acquisition.TypeUint64))
		}
		b := piped(t, o, func(w *wire) {
			for i := 0; ; i++ {
				if _, _, err := w.request(5); err != nil {
					return
				}
				unit := w.sent[len(w.sent)-8]
				before := time.Duration(i%20) * time.Millisecond // the value's instant wanders through the 20 ms
				time.Sleep(before)
				now := uint64(time.Now().UnixNano())
				time.Sleep(20*time.Millisecond - before)
				pdu := []byte{3, 8}
				for k := 3; k >= 0; k-- {
					pdu = append(pdu, byte(now>>(16*k+8)), byte(now>>(16*k)))
				}
				w.write(rtuFrame(unit, pdu))
			}
		})
		g := b.Groups()[0]
		s := acquisition.NewScan(g)
		in, all := 0, 0
		for range 500 {
			s.Reset(g)
			if err := b.Poll(t.Context(), g, 1, s); err != nil {
				t.Fatal(err)
			}
			for i := range g.Channels {
				c := &g.Channels[i]
				raw := uint64(0)
				for _, w := range s.Words[c.Decoding.At : c.Decoding.At+4] {
					raw = raw<<16 | uint64(w)
				}
				e := s.Exchanges[c.Exchange]
				d := int64(raw) - (s.Time + e.Offset)
				all++
				if d >= -e.HalfWidth && d <= e.HalfWidth && e.HalfWidth < int64(12*time.Millisecond) {
					in++
				}
			}
		}
		if all != 4000 || float64(in) < 0.999*float64(all) {
			t.Errorf("%d of %d values lie within their half width", in, all)
		}
	})
}

// F030: a device that is slower than the period. Slots are skipped, never
// bunched, and each has its account.
func TestF030DeviceSlowerThanThePeriod(t *testing.T) {
	t.Parallel()
	_, address := serve(t, simulator.ServerOptions{Units: addressUnits(1), Delay: 30 * time.Millisecond})
	o := registers("tcp://"+address, 20*time.Millisecond, 10, 1)
	c := collect(t, o)
	var times []int64
	c.see = func(b *acquisition.Block) { times = append(times, b.Times...) }
	c.waitGood(t, 25)
	c.stop(t)
	c.audit(t)
	if n := c.missed(acquisition.ReasonOverrun); n < 10 {
		t.Errorf("%d slots missed, %+v", n, c.state())
	}
	for i := 1; i < len(times); i++ {
		if d := time.Duration(times[i] - times[i-1]); d < 25*time.Millisecond {
			t.Errorf("two scans within %s: bunched", d)
		}
	}
}
