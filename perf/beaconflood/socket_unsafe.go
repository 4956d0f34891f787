package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const batch = 64

// messages is the argument of sendmmsg(2) and recvmmsg(2).
type messages struct {
	headers [batch]struct {
		header unix.Msghdr
		length uint32
	}
	vectors [batch]unix.Iovec
	names   [batch]unix.RawSockaddrInet4
}

// set makes b the memory of message i, and takes the address it comes from.
func (m *messages) set(i int, b []byte, named bool) {
	m.vectors[i].Base = &b[0]
	m.vectors[i].SetLen(len(b))
	h := &m.headers[i].header
	h.Iov = &m.vectors[i]
	h.SetIovlen(1)
	if named {
		h.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
	}
}

// call returns how many messages were sent or received.
func (m *messages) call(number uintptr, fd, n int) (int, unix.Errno) {
	r, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// gro switches generic receive offload of an interface on. A veth interface
// takes frames from XDP only if it has that or a program.
func gro(iface string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{0x2c, 1} // ETHTOOL_SGRO
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], iface)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
