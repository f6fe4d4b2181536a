// Package configs reads the files that a person writes, rig, model, wire,
// instrument and service, checks them, explains what is wrong in them, and
// turns them into the options of the other packages.
//
// # Files
//
// Every file is YAML with version: 1 and one kind of content, told by its
// leading key: rig, model, wire, instrument or service. Reading is strict: an
// unknown key, a key given twice, a number with a leading zero, a wrong type
// are problems with file, line and column, the nearest valid key and what to
// write instead. A file is at most [MaxFile] bytes and [MaxLines] lines; aliases may expand to at
// most [MaxNodes] nodes. Secrets are never in YAML: token_file, password_file
// and the environment carry them.
//
// # Numbers and units
//
// The value of a register is number · scale + offset in register_unit; without
// register_unit, in the channel's unit. Where both are given and differ, the
// reader converts: they must be of one dimension, and gauge, absolute and
// differential pressure are three. A device's entry says under units what a
// person has set on the device where its model leaves that open.
//
// # The twin
//
// What stands behind a device under simulate comes from the device's model or
// from a wire file, never from the channels: a wrong address, table, type,
// order, scale or unit of a channel shows as a wrong figure on the twin.
package configs
