package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// readBody reads a body of one of the media types.
func readBody(w http.ResponseWriter, r *http.Request, types ...string) ([]byte, error) {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(types, got) || r.Header.Get("Content-Encoding") != "" {
		shown := r.Header.Get("Content-Type")
		if e := r.Header.Get("Content-Encoding"); e != "" {
			shown += " (" + e + ")"
		}
		if shown == "" {
			shown = "of no stated type"
		}
		return nil, problem(CodeMediaType, shown, strings.Join(types, ", "))
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, err //nolint:wrapcheck // it becomes a problem
		}
		return nil, &Problem{Code: CodeBody, Args: []string{"it ended early or came too slowly"}, Err: err}
	}
	readable(w)
	return text, nil
}

// readJSON reads one JSON document strictly: unknown keys and anything behind
// it are errors. An empty body is an empty document.
func readJSON(w http.ResponseWriter, r *http.Request, to any) error {
	if r.ContentLength == 0 {
		return nil
	}
	text, err := readBody(w, r, "application/json")
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return problem(CodeBody, strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem(CodeBody, "something follows the document")
	}
	return nil
}

// writeJSON writes a document.
func writeJSON(w http.ResponseWriter, status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // whoever asked is gone
	return nil
}

// query reads the parameters of a request and refuses those that it does not
// know, so that a misspelt one is noticed.
type query struct {
	values map[string][]string
	known  []string
	err    error
}

func queryOf(r *http.Request) *query {
	return &query{values: r.URL.Query(), known: []string{"lang"}}
}

func (q *query) text(name string) string {
	q.known = append(q.known, name)
	v := q.values[name]
	if len(v) > 1 && q.err == nil {
		q.err = parameter(name, "is given %d times", len(v))
	}
	if len(v) == 0 {
		return ""
	}
	if strings.ContainsRune(v[0], 0) && q.err == nil {
		q.err = parameter(name, "has a NUL character")
	}
	return v[0]
}

// channels reads the list of names that many addresses take.
func (q *query) channels() []string { return q.list("channels") }

func (q *query) list(name string) []string {
	var list []string
	for part := range strings.SplitSeq(q.text(name), ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(list, part) {
			list = append(list, part)
		}
	}
	return list
}

func (q *query) number(name string, otherwise, low, high int) int {
	v := q.text(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if (err != nil || n < low || n > high) && q.err == nil {
		q.err = parameter(name, "%q is not a number from %d to %d", v, low, high)
	}
	return n
}

func (q *query) bool(name string) bool {
	switch v := q.text(name); v {
	case "", "0", "false":
		return false
	case "1", "true":
		return true
	default:
		if q.err == nil {
			q.err = parameter(name, "%q is not 1 or 0", v)
		}
		return false
	}
}

// time reads an instant, Unix ns, 0 if it is not given.
func (q *query) time(name string) int64 {
	v := q.text(name)
	if v == "" {
		return 0
	}
	t, err := parseTime(v)
	if err != nil && q.err == nil {
		q.err = parameter(name, "%v", err)
	}
	return t
}

// done returns the first problem.
func (q *query) done() error {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !slices.Contains(q.known, name) {
			return parameter(name, "is not known here; known are %s", strings.Join(q.known, ", "))
		}
	}
	return nil
}
