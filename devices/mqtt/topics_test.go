package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/mqtt"
)

func TestTopicsShowWhatCame(t *testing.T) {
	h, err := mqtt.NewHarness(mqtt.Options{Groups: []mqtt.GroupOptions{{
		Group: acquisition.Group{Rig: "r", Name: "g", Measurement: "m", Period: time.Second}, Topics: []string{"rig/a"},
		Channels: []mqtt.ChannelOptions{{Channel: acquisition.Channel{ID: "p", Name: "p"}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	h.Feed(mqtt.Fed{Topic: "rig/a", Payload: []byte("1.5"), Arrival: 1700000000e9})
	h.Feed(mqtt.Fed{Topic: "rig/a", Payload: []byte(strings.Repeat("9", 4000)), Arrival: 1700000001e9})
	h.Feed(mqtt.Fed{Topic: "elsewhere", Payload: []byte("x"), Arrival: 1700000002e9})
	got := h.C.Topics()
	if len(got) != 2 || got[0].Topic != "elsewhere" || got[1].Topic != "rig/a" {
		t.Fatalf("topics %+v", got)
	}
	if a := got[1]; a.Count != 2 || a.Last != 1700000001e9 || a.Bytes != 4000 || len(a.Excerpt) != 120 {
		t.Errorf("rig/a: %d messages, last %d, %d bytes, excerpt of %d", a.Count, a.Last, a.Bytes, len(a.Excerpt))
	}
}
