package cluster

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// sweepEvery is how often a member looks for data of replicas that are no more.
const sweepEvery = time.Minute

// sweep deletes the data of replicas that the table does not have here, of
// groups that were deleted or moved while this node was away. What the table
// says is asked of the leader, since this node's own copy may be old. A number
// that the table has not given away is of nobody's business here: somebody may
// have restored a backup under it.
func (m *Member) sweep(ctx context.Context) {
	entries, err := m.entries(ctx, false)
	if err != nil {
		return // the next time
	}
	deleted, err := m.rows(ctx, numbersPrefix, false)
	if err != nil {
		return
	}
	given, seats := map[consensus.GroupID]consensus.ReplicaID{}, map[consensus.GroupID]consensus.ReplicaID{}
	for _, i := range deleted {
		if n, err := strconv.ParseUint(string(i.Value), 10, 63); err == nil {
			given[consensus.GroupIDOf(strings.TrimPrefix(string(i.Key), numbersPrefix))] = consensus.ReplicaID(n)
		}
	}
	for i := range entries {
		e := &entries[i]
		given[consensus.GroupIDOf(e.Name)] = e.Next
		if s := e.of(m.Node()); s != nil {
			seats[consensus.GroupIDOf(e.Name)] = s.Replica
		}
	}
	keep := func(g consensus.GroupID, r consensus.ReplicaID) bool { return r >= given[g] || r == seats[g] }
	n, err := m.host.Sweep(ctx, keep)
	if err != nil {
		m.o.Logger.Warn("raft: deleting data of replicas that are no more", "err", err)
		return
	}
	m.swept = time.Now()
	if n > 0 {
		m.o.Logger.Info("raft: data of replicas that the table gives to others was deleted", "replicas", n)
	}
}
