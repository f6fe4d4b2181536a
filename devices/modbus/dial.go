package modbus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// Attempts to connect: a host that does not answer is asked anew, so that one
// that comes back is found at once.
const (
	shortestAttempt = 400 * time.Millisecond
	longestAttempt  = 2 * time.Second
)

// dial opens what frames run over.
func (b *Bus) dial(ctx context.Context) (stream, error) { //nolint:ireturn // a socket, a TLS connection, a serial port or a pipe
	if b.o.Dial != nil {
		c, err := b.o.Dial(ctx)
		if err != nil {
			return nil, err
		}
		s, ok := c.(stream)
		if !ok {
			_ = c.Close() // it cannot be used
			return nil, errors.New("the connection has no deadlines, and without them no request can time out")
		}
		return s, nil
	}
	switch b.e.scheme {
	case rtuSerial:
		return openSerial(&b.e)
	case overTLS:
		return b.dialTLS(ctx)
	case overTCP, rtuOverTCP:
	}
	return b.dialTCP(ctx)
}

func (b *Bus) dialTCP(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 15 * time.Second}
	attempt := min(max(b.o.Timeout, shortestAttempt), longestAttempt)
	for {
		one, cancel := context.WithTimeout(ctx, attempt)
		c, err := d.DialContext(one, "tcp", b.e.address)
		cancel()
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || !isTimeout(err) && !errors.Is(err, context.DeadlineExceeded) {
			return nil, explainDial(err)
		}
		if left, ok := ctx.Deadline(); !ok || time.Until(left) < attempt {
			return nil, explainDial(err)
		}
	}
}

func (b *Bus) dialTLS(ctx context.Context) (net.Conn, error) {
	raw, err := b.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.o.TLS != nil {
		c = b.o.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(b.e.address) // it was joined by us
	}
	t := tls.Client(raw, c)
	limit, cancel := context.WithTimeout(ctx, max(5*b.o.Timeout, longestAttempt))
	defer cancel()
	if err := t.HandshakeContext(limit); err != nil {
		_ = raw.Close() // the handshake has said what is wrong
		return nil, explainTLS(err)
	}
	return t, nil
}

// explainDial adds what to look at.
func explainDial(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there; look at the device's power, its port and whether another client holds its only connection: %w", err)
	case errors.As(err, &dns):
		return fmt.Errorf("the host name is not known; write the address, or look at the name service: %w", err)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Errorf("there is no way to the host; look at cable, address and network mask: %w", err)
	case isTimeout(err), errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return fmt.Errorf("the host does not answer; look at its power, cable and address: %w", err)
	}
	return err
}

func explainTLS(err error) error {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("the device's certificate is signed by an authority that is not trusted here; name its CA file: %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the device's certificate is out of date, or a clock is wrong: %w", err)
	case errors.As(err, &host):
		return fmt.Errorf("the device's certificate is for another name: %w", err)
	case errors.As(err, &header):
		return fmt.Errorf("the device does not speak TLS at this port; write tcp:// if it is plain Modbus TCP: %w", err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}
