package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"pneudaq/acquisition"
)

// formatVersion is the version of segment files that this program writes and
// the newest that it reads.
const formatVersion = 1

// Sizes of the fixed parts of a segment file.
const (
	prologueSize = 16
	headerSize   = 112
	maxPayload   = 1 << 28
)

// magic begins a segment file; the line end shows a transfer as text.
const magic = "PNEUSEG\n"

// frameSync begins every frame, so that the next one is found after a damaged one.
const frameSync = uint32(0x0146_4e50)

// kind says what a frame holds. Zero is invalid on purpose: zeroed pages are no frames.
type kind uint8

const (
	kindHead      kind = 1 // JSON of head
	kindGroup     kind = 2 // JSON of a group descriptor, compressed
	kindEpoch     kind = 3 // JSON of an epoch, when it opens and when it closes
	kindEvent     kind = 4 // JSON of an event
	kindBlocks    kind = 5 // a chunk: blocks of one group and one epoch
	kindOverview  kind = 6 // overview rows of one group
	kindAmendment kind = 7 // JSON of an amendment
	kindNotice    kind = 8 // JSON of what could not be stored; only in the reserve
)

// header is the fixed part of a frame. All numbers are little endian.
type header struct {
	length   uint32 // of the payload
	payload  uint32 // CRC-32C of the payload
	kind     kind
	flags    uint8
	group    uint64 // first bytes of the SHA-256 of the descriptor
	epoch    uint64
	seq      uint64 // of the first block
	slotFrom uint64 // bounds of the slots of scans and gaps, to excluded
	slotTo   uint64
	from, to int64 // bounds of the times of scans and gaps, Unix ns, both included
	lastSlot uint64
	lastTime int64 // of the newest scan that is no backfill, 0: none
	blocks   uint32
	scans    uint32
}

// flagBackfill marks a chunk of late data.
const flagBackfill = 1

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// put writes the header; the payload and its CRC are known.
func (h *header) put(p []byte) {
	le := binary.LittleEndian
	le.PutUint32(p, frameSync)
	le.PutUint32(p[4:], h.length)
	le.PutUint32(p[12:], h.payload)
	p[16], p[17], p[18], p[19] = byte(h.kind), h.flags, formatVersion, 0
	le.PutUint32(p[20:], 0)
	le.PutUint64(p[24:], h.group)
	le.PutUint64(p[32:], h.epoch)
	le.PutUint64(p[40:], h.seq)
	le.PutUint64(p[48:], h.slotFrom)
	le.PutUint64(p[56:], h.slotTo)
	le.PutUint64(p[64:], uint64(h.from))
	le.PutUint64(p[72:], uint64(h.to))
	le.PutUint64(p[80:], h.lastSlot)
	le.PutUint64(p[88:], uint64(h.lastTime))
	le.PutUint32(p[96:], h.blocks)
	le.PutUint32(p[100:], h.scans)
	le.PutUint64(p[104:], 0)
	le.PutUint32(p[8:], headerCRC(p))
}

// headerCRC is over the header without the CRC itself.
func headerCRC(p []byte) uint32 {
	t := castagnoli()
	return crc32.Update(crc32.Checksum(p[:8], t), t, p[12:headerSize])
}

// get reads a header and reports whether it is one.
func (h *header) get(p []byte) bool {
	le := binary.LittleEndian
	if le.Uint32(p) != frameSync || le.Uint32(p[8:]) != headerCRC(p) {
		return false
	}
	*h = header{
		length: le.Uint32(p[4:]), payload: le.Uint32(p[12:]), kind: kind(p[16]), flags: p[17],
		group: le.Uint64(p[24:]), epoch: le.Uint64(p[32:]), seq: le.Uint64(p[40:]),
		slotFrom: le.Uint64(p[48:]), slotTo: le.Uint64(p[56:]),
		from: int64(le.Uint64(p[64:])), to: int64(le.Uint64(p[72:])),
		lastSlot: le.Uint64(p[80:]), lastTime: int64(le.Uint64(p[88:])),
		blocks: le.Uint32(p[96:]), scans: le.Uint32(p[100:]),
	}
	return h.length <= maxPayload && p[18] <= formatVersion
}

// whole reports whether a payload is what was written.
func (h *header) whole(p []byte) bool { return crc32.Checksum(p, castagnoli()) == h.payload }

// appendFrame adds a frame whose payload is built in place by fill.
func appendFrame(dst []byte, h header, fill func([]byte) ([]byte, error)) ([]byte, error) {
	at := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	out, err := fill(dst)
	if err != nil {
		return dst[:at], err
	}
	payload := out[at+headerSize:]
	if len(payload) > maxPayload {
		return out[:at], fmt.Errorf("write frame of %d bytes: the limit is %d", len(payload), maxPayload)
	}
	h.length = uint32(len(payload))
	h.payload = crc32.Checksum(payload, castagnoli())
	h.put(out[at:])
	return out, nil
}

// appendPlain adds a frame with the given payload.
func appendPlain(dst []byte, h header, payload []byte) []byte {
	dst, _ = appendFrame(dst, h, func(b []byte) ([]byte, error) { return append(b, payload...), nil })
	return dst
}

// appendPrologue begins a segment file.
func appendPrologue(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli()))
}

// nature is what the first bytes of a file say.
type nature uint8

const (
	natureOurs    nature = iota
	natureDamaged        // not a prologue; whether it is ours the frames must show
	natureNewer          // written by a newer version
)

func prologue(p []byte) nature {
	if len(p) < prologueSize || string(p[:8]) != magic ||
		binary.LittleEndian.Uint32(p[12:]) != crc32.Checksum(p[:12], castagnoli()) {
		return natureDamaged
	}
	if binary.LittleEndian.Uint32(p[8:]) > formatVersion {
		return natureNewer
	}
	return natureOurs
}

// damage is bytes of a file that are not a valid frame.
type damage struct {
	from, to int64
	head     *header // if only the payload is damaged
}

// scanFrames reads a file from off to size, calls visit for every valid frame
// and returns the damaged stretches and the end of the last valid frame. The
// payload is valid during the call.
func scanFrames(f io.ReaderAt, off, size int64, visit func(off int64, h *header, payload []byte) error) ([]damage, int64, error) {
	w := window{f: f, size: size}
	var bad []damage
	good := off
	for off < size {
		p, err := w.at(off, headerSize)
		if err != nil {
			return bad, good, err
		}
		var h header
		if len(p) == headerSize && h.get(p) {
			p, err := w.at(off+headerSize, int(h.length))
			if err != nil {
				return bad, good, err
			}
			next := off + headerSize + int64(h.length)
			if len(p) == int(h.length) && crc32.Checksum(p, castagnoli()) == h.payload {
				if err := visit(off, &h, p); err != nil {
					return bad, good, err
				}
				off, good = next, next
				continue
			}
			if next <= size {
				// The header is sound, so the next frame is where it says.
				bad = append(bad, damage{off, next, &h})
				off = next
				continue
			}
		}
		next, err := w.find(off + 1)
		if err != nil {
			return bad, good, err
		}
		bad = append(bad, damage{from: off, to: next})
		off = next
	}
	return bad, good, nil
}

// window reads a file in large pieces.
type window struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	from int64
	n    int
}

const windowSize = 1 << 18

// at returns up to n bytes at off, fewer at the end of the file.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off+int64(n) > w.size {
		n = int(max(0, w.size-off))
	}
	if off < w.from || off+int64(n) > w.from+int64(w.n) {
		want := max(n, windowSize)
		if off+int64(want) > w.size {
			want = int(w.size - off)
		}
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		m, err := w.f.ReadAt(w.buf[:want], off)
		if err != nil && want > 0 && (m == 0 || !errors.Is(err, io.EOF)) {
			w.n = 0
			return nil, fmt.Errorf("read at %d: %w", off, err)
		}
		w.from, w.n = off, m
		n = min(n, m)
	}
	i := int(off - w.from)
	return w.buf[i : i+n], nil
}

// find returns where the next sound header begins, the end of the file if there is none.
func (w *window) find(off int64) (int64, error) {
	var sync [4]byte
	binary.LittleEndian.PutUint32(sync[:], frameSync)
	for off < w.size {
		p, err := w.at(off, windowSize)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(p, sync[:])
		if i < 0 {
			if len(p) < len(sync) {
				break
			}
			off += int64(len(p) - len(sync) + 1)
			continue
		}
		off += int64(i)
		q, err := w.at(off, headerSize)
		if err != nil {
			return 0, err
		}
		var h header
		if len(q) == headerSize && h.get(q) {
			return off, nil
		}
		off++
	}
	return w.size, nil
}

// blockHeader describes blocks of one group and one epoch, in the order of
// their numbers.
func blockHeader(id uint64, blocks []*acquisition.Block, due func(acquisition.EpochID, uint64) (int64, bool), now int64) header {
	first := blocks[0]
	h := header{
		kind: kindBlocks, group: id, epoch: uint64(first.Epoch), seq: first.Seq,
		blocks: uint32(len(blocks)),
	}
	started := false
	span := func(slotFrom, slotTo uint64, from, to int64) {
		if !started {
			h.slotFrom, h.slotTo, h.from, h.to, started = slotFrom, slotTo, from, to, true
			return
		}
		h.slotFrom, h.slotTo = min(h.slotFrom, slotFrom), max(h.slotTo, slotTo)
		h.from, h.to = min(h.from, from), max(h.to, to)
	}
	for _, b := range blocks {
		n := b.Len()
		h.scans += uint32(n)
		if b.Backfill {
			h.flags |= flagBackfill
		}
		if n > 0 {
			span(b.Slots[0], b.Slots[n-1]+1, b.Times[0], b.Times[n-1])
			for _, s := range b.Slots {
				span(s, s+1, b.Times[0], b.Times[0])
			}
			if !b.Backfill && b.Times[n-1] > h.lastTime {
				h.lastSlot, h.lastTime = b.Slots[n-1], b.Times[n-1]
			}
		}
		for _, x := range b.Gaps {
			from, ok := due(b.Epoch, x.From)
			to, _ := due(b.Epoch, x.To-1)
			if !ok {
				from, to = now, now
				if n > 0 {
					from, to = b.Times[0], b.Times[n-1]
				}
			}
			span(x.From, x.To, from, to)
		}
	}
	if !started {
		h.from, h.to = now, now
	}
	return h
}
