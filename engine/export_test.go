package engine

import (
	"math"
	"testing"
)

// Parked reports whether the engine sleeps. Once it does, and nobody signals it,
// it makes no cycle until a descriptor or its timer ends that.
func (e *Engine) Parked() bool { return e.parked.Load() != awake }

// QueuedCommands returns how many functions wait for the engine's thread.
func (e *Engine) QueuedCommands() int { return len(e.commands) }

// NeverTryByTheClock has engines that start from now on sleep until a
// descriptor ends it.
func NeverTryByTheClock(t testing.TB) {
	poll, space := pollLimit, spaceLimit
	pollLimit, spaceLimit = math.MaxInt64/4, math.MaxInt64/4
	t.Cleanup(func() { pollLimit, spaceLimit = poll, space })
}
