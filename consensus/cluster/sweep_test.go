//go:build !nodragonboat && !s390x

package cluster

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
)

// onDisk are the groups of which a node's store has a replica.
func onDisk(ctx context.Context, m *Member) (all []consensus.GroupID, err error) {
	_, err = m.host.Sweep(ctx, func(g consensus.GroupID, _ consensus.ReplicaID) bool {
		all = append(all, g)
		return true
	})
	return all, err
}

// A group is deleted while one of its nodes is away: that node deletes what it
// has of it when it is back.
func TestANodeThatWasAwayDeletesWhatIsNoMore(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.add()
	}
	w.start(0, w.nodes[1].addr)
	w.start(1)
	w.start(2, w.nodes[0].addr)
	for _, n := range w.nodes {
		formed(t, n.m)
	}
	eventually(t, "the table of nodes", func(ctx context.Context) error {
		all, err := w.nodes[0].m.Nodes(ctx)
		if err == nil && len(all) != 3 {
			err = fmt.Errorf("%d nodes", len(all))
		}
		return err
	})
	for _, name := range []string{"stays", "goes"} {
		eventually(t, "making a group", func(ctx context.Context) error {
			if _, err := w.nodes[0].m.find(ctx, name); err == nil {
				return nil
			}
			_, err := w.nodes[0].m.Create(ctx, name, Kind, 3)
			return err
		})
		eventually(t, "writing on the node that will be away", func(ctx context.Context) error {
			s, err := w.nodes[2].m.Store(name)
			if err == nil {
				_, err = s.Put(ctx, kv.PutRequest{Key: []byte("k"), Value: []byte("v")})
			}
			return err
		})
	}
	goes := consensus.GroupIDOf("goes")
	if all, err := onDisk(t.Context(), w.nodes[2].m); err != nil || len(all) != 3 || !slices.Contains(all, goes) {
		t.Fatalf("groups %x, %v", all, err)
	}
	w.stop(2)
	eventually(t, "deleting a group", func(ctx context.Context) error {
		if _, err := w.nodes[0].m.find(ctx, "stays"); err != nil {
			return err
		}
		if err := w.nodes[0].m.Delete(ctx, "goes"); err != nil {
			if _, gone := w.nodes[0].m.find(ctx, "goes"); gone == nil {
				return err
			}
		}
		return nil
	})
	back := w.start(2)
	formed(t, back)
	eventually(t, "the files of the group that is no more go", func(ctx context.Context) error {
		all, err := onDisk(ctx, back)
		if err == nil && slices.Contains(all, goes) {
			err = fmt.Errorf("groups %x", all)
		}
		return err
	})
	eventually(t, "reading the group that stays", func(ctx context.Context) error {
		s, err := back.Store("stays")
		if err != nil {
			return err
		}
		r, err := s.Get(ctx, kv.GetRequest{Key: []byte("k")})
		if err == nil && string(r.Value) != "v" {
			t.Errorf("read %q", r.Value)
		}
		return err
	})
}
