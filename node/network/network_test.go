package network

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

func TestNamesOfTheNodeItselfAreNotTakenFromOthers(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.settle([]string{"node.ops", "raft", "kv.orders", "ledger", "kv"})
	b := w.settle(nil, a.addr)
	b.opens("ledger")
	b.opens("kv")
	for _, name := range []string{"node.ops", "raft", "kv.orders"} {
		if b.has(name) {
			t.Errorf("%s of another node has a socket here", name)
		}
	}
	status, err := b.calls("ledger").Status(t.Context())
	if err != nil || status.Name != a.addr {
		t.Errorf("%+v, %v", status, err)
	}
}

// TestOneNodeKeepsNobodyWaiting has a node open links and say nothing on them, for
// as long as the test lasts.
func TestOneNodeKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.introduction = time.Hour
	a := w.settle([]string{"ledger"})
	hostile := w.settle(nil)
	for range 4 * mostWelcomesOfPeer {
		l, err := hostile.net.self.Load().endpoint.Dial(t.Context(), a.addr, a.id(), &quic.LinkOptions{Lanes: 1})
		must(t, err)
		defer l.Close()
	}
	eventually(t, "the places are taken", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.ContainsFunc(a.refused, func(s string) bool { return strings.Contains(s, "have not said what they are for") })
	})
	b := w.settle(nil, a.addr)
	b.opens("ledger")
	status, err := b.calls("ledger").Status(t.Context())
	if err != nil || status.Name != a.addr {
		t.Errorf("%+v, %v", status, err)
	}
	// Nor is who has no place for now taken for dead by the one that has all.
	m := hostile.net.self.Load()
	hostile.net.doubt(t.Context(), m, a.id(), patience)
	if !m.endpoint.Connected(a.id()) {
		t.Error("a node that refused a question was taken for dead")
	}
}

// TestLongCallsOutliveWhatTakesTheirName: a call that is under way ends in its own
// time, whether its name appears on the caller's host or its node leaves.
func TestLongCallsOutliveWhatTakesTheirName(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(t *testing.T, a, b *inhabitant){
		"a cell of this host takes the name": func(t *testing.T, _, b *inhabitant) {
			e, err := engine.New(engine.Config{Name: "near", CPU: -1, Idle: engine.IdlePark})
			must(t, err)
			must(t, e.Start(t.Context()))
			t.Cleanup(func() { e.Stop() })
			near := &inhabitant{addr: "near", answer: make(chan struct{})}
			close(near.answer)
			s, err := rpc.NewServer(&rpc.ServerOptions{Name: "ledger"})
			must(t, err)
			must(t, netops.RegisterNetwork(s, near))
			l, err := uds.Listen("ledger", &uds.Options{Dir: b.dir})
			must(t, err)
			t.Cleanup(func() { _ = l.Close(); _ = s.Close() })
			go func() { _ = s.Accept(t.Context(), e, l.AcceptLink) }()
		},
		"the node leaves": func(_ *testing.T, a, _ *inhabitant) { <-a.leave() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			a := w.settle([]string{"ledger"})
			b := w.settle(nil, a.addr)
			b.opens("ledger")
			client := b.calls("ledger")
			long := a.begin(client)
			happens(t, a, b)
			// Longer than idle callers are waited for, and proxies looked at.
			long.stillWaits(retireTime + 2*time.Second)
			long.ends()
		})
	}
}

// longCall is one that ends when its server is told to answer.
type longCall struct {
	of       *inhabitant
	answered chan longAnswer
}

type longAnswer struct {
	list netops.PathList
	err  error
}

// begin begins the only long call of x's cell, and returns when x executes it.
func (x *inhabitant) begin(client *netops.NetworkClient) *longCall {
	x.t.Helper()
	c := &longCall{x, make(chan longAnswer, 1)}
	go func() {
		list, err := client.Path(context.Background(), netops.Name{Cell: "x"})
		c.answered <- longAnswer{list, err}
	}()
	eventually(x.t, "the call has begun", func() bool { return x.asked.Load() == 1 })
	return c
}

// stillWaits fails the test if the call has ended after a while.
func (c *longCall) stillWaits(while time.Duration) {
	c.of.t.Helper()
	time.Sleep(while)
	select {
	case a := <-c.answered:
		c.of.t.Fatalf("the long call was cut: %+v, %v", a.list, a.err)
	default:
	}
}

// ends has the call answered, and looks at what comes.
func (c *longCall) ends() {
	c.of.t.Helper()
	c.of.answer <- struct{}{}
	if a := <-c.answered; a.err != nil || !slices.Equal(a.list.Why, []string{c.of.addr}) {
		c.of.t.Errorf("the long call: %+v, %v", a.list, a.err)
	}
	if n := c.of.asked.Load(); n != 1 {
		c.of.t.Errorf("it was executed %d times", n)
	}
}

// TestTwoThatDialEachOtherGossipOverOneLink: neither ends what the other began,
// again and again.
func TestTwoThatDialEachOtherGossipOverOneLink(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	atOne, atOther := free(t), free(t)
	a := w.settleAt(atOne, []string{"ledger"}, atOther)
	b := w.settleAt(atOther, nil, atOne)
	link := func(x *inhabitant, peer identity.ID) *gossip {
		x.net.mu.Lock()
		defer x.net.mu.Unlock()
		return x.net.gossips[peer]
	}
	eventually(t, "they gossip", func() bool { return link(a, b.id()) != nil && link(b, a.id()) != nil })
	b.opens("ledger")
	// Which is exchanged for the other one at most once, by the smaller ID.
	first, second := a.id(), b.id()
	smaller := bytes.Compare(first[:], second[:]) < 0
	var atA, atB *gossip
	eventually(t, "they gossip over the link of the smaller ID", func() bool {
		atA, atB = link(a, b.id()), link(b, a.id())
		return atA != nil && atB != nil && atA.dialed == smaller && atB.dialed == !smaller
	})
	for range 40 { // in which the other one dials as well
		time.Sleep(gossipPace / 10)
		if link(a, b.id()) != atA || link(b, a.id()) != atB {
			t.Fatal("the link was exchanged for another")
		}
	}
}

func TestModeOnEndsWithAnError(t *testing.T) {
	n := New(Options{})
	n.o.Config.Mode, n.o.Config.Identity = "on", t.TempDir()
	if err := n.Run(t.Context()); !errors.Is(err, ErrAlone) {
		t.Errorf("%v", err)
	}
}
