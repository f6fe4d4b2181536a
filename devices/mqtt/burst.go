package mqtt

import (
	"errors"
	"fmt"
	"math"

	"pneudaq/acquisition"
)

// maxValues bounds what one payload may unfold to: a row of brackets is short,
// its numbers are not.
const maxValues = 1 << 21

var (
	errTooMany = errors.New("it unfolds to more than 2 million values; publish smaller bursts")
	errNothing = errors.New("none of the group's fields is in it; compare the fields in the rig file with the payload")
)

// burst is one decoded payload: rows of numbers, and what the device said
// about their place and time. It is reused.
type burst struct {
	cols    int
	rows    int
	numbers []float64             // rows * cols
	quality []acquisition.Quality // rows * cols; no_data until a value is set

	hasSeq, hasTime, hasStep bool
	seq                      uint64
	time                     int64   // ns, of the first row
	step                     float64 // ns
	seqs                     []uint64
	times                    []int64 // of each row, when rows have their own

	historical bool // the device says that these are old values
	offline    bool // the device is gone; there are no rows
	found      int  // fields that were there, whatever their value
	unusable   int  // of these, how many had no usable value

	// From here on it is the track's.
	arrival  int64
	topic    string
	payload  []byte
	hash     uint64
	stated   int64 // the device time as it was stated
	dup      bool  // the broker says that it may have been sent before
	refused  acquisition.Reason
	part     int
	parts    uint64 // which parts of a joined scan are here
	hashes   []uint64
	slot     uint64
	deadline int64
	msgs     []*inflight
	marks    [][]byte
}

// reset empties a burst for a group with so many columns.
func (b *burst) reset(cols int) {
	*b = burst{
		cols: cols, numbers: b.numbers[:0], quality: b.quality[:0], seqs: b.seqs[:0], times: b.times[:0],
		msgs: b.msgs[:0], marks: b.marks[:0], hashes: b.hashes[:0],
	}
}

// grow makes row the last row, or leaves it if there are more.
func (b *burst) grow(row int) error {
	if row < b.rows {
		return nil
	}
	n := (row + 1) * b.cols
	if n > maxValues || row >= maxValues {
		return errTooMany
	}
	for len(b.numbers) < n {
		b.numbers = append(b.numbers, math.NaN())
		b.quality = append(b.quality, acquisition.Quality(acquisition.ReasonNoData))
	}
	b.rows = row + 1
	return nil
}

// set stores a value.
func (b *burst) set(row, col int, v float64) error {
	if err := b.grow(row); err != nil {
		return err
	}
	i := row*b.cols + col
	b.numbers[i], b.quality[i] = v, acquisition.Good
	return nil
}

// mark stores that there is no value, and why.
func (b *burst) mark(row, col int, r acquisition.Reason) error {
	if err := b.grow(row); err != nil {
		return err
	}
	b.quality[row*b.cols+col] = acquisition.Quality(r)
	return nil
}

// check looks at what a decoder left behind.
func (b *burst) check() error {
	switch {
	case b.offline:
		return nil
	case b.found == 0 || b.rows == 0:
		return errNothing
	case b.unusable == b.found:
		return errors.New("no field has a usable value; a number was expected")
	case len(b.seqs) > 0 && len(b.seqs) != b.rows:
		return fmt.Errorf("%d of %d rows have a sequence number; all or none must", len(b.seqs), b.rows)
	case len(b.times) > 0 && len(b.times) != b.rows:
		return fmt.Errorf("%d of %d rows have a time; all or none must", len(b.times), b.rows)
	}
	if n := len(b.seqs); n > 0 && b.seqs[0] == b.seqs[n-1] {
		b.seq, b.hasSeq = b.seqs[0], true // the number of the message, in every row
		for _, s := range b.seqs {
			if s != b.seq {
				return errors.New("the sequence numbers of its rows are in disorder")
			}
		}
		b.seqs = b.seqs[:0]
	}
	for i := 1; i < len(b.seqs); i++ {
		if b.seqs[i] <= b.seqs[i-1] {
			return fmt.Errorf("sequence number %d of row %d is not after %d", b.seqs[i], i, b.seqs[i-1])
		}
	}
	for i := 1; i < len(b.times); i++ {
		if b.times[i] <= b.times[i-1] {
			return fmt.Errorf("the time of row %d is not after that of the row before", i)
		}
	}
	if len(b.seqs) > 0 {
		b.seq, b.hasSeq = b.seqs[0], true
	}
	if len(b.times) > 0 {
		b.time, b.hasTime = b.times[0], true
	}
	return nil
}

// at returns the device time of a row.
func (b *burst) at(row int) int64 {
	if len(b.times) > 0 {
		return b.times[row]
	}
	return b.time + int64(math.Round(float64(row)*b.step))
}
