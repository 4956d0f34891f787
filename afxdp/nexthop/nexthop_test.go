package nexthop_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/nexthop"
)

func lab(t *testing.T, o netlab.Options) *netlab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	l, err := netlab.New(o)
	if errors.Is(err, unix.EOPNOTSUPP) && o.VLAN != 0 {
		t.Skip("this kernel has no VLANs")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func watch(t *testing.T, h *netlab.Host, local, remote netip.Addr) *nexthop.Watcher {
	t.Helper()
	var w *nexthop.Watcher
	if err := h.Do(func() (err error) { w, err = nexthop.Watch(local, remote); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func eventually(t *testing.T, w *nexthop.Watcher, what string, f func(p *nexthop.Path) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(w.Path()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute; %+v", what, *w.Path())
		}
	}
}

// device returns the interface of a host as it is now.
func device(t *testing.T, h *netlab.Host, name string) netlink.Link {
	t.Helper()
	l, err := h.Net.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mac(t *testing.T, h *netlab.Host) [6]byte {
	return [6]byte(device(t, h, h.Device).Attrs().HardwareAddr)
}

func TestTheWayToANeighbour(t *testing.T) {
	for _, vlan := range []int{0, 77} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("VLAN %d, IPv6 %t", vlan, v6), func(t *testing.T) {
				l := lab(t, netlab.Options{VLAN: vlan, MTU: 1400})
				any := netip.IPv4Unspecified()
				if v6 {
					any = netip.IPv6Unspecified()
				}
				w := watch(t, l.A, any, l.B.Addr(v6))
				eventually(t, w, "the neighbour", (*nexthop.Path).Ready)
				want := nexthop.Path{Interface: l.A.Index, Name: l.A.Interface, Type: "veth", VLAN: uint16(vlan), MTU: 1400,
					Local: l.A.Addr(v6), NextHop: l.B.Addr(v6), LocalMAC: mac(t, l.A), RemoteMAC: mac(t, l.B), Up: true}
				if p := *w.Path(); p != want {
					t.Errorf("\n%+v, want\n%+v", p, want)
				}
			})
		}
	}
}

func TestWhatChanges(t *testing.T) {
	l := lab(t, netlab.Options{})
	w := watch(t, l.A, l.A.V4, l.B.V4)
	eventually(t, w, "the neighbour", (*nexthop.Path).Ready)
	here, there := device(t, l.A, "veth0"), device(t, l.B, "veth1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.A.Net.LinkSetMTU(here, 1300))
	eventually(t, w, "the MTU", func(p *nexthop.Path) bool { return p.MTU == 1300 })
	must(l.A.Net.LinkSetDown(here))
	eventually(t, w, "down", func(p *nexthop.Path) bool { return !p.Ready() })
	must(l.A.Net.LinkSetUp(here))
	eventually(t, w, "up again, and the neighbour asked for", (*nexthop.Path).Ready)
	must(l.B.Net.LinkSetDown(there))
	eventually(t, w, "the other end down", func(p *nexthop.Path) bool { return !p.Up })
	must(l.B.Net.LinkSetUp(there))
	eventually(t, w, "the other end up", (*nexthop.Path).Ready)
	// Nothing tells this host of the peer's new address: who doubts must ask.
	must(l.B.Net.LinkSetHardwareAddr(there, net.HardwareAddr{2, 0, 0, 0, 0, 99}))
	eventually(t, w, "the peer's new MAC address", func(p *nexthop.Path) bool {
		w.Ask(true)
		return p.RemoteMAC == [6]byte{2, 0, 0, 0, 0, 99}
	})
	must(l.A.Net.LinkSetHardwareAddr(here, net.HardwareAddr{2, 0, 0, 0, 0, 98}))
	eventually(t, w, "the own new MAC address", func(p *nexthop.Path) bool { return p.LocalMAC == [6]byte{2, 0, 0, 0, 0, 98} })
}

func TestByARouter(t *testing.T) {
	l := lab(t, netlab.Options{})
	_, far, _ := net.ParseCIDR("192.0.2.0/24")
	if err := l.A.Net.RouteAdd(&netlink.Route{Dst: far, Gw: l.B.V4.AsSlice(), MTU: 1280}); err != nil {
		t.Fatal(err)
	}
	w := watch(t, l.A, l.A.V4, netip.MustParseAddr("192.0.2.9"))
	eventually(t, w, "the router", (*nexthop.Path).Ready)
	if p := w.Path(); p.NextHop != l.B.V4 || p.RemoteMAC != mac(t, l.B) || p.MTU != 1280 {
		t.Errorf("%+v", *p)
	}
}

func TestNoWay(t *testing.T) {
	l := lab(t, netlab.Options{})
	for name, remote := range map[string]string{"loopback": "127.0.0.1", "itself": "10.77.0.1", "a group": "224.0.0.5"} {
		err := l.A.Do(func() error {
			w, err := nexthop.Watch(netip.IPv4Unspecified(), netip.MustParseAddr(remote))
			if err == nil {
				return errors.Join(fmt.Errorf("there is a way: %+v", *w.Path()), w.Close())
			}
			if !errors.Is(err, nexthop.ErrNoEthernet) && name != "a group" {
				return err
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := l.A.Do(func() error {
		w, err := nexthop.Watch(netip.IPv4Unspecified(), netip.MustParseAddr("198.51.100.1"))
		if err == nil {
			return errors.Join(errors.New("there is a way where no route is"), w.Close())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
