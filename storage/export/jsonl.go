package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"pneudaq/acquisition"
)

// JSONLines writes a table as JSON lines: first an object with rig, site,
// group and units, then one object for each scan ("time", "time_ns", a number
// or null for each channel, <name>__q where the quality is not good) and one
// for each gap ({"gap": {"from_slot", "to_slot", "count", "reason"}}).
func JSONLines(w io.Writer, blocks Blocks, o Options) (Summary, error) {
	j := &jsonSheet{w: bufio.NewWriterSize(w, 64<<10), o: o, names: reasonNames()}
	if o.Location == nil {
		j.o.Location = time.UTC
	}
	sum, err := walk(blocks, o, sheet{begin: j.begin, row: j.row, gap: j.gap})
	if err != nil {
		return sum, err
	}
	if err := j.w.Flush(); err != nil {
		return sum, fmt.Errorf("write JSON lines: %w", err)
	}
	return sum, nil
}

type jsonSheet struct {
	w       *bufio.Writer
	o       Options
	keys    [][2][]byte // per column: ,"name": and ,"name__q":
	columns []acquisition.Channel
	names   []string
	line    []byte
}

func (j *jsonSheet) begin(g *acquisition.Group, columns []acquisition.Channel) error {
	j.columns = columns
	units := map[string]string{}
	for i := range columns {
		units[columns[i].Name] = columns[i].Unit
		name, err := json.Marshal(columns[i].Name)
		if err != nil {
			return fmt.Errorf("write JSON lines: %w", err)
		}
		quality, err := json.Marshal(columns[i].Name + qualitySuffix)
		if err != nil {
			return fmt.Errorf("write JSON lines: %w", err)
		}
		j.keys = append(j.keys, [2][]byte{append(append([]byte{','}, name...), ':'), append(append([]byte{','}, quality...), ':', '"')})
	}
	head, err := json.Marshal(struct {
		Rig       string            `json:"rig"`
		Site      string            `json:"site,omitempty"`
		Group     string            `json:"group"`
		Units     map[string]string `json:"units"`
		Simulated bool              `json:"simulated,omitempty"`
	}{g.Rig, g.Site, g.Name, units, g.Simulated})
	if err != nil {
		return fmt.Errorf("write JSON lines: %w", err)
	}
	j.line = append(j.line, head...)
	return j.flush()
}

func (j *jsonSheet) row(r *row) error {
	j.line = append(j.line, `{"time":"`...)
	j.line = time.Unix(0, r.time).In(j.o.Location).AppendFormat(j.line, timeLayout)
	j.line = append(j.line, `","time_ns":`...)
	j.line = strconv.AppendInt(j.line, r.time, 10)
	for i, v := range r.values {
		j.line = append(j.line, j.keys[i][0]...)
		if v == v {
			j.line = strconv.AppendFloat(j.line, v, 'g', -1, 64)
		} else {
			j.line = append(j.line, "null"...)
		}
		if q := r.quality[i]; q != acquisition.Good && j.o.Quality == QualityPerChannel {
			j.line = append(j.line, j.keys[i][1]...)
			j.line = append(j.line, j.names[q]...)
			j.line = append(j.line, '"')
		}
	}
	if j.o.Quality == QualityOneColumn {
		if note := reasons(nil, j.columns, r.quality); len(note) > 0 {
			text, err := json.Marshal(string(note))
			if err != nil {
				return fmt.Errorf("write JSON lines: %w", err)
			}
			j.line = append(append(j.line, `,"quality":`...), text...)
		}
	}
	j.line = append(j.line, '}')
	return j.flush()
}

func (j *jsonSheet) gap(_ *acquisition.Block, g acquisition.Gap) error {
	j.line = fmt.Appendf(j.line, `{"gap":{"from_slot":%d,"to_slot":%d,"count":%d,"reason":%q}}`, g.From, g.To, g.Count(), g.Reason)
	return j.flush()
}

func (j *jsonSheet) flush() error {
	j.line = append(j.line, '\n')
	_, err := j.w.Write(j.line)
	j.line = j.line[:0]
	if err != nil {
		return fmt.Errorf("write JSON lines: %w", err)
	}
	return nil
}
