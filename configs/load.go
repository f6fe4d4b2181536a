package configs

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The bundle is what a binary carries so that a demonstration needs no files.
//
//go:embed rigs models wires
var bundled embed.FS

// Bundle returns the bundled files: rigs, models and wires.
func Bundle() fs.FS { return bundled }

// bundlePrefix marks names of bundled files in places.
const bundlePrefix = "bundle:"

// origin is where a file came from, so that what it names is looked for
// beside it.
type origin struct {
	fsys   fs.FS
	dir    string
	prefix string
}

// diskFS opens files of this machine by their plain path.
type diskFS struct{}

// Open opens a file by its path.
func (diskFS) Open(name string) (fs.File, error) { return os.Open(name) } //nolint:wrapcheck // passed through as fs.FS asks

func disk(dir string) origin { return origin{fsys: diskFS{}, dir: dir} }

func inBundle(dir string) origin { return origin{fsys: bundled, dir: dir, prefix: bundlePrefix} }

// join returns the path of a file named in a file of this origin.
func (o origin) join(name string) string {
	if o.prefix != "" {
		return path.Join(o.dir, filepath.ToSlash(name))
	}
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.dir, filepath.FromSlash(name))
}

// exists says whether there is a file.
func (o origin) exists(p string) bool {
	_, err := fs.Stat(o.fsys, p)
	return err == nil
}

// Stat makes fs.Stat take any path of this machine.
func (diskFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) } //nolint:wrapcheck // passed through as fs.StatFS asks

// named is one file as it was asked for.
type named struct {
	origin origin // of what it names
	path   string
	shown  string
}

// find turns a path or the name of a bundled rig into a file: a bare name
// such as flow-bench that is no file here means the bundled rig.
func find(name string) named {
	if o := disk("."); !strings.ContainsAny(name, `/\`) && filepath.Ext(name) == "" && !o.exists(name) {
		p := path.Join("rigs", name+".yaml")
		if _, err := fs.Stat(bundled, p); err == nil {
			return named{origin: inBundle("rigs"), path: p, shown: bundlePrefix + p}
		}
	}
	if p, ok := strings.CutPrefix(name, bundlePrefix); ok {
		return named{origin: inBundle(path.Dir(p)), path: p, shown: name}
	}
	return named{origin: disk(filepath.Dir(name)), path: name, shown: name}
}

// Kind is what a file describes.
type Kind string

// The kinds of files.
const (
	KindRig        Kind = "rig"
	KindModel      Kind = "model"
	KindWire       Kind = "wire"
	KindInstrument Kind = "instrument"
	KindService    Kind = "service"
)

// Kinds returns the kinds of files.
func Kinds() []Kind { return []Kind{KindRig, KindModel, KindWire, KindInstrument, KindService} }

// kindOf tells the kind of a file by its keys, "" if it is none.
func kindOf(root *node) Kind {
	for _, k := range []Kind{KindRig, KindService, KindWire, KindInstrument, KindModel} {
		if root.get(string(k)) != nil {
			return k
		}
	}
	return ""
}

// loader reads the files that belong together.
type loader struct {
	l           *list
	models      map[string]*Model
	instruments map[string]*Instrument
	env         func(string) string
}

func newLoader() *loader {
	return &loader{l: newList(), models: map[string]*Model{}, instruments: map[string]*Instrument{}, env: os.Getenv}
}

// open reads a file and checks its kind; it returns nil if there is nothing
// to work with.
func (o *loader) open(f named, want ...Kind) (*document, Kind) {
	d := readFile(f.origin.fsys, f.path, f.shown, o.l)
	if d == nil {
		return nil, ""
	}
	k := kindOf(d.root)
	if k == "" {
		o.unknownKind(d)
		return nil, ""
	}
	if len(want) > 0 && !slices.Contains(want, k) {
		o.l.add(d.root.at, subject{}, pdWrongKind, string(k), string(want[0]))
		return nil, ""
	}
	return d, k
}

// unknownKind helps with a leading key that is nearly right.
func (o *loader) unknownKind(d *document) {
	var kinds []string
	for _, k := range Kinds() {
		kinds = append(kinds, string(k))
	}
	for i := range d.root.pairs {
		p := &d.root.pairs[i]
		if near := nearest(p.key, kinds); near != "" && p.value.kind == scalarNode {
			o.l.add(p.at, subject{}, pdUnknownKeyNear, p.key, near)
			return
		}
	}
	o.l.add(d.root.at, subject{}, pdNoKind, strings.Join(kinds, ", "))
}

// Load reads rig files, and service files with the rigs that they name, with
// everything that those name in turn. A bare name such as flow-bench that is
// no file means the bundled rig. The rigs are complete only if there is no
// problem; they are returned beside problems for commands that show both.
// Problems is nil if all is well.
func Load(paths ...string) ([]*Rig, Problems) {
	o := newLoader()
	rigs, _ := o.load(paths)
	return rigs, o.problems()
}

func (o *loader) problems() Problems {
	if len(o.l.errors) == 0 {
		return nil
	}
	return o.l.errors.sorted(o.l.order)
}

func (o *loader) load(paths []string) ([]*Rig, *Service) {
	var rigs []*Rig
	var service *Service
	for _, p := range paths {
		f := find(p)
		d, kind := o.open(f, KindRig, KindService)
		if d == nil {
			continue
		}
		if kind == KindRig {
			rigs = append(rigs, o.rig(d, f.origin))
			continue
		}
		service = o.service(d, f.origin)
		for n, file := range service.Rigs {
			r := named{origin: disk(filepath.Dir(file)), path: file, shown: file}
			if strings.HasPrefix(file, bundlePrefix) || f.origin.prefix != "" {
				r = find(file)
			}
			if !r.origin.exists(r.path) {
				o.l.add(service.places[n], subject{"service", service.Name}, pdFileMissing, r.path)
				continue
			}
			rd, _ := o.open(r, KindRig)
			if rd == nil {
				continue
			}
			rig := o.rig(rd, r.origin)
			rig.inherit(service)
			rigs = append(rigs, rig)
		}
	}
	o.between(rigs)
	return rigs, service
}

// LoadService reads a service file and the rigs that it names.
func LoadService(name string) (*Service, []*Rig, Problems) {
	o := newLoader()
	rigs, service := o.load([]string{name})
	if service == nil && len(o.l.errors) == 0 {
		o.l.add(Place{File: name, Line: 1, Column: 1}, subject{}, pdWrongKind, string(KindRig), string(KindService))
	}
	return service, rigs, o.problems()
}

// LoadModel reads a model or wire file, or the bundled model with a name.
func LoadModel(name string) (*Model, Problems) {
	o := newLoader()
	f := find(name)
	if p := path.Join("models", name+".yaml"); !strings.ContainsAny(name, `/\.`) && inBundle("").exists(p) {
		f = named{origin: inBundle("models"), path: p, shown: bundlePrefix + p}
	}
	m := o.modelFrom(f)
	return m, o.problems()
}

// LoadInstrument reads an instrument file.
func LoadInstrument(name string) (*Instrument, Problems) {
	o := newLoader()
	i := o.instrumentFrom(find(name))
	return i, o.problems()
}

// secret reads the first line of a file that holds a token or password.
func secret(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err //nolint:wrapcheck // the caller says which key names the file
	}
	defer f.Close() //nolint:errcheck // it was only read
	buf := make([]byte, 64<<10)
	n, err := f.Read(buf)
	if n == 0 && err != nil {
		return "", errors.New("it is empty")
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return "", errors.New("its first line is empty")
	}
	return line, nil
}
