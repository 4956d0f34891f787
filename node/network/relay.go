package network

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/quic"
)

// MediumRelay names paths over QUIC by a relay, at whose address the node waits to
// be reached.
const MediumRelay = "relay"

// byRelay opens links to cells of nodes that wait at a relay.
type byRelay struct {
	dialer
	punch bool
}

// Medium implements discovery.Dialer.
func (byRelay) Medium() string { return MediumRelay }

// Dial implements discovery.Dialer.
func (d byRelay) Dial(ctx context.Context, p discovery.Path) (link.Link, error) {
	l, err := d.endpoint.DialVia(ctx, quic.Via{Addr: p.Addr.String(), Punch: d.punch}, p.Node, nil)
	if err != nil {
		return nil, err
	}
	return introduced(ctx, l, purposeCell, p.Service, nil)
}

// relayPace is how long a relay that refuses is left alone.
const relayPace = time.Minute

// waitAt waits at a relay for those that have no other way to this node, until
// ctx ends. While the relay lets it, beacons tell the relay's address.
func (n *Network) waitAt(ctx context.Context, m *member, addr string) {
	for ctx.Err() == nil {
		at, err := resolve(ctx, addr)
		if err == nil {
			err = m.endpoint.WaitAt(ctx, quic.Via{Addr: at.String(), Punch: n.o.Config.Punch, Waiting: func(waits bool) {
				if waits {
					n.setRelay(addr, at)
				} else {
					n.setRelay(addr, netip.AddrPort{})
				}
				n.Changed()
			}})
		}
		if ctx.Err() != nil {
			return
		}
		n.o.Logger.Warn("network: not reached by the relay", "addr", addr, "err", err)
		select {
		case <-time.After(relayPace):
		case <-ctx.Done():
		}
	}
}

// resolve looks up host:port. Beacons tell addresses, which all nodes can use.
func resolve(ctx context.Context, addr string) (at netip.AddrPort, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return at, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return at, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return at, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

// setRelay notes at which address this node waits, for a relay of the
// configuration; an invalid one: it does not.
func (n *Network) setRelay(addr string, at netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.IsValid() {
		n.relays[addr] = at
	} else {
		delete(n.relays, addr)
	}
}
