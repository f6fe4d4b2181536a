// Package export writes blocks as files that other programs read: CSV,
// Parquet, .xlsx and JSON lines. A table is one group; a row is one scan with
// its time, the values in the units of their channels, and their quality. A
// bad sample has no value: its cell is empty, never 0.
//
// Blocks come as a sequence and leave as a stream, so memory stays the same
// however long the record is.
package export

import (
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// QualityColumns says how the quality of samples is written.
type QualityColumns int

// The ways to write quality.
const (
	QualityPerChannel QualityColumns = iota // a column <name>__q beside each channel: good, or the reason
	QualityOneColumn                        // one column quality: empty, or name=reason;name=reason
	QualityNone                             // none; bad samples are empty cells all the same
)

// qualitySuffix makes the name of a quality column, as in InfluxDB.
const qualitySuffix = "__q"

// timeLayout is ISO 8601 with nanoseconds and offset, of one width.
const timeLayout = "2006-01-02T15:04:05.000000000-07:00"

// Blocks is a stored group in order, as a store yields it.
type Blocks = iter.Seq2[*acquisition.Block, error]

// Options says what is written, and how.
type Options struct {
	Channels []acquisition.Channel // the columns; empty: those of the first block's group version
	From, To int64                 // only scans in [From, To), Unix ns; 0: no bound
	Quality  QualityColumns
	Location *time.Location      // of times for people; nil: UTC
	Compile  acquisition.Compile // for derived channels
	BOM      bool                // CSV: a byte-order mark, so that Excel and WPS read UTF-8
	Comma    byte                // CSV: separator, default ','
}

// Summary says what was written.
type Summary struct {
	Rows    int                           // scans
	Values  int                           // samples with a value
	Missing map[acquisition.Reason]uint64 // slots that are gaps, by reason
	First   int64                         // time of the first scan, Unix ns; 0: none
	Last    int64
}

// ChangedError says that a group has a channel that the table has no column
// for: it was added or got another unit while the record went on.
type ChangedError struct {
	Group   acquisition.GroupKey
	Channel string
	Seq     uint64
	Why     string
}

// Error says what changed and what to do.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("group %s: channel %s %s from block %d on; name the columns, or export the time before and after apart", e.Group, e.Channel, e.Why, e.Seq)
}

// table walks over blocks and hands out decoded rows.
type table struct {
	o       Options
	columns []acquisition.Channel
	group   *acquisition.Group // of the current block
	decoder *acquisition.Decoder
	from    []int // per column: channel of the current group, -1: none
	values  []float64
	quality []acquisition.Quality
	out     []float64
	outQ    []acquisition.Quality
	sum     Summary
}

// row is one scan as the columns have it. The slices are reused.
type row struct {
	time    int64
	slot    uint64
	values  []float64             // per column; NaN: no value
	quality []acquisition.Quality // per column
}

// sheet is what a format does with a table: begin gets the columns once, row
// each scan, gap each gap; all may be nil but row.
type sheet struct {
	begin func(g *acquisition.Group, columns []acquisition.Channel) error
	row   func(r *row) error
	gap   func(b *acquisition.Block, g acquisition.Gap) error
}

// walk reads blocks into a sheet.
func walk(blocks Blocks, o Options, s sheet) (Summary, error) {
	t := &table{o: o, columns: o.Channels, sum: Summary{Missing: map[acquisition.Reason]uint64{}}}
	if t.o.Location == nil {
		t.o.Location = time.UTC
	}
	begun := false
	for b, err := range blocks {
		if err != nil {
			return t.sum, fmt.Errorf("read blocks: %w", err)
		}
		if err := t.enter(b); err != nil {
			return t.sum, err
		}
		if !begun {
			begun = true
			if err := s.begin(b.Group, t.columns); err != nil {
				return t.sum, err
			}
		}
		if err := t.block(b, s); err != nil {
			return t.sum, err
		}
	}
	if !begun { // a table without rows still has its head
		return t.sum, s.begin(&acquisition.Group{}, t.columns)
	}
	return t.sum, nil
}

// enter prepares for the group version of a block.
func (t *table) enter(b *acquisition.Block) error {
	if b.Group == t.group {
		return nil
	}
	d, err := acquisition.NewDecoder(b.Group, t.o.Compile)
	if err != nil {
		return fmt.Errorf("export group %s: %w", b.Group.Key(), err)
	}
	if t.columns == nil {
		t.columns = b.Group.Channels
	}
	t.group, t.decoder = b.Group, d
	n := len(b.Group.Channels)
	t.values, t.quality = make([]float64, n), make([]acquisition.Quality, n)
	t.out, t.outQ = make([]float64, len(t.columns)), make([]acquisition.Quality, len(t.columns))
	t.from = make([]int, len(t.columns))
	used := map[int]bool{}
	for i := range t.columns {
		t.from[i] = -1
		for c := range b.Group.Channels {
			if have := &b.Group.Channels[c]; same(have, &t.columns[i]) {
				if have.Unit != t.columns[i].Unit {
					return &ChangedError{b.Group.Key(), have.Name, b.Seq, fmt.Sprintf("has unit %q, not %q,", have.Unit, t.columns[i].Unit)}
				}
				t.from[i] = c
				used[c] = true
			}
		}
	}
	if len(t.o.Channels) == 0 {
		for c := range b.Group.Channels {
			if !used[c] {
				return &ChangedError{b.Group.Key(), b.Group.Channels[c].Name, b.Seq, "is new"}
			}
		}
	}
	return nil
}

// same reports whether two descriptions are of one channel: by id, for the
// name may change, else by name.
func same(a, b *acquisition.Channel) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return a.Name == b.Name
}

func (t *table) within(at int64) bool {
	return (t.o.From == 0 || at >= t.o.From) && (t.o.To == 0 || at < t.o.To)
}

// block hands out the rows and gaps of a block.
func (t *table) block(b *acquisition.Block, s sheet) error {
	r := row{values: t.out, quality: t.outQ}
	for i, at := range b.Times {
		if !t.within(at) {
			continue
		}
		t.decoder.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), t.values, t.quality)
		for j, c := range t.from {
			r.values[j], r.quality[j] = math.NaN(), acquisition.Quality(acquisition.ReasonNoData)
			if c < 0 {
				continue
			}
			r.values[j], r.quality[j] = t.values[c], t.quality[c]
			if r.quality[j].Class() == acquisition.ClassBad {
				r.values[j] = math.NaN()
			}
			if v := r.values[j]; v-v != 0 { // NaN and the infinities never leave
				r.values[j] = math.NaN()
				if r.quality[j].Class() != acquisition.ClassBad {
					r.quality[j] = acquisition.Quality(acquisition.ReasonNaN)
				}
			} else {
				t.sum.Values++
			}
		}
		r.time, r.slot = at, b.Slots[i]
		if t.sum.Rows == 0 {
			t.sum.First = at
		}
		t.sum.Rows++
		t.sum.Last = at
		if err := s.row(&r); err != nil {
			return err
		}
	}
	for _, g := range b.Gaps {
		if b.Group.Completeness == acquisition.BySchedule && !t.within(b.Group.Due(0, g.From)) {
			continue
		}
		t.sum.Missing[g.Reason] += g.Count()
		if s.gap != nil {
			if err := s.gap(b, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// reasons appends name=reason;name=reason of the samples that are not good.
func reasons(dst []byte, columns []acquisition.Channel, quality []acquisition.Quality) []byte {
	for i, q := range quality {
		if q == acquisition.Good {
			continue
		}
		if len(dst) > 0 {
			dst = append(dst, ';')
		}
		dst = append(dst, columns[i].Name...)
		dst = append(dst, '=')
		dst = append(dst, q.String()...)
	}
	return dst
}

// reasonNames returns the names of all reasons by number, also of those that a
// newer program may have written.
func reasonNames() []string {
	names := make([]string, 256)
	for i := range names {
		names[i] = acquisition.Quality(i).String()
	}
	return names
}

// harmless makes a text that a spreadsheet would run as a formula into a text:
// one that begins with =, +, -, @, a tab or a line break, also in full width.
func harmless(s string) string {
	if s != "" && (strings.ContainsRune("=+-@\t\r\n", rune(s[0])) || strings.HasPrefix(s, "＝") || strings.HasPrefix(s, "＋") || strings.HasPrefix(s, "－") || strings.HasPrefix(s, "＠")) {
		return "'" + s
	}
	return s
}
