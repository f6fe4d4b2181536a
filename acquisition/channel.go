package acquisition

import "time"

// Channel is one named quantity of a rig, measured or commanded.
type Channel struct {
	ID       string   `json:"id"`                 // never changes; the name may
	Name     string   `json:"name"`               // as written in the rig file, the field name in InfluxDB
	Unit     string   `json:"unit,omitempty"`     // a name of the unit table; see LookupUnit
	Low      float64  `json:"low,omitempty"`      // plausible range in Unit; Low == High means none given
	High     float64  `json:"high,omitempty"`     //
	Exchange int      `json:"exchange,omitempty"` // which exchange of the scan its words came in
	Device   string   `json:"device,omitempty"`   // name of the device in the rig file
	Address  string   `json:"address,omitempty"`  // for people: "unit 3 holding 0x0020", "topic rig/p1"
	Writable bool     `json:"writable,omitempty"` // a setpoint: may be written when the rig is armed
	Display  bool     `json:"display_only,omitempty"`
	Decoding Decoding `json:"decoding"`
}

// Origin says where in a scan the value of a channel is.
type Origin uint8

// The origins of a channel's value.
const (
	FromWords      Origin = iota // decoded from register words
	FromNumbers                  // a number as a payload or another rig gave it
	FromExpression               // computed by readers from other channels of the scan
)

// Completeness says how a group proves that nothing is missing.
type Completeness uint8

// The ways to prove completeness.
const (
	BySchedule Completeness = iota // slots come from the period
	BySequence                     // slots come from the payload's numbers or sample clock
	ByNothing                      // events: not provable
)

// String returns the word used in rig files.
func (c Completeness) String() string {
	switch c {
	case BySchedule:
		return "schedule"
	case BySequence:
		return "sequence"
	case ByNothing:
		return "none"
	}
	return "completeness?"
}

// GroupKey names a group among all rigs of a store: "rig/group".
type GroupKey string

// Group is channels acquired together, polled at one period or published by
// one device. A group is immutable; a changed one is a new version.
type Group struct {
	Rig          string            `json:"rig"`
	Site         string            `json:"site,omitempty"`
	Name         string            `json:"name"`
	Version      uint32            `json:"version"`     // counts the changes of the descriptor, from 1; the store sets it
	Measurement  string            `json:"measurement"` // InfluxDB measurement
	Tags         map[string]string `json:"tags,omitempty"`
	Period       time.Duration     `json:"period"` // planned distance of slots; for sequence groups the declared sample distance, 0 if none
	Phase        time.Duration     `json:"phase,omitempty"`
	Completeness Completeness      `json:"completeness"`
	ExpectEvery  time.Duration     `json:"expect_every,omitempty"` // silence longer than this is a gap (completeness none)
	Channels     []Channel         `json:"channels"`
	Words        int               `json:"words"`     // register words per scan
	Numbers      int               `json:"numbers"`   // numbers per scan
	Exchanges    int               `json:"exchanges"` // requests per scan
	Backfill     bool              `json:"backfill,omitempty"`
	Simulated    bool              `json:"simulated,omitempty"` // a twin stood in place of the bus
}

// Key returns "rig/group".
func (g *Group) Key() GroupKey { return GroupKey(g.Rig + "/" + g.Name) }

// Channel returns the index of the named channel, -1 if there is none.
func (g *Group) Channel(name string) int {
	for i := range g.Channels {
		if g.Channels[i].Name == name {
			return i
		}
	}
	return -1
}

// Due returns the planned instant of a slot of a scheduled group.
func (g *Group) Due(anchor int64, slot uint64) int64 {
	return anchor + int64(slot)*int64(g.Period) + int64(g.Phase)
}
