package modbus

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// serialPort is a terminal in raw mode with deadlines.
type serialPort struct{ *os.File }

// openSerial opens and sets a serial line: raw, any rate (termios2), exclusive.
func openSerial(e *endpoint) (stream, error) { //nolint:ireturn // one of the things that frames run over
	fd, err := unix.Open(e.address, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explainSerial(e.address, err)
	}
	if err := setSerial(fd, e); err != nil {
		_ = unix.Close(fd) // the setting has said what is wrong
		return nil, err
	}
	return serialPort{os.NewFile(uintptr(fd), e.address)}, nil // non-blocking, so it gets deadlines
}

func explainSerial(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("serial port %s is not there; look at the adapter, and use its lasting name under /dev/serial/by-id: %w", path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("serial port %s may not be used; add the user to the group dialout: %w", path, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("serial port %s is used by another program: %w", path, err)
	}
	return fmt.Errorf("serial port %s: %w", path, err)
}

func setSerial(fd int, e *endpoint) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return fmt.Errorf("serial port %s is no terminal: %w", e.address, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return explainSerial(e.address, err)
	}
	t.Iflag = unix.IGNBRK
	t.Oflag, t.Lflag = 0, 0
	t.Cflag = unix.CREAD | unix.CLOCAL | unix.BOTHER
	if e.data == 7 {
		t.Cflag |= unix.CS7
	} else {
		t.Cflag |= unix.CS8
	}
	if e.stop == 2 {
		t.Cflag |= unix.CSTOPB
	}
	if e.parity != 'N' {
		t.Cflag |= unix.PARENB
		t.Iflag |= unix.INPCK | unix.IGNPAR // a spoilt byte is missing then, and the check sum tells
	}
	if e.parity == 'O' {
		t.Cflag |= unix.PARODD
	}
	t.Ispeed, t.Ospeed = uint32(e.baud), uint32(e.baud)
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
		return fmt.Errorf("serial port %s does not take %d baud, %d data bits, parity %c, %d stop bits: %w", e.address, e.baud, e.data, e.parity, e.stop, err)
	}
	if got, err := unix.IoctlGetTermios(fd, unix.TCGETS2); err == nil {
		if d := int(got.Ospeed) - e.baud; d > e.baud/50 || -d > e.baud/50 {
			return fmt.Errorf("serial port %s makes %d baud of %d; the line would not understand", e.address, got.Ospeed, e.baud)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH); err != nil {
		return fmt.Errorf("empty serial port %s: %w", e.address, err)
	}
	return nil
}

// flush throws away what the kernel still holds of the line, right before a
// request: nothing in it can be its answer.
func (p serialPort) flush() {
	raw, err := p.SyscallConn()
	if err != nil {
		return // the write will say so
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIFLUSH) // what it leaves is found by the framer
	})
}
