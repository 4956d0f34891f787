package afxdp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/link"
)

// ErrNoXDP: AF_XDP can't be had here; the text says why. Only with
// XDPOptions.Required.
var ErrNoXDP = errors.New("afxdp: no AF_XDP")

// Dial connects over AF_XDP sockets on the interface that leads to remote, from
// UDP port local to the peer at remote, which does the same the other way round,
// by Dial or by [DialUDP]; neither need be first. The XDP program takes that one
// port of the interface past the kernel and leaves everything else alone. A nil
// o means defaults. ctx bounds the handshake and does not concern the connection
// afterwards. All of it belongs to the calling thread's network namespace.
//
// Where AF_XDP can't be had, the connection is over an ordinary UDP socket, as
// DialUDP makes it, and Info().Why says why; with Options.XDP.Required that is
// an error. That somebody else has a program on the interface is such a reason,
// too; it stays. Connections of one process over one interface share the program
// and the sockets, and must have the same local port. Each is one flow, so that
// a receiver with several queues spreads them over those by their ports; one
// flow stays on one queue, and in order.
//
// With Options.Bulk it is an ordinary socket, too, where that carries more.
//
// Errors: those of DialUDP, and ErrNoXDP.
func Dial(ctx context.Context, local, remote netip.AddrPort, o *Options) (*Conn, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	if err := checkPair(&local, &remote); err != nil {
		return nil, err
	}
	info := link.Info{Kind: "afxdp", Peer: link.Peer{Addr: remote.String()}}
	if u := openBulk(local, remote, &s, false, &info); u != nil {
		return connect(ctx, u, s, info)
	}
	x, err := openXDP(local, remote, &s, &info)
	if err == nil {
		return connect(ctx, x, s, info)
	}
	if s.XDP.Required {
		return nil, fmt.Errorf("%w: %w", ErrNoXDP, err)
	}
	m, e := openUDP(local, remote, &s, false)
	if e != nil {
		return nil, e
	}
	info.Kind, info.ZeroCopy, info.Why = "udp", false, []string{fmt.Sprintf("No AF_XDP: %v.", err)}
	return connect(ctx, m, s, info)
}

// checkPair refuses what can't be the two ends of a conversation.
func checkPair(local, remote *netip.AddrPort) error {
	*local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	*remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !local.IsValid() || !remote.IsValid() || remote.Port() == 0 || local.Addr().Is4() != remote.Addr().Is4() {
		return fmt.Errorf("afxdp: %v to %v is no pair of addresses: both must be IPv4 or both IPv6, the peer's with a port", *local, *remote)
	}
	return nil
}

// openXDP prepares everything but the handshake, and settles o.Datagram.
func openXDP(local, remote netip.AddrPort, o *Options, info *link.Info) (m *xdpMedium, err error) {
	if local.Port() == 0 {
		return nil, errors.New("the local port must be chosen, since the program is loaded for one")
	}
	datagram := o.Datagram
	if m, err = newXDPMedium(!o.XDP.NoChecksum); err != nil {
		return nil, fmt.Errorf("an eventfd: %w", err)
	}
	defer func() {
		if err != nil {
			o.Datagram = datagram
			err = errors.Join(err, m.close())
			m = nil
		}
	}()
	if m.watcher, err = nexthop.Watch(local.Addr(), remote.Addr()); err != nil {
		return m, err
	}
	path := m.watcher.Path()
	m.index = path.Interface
	if local.Addr().IsUnspecified() {
		local = netip.AddrPortFrom(path.Local, local.Port())
	}
	m.flow = packet.Flow{VLAN: path.VLAN,
		Local:  netip.AddrPortFrom(local.Addr().WithZone(""), local.Port()),
		Remote: netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port())}
	m.parser = packet.NewParser(&m.flow, path.Type != "device")
	if err = m.measure(path, o); err != nil {
		return m, err
	}
	d, err := openDetour(local, remote, o.Datagram, o.Window+2*receiveBatch)
	if err != nil {
		return m, err
	}
	m.detour = d
	if err = join(m, path, o); err != nil {
		return m, err
	}
	info.ZeroCopy, info.Why = m.station.zeroCopy, m.station.why
	o.whole = m.station.generic && path.Type != "device"
	return m, nil
}

// measure settles how long datagrams are.
func (m *xdpMedium) measure(path *nexthop.Path, o *Options) error {
	v6 := m.flow.Remote.Addr().Is6()
	size := frameSize(path.MTU, &o.XDP)
	fits := min(path.MTU-ipHeaders(v6), longestIn(maxSpan*size, v6), maxDatagram) &^ (recordAlign - 1)
	if fits < minDatagram {
		return fmt.Errorf("the MTU of %s is %d, and %d are needed; raise it (ip link set dev %s mtu 1500)",
			path.Name, path.MTU, minDatagram+ipHeaders(v6), path.Name)
	}
	if o.Datagram == 0 {
		o.Datagram = min(fits, longestIn(size, v6))
	}
	if o.Datagram > fits {
		return fmt.Errorf("datagrams of %d bytes fit the MTU of %s, %d, and %d frames of %d bytes, and Options.Datagram is %d; lower it, or leave it 0",
			fits, path.Name, path.MTU, maxSpan, size, o.Datagram)
	}
	o.Datagram &^= recordAlign - 1
	return nil
}
