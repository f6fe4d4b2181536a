// Package mqtt receives what devices publish through a broker and turns it
// into scans: which payload became which numbers of which slot, what is
// missing, and what to acknowledge once all of it is durable.
//
// # From a message to a slot
//
// A group is what one device publishes for one purpose. Its messages pass the
// framing guard (nothing larger than the limit is ever read into memory), a
// bounded queue, the decoder of the group's payload format, and the group's
// track, which puts messages in order, drops what came twice, counts what is
// missing and gives every sample its slot:
//
//   - a sequence number in the payload: slot = number · samples + index;
//   - the sample clock (time of the first sample and distance of samples)
//     alone: slot = time / distance, counted on from message to message with
//     the clock's drift fitted, so that a clock that is 50 ppm off does not
//     make up or hide a sample in a day;
//   - neither: slots count messages, and completeness cannot be proved.
//
// A device whose numbers begin again opens a new epoch. Messages out of order
// wait for their predecessors within a window; what comes later still is
// delivered as backfill with quality late, over the gap that was written.
//
// # Acknowledgement
//
// A message is acknowledged when every delivery that it went into is
// committed, in the order of arrival, by a goroutine of its own: whoever calls
// Delivery.Ack never waits for the broker. The session is persistent, so what
// was not acknowledged comes again; it is recognised by its mark (packet id,
// session, hash of topic and payload), or by its number or time, and then
// acknowledged behind the commit that holds its first delivery.
package mqtt
