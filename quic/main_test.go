package quic

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// numbered returns the key of a seed that is all b.
func numbered(b byte) *identity.Key {
	var seed [32]byte
	for i := range seed {
		seed[i] = b
	}
	return identity.FromSeed(seed)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is an endpoint and what it goes by.
type node struct {
	*Endpoint
	key   *identity.Key
	trust *identity.Trust
}

// listen opens an endpoint of node b, which trusts the others.
func listen(t testing.TB, b byte, o *Options, others ...byte) *node {
	t.Helper()
	return listenAt(t, "127.0.0.1:0", b, o, others...)
}

func listenAt(t testing.TB, addr string, b byte, o *Options, others ...byte) *node {
	t.Helper()
	n := &node{key: numbered(b), trust: &identity.Trust{}}
	o = patient(o)
	for _, other := range others {
		must(t, n.trust.Allow(fmt.Sprint(other), numbered(other).ID()))
	}
	c, err := identity.NewCredentials(n.key)
	must(t, err)
	n.Endpoint, err = Listen(addr, c, n.trust, o)
	must(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// patient returns the options with bounds that a host that is busy with something
// else doesn't reach, where the test asks for none.
func patient(o *Options) *Options {
	s := Options{}
	if o != nil {
		s = *o
	}
	orDefault(&s.HandshakeTimeout, patience)
	orDefault(&s.IdleTimeout, patience)
	return &s
}

// patience is for how long is waited for what must come about.
const patience = 60 * time.Second

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// linked opens a link from a to b and returns both ends, a's first.
func linked(t testing.TB, a, b *node, o *LinkOptions) (x, y *Link) {
	t.Helper()
	x, err := a.Dial(soon(t), b.Addr().String(), b.key.ID(), o)
	must(t, err)
	y, err = b.Accept(soon(t))
	must(t, err)
	return x, y
}

// eventually waits until f returns true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not come about", what)
		}
	}
}
