//go:build !linux

package simulator

import (
	"errors"
	"os"
)

// port is a serial line, which this system's twin does not have.
type port struct {
	*os.File
	path string
}

func openPort(string, int, string) (*port, error) {
	return nil, errors.New("RTU on a serial line or pseudo terminal needs Linux: use rtu_over_tcp")
}
