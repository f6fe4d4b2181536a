// Package storage is the embedded store: samples in append-only segment files,
// everything relational in a catalog, and the way out to the sinks.
//
// Collectors append to open blocks in memory. One committer takes them at a
// tick, numbers them and makes them durable with one write and one sync for
// all groups. A block that has been committed never changes; readers share it.
// DESIGN.md beside this file has the assumptions, the byte tables, the crash
// cases and the limits.
package storage
