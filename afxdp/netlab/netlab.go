// Package netlab makes two hosts on one machine for tests and measurements: two
// network namespaces with a pair of veth interfaces between them. They have no
// names and no files: when the threads that hold them end, by [Lab.Close] or
// with the process however it ends, the kernel removes them with everything in
// them. Nothing outside them is touched. It needs CAP_SYS_ADMIN and
// CAP_NET_ADMIN, and no programs.
package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Options sets up a [Lab]. Zero fields get the default.
type Options struct {
	MTU    int // default 1,500
	Queues int // of each interface; default 1
	// VLAN, if not 0, puts the addresses on a VLAN interface with that id, atop
	// of the veth.
	VLAN int
	// Addresses is how many addresses of each family a host has; default 1.
	Addresses int
	// Bad puts a network between the hosts that loses packets, repeats them and
	// lets them overtake each other; nil: their interfaces are joined directly.
	Bad *Bad
}

// Lab is a pair of hosts.
type Lab struct {
	A, B   *Host
	Middle *Middle // nil: nothing is between them
}

// Host is a network namespace with one interface, up, with addresses.
type Host struct {
	Interface string // of the veth
	Index     int    // of it
	Device    string // that has the addresses: Interface, or a VLAN atop of it
	V4, V6    netip.Addr
	MAC       [6]byte
	Net       *netlink.Handle // to change it with; for one goroutine at a time

	number byte // 1 or 2
	jobs   chan func()
	ns     int
}

// New makes a lab.
func New(o Options) (*Lab, error) {
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.Queues == 0 {
		o.Queues = 1
	}
	if o.Addresses == 0 {
		o.Addresses = 1
	}
	a, err := newHost("veth0", 1)
	if err != nil {
		return nil, err
	}
	b, err := newHost("veth1", 2)
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	l := &Lab{A: a, B: b}
	if err := l.wire(o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// newHost makes a namespace and the thread that holds it.
func newHost(name string, number byte) (*Host, error) {
	h := &Host{Interface: name, Device: name, number: number, jobs: make(chan func()), ns: -1}
	h.V4, h.V6 = h.Addr(false), h.Addr(true)
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			h.Net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		}
		if err == nil {
			err = quiet()
		}
		begun <- err
		if err != nil {
			return
		}
		for job := range h.jobs {
			job()
		}
	}()
	if err := <-begun; err != nil {
		if h.ns >= 0 {
			_ = unix.Close(h.ns)
		}
		return nil, fmt.Errorf("netlab: a network namespace: %w (it takes root, or CAP_SYS_ADMIN and CAP_NET_ADMIN)", err)
	}
	return h, nil
}

// Do runs f on the host's thread: sockets that it makes and processes that it
// starts belong to the host. One f runs at a time.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	h.jobs <- func() { done <- f() }
	return <-done
}

// Enter puts the calling thread into the host, for what runs beside [Host.Do].
// Its goroutine must be locked to it and never be unlocked.
func (h *Host) Enter() error { return unix.Setns(h.ns, unix.CLONE_NEWNET) }

// Addr returns the first of the host's IPv6 or IPv4 addresses.
func (h *Host) Addr(v6 bool) netip.Addr { return h.AddrAt(v6, 0) }

// AddrAt returns the i-th of the host's IPv6 or IPv4 addresses, from 0. It is in
// one network with the other host's i-th.
func (h *Host) AddrAt(v6 bool, i int) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 3: byte(i), 15: h.number})
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(i), h.number})
}

func (h *Host) close() error {
	close(h.jobs)
	h.Net.Close()
	return unix.Close(h.ns)
}

// SetQueues changes how many queues a host's interface has, of those that it was
// made with, as ethtool -L does.
func (h *Host) SetQueues(n int) error {
	return h.Do(func() error { return setQueues(h.Interface, n) })
}

// ThreadedNAPI has a thread of the kernel of its own receive on a host's
// interface, so that senders don't do that work: /sys/class/net/…/threaded. It
// counts while the interface receives so, with a program in its driver.
func (h *Host) ThreadedNAPI() error {
	return h.Do(func() error {
		// /sys shows the namespace of who mounted it. The thread ends with the
		// host, and its mounts with it.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("netlab: mounts of its own: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("netlab: mounts of its own: %w", err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return fmt.Errorf("netlab: /sys of the namespace: %w", err)
		}
		return os.WriteFile("/sys/class/net/"+h.Interface+"/threaded", []byte("1"), 0)
	})
}

// Close ends both hosts.
func (l *Lab) Close() error {
	var err error
	if l.Middle != nil {
		err = l.Middle.close()
	}
	return errors.Join(err, l.A.close(), l.B.close())
}

// wire makes the interfaces, gives them their addresses and brings them up.
func (l *Lab) wire(o Options) error {
	if o.Bad == nil {
		if err := pair(l.A, l.A.Interface, l.B, l.B.Interface, o); err != nil {
			return err
		}
	} else {
		m, err := newMiddle(l, o)
		if err != nil {
			return err
		}
		l.Middle = m
	}
	for _, h := range []*Host{l.A, l.B} {
		err := h.bringUp(o)
		if err == nil && o.Bad != nil {
			err = h.wholeChecksums()
		}
		if err != nil {
			return fmt.Errorf("netlab: %s: %w", h.Interface, err)
		}
	}
	return nil
}

func (h *Host) bringUp(o Options) error {
	lo, err := h.Net.LinkByName("lo")
	if err != nil {
		return err
	}
	veth, err := h.Net.LinkByName(h.Interface)
	if err != nil {
		return err
	}
	h.Index, h.MAC = veth.Attrs().Index, [6]byte(veth.Attrs().HardwareAddr)
	for _, l := range []netlink.Link{lo, veth} {
		if err := h.Net.LinkSetUp(l); err != nil {
			return err
		}
	}
	device := veth
	if o.VLAN != 0 {
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.ParentIndex = fmt.Sprintf("%s.%d", h.Interface, o.VLAN), h.Index
		if err := h.Net.LinkAdd(&netlink.Vlan{LinkAttrs: attributes, VlanId: o.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}); err != nil {
			return err
		}
		h.Device = attributes.Name
		if device, err = h.Net.LinkByName(h.Device); err != nil {
			return err
		}
		if err := h.Net.LinkSetUp(device); err != nil {
			return err
		}
	}
	for i := range 2 * o.Addresses {
		addr, bits := h.AddrAt(i%2 == 1, i/2), 24
		if addr.Is6() {
			bits = 64
		}
		ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())}
		if err := h.Net.AddrAdd(device, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
	}
	return nil
}

// quiet keeps future interfaces of this thread's namespace from soliciting
// routers, and from asking around for a second whether anybody has their IPv6
// addresses. Kernels without IPv6 have nothing to turn off.
func quiet() error {
	for _, name := range []string{"router_solicitations", "accept_dad"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+name, []byte("0"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
