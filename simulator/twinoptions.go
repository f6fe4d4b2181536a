package simulator

import "time"

// Options is a simulated rig as data: a plant, the buses that show it, and what is published.
type Options struct {
	Rig    string
	Plant  string // a kind of NewPlant; empty: no plant, registers are constants and memory
	Seed   uint64 // of the plant and, unless they have their own, of the wire faults
	Params map[string]float64
	Speed  float64 // plant seconds per second; 0 means 1

	Truth       string        // file that gets the plant's truth as lines of JSON; empty: none
	TruthPeriod time.Duration // plant time between lines; 100 ms if 0

	Buses      []BusOptions
	Publishers []PublisherOptions
}

// Kinds of bus.
const (
	BusTCP        = "tcp"          // Modbus TCP
	BusTLS        = "tls"          // Modbus/TCP Security
	BusRTUOverTCP = "rtu_over_tcp" // RTU frames in a TCP stream, as serial servers carry them
	BusRTU        = "rtu"          // a serial line or a pseudo terminal
	BusMQTT       = "mqtt"         // an embedded broker
)

// BusOptions is one bus with the units on it.
type BusOptions struct {
	Name string
	Kind string // one of the Bus constants
	// Listen is host:port; empty means 127.0.0.1:0, and "none" no network: Twin.Dial alone reaches the bus. Of kind rtu it
	// is "pty" (also if empty), "pty:LINK" for a symbolic link to the client's end, or a serial device.
	Listen string
	Baud   int    // rtu: of the device; on any bus answers take the time that a line of this rate needs
	Frame  string // rtu: 8N1, 8E1, ...
	TLS    TLSFiles

	Units              []UnitOptions
	Addresses          []byte // units whose registers say where they are, see AddressMemory
	ClockFrom, ClockTo uint16 // of these units

	Delay    time.Duration // as in ServerOptions
	Delays   map[byte]time.Duration
	Serial   bool
	Absent   Exception
	MaxConns int
	Steal    bool
	Faults   []Fault

	Users []BrokerUser // mqtt; none: everybody may do everything
}

// TLSFiles names PEM files. With ClientCA clients must show a certificate of it.
type TLSFiles struct {
	Certificate, Key, ClientCA string
}
