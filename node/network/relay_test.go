package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/quic"
)

// relayed returns a node that waits at a relay and tells no address of its own,
// another one that calls it there, and the relay.
func (w *town) relayed() (hidden, caller, relay *inhabitant) {
	w.t.Helper()
	home := func() string {
		dir := filepath.Join(w.t.TempDir(), "id")
		_, err := identity.Join(dir, w.token, time.Now())
		must(w.t, err)
		return dir
	}
	relay = w.start(free(w.t), home(), nil, func(c *config.Network) { c.Relay = true })
	hidden = w.start(free(w.t), home(), []string{"ledger"}, func(c *config.Network) {
		c.Addresses, c.Peers, c.WaitAt = nil, []string{relay.addr}, []string{relay.addr}
	})
	caller = w.settle(nil, relay.addr)
	caller.opens("ledger")
	eventually(w.t, "its beacon tells the relay", func() bool { return len(caller.paths("ledger")) > 0 })
	return hidden, caller, relay
}

func (x *inhabitant) paths(name string) []netops.Path {
	list, err := x.net.Operations().Path(context.Background(), netops.Name{Cell: name})
	must(x.t, err)
	return list.Paths
}

// TestWhoCanNotBeReachedIsCalledByARelay: a node that tells no address of its own
// waits at another one, whose address its beacons tell, and is called there.
func TestWhoCanNotBeReachedIsCalledByARelay(t *testing.T) {
	t.Parallel()
	hidden, caller, relay := newTown(t).relayed()
	status, err := caller.calls("ledger").Status(t.Context())
	if err != nil || status.Name != hidden.addr {
		t.Fatalf("%+v, %v", status, err)
	}
	paths := caller.paths("ledger")
	if len(paths) != 1 || paths[0].Medium != MediumRelay || paths[0].Addr != relay.addr || !paths[0].InUse {
		t.Errorf("paths: %+v", paths)
	}
	list, err := caller.net.Operations().Peers(t.Context())
	must(t, err)
	for _, p := range list.Peers {
		if !p.Connected {
			t.Errorf("not linked, as operators are told: %+v", p)
		}
	}
	if len(list.Peers) != 2 {
		t.Errorf("%d peers", len(list.Peers))
	}
}

// TestCallsLeaveTheRelayWhenThereIsADirectWay: those that are under way end on the
// relayed link, and none fails.
func TestCallsLeaveTheRelayWhenThereIsADirectWay(t *testing.T) {
	t.Parallel()
	hidden, caller, _ := newTown(t).relayed()
	client := caller.calls("ledger")
	long := hidden.begin(client)
	if paths := caller.paths("ledger"); len(paths) != 1 || !paths[0].InUse {
		t.Fatalf("not by the relay: %+v", paths)
	}
	l, err := hidden.net.self.Load().endpoint.Dial(t.Context(), caller.addr, caller.id(), &quic.LinkOptions{Lanes: 1})
	must(t, err)
	defer l.Close()
	caller.net.mu.Lock()
	p := caller.net.proxies["ledger"]
	caller.net.mu.Unlock()
	eventually(t, "a direct link", func() bool {
		p.changing.Lock()
		defer p.changing.Unlock()
		p.lookForDirect(time.Now().Add(time.Hour))
		w := p.targets[hidden.id()].way.Load()
		return w != nil && !w.relayed
	})
	status, err := client.Status(t.Context())
	if err != nil || status.Name != hidden.addr {
		t.Errorf("a call by the direct way: %+v, %v", status, err)
	}
	list, err := caller.net.Operations().Path(t.Context(), netops.Name{Cell: "ledger"})
	if must(t, err); len(list.Paths) != 1 || list.Paths[0].InUse || len(list.Why) == 0 {
		t.Errorf("the paths: %+v", list)
	}
	long.stillWaits(0)
	long.ends()
}

// TestWhoIsGoneBehindARelayIsGivenUp: who is taken for dead is asked by the relay,
// too, and what is under way to it ends if it does not answer.
func TestWhoIsGoneBehindARelayIsGivenUp(t *testing.T) {
	t.Parallel()
	hidden, caller, relay := newTown(t).relayed()
	long := hidden.begin(caller.calls("ledger"))
	m := caller.net.self.Load()
	caller.net.doubt(t.Context(), m, hidden.id(), patience)
	long.stillWaits(0)
	must(t, relay.net.self.Load().endpoint.Close()) // from now on it is silent
	caller.net.doubt(t.Context(), m, hidden.id(), aliveTime)
	caller.net.mu.Lock()
	p := caller.net.proxies["ledger"]
	caller.net.mu.Unlock()
	p.changing.Lock()
	x := p.targets[hidden.id()]
	p.changing.Unlock()
	if x != nil && x.attached() {
		t.Fatal("who is dead behind a relay is still called")
	}
	if a := <-long.answered; a.err == nil {
		t.Errorf("the call was answered: %+v", a.list)
	}
}

// TestASocketThatCouldNotBeMadeIsMadeLater: what was in its way has gone.
func TestASocketThatCouldNotBeMadeIsMadeLater(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.settle([]string{"ledger"})
	b := w.settle(nil)
	inTheWay := filepath.Join(b.dir, RemoteDir, "ledger.sock")
	must(t, os.MkdirAll(inTheWay, 0o700))
	must(t, os.Chmod(filepath.Dir(inTheWay), 0o700))
	b.gossip(a.addr)
	eventually(t, "the name is known", func() bool { return b.has("ledger") })
	if info, err := os.Lstat(inTheWay); err != nil || !info.IsDir() {
		t.Fatalf("%v, %v", info, err)
	}
	must(t, os.Remove(inTheWay))
	b.net.tidy() // as every second
	b.opens("ledger")
	status, err := b.calls("ledger").Status(t.Context())
	if err != nil || status.Name != a.addr {
		t.Errorf("%+v, %v", status, err)
	}
}

// gossip has a node gossip with another from now on.
func (x *inhabitant) gossip(addr string) {
	ctx, cancel := context.WithCancelCause(context.Background())
	x.t.Cleanup(func() { cancel(errors.New("the test is over")) })
	x.net.work.Go(func() { x.net.keepGossip(ctx, x.net.self.Load(), addr) })
}
