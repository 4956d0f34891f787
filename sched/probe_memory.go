package sched

import (
	"fmt"
	"strings"
)

// wantedLock is the amount of lockable memory below which rings of a common
// size do not fit.
const wantedLock = 64 << 20

// memlock checks how much memory can be kept from being swapped.
func (p probe) memlock() Finding {
	f := Finding{ID: "mem.memlock"}
	l, err := p.MemlockLimit()
	switch {
	case err != nil:
		f.Severity, f.What, f.Evidence = Info, "the limit of locked memory can't be seen from here", err.Error()
		return f
	case l.Privileged:
		f.What, f.Evidence = "any amount of memory can be locked", "CAP_IPC_LOCK in CapEff of /proc/self/status"
		return f
	case l.Unlimited():
		f.What, f.Evidence = "any amount of memory can be locked", "RLIMIT_MEMLOCK is unlimited"
		return f
	}
	f.Evidence = fmt.Sprintf("RLIMIT_MEMLOCK is %d bytes, no CAP_IPC_LOCK", l.Bytes)
	f.What = fmt.Sprintf("%d MiB can be locked, but not the whole process", l.Bytes>>20)
	f.Severity = Info
	f.Fix = "ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 of a container, or CAP_IPC_LOCK"
	if l.Bytes < wantedLock {
		f.Severity = Warning
		f.What = fmt.Sprintf("only %d KiB of memory can be locked: larger rings may be swapped out", l.Bytes>>10)
	}
	return f
}

// hugePages checks for the kernel's background merging of pages.
func (p probe) hugePages() Finding {
	f := Finding{ID: "mem.thp"}
	const dir = "sys/kernel/mm/transparent_hugepage/"
	enabled, defrag := chosen(p.str(dir+"enabled")), chosen(p.str(dir+"defrag"))
	f.Evidence = fmt.Sprintf("/%senabled is %q, defrag is %q", dir, enabled, defrag)
	switch {
	case enabled == "":
		f.What = "this kernel has no transparent huge pages"
	case enabled != "always":
		f.What = "huge pages are given only to who asks for them"
	case defrag == "always":
		f.Severity = Warning
		f.What = "a page fault may stop to compact memory into huge pages, for milliseconds"
		f.Fix = fmt.Sprintf("echo madvise > /%senabled; echo defer+madvise > /%sdefrag", dir, dir)
	default:
		f.Severity = Info
		f.What = "the kernel merges pages of all processes in the background, and pauses their threads to do so"
		f.Fix = fmt.Sprintf("echo madvise > /%senabled", dir)
	}
	return f
}

// numaBalancing checks for the kernel's migration of pages between nodes.
func (p probe) numaBalancing() Finding {
	f := Finding{ID: "mem.numa_balancing"}
	const file = "proc/sys/kernel/numa_balancing"
	value, ok := p.integer(file)
	f.Evidence = fmt.Sprintf("/%s is %d, %d nodes with CPUs", file, value, len(p.t.Nodes))
	switch {
	case !ok:
		f.What = "this kernel does not move pages between NUMA nodes by itself"
		f.Evidence = fmt.Sprintf("no /%s", file)
	case value == 0:
		f.What = "the kernel does not move pages between NUMA nodes by itself"
	case len(p.t.Nodes) < 2:
		f.What = "there is one NUMA node, so no pages are moved"
	default:
		f.Severity = Warning
		f.What = "the kernel unmaps pages to see who uses them: each costs its next user a fault of some µs"
		f.Fix = "sysctl -w kernel.numa_balancing=0"
	}
	return f
}

// swap checks that memory stays in memory.
func (p probe) swap() Finding {
	f := Finding{ID: "mem.swap"}
	var areas []string
	for i, line := range strings.Split(p.str("proc/swaps"), "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 0 { // the first is a heading
			areas = append(areas, fields[0])
		}
	}
	if len(areas) == 0 {
		f.What, f.Evidence = "nothing can be swapped out", "/proc/swaps lists no area"
		return f
	}
	f.Severity = Warning
	f.What = "memory that is not locked may be swapped out; the next touch waits for a disk or a decompression"
	f.Evidence = fmt.Sprintf("/proc/swaps: %s; vm.swappiness %s", strings.Join(areas, ", "), p.str("proc/sys/vm/swappiness"))
	if mine := field(p.str("proc/self/status"), "VmSwap"); mine != "" {
		f.Evidence += "; of this process " + mine
	}
	f.Fix = "swapoff -a, memory.swap.max = 0 for the group, or lock the memory (Lock, LockAll)"
	return f
}
