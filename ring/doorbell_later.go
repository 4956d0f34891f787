package ring

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sendByte is a variable so that tests can have the kernel run out of memory.
var sendByte = rawSendByte

// laterPace is how long a ring that found no memory waits before it tries again.
const laterPace = time.Millisecond

// ringLater rings as soon as the kernel has memory again, over a descriptor of
// its own, so that Close needn't wait for it.
func (d *Doorbell) ringLater(why unix.Errno) error {
	fd, err := unix.FcntlInt(uintptr(d.ring), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ring: doorbell: %w, and no second descriptor to try again: %w", why, err)
	}
	go func() {
		defer unix.Close(fd)
		for e := why; e == unix.ENOBUFS || e == unix.ENOMEM; e = sendByte(fd) {
			time.Sleep(laterPace)
		}
	}()
	return nil
}
