package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// dataFlags are the flags of every command that uses a store.
type dataFlags struct {
	dir    string
	server string
	json   bool
}

func (d *dataFlags) add(f *flag.FlagSet) {
	f.StringVar(&d.dir, "data", "", "data `directory` of the store (default: the system's place for a service, else the user's)")
	f.StringVar(&d.server, "server", "", "`URL` of a running service, when it is not found by its data directory")
	f.BoolVar(&d.json, "json", false, "print JSON")
}

// directory returns the data directory in force.
func (d *dataFlags) directory() (string, error) {
	if d.dir != "" {
		return filepath.Abs(d.dir) //nolint:wrapcheck // names the path itself
	}
	if v := os.Getenv("PNEUDAQ_DATA"); v != "" {
		return filepath.Abs(v) //nolint:wrapcheck // as above
	}
	// systemd sets it for a unit with StateDirectory=.
	if v := os.Getenv("STATE_DIRECTORY"); v != "" {
		return strings.Split(v, ":")[0], nil
	}
	if runtime.GOOS == "windows" {
		if v := os.Getenv("LOCALAPPDATA"); v != "" {
			return filepath.Join(v, "pneudaq"), nil
		}
	}
	if v := os.Getenv("XDG_STATE_HOME"); v != "" {
		return filepath.Join(v, "pneudaq"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fails(exitUsage, "no data directory: %w; name one with --data", err)
	}
	return filepath.Join(home, ".local", "state", "pneudaq"), nil
}

// serverFile is how a command finds the service that runs on a data directory.
// Only the owner of the directory can read it: it holds a token.
type serverFile struct {
	URL   string `json:"url"`
	PID   int    `json:"pid"`
	Token string `json:"token"`
}

const serverFileName = "server.json"

func writeServerFile(dir string, s serverFile) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write %s: %w", serverFileName, err)
	}
	path := filepath.Join(dir, serverFileName)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fails(exitIO, "write %s: %w", serverFileName, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fails(exitIO, "write %s: %w", serverFileName, err)
	}
	return nil
}

func readServerFile(dir string) (serverFile, bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, serverFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return serverFile{}, false, nil
	}
	if err != nil {
		return serverFile{}, false, fails(exitIO, "find the running service: %w", err)
	}
	var s serverFile
	if err := json.Unmarshal(data, &s); err != nil {
		return serverFile{}, false, nil //nolint:nilerr // a torn file of a service that was killed: nobody answers there
	}
	return s, true, nil
}
