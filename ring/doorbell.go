package ring

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Doorbell is how one side wakes the other: who sleeps has the end to wait on,
// who wakes it the end to ring by. It is separate from the ring because one
// doorbell serves any number of them, and because an epoll set can watch it
// beside other descriptors.
//
// A peer may be hostile, and the kernel lets whoever has a descriptor of a socket
// hold up others that read from it: recvmsg(2) keeps the socket's mutex while it
// copies, and the copy lasts as long as the reader's memory takes to come
// (userfaultfd(2), FUSE). So a side reads only from sockets of its own making,
// whose descriptors it never gives away; what it got from a peer it only sends
// to, which takes no such lock. [NewDoorbell] makes both ends: FD stays, RingFD
// may be passed, and [AttachDoorbell] takes it. [DoorbellOver] is the end to ring
// by over a socket that is there anyway.
//
// Why sockets and not an eventfd, which is made for this: both sides would
// share its open file, and with it O_NONBLOCK and the counter, so that a peer
// could make the other side's write block. What goes through a socket can say
// for itself that it must not (MSG_DONTWAIT), whatever the file's flags, and a
// queue that is full means that the doorbell rings already.
//
// The ends may be used by several goroutines at a time.
type Doorbell struct {
	wait, ring int  // -1: this side has no such end
	borrowed   bool // ring is somebody else's to close
}

// NewDoorbell makes a doorbell on which this process waits, and which it can ring
// itself. Pass RingFD to whoever else shall ring it.
func NewDoorbell() (*Doorbell, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("ring: socketpair: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	return &Doorbell{wait: fds[0], ring: fds[1]}, nil
}

// AttachDoorbell takes ownership of the RingFD of a peer's doorbell, to ring it.
// It makes sure that it is the end of a connected pair of packet sockets (a byte
// written to anything else could do harm) and closes it on error. Nobody can wait
// on what it returns. Errors: ErrDoorbell.
func AttachDoorbell(fd int) (*Doorbell, error) {
	if err := checkRingEnd(fd); err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("%w: descriptor %d %w; pass RingFD of one from ring.NewDoorbell", ErrDoorbell, fd, err)
	}
	return &Doorbell{wait: -1, ring: fd}, nil
}

func checkRingEnd(fd int) error {
	for _, want := range []struct {
		option, value int
		what          string
	}{
		{unix.SO_DOMAIN, unix.AF_UNIX, "is a socket of another domain than AF_UNIX"},
		{unix.SO_TYPE, unix.SOCK_SEQPACKET, "is a socket of another type than SOCK_SEQPACKET"},
		{unix.SO_ACCEPTCONN, 0, "is a socket that listens"},
	} {
		switch is, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option); {
		case err != nil:
			return fmt.Errorf("is no socket: %w", err)
		case is != want.value:
			return errors.New(want.what)
		}
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return fmt.Errorf("is a socket that is not connected: %w", err)
	}
	return nil
}

// DoorbellOver makes a doorbell that is rung by a byte of the value 1 over a
// connected unix socket, which stays the caller's: close the doorbell before it.
// Whoever reads the socket at its other end must take the bytes away. Over fd -1 it
// is one that nobody can ring: for a side that is woken otherwise.
func DoorbellOver(fd int) *Doorbell { return &Doorbell{wait: -1, ring: fd, borrowed: true} }

// FD returns the descriptor that is readable while the doorbell rings, or -1 of
// one that this process can only ring. It stays the doorbell's own, and no peer
// may have it.
func (d *Doorbell) FD() int { return d.wait }

// RingFD returns the descriptor by which others can ring it. It stays the
// doorbell's own.
func (d *Doorbell) RingFD() int { return d.ring }

// Ring wakes whoever waits on the doorbell. It never blocks. A queue that is
// full rings already; where the kernel has no memory for a byte, Ring tries again
// in the background, since nobody else would wake the sleeper. Errors: ErrPeerGone
// if nobody can hear it any more.
func (d *Doorbell) Ring() error {
	if d == nil {
		return nil
	}
	switch e := sendByte(d.ring); e {
	case 0, unix.EAGAIN:
		return nil
	case unix.ENOBUFS, unix.ENOMEM:
		return d.ringLater(e)
	case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN, unix.ECONNREFUSED:
		return fmt.Errorf("%w: its doorbell says %w", ErrPeerGone, e)
	default:
		return fmt.Errorf("ring: doorbell: %w", e)
	}
}

// mostRings is how many rings one Drain takes off the queue. An honest peer
// rings once for each sleep in either direction; of one that rings for the sake
// of it more may stay, and make the next sleeps short.
const mostRings = 8

// Drain makes the doorbell silent again. It never blocks. A doorbell that was
// shut down would be readable for ever: of it Drain says ErrPeerGone, and nobody
// should wait on it any more.
func (d *Doorbell) Drain() error {
	if d == nil || d.wait < 0 {
		return nil
	}
	for range mostRings {
		switch n, e := receiveByte(d.wait); {
		case e == unix.EAGAIN || e == unix.EINTR:
			return nil
		case e != 0:
			return fmt.Errorf("%w: its doorbell says %w", ErrPeerGone, e)
		case n == 0: // an end; nobody sends empty packets but who wants to be taken for gone
			return fmt.Errorf("%w: its doorbell was shut down", ErrPeerGone)
		}
	}
	return nil
}

// Close closes the descriptors that are the doorbell's own.
func (d *Doorbell) Close() error {
	if d == nil {
		return nil
	}
	var err error
	if d.wait >= 0 {
		err = unix.Close(d.wait)
	}
	if d.ring >= 0 && !d.borrowed {
		err = errors.Join(err, unix.Close(d.ring))
	}
	d.wait, d.ring = -1, -1
	return err
}

var _ io.Closer = (*Doorbell)(nil)
