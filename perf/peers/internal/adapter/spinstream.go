package adapter

import (
	"errors"
	"io"
	"net"

	"github.com/cell-runtime/cell/sched"
	"golang.org/x/sys/unix"
)

// spinStream reads and writes a socket without ever sleeping: the runtime's
// poller is not in the way, and the kernel has nobody to wake.
type spinStream struct {
	conn *net.UnixConn
	fd   int // a descriptor of the same socket, -1 once closed
}

func spinningStream(c *net.UnixConn) (byteStream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &spinStream{conn: c, fd: -1}
	var dup error
	if err := raw.Control(func(fd uintptr) {
		s.fd, dup = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) // shares O_NONBLOCK
	}); err != nil {
		return nil, err
	}
	return s, dup
}

// spin tries an operation until it neither would block nor is interrupted.
func spin(try func() (int, error)) (int, error) {
	for {
		n, err := try()
		switch err {
		case unix.EAGAIN:
			sched.Pause()
		case unix.EINTR:
		default:
			return n, err
		}
	}
}

// Read implements io.Reader.
func (s *spinStream) Read(b []byte) (int, error) {
	n, err := spin(func() (int, error) { return unix.Read(s.fd, b) })
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// Write implements io.Writer.
func (s *spinStream) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := spin(func() (int, error) { return unix.Write(s.fd, b[done:]) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// CloseWrite ends the stream for the reader.
func (s *spinStream) CloseWrite() error { return unix.Shutdown(s.fd, unix.SHUT_WR) }

// Close implements io.Closer.
func (s *spinStream) Close() error {
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return errors.Join(unix.Close(fd), s.conn.Close())
}
