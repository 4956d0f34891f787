package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
)

// nextKey counts the numbers of replicas of the system group that were given
// away beyond the first ones: each is used once.
const nextKey = "next"

// join asks a member to let this node into its cluster.
func (m *Member) join(p peer) error {
	ctx, cancel := context.WithTimeout(m.ctx, joinPatience)
	defer cancel()
	r, err := m.ask(ctx, p.Addr, question{Kind: askJoin})
	if err != nil {
		return fmt.Errorf("%w to join the cluster of node %s: %w", errWaiting, p.Node, err)
	}
	err = m.change(func(s *state) error {
		if s.Phase != phaseNew || r.Replica == 0 {
			return consensus.ErrConflict
		}
		s.Phase, s.Cluster, s.Replica, s.Join, s.Role = phaseFormed, r.Me.Cluster, r.Replica, true, consensus.NonVoter
		return nil
	})
	if err != nil {
		return err
	}
	m.o.Logger.Info("raft: joined a cluster", "cluster", r.Me.Cluster, "replica", r.Replica)
	return m.begin()
}

// admit adds a node that has no data to the system group, under a new number.
// One that was a member before has lost its data: its old replica goes.
func (m *Member) admit(ctx context.Context, node consensus.NodeID, addr string) (consensus.ReplicaID, error) {
	m.mu.Lock()
	g := m.system
	m.mu.Unlock()
	if g == nil {
		return 0, fmt.Errorf("%w: this node is in no cluster yet", consensus.ErrNoGroup)
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	all, _, err := g.Members(ctx)
	if err != nil {
		return 0, err
	}
	for _, old := range all {
		if old.Node == node {
			if err := g.RemoveMember(ctx, old.Replica, 0); err != nil {
				return 0, err
			}
			m.o.Logger.Warn("raft: a member has come back without its data: its old replica was removed", "node", node, "replica", old.Replica)
		}
	}
	number, err := m.nextNumber(ctx)
	if err != nil {
		return 0, err
	}
	if err := g.Add(ctx, consensus.Member{Replica: number, Node: node, Role: consensus.NonVoter}, 0); err != nil {
		return 0, err
	}
	m.o.Logger.Info("raft: a node joins", "node", node, "addr", addr, "replica", number)
	return number, nil
}

// nextNumber takes a number that no replica of the system group has had.
func (m *Member) nextNumber(ctx context.Context) (consensus.ReplicaID, error) {
	t := m.Table()
	for ctx.Err() == nil {
		now, err := t.Get(ctx, kv.GetRequest{Key: []byte(nextKey)})
		if err != nil {
			return 0, err
		}
		n := uint64(maxNodes + 1) // beyond all first ones
		if now.Found {
			if n, err = strconv.ParseUint(string(now.Value), 10, 64); err != nil {
				return 0, fmt.Errorf("%w: the table's %q", consensus.ErrDamaged, nextKey)
			}
		}
		set, err := t.CompareAndSet(ctx, kv.CasRequest{Key: []byte(nextKey), Revision: now.Modified, Value: strconv.AppendUint(nil, n+1, 10)})
		if err != nil {
			return 0, err
		}
		if set.Set {
			return consensus.ReplicaID(n), nil
		}
	}
	return 0, consensus.ContextError(ctx)
}

// Remove takes a node out of the cluster: out of the system group, and the
// tables. Its other replicas must have been moved before.
func (m *Member) Remove(ctx context.Context, node consensus.NodeID) error {
	g, err := m.running(SystemGroup)
	if err != nil {
		return err
	}
	groups, err := m.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range groups {
		if e.of(node) != nil {
			return fmt.Errorf("%w: node %s has a replica of group %q: move it first", consensus.ErrConflict, node, e.Name)
		}
	}
	all, change, err := g.Members(ctx)
	if err != nil {
		return err
	}
	found := false
	for _, old := range all {
		if old.Node == node {
			found = true
			if err := g.RemoveMember(ctx, old.Replica, change); err != nil {
				return err
			}
		}
	}
	_, err = m.Table().Txn(ctx, kv.TxnRequest{Then: []kv.Op{
		{Kind: kv.OpDelete, Key: []byte(nodesPrefix + string(node))}, {Kind: kv.OpDelete, Key: []byte(VersionsPrefix + string(node))},
	}})
	if err == nil && !found {
		err = fmt.Errorf("%w: node %s", consensus.ErrNotMember, node)
	}
	return err
}

// running returns a group of which a replica runs here.
func (m *Member) running(name string) (consensus.Group, error) {
	g, err := m.host.Group(name)
	if errors.Is(err, consensus.ErrNoGroup) && name == SystemGroup {
		m.mu.Lock()
		why := m.why
		m.mu.Unlock()
		return nil, fmt.Errorf("%w: this node is in no cluster yet: %s", consensus.ErrNoGroup, why)
	}
	return g, err
}

// promoteNodes makes non-voters of the system group that live and have caught
// up voters, while there are too few. The group's leader does it.
func (m *Member) promoteNodes(ctx context.Context, g consensus.Group) error {
	all, change, err := g.Members(ctx)
	if err != nil {
		return err
	}
	voters := 0
	for _, x := range all {
		if x.Role == consensus.Voter {
			voters++
		}
	}
	alive, at := m.alive(), g.Applier().Position().Index
	for _, x := range all {
		if x.Role != consensus.NonVoter || voters >= m.o.Nodes {
			continue
		}
		if p, ok := alive[x.Node]; ok && caughtUp(m.appliedAt(ctx, p, g.Name()), at) {
			x.Role = consensus.Voter
			m.o.Logger.Info("raft: a node becomes a voter", "node", x.Node)
			return g.Add(ctx, x, change)
		}
	}
	return nil
}

// catchUp is by how many entries a replica may be behind that is promoted.
const catchUp = 1000

// caughtUp: a replica that has applied so much, of a log that is so long, may
// become a voter. One that has applied nothing may have none of it.
func caughtUp(applied, at uint64) bool { return applied > 0 && applied+catchUp >= at }

// tellTable writes where this node is into the tables.
func (m *Member) tellTable(ctx context.Context) error {
	m.mu.Lock()
	n := nodeEntry{Addr: m.o.Advertise, Replica: m.state.Replica}
	m.mu.Unlock()
	key, value := nodesPrefix+string(m.host.Node()), n.encode()
	now, err := m.Table().Get(ctx, kv.GetRequest{Key: []byte(key), Stale: true})
	if err == nil && now.Found && string(now.Value) == string(value) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = m.Table().Put(ctx, kv.PutRequest{Key: []byte(key), Value: value})
	return err
}
