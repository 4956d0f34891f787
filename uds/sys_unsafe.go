package uds

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// golang.org/x/sys/unix has no recv(2) or send(2) with flags that neither
// allocates nor insists on an address, so the two calls of the data phase are
// made here. Both never block, whatever the descriptor's own flags.

// recv reads into b, which must not be empty, with MSG_DONTWAIT and flags.
func recv(fd int, b []byte, flags int) (int, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), uintptr(unix.MSG_DONTWAIT|flags), 0, 0)
	return int(n), e
}

// send writes b, which must not be empty, and raises no SIGPIPE.
func send(fd int, b []byte) (int, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}
