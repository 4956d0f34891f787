package afxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// socketBuffer is how many bytes the kernel is asked to keep for a socket in
// each direction; it may allow less.
const socketBuffer = 4 << 20

// udpBatch is how many messages one system call sends or receives at most.
const udpBatch = sendBatch

// udpMedium is an ordinary UDP socket, connected, in batches (sendmmsg,
// recvmmsg), of messages that are many datagrams each where the kernel can cut
// up and put together (GSO, GRO).
type udpMedium struct {
	sock       int
	v6         bool
	fragmented bool // the path's MTU was lowered; the kernel fragments now
	why        []string

	out udpSender
	in  udpReceiver
}

// DialUDP connects over an ordinary UDP socket bound to local, to the peer at
// remote, which does the same the other way round; neither need be first. A nil
// o means defaults. ctx bounds the handshake and does not concern the
// connection afterwards.
//
// Errors: what is wrong with o or the addresses, ErrMismatch, what the kernel
// says, or the context's, if the peer does not answer.
func DialUDP(ctx context.Context, local, remote netip.AddrPort, o *Options) (*Conn, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	m, err := openUDP(local, remote, &s, false)
	if err != nil {
		return nil, err
	}
	return connect(ctx, m, s, link.Info{
		Kind: "udp", Peer: link.Peer{Addr: remote.String()},
		Why: append([]string{"An ordinary UDP socket was asked for, not AF_XDP."}, m.why...),
	})
}

// openUDP makes the socket and settles o.Datagram. With shared a listener has the
// port, too.
func openUDP(local, remote netip.AddrPort, o *Options, shared bool) (*udpMedium, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !local.IsValid() || !remote.IsValid() || remote.Port() == 0 || local.Addr().Is4() != remote.Addr().Is4() {
		return nil, fmt.Errorf("afxdp: %v to %v is no pair of addresses: both must be IPv4 or both IPv6, the peer's with a port", local, remote)
	}
	m := &udpMedium{v6: remote.Addr().Is6()}
	family := unix.AF_INET
	if m.v6 {
		family = unix.AF_INET6
	}
	var err error
	if m.sock, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("afxdp: making a UDP socket: %w", err)
	}
	if err = bindAndConnect(m.sock, local, remote, shared); err == nil {
		err = m.tune(o)
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.offload(o)
	m.allot(o)
	return m, nil
}

// bindAndConnect makes a socket the two ends' own. With shared others have the
// same port: between the two steps it would get what is for them, so that
// everything is dropped in the meantime.
func bindAndConnect(sock int, local, remote netip.AddrPort, shared bool) error {
	from, err := sockaddr(local)
	if err != nil {
		return err
	}
	to, err := sockaddr(remote)
	if err != nil {
		return err
	}
	if shared {
		if err := unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("afxdp: sharing a UDP port: %w", err)
		}
		none := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K} // of each packet 0 bytes
		if err := unix.SetsockoptSockFprog(sock, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none}); err != nil {
			return fmt.Errorf("afxdp: a filter for a socket: %w", err)
		}
	}
	if err := unix.Bind(sock, from); err != nil {
		return fmt.Errorf("afxdp: binding UDP %v: %w (is it an address of this host, and is the port free?)", local, err)
	}
	if err := unix.Connect(sock, to); err != nil {
		return fmt.Errorf("afxdp: no way from %v to %v: %w", local, remote, err)
	}
	if shared {
		if err := unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return fmt.Errorf("afxdp: taking the filter off a socket: %w", err)
		}
	}
	return nil
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("afxdp: the zone of %v: %w", a, err)
		}
		s.ZoneId = uint32(i.Index)
	}
	return s, nil
}

// localAddr is what a socket is bound to.
func localAddr(sock int) (netip.AddrPort, error) {
	s, err := unix.Getsockname(sock)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("afxdp: the socket's own address: %w", err)
	}
	switch a := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("afxdp: the socket's own address is none of IP: %T", s)
}

// tune asks for large buffers, no fragments, and the path's MTU.
func (m *udpMedium) tune(o *Options) error {
	for _, b := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(m.sock, unix.SOL_SOCKET, b[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(m.sock, unix.SOL_SOCKET, b[1], socketBuffer)
		}
	}
	if o.BusyPoll > 0 {
		us := int((o.BusyPoll + time.Microsecond - 1) / time.Microsecond)
		if err := unix.SetsockoptInt(m.sock, unix.SOL_SOCKET, unix.SO_BUSY_POLL, us); err != nil {
			return fmt.Errorf("afxdp: Options.BusyPoll: %w (it needs CAP_NET_ADMIN to go above net.core.busy_read)", err)
		}
	}
	level, opt, headers := unix.IPPROTO_IP, unix.IP_MTU, 28
	if m.v6 {
		level, opt, headers = unix.IPPROTO_IPV6, unix.IPV6_MTU, 48
	}
	mtu, err := unix.GetsockoptInt(m.sock, level, opt)
	if err != nil {
		return fmt.Errorf("afxdp: the path's MTU: %w", err)
	}
	fits := min(mtu-headers, maxDatagram) &^ (recordAlign - 1)
	if fits < minDatagram {
		return fmt.Errorf("afxdp: the path's MTU is %d, and %d are needed for datagrams of %d bytes, the least that there may be; raise it (ip link set dev … mtu 1500)",
			mtu, minDatagram+headers, minDatagram)
	}
	if o.Datagram == 0 {
		o.Datagram = min(fits, defaultDatagram)
	}
	if o.Datagram > fits {
		return fmt.Errorf("afxdp: the path's MTU is %d, which carries datagrams of %d bytes, and Options.Datagram is %d; lower it, or leave it 0",
			mtu, fits, o.Datagram)
	}
	o.Datagram &^= recordAlign - 1
	return m.fragment(false)
}

// fragment lets the kernel cut datagrams up, or forbids it.
func (m *udpMedium) fragment(allow bool) error {
	level, opt, how := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if m.v6 {
		level, opt, how = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	if allow {
		how = unix.IP_PMTUDISC_DONT // IPv6 has the same value
	}
	if err := unix.SetsockoptInt(m.sock, level, opt, how); err != nil {
		return fmt.Errorf("afxdp: path MTU discovery: %w", err)
	}
	return nil
}

// offload asks the kernel to cut up and put together.
func (m *udpMedium) offload(o *Options) {
	if o.NoOffload {
		m.why = append(m.why, "Each datagram is a message of its own, as Options.NoOffload says.")
		return
	}
	// Zero changes nothing; that it is taken shows that the kernel can.
	if err := unix.SetsockoptInt(m.sock, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0); err != nil {
		m.why = append(m.why, fmt.Sprintf("The kernel does not cut up messages into datagrams (UDP_SEGMENT: %v; Linux 4.18 does).", err))
	} else {
		m.out.segment = true
	}
	if err := unix.SetsockoptInt(m.sock, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		m.why = append(m.why, fmt.Sprintf("The kernel does not put together datagrams (UDP_GRO: %v; Linux 5.0 does).", err))
	}
}

// sendWhole has each datagram be a message of its own from now on, and says why.
func (m *udpMedium) sendWhole() string {
	m.out.segment = false
	return "Each datagram goes as a message of its own: the peer receives past the kernel, behind the driver of a virtual interface, where nobody cuts up longer ones."
}

// allot takes memory for a window of datagrams in each direction, and for one
// batch more.
func (m *udpMedium) allot(o *Options) {
	n := o.Window + sendBatch
	slab := make([]byte, n*o.Datagram)
	m.out.free = make([]*outFrame, n)
	for i := range m.out.free {
		m.out.free[n-1-i] = &outFrame{buf: slab[i*o.Datagram : (i+1)*o.Datagram : (i+1)*o.Datagram], id: uint64(i)}
	}
	m.in.open(o.Window+2*receiveBatch, o.Datagram)
}

func (m *udpMedium) fds() []int { return []int{m.sock} }
func (m *udpMedium) rouse()     {}
func (m *udpMedium) tend(bool)  {}

// failed says whether to try again after an error of a system call.
func (m *udpMedium) failed(errno unix.Errno) (again bool, err error) {
	switch errno {
	case unix.EINTR:
		return true, nil
	case unix.EAGAIN, unix.ENOBUFS:
		return false, nil
	case unix.ECONNREFUSED:
		return false, errRefused
	case unix.EMSGSIZE:
		if !m.fragmented {
			m.fragmented = true
			err := m.fragment(true)
			return err == nil, err
		}
	}
	return false, errno
}

func (m *udpMedium) close() error {
	if m.sock < 0 {
		return nil
	}
	err := unix.Close(m.sock)
	m.sock = -1
	return err
}
