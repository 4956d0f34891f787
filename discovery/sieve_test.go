package discovery

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
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
