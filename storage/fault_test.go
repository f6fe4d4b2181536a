package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/storage"
	"pneudaq/storage/storagetest"
)

// life is one process on a disk that lies, and what it was promised.
type life struct {
	t     *testing.T
	disk  *storagetest.Disk
	c     *clock
	s     *storage.Store
	boot  string
	opens map[acquisition.GroupKey]*acquisition.Open
	next  map[acquisition.GroupKey]uint64 // first slot that was not appended
	acked map[acquisition.GroupKey]uint64 // first slot that was not promised
	first map[acquisition.GroupKey]uint64
}

func newLife(t *testing.T, disk *storagetest.Disk) *life {
	t.Helper()
	return &life{
		t: t, disk: disk, c: &clock{start}, boot: "boot-1", opens: map[acquisition.GroupKey]*acquisition.Open{},
		next: map[acquisition.GroupKey]uint64{}, acked: map[acquisition.GroupKey]uint64{}, first: map[acquisition.GroupKey]uint64{},
	}
}

func (l *life) open(more ...setup) error {
	o := storage.Options{FS: l.disk, Now: l.c.now, BootID: l.boot, Dir: "disk"}
	for _, m := range more {
		m(&o)
	}
	s, err := storage.Open(l.t.Context(), o)
	l.s = s
	return err
}

func (l *life) begin(groups ...*acquisition.Group) error {
	for _, g := range groups {
		slot := slotAt(g, l.c.t)
		if l.first[g.Key()] == 0 {
			l.first[g.Key()] = slot
			l.acked[g.Key()] = slot
		}
		// It waits for a disk that takes nothing; these tests do not.
		ctx, cancel := context.WithTimeout(l.t.Context(), 300*time.Millisecond)
		go func() {
			select {
			case <-l.disk.Dead():
				cancel()
			case <-ctx.Done():
			}
		}()
		o, err := l.s.OpenEpoch(ctx, g, 0, slot)
		cancel()
		if err != nil {
			return err
		}
		l.opens[g.Key()], l.next[g.Key()] = o, slot
	}
	return nil
}

// second appends a second of every group and commits.
func (l *life) second() error {
	for k, o := range l.opens {
		g := o.Group()
		n := uint64(time.Second / g.Period)
		for range n {
			s := scan(g, l.next[k])
			if r := o.Append(s); r != acquisition.ReasonNone {
				o.Miss(acquisition.Gap{From: s.Slot, To: s.Slot + 1, Reason: r})
			}
			l.next[k]++
		}
	}
	l.c.t += second
	if err := l.s.Commit(l.t.Context()); err != nil {
		return err
	}
	maps.Copy(l.acked, l.next)
	return nil
}

// slow is a second group, of floats.
func slow() *acquisition.Group {
	g := &acquisition.Group{Rig: "flow-bench", Name: "slow", Measurement: "pneumatics", Period: 500 * time.Millisecond, Words: 4, Exchanges: 1}
	for i, name := range []string{"Ta", "pb"} {
		g.Channels = append(g.Channels, acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{At: 2 * i, Type: acquisition.TypeFloat32}})
	}
	return g
}

// after opens what a crash left and checks the promises: nothing that was
// acknowledged is lost or changed, and every slot has one account.
func (l *life) after(image *storagetest.Disk, groups ...*acquisition.Group) (*life, map[acquisition.GroupKey]map[uint64]acquisition.Reason) {
	l.t.Helper()
	n := newLife(l.t, image)
	n.c.t, n.boot = l.c.t+20*second, "boot-2"
	maps.Copy(n.first, l.first)
	maps.Copy(n.acked, l.acked)
	if err := n.open(); err != nil {
		l.t.Fatalf("a crash must not keep the store from opening: %v", err)
	}
	all := map[acquisition.GroupKey]map[uint64]acquisition.Reason{}
	for _, g := range groups {
		k := g.Key()
		if len(n.s.Epochs(k)) == 0 {
			if l.acked[k] != l.first[k] {
				l.t.Fatalf("the epoch of %s is lost: acked %d first %d; %v; %+v", k, l.acked[k], l.first[k], image.Names(), n.s.Recovery())
			}
			continue
		}
		if err := n.begin(g); err != nil {
			l.t.Fatal(err)
		}
		gaps := verify(l.t, n.s, k, l.first[k], n.next[k])
		for slot := l.first[k]; slot < l.acked[k]; slot++ {
			if r, ok := gaps[slot]; ok {
				l.t.Fatalf("slot %d of %s was promised and is a gap %s", slot, k, r)
			}
		}
		all[k] = gaps
	}
	return n, all
}

func (l *life) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// Every image of the last commit, cut or torn at every byte.
func TestF069TornTail(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open())
	g, h := pressures(), slow()
	l.must(l.begin(g, h))
	l.must(l.second())
	l.must(l.second())
	// The power goes after the write of a commit and before its sync.
	l.disk.Hook(func(o storagetest.Op) error {
		if o.Kind == storagetest.Sync {
			return storagetest.ErrOff
		}
		return nil
	})
	if l.second() == nil {
		t.Fatal("the commit was acknowledged")
	}
	images, torn := 0, 0
	for image := range l.disk.Images() {
		n, gaps := l.after(image, g, h)
		images++
		if findings(n.s)["torn_tail"] > 0 {
			torn++
		}
		for _, m := range gaps {
			for slot, r := range m {
				if r != acquisition.ReasonPower {
					t.Fatalf("slot %d has reason %s", slot, r)
				}
			}
		}
		l.must(n.s.Close())
	}
	if images < 300 || torn < images/2 {
		t.Fatalf("%d images, %d torn: the fault did not happen", images, torn)
	}
}

// The power goes at every operation; what is left is opened again.
func TestF070PowerCutAtEveryOperation(t *testing.T) {
	run := func(l *life) error {
		if err := l.open(func(o *storage.Options) { o.SegmentSize = 4000 }); err != nil {
			return err
		}
		if err := l.begin(pressures(), slow()); err != nil {
			return err
		}
		for i := range 9 {
			if err := l.second(); err != nil {
				return err
			}
			if i%4 == 3 {
				l.s.Rotate()
				if err := l.s.Compact(l.t.Context()); err != nil {
					return err
				}
			}
			if i == 5 {
				if _, err := l.s.StartRecording(l.t.Context(), acquisition.Recording{ID: "r", Rig: "flow-bench"}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	whole := newLife(t, storagetest.New())
	whole.must(run(whole))
	ops := whole.disk.Count()
	whole.must(whole.s.Close())
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	crashes, refused := 0, 0
	for n := 1; n <= ops; n++ {
		for seed := range rounds {
			l := newLife(t, storagetest.New())
			l.disk.StopAt(n)
			err := run(l)
			if err == nil {
				continue
			}
			crashes++
			r := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
			image := l.disk.PowerCut(r)
			if seed == 2 {
				image = l.disk.Kill()
			}
			t.Logf("power off at operation %d, seed %d: %v", n, seed, err)
			n, _ := l.after(image, pressures(), slow())
			if n.s.Recovery().Clean {
				refused++
			}
			// And once more: what the repair wrote is found again.
			again, _ := n.after(n.disk.PowerCut(r), pressures(), slow())
			l.must(again.s.Close())
		}
	}
	if crashes < ops*rounds/2 {
		t.Fatalf("%d crashes at %d operations: the fault did not happen", crashes, ops)
	}
	t.Logf("%d operations, %d crashes", ops, crashes)
}

// A sync is answered with an error, once: nothing is acknowledged, the file is
// closed for good, and what memory holds goes to a new one.
func TestF068FailedSync(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open())
	g := pressures()
	l.must(l.begin(g))
	l.must(l.second())
	syncs := map[string]int{}
	failed := ""
	l.disk.Hook(func(o storagetest.Op) error {
		if o.Kind != storagetest.Sync || !strings.HasPrefix(o.Name, "raw-") {
			return nil
		}
		syncs[o.Name]++
		if failed == "" {
			failed = o.Name
			return syscall.EIO
		}
		return nil
	})
	acked := false
	l.opens[g.Key()].Deliver(&acquisition.Delivery{Group: g, Ack: func() { acked = true }})
	if l.second() == nil || acked {
		t.Fatal("acknowledged without a sync")
	}
	if st := l.s.Stats(); st.FailedSyncs != 1 || st.Problem == "" {
		t.Fatalf("%+v", st)
	}
	l.must(l.second())
	if !acked || l.s.Stats().Problem != "" {
		t.Fatal("not acknowledged after the second attempt")
	}
	if syncs[failed] != 1 || len(syncs) != 2 {
		t.Fatalf("syncs %v: the failed file must not be synced again", syncs)
	}
	_, gaps := l.after(l.disk.PowerCut(rand.New(rand.NewPCG(1, 1))), g)
	for slot, r := range gaps[g.Key()] {
		if r != acquisition.ReasonPower || slot < l.acked[g.Key()] {
			t.Fatalf("slot %d: %s", slot, r)
		}
	}
	for _, e := range []string{"store_held"} {
		ev, err := l.s.Events(t.Context(), storage.EventQuery{Code: e})
		if err == nil && len(ev) != 1 {
			t.Fatalf("events %v", ev)
		}
	}
}

// A write is answered with EIO, in whole or after half of it.
func TestF067WriteError(t *testing.T) {
	for _, torn := range []bool{false, true} {
		l := newLife(t, storagetest.New())
		l.must(l.open())
		g := pressures()
		l.must(l.begin(g))
		l.disk.TearWrites(torn)
		n := 0
		l.disk.Hook(func(o storagetest.Op) error {
			if o.Kind == storagetest.Write && strings.HasPrefix(o.Name, "raw-") {
				if n++; n == 1 || n == 2 {
					return syscall.EIO
				}
			}
			return nil
		})
		for range 2 {
			if l.second() == nil {
				t.Fatal("acknowledged")
			}
		}
		l.must(l.second())
		if n != 3 && n != 4 {
			t.Fatalf("%d writes", n)
		}
		if len(verify(t, l.s, g.Key(), l.first[g.Key()], l.next[g.Key()])) != 0 {
			t.Fatal("memory held it: no gap is needed")
		}
		l.after(l.disk.PowerCut(rand.New(rand.NewPCG(1, 1))), g)
	}
}

// A chunk cannot be read: its slots are a gap with reason io, and only they.
func TestF067ReadError(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open())
	g := pressures()
	l.must(l.begin(g))
	for range 3 {
		l.must(l.second())
	}
	n := 0
	l.disk.Hook(func(o storagetest.Op) error {
		if o.Kind == storagetest.Read {
			if n++; n == 2 {
				return syscall.EIO
			}
		}
		return nil
	})
	gaps := verify(t, l.s, g.Key(), l.first[g.Key()], l.next[g.Key()])
	if len(gaps) != 10 || gaps[l.first[g.Key()]+10] != acquisition.ReasonIO {
		t.Fatalf("gaps %v", gaps)
	}
	l.disk.Hook(nil)
	if gaps := verify(t, l.s, g.Key(), l.first[g.Key()], l.next[g.Key()]); len(gaps) != 0 {
		t.Fatalf("the disk answers again and the gap stays: %v", gaps)
	}
}

// The disk is full: memory holds what it may, then slots are gaps with reason
// disk_full, and once there is space everything that memory held is stored.
func TestF065DiskFull(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open(func(o *storage.Options) { o.MemoryLimit = 1 }))
	g := pressures()
	l.must(l.begin(g))
	l.must(l.second())
	size := l.disk.Used()
	l.disk.SetCapacity(size + 200)
	held := 0
	for l.next[g.Key()] < l.first[g.Key()]+12_000 {
		if l.second() != nil {
			held++
		}
	}
	if held < 1000 {
		t.Fatalf("held %d times: the fault did not happen", held)
	}
	if l.disk.Used() > size+200 {
		t.Fatal("written beyond the capacity")
	}
	// The process dies while the disk is full: the reason is known after it.
	dead := newLife(t, l.disk.PowerCut(rand.New(rand.NewPCG(3, 3))))
	dead.c.t, dead.boot, dead.first, dead.acked = l.c.t, l.boot, l.first, l.acked
	_, gaps := dead.after(dead.disk, g)
	full, power := 0, 0
	for _, r := range gaps[g.Key()] {
		if r != acquisition.ReasonDiskFull && r != acquisition.ReasonPower {
			t.Fatalf("reason %s", r)
		}
		if r == acquisition.ReasonDiskFull {
			full++
		} else {
			power++
		}
	}
	if full < 11_000 || power < 150 || power > 300 {
		t.Fatalf("%d slots disk_full, %d slots power", full, power)
	}
}

func TestF065SpaceAgain(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open(func(o *storage.Options) { o.MemoryLimit = 1 }))
	g := pressures()
	l.must(l.begin(g))
	l.must(l.second())
	l.disk.SetCapacity(l.disk.Used() + 200)
	for range 1200 {
		_ = l.second()
	}
	l.disk.SetCapacity(0)
	l.must(l.second())
	l.must(l.second())
	gaps := verify(t, l.s, g.Key(), l.first[g.Key()], l.next[g.Key()])
	if len(gaps) == 0 {
		t.Fatal("no gap")
	}
	for slot, r := range gaps {
		if r != acquisition.ReasonDiskFull {
			t.Fatalf("slot %d: %s", slot, r)
		}
	}
	if len(gaps) > 11_900 {
		t.Fatalf("memory held nothing: %d gaps", len(gaps))
	}
	again := newLife(t, l.disk.PowerCut(rand.New(rand.NewPCG(3, 3))))
	again.must(again.open())
	if d := cmp.Diff(gaps, verify(t, again.s, g.Key(), l.first[g.Key()], l.next[g.Key()])); d != "" {
		t.Fatal(d)
	}
}

// ENOSPC at every single operation of a life: nothing is lost, nothing that was
// there goes, and the store opens again.
func TestF066DiskFullAtEveryOperation(t *testing.T) {
	ops := 1 << 30
	seen := 0
	for n := 1; n <= ops; n++ {
		l := newLife(t, storagetest.New())
		l.disk.Hook(func(o storagetest.Op) error {
			if o.N == n && (o.Kind == storagetest.Write || o.Kind == storagetest.Create || o.Kind == storagetest.Rename || o.Kind == storagetest.Truncate) {
				seen++
				return syscall.ENOSPC
			}
			return nil
		})
		err := l.open(func(o *storage.Options) { o.SegmentSize = 3000 })
		if err == nil {
			if err = l.begin(pressures()); err == nil {
				for i := range 8 {
					_ = l.second()
					if i == 4 {
						_ = l.s.Compact(t.Context())
					}
				}
				if l.second() != nil { // what waited is stored now
					l.must(l.s.Commit(t.Context()))
					l.must(l.s.Commit(t.Context()))
				}
				k := pressures().Key()
				if gaps := verify(t, l.s, k, l.first[k], l.next[k]); len(gaps) > 0 {
					t.Fatalf("operation %d: gaps %v", n, gaps)
				}
			}
			if ops == 1<<30 && l.disk.Count() < n {
				ops = l.disk.Count()
			}
			l.must(l.s.Close())
			l.must(l.open())
		} else if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "FULL") && !strings.Contains(err.Error(), "full") {
			t.Fatalf("operation %d: %v", n, err)
		}
		l.after(l.disk.Kill(), pressures())
	}
	if seen < 30 {
		t.Fatalf("%d faults", seen)
	}
}

// Every byte of every segment file, one at a time: the damage is found, at most
// one frame is lost, and the store opens.
func TestF072EveryByteFlipped(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open())
	g := pressures()
	l.must(l.begin(g))
	for range 4 {
		l.must(l.second())
	}
	l.s.Rotate()
	l.must(l.s.Compact(t.Context()))
	for range 3 {
		l.must(l.second())
	}
	l.must(l.s.CloseEpoch(t.Context(), l.opens[g.Key()], l.next[g.Key()], acquisition.ReasonStopped))
	l.must(l.s.Close())
	step := 1
	if testing.Short() {
		step = 13
	}
	flips, lost := 0, 0
	for _, name := range l.disk.Names() {
		if !strings.HasSuffix(name, ".pns") {
			continue
		}
		b := l.disk.Bytes(name)
		for i := 0; i < len(b); i += step {
			image := l.disk.Kill()
			x := append([]byte(nil), b...)
			x[i] ^= 1 << (i % 8)
			image.SetBytes(name, x)
			flips++
			n, gaps := l.after2(image, g)
			// The largest frame here holds 40 slots.
			if m := len(gaps); m > 40 {
				t.Fatalf("%s byte %d: %d slots lost", name, i, m)
			} else if m > 0 {
				lost++
			}
			for slot, r := range gaps {
				if r != acquisition.ReasonCorrupt && r != acquisition.ReasonProcess && r != acquisition.ReasonPower {
					t.Fatalf("%s byte %d: slot %d is %s", name, i, slot, r)
				}
			}
			damage, err := n.s.Verify()
			l.must(err)
			if len(n.s.Recovery().Findings) == 0 && len(damage) == 0 && !strings.HasPrefix(name, "sealed-") {
				t.Fatalf("%s byte %d: the damage was not found", name, i)
			}
			l.must(n.s.Close())
			// Without the catalog the file itself must show it.
			if i%7 == 0 && strings.HasPrefix(name, "sealed-") {
				image.SetBytes("catalog.db", nil)
				n, gaps = l.after2(image, g)
				if f := findings(n.s); f["damaged_frame"]+f["foreign"] == 0 || len(gaps) > 40 {
					t.Fatalf("%s byte %d without the catalog: %+v", name, i, n.s.Recovery())
				}
				l.must(n.s.Close())
			}
		}
	}
	if flips < 300 || lost < flips/4 {
		t.Fatalf("%d flips, %d lost", flips, lost)
	}
	t.Logf("%d flips, %d of them cost one frame", flips, lost)
}

// after2 opens an image of a store that was closed and returns the gaps.
func (l *life) after2(image *storagetest.Disk, g *acquisition.Group) (*life, map[uint64]acquisition.Reason) {
	l.t.Helper()
	n := newLife(l.t, image)
	n.c.t, n.boot = l.c.t, "boot-2"
	if err := n.open(); err != nil {
		l.t.Fatal(err)
	}
	k := g.Key()
	gaps := map[uint64]acquisition.Reason{}
	seen := map[uint64]int{}
	for b, err := range n.s.Blocks(l.t.Context(), storage.Query{Group: k, Hole: true}) {
		if err != nil {
			l.t.Fatal(err)
		}
		for i, slot := range b.Slots {
			seen[slot]++
			w := scan(g, slot)
			if b.Times[i] != w.Time || fmt.Sprint(b.ScanWords(i)) != fmt.Sprint(w.Words) {
				l.t.Fatalf("slot %d is falsified", slot)
			}
		}
		for _, x := range b.Gaps {
			for s := x.From; s < x.To; s++ {
				seen[s]++
				gaps[s] = x.Reason
			}
		}
	}
	for s := l.first[k]; s < l.next[k]; s++ {
		if seen[s] != 1 {
			l.t.Fatalf("slot %d has %d accounts; recovery %+v", s, seen[s], n.s.Recovery())
		}
	}
	return n, gaps
}

// Files of others, of newer versions and files that are missing.
func TestF073MissingForeignNewer(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open(func(o *storage.Options) { o.SegmentSize = 1000 }))
	g := pressures()
	l.must(l.begin(g))
	for range 6 {
		l.must(l.second())
	}
	l.must(l.s.CloseEpoch(t.Context(), l.opens[g.Key()], l.next[g.Key()], acquisition.ReasonStopped))
	l.must(l.s.Close())
	image := l.disk.Kill()
	var raws []string
	for _, n := range image.Names() {
		if strings.HasPrefix(n, "raw-") {
			raws = append(raws, n)
		}
	}
	if len(raws) < 4 {
		t.Fatal(raws)
	}
	image.SetBytes(raws[1], nil)
	newer := append([]byte("PNEUSEG\n"), 99, 0, 0, 0)
	newer = append(newer, crc(newer)...)
	newer = append(newer, image.Bytes(raws[2])[16:]...)
	image.SetBytes(raws[2], newer)
	image.SetBytes("raw-0000000099.pns", []byte("a photograph"))
	image.SetBytes("raw-0000000100.pns", image.Bytes(raws[0])[:0])
	image.SetBytes("notes.txt", []byte("mine"))
	n, gaps := l.after2(image, g)
	if f := findings(n.s); f["newer"] != 1 || f["foreign"] != 1 || f["lost_blocks"] != 1 {
		t.Fatalf("%+v", n.s.Recovery())
	}
	for slot, r := range gaps {
		if r != acquisition.ReasonCorrupt {
			t.Fatalf("slot %d: %s", slot, r)
		}
	}
	if len(gaps) == 0 || len(gaps) > 40 {
		t.Fatalf("%d gaps", len(gaps))
	}
	if string(image.Bytes("raw-0000000099.pns")) != "a photograph" || string(image.Bytes("notes.txt")) != "mine" || string(image.Bytes(raws[2])) != string(newer) {
		t.Fatal("a file that is not ours was touched")
	}
}

func TestF073NewerStoreIsRefused(t *testing.T) {
	l := newLife(t, storagetest.New())
	l.must(l.open())
	l.must(l.s.Close())
	image := l.disk.Kill()
	image.SetBytes("format.json", []byte(`{"format":2}`))
	before := map[string]string{}
	for _, n := range image.Names() {
		before[n] = string(image.Bytes(n))
	}
	n := newLife(t, image)
	err := n.open()
	var f *storage.FormatError
	if !errors.As(err, &f) || f.Format != 2 || !strings.Contains(err.Error(), "newer version") {
		t.Fatal(err)
	}
	for _, n := range image.Names() {
		if before[n] != string(image.Bytes(n)) {
			t.Fatalf("%s was touched", n)
		}
	}
}

// A read-only disk: refused at the start; in the middle, samples wait and then
// are gaps.
func TestF076ReadOnly(t *testing.T) {
	l := newLife(t, storagetest.New())
	readOnly := func(o storagetest.Op) error {
		switch o.Kind {
		case storagetest.Write, storagetest.Create, storagetest.Rename, storagetest.Remove, storagetest.Truncate:
			return syscall.EROFS
		case storagetest.Any, storagetest.Open, storagetest.List, storagetest.Read, storagetest.Sync:
		}
		return nil
	}
	l.disk.Hook(readOnly)
	if err := l.open(); !errors.Is(err, syscall.EROFS) {
		t.Fatal(err)
	}
	l.disk.Hook(nil)
	l.must(l.open(func(o *storage.Options) { o.MemoryLimit = 1 }))
	g := pressures()
	l.must(l.begin(g))
	l.must(l.second())
	l.disk.Hook(readOnly)
	for range 1500 {
		if l.second() == nil {
			t.Fatal("acknowledged")
		}
	}
	l.disk.Hook(nil)
	l.must(l.second())
	l.must(l.second())
	gaps := verify(t, l.s, g.Key(), l.first[g.Key()], l.next[g.Key()])
	if len(gaps) == 0 {
		t.Fatal("memory is not bounded")
	}
	for slot, r := range gaps {
		if r != acquisition.ReasonIO {
			t.Fatalf("slot %d: %s", slot, r)
		}
	}
}

// A sync takes two seconds: appending is not held up, and beyond the memory
// limit slots are gaps with reason backpressure.
func TestF078SlowSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storagetest.New()
		now := func() int64 { return time.Now().UnixNano() }
		s, err := storage.Open(t.Context(), storage.Options{FS: disk, Now: now, BootID: "b", MemoryLimit: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := cancelled(t)
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		g := pressures()
		g.Period = time.Millisecond
		g.Words, g.Exchanges = 125, 1
		for i := range g.Channels {
			g.Channels[i].Exchange = 0
		}
		first := slotAt(g, now())
		o, err := s.OpenEpoch(t.Context(), g, 0, first)
		if err != nil {
			t.Fatal(err)
		}
		disk.SetSyncTime(2 * time.Second)
		worst, shed := time.Duration(0), uint64(0)
		for slot := first; slot < first+6000; slot++ {
			sc := scan(g, slot)
			began := time.Now()
			if r := o.Append(sc); r != acquisition.ReasonNone {
				if r != acquisition.ReasonBackpressure {
					t.Fatal(r)
				}
				shed++
				o.Miss(acquisition.Gap{From: slot, To: slot + 1, Reason: r})
			}
			worst = max(worst, time.Since(began))
			time.Sleep(time.Millisecond)
		}
		if worst != 0 {
			t.Fatalf("an append waited %s", worst)
		}
		if shed == 0 || shed > 5900 {
			t.Fatalf("%d scans shed", shed)
		}
		disk.SetSyncTime(0)
		if err := s.CloseEpoch(t.Context(), o, first+6000, acquisition.ReasonStopped); err != nil {
			t.Fatal(err)
		}
		gaps := verify(t, s, g.Key(), first, first+6000)
		if uint64(len(gaps)) != shed {
			t.Fatalf("%d gaps, %d shed", len(gaps), shed)
		}
		if st := s.Stats(); st.Age.Max < int64(2*time.Second) || st.Commit.Max < int64(2*time.Second) {
			t.Fatalf("%+v", st.Age)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func crc(b []byte) []byte {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return binary.LittleEndian.AppendUint32(nil, sum)
}

// Longer lives of random deeds, each ended by a power cut or a kill at a random
// operation, with syncs and writes that fail on the way; unsynced writes lost, torn and
// reordered.
func TestF071RandomLives(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 25
	}
	groups := []*acquisition.Group{pressures(), slow()}
	cuts, unclean := 0, 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 71))
		l := newLife(t, storagetest.New())
		start, end := l.disk.Count(), 40+r.IntN(500)
		l.disk.Hook(func(o storagetest.Op) error {
			switch {
			case o.N > start+end:
				return storagetest.ErrOff
			case o.Kind == storagetest.Sync && r.IntN(60) == 0:
				return syscall.EIO
			case o.Kind == storagetest.Write && r.IntN(80) == 0:
				return syscall.ENOSPC
			}
			return nil
		})
		if l.open(func(o *storage.Options) { o.SegmentSize = 6000 }) == nil {
			l.deeds(r, groups)
		}
		cuts++
		t.Logf("seed %d", seed)
		image := l.disk.PowerCut(r)
		if r.IntN(4) == 0 {
			image = l.disk.Kill()
		}
		n, _ := l.after(image, groups...)
		if !n.s.Recovery().Clean {
			unclean++
		}
		// Once more, with the repair itself in danger.
		again, _ := n.after(n.disk.PowerCut(r), groups...)
		l.must(again.s.Close())
	}
	if unclean < cuts/3 {
		t.Fatalf("%d of %d lives ended in the middle", unclean, cuts)
	}
	t.Logf("%d cuts, %d with open epochs", cuts, unclean)
}

// deeds does what a service does until the power goes.
func (l *life) deeds(r *rand.Rand, groups []*acquisition.Group) {
	_ = l.begin(groups...)
	id := ""
	for range 60 {
		switch r.IntN(12) {
		case 0:
			l.s.Rotate()
		case 1:
			_ = l.s.Compact(l.t.Context())
		case 2:
			if rec, err := l.s.StartRecording(l.t.Context(), acquisition.Recording{Rig: "flow-bench"}); err == nil {
				id = rec.ID
			}
		case 3:
			_, _ = l.s.StopRecording(l.t.Context(), id, 0, "completed")
		case 4:
			_ = l.s.SetDelivered(l.t.Context(), "influx", map[acquisition.GroupKey]storage.SeqSet{groups[0].Key(): {l.s.Held(groups[0].Key())}})
		case 5:
			l.s.AddEvent(acquisition.Event{Time: l.c.t, Code: "bus_up"})
		default:
			if len(l.opens) == len(groups) {
				_ = l.second()
			}
		}
	}
}

// The power goes at every operation of a compaction, a drop and the saving of
// positions, in either order of what is durable: the next start is clean, no
// block is twice and none is missing.
func TestF075CrashBetweenPositionAndRemoval(t *testing.T) {
	g := pressures()
	prepare := func() *life {
		l := newLife(t, storagetest.New())
		l.must(l.open(func(o *storage.Options) {
			o.SegmentSize, o.Sinks = 3000, []string{"influx"}
			o.Retention = storage.Retention{Size: 1}
		}))
		l.must(l.begin(g))
		for range 12 {
			l.must(l.second())
		}
		l.must(l.s.CloseEpoch(t.Context(), l.opens[g.Key()], l.next[g.Key()], acquisition.ReasonStopped))
		return l
	}
	tidy := func(l *life) error {
		if err := l.s.Compact(t.Context()); err != nil {
			return err
		}
		err := l.s.SetDelivered(t.Context(), "influx", map[acquisition.GroupKey]storage.SeqSet{g.Key(): {{From: 1, To: 9}}})
		if err != nil {
			return err
		}
		return l.s.Drop(t.Context())
	}
	whole := prepare()
	before := whole.disk.Count()
	whole.must(tidy(whole))
	ops := whole.disk.Count() - before
	if ops < 20 {
		t.Fatalf("%d operations", ops)
	}
	for n := 1; n <= ops; n++ {
		for _, cut := range []bool{false, true} {
			l := prepare()
			l.disk.StopAt(l.disk.Count() + n)
			_ = tidy(l)
			image := l.disk.Clone()
			if cut {
				image = l.disk.PowerCut(rand.New(rand.NewPCG(uint64(n), 75)))
			}
			after := newLife(t, image)
			after.c.t = l.c.t
			after.must(after.open())
			for _, f := range after.s.Recovery().Findings {
				t.Fatalf("operation %d: %+v", n, f)
			}
			// Blocks were dropped or are all there, once.
			held := after.s.Held(g.Key())
			want := held.From
			for b, err := range after.s.Blocks(t.Context(), storage.Query{Group: g.Key()}) {
				if err != nil || b.Seq != want || b.Gaps != nil {
					t.Fatalf("operation %d: block %d, want %d: %v %v", n, b.Seq, want, b.Gaps, err)
				}
				want++
			}
			if want != 13 && !held.Empty() {
				t.Fatalf("operation %d: up to block %d", n, want)
			}
			if slot, _, ok := after.s.Last(g.Key()); !ok || slot != l.next[g.Key()]-1 {
				t.Fatalf("operation %d: last slot %d", n, slot)
			}
			l.must(after.s.Close())
		}
	}
}

// While a recording is open a scan is durable within its tick and one commit.
func TestRecordingTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := func() int64 { return time.Now().UnixNano() }
		s, err := storage.Open(t.Context(), storage.Options{FS: storagetest.New(), Now: now, BootID: "b"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := cancelled(t)
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		g := pressures()
		o, err := s.OpenEpoch(t.Context(), g, 0, slotAt(g, now()))
		if err != nil {
			t.Fatal(err)
		}
		wait := func() time.Duration {
			time.Sleep(3 * time.Second / 2)
			n := s.Stats().Scans
			slot := slotAt(g, now())
			sc := scan(g, slot)
			sc.Time = now()
			if r := o.Append(sc); r != acquisition.ReasonNone {
				t.Fatal(r)
			}
			began := time.Now()
			for s.Stats().Scans == n {
				time.Sleep(time.Millisecond)
			}
			return time.Since(began)
		}
		if d := wait(); d < 100*time.Millisecond || d > time.Second {
			t.Fatalf("durable after %s", d)
		}
		r, err := s.StartRecording(t.Context(), acquisition.Recording{Rig: g.Rig, Groups: []string{g.Name}})
		if err != nil {
			t.Fatal(err)
		}
		if d := wait(); d > 51*time.Millisecond {
			t.Fatalf("durable after %s in a recording", d)
		}
		if _, err := s.StopRecording(t.Context(), r.ID, 0, "completed"); err != nil {
			t.Fatal(err)
		}
		if d := wait(); d < 100*time.Millisecond || d > time.Second {
			t.Fatalf("durable after %s", d)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
