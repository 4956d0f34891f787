package sched

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// monotonicBase ties Go's monotonic clock, of which only differences can be
// had, to the CLOCK_MONOTONIC that other processes read.
var monotonicBase = newMonotonicBase()

type monotonic struct {
	start time.Time
	at    int64 // CLOCK_MONOTONIC at start, in nanoseconds
}

// newMonotonicBase reads both clocks as close together as it can. The pair
// with the least time between two readings of the one has the least error.
func newMonotonicBase() monotonic {
	m := monotonic{start: time.Now()}
	tightest := time.Duration(math.MaxInt64)
	for range 8 {
		var ts unix.Timespec
		before := time.Since(m.start)
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			return m
		}
		after := time.Since(m.start)
		if after-before < tightest {
			tightest = after - before
			m.at = ts.Nano() - int64(before+after)/2
		}
	}
	return m
}

// Now returns nanoseconds of CLOCK_MONOTONIC: never going back, the same on
// all cores, steered to the rate of real time, standing still in suspend. Two
// processes on one host (in one time namespace) agree to within a microsecond,
// so a deadline or a heartbeat may be shared through memory.
//
// It makes no system call where the kernel's clock source can be read from
// user space (the finding host.clocksource says whether), and allocates
// nothing. It costs as much as Go's own runtime clock, about half of time.Now,
// which reads the wall clock besides. For intervals of less than a
// microsecond see [Ticks].
func Now() int64 {
	return monotonicBase.at + int64(time.Since(monotonicBase.start))
}
