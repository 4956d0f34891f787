package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// waits has b wait at relay r until the test ends.
func waits(t *testing.T, b, r *node, v Via) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.WaitAt(ctx, v) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "the node waits", func() bool {
		r.relay.mu.Lock()
		defer r.relay.mu.Unlock()
		return r.relay.waiting[b.key.ID()] != nil
	})
}

func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

func TestRelay(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{MaxPairs: 1}}, 1, 2, 4)
	a, b, c := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 1, 3), listen(t, 4, nil, 2, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	if _, err := a.DialVia(soon(t), via, b.key.ID(), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "does not wait here") {
		t.Errorf("a node that isn't there: %v", err)
	}
	waits(t, b, r, via)
	x, err := a.DialVia(soon(t), via, b.key.ID(), nil)
	must(t, err)
	y, err := b.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	for side, l := range map[string]*Link{b.key.ID().String(): x, a.key.ID().String(): y} {
		if why := strings.Join(l.Info().Why, " "); !strings.Contains(why, "by the relay "+via.Addr) || l.Info().Peer.ID != side {
			t.Errorf("%q, %+v", why, l.Info().Peer)
		}
	}
	// Neither side takes a connection through the relay for a direct one.
	for _, n := range []*node{a, b} {
		n.mu.Lock()
		for _, c := range n.peers {
			if c.relayed() {
				t.Errorf("links that are dialed would go by the relay to %v", c.peer.ID.Short())
			}
		}
		n.mu.Unlock()
	}
	again, err := a.DialKnown(soon(t), b.key.ID(), nil) // over the same connection
	must(t, err)
	if _, err := a.DialKnown(soon(t), r.key.ID(), nil); err != nil {
		t.Errorf("over the connection with the relay: %v", err)
	}
	if _, err := a.DialKnown(soon(t), c.key.ID(), nil); !errors.Is(err, ErrHandshake) {
		t.Errorf("to whom there is no connection: %v", err)
	}
	y2, err := b.Accept(soon(t))
	must(t, err)
	works(t, again, y2)
	if n := r.relay.count(); n != 1 {
		t.Errorf("%d pairs for one connection", n)
	}
	if _, err := c.DialVia(soon(t), via, b.key.ID(), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "MaxPairs") {
		t.Errorf("above the bound: %v", err)
	}
	// The relay lets c in, and b doesn't: it is told by b, end to end.
	must(t, a.Close())
	eventually(t, "the pair's end", func() bool { return r.relay.count() == 0 })
	if _, err := c.DialVia(soon(t), via, b.key.ID(), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not on the allow list") {
		t.Errorf("whom b doesn't know: %v", err)
	}
}

func TestWhoRelaysForNobody(t *testing.T) {
	r := listen(t, 3, nil, 1)
	a := listen(t, 1, nil, 2, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	for name, err := range map[string]error{
		"to wait": a.WaitAt(soon(t), via),
		"to call": func() error { _, err := a.DialVia(soon(t), via, numbered(2).ID(), nil); return err }(),
	} {
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "relays for nobody") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.DialVia(soon(t), via, identity.ID{}, nil); !errors.Is(err, ErrHandshake) {
		t.Errorf("to call nobody in particular: %v", err)
	}
	if _, err := Listen("", nil, nil, &Options{Relay: &RelayOptions{Rate: -1}}); err == nil {
		t.Error("a rate below 0")
	}
}

// What a relay carries for a pair ends where it was told to.
func TestRelayIsBoundedInBytes(t *testing.T) {
	r := listen(t, 3, &Options{Relay: &RelayOptions{Total: 300_000}}, 1, 2)
	// The pair's end is noticed by silence.
	o := &Options{IdleTimeout: 3 * time.Second}
	a, b := listen(t, 1, o, 2, 3), listen(t, 2, o, 1, 3)
	via := Via{Addr: r.Addr().String(), ID: r.key.ID()}
	waits(t, b, r, via)
	x, err := a.DialVia(soon(t), via, b.key.ID(), nil)
	must(t, err)
	sent := 0
	eventually(t, "the link's end", func() bool {
		var out [1]wire.Vesicle
		_, err := x.Claim(out[:], 1000)
		if err == nil {
			out[0].Header = wire.Header{Kind: wire.KindEvent}
			must(t, x.Commit(out[:]))
			sent++
		}
		_ = x.Flush()
		return errors.Is(err, link.ErrPeerGone)
	})
	if sent < 100 || r.relay.count() != 0 {
		t.Errorf("%d vesicles were sent, and %d pairs are there", sent, r.relay.count())
	}
}

func TestHostilePasses(t *testing.T) {
	for _, addr := range []string{"", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:99999", "224.0.0.1:5", "0.0.0.0:5", "255.255.255.255:5", "name:5", "[::]:5"} {
		if a := numeric(addr); a != nil {
			t.Errorf("%q is %v", addr, a)
		}
	}
	if a := numeric("[2001:db8::1]:5"); a == nil || a.Port != 5 {
		t.Errorf("%v", a)
	}
	if _, err := readPass(strings.NewReader("short")); err == nil {
		t.Error("a pass of five bytes")
	}
}

// behindNAT makes five namespaces: two hosts, each behind a translator of its
// own, and a third in the open, this process's own, where the translators meet it
// and each other. rule is how nftables translates.
func behindNAT(t *testing.T, rule string) (in [3]func(func())) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft (nftables) for address translation")
	}
	spaces, within := namespaces(t, 5) // a, b, (the open), translator of a, of b
	open, err := netns.Get()
	must(t, err)
	t.Cleanup(func() { _ = open.Close() })
	spaces[2], within[2] = open, func(f func()) { f() }
	cable := func(i, j int, nameI, nameJ, cidrI, cidrJ string) {
		within[i](func() {
			must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameI, MTU: 1500}, PeerName: nameJ, PeerNamespace: netlink.NsFd(spaces[j])}))
		})
		for _, end := range []struct {
			at         int
			name, cidr string
		}{{i, nameI, cidrI}, {j, nameJ, cidrJ}} {
			within[end.at](func() {
				l, err := netlink.LinkByName(end.name)
				must(t, err)
				a, err := netlink.ParseAddr(end.cidr)
				must(t, err)
				must(t, errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l)))
			})
		}
	}
	t.Cleanup(func() {
		for _, name := range []string{"toa", "tob"} {
			if l, err := netlink.LinkByName(name); err == nil {
				_ = netlink.LinkDel(l)
			}
		}
	})
	route := func(i int, dst, by string) {
		within[i](func() {
			r := &netlink.Route{Gw: net.ParseIP(by)}
			if dst != "" {
				_, r.Dst, _ = net.ParseCIDR(dst)
			}
			must(t, netlink.RouteAdd(r))
		})
	}
	cable(0, 3, "cable", "inside", "192.168.1.2/24", "192.168.1.1/24")
	cable(1, 4, "cable", "inside", "192.168.1.2/24", "192.168.1.1/24") // the same addresses, as at home
	cable(2, 3, "toa", "outside", "203.0.113.1/30", "203.0.113.2/30")
	cable(2, 4, "tob", "outside", "203.0.113.5/30", "203.0.113.6/30")
	route(0, "0.0.0.0/0", "192.168.1.1")
	route(1, "0.0.0.0/0", "192.168.1.1")
	route(3, "0.0.0.0/0", "203.0.113.1")
	route(4, "0.0.0.0/0", "203.0.113.5")
	forward := func(i int) {
		within[i](func() { must(t, exec.Command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").Run()) })
	}
	forward(2)
	for _, i := range []int{3, 4} {
		forward(i)
		within[i](func() {
			c := exec.Command("nft", "-f", "-")
			c.Stdin = strings.NewReader(`table ip t {
				chain out { type nat hook postrouting priority 100; oifname "outside" ` + rule + `; }
				chain in { type filter hook forward priority 0; policy accept; iifname "outside" ct state new drop; }
				chain own { type filter hook input priority 0; policy accept; iifname "outside" meta l4proto udp drop; }
			}`)
			if out, err := c.CombinedOutput(); err != nil {
				t.Skipf("this kernel has no address translation: %v, %s", err, out)
			}
		})
	}
	copy(in[:], within[:3])
	return in
}

// inOwnNamespace names the process that a test has started in a network namespace
// of its own.
const inOwnNamespace = "CELL_TEST_OWN_NAMESPACE"

func TestThroughAddressTranslators(t *testing.T) {
	if os.Getenv(inOwnNamespace) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root for network namespaces")
		}
		// A relay opens sockets later on, from any thread.
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestThroughAddressTranslators$", "-test.v="+fmt.Sprint(testing.Verbose()))
		c.Env = append(os.Environ(), inOwnNamespace+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := c.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	for _, c := range []struct {
		name, rule string
		punch      bool
		relayed    bool
	}{
		{"punched", "masquerade", true, false},
		{"not to be punched", "masquerade", false, true},
		{"another port for each destination", "masquerade fully-random", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := behindNAT(t, c.rule)
			var a, b, r *node
			in[2](func() { r = listenAt(t, ":4433", 3, &Options{Relay: &RelayOptions{}}, 1, 2) })
			in[0](func() { a = listenAt(t, ":0", 1, nil, 2, 3) })
			in[1](func() { b = listenAt(t, ":0", 2, nil, 1, 3) })
			via := Via{Addr: "203.0.113.1:4433", ID: r.key.ID(), Punch: c.punch}
			if !c.relayed {
				via.PunchFor = patience / 2 // as long as it takes
			}
			waits(t, b, r, via)
			x, err := a.DialVia(soon(t), via, b.key.ID(), nil)
			must(t, err)
			y, err := b.Accept(soon(t))
			must(t, err)
			works(t, x, y)
			if got := len(x.Info().Why) != 0; got != c.relayed {
				t.Errorf("relayed: %t, %v, %+v", got, x.Info().Why, x.Info().Peer)
			}
			if !c.relayed {
				eventually(t, "the relay is not needed", func() bool { return r.relay.count() == 0 })
				works(t, x, y)
			}
		})
	}
}
