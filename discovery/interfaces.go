package discovery

import (
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// nic is an interface as far as it matters here.
type nic struct {
	name      string
	index     int
	multicast bool
	four, six bool // has addresses of the family
	broadcast []netip.Addr
	addrs     []netip.Addr // by which others can reach this node: no loopback, no link-local
}

func (a nic) equal(b nic) bool {
	return a.name == b.name && a.index == b.index && a.multicast == b.multicast && a.four == b.four && a.six == b.six &&
		slices.Equal(a.broadcast, b.broadcast) && slices.Equal(a.addrs, b.addrs)
}

// nics returns the interfaces that are up and chosen, but for loopback, over
// which no multicast is heard.
func nics(chosen func(name string) bool) ([]nic, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []nic
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || chosen != nil && !chosen(i.Name) {
			continue
		}
		n := nic{name: i.Name, index: i.Index, multicast: i.Flags&net.FlagMulticast != 0}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			n.add(a, i.Flags&net.FlagBroadcast != 0)
		}
		if n.four || n.six {
			found = append(found, n)
		}
	}
	return found, nil
}

func (n *nic) add(a net.Addr, broadcasts bool) {
	p, err := netip.ParsePrefix(a.String())
	if err != nil {
		return
	}
	ip := p.Addr().Unmap()
	n.four, n.six = n.four || ip.Is4(), n.six || ip.Is6()
	if !ip.IsLinkLocalUnicast() {
		n.addrs = append(n.addrs, ip)
	}
	if ip.Is4() && broadcasts && p.Bits() < 31 {
		b := ip.As4()
		for i := range b {
			b[i] |= byte(0xff >> min(max(p.Bits()-8*i, 0), 8))
		}
		n.broadcast = append(n.broadcast, netip.AddrFrom4(b))
	}
}

// addressChanges opens a socket that becomes readable when interfaces or addresses
// change (rtnetlink(7)).
func addressChanges() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
