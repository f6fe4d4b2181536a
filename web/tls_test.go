package web_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pneudaq/web"
)

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

func TestTLSServesOtherMachines(t *testing.T) {
	cert, key, pool := certificate(t)
	r := start(t, func(o *web.Options) {
		o.Listen, o.TLSCert, o.TLSKey, o.AccessFile, o.Hosts = "0.0.0.0:0", cert, key, accessFile(t), []string{"127.0.0.1"}
	})
	if !strings.HasPrefix(r.URL(), "https://127.0.0.1:") {
		t.Fatalf("URL %s", r.URL())
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r.client = &http.Client{Transport: transport}
	a := r.do("POST", "/api/v1/login", `{"user":"li","password":"correct horse li"}`)
	if a.status != http.StatusOK || a.header.Get("Strict-Transport-Security") == "" || !strings.Contains(a.header.Get("Set-Cookie"), "Secure") {
		t.Fatalf("login: %d %v", a.status, a.header)
	}
	if a := r.do("GET", "/metrics", "", header("X-Forwarded-For", "192.0.2.7")); a.status != http.StatusUnauthorized {
		t.Errorf("metrics for others: %d", a.status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/api/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(canary)(req)
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("protocol %s", resp.Proto)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "retry:") {
		t.Errorf("live over HTTP/2: %q %v", line, err)
	}
	// Half of a pair of files is no TLS, and files that are none say so.
	o := options(newParts(), r.log)
	o.TLSCert = cert
	if _, err := web.New(o); err == nil {
		t.Error("a certificate without key was taken")
	}
	o.TLSKey = cert
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("a key that is none: %v", err)
	}
}
