package afxdp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func TestDialUDPWithoutAPeer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := afxdp.DialUDP(ctx, freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1"), nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error", err)
	}
}

func TestDialUDPRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("[::1]:9")
	for _, v := range []struct {
		name          string
		local, remote netip.AddrPort
		o             *afxdp.Options
	}{
		{"IPv4 to IPv6", v4, v6, nil},
		{"no peer's port", v4, netip.MustParseAddrPort("127.0.0.1:0"), nil},
		{"no address", netip.AddrPort{}, v4, nil},
		{"an address of somebody else", netip.MustParseAddrPort("192.0.2.1:9"), v4, nil},
		{"a datagram too small", v4, v4, &afxdp.Options{Datagram: 100}},
		{"a window too large", v4, v4, &afxdp.Options{Window: 1 << 20}},
		{"negative patience", v4, v4, &afxdp.Options{Patience: -1}},
		{"negative busy poll", v4, v4, &afxdp.Options{BusyPoll: -1}},
	} {
		if c, err := afxdp.DialUDP(t.Context(), v.local, v.remote, v.o); err == nil {
			t.Errorf("%s is accepted", v.name)
			c.Close()
		}
	}
}

func TestEndsThatAreSetUpDifferently(t *testing.T) {
	x, y := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { _, errs[0] = afxdp.DialUDP(ctx, x, y, &afxdp.Options{Reliable: true}); cancel() })
	wg.Go(func() { _, errs[1] = afxdp.DialUDP(ctx, y, x, nil); cancel() })
	wg.Wait()
	if !errors.Is(errs[0], afxdp.ErrMismatch) && !errors.Is(errs[1], afxdp.ErrMismatch) {
		t.Errorf("%v", errs)
	}
}

func TestTheLesserDatagramCounts(t *testing.T) {
	x, y := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	a, b := both(t, func(ctx context.Context, first bool) (*afxdp.Conn, error) {
		if first {
			return afxdp.DialUDP(ctx, x, y, &afxdp.Options{Datagram: 1400})
		}
		return afxdp.DialUDP(ctx, y, x, &afxdp.Options{Datagram: 4000})
	})
	defer a.Close()
	defer b.Close()
	if p, q := a.Info().MaxPayload, b.Info().MaxPayload; p != q || p != 1400-32-wire.HeaderSize {
		t.Errorf("%d and %d bytes", p, q)
	}
}

// A peer that dies and starts again at its address ends the old connection.
func TestThePeerStartsAnew(t *testing.T) {
	x, y := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	dial := func(ctx context.Context, first bool) (*afxdp.Conn, error) {
		if first {
			return afxdp.DialUDP(ctx, x, y, nil)
		}
		return afxdp.DialUDP(ctx, y, x, nil)
	}
	a, b := both(t, dial)
	defer a.Close()
	defer b.Close()
	if err := b.Vanish(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		c, err := dial(ctx, false)
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	var in [1]wire.Vesicle
	for {
		if _, err := a.Poll(in[:]); errors.Is(err, link.ErrPeerGone) {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the old connection goes on")
		}
		time.Sleep(time.Millisecond)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	a, err := dial(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Two ends on one host. Elsewhere each has a process of its own.
func ExampleDialUDP() {
	x, y := netip.MustParseAddrPort("127.0.0.1:17110"), netip.MustParseAddrPort("127.0.0.1:17111")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := &afxdp.Options{Reliable: true}
	other := make(chan *afxdp.Conn)
	go func() {
		b, err := afxdp.DialUDP(ctx, y, x, o)
		if err != nil {
			fmt.Println(err)
		}
		other <- b
	}()
	a, err := afxdp.DialUDP(ctx, x, y, o)
	b := <-other
	if err != nil || b == nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()

	out := make([]wire.Vesicle, 2)
	n, err := a.Claim(out, len("hello"))
	for i := range out[:n] {
		copy(out[i].Payload, "hello")
		out[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i)}
	}
	// Both travel in one datagram.
	fmt.Println(n, errors.Join(err, a.Commit(out[:n]), a.Flush()))

	in := make([]wire.Vesicle, 8)
	for n = 0; n == 0 && err == nil; {
		n, err = b.Poll(in)
	}
	for _, v := range in[:n] {
		fmt.Printf("%d: %s\n", v.Header.Correlation, v.Payload)
	}
	fmt.Println(err, b.Release(n))
	// Output:
	// 2 <nil>
	// 0: hello
	// 1: hello
	// <nil> <nil>
}
