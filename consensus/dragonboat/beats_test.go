//go:build !nodragonboat && !s390x

package dragonboat

import (
	"testing"
	"time"
)

// Nodes that share a group tell each other that they live, and one that is back is
// heard again.
func TestNodesHearEachOther(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 2)
	n.start("shared", nil)
	hears := func(i, j int) bool {
		r := n.hosts[i].rest
		r.mu.Lock()
		defer r.mu.Unlock()
		_, ok := r.alive[string(n.keys[j].id)]
		return ok
	}
	wait := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("they don't hear each other", func() bool { return hears(0, 1) && hears(1, 0) })
	n.close(1)
	wait("who is gone is heard", func() bool { return !hears(0, 1) })
	n.open(1)
	n.startOn(1, "shared", n.first(), nil)
	wait("who is back is not heard", func() bool { return hears(0, 1) && hears(1, 0) })
}
