package export

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"pneudaq/acquisition"
)

// parquetValues is about how many values a row group holds: what is in memory.
const parquetValues = 1 << 20

// Parquet writes a table as Parquet: column time (timestamp, ns, UTC), an
// optional double for each channel, and quality as text (good, or the reason).
// The metadata carry pneudaq.rig, .site, .group, .version, .simulated, and the
// units as pneudaq.units (a JSON object) and unit.<name>.
func Parquet(w io.Writer, blocks Blocks, o Options) (Summary, error) {
	p := &parquetSheet{out: w, o: o}
	for _, name := range reasonNames() {
		p.names = append(p.names, parquet.ByteArrayValue([]byte(name)))
	}
	sum, err := walk(blocks, o, sheet{begin: p.begin, row: p.row})
	if err != nil {
		return sum, err
	}
	if err := p.flush(); err != nil {
		return sum, err
	}
	if err := p.w.Close(); err != nil {
		return sum, fmt.Errorf("write Parquet: %w", err)
	}
	return sum, nil
}

// ordered is a schema whose columns keep the order of the table; a
// parquet.Group alone sorts them by name.
type ordered struct {
	parquet.Group
	names []string
}

// Fields returns the columns in the order of the table.
func (o ordered) Fields() []parquet.Field {
	fields := o.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(o.names, a.Name()) - slices.Index(o.names, b.Name())
	})
	return fields
}

type parquetSheet struct {
	out     io.Writer
	o       Options
	w       *parquet.GenericWriter[any]
	columns []acquisition.Channel
	names   []parquet.Value // of reasons
	rows    []parquet.Row
	values  []parquet.Value // memory of the rows
}

func (p *parquetSheet) begin(g *acquisition.Group, columns []acquisition.Channel) error {
	p.columns = columns
	schema := ordered{Group: parquet.Group{}}
	add := func(name string, n parquet.Node) error {
		if schema.Group[name] != nil {
			return fmt.Errorf("write Parquet: two columns have the name %q", name)
		}
		schema.Group[name] = n
		schema.names = append(schema.names, name)
		return nil
	}
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	err := add("time", parquet.Timestamp(parquet.Nanosecond))
	units := map[string]string{}
	options := []parquet.WriterOption{
		parquet.CreatedBy("pneudaq", "1", ""), parquet.Compression(&parquet.Zstd),
		parquet.KeyValueMetadata("pneudaq.rig", g.Rig), parquet.KeyValueMetadata("pneudaq.site", g.Site),
		parquet.KeyValueMetadata("pneudaq.group", g.Name), parquet.KeyValueMetadata("pneudaq.version", strconv.FormatUint(uint64(g.Version), 10)),
		parquet.KeyValueMetadata("pneudaq.simulated", strconv.FormatBool(g.Simulated)),
	}
	for i := range columns {
		c := &columns[i]
		if err == nil {
			err = add(c.Name, parquet.Optional(parquet.Leaf(parquet.DoubleType)))
		}
		if err == nil && p.o.Quality == QualityPerChannel {
			err = add(c.Name+qualitySuffix, text())
		}
		units[c.Name] = c.Unit
		options = append(options, parquet.KeyValueMetadata("unit."+c.Name, c.Unit))
	}
	if err == nil && p.o.Quality == QualityOneColumn {
		err = add("quality", text())
	}
	if err != nil {
		return err
	}
	all, err := json.Marshal(units)
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	width := len(schema.names)
	options = append(options, parquet.KeyValueMetadata("pneudaq.units", string(all)),
		parquet.MaxRowsPerRowGroup(int64(max(parquetValues/width, 1000))), parquet.NewSchema("scan", schema))
	p.w = parquet.NewGenericWriter[any](p.out, options...)
	p.rows = make([]parquet.Row, 0, 256)
	p.values = make([]parquet.Value, 256*width)
	return nil
}

func (p *parquetSheet) row(r *row) error {
	width := len(p.values) / cap(p.rows)
	line := p.values[len(p.rows)*width : len(p.rows)*width : (len(p.rows)+1)*width]
	line = append(line, parquet.Int64Value(r.time).Level(0, 0, 0))
	for i, v := range r.values {
		if v == v {
			line = append(line, parquet.DoubleValue(v).Level(0, 1, len(line)))
		} else {
			line = append(line, parquet.NullValue().Level(0, 0, len(line)))
		}
		if p.o.Quality == QualityPerChannel {
			line = append(line, p.names[r.quality[i]].Level(0, 0, len(line)))
		}
	}
	if p.o.Quality == QualityOneColumn {
		line = append(line, parquet.ByteArrayValue(reasons(nil, p.columns, r.quality)).Level(0, 0, len(line)))
	}
	p.rows = append(p.rows, line)
	if len(p.rows) == cap(p.rows) {
		return p.flush()
	}
	return nil
}

func (p *parquetSheet) flush() error {
	if len(p.rows) == 0 {
		return nil
	}
	_, err := p.w.WriteRows(p.rows)
	p.rows = p.rows[:0]
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}
