package web

import (
	"net/http"
	"time"

	"pneudaq/acquisition"
)

// SetTimes makes the limits of a server short.
func (s *Server) SetTimes(header, body, stall, keepalive time.Duration) {
	s.limits.header, s.limits.body, s.limits.streamStall, s.limits.stall, s.limits.keepalive = header, body, stall, stall, keepalive
}

// SetStreams limits the live streams.
func (s *Server) SetStreams(n int) { s.limits.streams = n }

// Operations returns "METHOD path" and role of every route of the API.
func (s *Server) Operations() map[string]Role {
	all := map[string]Role{}
	for _, t := range s.table() {
		if t.path != "/" {
			all[t.method+" "+t.path] = t.role
		}
	}
	return all
}

// Texts are the messages of a code in both languages, and whether an answer
// carries it.
type Texts struct {
	Code              Code
	Status            int
	Title, Detail, Do [2]string
}

// AllTexts returns the catalogue.
func AllTexts() []Texts {
	var all []Texts
	for _, m := range append(messages(), states()...) {
		all = append(all, Texts{m.code, m.status, m.title, m.detail, m.do})
	}
	return all
}

// Streams returns how many live streams there are.
func (h *Hub) Streams() int { return h.number() }

// Dropped returns how many blocks were not shown.
func (h *Hub) Dropped() uint64 { return h.dropped.Load() }

// PageSizes returns the bytes that a browser fetches of each file.
func PageSizes() (map[string]int, map[string]string, error) {
	p, err := newPage(pageFiles())
	if err != nil {
		return nil, nil, err
	}
	sizes, texts := map[string]int{}, map[string]string{}
	for name, f := range p.files {
		sizes[name] = len(f.plain)
		if f.packed != nil {
			sizes[name] = len(f.packed)
		}
		texts[name] = string(f.plain)
	}
	return sizes, texts, nil
}

// Waiting returns how many bytes and buckets wait for the streams.
func (h *Hub) Waiting() (buckets int) {
	h.each(func(s *stream) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, list := range s.groups {
			for _, w := range list {
				buckets += cap(w.buckets)
			}
		}
	})
	return buckets
}

// ServeHTTP answers one request without a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// NewShow returns a function that decodes a block for one stream and encodes
// its frame.
func NewShow(g *acquisition.Group, compile acquisition.Compile, points int) func(*acquisition.Block) int {
	h := NewHub(HubOptions{Compile: compile})
	list := []*wanted{}
	for _, c := range g.Channels {
		list = append(list, &wanted{channel: c.Name, name: g.Rig + "/" + c.Name, index: -1})
	}
	s := newStream(map[acquisition.GroupKey][]*wanted{g.Key(): list}, points, English)
	if !h.join(s, 1, 0) {
		panic("BUG: no place")
	}
	var buf []byte
	return func(b *acquisition.Block) int {
		h.show(b)
		buf, _ = s.frames(buf[:0], 0)
		return len(buf)
	}
}
