package storage

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"pneudaq/acquisition"
)

// catalogVersion is the version of the tables below.
const catalogVersion = 1

// Names of the catalog's files.
const (
	catalogName = "catalog.db"
	copyName    = "catalog.jsonl"
	damagedName = "damaged-" // before the name of a catalog that was given up
)

const catalogSchema = `
create table descriptor (id integer primary key, grp text not null, version integer not null, body blob not null);
create table epoch (grp text not null, id integer not null, body blob not null, primary key (grp, id)) without rowid;
create table event (time integer not null, rig text not null, grp text not null, code text not null, detail text not null,
  primary key (time, rig, grp, code, detail)) without rowid;
create table file (name text primary key, size integer not null, body blob not null) without rowid;
create table dropped (grp text primary key, body blob not null) without rowid;
create table recording (id text primary key, rig text not null, start integer not null, stop integer not null, body blob not null) without rowid;
create table amendment (grp text not null, version integer not null, body blob not null, primary key (grp, version)) without rowid;
create table delivered (sink text not null, grp text not null, body blob not null, primary key (sink, grp)) without rowid;
create table aside (sink text not null, grp text not null, seq integer not null, scan integer not null, text text not null, reason text not null,
  primary key (sink, grp, seq, scan)) without rowid;
create table document (kind text not null, id text not null, body blob not null, primary key (kind, id)) without rowid;
`

// catalog is everything relational: one connection, used by whoever holds it.
type catalog struct {
	hold chan struct{} // a channel and no mutex: held while a disk is waited for
	fs   FS
	vfs  *catalogVFS
	name string // of the VFS
	db   *sqlite3.Conn
	z    *zstd.Encoder
	copy File // the copy of what only the catalog has
	end  int64

	changes changes // guarded by the store's mu
}

// changes wait for the next time the catalog is written.
type changes struct {
	epochs []acquisition.Epoch
	events []acquisition.Event
}

func (c *catalog) later(f func(*changes)) { f(&c.changes) }

//nolint:gochecknoglobals // sqlite knows file systems by names of the process
var catalogCount atomic.Uint64

func newCatalog(fs FS) *catalog {
	return &catalog{hold: make(chan struct{}, 1), fs: fs, name: "pneudaq-" + strconv.FormatUint(catalogCount.Add(1), 10)}
}

// connect opens the database.
func (c *catalog) connect() error {
	c.vfs = &catalogVFS{fs: c.fs}
	vfs.Register(c.name, c.vfs)
	db, err := sqlite3.OpenFlags("file:"+catalogName+"?vfs="+c.name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	c.db = db
	// Exclusive first: without shared memory the write-ahead log is one connection's own.
	err = db.Exec(`pragma locking_mode=exclusive; pragma temp_store=memory; pragma cache_size=-1024`)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	version, err := c.number(`pragma user_version`)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	if version > catalogVersion {
		return &FormatError{Dir: catalogName, Format: int(version)}
	}
	if version == 0 {
		if err := db.EnableChecksums("main"); err != nil {
			return fmt.Errorf("create catalog: %w", err)
		}
	}
	err = db.Exec(`pragma journal_mode=wal; pragma synchronous=full; pragma wal_autocheckpoint=256; pragma journal_size_limit=1048576`)
	if err != nil {
		return fmt.Errorf("open catalog: %w", err)
	}
	if version == 0 {
		return c.transaction(func() error {
			return c.exec(catalogSchema + `pragma user_version=` + strconv.Itoa(catalogVersion))
		})
	}
	what, err := c.text(`pragma quick_check(1)`)
	if err != nil {
		return fmt.Errorf("check catalog: %w", err)
	}
	if what != "ok" {
		return fmt.Errorf("check catalog: %s", what)
	}
	return nil
}

func (c *catalog) disconnect() error {
	if c.db == nil {
		return nil
	}
	err := c.db.Close()
	c.db = nil
	vfs.Unregister(c.name)
	if err != nil {
		return fmt.Errorf("close catalog: %w", err)
	}
	return nil
}

func (c *catalog) close() error {
	c.hold <- struct{}{}
	defer func() { <-c.hold }()
	err := c.disconnect()
	if c.copy != nil {
		err = errors.Join(err, c.copy.Close())
		c.copy = nil
	}
	return err
}

// do runs f with the connection. A connection whose disk answered a sync with
// an error is opened anew.
func (c *catalog) do(ctx context.Context, f func() error) error {
	select {
	case c.hold <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.hold }()
	if c.db == nil || c.vfs.state() != nil {
		_ = c.disconnect()
		if err := c.connect(); err != nil {
			_ = c.disconnect()
			return err
		}
	}
	return f()
}

// change is do in one transaction.
func (c *catalog) change(ctx context.Context, f func() error) error {
	return c.do(ctx, func() error { return c.transaction(f) })
}

func (c *catalog) transaction(f func() error) error {
	if err := c.db.Exec(`begin immediate`); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	err := f()
	if err == nil {
		if err = c.db.Exec(`commit`); err == nil {
			return nil
		}
		err = fmt.Errorf("write catalog: %w", err)
	}
	if !c.db.GetAutocommit() {
		err = errors.Join(err, c.db.Exec(`rollback`))
	}
	return err
}

// exec runs statements; only a single one may have arguments.
func (c *catalog) exec(sql string, args ...any) error {
	if len(args) == 0 {
		if err := c.db.Exec(sql); err != nil {
			return fmt.Errorf("write catalog: %w", err)
		}
		return nil
	}
	return c.query(sql, args, func(*sqlite3.Stmt) error { return nil })
}

// query calls row for every row.
func (c *catalog) query(sql string, args []any, row func(*sqlite3.Stmt) error) (err error) {
	st, _, err := c.db.Prepare(sql)
	if err != nil {
		return fmt.Errorf("use catalog: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for i, a := range args {
		switch v := a.(type) {
		case string:
			err = st.BindText(i+1, v)
		case []byte:
			err = st.BindBlob(i+1, v)
		case int64:
			err = st.BindInt64(i+1, v)
		case uint64:
			err = st.BindInt64(i+1, int64(v))
		case int:
			err = st.BindInt64(i+1, int64(v))
		default:
			err = fmt.Errorf("argument %d is a %T", i+1, a)
		}
		if err != nil {
			return fmt.Errorf("use catalog: %w", err)
		}
	}
	for st.Step() {
		if err := row(st); err != nil {
			return err
		}
	}
	if err := st.Err(); err != nil {
		return fmt.Errorf("use catalog: %w", err)
	}
	return nil
}

func (c *catalog) number(sql string, args ...any) (n int64, err error) {
	err = c.query(sql, args, func(st *sqlite3.Stmt) error { n = st.ColumnInt64(0); return nil })
	return n, err
}

func (c *catalog) text(sql string, args ...any) (s string, err error) {
	err = c.query(sql, args, func(st *sqlite3.Stmt) error { s = st.ColumnText(0); return nil })
	return s, err
}

// copied is one line of the copy: what the segments do not hold.
type copied struct {
	Kind string          `json:"kind"` // recording, amendment, descriptor, dropped, document
	Key  string          `json:"key"`
	Body json.RawMessage `json:"body"`
}

// keep writes lines to the copy and makes them durable. Each line ends with the
// CRC-32C of its text, so that a torn one is told from a whole one.
func (c *catalog) keep(lines ...copied) error {
	var buf []byte
	for _, l := range lines {
		var err error
		if buf, err = appendCopied(buf, l); err != nil {
			return err
		}
	}
	if c.copy == nil {
		return errClosed
	}
	if _, err := c.copy.WriteAt(buf, c.end); err != nil {
		return fmt.Errorf("write %s: %w", copyName, err)
	}
	if err := c.copy.Sync(); err != nil {
		// Not synced again: the next change begins with a new copy of all.
		_ = c.copy.Close()
		c.copy = nil
		return fmt.Errorf("sync %s: %w", copyName, err)
	}
	c.end += int64(len(buf))
	return nil
}

func appendCopied(buf []byte, l copied) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return buf, fmt.Errorf("write %s: %w", copyName, err)
	}
	buf = append(buf, text...)
	return fmt.Appendf(buf, "\t%08x\n", crc32.Checksum(text, castagnoli())), nil
}

// readCopied returns the newest whole line of each kind and key, in the order
// of their first appearance, and how many lines were damaged.
func readCopied(text []byte) (lines []copied, damaged int) {
	place := map[string]int{}
	for line := range strings.Lines(string(text)) {
		body, sum, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		want, err := strconv.ParseUint(sum, 16, 32)
		var l copied
		if !ok || err != nil || uint32(want) != crc32.Checksum([]byte(body), castagnoli()) || json.Unmarshal([]byte(body), &l) != nil {
			damaged++
			continue
		}
		k := l.Kind + "\x00" + l.Key
		if i, ok := place[k]; ok {
			lines[i] = l
			continue
		}
		place[k] = len(lines)
		lines = append(lines, l)
	}
	return lines, damaged
}

// openCatalog opens the catalog or, if it cannot be read, puts it aside and
// begins a new one, which is filled from the copy and the segments.
func (s *Store) openCatalog(ctx context.Context, names []Entry) error {
	s.cat = newCatalog(s.fs)
	var err error
	if s.cat.z, err = newEncoder(); err != nil {
		return err
	}
	had, hadSegments := false, false
	var copySize int64 = -1
	for _, e := range names {
		had = had || e.Name == catalogName && e.Size > 0
		if e.Name == copyName {
			copySize = e.Size
		}
		if p, _, ok := parseName(e.Name); ok && p != tempPrefix {
			hadSegments = true
		}
	}
	err = s.cat.do(ctx, func() error { return nil })
	if newer, ok := errors.AsType[*FormatError](err); ok {
		newer.Dir = s.o.Dir
		return err
	}
	if err != nil {
		if diskFull(err) || ctx.Err() != nil {
			return err
		}
		_ = s.cat.disconnect()
		s.putAside(names)
		s.found(Finding{Code: "catalog_rebuilt", File: catalogName, Detail: "the catalog cannot be read (" + err.Error() +
			"); it was put aside and is built again from the segments and its copy"})
		if err := s.cat.do(ctx, func() error { return nil }); err != nil {
			return err
		}
		had = false
	} else if !had && hadSegments {
		s.found(Finding{Code: "catalog_rebuilt", File: catalogName, Detail: "the catalog is not there; it is built again from the segments and its copy"})
	}
	s.rebuilt = !had
	if copySize >= 0 {
		text, err := readSmall(s.fs, copyName, copySize)
		if err != nil {
			s.found(Finding{Code: "unreadable", File: copyName, Detail: err.Error()})
		}
		lines, damaged := readCopied(text)
		if damaged > 0 {
			s.found(Finding{Code: "damaged_frame", File: copyName, Detail: fmt.Sprintf("%d lines of the catalog's copy are damaged", damaged)})
		}
		if s.rebuilt {
			counts, err := s.restore(ctx, lines)
			if err != nil {
				return err
			}
			if hadSegments {
				s.found(Finding{Code: "catalog_restored", File: copyName, Detail: fmt.Sprintf(
					"%d recordings, %d amendments and %d documents were restored from the copy; what sinks have taken is not known any more and is sent again",
					counts["recording"], counts["amendment"], counts["document"])})
			}
		}
	} else if s.rebuilt && hadSegments {
		s.found(Finding{Code: "catalog_restored", File: copyName, Detail: "the catalog and its copy are lost: recordings and amendments are not known any more; samples are untouched"})
	}
	if err := s.loadCatalog(ctx); err != nil {
		return err
	}
	return s.cat.do(ctx, s.newCopy)
}

// putAside renames the files of a catalog that cannot be read.
func (s *Store) putAside(names []Entry) {
	for _, e := range names {
		if e.Name == catalogName || strings.HasPrefix(e.Name, catalogName+"-") {
			to := damagedName + strconv.FormatInt(s.o.Now(), 10) + "-" + e.Name
			if err := s.fs.Rename(e.Name, to); err != nil {
				s.found(Finding{Code: "unreadable", File: e.Name, Detail: err.Error()})
			}
		}
	}
}

// restore fills a new catalog from its copy and counts what it restored.
func (s *Store) restore(ctx context.Context, lines []copied) (map[string]int, error) {
	counts := map[string]int{}
	err := s.cat.change(ctx, func() error {
		for _, l := range lines {
			if err := s.restoreLine(l); err != nil {
				return err
			}
			counts[l.Kind]++
		}
		return nil
	})
	return counts, err
}

func (s *Store) restoreLine(l copied) error {
	switch l.Kind {
	case "recording":
		var r acquisition.Recording
		if err := json.Unmarshal(l.Body, &r); err != nil {
			return fmt.Errorf("read %s: %w", copyName, err)
		}
		return s.cat.putRecording(r)
	case "amendment":
		var a Amendment
		if err := json.Unmarshal(l.Body, &a); err != nil {
			return fmt.Errorf("read %s: %w", copyName, err)
		}
		return s.cat.putAmendment(a)
	case "descriptor":
		var g acquisition.Group
		if err := json.Unmarshal(l.Body, &g); err != nil {
			return fmt.Errorf("read %s: %w", copyName, err)
		}
		return s.cat.putDescriptor(&g)
	case "dropped":
		return s.cat.exec(`insert or replace into dropped (grp, body) values (?, ?)`, l.Key, []byte(l.Body))
	case "document":
		kind, id, _ := strings.Cut(l.Key, "/")
		var body []byte
		if err := json.Unmarshal(l.Body, &body); err != nil {
			return fmt.Errorf("read %s: %w", copyName, err)
		}
		return s.cat.exec(`insert or replace into document (kind, id, body) values (?, ?, ?)`, kind, id, body)
	}
	return nil // of a newer version
}

func (c *catalog) putRecording(r acquisition.Recording) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return c.exec(`insert or replace into recording (id, rig, start, stop, body) values (?, ?, ?, ?, ?)`, r.ID, r.Rig, r.Start, r.Stop, text)
}

func (c *catalog) putDescriptor(g *acquisition.Group) error {
	text, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("write descriptor: %w", err)
	}
	return c.exec(`insert or ignore into descriptor (id, grp, version, body) values (?, ?, ?, ?)`, descriptorID(text), string(g.Key()), int(g.Version), text)
}

func (c *catalog) putEpoch(e acquisition.Epoch) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	if e.Closed == 0 {
		return c.exec(`insert or ignore into epoch (grp, id, body) values (?, ?, ?)`, string(e.Group), uint64(e.ID), text)
	}
	return c.exec(`insert or replace into epoch (grp, id, body) values (?, ?, ?)`, string(e.Group), uint64(e.ID), text)
}

func (c *catalog) putEvent(e acquisition.Event) error {
	return c.exec(`insert or ignore into event (time, rig, grp, code, detail) values (?, ?, ?, ?, ?)`, e.Time, e.Rig, e.Group, e.Code, e.Detail)
}

// loadCatalog takes from the catalog what the index needs.
func (s *Store) loadCatalog(ctx context.Context) error {
	return s.cat.do(ctx, func() error {
		err := s.cat.query(`select body from descriptor order by grp, version`, nil, func(st *sqlite3.Stmt) error {
			var g acquisition.Group
			if err := json.Unmarshal(st.ColumnRawBlob(0), &g); err != nil {
				return fmt.Errorf("read descriptor: %w", err)
			}
			_, err := s.adopt(&g)
			return err
		})
		if err != nil {
			return err
		}
		err = s.cat.query(`select body from epoch order by id`, nil, func(st *sqlite3.Stmt) error {
			var e acquisition.Epoch
			if err := json.Unmarshal(st.ColumnRawBlob(0), &e); err != nil {
				return fmt.Errorf("read epoch: %w", err)
			}
			s.setEpoch(e)
			return nil
		})
		if err != nil {
			return err
		}
		err = s.cat.query(`select grp, body from dropped`, nil, func(st *sqlite3.Stmt) error {
			var r groupRecord
			if err := json.Unmarshal(st.ColumnRawBlob(1), &r); err != nil {
				return fmt.Errorf("read dropped: %w", err)
			}
			s.place(r)
			return nil
		})
		if err != nil {
			return err
		}
		err = s.cat.query(`select body from amendment order by grp, version`, nil, func(st *sqlite3.Stmt) error {
			var a Amendment
			if err := json.Unmarshal(st.ColumnRawBlob(0), &a); err != nil {
				return fmt.Errorf("read amendment: %w", err)
			}
			s.amendedBy(a)
			return nil
		})
		if err != nil {
			return err
		}
		err = s.cat.query(`select body from recording order by start`, nil, func(st *sqlite3.Stmt) error {
			var r acquisition.Recording
			if err := json.Unmarshal(st.ColumnRawBlob(0), &r); err != nil {
				return fmt.Errorf("read recording: %w", err)
			}
			s.recorded[r.ID] = r
			if r.Stop == 0 {
				s.recordings++
			}
			return nil
		})
		if err != nil {
			return err
		}
		// A number that a sink has answered for must never be given again.
		return s.cat.query(`select grp, body, sink from delivered`, nil, func(st *sqlite3.Stmt) error {
			set, err := decodeSet(st.ColumnRawBlob(1))
			if err != nil {
				return err
			}
			s.delivered[sinkGroup{st.ColumnText(2), acquisition.GroupKey(st.ColumnText(0))}] = set
			if n := len(set); n > 0 {
				g := s.group(acquisition.GroupKey(st.ColumnText(0)))
				g.next = max(g.next, set[n-1].To)
			}
			return nil
		})
	})
}

// newCopy writes the copy anew with what the catalog holds. The caller has the
// connection.
func (s *Store) newCopy() error {
	c := s.cat
	var buf []byte
	add := func(kind, key string, body []byte) error {
		var err error
		buf, err = appendCopied(buf, copied{Kind: kind, Key: key, Body: body})
		return err
	}
	err := c.query(`select id, body from recording order by start`, nil, func(st *sqlite3.Stmt) error {
		return add("recording", st.ColumnText(0), st.ColumnRawBlob(1))
	})
	if err != nil {
		return err
	}
	err = c.query(`select grp || '/' || version, body from amendment order by grp, version`, nil, func(st *sqlite3.Stmt) error {
		return add("amendment", st.ColumnText(0), st.ColumnRawBlob(1))
	})
	if err != nil {
		return err
	}
	err = c.query(`select id, body from descriptor order by grp, version`, nil, func(st *sqlite3.Stmt) error {
		return add("descriptor", st.ColumnText(0), st.ColumnRawBlob(1))
	})
	if err != nil {
		return err
	}
	err = c.query(`select grp, body from dropped`, nil, func(st *sqlite3.Stmt) error {
		return add("dropped", st.ColumnText(0), st.ColumnRawBlob(1))
	})
	if err != nil {
		return err
	}
	err = c.query(`select kind, id, body from document`, nil, func(st *sqlite3.Stmt) error {
		text, err := json.Marshal(st.ColumnRawBlob(2))
		if err != nil {
			return fmt.Errorf("copy document: %w", err)
		}
		return add("document", st.ColumnText(0)+"/"+st.ColumnText(1), text)
	})
	if err != nil {
		return err
	}
	if c.copy != nil {
		_ = c.copy.Close()
		c.copy = nil
	}
	if err := replaceFile(c.fs, copyName, buf); err != nil {
		return err
	}
	f, err := c.fs.Open(copyName, ModeWrite)
	if err != nil {
		return fmt.Errorf("write %s: %w", copyName, err)
	}
	c.copy, c.end = f, int64(len(buf))
	return nil
}

// maxCopy is when the copy is written anew: it grows with every change.
const maxCopy = 4 << 20

// record changes what only the catalog has, and its copy.
func (s *Store) record(ctx context.Context, f func() error, lines ...copied) error {
	return s.cat.do(ctx, func() error {
		if err := s.cat.transaction(f); err != nil {
			return err
		}
		if s.cat.copy == nil || s.cat.end > maxCopy {
			return s.newCopy()
		}
		return s.cat.keep(lines...)
	})
}

// reconcileCatalog brings the catalog up to what the segments hold.
func (s *Store) reconcileCatalog(ctx context.Context, all []*loaded) error {
	return s.cat.change(ctx, func() error {
		for _, l := range all {
			for _, g := range l.groups {
				if err := s.cat.putDescriptor(g); err != nil {
					return err
				}
			}
			for _, e := range l.epochs {
				if err := s.cat.putEpoch(e); err != nil {
					return err
				}
			}
			for _, e := range l.events {
				if err := s.cat.putEvent(e); err != nil {
					return err
				}
			}
			for _, a := range l.amendments {
				if err := s.cat.putAmendment(a); err != nil {
					return err
				}
				s.amendedBy(a)
			}
			if l.file.sealed && l.read && l.head != nil && len(l.bad) == 0 {
				if err := s.cat.putFile(l.file, l.head, l.chunks); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// flush writes epochs and events that were committed since the last time.
func (s *Store) flush(ctx context.Context) error {
	s.mu.Lock()
	ch := s.cat.changes
	s.cat.changes = changes{}
	s.mu.Unlock()
	if len(ch.epochs) == 0 && len(ch.events) == 0 {
		return nil
	}
	err := s.cat.change(ctx, func() error {
		for _, e := range ch.epochs {
			if g := s.GroupVersion(e.Group, e.Version); g != nil && e.Closed == 0 {
				if err := s.cat.putDescriptor(g); err != nil {
					return err
				}
			}
			if err := s.cat.putEpoch(e); err != nil {
				return err
			}
		}
		for _, e := range ch.events {
			if err := s.cat.putEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.mu.Lock()
		s.cat.changes.epochs = append(ch.epochs, s.cat.changes.epochs...)
		s.cat.changes.events = append(ch.events, s.cat.changes.events...)
		s.mu.Unlock()
		s.log.Warn("catalog takes nothing", slog.String("error", err.Error()))
	}
	return err
}

// encodeSet writes a set as differences.
func encodeSet(set SeqSet) []byte {
	buf := []byte{1}
	at := uint64(0)
	for _, r := range set {
		buf = binary.AppendUvarint(buf, r.From-at)
		buf = binary.AppendUvarint(buf, r.To-r.From)
		at = r.To
	}
	return buf
}

var errSet = errors.New("a set of delivered blocks is damaged")

func decodeSet(b []byte) (SeqSet, error) {
	if len(b) == 0 || b[0] != 1 {
		return nil, errSet
	}
	r := reader{b: b[1:]}
	var set SeqSet
	at := uint64(0)
	for len(r.b) > 0 {
		from := at + r.uvarint()
		at = from + r.uvarint()
		if r.bad {
			return nil, errSet
		}
		set.Add(Seqs{From: from, To: at})
	}
	return set, nil
}

// Delivered returns the numbers of a group's blocks that a sink has answered for.
func (s *Store) Delivered(ctx context.Context, sink string, key acquisition.GroupKey) (SeqSet, error) {
	var set SeqSet
	err := s.cat.do(ctx, func() error {
		return s.cat.query(`select body from delivered where sink=? and grp=?`, []any{sink, string(key)}, func(st *sqlite3.Stmt) error {
			var err error
			set, err = decodeSet(st.ColumnRawBlob(0))
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read positions of %s: %w", sink, err)
	}
	return set, nil
}

// SetDelivered stores the numbers that a sink has answered for, of any number
// of groups at once. They are durable on return.
func (s *Store) SetDelivered(ctx context.Context, sink string, sets map[acquisition.GroupKey]SeqSet) error {
	err := s.cat.change(ctx, func() error {
		for key, set := range sets {
			if err := s.cat.exec(`insert or replace into delivered (sink, grp, body) values (?, ?, ?)`, sink, string(key), encodeSet(set)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store positions of %s: %w", sink, err)
	}
	s.mu.Lock()
	for key, set := range sets {
		k := sinkGroup{sink, key}
		s.delivered[k] = slices.Clone(set)
	}
	s.mu.Unlock()
	return nil
}

type sinkGroup struct {
	sink string
	key  acquisition.GroupKey
}

// SetAside keeps lines that a sink will never take.
func (s *Store) SetAside(ctx context.Context, sink string, refused []acquisition.Refused) error {
	err := s.cat.change(ctx, func() error {
		for _, r := range refused {
			err := s.cat.exec(`insert or replace into aside (sink, grp, seq, scan, text, reason) values (?, ?, ?, ?, ?, ?)`,
				sink, string(r.Group), r.Seq, r.Scan, r.Text, r.Reason)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set lines of %s aside: %w", sink, err)
	}
	return nil
}

// CountAside counts the scans of a range of blocks that a sink has refused.
func (s *Store) CountAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) (uint64, error) {
	var n int64
	err := s.cat.do(ctx, func() error {
		var err error
		n, err = s.cat.number(`select count(*) from aside where sink=? and grp=? and seq>=? and seq<? and scan>=0`, sink, string(key), r.From, r.To)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count lines of %s set aside: %w", sink, err)
	}
	return uint64(n), nil
}

// ListAside returns the lines of a range of blocks that a sink has refused. An
// empty key stands for all groups and then r for nothing.
func (s *Store) ListAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) ([]acquisition.Refused, error) {
	var out []acquisition.Refused
	sql, args := `select grp, seq, scan, text, reason from aside where sink=? and grp=? and seq>=? and seq<? order by seq, scan`, []any{sink, string(key), r.From, r.To}
	if key == "" {
		sql, args = `select grp, seq, scan, text, reason from aside where sink=? order by grp, seq, scan`, []any{sink}
	}
	err := s.cat.do(ctx, func() error {
		return s.cat.query(sql, args, func(st *sqlite3.Stmt) error {
			out = append(out, acquisition.Refused{
				Group: acquisition.GroupKey(st.ColumnText(0)), Seq: uint64(st.ColumnInt64(1)), Scan: st.ColumnInt(2),
				Text: st.ColumnText(3), Reason: st.ColumnText(4),
			})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list lines of %s set aside: %w", sink, err)
	}
	return out, nil
}

// ForgetAside removes lines that were set aside, because their blocks are sent again.
func (s *Store) ForgetAside(ctx context.Context, sink string, key acquisition.GroupKey, r Seqs) error {
	err := s.cat.change(ctx, func() error {
		return s.cat.exec(`delete from aside where sink=? and grp=? and seq>=? and seq<?`, sink, string(key), r.From, r.To)
	})
	if err != nil {
		return fmt.Errorf("forget lines of %s set aside: %w", sink, err)
	}
	return nil
}

// EventQuery says which events are wanted. Zero values do not bound.
type EventQuery struct {
	Rig, Code string
	From      int64 // Unix ns, included
	To        int64 // Unix ns, not included
	Limit     int   // the newest so many
}

// Events returns committed events in the order of their times.
func (s *Store) Events(ctx context.Context, q EventQuery) ([]acquisition.Event, error) {
	if err := s.flush(ctx); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	to, limit := q.To, q.Limit
	if to == 0 {
		to = 1<<63 - 1
	}
	if limit == 0 {
		limit = -1
	}
	var out []acquisition.Event
	err := s.cat.do(ctx, func() error {
		return s.cat.query(`select time, rig, grp, code, detail from event where time>=? and time<? and (?='' or rig=?) and (?='' or code=?)
			order by time desc, code desc limit ?`, []any{q.From, to, q.Rig, q.Rig, q.Code, q.Code, limit}, func(st *sqlite3.Stmt) error {
			out = append(out, acquisition.Event{
				Time: st.ColumnInt64(0), Rig: st.ColumnText(1), Group: st.ColumnText(2), Code: st.ColumnText(3), Detail: st.ColumnText(4),
			})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	slices.Reverse(out)
	return out, nil
}

// PutDocument keeps a document (a run, a campaign, a certificate) by kind and
// id; kinds have no slash. It is durable on return and part of the copy.
func (s *Store) PutDocument(ctx context.Context, kind, id string, body []byte) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	err = s.record(ctx, func() error {
		return s.cat.exec(`insert or replace into document (kind, id, body) values (?, ?, ?)`, kind, id, body)
	}, copied{Kind: "document", Key: kind + "/" + id, Body: text})
	if err != nil {
		return fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	return nil
}

// Document returns a document, nil if there is none.
func (s *Store) Document(ctx context.Context, kind, id string) ([]byte, error) {
	var body []byte
	err := s.cat.do(ctx, func() error {
		return s.cat.query(`select body from document where kind=? and id=?`, []any{kind, id}, func(st *sqlite3.Stmt) error {
			body = slices.Clone(st.ColumnRawBlob(0))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	return body, nil
}

// Documents returns the ids of a kind in their order.
func (s *Store) Documents(ctx context.Context, kind string) ([]string, error) {
	var ids []string
	err := s.cat.do(ctx, func() error {
		return s.cat.query(`select id from document where kind=? order by id`, []any{kind}, func(st *sqlite3.Stmt) error {
			ids = append(ids, st.ColumnText(0))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	return ids, nil
}
