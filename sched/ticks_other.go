//go:build !amd64 && !arm64

package sched

const counterName = "monotonic"

func detectCounter() (ok bool, why string) {
	return false, "no counter is read on this architecture"
}

func counterHz() uint64 { return 0 }

// Ticks reads [Now] on this architecture; see the amd64 and arm64 version for
// what holds there. Convert differences with [TicksToNanos].
func Ticks() uint64 { return uint64(Now()) }

// TicksRelaxed is [Ticks] on this architecture.
func TicksRelaxed() uint64 { return uint64(Now()) }
