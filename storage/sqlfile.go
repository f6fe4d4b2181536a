package storage

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// catalogVFS puts the database's files on the file interface of the store, so
// that whatever lies below the segments lies below the catalog too.
type catalogVFS struct {
	fs     FS
	mu     sync.Mutex
	broken error // a sync was not answered with success
}

func (v *catalogVFS) fail(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken == nil {
		v.broken = err
	}
	return err
}

// state returns why the files must not be used any more.
func (v *catalogVFS) state() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.broken
}

// Open opens or creates a file.
func (v *catalogVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) { //nolint:ireturn // the interface of vfs
	if name == "" {
		return nil, flags, sqlite3.CANTOPEN // temporary files: temp_store is memory
	}
	name = path.Base(name)
	size, ok, err := v.size(name)
	if err != nil {
		return nil, flags, err
	}
	mode := ModeWrite
	if !ok {
		if flags&vfs.OPEN_CREATE == 0 {
			return nil, flags, sqlite3.CANTOPEN
		}
		mode = ModeCreate
	}
	f, err := v.fs.Open(name, mode)
	if err != nil {
		return nil, flags, err
	}
	return &catalogFile{v: v, f: f, size: size}, flags, nil
}

func (v *catalogVFS) size(name string) (int64, bool, error) {
	list, err := v.fs.List()
	if err != nil {
		return 0, false, err
	}
	for _, e := range list {
		if e.Name == name {
			return e.Size, true, nil
		}
	}
	return 0, false, nil
}

// Delete removes a file.
func (v *catalogVFS) Delete(name string, _ bool) error {
	err := v.fs.Remove(path.Base(name))
	if errors.Is(err, fs.ErrNotExist) {
		return sqlite3.IOERR_DELETE_NOENT
	}
	return err
}

// Access reports whether a file is there.
func (v *catalogVFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	_, ok, err := v.size(path.Base(name))
	return ok, err
}

// FullPathname returns the name itself: there is one directory.
func (*catalogVFS) FullPathname(name string) (string, error) { return name, nil }

// catalogFile is one file of the database. The directory's lock makes this
// process its only user, so its own locks are none.
type catalogFile struct {
	v    *catalogVFS
	f    File
	size int64
}

// Close closes the file.
func (f *catalogFile) Close() error { return f.f.Close() } //nolint:wrapcheck // sqlite makes a code of it

// ReadAt reads; beyond the end it says io.EOF itself, as sqlite expects.
func (f *catalogFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// WriteAt writes, unless a sync has failed.
func (f *catalogFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.v.state(); err != nil {
		return 0, err
	}
	n, err := f.f.WriteAt(p, off)
	f.size = max(f.size, off+int64(n))
	return n, err //nolint:wrapcheck // sqlite makes a code of it
}

// Truncate sets the length.
func (f *catalogFile) Truncate(size int64) error {
	if err := f.f.Truncate(size); err != nil {
		return err
	}
	f.size = size
	return nil
}

// Sync makes the file durable. After an error the database is not used any
// more: sqlite would sync the same descriptor again and believe it.
func (f *catalogFile) Sync(vfs.SyncFlag) error {
	if err := f.v.state(); err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return f.v.fail(err)
	}
	return nil
}

// Size returns the length.
func (f *catalogFile) Size() (int64, error) { return f.size, nil }

// Lock does nothing.
func (*catalogFile) Lock(vfs.LockLevel) error { return nil }

// Unlock does nothing.
func (*catalogFile) Unlock(vfs.LockLevel) error { return nil }

// CheckReservedLock reports that nobody else has the database.
func (*catalogFile) CheckReservedLock() (bool, error) { return false, nil }

// SectorSize returns what a power cut may tear.
func (*catalogFile) SectorSize() int { return 4096 }

// DeviceCharacteristics promises nothing.
func (*catalogFile) DeviceCharacteristics() vfs.DeviceCharacteristic { return 0 }
