// Package storagetest is a disk that lies: what was written and not synced may
// be lost, torn or reordered by a power cut, any call may be answered with an
// error, the disk may be full and a sync may take its time. It keeps everything
// in memory, so that every image that a crash can leave is one function call
// away, also in virtual time.
package storagetest

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"pneudaq/storage"
)

// Kind is what is done to a disk.
type Kind uint8

// The kinds of operations.
const (
	Any Kind = iota
	Open
	Create
	Rename
	Remove
	List
	Read
	Write
	Sync
	Truncate
)

// ErrOff is the answer of a disk without power.
var ErrOff = errors.New("the disk has no power")

// Op is one operation, before it happens.
type Op struct {
	N    int // of all operations of the disk, from 1
	Kind Kind
	Name string
	Size int
}

// Disk is one directory. It is a [storage.FS].
type Disk struct {
	mu       sync.Mutex
	files    map[string]*inode
	n        int
	hook     func(Op) error
	capacity int64 // 0: none
	syncTime time.Duration
	off      bool
	torn     bool
	dead     chan struct{}
	died     bool
}

type change struct {
	off  int64 // -1: truncate to size
	data []byte
	size int64
	gone bool // a failed sync has thrown it away
}

type inode struct {
	synced  []byte
	now     []byte
	pending []change
}

// New returns an empty disk.
func New() *Disk { return &Disk{files: map[string]*inode{}, dead: make(chan struct{})} }

// Dead is closed once an operation has been answered with ErrOff.
func (d *Disk) Dead() <-chan struct{} { return d.dead }

// Hook calls f before every operation; an error of f is the answer, and the
// operation does not happen. A write that is refused may still happen in part:
// see [Disk.TearWrites].
func (d *Disk) Hook(f func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = f
}

// TearWrites makes refused writes leave their first half.
func (d *Disk) TearWrites(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.torn = on
}

// FailAt answers the n-th operation of a kind from now on (counted from 1) with
// an error, once.
func (d *Disk) FailAt(kind Kind, n int, err error) {
	d.Hook(func(o Op) error {
		if o.Kind == kind || kind == Any {
			if n--; n == 0 {
				return err
			}
		}
		return nil
	})
}

// StopAt takes the power away before operation n of the disk's life.
func (d *Disk) StopAt(n int) {
	d.Hook(func(o Op) error {
		if o.N >= n {
			return ErrOff
		}
		return nil
	})
}

// SetCapacity bounds the bytes of all files; what is beyond it is answered with
// ENOSPC after the part that fits. 0: no bound.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// SetSyncTime sets how long a sync takes.
func (d *Disk) SetSyncTime(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncTime = t
}

// Count returns how many operations there were.
func (d *Disk) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// Used returns the bytes of all files.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() int64 {
	n := int64(0)
	for _, f := range d.files {
		n += int64(len(f.now))
	}
	return n
}

// Names returns the files in their order.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for n := range d.files {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Bytes returns what a file holds, nil if it is not there.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return slices.Clone(f.now)
	}
	return nil
}

// SetBytes changes what a file holds, durably; nil removes it.
func (d *Disk) SetBytes(name string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b == nil {
		delete(d.files, name)
		return
	}
	d.files[name] = &inode{synced: slices.Clone(b), now: slices.Clone(b)}
}

// Kill returns the disk as a killed process leaves it: everything that was
// written is there. The old disk has no power any more.
func (d *Disk) Kill() *Disk {
	out := d.Clone()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	return out
}

// Clone returns a disk of its own with what this one holds, all of it durable.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := New()
	for n, f := range d.files {
		out.files[n] = &inode{synced: slices.Clone(f.now), now: slices.Clone(f.now)}
	}
	return out
}

// PowerCut returns the disk as a power cut may leave it: of what was not synced
// any part may be there, in any order, torn at any byte.
func (d *Disk) PowerCut(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	out := New()
	var names []string
	for n := range d.files {
		names = append(names, n)
	}
	slices.Sort(names) // a seed gives one image
	for _, n := range names {
		f := d.files[n]
		b := slices.Clone(f.synced)
		order := r.Perm(len(f.pending))
		if r.IntN(2) == 0 {
			slices.Sort(order)
		}
		for _, i := range order {
			c := f.pending[i]
			if c.gone || r.IntN(3) == 0 {
				continue
			}
			if c.off >= 0 && r.IntN(3) == 0 && len(c.data) > 0 {
				c = tear(c, r)
			}
			b = c.apply(b)
		}
		out.files[n] = &inode{synced: b, now: slices.Clone(b)}
	}
	return out
}

// tear leaves some 512-byte sectors of a write, or its first bytes.
func tear(c change, r *rand.Rand) change {
	if r.IntN(2) == 0 {
		return change{off: c.off, data: c.data[:r.IntN(len(c.data))]}
	}
	data := slices.Clone(c.data)
	for i := 0; i < len(data); i += 512 {
		if r.IntN(2) == 0 {
			clear(data[i:min(i+512, len(data))])
		}
	}
	return change{off: c.off, data: data}
}

// Images yields every image that a power cut can leave of the files with
// unsynced writes, one file at a time while the others keep only what was
// synced: every subset of up to six writes, and every write torn at every byte
// with those before it whole.
func (d *Disk) Images() iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		d.mu.Lock()
		d.off = true
		base := map[string][]byte{}
		pending := map[string][]change{}
		var names []string
		for n, f := range d.files {
			base[n] = slices.Clone(f.synced)
			var p []change
			for _, c := range f.pending {
				if !c.gone {
					p = append(p, c)
				}
			}
			pending[n] = p
			names = append(names, n)
		}
		d.mu.Unlock()
		slices.Sort(names)
		image := func(name string, b []byte) *Disk {
			out := New()
			for n, x := range base {
				if n == name {
					x = b
				}
				out.files[n] = &inode{synced: slices.Clone(x), now: slices.Clone(x)}
			}
			return out
		}
		if !yield(image("", nil)) {
			return
		}
		for _, n := range names {
			p := pending[n]
			for set := 1; set < 1<<min(len(p), 6); set++ {
				b := slices.Clone(base[n])
				for i := range min(len(p), 6) {
					if set>>i&1 == 1 {
						b = p[i].apply(b)
					}
				}
				if !yield(image(n, b)) {
					return
				}
			}
			b := slices.Clone(base[n])
			for _, c := range p {
				for k := range c.data {
					torn := change{off: c.off, data: c.data[:k]}
					if !yield(image(n, torn.apply(slices.Clone(b)))) {
						return
					}
				}
				b = c.apply(b)
			}
		}
	}
}

func (c change) apply(b []byte) []byte {
	if c.off < 0 {
		if int(c.size) <= len(b) {
			return b[:c.size]
		}
		return append(b, make([]byte, int(c.size)-len(b))...)
	}
	if end := int(c.off) + len(c.data); end > len(b) && len(c.data) > 0 {
		b = append(b, make([]byte, end-len(b))...)
	}
	if len(c.data) > 0 {
		copy(b[c.off:], c.data)
	}
	return b
}

// step counts an operation and asks for its answer. The caller holds mu.
func (d *Disk) step(kind Kind, name string, size int) error {
	err := ErrOff
	if !d.off {
		err = nil
		d.n++
		if d.hook != nil {
			err = d.hook(Op{N: d.n, Kind: kind, Name: name, Size: size})
		}
	}
	if errors.Is(err, ErrOff) && !d.died {
		d.died = true
		close(d.dead)
	}
	return err
}

// Open opens or creates a file.
func (d *Disk) Open(name string, mode storage.Mode) (storage.File, error) { //nolint:ireturn // the interface of storage.FS
	d.mu.Lock()
	defer d.mu.Unlock()
	kind := Open
	if mode == storage.ModeCreate {
		kind = Create
	}
	if err := d.step(kind, name, 0); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := d.files[name]
	switch {
	case mode == storage.ModeCreate && f != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case mode != storage.ModeCreate && f == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case f == nil:
		f = &inode{}
		d.files[name] = f
	}
	return &file{d: d, f: f, name: name, readOnly: mode == storage.ModeRead}, nil
}

// Rename gives a file another name.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(Rename, from, 0); err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	f := d.files[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(d.files, from)
	d.files[to] = f
	return nil
}

// Remove removes a file; who has it open may go on.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(Remove, name, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	if d.files[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(d.files, name)
	return nil
}

// List returns the files.
func (d *Disk) List() ([]storage.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(List, "", 0); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: ".", Err: err}
	}
	var out []storage.Entry
	for n, f := range d.files {
		out = append(out, storage.Entry{Name: n, Size: int64(len(f.now))})
	}
	slices.SortFunc(out, func(a, b storage.Entry) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

type file struct {
	d        *Disk
	f        *inode
	name     string
	readOnly bool
}

// ReadAt reads.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step(Read, f.name, len(p)); err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	if off >= int64(len(f.f.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.f.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes; nothing of it is durable before Sync.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.readOnly {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrPermission}
	}
	if err := f.d.step(Write, f.name, len(p)); err != nil {
		n := 0
		if f.d.torn {
			n = len(p) / 2
			f.write(p[:n], off)
		}
		return n, &fs.PathError{Op: "write", Path: f.name, Err: err}
	}
	if grow := off + int64(len(p)) - int64(len(f.f.now)); f.d.capacity > 0 && grow > 0 {
		if left := f.d.capacity - f.d.used(); grow > left {
			n := max(0, len(p)-int(grow-max(left, 0)))
			f.write(p[:n], off)
			return n, &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
	}
	f.write(p, off)
	return len(p), nil
}

func (f *file) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c := change{off: off, data: slices.Clone(p)}
	f.f.pending = append(f.f.pending, c)
	f.f.now = c.apply(f.f.now)
}

// Sync makes durable what was written. If it is answered with an error, what
// was written is thrown away: a later Sync succeeds without it, as systems do.
func (f *file) Sync() error {
	f.d.mu.Lock()
	err := f.d.step(Sync, f.name, 0)
	wait := f.d.syncTime
	before := len(f.f.pending)
	if err != nil && !errors.Is(err, ErrOff) {
		for i := range f.f.pending {
			f.f.pending[i].gone = true
		}
	}
	f.d.mu.Unlock()
	if err != nil {
		return &fs.PathError{Op: "sync", Path: f.name, Err: err}
	}
	if wait > 0 {
		time.Sleep(wait)
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.off {
		return ErrOff
	}
	for _, c := range f.f.pending[:before] {
		if !c.gone {
			f.f.synced = c.apply(f.f.synced)
		}
	}
	f.f.pending = slices.Clone(f.f.pending[before:])
	return nil
}

// Truncate sets the length; it is durable with the next Sync.
func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step(Truncate, f.name, int(size)); err != nil {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: err}
	}
	c := change{off: -1, size: size}
	f.f.pending = append(f.f.pending, c)
	f.f.now = slices.Clone(c.apply(f.f.now))
	return nil
}

// Close closes the file.
func (*file) Close() error { return nil }
