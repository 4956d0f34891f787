package asavie_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/asavie"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func lab(t *testing.T, o netlab.Options) *netlab.Lab {
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

func options() *afxdp.Options {
	return &afxdp.Options{Reliable: true, Window: 64, KeepAlive: 200 * time.Millisecond, Patience: 50,
		XDP: afxdp.XDPOptions{Required: true, Backend: asavie.Name}}
}

func ends(l *netlab.Lab) (x, y netip.AddrPort) {
	return netip.AddrPortFrom(l.A.V4, 47101), netip.AddrPortFrom(l.B.V4, 47102)
}

func connect(t *testing.T, l *netlab.Lab) (a, b *afxdp.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	x, y := ends(l)
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = l.A.Do(func() (err error) { a, err = afxdp.Dial(ctx, x, y, options()); return err }) })
	wg.Go(func() { errs[1] = l.B.Do(func() (err error) { b, err = afxdp.Dial(ctx, y, x, options()); return err }) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// send sends one vesicle and goes on until it has arrived.
func send(t *testing.T, a, b *afxdp.Conn) {
	t.Helper()
	var out, in [1]wire.Vesicle
	if _, err := a.Claim(out[:], 100); err != nil {
		t.Fatal(err)
	}
	out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
	if err := a.Commit(out[:]); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		if err := a.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			t.Fatal(err)
		}
		n, err := b.Poll(in[:])
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d arrived: %v", n, err)
		}
		if n == 1 {
			if err := b.Release(1); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// What the facts about the library ask for: an interface once in a process, and
// no panic while it is down.
func TestOnceAnInterface(t *testing.T) {
	l := lab(t, netlab.Options{})
	a, b := connect(t, l)
	send(t, a, b)
	if i := a.Info(); i.Kind != "afxdp" || !strings.Contains(strings.Join(i.Why, " "), "asavie/xdp") {
		t.Errorf("%+v", i)
	}
	veth, err := l.A.Net.LinkByIndex(l.A.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.A.Net.LinkSetDown(veth); err != nil {
		t.Fatal(err)
	}
	var out [1]wire.Vesicle
	if n, err := a.Claim(out[:], 8); n == 1 && err == nil {
		out[0].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
		if err := a.Commit(out[:]); err != nil {
			t.Error(err)
		}
		_ = a.Flush() // whatever it says; it comes later
	}
	if err := l.A.Net.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	var in [1]wire.Vesicle
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := b.Poll(in[:]); err != nil || time.Now().After(end) {
			t.Fatalf("what was sent while the interface was down: %v, %+v", err, a.DatagramStats())
		} else if n == 1 {
			break
		}
	}
	r, _, err := a.XDP()
	if err != nil || r.ZeroCopy || r.Queues != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	flags, err := unix.FcntlInt(uintptr(socketOf(t)), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("children would inherit the socket: %#x, %v", flags, err)
	}
	if err := errors.Join(b.Release(1), a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	x, y := ends(l)
	if err := l.A.Do(func() error {
		_, err := afxdp.Dial(t.Context(), x, y, options())
		if !errors.Is(err, afxdp.ErrNoXDP) || !errors.Is(err, xsk.ErrBusy) {
			t.Errorf("a second time: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// socketOf finds an AF_XDP socket among this process's descriptors.
func socketOf(t *testing.T) int {
	for fd := range 1024 {
		if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && family == unix.AF_XDP {
			return fd
		}
	}
	t.Fatal("there is none")
	return -1
}

func TestWhatItCannotDo(t *testing.T) {
	l := lab(t, netlab.Options{Queues: 2})
	x, y := ends(l)
	for _, c := range []struct {
		name string
		set  func(*afxdp.Options)
		says string
	}{
		{"several queues", func(*afxdp.Options) {}, "several queues"},
		{"zero-copy", func(o *afxdp.Options) { o.XDP.Queues, o.XDP.Copy = []uint32{0}, afxdp.CopyNever }, "zero-copy"},
		{"no such backend", func(o *afxdp.Options) { o.XDP.Backend = "asavi" }, "this program has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options()
			c.set(o)
			if err := l.A.Do(func() error { _, err := afxdp.Dial(t.Context(), x, y, o); return err }); !errors.Is(err, afxdp.ErrNoXDP) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
	if n := afxdp.Backends(); len(n) != 1 || n[0] != asavie.Name {
		t.Errorf("%q", n)
	}
}
