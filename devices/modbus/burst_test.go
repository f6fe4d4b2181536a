package modbus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
	"pneudaq/simulator"
)

// instants is when each sample was taken.
type instants struct {
	mu sync.Mutex
	at map[uint64]time.Time
}

func (x *instants) set(n uint64, t time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at[n] = t
}

func (x *instants) get(n uint64) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.at[n]
}

// fast is a device of the simulator that samples a counter at 1 kHz into all
// three kinds of buffers; its clock runs 100 ppm slow.
func fast(t *testing.T) (*simulator.Unit, *instants, func(ctx context.Context)) {
	t.Helper()
	board := simulator.NewBoard(time.Millisecond, simulator.Signal{Name: "p", Unit: "1"})
	unit, err := simulator.NewUnit(simulator.UnitOptions{ID: 1, Holes: "zero", Buffers: []simulator.Buffer{
		{Kind: "fifo", Capacity: 200, Rate: 1000, Numbered: true, Consume: true, Register: simulator.Register{Name: "q", Table: simulator.Holdings, Address: 7, Type: "int16", Signal: "p"}},
		{Kind: "ring", Capacity: 500, Rate: 1000, Register: simulator.Register{Name: "r", Table: simulator.Holdings, Address: 1000, Type: "float32", Signal: "p"}},
		{Kind: "window", Capacity: 50, Rate: 1000, Register: simulator.Register{Name: "w", Table: simulator.Inputs, Address: 0, Type: "uint16", Signal: "p"}},
	}}, board)
	if err != nil {
		t.Fatal(err)
	}
	at := &instants{at: map[uint64]time.Time{}}
	return unit, at, func(ctx context.Context) {
		for n := uint64(0); ctx.Err() == nil; n++ {
			if err := board.Set("p", float64(n%30000)); err != nil {
				t.Error(err)
			}
			at.set(n, time.Now())
			board.Sample(time.Now())
			time.Sleep(time.Millisecond + 100*time.Nanosecond)
		}
	}
}

func bursts(endpoint string) modbus.BurstOptions {
	buffer := func(name string, kind modbus.BufferKind, table modbus.Table, address uint16, typ acquisition.Type, capacity int) modbus.BufferOptions {
		return modbus.BufferOptions{
			Group:   acquisition.Group{Rig: "rig", Name: name, Period: time.Millisecond},
			Channel: acquisition.Channel{ID: name, Name: name, Decoding: acquisition.Decoding{Type: typ}},
			Device:  "d", Kind: kind, Table: table, Address: address, Capacity: capacity,
		}
	}
	return modbus.BurstOptions{
		Bus: modbus.Options{Name: "trace", Endpoint: endpoint, Timeout: 100 * time.Millisecond, Devices: []modbus.Device{{Name: "d", Unit: 1}}},
		Buffers: []modbus.BufferOptions{
			buffer("queue", modbus.QueueBuffer, modbus.Holding, 7, acquisition.TypeInt16, 0),
			buffer("ring", modbus.RingBuffer, modbus.Holding, 1000, acquisition.TypeFloat32, 500),
			buffer("window", modbus.WindowBuffer, modbus.Input, 0, acquisition.TypeUint16, 50),
		},
	}
}

// kept is what was delivered of one group.
type kept struct {
	scans  int
	gaps   uint64
	next   uint64
	last   int64
	began  bool
	epochs int
}

// take checks a delivery: numbers in order, values those of their numbers, times
// increasing and within the half width of the true instant.
func (k *kept) take(t *testing.T, d *acquisition.Delivery, at *instants) {
	t.Helper()
	if d.NewEpoch {
		k.began, k.epochs = false, k.epochs+1
	}
	for _, g := range d.Gaps {
		if g.From != k.next || g.Reason != acquisition.ReasonSeqGap {
			t.Errorf("%s: gap %+v after %d", d.Group.Name, g, k.next)
		}
		k.gaps += g.Count()
		k.next = g.To
	}
	for i := range d.Scans {
		s := &d.Scans[i]
		if k.began && s.Slot != k.next {
			t.Errorf("%s: slot %d after %d without a gap", d.Group.Name, s.Slot, k.next)
		}
		k.began, k.next = true, s.Slot+1
		if v, _ := d.Group.Channels[0].Decoding.Value(s.Words); v != float64(s.Slot%30000) {
			t.Errorf("%s: sample %d is %v", d.Group.Name, s.Slot, v)
		}
		if s.Time <= k.last {
			t.Errorf("%s: time of sample %d is not after the one before", d.Group.Name, s.Slot)
		}
		k.last = s.Time
		if at != nil {
			if off := s.Time - at.get(s.Slot).UnixNano(); max(off, -off) > s.Exchanges[0].HalfWidth {
				t.Errorf("%s: sample %d is off by %s, stated ±%s", d.Group.Name, s.Slot, time.Duration(off), time.Duration(s.Exchanges[0].HalfWidth))
			}
		}
		k.scans++
	}
}

// A trace of 1 kHz through slow reads, over every kind of buffer: complete, in
// order, at the right times; what the device had to drop is a gap by number.
func TestBurst(t *testing.T) {
	t.Parallel()
	for _, endpoint := range bothFramings() {
		synctest.Test(t, func(t *testing.T) {
			unit, at, sample := fast(t)
			ctx, cancel := context.WithCancel(t.Context())
			o := bursts(endpoint)
			isRTU := strings.HasPrefix(endpoint, "rtu")
			s, err := simulator.NewServer(simulator.ServerOptions{Units: map[byte]simulator.Memory{1: unit}, RTU: isRTU})
			if err != nil {
				t.Fatal(err)
			}
			join := onPipes(t, &o.Bus, func(w *wire) { _ = s.ServeConn(ctx, w.conn) })
			r, err := modbus.NewBurst(o)
			if err != nil {
				t.Fatal(err)
			}
			var sampling sync.WaitGroup
			sampling.Go(func() { sample(ctx) })
			defer sampling.Wait()
			if err := r.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			got := map[string]*kept{"queue": {}, "ring": {}, "window": {}}
			refusals := 0
			done := make(chan error, 1)
			go func() {
				done <- r.Receive(ctx, func(d *acquisition.Delivery) error {
					k := got[d.Group.Name]
					if k.scans > 2000 && refusals < 3 && d.Group.Name == "queue" {
						refusals++ // the store is full: the same delivery comes again
						return errors.New("full")
					}
					k.take(t, d, at)
					return nil
				})
			}()
			time.Sleep(10 * time.Second)
			s.Mute(1, true) // long enough for every buffer to run over
			time.Sleep(2 * time.Second)
			s.Mute(1, false)
			time.Sleep(5 * time.Second)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			_ = r.Close()
			join()
			for name, k := range got {
				if k.scans < 14000 || k.gaps < 1000 || uint64(k.scans)+k.gaps < 16700 {
					t.Errorf("%s %s: %d samples, %d in gaps", endpoint, name, k.scans, k.gaps)
				}
			}
			if refusals != 3 {
				t.Errorf("refused %d times", refusals)
			}
		})
	}
}

// The device restarts and counts from 0 again: a new epoch, nothing mixed.
func TestBurstRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counts := []uint32{30, 30, 35, 90, 4, 12, 0xFFFFFFFF} // the newest 10 each time
		o := bursts("tcp://10.0.0.1")
		o.Buffers = o.Buffers[2:]
		o.Buffers[0].Capacity, o.Buffers[0].Head, o.Buffers[0].Every = 10, 2, 5*time.Millisecond
		turn := 0
		ctx, cancel := context.WithCancel(t.Context())
		join := onPipes(t, &o.Bus, func(w *wire) {
			for {
				tid, _, err := w.request(5)
				if err != nil {
					return
				}
				if turn == 6 {
					cancel()
					return
				}
				n := counts[turn]
				turn++
				pdu := binary.BigEndian.AppendUint32([]byte{4, 24}, n)
				for i := range uint32(10) {
					pdu = binary.BigEndian.AppendUint16(pdu, uint16(max(int(n)-10+int(i), 0)))
				}
				w.write(w.frame(tid, 1, pdu))
			}
		})
		r, err := modbus.NewBurst(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		_ = r.Receive(ctx, func(d *acquisition.Delivery) error { k.take(t, d, nil); return nil })
		_ = r.Close()
		join()
		if k.scans != 10+5+10+4+8 || k.gaps != 45 || k.epochs != 1 || k.next != 12 {
			t.Errorf("%+v: want 37 samples, a gap of 45 and one new epoch", k)
		}
	})
}

func TestBurstRefusals(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(o *modbus.BufferOptions){
		"not on this bus":            func(o *modbus.BufferOptions) { o.Device = "x" },
		"must fit into one read":     func(o *modbus.BufferOptions) { o.Capacity = 120 },
		"time between samples":       func(o *modbus.BufferOptions) { o.Group.Period = 0 },
		"holding or input registers": func(o *modbus.BufferOptions) { o.Table = modbus.Coil },
		"do not fit":                 func(o *modbus.BufferOptions) { o.Address = 65500 },
		"need a name":                func(o *modbus.BufferOptions) { o.Channel.Name = "" },
	} {
		o := bursts("tcp://10.0.0.1")
		o.Buffers = o.Buffers[2:]
		change(&o.Buffers[0])
		if _, err := modbus.NewBurst(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
