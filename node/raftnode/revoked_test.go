//go:build !nodragonboat && !s390x

package raftnode

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/rpc"
)

// newTable is a cluster's table, of one member in memory.
func newTable(t *testing.T) *kv.Service {
	t.Helper()
	host := single.New("n")
	t.Cleanup(func() { host.Close() })
	g, err := host.Start(t.Context(), consensus.GroupConfig{Name: "cluster", Replica: 1,
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: kv.Machines()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	table, err := kv.Serve(t.Context(), server, g)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Whoever revokes, by whichever node that has the cluster's key, all heed it; and a
// table in which somebody has written something else does no harm.
func TestNodesShareTheListOfTheRevoked(t *testing.T) {
	now := time.Now()
	dirs := []string{filepath.Join(t.TempDir(), "id"), filepath.Join(t.TempDir(), "id")}
	token, err := identity.IssueToken(dirs[0], now, time.Hour, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Join(dirs[1], token, now); err != nil {
		t.Fatal(err)
	}
	table := newTable(t)
	counters := func() (all [2]uint64) {
		for i, dir := range dirs {
			trust, err := identity.LoadTrust(dir)
			if err != nil {
				t.Fatal(err)
			}
			if l := trust.Revocations(); l != nil {
				all[i] = l.Counter
			}
		}
		return all
	}
	share := func(i int, want bool) {
		t.Helper()
		trust, err := identity.LoadTrust(dirs[i])
		if err != nil {
			t.Fatal(err)
		}
		if news, err := shareRevoked(t.Context(), table, dirs[i], trust); err != nil || news != want {
			t.Errorf("node %d has news: %v, %v; want %v", i, news, err, want)
		}
	}
	share(0, false) // nobody was revoked
	share(1, false)
	for round := range uint64(2) {
		if err := identity.RevokeToken(dirs[0], token.Grant.Serial+round, now); err != nil {
			t.Fatal(err)
		}
		share(1, false) // the table does not know yet
		share(0, false)
		share(1, true)
		share(1, false)
		if got, want := counters(), [2]uint64{round + 1, round + 1}; got != want {
			t.Fatalf("the lists' counters are %d, want %d", got, want)
		}
	}
	forged := &identity.RevocationList{Counter: 1000}
	b, err := forged.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{b, []byte("x"), nil} {
		if _, err := table.Put(t.Context(), kv.PutRequest{Key: []byte(revokedKey), Value: value}); err != nil {
			t.Fatal(err)
		}
		share(1, false)
		r, err := table.Get(t.Context(), kv.GetRequest{Key: []byte(revokedKey)})
		l := new(identity.RevocationList)
		if err != nil || l.UnmarshalBinary(r.Value) != nil || l.Counter != 2 {
			t.Errorf("after %q the table has list %d, %v", value, l.Counter, err)
		}
	}
	if got := counters(); got != [2]uint64{2, 2} {
		t.Errorf("the lists' counters are %d", got)
	}
}
