//go:build !nodragonboat && !s390x

package raftnode

import (
	"context"
	"log/slog"
	"time"

	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/identity"
)

// revokedKey is where the cluster's table has the list of the nodes and tokens that
// are refused. It is signed by the cluster's key and numbered, so the table only
// carries it: a node believes nothing that it wouldn't believe from anybody.
const revokedKey = "tokens/revoked"

// keepRevoked has all nodes heed the newest list that any of them has, within
// seconds: who revokes a token on one node shuts out those who came by it everywhere.
func keepRevoked(ctx context.Context, m *cluster.Member, dir string, trust *identity.Trust, log *slog.Logger) {
	select {
	case <-m.Formed():
	case <-ctx.Done():
		return
	}
	t := time.NewTicker(trustInterval)
	defer t.Stop()
	for {
		news, err := shareRevoked(ctx, m.Table(), dir, trust)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil: // the table can't be written now, say: the next time
			log.Debug("raft: the list of the revoked", "err", err)
		case news:
			log.Info("raft: a newer list of the revoked was taken from the cluster's table", "counter", trust.Revocations().Counter)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// shareRevoked takes the table's list of the revoked, or gives it this node's,
// whichever is newer, and reports whether this node has a new one.
func shareRevoked(ctx context.Context, table kv.KV, dir string, trust *identity.Trust) (news bool, err error) {
	there, err := table.Get(ctx, kv.GetRequest{Key: []byte(revokedKey), Stale: true})
	if err != nil {
		return false, err
	}
	mine, shared := trust.Revocations(), (*identity.RevocationList)(nil)
	if l := new(identity.RevocationList); there.Found && l.UnmarshalBinary(there.Value) == nil && l.Verify(trust.Cluster()) == nil {
		shared = l
	}
	switch {
	case shared != nil && (mine == nil || shared.Counter > mine.Counter):
		if _, err := identity.SaveRevocations(dir, trust.Cluster(), shared); err != nil {
			return false, err
		}
		return trust.Learn(shared) // before the file is looked at again
	case mine != nil && (shared == nil || mine.Counter > shared.Counter):
		value, err := mine.MarshalBinary()
		if err != nil {
			return false, err
		}
		// Where another one was faster, its list is looked at the next time.
		_, err = table.CompareAndSet(ctx, kv.CasRequest{Key: []byte(revokedKey), Revision: there.Modified, Value: value})
		return false, err
	}
	return false, nil
}
