package afxdp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// hoard sends n datagrams from a to b, which polls and does not release them.
func hoard(t *testing.T, a, b *afxdp.Conn, n int) {
	t.Helper()
	var out, in [1]wire.Vesicle
	for range n {
		if _, err := a.Claim(out[:], 1000); err != nil {
			t.Fatal(err)
		}
		out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
		must(t, a.Commit(out[:]))
		must(t, a.Flush())
	}
	eventually(t, "what was sent arrives", func() bool {
		k, err := b.Poll(in[:])
		must(t, err)
		n -= k
		return n == 0
	})
}

// What a connection holds when it is closed goes back to those that share the
// interface's memory with it.
func TestClosingGivesBackWhatIsHeld(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 2})
	o := faultOptions
	o.XDP.Peers = 2
	dial := func(i int) (a, b *afxdp.Conn) {
		return between(t, l, false, i, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
	}
	a, b := dial(0)
	defer a.Close()
	defer b.Close()
	for range 50 {
		x, y := dial(1)
		hoard(t, x, y, 16)
		must(t, y.Close())
		must(t, x.Close())
	}
	pass(t, a, b, 500, 1000, nil)
}

// The memory of an interface is for what its first connection asked for.
func TestMoreThanTheInterfacesMemoryIsFor(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 2})
	refused := func(i int, o afxdp.Options, say ...string) {
		t.Helper()
		must(t, l.A.Do(func() error {
			c, err := afxdp.Dial(t.Context(), netip.AddrPortFrom(l.A.AddrAt(false, i), portA), netip.AddrPortFrom(l.B.AddrAt(false, i), portB), required(o, ebpf.ModeGeneric))
			if !errors.Is(err, afxdp.ErrNoXDP) {
				t.Errorf("%v, %v", c, err)
				return nil
			}
			for _, s := range say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("it does not name %s: %v", s, err)
				}
			}
			return nil
		}))
	}
	o := faultOptions
	o.Window, o.XDP.Peers = 4096, 256
	refused(0, o, "Options.Window", "Options.XDP.Peers")
	faulty(t, l, afxdp.Dial, ebpf.ModeGeneric)
	o = faultOptions
	o.Window *= 2
	refused(1, o, "Options.Window")
}

// A connection that nobody polls keeps what its inbox and its window hold; the
// others have theirs.
func TestASlowConnectionStarvesNobody(t *testing.T) {
	l := lab(t, netlab.Options{Addresses: 4})
	o := faultOptions
	o.Reliable, o.XDP.Peers = false, 4
	var conns [4][2]*afxdp.Conn
	for i := range conns {
		a, b := between(t, l, false, i, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
		defer func() { must(t, errors.Join(b.Close(), a.Close())) }()
		conns[i] = [2]*afxdp.Conn{a, b}
	}
	var out, in [1]wire.Vesicle
	one := func(a *afxdp.Conn) {
		eventually(t, "sending", func() bool {
			k, err := a.Claim(out[:], 1000)
			if k == 1 {
				out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
				must(t, a.Commit(out[:]))
			}
			if e := a.Flush(); e != nil && !errors.Is(e, link.ErrFull) {
				must(t, e)
			}
			return err == nil
		})
	}
	last := conns[3]
	for range 1000 { // more than there is memory for; the last one moves it to the inboxes
		for _, c := range conns[:3] {
			one(c[0])
		}
		k, err := last[1].Poll(in[:])
		must(t, err)
		must(t, last[1].Release(k))
	}
	eventually(t, "what the others leave", func() bool {
		one(last[0])
		k, err := last[1].Poll(in[:])
		must(t, err)
		must(t, last[1].Release(k))
		return k > 0
	})
}
