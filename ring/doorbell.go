package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Doorbell is an eventfd (eventfd(2)) by which one side wakes the other. Each
// side of a connection owns one and lets the peer ring it. It is separate from
// the ring because one doorbell serves both directions, and because an epoll
// set can watch it beside sockets.
type Doorbell struct{ fd int }

// NewDoorbell makes a doorbell.
func NewDoorbell() (*Doorbell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("ring: eventfd: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	return &Doorbell{fd}, nil
}

// AttachDoorbell takes ownership of a descriptor that a peer passed, after it
// has made sure that it is an eventfd (writing eight bytes to anything else
// could do harm), and closes it on error. Errors: ErrDoorbell.
func AttachDoorbell(fd int) (*Doorbell, error) {
	target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || !strings.HasPrefix(target, "anon_inode:[eventfd") {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: descriptor %d is %q (%v)", ErrDoorbell, fd, target, err)
	}
	// Without it, Ring and Drain could block. The flag lives in the open file,
	// which the peer shares and may change at any time; so both take care.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: %w", ErrDoorbell, err)
	}
	return &Doorbell{fd}, nil
}

// FD returns the descriptor, which stays the doorbell's own.
func (d *Doorbell) FD() int { return d.fd }

var one = func() (b [8]byte) { binary.NativeEndian.PutUint64(b[:], 1); return }()

// Ring wakes whoever waits on the doorbell. It does not block: a full counter
// means that the doorbell is ringing already.
//
// A peer may have filled the counter and made the open file blocking. Linux
// has no write to an eventfd that can't block whatever the file's flags, so
// Ring looks first; a peer that fills the counter between the two calls can
// still hold this thread up until it drains the doorbell or dies.
func (d *Doorbell) Ring() error {
	if d == nil {
		return nil
	}
	look := [1]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(look[:], 0); n == 0 && err == nil && d.fd >= 0 {
		return nil
	}
	b := one
	if _, err := unix.Write(d.fd, b[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("ring: doorbell: %w", err)
	}
	return nil
}

// Drain makes the doorbell silent again.
func (d *Doorbell) Drain() {
	if d == nil {
		return
	}
	var b [8]byte
	if e := readNoWait(d.fd, b[:]); e == unix.EOPNOTSUPP || e == unix.ENOSYS {
		_, _ = unix.Read(d.fd, b[:]) // before Linux 5.8; EAGAIN: it was silent
	}
}

// Close closes the descriptor.
func (d *Doorbell) Close() error {
	if d == nil || d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

var _ io.Closer = (*Doorbell)(nil)
