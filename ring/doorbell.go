package ring

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Doorbell is one end of a connected pair of sockets (socketpair(2), AF_UNIX,
// SOCK_SEQPACKET) by which one side wakes the other. It is separate from the
// ring because one doorbell serves both directions, and because an epoll set
// can watch it beside other sockets.
//
// Why sockets and not an eventfd, which is made for this: both sides would
// share its open file, and with it O_NONBLOCK and the counter, so that a peer
// could make the other side's write block. What goes through a socket can say
// for itself that it must not (MSG_DONTWAIT), whatever the file's flags, and a
// queue that is full means that the doorbell rings already.
//
// The ends may be used by several goroutines at a time.
type Doorbell struct{ wait, ring int }

// NewDoorbell makes a doorbell that this process itself can ring. Pass RingFD
// to others that shall ring it, too, or FD to who shall wait on it.
func NewDoorbell() (*Doorbell, error) {
	wait, ring, err := bellPair()
	if err != nil {
		return nil, err
	}
	return &Doorbell{wait, ring}, nil
}

// NewDoorbells makes two doorbells for two processes, each of which rings the
// other, at the price of one descriptor each. Pass FD of one of them and close
// that one afterwards.
func NewDoorbells() (one, other *Doorbell, err error) {
	a, b, err := bellPair()
	if err != nil {
		return nil, nil, err
	}
	return &Doorbell{a, a}, &Doorbell{b, b}, nil
}

func bellPair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("ring: socketpair: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	return fds[0], fds[1], nil
}

// AttachDoorbell takes ownership of a descriptor that a peer passed, either end
// of a doorbell: who has one of them waits on it and rings at the other. It makes
// sure that it is such a socket (a byte written to anything else could do harm)
// and closes it on error. Errors: ErrDoorbell.
func AttachDoorbell(fd int) (*Doorbell, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err := errors.Join(err, err2); err != nil || domain != unix.AF_UNIX || kind != unix.SOCK_SEQPACKET {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("%w: descriptor %d is a socket of domain %d and type %d (%v); pass one from ring.NewDoorbell", ErrDoorbell, fd, domain, kind, err)
	}
	return &Doorbell{fd, fd}, nil
}

// FD returns the descriptor that is readable while the doorbell rings. It stays
// the doorbell's own.
func (d *Doorbell) FD() int { return d.wait }

// RingFD returns the descriptor by which others can ring it. It stays the
// doorbell's own. Of an end that rings another doorbell it is FD.
func (d *Doorbell) RingFD() int { return d.ring }

// Ring wakes whoever waits on the doorbell, or, of one end of two, on the other
// one. It never blocks.
func (d *Doorbell) Ring() error {
	if d == nil {
		return nil
	}
	if e := sendByte(d.ring); e != 0 && e != unix.EAGAIN && e != unix.ENOBUFS {
		return fmt.Errorf("ring: doorbell: %w", e)
	}
	return nil
}

// mostRings is how many rings one Drain takes off the queue. An honest peer
// rings once for each sleep in either direction; of one that rings for the sake
// of it more may stay, and make the next sleeps short.
const mostRings = 8

// Drain makes the doorbell silent again. It never blocks.
func (d *Doorbell) Drain() {
	if d == nil {
		return
	}
	for range mostRings {
		if !receiveByte(d.wait) {
			return
		}
	}
}

// Close closes the descriptors.
func (d *Doorbell) Close() error {
	if d == nil || d.wait < 0 {
		return nil
	}
	wait, ring := d.wait, d.ring
	d.wait, d.ring = -1, -1
	err := unix.Close(wait)
	if ring != wait {
		err = errors.Join(err, unix.Close(ring))
	}
	return err
}

var _ io.Closer = (*Doorbell)(nil)
