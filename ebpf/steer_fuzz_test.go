package ebpf

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// steerModel says what steer does.
type steerModel struct {
	owner  map[netip.AddrPort]int
	porter int
	open   []bool // sockets that are in the map
	stats  SteerStats
}

// to is the socket that a datagram of a peer reaches; -1: any that is open.
func (m *steerModel) to(peer netip.AddrPort) int {
	at, owned := m.owner[peer]
	if !owned {
		at = m.porter
	}
	switch {
	case at >= len(m.open) || !m.open[at]:
		m.stats.NoSocket++
		return -1
	case owned:
		m.stats.Owned++
	default:
		m.stats.Stranger++
	}
	return at
}

// arrived waits for a datagram at any of the sockets.
func (g *group) arrived(t *testing.T, open []bool, b []byte) (at, n int) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		for i, fd := range g.fds {
			if !open[i] {
				continue
			}
			if n, _, err := unix.Recvfrom(fd, b, 0); err == nil {
				return i, n
			}
		}
	}
	t.Fatal("a datagram has not come")
	return 0, 0
}

// steerPeers are sockets that are connected to a group.
func steerPeers(t *testing.T, g *group, n int) (peers []*net.UDPConn) {
	for i := range n {
		local := &net.UDPAddr{IP: net.IPv6loopback}
		if g.addr.Addr().Is4() {
			local.IP = net.IPv4(127, 0, 0, byte(1+i%3)) // some by their port alone, some by their address, too
		}
		c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(g.addr))
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		peers = append(peers, c)
	}
	return peers
}

// FuzzSteer has the program and its model go through the same history, in which
// owners and porters change, sockets close and peers send. The kernel has no test
// run for programs of this kind, so that what is sent is sent indeed.
func FuzzSteer(f *testing.F) {
	f.Add(false, []byte{0, 0, 3, 0, 1, 0, 3, 0})          // owned, disowned
	f.Add(true, []byte{2, 3, 3, 1, 4, 3, 3, 1, 0, 9})     // the porter closes
	f.Add(false, []byte{0, 21, 4, 3, 3, 5, 2, 3, 3, 4})   // an owner closes, and the porter is it
	f.Add(true, []byte{2, 63, 3, 0, 0, 8, 3, 2, 3, 0x82}) // no socket is the porter
	s, err := LoadSteer()
	skipOrFail(f, err)
	defer s.Close()
	f.Fuzz(func(t *testing.T, v6 bool, history []byte) {
		const sockets, many = 4, 6
		host := netip.MustParseAddr("127.0.0.1")
		if v6 {
			host = netip.IPv6Loopback()
		}
		g := newGroup(t, host, sockets)
		peers := steerPeers(t, g, many)
		m := steerModel{owner: map[netip.AddrPort]int{}, open: slices.Repeat([]bool{true}, sockets)}
		before, err := s.Stats()
		errs := []error{err, s.Attach(g.fds[0]), s.SetPorter(0)}
		for i, fd := range g.fds {
			errs = append(errs, s.SetSocket(uint32(i), fd))
		}
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		for step := 0; step+1 < min(len(history), 128); step += 2 {
			steerStep(t, s, g, peers, &m, history[step], history[step+1])
		}
		after, err := s.Stats()
		if got := (SteerStats{after.Owned - before.Owned, after.Stranger - before.Stranger, after.NoSocket - before.NoSocket}); err != nil || got != m.stats {
			t.Errorf("counted %+v, %v; the model %+v", got, err, m.stats)
		}
		for peer := range m.owner {
			if err := s.Disown(peer); err != nil {
				t.Error(err)
			}
		}
	})
}

// steerStep does one thing.
func steerStep(t *testing.T, s *Steer, g *group, peers []*net.UDPConn, m *steerModel, what, which byte) {
	c := peers[int(which)%len(peers)]
	peer := c.LocalAddr().(*net.UDPAddr).AddrPort()
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	var err error
	switch what % 5 {
	case 0:
		m.owner[peer] = int(which) / len(peers) % MaxSteered
		err = s.Own(peer, uint32(m.owner[peer]))
	case 1:
		delete(m.owner, peer)
		err = s.Disown(peer)
	case 2:
		m.porter = int(which) % MaxSteered
		err = s.SetPorter(uint32(m.porter))
	case 3:
		sent := bytes.Repeat([]byte{which}, int(what)*5)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		want, got := m.to(peer), make([]byte, 2048)
		at, n := g.arrived(t, m.open, got)
		if want != -1 && at != want || !bytes.Equal(got[:n], sent) {
			t.Fatalf("%d bytes of %v have reached socket %d, and %d bytes socket %d was expected: %+v", n, peer, at, len(sent), want, m)
		}
	case 4:
		at := int(which) % len(g.fds)
		last := !slices.Contains(slices.Concat(m.open[:at], m.open[at+1:]), true)
		if m.open[at] && !last {
			m.open[at] = false
			err = unix.Close(g.fds[at])
			g.fds[at] = -1
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
