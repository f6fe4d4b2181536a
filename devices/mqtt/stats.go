package mqtt

import (
	"time"

	"pneudaq/acquisition"
)

// Stats counts what happened on a bus since the start.
type Stats struct {
	Connects        uint64 // connections made
	SessionsLost    uint64 // connections that should have found a session at the broker and did not
	Messages        uint64 // received
	Bytes           uint64 // of their payloads
	Acknowledged    uint64
	Redelivered     uint64 // recognised by their mark
	Retained        uint64 // dropped: retained messages are never live samples
	Quarantined     uint64 // not usable
	Oversize        uint64 // refused by the framing guard
	Unrouted        uint64 // on topics that no group wants: left over from an earlier subscription
	RefusedTopics   uint64 // messages on topics beyond the limit of topics
	Topics          int    // distinct topics taken
	Unacked         int    // messages that wait for a commit
	Queued          int    // messages that wait for the decoder
	QueuedMost      int
	CertificateDays int  // days until a certificate of the connection expires, 0 without TLS
	Takeover        bool // another client seems to use the client id
	Groups          []GroupStats
}

// GroupStats counts what happened to one group since the start.
type GroupStats struct {
	Group       acquisition.GroupKey
	Messages    uint64
	Samples     uint64
	Missing     uint64        // slots written as gaps
	Duplicates  uint64        // messages that were there before
	Reordered   uint64        // messages that waited for a predecessor which came
	Late        uint64        // messages delivered as backfill
	Conflicts   uint64        // messages with the number of another one and other data
	Quarantined uint64        // messages without usable content
	Undecodable uint64        // values without usable content
	Refused     uint64        // messages whose time is too far from ours
	Restarts    uint64        // times that the device counted anew
	Offline     uint64        // times that the device said it was gone
	Silent      bool          // nothing comes, longer than expected
	StepWrong   bool          // the distance of samples is not what was stated
	ClockOffset time.Duration // arrival minus device time of the last message
}
