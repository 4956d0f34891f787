package discovery

import (
	"context"
	"slices"
	"testing"
	"time"
)

func context_() context.Context { return context.Background() }

// TestThreeHosts has three nodes, processes in network namespaces on a bridge,
// that know nothing of each other but a join token, and one with another token.
func TestThreeHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("processes and namespaces take some seconds")
	}
	l := newLab(t, 4)
	home := homes(t, "a", "b", "c")
	stranger := homes(t, "x")
	names := []string{"a", "b", "c"}
	all := make(map[string]*process)
	for i, n := range names {
		all[n] = l.start(i, n, home[n])
	}
	x := l.start(3, "x", stranger["x"])
	var known []time.Duration
	for _, n := range names {
		for _, other := range names {
			if n != other {
				begun := all[other].await("start", "", 1)
				if own := all[n].await("start", "", 1); own.After(begun) {
					begun = own
				}
				known = append(known, all[n].await("found", other, 1).Sub(begun))
			}
		}
	}
	slices.Sort(known)
	t.Logf("three at once, known to each other after %v", known)

	// One more, again and again: how long until both others know it?
	known = nil
	for i := range 8 {
		all["c"].kill()
		died := time.Now()
		for _, n := range []string{"a", "b"} {
			gone := all[n].await("died", "c", i+1).Sub(died)
			if i == 0 {
				t.Logf("killed; gone for %s after %v", n, gone)
			}
		}
		all["c"] = l.start(2, "c", home["c"])
		begun := all["c"].await("start", "", 1)
		for _, n := range []string{"a", "b"} {
			known = append(known, all[n].await("found", "c", i+2).Sub(begun))

		}
		if testing.Short() || i == 1 && !soak() {
			break
		}
	}
	slices.Sort(known)
	t.Logf("one started, known to the others after %v", known)

	// A partition, and its end.
	deaths, founds := all["a"].count("died", "b"), all["a"].count("found", "b")
	l.must(l.Plug(1, false))
	cut := time.Now()
	t.Logf("cut off; gone after %v", all["a"].await("died", "b", deaths+1).Sub(cut))
	all["b"].await("died", "a", 1)
	l.must(l.Plug(1, true))
	healed := time.Now()
	t.Logf("healed; back after %v", all["a"].await("found", "b", founds+1).Sub(healed))
	all["b"].await("found", "a", 2)

	// A farewell.
	lefts := all["a"].count("left", "c")
	all["c"].stdin.Close()
	all["a"].await("left", "c", lefts+1)

	s := all["a"].stats()
	t.Logf("dropped by a: %+v; failed sends %d, on %v", s.Drops, s.SendsFailed, s.Interfaces)
	if s.Alive != 1 {
		t.Errorf("a knows %d nodes; want b alone", s.Alive)
	}
	if s := x.stats(); s.Alive != 0 || s.Peers != 0 {
		t.Errorf("the node with another token knows %d nodes", s.Peers)
	}
	for _, n := range names {
		if all[n].count("found", "x") > 0 {
			t.Errorf("%s has found the node with another token", n)
		}
	}
}

// TestWaysToFindEachOther has two nodes that find each other where multicast
// can't be had.
func TestWaysToFindEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("processes and namespaces take some seconds")
	}
	for name, env := range map[string][]string{
		"broadcast": {envMode + "=broadcast"},
		"seed IPv4": {envMode + "=seeds", envSeeds + "=10.78.0.1:12355"},
		"seed IPv6": {envMode + "=seeds", envSeeds + "=[fd78::1]:12355"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 2)
			home := homes(t, "a", "b")
			a := l.start(0, "a", home["a"], env...)
			a.await("start", "", 1)
			b := l.start(1, "b", home["b"], env...)
			a.await("found", "b", 1)
			b.await("found", "a", 1)
		})
	}
	t.Run("an interface that comes later", func(t *testing.T) {
		l := newLab(t, 2)
		home := homes(t, "a", "b")
		veth, err := l.Hosts[1].Net.LinkByName("veth0")
		l.must(err)
		l.must(l.Hosts[1].Net.LinkSetDown(veth))
		a, b := l.start(0, "a", home["a"]), l.start(1, "b", home["b"])
		b.await("start", "", 1)
		if n := len(b.stats().Interfaces); n != 0 {
			t.Errorf("b has %d interfaces", n)
		}
		l.must(l.Hosts[1].Net.LinkSetUp(veth))
		a.await("found", "b", 1)
		b.await("found", "a", 1)
	})
	t.Run("one that only looks", func(t *testing.T) {
		l := newLab(t, 2)
		home := homes(t, "a", "b")
		a := l.start(0, "a", home["a"])
		a.await("start", "", 1)
		b := l.start(1, "b", home["b"], envMode+"=client")
		b.await("found", "a", 1)
		if n := a.stats().Alive; n != 0 {
			t.Errorf("a takes %d clients for members", n)
		}
	})
}
