package web

import (
	"context"
	"io"
	"iter"

	"pneudaq/acquisition"
)

// Language of what a person reads.
type Language string

// The languages.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// The interfaces below are what the server needs. They may be called by many
// goroutines. An error of type [*Problem] is shown as it is; any other is an
// internal error whose text is shown with code PD2500.

// Rigs tells the state of the rigs in service.
type Rigs interface {
	// Rigs returns every rig in service, by name. The slices are the caller's.
	Rigs(ctx context.Context) ([]Rig, error)
	// Topics returns what a broker bus of a rig has seen so far; "" for all.
	Topics(ctx context.Context, rig, bus string) ([]Topic, error)
}

// Health tells the state of the service.
type Health interface {
	// Health returns everything but Version, Time, Demo and Roles, which the
	// server fills in.
	Health(ctx context.Context, l Language) (HealthReport, error)
	// Ready returns nil once the service acquires: a store is open and each rig
	// has its collectors.
	Ready(ctx context.Context) error
}

// RecordingQuery selects recordings, newest first.
type RecordingQuery struct {
	Rig    string
	Before int64 // start before it, Unix ns; 0: no bound
	Limit  int
}

// NewRecording is what a recording starts with.
type NewRecording struct {
	Rig    string   `json:"rig"`
	Groups []string `json:"groups,omitempty"` // none: all
	Owner  string   `json:"owner,omitempty"`  // none: the user
	Note   string   `json:"note,omitempty"`
}

// Recordings keeps the named intervals of the record.
type Recordings interface {
	Recordings(ctx context.Context, q RecordingQuery) ([]Recording, error)
	// Recording returns a [NotFound] problem if there is none.
	Recording(ctx context.Context, id string) (RecordingDetail, error)
	// Start returns a [RecordingOpen] problem if one is open on the rig.
	Start(ctx context.Context, n NewRecording) (RecordingDetail, error)
	// Stop ends a recording; by is who did it.
	Stop(ctx context.Context, id, by string) (RecordingDetail, error)
}

// Amendment corrects how a channel is decoded; what is stored stays.
type Amendment struct {
	Group    string               `json:"group"`
	Channel  string               `json:"channel"`
	Unit     string               `json:"unit,omitempty"`
	Decoding acquisition.Decoding `json:"decoding"`
	Why      string               `json:"why"`
	Who      string               `json:"who,omitempty"` // none: the user
}

// ReconcileQuery says what to compare with the sinks.
type ReconcileQuery struct {
	Recording string `json:"recording,omitempty"` // none: everything
	Resend    bool   `json:"resend,omitempty"`    // send again what is missing there
}

// Ledger is the account of recordings.
type Ledger interface {
	Audit(ctx context.Context, id string) (AuditReport, error)
	// Open returns the state of each open recording. It is asked once a second
	// while somebody looks, so it must be cheap.
	Open(ctx context.Context) ([]RecordState, error)
	Amend(ctx context.Context, id string, a Amendment) error
	Reconcile(ctx context.Context, q ReconcileQuery) ([]ReconcileReport, error)
}

// Overview is one group over an interval in at most so many points.
type Overview struct {
	Channels []OverviewChannel
	Gaps     []RecordGap
}

// OverviewChannel is the rows of one channel, in order of time.
type OverviewChannel struct {
	Channel string
	Rows    []OverviewRow
}

// OverviewRow sums up the usable samples of one stretch of time.
type OverviewRow struct {
	From, To       int64 // of the samples, Unix ns
	Min, Max, Mean float64
	Count          uint64
}

// RecordGap is a stretch of time in which a group has no samples.
type RecordGap struct {
	From, To int64 // Unix ns
	Slots    uint64
	Reason   acquisition.Reason
}

// Span selects a stretch of a group's record.
type Span struct {
	Group    acquisition.GroupKey
	From, To int64 // Unix ns, To not included
}

// EventQuery selects events, newest last.
type EventQuery struct {
	Rig      string // "": all, and those of the service
	From, To int64  // Unix ns; 0: no bound
	Limit    int    // the newest so many
}

// Record reads what is stored.
type Record interface {
	// Groups returns the newest version of each group that the store has.
	Groups(ctx context.Context) ([]*acquisition.Group, error)
	// Blocks yields the blocks with a scan or a gap in the span, in order.
	Blocks(ctx context.Context, s Span) iter.Seq2[*acquisition.Block, error]
	// Overview returns at most points rows for each of the channels, and the
	// gaps, without reading each sample of a long span.
	Overview(ctx context.Context, s Span, channels []string, points int) (Overview, error)
	// Gaps returns when the gaps of a block were.
	Gaps(ctx context.Context, b *acquisition.Block) []RecordGap
}

// Events reads the events of the record.
type Events interface {
	Events(ctx context.Context, q EventQuery) ([]acquisition.Event, error)
}

// ExportQuery says what to write.
type ExportQuery struct {
	Recording string
	Format    string   // csv, parquet, xlsx or jsonl
	Groups    []string // none: all
	Channels  []string // none: all
	BOM       bool     // a byte-order mark for spreadsheets (csv)
	Language  Language
}

// ExportFile is what a file will be.
type ExportFile struct {
	Media     string // media type
	Extension string // of its name, without the dot
}

// Exporter writes a recording as a file.
type Exporter interface {
	// Describe says what the file will be; problems of the query come here,
	// before the first byte. A format that it does not know is not ok.
	Describe(ctx context.Context, q ExportQuery) (f ExportFile, ok bool, err error)
	// Export writes the file.
	Export(ctx context.Context, w io.Writer, q ExportQuery) error
}

// Files reads, checks and replaces rig files.
type Files interface {
	RigFile(ctx context.Context, rig string) (RigFile, error)
	// Check says what the text of a rig file comes to. name is the rig whose
	// file it is to replace, or the name of a new one.
	Check(ctx context.Context, name string, text []byte, l Language) (CheckReport, error)
	// Replace checks and saves the text and reloads only this rig. If there is an
	// error in it, the report says so and nothing changed. Another version than
	// etag is a [Changed] problem.
	Replace(ctx context.Context, rig, etag string, text []byte, l Language) (CheckReport, RigFile, error)
}

// ProbeRequest says whom to ask what.
type ProbeRequest struct {
	URL   string `json:"url"`
	Units []int  `json:"units,omitempty"` // none: those that answer
	Table string `json:"table,omitempty"`
	From  int    `json:"from,omitempty"`
	Count int    `json:"count,omitempty"`
}

// Prober asks a bus who is there.
type Prober interface {
	Probe(ctx context.Context, p ProbeRequest) (ProbeReport, error)
}

// EvaluateRequest says how to judge a recording.
type EvaluateRequest struct {
	Method     string            `json:"method"`
	Parameters map[string]any    `json:"parameters,omitempty"`
	Channels   map[string]string `json:"channels,omitempty"` // method's name to the recording's
	From       Time              `json:"from,omitzero"`
	To         Time              `json:"to,omitzero"`
}

// Evaluator judges recordings by the methods of the standards.
type Evaluator interface {
	Methods(ctx context.Context) ([]Method, error)
	Evaluate(ctx context.Context, id string, r EvaluateRequest, l Language) (Evaluation, error)
}

// Demo breaks the twin and mends it.
type Demo interface {
	Faults(ctx context.Context) ([]DemoFault, error)
	SetFault(ctx context.Context, name string, on bool) error
}
