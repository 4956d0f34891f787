package linktest

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// await polls the descriptors of l until one is readable, for at most d.
func await(l link.Link, d time.Duration) (ready bool, err error) {
	var list [8]int
	fds := make([]unix.PollFd, 0, len(list))
	for _, fd := range l.WaitFDs(list[:0]) {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	end := time.Now().Add(d)
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(end)+time.Millisecond-1).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue // the Go runtime preempts by signals
		}
		if err != nil {
			return false, fmt.Errorf("poll(2) on the descriptors of WaitFDs: %w", err)
		}
		for _, fd := range fds {
			if fd.Revents&unix.POLLNVAL != 0 {
				return false, fmt.Errorf("WaitFDs returned %d, which is no open descriptor", fd.Fd)
			}
		}
		return n > 0, nil
	}
}

// sleep waits until a descriptor of l fires, or the other side failed
// (errStopped).
func (x *exchange) sleep(l link.Link) (woken bool, err error) {
	end := time.Now().Add(x.s.h.Timeout)
	for {
		// In slices, so that a failure of the other side ends this one soon.
		woken, err = await(l, min(time.Until(end), 50*time.Millisecond))
		if woken || err != nil {
			return woken, err
		}
		if x.stopped() {
			return false, errStopped
		}
		if time.Now().After(end) {
			return false, nil
		}
	}
}
