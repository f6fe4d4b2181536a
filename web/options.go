package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// DefaultListen is where the server listens unless it is told otherwise.
const DefaultListen = "127.0.0.1:8470"

// Options say where a server listens, who may use it and what it shows. What
// is nil is not offered: its requests get problem PD2206.
type Options struct {
	Listen     string   // host:port, default [DefaultListen]; port 0 takes any that is free
	TLSCert    string   // file with the certificate chain, PEM
	TLSKey     string   // file with its key, PEM
	Insecure   bool     // serve other machines without TLS: passwords and data can be read on the network
	Hosts      []string // host names that the service is called by, beside its addresses
	AccessFile string   // users and tokens; see [ParseAccess]. Needed on any address but loopback
	Tokens     []Token  // further tokens for machines, for example of the data directory's commands
	StateDir   string   // keeps sessions over a restart; "": they end with the process

	Version   string
	Zone      string // of this machine, for example "Asia/Shanghai"
	Simulated bool   // everything here comes from a twin
	Now       func() int64
	Logger    *slog.Logger
	Compile   acquisition.Compile // for derived channels

	Rigs       Rigs
	Health     Health
	Recordings Recordings
	Ledger     Ledger
	Record     Record
	Events     Events
	Exporter   Exporter
	Files      Files
	Prober     Prober
	Evaluator  Evaluator
	Demo       Demo
	Hub        *Hub
}

// Token lets a machine in.
type Token struct {
	Name   string
	Role   Role
	Secret string
}

// Role is what somebody may do.
type Role string

// The roles. An operator may do everything that a viewer may.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

func (r Role) valid() bool { return r == Viewer || r == Operator }

// may reports whether the role is enough.
func (r Role) may(need Role) bool { return r == Operator || r == need }

// all returns the role with what it includes.
func (r Role) all() []Role {
	if r == Operator {
		return []Role{Viewer, Operator}
	}
	return []Role{r}
}

// ExposedError says that a server would be open to other machines without
// what protects it.
type ExposedError struct {
	Address string
	Lacks   string
	Do      string
}

// Error says what is lacking and what to do.
func (e *ExposedError) Error() string {
	return fmt.Sprintf("listen on %s: other machines could reach it %s; %s, or listen on %s", e.Address, e.Lacks, e.Do, DefaultListen)
}

// OccupiedError says that another program has the port.
type OccupiedError struct {
	Address string
	Err     error
}

// Error says what to do.
func (e *OccupiedError) Error() string {
	host, _, _ := net.SplitHostPort(e.Address)
	return fmt.Sprintf("listen on %s: another program has this port; if it is this service, use that one, else choose another, for example --listen %s (0 takes any that is free)",
		e.Address, net.JoinHostPort(host, "0"))
}

// Unwrap returns the system's error.
func (e *OccupiedError) Unwrap() error { return e.Err }

// check completes the options and refuses what would be open or wrong.
func (o *Options) check() error {
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("listen on %q: it is not host:port, for example %s", o.Listen, DefaultListen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listen on %q: port %q is not a number from 0 to 65535", o.Listen, port)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("TLS needs both files, certificate and key; one of them is not given")
	}
	if !loopback(host) {
		switch {
		case o.TLSCert == "" && !o.Insecure:
			return &ExposedError{Address: o.Listen, Lacks: "without encryption", Do: "give a certificate and its key, or say explicitly that it may be insecure"}
		case o.AccessFile == "":
			return &ExposedError{Address: o.Listen, Lacks: "without a login", Do: "name an access file with users and passwords"}
		}
	}
	for _, t := range o.Tokens {
		if len(t.Secret) < leastSecret || !t.Role.valid() {
			return fmt.Errorf("token %q: it needs a role (viewer or operator) and at least %d characters", t.Name, leastSecret)
		}
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Zone == "" || o.Zone == "Local" {
		o.Zone = zone()
	}
	o.Hosts = slices.Clone(o.Hosts)
	return nil
}

// leastSecret is how long a machine's token must be at least, characters.
const leastSecret = 16

// loopback reports whether only this machine can reach a host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// zone returns the name of this machine's time zone as browsers know it, else
// its offset now.
func zone() string {
	if name := os.Getenv("TZ"); name != "" {
		if l, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil && l.String() != "Local" {
			return l.String()
		}
	}
	if target, err := os.Readlink("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "zoneinfo/"); ok {
			return name
		}
	}
	return time.Now().Format("-07:00")
}
