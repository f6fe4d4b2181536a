package modbus

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goburrow/modbus"

	"pneudaq/acquisition"
)

// Bounds of looking around, so that nobody floods a plant's network.
const (
	maxProbeRegisters  = 1000
	maxDiscoverTargets = 4096
	maxParallel        = 32
	maxNotice          = 64 // bytes of a foreign protocol's greeting
)

// ProbeOptions say what to find out about one endpoint.
type ProbeOptions struct {
	Endpoint  string
	TLS       *tls.Config
	Timeout   time.Duration // of one question; 0: DefaultTimeout
	Units     []byte        // asked one after the other; nil: 1, 255 and 0 (1 on a line)
	Registers []RegisterRange
	Constants []Constant
	Dial      func(ctx context.Context) (io.ReadWriteCloser, error)
}

// RegisterRange is registers to read and show.
type RegisterRange struct {
	Table    Table // Holding or Input
	Address  uint16
	Quantity int
}

// Constant is registers whose content is known from the manual: a self test, a
// model code. Found shifted by one, in the other table or in another order, it
// tells what the rig file has wrong.
type Constant struct {
	Name    string
	Table   Table
	Address uint16
	Words   []uint16 // in the order ABCD
}

// ProbeReport is what was found, rung by rung: each needs the one before.
type ProbeReport struct {
	Endpoint string
	Rungs    []Rung
	Units    []ProbedUnit
}

// Rung is one step of the ladder from the cable to the value.
type Rung struct {
	Name   string // "connection", "protocol", "units", "identity", "constants", "registers"
	OK     bool
	Detail string // what was seen
	Do     string // what to do if it is not OK
}

// ProbedUnit is what one unit says.
type ProbedUnit struct {
	Unit      byte
	Answers   bool
	How       string            // "values", "exception 2", "silence", "exception 11 of a gateway" ...
	Identity  map[byte]string   // function 43/14, nil if it knows none
	Constants []ConstantFinding // in the order of the options
	Registers []ProbedRegister
}

// ConstantFinding says where a constant was found.
type ConstantFinding struct {
	Name   string
	Right  bool              // as the options say
	Found  bool              // somewhere near
	Shift  int               // registers beyond the stated address
	Table  Table             //
	Order  acquisition.Order //
	Words  []uint16          // at the stated address, nil if it cannot be read
	Advice string            // for people: what to change
}

// ProbedRegister is a register in every reading that it may have. Pairs begin
// at it and take the next one.
type ProbedRegister struct {
	Table   Table
	Address uint16
	Word    uint16
	Failure string // it cannot be read; the rest is empty
	Pair    bool   // the next register is known too
	Float   [4]PairReading
	Int     [4]PairReading
}

// PairReading is two registers read in one order.
type PairReading struct {
	Order     acquisition.Order
	Value     float64
	Plausible bool // a number that an instrument may well mean
}

// Probe climbs from the connection to values and reports every rung. It reads
// only. The error is about the options; what an endpoint does is the report.
func Probe(ctx context.Context, o ProbeOptions) (*ProbeReport, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	sum := 0
	for _, r := range o.Registers {
		if r.Table != Holding && r.Table != Input || r.Quantity < 1 || int(r.Address)+r.Quantity > 1<<16 {
			return nil, fmt.Errorf("probe: %d registers from %s 0x%04X cannot be read", r.Quantity, r.Table, r.Address)
		}
		sum += r.Quantity
	}
	if sum > maxProbeRegisters {
		return nil, fmt.Errorf("probe: %d registers are too many for one look; ask for at most %d", sum, maxProbeRegisters)
	}
	for _, c := range o.Constants {
		if c.Table != Holding && c.Table != Input || len(c.Words) < 1 || len(c.Words) > 16 {
			return nil, fmt.Errorf("probe: constant %s must be 1 to 16 holding or input registers", c.Name)
		}
	}
	b, err := New(Options{Name: "probe", Endpoint: o.Endpoint, TLS: o.TLS, Timeout: o.Timeout, Dial: o.Dial})
	if err != nil {
		return nil, err
	}
	if o.Units == nil {
		o.Units = []byte{1, 255, 0}
		if b.e.rtu() {
			o.Units = []byte{1}
		}
	}
	p := &prober{o: o, b: b, report: &ProbeReport{Endpoint: o.Endpoint}}
	defer func() { _ = b.Close() }()
	p.climb(ctx)
	return p.report, nil
}

type prober struct {
	o       ProbeOptions
	b       *Bus
	report  *ProbeReport
	foreign string // what the peer speaks instead
	wire    bool   // something valid came
}

func (p *prober) reached(name, detail string) {
	p.report.Rungs = append(p.report.Rungs, Rung{Name: name, OK: true, Detail: detail})
}

func (p *prober) failed(name, detail, do string) {
	p.report.Rungs = append(p.report.Rungs, Rung{Name: name, Detail: detail, Do: do})
}

func (p *prober) climb(ctx context.Context) {
	began := time.Now()
	if err := p.b.Connect(ctx); err != nil {
		p.failed("connection", err.Error(), "look at power, cable, address and port")
		return
	}
	p.reached("connection", "open after "+time.Since(began).Round(10*time.Microsecond).String())
	for _, id := range p.o.Units {
		if ctx.Err() != nil || p.foreign != "" {
			break
		}
		p.report.Units = append(p.report.Units, p.unit(ctx, id))
	}
	if !p.protocol(ctx) {
		return
	}
	p.units()
	for i := range p.report.Units {
		u := &p.report.Units[i]
		if !u.Answers || ctx.Err() != nil {
			continue
		}
		p.details(ctx, u)
	}
	p.summary()
}

// client connects anew after the connection was lost.
func (p *prober) client(ctx context.Context, id byte) (*Client, error) {
	if p.b.broken || p.b.conn == nil {
		if err := p.b.Connect(ctx); err != nil {
			return nil, err
		}
	}
	return p.b.Client(ctx, id), nil
}

// unit asks whether a unit is there. Any answer of its own is a yes.
func (p *prober) unit(ctx context.Context, id byte) ProbedUnit {
	u := ProbedUnit{Unit: id}
	c, err := p.client(ctx, id)
	if err == nil {
		_, err = c.ReadHoldingRegisters(0, 1)
	}
	refused, isException := errors.AsType[*modbus.ModbusError](err)
	wire, isWire := errors.AsType[*WireError](err)
	switch {
	case err == nil:
		u.Answers, u.How, p.wire = true, "values", true
	case isException && (refused.ExceptionCode == 10 || refused.ExceptionCode == 11):
		u.How, p.wire = fmt.Sprintf("exception %d of a gateway", refused.ExceptionCode), true
	case isException:
		u.Answers, u.How, p.wire = true, exceptionText(refused.ExceptionCode), true
	case isWire && wire.Reason == acquisition.ReasonTimeout:
		u.How = "silence"
	case isWire:
		u.How = wire.Detail
		if at := strings.Index(wire.Detail, "not Modbus: looks like "); at >= 0 {
			p.foreign = wire.Detail[at:]
		}
	default:
		u.How = err.Error()
	}
	return u
}

// protocol decides whether the peer speaks Modbus in the stated framing, and
// what it speaks if not.
func (p *prober) protocol(ctx context.Context) bool {
	framing := map[scheme]string{overTCP: "Modbus TCP", overTLS: "Modbus over TLS", rtuOverTCP: "Modbus RTU over TCP", rtuSerial: "Modbus RTU"}[p.b.e.scheme]
	if p.wire {
		p.reached("protocol", framing)
		return true
	}
	if p.foreign == "" && p.o.Dial == nil && p.b.e.scheme != rtuSerial && ctx.Err() == nil {
		p.foreign = p.guess(ctx)
	}
	switch {
	case p.foreign != "":
		p.failed("protocol", p.foreign, "this port belongs to something else: find the device's Modbus port (502 as a rule)")
		if strings.HasPrefix(p.foreign, "Modbus") {
			p.report.Rungs[len(p.report.Rungs)-1].Do = "write the endpoint with the scheme of this framing"
		}
	case p.b.e.scheme == rtuSerial:
		p.failed("protocol", "no unit answers", "look at rate, parity, the wires A and B, the termination and the unit id")
	default:
		p.failed("protocol", "the port is open and no unit answers", "try other unit ids, the other framing (rtu+tcp://), and whether another client holds the device")
	}
	return false
}

// guess finds out what a silent peer speaks. Only a peer that answers no unit
// is asked so.
func (p *prober) guess(ctx context.Context) string {
	_ = p.b.Close()
	for _, try := range []struct {
		send []byte
		tell func(answer []byte) string
	}{
		{p.otherFraming(), p.otherAnswer},
		{[]byte("GET / HTTP/1.0\r\n\r\n"), func(b []byte) string {
			if s := looksLike(b); s != "" {
				return "not Modbus: looks like " + s
			}
			return ""
		}},
	} {
		answer := p.say(ctx, try.send)
		if s := try.tell(answer); s != "" {
			return s
		}
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is sent: the question is only whether it speaks TLS
	ctx, cancel := context.WithTimeout(ctx, max(p.o.Timeout, time.Second))
	defer cancel()
	if p.b.e.scheme != overTLS {
		if c, err := d.DialContext(ctx, "tcp", p.b.e.address); err == nil {
			_ = c.Close() // it has told
			return "not plain Modbus: looks like TLS"
		}
	}
	return ""
}

// otherFraming is a read of a register in the framing that was not stated.
func (p *prober) otherFraming() []byte {
	id := p.o.Units[0]
	pdu := []byte{3, 0, 0, 0, 1}
	if p.b.e.rtu() {
		return append([]byte{0x4D, 0x42, 0, 0, 0, 6, id}, pdu...)
	}
	f := append([]byte{id}, pdu...)
	sum := p.b.crc.sum(f)
	return append(f, byte(sum), byte(sum>>8))
}

func (p *prober) otherAnswer(b []byte) string {
	if p.b.e.rtu() {
		if len(b) >= headerSize && b[0] == 0x4D && b[1] == 0x42 && mbapFault(b) == "" {
			return "Modbus TCP: write tcp:// instead of rtu+tcp://"
		}
		return ""
	}
	if n := rtuLength(b); n > 0 && n <= len(b) && p.b.crc.fits(b[:n]) {
		return "Modbus RTU over TCP: write rtu+tcp:// instead of tcp://"
	}
	return ""
}

// say sends bytes on a connection of its own and returns what comes.
func (p *prober) say(ctx context.Context, text []byte) []byte {
	c, err := (&net.Dialer{Timeout: max(p.o.Timeout, shortestAttempt)}).DialContext(ctx, "tcp", p.b.e.address)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if c.SetDeadline(time.Now().Add(p.o.Timeout)) != nil {
		return nil
	}
	if _, err := c.Write(text); err != nil {
		return nil
	}
	b := make([]byte, maxNotice)
	n, err := io.ReadAtLeast(c, b, 5)
	if err != nil && n == 0 {
		return nil
	}
	return b[:n]
}

func (p *prober) units() {
	var there []string
	for _, u := range p.report.Units {
		if u.Answers {
			there = append(there, strconv.Itoa(int(u.Unit)))
		}
	}
	detail := fmt.Sprintf("%d of %d units asked answer: %s", len(there), len(p.report.Units), strings.Join(there, ", "))
	if len(there) == 0 {
		p.failed("units", detail, "ask other unit ids: discover looks at all of them")
		return
	}
	p.reached("units", detail)
}

// details reads identity, constants and registers of a unit that is there.
func (p *prober) details(ctx context.Context, u *ProbedUnit) {
	if c, err := p.client(ctx, u.Unit); err == nil {
		for _, category := range []byte{2, 1} {
			if objects, err := c.Identification(category); err == nil && len(objects) > 0 {
				u.Identity = objects
				break
			}
		}
	}
	for _, c := range p.o.Constants {
		u.Constants = append(u.Constants, p.constant(ctx, u.Unit, c))
	}
	for _, r := range p.o.Registers {
		u.Registers = append(u.Registers, p.registers(ctx, u.Unit, r)...)
	}
}

// read reads registers and asks again one by one where the device refuses.
func (p *prober) read(ctx context.Context, id byte, t Table, address uint16, n int) ([]uint16, error) {
	c, err := p.client(ctx, id)
	if err != nil {
		return nil, err
	}
	var data []byte
	if t == Input {
		data, err = c.ReadInputRegisters(address, uint16(n))
	} else {
		data, err = c.ReadHoldingRegisters(address, uint16(n))
	}
	if err != nil {
		return nil, explainWrite(err)
	}
	words := make([]uint16, n)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(data[2*i:])
	}
	return words, nil
}

// constant looks for known content where it should be, one register beside,
// in the other table and in every order.
func (p *prober) constant(ctx context.Context, id byte, c Constant) ConstantFinding {
	f := ConstantFinding{Name: c.Name, Table: c.Table}
	f.Words, _ = p.read(ctx, id, c.Table, c.Address, len(c.Words))
	other := Input
	if c.Table == Input {
		other = Holding
	}
	for _, t := range []Table{c.Table, other} {
		for _, shift := range []int{0, -1, 1} {
			at := int(c.Address) + shift
			if at < 0 || at+len(c.Words) > 1<<16 {
				continue
			}
			words := f.Words
			if t != c.Table || shift != 0 {
				words, _ = p.read(ctx, id, t, uint16(at), len(c.Words))
			}
			for order := range acquisition.Order(4) {
				if words == nil || !slices.Equal(words, reordered(c.Words, order)) {
					continue
				}
				f.Found, f.Shift, f.Table, f.Order = true, shift, t, order
				f.Right = shift == 0 && t == c.Table && order == acquisition.OrderABCD
				f.Advice = f.advice(c)
				return f
			}
		}
	}
	f.Advice = fmt.Sprintf("%s is not found at %s 0x%04X or beside it: another device or firmware, or a wrong address", c.Name, c.Table, c.Address)
	if f.Words != nil {
		f.Advice += "; there is " + hexWords(f.Words)
	}
	return f
}

func (f *ConstantFinding) advice(c Constant) string {
	if f.Right {
		return ""
	}
	var what []string
	switch f.Shift {
	case -1:
		what = append(what, "one register before: its manual counts registers from 1, so state address_base: 1")
	case 1:
		what = append(what, "one register behind: the addresses are already those of the wire, so state address_base: 0")
	}
	if f.Table != c.Table {
		what = append(what, fmt.Sprintf("in the table %s, not %s", f.Table, c.Table))
	}
	if f.Order != acquisition.OrderABCD {
		what = append(what, fmt.Sprintf("in the order %s", f.Order))
	}
	return fmt.Sprintf("%s is found %s", c.Name, strings.Join(what, ", "))
}

// reordered returns words as they stand on the wire in an order.
func reordered(words []uint16, order acquisition.Order) []uint16 {
	out := slices.Clone(words)
	if order&1 != 0 {
		slices.Reverse(out)
	}
	if order&2 != 0 {
		for i, w := range out {
			out[i] = w<<8 | w>>8
		}
	}
	return out
}

// registers reads a range and decodes every pair in every order.
func (p *prober) registers(ctx context.Context, id byte, r RegisterRange) []ProbedRegister {
	out := make([]ProbedRegister, 0, r.Quantity)
	for from := 0; from < r.Quantity && ctx.Err() == nil; {
		n := min(r.Quantity-from, 64)
		words, err := p.read(ctx, id, r.Table, r.Address+uint16(from), n)
		if err != nil && n > 1 { // one by one, to see which it is
			n = 1
			words, err = p.read(ctx, id, r.Table, r.Address+uint16(from), 1)
		}
		for i := range n {
			q := ProbedRegister{Table: r.Table, Address: r.Address + uint16(from+i)}
			if err != nil {
				q.Failure = err.Error()
			} else {
				q.Word = words[i]
			}
			out = append(out, q)
		}
		from += n
	}
	for i := 0; i+1 < len(out); i++ {
		if out[i].Failure != "" || out[i+1].Failure != "" {
			continue
		}
		out[i].pair(out[i+1].Word)
	}
	return out
}

// pair fills in the readings of the register with its next one.
func (q *ProbedRegister) pair(next uint16) {
	q.Pair = true
	words := []uint16{q.Word, next}
	for order := range acquisition.Order(4) {
		f := acquisition.Decoding{Type: acquisition.TypeFloat32, Order: order}
		v, _ := f.Value(words)
		q.Float[order] = PairReading{Order: order, Value: v, Plausible: plausible(v)}
		n := acquisition.Decoding{Type: acquisition.TypeInt32, Order: order}
		v, _ = n.Value(words)
		q.Int[order] = PairReading{Order: order, Value: v, Plausible: math.Abs(v) < 1e6}
	}
}

// plausible says whether a float32 is likely meant: neither huge nor tiny.
func plausible(v float64) bool {
	a := math.Abs(v)
	return v == 0 || a >= 1e-4 && a <= 1e7 // false for NaN and infinities
}

// summary adds the rungs that all units share.
func (p *prober) summary() {
	named, asked, right := 0, 0, 0
	var advice []string
	read, failed := 0, 0
	for _, u := range p.report.Units {
		if u.Identity != nil {
			named++
		}
		for _, c := range u.Constants {
			asked++
			if c.Right {
				right++
			} else {
				advice = append(advice, fmt.Sprintf("unit %d: %s", u.Unit, c.Advice))
			}
		}
		for i := range u.Registers {
			read++
			if u.Registers[i].Failure != "" {
				failed++
			}
		}
	}
	if named > 0 {
		p.reached("identity", fmt.Sprintf("%d units name themselves", named))
	} else {
		p.reached("identity", "no unit knows function 43/14, which is no fault")
	}
	where := fmt.Sprintf("%d of %d are where they should be", right, asked)
	switch {
	case right < asked:
		p.failed("constants", where, strings.Join(advice, "; "))
	case asked > 0:
		p.reached("constants", where)
	}
	got := fmt.Sprintf("%d of %d registers read", read-failed, read)
	switch {
	case failed > 0:
		p.failed("registers", got, "those that cannot be read are not in the device: look at the table, the base and the manual")
	case read > 0:
		p.reached("registers", got)
	}
}

// DiscoverOptions say where to look for Modbus devices.
type DiscoverOptions struct {
	Endpoints []string // looked at as they are: a gateway, a serial line
	Hosts     []string // with every port of Ports
	Ports     []int    // nil: 502
	Units     []byte   // nil: 1 to 247, and 255 and 0 on TCP; hosts are asked for 1, 255 and 0 first
	TLS       *tls.Config
	Timeout   time.Duration // of one question; 0: 200 ms
	Parallel  int           // endpoints at a time; 0: 8
}

// Found is what answers at one endpoint.
type Found struct {
	Endpoint string
	Open     bool   // a connection was made
	Modbus   bool   //
	Any      bool   // it answers to whatever unit id: a device that stands alone
	Units    []byte // that answer
	Detail   string // what it is if it is no Modbus
}

// Discover looks for units, endpoint by endpoint. It is bounded: at most 4096
// endpoints, each at most once. found, if not nil, is told each result as it
// comes, by one goroutine at a time. Results are in the order asked.
func Discover(ctx context.Context, o DiscoverOptions, found func(Found)) ([]Found, error) {
	if o.Timeout == 0 {
		o.Timeout = 200 * time.Millisecond
	}
	if o.Ports == nil {
		o.Ports = []int{502}
	}
	if n := len(o.Endpoints) + len(o.Hosts)*len(o.Ports); n > maxDiscoverTargets {
		return nil, fmt.Errorf("discover: %d endpoints are too many for one search; ask for at most %d", n, maxDiscoverTargets)
	}
	targets := slices.Clone(o.Endpoints)
	for _, h := range o.Hosts {
		for _, p := range o.Ports {
			targets = append(targets, "tcp://"+net.JoinHostPort(h, strconv.Itoa(p)))
		}
	}
	for _, t := range targets {
		if _, err := parseEndpoint(t); err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
	}
	all := make([]Found, len(targets))
	next := make(chan int)
	var mu sync.Mutex
	var workers sync.WaitGroup
	parallel := o.Parallel
	if parallel <= 0 {
		parallel = 8
	}
	for range min(parallel, maxParallel, len(targets)) {
		workers.Go(func() {
			for i := range next {
				all[i] = discover(ctx, &o, targets[i], i < len(o.Endpoints))
				if found != nil {
					mu.Lock()
					found(all[i])
					mu.Unlock()
				}
			}
		})
	}
	for i := range targets {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return all, context.Cause(ctx)
}

// discover looks at one endpoint. One that was named is asked for every unit,
// a host's port that says nothing to the usual ids is left alone.
func discover(ctx context.Context, o *DiscoverOptions, target string, named bool) Found { //nolint:revive // not two functions: named only spares timeouts
	f := Found{Endpoint: target}
	b, err := New(Options{Name: "discover", Endpoint: target, TLS: o.TLS, Timeout: o.Timeout})
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	defer func() { _ = b.Close() }()
	attempt, cancel := context.WithTimeout(ctx, max(o.Timeout, shortestAttempt))
	err = b.Connect(attempt)
	cancel()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Open = true
	p := &prober{o: ProbeOptions{Timeout: o.Timeout, Units: []byte{1}}, b: b, report: &ProbeReport{}}
	var first []byte
	if !b.e.rtu() {
		first = []byte{1, 255, 0}
	}
	rest := o.Units
	if rest == nil {
		for id := 1; id <= 247; id++ {
			rest = append(rest, byte(id))
		}
	}
	seen := map[byte]bool{}
	ask := func(id byte) bool {
		if seen[id] || ctx.Err() != nil || p.foreign != "" {
			return false
		}
		seen[id] = true
		u := p.unit(ctx, id)
		if u.Answers {
			f.Units = append(f.Units, id)
		}
		return u.Answers
	}
	for _, id := range first {
		ask(id)
	}
	if !b.e.rtu() && len(f.Units) == len(first) && ask(200) {
		f.Any = true
		rest = nil
	}
	if !named && !p.wire && o.Units == nil {
		rest = nil
	}
	for _, id := range rest {
		ask(id)
	}
	slices.Sort(f.Units)
	f.Modbus, f.Detail = p.wire, p.foreign
	if !f.Modbus && f.Detail == "" && b.e.scheme != rtuSerial {
		f.Detail = p.guess(ctx)
	}
	return f
}
