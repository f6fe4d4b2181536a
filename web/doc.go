// Package web is the live page and its API: everything that a person or a
// command does with a running service goes through it, and nothing else opens
// a listener.
//
// The package knows the words of acquisition and nobody else. What it shows and
// does comes through the small interfaces of backend.go; whoever wires the
// program provides them. [Hub] takes committed blocks, which it may drop, and
// never holds up the store.
//
// Access is closed by default. The server binds to loopback, prints a URL with
// a token that works once and becomes a session cookie, checks the Host name
// against a list (DNS rebinding), refuses writes from other origins, and gives
// every request a limit in bytes and in time. On any other address it demands
// TLS or an explicit word, and a login.
package web
