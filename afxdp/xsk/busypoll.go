package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const defaultBudget = 64

// BusyPoll has the kernel look at the NIC's queue in the caller's own context,
// for up to d in each [Socket.WakeRx] that finds nothing, at budget packets at a
// time (0: 64), and asks it to leave interrupts off as long as somebody does:
// SO_PREFER_BUSY_POLL, Linux 5.11. That helps where the interface defers
// interrupts (napi_defer_hard_irqs, gro_flush_timeout), and must not be done on
// veth, where deferring stalls every packet.
//
// Errors: ErrPermission (CAP_NET_ADMIN), ErrNotSupported.
func (s *Socket) BusyPoll(d time.Duration, budget int) error {
	if budget == 0 {
		budget = defaultBudget
	}
	us := int((d + time.Microsecond - 1) / time.Microsecond)
	for _, o := range []struct {
		name          string
		option, value int
	}{
		{"SO_PREFER_BUSY_POLL", unix.SO_PREFER_BUSY_POLL, 1},
		{"SO_BUSY_POLL", unix.SO_BUSY_POLL, us},
		{"SO_BUSY_POLL_BUDGET", unix.SO_BUSY_POLL_BUDGET, budget},
	} {
		err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.option, o.value)
		switch {
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w CAP_NET_ADMIN: %s: %w", ErrPermission, o.name, err)
		case errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("%w: %s (Linux 5.11 has it): %w", ErrNotSupported, o.name, err)
		case err != nil:
			return fmt.Errorf("xsk: %s: %w", o.name, err)
		}
	}
	return nil
}
