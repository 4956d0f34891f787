//go:build !nodragonboat && !s390x

package dragonboat

import (
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

func TestSweep(t *testing.T) {
	for _, store := range []Store{Pebble, Tan} {
		t.Run(string(store), func(t *testing.T) {
			n := &nodes{t: t, dir: t.TempDir(), addrs: make(map[consensus.NodeID]string)}
			o := n.options(n.add())
			o.Store = store
			h, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			n.hosts[0] = h
			t.Cleanup(func() { n.close(0) })
			for _, name := range []string{"runs", "kept", "swept"} {
				g := n.startOn(0, name, n.first(), nil)
				consensustest.Ready(t, g)
				if _, err := consensus.Propose(t.Context(), g, consensustest.Command('=', 'k', 7)); err != nil {
					t.Fatal(err)
				}
				if _, err := g.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			n.close(0)
			if h, err = Open(o); err != nil {
				t.Fatal(err)
			}
			n.hosts[0] = h
			runs := n.startOn(0, "runs", nil, nil)
			keep := func(g consensus.GroupID, _ consensus.ReplicaID) bool { return g == consensus.GroupIDOf("kept") }
			if deleted, err := h.Sweep(t.Context(), keep); err != nil || deleted != 1 {
				t.Fatalf("%d deleted, %v", deleted, err)
			}
			if deleted, err := h.Sweep(t.Context(), keep); err != nil || deleted != 0 {
				t.Errorf("%d deleted again, %v", deleted, err)
			}
			for _, g := range []consensus.Group{runs, n.startOn(0, "kept", nil, nil)} {
				if got := count(t, g, 'k'); got != 7 {
					t.Errorf("group %q reads %d", g.Name(), got)
				}
			}
			_, err = h.Start(t.Context(), consensus.GroupConfig{Name: "swept", Replica: 1, Machines: consensustest.Memory(0)})
			if !errors.Is(err, consensus.ErrConfig) || !strings.Contains(err.Error(), "no data of replica 1") {
				t.Errorf("starting what was deleted: %v", err)
			}
		})
	}
}
