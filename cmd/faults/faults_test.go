package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The page must say what the tree has.
func TestPageIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := page("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), want) {
		t.Error("docs/faults.md is stale: run `go run ./cmd/faults` in the root of the repository")
	}
}

func TestNumbersOfTests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "package x\nimport \"testing\"\nfunc TestF001F002Two(t *testing.T) {}\nfunc TestCases(t *testing.T) { t.Run(\"F003 a case\", nil); t.Log(\"F0040\", \"see F005\") }\nfunc helperF006() {}\n"
	if err := os.WriteFile(filepath.Join(dir, "x_test.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := tests(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 3 || found[1][0].test != "TestF001F002Two" || found[2][0] != found[1][0] || found[3][0].test != "TestCases" {
		t.Errorf("found %v", found)
	}
	if _, err := page(dir); err == nil || !strings.Contains(err.Error(), "neither a test nor a reason") {
		t.Errorf("faults without a test: %v", err)
	}
	text = "package x\nimport \"testing\"\nfunc TestF999Nothing(t *testing.T) {}\n"
	if err := os.WriteFile(filepath.Join(dir, "x_test.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := page(dir); err == nil || !strings.Contains(err.Error(), "no fault F999") {
		t.Errorf("an unknown number: %v", err)
	}
}
