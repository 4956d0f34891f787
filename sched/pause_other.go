//go:build !amd64 && !arm64

package sched

// Pause tells the processor that the caller is spinning. This architecture
// has no instruction for it, so it does nothing.
func Pause() {}
