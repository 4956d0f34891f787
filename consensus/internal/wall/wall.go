// Package wall is the wall clock, by which the log's time is told. Tests may
// have it jump.
package wall

import (
	"sync/atomic"
	"time"
)

var ahead atomic.Int64

// Now is the time that this process believes.
func Now() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }

// Jump sets how far this process's wall clock is ahead of the host's; negative
// is behind. It is for tests.
func Jump(d time.Duration) { ahead.Store(int64(d)) }
