package afxdp

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// detour is the kernel's own way to the same peer: an ordinary UDP socket beside
// the AF_XDP sockets, with the same addresses and ports. It holds the port, so
// that nobody else takes it. By it goes what can't go past the kernel: while the
// neighbour is not known, where a frame has become too long for the MTU. By it
// comes what the program has not redirected: fragments, packets on a queue
// without a socket, everything once somebody has detached the program. And it
// hears the ICMP messages.
type detour struct {
	sock       int
	v6         bool
	fragmented bool
	size       int
	buffers    [][]byte
	spare      []int
}

// openDetour makes the socket. It has memory for at most datagrams of size
// bytes, which it takes when they come.
func openDetour(local, remote netip.AddrPort, size, most int) (*detour, error) {
	d := &detour{v6: remote.Addr().Is6(), size: size}
	family := unix.AF_INET
	if d.v6 {
		family = unix.AF_INET6
	}
	var err error
	if d.sock, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("afxdp: making a UDP socket: %w", err)
	}
	// Connections to several peers share the port.
	if err = bindAndConnect(d.sock, local, remote, true); err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.buffers = make([][]byte, 0, most)
	return d, nil
}

// send sends one datagram. sent is false if the kernel has no room now.
func (d *detour) send(b []byte) (sent bool, err error) {
	for {
		_, err := unix.Write(d.sock, b)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			return false, nil
		case errors.Is(err, unix.ECONNREFUSED):
			return false, errRefused
		case errors.Is(err, unix.EMSGSIZE) && !d.fragmented:
			d.fragmented = true
			if err := d.fragment(); err != nil {
				return false, err
			}
		default:
			return false, err
		}
	}
}

// fragment lets the kernel cut datagrams up from now on.
func (d *detour) fragment() error {
	level, opt, how := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if d.v6 {
		level, opt, how = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT
	}
	if err := unix.SetsockoptInt(d.sock, level, opt, how); err != nil {
		return fmt.Errorf("afxdp: path MTU discovery: %w", err)
	}
	return nil
}

// receive returns a datagram and the number of its memory, or a nil one.
func (d *detour) receive() (b []byte, at int, err error) {
	if len(d.spare) == 0 {
		if len(d.buffers) == cap(d.buffers) {
			return nil, 0, nil
		}
		d.spare = append(d.spare, len(d.buffers))
		d.buffers = append(d.buffers, make([]byte, d.size+1)) // one more shows what is too long
	}
	at = d.spare[len(d.spare)-1]
	for {
		n, errno := readNow(d.sock, d.buffers[at])
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil, 0, nil
		case unix.ECONNREFUSED:
			return nil, 0, errRefused
		default:
			return nil, 0, errno
		}
		d.spare = d.spare[:len(d.spare)-1]
		if n > d.size {
			n = 0 // nothing of it counts; it is malformed
		}
		return d.buffers[at][:n:n], at, nil
	}
}

func (d *detour) recycle(at int) { d.spare = append(d.spare, at) }

func (d *detour) close() error {
	if d.sock < 0 {
		return nil
	}
	err := unix.Close(d.sock)
	d.sock = -1
	return err
}
