package mqtt

import (
	"errors"
	"fmt"

	"pneudaq/acquisition"
)

// column is a channel's place in a payload and in the group's numbers.
type column struct {
	name, field string
	col         int
	texts       map[string]float64
	sentinels   []acquisition.Sentinel
}

// sentinel returns why a number stands for no value.
func (c *column) sentinel(v float64) acquisition.Reason {
	for _, s := range c.sentinels {
		if v == float64(s.Raw) {
			return s.Reason
		}
	}
	return acquisition.ReasonNone
}

// put stores a number of a column.
func (b *burst) put(row int, c *column, v float64) error {
	if len(c.sentinels) > 0 {
		if r := c.sentinel(v); r != acquisition.ReasonNone {
			return b.mark(row, c.col, r)
		}
	}
	return b.set(row, c.col, v)
}

// partPlan is what the decoder of one topic of a group needs to know.
type partPlan struct {
	payload                        Payload
	columns                        []column
	clock                          timeReader
	timed                          bool // the format's own time is wanted
	stepUnit                       TimeUnit
	seqField, timeField, stepField string
}

// decodeFunc turns a payload into a burst. What it leaves in the burst refers
// to nothing in the payload. arrival is Unix ns.
type decodeFunc func(topic string, payload []byte, arrival int64, b *burst) error

// newDecoder returns the decoder of a part's format.
func newDecoder(p *partPlan) (decodeFunc, error) {
	switch p.payload.Format {
	case FormatNumber:
		d, err := newNumberDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	case FormatJSON, FormatNameValue, FormatArrays, FormatRows:
		d, err := newJSONDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	case FormatLine:
		d, err := newLineDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	case FormatCSV:
		d, err := newCSVDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	case FormatBinary:
		d, err := newBinaryDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	case FormatSparkplug:
		d, err := newSparkplugDecoder(p)
		if err != nil {
			return nil, err
		}
		return d.decode, nil
	}
	return nil, fmt.Errorf("payload format %s is not known", p.payload.Format)
}

// plan checks a group's time and sequence and returns what every part of it
// shares.
func (o *GroupOptions) plan() (partPlan, error) {
	p := partPlan{
		payload: o.Payload, stepUnit: o.Time.StepUnit, timed: o.Time.Basis != BasisArrival,
		seqField: o.Sequence.Field, timeField: o.Time.Field, stepField: o.Time.Step,
		clock: timeReader{unit: o.Time.Unit, layout: o.Time.Layout, zone: o.Time.Zone},
	}
	f := o.Payload.Format
	l := o.Payload.Layout
	stated := o.Time.Field != "" || f == FormatBinary && l.T0.Size > 0
	switch {
	case stated && o.Time.Unit == UnitDefault:
		return p, errors.New("time: state the unit: s, ms, us, ns, rfc3339 or text")
	case o.Time.Unit == UnitText && (o.Time.Layout == "" || o.Time.Zone == nil):
		return p, errors.New("time: unit text needs a layout and a zone, such as Asia/Shanghai")
	case f == FormatBinary && (o.Time.Unit == UnitText || o.Time.Unit == UnitRFC3339):
		return p, errors.New("time: a burst's t0 is a number; state s, ms, us or ns")
	case (o.Time.Step != "" || f == FormatBinary && l.Dt.Size > 0) && o.Time.StepUnit.nanoseconds() == 0:
		return p, errors.New("time: state the unit of the step: s, ms, us or ns")
	case f == FormatNumber && (o.Time.Field != "" || o.Sequence.Field != ""):
		return p, errors.New("a bare number has neither time nor sequence number; use another payload format")
	}
	switch o.Sequence.Bits {
	case 0, 8, 16, 32:
	default:
		return p, fmt.Errorf("sequence: numbers of %d bits are not possible; 8, 16, 32, or 0 for numbers that never start again", o.Sequence.Bits)
	}
	return p, nil
}
