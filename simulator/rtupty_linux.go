package simulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// port is a serial line: the master of a pseudo terminal, whose other end a client opens, or a serial device.
type port struct {
	*os.File
	path string   // what a client opens
	link string   // symbolic link to path, removed by Close
	hold *os.File // the slave, kept open so that clients may come and go
}

// Close implements io.Closer.
func (p *port) Close() error {
	err := p.File.Close()
	if p.hold != nil {
		err = errors.Join(err, p.hold.Close())
	}
	if p.link != "" {
		err = errors.Join(err, os.Remove(p.link))
	}
	return err
}

// openPort opens "pty", "pty:LINK" (with a symbolic link of that name to the client's end) or a device such as
// "/dev/ttyUSB0", with settings such as "8E1" and a rate in baud; 0 keeps the device's rate.
func openPort(listen string, baud int, frame string) (*port, error) {
	if listen != "pty" && !strings.HasPrefix(listen, "pty:") {
		f, err := os.OpenFile(listen, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("open serial port: %w", err)
		}
		if err := setRaw(f, baud, frame); err != nil {
			return nil, errors.Join(fmt.Errorf("set up serial port %s: %w", listen, err), f.Close())
		}
		return &port{File: f, path: listen}, nil
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pseudo terminal: %w", err)
	}
	p := &port{File: master}
	if err := p.unlock(); err != nil {
		return nil, errors.Join(fmt.Errorf("set up pseudo terminal: %w", err), p.Close())
	}
	if link, ok := strings.CutPrefix(listen, "pty:"); ok {
		if err := relink(p.path, link); err != nil {
			return nil, errors.Join(fmt.Errorf("link pseudo terminal: %w", err), p.Close())
		}
		p.link = link
	}
	return p, nil
}

// relink makes link point to path; another file of that name is left alone and is an error.
func relink(path, link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(link); err != nil { // of an earlier twin
			return err //nolint:wrapcheck // the caller says what it was for
		}
	}
	return os.Symlink(path, link) //nolint:wrapcheck // the caller says what it was for
}

// unlock readies the slave and finds its name.
func (p *port) unlock() error {
	number := 0
	err := control(p.File, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err //nolint:wrapcheck // the caller says what it was for
	})
	if err != nil {
		return err
	}
	p.path = "/dev/pts/" + strconv.Itoa(number)
	if p.hold, err = os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err != nil {
		return err //nolint:wrapcheck // the caller says what it was for
	}
	return setRaw(p.hold, 0, "")
}

// control runs f on a file's descriptor and leaves the file in the poller.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("take descriptor: %w", err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("use descriptor: %w", err)
	}
	return inner
}

// setRaw makes a terminal pass bytes as they are. The rate may be any, by the kernel's BOTHER.
func setRaw(file *os.File, baud int, frame string) error {
	return control(file, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
		if err != nil {
			return fmt.Errorf("read settings: %w", err)
		}
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.INPCK
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag |= unix.CREAD | unix.CLOCAL
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		if baud > 0 {
			t.Cflag = t.Cflag&^unix.CBAUD | unix.BOTHER
			t.Ispeed, t.Ospeed = uint32(baud), uint32(baud)
		}
		if err := setFrame(t, frame); err != nil {
			return err
		}
		if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
			return fmt.Errorf("write settings: %w", err)
		}
		return nil
	})
}

// setFrame sets data bits, parity and stop bits; empty keeps what is set, with 8 bits.
func setFrame(t *unix.Termios, frame string) error {
	t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
	if frame == "" {
		return nil
	}
	if len(frame) != 3 || frame[0] != '8' || frame[2] != '1' && frame[2] != '2' || !strings.ContainsRune("NEO", rune(frame[1])) {
		return fmt.Errorf("frame %q is unknown: 8N1, 8N2, 8E1, 8O1 and the like", frame)
	}
	t.Cflag &^= unix.PARENB | unix.PARODD | unix.CSTOPB
	switch frame[1] {
	case 'E':
		t.Cflag |= unix.PARENB
	case 'O':
		t.Cflag |= unix.PARENB | unix.PARODD
	}
	if frame[2] == '2' {
		t.Cflag |= unix.CSTOPB
	}
	return nil
}
