package web

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	sessionFile    = "sessions.json"
	sessionIdle    = 7 * 24 * time.Hour
	sessionLife    = 30 * 24 * time.Hour
	mostSessions   = 256
	seenResolution = time.Hour // how exactly the last use is kept over a restart
	mostStartURLs  = 16
)

// session is a browser that was let in. Only the hash of its secret is kept.
type session struct {
	Hash    string `json:"hash"`
	User    string `json:"user,omitempty"` // "": by start URL
	Role    Role   `json:"role"`
	Created int64  `json:"created"` // Unix ns
	Seen    int64  `json:"seen"`
}

// sessions are the browsers that were let in, and the tokens that let one in.
type sessions struct {
	dir string
	now func() int64

	mu    sync.Mutex
	by    map[string]session // by hash
	start []string           // hashes of tokens that work once, newest last
}

func newSessions(dir string, now func() int64) *sessions {
	return &sessions{dir: dir, now: now, by: map[string]session{}}
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// startToken returns a new token that works once.
func (s *sessions) startToken() string {
	t := NewSecret()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = append(s.start, hashed(t))
	if n := len(s.start); n > mostStartURLs {
		s.start = slices.Delete(s.start, 1, n-mostStartURLs+1) // the first is the one that the start printed
	}
	return t
}

// redeem uses up a token. Comparing hashes tells a guesser nothing.
func (s *sessions) redeem(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.start, hashed(token))
	if i < 0 {
		return false
	}
	s.start = slices.Delete(s.start, i, i+1)
	return true
}

// create returns the secret of a new session.
func (s *sessions) create(name string, role Role) (string, error) {
	secret := NewSecret()
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if len(s.by) >= mostSessions {
		oldest := slices.MinFunc(slices.Collect(maps.Values(s.by)), func(a, b session) int { return cmp.Compare(a.Seen, b.Seen) })
		delete(s.by, oldest.Hash)
	}
	h := hashed(secret)
	s.by[h] = session{Hash: h, User: name, Role: role, Created: now, Seen: now}
	return secret, s.save()
}

// find returns the session of a secret.
func (s *sessions) find(secret string) (session, bool) {
	if secret == "" {
		return session{}, false
	}
	h := hashed(secret)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.by[h]
	if !ok || expired(x, now) {
		return session{}, false
	}
	if now-x.Seen > int64(seenResolution) {
		x.Seen = now
		s.by[h] = x
		_ = s.save() // it is in memory; the next change is saved with it
	}
	return x, true
}

func (s *sessions) end(secret string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, hashed(secret))
	return s.save()
}

func expired(x session, now int64) bool {
	return now-x.Seen > int64(sessionIdle) || now-x.Created > int64(sessionLife)
}

func (s *sessions) expire(now int64) {
	maps.DeleteFunc(s.by, func(_ string, x session) bool { return expired(x, now) })
}

// load reads the sessions of the run before, so that an open page survives a
// restart. A damaged file means that people log in again.
func (s *sessions) load() error {
	if s.dir == "" {
		return nil
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing was written
	f, err := root.Open(sessionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	var list []session
	if json.Unmarshal(text, &list) != nil {
		return nil
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range list {
		if len(x.Hash) == 2*sha256.Size && x.Role.valid() && !expired(x, now) && len(s.by) < mostSessions {
			s.by[x.Hash] = x
		}
	}
	return nil
}

// save writes the sessions. The caller holds mu.
func (s *sessions) save() error {
	if s.dir == "" {
		return nil
	}
	list := slices.SortedFunc(maps.Values(s.by), func(a, b session) int { return cmp.Compare(a.Created, b.Created) })
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	defer root.Close() //nolint:errcheck // the file is closed before
	if err := root.WriteFile(sessionFile+".new", text, 0o600); err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	if err := root.Rename(sessionFile+".new", sessionFile); err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	return nil
}
