package mqtt

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"pneudaq/acquisition"
)

// sparkplugDecoder decodes Sparkplug B payloads (Eclipse Sparkplug 3.0,
// section 6.4): births tell the aliases, data messages use them, deaths mean
// that the device is gone.
type sparkplugDecoder struct {
	columns []column
	clock   timeReader
	timed   bool
	alias   map[uint64]string // metric names that births gave
}

// Metric data types of the Sparkplug specification whose integers are signed.
const (
	sparkInt8  = 1
	sparkInt16 = 2
	sparkInt32 = 3
	sparkInt64 = 4
	maxAliases = 10000
)

func newSparkplugDecoder(p *partPlan) (*sparkplugDecoder, error) {
	d := &sparkplugDecoder{columns: p.columns, clock: p.clock, timed: p.timed, alias: map[uint64]string{}}
	if d.clock.unit == UnitDefault {
		d.clock.unit = UnitMilli
	}
	if p.seqField != "" {
		return nil, errors.New("sequence: the number of Sparkplug counts all messages of a node, not those of one device; leave it out and state expect_every")
	}
	return d, nil
}

type metric struct {
	name             string
	alias            uint64
	hasAlias         bool
	time             uint64
	hasTime          bool
	kind             uint64
	null, historical bool
	value            float64
	text             []byte
	set              bool
	raw              uint64 // integer bits
	integer          bool
}

func (d *sparkplugDecoder) decode(topic string, p []byte, _ int64, b *burst) error {
	kind := ""
	if parts := strings.Split(topic, "/"); len(parts) > 2 {
		kind = parts[2]
	}
	if kind == "NDEATH" || kind == "DDEATH" {
		b.offline = true
		return nil
	}
	birth := kind == "NBIRTH" || kind == "DBIRTH"
	var stamp uint64
	stamped := false
	for len(p) > 0 {
		num, typ, n := protowire.ConsumeTag(p)
		if n < 0 {
			return fmt.Errorf("not a Sparkplug payload: %w", protowire.ParseError(n))
		}
		p = p[n:]
		switch {
		case num == 1 && typ == protowire.VarintType:
			stamp, n = protowire.ConsumeVarint(p)
			stamped = n > 0
		case num == 2 && typ == protowire.BytesType:
			var body []byte
			if body, n = protowire.ConsumeBytes(p); n >= 0 {
				if err := d.metric(body, birth, b); err != nil {
					return err
				}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, p)
		}
		if n < 0 {
			return fmt.Errorf("not a Sparkplug payload: %w", protowire.ParseError(n))
		}
		p = p[n:]
	}
	if d.timed && !b.hasTime && stamped {
		t, err := d.stamp(stamp)
		if err != nil {
			return err
		}
		b.time, b.hasTime = t, true
	}
	return nil
}

func (d *sparkplugDecoder) stamp(v uint64) (int64, error) {
	if v > math.MaxInt64 {
		return 0, errors.New("read time: the metric's time cannot be stored")
	}
	return d.clock.number(decimal{mant: v, exact: true})
}

func (d *sparkplugDecoder) metric(p []byte, birth bool, b *burst) error { //nolint:revive // a state
	m, err := readMetric(p)
	if err != nil {
		return err
	}
	if m.hasAlias {
		if m.name != "" && birth {
			if len(d.alias) < maxAliases {
				d.alias[m.alias] = m.name
			}
		} else if m.name == "" {
			m.name = d.alias[m.alias]
		}
	}
	if m.name == "" {
		return nil
	}
	for i := range d.columns {
		c := &d.columns[i]
		if c.field != m.name {
			continue
		}
		if b.rows > 0 && b.quality[c.col] != acquisition.Quality(acquisition.ReasonNoData) {
			return fmt.Errorf("metric %s is there twice", m.name)
		}
		b.found++
		if m.historical {
			b.historical = true
		}
		if d.timed && m.hasTime && !b.hasTime {
			if b.time, err = d.stamp(m.time); err != nil {
				return err
			}
			b.hasTime = true
		}
		v, ok := m.float(c)
		switch {
		case m.null:
			err = b.mark(0, c.col, acquisition.ReasonNoData)
		case ok:
			err = b.put(0, c, v)
		default:
			b.unusable++
			err = b.mark(0, c.col, acquisition.ReasonDecode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *metric) float(c *column) (float64, bool) {
	switch {
	case !m.set:
		return 0, false
	case m.text != nil:
		return word(m.text, '.', c.texts)
	case !m.integer:
		return m.value, true
	}
	switch m.kind {
	case sparkInt8:
		return float64(int8(m.raw)), true
	case sparkInt16:
		return float64(int16(m.raw)), true
	case sparkInt32:
		return float64(int32(m.raw)), true
	case sparkInt64:
		return float64(int64(m.raw)), true
	}
	return float64(m.raw), true
}

func readMetric(p []byte) (m metric, err error) {
	for len(p) > 0 {
		num, typ, n := protowire.ConsumeTag(p)
		if n < 0 {
			return m, fmt.Errorf("not a Sparkplug metric: %w", protowire.ParseError(n))
		}
		p = p[n:]
		switch typ { //nolint:exhaustive // the others are skipped
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(p)
			switch num { //nolint:exhaustive // field numbers of the schema
			case 2:
				m.alias, m.hasAlias = v, true
			case 3:
				m.time, m.hasTime = v, true
			case 4:
				m.kind = v
			case 5:
				m.historical = v != 0
			case 7:
				m.null = v != 0
			case 10, 11:
				m.raw, m.integer, m.set = v, true, true
			case 14:
				m.raw, m.integer, m.set = v&1, true, true
			}
		case protowire.Fixed32Type:
			var v uint32
			if v, n = protowire.ConsumeFixed32(p); num == 12 {
				m.value, m.set = float64(math.Float32frombits(v)), true
			}
		case protowire.Fixed64Type:
			var v uint64
			if v, n = protowire.ConsumeFixed64(p); num == 13 {
				m.value, m.set = math.Float64frombits(v), true
			}
		case protowire.BytesType:
			var v []byte
			v, n = protowire.ConsumeBytes(p)
			switch num { //nolint:exhaustive // field numbers of the schema
			case 1:
				m.name = string(v)
			case 15:
				m.text, m.set = append([]byte{}, v...), true
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, p)
		}
		if n < 0 {
			return m, fmt.Errorf("not a Sparkplug metric: %w", protowire.ParseError(n))
		}
		p = p[n:]
	}
	return m, nil
}
