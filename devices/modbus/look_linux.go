package modbus

import (
	"io"
	"syscall"
	"time"
)

// looker reads what has already come, without waiting.
type looker struct {
	buffer []byte
	n      int
	err    error
	once   func(fd uintptr) bool
}

// look reads what has already come into the free part of the buffer. No bytes
// and no error means that nothing has.
func (b *Bus) look() (int, error) {
	if b.raw == nil || b.e.scheme == overTLS {
		return b.lookBriefly()
	}
	if !b.beforeRead(time.Time{}) {
		return 0, nil
	}
	l := &b.looker
	if l.once == nil {
		l.once = func(fd uintptr) bool {
			l.n, l.err = syscall.Read(int(fd), l.buffer)
			return true
		}
	}
	l.buffer, l.n, l.err = b.in[b.w:], 0, nil
	if err := b.raw.Read(l.once); err != nil {
		return 0, err //nolint:wrapcheck // the callers word what a connection says
	}
	switch {
	case l.n > 0:
		return l.n, nil
	case l.err == syscall.EAGAIN || l.err == syscall.EINTR: //nolint:errorlint // straight from the system call
		return 0, nil
	case l.err != nil:
		return 0, l.err
	}
	return 0, io.EOF
}
