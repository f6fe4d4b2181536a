package web

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// principal is whoever asks. Role "" is nobody.
type principal struct {
	Name   string
	Role   Role
	secret string // of the session
}

type principalKey struct{}

func whoOf(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

const (
	freeAttempts      = 5  // per user and machine
	freeFromMachine   = 20 // per machine, whatever the user
	freeTokenAttempts = 60
	localOperator     = "operator"
	waitForHashing    = 5 * time.Second
)

// whois finds out who asks: a machine by its token, a browser by its cookie.
// It answers and returns false when a token is not valid.
func (s *Server) whois(w http.ResponseWriter, r *http.Request) (principal, bool) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, bearer := strings.CutPrefix(header, "Bearer ")
		if m, ok := s.access.machine(strings.TrimSpace(token)); bearer && ok {
			return principal{Name: m.name, Role: m.role}, true
		}
		s.refuseToken(w, r)
		return principal{}, false
	}
	c, err := r.Cookie(s.cookie())
	if err != nil {
		return principal{}, true
	}
	x, ok := s.sessions.find(c.Value)
	if !ok {
		return principal{}, true
	}
	if x.User == "" {
		return principal{Name: localOperator, Role: x.Role, secret: c.Value}, true
	}
	role, ok := s.access.role(x.User)
	if !ok { // not a user any more
		return principal{}, true
	}
	return principal{Name: x.User, Role: role, secret: c.Value}, true
}

func (s *Server) refuseToken(w http.ResponseWriter, r *http.Request) {
	if wait := s.attempts.begin("token "+peer(r.RemoteAddr), freeTokenAttempts); wait > 0 {
		s.fail(w, r, locked(w, wait))
		return
	}
	s.fail(w, r, problem(CodeToken))
}

type sessionDocument struct {
	User      string `json:"user"`
	Role      Role   `json:"role"`
	Login     bool   `json:"login"` // users with passwords exist
	Demo      bool   `json:"demo"`
	Simulated bool   `json:"simulated"`
	Version   string `json:"version"`
}

func (s *Server) sessionDocument(name string, role Role) sessionDocument {
	return sessionDocument{
		User: name, Role: role, Login: s.access.hasUsers(), Demo: s.o.Demo != nil, Simulated: s.o.Simulated, Version: s.o.Version,
	}
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request) error {
	who := whoOf(r.Context())
	return writeJSON(w, http.StatusOK, s.sessionDocument(who.Name, who.Role))
}

func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	if who := whoOf(r.Context()); who.secret != "" {
		if err := s.sessions.end(who.secret); err != nil {
			return err
		}
	}
	s.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure wherever there is TLS; on loopback there is none
		Name: s.cookie(), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// admit turns a token that works once into a session.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, token string) error {
	if !s.sessions.redeem(token) {
		if wait := s.attempts.begin("token "+peer(r.RemoteAddr), freeTokenAttempts); wait > 0 {
			return locked(w, wait)
		}
		return problem(CodeToken)
	}
	return s.enter(w, r, "", Operator)
}

func (s *Server) enter(w http.ResponseWriter, r *http.Request, name string, role Role) error {
	secret, err := s.sessions.create(name, role)
	if err != nil { // it works until the service restarts
		s.o.Logger.Warn("sessions are not kept over a restart", slog.String("problem", err.Error()))
	}
	s.setCookie(w, r, secret, int(sessionLife/time.Second))
	return nil
}

func (s *Server) postSession(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token string `json:"token"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if err := s.admit(w, r, body.Token); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.sessionDocument(localOperator, Operator))
}

func (s *Server) postLink(w http.ResponseWriter, r *http.Request) error {
	var body struct{}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, struct {
		URL string `json:"url"`
	}{s.URL() + "/?token=" + s.sessions.startToken()})
}

func (s *Server) postLogin(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if !s.access.hasUsers() {
		return problem(CodeNoLogin)
	}
	from := peer(r.RemoteAddr)
	both := "login " + from + " " + hashed(body.User)
	if wait := max(s.attempts.begin("login "+from, freeFromMachine), s.attempts.begin(both, freeAttempts)); wait > 0 {
		return locked(w, wait)
	}
	// One password at a time: guessing from many machines cannot take the
	// processor from the acquisition.
	ctx, cancel := context.WithTimeout(r.Context(), waitForHashing)
	defer cancel()
	select {
	case s.access.hashing <- struct{}{}:
	case <-ctx.Done():
		return locked(w, waitForHashing)
	}
	role, ok := s.access.password(body.User, body.Password)
	<-s.access.hashing
	if !ok {
		return problem(CodeLogin)
	}
	s.attempts.accepted("login " + from)
	s.attempts.accepted(both)
	if err := s.enter(w, r, body.User, role); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.sessionDocument(body.User, role))
}
