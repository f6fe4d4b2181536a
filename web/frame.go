package web

import (
	"strconv"
	"strings"

	"pneudaq/acquisition"
)

// frames appends what waits for a browser as server-sent events and empties
// it. sent is the newest instant that the browser has had, Unix ns.
func (s *stream) frames(b []byte, sent int64) (text []byte, newest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range s.order {
		name, _, _ := strings.Cut(kind, "/")
		b = appendEvent(b, name, "", s.state[kind])
		delete(s.state, kind)
	}
	s.order = s.order[:0]
	for _, e := range s.queue {
		s.number = e.number
		b = appendEvent(b, "event", streamID(s.number, sent), e.text)
	}
	s.queue = s.queue[:0]
	if s.dirty {
		b, sent = s.values(b, sent)
		s.dirty = false
	}
	return b, sent
}

// streamID is what a browser says when it comes back: the last event, and the
// newest reading in milliseconds.
func streamID(number uint64, sent int64) string {
	return strconv.FormatUint(number, 10) + "-" + strconv.FormatInt(sent/1e6, 10)
}

func parseStreamID(id string) (number uint64, sent int64) {
	a, b, ok := strings.Cut(id, "-")
	n, err := strconv.ParseUint(a, 10, 64)
	if !ok || err != nil {
		return 0, 0
	}
	ms, err := strconv.ParseInt(b, 10, 64)
	if err != nil || ms < 0 || ms > 9e12 {
		return n, 0
	}
	return n, ms * 1e6
}

func appendEvent(b []byte, name, id string, data []byte) []byte {
	b = append(b, "event: "...)
	b = append(b, name...)
	if id != "" {
		b = append(b, "\nid: "...)
		b = append(b, id...)
	}
	b = append(b, "\ndata: "...)
	b = append(b, data...) // JSON has no line breaks
	return append(b, "\n\n"...)
}

// values appends the event of readings and gaps.
func (s *stream) values(b []byte, sent int64) (text []byte, newest int64) {
	from, to := int64(0), int64(0)
	for _, list := range s.groups {
		for _, w := range list {
			if n := len(w.buckets); n > 0 {
				if from == 0 || w.buckets[0].from < from {
					from = w.buckets[0].from
				}
				to = max(to, w.buckets[n-1].to)
			}
		}
	}
	sent = max(sent, to)
	b = append(b, "event: values\nid: "...)
	b = append(b, streamID(s.number, sent)...)
	b = append(b, "\ndata: {\"t0\":"...)
	b = appendMilliseconds(b, from)
	b = append(b, ",\"t1\":"...)
	b = appendMilliseconds(b, to)
	b = append(b, ",\"series\":{"...)
	first := true
	for _, list := range s.groups {
		for _, w := range list {
			if len(w.buckets) == 0 {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = w.append(b)
			w.buckets = w.buckets[:0]
		}
	}
	b = append(b, '}')
	if len(s.gaps) > 0 {
		b = append(b, ",\"gaps\":["...)
		for i, g := range s.gaps {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, "{\"rig\":"...)
			b = appendText(b, g.rig)
			b = append(b, ",\"group\":"...)
			b = appendText(b, g.group)
			b = append(b, ",\"from\":"...)
			b = appendMilliseconds(b, g.from)
			b = append(b, ",\"to\":"...)
			b = appendMilliseconds(b, g.to)
			b = append(b, ",\"reason\":"...)
			b = appendText(b, g.reason.String())
			b = append(b, '}')
		}
		b = append(b, ']')
		s.gaps = s.gaps[:0]
	}
	return append(b, "}\n\n"...), sent
}

// append writes "rig/channel":{...}. Times are rounded to the microsecond and
// readings to nine digits, more than a screen shows; the last one is exact.
func (w *wanted) append(b []byte) []byte {
	b = appendText(b, w.name)
	b = append(b, ":{\"t\":["...)
	poor := false
	for i := range w.buckets {
		x := &w.buckets[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMilliseconds(b, x.from+(x.to-x.from)/2)
		poor = poor || x.q != acquisition.Good
	}
	b = append(b, "],\"min\":["...)
	for i := range w.buckets {
		b = appendShort(b, w.buckets[i].min, i)
	}
	b = append(b, "],\"max\":["...)
	for i := range w.buckets {
		b = appendShort(b, w.buckets[i].max, i)
	}
	b = append(b, ']')
	if poor {
		b = append(b, ",\"q\":["...)
		for i := range w.buckets {
			if i > 0 {
				b = append(b, ',')
			}
			if w.buckets[i].q == acquisition.Good {
				b = append(b, "\"\""...)
			} else {
				b = appendText(b, w.buckets[i].q.String())
			}
		}
		b = append(b, ']')
	}
	b = append(b, ",\"last\":{\"t\":"...)
	b = appendMilliseconds(b, w.t)
	b = append(b, ",\"v\":"...)
	b = appendNumber(b, w.v)
	b = append(b, ",\"q\":"...)
	if w.q == acquisition.Good {
		return append(b, "\"good\"}}"...)
	}
	b = appendText(b, w.q.String())
	return append(b, "}}"...)
}

func appendShort(b []byte, v float64, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	if v != v {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', 9, 64)
}

// appendText writes a JSON string. Names come from files that people write.
func appendText(b []byte, s string) []byte {
	plain := !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&' || r == 0x2028 || r == 0x2029 || r == 0xfffd
	})
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	return append(b, mustJSON(s)...)
}
