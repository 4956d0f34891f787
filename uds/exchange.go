package uds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// exchange carries the messages of one handshake. It belongs to one goroutine
// and owns the socket and the descriptors that arrived until they are taken.
type exchange struct {
	c      *net.UnixConn
	peer   link.Peer
	maxFDs int   // how many descriptors may arrive
	fds    []int // those that have, close-on-exec
	excess bool  // more were sent than fit, or than this process may open
	buf    [prefixSize + maxBody]byte
	oob    [64]byte
}

// refusalTime bounds the sending of a refusal after the handshake's own time
// has run out. A fresh socket takes it without waiting.
const refusalTime = time.Second

func newExchange(c *net.UnixConn, peer link.Peer, maxFDs int) *exchange {
	return &exchange{c: c, peer: peer, maxFDs: maxFDs}
}

// bound makes the exchange fail once ctx is done or d has passed. The returned
// function ends that.
func (x *exchange) bound(ctx context.Context, d time.Duration) (stop func() bool) {
	deadline := time.Now().Add(d)
	if t, ok := ctx.Deadline(); ok && t.Before(deadline) {
		deadline = t
	}
	_ = x.c.SetDeadline(deadline) // fails only on a closed socket, which the next call reports
	return context.AfterFunc(ctx, func() { _ = x.c.SetDeadline(time.Unix(1, 0)) })
}

// close closes the socket and every descriptor that nobody took.
func (x *exchange) close() {
	x.c.Close()
	x.closeFDs()
}

func (x *exchange) closeFDs() {
	for _, fd := range x.fds {
		unix.Close(fd)
	}
	x.fds = nil
}

// send sends one message with descriptors, which stay the caller's.
func (x *exchange) send(b []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := x.c.WriteMsgUnix(b, oob, nil)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return x.failed("sending", messageKind(b[4]), err)
	}
	return nil
}

// receive returns the body of the next message, which must be of kind want and
// is valid until the next call. A refusal by the peer returns as
// *RefusedError. It reads not a byte further than the message: what follows
// belongs to the link.
func (x *exchange) receive(want messageKind) ([]byte, error) {
	if err := x.read(x.buf[:prefixSize]); err != nil {
		return nil, x.failed("waiting for the", want, err)
	}
	k, n, err := parsePrefix(x.buf[:prefixSize])
	if err != nil {
		return nil, refuse(wire.StatusInvalidArgument, "%w", err)
	}
	body := x.buf[prefixSize : prefixSize+n]
	if err := x.read(body); err != nil {
		return nil, x.failed("in the middle of the", k, err)
	}
	if k == kindRefuse {
		s, reason, err := parseRefusal(body)
		if err != nil {
			return nil, refuse(wire.StatusInvalidArgument, "%w", err)
		}
		return nil, &RefusedError{Status: s, Reason: reason, ByPeer: true, PID: x.peer.PID}
	}
	if k != want {
		return nil, refuse(wire.StatusInvalidArgument, "%w: %v where the %v is due", errMessage, k, want)
	}
	return body, nil
}

// read fills b and keeps descriptors that arrive on the way. With no room for
// control data the kernel drops descriptors by itself, so a peer can't make
// this process open any.
func (x *exchange) read(b []byte) error {
	var oob []byte
	if x.maxFDs > 0 {
		oob = x.oob[:unix.CmsgSpace(4*x.maxFDs)]
	}
	for n := 0; n < len(b); {
		m, oobn, flags, _, err := x.c.ReadMsgUnix(b[n:], oob)
		if oobn > 0 {
			if err := x.keep(oob[:oobn]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if m == 0 {
			return io.EOF
		}
		if flags&unix.MSG_CTRUNC != 0 {
			if x.maxFDs == 0 || len(x.fds) >= x.maxFDs {
				return fmt.Errorf("%w: more than %d descriptors", errMessage, x.maxFDs)
			}
			x.excess = true
		}
		n += m
	}
	return nil
}

// keep takes the descriptors out of control data. The net package asked for
// them with MSG_CMSG_CLOEXEC.
func (x *exchange) keep(oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: control data: %w", errMessage, err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not descriptors: nothing that needs closing
		}
		x.fds = append(x.fds, fds...)
	}
	if len(x.fds) > x.maxFDs {
		return fmt.Errorf("%w: %d descriptors, at most %d are allowed", errMessage, len(x.fds), x.maxFDs)
	}
	return nil
}

// failed turns an error of the socket into what callers are promised.
func (x *exchange) failed(doing string, k messageKind, err error) error {
	switch {
	case errors.Is(err, errMessage):
		return refuse(wire.StatusInvalidArgument, "%w", err)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("uds: %w during the handshake, %s %v: process %d died or closed the socket", link.ErrPeerGone, doing, k, x.peer.PID)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(wire.StatusDeadlineExceeded, "handshake not finished in time, %s %v: %w", doing, k, err)
	}
	return fmt.Errorf("uds: handshake, %s %v: %w", doing, k, err)
}

// tell sends err to the peer if it is a refusal of this side. It never waits
// long and its own failure is of no interest.
func (x *exchange) tell(err error) {
	var r *RefusedError
	if !errors.As(err, &r) || r.ByPeer {
		return
	}
	_ = x.c.SetDeadline(time.Now().Add(refusalTime))
	_ = x.send(appendRefusal(nil, r.Status, r.Reason))
}

// dup returns a second descriptor of the socket, non-blocking and
// close-on-exec. The data phase has one of its own because the net package
// would wake its poller for every message; closing the net.Conn then takes the
// socket out of that poller.
func (x *exchange) dup() (int, error) {
	raw, err := x.c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(s uintptr) {
		fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	return fd, dupErr
}
