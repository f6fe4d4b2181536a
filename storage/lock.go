package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const lockName = "lock"

// LockedError says that another process has the store open.
type LockedError struct {
	Dir string
	PID int // of the process that has it, 0 if it did not say
}

// Error says who has the store and what to do.
func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("open store %s: %s has it open; use the commands of that process, stop it, or choose another data directory", e.Dir, who)
}

// lockDir takes the lock of the directory and writes our process id into it.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, busy, err := lockFile(path)
	if busy {
		pid := 0
		if b, err := os.ReadFile(path); err == nil {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return nil, &LockedError{Dir: dir, PID: pid}
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("open store %s: no right to write there; give the user of this process the right, or choose another data directory: %w", dir, err)
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	// The id helps a person; the lock itself does not depend on it.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}
