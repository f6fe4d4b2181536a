package web_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"pneudaq/web"
)

// F100: path traversal, symlink, NUL in names.
func TestF100PathsStayInside(t *testing.T) {
	r := start(t, nil)
	mine := cookies(r.enter())
	for _, path := range []string{
		"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/..%5c..%5cwindows%5cwin.ini", "/page/../../access.go", "//etc/passwd", "/index.html%00.js",
		"/api/v1/recordings/..%2f..%2fsessions.json", "/api/v1/recordings/%2e%2e/export", "/api/v1/recordings/..%2fx/export", "/api/v1/recordings/a%00b", "/api/v1/recordings/" + strings.Repeat("a", 500),
		"/api/v1/recordings/.hidden/export", "/api/v1/rigs/..%2f..%2fetc%2fpasswd/file", "/api/v1/recordings/x%0d%0aSet-Cookie:a=b/export",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = path
		req.URL.Path = ""
		mine(req)
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && !strings.Contains(string(body), "<html") {
			t.Errorf("%s: %d %.100s", path, resp.StatusCode, body)
		}
		if strings.Contains(string(body), "root:") || strings.Contains(string(body), "package web") || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s reached a file: %.100s", path, body)
		}
	}
	r.parts.mu.Lock()
	defer r.parts.mu.Unlock()
	for _, id := range r.parts.asked {
		if strings.ContainsAny(id, "/\\\x00") || strings.HasPrefix(id, ".") {
			t.Errorf("the store was asked for %q", id)
		}
	}
}

func FuzzF100RecordingNames(f *testing.F) {
	for _, s := range []string{"20260921T112640Z-bench-abc", "../x", "a\x00b", "%2e%2e", "a/b", "\r\nX: y", "é", "."} {
		f.Add(s)
	}
	p := newParts()
	s, err := web.New(options(p, io.Discard))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p.asked = nil
		req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/api/v1/recordings/"+url.PathEscape(id)+"/export", nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+canary)
		req.RemoteAddr = "127.0.0.1:1"
		w := &recorder{header: http.Header{}}
		s.ServeHTTP(w, req)
		if d := w.header.Get("Content-Disposition"); d != "" && !regexp.MustCompile(`^attachment; filename=[A-Za-z0-9_.-]+$`).MatchString(d) {
			t.Errorf("file name %q for %q", d, id)
		}
	})
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// F102: huge header and body, gzip bomb, slow client, HTML in names.
func TestF102RequestsHaveLimits(t *testing.T) {
	r := start(t, nil)
	if a := r.operator("POST", "/api/v1/recordings", `{"rig":"`+strings.Repeat("x", 200_000)+`"}`); a.status != http.StatusRequestEntityTooLarge || a.problem(t)["code"] != string(web.CodeTooLarge) {
		t.Errorf("large body: %d %.200s", a.status, a.body)
	}
	if a := r.operator("PUT", "/api/v1/rigs/bench/file", strings.Repeat("#", 2<<20), header("If-Match", `"v1"`), header("Content-Type", "text/yaml")); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("large file: %d", a.status)
	}
	if a := r.operator("GET", "/api/v1/rigs", "", header("X-Large", strings.Repeat("x", 64<<10))); a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: %d", a.status)
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	if a := r.operator("POST", "/api/v1/check", bomb.String(), header("Content-Encoding", "gzip")); a.status != http.StatusUnsupportedMediaType {
		t.Errorf("gzip bomb: %d", a.status)
	}
	if a := r.operator("POST", "/api/v1/check", strings.Repeat(`{"text":`, 50_000)+"1"); a.status != http.StatusBadRequest {
		t.Errorf("deep document: %d %.200s", a.status, a.body)
	}
	for _, body := range []string{`{`, `[]`, `{"rig":1}`, `{"rig":"bench"} {"rig":"bench"}`, `{"rig":"bench","colour":"red"}`, `null`, "\xff"} {
		if a := r.operator("POST", "/api/v1/recordings", body); a.status != http.StatusBadRequest {
			t.Errorf("%q: %d %.200s", body, a.status, a.body)
		}
	}
	for _, query := range []string{"points=1", "points=1000000", "points=x", "from=yesterday", "from=NaN", "from=1e300", "from=5&to=4", "points=100&points=200", "unknown=1", "channels=%00"} {
		if a := r.operator("GET", "/api/v1/data?rig=bench&"+query, ""); a.status != http.StatusBadRequest && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %.200s", query, a.status, a.body)
		}
	}
	if a := r.operator("DELETE", "/api/v1/rigs", ""); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET" {
		t.Errorf("method: %d allow %q", a.status, a.header.Get("Allow"))
	}
}

func TestF102SlowSendersAreCutOff(t *testing.T) {
	r := start(t, nil, func(s *web.Server) {
		s.SetTimes(300*time.Millisecond, 300*time.Millisecond, time.Second, time.Second)
	})
	for name, text := range map[string]string{
		"header": "GET /api/v1/rigs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
		"body":   "POST /api/v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + canary + "\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, _ = io.WriteString(c, text)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		answer, err := io.ReadAll(c)
		_ = c.Close()
		if err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("slow %s held the connection for %s: %v", name, time.Since(begin), err)
		}
		if name == "body" && !strings.Contains(string(answer), string(web.CodeBody)) {
			t.Errorf("slow body: %.300s", answer)
		}
	}
	if a := r.operator("GET", "/api/v1/rigs", ""); a.status != http.StatusOK {
		t.Errorf("after that: %d", a.status)
	}
}

func TestF102HTMLInNamesStaysText(t *testing.T) {
	r := start(t, nil)
	r.parts.rigs[0].Description = html
	r.parts.rigs[0].Groups[0].Channels[0].Name = html
	r.parts.health.Problems[0].What = html
	r.parts.recordings[0].Note = html
	r.parts.events[0].Detail = html
	mine := cookies(r.enter())
	for _, path := range []string{
		"/api/v1/rigs", "/api/v1/health", "/api/v1/recordings", "/api/v1/events", "/api/v1/rigs/" + url.PathEscape(html), "/api/v1/recordings/" + url.PathEscape(html),
		"/api/v1/data?rig=" + url.QueryEscape(html), "/api/v1/" + url.PathEscape(html), "/" + url.PathEscape(html) + ".js", "/?token=" + url.QueryEscape(html), "/api/v1/live?channels=" + url.QueryEscape(html+"/x"),
	} {
		a := r.do("GET", path, "", mine)
		if strings.Contains(a.body, "<img") {
			t.Errorf("%s: HTML as it was written: %.200s", path, a.body)
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
	for _, path := range []string{"/", "/api/v1/rigs", "/healthz", "/nothing.js"} {
		a := r.do("GET", path, "", mine)
		csp := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q has no %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || a.header.Get("X-Frame-Options") != "DENY" || a.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, a.header)
		}
	}
	if a := r.do("GET", "/api/v1/rigs", "", mine); a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("data may be cached: %q", a.header.Get("Cache-Control"))
	}
}

func TestProblemsSpeakTheReadersLanguage(t *testing.T) {
	r := start(t, nil)
	for accept, want := range map[string]string{
		"": "Not found", "zh-CN,zh;q=0.9,en;q=0.8": "未找到", "en-GB,zh;q=0.5": "Not found", "de, zh;q=0.7, en;q=0.3": "未找到", "fr": "Not found", "zh;q=x": "Not found",
	} {
		a := r.operator("GET", "/api/v1/rigs/none", "", header("Accept-Language", accept))
		if p := a.problem(t); p["title"] != want || p["code"] != string(web.CodeNotFound) || p["do"] == "" {
			t.Errorf("%q: %v", accept, p)
		}
	}
	if a := r.operator("GET", "/api/v1/rigs/none?lang=zh", ""); a.problem(t)["title"] != "未找到" {
		t.Errorf("lang=zh: %s", a.body)
	}
}

func TestEveryMessageIsThereInBothLanguages(t *testing.T) {
	han := regexp.MustCompile(`\p{Han}`)
	places := regexp.MustCompile(`\{\d\}`)
	seen := map[web.Code]bool{}
	for _, m := range web.AllTexts() {
		if seen[m.Code] {
			t.Errorf("%s is there twice", m.Code)
		}
		seen[m.Code] = true
		for what, pair := range map[string][2]string{"title": m.Title, "detail": m.Detail, "do": m.Do} {
			onlyPlaces := places.ReplaceAllString(pair[0], "") == ""
			if pair[0] == "" || pair[1] == "" || !onlyPlaces && (han.MatchString(pair[0]) || !han.MatchString(pair[1])) {
				t.Errorf("%s %s: %q / %q", m.Code, what, pair[0], pair[1])
			}
			en, zh := map[string]bool{}, map[string]bool{}
			for _, p := range places.FindAllString(pair[0], -1) {
				en[p] = true
			}
			for _, p := range places.FindAllString(pair[1], -1) {
				zh[p] = true
			}
			if fmt.Sprint(en) != fmt.Sprint(zh) {
				t.Errorf("%s %s: places differ: %q / %q", m.Code, what, pair[0], pair[1])
			}
		}
	}
}

func TestF102ExportThatBreaksIsCutNotEndedWell(t *testing.T) {
	r := start(t, nil)
	r.parts.exportErr = os.ErrClosed
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+"/api/v1/recordings/20260921T112640Z-bench-abc/export?format=jsonl", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(canary)(req)
	if resp, err := r.client.Do(req); err == nil {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Errorf("half a file came as a whole one: %d %q", resp.StatusCode, body)
		}
	}
	if a := r.operator("GET", "/api/v1/recordings/20260921T112640Z-bench-abc/export?format=exe", ""); a.status != http.StatusBadRequest {
		t.Errorf("unknown format: %d", a.status)
	}
	if a := r.operator("GET", "/api/v1/recordings/20260921T112640Z-bench-abc/export", ""); a.status != http.StatusInternalServerError || a.header.Get("Content-Disposition") != "" {
		t.Errorf("export that never began: %d %v", a.status, a.header)
	}
}

func TestPageIsSmallAndCached(t *testing.T) {
	r := start(t, nil)
	mine := cookies(r.enter())
	a := r.do("GET", "/", "", mine, header("Accept-Encoding", "identity"))
	if a.status != http.StatusOK || a.header.Get("ETag") == "" || a.header.Get("Content-Encoding") != "" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		t.Fatalf("page: %d %v", a.status, a.header)
	}
	if b := r.do("GET", "/", "", mine, header("Accept-Encoding", "identity"), header("If-None-Match", a.header.Get("ETag"))); b.status != http.StatusNotModified || b.body != "" {
		t.Errorf("unchanged page: %d", b.status)
	}
	if b := r.do("GET", "/some/view", "", mine); b.status != http.StatusOK {
		t.Errorf("an address within the page: %d", b.status)
	}
	if b := r.do("GET", "/nothing.js", "", mine); b.status != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", b.status)
	}
	if b := r.do("POST", "/", "x", mine); b.status != http.StatusMethodNotAllowed {
		t.Errorf("POST to the page: %d", b.status)
	}
	sizes, texts, err := web.PageSizes()
	if err != nil {
		t.Fatal(err)
	}
	// What a first load fetches: what the page names, and what that names.
	reference := regexp.MustCompile(`(?:src|href)="/?([^":#?]+)"|(?:from|import)\s*\(?\s*["'](?:\./|/)([^"']+)["']|new URL\(\s*["'](?:\./|/)([^"']+)["']`)
	total, todo, seen := 0, []string{"index.html"}, map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if seen[name] || texts[name] == "" {
			continue
		}
		seen[name] = true
		total += sizes[name]
		for _, m := range reference.FindAllStringSubmatch(texts[name], -1) {
			for _, found := range m[1:] {
				if found != "" {
					todo = append(todo, found)
				}
			}
		}
	}
	t.Logf("first load: %d files, %d bytes compressed", len(seen), total)
	if total > 150_000 {
		t.Errorf("the first load is %d bytes compressed, more than 150 kB", total)
	}
	inline := regexp.MustCompile(`(?is)<script(?:\s[^>]*)?>\s*[^<\s]|<style|\sstyle="|\son[a-z]+="|javascript:`)
	outside := regexp.MustCompile(`(?i)(?:src|href)="(?:https?:)?//`)
	for name, text := range texts {
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		if m := inline.FindString(text); m != "" {
			t.Errorf("%s has %q, which the policy forbids", name, m)
		}
		if m := outside.FindString(text); m != "" {
			t.Errorf("%s loads from elsewhere: %s", name, m)
		}
	}
}

func TestHTTP1KeepAliveAndPipelineStayInOrder(t *testing.T) {
	r := start(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one := "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	_, _ = io.WriteString(c, one+one)
	in := bufio.NewReader(c)
	for range 2 {
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
