package afxdp

import (
	"net/netip"

	"github.com/cell-runtime/cell/afxdp/nexthop"
	"github.com/cell-runtime/cell/link"
)

// openBulk opens an ordinary socket where that carries more than AF_XDP does, for
// Options.Bulk: between virtual interfaces of one host. There a message of 64
// datagrams crosses both network stacks in one piece (UDP_SEGMENT, UDP_GRO), and
// past the kernel each datagram is copied twice by itself. It returns nil where
// that does not hold. info is told why.
func openBulk(local, remote netip.AddrPort, o *Options, shared bool, info *link.Info) *udpMedium {
	if !o.Bulk || o.NoOffload || o.XDP.Required {
		return nil
	}
	w, err := nexthop.Watch(local.Addr(), remote.Addr())
	if err != nil {
		return nil // AF_XDP says what is wrong
	}
	p := w.Path()
	if w.Close() != nil || p.Type != "veth" || taken(p.Interface) {
		return nil
	}
	was := *o
	u, err := openUDP(local, remote, o, shared)
	if err != nil || !u.out.segment {
		if err == nil {
			_ = u.close()
		}
		*o = was
		return nil
	}
	info.Kind, info.ZeroCopy = "udp", false
	info.Why = append([]string{"An ordinary UDP socket, not AF_XDP: Options.Bulk asks for what carries most, and over " + p.Name +
		", a virtual interface, that is GSO and GRO. Options.XDP.Required has AF_XDP all the same."}, u.why...)
	return u
}

// taken says whether this process takes packets of an interface past the kernel
// already: what is for an ordinary socket might be among them.
func taken(ifindex int) bool {
	ns, err := namespace()
	if err != nil {
		return true
	}
	stations.Lock()
	defer stations.Unlock()
	return stations.all[stationKey{ns, ifindex}] != nil
}
