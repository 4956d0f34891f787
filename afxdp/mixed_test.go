package afxdp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/wire"
)

// What a peer over ordinary sockets flushes at once arrives datagram by datagram
// past the kernel, although nothing between virtual interfaces cuts up what the
// kernel has put together.
func TestBulkOfAnOrdinarySocket(t *testing.T) {
	for _, c := range []struct {
		name         string
		mode         ebpf.Mode
		v6, reliable bool
		many, size   int
	}{
		{"generic mode, two that fit one frame of memory", ebpf.ModeGeneric, false, false, 2, 760},
		{"generic mode, many full ones", ebpf.ModeGeneric, true, false, 32, 1300},
		{"generic mode, reliable", ebpf.ModeGeneric, false, true, 16, 1300},
		{"driver's mode", ebpf.ModeDriver, false, false, 32, 1300},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lab(t, netlab.Options{})
			o := faultOptions
			o.Reliable, o.XDP.Peers = c.reliable, 1
			a, b := between(t, l, c.v6, 0, afxdp.Dial, afxdp.DialUDP, required(o, c.mode), &o)
			defer b.Close()
			defer a.Close()
			out, in := make([]wire.Vesicle, c.many), make([]wire.Vesicle, c.many)
			n, err := b.Claim(out, c.size)
			if n != c.many || err != nil {
				t.Fatal(n, err)
			}
			for i := range out {
				out[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i), Hops: 1}
			}
			must(t, b.Commit(out))
			must(t, b.Flush())
			got := 0
			for end := time.Now().Add(deadline); got < c.many && time.Now().Before(end); {
				n, err := a.Poll(in)
				must(t, err)
				for _, v := range in[:n] {
					if int(v.Header.Correlation) != got || len(v.Payload) != c.size {
						t.Fatalf("vesicle %d of %d bytes came where %d was next", v.Header.Correlation, len(v.Payload), got)
					}
					got++
				}
				must(t, a.Release(n))
				if s := a.DatagramStats(); n == 0 && s.Malformed > 0 {
					break
				}
			}
			r, _, err := a.XDP()
			if s := a.DatagramStats(); err != nil || got != c.many || s.Malformed > 0 || r.Damaged > 0 || r.Sockets.Dropped > 0 {
				t.Errorf("%d of %d arrived; %v; %s", got, c.many, err, fmt.Sprintf("%+v, %+v", s, r))
			}
		})
	}
}
