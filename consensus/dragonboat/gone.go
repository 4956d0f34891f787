//go:build !nodragonboat && !s390x

package dragonboat

import (
	"fmt"
	"maps"
	"slices"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

// When a leader's process ends, the kernel closes its connections at once, and
// nobody listens at its address any more. So the others needn't wait until they
// have heard nothing for an election's time: one of them, the first by number,
// is told that it should lead, as by a leader that hands over; the next one
// follows a little later, should the first one have less of the log. Raft is
// safe whenever an election begins. A host that dies, or a network that is cut,
// closes no connection, and takes the election's time.

// goneStagger is between the elections that members begin of a leader that is
// gone: enough for one to be over before the next.
const goneStagger = 100 * time.Millisecond

// candidacy is a replica here that may replace a leader.
type candidacy struct{ shard, replica, leader, term uint64 }

// nodeGone begins elections of the groups that a node led whose process ended.
// It is called by the transport, which is closed before the host is.
func (h *Host) nodeGone(t *transport, node consensus.NodeID) {
	info := h.nh.GetNodeHostInfo(raft.NodeHostInfoOption{SkipLogInfo: true})
	if info == nil {
		return
	}
	var byRank [][]candidacy
	for i := range info.ShardInfoList {
		s := &info.ShardInfoList[i]
		if s.IsNonVoting || s.IsWitness || s.LeaderID == 0 || s.Replicas[s.LeaderID] != string(node) {
			continue
		}
		others := slices.Sorted(maps.Keys(s.Replicas))
		others = slices.DeleteFunc(others, func(r uint64) bool { return r == s.LeaderID })
		rank := slices.Index(others, s.ReplicaID)
		if rank < 0 {
			continue
		}
		for len(byRank) <= rank {
			byRank = append(byRank, nil)
		}
		byRank[rank] = append(byRank[rank], candidacy{s.ShardID, s.ReplicaID, s.LeaderID, s.Term})
	}
	for rank, all := range byRank {
		if rank > 0 {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(goneStagger):
			}
		}
		for _, c := range all {
			h.stand(t, node, c)
		}
	}
}

// stand has a replica begin an election, unless there is another leader already.
func (h *Host) stand(t *transport, node consensus.NodeID, c candidacy) {
	if now, term, known, err := h.nh.GetLeaderID(c.shard); err != nil || known && (now != c.leader || term != c.term) {
		return
	}
	h.o.Logger.Info("raft: the leader's process has ended; this node stands for election", "leader", node, "group", fmt.Sprintf("%016x", c.shard))
	t.message(raftpb.MessageBatch{
		SourceAddress: string(node), BinVer: raftio.TransportBinVersion, DeploymentId: t.deployment,
		Requests: []raftpb.Message{{Type: raftpb.TimeoutNow, ShardID: c.shard, From: c.leader, To: c.replica}},
	})
}
