package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// route is one address of the API.
type route struct {
	method, path string
	role         Role // "": anybody
	local        bool // who asks from this machine needs no role
	body         int64
	limit        time.Duration // to make the answer; 0: the general one; negative: none
	handle       func(w http.ResponseWriter, r *http.Request) error
}

const (
	smallBody = 64 << 10
	fileBody  = 1 << 20
)

func (s *Server) table() []route {
	const slow = 2 * time.Minute
	return []route{
		{method: "GET", path: "/api/v1/health", role: Viewer, handle: s.getHealth},
		{method: "GET", path: "/api/v1/session", role: Viewer, handle: s.getSession},
		{method: "POST", path: "/api/v1/session", body: smallBody, handle: s.postSession},
		{method: "DELETE", path: "/api/v1/session", role: Viewer, handle: s.deleteSession},
		{method: "POST", path: "/api/v1/session/link", role: Operator, body: smallBody, handle: s.postLink},
		{method: "POST", path: "/api/v1/login", body: smallBody, handle: s.postLogin},
		{method: "GET", path: "/api/v1/rigs", role: Viewer, handle: s.getRigs},
		{method: "GET", path: "/api/v1/rigs/{rig}", role: Viewer, handle: s.getRig},
		{method: "GET", path: "/api/v1/rigs/{rig}/file", role: Viewer, handle: s.getFile},
		{method: "PUT", path: "/api/v1/rigs/{rig}/file", role: Operator, body: fileBody, limit: slow, handle: s.putFile},
		{method: "POST", path: "/api/v1/check", role: Operator, body: fileBody, handle: s.postCheck},
		{method: "POST", path: "/api/v1/probe", role: Operator, body: smallBody, limit: slow, handle: s.postProbe},
		{method: "GET", path: "/api/v1/topics", role: Viewer, handle: s.getTopics},
		{method: "GET", path: "/api/v1/live", role: Viewer, limit: -1, handle: s.getLive},
		{method: "GET", path: "/api/v1/data", role: Viewer, limit: slow, handle: s.getData},
		{method: "GET", path: "/api/v1/events", role: Viewer, handle: s.getEvents},
		{method: "GET", path: "/api/v1/recordings", role: Viewer, handle: s.getRecordings},
		{method: "POST", path: "/api/v1/recordings", role: Operator, body: smallBody, handle: s.postRecording},
		{method: "GET", path: "/api/v1/recordings/{id}", role: Viewer, handle: s.getRecording},
		{method: "POST", path: "/api/v1/recordings/{id}/stop", role: Operator, body: smallBody, handle: s.postStop},
		{method: "GET", path: "/api/v1/recordings/{id}/audit", role: Viewer, limit: slow, handle: s.getAudit},
		{method: "GET", path: "/api/v1/recordings/{id}/data", role: Viewer, limit: slow, handle: s.getRecordingData},
		{method: "GET", path: "/api/v1/recordings/{id}/export", role: Viewer, limit: -1, handle: s.getExport},
		{method: "POST", path: "/api/v1/recordings/{id}/evaluate", role: Viewer, body: smallBody, limit: slow, handle: s.postEvaluate},
		{method: "POST", path: "/api/v1/recordings/{id}/amend", role: Operator, body: smallBody, limit: slow, handle: s.postAmend},
		{method: "GET", path: "/api/v1/methods", role: Viewer, handle: s.getMethods},
		{method: "GET", path: "/api/v1/reconcile", role: Viewer, limit: slow, handle: s.getReconcile},
		{method: "POST", path: "/api/v1/reconcile", role: Operator, body: smallBody, limit: slow, handle: s.postReconcile},
		{method: "GET", path: "/api/v1/demo/faults", role: Viewer, handle: s.getFaults},
		{method: "POST", path: "/api/v1/demo/faults", role: Operator, body: smallBody, handle: s.postFault},
		{method: "GET", path: "/api/v1/openapi.json", role: Viewer, handle: s.getOpenAPI},
		{method: "GET", path: "/healthz", role: Viewer, local: true, handle: s.getHealthz},
		{method: "GET", path: "/readyz", role: Viewer, local: true, handle: s.getReadyz},
		{method: "GET", path: "/metrics", role: Viewer, local: true, handle: s.getMetrics},
		{method: "GET", path: "/", handle: s.getPage},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, t := range s.table() {
		pattern := t.path
		if t.path != "/" {
			methods[t.path] = append(methods[t.path], t.method)
			pattern = t.method + " " + t.path
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(t, w, r) })
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		t := route{path: path, role: Viewer, handle: func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return problem(CodeMethod, r.Method, path)
		}}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.serve(t, w, r) })
	}
	unknown := route{path: "/api/", role: Viewer, handle: func(_ http.ResponseWriter, r *http.Request) error {
		return problem(CodePath, r.URL.Path)
	}}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { s.serve(unknown, w, r) })
	return mux
}

// serve applies the role and the limits of a route.
func (s *Server) serve(t route, w http.ResponseWriter, r *http.Request) {
	if a, ok := w.(*answer); ok {
		a.route = t.path
	}
	who, ok := s.whois(w, r)
	if !ok {
		return
	}
	if open := t.role == "" || t.local && fromHere(r); !open {
		if who.Role == "" {
			s.fail(w, r, problem(CodeSession))
			return
		}
		if !who.Role.may(t.role) {
			s.fail(w, r, problem(CodeRole, who.Name))
			return
		}
	}
	limit := t.limit
	if limit == 0 {
		limit = s.limits.request
	}
	ctx := context.WithValue(r.Context(), principalKey{}, who)
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(w, r.Body, t.body)
	}
	if r.ContentLength == 0 {
		readable(w)
	}
	if err := t.handle(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// readable ends the time limit for sending the request: all of it is here.
func readable(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // recorders of tests have none
}

// protect does for every request what no route may forget.
func (s *Server) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, stall: s.limits.stall, control: http.NewResponseController(w)}
		defer func() { s.counters.request(r.Method, a.route, a.status) }()
		h := a.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !s.hosts.allows(r.Host) {
			s.fail(a, r, problem(CodeHost, r.Host))
			return
		}
		if err := s.origin.Check(r); err != nil {
			s.fail(a, r, problem(CodeOrigin))
			return
		}
		next.ServeHTTP(a, r)
	})
}

// contentPolicy lets the page use its own files and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// answer notes the status and gives whoever reads a limited time for each
// write, so that one who does not read holds nothing for long.
type answer struct {
	http.ResponseWriter

	control *http.ResponseController
	stall   time.Duration
	route   string
	status  int
	until   time.Time
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write moves the deadline on, then writes.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if now := time.Now(); a.until.Sub(now) < a.stall/2 {
		a.until = now.Add(a.stall)
		_ = a.control.SetWriteDeadline(a.until) // recorders of tests have none
	}
	return a.ResponseWriter.Write(p) //nolint:wrapcheck // an io.Writer
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// counters count answers for the metrics.
type counters struct {
	mu sync.Mutex
	by map[countKey]uint64
}

type countKey struct {
	method, route string
	status        int
}

func (c *counters) request(method, route string, status int) {
	if route == "" {
		route = "refused"
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH":
	default:
		method = "other"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[countKey]uint64{}
	}
	c.by[countKey{method, route, status}]++
}
