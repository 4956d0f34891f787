package quic

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// echo answers every request until the link ends.
func echo(l *Link) {
	var in, out [16]wire.Vesicle
	for {
		n, err := l.Poll(in[:])
		if err != nil {
			return
		}
		for _, v := range in[:n] {
			for {
				if _, err = l.Claim(out[:1], len(v.Payload)); !errors.Is(err, link.ErrFull) {
					break
				}
				time.Sleep(50 * time.Microsecond)
			}
			if err != nil {
				return
			}
			copy(out[0].Payload, v.Payload)
			out[0].Header = v.Header
			out[0].Header.Kind = wire.KindReply
			if l.Commit(out[:1]) != nil || l.Flush() != nil {
				return
			}
		}
		if l.Release(n) != nil {
			return
		}
		if n == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// calls keeps calls going, one after the other, and counts the answers.
func calls(t testing.TB, l *Link, answered *atomic.Int64, stop <-chan struct{}) error {
	var out, in [1]wire.Vesicle
	for i := uint32(1); ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := l.Claim(out[:], 200); err != nil {
			return err
		}
		out[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: i}
		if err := errors.Join(l.Commit(out[:]), l.Flush()); err != nil {
			return err
		}
		for end := time.Now().Add(patience); ; {
			n, err := l.Poll(in[:])
			if err != nil {
				return err
			}
			if n == 1 {
				if in[0].Header.Correlation != i {
					return errors.New("the answer to another call")
				}
				_ = l.Release(1)
				answered.Add(1)
				break
			}
			if time.Now().After(end) {
				return errors.New("a call has no answer")
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// undisturbed runs calls over a link while change happens, and expects them to
// go on without one that fails.
func undisturbed(t *testing.T, x, y *Link, change func()) {
	t.Helper()
	go echo(y)
	var answered atomic.Int64
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- calls(t, x, &answered, stop) }()
	eventually(t, "calls before", func() bool { return answered.Load() > 50 })
	change()
	before := answered.Load()
	eventually(t, "calls after", func() bool { return answered.Load() > before+50 || len(done) > 0 })
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMoveInMidCall(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	x, y := linked(t, a, b, nil)
	from := y.carrier.(*quicLink).conn.q.RemoteAddr().String()
	undisturbed(t, x, y, func() {
		moved, err := a.Move(soon(t), "127.0.0.5:0")
		if moved != 1 || err != nil {
			t.Errorf("%d connections moved, %v", moved, err)
		}
	})
	to := y.carrier.(*quicLink).conn.q.RemoteAddr().(*net.UDPAddr)
	if to.String() == from || !to.IP.Equal(net.IPv4(127, 0, 0, 5)) {
		t.Errorf("the peer sees %v, before %v", to, from)
	}
	z, w := linked(t, a, b, nil) // over the same connection
	works(t, z, w)
}

// namespaces makes network namespaces and returns functions that run something
// in each. Nothing outside them is touched, and the kernel removes them with the
// last socket and thread in them.
func namespaces(t *testing.T, n int) (spaces []netns.NsHandle, in []func(func())) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	defer func() { must(t, netns.Set(home)) }()
	for range n {
		space, err := netns.New()
		must(t, err)
		t.Cleanup(func() { _ = space.Close() })
		spaces = append(spaces, space)
		in = append(in, func(f func()) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			here, err := netns.Get()
			must(t, err)
			defer here.Close()
			must(t, netns.Set(space))
			f()
			must(t, netns.Set(here))
		})
	}
	return spaces, in
}

// hosts makes two network namespaces with a cable between them.
func hosts(t *testing.T) (in []func(func())) {
	t.Helper()
	spaces, in := namespaces(t, 2)
	in[0](func() {
		must(t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "cable", MTU: 1500}, PeerName: "cable", PeerNamespace: netlink.NsFd(spaces[1]),
		}))
	})
	for _, within := range in {
		within(func() {
			l, err := netlink.LinkByName("cable")
			must(t, err)
			must(t, netlink.LinkSetUp(l))
		})
	}
	return in
}

func address(t *testing.T, cidr string, change func(netlink.Link, *netlink.Addr) error) {
	t.Helper()
	l, err := netlink.LinkByName("cable")
	must(t, err)
	a, err := netlink.ParseAddr(cidr)
	must(t, err)
	must(t, change(l, a))
}

// The host of a client that listens on all addresses gets another address and
// loses the first, while calls are under way.
func TestAHostsAddressChangesInMidCall(t *testing.T) {
	in := hosts(t)
	var a, b *node
	in[0](func() {
		address(t, "10.91.0.1/24", netlink.AddrAdd)
		a = listenAt(t, ":0", 1, nil, 2)
	})
	in[1](func() {
		address(t, "10.91.0.2/24", netlink.AddrAdd)
		b = listenAt(t, "10.91.0.2:0", 2, nil, 1)
	})
	x, y := linked(t, a, b, nil)
	seen := func() string { return y.carrier.(*quicLink).conn.q.RemoteAddr().(*net.UDPAddr).IP.String() }
	if got := seen(); got != "10.91.0.1" {
		t.Fatalf("the client is at %s", got)
	}
	undisturbed(t, x, y, func() {
		in[0](func() {
			// Of a narrower network, so that it stays when the first goes.
			address(t, "10.91.0.9/25", netlink.AddrAdd)
			address(t, "10.91.0.1/24", netlink.AddrDel)
		})
	})
	eventually(t, "the server sees the new address", func() bool { return seen() == "10.91.0.9" })
}
