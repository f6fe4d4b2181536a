package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pneudaq/configs"
	"pneudaq/web"
)

// rigFiles reads, checks and replaces the files of the rigs in service.
type rigFiles struct {
	b  *backend
	mu sync.Mutex // one change at a time
}

const (
	bundledName  = "bundle:"
	mostFileText = 4 << 20
	newRigFile   = "new.yaml"
)

// path returns the file of a rig in service.
func (f *rigFiles) path(name string) (string, error) {
	f.b.s.mu.Lock()
	defer f.b.s.mu.Unlock()
	r := f.b.s.rigs[name]
	if r == nil {
		return "", web.NotFound("rig", name)
	}
	return r.file.File, nil
}

// others returns the files of the other rigs.
func (f *rigFiles) others(name string) []string {
	var all []string
	for _, r := range f.b.sorted() {
		if r.file.Name != name {
			all = append(all, r.file.File)
		}
	}
	return all
}

// read returns the text of a file. Only a plain file of its directory is read,
// whatever links there are.
func (f *rigFiles) read(path string) ([]byte, error) {
	if inside, ok := strings.CutPrefix(path, bundledName); ok {
		text, err := fs.ReadFile(configs.Bundle(), inside)
		if err != nil {
			return nil, fmt.Errorf("read rig file: %w", err)
		}
		return text, nil
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read rig file: %w", err)
	}
	defer func() { _ = root.Close() }()
	file, err := root.Open(filepath.Base(path))
	if err != nil {
		return nil, fmt.Errorf("read rig file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, mostFileText))
	if err != nil {
		return nil, fmt.Errorf("read rig file: %w", err)
	}
	return text, nil
}

func tagOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// RigFile returns the text of a rig's file.
func (f *rigFiles) RigFile(_ context.Context, name string) (web.RigFile, error) {
	path, err := f.path(name)
	if err != nil {
		return web.RigFile{}, err
	}
	text, err := f.read(path)
	if err != nil {
		return web.RigFile{}, err
	}
	return web.RigFile{Name: path, Text: text, ETag: tagOf(text)}, nil
}

// Check says what a text comes to.
func (f *rigFiles) Check(_ context.Context, name string, text []byte, l web.Language) (web.CheckReport, error) {
	path, err := f.path(name)
	if err != nil { // a rig that is not there yet lies beside the others
		path = newRigFile
		if all := f.others(""); len(all) > 0 && !strings.HasPrefix(all[0], bundledName) {
			path = filepath.Join(filepath.Dir(all[0]), newRigFile)
		}
	}
	return f.check(path, name, text, l), nil
}

func (f *rigFiles) check(path, name string, text []byte, l web.Language) web.CheckReport {
	report, problems := configs.CheckText(path, text, f.others(name)...)
	doc := web.CheckReport{}
	for _, p := range problems {
		doc.Problems = append(doc.Problems, asProblem(p, web.SeverityError, l))
	}
	if report == nil {
		return doc
	}
	for _, p := range report.Warnings {
		doc.Problems = append(doc.Problems, asProblem(p, web.SeverityWarning, l))
	}
	for i := range report.Rigs {
		r := &report.Rigs[i]
		doc.Series += r.Series
		doc.BytesPerDay += float64(r.StorePerDay)
		periods := map[string]float64{}
		for _, g := range r.Groups {
			periods[g.Group] = milliseconds(g.Period)
		}
		for _, b := range r.Buses {
			plan := web.BusPlan{Bus: b.Bus, LoadPercent: b.Load}
			for _, q := range b.Requests {
				last := q.Address + max(0, q.Quantity-1)
				plan.Requests = append(plan.Requests, web.PlanRequest{
					Group: q.Group, PeriodMS: periods[q.Group], TimeMS: float64(q.Micros) / 1e3,
					Text: fmt.Sprintf("%s, unit %d, %s 0x%04X..0x%04X", q.Device, q.Unit, q.Table, q.Address, last),
				})
			}
			doc.LoadPercent = max(doc.LoadPercent, b.Load)
			doc.Plan = append(doc.Plan, plan)
		}
	}
	return doc
}

func asProblem(p configs.Problem, severity string, l web.Language) web.ProblemDocument {
	p = p.In(configs.Language(l))
	return web.ProblemDocument{
		Code: string(p.Code), Severity: severity, What: p.What, Do: p.Do, Where: p.Where, File: p.File, Line: p.Line, Column: p.Column,
	}
}

// Replace checks, saves and reloads the file of one rig.
func (f *rigFiles) Replace(ctx context.Context, name, tag string, text []byte, l web.Language) (web.CheckReport, web.RigFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var none web.CheckReport
	path, err := f.path(name)
	if err != nil {
		return none, web.RigFile{}, err
	}
	old, err := f.read(path)
	if err != nil {
		return none, web.RigFile{}, err
	}
	now := web.RigFile{Name: path, Text: old, ETag: tagOf(old)}
	if now.ETag != tag {
		return none, now, web.Changed(path)
	}
	report := f.check(path, name, text, l)
	if report.Wrong() {
		return report, now, nil
	}
	if strings.HasPrefix(path, bundledName) {
		return report, now, web.Refuse("this rig comes with the program and cannot be changed", "save the text as a file of your own and serve that")
	}
	r, problems := configs.LoadText(path, text, f.others(name)...)
	if len(problems) > 0 || r == nil {
		return f.check(path, name, text, l), now, nil
	}
	if r.Name != name {
		return report, now, web.Refuse(fmt.Sprintf("the text is of rig %q, the file is of rig %q", r.Name, name), "keep the name; a new rig is a new file")
	}
	if f.b.s.recording(name) {
		return report, now, web.Refuse("rig "+name+" is being recorded", "stop the recording, then save the file")
	}
	if err := writeFile(path, text); err != nil {
		return report, now, err
	}
	if err := f.reload(ctx, name, path); err != nil {
		// What does not start does not stay: the rig runs as it did before.
		back := errors.Join(writeFile(path, old), f.reload(ctx, name, path))
		if back != nil {
			err = errors.Join(err, back)
		}
		return report, now, web.Refuse("the rig does not start with this file: "+err.Error(), "the file before is in force again; put right what is named")
	}
	return report, web.RigFile{Name: path, Text: text, ETag: tagOf(text)}, nil
}

// reload makes the service run a rig as its file says now.
func (f *rigFiles) reload(ctx context.Context, name, path string) error {
	loaded, problems := configs.Load(append([]string{path}, f.others(name)...)...)
	if len(problems) > 0 {
		return problems
	}
	files := []*configs.Rig{}
	for _, r := range loaded {
		if r.Name == name {
			files = append(files, r)
		}
	}
	for _, r := range f.b.sorted() { // the others stay as they run, whatever their files say by now
		if r.file.Name != name {
			files = append(files, r.file)
		}
	}
	return f.b.s.apply(ctx, files, f.b.s.recording)
}

// milliseconds reads a period as reports print it.
func milliseconds(period string) float64 {
	d, err := time.ParseDuration(period)
	if err != nil {
		return 0
	}
	return d.Seconds() * 1e3
}

// writeFile replaces a file of a directory in one step.
func writeFile(path string, text []byte) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("save rig file: %w", err)
	}
	defer func() { _ = root.Close() }()
	base := filepath.Base(path)
	mode := fs.FileMode(0o644)
	if info, err := root.Stat(base); err == nil {
		mode = info.Mode().Perm()
	}
	fresh := base + ".new"
	file, err := root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("save rig file: %w", err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = root.Rename(fresh, base)
	}
	if err != nil {
		_ = root.Remove(fresh)
		return fmt.Errorf("save rig file: %w", err)
	}
	return nil
}
