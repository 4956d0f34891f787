package afxdp_test

import (
	"testing"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
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
