package xsk

import "errors"

var (
	// ErrNotSupported: the kernel, driver or queue lacks what was asked for.
	ErrNotSupported = errors.New("xsk: not supported")
	// ErrPermission: the process lacks a capability.
	ErrPermission = errors.New("xsk: missing capability")
	// ErrMemlock: more memory would be locked than RLIMIT_MEMLOCK allows.
	ErrMemlock = errors.New("xsk: RLIMIT_MEMLOCK is too low")
	// ErrBusy: another socket has the queue.
	ErrBusy = errors.New("xsk: the queue has a socket already")
	// ErrDown: the interface is down or gone.
	ErrDown = errors.New("xsk: the interface is down")
)
