package ring

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of futex(2), which golang.org/x/sys does not name. Without
// FUTEX_PRIVATE_FLAG they reach across processes.
const (
	futexWait = 0
	futexWake = 1
)

// sleepOnWord sleeps until wakeSleepersOn(word), but not if *word differs from
// want, and at most for d. It may wake for no reason.
func sleepOnWord(word *uint32, want uint32, d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	// Not RawSyscall: the scheduler must know that this thread sleeps.
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(want), uintptr(unsafe.Pointer(&t)), 0, 0)
}

// wakeSleepersOn wakes all who sleep on word. It never blocks.
func wakeSleepersOn(word *uint32) {
	const all = 1<<31 - 1
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, all, 0, 0, 0)
}
