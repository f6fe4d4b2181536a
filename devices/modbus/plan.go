package modbus

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// BusPlan is what goes over a bus: the requests of every group and the time
// that they take.
type BusPlan struct {
	Bus      string
	Endpoint string
	Groups   []GroupPlan
	Load     float64 // percent of the bus's time
	Assumed  string  // what the load figure stands on, for people
}

// GroupPlan is the requests of one group.
type GroupPlan struct {
	Group    *acquisition.Group
	Requests []Request        // one per exchange of the scan
	Pass     time.Duration    // time on the bus of one pass
	Load     float64          // percent
	channels []ChannelOptions // as given, by index of the group's channels
}

// Request is one read of the plan.
type Request struct {
	Device   string
	Unit     byte
	Table    Table
	Address  uint16 // on the wire
	Quantity uint16 // registers or bits; of a FIFO the most that it may deliver
	Channels []int  // indexes of the group's channels that need its answer
	At       int    // first word of the scan that it fills
	Words    int    // words of the scan that it fills
	Time     time.Duration

	device int    // index in Options.Devices
	parts  []part // registers: what of the answer goes where
	fifo   []fifoUse
}

// part is a run of registers of an answer that is wanted.
type part struct{ from, to, at int } // registers of the answer; first word of the scan

// fifoUse says how many registers a FIFO must deliver for a channel.
type fifoUse struct{ channel, need int }

// span is registers or bits that one request must read together.
type span struct {
	from, to int // to excluded
	channels []int
	name     string // for errors
}

// Plan turns the channels of every group into few requests. It does no I/O. A
// plan that needs more than all of the bus's time is an error with the figure.
//
// Words of a scan: registers as received, those read in vain left out; coils and
// discrete inputs packed sixteen to a word, the first in bit 0, and the channel's
// Decoding.Bit set; a queue as its count and 31 registers.
func Plan(o Options) (*BusPlan, error) {
	e, err := o.settle()
	if err != nil {
		return nil, err
	}
	p, err := planBus(&o, e)
	if err != nil {
		return nil, err
	}
	if p.Load > 100 {
		return p, fmt.Errorf("bus %s: the plan needs %.0f %% of the bus's time (%s): give groups a longer period, take channels away, or use a second bus\n%s",
			o.Name, p.Load, p.Assumed, p)
	}
	return p, nil
}

func planBus(o *Options, e endpoint) (*BusPlan, error) {
	p := &BusPlan{Bus: o.Name, Endpoint: o.Endpoint, Assumed: assumed(o, e)}
	names := map[string]bool{}
	var errs []error
	for i := range o.Groups {
		g := &o.Groups[i]
		if g.Group.Name == "" || names[g.Group.Name] {
			errs = append(errs, fmt.Errorf("bus %s: group %q: the name is missing or there twice", o.Name, g.Group.Name))
			continue
		}
		names[g.Group.Name] = true
		gp, err := planGroup(o, e, g)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.Groups = append(p.Groups, gp)
		p.Load += gp.Load
	}
	return p, errors.Join(errs...)
}

// assumed says what the load figure stands on.
func assumed(o *Options, e endpoint) string {
	switch {
	case !e.rtu():
		return fmt.Sprintf("%s an answer, %d at a time", o.Answer, o.Inflight)
	case e.baud == 0:
		return fmt.Sprintf("%s an answer and %s of silence, the line's rate is not stated", o.Answer, e.silence())
	}
	return fmt.Sprintf("%d baud, %d bits a character, %s of silence twice and %s for the device", e.baud, e.bitsPerChar(), e.silence(), o.Answer)
}

func planGroup(o *Options, e endpoint, g *GroupOptions) (GroupPlan, error) {
	out := GroupPlan{channels: slices.Clone(g.Channels)}
	group := g.Group
	group.Completeness = acquisition.BySchedule
	group.Channels = make([]acquisition.Channel, len(g.Channels))
	group.Words, group.Numbers, group.Exchanges = 0, 0, 0
	var errs []error
	fail := func(c *ChannelOptions, format string, a ...any) {
		errs = append(errs, fmt.Errorf("bus %s: group %s: channel %s: %s", o.Name, g.Group.Name, c.Name, fmt.Sprintf(format, a...)))
	}
	if group.Period <= 0 {
		errs = append(errs, fmt.Errorf("bus %s: group %s: the period %s must be above 0", o.Name, group.Name, group.Period))
	}
	type place struct {
		device int
		table  Table
	}
	spans := map[place][]span{}
	atomic := map[string]int{} // device, table, name -> index of spans
	names := map[string]bool{}
	for i := range g.Channels {
		c := &g.Channels[i]
		group.Channels[i] = c.Channel
		if c.Name == "" || names[c.Name] {
			fail(c, "the name is missing or there twice")
			continue
		}
		names[c.Name] = true
		switch c.Decoding.Origin {
		case acquisition.FromNumbers:
			group.Channels[i].Decoding.At = group.Numbers
			group.Numbers++
			continue
		case acquisition.FromExpression:
			continue
		case acquisition.FromWords:
		}
		d := slices.IndexFunc(o.Devices, func(d Device) bool { return d.Name == c.Device })
		if d < 0 {
			fail(c, "device %q is not on this bus", c.Device)
			continue
		}
		if why := c.check(); why != "" {
			fail(c, "%s", why)
			continue
		}
		at := place{d, c.Table}
		s := span{from: int(c.Address), to: int(c.Address) + c.size(), channels: []int{i}, name: c.Name}
		if c.Table == FIFO {
			s.to = s.from + 1
		}
		if c.Atomic != "" {
			key := fmt.Sprintf("%d/%d/%s", d, c.Table, c.Atomic)
			if k, known := atomic[key]; known {
				a := &spans[at][k]
				a.from, a.to, a.name = min(a.from, s.from), max(a.to, s.to), "atomic group "+c.Atomic
				a.channels = append(a.channels, i)
			} else {
				atomic[key] = len(spans[at])
				spans[at] = append(spans[at], s)
			}
		} else {
			spans[at] = append(spans[at], s)
		}
		if c.DecimalsFrom != nil {
			spans[at] = append(spans[at], span{from: int(*c.DecimalsFrom), to: int(*c.DecimalsFrom) + 1, channels: []int{i}, name: "decimals of " + c.Name})
		}
	}
	for d := range o.Devices {
		for t := range Table(len(tableNames())) {
			all := spans[place{d, t}]
			if len(all) == 0 {
				continue
			}
			slices.SortStableFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
			rs, err := o.join(&o.Devices[d], d, t, all)
			if err != nil {
				errs = append(errs, fmt.Errorf("bus %s: group %s: %w", o.Name, group.Name, err))
				continue
			}
			for i := range rs {
				rs[i].place(&group, g.Channels, len(out.Requests))
				rs[i].Time = o.requestTime(e, &rs[i])
				out.Requests = append(out.Requests, rs[i])
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return out, err
	}
	group.Exchanges = len(out.Requests)
	out.Group = &group
	out.Pass = o.passTime(e, out.Requests)
	out.Load = 100 * float64(out.Pass) / float64(group.Period)
	return out, nil
}

// size is how many registers or bits the value takes.
func (c *ChannelOptions) size() int { return c.Decoding.Type.Words() }

// check returns what is wrong with the place of a channel.
func (c *ChannelOptions) check() string {
	end := int(c.Address) + c.size()
	switch {
	case int(c.Table) >= len(tableNames()):
		return fmt.Sprintf("%s is unknown", c.Table)
	case c.Table.bits() && c.Decoding.Type != acquisition.TypeBool:
		return fmt.Sprintf("a %s is one bit: its type is bool, not %s", c.Table, c.Decoding.Type)
	case c.Table.bits() && c.DecimalsFrom != nil:
		return "a bit has no decimals"
	case c.Table == FIFO && c.DecimalsFrom != nil:
		return "decimals of a queue cannot be read from it"
	case c.Table == FIFO && (c.Element < 0 || c.Element+c.size() > fifoWords-1):
		return fmt.Sprintf("element %d with %d registers is beyond the 31 registers of a queue", c.Element, c.size())
	case c.Table != FIFO && c.Element != 0:
		return "element belongs to the table fifo"
	case c.Table != FIFO && end > 1<<16:
		return fmt.Sprintf("address %d with %d registers is beyond 65535", c.Address, c.size())
	case c.Decoding.Bits > 0 && int(c.Decoding.Bit)+int(c.Decoding.Bits) > 16*c.size(),
		c.Decoding.Type == acquisition.TypeBool && c.Decoding.Bit > 15:
		return fmt.Sprintf("bit %d with width %d is outside the value's %d bits", c.Decoding.Bit, max(c.Decoding.Bits, 1), 16*c.size())
	case c.Writable && (c.Table == Input || c.Table == Discrete || c.Table == FIFO):
		return fmt.Sprintf("the table %s cannot be written: a setpoint lies in holding registers or coils", c.Table)
	}
	return ""
}

// join makes few requests of sorted spans of one table.
func (o *Options) join(d *Device, index int, t Table, all []span) ([]Request, error) {
	limit, gap := d.MaxRead, o.GapLimit
	if t.bits() {
		limit, gap = d.MaxReadBits, 16*o.GapLimit
	}
	if t == FIFO {
		limit, gap = 1, -1
	}
	var rs []Request
	var spans []span
	from, to := 0, 0
	done := func() {
		if len(spans) == 0 {
			return
		}
		r := Request{Device: d.Name, Unit: d.Unit, Table: t, Address: uint16(from), Quantity: uint16(to - from), device: index}
		for _, s := range spans {
			for _, c := range s.channels {
				if !slices.Contains(r.Channels, c) {
					r.Channels = append(r.Channels, c)
				}
			}
			k := len(r.parts) - 1
			if k >= 0 && s.from-from <= r.parts[k].to {
				r.parts[k].to = max(r.parts[k].to, s.to-from)
			} else {
				r.parts = append(r.parts, part{from: s.from - from, to: s.to - from})
			}
		}
		rs = append(rs, r)
		spans = nil
	}
	for _, s := range all {
		begin := s.from
		if len(d.ValidStarts) > 0 && !t.bits() && t != FIFO {
			k, exact := slices.BinarySearch(d.ValidStarts, uint16(s.from))
			if !exact {
				k--
			}
			if k < 0 {
				return nil, fmt.Errorf("%s: device %s allows no read that begins at or before %d", s.name, d.Name, s.from)
			}
			begin = int(d.ValidStarts[k])
		}
		if s.to-begin > limit {
			why := ""
			if begin < s.from {
				why = fmt.Sprintf(" (the read must begin at %d)", begin)
			}
			return nil, fmt.Errorf("%s: %d registers%s cannot be read at once from device %s, which gives %d; what belongs together must fit into one read",
				s.name, s.to-begin, why, d.Name, limit)
		}
		together := len(spans) > 0 && max(to, s.to)-from <= limit && s.from-to <= max(gap, s.from-begin)
		if t == FIFO {
			together = len(spans) > 0 && s.from == from
		}
		if !together {
			done()
			from, to = begin, s.to
		}
		to = max(to, s.to)
		spans = append(spans, s)
	}
	done()
	return rs, nil
}

// place gives the request its words of the scan and its channels their places.
func (r *Request) place(g *acquisition.Group, options []ChannelOptions, exchange int) {
	r.At = g.Words
	switch {
	case r.Table == FIFO:
		r.Quantity = fifoWords - 1
		r.Words = fifoWords
	case r.Table.bits():
		r.Words = (int(r.Quantity) + 15) / 16
	default:
		for i := range r.parts {
			r.parts[i].at = r.At + r.Words
			r.Words += r.parts[i].to - r.parts[i].from
		}
	}
	g.Words += r.Words
	for _, i := range r.Channels {
		c, o := &g.Channels[i], &options[i]
		if o.DecimalsFrom != nil {
			if at, here := r.word(*o.DecimalsFrom, 1); here {
				c.Decoding.Decimals = 1 + at
			}
		}
		at, here := r.word(o.Address, o.size())
		switch {
		case r.Table == FIFO:
			at = r.At + 1 + o.Element
			r.fifo = append(r.fifo, fifoUse{channel: i, need: o.Element + o.size()})
			c.Address = fmt.Sprintf("unit %d fifo 0x%04X element %d", r.Unit, o.Address, o.Element)
		case r.Table.bits():
			bit := int(o.Address) - int(r.Address)
			at = r.At + bit/16
			c.Decoding.Bit, c.Decoding.Bits = uint8(bit%16), 0
			c.Address = fmt.Sprintf("unit %d %s 0x%04X", r.Unit, r.Table, o.Address)
		case !here:
			continue // only its decimals are here
		default:
			c.Address = fmt.Sprintf("unit %d %s 0x%04X", r.Unit, r.Table, o.Address)
		}
		c.Decoding.At, c.Exchange, c.Device = at, exchange, r.Device
	}
}

// word returns where in the scan a register's value lies.
func (r *Request) word(address uint16, n int) (int, bool) {
	k := int(address) - int(r.Address)
	for _, p := range r.parts {
		if k >= p.from && k+n <= p.to {
			return p.at + k - p.from, true
		}
	}
	return 0, false
}

// answerBytes is the length of the answer PDU at most.
func (r *Request) answerBytes() int {
	switch {
	case r.Table == FIFO:
		return 5 + 2*(fifoWords-1)
	case r.Table.bits():
		return 2 + (int(r.Quantity)+7)/8
	}
	return 2 + 2*int(r.Quantity)
}

// requestTime is how long a request holds the bus.
func (o *Options) requestTime(e endpoint, r *Request) time.Duration {
	d := &o.Devices[r.device]
	if !e.rtu() {
		return d.Answer + max(o.Pause, d.Pause)
	}
	const frame = 3 // unit and check sum
	ask := 5
	if r.Table == FIFO {
		ask = 3
	}
	return d.Answer + e.chars(ask+frame+r.answerBytes()+frame) + e.silence() + max(e.silence(), o.Pause, d.Pause)
}

// passTime is how long the requests of one pass hold the bus.
func (o *Options) passTime(e endpoint, rs []Request) time.Duration {
	var sum, longest time.Duration
	for i := range rs {
		sum += rs[i].Time
		longest = max(longest, rs[i].Time)
	}
	if e.rtu() || o.Inflight == 1 || o.Pause > 0 {
		return sum
	}
	return max(longest, sum/time.Duration(o.Inflight))
}

// String prints the plan for people.
func (p *BusPlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "bus %s %s: load %.1f %% (%s)\n", p.Bus, p.Endpoint, p.Load, p.Assumed)
	for i := range p.Groups {
		g := &p.Groups[i]
		fmt.Fprintf(&b, "  group %s every %s: %d requests, %s a pass, %.1f %%\n",
			g.Group.Name, g.Group.Period, len(g.Requests), g.Pass.Round(10*time.Microsecond), g.Load)
		for k := range g.Requests {
			r := &g.Requests[k]
			names := make([]string, len(r.Channels))
			for j, c := range r.Channels {
				names[j] = g.Group.Channels[c].Name
			}
			last := int(r.Address) + int(r.Quantity) - 1
			what := fmt.Sprintf("0x%04X to 0x%04X, %d registers", r.Address, last, r.Quantity)
			switch {
			case r.Table == FIFO:
				what = fmt.Sprintf("0x%04X, up to 31 registers", r.Address)
			case r.Table.bits():
				what = fmt.Sprintf("0x%04X to 0x%04X, %d bits", r.Address, last, r.Quantity)
			case r.Words < int(r.Quantity):
				what += fmt.Sprintf(" of which %d are used", r.Words)
			}
			fmt.Fprintf(&b, "    %s unit %d, function %d, %s %s, %s: %s\n",
				r.Device, r.Unit, r.Table.function(), r.Table, what, r.Time.Round(10*time.Microsecond), strings.Join(names, ", "))
		}
	}
	return b.String()
}
