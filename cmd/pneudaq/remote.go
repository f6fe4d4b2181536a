package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"pneudaq/web"
)

// remote is a service reached through its API.
type remote struct {
	base  string
	token string
	http  *http.Client
}

func newRemote(base, token string) (*remote, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fails(exitUsage, "%q is not the URL of a service, for example http://127.0.0.1:8470", base)
	}
	return &remote{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{}}, nil
}

// alive reports whether a service answers there.
func (r *remote) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return r.do(ctx, http.MethodGet, "/api/v1/openapi.json", nil, nil) == nil
}

func (r *remote) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", path, err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, in)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Accept-Language", language(os.Getenv))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, fails(exitUnavailable, "the service at %s does not answer: %w", r.base, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Do     string `json:"do"`
		Code   string `json:"code"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p)
	text := strings.TrimSpace(p.Code + " " + p.Title)
	if p.Detail != "" {
		text = strings.TrimSpace(p.Code + " " + p.Detail)
	}
	if p.Do != "" {
		text += "; " + p.Do
	}
	if text == "" {
		text = resp.Status
	}
	code := exitData
	if resp.StatusCode >= 500 {
		code = exitUnavailable
	}
	return nil, fails(code, "%s", text)
}

func (r *remote) do(ctx context.Context, method, path string, body, into any) error {
	resp, err := r.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(into)
	}
	if err != nil {
		return fails(exitUnavailable, "the answer of %s to %s: %w", r.base, path, err)
	}
	return nil
}

// Recordings lists recordings, newest first.
func (r *remote) Recordings(ctx context.Context, q web.RecordingQuery) (all []web.Recording, err error) {
	v := url.Values{}
	if q.Rig != "" {
		v.Set("rig", q.Rig)
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	var page struct {
		Recordings []web.Recording `json:"recordings"`
	}
	err = r.do(ctx, http.MethodGet, "/api/v1/recordings?"+v.Encode(), nil, &page)
	return page.Recordings, err
}

// Recording describes one recording.
func (r *remote) Recording(ctx context.Context, id string) (doc web.RecordingDetail, err error) {
	return doc, r.do(ctx, http.MethodGet, "/api/v1/recordings/"+url.PathEscape(id), nil, &doc)
}

// Start begins a recording.
func (r *remote) Start(ctx context.Context, n web.NewRecording) (doc web.RecordingDetail, err error) {
	return doc, r.do(ctx, http.MethodPost, "/api/v1/recordings", n, &doc)
}

// Stop ends a recording.
func (r *remote) Stop(ctx context.Context, id, _ string) (doc web.RecordingDetail, err error) {
	return doc, r.do(ctx, http.MethodPost, "/api/v1/recordings/"+url.PathEscape(id)+"/stop", struct{}{}, &doc)
}

// Audit makes the ledger of a recording.
func (r *remote) Audit(ctx context.Context, id string) (report web.AuditReport, err error) {
	return report, r.do(ctx, http.MethodGet, "/api/v1/recordings/"+url.PathEscape(id)+"/audit", nil, &report)
}
