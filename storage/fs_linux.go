package storage

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// sync makes names durable.
func (d dirFS) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Magic numbers of file systems that do not survive a power cut, or lock and
// sync in ways of their own.
const (
	magicTmpfs   = 0x01021994
	magicRamfs   = 0x858458f6
	magicNFS     = 0x6969
	magicCIFS    = 0xff534d42
	magicSMB2    = 0xfe534d42
	magicOverlay = 0x794c7630
	magicFUSE    = 0x65735546
)

// unsafeMount names the file system of a directory if it is not one on which a
// power cut is survived.
func unsafeMount(dir string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return ""
	}
	switch uint32(s.Type) {
	case magicTmpfs, magicRamfs:
		return "tmpfs"
	case magicNFS:
		return "NFS"
	case magicCIFS, magicSMB2:
		return "SMB"
	case magicOverlay:
		return "overlay"
	case magicFUSE:
		return "FUSE"
	}
	return ""
}

// diskSpace returns the free and total bytes of the file system of a directory.
func diskSpace(dir string) (free, total int64, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0, 0, false
	}
	size := int64(s.Bsize) //nolint:unconvert // 32 bits wide on some processors
	return int64(s.Bavail) * size, int64(s.Blocks) * size, true
}

// bootID returns what the kernel calls this boot.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b[:max(0, len(b)-1)])
}

// diskFull reports whether the error says that no space (or quota, or inode) is left.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
