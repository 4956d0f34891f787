package netbench

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// messages are the arguments of sendmmsg(2) and recvmmsg(2).
type messages struct {
	headers [mostMessages]struct {
		header unix.Msghdr
		length uint32
	}
	vectors [mostMessages]unix.Iovec
	memory  []byte
}

const mostMessages = 32

// open takes memory for messages of size bytes.
func (m *messages) open(size int) {
	m.memory = make([]byte, mostMessages*size)
	for i := range m.headers {
		m.vectors[i].Base = &m.memory[i*size]
		m.vectors[i].SetLen(size)
		m.headers[i].header.Iov = &m.vectors[i]
		m.headers[i].header.SetIovlen(1)
	}
}

func (m *messages) send(fd int) error {
	_, err := m.call(unix.SYS_SENDMMSG, fd)
	return err
}

func (m *messages) receive(fd int) (int, error) { return m.call(unix.SYS_RECVMMSG, fd) }

// Raw, as all system calls here: what others are held against shall not be
// disturbed by Go's scheduler, which looks after who is often in system calls.
func (m *messages) call(number uintptr, fd int) (int, error) {
	n, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), mostMessages, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, nil
	}
	return 0, fmt.Errorf("messages: %w", errno)
}

// write sends one datagram of a non-blocking socket, read receives one; 0 says none.
func write(fd int, b []byte) error {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return nil
		case unix.EAGAIN, unix.ENOBUFS, unix.EINTR:
		default:
			return fmt.Errorf("write: %w", errno)
		}
	}
}

func read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("read: %w", errno)
}
