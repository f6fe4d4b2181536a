package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// expand fills a topic template and checks it.
func expand(template, device string) (string, error) {
	if strings.Contains(template, "{device}") && device == "" {
		return "", fmt.Errorf("topic %q: {device} stands for nothing; name the group's device", template)
	}
	t := strings.ReplaceAll(template, "{device}", device)
	switch {
	case t == "":
		return "", errors.New("an empty topic")
	case strings.ContainsAny(t, "{}"):
		return "", fmt.Errorf("topic %q: only {device} is known in braces", template)
	case len(t) > 65535 || !utf8.ValidString(t) || strings.ContainsRune(t, 0):
		return "", fmt.Errorf("topic %q is not one that MQTT allows", clip([]byte(t)))
	case strings.HasPrefix(t, "$share/"):
		return "", fmt.Errorf("topic %q: a shared subscription spreads the messages of a device over several readers, each with gaps; subscribe to the topic itself", template)
	}
	levels := strings.Split(t, "/")
	for i, l := range levels {
		if l == "#" && i != len(levels)-1 || l != "#" && l != "+" && strings.ContainsAny(l, "#+") {
			return "", fmt.Errorf("topic %q: + stands for one whole level and # for all that follow, at the end", template)
		}
	}
	return t, nil
}

// matches reports whether a topic falls under a filter (MQTT 3.1.1, section
// 4.7: wildcards do not match topics that begin with $).
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "#") || strings.HasPrefix(filter, "+")) {
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		t, trest, tmore := strings.Cut(topic, "/")
		switch {
		case f == "#":
			return true
		case f != "+" && f != t:
			return false
		case !tmore && fmore:
			return frest == "#"
		case tmore != fmore:
			return false
		case !fmore:
			return true
		}
		filter, topic = frest, trest
	}
}

// covers reports whether every topic of filter b falls under filter a.
func covers(a, b string) bool {
	for {
		x, arest, amore := strings.Cut(a, "/")
		y, brest, bmore := strings.Cut(b, "/")
		switch {
		case x == "#":
			return true
		case y == "#":
			return false
		case x != "+" && x != y:
			return false
		case !bmore && amore:
			return arest == "#"
		case amore != bmore:
			return false
		case !amore:
			return true
		}
		a, b = arest, brest
	}
}

// subscription is one filter to subscribe to.
type subscription struct {
	filter string
	qos    byte
}

// reduce drops filters that others cover: a broker may send a message once for
// each filter that it falls under.
func reduce(all []subscription) []subscription {
	var out []subscription
next:
	for i, s := range all {
		for j, o := range all {
			if i == j || !covers(o.filter, s.filter) || o.filter == s.filter && j > i {
				continue
			}
			continue next
		}
		for _, o := range all {
			if covers(s.filter, o.filter) {
				s.qos = max(s.qos, o.qos)
			}
		}
		out = append(out, s)
	}
	return out
}
