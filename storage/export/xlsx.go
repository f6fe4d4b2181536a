package export

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"pneudaq/acquisition"
)

// maxSheetRows is how many rows a sheet of .xlsx can have.
const maxSheetRows = 1 << 20

// Table is one group for a workbook.
type Table struct {
	Name   string // of its sheet
	Blocks Blocks
}

// XLSX writes a workbook with a sheet for each table: a row of names, a row of
// units, then one row for each scan with its time in ISO 8601 and, for charts,
// the seconds since the first scan. A table that is longer than a sheet goes on
// in the next one. The summaries are in the order of the tables.
func XLSX(w io.Writer, tables []Table, o Options) (sums []Summary, err error) {
	if len(tables) == 0 {
		return nil, errors.New("write .xlsx: a workbook needs a table")
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	book := &workbook{file: f, taken: map[string]bool{}}
	for _, t := range tables {
		x := &xlsxSheet{book: book, title: t.Name, o: o, names: reasonNames()}
		sum, err := walk(t.Blocks, o, sheet{begin: x.begin, row: x.row})
		if err != nil {
			return sums, err
		}
		if err := x.stream.Flush(); err != nil {
			return sums, fmt.Errorf("write .xlsx: %w", err)
		}
		sums = append(sums, sum)
	}
	if _, err := f.WriteTo(w); err != nil {
		return sums, fmt.Errorf("write .xlsx: %w", err)
	}
	return sums, nil
}

// workbook gives sheets names that are allowed and not taken.
type workbook struct {
	file  *excelize.File
	taken map[string]bool
}

// sheet makes the next sheet. Names have at most 31 characters, none of
// []:*?/\ and no apostrophe at the ends.
func (b *workbook) sheet(title string) (*excelize.StreamWriter, error) {
	title = strings.Trim(strings.Map(func(r rune) rune {
		if strings.ContainsRune(`[]:*?/\`, r) || r < ' ' {
			return '_'
		}
		return r
	}, title), "'")
	if title == "" {
		title = "data"
	}
	name := cut(title, 31)
	for n := 2; b.taken[strings.ToLower(name)]; n++ {
		mark := fmt.Sprintf(" (%d)", n)
		name = cut(title, 31-len(mark)) + mark
	}
	first := len(b.taken) == 0
	b.taken[strings.ToLower(name)] = true
	var err error
	if first {
		err = b.file.SetSheetName("Sheet1", name)
	} else {
		_, err = b.file.NewSheet(name)
	}
	if err != nil {
		return nil, fmt.Errorf("write .xlsx: sheet %q: %w", name, err)
	}
	s, err := b.file.NewStreamWriter(name)
	if err != nil {
		return nil, fmt.Errorf("write .xlsx: sheet %q: %w", name, err)
	}
	if err := s.SetColWidth(1, 1, 36); err != nil {
		return nil, fmt.Errorf("write .xlsx: sheet %q: %w", name, err)
	}
	if err := s.SetPanes(&excelize.Panes{Freeze: true, XSplit: 1, YSplit: 2, TopLeftCell: "B3", ActivePane: "bottomRight"}); err != nil {
		return nil, fmt.Errorf("write .xlsx: sheet %q: %w", name, err)
	}
	return s, nil
}

// cut returns at most n characters, counted as Excel does: in UTF-16.
func cut(s string, n int) string {
	used := 0
	for i, r := range s {
		used++
		if r > 0xffff {
			used++
		}
		if used > n {
			return s[:i]
		}
	}
	return s
}

type xlsxSheet struct {
	book    *workbook
	title   string
	o       Options
	columns []acquisition.Channel
	names   []string
	stream  *excelize.StreamWriter
	next    int // row, from 1
	first   int64
	begun   bool
	cells   []any
}

func (x *xlsxSheet) begin(_ *acquisition.Group, columns []acquisition.Channel) error {
	x.columns = columns
	return x.open()
}

// open makes a sheet with its head.
func (x *xlsxSheet) open() error {
	s, err := x.book.sheet(x.title)
	if err != nil {
		return err
	}
	x.stream, x.next = s, 1
	names, units := []any{"time", "t"}, []any{"ISO 8601", "s"}
	for i := range x.columns {
		names, units = append(names, x.columns[i].Name), append(units, x.columns[i].Unit)
		if x.o.Quality == QualityPerChannel {
			names, units = append(names, x.columns[i].Name+qualitySuffix), append(units, "")
		}
	}
	if x.o.Quality == QualityOneColumn {
		names, units = append(names, "quality"), append(units, "")
	}
	x.cells = make([]any, 0, len(names))
	if err := x.write(names); err != nil {
		return err
	}
	return x.write(units)
}

func (x *xlsxSheet) row(r *row) error {
	if x.next > maxSheetRows {
		if err := x.stream.Flush(); err != nil {
			return fmt.Errorf("write .xlsx: %w", err)
		}
		if err := x.open(); err != nil {
			return err
		}
	}
	if !x.begun {
		x.begun, x.first = true, r.time
	}
	c := append(x.cells[:0], time.Unix(0, r.time).In(x.o.Location).Format(timeLayout), float64(r.time-x.first)/1e9)
	for i, v := range r.values {
		if v == v {
			c = append(c, v)
		} else {
			c = append(c, nil)
		}
		if x.o.Quality == QualityPerChannel {
			c = append(c, x.names[r.quality[i]])
		}
	}
	if x.o.Quality == QualityOneColumn {
		c = append(c, string(reasons(nil, x.columns, r.quality)))
	}
	x.cells = c
	return x.write(c)
}

func (x *xlsxSheet) write(cells []any) error {
	at, err := excelize.CoordinatesToCellName(1, x.next)
	if err == nil {
		err = x.stream.SetRow(at, cells)
	}
	if err != nil {
		return fmt.Errorf("write .xlsx: row %d: %w", x.next, err)
	}
	x.next++
	return nil
}
