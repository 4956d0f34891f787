package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/rpctest"
)

// tlsNode is a listener and what a dialer goes by.
type tlsNode struct {
	*TLSListener
	credentials *identity.Credentials
	trust       *identity.Trust
}

func listenTLS(t testing.TB, o *Options) *tlsNode {
	t.Helper()
	c, err := identity.NewCredentials(numbered(1))
	must(t, err)
	n := &tlsNode{credentials: c, trust: &identity.Trust{}}
	must(t, n.trust.Allow("", numbered(2).ID()))
	n.TLSListener, err = ListenTLS("127.0.0.1:0", c, n.trust, patient(o))
	must(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *tlsNode) dial(t testing.TB, b byte, o *Options) (*Link, error) {
	t.Helper()
	c, err := identity.NewCredentials(numbered(b))
	must(t, err)
	trust := &identity.Trust{}
	must(t, trust.Allow("", numbered(1).ID()))
	return DialTLS(soon(t), n.Addr().String(), numbered(1).ID(), c, trust, patient(o))
}

func (n *tlsNode) open(t testing.TB, ends peers) (a, b link.Link) {
	t.Helper()
	x, err := n.dial(t, 2, nil)
	must(t, err)
	y, err := n.Accept(soon(t))
	must(t, err)
	ends[x], ends[y] = y, x
	return x, y
}

func TestTLSConformance(t *testing.T) {
	n, ends := listenTLS(t, nil), peers{}
	linktest.Run(t, linktest.Harness{
		Open: func(t testing.TB) (a, b link.Link) { return n.open(t, ends) },
		Kill: func(t testing.TB, peer link.Link) {
			arrived(t, ends, peer)
			raw := peer.(*Link).carrier.(*tlsCarrier).conn.NetConn().(*net.TCPConn)
			_ = raw.SetLinger(0) // a reset, as a dying host's kernel would send
			_ = raw.Close()
		},
		Garbage: func(t testing.TB, rng *rand.Rand, a, b link.Link) {
			bytes := make([]byte, 20+rng.IntN(100))
			for i := range bytes {
				bytes[i] = byte(rng.Uint32())
			}
			_, err := b.(*Link).carrier.(*tlsCarrier).conn.Write(bytes)
			must(t, err)
		},
		CanPark: true, Allocates: true, Settle: 100 * time.Millisecond, MaxTotal: 16 << 20, Timeout: 20 * time.Second,
	})
}

func TestTLSRPC(t *testing.T) {
	n, ends := listenTLS(t, nil), peers{}
	rpctest.Run(t, rpctest.Harness{Open: func(t testing.TB) (server, client link.Link) { return n.open(t, ends) }})
}

func TestTLSWhoIsNotLetIn(t *testing.T) {
	n := listenTLS(t, nil)
	if _, err := n.dial(t, 3, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "allow list") {
		t.Errorf("an unknown key: %v", err)
	}
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPNTCP}}
	if c, err := tls.Dial("tcp", n.Addr().String(), cfg); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("no certificate, and an answer")
		}
		c.Close()
	}
	x, err := n.dial(t, 2, nil)
	must(t, err)
	y, err := n.Accept(soon(t))
	must(t, err)
	works(t, x, y)
	must(t, n.trust.Revoke(numbered(2).ID()))
	eventually(t, "the revoked are thrown out", func() bool { return errors.Is(x.CheckPeer(), link.ErrPeerGone) })
	must(t, errors.Join(x.Close(), y.Close()))
	eventually(t, "places of connections are given back", func() bool {
		n.gate.mu.Lock()
		defer n.gate.mu.Unlock()
		return n.gate.inside == 0 && vigilIsOver(x) && vigilIsOver(y)
	})
}

// Connections that say nothing get a bounded number of places, and not for long.
func TestTLSSlowHandshakes(t *testing.T) {
	n := listenTLS(t, &Options{HandshakeTimeout: 500 * time.Millisecond, MaxHandshakes: 16})
	most := 0
	eventually(t, "the places of one address are taken", func() bool {
		c, err := net.Dial("tcp", n.Addr().String())
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		most = max(most, n.gate.count())
		return most >= n.gate.each
	})
	for range 10 {
		c, err := net.Dial("tcp", n.Addr().String())
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		most = max(most, n.gate.count())
	}
	if most > n.gate.each {
		t.Errorf("%d handshakes in progress of one address, at most %d", most, n.gate.each)
	}
	eventually(t, "the places are free again", func() bool { return n.gate.count() == 0 })
}

// One peer has so many links and no more, so that there is room for others.
func TestTLSLinksOfOnePeerAreBounded(t *testing.T) {
	n := listenTLS(t, &Options{MaxLinks: 2})
	var last *Link
	for range 2 {
		x, err := n.dial(t, 2, nil)
		must(t, err)
		y, err := n.Accept(soon(t))
		must(t, err)
		works(t, x, y)
		last = y
	}
	if _, err := n.dial(t, 2, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "MaxLinks") {
		t.Errorf("a third: %v", err)
	}
	must(t, last.Close())
	eventually(t, "its place is free", func() bool {
		_, err := n.dial(t, 2, nil)
		return err == nil
	})
}

func vigilIsOver(l *Link) bool {
	v := &l.carrier.(*tlsCarrier).vigil
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.over && v.leave == nil
}

// Whoever is no longer let in is thrown out of a link, on whichever side, and
// whether or not the listener is still open.
func TestTLSLinksEndWithTheTrustInThem(t *testing.T) {
	cluster := identity.ClusterFromSeed([32]byte{1})
	for _, c := range []struct {
		name     string
		lifetime time.Duration
		change   func(n *tlsNode, dialer *identity.Trust) error
	}{
		{"the server is revoked by the dialer", time.Hour, func(n *tlsNode, dialer *identity.Trust) error {
			return dialer.Revoke(numbered(1).ID())
		}},
		{"the client is revoked after the listener was closed", time.Hour, func(n *tlsNode, dialer *identity.Trust) error {
			return errors.Join(n.Close(), n.trust.Revoke(numbered(2).ID()))
		}},
		{"the server's membership takes the place of the list", time.Hour, func(n *tlsNode, dialer *identity.Trust) error {
			return errors.Join(dialer.Disallow(numbered(1).ID()), dialer.RevokeSerials(n.credentials.Membership().Serial))
		}},
		{"the server's membership ends", 2 * time.Second, func(n *tlsNode, dialer *identity.Trust) error {
			return dialer.Disallow(numbered(1).ID())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := listenTLS(t, nil)
			m, err := cluster.Admit(numbered(1).ID(), time.Now(), c.lifetime)
			must(t, err)
			must(t, n.credentials.SetMembership(m))
			credentials, err := identity.NewCredentials(numbered(2))
			must(t, err)
			trust := &identity.Trust{}
			must(t, errors.Join(trust.Allow("", numbered(1).ID()), trust.SetCluster(cluster.ID())))
			x, err := DialTLS(soon(t), n.Addr().String(), numbered(1).ID(), credentials, trust, patient(nil))
			must(t, err)
			y, err := n.Accept(soon(t))
			must(t, err)
			must(t, c.change(n, trust))
			for _, l := range []*Link{x, y} {
				eventually(t, "the end of the link", func() bool { return errors.Is(l.CheckPeer(), link.ErrPeerGone) })
			}
			must(t, errors.Join(x.Close(), y.Close()))
			eventually(t, "nobody is watched any more", func() bool { return vigilIsOver(x) && vigilIsOver(y) })
		})
	}
}

func TestTLSCongestionControl(t *testing.T) {
	n := listenTLS(t, nil)
	l, err := n.dial(t, 2, &Options{Congestion: "cubic"})
	must(t, err)
	must(t, l.Close())
	if _, err := n.dial(t, 2, &Options{Congestion: "nosuch"}); err == nil || !strings.Contains(err.Error(), "modprobe tcp_nosuch") {
		t.Errorf("one that there isn't: %v", err)
	}
}

func TestTLSDialIsBounded(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	must(t, err)
	defer hole.Close()
	c, err := identity.NewCredentials(numbered(2))
	must(t, err)
	if _, err := DialTLS(soon(t), hole.Addr().String(), numbered(1).ID(), c, &identity.Trust{}, &Options{HandshakeTimeout: 200 * time.Millisecond}); !errors.Is(err, ErrHandshake) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := DialTLS(ctx, hole.Addr().String(), numbered(1).ID(), c, &identity.Trust{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
