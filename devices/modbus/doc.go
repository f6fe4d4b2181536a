// Package modbus reads and writes devices that speak Modbus: TCP, TLS
// (Modbus/TCP Security), RTU over TCP and RTU on a serial line.
//
// A [Bus] is one connection, owned by one goroutine. [Plan] turns the channels
// of its groups into few requests; [Bus.Poll] sends the requests of one group
// and puts the words of the answers where the plan says. Frames are coded by
// the packagers of github.com/goburrow/modbus; single requests (writes, probing)
// use its Client. What carries them is our own: goburrow's transporters lose
// step after one late answer and take another register's value on RTU.
//
// A [Burst] reads what devices sampled themselves into queues and rings. [Probe]
// and [Discover] find out what answers at an endpoint.
//
// What is promised: a word is never taken from an answer that does not belong
// to its request. On TCP the transaction id decides, then unit, function and
// byte count. RTU has no transaction id: the line is emptied before every
// request, unit, function, byte count and check sum must fit, and after a
// request that got no answer no request with an answer of the same shape goes
// to that unit until the late answer was seen or [Options.Late] has passed.
//
// Standards: MODBUS Application Protocol Specification V1.1b3, MODBUS over
// Serial Line V1.02, MODBUS Messaging on TCP/IP V1.0b, MODBUS/TCP Security.
package modbus
