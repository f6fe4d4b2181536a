package influx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"pneudaq/acquisition"
)

// maxBody is where a request is cut: about 100 000 fields, below the limits of
// stock servers (25 MB in InfluxDB 1.8, 50 MB in 2.x) and of most proxies.
const maxBody = 2 << 20

// maxRefusedText bounds for how many refused lines of one write the text is
// handed back; the others are rebuilt from the store when somebody asks.
const maxRefusedText = 1000

// maxEncoders bounds the cache of encoders: one for each group version in use.
const maxEncoders = 4096

// Options says where and how to write.
type Options struct {
	URL        string                 // base address, for example http://127.0.0.1:8086
	Org        string                 // InfluxDB 2.x; empty for 1.8
	Bucket     string                 // 2.x: bucket; 1.8: database/policy
	Token      func() (string, error) // token of the moment; 1.8: user:password; nil: TokenFile
	TokenFile  string                 // read before each request, so that a rotated token works; empty: no token
	Gzip       bool                   // compress requests: about an eighth of the bytes for more CPU
	Timeout    time.Duration          // per request, default 60 s
	TLS        *tls.Config            // nil: the system's trust
	HTTPClient *http.Client           // whose Transport carries the requests; nil: one of our own
	Compile    acquisition.Compile    // for derived channels
	Logger     *slog.Logger           // nil: silent
	Now        func() int64           // Unix ns; nil: time.Now
}

// Sink writes blocks to one bucket. It may be used by several goroutines.
type Sink struct {
	o        Options
	where    string // for people: host and bucket
	base     *url.URL
	database string
	policy   string
	write    api.WriteAPIBlocking
	query    *http.Client
	idle     func()
	fits     atomic.Int64 // largest body to send, lowered by 413
	since    atomic.Int64 // writes since the limit was lowered

	mu       sync.RWMutex
	encoders map[*acquisition.Group]*Encoder

	scratch sync.Pool // *delivery
}

// New checks the options and returns a sink. It sends nothing.
func New(o Options) (*Sink, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("influx.url is not an address such as http://127.0.0.1:8086") // it may hold a password
	}
	if u.User != nil {
		return nil, errors.New("influx.url carries a password; put user:password into the token file instead")
	}
	if o.Bucket == "" {
		return nil, errors.New("influx.bucket is empty; name a bucket, for InfluxDB 1.8 database/policy such as pneudaq/autogen")
	}
	if o.Timeout <= 0 {
		o.Timeout = 60 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Token == nil {
		o.Token = tokenFile(o.TokenFile)
	}
	s := &Sink{o: o, base: u, where: u.Host + " bucket " + o.Bucket, encoders: map[*acquisition.Group]*Encoder{}}
	s.database, s.policy, _ = strings.Cut(o.Bucket, "/")
	var rt http.RoundTripper
	s.idle = func() {}
	if o.HTTPClient != nil {
		rt = o.HTTPClient.Transport
		s.idle = o.HTTPClient.CloseIdleConnections
	}
	if rt == nil {
		t := newTransport(o.TLS)
		rt, s.idle = t, t.CloseIdleConnections
	}
	auth := &authorized{base: rt, token: o.Token}
	s.query = newClient(auth)
	writes := newClient(&writer{base: auth, gzip: o.Gzip})
	base := o.URL
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	service := influxhttp.NewService(base, "", influxhttp.DefaultOptions().SetHTTPDoer(writes).SetApplicationName("pneudaq"))
	s.write = api.NewWriteAPIBlocking(o.Org, o.Bucket, service, write.DefaultOptions())
	s.fits.Store(math.MaxInt64)
	return s, nil
}

// tokenFile returns the first line of a file, without blanks.
func tokenFile(name string) func() (string, error) {
	if name == "" {
		return func() (string, error) { return "", nil }
	}
	return func() (string, error) {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		return strings.TrimSpace(line), nil
	}
}

// Close releases idle connections.
func (s *Sink) Close() error {
	s.idle()
	return nil
}

// String says where the sink writes to, without secrets.
func (s *Sink) String() string { return "influxdb " + s.where }

// encoder returns the encoder of a group version.
func (s *Sink) encoder(g *acquisition.Group) (*Encoder, error) {
	s.mu.RLock()
	e := s.encoders[g]
	s.mu.RUnlock()
	if e != nil {
		return e, nil
	}
	e, err := NewEncoder(g, s.o.Compile)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.encoders) >= maxEncoders {
		clear(s.encoders)
	}
	s.encoders[g] = e
	return e, nil
}

// lineRef says which scan or gap a line is; scan is -1-i for gap i.
type lineRef struct {
	end   int // in the body
	block int
	scan  int
}

// delivery is one Write: the body being filled and what was refused.
type delivery struct {
	sink     *Sink
	blocks   []*acquisition.Block
	body     []byte
	lines    []lineRef
	scratch  Scratch
	refused  []acquisition.Refused
	accepted bool // the server took a line in this write, so the address and the token are right
}

// Write sends the blocks, one line for each scan and gap, in one request for
// about 100 000 fields. It returns the lines that the database will never
// take, each by itself; their Scan is -1 for a gap. Everything else has been
// acknowledged when the error is nil. The error is a [*HoldError], a
// [*RetryError] or that of ctx.
func (s *Sink) Write(ctx context.Context, blocks []*acquisition.Block) ([]acquisition.Refused, error) {
	d, ok := s.scratch.Get().(*delivery)
	if !ok {
		d = &delivery{sink: s}
	}
	d.blocks, d.refused, d.accepted = blocks, nil, false
	err := d.write(ctx)
	refused := d.refused
	d.blocks, d.refused = nil, nil
	if cap(d.body) > 2*maxBody {
		d.body = nil
	}
	s.scratch.Put(d)
	if err != nil {
		return nil, err
	}
	return refused, nil
}

func (d *delivery) write(ctx context.Context) error {
	d.body, d.lines = d.body[:0], d.lines[:0]
	for i, b := range d.blocks {
		e, err := d.sink.encoder(b.Group)
		if err != nil {
			d.refuseBlock(b, err.Error())
			continue
		}
		for j := range b.Len() {
			d.body = e.AppendScan(d.body, b, j, &d.scratch)
			d.lines = append(d.lines, lineRef{len(d.body), i, j})
			if len(d.body) >= maxBody {
				if err := d.flush(ctx); err != nil {
					return err
				}
			}
		}
		for j := range b.Gaps {
			d.body = e.AppendGap(d.body, b, j)
			d.lines = append(d.lines, lineRef{len(d.body), i, -1 - j})
		}
	}
	return d.flush(ctx)
}

// refuseBlock sets a block aside that cannot be decoded at all. The words stay
// in the store.
func (d *delivery) refuseBlock(b *acquisition.Block, why string) {
	for i := range b.Len() {
		d.refused = append(d.refused, acquisition.Refused{Group: b.Group.Key(), Seq: b.Seq, Scan: i, Reason: why})
	}
}

// flush sends the body, in pieces if the server once said that it is too large.
func (d *delivery) flush(ctx context.Context) error {
	first := 0
	for first < len(d.lines) {
		last := len(d.lines)
		for fits := d.sink.fits.Load(); last-first > 1 && int64(d.size(first, last)) > fits; {
			last = first + (last-first)/2
		}
		if err := d.deliver(ctx, first, last); err != nil {
			return err
		}
		first = last
	}
	d.body, d.lines = d.body[:0], d.lines[:0]
	return nil
}

func (d *delivery) start(line int) int {
	if line == 0 {
		return 0
	}
	return d.lines[line-1].end
}

func (d *delivery) size(first, last int) int { return d.lines[last-1].end - d.start(first) }

// deliver sends lines first to last (not included). What the server blames is
// halved until the exact line is found.
func (d *delivery) deliver(ctx context.Context, first, last int) error {
	err := d.sink.send(ctx, d.body[d.start(first):d.lines[last-1].end])
	if err == nil {
		d.accepted = true
		return nil
	}
	n := last - first
	fault, isFault := errors.AsType[*lineFaultError](err)
	large, isLarge := errors.AsType[*tooLargeError](err)
	switch {
	case isFault:
		if n == 1 || fault.dropped >= n {
			if !fault.sure && !d.accepted {
				if err := d.sink.canary(ctx, fault.answer); err != nil {
					return err
				}
				d.accepted = true
			}
			d.refuse(first, last, fault.message)
			return nil
		}
	case isLarge:
		if n == 1 {
			d.refuse(first, last, large.Error())
			return nil
		}
		d.sink.lower(int64(d.size(first, last)) / 2)
	default:
		return err
	}
	if err := d.deliver(ctx, first, first+n/2); err != nil {
		return err
	}
	return d.deliver(ctx, first+n/2, last)
}

func (d *delivery) refuse(first, last int, why string) {
	for i := first; i < last; i++ {
		l := d.lines[i]
		b := d.blocks[l.block]
		r := acquisition.Refused{Group: b.Group.Key(), Seq: b.Seq, Scan: max(l.scan, -1), Reason: why}
		if len(d.refused) < maxRefusedText {
			r.Text = strings.TrimSuffix(string(d.body[d.start(i):l.end]), "\n")
		}
		d.refused = append(d.refused, r)
	}
}

// canary sends a line that is certainly right. A server that refuses it too
// blames the request and not the lines: then nothing may be set aside.
func (s *Sink) canary(ctx context.Context, blamed *answer) error {
	line := appendHead(nil, GatewayMeasurement, map[string]string{"gateway": "check"})
	line = append(line, " up=1 "...)
	line = strconv.AppendInt(line, s.o.Now(), 10)
	err := s.send(ctx, append(line, '\n'))
	if _, ok := errors.AsType[*lineFaultError](err); ok {
		h := s.hold(blamed)
		h.Do = "the server refuses every line, also one that is right: " + h.Do
		return h
	}
	return err
}

// lower notes that a body was too large. The limit is forgotten after a while:
// whoever raised it at the server need not restart us.
func (s *Sink) lower(limit int64) {
	for {
		old := s.fits.Load()
		if old <= limit || s.fits.CompareAndSwap(old, max(limit, 1)) {
			s.since.Store(0)
			return
		}
	}
}

// Send writes lines that were encoded elsewhere, such as events. The error is
// as that of Write; lines that the database will never take are an error too.
func (s *Sink) Send(ctx context.Context, lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	return s.send(ctx, lines)
}

// send is one request. The error is *lineFaultError, *tooLargeError, *HoldError,
// *RetryError or that of ctx.
func (s *Sink) send(ctx context.Context, body []byte) error {
	within, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	// A copy: a connection that breaks may read the body after the answer.
	err := s.write.WriteRecord(within, strings.TrimSuffix(string(body), "\n"))
	if err == nil {
		if s.since.Add(1) == 1000 {
			s.fits.Store(math.MaxInt64)
		}
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("write to %s: %w", s.where, context.Cause(ctx))
	}
	err = s.classify(err, time.Unix(0, s.o.Now()))
	if _, ok := errors.AsType[*RetryError](err); ok {
		s.idle() // the name may lead elsewhere by now
	}
	return err
}
