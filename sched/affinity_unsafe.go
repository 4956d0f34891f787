package sched

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// get reads the calling thread's mask. The kernel writes as many bytes as its own
// masks have, and refuses a shorter buffer.
func (a *affinity) get() error {
	if _, _, e := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(*a), uintptr(unsafe.Pointer(a))); e != 0 {
		return e
	}
	return nil
}

// apply makes it the calling thread's. The kernel ignores what is longer than its
// own masks.
func (a *affinity) apply() error {
	if _, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(*a), uintptr(unsafe.Pointer(a))); e != 0 {
		return e
	}
	return nil
}
