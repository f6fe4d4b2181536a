package storage

import (
	"context"
	"fmt"
	"iter"

	"pneudaq/acquisition"
)

// GapBlocks yields the blocks of a query that may have gaps, in the order of
// their numbers. Chunks whose every slot has a scan are not read, so that the
// gaps of a long interval cost no more than there are.
func (s *Store) GapBlocks(ctx context.Context, q Query) iter.Seq2[*acquisition.Block, error] {
	return func(yield func(*acquisition.Block, error) bool) {
		chunks, release, err := s.snapshot(q)
		if err != nil {
			yield(nil, fmt.Errorf("read gaps of group %s: %w", q.Group, err))
			return
		}
		defer release()
		var buf []byte
		for i := range chunks {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			e := &chunks[i]
			if e.slotTo-e.slotFrom == uint64(e.scans) {
				continue
			}
			var blocks []acquisition.Block
			blocks, buf, _ = s.readChunk(e, buf) // what is unreadable has become gaps
			for k := range blocks {
				if b := &blocks[k]; len(b.Gaps) > 0 && !yield(b, nil) {
					return
				}
			}
		}
		if q.Hole {
			if b := s.openHole(q); b != nil {
				yield(b, nil)
			}
		}
	}
}
