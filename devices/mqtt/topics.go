package mqtt

import (
	"cmp"
	"slices"
)

// Topic is what came on one topic since the start.
type Topic struct {
	Topic   string
	Count   uint64 // messages
	Last    int64  // arrival of the newest, Unix ns
	Excerpt []byte // start of the newest payload
	Bytes   int    // length of the newest payload
}

// excerptBytes is how much of a payload is kept for people to look at.
const excerptBytes = 120

// see notes a message for the people who look for topics. The caller holds mu.
func (c *Client) see(m *message) {
	t := c.topics[m.topic]
	if t == nil {
		if len(c.topics) >= c.o.MaxTopics {
			return
		}
		t = &Topic{Topic: m.topic, Excerpt: make([]byte, 0, excerptBytes)}
		c.topics[m.topic] = t
	}
	t.Count++
	t.Last, t.Bytes = m.arrival, len(m.payload)
	t.Excerpt = append(t.Excerpt[:0], m.payload[:min(len(m.payload), excerptBytes)]...)
}

// Topics returns what came so far, by topic: also topics that no group wants,
// as far as the subscriptions bring them.
func (c *Client) Topics() []Topic {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Topic, 0, len(c.topics))
	for _, t := range c.topics {
		x := *t
		x.Excerpt = slices.Clone(t.Excerpt)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Topic) int { return cmp.Compare(a.Topic, b.Topic) })
	return out
}
