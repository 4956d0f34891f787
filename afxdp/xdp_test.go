package afxdp_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/asavie"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// lab makes two hosts for a test, or skips it.
func lab(t testing.TB, o netlab.Options) *netlab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces and AF_XDP sockets")
	}
	l, err := netlab.New(o)
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

const portA, portB = 47101, 47102

// dialer is afxdp.Dial or afxdp.DialUDP.
type dialer func(ctx context.Context, local, remote netip.AddrPort, o *afxdp.Options) (*afxdp.Conn, error)

// between connects the two hosts of a lab, from and to
// the i-th addresses of them.
func between(t testing.TB, l *netlab.Lab, v6 bool, i int, p, q dialer, o, oB *afxdp.Options) (a, b *afxdp.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	x, y := netip.AddrPortFrom(l.A.AddrAt(v6, i), portA), netip.AddrPortFrom(l.B.AddrAt(v6, i), portB)
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = l.A.Do(func() (err error) { a, err = p(ctx, x, y, o); return err }) })
	wg.Go(func() { errs[1] = l.B.Do(func() (err error) { b, err = q(ctx, y, x, oB); return err }) })
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			for _, c := range []*afxdp.Conn{a, b} {
				if c != nil {
					_ = c.Close()
				}
			}
			t.Fatalf("end %d: %v", i, err)
		}
	}
	return a, b
}

func required(o afxdp.Options, mode ebpf.Mode) *afxdp.Options {
	o.XDP.Required, o.XDP.Mode = true, mode
	return &o
}

// The link over AF_XDP, with IPv4 and IPv6, in both modes of delivery, in both
// modes of the program, and with the kernel's own UDP at one end.
func TestXDPConformance(t *testing.T) {
	for _, c := range []struct {
		v6, reliable bool
		mode         ebpf.Mode
		near         dialer // nil: afxdp.Dial
		peer         dialer
		with         string
		backend      string // of both ends
		soak         bool   // by ./test.sh --soak alone
		bad          bool   // the network between the hosts
	}{
		{v6: true, reliable: true, mode: ebpf.ModeGeneric, peer: afxdp.Dial, with: "AF_XDP"},
		{reliable: true, mode: ebpf.ModeDriver, peer: afxdp.Dial, with: "AF_XDP", bad: true},
		{v6: true, reliable: true, mode: ebpf.ModeGeneric, peer: afxdp.DialUDP, with: "UDP", bad: true},
		{mode: ebpf.ModeGeneric, peer: afxdp.Dial, with: "AF_XDP"},
		{v6: true, reliable: true, mode: ebpf.ModeGeneric, peer: afxdp.Dial, with: "asavie/xdp", backend: asavie.Name},
		{v6: true, reliable: true, mode: ebpf.ModeGeneric, peer: afxdp.Dial, with: "AF_XDP", bad: true, soak: true},
		{near: afxdp.DialUDP, reliable: true, peer: afxdp.DialUDP, with: "UDP at both ends", bad: true, soak: true},
		{near: afxdp.DialUDP, v6: true, reliable: true, peer: afxdp.DialUDP, with: "UDP at both ends", bad: true, soak: true},
		{reliable: true, mode: ebpf.ModeDriver, peer: afxdp.Dial, with: "AF_XDP", soak: true},
		{reliable: true, mode: ebpf.ModeGeneric, peer: afxdp.DialUDP, with: "UDP", soak: true},
		{v6: true, mode: ebpf.ModeDriver, peer: afxdp.Dial, with: "AF_XDP", soak: true},
		{mode: ebpf.ModeDriver, peer: afxdp.Dial, with: "asavie/xdp", backend: asavie.Name, soak: true},
	} {
		if testing.Short() && c.v6 != c.reliable || c.soak && os.Getenv("CELL_SOAK") == "" {
			continue
		}
		o := afxdp.Options{Reliable: c.reliable, Window: 64, KeepAlive: 100 * time.Millisecond, Patience: 10}
		t.Run(fmt.Sprintf("IPv6 %t, reliable %t, %v, with %s, bad network %t", c.v6, c.reliable, c.mode, c.with, c.bad), func(t *testing.T) {
			const addresses = 32
			o.XDP.Peers, o.XDP.Backend = addresses, c.backend
			if c.bad {
				o.Patience = 50
			}
			l, next := lab(t, netlab.Options{Addresses: addresses, Bad: badNetwork(c.bad)}), 0
			// A connection that keeps the program and the sockets.
			if c.near == nil {
				c.near = afxdp.Dial
			}
			a, b := between(t, l, c.v6, 0, c.near, c.peer, required(o, c.mode), required(o, c.mode))
			defer a.Close()
			defer b.Close()
			h := linktest.Harness{
				Open: func(t testing.TB) (link.Link, link.Link) {
					next++
					return between(t, l, c.v6, 1+next%(addresses-1), c.near, c.peer, required(o, c.mode), required(o, c.mode))
				},
				Kill: kill, Garbage: garbage, CanPark: true, MaxTotal: 1 << 20, Allocates: c.bad,
				Lossy: !c.reliable, Unordered: !c.reliable, Spurious: c.bad,
			}
			if c.bad {
				h.Kill = nil // nobody repeats what a dead process has sent
			}
			linktest.Run(t, h)
			if c.bad {
				if n := l.Middle.Counts(); n.Lost == 0 || n.Repeated == 0 || n.Reordered == 0 {
					t.Errorf("the network was not bad: %+v", n)
				}
			}
		})
	}
}

// badNetwork is what reliable mode has to stand.
func badNetwork(bad bool) *netlab.Bad {
	if !bad {
		return nil
	}
	return &netlab.Bad{Lose: 0.01, Repeat: 0.05, Reorder: 0.05}
}
