package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/web"
)

// F099: API without login, CSRF, DNS rebinding, brute force.

func TestF099NothingWithoutALogin(t *testing.T) {
	r := start(t, nil)
	for op, role := range r.Operations() {
		method, path, _ := strings.Cut(op, " ")
		path = strings.NewReplacer("{rig}", "bench", "{id}", "20260921T112640Z-bench-abc").Replace(path)
		switch {
		case role == "": // how one gets in
			continue
		case path == "/healthz" || path == "/readyz" || path == "/metrics":
			if a := r.do(method, path, ""); a.status != http.StatusOK {
				t.Errorf("%s from this machine: %d", op, a.status)
			}
			if a := r.do(method, path, "", header("X-Forwarded-For", "192.0.2.1")); a.status != http.StatusUnauthorized {
				t.Errorf("%s through a proxy: %d, want 401", op, a.status)
			}
			continue
		}
		a := r.do(method, path, "")
		if a.status != http.StatusUnauthorized || a.problem(t)["code"] != string(web.CodeSession) {
			t.Errorf("%s without a session: %d %s", op, a.status, a.body)
		}
		if a := r.do(method, path, "", bearer("not-the-token")); a.status != http.StatusUnauthorized || a.problem(t)["code"] != string(web.CodeToken) {
			t.Errorf("%s with a wrong token: %d %s", op, a.status, a.body)
		}
		if a := r.do(method, path, "", cookies([]*http.Cookie{{Name: "pneudaq-" + port(r), Value: "guess"}})); a.status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong cookie: %d", op, a.status)
		}
	}
	for _, path := range []string{"/", "/index.html", "/recordings/x", "/api/v1/nothing"} {
		if a := r.do("GET", path, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s without a session: %d", path, a.status)
		}
	}
}

func port(r *running) string {
	_, p, _ := net.SplitHostPort(strings.TrimPrefix(r.URL(), "http://"))
	return p
}

func TestF099ViewersChangeNothing(t *testing.T) {
	r := start(t, nil)
	for op, role := range r.Operations() {
		method, path, _ := strings.Cut(op, " ")
		path = strings.NewReplacer("{rig}", "bench", "{id}", "20260921T112640Z-bench-abc").Replace(path)
		a := r.do(method, path, "{}", bearer("viewer-"+canary), func(r *http.Request) {
			if r.Method == http.MethodGet {
				r.Body, r.ContentLength = http.NoBody, 0
			}
			if path == "/api/v1/live" {
				r.URL.RawQuery = "rate=1000" // refused at once
			}
		})
		switch {
		case role == web.Operator && (a.status != http.StatusForbidden || a.problem(t)["code"] != string(web.CodeRole)):
			t.Errorf("%s as a viewer: %d %s", op, a.status, a.body)
		case role != web.Operator && a.status == http.StatusForbidden:
			t.Errorf("%s as a viewer: %d %s", op, a.status, a.body)
		}
	}
	if r.parts.starts.Load() != 0 || len(r.parts.amended) != 0 || r.parts.faults[0].On {
		t.Error("a viewer changed something")
	}
}

func TestStartURLLetsOneBrowserInOnce(t *testing.T) {
	r := start(t, nil)
	_, token, _ := strings.Cut(r.StartURL(), "token=")
	a := r.do("GET", "/?token="+token, "")
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/" {
		t.Fatalf("start URL: %d to %q", a.status, a.header.Get("Location"))
	}
	set := a.header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/", "pneudaq-" + port(r) + "="} {
		if !strings.Contains(set, want) {
			t.Errorf("cookie %q has no %s", set, want)
		}
	}
	if strings.Contains(set, token) {
		t.Error("the cookie is the token")
	}
	mine := cookies((&http.Response{Header: a.header}).Cookies())
	if a := r.do("GET", "/", "", mine); a.status != http.StatusOK || !strings.Contains(a.body, "<html") {
		t.Errorf("the page with the cookie: %d", a.status)
	}
	if a := r.do("GET", "/?token="+token, ""); a.status != http.StatusUnauthorized || strings.Contains(a.body, token) {
		t.Errorf("the token a second time: %d", a.status)
	}
	if a := r.do("GET", "/?token="+token, "", mine); a.status != http.StatusSeeOther {
		t.Errorf("the link again in the browser that is in: %d", a.status)
	}
	// A further browser needs a link of its own.
	a = r.do("POST", "/api/v1/session/link", "", mine)
	_, second, _ := strings.Cut(strings.Trim(a.body, "{}\n\" "), "token=")
	if a := r.do("GET", "/?token="+second, ""); a.status != http.StatusSeeOther {
		t.Errorf("second link: %d", a.status)
	}
	if a := r.do("DELETE", "/api/v1/session", "", mine); a.status != http.StatusNoContent {
		t.Errorf("log out: %d", a.status)
	}
	if a := r.do("GET", "/api/v1/rigs", "", mine); a.status != http.StatusUnauthorized {
		t.Errorf("after logging out: %d", a.status)
	}
	// HEAD is what programs send to look at a link; it must not use it up.
	a = r.operator("POST", "/api/v1/session/link", "")
	_, third, _ := strings.Cut(strings.Trim(a.body, "{}\n\" "), "token=")
	r.do("HEAD", "/?token="+third, "")
	if a := r.do("GET", "/?token="+third, ""); a.status != http.StatusSeeOther {
		t.Errorf("link after HEAD: %d", a.status)
	}
}

func TestF099OtherOriginsChangeNothing(t *testing.T) {
	r := start(t, nil)
	mine := cookies(r.enter())
	for name, e := range map[string]edit{
		"foreign origin":         header("Origin", "https://evil.example"),
		"null origin":            header("Origin", "null"),
		"cross-site fetch":       header("Sec-Fetch-Site", "cross-site"),
		"same site, other port":  header("Sec-Fetch-Site", "same-site"),
		"origin of another port": header("Origin", "http://127.0.0.1:1"),
	} {
		a := r.do("POST", "/api/v1/recordings", `{"rig":"bench"}`, mine, e)
		if a.status != http.StatusForbidden || a.problem(t)["code"] != string(web.CodeOrigin) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	// What a form can send without asking first is not taken either.
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		if a := r.do("POST", "/api/v1/recordings", `{"rig":"bench"}`, mine, header("Content-Type", media)); a.status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %d", media, a.status)
		}
	}
	if n := r.parts.starts.Load(); n != 0 {
		t.Errorf("%d recordings were started", n)
	}
	if a := r.do("POST", "/api/v1/recordings", `{"rig":"bench"}`, mine, header("Origin", r.URL()), header("Sec-Fetch-Site", "same-origin")); a.status != http.StatusCreated {
		t.Errorf("the page itself: %d %s", a.status, a.body)
	}
}

func TestF099DNSRebinding(t *testing.T) {
	r := start(t, func(o *web.Options) { o.Hosts = []string{"bench.lab.example"} })
	mine := cookies(r.enter())
	for name, ok := range map[string]bool{
		"127.0.0.1:" + port(r): true, "localhost:" + port(r): true, "[::1]:" + port(r): true, "bench.lab.example": true, "Bench.Lab.Example.:80": true,
		"evil.example": false, "evil.example:" + port(r): false, "127.0.0.1.evil.example": false, "192.168.1.7:" + port(r): false, "localhost.evil.example": false, "bench.lab.example.evil": false,
	} {
		for _, path := range []string{"/", "/api/v1/rigs", "/healthz"} {
			a := r.do("GET", path, "", mine, host(name))
			if ok && a.status != http.StatusOK || !ok && a.status != http.StatusMisdirectedRequest {
				t.Errorf("%s for host %s: %d", path, name, a.status)
			}
		}
	}
}

func TestF099BruteForceIsLockedOut(t *testing.T) {
	r := start(t, func(o *web.Options) { o.AccessFile = accessFile(t) })
	login := func(user, password string) answer {
		return r.do("POST", "/api/v1/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	}
	a := login("li", "correct horse li")
	if a.status != http.StatusOK || !strings.Contains(a.body, `"role":"operator"`) {
		t.Fatalf("login: %d %s", a.status, a.body)
	}
	in := cookies((&http.Response{Header: a.header}).Cookies())
	if a := r.do("GET", "/api/v1/session", "", in); a.status != http.StatusOK || !strings.Contains(a.body, `"user":"li"`) {
		t.Errorf("session: %d %s", a.status, a.body)
	}
	locked := 0
	for i := range 12 {
		a := login("li", "guess "+strconv.Itoa(i))
		switch a.status {
		case http.StatusUnauthorized:
			if locked > 0 {
				t.Error("looked at a guess while locked")
			}
		case http.StatusTooManyRequests:
			locked++
			if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
			}
		default:
			t.Fatalf("guess %d: %d", i, a.status)
		}
	}
	if locked < 6 {
		t.Errorf("%d of 12 guesses were locked out, want at least 6", locked)
	}
	if a := login("li", "correct horse li"); a.status != http.StatusTooManyRequests {
		t.Errorf("the right password while locked: %d", a.status)
	}
	if a := r.do("GET", "/api/v1/rigs", "", in); a.status != http.StatusOK {
		t.Errorf("who is in stays in: %d", a.status)
	}
	if a := login("guest", "correct horse guest"); a.status != http.StatusOK || !strings.Contains(a.body, `"role":"viewer"`) {
		t.Errorf("another user: %d", a.status)
	}
	r.clock.Add(int64(time.Hour))
	if a := login("li", "correct horse li"); a.status != http.StatusOK {
		t.Errorf("after the time: %d %s", a.status, a.body)
	}
	// Names of users that do not exist are guessed no better.
	for i := range 30 {
		if a := login("nobody"+strconv.Itoa(i), "x"); a.status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("30 users were tried without a lock")
}

func TestF099GuessesAtTheSameTimeGainNothing(t *testing.T) {
	r := start(t, func(o *web.Options) { o.AccessFile = accessFile(t) })
	var wait sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for i := range 20 {
		wait.Go(func() {
			a := r.do("POST", "/api/v1/login", fmt.Sprintf(`{"user":"li","password":"guess %d"}`, i))
			mu.Lock()
			count[a.status]++
			mu.Unlock()
		})
	}
	wait.Wait()
	if n := count[http.StatusUnauthorized]; n > 5 || n == 0 {
		t.Errorf("%d of 20 guesses at once were looked at: %v", n, count)
	}
}

func TestF099TokenGuessesAreSlowedAndTheRightOneStillWorks(t *testing.T) {
	r := start(t, nil)
	limited := 0
	for i := range 80 {
		if a := r.do("GET", "/api/v1/rigs", "", bearer("guess-"+strconv.Itoa(i))); a.status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Error("80 tokens were tried without a limit")
	}
	if a := r.operator("GET", "/api/v1/rigs", ""); a.status != http.StatusOK {
		t.Errorf("the right token: %d", a.status)
	}
}

func TestSessionsSurviveARestartAndEnd(t *testing.T) {
	dir := t.TempDir()
	var listen string
	r := start(t, func(o *web.Options) { o.StateDir = dir })
	mine := r.enter()
	listen = strings.TrimPrefix(r.URL(), "http://")
	r.stop()
	text, err := os.ReadFile(filepath.Join(dir, "sessions.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), mine[0].Value) {
		t.Error("the file holds the cookie itself, not its hash")
	}
	if info, _ := os.Stat(filepath.Join(dir, "sessions.json")); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("sessions.json has mode %o", info.Mode().Perm())
	}
	r = start(t, func(o *web.Options) { o.StateDir, o.Listen = dir, listen })
	if a := r.do("GET", "/api/v1/rigs", "", cookies(mine)); a.status != http.StatusOK {
		t.Errorf("after a restart: %d", a.status)
	}
	r.clock.Add(8 * 24 * int64(time.Hour))
	if a := r.do("GET", "/api/v1/rigs", "", cookies(mine)); a.status != http.StatusUnauthorized {
		t.Errorf("a week unused: %d", a.status)
	}
	r.stop()
	if err := os.WriteFile(filepath.Join(dir, "sessions.json"), []byte(`[{"hash"`), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, func(o *web.Options) { o.StateDir = dir })
}

func TestUsersThatWereRemovedAreOut(t *testing.T) {
	file := accessFile(t)
	r := start(t, func(o *web.Options) { o.AccessFile = file })
	a := r.do("POST", "/api/v1/login", `{"user":"guest","password":"correct horse guest"}`)
	in := cookies((&http.Response{Header: a.header}).Cookies())
	if a := r.do("GET", "/api/v1/rigs", "", in); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	text, _ := os.ReadFile(file)
	kept, _, _ := strings.Cut(string(text), "user guest")
	line, token, err := web.TokenLine("nightly", web.Viewer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(kept+line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.clock.Add(int64(2 * time.Second))
	if a := r.do("GET", "/api/v1/rigs", "", in); a.status != http.StatusUnauthorized {
		t.Errorf("a removed user: %d", a.status)
	}
	if a := r.do("GET", "/api/v1/rigs", "", bearer(token)); a.status != http.StatusOK {
		t.Errorf("a new machine: %d", a.status)
	}
}

func TestOpenToOthersOnlyWithTLSAndLogin(t *testing.T) {
	p := newParts()
	var exposed *web.ExposedError
	for name, c := range map[string]func(*web.Options){
		"no TLS":          func(o *web.Options) { o.Listen, o.AccessFile = "0.0.0.0:0", "x" },
		"no login":        func(o *web.Options) { o.Listen, o.Insecure = "0.0.0.0:0", true },
		"all addresses":   func(o *web.Options) { o.Listen = ":0" },
		"IPv6 everywhere": func(o *web.Options) { o.Listen = "[::]:0" },
		"a name":          func(o *web.Options) { o.Listen = "gateway.lab:0" },
	} {
		o := options(p, io.Discard)
		c(&o)
		if _, err := web.New(o); !errors.As(err, &exposed) || !strings.Contains(err.Error(), "127.0.0.1:8470") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An access file without a user is no login.
	empty := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(empty, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(p, io.Discard)
	o.Listen, o.Insecure, o.AccessFile = "0.0.0.0:0", true, empty
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); !errors.As(err, &exposed) {
		t.Errorf("no users: %v", err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(empty, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("an access file that others read: %v", err)
		}
	}
}

func TestAnotherAddressHasNoStartTokenAndNeedsALoginEverywhere(t *testing.T) {
	r := start(t, func(o *web.Options) { o.Listen, o.Insecure, o.AccessFile = "0.0.0.0:0", true, accessFile(t) })
	if strings.Contains(r.StartURL(), "token") {
		t.Error("a start token where people log in")
	}
	if a := r.do("GET", "/api/v1/rigs", ""); a.status != http.StatusUnauthorized || a.problem(t)["login"] != true {
		t.Errorf("no session: %d %s", a.status, a.body)
	}
	if a := r.do("POST", "/api/v1/login", `{"user":"li","password":"correct horse li"}`); a.status != http.StatusOK {
		t.Errorf("login: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/", "", host("evil.example")); a.status != http.StatusMisdirectedRequest {
		t.Errorf("rebinding: %d", a.status)
	}
	if a := r.do("GET", "/healthz", "", host("10.1.2.3:8470")); a.status != http.StatusOK {
		t.Errorf("by address: %d", a.status)
	}
}

func TestOccupiedPortSaysWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	o := options(newParts(), io.Discard)
	o.Listen = ln.Addr().String()
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var occupied *web.OccupiedError
	if err := s.Run(t.Context()); !errors.As(err, &occupied) || !strings.Contains(err.Error(), "--listen 127.0.0.1:0") {
		t.Errorf("occupied: %v", err)
	}
}

// F101: token in log, error, metric.
func TestF101SecretsAppearNowhere(t *testing.T) {
	file := accessFile(t)
	dir := t.TempDir()
	r := start(t, func(o *web.Options) { o.AccessFile, o.StateDir = file, dir })
	_, token, _ := strings.Cut(r.StartURL(), "token=")
	password := "correct horse li"
	secrets := []string{canary, token, password}
	mine := r.enter()
	secrets = append(secrets, mine[0].Value)
	var all bytes.Buffer
	keep := func(a answer, allowed bool) {
		if !allowed {
			fmt.Fprintln(&all, a.status, a.header, a.body)
		}
	}
	keep(r.do("POST", "/api/v1/login", `{"user":"li","password":"`+password+`"}`), true) // its cookie is new
	keep(r.do("GET", "/?token="+token, ""), false)
	keep(r.do("POST", "/api/v1/session", `{"token":"`+token+`"}`), false)
	keep(r.do("POST", "/api/v1/session", `{"token":"`+token+`","x":1}`), false)
	keep(r.do("POST", "/api/v1/login", `{"user":"`+password+`","password":"`+password+`x"}`), false)
	r.parts.exportErr = errors.New("no space left")
	for op := range r.Operations() {
		method, path, _ := strings.Cut(op, " ")
		if strings.HasSuffix(path, "/live") || strings.HasSuffix(path, "/link") {
			continue
		}
		path = strings.NewReplacer("{rig}", "bench", "{id}", "20260921T112640Z-bench-abc").Replace(path)
		keep(r.operator(method, path, ""), false)
		keep(r.operator(method, path+"?token="+token, ""), false)
		if path != "/api/v1/session" {
			keep(r.do(method, path, "", cookies(mine)), false)
		}
	}
	keep(r.do("GET", "/metrics", ""), false)
	text := all.String() + r.log.String()
	if !strings.Contains(r.log.String(), "request not answered") {
		t.Error("the log has nothing, so that it proves nothing")
	}
	for _, s := range secrets {
		if i := strings.Index(text, s); i >= 0 {
			t.Errorf("a secret appears: ...%s...", text[max(0, i-80):min(len(text), i+len(s)+40)])
		}
	}
	state, _ := os.ReadFile(filepath.Join(dir, "sessions.json"))
	for _, s := range secrets {
		if strings.Contains(string(state), s) {
			t.Error("a secret is in the file of sessions")
		}
	}
}

func TestF101LogLinesCannotBeForged(t *testing.T) {
	r := start(t, nil)
	r.parts.exportErr = errors.New("disk\nlevel=ERROR msg=forged")
	a := r.operator("GET", "/api/v1/recordings/20260921T112640Z-bench-abc/export", "")
	if a.status != http.StatusInternalServerError || a.problem(t)["code"] != string(web.CodeInternal) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for line := range strings.SplitSeq(r.log.String(), "\n") {
		if strings.HasPrefix(line, "level=ERROR msg=forged") {
			t.Errorf("forged line: %s", line)
		}
	}
}

func TestAccessFileErrorsNameTheLineAndNoHash(t *testing.T) {
	line, err := web.UserLine("li", web.Operator, "a long password")
	if err != nil {
		t.Fatal(err)
	}
	hash := line[strings.LastIndex(line, " ")+1:]
	for name, text := range map[string]string{
		"role":       strings.Replace(line, "operator", "admin", 1),
		"scheme":     strings.Replace(line, "pbkdf2-sha256", "md5", 1),
		"iterations": strings.Replace(line, "600000", "10", 1),
		"twice":      line + "\n" + line,
		"short hash": line[:len(line)-4],
		"token":      "token t viewer sha256 abc",
		"words":      "hello",
	} {
		_, err := web.ParseAccess(strings.NewReader("# first\n" + text))
		if err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), hash) {
			t.Errorf("%s: the error shows the hash", name)
		}
	}
	for _, bad := range []struct{ name, password string }{{"li", "short"}, {"l i", "a long password"}, {"", "a long password"}, {"a\nuser x operator", "a long password"}} {
		if _, err := web.UserLine(bad.name, web.Viewer, bad.password); err == nil {
			t.Errorf("%q with %q was taken", bad.name, bad.password)
		}
	}
}

func TestStopEndsStreamsAndAnswersSoon(t *testing.T) {
	r := start(t, nil)
	events := r.listen("channels=bench/p1")
	next(t, events, "hello")
	r.hub.Offer([]*acquisition.Block{block(group("bench", "g", time.Second/10), 1, 1, 5, func(uint64) int16 { return 1 })})
	begin := time.Now()
	r.stop()
	if d := time.Since(begin); d > time.Second {
		t.Errorf("the stop took %s", d)
	}
	select {
	case <-context.Background().Done():
	case <-time.After(time.Second):
		t.Error("the stream is still there")
	case _, open := <-drained(events):
		if open {
			t.Error("the stream is still there")
		}
	}
}

func drained(c <-chan event) <-chan event {
	out := make(chan event)
	go func() {
		for range c { // to its end
		}
		close(out)
	}()
	return out
}
