//go:build !linux

package modbus

import (
	"errors"
	"fmt"
)

// openSerial refuses: serial lines are driven on Linux only.
func openSerial(e *endpoint) (stream, error) { //nolint:ireturn // as on Linux
	return nil, fmt.Errorf("serial port %s: %w", e.address, errSerial)
}

var errSerial = errors.New("serial lines are driven on Linux only; put a serial device server on the line, or share the port by a program such as ser2net or hub4com, and write rtu+tcp://host:port")
