package uds

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// A dialer takes descriptors from its listener, and closing one may last as long
// as its maker likes: close(2) asks a FUSE file system whether it may, and waits
// for a TCP socket that lingers. No deadline reaches it there. So a dialer shakes
// hands in a goroutine of its own, and leaves it behind when the time is up.
const (
	// leaveAfter is how long after the end of its time a handshake may take to
	// say so itself.
	leaveAfter = refusalTime
	// mostLeft bounds the handshakes that were left behind, each of which holds a
	// thread: who dials a hostile listener again and again must not run out.
	mostLeft = 16
)

var leftBehind atomic.Int32

// shakeHandsApart is shakeHands for a side that takes descriptors.
func shakeHandsApart(ctx context.Context, x *exchange, o *Options, shake shaker) (*Conn, error) {
	if err := tooManyLeft(); err != nil {
		go x.close()
		return nil, err
	}
	type outcome struct {
		conn *Conn
		err  error
	}
	done, pid := make(chan outcome, 1), x.peer.PID
	go func() {
		c, err := shakeHands(ctx, x, o, shake)
		done <- outcome{c, err}
	}()
	bounded, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-bounded.Done():
	}
	select {
	case r := <-done:
		return r.conn, r.err
	case <-time.After(leaveAfter):
	}
	leftBehind.Add(1)
	go func() {
		if r := <-done; r.conn != nil {
			_ = r.conn.Close()
		}
		leftBehind.Add(-1)
	}()
	err := refuse(wire.StatusDeadlineExceeded, "the handshake hangs, in closing what the listener passed: %w", context.Cause(bounded))
	err.PID = pid
	return nil, err
}

// tooManyLeft refuses to dial while others have been left behind.
func tooManyLeft() error {
	if n := leftBehind.Load(); n >= mostLeft {
		return refuse(wire.StatusResourceExhausted,
			"%d handshakes hang in closing what listeners passed that are hostile; end those listeners, or this process", n)
	}
	return nil
}

// soPassRights is SO_PASSRIGHTS of Linux 6.16 (include/uapi/asm-generic/socket.h):
// whether descriptors may come with what is read.
const soPassRights = 83

// takeNoDescriptors has the kernel refuse to the peer to send any from now on.
// Those for which the reader has no place it would close in the middle of a read,
// and a file decides how long that takes. Older kernels know no such thing.
func takeNoDescriptors(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, soPassRights, 0)
}
