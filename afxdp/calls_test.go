package afxdp_test

import (
	"os"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc/rpctest"
)

// proven is a connection whose peer passes for one of this host: UDP proves
// nobody, and the suite asks servers for what only the known may ask.
type proven struct{ *afxdp.Conn }

func (p proven) Info() link.Info {
	i := p.Conn.Info()
	i.Peer.PID, i.Peer.UID = os.Getpid(), uint32(os.Getuid())
	return i
}

// Typed calls over AF_XDP: the suite that rings and sockets run, unchanged.
func TestCallsOverXDP(t *testing.T) {
	const addresses = 32
	l, next := lab(t, netlab.Options{Addresses: addresses}), 0
	o := afxdp.Options{Reliable: true, Window: 64, KeepAlive: 100 * time.Millisecond, Patience: 50, XDP: afxdp.XDPOptions{Peers: addresses}}
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
	defer a.Close()
	defer b.Close()
	rpctest.Run(t, rpctest.Harness{Open: func(t testing.TB) (server, client link.Link) {
		next++
		a, b := between(t, l, false, 1+next%(addresses-1), afxdp.Dial, afxdp.Dial, required(o, ebpf.ModeGeneric), required(o, ebpf.ModeGeneric))
		return proven{a}, proven{b}
	}})
}
