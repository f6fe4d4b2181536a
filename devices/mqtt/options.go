package mqtt

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"pneudaq/acquisition"
)

// Limits that Options leave at zero.
const (
	DefaultWindow    = 20               // mosquitto sends this many messages without an acknowledgement
	DefaultMaxPacket = 1 << 20          // bytes
	DefaultMaxTopics = 1000             // distinct topics of one bus
	DefaultKeepAlive = 10 * time.Second //
	DefaultQueue     = 4096             // messages between the network and the decoder
	DefaultOrder     = 8                // messages that may wait for one that is out of order
	DefaultHold      = 250 * time.Millisecond
	DefaultJoin      = 100 * time.Millisecond
	DefaultSkew      = 5 * time.Second
	DefaultMaxAge    = 24 * time.Hour
)

// Options describe one bus: a connection to a broker and the groups that
// arrive on it.
type Options struct {
	Name     string // of the bus in the rig file
	Endpoint string // mqtt://host[:1883] or mqtts://host[:8883]; never with a user or password in it
	ClientID string // fixed and unique at the broker: the persistent session belongs to it
	Username string // "": none
	Password string
	TLS      *tls.Config // for mqtts: roots, client certificate; nil: the system's roots

	KeepAlive time.Duration // whole seconds; a dead connection is noticed after 1.5 times this; 0: DefaultKeepAlive
	Window    int           // messages that the broker sends without an acknowledgement; 0: DefaultWindow
	MaxPacket int           // bytes of the largest packet taken; 0: DefaultMaxPacket
	MaxTopics int           // distinct topics taken; further ones are refused and counted; 0: DefaultMaxTopics
	Queue     int           // messages that may wait for the decoder; 0: DefaultQueue

	Groups []GroupOptions

	// Quarantine takes what could not be used, with the reason for a person.
	// payload is cut to 64 KiB and is the caller's to keep. It is called
	// before the message is acknowledged, by one goroutine at a time; nil:
	// nothing is kept, only counted.
	Quarantine func(topic string, payload []byte, why string)
	// Dial opens the network connection, below TLS; nil: net.Dialer.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger // nil: discards
	Now    func() int64 // Unix ns, the service's clock; nil: time.Now
}

// GroupOptions describe one group: what one device publishes.
type GroupOptions struct {
	// Group is the template: Rig, Site, Name, Measurement, Tags, Period,
	// ExpectEvery, Simulated. Period is the declared distance of samples; it is
	// needed when slots come from the sample clock and the payload does not
	// tell the distance. New sets Channels, Numbers and Completeness.
	Group acquisition.Group
	// Device replaces {device} in topics.
	Device string
	// Topics are the topics that carry the whole group, with {device}, + for
	// any one level and # at the end. Channels may name a topic of their own
	// instead; then this may be empty.
	Topics []string
	// AtMostOnce subscribes with QoS 0 instead of 1: lost messages stay lost.
	AtMostOnce bool
	Payload    Payload
	Sequence   Sequence
	Time       Time
	Presence   Presence
	Channels   []ChannelOptions

	Order  int           // messages that may wait for one that is out of order; 0: DefaultOrder, negative: none
	Hold   time.Duration // how long at most; 0: DefaultHold
	Join   time.Duration // how long the parts of one scan, from several topics, may be apart; 0: DefaultJoin
	Skew   time.Duration // device clock off by more than this: quality skew; 0: DefaultSkew
	MaxAge time.Duration // device time further off than this: refused; 0: DefaultMaxAge
}

// Presence is where a device's last will tells that it is gone: from then on
// the group is a gap with reason unreachable until something arrives again.
type Presence struct {
	Topic   string // with {device}; "": none
	Offline string // payload that means gone, for example "offline"
}

// ChannelOptions describe one channel and where its value is in the payload.
// Decoding.Scale and Decoding.Offset apply; Decoding.Sentinels are compared
// with the bits of a binary sample, or with the number as written; Origin
// FromExpression passes through; New sets Decoding.At.
type ChannelOptions struct {
	acquisition.Channel

	// Topic is the channel's own topic; "": the group's topics.
	Topic string
	// Field says where the value is; what it looks like depends on the format:
	//
	//	FormatNumber                     not used
	//	FormatJSON                       path: "StatusSNS.DS18B20.Temperature", "sensors[0].v", `["a.b"].c`
	//	FormatArrays                     path of the array: "values", or into its elements: "values[*][1]", "values[*].p1"
	//	FormatNameValue                  the name
	//	FormatRows                       column number from 0, or key when the rows are objects
	//	FormatCSV                        column number from 0, or name when there is a header line
	//	FormatLine                       field, or measurement.field
	//	FormatBinary                     position of the channel among the interleaved or successive channels, from 0
	//	FormatSparkplug                  metric name
	Field string
	// Texts are payload words that stand for numbers, such as ON = 1. true and
	// false are 1 and 0 without being named.
	Texts map[string]float64
	// Borrowed channels get their value from the collector, not from a payload.
	Borrowed bool
}

// Format is how a payload is written.
type Format uint8

// The formats.
const (
	FormatNumber    Format = iota // one number as text, possibly with blanks and a unit behind it
	FormatJSON                    // a JSON object, one sample, values by path
	FormatNameValue               // JSON objects with a name and a value, in an array or alone
	FormatArrays                  // JSON with an array of samples for each channel: {t0, dt, values}
	FormatRows                    // a JSON array of rows, each an array or an object
	FormatLine                    // InfluxDB line protocol, one sample a line
	FormatCSV                     // separated text, one sample a line
	FormatBinary                  // a burst: header and samples, see Layout
	FormatSparkplug               // Sparkplug B (protocol buffers)
)

// Payload describes a group's payload.
type Payload struct {
	Format Format
	Root   string // JSON formats: path to the value that the fields are relative to; "": the whole payload; a field that begins with "$." starts at the top all the same

	NameKey, ValueKey string // FormatNameValue: "": "name" and "value"

	Separator    byte // FormatCSV: 0: comma
	Header       bool // FormatCSV: the first line of each payload names the columns
	DecimalComma bool // FormatCSV, FormatNumber: 12,5 is twelve and a half

	Layout Layout // FormatBinary
}

// Sequence describes the number by which a device counts its messages or
// samples.
type Sequence struct {
	// Field of the number, as ChannelOptions.Field; "": none. For FormatBinary
	// Layout.Seq takes its place. In FormatRows, FormatCSV and FormatLine it is
	// read in every row: it counts samples if it differs from row to row, and
	// messages if it is the same in all. In FormatNameValue it is a key of the
	// objects, unless it begins with "$.".
	Field string
	// Bits after which the number starts again at 0: 8, 16 or 32; 0: never.
	Bits int
	// Samples that one message holds, for numbers that count messages: slot =
	// number · Samples + index. 0: one.
	Samples int
	// CountsSamples says that the number is that of the message's first sample.
	CountsSamples bool
	// Clock says that slots come from the sample clock, that is from device
	// time and distance, because there is no number. Samples, if given, makes
	// every message that long.
	Clock bool
}

// Time describes the time that a device states.
type Time struct {
	// Field of the time, as ChannelOptions.Field; "": none. For FormatBinary
	// Layout.T0 takes its place; FormatLine takes the line's own time and
	// FormatSparkplug the metric's, unless Basis is BasisArrival. In
	// FormatNameValue it is a key of the objects, unless it begins with "$.".
	// Of several samples in one message it is the first one's, unless every
	// row has its own.
	Field string
	Unit  TimeUnit
	// Layout for UnitText: as package time writes it, with Zone if it has no
	// offset of its own. In the hour that a zone repeats in autumn the reading
	// nearest to the arrival is meant.
	Layout string
	Zone   *time.Location
	// Step is the field of the distance of samples, StepUnit its unit (s, ms,
	// us or ns); "": Group.Period. For FormatBinary Layout.Dt takes its place.
	Step     string
	StepUnit TimeUnit
	Basis    Basis
}

// TimeUnit is how a time is written.
type TimeUnit uint8

// The units. Numeric times count from 1970 (UTC), or from wherever the device
// likes if Basis is BasisFitted.
const (
	UnitDefault TimeUnit = iota // what the format says: ns for line protocol, ms for Sparkplug; an error for the others
	UnitSeconds
	UnitMilli
	UnitMicro
	UnitNano
	UnitRFC3339
	UnitText
)

// Basis says what a sample's time is.
type Basis uint8

// The bases of time. Whatever it is, the arrival is kept beside it.
const (
	BasisAuto    Basis = iota // the device's time if it states one, else the arrival
	BasisDevice               // the device's time
	BasisFitted               // the device's clock or numbers as a ruler, laid against the arrivals: for clocks that count from power-on
	BasisArrival              // the arrival; a device's time serves only to recognise repeats
)

// Layout is how a binary burst is laid out: a header with fixed places, then
// samples to the end of the payload or to Count.
type Layout struct {
	LittleEndian bool
	Header       int              // bytes before the first sample
	Magic        []byte           // bytes that every payload begins with; may be empty
	Seq          Item             // Size 0: none
	T0           Item             // device time of the first sample, in Time.Unit
	Dt           Item             // distance of samples, in Time.StepUnit
	Count        Item             // samples of each channel; Size 0: what fills the payload
	Width        Item             // channels, compared with Channels; Size 0: none
	Channels     int              // in the payload; 0: as many as the group's channels use
	Planar       bool             // all samples of a channel, then those of the next; else interleaved
	Sample       acquisition.Type // int8, uint8, int16, uint16, int32, uint32, int64, uint64, float16, float32, float64
}

// Item is one number in the header of a burst.
type Item struct {
	At    int  // first byte
	Size  int  // bytes: 1, 2, 4 or 8; 0: not there
	Float bool // IEEE 754, Size 4 or 8
}
