package main

import (
	"syscall"
	"time"
	"unsafe"
)

// kernelClock reads the kernel's opinion of its own clock.
func kernelClock() clockState {
	var tx syscall.Timex
	if _, err := syscall.Adjtimex(&tx); err != nil {
		return clockState{Source: "unknown: " + err.Error()}
	}
	const unsynchronised = 0x40
	return clockState{
		Source:         "kernel",
		Synchronised:   tx.Status&unsynchronised == 0,
		EstimatedError: time.Duration(tx.Esterror) * time.Microsecond,
		MaximumError:   time.Duration(tx.Maxerror) * time.Microsecond,
	}
}

// asleep returns how long the machine has been suspended since it booted.
func asleep() time.Duration {
	const clockMonotonic, clockBoottime = 1, 7
	var mono, boot syscall.Timespec
	for _, c := range []struct {
		id uintptr
		to *syscall.Timespec
	}{{clockMonotonic, &mono}, {clockBoottime, &boot}} {
		if _, _, e := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, c.id, uintptr(unsafe.Pointer(c.to)), 0); e != 0 { //nolint:gosec // the system call takes a pointer
			return 0
		}
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
