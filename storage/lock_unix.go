//go:build unix

package storage

import (
	"errors"
	"os"
	"syscall"
)

func lockFile(path string) (f *os.File, busy bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, false, err //nolint:wrapcheck // a *PathError says what and where
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, false, nil
	}
	return nil, errors.Is(err, syscall.EWOULDBLOCK), errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
}
