package uds

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// nodeSocket is one end of the socket between a cell and its node. One
// goroutine receives; any may send.
type nodeSocket struct {
	c       *net.UnixConn
	raw     syscall.RawConn
	mu      sync.Mutex // of sending
	scratch []byte
}

func newNodeSocket(c *net.UnixConn) (*nodeSocket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &nodeSocket{c: c, raw: raw}, nil
}

// errNodeFull: the other side doesn't read what it is sent.
var errNodeFull = errors.New("uds: the other end of the node's socket does not read")

// send sends m with a descriptor, which stays the caller's; -1 is none. If
// patient it waits for room, else a full socket is errNodeFull: a node must not
// wait for a cell.
func (s *nodeSocket) send(m *nodeMessage, fd int, patient bool) error {
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scratch = m.append(s.scratch[:0])
	var sent error
	err := s.raw.Write(func(sock uintptr) bool {
		for {
			sent = unix.Sendmsg(int(sock), s.scratch, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if !errors.Is(sent, unix.EINTR) {
				return !patient || !errors.Is(sent, unix.EAGAIN)
			}
		}
	})
	if errors.Is(sent, unix.EAGAIN) {
		return errNodeFull
	}
	return errors.Join(err, sent)
}

// errNoDescriptors: this process has no descriptors left.
var errNoDescriptors = errors.New("uds: this process has no descriptors left; raise its limit (RLIMIT_NOFILE)")

// receive waits for one message, into b, and returns its bytes. With room for
// a descriptor it returns what came, or -1; without it the kernel drops what is
// sent. A message whose descriptor this process had no number left for comes
// without it and with errNoDescriptors. The end is io.EOF, as is an empty message, which nobody sends.
func (s *nodeSocket) receive(b []byte, room bool) (n, fd int, err error) {
	var space [64]byte
	var oob []byte
	if room {
		oob = space[:unix.CmsgSpace(4)]
	}
	n, oobn, flags, _, err := s.c.ReadMsgUnix(b, oob)
	fd, extra := takeDescriptor(oob[:oobn])
	switch {
	case err == nil && n == 0, errors.Is(err, unix.ECONNRESET), errors.Is(err, net.ErrClosed):
		err = io.EOF
	case err == nil && room && fd < 0 && !extra && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == unix.MSG_CTRUNC:
		err = errNoDescriptors
	case err == nil && (flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 || extra):
		err = fmt.Errorf("%w: longer than %d bytes, or with descriptors that nobody asked for", errNodeMessage, len(b))
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return n, fd, err
}

// takeDescriptor returns the one descriptor in control data, or -1; of several
// all are closed.
func takeDescriptor(oob []byte) (fd int, extra bool) {
	if len(oob) == 0 {
		return -1, false
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, true
	}
	fd = -1
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, f := range fds {
			if fd >= 0 {
				unix.Close(f)
				extra = true
				continue
			}
			fd = f
		}
	}
	return fd, extra
}

// streamPair makes the two ends of a connection that is handed out.
func streamPair() (a, b int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fds[0], fds[1], err
}

// unixConn makes a connection of a descriptor, which it owns.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "handed over")
	defer f.Close() // the connection has a descriptor of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UnixConn); ok {
		return u, nil
	}
	return nil, errors.Join(fmt.Errorf("%w: a socket of family %v", errNodeMessage, c.LocalAddr().Network()), c.Close())
}

// isStream says whether a descriptor is a unix stream socket.
func isStream(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}
