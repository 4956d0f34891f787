// Package nexthop follows what the kernel knows about the way to one address:
// the interface, the VLAN, the MTU and the MAC address of the next hop, by its
// routing and neighbour tables (rtnetlink(7), RFC 826, RFC 4861). The kernel
// stays the one that asks the network; this package has it ask, and listens.
package nexthop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is the way to an address as it was at one time.
type Path struct {
	// Interface is the index of the Ethernet interface that frames leave by, and
	// Name its name: below a VLAN, if the route leads over one.
	Interface int
	Name      string
	Type      string     // "device", "veth", …
	VLAN      uint16     // 1 to 4094, or 0
	MTU       int        // in bytes, of an IP packet
	Local     netip.Addr // from which the kernel would send
	NextHop   netip.Addr // the address itself, or a router's
	LocalMAC  [6]byte
	RemoteMAC [6]byte // of NextHop; zero if it isn't known
	Up        bool
}

// Ready says whether frames can be sent this way.
func (p *Path) Ready() bool { return p.Up && p.RemoteMAC != [6]byte{} }

// ErrNoEthernet: there is a way, but not over an interface that carries
// Ethernet frames.
var ErrNoEthernet = errors.New("nexthop: not by Ethernet")

// usable are states of a neighbour in which its MAC address may be used.
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE

// resolve asks the kernel for the way, and returns the neighbour's state beside
// it: 0 if there is no entry.
func resolve(h *netlink.Handle, local, remote netip.Addr) (p Path, state int, err error) {
	o := &netlink.RouteGetOptions{}
	if local.IsValid() && !local.IsUnspecified() {
		o.SrcAddr = local.WithZone("").AsSlice()
	}
	if zone := remote.Zone(); zone != "" {
		o.Oif = zone
	}
	routes, err := h.RouteGetWithOptions(remote.WithZone("").AsSlice(), o)
	if err != nil || len(routes) == 0 {
		return p, 0, fmt.Errorf("nexthop: no route from %v to %v: %w (ip route get %v)", local, remote, err, remote)
	}
	r := routes[0]
	p.NextHop = remote.WithZone("")
	if gateway, ok := netip.AddrFromSlice(r.Gw); ok {
		p.NextHop = gateway.Unmap()
	} else if r.Via != nil {
		return p, 0, fmt.Errorf("%w: the way to %v leads over a gateway of another family", ErrNoEthernet, remote)
	}
	if source, ok := netip.AddrFromSlice(r.Src); ok {
		p.Local = source.Unmap()
	}
	if r.Type != unix.RTN_UNICAST {
		return p, 0, fmt.Errorf("%w: %v is this host itself, or no address of one host", ErrNoEthernet, remote)
	}
	if err := p.device(h, r.LinkIndex); err != nil {
		return p, 0, err
	}
	if r.MTU != 0 {
		p.MTU = min(p.MTU, r.MTU)
	}
	family := netlink.FAMILY_V4
	if p.NextHop.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := h.NeighList(r.LinkIndex, family)
	if err != nil {
		return p, 0, fmt.Errorf("nexthop: the neighbour table: %w", err)
	}
	for _, n := range all {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == p.NextHop {
			if n.State&usable != 0 && len(n.HardwareAddr) == 6 {
				p.RemoteMAC = [6]byte(n.HardwareAddr)
			}
			return p, n.State, nil
		}
	}
	return p, 0, nil
}

// device fills in what is known of the interface with an index.
func (p *Path) device(h *netlink.Handle, index int) error {
	l, err := h.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("nexthop: interface %d: %w", index, err)
	}
	p.MTU, p.Up = l.Attrs().MTU, isUp(l)
	local := l.Attrs().HardwareAddr
	if v, ok := l.(*netlink.Vlan); ok {
		if v.VlanProtocol != netlink.VLAN_PROTOCOL_8021Q {
			return fmt.Errorf("%w: %s is a VLAN by %v", ErrNoEthernet, v.Name, v.VlanProtocol)
		}
		p.VLAN = uint16(v.VlanId)
		if l, err = h.LinkByIndex(v.ParentIndex); err != nil {
			return fmt.Errorf("nexthop: the interface below %s: %w", v.Name, err)
		}
		p.Up = p.Up && isUp(l)
	}
	a := l.Attrs()
	if a.EncapType != "ether" || len(local) != 6 {
		return fmt.Errorf("%w: %s is of type %s", ErrNoEthernet, a.Name, a.EncapType)
	}
	p.Interface, p.Name, p.Type, p.LocalMAC = a.Index, a.Name, l.Type(), [6]byte(local)
	return nil
}

func isUp(l netlink.Link) bool {
	return l.Attrs().Flags&net.FlagUp != 0 && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}
