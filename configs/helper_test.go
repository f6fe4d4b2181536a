package configs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pneudaq/configs"
)

// bundledText returns a file of the bundle.
func bundledText(t *testing.T, name string) string {
	t.Helper()
	data, err := fs.ReadFile(configs.Bundle(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// mutated writes a bundled rig with one text replaced into a directory that
// has the bundle's wire files beside it, and returns its path.
func mutated(t *testing.T, rig, from, to string) string {
	t.Helper()
	text := bundledText(t, "rigs/"+rig)
	if strings.Count(text, from) != 1 {
		t.Fatalf("%q stands %d times in %s", from, strings.Count(text, from), rig)
	}
	return written(t, rig, strings.Replace(text, from, to, 1))
}

// written writes a rig file into a directory that has the bundle's wire files
// beside it.
func written(t *testing.T, rig, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "rigs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"wires", "models"} {
		sub, err := fs.Sub(configs.Bundle(), part)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, part), sub); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "rigs", rig)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
