package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Mode says how a file is opened.
type Mode uint8

// The modes of [FS.Open].
const (
	ModeRead   Mode = iota // an existing file, to be read
	ModeWrite              // an existing file, to be read and written
	ModeCreate             // a new file, to be read and written; it must not exist
)

// Durable is the part of a file that concerns what survives a power cut.
type Durable interface {
	// Sync returns once the contents written so far survive a power cut. After
	// an error nothing is known about what was written since the last
	// successful Sync, and the file must not be synced again.
	Sync() error
	// Truncate sets the length.
	Truncate(size int64) error
}

// File is one file of the store: five methods. ReadAt may be called by many
// goroutines at the same time, also while one of them writes.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Durable
}

// Entry is one file of a directory.
type Entry struct {
	Name string
	Size int64
}

// FS is the directory of the store. Names have no separators. Creating,
// renaming and removing are durable on return: an implementation syncs the
// directory where the system needs that.
type FS interface {
	Open(name string, mode Mode) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	List() ([]Entry, error)
}

// fileMode lets a group of operators read the record.
const fileMode = 0o640

// dirFS is the FS of a directory of the operating system.
type dirFS struct{ dir string }

func (d dirFS) path(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(d.dir, name), nil
}

// Open opens or creates a file; a new one survives a power cut from then on.
func (d dirFS) Open(name string, mode Mode) (File, error) { //nolint:ireturn // the seam of the store
	p, err := d.path(name)
	if err != nil {
		return nil, err
	}
	flag := os.O_RDONLY
	switch mode {
	case ModeRead:
	case ModeWrite:
		flag = os.O_RDWR
	case ModeCreate:
		flag = os.O_RDWR | os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(p, flag, fileMode)
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError says what and where
	}
	if mode == ModeCreate {
		if err := d.sync(); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(p))
		}
	}
	return osFile{f}, nil
}

// Rename gives a file another name, replacing what had it.
func (d dirFS) Rename(from, to string) error {
	a, err := d.path(from)
	if err != nil {
		return err
	}
	b, err := d.path(to)
	if err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return err //nolint:wrapcheck // a *LinkError says what and where
	}
	return d.sync()
}

// Remove removes a file.
func (d dirFS) Remove(name string) error {
	p, err := d.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return err //nolint:wrapcheck // a *PathError says what and where
	}
	return d.sync()
}

// List returns the plain files.
func (d dirFS) List() ([]Entry, error) {
	es, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError says what and where
	}
	var out []Entry
	for _, e := range es {
		i, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", d.dir, err)
		}
		if i.Mode().IsRegular() {
			out = append(out, Entry{Name: e.Name(), Size: i.Size()})
		}
	}
	return out, nil
}

type osFile struct{ *os.File }

// Sync makes the contents durable, without the times of the file where the
// system can leave them out.
func (f osFile) Sync() error { return datasync(f.File) }
