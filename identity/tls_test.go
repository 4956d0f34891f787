package identity

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// node is one side of a handshake.
type node struct {
	c *Credentials
	t *Trust
}

func newNode(t testing.TB, k *Key) node {
	t.Helper()
	c, err := NewCredentials(k)
	must(t, err)
	return node{c, at(epoch)}
}

// shake makes a connection and a byte go each way; it returns what each side
// says to that.
func shake(t testing.TB, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	b, err := l.Accept()
	must(t, err)
	deadline := time.Now().Add(10 * time.Second)
	_ = a.SetDeadline(deadline)
	_ = b.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		buf := make([]byte, 1)
		_, err := io.ReadFull(s, buf)
		if err == nil {
			_, err = s.Write(buf)
		}
		b.Close()
		done <- err
	}()
	c := tls.Client(a, client)
	_, clientErr = c.Write([]byte{1})
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	a.Close()
	return clientErr, <-done
}

func TestHandshakes(t *testing.T) {
	server, client := numbered(1), numbered(2)
	for _, c := range []struct {
		name           string
		set            func(s, c *node)
		call           ID
		server, client error // what that side says itself
		proto          []string
	}{
		{"each lists the other", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, c.t.Allow("", server.ID()))
		}, server.ID(), nil, nil, nil},
		{"any trusted node will do", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, c.t.Allow("", server.ID()))
		}, ID{}, nil, nil, nil},
		{"the server doesn't know the client", func(s, c *node) { must(t, c.t.Allow("", server.ID())) }, server.ID(), ErrUnknown, nil, nil},
		{"the client doesn't know the server", func(s, c *node) { must(t, s.t.Allow("", client.ID())) }, server.ID(), nil, ErrUnknown, nil},
		{"the server has a counted token", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, s.c.SetMembership(member(t, server, 1).Membership))
			must(t, c.t.SetCluster(testCluster().ID()))
		}, server.ID(), nil, ErrUnknown, nil},
		{"the client has a counted token", func(s, c *node) {
			must(t, c.t.Allow("", server.ID()))
			must(t, c.c.SetMembership(member(t, client, 1).Membership))
			must(t, s.t.SetCluster(testCluster().ID()))
		}, server.ID(), ErrUnknown, nil, nil},
		{"the client is revoked", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, s.t.Revoke(client.ID()))
			must(t, c.t.Allow("", server.ID()))
		}, server.ID(), ErrRevoked, nil, nil},
		{"another node answers", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, c.t.Allow("", server.ID(), numbered(3).ID()))
		}, numbered(3).ID(), nil, ErrOtherPeer, nil},
		{"both are members", func(s, c *node) {
			for _, n := range []*node{s, c} {
				must(t, n.t.SetCluster(testCluster().ID()))
				must(t, n.c.SetMembership(member(t, n.c.Key(), 0).Membership))
			}
		}, server.ID(), nil, nil, nil},
		{"the server has a new key", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, c.t.Allow("", server.ID()))
			succession, err := NewSuccession(server, numbered(4), epoch, time.Hour)
			must(t, err)
			must(t, s.c.Rotate(numbered(4), succession))
		}, server.ID(), nil, nil, nil},
		{"protocols", func(s, c *node) {
			must(t, s.t.Allow("", client.ID()))
			must(t, c.t.Allow("", server.ID()))
		}, server.ID(), nil, nil, []string{"cell-test/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, n := newNode(t, server), newNode(t, client)
			c.set(&s, &n)
			clientErr, serverErr := shake(t, ClientTLS(n.c, n.t, c.call, c.proto...), ServerTLS(s.c, s.t, c.proto...))
			if (clientErr != nil || serverErr != nil) != (c.client != nil || c.server != nil) {
				t.Fatalf("client %v, server %v", clientErr, serverErr)
			}
			if c.client != nil && !errors.Is(clientErr, c.client) || c.server != nil && !errors.Is(serverErr, c.server) {
				t.Errorf("client %v, server %v", clientErr, serverErr)
			}
		})
	}
}

func TestHandshakesOfStrangersToTheProtocol(t *testing.T) {
	s, n := newNode(t, numbered(1)), newNode(t, numbered(2))
	must(t, s.t.Allow("", numbered(2).ID()))
	must(t, n.t.Allow("", numbered(1).ID()))
	for name, spoil := range map[string]func(*tls.Config){
		"no certificate": func(c *tls.Config) { c.GetClientCertificate = nil },
		"TLS 1.2":        func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
		"no ALPN":        func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil },
		"another ALPN":   func(c *tls.Config) { c.NextProtos = []string{"h2"} },
	} {
		for kind, cfg := range map[string]*tls.Config{"": ServerTLS(s.c, s.t, "cell-test/1"), ", deferred": DeferredServerTLS(s.c, "cell-test/1")} {
			t.Run(name+kind, func(t *testing.T) {
				client := ClientTLS(n.c, n.t, ID{}, "cell-test/1")
				spoil(client)
				if _, err := shake(t, client, cfg); err == nil {
					t.Error("let in")
				}
			})
		}
	}
}

// A ticket is no way back for somebody who was revoked after he got it.
func TestAResumedSessionIsCheckedAnew(t *testing.T) {
	s, n := newNode(t, numbered(1)), newNode(t, numbered(2))
	must(t, s.t.Allow("", numbered(2).ID()))
	must(t, n.t.Allow("", numbered(1).ID()))
	server, client := ServerTLS(s.c, s.t), ClientTLS(n.c, n.t, numbered(1).ID())
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	resumed := false
	verify := server.VerifyConnection
	server.VerifyConnection = func(cs tls.ConnectionState) error {
		resumed = cs.DidResume
		return verify(cs)
	}
	for i, want := range []error{nil, nil, ErrRevoked} {
		if i == 2 {
			must(t, s.t.Revoke(numbered(2).ID()))
		}
		_, err := shake(t, client, server)
		if !errors.Is(err, want) || (err == nil) != (want == nil) || resumed != (i > 0) {
			t.Errorf("handshake %d: %v, resumed %t", i, err, resumed)
		}
	}
}

func TestCredentialsShowOnlyWhatIsTheirOwn(t *testing.T) {
	c, err := NewCredentials(numbered(1))
	must(t, err)
	other := member(t, numbered(2), 0).Membership
	if err := c.SetMembership(other); !errors.Is(err, ErrStatement) {
		t.Errorf("another's membership: %v", err)
	}
	succession, err := NewSuccession(numbered(2), numbered(3), epoch, time.Hour)
	must(t, err)
	if err := c.SetSuccessions(succession); !errors.Is(err, ErrStatement) {
		t.Errorf("another's succession: %v", err)
	}
	_, leaf := authority(t, numbered(2), epoch.Add(time.Hour))
	if err := c.SetChain([][]byte{leaf.Raw}); !errors.Is(err, ErrStatement) {
		t.Errorf("another's certificate: %v", err)
	}
	if c.Membership() != nil || c.ID() != numbered(1).ID() {
		t.Error("a refused change was made")
	}
}
