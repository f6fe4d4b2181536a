package mqtt

import (
	"fmt"
	"strconv"
	"strings"
)

// step is one step of a path: a member's key, an element's index, or all
// elements.
type step struct {
	key   string
	index int // -1: key; -2: every element
}

const every = -2

// parsePath reads a path such as a.b, a[0].b, a[*][1] or ["a.b"].c.
func parsePath(text string) ([]step, error) {
	var path []step
	rest := text
	bad := func(why string) error {
		return fmt.Errorf("path %q: %s; write it like status.sensors[0].value or [\"a.b\"].c", text, why)
	}
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, `["`):
			end := strings.Index(rest[2:], `"]`)
			if end < 0 {
				return nil, bad(`a [" without "]`)
			}
			path = append(path, step{key: rest[2 : 2+end], index: -1})
			rest = rest[end+4:]
		case rest[0] == '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, bad("a [ without ]")
			}
			if in := rest[1:end]; in == "*" {
				path = append(path, step{index: every})
			} else {
				n, err := strconv.Atoi(in)
				if err != nil || n < 0 || n > 65535 {
					return nil, bad(fmt.Sprintf("%q is not an index", in))
				}
				path = append(path, step{index: n})
			}
			rest = rest[end+1:]
		default:
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, bad("an empty step")
			}
			path = append(path, step{key: rest[:end], index: -1})
			rest = rest[end:]
		}
		if strings.HasPrefix(rest, ".") {
			rest = rest[1:]
			if rest == "" {
				return nil, bad("it ends with a dot")
			}
		}
	}
	return path, nil
}
