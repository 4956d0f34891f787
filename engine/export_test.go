package engine

import (
	"math"
	"testing"
)

// NeverTryByTheClock has engines that start from now on sleep until a
// descriptor ends it.
func NeverTryByTheClock(t testing.TB) {
	poll, space := pollLimit, spaceLimit
	pollLimit, spaceLimit = math.MaxInt64/4, math.MaxInt64/4
	t.Cleanup(func() { pollLimit, spaceLimit = poll, space })
}
