package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/cell-runtime/cell/consensus"
)

// How a cluster is founded. Every node asks the others who they are. When one
// has met as many as it takes, itself included, and has the least id of them,
// it asks each of them to promise: to found this cluster, with these members,
// and no other. With all promises, it writes down that the cluster is founded,
// which is the moment from which it is; the others see that when they ask. A
// promise ends only when the founder itself says that it has given up this
// attempt, and what it has said before it asked for the promise, which may
// arrive late, does not count. So no node is ever in two, and a group's first members are the same
// on all of them, whoever dies in between.
//
// Two clusters can be founded if twice as many nodes as it takes are started
// and half of them can't reach the other half. They refuse each other later.

// info is what a node says of itself.
type info struct {
	Node    consensus.NodeID                         `json:"node"`
	Addr    string                                   `json:"addr"`
	Phase   phase                                    `json:"phase"`
	Cluster string                                   `json:"cluster,omitempty"`
	First   map[consensus.ReplicaID]consensus.NodeID `json:"first,omitempty"`
	Known   []string                                 `json:"known,omitempty"`
	Serial  uint64                                   `json:"serial,omitempty"` // see [state]
}

// question is what nodes ask each other.
type question struct {
	Kind    string                                   `json:"kind"` // hello, promise, join, applied
	Me      info                                     `json:"me"`
	Cluster string                                   `json:"cluster,omitempty"`
	First   map[consensus.ReplicaID]consensus.NodeID `json:"first,omitempty"`
	Group   string                                   `json:"group,omitempty"`
}

// reply is the answer.
type reply struct {
	Me      info                `json:"me"`
	Replica consensus.ReplicaID `json:"replica,omitempty"`
	Applied uint64              `json:"applied,omitempty"` // how far a group's log was applied; 0 if it does not run
}

const (
	askHello   = "hello"
	askPromise = "promise"
	askJoin    = "join"
	askApplied = "applied"
)

// me is what this node says of itself.
func (m *Member) me() info {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := info{Node: m.host.Node(), Addr: m.o.Advertise, Phase: m.state.Phase, Cluster: m.state.Cluster, First: m.state.First, Serial: m.state.Serial}
	i.Known = m.known.answering()
	return i
}

// ask asks one question.
func (m *Member) ask(ctx context.Context, addr string, q question) (r reply, err error) {
	q.Me = m.me()
	b, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	who, b, err := m.host.Ask(ctx, addr, b)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: an answer that can't be read: %w", consensus.ErrDamaged, err)
	}
	r.Me.Node = who // whatever it says
	return r, nil
}

// appliedAt asks a node how far it has applied a group's log; 0 is not at all.
func (m *Member) appliedAt(ctx context.Context, p peer, group string) uint64 {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	r, err := m.ask(ctx, p.Addr, question{Kind: askApplied, Group: group})
	if err != nil || r.Me.Node != p.Node {
		return 0
	}
	return r.Applied
}

func (m *Member) hello(addr string) (info, error) {
	ctx, cancel := context.WithTimeout(m.ctx, askPatience)
	defer cancel()
	r, err := m.ask(ctx, addr, question{Kind: askHello})
	return r.Me, err
}

// answer answers what others ask.
func (m *Member) answer(ctx context.Context, from consensus.NodeID, text []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(text, &q); err != nil {
		return nil, fmt.Errorf("%w: a question that can't be read", consensus.ErrConfig)
	}
	q.Me.Node = from
	select {
	case <-m.opened:
	case <-ctx.Done():
		return nil, errWaiting
	}
	m.met(q.Me)
	var r reply
	var err error
	switch q.Kind {
	case askHello:
	case askPromise:
		err = m.promise(from, &q)
	case askJoin:
		r.Replica, err = m.admit(ctx, from, q.Me.Addr)
	case askApplied:
		if g, err := m.host.Group(q.Group); err == nil && g.Applier() != nil {
			r.Applied = g.Applier().Position().Index
		}
	default:
		err = fmt.Errorf("%w: no question of this version: %.40q", consensus.ErrUnsupported, q.Kind)
	}
	if err != nil {
		return nil, err
	}
	r.Me = m.me()
	return json.Marshal(r)
}

// promise promises to found a cluster, unless this node has promised another.
func (m *Member) promise(from consensus.NodeID, q *question) error {
	var mine consensus.ReplicaID
	for r, node := range q.First {
		if node == m.host.Node() {
			mine = r
		}
	}
	if mine == 0 || len(q.First) != m.o.Nodes || q.Cluster == "" {
		return fmt.Errorf("%w: this node founds a cluster of %d with itself in it", consensus.ErrConfig, m.o.Nodes)
	}
	return m.change(func(s *state) error {
		switch {
		case s.Phase == phaseNew:
		case s.Cluster == q.Cluster && s.Founder == from && maps.Equal(s.First, q.First):
			return nil
		default:
			return fmt.Errorf("%w: this node is %s, to another cluster", consensus.ErrConflict, s.Phase)
		}
		s.Phase, s.Cluster, s.Founder, s.First, s.Replica, s.Asked = phasePromised, q.Cluster, from, q.First, mine, q.Me.Serial
		return nil
	})
}

// advance takes this node the next step on its way.
func (m *Member) advance() error {
	m.mu.Lock()
	s := m.state
	m.mu.Unlock()
	switch s.Phase {
	case phaseFormed:
		if m.isFormed() {
			return nil
		}
		return m.begin()
	case phasePromised:
		return m.followFounder(&s)
	}
	others := m.alive()
	for _, p := range others {
		if p.Phase == phaseFormed {
			return m.join(p)
		}
	}
	ids := []consensus.NodeID{m.host.Node()}
	for id, p := range others {
		if p.Phase == phaseNew {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) < m.o.Nodes {
		return fmt.Errorf("%w for others: %d of the %d nodes that it takes have met", errWaiting, len(ids), m.o.Nodes)
	}
	if ids[0] != m.host.Node() {
		return fmt.Errorf("%w for node %s to found the cluster", errWaiting, ids[0])
	}
	return m.found(ids[:m.o.Nodes], others)
}

// followFounder ends a promise, one way or the other, by what the founder says.
func (m *Member) followFounder(s *state) error {
	if s.Founder == m.host.Node() { // it was interrupted: the attempt is given up
		return m.giveUp(s.Cluster)
	}
	p, ok := m.alive()[s.Founder]
	switch {
	case !ok:
		return fmt.Errorf("%w for node %s, to which this one has promised to found a cluster", errWaiting, s.Founder)
	case p.Serial < s.Asked: // said before it asked, and late
	case p.Cluster == s.Cluster && p.Phase == phaseFormed:
		if err := m.change(func(s *state) error { s.Phase = phaseFormed; return nil }); err != nil {
			return err
		}
		return m.begin()
	case p.Cluster != s.Cluster:
		return m.giveUp(s.Cluster)
	}
	return fmt.Errorf("%w for the promises of all", errWaiting)
}

func (m *Member) giveUp(cluster string) error {
	return m.change(func(s *state) error {
		if s.Cluster == cluster && s.Phase == phasePromised {
			s.Phase, s.Cluster, s.Founder, s.First, s.Replica, s.Asked = phaseNew, "", "", nil, 0, 0
		}
		return nil
	})
}

// found collects the promises of all and founds the cluster.
func (m *Member) found(ids []consensus.NodeID, others map[consensus.NodeID]peer) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: see crypto/rand
	cluster := hex.EncodeToString(random[:])
	first := map[consensus.ReplicaID]consensus.NodeID{}
	for i, id := range ids {
		first[consensus.ReplicaID(i+1)] = id
	}
	err := m.change(func(s *state) error {
		if s.Phase != phaseNew {
			return consensus.ErrConflict
		}
		s.Phase, s.Cluster, s.Founder, s.First, s.Replica = phasePromised, cluster, m.host.Node(), first, 1
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids[1:] {
		ctx, cancel := context.WithTimeout(m.ctx, askPatience)
		_, err := m.ask(ctx, others[id].Addr, question{Kind: askPromise, Cluster: cluster, First: first})
		cancel()
		if err != nil {
			return fmt.Errorf("%w: node %s has not promised: %w", errWaiting, id, orGiveUp(err, m.giveUp(cluster)))
		}
	}
	err = m.change(func(s *state) error {
		if s.Cluster != cluster {
			return consensus.ErrConflict
		}
		s.Phase = phaseFormed
		return nil
	})
	if err != nil {
		return err
	}
	m.o.Logger.Info("raft: the cluster is founded", "cluster", cluster, "nodes", len(ids))
	return m.begin()
}

func orGiveUp(err, other error) error {
	if other != nil {
		return other
	}
	return err
}

// begin starts this node's replica of the system group.
func (m *Member) begin() error {
	m.mu.Lock()
	s := m.state
	m.mu.Unlock()
	c := consensus.GroupConfig{Name: SystemGroup, Replica: s.Replica, Members: s.First, Join: s.Join, Role: s.Role, Machines: m.machines(Kind)}
	if s.Join {
		c.Members = nil
	}
	g, err := m.host.Group(SystemGroup) // where only serving it has failed
	if err != nil {
		g, err = m.host.Start(m.ctx, c)
	}
	if err != nil {
		return err
	}
	return m.serveSystem(g)
}
