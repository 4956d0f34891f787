package capsid

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// whenEnded calls f when a process has ended, unless stop is called before. The
// process is not reaped by that, so that its number stays its own; no thread
// waits for it.
func whenEnded(pid int, f func()) (stop func(), err error) {
	fd, err := unix.PidfdOpen(pid, 0) // PIDFD_NONBLOCK is known from Linux 5.10 on
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	go func() {
		err := raw.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, _ := unix.Poll(p, 0)
			return n > 0
		})
		if err == nil {
			f()
		}
	}()
	return func() { _ = file.Close() }, nil
}
