package influx

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

// maxAnswer bounds how much of an answer is read: its message stands at the
// beginning, and a captive portal may send anything.
const maxAnswer = 64 << 10

// newTransport returns connections for a sink: kept alive, HTTP/1.1, bounded
// dials.
func newTransport(c *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     c,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
	}
}

// newClient returns an http.Client that follows no redirect: a POST would
// become a GET, and an Authorization must not go elsewhere.
func newClient(rt http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// authorized adds the token of the moment to each request, so that a rotated
// token works without a restart.
type authorized struct {
	base  http.RoundTripper
	token func() (string, error)
}

// RoundTrip sends a request with the token.
func (t *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.token()
	if err != nil {
		if req.Body != nil {
			err = errors.Join(err, req.Body.Close())
		}
		return nil, &HoldError{What: fmt.Sprintf("the token cannot be read: %v", err), Do: "make the token file readable for the service; it is read again by itself"}
	}
	if token != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Token "+token)
	}
	return t.base.RoundTrip(req) //nolint:wrapcheck // a RoundTripper hands through
}

// writer makes a write out of a request: it compresses when asked to, and
// turns every answer but 204 into an *answer.
type writer struct {
	base http.RoundTripper
	gzip bool
	pool sync.Pool // *packer
}

// RoundTrip sends a write. It returns a response only if the server took it.
func (w *writer) RoundTrip(req *http.Request) (*http.Response, error) {
	var p *packer
	if w.gzip && req.Body != nil {
		var err error
		if p, req, err = w.pack(req); err != nil {
			return nil, err
		}
	}
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		return nil, err //nolint:wrapcheck // a RoundTripper hands through
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	closing := resp.Body.Close()
	if p != nil && p.open.Load() == 0 { // else the connection may still read from it
		w.pool.Put(p)
	}
	if resp.StatusCode == http.StatusNoContent {
		resp.Body = http.NoBody
		return resp, closing //nolint:wrapcheck // closing a body of no length
	}
	if err != nil && len(body) == 0 {
		return nil, fmt.Errorf("read answer %d: %w", resp.StatusCode, err)
	}
	return nil, newAnswer(resp.StatusCode, resp.Header, body)
}

// packer is the reusable memory of one compressed request.
type packer struct {
	zip  *gzip.Writer
	buf  bytes.Buffer
	open atomic.Int32 // bodies that a connection has not closed yet
}

func (w *writer) pack(req *http.Request) (*packer, *http.Request, error) {
	p, ok := w.pool.Get().(*packer)
	if !ok {
		p = &packer{}
		zip, err := gzip.NewWriterLevel(&p.buf, gzip.BestSpeed)
		if err != nil {
			return nil, nil, fmt.Errorf("compress request: %w", err)
		}
		p.zip = zip
	}
	p.buf.Reset()
	p.zip.Reset(&p.buf)
	_, err := io.Copy(p.zip, req.Body)
	if err = errors.Join(err, p.zip.Close(), req.Body.Close()); err != nil {
		return nil, nil, fmt.Errorf("compress request: %w", err)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Content-Encoding", "gzip")
	req.ContentLength = int64(p.buf.Len())
	req.GetBody = func() (io.ReadCloser, error) {
		p.open.Add(1)
		return &packed{Reader: bytes.NewReader(p.buf.Bytes()), packer: p}, nil
	}
	if req.Body, err = req.GetBody(); err != nil {
		return nil, nil, fmt.Errorf("compress request: %w", err)
	}
	return p, req, nil
}

// packed is a compressed body that tells when the connection has done with it.
type packed struct {
	*bytes.Reader
	packer *packer
	closed atomic.Bool
}

// Close gives the memory back.
func (b *packed) Close() error {
	if b.closed.CompareAndSwap(false, true) {
		b.packer.open.Add(-1)
	}
	return nil
}
