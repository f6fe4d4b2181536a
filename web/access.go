package web

import (
	"bufio"
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Access is who may use a server: users with passwords and tokens for
// machines, as an access file states them.
type Access struct {
	users  map[string]user
	tokens []machine
}

type user struct {
	role       Role
	iterations int
	salt, hash []byte
}

type machine struct {
	name string
	role Role
	hash [sha256.Size]byte
}

const (
	passwordScheme     = "pbkdf2-sha256" //nolint:gosec // the name of a method
	passwordIterations = 600_000         // as OWASP advises for HMAC-SHA-256
	leastIterations    = 100_000
	mostIterations     = 10_000_000
	leastPassword      = 10 // characters
	mostPassword       = 1024
	accessFileLimit    = 1 << 20
)

// UserLine returns the line of an access file that lets a user in:
//
//	user NAME ROLE pbkdf2-sha256 ITERATIONS SALT HASH
func UserLine(name string, role Role, password string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if !role.valid() {
		return "", fmt.Errorf("role %q is not viewer or operator", string(role))
	}
	if n := len([]rune(password)); n < leastPassword || len(password) > mostPassword {
		return "", fmt.Errorf("a password has %d to %d characters, this one has %d", leastPassword, mostPassword, n)
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	hash, err := pbkdf2.Key(sha256.New, password, salt, passwordIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("user %s %s %s %d %s %s", name, role, passwordScheme, passwordIterations, b64.EncodeToString(salt), b64.EncodeToString(hash)), nil
}

// TokenLine returns the line of an access file that lets a machine in, and its
// token, which is stored nowhere:
//
//	token NAME ROLE sha256 HASH
func TokenLine(name string, role Role) (line, token string, err error) {
	if err := checkName(name); err != nil {
		return "", "", err
	}
	if !role.valid() {
		return "", "", fmt.Errorf("role %q is not viewer or operator", string(role))
	}
	token = NewSecret()
	sum := sha256.Sum256([]byte(token))
	return fmt.Sprintf("token %s %s sha256 %s", name, role, hex.EncodeToString(sum[:])), token, nil
}

// NewSecret returns 256 random bits as text.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func checkName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("name %q has not 1 to 64 characters", name)
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f {
			return fmt.Errorf("name %q has a blank or a control character", name)
		}
	}
	return nil
}

// ParseAccess reads an access file: one user or token a line, as [UserLine]
// and [TokenLine] write them; # begins a comment. Errors name the line and
// never show a hash.
func ParseAccess(r io.Reader) (*Access, error) {
	a := &Access{users: map[string]user{}}
	lines := bufio.NewScanner(io.LimitReader(r, accessFileLimit))
	for n := 1; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if err := a.add(f); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read access: %w", err)
	}
	return a, nil
}

func (a *Access) add(f []string) error {
	if len(f) < 3 || !Role(f[2]).valid() {
		return errors.New("it does not begin with user or token, a name, and viewer or operator")
	}
	if err := checkName(f[1]); err != nil {
		return err
	}
	switch {
	case f[0] == "user" && len(f) == 7 && f[3] == passwordScheme:
		u := user{role: Role(f[2])}
		var errs [3]error
		u.iterations, errs[0] = strconv.Atoi(f[4])
		u.salt, errs[1] = base64.RawStdEncoding.DecodeString(f[5])
		u.hash, errs[2] = base64.RawStdEncoding.DecodeString(f[6])
		if errs != [3]error{} || u.iterations < leastIterations || u.iterations > mostIterations || len(u.salt) < 8 || len(u.hash) != sha256.Size {
			return fmt.Errorf("user %s: iterations, salt or hash is not valid; make the line anew", f[1])
		}
		if _, twice := a.users[f[1]]; twice {
			return fmt.Errorf("user %s is there twice; remove one of the lines", f[1])
		}
		a.users[f[1]] = u
	case f[0] == "token" && len(f) == 5 && f[3] == "sha256":
		m := machine{name: f[1], role: Role(f[2])}
		if n, err := hex.Decode(m.hash[:], []byte(f[4][:min(len(f[4]), 2*sha256.Size)])); err != nil || n != sha256.Size || len(f[4]) != 2*sha256.Size {
			return fmt.Errorf("token %s: the hash is not 64 hexadecimal digits; make the line anew", f[1])
		}
		a.tokens = append(a.tokens, m)
	default:
		return fmt.Errorf("%s %s: the line does not have the form `user NAME ROLE %s ITERATIONS SALT HASH` or `token NAME ROLE sha256 HASH`", f[0], f[1], passwordScheme)
	}
	return nil
}

// gate decides who comes in. The access file is read again when it changed.
type gate struct {
	file  string
	fixed []machine // of the options
	now   func() int64

	mu     sync.Mutex
	access *Access
	stamp  time.Time // of the file that was read
	size   int64
	looked int64 // Unix ns

	hashing chan struct{} // one password at a time: guessing must not take the processor
}

func newGate(o *Options) *gate {
	g := &gate{file: o.AccessFile, now: o.Now, access: &Access{users: map[string]user{}}, hashing: make(chan struct{}, 1)}
	for _, t := range o.Tokens {
		g.fixed = append(g.fixed, machine{name: t.Name, role: t.Role, hash: sha256.Sum256([]byte(t.Secret))})
	}
	return g
}

// load reads the access file.
func (g *gate) load() error {
	if g.file == "" {
		return nil
	}
	f, err := os.Open(g.file)
	if err != nil {
		return fmt.Errorf("read access file: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read access file: %w", err)
	}
	if info.Size() > accessFileLimit {
		return fmt.Errorf("read access file %s: it has more than %d bytes", g.file, accessFileLimit)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("read access file %s: others on this machine may read or write it (mode %o); chmod 600 it", g.file, info.Mode().Perm())
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read access file: %w", err)
	}
	a, err := ParseAccess(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read access file %s: %w", g.file, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.access, g.stamp, g.size = a, info.ModTime(), info.Size()
	return nil
}

// current returns the access in force. A changed file that cannot be read
// changes nothing.
func (g *gate) current() *Access {
	g.mu.Lock()
	a, stamp, size, due := g.access, g.stamp, g.size, g.file != "" && g.now()-g.looked > int64(time.Second)
	if due {
		g.looked = g.now()
	}
	g.mu.Unlock()
	if !due {
		return a
	}
	if info, err := os.Stat(g.file); err != nil || info.ModTime().Equal(stamp) && info.Size() == size {
		return a
	}
	if g.load() != nil {
		return a
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.access
}

func (g *gate) hasUsers() bool { return len(g.current().users) > 0 }

// role returns the role that a user has now.
func (g *gate) role(name string) (Role, bool) {
	u, ok := g.current().users[name]
	return u.role, ok
}

// machine returns whom a token belongs to.
func (g *gate) machine(token string) (machine, bool) {
	sum := sha256.Sum256([]byte(token))
	var found machine
	ok := false
	for _, list := range [][]machine{g.fixed, g.current().tokens} {
		for _, m := range list {
			if subtle.ConstantTimeCompare(sum[:], m.hash[:]) == 1 {
				found, ok = m, true
			}
		}
	}
	return found, ok
}

// password reports whether a password is a user's. An unknown user takes as
// long as a known one.
func (g *gate) password(name, password string) (Role, bool) {
	users := g.current().users
	u, known := users[name]
	if !known {
		u = user{salt: make([]byte, 16), hash: make([]byte, sha256.Size)}
		for _, x := range users {
			u.iterations = max(u.iterations, x.iterations)
		}
	}
	if len(password) > mostPassword {
		password, known = "", false
	}
	hash, err := pbkdf2.Key(sha256.New, password, u.salt, u.iterations, sha256.Size)
	if err != nil {
		return "", false
	}
	return u.role, subtle.ConstantTimeCompare(hash, u.hash) == 1 && known
}
