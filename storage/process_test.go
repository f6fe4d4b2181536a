package storage_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/storage"
)

// childDir tells the test binary to be a service that writes until it is killed.
const childDir = "PNEUDAQ_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child commits as fast as it can and prints the first slot that is not
// promised after each commit.
func child(dir string) error {
	now := func() int64 { return time.Now().UnixNano() }
	ctx, stop := contextOfChild()
	defer stop()
	s, err := storage.Open(ctx, storage.Options{Dir: dir, Now: now, SegmentSize: 30_000})
	if err != nil {
		return err
	}
	go func() { _ = s.Run(ctx) }() // compacts in the background
	g := pressures()
	first := slotAt(g, now())
	if slot, _, ok := s.Last(g.Key()); ok {
		first = max(first, slot+1)
	}
	o, err := s.OpenEpoch(ctx, g, 0, first)
	if err != nil {
		return err
	}
	fmt.Println("first", first)
	for slot := first; ; slot++ {
		if r := o.Append(scan(g, slot)); r != acquisition.ReasonNone {
			return errors.New(r.String())
		}
		if slot%4 == 0 {
			if err := s.Commit(ctx); err != nil {
				return err
			}
			fmt.Println("acked", slot+1)
		}
		if slot%500 == 0 {
			if err := s.Compact(ctx); err != nil {
				return err
			}
		}
	}
}

func TestF087KillMinus9(t *testing.T) {
	dir := t.TempDir()
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	g := pressures()
	begin, next := uint64(0), uint64(0)
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		acked := uint64(0)
		killed := false
		for lines.Scan() {
			what, n, _ := strings.Cut(lines.Text(), " ")
			v, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				t.Fatal(lines.Text())
			}
			switch what {
			case "first":
				if begin == 0 {
					begin = v
				}
			case "acked":
				acked = v
			}
			if !killed && acked > next+uint64(150+170*round) && what == "acked" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				killed = true
			}
		}
		_ = cmd.Wait()
		if acked == 0 || !killed {
			t.Fatal("the child promised nothing")
		}
		s, err := storage.Open(t.Context(), storage.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if s.Recovery().Clean {
			t.Fatal("the child was not killed in the middle")
		}
		to := uint64(0)
		for b, err := range s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
			if err != nil {
				t.Fatal(err)
			}
			if n := b.Len(); n > 0 {
				to = b.Slots[n-1] + 1
			}
		}
		if to < acked {
			t.Fatalf("promised up to slot %d, stored up to %d", acked, to)
		}
		if round == rounds-1 {
			gaps := verify(t, s, g.Key(), begin, to)
			for slot, r := range gaps {
				if r != acquisition.ReasonProcess {
					t.Fatalf("slot %d: %s", slot, r)
				}
			}
		}
		next = acked
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestF076DirectoryWithoutRights(t *testing.T) {
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		// Rights do not hold root back; a file in the way does.
		dir := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := storage.Open(t.Context(), storage.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.Open(t.Context(), storage.Options{Dir: dir}); !errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
}

func TestF079UnsafeMount(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "pneudaq") //nolint:usetesting // it must be on a tmpfs
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("there is no tmpfs at /dev/shm")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := storage.Open(t.Context(), storage.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if s.Recovery().Mount != "tmpfs" {
		t.Fatalf("%+v", s.Recovery())
	}
}

// A real full disk: a tmpfs of two megabytes.
func TestF065RealFullDisk(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("mounting a small tmpfs needs root; TestF065DiskFull does the same on a disk of memory")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a small tmpfs is refused here (%s); TestF065DiskFull does the same on a disk of memory", strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() { _ = exec.CommandContext(contextWithoutCancel(t), "umount", dir).Run() })
	c := &clock{start}
	s := open(t, dir, c, func(o *storage.Options) { o.MemoryLimit = 1 })
	g := pressures()
	opens, next := begin(t, s, g)
	first := next[0]
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	held := false
	for i := range 5000 {
		for range 100 {
			if r := opens[0].Append(scan(g, next[0])); r != acquisition.ReasonNone {
				opens[0].Miss(acquisition.Gap{From: next[0], To: next[0] + 1, Reason: r})
				held = true
			}
			next[0]++
		}
		c.t += 10 * second
		if err := s.Commit(t.Context()); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if held && i%50 == 0 {
			break
		}
	}
	if !held {
		t.Fatal("the disk did not get full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	commit(t, s)
	commit(t, s)
	for _, r := range verify(t, s, g.Key(), first, next[0]) {
		if r != acquisition.ReasonDiskFull {
			t.Fatal(r)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
