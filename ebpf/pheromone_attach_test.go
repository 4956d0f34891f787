package ebpf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPheromoneTakesTheBestThatCanBeHad(t *testing.T) {
	loaded(t, true) // skips where nothing can be loaded
	load := func(t *testing.T) *Pheromone {
		p, err := LoadPheromone(testRules)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		return p
	}
	inNamespace(t, func(t *testing.T, ifindex int) {
		first, second, third := load(t), load(t), load(t)
		if first == nil || second == nil || third == nil {
			return
		}
		if err := first.Attach(ifindex, ModeAuto); err != nil {
			t.Error(err)
		}
		if m, why := first.Mode(); m != ModeDriver || len(why) != 0 {
			t.Errorf("%v, %q", m, why)
		}
		for _, p := range []*Pheromone{second, third} {
			err := p.Attach(ifindex, ModeAuto)
			if errors.Is(err, ErrOccupied) && errors.Is(err, ErrNotSupported) {
				t.Log("this kernel has no tcx")
				continue
			}
			if m, why := p.Mode(); err != nil || m != ModeTCX || len(why) != 1 || !strings.Contains(why[0], "pheromone_xdp") {
				t.Errorf("beside an XDP program: %v, %v, %q", err, m, why)
			}
		}
		if err := first.Attach(ifindex, ModeAuto); err == nil {
			t.Error("one program is attached twice")
		}
	})
}

// The classic filter and a Screen behind it find the same as the program's
// model, over real sockets.
func TestClassicFilter(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
			if err != nil {
				t.Skipf("no UDP on %s: %v", host, err)
			}
			defer s.Close()
			raw, err := s.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var attach error
			if err := raw.Control(func(fd uintptr) { attach = AttachClassic(int(fd), testRules) }); err != nil || attach != nil {
				t.Fatal(err, attach)
			}
			c, err := net.DialUDP("udp", nil, s.LocalAddr().(*net.UDPAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, v := range pheromoneCases {
				if v.b == nil || v.want == ReasonOther || v.want == ReasonFragment || v.want == ReasonHeaders || v.p.hops != 0 || v.p.udpLength != 0 {
					continue // nothing that an ordinary socket sends
				}
				sendAndExpect(t, c, s, v.name, v.b.build(), v.want == ReasonAccepted)
			}
			for hops, passes := range map[int]bool{31: false, 32: true} {
				if err := setHops(c, hops); err != nil {
					t.Fatal(err)
				}
				sendAndExpect(t, c, s, "hops", beacon{}.build(), passes)
			}
		})
	}
}

// sendAndExpect sends what is to be judged and something that surely passes, and
// looks which of both arrives first.
func sendAndExpect(t *testing.T, c, s *net.UDPConn, what string, b []byte, passes bool) {
	t.Helper()
	end := beacon{counter: 1 << 60}.build()
	hops, err := getHops(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := setHops(c, 64); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(end); err != nil {
		t.Fatal(err)
	}
	if err := setHops(c, hops); err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	for len(got) == 0 || string(got[len(got)-1]) != string(end) {
		in := make([]byte, 2048)
		if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := s.Read(in)
		if err != nil {
			t.Fatal(what, err)
		}
		got = append(got, in[:n])
	}
	if passed := len(got) == 2; passed != passes || passed && string(got[0]) != string(b) {
		t.Errorf("%s: passes %t, want %t", what, passed, passes)
	}
}

func hopsOption(c *net.UDPConn) (level, option int) {
	if c.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		return unix.IPPROTO_IP, unix.IP_TTL
	}
	return unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
}

func setHops(c *net.UDPConn, n int) (err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	level, option := hopsOption(c)
	control := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, n) })
	return errors.Join(control, err)
}

func getHops(c *net.UDPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	level, option := hopsOption(c)
	control := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, option) })
	return n, errors.Join(control, err)
}

func TestClassicFilterRefuses(t *testing.T) {
	if err := AttachClassic(-1, testRules); err == nil {
		t.Error("a descriptor that is none is accepted")
	}
	if err := AttachClassic(0, Rules{}); err == nil {
		t.Error("rules without a port are accepted")
	}
}

// Without a program: the socket's filter, and a Screen behind it.
func ExampleAttachClassic() {
	rules := Rules{Port: 47100, Cluster: [8]byte{'e', 'x', 'a', 'm', 'p', 'l', 'e'}}
	listen := net.ListenConfig{}
	c, err := listen.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		panic(err)
	}
	_ = raw.Control(func(fd uintptr) { err = AttachClassic(int(fd), rules) })
	if err != nil {
		panic(err)
	}
	screen, err := NewScreen(rules)
	if err != nil {
		panic(err)
	}
	fmt.Println(screen.Judge(0, netip.MustParseAddr("127.0.0.1"), 64, []byte("no beacon")))
	// Output: length
}
