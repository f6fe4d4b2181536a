package influxtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RequireAll is the environment variable that turns what a test leaves out for
// lack of a program into a failure.
const RequireAll = "PNEUDAQ_REQUIRE_ALL"

// Influxd returns the path of an InfluxDB 1.8 server: $PNEUDAQ_INFLUXD, else
// pneudaq/influxd in the user's cache directory. Without one the test is
// skipped, or fails if PNEUDAQ_REQUIRE_ALL is set.
func Influxd(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("PNEUDAQ_INFLUXD")
	if path == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			path = filepath.Join(dir, "pneudaq", "influxd")
			if runtime.GOOS == "windows" {
				path += ".exe"
			}
		}
	}
	if _, err := os.Stat(path); err != nil {
		why := "LEFT OUT: everything against a real InfluxDB 1.8.10, there is no influxd at " + path +
			"; build it with `make influxd` or name it in PNEUDAQ_INFLUXD"
		if os.Getenv(RequireAll) != "" {
			tb.Fatal(why)
		}
		tb.Skip(why)
	}
	return path
}

// RealOptions says how a real server is configured.
type RealOptions struct {
	Flux    bool
	Auth    bool // with user admin, password secret, once created by [Real.Query]
	MaxBody int  // bytes; 0: as installed
}

// Real is a real InfluxDB 1.8 on loopback with a directory of its own.
type Real struct {
	URL    string
	User   string // user:password, for servers with Auth
	t      testing.TB
	path   string
	dir    string
	config string
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
	ended  error
}

// StartReal starts a server that ends with the test.
func StartReal(tb testing.TB, o RealOptions) *Real {
	tb.Helper()
	r := &Real{t: tb, path: Influxd(tb), dir: tb.TempDir()}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	r.URL = "http://" + address
	r.config = filepath.Join(r.dir, "influxdb.conf")
	text := fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = %q
  log-enabled = false
  flux-enabled = %t
  auth-enabled = %t
`, filepath.Join(r.dir, "meta"), filepath.Join(r.dir, "data"), filepath.Join(r.dir, "wal"), address, o.Flux, o.Auth)
	if o.MaxBody > 0 {
		text += fmt.Sprintf("  max-body-size = %d\n", o.MaxBody)
	}
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Stop)
	r.Start()
	return r
}

// Start starts the server, which must be stopped, and waits until it answers.
func (r *Real) Start() {
	r.t.Helper()
	log, err := os.OpenFile(filepath.Join(r.dir, "influxd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	r.cmd = exec.CommandContext(context.Background(), r.path, "run", "-config", r.config)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.done = make(chan struct{})
	cmd, done := r.cmd, r.done
	go func() {
		r.ended = cmd.Wait()
		close(done)
	}()
	for range 1200 {
		resp, err := r.health()
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-done:
			text, _ := os.ReadFile(filepath.Join(r.dir, "influxd.log"))
			r.t.Fatalf("influxd ended: %v\n%s", r.ended, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "influxd.log"))
	r.t.Fatalf("influxd does not answer after a minute: %v\n%s", err, text)
}

func (r *Real) health() (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.URL+"/health", http.NoBody)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

// Stop ends the server as an operator does.
func (r *Real) Stop() { r.end(os.Interrupt) }

// Kill ends the server as a crash does.
func (r *Real) Kill() { r.end(os.Kill) }

func (r *Real) end(s os.Signal) {
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.EINVAL) {
		r.t.Errorf("stop influxd: %v", err)
	}
	select {
	case <-r.done:
	case <-time.After(10 * time.Second):
		if err := r.cmd.Process.Kill(); err != nil {
			r.t.Errorf("kill influxd: %v", err)
		}
		<-r.done
	}
	r.cmd = nil
}

// Query runs an InfluxQL statement and returns its rows, times in Unix ns.
func (r *Real) Query(db, q string) [][]any {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	form := url.Values{"q": {q}, "db": {db}, "epoch": {"ns"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.User != "" {
		req.Header.Set("Authorization", "Token "+r.User)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var answer struct {
		Error   string `json:"error"`
		Results []struct {
			Error  string `json:"error"`
			Series []struct {
				Values [][]any `json:"values"`
			} `json:"series"`
		} `json:"results"`
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		r.t.Fatalf("%q: %v in %s", q, err, text)
	}
	var rows [][]any
	for _, x := range answer.Results {
		if x.Error != "" || answer.Error != "" {
			r.t.Fatalf("%q: %s%s", q, answer.Error, x.Error)
		}
		for _, s := range x.Series {
			rows = append(rows, s.Values...)
		}
	}
	if answer.Error != "" {
		r.t.Fatalf("%q: %s", q, answer.Error)
	}
	return rows
}
