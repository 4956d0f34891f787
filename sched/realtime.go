package sched

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Priorities of [SetFIFO].
const (
	MinFIFO = 1
	MaxFIFO = 99
)

// SetFIFO gives the calling OS thread the real-time policy SCHED_FIFO with a
// priority from [MinFIFO] to [MaxFIFO]: no ordinary thread runs on its core
// while it wants to. The caller has locked the goroutine to its thread. undo
// gives the former policy back, on the same thread. Threads that it starts do
// not inherit the policy.
//
// Think twice for a thread that spins: the kernel reserves 5 % of each second
// for others (the finding rt.throttling), which comes as one pause of 50 ms,
// far worse than what SCHED_OTHER costs on a quiet core. On a core that
// nothing else uses it gains little; on a shared one it starves the kernel's
// own threads. It suits threads that sleep and have to wake on time.
//
// The error wraps [ErrPrivilege] without CAP_SYS_NICE and without a sufficient
// RLIMIT_RTPRIO.
//
// Source: sched(7).
func SetFIFO(priority int) (undo func(), err error) {
	if priority < MinFIFO || priority > MaxFIFO {
		return nil, fmt.Errorf("sched: SCHED_FIFO priority %d is outside %d to %d: %w", priority, MinFIFO, MaxFIFO, unix.EINVAL)
	}
	old, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the thread's policy: %w", ErrNotSupported, err)
	}
	attr := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: uint32(priority),
	}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return nil, fifoError(priority, err)
	}
	return func() { _ = unix.SchedSetAttr(0, old, 0) }, nil
}

func fifoError(priority int, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: SCHED_FIFO %d needs CAP_SYS_NICE (setcap cap_sys_nice+ep PROGRAM, AmbientCapabilities=CAP_SYS_NICE) "+
			"or RLIMIT_RTPRIO of at least %d (LimitRTPRIO=%d in a systemd unit, rtprio in limits.conf); where it is there already, "+
			"the cgroup has no real-time budget (cpu.rt_runtime_us of version 1): %w", ErrPrivilege, priority, priority, priority, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: SCHED_FIFO: this kernel or sandbox has no sched_setattr: %w", ErrNotSupported, err)
	}
	return fmt.Errorf("sched: setting SCHED_FIFO %d: %w", priority, err)
}
