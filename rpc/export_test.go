package rpc

import (
	"testing"
	"time"
)

// NeverTryByTheClock has connections sleep until a descriptor ends it.
func NeverTryByTheClock(t testing.TB) {
	most, pace := parkMost, unflushedPace
	parkMost, unflushedPace = time.Hour, time.Hour
	t.Cleanup(func() { parkMost, unflushedPace = most, pace })
}
