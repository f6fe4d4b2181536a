//go:build !linux

package storage

import (
	"errors"
	"os"
	"syscall"
)

func datasync(f *os.File) error { return f.Sync() } //nolint:wrapcheck // a *PathError says what and where

// sync does nothing: the system keeps names by itself.
func (dirFS) sync() error { return nil }

func unsafeMount(string) string { return "" }

func diskSpace(string) (free, total int64, ok bool) { return 0, 0, false }

func bootID() string { return "" }

// errorDiskFull is ERROR_DISK_FULL of Windows.
const errorDiskFull = syscall.Errno(112)

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errorDiskFull)
}
