package verification

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"pneudaq/acquisition"
)

// A Channel is one channel of a record, in its own unit.
type Channel struct {
	Name       string
	Unit       string    // a name of the unit table, see acquisition.LookupUnit
	Times      []float64 // s from the dataset's origin, strictly rising; nil for a column without time
	HalfWidths []float64 // s, how far the true instant may be from Times; nil is 0
	Values     []float64 // in Unit; NaN where there is no usable sample
	Uncertain  int       // samples whose quality is uncertain; they count
	Period     float64   // s between planned samples; 0: the median distance of Times
	Low, High  float64   // range in Unit, what "% FS" is of; equal: none known
	Accuracy   string    // see ParseAccuracy; "" is none stated
	Resolution float64   // smallest step in Unit; 0 is none or unknown
	Expired    string    // why its calibration is not in force; "" where it is, or none is asked for
	Texts      []string  // of a column that holds words; nil otherwise
}

// A Source is one input of a dataset with the hash of its bytes.
type Source struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// A Dataset is what a method judges: channels on a common origin of time.
type Dataset struct {
	Channels  []*Channel
	Origin    int64 // Unix ns of time 0; 0 where the record has no date
	Recording string
	Simulated bool
	Sources   []Source
}

// Channel returns the named channel, nil if there is none.
func (d *Dataset) Channel(name string) *Channel {
	i := slices.IndexFunc(d.Channels, func(c *Channel) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return d.Channels[i]
}

// Between is the part of the dataset from (inclusive) to (exclusive), s from
// the origin, sharing memory.
func (d *Dataset) Between(from, to float64) *Dataset {
	part := *d
	part.Channels = nil
	for _, c := range d.Channels {
		cut := *c
		if c.Times != nil {
			lo, _ := slices.BinarySearch(c.Times, from)
			hi, _ := slices.BinarySearch(c.Times, to)
			hi = max(hi, lo)
			cut.Times, cut.Values = c.Times[lo:hi], c.Values[lo:hi]
			if c.HalfWidths != nil {
				cut.HalfWidths = c.HalfWidths[lo:hi]
			}
		}
		part.Channels = append(part.Channels, &cut)
	}
	return &part
}

// AddBlocks appends the channels of a group from its blocks in order, decoded,
// each sample at the time of its own exchange. Bad samples are NaN, slots
// without a scan are not there. compile serves derived channels and may be nil
// if there are none. Values of a group whose unit changed between versions are
// refused.
func (d *Dataset) AddBlocks(blocks iter.Seq2[*acquisition.Block, error], compile acquisition.Compile) error {
	var decoder *acquisition.Decoder
	var values []float64
	var quality []acquisition.Quality
	channels := map[string]*Channel{}
	for b, err := range blocks {
		if err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		if b.Backfill {
			continue // late data lie behind what is stored; see sorted below
		}
		if decoder == nil || decoder.Group() != b.Group {
			if decoder, err = acquisition.NewDecoder(b.Group, compile); err != nil {
				return fmt.Errorf("decode group %s: %w", b.Group.Key(), err)
			}
			values, quality = make([]float64, len(b.Group.Channels)), make([]acquisition.Quality, len(b.Group.Channels))
			if err := d.columns(b.Group, channels); err != nil {
				return err
			}
		}
		d.Simulated = d.Simulated || b.Group.Simulated
		for i := range b.Len() {
			decoder.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
			for k := range b.Group.Channels {
				c := channels[b.Group.Channels[k].Name]
				t, half := b.SampleTime(i, k)
				at := float64(t-d.Origin) / 1e9
				if n := len(c.Times); n > 0 && at <= c.Times[n-1] {
					continue
				}
				if quality[k].Class() == acquisition.ClassUncertain {
					c.Uncertain++
				}
				c.Times, c.HalfWidths = append(c.Times, at), append(c.HalfWidths, float64(half)/1e9)
				c.Values = append(c.Values, values[k])
			}
		}
	}
	return nil
}

func (d *Dataset) columns(g *acquisition.Group, channels map[string]*Channel) error {
	for i := range g.Channels {
		x := &g.Channels[i]
		c := channels[x.Name]
		if c == nil {
			c = &Channel{Name: x.Name, Unit: x.Unit, Period: g.Period.Seconds(), Low: x.Low, High: x.High}
			if t := x.Decoding.Type; x.Decoding.Origin == acquisition.FromWords && t != acquisition.TypeFloat16 && t != acquisition.TypeFloat32 && t != acquisition.TypeFloat64 {
				c.Resolution = math.Abs(x.Decoding.Scale)
			}
			channels[x.Name] = c
			d.Channels = append(d.Channels, c)
		}
		if c.Unit != x.Unit {
			return fmt.Errorf("channel %s changed its unit from %s to %s within the record: judge the two parts apart with from and to", x.Name, c.Unit, x.Unit)
		}
	}
	return nil
}

// period is the planned or usual distance of samples, s; 0 of fewer than two.
func (c *Channel) period() float64 {
	if c.Period > 0 {
		return c.Period
	}
	n := len(c.Times) - 1
	if n < 1 {
		return 0
	}
	steps := make([]float64, n)
	for i := range steps {
		steps[i] = c.Times[i+1] - c.Times[i]
	}
	slices.Sort(steps)
	return steps[n/2]
}
