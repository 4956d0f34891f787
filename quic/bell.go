package quic

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bell wakes one half's user, who sleeps until something arrives or there is
// room: by an eventfd, or by a function, if one is set. Any goroutine may ring
// it, also when it is closed.
type bell struct {
	armed atomic.Bool
	mu    sync.Mutex // keeps the descriptor open while it is rung
	fd    int
	rung  bool // the descriptor may be readable
	wake  func()
}

func (b *bell) open() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		b.fd = -1
		return fmt.Errorf("quic: eventfd: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	b.fd = fd
	return nil
}

// notify wakes the sleeper, if there is one, once.
func (b *bell) notify() {
	if !b.armed.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.armed.Load() {
		b.armed.Store(false)
		b.strike()
	}
}

// ring wakes whoever sleeps now or next.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strike()
}

// strike is called with mu held.
func (b *bell) strike() {
	switch {
	case b.wake != nil:
		b.wake()
	case b.fd >= 0:
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(b.fd, one[:]) // a full counter rings already
		b.rung = true
	}
}

// disarm ends what storing armed began, and takes back what rang meanwhile.
func (b *bell) disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed.Store(false)
	if b.rung && b.fd >= 0 {
		var count [8]byte
		_, _ = unix.Read(b.fd, count[:])
		b.rung = false
	}
}

// onWake sets the function to call instead of the descriptor; nil for none.
func (b *bell) onWake(wake func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = wake
}

// waitFD appends the descriptor, if that is what rings.
func (b *bell) waitFD(fds []int) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake != nil || b.fd < 0 {
		return fds
	}
	return append(fds, b.fd)
}

func (b *bell) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = nil
	if b.fd < 0 {
		return nil
	}
	err := unix.Close(b.fd)
	b.fd = -1
	return err
}
