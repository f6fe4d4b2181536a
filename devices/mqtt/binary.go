package mqtt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"pneudaq/acquisition"
)

// binaryDecoder decodes bursts by a Layout.
type binaryDecoder struct {
	l        Layout
	order    binary.ByteOrder
	size     int // bytes of a sample
	columns  []column
	index    []int // position of each column in the payload
	channels int
	clock    timeReader
	stepUnit TimeUnit
}

func sampleSize(t acquisition.Type) (int, error) {
	switch t {
	case acquisition.TypeInt8, acquisition.TypeUint8:
		return 1, nil
	case acquisition.TypeInt16, acquisition.TypeUint16, acquisition.TypeFloat16:
		return 2, nil
	case acquisition.TypeInt32, acquisition.TypeUint32, acquisition.TypeFloat32:
		return 4, nil
	case acquisition.TypeInt64, acquisition.TypeUint64, acquisition.TypeFloat64:
		return 8, nil
	case acquisition.TypeBool, acquisition.TypeBCD16, acquisition.TypeBCD32:
	}
	return 0, fmt.Errorf("layout: samples of type %s are not possible; use int16, int32 or float32", t)
}

func newBinaryDecoder(p *partPlan) (*binaryDecoder, error) {
	d := &binaryDecoder{l: p.payload.Layout, order: binary.BigEndian, columns: p.columns, clock: p.clock, stepUnit: p.stepUnit}
	if d.l.LittleEndian {
		d.order = binary.LittleEndian
	}
	var err error
	if d.size, err = sampleSize(d.l.Sample); err != nil {
		return nil, err
	}
	if d.l.Header < len(d.l.Magic) || d.l.Header > 4096 {
		return nil, fmt.Errorf("layout: a header of %d bytes does not hold what is in it", d.l.Header)
	}
	for _, it := range []struct {
		name string
		Item
	}{{"seq", d.l.Seq}, {"t0", d.l.T0}, {"dt", d.l.Dt}, {"count", d.l.Count}, {"width", d.l.Width}} {
		switch {
		case it.Size == 0:
		case it.Size != 1 && it.Size != 2 && it.Size != 4 && it.Size != 8, it.Float && it.Size < 4:
			return nil, fmt.Errorf("layout: %s has %d bytes; 1, 2, 4 or 8 are possible, 4 or 8 for floats", it.name, it.Size)
		case it.At < 0 || it.At+it.Size > d.l.Header:
			return nil, fmt.Errorf("layout: %s at byte %d does not fit into the header of %d bytes", it.name, it.At, d.l.Header)
		case it.Float && it.name != "t0" && it.name != "dt":
			return nil, fmt.Errorf("layout: %s is a float; a whole number is needed", it.name)
		}
	}
	d.channels = d.l.Channels
	for i, c := range p.columns {
		n := i
		if c.field != "" {
			var ok bool
			if n, ok = columnNumber(c.field); !ok {
				return nil, fmt.Errorf("channel %s: field %q is not a position; write 0 for the first channel of the burst", c.name, c.field)
			}
		}
		if d.l.Channels > 0 && n >= d.l.Channels {
			return nil, fmt.Errorf("channel %s: position %d is outside the %d channels of the burst", c.name, n, d.l.Channels)
		}
		d.index = append(d.index, n)
		d.channels = max(d.channels, n+1)
	}
	if d.channels == 0 {
		return nil, errors.New("a topic of bursts has no channel")
	}
	return d, nil
}

func (d *binaryDecoder) integer(p []byte, it Item) uint64 {
	p = p[it.At:]
	switch it.Size {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(d.order.Uint16(p))
	case 4:
		return uint64(d.order.Uint32(p))
	}
	return d.order.Uint64(p)
}

func (d *binaryDecoder) float(p []byte, it Item) float64 {
	if it.Size == 4 {
		return float64(math.Float32frombits(d.order.Uint32(p[it.At:])))
	}
	return math.Float64frombits(d.order.Uint64(p[it.At:]))
}

func (d *binaryDecoder) decode(_ string, p []byte, _ int64, b *burst) error {
	if len(p) < d.l.Header {
		return fmt.Errorf("%d bytes are shorter than the header of %d", len(p), d.l.Header)
	}
	if !bytes.HasPrefix(p, d.l.Magic) {
		return fmt.Errorf("it begins with % x, not with % x", p[:len(d.l.Magic)], d.l.Magic)
	}
	if d.l.Width.Size > 0 {
		if n := d.integer(p, d.l.Width); n != uint64(d.channels) {
			return fmt.Errorf("the header counts %d channels, the rig file %d", n, d.channels)
		}
	}
	if d.l.Seq.Size > 0 {
		b.seq, b.hasSeq = d.integer(p, d.l.Seq), true
	}
	if d.l.T0.Size > 0 {
		t, err := d.time(p)
		if err != nil {
			return err
		}
		b.time, b.hasTime = t, true
	}
	if d.l.Dt.Size > 0 {
		var v float64
		if d.l.Dt.Float {
			v = d.float(p, d.l.Dt)
		} else {
			v = float64(d.integer(p, d.l.Dt))
		}
		v *= float64(d.stepUnit.nanoseconds())
		if !(v > 0) || v > 1e18 {
			return errors.New("the step between samples is not a positive number")
		}
		b.step, b.hasStep = v, true
	}
	body := p[d.l.Header:]
	frame := d.size * d.channels
	rows := len(body) / frame
	if len(body)%frame != 0 && d.l.Count.Size == 0 {
		return fmt.Errorf("%d bytes of samples are not a multiple of %d (%d channels of %s)", len(body), frame, d.channels, d.l.Sample)
	}
	if d.l.Count.Size > 0 {
		n := d.integer(p, d.l.Count)
		if n > uint64(rows) {
			return fmt.Errorf("the header counts %d samples, the payload holds %d", n, rows)
		}
		rows = int(n)
	}
	if rows == 0 {
		return errors.New("there are no samples in it")
	}
	if err := b.grow(rows - 1); err != nil {
		return err
	}
	b.found += len(d.columns)
	for i, c := range d.columns {
		at, stride := d.index[i]*d.size, frame
		if d.l.Planar {
			at, stride = d.index[i]*d.size*rows, d.size
		}
		d.column(body[at:], stride, b, c.col)
		if len(c.sentinels) > 0 {
			d.sentinels(body[at:], stride, b, &c)
		}
	}
	return nil
}

func (d *binaryDecoder) time(p []byte) (int64, error) {
	if d.l.T0.Float {
		v := d.float(p, d.l.T0)
		whole, frac := math.Modf(v)
		unit := d.clock.unit.nanoseconds()
		if math.IsNaN(v) || math.Abs(whole) > float64(math.MaxInt64/unit-1) {
			return 0, errors.New("the time is not a number that can be stored")
		}
		return int64(whole)*unit + int64(math.Round(frac*float64(unit))), nil
	}
	v := d.integer(p, d.l.T0)
	if v > math.MaxInt64 {
		return 0, errors.New("the time is larger than what can be stored")
	}
	return d.clock.number(decimal{mant: v, exact: true})
}

// sentinels marks the samples whose bits stand for no value.
func (d *binaryDecoder) sentinels(p []byte, stride int, b *burst, c *column) {
	for r := range b.rows {
		raw := d.integer(p, Item{At: r * stride, Size: d.size})
		for _, s := range c.sentinels {
			if s.Raw == raw {
				b.quality[r*b.cols+c.col] = acquisition.Quality(s.Reason)
			}
		}
	}
}

// column reads all samples of one channel; a switch for each sample would cost
// more than the sample.
func (d *binaryDecoder) column(p []byte, stride int, b *burst, col int) {
	out, cols := b.numbers[col:], b.cols
	o := d.order
	switch d.l.Sample {
	case acquisition.TypeFloat32:
		if d.l.LittleEndian {
			for r := range b.rows {
				out[r*cols] = float64(math.Float32frombits(binary.LittleEndian.Uint32(p[r*stride:])))
			}
		} else {
			for r := range b.rows {
				out[r*cols] = float64(math.Float32frombits(binary.BigEndian.Uint32(p[r*stride:])))
			}
		}
	case acquisition.TypeFloat64:
		for r := range b.rows {
			out[r*cols] = math.Float64frombits(o.Uint64(p[r*stride:]))
		}
	case acquisition.TypeInt16:
		if d.l.LittleEndian {
			for r := range b.rows {
				out[r*cols] = float64(int16(binary.LittleEndian.Uint16(p[r*stride:])))
			}
		} else {
			for r := range b.rows {
				out[r*cols] = float64(int16(binary.BigEndian.Uint16(p[r*stride:])))
			}
		}
	case acquisition.TypeUint16:
		for r := range b.rows {
			out[r*cols] = float64(o.Uint16(p[r*stride:]))
		}
	case acquisition.TypeInt32:
		for r := range b.rows {
			out[r*cols] = float64(int32(o.Uint32(p[r*stride:])))
		}
	case acquisition.TypeUint32:
		for r := range b.rows {
			out[r*cols] = float64(o.Uint32(p[r*stride:]))
		}
	case acquisition.TypeInt64:
		for r := range b.rows {
			out[r*cols] = float64(int64(o.Uint64(p[r*stride:])))
		}
	case acquisition.TypeUint64:
		for r := range b.rows {
			out[r*cols] = float64(o.Uint64(p[r*stride:]))
		}
	case acquisition.TypeInt8:
		for r := range b.rows {
			out[r*cols] = float64(int8(p[r*stride]))
		}
	case acquisition.TypeUint8:
		for r := range b.rows {
			out[r*cols] = float64(p[r*stride])
		}
	case acquisition.TypeFloat16:
		half := acquisition.Decoding{Type: acquisition.TypeFloat16}
		var w [1]uint16
		for r := range b.rows {
			w[0] = o.Uint16(p[r*stride:])
			out[r*cols], _ = half.Value(w[:])
		}
	case acquisition.TypeBool, acquisition.TypeBCD16, acquisition.TypeBCD32: // refused by sampleSize
	}
	for r := range b.rows {
		b.quality[r*cols+col] = acquisition.Good
	}
}
