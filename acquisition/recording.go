package acquisition

// Recording is a named interval of a rig's record. Its planned slots come from
// the schedule between Start and Stop, whatever the service did in between.
type Recording struct {
	ID     string            `json:"id"` // UTC start-rig-random, unique without coordination
	Rig    string            `json:"rig"`
	Groups []string          `json:"groups"`
	Owner  string            `json:"owner,omitempty"`
	Note   string            `json:"note,omitempty"`
	Start  int64             `json:"start"`          // Unix ns
	Stop   int64             `json:"stop,omitempty"` // Unix ns, 0 while it is open
	End    string            `json:"end,omitempty"`  // how it ended: completed, aborted by ...
	Detail map[string]string `json:"detail,omitempty"`
}

// Event is something that happened to a rig or the service and belongs to the
// record: a clock step, a reconnect, an amendment, a device restart.
type Event struct {
	Time   int64  `json:"time"` // Unix ns
	Rig    string `json:"rig,omitempty"`
	Group  string `json:"group,omitempty"`
	Code   string `json:"code"`   // stable, for example "clock_step", "bus_down", "bus_up"
	Detail string `json:"detail"` // for people, English
}
