package afxdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// readNow receives a datagram into b, which is not empty, or returns EAGAIN. Raw:
// it never blocks, and who spins calls it often enough to notice what telling
// Go's scheduler costs.
func readNow(sock int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(sock), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
