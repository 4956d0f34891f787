package linktest

import (
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// open makes the eventfds, one for each half, so that neither half consumes
// the other's wake-up.
func (e *End) open() error {
	e.fds = [2]int{-1, -1}
	for i := range e.fds {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			e.closeFDs()
			return err
		}
		e.fds[i] = fd
	}
	return nil
}

// WaitFDs implements [link.Link].
func (e *End) WaitFDs(fds []int) []int {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	for _, fd := range e.fds {
		if fd >= 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// wake makes the descriptor of a half readable if that half is armed.
func (e *End) wake(half int, by *link.Stats) {
	if !e.armed[half] || e.fds[half] < 0 {
		return
	}
	e.armed[half] = false
	by.Wakes++
	one := [8]byte{1} // as a number in either byte order it is above 0
	_, _ = unix.Write(e.fds[half], one[:])
}

func (e *End) disarm(half int) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.armed[half] = false
	if e.fds[half] >= 0 {
		var count [8]byte
		_, _ = unix.Read(e.fds[half], count[:]) // EAGAIN: nobody woke us
	}
}

func (e *End) closeFDs() {
	for i, fd := range e.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		e.fds[i] = -1
	}
}
