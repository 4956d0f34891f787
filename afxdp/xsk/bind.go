package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// bind binds the socket to its queue.
func (s *Socket) bind(zeroCopy bool) error {
	c := &s.config
	a := unix.SockaddrXDP{Ifindex: uint32(c.Interface), QueueID: c.Queue}
	if c.Share != nil {
		// All other flags are the first socket's.
		a.Flags, a.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(c.Share.fd)
	} else {
		a.Flags = unix.XDP_COPY
		if zeroCopy {
			a.Flags = unix.XDP_ZEROCOPY
		}
		if c.NeedWakeup {
			a.Flags |= unix.XDP_USE_NEED_WAKEUP
		}
		if c.MultiBuffer {
			a.Flags |= unix.XDP_USE_SG
		}
	}
	err := unix.Bind(s.fd, &a)
	for end := time.Now().Add(c.Patience); errors.Is(err, unix.EBUSY) && time.Now().Before(end); {
		time.Sleep(busyPause)
		err = unix.Bind(s.fd, &a)
	}
	if err != nil {
		return s.refused(zeroCopy, err)
	}
	// What the kernel says counts, not what it was asked for: a shared socket
	// has what the first one has.
	options, err := unix.GetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return fmt.Errorf("xsk: asking how the socket is bound: %w", err)
	}
	s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return nil
}

// refused puts into words what a failing bind means.
func (s *Socket) refused(zeroCopy bool, err error) error {
	c := &s.config
	at := fmt.Sprintf("queue %d of interface %d", c.Queue, c.Interface)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %s (bpftool net and ss --xdp show whose; %w)", ErrBusy, at, err)
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %s; ip link set dev … up (%w)", ErrDown, at, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w CAP_NET_RAW: %s: %w", ErrPermission, at, err)
	case zeroCopy && c.Share == nil:
		// Drivers say EOPNOTSUPP, EINVAL and more.
		return fmt.Errorf("%w: the driver has no zero-copy on %s: %w", ErrNotSupported, at, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %s: is there such a queue, and does the kernel know all of need-wakeup (5.4), multi-buffer (6.6), shared memory over queues (5.10)? %w", ErrNotSupported, at, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %s: %w", ErrNotSupported, at, err)
	}
	return fmt.Errorf("xsk: binding to %s: %w", at, err)
}
