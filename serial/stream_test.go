package serial_test

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/serial"
)

func write(fd int, b []byte) (int, error) { return unix.Write(fd, b) }

// hangUp ends a stream as the end of its process would, without a farewell, and
// without closing the descriptor that a connection still uses: a dead end takes
// its place.
func hangUp(s serial.Stream) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	dead, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	control := raw.Control(func(fd uintptr) { err = unix.Dup3(dead, int(fd), unix.O_CLOEXEC) })
	return errors.Join(control, err, unix.Close(dead))
}
