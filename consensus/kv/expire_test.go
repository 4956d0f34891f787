package kv

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/single"
	"github.com/cell-runtime/cell/rpc"
)

// counted counts how often somebody looks into a group's machine.
type counted struct {
	consensus.Group
	looks *atomic.Int64
}

func (c counted) Applier() *consensus.Applier {
	c.looks.Add(1)
	return c.Group.Applier()
}

// A store without leases is left alone; one is looked after from when it is granted, or
// comes with a snapshot, until its end.
func TestOnlyAStoreWithLeasesIsLookedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		host := single.New("n")
		defer host.Close()
		group, err := host.Start(ctx, consensus.GroupConfig{Name: "kv", Replica: 1,
			Members: map[consensus.ReplicaID]consensus.NodeID{1: "n"}, Machines: Machines()})
		if err != nil {
			t.Fatal(err)
		}
		server, err := rpc.NewServer(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		var looks atomic.Int64
		s, err := Serve(ctx, server, counted{group, &looks})
		if err != nil {
			t.Fatal(err)
		}
		during := func(d time.Duration) int64 {
			before := looks.Load()
			time.Sleep(d)
			synctest.Wait()
			return looks.Load() - before
		}
		leases := func() (n int) {
			s.look(func(m *Machine) { n = len(m.leases) })
			return n
		}
		during(time.Second) // it has begun
		if n := during(time.Hour); n > 60 {
			t.Errorf("without a lease, it was looked after %d times in an hour", n)
		}
		grant := func() {
			if _, err := s.Grant(ctx, GrantRequest{Ttl: int64(time.Minute)}); err != nil {
				t.Fatal(err)
			}
		}
		ends := func(what string) {
			t.Helper()
			if during(50 * time.Second); leases() != 1 {
				t.Errorf("%s: it has ended too early", what)
			}
			if during(20 * time.Second); leases() != 0 {
				t.Errorf("%s: it has not ended", what)
			}
			if n := during(time.Hour); n > 60 {
				t.Errorf("%s: after its end it was looked after %d times in an hour", what, n)
			}
		}
		grant()
		ends("a lease that was granted")

		grant()
		var snapshot bytes.Buffer
		f, err := group.Applier().Freeze()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Write(&snapshot); err != nil {
			t.Fatal(err)
		}
		ends("the lease that is in the snapshot")
		if err := group.Applier().Restore(&snapshot); err != nil {
			t.Fatal(err)
		}
		if during(time.Second); leases() != 0 { // its time is over long ago
			t.Error("a lease that came with a snapshot has not ended")
		}
	})
}
