package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

const (
	defaultRate       = 20 // frames a second
	mostRate          = 60
	defaultLivePoints = 100 // pairs of least and greatest reading, a second and channel
	mostLivePoints    = 1000
	observeEvery      = 500 * time.Millisecond
)

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encode: " + err.Error())
	}
	return b
}

type helloDocument struct {
	Time    Time     `json:"time"`
	T       float64  `json:"t"`
	Zone    string   `json:"zone"`
	Version string   `json:"version"`
	Since   *float64 `json:"since,omitempty"` // what was sent before; the rest is in /data
	Rigs    []Rig    `json:"rigs"`
}

// getLive is the stream of what was just committed.
func (s *Server) getLive(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	names := q.channels()
	rate := q.number("rate", defaultRate, 1, mostRate)
	points := q.number("points", defaultLivePoints, 1, mostLivePoints)
	id := q.text("last")
	if err := q.done(); err != nil {
		return err
	}
	if len(names) > mostChannels {
		return parameter("channels", "are %d; one stream has at most %d", len(names), mostChannels)
	}
	if h := r.Header.Get("Last-Event-ID"); h != "" {
		id = h
	}
	rigs, err := s.rigs(r.Context())
	if err != nil {
		return err
	}
	groups, err := subscribe(rigs, names)
	if err != nil {
		return err
	}
	st := newStream(groups, points, language(r))
	number, sent := parseStreamID(id)
	for _, list := range groups {
		for _, x := range list {
			x.t = sent
		}
	}
	if !s.o.Hub.join(st, s.limits.streams, number) {
		return problem(CodeManyStreams, strconv.Itoa(s.limits.streams))
	}
	defer s.o.Hub.leave(st)

	hello := helloDocument{Time: Time(s.o.Now()), Zone: s.o.Zone, Version: s.o.Version, Rigs: rigs}
	hello.T = milliseconds(int64(hello.Time))
	if sent > 0 {
		ms := milliseconds(sent)
		hello.Since = &ms
	}
	s.greet(r.Context(), st)
	if a, ok := w.(*answer); ok {
		a.stall = s.limits.streamStall
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not hold it back
	w.WriteHeader(http.StatusOK)
	buf := append(make([]byte, 0, 4096), "retry: 1000\n\n"...)
	buf = appendEvent(buf, "hello", "", mustJSON(hello))
	return s.stream(r.Context(), w, st, buf, time.Second/time.Duration(rate), sent)
}

// stream sends frames until the browser goes, does not read, or the server
// stops.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, st *stream, buf []byte, pause time.Duration, sent int64) error {
	control := http.NewResponseController(w)
	send := func(b []byte) bool {
		if _, err := w.Write(b); err != nil { //nolint:gosec // an event stream of JSON, never a document
			return false
		}
		return control.Flush() == nil
	}
	if !send(buf) {
		return nil
	}
	quiet := time.NewTimer(s.limits.keepalive)
	defer quiet.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select { // at most one frame in a pause
		case <-ctx.Done():
			return nil
		case <-s.o.Hub.closing:
			return nil
		case <-next.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.o.Hub.closing:
			return nil
		case <-quiet.C:
			if !send([]byte(": still here\n\n")) {
				return nil
			}
		case <-st.wake:
			buf, sent = st.frames(buf[:0], sent)
			if len(buf) > 0 && !send(buf) {
				return nil
			}
			if cap(buf) > keptFrame {
				buf = nil
			}
		}
		quiet.Reset(s.limits.keepalive)
		next.Reset(pause)
	}
}

// keptFrame bounds the memory of a stream between frames.
const keptFrame = 256 << 10

// subscribe finds the groups of the channels "rig/channel".
func subscribe(rigs []Rig, names []string) (map[acquisition.GroupKey][]*wanted, error) {
	groups := map[acquisition.GroupKey][]*wanted{}
	for _, name := range names {
		rig, channel, _ := strings.Cut(name, "/")
		found := false
		for i := range rigs {
			if rigs[i].Name != rig {
				continue
			}
			for j := range rigs[i].Groups {
				g := &rigs[i].Groups[j]
				for k := range g.Channels {
					if g.Channels[k].Name == channel && !found {
						key := acquisition.GroupKey(rig + "/" + g.Name)
						groups[key] = append(groups[key], &wanted{channel: channel, name: name, index: -1})
						found = true
					}
				}
			}
		}
		if !found {
			return nil, NotFound("channel", name)
		}
	}
	return groups, nil
}

// greet gives a new stream the state as of now.
func (s *Server) greet(ctx context.Context, st *stream) {
	if s.o.Ledger != nil {
		if open, err := s.o.Ledger.Open(ctx); err == nil {
			for i := range open {
				st.put("record/"+open[i].Recording, recordText(open[i]))
			}
		}
	}
	if s.o.Health != nil {
		if h, err := s.o.Health.Health(ctx, st.lang); err == nil {
			st.put("problem", problemsText(h.Problems))
		}
	}
}

func recordText(r RecordState) []byte {
	if r.Missing == nil {
		r.Missing = map[reason]uint64{}
	}
	return mustJSON(r)
}

func problemsText(list []ProblemDocument) []byte {
	return mustJSON(struct {
		Problems []ProblemDocument `json:"problems"`
	}{full(list)})
}

// rigState is the part of a rig that changes all the time.
type rigState struct {
	Name      string       `json:"name"`
	Armed     bool         `json:"armed"`
	Recording *string      `json:"recording"`
	Buses     []busState   `json:"buses"`
	Groups    []groupState `json:"groups"`
}

type busState struct {
	Name       string `json:"name"`
	Up         bool   `json:"up"`
	Since      Time   `json:"since,omitzero"`
	Problem    string `json:"problem,omitempty"`
	Reconnects uint64 `json:"reconnects"`
}

type groupState struct {
	Name    string            `json:"name"`
	Running bool              `json:"running"`
	Waiting string            `json:"waiting,omitempty"`
	Stored  uint64            `json:"stored"`
	Missed  map[reason]uint64 `json:"missed"`
	Last    Time              `json:"last,omitzero"`
}

func rigsText(rigs []Rig) []byte {
	states := make([]rigState, len(rigs))
	for i := range rigs {
		r := &rigs[i]
		x := rigState{Name: r.Name, Armed: r.Armed, Recording: r.Recording, Buses: []busState{}, Groups: []groupState{}}
		for j := range r.Buses {
			b := &r.Buses[j]
			x.Buses = append(x.Buses, busState{b.Name, b.Up, b.Since, b.Problem, b.Reconnects})
		}
		for j := range r.Groups {
			g := &r.Groups[j]
			x.Groups = append(x.Groups, groupState{g.Name, g.Running, g.Waiting, g.Stored, g.Missed, g.Last})
		}
		states[i] = x
	}
	return mustJSON(struct {
		Rigs []rigState `json:"rigs"`
	}{states})
}

// observe tells the streams how rigs, recordings and problems stand, while
// there are streams.
func (s *Server) observe(ctx context.Context) {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	o := observer{s: s, problems: map[Language][]byte{}, open: map[string]RecordState{}}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.o.Hub.number() == 0 {
			o.rigs = nil
			clear(o.problems)
			clear(o.open)
			continue
		}
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		o.lookAtRigs(limited)
		if n%2 == 0 {
			o.lookAtRecordings(limited)
			o.lookAtProblems(limited)
		}
		cancel()
	}
}

type observer struct {
	s        *Server
	rigs     []byte
	problems map[Language][]byte
	open     map[string]RecordState
}

func (o *observer) lookAtRigs(ctx context.Context) {
	rigs, err := o.s.rigs(ctx)
	if err != nil {
		return
	}
	if text := rigsText(rigs); !bytes.Equal(text, o.rigs) {
		o.rigs = text
		o.s.o.Hub.each(func(st *stream) { st.put("rigs", text) })
	}
}

func (o *observer) lookAtRecordings(ctx context.Context) {
	if o.s.o.Ledger == nil {
		return
	}
	list, err := o.s.o.Ledger.Open(ctx)
	if err != nil {
		return
	}
	now := map[string]RecordState{}
	for _, r := range list {
		now[r.Recording] = r
		text := recordText(r)
		o.s.o.Hub.each(func(st *stream) { st.put("record/"+r.Recording, text) })
	}
	for id, r := range o.open {
		if _, still := now[id]; !still {
			r.Ended = true
			text := recordText(r)
			o.s.o.Hub.each(func(st *stream) { st.put("record/"+id, text) })
		}
	}
	o.open = now
}

func (o *observer) lookAtProblems(ctx context.Context) {
	if o.s.o.Health == nil {
		return
	}
	languages := map[Language]bool{}
	o.s.o.Hub.each(func(st *stream) { languages[st.lang] = true })
	for l := range languages {
		h, err := o.s.o.Health.Health(ctx, l)
		if err != nil {
			continue
		}
		if text := problemsText(h.Problems); !bytes.Equal(text, o.problems[l]) {
			o.problems[l] = text
			o.s.o.Hub.each(func(st *stream) {
				if st.lang == l {
					st.put("problem", text)
				}
			})
		}
	}
}
