package afxdp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func listener(t *testing.T, host string, o *afxdp.ListenOptions) *afxdp.Listener {
	t.Helper()
	at := freePort(t, host)
	l, err := afxdp.ListenUDP(netip.AddrPortFrom(at.Addr(), 0), o)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// meet dials a listener and accepts.
func meet(t *testing.T, l *afxdp.Listener, o *afxdp.Options) (a, b *afxdp.Conn) {
	t.Helper()
	from := freePort(t, l.Addr().Addr().String())
	a, b = both(t, func(ctx context.Context, first bool) (*afxdp.Conn, error) {
		if first {
			return afxdp.DialUDP(ctx, from, l.Addr(), o)
		}
		return l.Accept(ctx)
	})
	t.Cleanup(func() { must(t, errors.Join(a.Close(), b.Close())) })
	return a, b
}

func TestPeersThatAreNotKnownBeforehand(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, reliable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reliable %t", host, reliable), func(t *testing.T) {
				o := afxdp.Options{Reliable: reliable, Window: 64, Datagram: 4000}
				l := listener(t, host, &afxdp.ListenOptions{Options: o})
				for range 4 {
					a, b := meet(t, l, &o)
					if p, q := a.Info(), b.Info(); p.MaxPayload != q.MaxPayload || q.Kind != "udp" || q.Reliable != reliable {
						t.Errorf("%+v and %+v", p, q)
					}
					pass(t, a, b, 100, 500, nil)
					pass(t, b, a, 100, 500, nil)
				}
				if s := l.Stats(); s.Accepted != 4 || s.Challenged < 4 || s.Malformed != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// greeting is a hello as a stranger may send it.
func greeting(session, peer uint32, cookie uint64, flags byte) []byte {
	b := make([]byte, 40)
	copy(b, []byte{0x43, 0x56, 1, 4})
	binary.LittleEndian.PutUint32(b[4:], session)
	binary.LittleEndian.PutUint32(b[8:], peer)
	binary.LittleEndian.PutUint64(b[24:], cookie)
	b[32] = flags
	binary.LittleEndian.PutUint32(b[36:], 1400)
	return b
}

// A stranger who forges its address gets nothing that is longer than what it
// sent, and nothing is kept for it.
func TestStrangersThatDoNotReceive(t *testing.T) {
	l := listener(t, "127.0.0.1", nil)
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(l.Addr()))
	must(t, err)
	defer c.Close()
	ask := greeting(7, 0, 0, 2)
	for _, v := range []struct {
		name    string
		sent    []byte
		answers bool
	}{
		{"nothing", nil, false},
		{"one byte", []byte{1}, false},
		{"another format", make([]byte, 1400), false},
		{"a hello that is cut off", ask[:39], false},
		{"a head alone", ask[:32], false},
		{"a hello that wants no answer", greeting(7, 0, 0, 0), false},
		{"a challenge", greeting(7, 0, 0, 6), false},
		{"data", append([]byte{0x43, 0x56, 1, 1}, ask[4:]...), false},
		{"a farewell", append([]byte{0x43, 0x56, 1, 5}, ask[4:]...), false},
		{"a hello of another version", append([]byte{0x43, 0x56, 9, 4}, ask[4:]...), false},
		{"a hello", ask, true},
		{"a hello with a cookie that is none", greeting(7, 0, 99, 2), true},
		{"a hello for another mode", greeting(7, 0, 0, 3), true},
	} {
		t.Run(v.name, func(t *testing.T) {
			before := l.Stats()
			if _, err := c.Write(v.sent); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the listener has heard it", func() bool { return l.Stats() != before })
			var b [2048]byte
			within := deadline
			if !v.answers { // loopback has delivered what was sent before it counted
				within = 10 * time.Millisecond
			}
			must(t, c.SetReadDeadline(time.Now().Add(within)))
			n, err := c.Read(b[:])
			if v.answers != (err == nil) || n > len(v.sent) {
				t.Errorf("%d bytes for %d, %v", n, len(v.sent), err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("somebody is waiting: %v", err)
	}
	if s := l.Stats(); s.Accepted != 0 || s.Refused != 0 || s.Mismatched != 1 {
		t.Errorf("%+v", s)
	}
	a, b := meet(t, l, nil)
	pass(t, a, b, 10, 100, nil)
}

// Many strangers together get a bounded number of answers.
func TestAFloodOfStrangers(t *testing.T) {
	l := listener(t, "127.0.0.1", nil)
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(l.Addr()))
	must(t, err)
	defer c.Close()
	begin := time.Now()
	for session := uint32(1); l.Stats().Challenged < 50_000; session++ {
		_, _ = c.Write(greeting(session, 0, 0, 2)) // a full queue loses it
	}
	seconds := uint64(time.Since(begin)/time.Second) + 2
	if s := l.Stats(); s.Challenged-s.Limited > 10_000*seconds {
		t.Errorf("%d answers within %d seconds", s.Challenged-s.Limited, seconds)
	}
	a, b := meet(t, l, nil)
	pass(t, a, b, 10, 100, nil)
}

// Places are bounded: of all, of one host, and of those that wait.
func TestMorePeersThanPlaces(t *testing.T) {
	for _, v := range []struct {
		name string
		o    afxdp.ListenOptions
		take int
	}{
		{"of all", afxdp.ListenOptions{MaxPeers: 2, MaxPerHost: 8}, 2},
		{"of one host", afxdp.ListenOptions{MaxPerHost: 2}, 2},
		{"of those that wait", afxdp.ListenOptions{Backlog: 1}, 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			l := listener(t, "127.0.0.1", &v.o)
			var first *afxdp.Conn
			for range v.take {
				_, b := meet(t, l, nil)
				first = b
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					if c, err := afxdp.DialUDP(ctx, freePort(t, "127.0.0.1"), l.Addr(), nil); err == nil {
						_ = c.Close()
					}
				})
			}
			eventually(t, "one is refused", func() bool { return l.Stats().Refused > 0 })
			if first != nil {
				must(t, first.Close()) // which frees a place
			}
			c, err := l.Accept(ctx)
			must(t, err)
			must(t, c.Close())
			cancel()
			wg.Wait()
		})
	}
}

// A peer that starts anew at its address is a stranger again.
func TestAnAcceptedPeerStartsAnew(t *testing.T) {
	o := &afxdp.Options{Reliable: true}
	l := listener(t, "127.0.0.1", &afxdp.ListenOptions{Options: *o})
	from := freePort(t, "127.0.0.1")
	dial := func(ctx context.Context, first bool) (*afxdp.Conn, error) {
		if first {
			return afxdp.DialUDP(ctx, from, l.Addr(), o)
		}
		return l.Accept(ctx)
	}
	a, b := both(t, dial)
	pass(t, a, b, 10, 100, nil)
	must(t, a.Vanish())
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	done := make(chan *afxdp.Conn, 1)
	go func() {
		c, err := dial(ctx, true)
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	var in [1]wire.Vesicle
	eventually(t, "the old connection ends", func() bool {
		_, err := b.Poll(in[:])
		return errors.Is(err, link.ErrPeerGone)
	})
	must(t, b.Close())
	b, err := l.Accept(ctx)
	must(t, err)
	if a = <-done; a != nil {
		pass(t, a, b, 10, 100, nil)
		must(t, errors.Join(a.Close(), b.Close()))
	}
}

// Who only knows the addresses of a connection can't end it.
func TestAForgedHelloEndsNothing(t *testing.T) {
	a, b := overUDP(t, "127.0.0.1", nil)
	defer a.Close()
	defer b.Close()
	own, peer := b.Sessions()
	for session := range uint32(100) {
		for _, h := range [][]byte{greeting(session+1, 0, 0, 2), greeting(session+1, 0, 99, 2), greeting(session+1, 0, 99, 6), greeting(session+1, peer, 0, 2)} {
			if session+1 != own {
				must(t, b.SendRaw(h))
			}
		}
		pass(t, b, a, 1, 100, nil)
		pass(t, a, b, 1, 100, nil)
	}
}

func TestListenersAreRefused(t *testing.T) {
	free := freePort(t, "127.0.0.1")
	for _, v := range []struct {
		name   string
		local  netip.AddrPort
		o      *afxdp.ListenOptions
		listen func(netip.AddrPort, *afxdp.ListenOptions) (*afxdp.Listener, error)
		says   string
	}{
		{"no address", netip.AddrPort{}, nil, afxdp.ListenUDP, "an address"},
		{"the unspecified address", netip.MustParseAddrPort("0.0.0.0:47199"), nil, afxdp.ListenUDP, "unspecified"},
		{"an address of somebody else", netip.MustParseAddrPort("192.0.2.1:47199"), nil, afxdp.ListenUDP, "this host"},
		{"no port over AF_XDP", netip.MustParseAddrPort("127.0.0.1:0"), nil, afxdp.Listen, "port"},
		{"no places", free, &afxdp.ListenOptions{MaxPeers: -1}, afxdp.ListenUDP, "MaxPeers"},
		{"a window of nothing", free, &afxdp.ListenOptions{Options: afxdp.Options{Window: 1}}, afxdp.ListenUDP, "Window"},
		{"more places than AF_XDP has", free, &afxdp.ListenOptions{MaxPeers: 1000}, afxdp.Listen, "Peers"},
	} {
		l, err := v.listen(v.local, v.o)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), v.says) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

func TestAListenerIsClosed(t *testing.T) {
	l := listener(t, "127.0.0.1", nil)
	a, b := meet(t, l, nil)
	done := make(chan error)
	go func() { _, err := l.Accept(t.Context()); done <- err }()
	must(t, errors.Join(l.Close(), l.Close()))
	if err := <-done; !errors.Is(err, link.ErrClosed) {
		t.Errorf("%v", err)
	}
	pass(t, a, b, 10, 100, nil) // connections stay
}

// Over AF_XDP, whose program takes what strangers say past the kernel once there
// is a connection.
func TestPeersThatAreNotKnownBeforehandOverXDP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %t", v6), func(t *testing.T) {
			const peers = 4
			l := lab(t, netlab.Options{Addresses: peers})
			o := *required(faultOptions, ebpf.ModeGeneric)
			at := netip.AddrPortFrom(l.B.AddrAt(v6, 0), portB)
			var lis *afxdp.Listener
			must(t, l.B.Do(func() (err error) {
				lis, err = afxdp.Listen(at, &afxdp.ListenOptions{Options: o, MaxPeers: peers, MaxPerHost: peers})
				return err
			}))
			defer func() { must(t, lis.Close()) }()
			must(t, l.B.Do(func() error {
				if _, err := afxdp.Listen(at, nil); err == nil || !strings.Contains(err.Error(), "already") {
					t.Errorf("a second one: %v", err)
				}
				return nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			for i := range peers {
				dial, port := afxdp.DialUDP, uint16(portA+1+i)
				if i == 0 {
					dial, port = afxdp.Dial, portA // one program takes one port
				}
				var a, b *afxdp.Conn
				var errs [2]error
				var wg sync.WaitGroup
				wg.Go(func() {
					errs[0] = l.A.Do(func() (err error) {
						a, err = dial(ctx, netip.AddrPortFrom(l.A.AddrAt(v6, 0), port), at, &o)
						return err
					})
				})
				wg.Go(func() { errs[1] = l.B.Do(func() (err error) { b, err = lis.Accept(ctx); return err }) })
				wg.Wait()
				must(t, errors.Join(errs[:]...))
				defer func() { must(t, errors.Join(a.Close(), b.Close())) }()
				pass(t, a, b, 100, 500, nil)
				pass(t, b, a, 100, 500, nil)
				if r := report(t, b); r.Received == 0 || b.Info().Kind != "afxdp" {
					t.Errorf("%+v", r)
				}
			}
			if s := lis.Stats(); s.Accepted != peers {
				t.Errorf("%+v", s)
			}
		})
	}
}
