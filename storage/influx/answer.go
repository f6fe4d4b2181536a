package influx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a server may ask for: a server that says "in a
// year" is wrong, and nobody would notice that it is well again.
const maxRetryAfter = 5 * time.Minute

// HoldError says that the server takes nothing until a person does something.
// Everything is kept; writing goes on by itself once it works again.
type HoldError struct {
	Status int    // HTTP status, 0 if no request was made
	What   string // what is the matter
	Do     string // what to do
}

// Error returns what is the matter and what to do.
func (e *HoldError) Error() string { return e.What + "; " + e.Do }

// Remedy returns what to do.
func (e *HoldError) Remedy() string { return e.Do }

// RetryError says that the same write may succeed later.
type RetryError struct {
	After time.Duration // what the server asked for, at most 5 minutes; 0 if it did not
	Err   error
}

// Error returns what happened.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns what happened.
func (e *RetryError) Unwrap() error { return e.Err }

// Wait returns how long the server asked to wait, 0 if it did not.
func (e *RetryError) Wait() time.Duration { return e.After }

// answer is what a server said instead of 204.
type answer struct {
	status  int
	message string // text for people, without markup
	json    bool   // the message came as InfluxDB says it
	header  http.Header
}

// Error returns the answer as one line.
func (a *answer) Error() string {
	if a.message == "" {
		return fmt.Sprintf("server answered %d %s", a.status, http.StatusText(a.status))
	}
	return fmt.Sprintf("server answered %d: %s", a.status, a.message)
}

// newAnswer reads the message of an answer: InfluxDB 1.8 says {"error":...},
// 2.x {"code":...,"message":...}, 3.x {"error":...,"data":[{"error_message":...}]}.
func newAnswer(status int, header http.Header, body []byte) *answer {
	a := &answer{status: status, header: header}
	var said struct {
		Error   string `json:"error"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Data    []struct {
			Message string `json:"error_message"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error+said.Message != "" {
		a.json = true
		a.message = said.Message
		if a.message == "" {
			a.message = said.Error
		}
		if len(said.Data) > 0 && said.Data[0].Message != "" {
			a.message += ": " + said.Data[0].Message
		}
	} else {
		a.message = plain(body)
	}
	return a
}

// plain shortens a body that is not for people to one line.
func plain(body []byte) string {
	if bytes.Contains(bytes.ToLower(body[:min(len(body), 512)]), []byte("<html")) {
		return "a web page, not InfluxDB"
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 300)]), "?")), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, text)
}

// lineFaultError is an answer that blames lines, not the request.
type lineFaultError struct {
	*answer
	dropped int  // how many lines the server says it dropped, 0 if it does not say
	sure    bool // the words are those of a database, not of something in front of it
}

// Unwrap returns the answer.
func (f *lineFaultError) Unwrap() error { return f.answer }

// tooLargeError is an answer that blames the size of the request.
type tooLargeError struct{ *answer }

// Unwrap returns the answer.
func (t *tooLargeError) Unwrap() error { return t.answer }

// classify gives an answer its one meaning: nil, *lineFaultError, *tooLargeError,
// *HoldError or *RetryError.
func (s *Sink) classify(err error, now time.Time) error {
	if err == nil {
		return nil
	}
	if hold, ok := errors.AsType[*HoldError](err); ok {
		return hold
	}
	a, ok := errors.AsType[*answer](err)
	if !ok {
		return &RetryError{Err: fmt.Errorf("write to %s: %w", s.where, err)}
	}
	if isLineFault(a) {
		return &lineFaultError{answer: a, dropped: dropped(a.message), sure: marked(a.message)}
	}
	switch {
	case a.status == http.StatusRequestEntityTooLarge:
		return &tooLargeError{a}
	case a.status == http.StatusTooManyRequests:
		return &RetryError{After: retryAfter(a.header.Get("Retry-After"), now), Err: fmt.Errorf("write to %s: %w", s.where, a)}
	case a.status >= 300 && a.status < 400:
		return &HoldError{
			Status: a.status, What: fmt.Sprintf("%s redirects to %s", s.where, location(a.header)),
			Do: "redirects are not followed, a token would go with them; write the right address as influx.url",
		}
	case a.status >= 200 && a.status < 300:
		return &HoldError{
			Status: a.status, What: fmt.Sprintf("%s answered %d %s to a write; InfluxDB answers 204", s.where, a.status, quoted(a.message)),
			Do: "something else answers at this address (a login page or a proxy?); check influx.url and the network",
		}
	case a.status >= 500:
		if missing(a.message) {
			return s.holdMissing(a)
		}
		return &RetryError{After: retryAfter(a.header.Get("Retry-After"), now), Err: fmt.Errorf("write to %s: %w", s.where, a)}
	case a.status == http.StatusRequestTimeout:
		return &RetryError{Err: fmt.Errorf("write to %s: %w", s.where, a)}
	}
	return s.hold(a)
}

func quoted(message string) string {
	if message == "" {
		return "(empty)"
	}
	return "(" + message + ")"
}

func location(h http.Header) string {
	if l := h.Get("Location"); l != "" {
		return l
	}
	return "an unnamed place"
}

// hold says what a person must do about a 4xx answer that blames no line.
func (s *Sink) hold(a *answer) *HoldError {
	h := &HoldError{Status: a.status, What: fmt.Sprintf("%s: %s", s.where, a.Error())}
	switch a.status {
	case http.StatusUnauthorized:
		h.Do = "the token is not accepted: put a valid one into the token file (InfluxDB 1.8: user:password); it is read again by itself"
	case http.StatusForbidden:
		h.Do = fmt.Sprintf("the token may not write to %q: grant it (1.8: GRANT ALL ON %q TO <user>) or put another into the token file", s.o.Bucket, s.database)
	case http.StatusNotFound:
		return s.holdMissing(a)
	default:
		h.Do = "check influx.url, org and bucket, and what stands between this machine and InfluxDB"
	}
	return h
}

// holdMissing is about a database, bucket, organisation or path that is not there.
func (s *Sink) holdMissing(a *answer) *HoldError {
	h := &HoldError{Status: a.status, What: fmt.Sprintf("%s: %s", s.where, a.Error())}
	switch {
	case strings.Contains(a.message, "retention policy not found"):
		h.Do = fmt.Sprintf(`create it (CREATE RETENTION POLICY %q ON %q DURATION INF REPLICATION 1) or name another in influx.bucket ("database/policy")`, s.policy, s.database)
	case strings.Contains(a.message, "database not found"):
		h.Do = fmt.Sprintf("create it: influx -execute 'CREATE DATABASE %q'", s.database)
	case strings.Contains(a.message, "organization"), strings.Contains(a.message, "org "):
		h.Do = fmt.Sprintf("create the organisation %q or correct influx.org", s.o.Org)
	case a.json:
		h.Do = fmt.Sprintf("create the bucket (influx bucket create --org %q --name %q) or correct influx.bucket and org", s.o.Org, s.o.Bucket)
	default:
		h.Do = "no v2 write API at this address: check influx.url; InfluxDB before 1.8 has none"
	}
	return h
}

func missing(message string) bool {
	return strings.Contains(message, "retention policy not found") || strings.Contains(message, "database not found")
}

// isLineFault reports whether an answer blames lines: 422 always, 400 unless
// it blames the request, and a 500 that is worded as a partial write, which is
// how InfluxDB 2.0 reports a field of another type.
func isLineFault(a *answer) bool {
	switch a.status {
	case http.StatusUnprocessableEntity:
		return true
	case http.StatusBadRequest:
		for _, request := range []string{"database is required", "invalid precision", "HTTP request to an HTTPS", "HTTP request was sent to HTTPS", "a web page"} {
			if strings.Contains(a.message, request) {
				return false
			}
		}
		return true
	case http.StatusInternalServerError:
		return strings.Contains(a.message, "partial write") || strings.Contains(a.message, "field type conflict")
	}
	return false
}

func marked(message string) bool {
	for _, m := range []string{"partial write", "unable to parse", "field type conflict", "dropped="} {
		if strings.Contains(message, m) {
			return true
		}
	}
	return false
}

// dropped returns the number in "dropped=n" as InfluxDB ends its message.
func dropped(message string) int {
	m := regexp.MustCompile(`dropped=(\d+)\D*$`).FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// retryAfter reads a Retry-After in seconds or as a date, within [0, 5 min].
// Absurd and unreadable values are 0 or the ceiling.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds > 0) {
			return 0
		}
		if seconds > maxRetryAfter.Seconds() {
			return maxRetryAfter
		}
		return time.Duration(seconds * float64(time.Second))
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
