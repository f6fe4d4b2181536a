package web

import (
	"encoding/json"

	"pneudaq/acquisition"
)

// HealthReport is the state of the service as a whole.
type HealthReport struct {
	Version    string            `json:"version"`
	Time       Time              `json:"time"`
	Started    Time              `json:"started,omitzero"`
	Simulated  bool              `json:"simulated"`
	Demo       bool              `json:"demo"`
	Roles      []Role            `json:"roles"` // of the one who asks
	Clock      ClockState        `json:"clock"`
	Store      StoreState        `json:"store"`
	Forwarders []ForwarderState  `json:"forwarders"`
	Problems   []ProblemDocument `json:"problems"`
}

// ClockState is what is known of the wall clock.
type ClockState struct {
	Source           string  `json:"source"`
	Synchronised     bool    `json:"synchronised"`
	EstimatedErrorMS float64 `json:"estimated_error_ms"`
	DriftMS          float64 `json:"drift_ms"` // wall clock minus the service's time
	Steps            int     `json:"steps"`    // since the start
	Zone             string  `json:"zone"`     // of this machine, for example "Asia/Shanghai"
}

// StoreState is the embedded store.
type StoreState struct {
	Dir         string    `json:"dir"`
	Bytes       int64     `json:"bytes"`
	FreeBytes   int64     `json:"free_bytes,omitempty"`
	Written     uint64    `json:"written_bytes"` // since the start
	BytesPerDay float64   `json:"bytes_per_day"`
	DaysLeft    *float64  `json:"days_left"` // until the disk or the limit is full; null: not known yet
	Warning     string    `json:"warning,omitempty"`
	CommitP99MS float64   `json:"commit_p99_ms"`
	AgeP99MS    float64   `json:"age_p99_ms"` // of a sample when it became durable
	Commit      Histogram `json:"commit_ms"`
	Age         Histogram `json:"age_ms"`
}

// Histogram counts durations in milliseconds. Counts has one entry more than
// Bounds, for what is above the last of them; counts are not cumulative.
type Histogram struct {
	Bounds []float64 `json:"bounds"`
	Counts []uint64  `json:"counts"`
	SumMS  float64   `json:"sum_ms"`
}

// ForwarderState is the account of one destination: Stored = Delivered +
// Waiting + Refused.
type ForwarderState struct {
	Name       string   `json:"name"`
	Rigs       []string `json:"rigs"`
	State      string   `json:"state"` // ok, retrying or holding
	Since      Time     `json:"since,omitzero"`
	Stored     uint64   `json:"stored"`
	Delivered  uint64   `json:"delivered"`
	Waiting    uint64   `json:"waiting"`
	Refused    uint64   `json:"refused"`
	LastAnswer Time     `json:"last_answer,omitzero"`
	What       string   `json:"what,omitempty"`
	Do         string   `json:"do,omitempty"`
}

// ProblemDocument is one thing that a person must know or put right. File,
// line and column are there for problems of files.
type ProblemDocument struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // error or warning
	What     string `json:"what"`
	Do       string `json:"do,omitempty"`
	Since    Time   `json:"since,omitzero"`
	Rig      string `json:"rig,omitempty"`
	Bus      string `json:"bus,omitempty"`
	Group    string `json:"group,omitempty"`
	Channel  string `json:"channel,omitempty"`
	Where    string `json:"where,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

// The severities of problems.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Rig is one rig in service.
type Rig struct {
	Name        string  `json:"name"`
	Site        string  `json:"site,omitempty"`
	Description string  `json:"description,omitempty"`
	Simulated   bool    `json:"simulated"`
	File        string  `json:"file"`
	Armed       bool    `json:"armed"`
	Recording   *string `json:"recording"` // id of the open one
	Buses       []Bus   `json:"buses"`
	Groups      []Group `json:"groups"`
}

// Bus is one connection of a rig.
type Bus struct {
	Name       string   `json:"name"`
	Endpoint   string   `json:"endpoint"` // never with a password
	Protocol   string   `json:"protocol"` // modbus or mqtt
	Up         bool     `json:"up"`
	Since      Time     `json:"since,omitzero"`
	Problem    string   `json:"problem,omitempty"`
	Reconnects uint64   `json:"reconnects"`
	Stats      BusStats `json:"stats"`
}

// BusStats counts what happened on a bus since the start.
type BusStats struct {
	Requests   uint64            `json:"requests"`
	Answers    uint64            `json:"answers"`
	Timeouts   uint64            `json:"timeouts"`
	Late       uint64            `json:"late"`
	Duplicate  uint64            `json:"duplicate"`
	CRC        uint64            `json:"crc"`
	Exceptions map[string]uint64 `json:"exceptions"` // by code
	RoundTrip  Histogram         `json:"round_trip_ms"`
	Units      []UnitStats       `json:"units,omitempty"`
	Messages   uint64            `json:"messages,omitempty"` // of a broker
	Quarantine uint64            `json:"quarantined,omitempty"`
	Unacked    int               `json:"unacked,omitempty"`
}

// UnitStats counts what one unit of a Modbus bus did.
type UnitStats struct {
	Unit        int    `json:"unit"`
	Device      string `json:"device,omitempty"`
	Requests    uint64 `json:"requests"`
	Answers     uint64 `json:"answers"`
	Timeouts    uint64 `json:"timeouts"`
	Late        uint64 `json:"late"`
	Quarantined bool   `json:"quarantined"`
	LastFault   string `json:"last_fault,omitempty"`
	LastFaultAt Time   `json:"last_fault_at,omitzero"`
}

// Group is channels acquired together, with the account since the start.
type Group struct {
	Name         string                        `json:"name"`
	Bus          string                        `json:"bus"`
	PeriodMS     float64                       `json:"period_ms"`
	Completeness string                        `json:"completeness"`
	Measurement  string                        `json:"measurement"`
	Running      bool                          `json:"running"`
	Waiting      string                        `json:"waiting,omitempty"` // why it has not started
	Stored       uint64                        `json:"stored"`
	Missed       map[acquisition.Reason]uint64 `json:"missed"`
	Last         Time                          `json:"last,omitzero"`
	Channels     []Channel                     `json:"channels"`
}

// Channel is one quantity of a rig.
type Channel struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	Unit           string   `json:"unit"`
	Symbol         string   `json:"symbol"`
	Low            *float64 `json:"low"` // of the plausible range; null: none given
	High           *float64 `json:"high"`
	Device         string   `json:"device,omitempty"`
	Address        string   `json:"address,omitempty"`
	Writable       bool     `json:"writable"`
	Derived        bool     `json:"derived"`
	Borrowed       bool     `json:"borrowed"`
	Expression     string   `json:"expression,omitempty"`
	Accuracy       string   `json:"accuracy,omitempty"`
	CalibrationDue string   `json:"calibration_due,omitempty"` // date
}

// Topic is an MQTT topic as seen so far.
type Topic struct {
	Topic   string `json:"topic"`
	Count   uint64 `json:"count"`
	Last    Time   `json:"last,omitzero"`
	Payload string `json:"payload_excerpt"`
	Why     string `json:"quarantined,omitempty"` // why a payload was not usable
}

// RigFile is the text of a rig's file with what recognises this version of it.
type RigFile struct {
	Name string
	Text []byte
	ETag string // without quotes
}

// CheckReport is what a rig file comes to.
type CheckReport struct {
	Problems    []ProblemDocument `json:"problems"`
	Plan        []BusPlan         `json:"plan"`
	LoadPercent float64           `json:"load_percent"` // of the busiest bus
	Series      int               `json:"series"`
	BytesPerDay float64           `json:"bytes_per_day"`
}

// Wrong reports whether a problem keeps the file from being used.
func (r *CheckReport) Wrong() bool {
	for i := range r.Problems {
		if r.Problems[i].Severity != SeverityWarning {
			return true
		}
	}
	return false
}

// BusPlan is what a bus is asked.
type BusPlan struct {
	Bus         string        `json:"bus"`
	LoadPercent float64       `json:"load_percent"`
	Requests    []PlanRequest `json:"requests"`
}

// PlanRequest is one request of a bus plan.
type PlanRequest struct {
	Group    string  `json:"group"`
	PeriodMS float64 `json:"period_ms"`
	Text     string  `json:"text"` // for example "unit 3 holding 0x0020..0x002B"
	TimeMS   float64 `json:"time_ms"`
}

// Recording is a named interval of a rig's record.
type Recording struct {
	ID          string            `json:"id"`
	Rig         string            `json:"rig"`
	Groups      []string          `json:"groups"`
	Owner       string            `json:"owner,omitempty"`
	Note        string            `json:"note,omitempty"`
	Start       Time              `json:"start"`
	Stop        Time              `json:"stop,omitzero"` // absent while it is open
	End         string            `json:"end,omitempty"`
	Detail      map[string]string `json:"detail,omitempty"`
	Simulated   bool              `json:"simulated"`
	Planned     uint64            `json:"planned"` // slots
	Stored      uint64            `json:"stored"`
	Missing     uint64            `json:"missing"` // covered by gaps
	Unexplained uint64            `json:"unexplained"`
	Delivered   string            `json:"delivered"` // yes, no, part or n/a
}

// RecordingDetail is a recording with the groups and channels that it has.
type RecordingDetail struct {
	Recording

	Content []RecordingGroup `json:"content"`
}

// RecordingGroup is one group of a recording as stored.
type RecordingGroup struct {
	Name         string    `json:"name"`
	PeriodMS     float64   `json:"period_ms"`
	Completeness string    `json:"completeness"`
	Channels     []Channel `json:"channels"`
}

// RecordState is how the open recording of a rig stands.
type RecordState struct {
	Rig         string                        `json:"rig"`
	Recording   string                        `json:"recording"`
	Owner       string                        `json:"owner,omitempty"`
	Start       Time                          `json:"start"`
	Planned     uint64                        `json:"planned"`
	Stored      uint64                        `json:"stored"`
	Delivered   uint64                        `json:"delivered"`
	Waiting     uint64                        `json:"waiting"`
	Refused     uint64                        `json:"refused"`
	Archived    bool                          `json:"archived"`
	Missing     map[acquisition.Reason]uint64 `json:"missing"`
	Unexplained uint64                        `json:"unexplained"`
	Ended       bool                          `json:"ended,omitempty"`
}

// AuditReport is the ledger of a recording and of its way to the sinks.
type AuditReport struct {
	Recording Recording             `json:"recording"`
	Accounts  []acquisition.Account `json:"accounts"`
	Balanced  bool                  `json:"balanced"`
	Sinks     []SinkAccount         `json:"sinks"`
}

// SinkAccount is the account of one sink, in scans.
type SinkAccount struct {
	Name      string `json:"name"`
	Stored    uint64 `json:"stored"`
	Delivered uint64 `json:"delivered"`
	Waiting   uint64 `json:"waiting"`
	Refused   uint64 `json:"refused"`
}

// EventDocument is an event of the record.
type EventDocument struct {
	Time   Time    `json:"time"`
	T      float64 `json:"t"` // the same in Unix milliseconds
	Rig    string  `json:"rig,omitempty"`
	Group  string  `json:"group,omitempty"`
	Code   string  `json:"code"`
	Detail string  `json:"detail"`
}

func eventDocument(e acquisition.Event) EventDocument {
	return EventDocument{Time: Time(e.Time), T: milliseconds(e.Time), Rig: e.Rig, Group: e.Group, Code: e.Code, Detail: e.Detail}
}

// Method is one way of judging a recording.
type Method struct {
	Name        string            `json:"name"`
	TitleEN     string            `json:"title_en"`
	TitleZH     string            `json:"title_zh"`
	Standard    string            `json:"standard,omitempty"`
	Channels    []MethodChannel   `json:"channels"`
	Parameters  []MethodParameter `json:"parameters"`
	Conventions []string          `json:"conventions,omitempty"`
}

// MethodChannel is a channel that a method needs.
type MethodChannel struct {
	Name     string  `json:"name"`
	Quantity string  `json:"quantity"`
	Unit     string  `json:"unit"`
	Required bool    `json:"required"`
	MinRate  float64 `json:"min_rate"` // Hz
}

// MethodParameter is what a person states beside the record.
type MethodParameter struct {
	Name     string `json:"name"`
	Unit     string `json:"unit,omitempty"`
	TitleEN  string `json:"title_en"`
	TitleZH  string `json:"title_zh"`
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required"`
}

// Evaluation is what a method says about a recording, or why it refuses.
type Evaluation struct {
	Method      string          `json:"method"`
	Recording   string          `json:"recording,omitempty"`
	Wording     string          `json:"wording"` // "evaluated following ISO ..."
	Simulated   bool            `json:"simulated"`
	Figures     []Figure        `json:"figures"`
	Refusal     *Refusal        `json:"refusal,omitempty"`
	Conventions []string        `json:"conventions,omitempty"`
	Notes       []string        `json:"notes,omitempty"`
	Plot        string          `json:"plot_svg,omitempty"`
	Curve       json.RawMessage `json:"curve,omitempty"` // the whole result, as the method gives it
}

// Figure is one result with its expanded uncertainty.
type Figure struct {
	Name    string   `json:"name"`
	Value   float64  `json:"value"`
	U       *float64 `json:"U"` // expanded uncertainty; null: none can be stated
	K       float64  `json:"k,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Text    string   `json:"text"` // as printed
	TitleEN string   `json:"title_en,omitempty"`
	TitleZH string   `json:"title_zh,omitempty"`
}

// Refusal says why a method does not judge.
type Refusal struct {
	Code string `json:"code"`
	What string `json:"what"`
}

// ReconcileReport compares a sink with the store.
type ReconcileReport struct {
	Sink        string                `json:"sink"`
	From        Time                  `json:"from,omitzero"`
	To          Time                  `json:"to,omitzero"`
	Groups      int                   `json:"groups"`
	Windows     int                   `json:"windows"`
	Samples     uint64                `json:"samples"`
	Waiting     uint64                `json:"waiting"`
	Refused     uint64                `json:"refused"`
	Resent      uint64                `json:"resent"`
	Agrees      bool                  `json:"agrees"`
	Differences []ReconcileDifference `json:"differences"`
	Problem     string                `json:"problem,omitempty"` // why it could not be compared
}

// ReconcileDifference is a window of a channel in which store and sink
// disagree.
type ReconcileDifference struct {
	Group   string `json:"group"`
	Channel string `json:"channel"`
	From    Time   `json:"from"`
	To      Time   `json:"to"`
	Kind    string `json:"kind"` // missing, extra or content
	Store   uint64 `json:"store"`
	Sink    uint64 `json:"sink"`
	Resent  bool   `json:"resent"`
}

// ProbeReport is what a bus said when it was asked.
type ProbeReport struct {
	URL      string      `json:"url"`
	Units    []ProbeUnit `json:"units"`
	Problems []string    `json:"problems,omitempty"`
	YAML     string      `json:"yaml,omitempty"` // to paste into a rig file
}

// ProbeUnit is one unit that answered.
type ProbeUnit struct {
	Unit      int               `json:"unit"`
	Identity  map[string]string `json:"identity"`
	Registers []ProbeRegister   `json:"registers"`
	Note      string            `json:"note,omitempty"`
}

// ProbeRegister is a register pair with its four decodings.
type ProbeRegister struct {
	Table     string          `json:"table"`
	Address   int             `json:"address"` // 0-based, as on the wire
	Words     []int           `json:"words"`
	Decodings []ProbeDecoding `json:"decodings"`
}

// ProbeDecoding is one reading of the words with how plausible it is.
type ProbeDecoding struct {
	Type      string   `json:"type"`
	Order     string   `json:"order"`
	Value     *float64 `json:"value"` // null: not a number
	Plausible bool     `json:"plausible"`
}

// DemoFault is a way to break the twin.
type DemoFault struct {
	Name    string `json:"name"`
	TitleEN string `json:"title_en"`
	TitleZH string `json:"title_zh"`
	On      bool   `json:"on"`
}
