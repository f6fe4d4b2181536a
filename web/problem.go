package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is an error that a person is shown as RFC 9457 problem details, in
// the language of the request.
type Problem struct { //nolint:errname // RFC 9457 calls it a problem
	Code      Code
	Args      []string
	Files     []ProblemDocument // for [CodeFile]
	Owner     string            // for [CodeRecordingOpen]
	Recording string
	Err       error // cause, for the log only
}

// Error returns title and detail in English.
func (p *Problem) Error() string {
	m := lookup(p.Code)
	return string(p.Code) + " " + expand(m.detail[0], p.Args) + "; " + expand(m.do[0], p.Args)
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

func problem(code Code, args ...string) *Problem { return &Problem{Code: code, Args: args} }

// NotFound says that there is no such thing, for example ("recording", id).
func NotFound(kind, name string) error { return problem(CodeNotFound, kind, strconv.Quote(name)) }

// RecordingOpen says who records a rig at the moment.
func RecordingOpen(rig, owner, id string) error {
	p := problem(CodeRecordingOpen, rig, owner, id)
	p.Owner, p.Recording = owner, id
	return p
}

// RecordingEnded says that a recording is not open any more.
func RecordingEnded(id string) error { return problem(CodeRecordingEnded, id) }

// Changed says that a file is not the version that the caller has seen.
func Changed(name string) error { return problem(CodeChanged, name) }

// Refuse says that a request is understood and cannot be done, and what to do.
func Refuse(what, do string) error { return problem(CodeRefused, what, do) }

// Unreachable says that a device or server gave no usable answer.
func Unreachable(whom string, err error) error {
	p := problem(CodeUnreachable, whom, err.Error())
	p.Err = err
	return p
}

// Busy says that something can be done by one at a time.
func Busy(what string) error { return problem(CodeBusy, what) }

// NotReady says what the service lacks.
func NotReady(what string) error { return problem(CodeNotReady, what) }

// details are problem details.
type details struct {
	Type      string            `json:"type"`
	Title     string            `json:"title"`
	Status    int               `json:"status"`
	Detail    string            `json:"detail"`
	Code      Code              `json:"code"`
	Do        string            `json:"do"`
	Login     bool              `json:"login,omitempty"`
	Owner     string            `json:"owner,omitempty"`
	Recording string            `json:"recording,omitempty"`
	Problems  []ProblemDocument `json:"problems,omitempty"`
}

// asProblem turns any error of a handler into a problem.
func asProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return problem(CodeTooLarge, strconv.FormatInt(large.Limit, 10))
	case errors.Is(err, context.DeadlineExceeded):
		return &Problem{Code: CodeSlow, Args: []string{"the time for such requests"}, Err: err}
	}
	return &Problem{Code: CodeInternal, Args: []string{err.Error()}, Err: err}
}

// fail writes an error. After the first byte of an answer it can only cut the
// connection, so that nobody takes half an answer for a whole one.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	m := lookup(p.Code)
	if m.status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.o.Logger.Warn("request not answered", slog.String("method", r.Method), slog.String("route", r.Pattern),
			slog.String("code", string(p.Code)), slog.String("problem", p.Error()))
	}
	if a, ok := w.(*answer); ok && a.status != 0 {
		panic(http.ErrAbortHandler)
	}
	l := language(r)
	i := index(l)
	d := details{
		Type: "about:blank", Title: m.title[i], Status: m.status, Detail: expand(m.detail[i], p.Args), Code: p.Code,
		Do: expand(m.do[i], p.Args), Owner: p.Owner, Recording: p.Recording, Problems: p.Files,
	}
	if m.status == http.StatusUnauthorized {
		d.Login = s.access.hasUsers()
		w.Header().Set("WWW-Authenticate", `Bearer realm="pneudaq"`)
	}
	h := w.Header()
	h.Del("ETag")
	h.Del("Content-Disposition")
	h.Set("Content-Type", "application/problem+json; charset=utf-8")
	h.Set("Content-Language", string(l))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(m.status)
	body, err := json.Marshal(d)
	if err != nil {
		panic("BUG: problem details: " + err.Error())
	}
	_, _ = w.Write(body) // whoever asked is gone
}

// locked is the problem of somebody who must wait.
func locked(w http.ResponseWriter, wait time.Duration) error {
	seconds := strconv.Itoa(int(max(1, (wait + time.Second - 1).Seconds())))
	w.Header().Set("Retry-After", seconds)
	return problem(CodeLocked, seconds)
}

// weighted splits "zh-CN;q=0.8" into its lower-case tag and weight.
func weighted(part string) (tag string, q float64) {
	tag, rest, _ := strings.Cut(strings.TrimSpace(part), ";")
	q = 1
	if v, ok := strings.CutPrefix(strings.TrimSpace(rest), "q="); ok {
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			q = f
		} else {
			q = 0
		}
	}
	return strings.ToLower(strings.TrimSpace(tag)), q
}

// parameter is the problem of a query parameter.
func parameter(name, format string, args ...any) error {
	return problem(CodeParameter, name, fmt.Sprintf(format, args...))
}
