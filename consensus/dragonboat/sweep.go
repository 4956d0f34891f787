//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"fmt"

	raft "github.com/lni/dragonboat/v4"

	"github.com/cell-runtime/cell/consensus"
)

// Sweep deletes the data of replicas that are in the store, don't run, and are
// not to be kept, and returns how many there were. Such a replica's number can't
// come back. Nothing of what is deleted may be started meanwhile. Error: ctx's,
// or [consensus.ErrClosed].
func (h *Host) Sweep(ctx context.Context, keep func(consensus.GroupID, consensus.ReplicaID) bool) (deleted int, err error) {
	info := h.nh.GetNodeHostInfo(raft.NodeHostInfoOption{})
	if info == nil {
		return 0, consensus.ErrClosed
	}
	for _, r := range info.LogInfo {
		group, replica := consensus.GroupID(r.ShardID), consensus.ReplicaID(r.ReplicaID)
		if keep(group, replica) || h.has(group, replica) {
			continue
		}
		if ctx.Err() != nil {
			return deleted, consensus.ContextError(ctx)
		}
		err := h.nh.RemoveData(r.ShardID, r.ReplicaID)
		if errors.Is(err, raft.ErrShardNotStopped) { // it is stopping: the next time
			continue
		}
		if err != nil {
			return deleted, requestError(fmt.Sprintf("%016x", r.ShardID), err)
		}
		deleted++
		h.o.Logger.Info("raft: data of a replica that is no more was deleted", "shard", fmt.Sprintf("%016x", r.ShardID), "replica", replica)
	}
	return deleted, nil
}

// has reports whether a replica runs, or is being started.
func (h *Host) has(id consensus.GroupID, replica consensus.ReplicaID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, g := range h.groups {
		if consensus.GroupIDOf(name) == id && (g == nil || g.config.Replica == replica) {
			return true
		}
	}
	return false
}
