package modbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// Limits of the protocol and values that Options leave at zero.
const (
	DefaultTimeout  = 500 * time.Millisecond
	DefaultGapLimit = 8   // registers
	MaxRegisters    = 125 // of one read, V1.1b3 section 6.3
	MaxBits         = 2000
	MaxInflight     = 64
	fifoWords       = 32 // count and up to 31 registers, V1.1b3 section 6.18

	defaultQuarantine = 3 // timeouts in a row
	tcpAnswer         = 100 * time.Microsecond
	rtuTCPAnswer      = time.Millisecond
	serialAnswer      = time.Millisecond
)

// Table is one of the address spaces of a unit.
type Table uint8

// The tables. FIFO is a queue read by function 24; its address is that of the
// pointer register.
const (
	Holding Table = iota
	Input
	Coil
	Discrete
	FIFO
)

func tableNames() []string { return []string{"holding", "input", "coil", "discrete", "fifo"} }

// ParseTable returns the table with the given name.
func ParseTable(name string) (Table, error) {
	if i := slices.Index(tableNames(), name); i >= 0 {
		return Table(i), nil
	}
	return 0, fmt.Errorf("table %q is not one of %v", name, tableNames())
}

// String returns the name used in files.
func (t Table) String() string {
	if n := tableNames(); int(t) < len(n) {
		return n[t]
	}
	return fmt.Sprintf("table(%d)", uint8(t))
}

func (t Table) bits() bool { return t == Coil || t == Discrete }

func (t Table) function() byte {
	return [...]byte{3, 4, 1, 2, 24}[t]
}

// Options describe one bus: a connection, the devices on it and the groups
// that are read through it.
type Options struct {
	Name string // of the bus in the rig file
	// Endpoint is one of
	//
	//	tcp://host[:502]
	//	tls://host[:802]
	//	rtu+tcp://host:port[?baud=19200&parity=E&stop=1]    the line's settings serve the load figure and the silences
	//	rtu:///dev/serial/by-id/...?baud=19200&parity=E&stop=1&echo=0
	Endpoint string
	TLS      *tls.Config   // for tls://: roots and client certificate; nil: the system's roots
	Timeout  time.Duration // of one request, from its first byte to the last of the answer; 0: DefaultTimeout
	Late     time.Duration // RTU: how long after its timeout an answer may still come; 0: the larger of 2 Timeout and 500 ms
	Retries  int           // of a request that failed, inside its slot only
	Inflight int           // outstanding requests, TCP and TLS only; 0: 1
	Pause    time.Duration // least time from an answer to the next request
	Answer   time.Duration // what a device takes to answer, for the load figure; 0: 0.1 ms on TCP, 1 ms on lines
	GapLimit int           // registers read in vain to join two requests; 0: DefaultGapLimit, negative: none

	Devices []Device
	Groups  []GroupOptions
	Safe    []acquisition.Setpoint // written by Bus.Safe, in this order

	// Dial opens what frames run over, which must have read and write
	// deadlines (net.Conn); nil: as Endpoint says.
	Dial   func(ctx context.Context) (io.ReadWriteCloser, error)
	Logger *slog.Logger            // nil: discards
	Event  func(acquisition.Event) // units lost and back, channels stopped, restarts; called by Poll; nil: none
	Now    func() int64            // Unix ns, the service's clock; nil: time.Now
}

// Device is one unit on the bus.
type Device struct {
	Name        string
	Unit        byte
	MaxRead     int           // registers of one read; 0: 125
	MaxReadBits int           // bits of one read; 0: 2000
	ValidStarts []uint16      // reads of registers may begin only here; nil: anywhere
	Pause       time.Duration // least time from an answer of this unit to the next request to it
	Answer      time.Duration // what it takes to answer, for the load figure; 0: Options.Answer
	Timeout     time.Duration // 0: Options.Timeout
	Retries     int           // -1: none; 0: Options.Retries
	Quarantine  int           // timeouts in a row until it is asked less often; 0: 3, negative: never
	OnlyFC16    bool          // it knows function 16 but not 6
	Identity    []Check       // what must be there, read after every connection
	Objects     map[byte]string
	Uptime      *Register // a counter that begins again when the device restarts
}

// Register is a value's place in a device.
type Register struct {
	Table   Table
	Address uint16
	Type    acquisition.Type
	Order   acquisition.Order
}

// Check is registers with content that never changes: serial number, model
// code, self-test constants.
type Check struct {
	Name    string // for people: "serial number"
	Table   Table
	Address uint16
	Words   []uint16 // as they stand on the wire
}

// GroupOptions describe one group.
type GroupOptions struct {
	// Group is the template: Rig, Site, Name, Measurement, Tags, Period, Phase,
	// Simulated. The planner sets Channels, Words, Numbers, Exchanges.
	Group    acquisition.Group
	Channels []ChannelOptions
}

// ChannelOptions describe one channel and where its value lies.
//
// Of the embedded channel the planner sets Exchange, Device, Address and, in
// Decoding, At, Decimals and (for coils and discrete inputs) Bit. Origins other
// than FromWords pass through; FromNumbers get their column.
type ChannelOptions struct {
	acquisition.Channel

	Device  string
	Table   Table
	Address uint16 // on the wire, from 0
	// Atomic names values that belong together: those of one device, table and
	// name are read by one request. A single value is never split.
	Atomic string
	// DecimalsFrom is the address of the register, in the same table, that says
	// how many decimals the number has; nil: none.
	DecimalsFrom *uint16
	// Element is which register of a FIFO the value begins in, the oldest being
	// 0. A queue that holds fewer gives quality no_data.
	Element int
}

// scheme is how frames look and what carries them.
type scheme uint8

const (
	overTCP scheme = iota
	overTLS
	rtuOverTCP
	rtuSerial
)

// endpoint is a parsed Options.Endpoint.
type endpoint struct {
	scheme  scheme
	address string // host:port or device path
	baud    int    // 0: not known
	data    int
	parity  byte // 'N', 'E', 'O'
	stop    int
	echo    bool // the adapter hands back what it sends
}

func (e *endpoint) rtu() bool { return e.scheme == rtuOverTCP || e.scheme == rtuSerial }

// bitsPerChar is how long a character is on the line.
func (e *endpoint) bitsPerChar() int {
	n := 1 + e.data + e.stop
	if e.parity != 'N' {
		n++
	}
	return n
}

// chars returns how long n characters take; 0 if the rate is not known.
func (e *endpoint) chars(n int) time.Duration {
	if e.baud == 0 {
		return 0
	}
	return time.Duration(n) * time.Duration(e.bitsPerChar()) * time.Second / time.Duration(e.baud)
}

// silence is t3.5, the least silence between frames: 3.5 characters, 1.75 ms
// above 19200 baud (MODBUS over Serial Line V1.02, section 2.5.1.1).
func (e *endpoint) silence() time.Duration {
	if e.baud == 0 || e.baud > 19200 {
		return 1750 * time.Microsecond
	}
	return e.chars(7) / 2
}

// parseEndpoint reads an endpoint; the error says what to write instead.
func parseEndpoint(text string) (endpoint, error) {
	bad := func(format string, a ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("endpoint %q: "+format, append([]any{text}, a...)...)
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("write tcp://host:502, tls://host:802, rtu+tcp://host:port or rtu:///dev/ttyUSB0?baud=19200")
	}
	e := endpoint{data: 8, parity: 'E', stop: 1}
	port := ""
	switch u.Scheme {
	case "tcp":
		e.scheme, port = overTCP, "502"
	case "tls":
		e.scheme, port = overTLS, "802"
	case "rtu+tcp":
		e.scheme = rtuOverTCP
	case "rtu":
		e.scheme = rtuSerial
		e.baud = 19200 // default of MODBUS over Serial Line V1.02, section 2.5.1
	default:
		return bad("scheme %q is not one of tcp, tls, rtu+tcp, rtu", u.Scheme)
	}
	if u.User != nil {
		return endpoint{}, errors.New("the endpoint names a user, which Modbus does not know: take it away")
	}
	if e.scheme == rtuSerial {
		e.address = u.Host + u.Path
		if e.address == "" {
			return bad("name the serial device, best by its lasting name: rtu:///dev/serial/by-id/...")
		}
	} else {
		if u.Hostname() == "" || u.Path != "" && u.Path != "/" {
			return bad("write it as %s://host:port", u.Scheme)
		}
		if u.Port() != "" {
			port = u.Port()
		}
		if port == "" {
			return bad("the port is missing: every gateway uses its own for RTU over TCP")
		}
		e.address = net.JoinHostPort(u.Hostname(), port)
	}
	for key, values := range u.Query() {
		v := values[len(values)-1]
		n, err := strconv.Atoi(v)
		switch key {
		case "baud":
			if err != nil || n < 50 || n > 4000000 {
				return bad("baud=%s is not a rate from 50 to 4000000", v)
			}
			e.baud = n
		case "data":
			if n != 7 && n != 8 {
				return bad("data=%s is not 8 or 7", v)
			}
			e.data = n
		case "stop":
			if n != 1 && n != 2 {
				return bad("stop=%s is not 1 or 2", v)
			}
			e.stop = n
		case "parity":
			v = strings.ToUpper(v)
			if v != "N" && v != "E" && v != "O" {
				return bad("parity=%s is not N, E or O", v)
			}
			e.parity = v[0]
		case "echo":
			if v != "0" && v != "1" {
				return bad("echo=%s is not 0 or 1", v)
			}
			e.echo = v == "1"
		default:
			return bad("%s is not one of baud, parity, stop, data, echo", key)
		}
	}
	if !e.rtu() && len(u.Query()) > 0 {
		return bad("line settings belong to rtu and rtu+tcp only")
	}
	return e, nil
}

// settle checks the options and fills in what is left at zero.
func (o *Options) settle() (endpoint, error) {
	e, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return e, fmt.Errorf("bus %s: %w", o.Name, err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Late == 0 {
		o.Late = max(2*o.Timeout, 500*time.Millisecond)
	}
	if o.Inflight == 0 {
		o.Inflight = 1
	}
	if o.GapLimit == 0 {
		o.GapLimit = DefaultGapLimit
	}
	o.GapLimit = max(o.GapLimit, 0)
	if o.Answer == 0 {
		o.Answer = [...]time.Duration{overTCP: tcpAnswer, overTLS: tcpAnswer, rtuOverTCP: rtuTCPAnswer, rtuSerial: serialAnswer}[e.scheme]
	}
	switch {
	case o.Timeout < time.Millisecond || o.Timeout > time.Minute:
		return e, fmt.Errorf("bus %s: timeout %s is not within 1 ms to 1 min", o.Name, o.Timeout)
	case o.Inflight < 1 || o.Inflight > MaxInflight:
		return e, fmt.Errorf("bus %s: inflight %d is not within 1 to %d", o.Name, o.Inflight, MaxInflight)
	case o.Inflight > 1 && e.rtu():
		return e, fmt.Errorf("bus %s: inflight %d: RTU has no transaction ids, one request at a time is all it can do", o.Name, o.Inflight)
	case o.Retries < 0 || o.Retries > 10:
		return e, fmt.Errorf("bus %s: retries %d is not within 0 to 10", o.Name, o.Retries)
	case o.Pause < 0:
		return e, fmt.Errorf("bus %s: pause %s is negative", o.Name, o.Pause)
	case o.TLS != nil && e.scheme != overTLS:
		return e, fmt.Errorf("bus %s: a TLS configuration needs an endpoint tls://, not %q", o.Name, o.Endpoint)
	}
	return e, o.settleDevices(e)
}

func (o *Options) settleDevices(e endpoint) error {
	o.Devices = slices.Clone(o.Devices)
	units, names := map[byte]string{}, map[string]bool{}
	for i := range o.Devices {
		d := &o.Devices[i]
		bad := func(format string, a ...any) error {
			return fmt.Errorf("bus %s: device %s: %s", o.Name, d.Name, fmt.Sprintf(format, a...))
		}
		if d.Name == "" || names[d.Name] {
			return bad("the name is missing or there twice")
		}
		if other, twice := units[d.Unit]; twice {
			return bad("unit %d belongs to device %s", d.Unit, other)
		}
		names[d.Name], units[d.Unit] = true, d.Name
		if e.rtu() && (d.Unit == 0 || d.Unit > 247) {
			return bad("unit %d is not within 1 to 247", d.Unit)
		}
		if d.MaxRead == 0 {
			d.MaxRead = MaxRegisters
		}
		if d.MaxReadBits == 0 {
			d.MaxReadBits = MaxBits
		}
		if d.MaxRead < 1 || d.MaxRead > MaxRegisters {
			return bad("max_read %d is not within 1 to %d", d.MaxRead, MaxRegisters)
		}
		if d.MaxReadBits < 1 || d.MaxReadBits > MaxBits {
			return bad("max_read of bits %d is not within 1 to %d", d.MaxReadBits, MaxBits)
		}
		d.ValidStarts = slices.Sorted(slices.Values(d.ValidStarts))
		if d.Timeout == 0 {
			d.Timeout = o.Timeout
		}
		if d.Answer == 0 {
			d.Answer = o.Answer
		}
		if d.Retries == 0 {
			d.Retries = o.Retries
		}
		d.Retries = max(d.Retries, 0)
		if d.Quarantine == 0 {
			d.Quarantine = defaultQuarantine
		}
		for _, c := range d.Identity {
			if c.Table.bits() || c.Table == FIFO || len(c.Words) == 0 || len(c.Words) > d.MaxRead {
				return bad("identity check %s: 1 to %d registers are needed", c.Name, d.MaxRead)
			}
		}
		if u := d.Uptime; u != nil && (u.Table.bits() || u.Table == FIFO) {
			return bad("the uptime counter must be a register")
		}
	}
	return nil
}
