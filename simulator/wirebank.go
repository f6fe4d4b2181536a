package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// source says what stands behind a register.
type source uint8

const (
	fromMemory source = iota
	fromSignal
	fromClock
	fromUptime
	fromRequests
	fromWatchdog
	fromTripped
	fromTotal
)

// register is a Register made ready.
type register struct {
	Register
	layout
	unit       wireUnit
	from       source
	signal     int
	atmosphere int
	low, high  float64 // in counts
	clockTick  int64   // ns
	total      *total
}

// end returns the address behind the register.
func (r *register) end() int { return int(r.Address) + r.words }

// run is a stretch of defined addresses with its words.
type run struct {
	start int
	words []uint16
}

// bank is one table of a unit.
type bank struct {
	runs    []run
	all     []*register // ascending
	live    []*register // of these, the ones that are computed at each read
	buffers []*tap
}

// A Unit is the memory of one Modbus unit: register tables over a Board. It implements Memory.
type Unit struct {
	o        UnitOptions
	board    *Board
	banks    map[Table]*bank
	coils    *bank
	inputs   *bank
	holdings *bank
	discrete *bank
	byName   map[string]*register
	fifos    map[uint16]*tap

	// guarded by the board's lock
	started  time.Time
	touched  time.Time
	after    time.Duration
	tripped  bool
	swapped  bool
	stranger bool
	requests uint64
}

// NewUnit checks the options against the board's signals.
func NewUnit(o UnitOptions, b *Board) (*Unit, error) {
	u := &Unit{
		o: o, board: b, coils: &bank{}, inputs: &bank{}, holdings: &bank{}, discrete: &bank{}, byName: map[string]*register{},
		fifos: map[uint16]*tap{}, started: time.Now(), touched: time.Now(),
	}
	u.banks = map[Table]*bank{Coils: u.coils, Discretes: u.discrete, Inputs: u.inputs, Holdings: u.holdings}
	if o.Holes != "" && o.Holes != "exception" && o.Holes != "zero" {
		return nil, fmt.Errorf("unit %d: holes %q is unknown: exception or zero", o.ID, o.Holes)
	}
	for i := range o.Registers {
		r, err := u.prepare(o.Registers[i])
		if err != nil {
			return nil, fmt.Errorf("unit %d %s: %w", o.ID, place(&o.Registers[i]), err)
		}
		u.banks[r.Table].all = append(u.banks[r.Table].all, r)
		if r.Name != "" {
			u.byName[r.Name] = r
		}
	}
	for i := range o.Buffers {
		if err := u.addBuffer(&o.Buffers[i]); err != nil {
			return nil, fmt.Errorf("unit %d buffer %s: %w", o.ID, place(&o.Buffers[i].Register), err)
		}
	}
	for t, k := range u.banks {
		if err := k.build(); err != nil {
			return nil, fmt.Errorf("unit %d table %s: %w", o.ID, t, err)
		}
	}
	if w := o.Watchdog; w != nil {
		if w.After <= 0 {
			return nil, fmt.Errorf("unit %d: a watchdog needs a time above 0, it has %s", o.ID, w.After)
		}
		u.after = w.After
		for name := range w.Safe {
			if r := u.byName[name]; r == nil || !r.Writable {
				return nil, fmt.Errorf("unit %d: the watchdog's safe value %q names no writable register", o.ID, name)
			}
		}
	}
	return u, nil
}

// place says which register, for messages.
func place(r *Register) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s 0x%04X", r.Name, r.Table, r.Address))
}

// prepare makes a register ready.
func (u *Unit) prepare(o Register) (*register, error) {
	l, err := parseLayout(o.Type, o.Order, o.Length, o.Width)
	if err != nil {
		return nil, err
	}
	r := &register{Register: o, layout: l}
	bitTable := o.Table == Coils || o.Table == Discretes
	switch {
	case u.banks[o.Table] == nil:
		return nil, fmt.Errorf("table %q is unknown: known are coil, discrete, holding, input", o.Table)
	case bitTable && l.kind != typeBool:
		return nil, fmt.Errorf("table %s holds bool, not %s", o.Table, o.Type)
	case o.Writable && (o.Table == Discretes || o.Table == Inputs):
		return nil, fmt.Errorf("table %s cannot be written", o.Table)
	case o.Bit < 0 || o.Bit > 15 || l.kind == typeBits && o.Bit+o.Width > 16 || bitTable && o.Bit != 0:
		return nil, fmt.Errorf("bit %d does not fit", o.Bit)
	case int(o.Address)+l.words > 1<<16:
		return nil, errors.New("it reaches beyond address 65535")
	case o.Text != "" && l.kind != typeString:
		return nil, fmt.Errorf("text needs type string, not %s", o.Type)
	case len(o.Text) > 2*l.words && l.kind == typeString:
		return nil, fmt.Errorf("text %q is longer than %d registers", o.Text, l.words)
	case l.kind == typeString && o.Signal != "":
		return nil, errors.New("a string cannot carry a signal")
	}
	if r.Scale == 0 {
		r.Scale = 1
	}
	if err := u.connect(r); err != nil {
		return nil, err
	}
	r.bounds()
	return r, nil
}

// connect finds what stands behind a register.
func (u *Unit) connect(r *register) (err error) {
	si := ""
	r.signal, r.atmosphere = -1, -1
	switch r.Signal {
	case "":
	case "@clock":
		r.from = fromClock
		tick, known := map[string]int64{"": 1, "ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}[r.Unit]
		if !known || r.kind != typeInt && r.kind != typeUint {
			return errors.New("@clock needs an integer type and unit ns, us, ms or s")
		}
		r.clockTick, r.unit = tick, wireUnit{factor: 1}
		return nil
	case "@uptime":
		r.from, si = fromUptime, "s"
	case "@requests":
		r.from, si = fromRequests, "1"
	case "@watchdog":
		r.from, si = fromWatchdog, "s"
	case "@watchdog_tripped":
		r.from, si = fromTripped, "1"
	default:
		name, totalled := strings.CutPrefix(r.Signal, "@total:")
		r.from = fromSignal
		if r.signal, err = u.board.find(name); err != nil {
			return err
		}
		si = u.board.signals[r.signal].Unit
		if totalled {
			r.from, r.total = fromTotal, &total{signal: r.signal}
			si = strings.TrimSuffix(si, "/s")
			u.board.mu.Lock()
			u.board.totals = append(u.board.totals, r.total)
			u.board.mu.Unlock()
		}
	}
	if r.Signal != "" && (r.Value != nil || r.Text != "") {
		return errors.New("signal, value and text exclude each other")
	}
	if r.from == fromMemory { // a constant is given in its unit
		r.unit = wireUnit{factor: 1}
		return nil
	}
	if r.unit, err = lookupUnit(r.Unit, si); err != nil {
		return err
	}
	if r.unit.gauge {
		if r.atmosphere, err = u.board.atmosphere(r.Atmosphere); err != nil {
			return err
		}
	}
	if r.Writable && r.from != fromSignal && r.from != fromWatchdog && r.from != fromTotal {
		return fmt.Errorf("%s cannot be written", r.Signal)
	}
	if r.Writable && r.from == fromSignal && u.board.actuate != nil && u.board.signals[r.signal].Kind != Commanded {
		return fmt.Errorf("signal %s is %s, it cannot be written", r.Signal, u.board.signals[r.signal].Kind)
	}
	return nil
}

// bounds computes the range in counts. A range given in Unit may lie beyond an unsigned type: negative counts wrap.
func (r *register) bounds() {
	r.low, r.high = r.limits()
	a, b := r.low, r.high
	if r.Low != nil {
		a = (*r.Low - r.Offset) / r.Scale
	}
	if r.High != nil {
		b = (*r.High - r.Offset) / r.Scale
	}
	if r.Scale < 0 {
		if r.Low == nil {
			a = r.high
		}
		if r.High == nil {
			b = r.low
		}
	}
	r.low, r.high = min(a, b), max(a, b)
}

// bits returns what the register holds for a figure in SI.
func (r *register) bits(si, atmosphere float64) uint64 {
	v := r.unit.fromSI(si, atmosphere)
	counts := (v - r.Offset) / r.Scale
	if r.Scale < 0 {
		return r.pattern(counts, r.Under, r.Over)
	}
	return r.pattern(counts, r.Over, r.Under)
}

// pattern packs counts, with the bits for what is above and below the range.
func (r *register) pattern(counts float64, above, below *uint64) uint64 {
	if r.Wrap && (r.kind == typeUint || r.kind == typeInt) && counts == counts {
		turn := math.Ldexp(1, r.layout.bits)
		low, _ := r.limits()
		counts = math.Round(counts)
		return r.pack(counts - turn*math.Floor((counts-low)/turn))
	}
	switch {
	case counts != counts:
		if r.NaN != nil {
			return *r.NaN
		}
		if r.kind != typeFloat {
			low, _ := r.limits()
			return r.pack(low)
		}
	case counts > r.high:
		if above != nil {
			return *above
		}
		counts = r.high
	case counts < r.low:
		if below != nil {
			return *below
		}
		counts = r.low
	}
	return r.pack(counts)
}

// build sorts the registers, refuses overlaps and lays out the runs.
func (k *bank) build() error {
	for _, b := range k.buffers {
		k.all = append(k.all, b.place())
	}
	slices.SortStableFunc(k.all, func(a, b *register) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Bit, b.Bit))
	})
	for i, r := range k.all {
		if i > 0 {
			before := k.all[i-1]
			if int(r.Address) < before.end() && !before.shares(r) {
				return fmt.Errorf("%s overlaps %s", place(&r.Register), place(&before.Register))
			}
		}
		if n := len(k.runs); n == 0 || int(r.Address) > k.runs[n-1].start+len(k.runs[n-1].words) {
			k.runs = append(k.runs, run{start: int(r.Address)})
		}
		last := &k.runs[len(k.runs)-1]
		for last.start+len(last.words) < r.end() {
			last.words = append(last.words, 0)
		}
		r.fill(last.words[int(r.Address)-last.start:])
		if r.from != fromMemory {
			k.live = append(k.live, r)
		}
	}
	return nil
}

// shares says whether two registers are different bits of one word.
func (r *register) shares(next *register) bool {
	inWord := func(x *register) bool { return x.kind == typeBool || x.kind == typeBits }
	return inWord(r) && inWord(next) && r.Address == next.Address && r.Bit+r.layout.bits <= next.Bit
}

// fill writes the constant of a register that has one.
func (r *register) fill(dst []uint16) {
	switch {
	case r.Text != "":
		r.putText(dst, r.Text)
	case r.Value != nil && r.from == fromMemory:
		r.store(dst, r.bits(*r.Value, 0))
	}
}

// store lays bits into the register's words; a bit field changes only its bits.
func (r *register) store(dst []uint16, raw uint64) {
	if r.kind == typeBool || r.kind == typeBits {
		mask := (uint16(1)<<r.layout.bits - 1) << r.Bit
		dst[0] = dst[0]&^mask | uint16(raw)<<r.Bit&mask
		return
	}
	r.put(dst, raw)
}

// load is store's inverse.
func (r *register) load(src []uint16) uint64 {
	if r.kind == typeBool || r.kind == typeBits {
		return uint64(src[0]>>r.Bit) & (1<<r.layout.bits - 1)
	}
	return r.get(src)
}

// now returns the bits of a live register; the board's lock is held and its figures are up to date.
func (u *Unit) now(r *register, at time.Time) uint64 {
	atmosphere := 0.0
	if r.atmosphere >= 0 {
		atmosphere = u.board.values[r.atmosphere]
	}
	switch r.from {
	case fromClock:
		return uint64(at.UnixNano() / r.clockTick)
	case fromUptime:
		return r.bits(at.Sub(u.started).Seconds(), atmosphere)
	case fromRequests:
		return r.bits(float64(u.requests), atmosphere)
	case fromWatchdog:
		return r.bits(u.after.Seconds(), atmosphere)
	case fromTripped:
		v := 0.0
		if u.tripped {
			v = 1
		}
		return r.bits(v, atmosphere)
	case fromTotal:
		return r.bits(r.total.sum, 0)
	case fromSignal, fromMemory:
	}
	return r.bits(u.board.values[r.signal], atmosphere)
}

// table returns a bank.
func (u *Unit) table(t Table) *bank {
	switch t {
	case Coils:
		return u.coils
	case Discretes:
		return u.discrete
	case Inputs:
		return u.inputs
	case Holdings:
		return u.holdings
	}
	return nil
}

// Read implements Memory: all words belong to one instant of the plant.
func (u *Unit) Read(t Table, address uint16, words []uint16) Exception {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.board.present()
	u.requests++
	u.guard(time.Now())
	return u.read(u.table(t), int(address), words)
}

// read fills words; lock held.
func (u *Unit) read(k *bank, address int, words []uint16) Exception {
	end := address + len(words)
	if u.o.Holes == "zero" {
		if len(k.runs) == 0 {
			return IllegalAddress
		}
		clear(words)
		for i := range k.runs {
			k.runs[i].copyTo(address, words)
		}
	} else {
		i := sort.Search(len(k.runs), func(i int) bool { return k.runs[i].start+len(k.runs[i].words) > address })
		if i == len(k.runs) || k.runs[i].start > address || k.runs[i].start+len(k.runs[i].words) < end {
			return IllegalAddress
		}
		copy(words, k.runs[i].words[address-k.runs[i].start:])
	}
	at := time.Now()
	for i := sort.Search(len(k.live), func(i int) bool { return k.live[i].end() > address }); i < len(k.live); i++ {
		r := k.live[i]
		start := int(r.Address)
		if start >= end {
			break
		}
		if start >= address && r.end() <= end {
			r.store(words[start-address:], u.now(r, at))
			continue
		}
		var whole [4]uint16 // a client that reads half a figure gets half a figure
		r.store(whole[:], u.now(r, at))
		for j := range r.words {
			if p := start + j - address; p >= 0 && p < len(words) {
				words[p] = whole[j]
			}
		}
	}
	for _, b := range k.buffers {
		b.read(address, words)
	}
	return NoException
}

// copyTo copies what of the run lies within words at address.
func (r *run) copyTo(address int, words []uint16) {
	from, to := max(address, r.start), min(address+len(words), r.start+len(r.words))
	if from < to {
		copy(words[from-address:to-address], r.words[from-r.start:])
	}
}

// Write implements Memory: either every register takes its words or none does.
func (u *Unit) Write(t Table, address uint16, words []uint16) Exception {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.board.present()
	u.requests++
	k, start, end := u.table(t), int(address), int(address)+len(words)
	first := sort.Search(len(k.all), func(i int) bool { return k.all[i].end() > start })
	last, covered := first, start
	for ; last < len(k.all) && int(k.all[last].Address) < end; last++ {
		r := k.all[last]
		if !r.Writable || int(r.Address) > covered {
			return IllegalAddress
		}
		covered = max(covered, r.end())
	}
	if covered < end {
		return IllegalAddress
	}
	for _, r := range k.all[first:last] { // all of it is looked at before anything is done
		if v := u.written(k, r, start, words); math.IsNaN(v) {
			return IllegalValue
		}
	}
	for _, r := range k.all[first:last] {
		if exception := u.apply(k, r, start, words); exception != NoException {
			return exception
		}
	}
	u.touched, u.tripped = time.Now(), false
	return NoException
}

// merged returns the register's words as they will be; lock held.
func (u *Unit) merged(k *bank, r *register, start int, words []uint16) (merged [125]uint16) {
	if exception := u.read(k, int(r.Address), merged[:r.words]); exception != NoException {
		return merged
	}
	for j := range r.words {
		if p := int(r.Address) + j - start; p >= 0 && p < len(words) {
			merged[j] = words[p]
		}
	}
	return merged
}

// written returns the figure that a write gives a register, in its Unit; NaN is refused. Text has none and counts as 0.
func (u *Unit) written(k *bank, r *register, start int, words []uint16) float64 {
	if r.kind == typeString {
		return 0
	}
	m := u.merged(k, r, start, words)
	counts := r.unpack(r.load(m[:r.words]))
	if r.kind == typeUint && r.low < 0 && counts > r.high {
		counts -= math.Ldexp(1, r.layout.bits)
	}
	if counts < r.low || counts > r.high || math.IsInf(counts, 0) {
		return math.NaN()
	}
	return counts*r.Scale + r.Offset
}

// apply does what was written; lock held.
func (u *Unit) apply(k *bank, r *register, start int, words []uint16) Exception {
	switch r.from {
	case fromSignal:
		return u.command(r, u.written(k, r, start, words))
	case fromWatchdog:
		u.after = time.Duration(r.unit.toSI(u.written(k, r, start, words), 0) * float64(time.Second))
		return NoException
	case fromTotal:
		r.total.sum = r.unit.toSI(u.written(k, r, start, words), 0)
		return NoException
	case fromMemory, fromClock, fromUptime, fromRequests, fromTripped:
	}
	m, at := u.merged(k, r, start, words), k.words(r)
	if r.kind == typeBool || r.kind == typeBits {
		r.store(at, r.load(m[:]))
	} else {
		copy(at, m[:])
	}
	return NoException
}

// command sends a figure in the register's unit to the plant; lock held.
func (u *Unit) command(r *register, v float64) Exception {
	atmosphere := 0.0
	if r.atmosphere >= 0 {
		atmosphere = u.board.values[r.atmosphere]
	}
	if u.board.command(r.signal, r.unit.toSI(v, atmosphere)) != nil {
		return IllegalValue
	}
	return NoException
}

// guard lets the watchdog act when its time has passed; lock held.
func (u *Unit) guard(now time.Time) {
	if u.o.Watchdog == nil || u.tripped || u.after <= 0 || now.Sub(u.touched) < u.after {
		return
	}
	u.tripped = true
	for name, v := range u.o.Watchdog.Safe {
		r := u.byName[name]
		if r.from == fromSignal {
			u.command(r, v)
			continue
		}
		r.store(u.table(r.Table).words(r), r.bits(v, 0))
	}
}

// Guard lets the unit's watchdog act if its time has passed. Reads do this too; whoever owns a board calls it in between.
func (u *Unit) Guard(now time.Time) {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.guard(now)
}

// restart is a boot of the unit: its up time begins again and volatile memory falls back.
func (u *Unit) restart() {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.started, u.touched, u.tripped = time.Now(), time.Now(), false
	for _, k := range u.banks {
		for _, r := range k.all {
			if !r.Volatile || r.from != fromMemory {
				continue
			}
			at := k.words(r)
			clear(at)
			r.fill(at)
		}
	}
}

// swap exchanges the words of every figure, as a changed setting of the device does, or sets it right again.
func (u *Unit) swap(on bool) { //nolint:revive // a fault is on or off
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	if u.swapped == on {
		return
	}
	u.swapped = on
	for _, k := range u.banks {
		for _, r := range k.all {
			if r.words < 2 || r.kind == typeString {
				continue
			}
			at := k.words(r)
			raw := r.load(at)
			r.lowFirst = !r.lowFirst
			r.store(at, raw)
		}
	}
}

// impostor lets another device of the same make answer, or the right one again: constants marked Identity and the objects
// of function 43 differ.
func (u *Unit) impostor(on bool) { //nolint:revive // a fault is on or off
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.stranger = on
	for _, k := range u.banks {
		for _, r := range k.all {
			if !r.Identity || r.from != fromMemory {
				continue
			}
			at := k.words(r)
			clear(at)
			r.fill(at)
			if on {
				at[len(at)-1] ^= 1
			}
		}
	}
}

// words returns where a register of memory keeps its words.
func (k *bank) words(r *register) []uint16 {
	i := sort.Search(len(k.runs), func(i int) bool { return k.runs[i].start+len(k.runs[i].words) > int(r.Address) })
	from := int(r.Address) - k.runs[i].start
	return k.runs[i].words[from : from+r.words]
}

// FIFO implements Memory.
func (u *Unit) FIFO(address uint16, words []uint16) (int, Exception) {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.board.present()
	u.requests++
	b := u.fifos[address]
	if b == nil {
		return 0, IllegalAddress
	}
	return b.drain(words), NoException
}

// Objects implements Memory.
func (u *Unit) Objects() map[byte]string {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	if !u.stranger {
		return u.o.Objects
	}
	others := map[byte]string{}
	for id, text := range u.o.Objects {
		others[id] = text
		if id > 0 && text != "" { // the same maker
			others[id] = text[:len(text)-1] + string(text[len(text)-1]^1)
		}
	}
	return others
}
