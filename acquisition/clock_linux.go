package acquisition

import (
	"syscall"
	"time"
)

// kernelSleep sleeps by the kernel's high resolution timer: the runtime's own
// timers end on whole milliseconds.
func kernelSleep(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	for {
		var rest syscall.Timespec
		err := syscall.Nanosleep(&ts, &rest)
		if err != syscall.EINTR {
			return
		}
		ts = rest
	}
}
