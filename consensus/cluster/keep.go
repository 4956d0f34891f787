package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/rpc"
)

// store is a group that runs here, with its service.
type store struct {
	group   consensus.Group
	service *kv.Service
	stop    context.CancelFunc
}

// machines makes the machine of a group of some kind.
func (m *Member) machines(kind string) consensus.Machines {
	if made, ok := m.o.Machines[kind]; ok {
		return made
	}
	return kv.Machines()
}

// open makes the service of a running group.
func (m *Member) open(g consensus.Group) (*store, error) {
	ctx, stop := context.WithCancel(m.ctx)
	server, err := rpc.NewServer(&rpc.ServerOptions{Logger: m.o.Logger})
	if err != nil {
		stop()
		return nil, err
	}
	service, err := kv.Serve(ctx, server, g)
	if err != nil {
		stop()
		return nil, err
	}
	if m.o.Serve != nil {
		m.work.Go(func() { m.o.Serve(ctx, g.Name(), server) })
	}
	return &store{g, service, stop}, nil
}

// serveSystem makes the tables of the system group, which has just been started.
func (m *Member) serveSystem(g consensus.Group) error {
	s, err := m.open(g)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.system, m.table = g, s.service
	m.stores[SystemGroup] = s
	m.mu.Unlock()
	close(m.formed)
	m.waits("")
	return nil
}

// Store returns the service of a group of which a replica runs here.
func (m *Member) Store(name string) (*kv.Service, error) {
	if _, err := m.running(name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.stores[name]; s != nil && s.service != nil {
		return s.service, nil
	}
	return nil, consensus.ErrNoGroup
}

// keep makes this node's replicas what the tables say, and the groups that are
// led from here. What fails is tried again the next time.
func (m *Member) keep() {
	ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
	defer cancel()
	if err := m.tellTable(ctx); err != nil {
		m.waits("the tables can't be written: " + err.Error())
	} else {
		m.waits("")
	}
	m.keepAddrs(ctx)
	entries, err := m.entries(ctx, true)
	if err != nil {
		m.o.Logger.Warn("raft: the tables", "err", err)
		return
	}
	m.keepReplicas(ctx, entries)
	g := m.system
	if g.Status().Leads() {
		if err := m.promoteNodes(ctx, g); err != nil && !errors.Is(err, consensus.ErrConflict) {
			m.o.Logger.Warn("raft: promoting", "err", err)
		}
	}
	for i := range entries {
		m.keepLed(ctx, &entries[i])
	}
	m.balance(ctx, entries)
	if time.Since(m.swept) >= sweepEvery {
		m.sweep(ctx)
	}
}

// keepAddrs keeps where others are, for the next start: those that answer, and
// those of the table.
func (m *Member) keepAddrs(ctx context.Context) {
	table, err := m.rows(ctx, nodesPrefix, true)
	if err != nil || len(table) == 0 { // not read yet
		return
	}
	listed := map[consensus.NodeID]bool{}
	for _, i := range table {
		listed[consensus.NodeID(strings.TrimPrefix(string(i.Key), nodesPrefix))] = true
	}
	alive := m.alive()
	m.mu.Lock()
	addrs, news := map[consensus.NodeID]string{}, false
	for id, a := range m.state.Addrs {
		if _, there := alive[id]; there || listed[id] {
			addrs[id] = a
		} else {
			news = true
		}
	}
	for id, p := range alive {
		if p.Addr != "" && addrs[id] != p.Addr {
			addrs[id], news = p.Addr, true
		}
	}
	m.mu.Unlock()
	if news {
		if err := m.change(func(s *state) error { s.Addrs = addrs; return nil }); err != nil {
			m.o.Logger.Warn("raft: keeping addresses", "err", err)
		}
	}
}

// keepReplicas starts and stops what the table says.
func (m *Member) keepReplicas(ctx context.Context, entries []Entry) {
	wanted := map[string]bool{SystemGroup: true}
	for i := range entries {
		e := &entries[i]
		s := e.of(m.Node())
		if s == nil {
			continue
		}
		wanted[e.Name] = true
		if g, err := m.host.Group(e.Name); err == nil {
			if g.Replica() == s.Replica {
				if err := m.serveReplica(g, e.Kind); err != nil {
					m.o.Logger.Warn("raft: serving a replica", "group", e.Name, "err", err)
				}
				continue
			}
			// Of a group of that name that is no more, or from before the group
			// went elsewhere and came back.
			m.dropReplica(ctx, g)
		}
		c := consensus.GroupConfig{Name: e.Name, Replica: s.Replica, Join: s.Join, Machines: m.machines(e.Kind)}
		if s.Join {
			c.Role = consensus.NonVoter
		} else {
			c.Members = e.first()
		}
		if err := m.startReplica(ctx, c, e.Kind); err != nil {
			m.o.Logger.Warn("raft: starting a replica", "group", e.Name, "err", err)
		}
	}
	for _, g := range m.host.Groups() {
		if wanted[g.Name()] {
			continue
		}
		m.dropReplica(ctx, g)
	}
}

// dropReplica deletes a replica which the table does not have here.
func (m *Member) dropReplica(ctx context.Context, g consensus.Group) {
	m.mu.Lock()
	s := m.stores[g.Name()]
	delete(m.stores, g.Name())
	m.mu.Unlock()
	if s != nil {
		s.stop()
	}
	if err := m.host.Remove(ctx, g.Name()); err != nil {
		m.o.Logger.Warn("raft: deleting a replica", "group", g.Name(), "err", err)
	} else {
		m.o.Logger.Info("raft: a replica was deleted: the table gives it to others", "group", g.Name(), "replica", g.Replica())
	}
}

func (m *Member) startReplica(ctx context.Context, c consensus.GroupConfig, kind string) error {
	g, err := m.host.Start(ctx, c)
	if err != nil {
		return err
	}
	m.o.Logger.Info("raft: a replica was started", "group", c.Name, "replica", c.Replica)
	return m.serveReplica(g, kind)
}

// serveReplica makes the service of a replica that runs, unless it has one.
func (m *Member) serveReplica(g consensus.Group, kind string) error {
	m.mu.Lock()
	_, served := m.stores[g.Name()]
	m.mu.Unlock()
	if served {
		return nil
	}
	s := &store{group: g, stop: func() {}}
	if _, other := m.o.Machines[kind]; !other {
		made, err := m.open(g)
		if err != nil {
			return err
		}
		s = made
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores[g.Name()] = s
	return nil
}

// asTable is when a group was found as the table has it: the table's revision, and
// the term of the leader who looked. Only leaders change it, after the table, so
// there is nothing to look for again while both are the same; and a group of which
// nothing is asked may rest.
type asTable struct{ modified, term uint64 }

// keepLed makes a group what the table says, if it is led from here.
func (m *Member) keepLed(ctx context.Context, e *Entry) {
	g, err := m.host.Group(e.Name)
	if err != nil {
		return
	}
	status := g.Status()
	now := asTable{e.modified, status.Term}
	if !status.Leads() || m.settledAt[e.Name] == now {
		return
	}
	done, err := m.keepGroup(ctx, e, g)
	if err == nil && e.Source != "" {
		done, err = false, m.fill(ctx, e)
	}
	if err != nil && !errors.Is(err, consensus.ErrConflict) {
		m.o.Logger.Warn("raft: changing a group", "group", e.Name, "err", err)
	}
	if done && err == nil {
		m.settledAt[e.Name] = now
	}
}

// keepGroup takes the members of a group that is led from here one step towards
// what the table says, and reports whether they are that already.
func (m *Member) keepGroup(ctx context.Context, e *Entry, g consensus.Group) (done bool, err error) {
	all, change, err := g.Members(ctx)
	if err != nil {
		return false, err
	}
	alive, at := m.alive(), g.Applier().Position().Index
	coming := false
	for _, s := range e.Seats {
		i := slices.IndexFunc(all, func(x consensus.Member) bool { return x.Replica == s.Replica })
		switch {
		case s.Gone || s.Leaving:
		case i < 0:
			return false, g.Add(ctx, consensus.Member{Replica: s.Replica, Node: s.Node, Role: consensus.NonVoter}, change)
		case all[i].Role == consensus.NonVoter:
			coming = true
			if p, ok := alive[s.Node]; ok && caughtUp(m.appliedAt(ctx, p, e.Name), at) {
				all[i].Role = consensus.Voter
				return false, g.Add(ctx, all[i], change)
			}
		}
	}
	if coming {
		return false, nil
	}
	for i := range e.Seats {
		s := &e.Seats[i]
		if !s.Leaving || s.Gone {
			continue
		}
		if s.Node == m.Node() { // another one has to remove this one
			for _, x := range all {
				if y := e.of(x.Node); x.Role == consensus.Voter && y != nil && !y.Leaving {
					return false, g.Transfer(ctx, x.Replica)
				}
			}
		}
		if slices.ContainsFunc(all, func(x consensus.Member) bool { return x.Replica == s.Replica }) {
			return false, g.RemoveMember(ctx, s.Replica, change)
		}
		s.Gone = true
		return false, m.put(ctx, e)
	}
	return true, nil
}

// balanceEvery is how often a group's leader may be asked to hand over.
const balanceEvery = 15 * time.Second

// balance gives each node that lives its share of leaders: groups by name, each
// to the voter that has the fewest so far. Every node computes the same.
func (m *Member) balance(ctx context.Context, entries []Entry) {
	alive := m.alive()
	share := map[consensus.NodeID]int{}
	for i := range entries {
		e := &entries[i]
		var best *Seat
		for j := range e.Seats {
			s := &e.Seats[j]
			if _, there := alive[s.Node]; s.Gone || s.Leaving || !there && s.Node != m.Node() {
				continue
			}
			if best == nil || share[s.Node] < share[best.Node] || share[s.Node] == share[best.Node] && s.Node < best.Node {
				best = s
			}
		}
		if best == nil {
			continue
		}
		share[best.Node]++
		g, err := m.host.Group(e.Name)
		if err != nil || best.Node == m.Node() || !g.Status().Leads() || time.Since(m.last[e.Name]) < balanceEvery {
			continue
		}
		m.last[e.Name] = time.Now()
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		if err := g.Transfer(short, best.Replica); err != nil && !errors.Is(err, consensus.ErrNotMember) {
			m.o.Logger.Debug("raft: balancing leaders", "group", e.Name, "err", err)
		}
		cancel()
	}
}
