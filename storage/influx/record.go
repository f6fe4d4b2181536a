package influx

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"pneudaq/acquisition"
)

// The measurements beside those of groups. Names with the prefix pneudaq_ are
// reserved.
const (
	EventMeasurement   = "pneudaq_event"
	GatewayMeasurement = "pneudaq_gateway"
	RunMeasurement     = "pneudaq_run"
)

// AppendEvent appends an event as a line: tags site, rig, group, code; field
// detail; the event's time.
func AppendEvent(dst []byte, site string, e acquisition.Event) []byte {
	dst = appendHead(dst, EventMeasurement, map[string]string{"site": site, "rig": e.Rig, "group": e.Group, "code": e.Code})
	dst = append(dst, " detail="...)
	dst = appendString(dst, e.Detail)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, e.Time, 10)
	return append(dst, '\n')
}

// AppendGateway appends the state of a gateway as a line: tags site, rig,
// gateway; one float field for each figure that is a number and one string
// field for each text. It appends nothing when there is no field. Time in Unix
// ns.
func AppendGateway(dst []byte, site, rig, gateway string, figures map[string]float64, texts map[string]string, at int64) []byte {
	start := len(dst)
	dst = appendHead(dst, GatewayMeasurement, map[string]string{"site": site, "rig": rig, "gateway": gateway})
	return appendFields(dst, start, figures, texts, at)
}

// AppendRun appends what is known of a recording as a line: tags site, rig;
// fields id, owner, note, end, stop (Unix ns, 0 while it is open) and its
// details; the line's time is its start, so that a later line of the same
// recording replaces the earlier.
func AppendRun(dst []byte, site string, r acquisition.Recording) []byte {
	start := len(dst)
	texts := map[string]string{}
	for k, v := range r.Detail {
		texts["detail_"+k] = v
	}
	texts["id"], texts["owner"], texts["note"], texts["end"] = r.ID, r.Owner, r.Note, r.End
	dst = appendHead(dst, RunMeasurement, map[string]string{"site": site, "rig": r.Rig})
	dst = append(dst, " stop="...)
	dst = strconv.AppendInt(dst, r.Stop, 10)
	dst = append(dst, 'i')
	for _, k := range slices.Sorted(maps.Keys(texts)) {
		dst = append(dst, ',')
		dst = appendKey(dst, k)
		dst = append(dst, '=')
		dst = appendString(dst, texts[k])
	}
	return appendFields(dst, start, nil, nil, r.Start)
}

// appendFields ends the line that began at start; without any field it takes
// the line back.
func appendFields(dst []byte, start int, figures map[string]float64, texts map[string]string, at int64) []byte {
	separator := byte(' ')
	if figures == nil && texts == nil {
		separator = ','
	}
	for _, k := range slices.Sorted(maps.Keys(figures)) {
		if v := figures[k]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			dst = append(dst, separator)
			dst = appendKey(dst, k)
			dst = append(dst, '=')
			dst = appendFloat(dst, v)
			separator = ','
		}
	}
	for _, k := range slices.Sorted(maps.Keys(texts)) {
		dst = append(dst, separator)
		dst = appendKey(dst, k)
		dst = append(dst, '=')
		dst = appendString(dst, texts[k])
		separator = ','
	}
	if separator == ' ' {
		return dst[:start]
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, at, 10)
	return append(dst, '\n')
}
