package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/rpc"
)

// Service answers for a member.
type Service struct{ member *cluster.Member }

var _ Raft = (*Service)(nil)

// Serve registers the service of a member with a server.
func Serve(server *rpc.Server, m *cluster.Member) error {
	return RegisterRaft(server, &Service{m})
}

const (
	// patience is how long changes may take that wait for a leader.
	patience = 15 * time.Second
	// margin is what is left of a caller's time to tell him why it was not enough.
	margin = 300 * time.Millisecond
	// tablesPatience is how long what only asks waits for the tables' leader.
	tablesPatience = 2 * time.Second
)

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, d.Add(-min(margin, time.Until(d)/4)))
	}
	return context.WithTimeout(ctx, patience)
}

// explained says, where nobody leads, what that takes.
func (s *Service) explained(err error) error {
	if !errors.Is(err, consensus.ErrNoLeader) && !errors.Is(err, consensus.ErrTimeout) {
		return err
	}
	nodes, other := s.member.KnownNodes(context.Background())
	if other != nil || len(nodes) == 0 {
		return err
	}
	answer := 0
	for _, n := range nodes {
		if n.Alive {
			answer++
		}
	}
	return fmt.Errorf("%w: %d of the %d nodes of the cluster have answered lately; a group needs more than half of its voters: start those that are silent (cellnode raft status)", err, answer, len(nodes))
}

func did(format string, args ...any) Done { return Done{Did: []string{fmt.Sprintf(format, args...)}} }

// Status implements [Raft].
func (s *Service) Status(ctx context.Context) (c Cluster, err error) {
	state := s.member.State()
	c = Cluster{Node: string(s.member.Node()), Addr: state.Addr, Formed: state.Formed, Waits: state.Waits, Cluster: state.Cluster}
	if !state.Formed {
		return c, nil
	}
	short, cancel := context.WithTimeout(ctx, tablesPatience)
	defer cancel()
	nodes, err := s.member.Nodes(short)
	if err != nil { // what this member knows is worth telling
		c.Waits = s.explained(err).Error()
		if nodes, err = s.member.KnownNodes(ctx); err != nil {
			return c, nil
		}
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, Node{Node: string(n.Node), Addr: n.Addr, Replica: uint64(n.Replica), Alive: n.Alive, Groups: uint32(n.Groups)})
	}
	return c, nil
}

// Groups implements [Raft].
func (s *Service) Groups(ctx context.Context) (list GroupList, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	short, enough := context.WithTimeout(ctx, tablesPatience)
	entries, err := s.member.List(short)
	enough()
	if errors.Is(err, consensus.ErrNoLeader) || errors.Is(err, consensus.ErrTimeout) {
		entries, err = s.member.KnownGroups(ctx)
	}
	if err != nil {
		return list, err
	}
	byName := map[string]*Group{cluster.SystemGroup: {Name: cluster.SystemGroup, Kind: cluster.Kind}}
	for _, e := range entries {
		g := &Group{Name: e.Name, Kind: e.Kind, From: e.From, To: e.To, Beyond: e.Beyond, Source: e.Source}
		for _, x := range e.Seats {
			if role := ""; !x.Gone {
				if x.Leaving {
					role = "leaving"
				}
				g.Seats = append(g.Seats, Seat{Replica: uint64(x.Replica), Node: string(x.Node), Role: role})
			}
		}
		byName[e.Name] = g
	}
	for _, here := range s.member.Host().Groups() {
		st := here.Status()
		g := byName[here.Name()]
		if g == nil {
			g = &Group{Name: here.Name()}
			byName[g.Name] = g
		}
		g.Here, g.Replica, g.Leader, g.Term, g.Applied = true, uint64(st.Replica), uint64(st.Leader), st.Term, st.Applied
		g.fillBy(ctx, here, &st)
	}
	for _, g := range byName {
		list.Groups = append(list.Groups, *g)
	}
	slices.SortFunc(list.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// fillBy asks the group for its members, if somebody leads it.
func (g *Group) fillBy(ctx context.Context, here consensus.Group, st *consensus.Status) {
	if st.Leader == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tablesPatience)
	defer cancel()
	if all, _, err := here.Members(ctx); err == nil {
		g.fill(all)
	}
}

// fill adds what the group itself says of its members.
func (g *Group) fill(all []consensus.Member) {
	known := g.Seats
	g.Seats = nil
	for _, m := range all {
		role := m.Role.String()
		if slices.ContainsFunc(known, func(s Seat) bool { return s.Replica == uint64(m.Replica) && s.Role != "" }) {
			role += ", leaving"
		}
		g.Seats = append(g.Seats, Seat{Replica: uint64(m.Replica), Node: string(m.Node), Role: role})
	}
	for _, s := range known {
		if !slices.ContainsFunc(all, func(m consensus.Member) bool { return uint64(m.Replica) == s.Replica }) {
			s.Role = "coming"
			g.Seats = append(g.Seats, s)
		}
	}
}

// Create implements [Raft].
func (s *Service) Create(ctx context.Context, req NewGroup) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := s.member.Create(ctx, req.Name, cluster.Kind, int(req.Replicas))
	if err != nil {
		return Done{}, s.explained(err)
	}
	replicas := "1 replica"
	if n := len(e.Seats); n != 1 {
		replicas = fmt.Sprintf("%d replicas", n)
	}
	return did("group %q is in the table, with %s", e.Name, replicas), nil
}

// Add implements [Raft].
func (s *Service) Add(ctx context.Context, req Place) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if req.Group == cluster.SystemGroup {
		if err := s.member.Promote(ctx, consensus.NodeID(req.Node)); err != nil {
			return Done{}, s.explained(err)
		}
		return did("node %s is a voter of the cluster", req.Node), nil
	}
	if err := s.member.AddReplica(ctx, req.Group, consensus.NodeID(req.Node)); err != nil {
		return Done{}, s.explained(err)
	}
	return did("node %s gets a replica of group %q", req.Node, req.Group), nil
}

// Remove implements [Raft].
func (s *Service) Remove(ctx context.Context, req Place) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	node := consensus.NodeID(req.Node)
	switch {
	case req.Group == "" || req.Group == cluster.SystemGroup && req.Node != "":
		if err := s.member.Remove(ctx, node); err != nil {
			return Done{}, s.explained(err)
		}
		return did("node %s is no member of the cluster any more; its directory can be deleted", node), nil
	case req.Node == "":
		if err := s.member.Delete(ctx, req.Group); err != nil {
			return Done{}, s.explained(err)
		}
		return did("group %q is out of the table; its nodes delete its data", req.Group), nil
	}
	if err := s.member.RemoveReplica(ctx, req.Group, node); err != nil {
		return Done{}, s.explained(err)
	}
	return did("node %s loses its replica of group %q", node, req.Group), nil
}

// Move implements [Raft].
func (s *Service) Move(ctx context.Context, req Moving) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.member.Move(ctx, req.Group, consensus.NodeID(req.From), consensus.NodeID(req.To)); err != nil {
		return Done{}, s.explained(err)
	}
	return did("node %s gets a replica of group %q, and node %s loses its own when that has caught up", req.To, req.Group, req.From), nil
}

// Split implements [Raft].
func (s *Service) Split(ctx context.Context, req Splitting) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.member.Split(ctx, req.Group, req.At, req.New); err != nil {
		return Done{}, s.explained(err)
	}
	return did("group %q gets the keys of %q from %q on", req.New, req.Group, req.At), nil
}

// here returns a group of which a replica runs here.
func (s *Service) here(name string) (consensus.Group, error) {
	g, err := s.member.Host().Group(name)
	if errors.Is(err, consensus.ErrNoGroup) {
		return nil, fmt.Errorf("%w: ask a node that has one", err)
	}
	return g, err
}

// Transfer implements [Raft].
func (s *Service) Transfer(ctx context.Context, req Place) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	g, err := s.here(req.Group)
	if err != nil {
		return Done{}, s.explained(err)
	}
	all, _, err := g.Members(ctx)
	if err != nil {
		return Done{}, s.explained(err)
	}
	for _, m := range all {
		if string(m.Node) == req.Node {
			if err := g.Transfer(ctx, m.Replica); err != nil {
				return Done{}, s.explained(err)
			}
			return did("node %s leads group %q", req.Node, req.Group), nil
		}
	}
	return Done{}, fmt.Errorf("%w: node %s of group %q", consensus.ErrNotMember, req.Node, req.Group)
}

// Snapshot implements [Raft].
func (s *Service) Snapshot(ctx context.Context, req Place) (Done, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	g, err := s.here(req.Group)
	if err != nil {
		return Done{}, s.explained(err)
	}
	index, err := g.Snapshot(ctx)
	if err != nil {
		return Done{}, s.explained(err)
	}
	return did("a snapshot of group %q at index %d; the log before it is compacted", req.Group, index), nil
}

// chunks sends what is written in pieces.
type chunks struct{ out rpc.Sender[Chunk] }

const chunkSize = 32 << 10

func (c chunks) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece := b[:min(len(b), chunkSize)]
		if err := c.out.Send(Chunk{Data: piece}); err != nil {
			return 0, err
		}
		b = b[len(piece):]
	}
	return n, nil
}

// Backup implements [Raft].
func (s *Service) Backup(ctx context.Context, req Place, out rpc.Sender[Chunk]) (BackupInfo, error) {
	g, err := s.here(req.Group)
	if err != nil {
		return BackupInfo{}, s.explained(err)
	}
	if err := g.ReadIndex(ctx); err != nil { // so that it has all that was acknowledged
		return BackupInfo{}, s.explained(err)
	}
	info, err := g.Backup(ctx, chunks{out})
	return BackupInfo{Group: info.Group, Index: info.Index, Term: info.Term, Bytes: info.Bytes}, err
}

// Introduce implements [Raft].
func (s *Service) Introduce(_ context.Context, req Addresses) (Done, error) {
	s.member.Introduce(req.Addrs...)
	return did("%d addresses will be asked", len(req.Addrs)), nil
}
