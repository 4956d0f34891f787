package ring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of golang.org/x/sys for these would allocate, or tell the
// scheduler that a system call begins that may take its time. These don't.

// rawSendByte sends a packet of one byte; an empty one would read as an end.
func rawSendByte(fd int) unix.Errno {
	b := [1]byte{1}
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return e
}

// receiveByte takes one packet off the queue and returns its length.
func receiveByte(fd int) (int, unix.Errno) {
	var b [1]byte
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1, unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}
