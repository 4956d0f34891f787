package quic

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bell wakes a sender that sleeps until there is room, by an eventfd. Any
// goroutine may ring it, also when it is closed.
type bell struct {
	armed atomic.Bool
	mu    sync.Mutex // keeps the descriptor open while it is rung
	fd    int
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

// notify wakes the sleeper, if there is one.
func (b *bell) notify() {
	if b.armed.Load() {
		b.write(true)
	}
}

// ring wakes whoever sleeps now or next.
func (b *bell) ring() { b.write(false) }

func (b *bell) write(ifArmed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 && (!ifArmed || b.armed.Load()) {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(b.fd, one[:]) // a full counter rings already
	}
}

// disarm ends what storing armed began, and takes back what rang meanwhile.
func (b *bell) disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed.Store(false)
	if b.fd >= 0 {
		var count [8]byte
		_, _ = unix.Read(b.fd, count[:])
	}
}

func (b *bell) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return nil
	}
	err := unix.Close(b.fd)
	b.fd = -1
	return err
}
