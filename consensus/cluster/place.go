package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
)

// Create makes a group with some replicas (0: as many as the cluster has
// voters), on the nodes that have the fewest.
// It returns when the table has it; this node starts its replica at once, the others
// within seconds.
func (m *Member) Create(ctx context.Context, name, kind string, replicas int) (Entry, error) {
	if _, other := m.o.Machines[kind]; kind != Kind && !other {
		return Entry{}, fmt.Errorf("%w: no kind of group %q is known here", consensus.ErrConfig, kind)
	}
	if err := checkName(name); err != nil {
		return Entry{}, err
	}
	nodes, err := m.Nodes(ctx)
	if err != nil {
		return Entry{}, err
	}
	nodes = slices.DeleteFunc(nodes, func(n NodeInfo) bool { return !n.Alive })
	if replicas == 0 {
		replicas = min(m.o.Nodes, len(nodes))
	}
	if replicas < 1 || replicas > len(nodes) {
		return Entry{}, fmt.Errorf("%w: %d replicas on %d nodes that live", consensus.ErrConfig, replicas, len(nodes))
	}
	slices.SortFunc(nodes, func(a, b NodeInfo) int {
		return cmp.Or(cmp.Compare(a.Groups, b.Groups), cmp.Compare(a.Node, b.Node))
	})
	e := Entry{Name: name, Kind: kind}
	err = m.insert(ctx, &e, nodes[:replicas])
	return e, err
}

// insert puts a new group on some nodes into the table, beside what else is to be
// changed there.
func (m *Member) insert(ctx context.Context, e *Entry, nodes []NodeInfo, more ...Entry) error {
	all, err := m.List(ctx)
	if err != nil {
		return err
	}
	if len(all) >= maxGroups {
		return fmt.Errorf("%w: the cluster has %d groups, as many as it may", consensus.ErrConfig, len(all))
	}
	next, unchanged, err := m.nextReplica(ctx, e.Name)
	if err != nil {
		return err
	}
	e.Next = next
	for _, n := range nodes {
		e.Seats = append(e.Seats, Seat{Replica: e.Next, Node: n.Node})
		e.Next++
	}
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	t := kv.TxnRequest{
		If:   []kv.Condition{unchanged, {Test: kv.TestMissing, Key: []byte(groupsPrefix + e.Name)}},
		Then: []kv.Op{{Kind: kv.OpPut, Key: []byte(groupsPrefix + e.Name), Value: value}},
	}
	return m.commit(ctx, t, e.Name, more...)
}

// commit executes a change of the table, and that of other groups, if all are as
// they were read.
func (m *Member) commit(ctx context.Context, t kv.TxnRequest, name string, more ...Entry) error {
	for i := range more {
		value, err := json.Marshal(&more[i])
		if err != nil {
			return err
		}
		key := []byte(groupsPrefix + more[i].Name)
		t.If = append(t.If, kv.Condition{Test: kv.TestModified, Key: key, Revision: more[i].modified})
		t.Then = append(t.Then, kv.Op{Kind: kv.OpPut, Key: key, Value: value})
	}
	r, err := m.Table().Txn(ctx, t)
	if err == nil && !r.Succeeded {
		err = fmt.Errorf("%w: group %q was changed by somebody else at the same time", consensus.ErrConflict, name)
	}
	m.soon()
	return err
}

// nextReplica returns the number of the first replica of a new group, beyond
// those of a deleted one of that name, and the condition under which that holds.
func (m *Member) nextReplica(ctx context.Context, name string) (consensus.ReplicaID, kv.Condition, error) {
	key := []byte(numbersPrefix + name)
	t := m.Table()
	if t == nil {
		_, err := m.running(SystemGroup)
		return 0, kv.Condition{}, err
	}
	r, err := t.Get(ctx, kv.GetRequest{Key: key})
	if err != nil || !r.Found {
		return 1, kv.Condition{Test: kv.TestMissing, Key: key}, err
	}
	n, err := strconv.ParseUint(string(r.Value), 10, 63)
	if err != nil || n == 0 {
		return 0, kv.Condition{}, fmt.Errorf("%w: the table's %q", consensus.ErrDamaged, key)
	}
	return consensus.ReplicaID(n), kv.Condition{Test: kv.TestModified, Key: key, Revision: r.Modified}, nil
}

// Delete takes a group out of the table; its nodes delete its data.
func (m *Member) Delete(ctx context.Context, name string) error {
	if name == SystemGroup {
		return fmt.Errorf("%w: group %q is the cluster itself, with its tables: it can't be deleted; name a node to take that one out of it", consensus.ErrConfig, name)
	}
	e, err := m.settled(ctx, name)
	if err != nil {
		return err
	}
	if err := m.mayGo(ctx, name); err != nil {
		return err
	}
	return m.commit(ctx, e.deletion(), name)
}

// deletion takes a group out of the table, if it is as it was read.
func (e *Entry) deletion() kv.TxnRequest {
	return kv.TxnRequest{
		If: []kv.Condition{{Test: kv.TestModified, Key: []byte(groupsPrefix + e.Name), Revision: e.modified}},
		Then: []kv.Op{
			{Kind: kv.OpDelete, Key: []byte(groupsPrefix + e.Name)},
			{Kind: kv.OpPut, Key: []byte(numbersPrefix + e.Name), Value: strconv.AppendUint(nil, uint64(e.Next), 10)},
		},
	}
}

// Move gives a node's replica of a group to another node: that one gets a new
// replica, which catches up and becomes a voter, and then the old one goes.
// Move returns when the table says so; the group's leader does the rest.
func (m *Member) Move(ctx context.Context, name string, from, to consensus.NodeID) error {
	e, err := m.settled(ctx, name)
	if err != nil {
		return err
	}
	old := e.of(from)
	nodes, err := m.Nodes(ctx)
	switch {
	case err != nil:
		return err
	case old == nil || old.Leaving:
		return fmt.Errorf("%w: node %s has no replica of group %q that stays", consensus.ErrNotMember, from, name)
	case e.of(to) != nil:
		return fmt.Errorf("%w: node %s has a replica of group %q already", consensus.ErrConflict, to, name)
	case !slices.ContainsFunc(nodes, func(n NodeInfo) bool { return n.Node == to }):
		return fmt.Errorf("%w: node %s is not of this cluster", consensus.ErrNotMember, to)
	}
	old.Leaving = true
	e.Seats = slices.DeleteFunc(e.Seats, func(s Seat) bool { return s.Gone && s.Join })
	e.Seats = append(e.Seats, Seat{Replica: e.Next, Node: to, Join: true})
	e.Next++
	return m.put(ctx, &e)
}

// AddReplica gives a node a replica of a group beside those that there are.
func (m *Member) AddReplica(ctx context.Context, name string, node consensus.NodeID) error {
	e, err := m.settled(ctx, name)
	if err != nil {
		return err
	}
	nodes, err := m.Nodes(ctx)
	switch {
	case err != nil:
		return err
	case e.of(node) != nil:
		return fmt.Errorf("%w: node %s has a replica of group %q already", consensus.ErrConflict, node, name)
	case !slices.ContainsFunc(nodes, func(n NodeInfo) bool { return n.Node == node }):
		return fmt.Errorf("%w: node %s is not of this cluster", consensus.ErrNotMember, node)
	}
	e.Seats = append(e.Seats, Seat{Replica: e.Next, Node: node, Join: true})
	e.Next++
	return m.put(ctx, &e)
}

// RemoveReplica takes a node's replica of a group away. One must stay.
func (m *Member) RemoveReplica(ctx context.Context, name string, node consensus.NodeID) error {
	e, err := m.settled(ctx, name)
	if err != nil {
		return err
	}
	s := e.of(node)
	switch {
	case s == nil || s.Leaving:
		return fmt.Errorf("%w: node %s has no replica of group %q that stays", consensus.ErrNotMember, node, name)
	case len(e.staying()) < 2:
		return fmt.Errorf("%w: node %s has the last replica of group %q: delete the group instead", consensus.ErrConflict, node, name)
	}
	s.Leaving = true
	return m.put(ctx, &e)
}

// Promote makes a node that came later a voter of the system group, beyond the
// number that the cluster keeps by itself.
func (m *Member) Promote(ctx context.Context, node consensus.NodeID) error {
	g, err := m.running(SystemGroup)
	if err != nil {
		return err
	}
	all, change, err := g.Members(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.Node != node {
			continue
		}
		if x.Role == consensus.Voter {
			return fmt.Errorf("%w: node %s is a voter already", consensus.ErrConflict, node)
		}
		x.Role = consensus.Voter
		return g.Add(ctx, x, change)
	}
	return fmt.Errorf("%w: node %s", consensus.ErrNotMember, node)
}
