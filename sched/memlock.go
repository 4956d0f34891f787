package sched

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// capIPCLock lifts RLIMIT_MEMLOCK; <linux/capability.h>.
const capIPCLock = 14

// Lock touches every page of b, which is mapped memory such as a ring, and
// keeps it in RAM: no later access faults or waits for swap. undo takes that
// back; unmapping does so too. b may be of any alignment; whole pages are
// locked. It counts against RLIMIT_MEMLOCK; the error wraps [ErrPrivilege]
// where that does not suffice.
//
// Source: mlock(2).
func Lock(b []byte) (undo func(), err error) {
	if len(b) == 0 {
		return func() {}, nil
	}
	if err := unix.Mlock(b); err != nil {
		return nil, lockError(fmt.Sprintf("%d bytes", len(b)), err)
	}
	return func() { _ = unix.Munlock(b) }, nil
}

// LockAll keeps in RAM every page that the process has touched or will touch,
// until undo is called. Pages are locked as they are touched (MCL_ONFAULT), so
// that the large address ranges which Go reserves cost nothing.
//
// It is refused, with [ErrPrivilege], unless locked memory is unlimited for
// the process (CAP_IPC_LOCK or RLIMIT_MEMLOCK infinite). Under a finite limit
// it could succeed now, and the Go runtime would be killed later by an
// allocation that the kernel refuses.
//
// Source: mlockall(2).
func LockAll() (undo func(), err error) {
	limit, err := Local().MemlockLimit()
	if err != nil {
		return nil, err
	}
	if !limit.Unlimited() {
		return nil, lockError(fmt.Sprintf("everything under a limit of %d bytes", limit.Bytes), unix.EPERM)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return nil, lockError("everything", err)
	}
	return func() { _ = unix.Munlockall() }, nil
}

func lockError(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN):
		limit := "unknown"
		if l, errLimit := Local().MemlockLimit(); errLimit == nil {
			limit = strconv.FormatUint(l.Bytes, 10) + " bytes"
		}
		return fmt.Errorf("%w: can't lock %s in memory, RLIMIT_MEMLOCK is %s; raise it (ulimit -l unlimited, LimitMEMLOCK=infinity "+
			"in a systemd unit, --ulimit memlock=-1 of a container) or grant CAP_IPC_LOCK: %w", ErrPrivilege, what, limit, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: locking memory: %w", ErrNotSupported, err)
	}
	return fmt.Errorf("sched: locking %s in memory: %w", what, err)
}

// MemlockLimit is how much memory a process may lock.
type MemlockLimit struct {
	Bytes      uint64 // RLIMIT_MEMLOCK, soft; MaxUint64 for infinity
	Privileged bool   // CAP_IPC_LOCK: the limit does not apply
}

// Unlimited reports whether any amount may be locked.
func (l MemlockLimit) Unlimited() bool { return l.Privileged || l.Bytes == unix.RLIM_INFINITY }

// MemlockLimit reads the limit of the process from /proc/self.
func (h *Host) MemlockLimit() (MemlockLimit, error) {
	l := MemlockLimit{Privileged: h.capable(capIPCLock)}
	soft := limitSoft(h.str("proc/self/limits"), "Max locked memory")
	if soft == "unlimited" {
		l.Bytes = unix.RLIM_INFINITY
		return l, nil
	}
	n, err := strconv.ParseUint(soft, 10, 64)
	if err != nil && !l.Privileged {
		return MemlockLimit{}, fmt.Errorf("%w: /proc/self/limits does not tell the limit of locked memory", ErrNotSupported)
	}
	l.Bytes = n
	return l, nil
}

// capable reports whether the process has an effective capability.
func (h *Host) capable(capability uint) bool {
	mask, err := strconv.ParseUint(field(h.str("proc/self/status"), "CapEff"), 16, 64)
	return err == nil && mask&(1<<capability) != 0
}
