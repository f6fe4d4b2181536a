// Command sink is a v2 write endpoint that checks every line: each field must
// hold the value of its own register, each line's time is compared with the
// clock that the server put into it, and slots are counted per series. It can
// misbehave on request (POST /fault?mode=503&for=60s). GET /report prints what
// was seen. It shares no code with the product.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type series struct {
	slots map[int64]int // slot to number of distinct times
	times map[int64]bool
}

type sink struct {
	mu       sync.Mutex
	period   int64
	from, to int64
	series   map[string]*series
	lines    uint64
	fields   uint64
	repeated uint64
	wrong    uint64
	example  string
	errors   []int64 // |line time - server clock|, ns, a sample
	late     []int64 // arrival - line time, ns, a sample
	requests map[string]int
	mode     string
	until    time.Time
}

func main() {
	listen := flag.String("listen", "127.0.0.1:18086", "address")
	period := flag.Duration("period", 10*time.Millisecond, "period of the slots")
	flag.Parse()
	s := &sink{period: int64(*period), series: map[string]*series{}, requests: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v2/write", s.write)
	mux.HandleFunc("/write", s.write)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"pass"}`) })
	mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/fault", s.fault)
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.report()) })
	mux.HandleFunc("/window", s.window)
	srv := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := srv.ListenAndServe(); err != http.ErrServerClosed {
			fmt.Fprintln(os.Stderr, "sink:", err)
			os.Exit(1)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	_ = srv.Close()
	_ = json.NewEncoder(os.Stdout).Encode(s.report())
}

// fault sets how the endpoint misbehaves: 503, 429, reset, lost (stored, but
// the answer never comes), slow (3 s an answer).
func (s *sink) fault(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.mode, s.until = r.FormValue("mode"), time.Now().Add(d)
	s.mu.Unlock()
}

// window sets which times count: from and to, Unix ns. Lines outside are ignored.
func (s *sink) window(_ http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseInt(r.FormValue("from"), 10, 64)
	to, _ := strconv.ParseInt(r.FormValue("to"), 10, 64)
	s.mu.Lock()
	s.from, s.to = from, to
	s.mu.Unlock()
}

func (s *sink) write(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	mode := s.mode
	if time.Now().After(s.until) {
		mode = ""
	}
	s.requests[mode]++
	s.mu.Unlock()
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return
	}
	cut := func() {
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				_ = c.Close()
			}
		}
	}
	switch mode {
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case "429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case "reset":
		cut()
		return
	case "slow":
		time.Sleep(3 * time.Second)
	}
	s.take(data, time.Now().UnixNano())
	if mode == "lost" {
		cut()
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *sink) take(data []byte, arrival int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if len(line) > 0 {
			s.line(line, arrival)
		}
	}
}

func (s *sink) line(line []byte, arrival int64) {
	head, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return
	}
	fields, stamp, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return
	}
	at, err := strconv.ParseInt(string(stamp), 10, 64)
	if err != nil || bytes.HasPrefix(head, []byte("pneudaq_")) || s.to != 0 && (at < s.from || at >= s.to) {
		return
	}
	key := string(head)
	x := s.series[key]
	if x == nil {
		x = &series{slots: map[int64]int{}, times: map[int64]bool{}}
		s.series[key] = x
	}
	s.lines++
	if x.times[at] {
		s.repeated++
	} else {
		x.times[at] = true
		x.slots[at/s.period]++
	}
	unit, clock := -1.0, -1.0
	var values [125]float64
	var there [125]bool
	for f := range bytes.SplitSeq(fields, []byte{','}) {
		name, text, _ := bytes.Cut(f, []byte{'='})
		v, err := strconv.ParseFloat(strings.TrimRight(string(text), "iu"), 64)
		if err != nil {
			continue
		}
		s.fields++
		switch n := string(name); {
		case n == "clock":
			clock = v
		case n == "unit":
			unit = v
		case strings.HasPrefix(n, "r"):
			if i, err := strconv.Atoi(n[1:]); err == nil && i < 125 {
				values[i], there[i] = v, true
			}
		}
	}
	for i := 5; i < 125; i++ {
		if there[i] && values[i] != float64((int(unit)*256+i)&0xffff) {
			s.wrong++
			if s.example == "" {
				s.example = fmt.Sprintf("register %d of unit %v is %v", i, unit, values[i])
			}
		}
	}
	if clock > 0 && s.lines%7 == 0 && len(s.errors) < 2_000_000 {
		e := int64(float64(at) - clock)
		if e < 0 {
			e = -e
		}
		s.errors = append(s.errors, e)
		s.late = append(s.late, arrival-at)
	}
}

func quantile(v []int64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	return float64(v[min(len(v)-1, int(q*float64(len(v))))]) / 1e6
}

func (s *sink) report() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	planned, filled, doubled := int64(0), int64(0), int64(0)
	for _, x := range s.series {
		first, last := int64(-1), int64(-1)
		for slot, n := range x.slots {
			if first < 0 || slot < first {
				first = slot
			}
			last = max(last, slot)
			filled++
			if n > 1 {
				doubled++
			}
		}
		if s.to != 0 {
			first, last = (s.from+s.period-1)/s.period, s.to/s.period-1
		}
		planned += last - first + 1
	}
	return map[string]any{
		"series": len(s.series), "lines": s.lines, "fields": s.fields, "repeated": s.repeated, "wrong": s.wrong, "example": s.example,
		"planned": planned, "filled": filled, "doubled": doubled, "missed": planned - filled,
		"time_error_p50_ms": quantile(s.errors, 0.5), "time_error_p99_ms": quantile(s.errors, 0.99),
		"delay_p50_ms": quantile(s.late, 0.5), "delay_p99_ms": quantile(s.late, 0.99),
		"requests": s.requests,
	}
}
