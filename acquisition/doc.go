// Package acquisition holds the words of the product and the loop from bus to
// block. It knows nobody: every other package depends on it and it depends on
// the standard library alone.
//
// A source ([Poller] or [Receiver]) fills a [Scan] with what the wire said. A
// [Collector] owns one bus: it keeps the [Schedule], stamps, reconnects, and
// appends each scan to the open block ([Open]) of its group. The store takes
// the open blocks at its tick, numbers them and commits them; from then on a
// [Block] is immutable and carries its own account of what is missing.
//
// Times are Unix nanoseconds (int64) unless a name says otherwise.
package acquisition
