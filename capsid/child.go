package capsid

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a process that this one has started and has to reap. Until that is done
// its number is its own.
type child struct {
	pid   int
	pidfd *os.File // in the runtime's poller: nobody's thread waits for the end
}

// newChild takes over a pidfd.
func newChild(pid, pidfd int) (*child, error) {
	if _, err := unix.FcntlInt(uintptr(pidfd), unix.F_SETFL, unix.O_NONBLOCK); err != nil { // PIDFD_NONBLOCK is known from Linux 5.10 on
		return nil, errors.Join(err, unix.Close(pidfd))
	}
	return &child{pid: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}, nil
}

// awaitEnd returns when the process has ended. That does not reap it.
func (c *child) awaitEnd() error {
	raw, err := c.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}

// reap waits for the end of the process and takes what the kernel has kept of it.
func (c *child) reap() (status syscall.WaitStatus, used syscall.Rusage, err error) {
	for {
		_, err = syscall.Wait4(c.pid, &status, 0, &used)
		if !errors.Is(err, syscall.EINTR) {
			return status, used, errors.Join(err, c.pidfd.Close())
		}
	}
}
