package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// inject is a test that carries the number of a fault in its name or in the
// text of a case.
type inject struct{ pkg, test string }

// page returns the document for the tree under root.
func page(root string) ([]byte, error) {
	found, err := tests(root)
	if err != nil {
		return nil, err
	}
	all := rows()
	for n := range found {
		if n < 1 || n > len(all) {
			return nil, fmt.Errorf("%s %s: there is no fault F%03d; known are F001 to F%03d", found[n][0].pkg, found[n][0].test, n, len(all))
		}
	}
	var b bytes.Buffer
	b.WriteString(head)
	covered := 0
	for i, r := range all {
		n := i + 1
		if r.part != "" {
			fmt.Fprintf(&b, "\n## %s\n\n| # | Fault | What must happen | Tests |\n|---|---|---|---|\n", r.part)
		}
		var cell []string
		for _, t := range found[n] {
			cell = append(cell, fmt.Sprintf("`%s` %s", t.test, t.pkg))
		}
		switch {
		case len(cell) > 0:
			covered++
		case r.why == "":
			return nil, fmt.Errorf("fault F%03d (%s) has neither a test nor a reason why not: name a test TestF%03d..., or say why in cmd/faults/rows.go", n, r.fault, n)
		}
		if r.why != "" {
			cell = append(cell, "*"+r.why+"*")
		}
		fmt.Fprintf(&b, "| F%03d | %s | %s | %s |\n", n, r.fault, r.must, strings.Join(cell, "<br>"))
	}
	fmt.Fprintf(&b, "\n%d of %d faults have a test that injects them.\n", covered, len(all))
	return b.Bytes(), nil
}

const head = `# Faults and the tests that inject them

Written by ` + "`go run ./cmd/faults`" + ` from the names of the tests; a test fails when this page is stale.
A test belongs to a fault when its name, or the name of one of its cases, carries the number.
Beside these, ` + "`TestSimulation`" + ` (cmd/pneudaq) lets faults of wire, disk, database and process come together, at random moments of
virtual time; ` + "`go test ./cmd/pneudaq -run TestSimulation -seeds 1000 -seed 1`" + ` runs more of them.

"Gap *x*" is a gap in the record with reason *x* and exact bounds, see [reasons.md](reasons.md).
`

var number = regexp.MustCompile(`F(\d{3})`)

// tests returns the tests of the tree by the numbers that they carry.
func tests(root string) (map[int][]inject, error) {
	found := map[int][]inject{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return fmt.Errorf("place of %s: %w", path, err)
		}
		if filepath.ToSlash(pkg) == "cmd/faults" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") && !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			for _, n := range numbers(fn) {
				found[n] = append(found[n], inject{filepath.ToSlash(pkg), fn.Name.Name})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	for _, all := range found {
		slices.SortFunc(all, func(a, b inject) int { return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test) })
	}
	return found, nil
}

// numbers returns the numbers that a test carries: in its name, and where a
// text in it begins with one.
func numbers(fn *ast.FuncDecl) []int {
	var out []int
	add := func(text string) {
		if n, err := strconv.Atoi(text); err == nil && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for _, m := range number.FindAllStringSubmatch(fn.Name.Name, -1) {
		add(m[1])
	}
	ast.Inspect(fn, func(x ast.Node) bool {
		if lit, ok := x.(*ast.BasicLit); ok && lit.Kind == token.STRING && len(lit.Value) > 5 {
			if m := number.FindStringSubmatchIndex(lit.Value); m != nil && m[0] == 1 && strings.IndexByte(" :", lit.Value[5]) >= 0 {
				add(lit.Value[m[2]:m[3]])
			}
		}
		return true
	})
	return out
}
