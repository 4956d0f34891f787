package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where pheromones go. The IPv4 group is of the organisation-local scope (RFC
// 2365) and sent with a TTL of 1; the IPv6 group is link-local and spells CELL.
const (
	DefaultPort = 12355
	group4      = "239.255.67.76"
	group6      = "ff02::4345:4c4c"
)

var (
	addrGroup4 = netip.MustParseAddr(group4)
	addrGroup6 = netip.MustParseAddr(group6)
)

// receiveBuffer is what is asked for each socket: some thousand pheromones.
const receiveBuffer = 4 << 20

// socket is one UDP socket: the two over which everything is sent and answers
// come (device is empty), or one that hears the groups on one interface.
type socket struct {
	conn   *net.UDPConn
	device string
	six    bool
}

// listen opens a socket. For a group socket, device is the interface to hear
// and index its number.
func listen(network string, port int, device string, index int, cluster [8]byte) (*socket, error) {
	six := network == "udp6"
	var setup error
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		err := raw.Control(func(fd uintptr) { setup = prepare(int(fd), six, device, index, cluster) })
		return errors.Join(err, setup)
	}}
	host := "0.0.0.0"
	if six {
		host = "[::]"
	}
	c, err := lc.ListenPacket(context.Background(), network, fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		return nil, err
	}
	return &socket{conn: c.(*net.UDPConn), device: device, six: six}, nil
}

// prepare sets what must be set before a socket is bound. Nothing may come in
// between that the filter has not seen.
func prepare(fd int, six bool, device string, index int, cluster [8]byte) error {
	if err := attachFilter(fd, cluster); err != nil {
		return fmt.Errorf("discovery: the socket's filter: %w", err)
	}
	// What an administrator allows may be less, and suffices for small clusters.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if six {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if device == "" {
		if six {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 1)
		}
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 1))
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.BindToDevice(fd, device)); err != nil {
		return err
	}
	if six {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
	} else if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return err
	}
	return join(fd, six, index)
}

// join makes a socket hear the group on its interface, and no other group.
func join(fd int, six bool, index int) error {
	if six {
		return errors.Join(unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: addrGroup6.As16(), Interface: uint32(index)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0))
	}
	return errors.Join(unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
		&unix.IPMreqn{Multiaddr: addrGroup4.As4(), Ifindex: int32(index)}),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0))
}

// sendOn sends to an address over a chosen interface.
func (s *socket) sendOn(index int, to netip.AddrPort, data []byte) error {
	var control []byte
	if s.six {
		control = unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(index)})
	} else {
		control = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(index)})
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(data, control, to)
	return err
}

const (
	cmsgHeader = unix.SizeofCmsghdr
	// controlSize holds the one control message that is asked for.
	controlSize = 64
)

// toGroup says whether a datagram was sent to a group or by broadcast, from the
// control message that came with it: struct in_pktinfo (ip(7)) or in6_pktinfo
// (RFC 3542). The sockets that hear no group have none.
func (s *socket) toGroup(control []byte) bool {
	if s.six {
		return len(control) >= cmsgHeader+unix.SizeofInet6Pktinfo && control[cmsgHeader] == 0xff
	}
	if len(control) < cmsgHeader+unix.SizeofInet4Pktinfo {
		return false
	}
	// Interface, this host's address, the address in the header: they are the
	// same in what is sent to one host.
	info := control[cmsgHeader : cmsgHeader+unix.SizeofInet4Pktinfo]
	return string(info[4:8]) != string(info[8:12])
}

func (s *socket) port() int { return s.conn.LocalAddr().(*net.UDPAddr).Port }
