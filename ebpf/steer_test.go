package ebpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// group is some UDP sockets that share a port.
type group struct {
	fds  []int
	addr netip.AddrPort
}

func newGroup(t *testing.T, host netip.Addr, n int) *group {
	t.Helper()
	g := &group{addr: netip.AddrPortFrom(host, 0)}
	t.Cleanup(func() {
		for _, fd := range g.fds {
			if fd >= 0 { // it was not closed before
				_ = unix.Close(fd)
			}
		}
	})
	for range n {
		family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(g.addr.Port()), Addr: [4]byte{127, 0, 0, 1}})
		if host.Is6() {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(g.addr.Port()), Addr: host.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		g.fds = append(g.fds, fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, sa); err != nil {
			t.Skipf("no UDP on %v: %v", host, err)
		}
		if g.addr.Port() == 0 {
			name, err := unix.Getsockname(fd)
			if err != nil {
				t.Fatal(err)
			}
			switch a := name.(type) {
			case *unix.SockaddrInet4:
				g.addr = netip.AddrPortFrom(host, uint16(a.Port))
			case *unix.SockaddrInet6:
				g.addr = netip.AddrPortFrom(host, uint16(a.Port))
			}
		}
	}
	return g
}

// arrival waits for a datagram and returns which socket has got it.
func (g *group) arrival(t *testing.T, want byte) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		for i, fd := range g.fds {
			var b [16]byte
			n, _, err := unix.Recvfrom(fd, b[:], 0)
			if err == nil && n == 1 && b[0] == want {
				return i
			}
			if err == nil {
				t.Fatalf("socket %d has %x, want %x", i, b[:n], want)
			}
		}
	}
	t.Fatal("the datagram has not come")
	return -1
}

func TestSteer(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) { testSteer(t, netip.MustParseAddr(host)) })
	}
}

func testSteer(t *testing.T, host netip.Addr) {
	s, err := LoadSteer()
	skipOrFail(t, err)
	defer s.Close()
	g := newGroup(t, host, 4)
	const porter = 2
	errs := []error{s.Attach(g.fds[0]), s.SetPorter(porter)}
	for i, fd := range g.fds {
		errs = append(errs, s.SetSocket(uint32(i), fd))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, uint64(host.BitLen())))
	var peers []*net.UDPConn
	for range 24 {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(g.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		peers = append(peers, c)
	}
	// The model: owners come and go, and each datagram goes to its sender's.
	owner := map[int]int{}
	var want SteerStats
	for step := range 600 {
		i := rng.IntN(len(peers))
		addr := peers[i].LocalAddr().(*net.UDPAddr).AddrPort()
		switch rng.IntN(4) {
		case 0:
			owner[i] = rng.IntN(len(g.fds))
			err = s.Own(addr, uint32(owner[i]))
		case 1:
			delete(owner, i)
			err = s.Disown(addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peers[i].Write([]byte{byte(step)}); err != nil {
			t.Fatal(err)
		}
		expected, owned := owner[i]
		if owned {
			want.Owned++
		} else {
			expected = porter
			want.Stranger++
		}
		if got := g.arrival(t, byte(step)); got != expected {
			t.Fatalf("step %d: peer %d, owned %t, has reached socket %d, want %d", step, i, owned, got, expected)
		}
	}
	// A socket that is gone: the kernel gives what was its to another.
	if err := s.Own(peers[0].LocalAddr().(*net.UDPAddr).AddrPort(), 3); err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(g.fds[3]); err != nil {
		t.Fatal(err)
	}
	g.fds = g.fds[:3]
	if _, err := peers[0].Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	g.arrival(t, 1)
	want.NoSocket++
	if stats, err := s.Stats(); err != nil || stats != want {
		t.Errorf("%+v, %v; want %+v", stats, err, want)
	}
}

func TestSteerRefuses(t *testing.T) {
	s, err := LoadSteer()
	skipOrFail(t, err)
	defer s.Close()
	peer := netip.MustParseAddrPort("192.0.2.1:1")
	for what, err := range map[string]error{
		"a socket beyond the last":     s.SetSocket(MaxSteered, 0),
		"an owner beyond the last":     s.Own(peer, MaxSteered),
		"a descriptor that is none":    s.SetSocket(0, -1),
		"to attach to none":            s.Attach(-1),
		"a socket that shares no port": s.SetSocket(0, loneSocket(t)),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if err := s.Disown(peer); err != nil {
		t.Errorf("disowning a stranger: %v", err)
	}
}

func loneSocket(t *testing.T) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// Two sockets on one port: what the one's peer sends reaches it, and what
// strangers send the other.
func ExampleSteer() {
	s, err := LoadSteer()
	if err != nil {
		fmt.Println("not here:", err)
		return
	}
	defer s.Close()
	// … bind two sockets with SO_REUSEPORT to one port, fds[0] and fds[1]:
	var fds [2]int
	_ = s.SetSocket(0, fds[0]) // the porter
	_ = s.SetSocket(1, fds[1])
	_ = s.Own(netip.MustParseAddrPort("192.0.2.7:4711"), 1)
	_ = s.Attach(fds[0])
}
