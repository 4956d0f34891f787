package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// works sends a vesicle each way.
func works(t testing.TB, a, b *Link) {
	t.Helper()
	for _, pair := range [][2]*Link{{a, b}, {b, a}} {
		var out, in [1]wire.Vesicle
		_, err := pair[0].Claim(out[:], 5)
		must(t, err)
		copy(out[0].Payload, "hello")
		out[0].Header = wire.Header{Kind: wire.KindEvent, Correlation: 1}
		must(t, errors.Join(pair[0].Commit(out[:]), pair[0].Flush()))
		eventually(t, "a vesicle", func() bool {
			n, err := pair[1].Poll(in[:])
			must(t, err)
			return n == 1
		})
		if string(in[0].Payload) != "hello" {
			t.Fatalf("%q arrived", in[0].Payload)
		}
		must(t, pair[1].Release(1))
	}
}

func TestWhoIsNotLetIn(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(t *testing.T, server, client *node)
		call  byte // whom the client calls
		want  error
		words string
	}{
		{"unknown to the server", func(t *testing.T, s, c *node) {
			must(t, s.trust.Disallow(c.key.ID()))
		}, 1, ErrRefused, "not on the allow list"},
		{"revoked by the server", func(t *testing.T, s, c *node) {
			must(t, s.trust.Revoke(c.key.ID()))
		}, 1, ErrRefused, "revoked"},
		{"a server that the client doesn't know", func(t *testing.T, s, c *node) {
			must(t, c.trust.Disallow(s.key.ID()))
		}, 1, identity.ErrUnknown, ""},
		{"another node than the one that was called", func(t *testing.T, s, c *node) {
			must(t, c.trust.Allow("", numbered(9).ID()))
		}, 9, identity.ErrOtherPeer, ""},
		{"a token of another cluster", func(t *testing.T, s, c *node) {
			must(t, s.trust.Disallow(c.key.ID()))
			must(t, s.trust.SetCluster(identity.ClusterFromSeed([32]byte{1}).ID()))
			other, err := identity.ClusterFromSeed([32]byte{2}).NewToken(time.Now(), time.Hour, 0)
			must(t, err)
			m, err := other.Join(c.key.ID(), time.Now())
			must(t, err)
			must(t, c.credentials.SetMembership(m))
		}, 1, ErrRefused, "it is a membership of cellcluster1"},
		{"a counted token, for a link", func(t *testing.T, s, c *node) {
			must(t, s.trust.Disallow(c.key.ID()))
			cluster := identity.ClusterFromSeed([32]byte{1})
			must(t, s.trust.SetCluster(cluster.ID()))
			token, err := cluster.NewToken(time.Now(), time.Hour, 1)
			must(t, err)
			m, err := token.Join(c.key.ID(), time.Now())
			must(t, err)
			must(t, c.credentials.SetMembership(m))
		}, 1, ErrRefused, "being enrolled"},
		{"a server with a counted token", func(t *testing.T, s, c *node) {
			must(t, c.trust.Disallow(s.key.ID()))
			cluster := identity.ClusterFromSeed([32]byte{1})
			must(t, c.trust.SetCluster(cluster.ID()))
			token, err := cluster.NewToken(time.Now(), time.Hour, 1)
			must(t, err)
			m, err := token.Join(s.key.ID(), time.Now())
			must(t, err)
			must(t, s.credentials.SetMembership(m))
		}, 1, identity.ErrUnknown, "being enrolled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			told := ""
			s := listen(t, 1, &Options{Refused: func(addr string, why error) {
				mu.Lock()
				defer mu.Unlock()
				told = addr + why.Error()
			}}, 2)
			n := listen(t, 2, nil, 1)
			c.set(t, s, n)
			_, err := n.Dial(soon(t), s.Addr().String(), numbered(c.call).ID(), nil)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %v: %q", err, c.want, c.words)
			}
			if errors.Is(c.want, ErrRefused) {
				eventually(t, "the server is told", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return strings.Contains(told, n.Addr().IP.String())
				})
			}
		})
	}
}

func TestAClusterNeedsNothingButAToken(t *testing.T) {
	token, err := identity.ClusterFromSeed([32]byte{1}).NewToken(time.Now(), time.Hour, 0)
	must(t, err)
	a, b := listen(t, 1, nil), listen(t, 2, nil)
	for _, n := range []*node{a, b} {
		m, err := token.Join(n.key.ID(), time.Now())
		must(t, err)
		must(t, n.credentials.SetMembership(m))
		must(t, n.trust.SetCluster(token.Grant.Cluster))
	}
	x, y := linked(t, a, b, nil)
	works(t, x, y)
	if y.Peer().By != identity.ByCluster || y.Peer().ID != a.key.ID() {
		t.Errorf("%+v", y.Peer())
	}
	// A token that is revoked throws out who came by it.
	must(t, b.trust.RevokeSerials(token.Grant.Serial))
	eventually(t, "the revoked are thrown out", func() bool { return errors.Is(x.CheckPeer(), link.ErrPeerGone) })
	if err := x.CheckPeer(); !strings.Contains(err.Error(), "revoked") {
		t.Errorf("thrown out with %v", err)
	}
}

func TestAMembershipThatEndsEndsTheConnection(t *testing.T) {
	cluster := identity.ClusterFromSeed([32]byte{1})
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil)
	must(t, b.trust.SetCluster(cluster.ID()))
	for lifetime := 2 * time.Second; ; lifetime *= 2 {
		token, err := cluster.NewToken(time.Now(), lifetime, 0)
		must(t, err)
		m, err := token.Join(a.key.ID(), time.Now())
		must(t, err)
		must(t, a.credentials.SetMembership(m))
		x, err := a.Dial(soon(t), b.Addr().String(), b.key.ID(), nil)
		if err != nil && time.Now().After(token.Grant.NotAfter) {
			continue // it has ended before this host got round to the handshake
		}
		must(t, err)
		eventually(t, "the end of the membership", func() bool { return errors.Is(x.CheckPeer(), link.ErrPeerGone) })
		if time.Now().Before(token.Grant.NotAfter) {
			t.Errorf("%v, before the membership's end at %v", x.CheckPeer(), token.Grant.NotAfter)
		}
		return
	}
}

// stranger dials with whatever it likes.
func stranger(t testing.TB, at net.Addr, cfg *tls.Config) (*quicgo.Conn, error) {
	t.Helper()
	return quicgo.DialAddr(soon(t), at.String(), cfg, &quicgo.Config{EnableDatagrams: true, HandshakeIdleTimeout: patience})
}

func strangerTLS(t testing.TB, k byte) *tls.Config {
	t.Helper()
	c, err := identity.NewCredentials(numbered(k))
	must(t, err)
	return &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{ALPN}, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{*c.Certificate()},
	}
}

func TestHandshakesThatFail(t *testing.T) {
	s := listen(t, 1, nil, 2)
	for name, spoil := range map[string]func(*tls.Config){
		"no certificate":       func(c *tls.Config) { c.Certificates = nil },
		"another protocol":     func(c *tls.Config) { c.NextProtos = []string{"h3"} },
		"an unknown key":       func(c *tls.Config) { *c = *strangerTLS(t, 77) },
		"another protocol's 2": func(c *tls.Config) { c.NextProtos = []string{"cell/999"} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := strangerTLS(t, 2)
			spoil(cfg)
			c, err := stranger(t, s.Addr(), cfg)
			if err != nil {
				return
			}
			defer c.CloseWithError(0, "")
			select {
			case <-c.Context().Done():
			case <-time.After(patience):
				t.Error("still connected")
			}
		})
	}
	if n := len(s.all()); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Strangers that begin handshakes and leave them there get a bounded number of
// places, from one address an eighth of those; a peer from elsewhere is served
// meanwhile.
func TestSlowHandshakesTakeABoundedNumberOfPlaces(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", 1, &Options{MaxHandshakes: 64, HandshakeTimeout: 2 * time.Second}, 2)
	before := heap()
	socket, err := net.Dial("udp", s.Addr().String())
	must(t, err)
	defer socket.Close()
	// The first packets of genuine handshakes, taken from a real client that
	// never sees an answer.
	first := initialPackets(t, 400)
	for _, p := range first {
		_, err := socket.Write(p)
		must(t, err)
	}
	eventually(t, "the places of one address are taken", func() bool { return s.gate.count() >= s.gate.each })
	if n := s.gate.count(); n > s.gate.each {
		t.Errorf("%d handshakes in progress of one address, at most %d", n, s.gate.each)
	}
	t.Logf("%d first packets: %d handshakes in progress, %d KiB more heap", len(first), s.gate.count(), (heap()-before)>>10)
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	n := listenAt(t, "127.0.0.2:0", 2, nil, 1) // another address
	x, err := n.Dial(soon(t), s.Addr().String(), s.key.ID(), nil)
	must(t, err)
	y, err := s.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	eventually(t, "the places are free again", func() bool { return s.gate.count() == 0 })
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// initialPackets lets clients dial a socket that only listens, and returns what
// they said first.
func initialPackets(t testing.TB, n int) (packets [][]byte) {
	t.Helper()
	hole, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer hole.Close()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	tr := &quicgo.Transport{Conn: socket}
	defer socket.Close()
	defer tr.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := strangerTLS(t, 77)
	for range n {
		go func() { _, _ = tr.Dial(ctx, hole.LocalAddr(), cfg, nil) }()
	}
	seen := make(map[string]bool) // by destination connection ID
	buf := make([]byte, 2048)
	must(t, hole.SetReadDeadline(time.Now().Add(patience)))
	for len(seen) < n/2 {
		k, err := hole.Read(buf)
		if err != nil {
			t.Fatalf("only %d clients said something: %v", len(seen), err)
		}
		if id := string(buf[6 : 6+int(buf[5])]); !seen[id] {
			seen[id] = true
			packets = append(packets, append([]byte(nil), buf[:k]...))
		}
	}
	return packets
}

// What a stranger sends before anybody has looked at its key is bounded by the
// first windows, and it is out before long.
func TestFloodsBeforeAuthentication(t *testing.T) {
	s := listen(t, 1, nil, 2)
	n := listen(t, 2, nil, 1)
	x, err := n.Dial(soon(t), s.Addr().String(), s.key.ID(), nil)
	must(t, err)
	y, err := s.Accept(soon(t))
	must(t, err)
	before := heap()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := stranger(t, s.Addr(), strangerTLS(t, byte(100+i)))
			if err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(c.Context(), patience)
			defer cancel()
			junk := make([]byte, 1000)
			var own sync.WaitGroup
			for range 4 {
				own.Go(func() {
					for ctx.Err() == nil {
						st, err := c.OpenUniStreamSync(ctx)
						if err != nil {
							return
						}
						_, _ = st.Write(junk)
					}
				})
			}
			for ctx.Err() == nil && c.SendDatagram(junk) == nil {
			}
			own.Wait()
			select {
			case <-c.Context().Done():
			case <-time.After(patience):
				t.Error("a stranger is still connected")
			}
		})
	}
	for range 20 {
		works(t, x, y) // meanwhile
	}
	wg.Wait()
	// Of both sides: the strangers live in this process, too.
	t.Logf("20 strangers flooded: %d KiB more heap", (heap()-before)>>10)
	eventually(t, "the memory comes back", func() bool { return heap()-before < 16<<20 })
	if got := len(s.all()); got != 1 {
		t.Errorf("%d connections are remembered", got)
	}
}

// A peer that was let in and breaks the protocol harms itself.
func TestPeersThatBreakTheProtocol(t *testing.T) {
	for name, breach := range map[string]func(t *testing.T, c *quicgo.Conn) bool{ // true: the connection ends
		"an opening that is none": func(t *testing.T, c *quicgo.Conn) bool {
			st, err := c.OpenStreamSync(soon(t))
			must(t, err)
			_, _ = st.Write(make([]byte, openingSize))
			_, _, err = readAnswer(st, 1<<20)
			if !errors.Is(err, ErrRefused) {
				t.Errorf("answered with %v", err)
			}
			return false
		},
		"lanes of no link": func(t *testing.T, c *quicgo.Conn) bool {
			for range 100 {
				st, err := c.OpenUniStreamSync(soon(t))
				must(t, err)
				_, err = st.Write([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
				must(t, err)
				<-st.Context().Done() // it is told that nobody reads it
			}
			return false
		},
		"datagrams of no link": func(t *testing.T, c *quicgo.Conn) bool {
			for i := range 500 {
				_ = c.SendDatagram(make([]byte, i%200))
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, 1, nil, 2, 3)
			c, err := stranger(t, s.Addr(), strangerTLS(t, 2))
			must(t, err)
			defer c.CloseWithError(0, "")
			if breach(t, c) {
				eventually(t, "the end of the connection", func() bool { return c.Context().Err() != nil })
			}
			n := listen(t, 3, nil, 1)
			x, err := n.Dial(soon(t), s.Addr().String(), s.key.ID(), nil)
			must(t, err)
			y, err := s.Accept(soon(t))
			must(t, err)
			works(t, x, y)
		})
	}
}

func TestEventsThatMayBeLostGoAsDatagrams(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	x, y := linked(t, a, b, &LinkOptions{LossyEvents: true})
	if x.Info().Reliable || x.Info().Ordered || y.Info().Reliable {
		t.Errorf("%+v", x.Info())
	}
	got := 0
	for i := range 50 {
		var out, in [1]wire.Vesicle
		_, err := x.Claim(out[:], 100)
		must(t, err)
		copy(out[0].Payload, fmt.Sprintf("%03d", i))
		out[0].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i)}
		must(t, errors.Join(x.Commit(out[:]), x.Flush()))
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			n, err := y.Poll(in[:])
			must(t, err)
			if n == 1 {
				got++
				must(t, y.Release(1))
				break
			}
		}
	}
	if got < 40 { // over loopback, one at a time
		t.Errorf("%d of 50 arrived", got)
	}
	if x.lanes[laneApplication].stream != nil || x.lanes[0].stream != nil {
		t.Error("an event went by a stream")
	}
	// Everything else is as reliable as ever.
	var out, in [1]wire.Vesicle
	_, err := x.Claim(out[:], 10)
	must(t, err)
	out[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: 5}
	must(t, errors.Join(x.Commit(out[:]), x.Flush()))
	eventually(t, "a request", func() bool {
		n, err := y.Poll(in[:])
		must(t, err)
		return n == 1 && in[0].Header.Kind == wire.KindRequest
	})
}
