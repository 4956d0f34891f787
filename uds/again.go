package uds

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// again is the bell between the two halves of a connection over rings: an
// eventfd that never leaves this process. They share the socket by which the peer
// rings, and one of them may take away what was meant for the other.
type again struct {
	fd   int         // of one that is open
	has  bool        // it is open
	rung atomic.Bool // spares a system call where nobody rang
}

func (a *again) open() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("uds: eventfd: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	a.fd, a.has = fd, true
	return nil
}

// ring wakes whichever half sleeps. The mark comes behind the write: the other
// way round, a drain in between would take the mark and leave the write.
func (a *again) ring() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(a.fd, one[:]) // a full counter rings already
	a.rung.Store(true)
}

// drain silences it and reports whether it rang.
func (a *again) drain() bool {
	if !a.rung.Swap(false) {
		return false
	}
	var count [8]byte
	_, _ = unix.Read(a.fd, count[:])
	return true
}

func (a *again) close() error {
	if !a.has {
		return nil
	}
	a.has = false
	return unix.Close(a.fd)
}
