package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"pneudaq/acquisition"
)

// Names of the store's files. Everything else in the directory is foreign and
// left alone.
const (
	rawPrefix    = "raw-"
	sealedPrefix = "sealed-"
	tempPrefix   = "new-"
	fileSuffix   = ".pns"
	formatName   = "format.json"
	reserveName  = "reserve"
)

func fileName(prefix string, id uint64) string {
	return fmt.Sprintf("%s%010d%s", prefix, id, fileSuffix)
}

// parseName returns the prefix and number of a segment file.
func parseName(name string) (prefix string, id uint64, ok bool) {
	rest, found := strings.CutSuffix(name, fileSuffix)
	if !found {
		return "", 0, false
	}
	for _, p := range []string{rawPrefix, sealedPrefix, tempPrefix} {
		if digits, found := strings.CutPrefix(rest, p); found {
			id, err := strconv.ParseUint(digits, 10, 64)
			return p, id, err == nil && fileName(p, id) == name
		}
	}
	return "", 0, false
}

// head is the first frame of every file: with it a file explains itself.
type head struct {
	Format   int           `json:"format"`
	File     uint64        `json:"file"`
	Created  int64         `json:"created"` // Unix ns
	Boot     string        `json:"boot,omitempty"`
	Replaces []uint64      `json:"replaces,omitempty"` // raw files that a sealed one stands for
	With     []uint64      `json:"with,omitempty"`     // sealed files that do so together
	Kept     bool          `json:"kept,omitempty"`     // holds samples of recordings
	Trend    bool          `json:"trend,omitempty"`    // holds overview rows only
	Groups   []groupRecord `json:"groups,omitempty"`   // what was known of each group when the file began
}

// groupRecord keeps the place of a group whose samples retention has dropped.
type groupRecord struct {
	Key      acquisition.GroupKey `json:"key"`
	Version  uint32               `json:"version"`
	Next     uint64               `json:"next"`
	LastSlot uint64               `json:"last_slot,omitempty"`
	LastTime int64                `json:"last_time,omitempty"`
	Dropped  SeqSet               `json:"dropped,omitempty"`
}

// FormatError says that a newer version of the program wrote the store.
type FormatError struct {
	Dir    string
	Format int
}

// Error says what to do.
func (e *FormatError) Error() string {
	return fmt.Sprintf("open store %s: a newer version of pneudaq wrote it (format %d, this program knows %d); nothing was touched, use the newer version", e.Dir, e.Format, formatVersion)
}

type formatFile struct {
	Format int `json:"format"`
}

// checkFormat refuses a directory of a newer version.
func checkFormat(fs FS, dir string) error {
	files, err := fs.List()
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	for _, e := range files {
		if e.Name != formatName {
			continue
		}
		text, err := readSmall(fs, e.Name, e.Size)
		if err != nil {
			return err
		}
		var v formatFile
		if json.Unmarshal(text, &v) == nil && v.Format > formatVersion {
			return &FormatError{Dir: dir, Format: v.Format}
		}
	}
	return nil
}

// writeFormat writes the format file if it is not there or not readable: the
// segments say themselves what they are.
func writeFormat(fs FS) error {
	text, err := json.Marshal(formatFile{formatVersion})
	if err != nil {
		return fmt.Errorf("write format: %w", err)
	}
	text = append(text, '\n')
	files, err := fs.List()
	if err != nil {
		return fmt.Errorf("write format: %w", err)
	}
	for _, e := range files {
		if e.Name == formatName {
			have, err := readSmall(fs, e.Name, e.Size)
			if err == nil && string(have) == string(text) {
				return nil
			}
		}
	}
	err = replaceFile(fs, formatName, text)
	if diskFull(err) {
		return nil // the next start writes it
	}
	return err
}

const maxSmall = 64 << 20

func readSmall(fs FS, name string, size int64) ([]byte, error) {
	if size > maxSmall {
		return nil, fmt.Errorf("read %s: %d bytes are too many", name, size)
	}
	f, err := fs.Open(name, ModeRead)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	buf := make([]byte, size)
	n, err := f.ReadAt(buf, 0)
	if n == len(buf) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return buf, nil
}

// replaceFile writes a small file as a whole or not at all.
func replaceFile(fs FS, name string, text []byte) error {
	temp := name + ".new"
	_ = fs.Remove(temp) // of a crash
	f, err := fs.Open(temp, ModeCreate)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), fs.Remove(temp))
	}
	if err := fs.Rename(temp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// file is one segment file as readers see it. It is open while somebody uses it.
type file struct {
	fs     FS
	name   string
	id     uint64
	sealed bool
	kept   bool // holds samples of recordings
	trend  bool // overview rows only

	mu    sync.Mutex
	f     File
	refs  int
	size  int64
	gone  bool // to be removed once nobody uses it
	rows  []overviewEntry
	first int64 // bounds of its times
	last  int64
}

// pin keeps the file open until release.
func (f *file) pin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		if f.gone {
			return fmt.Errorf("open %s: it was dropped", f.name)
		}
		h, err := f.fs.Open(f.name, ModeRead)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.name, err)
		}
		f.f = h
	}
	f.refs++
	return nil
}

// release undoes pin.
func (f *file) release() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs--
	if f.refs > 0 || f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	if f.gone {
		err = errors.Join(err, f.fs.Remove(f.name))
	}
	return err
}

// drop removes the file once nobody uses it.
func (f *file) drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil
	}
	f.gone = true
	if f.f == nil {
		return f.fs.Remove(f.name)
	}
	return nil
}

// close closes the file whoever uses it.
func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err //nolint:wrapcheck // said by whoever closes
}

// handle returns the open file; the caller has it pinned.
func (f *file) handle() File { //nolint:ireturn // the seam of the store
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f
}

func (f *file) grown(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = size
}

func (f *file) length() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// begin creates the next segment and puts its first frames into buf. Nothing
// of it is durable before the commit that follows.
func (s *Store) begin(buf []byte) ([]byte, error) {
	id := s.nextID
	name := fileName(rawPrefix, id)
	h, err := s.fs.Open(name, ModeCreate)
	if err != nil {
		return buf, s.hold(fmt.Errorf("begin segment: %w", err))
	}
	s.nextID++
	seg := &segment{
		file:    &file{fs: s.fs, name: name, id: id, f: h, refs: 1},
		created: s.o.Now(), known: map[uint64]bool{},
	}
	buf = appendPrologue(buf)
	buf, err = s.appendHead(buf, head{Format: formatVersion, File: id, Created: seg.created, Boot: s.o.BootID})
	if err != nil {
		return buf, err
	}
	s.active = seg
	s.mu.Lock()
	s.activeFile = seg.file
	s.mu.Unlock()
	return buf, nil
}

// appendHead adds the head frame of a file with what is known of the groups.
func (s *Store) appendHead(buf []byte, h head) ([]byte, error) {
	s.mu.RLock()
	for _, k := range s.keys {
		st := s.groups[k]
		if st.current == nil {
			continue
		}
		r := groupRecord{Key: k, Version: st.current.Version, Next: st.next, LastSlot: st.lastSlot, LastTime: st.lastTime, Dropped: st.dropped}
		for _, b := range s.pending {
			if b.Group.Key() == k {
				r.Next = min(r.Next, b.Seq)
			}
		}
		h.Groups = append(h.Groups, r)
	}
	s.mu.RUnlock()
	text, err := json.Marshal(h)
	if err != nil {
		return buf, fmt.Errorf("begin file: %w", err)
	}
	return appendPlain(buf, header{kind: kindHead}, text), nil
}
