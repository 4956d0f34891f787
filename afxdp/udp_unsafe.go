package afxdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of <sys/socket.h>; see recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// mmsgBatch is the argument of sendmmsg(2) and recvmmsg(2). Its pointers are
// typed, so that the garbage collector sees what the kernel is to read; none of
// them is used by the kernel after the call.
type mmsgBatch struct {
	headers [sendBatch]mmsghdr
	vectors [sendBatch]unix.Iovec
}

var _ = [1]struct{}{}[sendBatch-receiveBatch]

// set makes b, which is not empty, the memory of message i.
func (m *mmsgBatch) set(i int, b []byte) {
	m.vectors[i].Base = &b[0]
	m.vectors[i].SetLen(len(b))
	m.headers[i].header.Iov = &m.vectors[i]
	m.headers[i].header.SetIovlen(1)
	m.headers[i].header.Flags = 0
}

// length is how much of message i was received; 0 if it was longer than its
// memory.
func (m *mmsgBatch) length(i int) int {
	if m.headers[i].header.Flags&unix.MSG_TRUNC != 0 {
		return 0
	}
	return min(int(m.headers[i].length), int(m.vectors[i].Len))
}

func (m *mmsgBatch) send(fd, n int) (int, unix.Errno) {
	return m.call(unix.SYS_SENDMMSG, fd, n)
}

func (m *mmsgBatch) receive(fd, n int) (int, unix.Errno) {
	return m.call(unix.SYS_RECVMMSG, fd, n)
}

func (m *mmsgBatch) call(number uintptr, fd, n int) (int, unix.Errno) {
	r, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
