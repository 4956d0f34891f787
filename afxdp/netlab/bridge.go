package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is several hosts on one Ethernet bridge, which lies in a namespace of
// its own. Multicast and broadcasts reach all of them.
type Bridge struct {
	Hosts []*Host

	wires *Host // holds the bridge
}

// NewBridge makes a number of hosts (at most 250) with addresses 10.78.0.N and
// fd78::N, N from 1, and waits until the kernel carries what they send.
func NewBridge(hosts int) (*Bridge, error) {
	if hosts < 1 || hosts > 250 {
		return nil, fmt.Errorf("netlab: a bridge with %d hosts; 1 to 250", hosts)
	}
	wires, err := newHost("br0", 0)
	if err != nil {
		return nil, err
	}
	b := &Bridge{wires: wires}
	if err := b.build(hosts); err != nil {
		return nil, errors.Join(fmt.Errorf("netlab: %w", err), b.Close())
	}
	return b, nil
}

func (b *Bridge) build(hosts int) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "br0"
	snooping := false // without a querier it would lose groups
	if err := b.wires.Net.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("a bridge: %w", err)
	}
	if _, err := b.wires.up("br0"); err != nil {
		return err
	}
	for i := range hosts {
		h, err := newHost("veth0", byte(i+1))
		if err != nil {
			return err
		}
		b.Hosts = append(b.Hosts, h)
		if err := b.join(i, h); err != nil {
			return fmt.Errorf("host %d: %w", i, err)
		}
	}
	for i, h := range b.Hosts {
		if err := errors.Join(h.awaitUp("veth0"), b.wires.awaitUp(portOf(i))); err != nil {
			return err
		}
	}
	return nil
}

// join connects a host to the bridge and gives it its addresses.
func (b *Bridge) join(i int, h *Host) error {
	h.V4, h.V6 = netip.AddrFrom4([4]byte{10, 78, 0, h.number}), netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x78, 15: h.number})
	attributes := netlink.NewLinkAttrs()
	attributes.Name = portOf(i)
	if err := b.wires.Net.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "veth0", PeerNamespace: netlink.NsFd(h.ns)}); err != nil {
		return fmt.Errorf("a pair of veth interfaces: %w", err)
	}
	if _, err := b.wires.up(portOf(i)); err != nil {
		return err
	}
	if err := b.Plug(i, true); err != nil {
		return err
	}
	if _, err := h.up("lo"); err != nil {
		return err
	}
	veth, err := h.up("veth0")
	if err != nil {
		return err
	}
	h.Index, h.MAC = veth.Attrs().Index, [6]byte(veth.Attrs().HardwareAddr)
	for _, addr := range []netip.Addr{h.V4, h.V6} {
		bits := 24
		if addr.Is6() {
			bits = 64
		}
		ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())}
		if err := h.Net.AddrAdd(veth, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
	}
	return nil
}

func portOf(i int) string { return fmt.Sprintf("port%d", i) }

// Plug puts the cable of a host into the bridge, or takes it out, without the
// host's noticing.
func (b *Bridge) Plug(host int, in bool) error {
	port, err := b.wires.Net.LinkByName(portOf(host))
	if err != nil {
		return err
	}
	if !in {
		return b.wires.Net.LinkSetNoMaster(port)
	}
	bridge, err := b.wires.Net.LinkByName("br0")
	if err != nil {
		return err
	}
	return b.wires.Net.LinkSetMaster(port, bridge)
}

// Close ends the hosts and the bridge.
func (b *Bridge) Close() error {
	var errs []error
	for _, h := range append(b.Hosts, b.wires) {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// up sets an interface up.
func (h *Host) up(name string) (netlink.Link, error) {
	l, err := h.Net.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, h.Net.LinkSetUp(l)
}

// upWithin bounds how long the kernel may take to carry what is sent.
const upWithin = 20 * time.Second

// awaitUp waits until the kernel has seen that an interface carries something;
// until then it drops what is sent.
func (h *Host) awaitUp(name string) error {
	for end := time.Now().Add(upWithin); ; time.Sleep(5 * time.Millisecond) {
		l, err := h.Net.LinkByName(name)
		if err != nil {
			return err
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is %v after %v", name, l.Attrs().OperState, upWithin)
		}
	}
}
