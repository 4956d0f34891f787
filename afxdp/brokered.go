package afxdp

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/ebpf"
)

// program sends a station's packets to its sockets: this process's own
// (ebpf.Redirect), or a broker's.
type program interface {
	// Attached says whether it still does.
	Attached() (bool, error)
	SetSocket(queue uint32, fd int) error
	Stats() (ebpf.RedirectStats, error)
	Close() error
}

// brokered is a broker's program, as its client sees it: by a connection for
// each queue, that ends with the broker.
type brokered struct {
	conns []*net.UnixConn
	files []*os.File // of conns, to look at without waiting
}

// askBroker asks the broker at path for the station's queues and returns what it
// has handed over.
func (s *station) askBroker(path string, queues []uint32) (fds []int, err error) {
	b := &brokered{}
	s.redirect = b
	defer func() {
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd) // never used
			}
			fds = nil
		}
	}()
	for _, q := range queues {
		c, h, err := broker.Dial(path, q)
		if err != nil {
			return fds, err
		}
		fds, b.conns = append(fds, h.FD), append(b.conns, c)
		f, err := c.File()
		if err != nil {
			return fds, fmt.Errorf("the connection to the broker: %w", err)
		}
		b.files = append(b.files, f)
		if h.Interface != s.key.index || h.Port != s.port {
			return fds, fmt.Errorf("the broker at %s has UDP port %d of interface %d, and port %d of %s, which is interface %d, is wanted", path, h.Port, h.Interface, s.port, s.name, s.key.index)
		}
		if s.span > 1 && !h.Frags {
			return fds, fmt.Errorf("the program of the broker at %s takes packets of one frame alone, and Options.Datagram asks for longer ones: leave it out, or have the broker take them (broker.Options.Frags; cellnode broker --frags)", path)
		}
		s.generic = h.Mode != ebpf.ModeDriver
	}
	s.why = append(s.why, fmt.Sprintf("The sockets and the program are those of the broker at %s.", path))
	return fds, nil
}

// Attached says whether the broker is there.
func (b *brokered) Attached() (bool, error) {
	var one [1]byte
	for _, f := range b.files {
		n, _, err := unix.Recvfrom(int(f.Fd()), one[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
		if n == 0 && err == nil || errors.Is(err, unix.ECONNRESET) {
			return false, nil
		}
	}
	return true, nil
}

// SetSocket is the broker's to do, and done.
func (b *brokered) SetSocket(uint32, int) error { return nil }

// Stats are the broker's alone.
func (b *brokered) Stats() (ebpf.RedirectStats, error) { return ebpf.RedirectStats{}, nil }

// Close frees the queues.
func (b *brokered) Close() error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, f.Close())
	}
	for _, c := range b.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
