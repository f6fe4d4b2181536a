package configs

import (
	"bytes"
	"io/fs"
	"path"
	"time"
)

// LoadText reads the text of a rig file as if it stood under a name, with the
// rigs of other files beside it for what they borrow from each other. What the
// text names is looked for beside that name. Nothing is written.
func LoadText(name string, text []byte, others ...string) (*Rig, Problems) {
	o := newLoader()
	r := o.text(name, text, others)
	return r, o.problems()
}

// CheckText is [Check] for the text of one rig file under a name.
func CheckText(name string, text []byte, others ...string) (*Report, Problems) {
	o := newLoader()
	rep := &Report{}
	if r := o.text(name, text, others); r != nil {
		rep.Rigs = append(rep.Rigs, o.checkRig(r, time.Now()))
		rep.Warnings = append(rep.Warnings, r.Warnings...)
	}
	rep.Files = append(rep.Files, o.l.order...)
	rep.Warnings = append(rep.Warnings, o.l.warnings...).sorted(o.l.order)
	return rep, o.problems()
}

func (o *loader) text(name string, text []byte, others []string) *Rig {
	f := find(name)
	read := f
	read.origin.fsys = overlay{FS: f.origin.fsys, name: f.path, text: text}
	d, _ := o.open(read, KindRig)
	if d == nil {
		return nil
	}
	r := o.rig(d, f.origin)
	rigs := []*Rig{r}
	// Problems of the other files are not of this one.
	beside := newLoader()
	more, _ := beside.load(others)
	for _, x := range more {
		if x.Name != r.Name {
			rigs = append(rigs, x)
		}
	}
	o.between(rigs)
	return r
}

// overlay is a file system with one file replaced by a text.
type overlay struct {
	fs.FS

	name string
	text []byte
}

// Open opens the text or what is below.
func (o overlay) Open(name string) (fs.File, error) {
	if name != o.name {
		return o.FS.Open(name) //nolint:wrapcheck // passed through as fs.FS asks
	}
	return &textFile{Reader: bytes.NewReader(o.text), name: path.Base(name), size: int64(len(o.text))}, nil
}

type textFile struct {
	*bytes.Reader

	name string
	size int64
}

// Stat describes the text.
func (t *textFile) Stat() (fs.FileInfo, error) { return textInfo{t.name, t.size}, nil }

// Close does nothing.
func (t *textFile) Close() error { return nil }

type textInfo struct {
	name string
	size int64
}

// Name returns the name of the text.
func (t textInfo) Name() string { return t.name }

// Size returns its bytes.
func (t textInfo) Size() int64 { return t.size }

// Mode returns that of a plain file.
func (t textInfo) Mode() fs.FileMode { return 0o444 }

// ModTime is not known.
func (t textInfo) ModTime() time.Time { return time.Time{} }

// IsDir returns false.
func (t textInfo) IsDir() bool { return false }

// Sys returns nothing.
func (t textInfo) Sys() any { return nil } //nolint:ireturn // as fs.FileInfo asks
