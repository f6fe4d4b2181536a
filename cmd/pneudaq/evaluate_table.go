package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"pneudaq/acquisition"
	"pneudaq/verification"
)

// sheet is a table of text as a file has it, and the hash of the file.
type sheet struct {
	name    string
	sha256  string
	header  []string
	rows    [][]string
	decimal bool // a comma is the decimal mark
}

// column says where a channel of a table comes from.
type column struct {
	Column     string      `yaml:"column"`
	Unit       string      `yaml:"unit"`
	Accuracy   string      `yaml:"accuracy"`
	Range      *[2]float64 `yaml:"range"`
	Resolution float64     `yaml:"resolution"`
}

// layout says how to read a table: on the command line or in a YAML file.
type layout struct {
	Version    int               `yaml:"version"`
	Time       column            `yaml:"time"`
	Rate       float64           `yaml:"rate"` // Hz, where there is no column of times
	Sheet      string            `yaml:"sheet"`
	Skip       int               `yaml:"skip"` // lines before the header
	Channels   map[string]column `yaml:"channels"`
	Parameters map[string]string `yaml:"parameters"`
	Limits     []string          `yaml:"limits"`
	Rule       string            `yaml:"rule"`
}

// largestTable is the largest file that is read, bytes.
const largestTable = 1 << 30

// readSheet reads a CSV, .xlsx or Parquet file as a table of text.
func readSheet(path string, l *layout) (*sheet, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fails(exitData, "read %s: %w", path, err)
	}
	if info.Size() > largestTable {
		return nil, fails(exitData, "%s has %d MB; at most %d MB are read", path, info.Size()>>20, largestTable>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fails(exitIO, "read %s: %w", path, err)
	}
	sum := sha256.Sum256(data)
	s := &sheet{name: filepath.Base(path), sha256: hex.EncodeToString(sum[:])}
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		err = s.workbook(data, l)
	case bytes.HasPrefix(data, []byte("PAR1")):
		err = s.parquet(data)
	default:
		err = s.csv(data, l)
	}
	if err != nil {
		return nil, fails(exitData, "%s: %w", path, err)
	}
	if len(s.rows) == 0 {
		return nil, fails(exitData, "%s has no rows below its header", path)
	}
	for i := range s.header {
		s.header[i] = strings.TrimSpace(s.header[i])
	}
	return s, nil
}

// text decodes what spreadsheets write: UTF-8 with or without a byte-order
// mark, UTF-16 with one, GB 18030 (with GBK in it).
func text(data []byte) (string, error) {
	if b, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		data = b
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		out, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Bytes(data)
		return string(out), err
	}
	if utf8.Valid(data) {
		return string(data), nil
	}
	out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(data)
	if err != nil || bytes.ContainsRune(out, utf8.RuneError) {
		return "", errors.New("the text is neither UTF-8 nor UTF-16 nor GB 18030; save it as \"CSV UTF-8\"")
	}
	return string(out), nil
}

func (s *sheet) csv(data []byte, l *layout) error {
	all, err := text(data)
	if err != nil {
		return err
	}
	for range l.Skip {
		_, all, _ = strings.Cut(all, "\n")
	}
	first, _, _ := strings.Cut(all, "\n")
	if strings.HasPrefix(strings.ToLower(first), "sep=") {
		_, all, _ = strings.Cut(all, "\n") // what some spreadsheets write above
		first, _, _ = strings.Cut(all, "\n")
	}
	delimiter := ','
	for _, d := range []rune{';', '\t'} {
		if strings.Count(first, string(d)) > strings.Count(first, string(delimiter)) {
			delimiter = d
		}
	}
	r := csv.NewReader(strings.NewReader(all))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = delimiter, -1, true, false
	r.TrimLeadingSpace = delimiter != '\t'
	s.decimal = delimiter != ','
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // names the line; wrapped with the file's name
		}
		if s.header == nil {
			s.header = row
			continue
		}
		if slices.ContainsFunc(row, func(c string) bool { return strings.TrimSpace(c) != "" }) {
			s.rows = append(s.rows, row)
		}
	}
}

func (s *sheet) workbook(data []byte, l *layout) (err error) {
	f, err := excelize.OpenReader(bytes.NewReader(data), excelize.Options{RawCellValue: true})
	if err != nil {
		return err //nolint:wrapcheck // wrapped with the file's name
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	name := l.Sheet
	if name == "" {
		name = f.GetSheetName(f.GetActiveSheetIndex())
	}
	rows, err := f.GetRows(name, excelize.Options{RawCellValue: true})
	if err != nil {
		return fmt.Errorf("sheet %s: %w; it has %s", name, err, strings.Join(f.GetSheetList(), ", "))
	}
	if len(rows) <= l.Skip {
		return fmt.Errorf("sheet %s has no header in line %d", name, l.Skip+1)
	}
	s.header = rows[l.Skip]
	for _, row := range rows[l.Skip+1:] {
		if slices.ContainsFunc(row, func(c string) bool { return strings.TrimSpace(c) != "" }) {
			s.rows = append(s.rows, row)
		}
	}
	return nil
}

func (s *sheet) parquet(data []byte) (err error) {
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err //nolint:wrapcheck // wrapped with the file's name
	}
	leaves := f.Schema().Columns()
	for _, path := range leaves {
		s.header = append(s.header, strings.Join(path, "."))
	}
	stamps := make([]int64, len(leaves)) // ns of one step of a timestamp column
	for i, path := range leaves {
		if c, ok := f.Schema().Lookup(path...); ok {
			stamps[i] = stampUnit(c.Node.Type().LogicalType())
		}
	}
	r := parquet.NewReader(f)
	defer func() { err = errors.Join(err, r.Close()) }()
	batch := make([]parquet.Row, 512)
	for {
		n, err := r.ReadRows(batch)
		for _, row := range batch[:n] {
			cells := make([]string, len(leaves))
			for _, v := range row {
				k := v.Column()
				switch {
				case v.IsNull():
				case stamps[k] != 0:
					cells[k] = time.Unix(0, v.Int64()*stamps[k]).UTC().Format(time.RFC3339Nano)
				case v.Kind() == parquet.Boolean:
					cells[k] = map[bool]string{true: "1", false: "0"}[v.Boolean()]
				default:
					cells[k] = v.String()
				}
			}
			s.rows = append(s.rows, cells)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // wrapped with the file's name
		}
	}
}

// stampUnit is one step of a timestamp column, ns; 0 for other columns.
func stampUnit(t *format.LogicalType) int64 {
	if t == nil {
		return 0
	}
	stamp, ok := t.Value.(*format.TimestampType)
	if !ok {
		return 0
	}
	switch stamp.Unit.Value.(type) {
	case *format.MilliSeconds:
		return 1e6
	case *format.MicroSeconds:
		return 1e3
	}
	return 1
}

// index of a column by its header, with or without the unit in brackets.
func (s *sheet) index(name string) int {
	if i := slices.Index(s.header, name); i >= 0 {
		return i
	}
	return slices.IndexFunc(s.header, func(h string) bool {
		bare, _ := headerUnit(h)
		return strings.EqualFold(bare, name) || strings.EqualFold(h, name)
	})
}

// headerUnit takes "p1 [kPa_a]" apart; the unit is "" where the brackets hold
// none of the unit table.
func headerUnit(h string) (name, unit string) {
	for _, pair := range []string{"[]", "()", "（）"} {
		open, shut := []rune(pair)[0], []rune(pair)[1]
		i := strings.LastIndex(h, string(open))
		if i <= 0 || !strings.HasSuffix(h, string(shut)) {
			continue
		}
		inside := strings.TrimSuffix(h[i+len(string(open)):], string(shut))
		if _, err := acquisition.LookupUnit(strings.TrimSpace(inside)); err == nil {
			return strings.TrimSpace(h[:i]), strings.TrimSpace(inside)
		}
		return strings.TrimSpace(h[:i]), ""
	}
	return h, ""
}

func (s *sheet) number(cell string) (float64, bool) {
	cell = strings.TrimSpace(cell)
	if s.decimal && strings.Count(cell, ",") == 1 {
		cell = strings.ReplaceAll(strings.ReplaceAll(cell, ".", ""), ",", ".")
	}
	v, err := strconv.ParseFloat(cell, 64)
	return v, err == nil
}

// dataset makes a dataset of the table: its columns in the units that the
// layout or the header gives them.
func (s *sheet) dataset(l *layout, timed bool) (*verification.Dataset, map[string]string, error) {
	d := &verification.Dataset{Sources: []verification.Source{{Name: s.name, SHA256: s.sha256}}}
	var times []float64
	if timed {
		var err error
		if times, err = s.times(l, d); err != nil {
			return nil, nil, err
		}
	}
	mapped := map[string]string{}
	used := map[int]bool{}
	for role, c := range l.Channels {
		i := s.index(c.Column)
		if i < 0 {
			return nil, nil, fails(exitData, "%s has no column %q for %s; its columns are %s", s.name, c.Column, role, strings.Join(s.header, ", "))
		}
		name, unit := headerUnit(s.header[i])
		if c.Unit == "" {
			c.Unit = unit
		}
		if _, err := acquisition.LookupUnit(c.Unit); err != nil {
			return nil, nil, fails(exitUsage, "the unit of %s: %w", role, err)
		}
		if used[i] {
			name = role + "=" + name // the same column in two roles
		}
		used[i] = true
		ch := s.channel(i, name, times)
		ch.Unit, ch.Accuracy, ch.Resolution = c.Unit, c.Accuracy, c.Resolution
		if c.Range != nil {
			ch.Low, ch.High = c.Range[0], c.Range[1]
		}
		d.Channels = append(d.Channels, ch)
		mapped[role] = name
	}
	for i, h := range s.header {
		if name, unit := headerUnit(h); !used[i] && name != "" && d.Channel(name) == nil {
			ch := s.channel(i, name, times)
			ch.Unit = unit
			d.Channels = append(d.Channels, ch)
		}
	}
	return d, mapped, nil
}

func (s *sheet) channel(i int, name string, times []float64) *verification.Channel {
	c := &verification.Channel{Name: name, Times: times, Values: make([]float64, len(s.rows))}
	words := false
	for k, row := range s.rows {
		c.Values[k] = math.NaN()
		if i >= len(row) || strings.TrimSpace(row[i]) == "" {
			continue
		}
		v, ok := s.number(row[i])
		if ok {
			c.Values[k] = v
		} else {
			words = true
		}
	}
	if words {
		c.Texts = make([]string, len(s.rows))
		for k, row := range s.rows {
			if i < len(row) {
				c.Texts[k] = strings.TrimSpace(row[i])
			}
		}
	}
	return c
}

func timeNames() []string {
	return []string{"time", "t", "时间", "时刻", "timestamp", "zeit", "datetime", "time_s", "日期时间"}
}

// times reads the column of times, s from the first row. A table without one
// needs a rate.
func (s *sheet) times(l *layout, d *verification.Dataset) ([]float64, error) {
	times := make([]float64, len(s.rows))
	if l.Rate > 0 {
		for k := range times {
			times[k] = float64(k) / l.Rate
		}
		return times, nil
	}
	i := -1
	if l.Time.Column != "" {
		if i = s.index(l.Time.Column); i < 0 {
			return nil, fails(exitData, "%s has no column %q for the time; its columns are %s", s.name, l.Time.Column, strings.Join(s.header, ", "))
		}
	} else {
		for _, name := range timeNames() {
			if i = s.index(name); i >= 0 {
				break
			}
		}
	}
	if i < 0 {
		return nil, fails(exitUsage, "which column of %s is the time? Name it with --time COLUMN (its columns are %s), or give --rate HZ", s.name, strings.Join(s.header, ", "))
	}
	_, unit := headerUnit(s.header[i])
	if l.Time.Unit != "" {
		unit = l.Time.Unit
	}
	factor := 1.0
	if unit != "" {
		u, err := acquisition.LookupUnit(unit)
		if err != nil || u.Dimension != acquisition.Duration {
			return nil, fails(exitUsage, "the time's unit %q is not s, ms, us, min or h", unit)
		}
		factor = u.Factor
	}
	var origin time.Time
	first := 0.0
	for k, row := range s.rows {
		cell := ""
		if i < len(row) {
			cell = strings.TrimSpace(row[i])
		}
		v, ok := s.number(cell)
		if !ok {
			at, err := parseTime(cell)
			if err != nil {
				return nil, fails(exitData, "%s row %d: %w", s.name, k+2+l.Skip, err)
			}
			if k == 0 {
				origin = at
				if at.Year() > 1970 {
					d.Origin = at.UnixNano()
				}
			}
			v = at.Sub(origin).Seconds() / factor
		} else if k == 0 {
			first = v
			// Days since 1899-12-30 is how spreadsheets keep a date.
			if unit == "" && v > 20000 && v < 80000 && strings.Contains(cell, ".") && len(s.rows) > 1 {
				if next, ok := s.number(s.rows[1][i]); ok && next-v < 1 {
					factor = 86400
				}
			}
		}
		times[k] = (v - first) * factor
		if factor == 86400 {
			times[k] = math.Round(times[k]*1e4) / 1e4 // 15 digits of a day are about 1 µs, of which none is real
		}
		if k > 0 && !(times[k] > times[k-1]) {
			return nil, fails(exitData, "%s row %d: the time %s is not after the one before; times rise strictly", s.name, k+2+l.Skip, cell)
		}
	}
	return times, nil
}

func parseTime(text string) (time.Time, error) {
	for _, form := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05", "2006/1/2 15:04:05", "2006-01-02T15:04:05", "02.01.2006 15:04:05", "2006年1月2日 15:04:05", "15:04:05",
		"2006-01-02 15:04:05 -07:00",
	} {
		if t, err := time.Parse(form, strings.Replace(text, ",", ".", 1)); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: seconds, 2026-11-24 14:03:05.123 or RFC 3339", text)
}
