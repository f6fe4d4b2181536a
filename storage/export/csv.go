package export

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// CSV writes a table as CSV (RFC 4180): a row of names, a row of units, then
// one row for each scan, beginning with its time in ISO 8601 with offset. Names
// and units that a spreadsheet would run as a formula get a leading apostrophe.
func CSV(w io.Writer, blocks Blocks, o Options) (Summary, error) {
	if o.Comma == 0 {
		o.Comma = ','
	}
	c := &csvSheet{w: bufio.NewWriterSize(w, 64<<10), o: o, names: reasonNames()}
	if o.Location == nil {
		c.o.Location = time.UTC
	}
	sum, err := walk(blocks, o, sheet{begin: c.begin, row: c.row})
	if err != nil {
		return sum, err
	}
	if err := c.w.Flush(); err != nil {
		return sum, fmt.Errorf("write CSV: %w", err)
	}
	return sum, nil
}

type csvSheet struct {
	w       *bufio.Writer
	o       Options
	columns []acquisition.Channel
	names   []string // of reasons
	line    []byte
	note    []byte
}

func (c *csvSheet) begin(_ *acquisition.Group, columns []acquisition.Channel) error {
	c.columns = columns
	if c.o.BOM {
		c.line = append(c.line, "\ufeff"...)
	}
	head := func(first, last string, of func(ch *acquisition.Channel) (string, string)) {
		c.line = c.text(c.line, first)
		for i := range columns {
			name, beside := of(&columns[i])
			c.line = c.text(append(c.line, c.o.Comma), name)
			if c.o.Quality == QualityPerChannel {
				c.line = c.text(append(c.line, c.o.Comma), beside)
			}
		}
		if c.o.Quality == QualityOneColumn {
			c.line = c.text(append(c.line, c.o.Comma), last)
		}
		c.line = append(c.line, '\r', '\n')
	}
	head("time", "quality", func(ch *acquisition.Channel) (string, string) { return ch.Name, ch.Name + qualitySuffix })
	head("ISO 8601", "", func(ch *acquisition.Channel) (string, string) { return ch.Unit, "" })
	return c.flush()
}

func (c *csvSheet) row(r *row) error {
	c.line = time.Unix(0, r.time).In(c.o.Location).AppendFormat(c.line, timeLayout)
	for i, v := range r.values {
		c.line = append(c.line, c.o.Comma)
		if v == v {
			c.line = strconv.AppendFloat(c.line, v, 'g', -1, 64)
		}
		if c.o.Quality == QualityPerChannel {
			c.line = append(c.line, c.o.Comma)
			c.line = append(c.line, c.names[r.quality[i]]...)
		}
	}
	if c.o.Quality == QualityOneColumn {
		c.line = append(c.line, c.o.Comma)
		if c.note = reasons(c.note[:0], c.columns, r.quality); len(c.note) > 0 {
			c.line = c.text(c.line, string(c.note))
		}
	}
	c.line = append(c.line, '\r', '\n')
	return c.flush()
}

func (c *csvSheet) flush() error {
	_, err := c.w.Write(c.line)
	c.line = c.line[:0]
	if err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// text appends a text, quoted where CSV needs it.
func (c *csvSheet) text(dst []byte, s string) []byte {
	s = harmless(s)
	if !strings.ContainsAny(s, "\"\r\n"+string(rune(c.o.Comma))) && strings.TrimSpace(s) == s {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}
