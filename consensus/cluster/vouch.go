package cluster

import (
	"context"
	"slices"

	"github.com/cell-runtime/cell/consensus"
)

// vouch says whether a replica is on a node of which this node's own replica of the
// group has not heard: whether the tables have it there. The system group is not in
// them. All nodes of the cluster are in it, and so may any be that says, to be asked
// anew, that it is of this one.
func (m *Member) vouch(ctx context.Context, group consensus.GroupID, replica consensus.ReplicaID, node consensus.NodeID) bool {
	if group == consensus.GroupIDOf(SystemGroup) {
		m.mu.Lock()
		p, met := m.peers[node]
		mine := m.state.Cluster
		m.mu.Unlock()
		good := met && p.Phase == phaseFormed && p.Cluster == mine
		if !good {
			m.soon() // has it asked who it is, if its address is known
		}
		return good
	}
	if m.Table() == nil {
		return false
	}
	entries, err := m.entries(ctx, true)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e Entry) bool {
		s := e.of(node)
		return s != nil && s.Replica == replica && consensus.GroupIDOf(e.Name) == group
	})
}
