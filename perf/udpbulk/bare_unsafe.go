package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the argument of sendmsg(2) or recvmsg(2), with one control message.
type message struct {
	header  unix.Msghdr
	vector  unix.Iovec
	control struct {
		header unix.Cmsghdr
		value  [8]byte
	}
}

// set makes b the memory of m; segment, if not 0, is asked for with it.
func (m *message) set(b []byte, segment int) {
	m.vector.Base = &b[0]
	m.vector.SetLen(len(b))
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
	m.header.Control = (*byte)(unsafe.Pointer(&m.control))
	m.header.SetControllen(int(unsafe.Sizeof(m.control)))
	if segment > 0 {
		m.control.header.Level, m.control.header.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		m.control.header.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(m.control.value[:], uint16(segment))
		m.header.SetControllen(unix.CmsgSpace(2))
	}
}

func (m *message) call(number uintptr, fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT)
	return int(n), errno
}
