package ring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// readNoWait reads into b, which is not empty, and never blocks, whatever the
// flags of the open file: preadv2(2) with RWF_NOWAIT. unix.Preadv2 would
// allocate.
func readNoWait(fd int, b []byte) unix.Errno {
	into := unix.Iovec{Base: unsafe.SliceData(b)}
	into.SetLen(len(b))
	const here = ^uintptr(0) // offset -1: where the file stands, as read does
	_, _, e := unix.Syscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&into)), 1, here, here, unix.RWF_NOWAIT)
	return e
}
