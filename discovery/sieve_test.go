package discovery

import (
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestASiftedSocketHearsThoseItKnows: of two that send to it the kernel lets one
// through, until the socket is no longer sifted.
func TestASiftedSocketHearsThoseItKnows(t *testing.T) {
	cluster := NewCluster(goldenSecret)
	for name, c := range map[string]struct {
		network  string
		from     []string // known, and not
		to       string
		sources  []uint32
		sources2 []uint32 // with the other, too
	}{
		"IPv4": {"udp4", []string{"127.0.0.2", "127.0.0.3"}, "127.0.0.1", []uint32{0x01020304, 0x7f000002}, []uint32{0x7f000002, 0x7f000003}},
		"IPv6": {"udp6", []string{"::1"}, "::1", []uint32{1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := listen(c.network, 0, "", 0, cluster.ID)
			if err != nil {
				t.Skip(err)
			}
			defer s.conn.Close()
			to := netip.AddrPortFrom(netip.MustParseAddr(c.to), uint16(s.port()))
			good := sealedGood(t)
			send := func() {
				for _, from := range c.from {
					w, err := net.ListenUDP(c.network, &net.UDPAddr{IP: net.ParseIP(from)})
					if err != nil {
						t.Skip(err)
					}
					if _, err := w.WriteToUDPAddrPort(good, to); err != nil {
						t.Fatal(err)
					}
					w.Close()
				}
			}
			// heard returns how many datagrams the socket has: on loopback they are
			// there when they have been sent.
			heard := func() (n int) {
				raw, err := s.conn.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				_ = raw.Control(func(fd uintptr) {
					for b := make([]byte, MaxPacket); ; n++ {
						if _, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT); err != nil {
							return
						}
					}
				})
				return n
			}
			expect := func(what string, program []uint32, sift bool, want int) {
				t.Helper()
				filter := socketFilter(cluster.ID)
				if sift {
					filter = sieveFilter(cluster.ID, c.network == "udp6", program)
				}
				if err := replaceFilter(s.conn, filter); err != nil {
					t.Fatal(err)
				}
				send()
				if n := heard(); n != want {
					t.Errorf("%s: %d datagrams came, not %d", what, n, want)
				}
			}
			expect("not sifted", nil, false, len(c.from))
			expect("sifted", c.sources, true, 1)
			expect("nobody is known", nil, true, 0)
			if c.sources2 != nil {
				expect("both are known", c.sources2, true, 2)
			}
			many := make([]uint32, siftedMost)
			many[siftedMost-1] = c.sources[len(c.sources)-1]
			expect("the last of many is known", many, true, 1)
			expect("no longer sifted", nil, false, len(c.from))
		})
	}
}

// TestFloodThroughSockets floods a node through real sockets, as fast as another
// goroutine sends, with what passes the socket's filter and nothing else, and
// says what it costs. Its peer is heard, and hears.
func TestFloodThroughSockets(t *testing.T) {
	if !soak() {
		t.Skip("CELL_SOAK=1: it takes a core for some seconds")
	}
	start := func(number byte, seeds ...string) *Agent {
		signer, id := testKey(number)
		o := Options{NoMulticast: true, Interface: func(string) bool { return false }, Seeds: seeds}
		o.Cluster, o.Node, o.Signer = NewCluster(goldenSecret), id, signer
		a, err := Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		return a
	}
	victim := start(1)
	at := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: victim.send4.port()}
	honest := start(2, at.String())
	await := func(what string, f func() bool) {
		for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	await("they do not know each other", func() bool { return len(victim.Peers()) == 1 && len(honest.Peers()) == 1 })
	flooder, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}, &at)
	if err != nil {
		t.Fatal(err)
	}
	defer flooder.Close()
	const span = 10 * time.Second
	used, heap, sent := usage(unix.RUSAGE_SELF), heapNow(), 0
	p := sealedGood(t)
	p[60]++ // the MAC is wrong
	thread := make(chan time.Duration)
	go func() {
		runtime.LockOSThread()
		own := usage(unix.RUSAGE_THREAD)
		for begun := time.Now(); time.Since(begun) < span; {
			for range 100 {
				_, _ = flooder.Write(p)
				sent++
			}
		}
		thread <- usage(unix.RUSAGE_THREAD) - own
	}()
	sending := <-thread
	spent := usage(unix.RUSAGE_SELF) - used - sending
	v, h := victim.Stats(), honest.Stats()
	t.Logf("%d pheromones a second: %.2f of a core beside what sent them, %d KiB more memory, %d looked at, sifted %d times, rested %d times",
		sent/int(span/time.Second), spent.Seconds()/span.Seconds(), (int64(heapNow())-int64(heap))>>10, v.Drops.Total(), v.Sifts, v.Rests)
	if v.Deaths > 0 || h.Deaths > 0 || len(victim.Peers()) != 1 || len(honest.Peers()) != 1 {
		t.Errorf("somebody was given up: %+v, %+v", v, h)
	}
}

func usage(who int) time.Duration {
	var r unix.Rusage
	if unix.Getrusage(who, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
