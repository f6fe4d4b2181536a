package main

import (
	"context"
	"encoding/json"
	"runtime"
	"runtime/debug"
)

// build describes the program to people and to the record.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func runVersion(_ context.Context, t *terminal, args []string) error {
	f := flags(t, "version", "[--json]")
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args); err != nil {
		return err
	}
	b := thisBuild()
	if *asJSON {
		return writeJSON(t, b)
	}
	t.printf("pneudaq %s %s (%s)\n", b.Version, b.Platform, b.Go)
	return nil
}

func writeJSON(t *terminal, v any) error {
	e := json.NewEncoder(t.out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fails(exitIO, "print JSON: %w", err)
	}
	return nil
}
