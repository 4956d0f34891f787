// Package single runs groups of one member in memory, without a log and
// without Raft: what is proposed is applied at once, and gone with the process.
// It is for tests of machines and services, and for nodes built without a real
// backend that need no durable state.
package single

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// Host runs groups of one member each.
type Host struct {
	node consensus.NodeID

	mu     sync.Mutex
	groups map[string]*group
	closed bool
}

var _ consensus.Host = (*Host)(nil)

// New returns a host without groups.
func New(node consensus.NodeID) *Host {
	return &Host{node: node, groups: make(map[string]*group)}
}

// Node implements [consensus.Host].
func (h *Host) Node() consensus.NodeID { return h.node }

// Start implements [consensus.Host]. The only member must be this node.
func (h *Host) Start(_ context.Context, c consensus.GroupConfig) (consensus.Group, error) {
	if err := c.SetDefaults(); err != nil {
		return nil, err
	}
	if c.Join || len(c.Members) != 1 || c.Members[c.Replica] != h.node {
		return nil, fmt.Errorf("%w: group %q: package single has groups of one member, which is this node, %q; use a real backend for more",
			consensus.ErrConfig, c.Name, h.node)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, consensus.ErrClosed
	}
	if _, ok := h.groups[c.Name]; ok {
		return nil, fmt.Errorf("%w: %q", consensus.ErrGroupExists, c.Name)
	}
	id := consensus.GroupIDOf(c.Name)
	a, err := consensus.NewApplier(uint64(id), c.Machines)
	if err != nil {
		return nil, err
	}
	index, err := a.Open()
	if err != nil {
		return nil, err
	}
	g := &group{config: c, id: id, node: h.node, applier: a, index: index}
	h.groups[c.Name] = g
	return g, nil
}

// Group implements [consensus.Host].
func (h *Host) Group(name string) (consensus.Group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, ok := h.groups[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", consensus.ErrNoGroup, name)
	}
	return g, nil
}

// Groups implements [consensus.Host].
func (h *Host) Groups() []consensus.Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]consensus.Group, 0, len(h.groups))
	for _, g := range h.groups {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b consensus.Group) int { return cmp.Compare(a.Name(), b.Name()) })
	return all
}

// Stop implements [consensus.Host]; the state is lost.
func (h *Host) Stop(name string) error {
	h.mu.Lock()
	g, ok := h.groups[name]
	delete(h.groups, name)
	h.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %q", consensus.ErrNoGroup, name)
	}
	return g.close()
}

// Remove implements [consensus.Host].
func (h *Host) Remove(_ context.Context, name string) error { return h.Stop(name) }

// Close implements [consensus.Host].
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	for _, g := range h.Groups() {
		if err := h.Stop(g.Name()); err != nil {
			return err
		}
	}
	return nil
}

// group is its only replica. The lock makes the order of its log.
type group struct {
	config  consensus.GroupConfig
	id      consensus.GroupID
	node    consensus.NodeID
	applier *consensus.Applier

	mu     sync.Mutex
	index  uint64
	closed bool
}

func (g *group) Name() string                 { return g.config.Name }
func (g *group) Replica() consensus.ReplicaID { return g.config.Replica }
func (g *group) Applier() *consensus.Applier  { return g.applier }

func (g *group) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return g.applier.Close()
}

func (g *group) ProposeEntry(ctx context.Context, entry []byte) (consensus.Result, error) {
	if ctx.Err() != nil {
		return consensus.Result{}, consensus.ContextError(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return consensus.Result{}, consensus.ErrClosed
	}
	g.index++
	raw := [1]consensus.Raw{{Index: g.index, Entry: slices.Clone(entry)}} // it is the caller's; a result may be a part of it
	err := g.applier.Apply(raw[:])
	return raw[0].Result, err
}

// answered is a request that has its answer already.
type answered struct {
	result consensus.Result
	err    error
}

func (a answered) Wait(context.Context) (consensus.Result, error) { return a.result, a.err }

func (g *group) Begin(entry []byte, _ time.Duration) (consensus.Pending, error) {
	r, err := g.ProposeEntry(context.Background(), entry)
	return answered{r, err}, nil
}

func (g *group) ReadIndex(ctx context.Context) error {
	if ctx.Err() != nil {
		return consensus.ContextError(ctx)
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return consensus.ErrClosed
	}
	g.applier.Confirm(now)
	return nil
}

func (g *group) member() consensus.Member {
	return consensus.Member{Replica: g.config.Replica, Node: g.node, Role: consensus.Voter}
}

func (g *group) Status() consensus.Status {
	p := g.applier.Position()
	s := consensus.Status{
		Group: g.config.Name, ID: g.id, Replica: g.config.Replica, Kind: g.applier.Kind(),
		Leader: g.config.Replica, Term: 1, Applied: p.Index, AppliedTime: time.Unix(0, p.Time),
		Members: []consensus.Member{g.member()},
	}
	s.Digest, _ = g.applier.Digest()
	return s
}

func (g *group) Members(context.Context) ([]consensus.Member, uint64, error) {
	return []consensus.Member{g.member()}, 1, nil
}

func (g *group) Add(context.Context, consensus.Member, uint64) error { return g.unsupported() }
func (g *group) RemoveMember(context.Context, consensus.ReplicaID, uint64) error {
	return g.unsupported()
}

func (g *group) Transfer(_ context.Context, to consensus.ReplicaID) error {
	if to == g.config.Replica {
		return nil
	}
	return g.unsupported()
}

func (g *group) unsupported() error {
	return fmt.Errorf("%w: group %q of package single has one member for good", consensus.ErrUnsupported, g.config.Name)
}

func (g *group) Snapshot(context.Context) (uint64, error) { // there is no log to compact
	return g.applier.Position().Index, nil
}

func (g *group) Backup(context.Context, io.Writer) (consensus.BackupInfo, error) {
	return consensus.BackupInfo{}, g.unsupported()
}
