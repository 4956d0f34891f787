// Package engine runs the duty cycle of Cell: one engine owns one OS thread,
// optionally pinned to a core, polls any number of links for bounded batches,
// runs the handlers of what arrived to completion, flushes, and idles by
// strategy.
//
//	┌──────────────────────── one duty cycle ────────────────────────┐
//	│ commands? ─ hot links ─ a few cold links ─ flush ─ clock ─ idle│
//	└─ one load    a batch      rotation         dirty   timers,  ───┘
//	               each                          links   housekeeping
//
// Handlers run on the engine's thread, one at a time, and must not block:
// while one runs, every other link of the engine waits. A [Port] is a link's
// place in an engine and what a handler answers through. Other goroutines reach
// the thread through [Engine.Do] and [Engine.Post].
//
// In steady state a cycle allocates nothing and takes no lock; with [IdleSpin]
// it makes no system call either while every link is busy, and one every
// 500 µs while some link is silent (the look for peers that died).
//
// docs/ENGINE.md has the reasons, the bounds and the latencies.
package engine
