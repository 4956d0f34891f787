package sched

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxPinned is how many CPUs a mask has room for: as many as any kernel can be
// built for (CONFIG_NR_CPUS). unix.CPUSet ends at 1,024.
const maxPinned = 8192

// affinity is a mask as sched_setaffinity(2) takes it, of any length.
type affinity [maxPinned / wordBits]uintptr

const wordBits = 32 << (^uintptr(0) >> 63)

func (a *affinity) set(cpu int)      { a[cpu/wordBits] |= 1 << (cpu % wordBits) }
func (a *affinity) has(cpu int) bool { return a[cpu/wordBits]&(1<<(cpu%wordBits)) != 0 }

// Pin binds the calling OS thread to one CPU. The caller has locked the
// goroutine to its thread ([runtime.LockOSThread]) and keeps it so: Go would
// otherwise move the goroutine away and leave the mask on a thread that serves
// others. The thread is on the CPU when Pin returns.
//
// undo gives the thread its former mask back; it is called on the same thread
// and may be left out where the thread ends anyway.
//
// No privilege is needed, for isolated CPUs neither. The error wraps [ErrCPU]
// for a CPU that is offline, does not exist or lies outside the cpuset, and
// [ErrPrivilege] where a sandbox forbids the call.
func Pin(cpu int) (undo func(), err error) {
	var old, mask affinity
	if cpu < 0 || cpu >= maxPinned {
		return nil, fmt.Errorf("%w: can't pin to CPU %d: numbers from 0 to %d can be asked for", ErrCPU, cpu, maxPinned-1)
	}
	if err := old.get(); err != nil {
		return nil, fmt.Errorf("%w: reading the thread's affinity: %w", ErrNotSupported, err)
	}
	mask.set(cpu)
	if err := mask.apply(); err != nil {
		return nil, pinError(cpu, err)
	}
	return func() { _ = old.apply() }, nil
}

func pinError(cpu int, err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: can't pin to CPU %d: it is offline, does not exist or is outside the cpuset; "+
			"choose one of Topology.Usable, or widen the cpuset (cpuset.cpus of the cgroup, --cpuset-cpus of the container): %w",
			ErrCPU, cpu, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: can't pin to CPU %d: a seccomp filter forbids sched_setaffinity; allow it in the profile: %w",
			ErrPrivilege, cpu, err)
	}
	return fmt.Errorf("sched: pinning to CPU %d: %w", cpu, err)
}

// Pinned returns the CPUs that the calling OS thread may run on.
func Pinned() (CPUSet, error) {
	var mask affinity
	if err := mask.get(); err != nil {
		return CPUSet{}, fmt.Errorf("%w: reading the thread's affinity: %w", ErrNotSupported, err)
	}
	var s CPUSet
	for id := range maxPinned {
		if mask.has(id) {
			s.add(id)
		}
	}
	return s, nil
}
