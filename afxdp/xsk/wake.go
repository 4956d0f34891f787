package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kicks bounds how often one WakeTx calls: a copying kernel sends 32 packets a
// call, and the longest ring has 65,536.
const kicks = maxRing / 32

// WakeTx has the kernel send what is in the tx ring: in copy mode it happens
// within this call. It goes on until everything was taken, or the driver has no
// room; sent is false then, and it should be called again later.
//
// Errors: ErrDown; packets stay in the ring then.
func (s *Socket) WakeTx() (sent bool, err error) {
	for range kicks {
		// Raw: it never blocks (MSG_DONTWAIT), and telling Go's scheduler about
		// a call costs a tenth of what it takes.
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return s.zeroCopy || s.Tx.Pending() == 0, nil
		case unix.EAGAIN:
			// More than the budget of one call, or no room in the completion ring.
			before := s.Tx.other
			if s.Tx.Pending() == 0 {
				return true, nil
			}
			if s.Tx.other == before {
				return false, nil
			}
		case unix.EINTR:
		case unix.EBUSY, unix.ENOBUFS:
			return s.Tx.Pending() == 0, nil
		case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
			return false, fmt.Errorf("%w: %w", ErrDown, errno)
		default:
			return false, fmt.Errorf("xsk: sending: %w", errno)
		}
	}
	return false, nil
}

// WakeRx has the driver look for frames and packets: after
// [Fill.NeedsWakeup], and for busy polling, where it is the poll itself.
func (s *Socket) WakeRx() error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR, unix.EBUSY, unix.ENOBUFS:
		return nil
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return fmt.Errorf("%w: %w", ErrDown, errno)
	}
	return fmt.Errorf("xsk: waking the driver: %w", errno)
}
