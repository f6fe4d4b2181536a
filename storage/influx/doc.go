// Package influx delivers blocks to InfluxDB: 1.8 as installed, 2.x, and every
// other server of the v2 write API with nanosecond times.
//
// One scan is one line: the group's measurement, the tags site, rig and group,
// a float field for each channel and, only where a sample is not good, a string
// field <channel>__q with the name of the reason. A bad sample has no value
// field. Gaps are lines of the measurement pneudaq_gap. A line that is sent
// again overwrites itself, so delivery at least once gives content exactly once.
//
// [Sink.Write] is one blocking request for each batch. Each answer of a server
// has one meaning here, see [HoldError], [RetryError] and
// [pneudaq/acquisition.Refused].
package influx
