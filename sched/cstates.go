package sched

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// dmaLatency is the kernel's interface to ask for quick wake-ups.
const dmaLatency = "/dev/cpu_dma_latency"

// HoldCStates keeps all cores of the host out of idle states that take time to
// leave, until the result is closed or the process ends. It matters to threads
// that park or sleep; a spinning core is never idle. It costs power, and on
// some machines the turbo frequency of the busy cores.
//
// The error wraps [ErrPrivilege] where the device may not be opened, and
// [ErrNotSupported] where there is none.
//
// Source: Documentation/power/pm_qos_interface.rst.
func HoldCStates() (io.Closer, error) { return holdCStates(dmaLatency) }

func holdCStates(device string) (io.Closer, error) {
	// A bare descriptor: an os.File would be closed, and the request with
	// it, when the garbage collector finds that nobody uses it.
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, cstateError(device, err)
	}
	var microseconds [4]byte
	binary.NativeEndian.PutUint32(microseconds[:], 0)
	if n, err := unix.Write(fd, microseconds[:]); err != nil || n != len(microseconds) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("sched: writing the wanted latency to %s: %w", device, errors.Join(err, shortWrite(n)))
	}
	return &cstateHold{fd: fd}, nil
}

func shortWrite(n int) error {
	if n == 4 {
		return nil
	}
	return io.ErrShortWrite
}

func cstateError(device string, err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: can't open %s to hold off deep idle states; run as root or give the group the right with a udev rule "+
			`(KERNEL=="cpu_dma_latency", GROUP="…", MODE="0660"): %w`, ErrPrivilege, device, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: there is no %s; in a container pass it in (--device), or hold the states on the host "+
			"(tuned-adm profile latency-performance): %w", ErrNotSupported, device, err)
	}
	return fmt.Errorf("sched: opening %s: %w", device, err)
}

// cstateHold is the open descriptor, to which the kernel ties the request.
type cstateHold struct {
	once sync.Once
	fd   int
	err  error
}

// Close ends the request. Later calls do nothing.
func (c *cstateHold) Close() error {
	c.once.Do(func() { c.err = unix.Close(c.fd) })
	return c.err
}
