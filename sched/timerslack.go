package sched

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// SetTimerSlack sets by how much the kernel may delay the timed sleeps of the
// calling OS thread in order to save wake-ups; the default is 50 µs, the least
// 1 ns. The caller has locked the goroutine to its thread. undo restores the
// former value, on the same thread. It matters to nanosleep, futex and poll
// timeouts on this thread, and not to time.Sleep, which the Go runtime serves
// from others. Real-time threads have none anyway.
//
// Source: PR_SET_TIMERSLACK(2const).
func SetTimerSlack(d time.Duration) (undo func(), err error) {
	if d < 1 {
		return nil, fmt.Errorf("sched: timer slack of %v: the least is 1ns: %w", d, unix.EINVAL)
	}
	old, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the timer slack: %w", ErrNotSupported, err)
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d), 0, 0, 0); err != nil {
		return nil, fmt.Errorf("%w: setting the timer slack: %w", ErrNotSupported, err)
	}
	return func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(old), 0, 0, 0) }, nil
}
