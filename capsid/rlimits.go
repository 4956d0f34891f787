package capsid

import (
	"time"

	"golang.org/x/sys/unix"
)

// rlimits returns the resource limits of one process. Limits of the node that
// are lower already stay as they are.
func (l Limits) rlimits() []rlimit {
	var all []rlimit
	add := func(resource int, n uint64) {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err == nil {
			n = min(n, now.Max)
		}
		all = append(all, rlimit{uint32(resource), n, n})
	}
	add(unix.RLIMIT_CORE, 0) // a core file would hold what others sent to the cell
	add(unix.RLIMIT_NOFILE, uint64(l.OpenFiles))
	add(unix.RLIMIT_MEMLOCK, uint64(l.Locked))
	add(unix.RLIMIT_MSGQUEUE, 0)
	if l.FileSize > 0 {
		add(unix.RLIMIT_FSIZE, uint64(l.FileSize))
	}
	if l.CPUTime > 0 {
		// SIGXCPU at the soft limit ends a program that does not catch it,
		// SIGKILL a second later one that does.
		n := uint64((l.CPUTime + time.Second - 1) / time.Second)
		all = append(all, rlimit{unix.RLIMIT_CPU, n, n + 1})
	}
	return all
}

// substitutes stand for the limits of control groups that can't be had
// (Missing).
func (l Limits) substitutes() (all []rlimit) {
	if l.Memory > 0 {
		all = append(all, rlimit{unix.RLIMIT_AS, uint64(l.Memory), uint64(l.Memory)})
	}
	if l.Processes > 0 {
		all = append(all, rlimit{unix.RLIMIT_NPROC, uint64(l.Processes), uint64(l.Processes)})
	}
	return all
}
