package afxdp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of <sys/socket.h>; see recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// control is the one control message that goes with a message: how long the
// datagrams are that it consists of (UDP_SEGMENT, UDP_GRO; udp(7)).
type control struct {
	header unix.Cmsghdr
	value  [8]byte
}

// mmsgBatch is the argument of sendmmsg(2) and recvmmsg(2). Its pointers are
// typed, so that the garbage collector sees what the kernel is to read; none of
// them is used by the kernel after the call.
type mmsgBatch struct {
	headers  [udpBatch]mmsghdr
	vectors  [udpBatch]unix.Iovec
	controls [udpBatch]control
}

// memory makes n bytes from the first of b on, which is not empty, the memory of
// vector i. They may go on behind b, in what b was cut from.
func (m *mmsgBatch) memory(i int, b []byte, n int) {
	m.vectors[i].Base = &b[0]
	m.vectors[i].SetLen(n)
}

// outgoing makes n vectors from first on message i, to be sent as datagrams of
// segment bytes, of which the last may be shorter; 0: as one.
func (m *mmsgBatch) outgoing(i, first, n, segment int) {
	h := &m.headers[i].header
	h.Iov = &m.vectors[first]
	h.SetIovlen(n)
	if segment == 0 {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	c := &m.controls[i]
	c.header.Level, c.header.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	c.header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.value[:], uint16(segment))
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
}

// incoming has message i received into vector i.
func (m *mmsgBatch) incoming(i int) {
	h := &m.headers[i].header
	h.Iov = &m.vectors[i]
	h.SetIovlen(1)
	h.Flags = 0
	h.Control = (*byte)(unsafe.Pointer(&m.controls[i]))
	h.SetControllen(int(unsafe.Sizeof(control{})))
}

// received is how many bytes message i has, and of how many each datagram in it
// is. A message that was longer than its memory has none.
func (m *mmsgBatch) received(i int) (length, segment int) {
	h := &m.headers[i]
	if h.header.Flags&unix.MSG_TRUNC != 0 {
		return 0, 0
	}
	length = min(int(h.length), int(m.vectors[i].Len))
	segment = length
	c := &m.controls[i]
	if int(h.header.Controllen) >= unix.CmsgLen(4) && c.header.Level == unix.IPPROTO_UDP && c.header.Type == unix.UDP_GRO {
		if n := int(int32(binary.NativeEndian.Uint32(c.value[:]))); n > 0 {
			segment = min(n, length)
		}
	}
	return length, segment
}

// rawMessages is how many are sent without a word to Go's scheduler. None of these
// calls blocks; but a thread of the runtime looks every 20 µs after who is often
// said to be within one, and takes the CPU from who spins. A call with many
// messages copies for so long that the garbage collector should not wait for it.
const rawMessages = 16

func (m *mmsgBatch) send(fd, n int) (int, unix.Errno) {
	if n > rawMessages {
		r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		return counted(r, errno)
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return counted(r, errno)
}

// receive takes no more than there is, mostly nothing.
func (m *mmsgBatch) receive(fd, n int) (int, unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return counted(r, errno)
}

func counted(r uintptr, errno unix.Errno) (int, unix.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
