package serial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

const (
	dialPace    = 50 * time.Millisecond
	dialPaceMax = time.Second

	// permissionGrace is how long a missing permission may be udev's, which
	// sets it a moment after the kernel has made the device.
	permissionGrace = 2 * time.Second
)

// Dial opens the tty at path and connects to what is behind it. While there is
// no such device, or another process has it, or nobody answers, it goes on
// trying until ctx ends; so calling it again after a device was unplugged is
// all there is to reconnecting (an rpc.DialFunc does it). A name below
// /dev/serial/by-id stays the same when a device is plugged in elsewhere.
//
// It gives up early on what waiting won't mend: a mode or options that make no
// sense, a path that is no tty, a missing permission, another version.
func Dial(ctx context.Context, path string, mode Mode, o *Options) (*Conn, error) {
	began := time.Now()
	for pace := dialPace; ; pace = min(2*pace, dialPaceMax) {
		c, err := dialOnce(ctx, path, mode, o)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("serial: dialing %s: %w", path, err)
		case !passes(err, time.Since(began)):
			return nil, err
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return nil, fmt.Errorf("serial: dialing %s: %w; the last attempt: %w", path, context.Cause(ctx), err)
		}
	}
}

func dialOnce(ctx context.Context, path string, mode Mode, o *Options) (*Conn, error) {
	port, err := Open(path, mode)
	if err != nil {
		return nil, err
	}
	c, err := Connect(ctx, port, o)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return c, nil
}

// passes reports whether an error may pass by waiting.
func passes(err error, waited time.Duration) bool {
	for _, target := range []error{
		unix.ENOENT, unix.ENXIO, unix.ENODEV, unix.EIO, unix.EBUSY, unix.EAGAIN, link.ErrPeerGone,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return errors.Is(err, unix.EACCES) && waited < permissionGrace
}
