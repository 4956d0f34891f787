package quic

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// The ground on which a peer was let in may become one that ends.
func TestAGroundThatChangesIsWatchedAnew(t *testing.T) {
	cluster := identity.ClusterFromSeed([32]byte{1})
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	m, err := cluster.Admit(a.key.ID(), time.Now(), 2*time.Second)
	must(t, err)
	must(t, a.credentials.SetMembership(m))
	must(t, b.trust.SetCluster(cluster.ID()))
	x, _ := linked(t, a, b, nil) // by the list, which has no end
	must(t, b.trust.Disallow(a.key.ID()))
	eventually(t, "the end of the membership", func() bool { return errors.Is(x.CheckPeer(), link.ErrPeerGone) })
}

func TestLinksShareOneConnection(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	x1, y1 := linked(t, a, b, nil)
	x2, y2 := linked(t, a, b, &LinkOptions{Lanes: 1})
	x3, y3 := linked(t, b, a, nil) // the other way, over the same
	for _, p := range [][2]*Link{{x1, y1}, {x2, y2}, {x3, y3}} {
		works(t, p[0], p[1])
	}
	if len(a.all()) != 1 || len(b.all()) != 1 {
		t.Errorf("%d and %d connections", len(a.all()), len(b.all()))
	}
	// A link that nobody polls fills up, and the others don't feel it.
	st := wire.Header{Kind: wire.KindEvent}
	for full := 0; full < 100; {
		var out [1]wire.Vesicle
		st.Correlation++
		if _, err := x1.Claim(out[:], 30000); errors.Is(err, link.ErrFull) {
			full++
			time.Sleep(time.Millisecond)
			continue
		} else {
			must(t, err)
		}
		out[0].Header = st
		must(t, x1.Commit(out[:]))
		if err := x1.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			t.Fatal(err)
		}
	}
	works(t, x2, y2)
	works(t, x3, y3)
}

func TestBoundsPerPeer(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, &Options{MaxLinks: 3, MaxPending: 2}, 1)
	for i := range 2 {
		_, err := a.Dial(soon(t), b.Addr().String(), b.key.ID(), nil)
		if err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
	}
	if _, err := a.Dial(soon(t), b.Addr().String(), b.key.ID(), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "MaxPending") {
		t.Errorf("a third that nobody accepts: %v", err)
	}
	for range 2 {
		_, err := b.Accept(soon(t))
		must(t, err)
	}
	linked(t, a, b, nil)
	if _, err := a.Dial(soon(t), b.Addr().String(), b.key.ID(), nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "MaxLinks") {
		t.Errorf("a fourth: %v", err)
	}
}

// A peer has its links once, over however many connections.
func TestLinksAreCountedOverConnections(t *testing.T) {
	s := listen(t, 1, &Options{MaxLinks: 2}, 2)
	var last *Link
	for i := range 3 {
		n := listen(t, 2, nil, 1) // the same node, over another connection
		x, err := n.Dial(soon(t), s.Addr().String(), s.key.ID(), nil)
		switch {
		case i < 2:
			must(t, err)
			last = x
			_, err = s.Accept(soon(t))
			must(t, err)
		case !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "MaxLinks"):
			t.Errorf("a third: %v", err)
		}
	}
	must(t, last.Close())
	count := func(want int) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.links[numbered(2).ID()] == want
		}
	}
	for _, c := range s.all() {
		c.end(codeClosed, "")
	}
	eventually(t, "nothing is counted that is not there", count(0))
}

// Whoever calls a node by no ID gets the connection that it has dialed before.
func TestCallingAnybodyLeavesOneConnection(t *testing.T) {
	s, n := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	for range 5 {
		x, err := n.Dial(soon(t), s.Addr().String(), identity.ID{}, nil)
		must(t, err)
		y, err := s.Accept(soon(t))
		must(t, err)
		works(t, x, y)
	}
	if len(n.all()) != 1 {
		t.Errorf("%d connections", len(n.all()))
	}
	eventually(t, "the other side has one, too", func() bool { return len(s.all()) == 1 })
	x, y := linked(t, s, n, nil) // it is still the one that new links take
	works(t, x, y)
	if len(s.all()) != 1 {
		t.Errorf("%d connections", len(s.all()))
	}
}

func TestALinkMayHaveItsOwnConnection(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	own := &LinkOptions{OwnConnection: true}
	x1, y1 := linked(t, a, b, own)
	x2, y2 := linked(t, a, b, nil) // takes no connection of another's
	x3, y3 := linked(t, a, b, own)
	x4, y4 := linked(t, a, b, nil)
	for _, p := range [][2]*Link{{x1, y1}, {x2, y2}, {x3, y3}, {x4, y4}} {
		works(t, p[0], p[1])
	}
	if n := len(a.all()); n != 3 {
		t.Errorf("%d connections for four links, of which two have their own", n)
	}
	for _, l := range []*Link{x1, y1, x3, y3} {
		must(t, l.Close())
	}
	eventually(t, "their end", func() bool { return len(a.all()) == 1 && len(b.all()) == 1 })
	works(t, x2, y2)
	works(t, x4, y4)
}

// A link that both sides have closed is forgotten, whoever was first.
func TestClosedLinksLeaveTheirPlaces(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	places := func() (n int) {
		for _, e := range []*node{a, b} {
			e.mu.Lock()
			for _, of := range e.links {
				n += of
			}
			e.mu.Unlock()
		}
		return n
	}
	for i := range 6 {
		x, y := linked(t, a, b, nil)
		works(t, x, y)
		if i%2 == 0 {
			x, y = y, x
		}
		must(t, x.Close())
		if i >= 4 {
			eventually(t, "the farewell", func() bool { return y.CheckPeer() != nil })
		}
		must(t, y.Close())
	}
	eventually(t, "all places are free", func() bool { return places() == 0 })
}
