package serial

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OpenPTY returns a line within this host: two ends of a pseudo terminal in raw
// mode, for tests, simulators and emulators. Other processes open the slave by
// its name. What the slave wrote can be read from the master after the slave
// was closed; the other way around the kernel throws it away.
func OpenPTY() (master, slave *os.File, err error) {
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("serial: opening /dev/ptmx: %w; is devpts mounted?", err)
	}
	name := ""
	if err = unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err == nil {
		var n int
		n, err = unix.IoctlGetInt(m, unix.TIOCGPTN)
		name = "/dev/pts/" + strconv.Itoa(n)
	}
	s := -1
	if err == nil {
		s, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err == nil {
		err = makeRaw(s)
	}
	if err != nil {
		if s >= 0 {
			err = errors.Join(err, unix.Close(s))
		}
		return nil, nil, fmt.Errorf("serial: making a PTY: %w", errors.Join(err, unix.Close(m)))
	}
	return os.NewFile(uintptr(m), "ptmx of "+name), os.NewFile(uintptr(s), name), nil
}
