package metrics

import (
	"runtime"
	"sync/atomic"
)

// Counter only grows, modulo 2^64. One goroutine adds; any may call Value.
type Counter struct {
	word *uint64
	mem  *memory
}

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	add(c.word, n)
	// The mapping under word is unmapped when the last instrument in it is
	// unreachable; keep this one reachable past the store. It costs nothing.
	runtime.KeepAlive(c)
}

// Value returns the count.
func (c *Counter) Value() uint64 {
	v := atomic.LoadUint64(c.word)
	runtime.KeepAlive(c)
	return v
}

// SharedCounter is a counter that any number of goroutines add to at once. An
// uncontended add costs two to five times one of [Counter], a contended one
// fifty to a hundred times; prefer a Counter per [Writer] on a hot path.
type SharedCounter struct {
	word *uint64
	mem  *memory
}

// Inc adds one.
func (c *SharedCounter) Inc() { c.Add(1) }

// Add adds n.
func (c *SharedCounter) Add(n uint64) {
	atomic.AddUint64(c.word, n)
	runtime.KeepAlive(c)
}

// Value returns the count.
func (c *SharedCounter) Value() uint64 {
	v := atomic.LoadUint64(c.word)
	runtime.KeepAlive(c)
	return v
}

// Gauge is a level that goes up and down: a queue's length, bytes in use. One
// goroutine sets it; any may call Value.
type Gauge struct {
	word *uint64 // two's complement
	mem  *memory
}

// Set replaces the level.
func (g *Gauge) Set(v int64) {
	store(g.word, uint64(v))
	runtime.KeepAlive(g)
}

// Add changes the level by d, which may be negative.
func (g *Gauge) Add(d int64) {
	add(g.word, uint64(d))
	runtime.KeepAlive(g)
}

// Value returns the level.
func (g *Gauge) Value() int64 {
	v := atomic.LoadUint64(g.word)
	runtime.KeepAlive(g)
	return int64(v)
}
