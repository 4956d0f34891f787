package measure

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ownCPU returns the processor time that this process has used, user and
// system: what getrusage sums up, in nanoseconds instead of its steps.
func ownCPU() (time.Duration, error) { return cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID) }

// cpuOf returns that of another process. It reads the clock that
// clock_getcpuclockid(3) names, so that the process itself is not disturbed
// while it is measured.
func cpuOf(pid int) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers_types.h.
	return cpuClock(int32(^pid<<3 | 2))
}

func cpuClock(clock int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("reading a process's CPU time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
