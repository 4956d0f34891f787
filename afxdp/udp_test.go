package afxdp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// Ports for tests lie below those that the kernel hands out by itself (from 32768
// on), and none comes twice, so that nobody has taken one before it is used.
const firstPort, ports = 20_000, 12_000

var portsTried atomic.Uint32

func init() { portsTried.Store(rand.Uint32N(ports)) }

// freePort returns an address of this host with a port that nobody has.
func freePort(t testing.TB, host string) netip.AddrPort {
	t.Helper()
	for {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(firstPort+portsTried.Add(1)%ports))
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		switch {
		case errors.Is(err, unix.EADDRINUSE):
		case err != nil:
			t.Skipf("no UDP on %s: %v", host, err)
		default:
			_ = c.Close()
			return at
		}
	}
}

// both runs the two ends of a handshake.
func both(t testing.TB, dial func(ctx context.Context, first bool) (*afxdp.Conn, error)) (a, b *afxdp.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { a, errs[0] = dial(ctx, true) })
	wg.Go(func() { b, errs[1] = dial(ctx, false) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func overUDP(t testing.TB, host string, o *afxdp.Options) (a, b *afxdp.Conn) {
	t.Helper()
	x, y := freePort(t, host), freePort(t, host)
	return both(t, func(ctx context.Context, first bool) (*afxdp.Conn, error) {
		if first {
			return afxdp.DialUDP(ctx, x, y, o)
		}
		return afxdp.DialUDP(ctx, y, x, o)
	})
}

func kill(t testing.TB, peer link.Link) {
	if err := peer.(*afxdp.Conn).Vanish(); err != nil {
		t.Error(err)
	}
}

// garbage sends what a noisy network or a hostile peer could: sometimes with a
// front that is right.
func garbage(t testing.TB, rng *rand.Rand, _, b link.Link) {
	c := b.(*afxdp.Conn)
	bytes := make([]byte, 1+rng.IntN(300))
	for i := range bytes {
		bytes[i] = byte(rng.Uint32())
	}
	if len(bytes) > 32 && rng.IntN(2) == 0 {
		own, peer := c.Sessions()
		copy(bytes, []byte{0x43, 0x56, 1, byte(1 + rng.IntN(4))})
		binary.LittleEndian.PutUint32(bytes[4:], own)
		binary.LittleEndian.PutUint32(bytes[8:], peer)
	}
	if err := c.SendRaw(bytes); err != nil {
		t.Error(err)
	}
}

func TestUDPConformance(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, reliable := range []bool{false, true} {
			o := &afxdp.Options{Reliable: reliable, Datagram: 1432, Window: 64, KeepAlive: 100 * time.Millisecond, Patience: 10}
			t.Run(fmt.Sprintf("%s, reliable %t", host, reliable), func(t *testing.T) {
				linktest.Run(t, linktest.Harness{
					Open: func(t testing.TB) (a, b link.Link) { return overUDP(t, host, o) },
					Kill: kill, Garbage: garbage, CanPark: true, MaxTotal: 1 << 20,
					Lossy: !reliable, Unordered: !reliable,
				})
			})
		}
	}
}
