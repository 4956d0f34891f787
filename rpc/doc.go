// Package rpc makes typed calls over any [link.Link]: unary, one-way, streams
// with credits, and topics. Generated code (cmd/cellgen) gives it types; this
// package knows methods by their fingerprints and messages as bytes that are
// written and read in place.
//
//	caller ─ generated client ─ Conn or AsyncConn ─ link ─ engine ─ Server ─ generated glue ─ handler
//
// A client comes in two forms. A [Conn] is *caller-driven*: an ordinary
// goroutine makes a blocking call and polls the link itself while it waits; no
// engine and no other goroutine stand between it and the answer. An
// [AsyncConn] is *engine-driven*: it belongs to the thread of an
// [engine.Engine], calls are started there and completed by callbacks there,
// and nothing is allocated, locked or copied on the way.
//
// A [Server] serves any number of links on any number of engines. Handlers are
// *inline*, which run on the engine's thread over views of the request and
// write the reply into the link's memory, or *blocking*, which run on a
// bounded pool of goroutines with a request of their own.
//
// Every call ends in exactly one way: with a reply, or with an error that
// [errors.Is] compares with a [wire.Status] on both sides. docs/RPC.md has the
// costs, the statuses, who owns which memory until when, and the limits.
package rpc
