//go:build !nodragonboat && !s390x

package dragonboat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/cell-runtime/cell/consensus"
)

// Host runs this node's replicas. There should be one for each process.
type Host struct {
	o   Options
	dir *directory
	nh  *raft.NodeHost

	marksMu sync.Mutex // held while marks are written; taken before mu

	mu     sync.Mutex
	groups map[string]*group // nil: being started
	marks  map[string]mark   // by group; see [marksFile]
	closed bool

	closing chan struct{}
	marked  chan struct{} // closed when no more marks are written

	leaders *leaderWatch
	voters  voters
	rest    *rest // nil: no group rests
	roster  *roster
}

var _ consensus.Host = (*Host)(nil)

// Open takes the data directory and begins to listen. Its errors wrap
// [consensus.ErrConfig], [consensus.ErrDirectory] or [consensus.ErrDamaged].
func Open(o Options) (*Host, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	current.Store(o.Logger)
	var dir *directory
	if o.fs == nil {
		d, err := openDirectory(&o)
		if err != nil {
			return nil, err
		}
		dir = d
	}
	if o.UnsafeNoSync {
		o.Logger.Warn("raft: UnsafeNoSync: nothing is synced to disk before it is acknowledged; a power loss loses acknowledged writes", "dir", o.Dir)
	}
	h := &Host{o: o, dir: dir, groups: make(map[string]*group), leaders: newLeaderWatch(),
		marks: map[string]mark{}, closing: make(chan struct{}), marked: make(chan struct{})}
	if !o.AlwaysAwake {
		h.rest = newRest(h)
	}
	h.roster = newRoster(&o)
	if o.transport == nil {
		kept := o
		kept.gone, kept.rest, kept.roster = h.nodeGone, h.rest, h.roster
		o.transport = transports{&kept}
	}
	if h.rest != nil {
		o.transport = rested{o.transport, h.rest}
	}
	if dir != nil {
		marks, err := readMarks(o.Dir)
		if err != nil {
			return nil, errors.Join(err, dir.close())
		}
		h.marks = marks
	}
	nh, err := openNodeHost(&o, h.leaders)
	if err != nil {
		return nil, errors.Join(openError(o.Dir, err), dir.close())
	}
	h.nh = nh
	if err := h.roster.watch(h); err != nil {
		nh.Close()
		return nil, errors.Join(err, dir.close())
	}
	if h.rest != nil {
		go h.rest.run()
	}
	if dir != nil {
		go h.keepMarks()
	} else {
		close(h.marked)
	}
	return h, nil
}

// openNodeHost contains what panics in this goroutine.
func openNodeHost(o *Options, events raftio.IRaftEventListener) (nh *raft.NodeHost, err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); ok {
				err = e
			} else {
				err = fmt.Errorf("%v", r)
			}
		}
	}()
	nh, err = raft.NewNodeHost(o.hostConfig(events))
	if nh == nil && err == nil { // it has recovered from a panic of its own
		err = fmt.Errorf("it gave up: %s", lastPanic.Load())
	}
	return nh, err
}

// Node implements [consensus.Host].
func (h *Host) Node() consensus.NodeID { return h.o.Node }

// Start implements [consensus.Host].
func (h *Host) Start(ctx context.Context, c consensus.GroupConfig) (consensus.Group, error) {
	if err := c.SetDefaults(); err != nil {
		return nil, err
	}
	g := &group{h: h, config: c, id: consensus.GroupIDOf(c.Name)}
	if c.Role != consensus.Witness {
		a, err := consensus.NewApplier(uint64(g.id), c.Machines)
		if err != nil {
			return nil, err
		}
		g.applier = a
	}
	if err := h.reserve(c.Name); err != nil {
		return nil, err
	}
	h.roster.add(uint64(g.id), uint64(c.Replica), c.Join)
	err := h.startReplica(ctx, g)
	if err == nil {
		err = h.checkMark(g)
	}
	if err == nil {
		g.user, err = h.nh.GetNodeUser(uint64(g.id))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.roster.remove(uint64(g.id))
		delete(h.groups, c.Name)
		return nil, startError(&c, err)
	}
	g.session = h.nh.GetNoOPSession(uint64(g.id))
	h.groups[c.Name] = g
	return g, nil
}

func (h *Host) reserve(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return consensus.ErrClosed
	}
	if _, ok := h.groups[name]; ok {
		return fmt.Errorf("%w: %q", consensus.ErrGroupExists, name)
	}
	h.groups[name] = nil
	return nil
}

// startReplica starts a replica, new or as it was left.
func (h *Host) startReplica(ctx context.Context, g *group) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: replica %d of group %q can't start, and this process should end: %v: %s",
				consensus.ErrDamaged, g.config.Replica, g.config.Name, r, damagedRemedy)
		}
	}()
	if ctx.Err() != nil {
		return consensus.ContextError(ctx)
	}
	c := h.o.groupConfig(&g.config)
	members, join := make(map[uint64]raft.Target), g.config.Join
	for r, node := range g.config.Members {
		members[uint64(r)] = string(node)
	}
	if h.nh.HasNodeInfo(uint64(g.id), uint64(g.config.Replica)) { // it has started before
		clear(members)
		join = false
	} else if len(members) == 0 && !join {
		return raft.ErrShardNotBootstrapped // dragonboat panics where it finds that
	}
	switch {
	case g.config.Role == consensus.Witness:
		return h.nh.StartReplica(members, join, func(uint64, uint64) statemachine.IStateMachine { return nothing{} }, c)
	case g.applier.Kind() == consensus.KindMemory:
		return h.nh.StartReplica(members, join, func(uint64, uint64) statemachine.IStateMachine { return &memory{a: g.applier} }, c)
	case g.applier.Kind() == consensus.KindConcurrent:
		return h.nh.StartConcurrentReplica(members, join, func(uint64, uint64) statemachine.IConcurrentStateMachine {
			return concurrent{batches{g.applier}}
		}, c)
	}
	return h.nh.StartOnDiskReplica(members, join, func(uint64, uint64) statemachine.IOnDiskStateMachine {
		return disk{batches{g.applier}}
	}, c)
}

func startError(c *consensus.GroupConfig, err error) error {
	switch {
	case errors.Is(err, raft.ErrShardNotBootstrapped):
		return fmt.Errorf("%w: group %q: this node has no data of replica %d: name the first Members if the group is new, else have it added and Join",
			consensus.ErrConfig, c.Name, c.Replica)
	case errors.Is(err, raft.ErrInvalidShardSettings):
		return fmt.Errorf("%w: group %q: replica %d was started with other first members, or as another kind of machine",
			consensus.ErrConfig, c.Name, c.Replica)
	case errors.Is(err, raft.ErrReplicaRemoved):
		return fmt.Errorf("%w: group %q: replica %d was removed; its number can't come back: join as another",
			consensus.ErrNotMember, c.Name, c.Replica)
	}
	return requestError(c.Name, err)
}

func (h *Host) find(name string) (*group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[name]
	if g == nil {
		return nil, fmt.Errorf("%w: %q", consensus.ErrNoGroup, name)
	}
	return g, nil
}

// Group implements [consensus.Host].
func (h *Host) Group(name string) (consensus.Group, error) {
	g, err := h.find(name)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Groups implements [consensus.Host].
func (h *Host) Groups() []consensus.Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]consensus.Group, 0, len(h.groups))
	for _, g := range h.groups {
		if g != nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b consensus.Group) int { return cmp.Compare(a.Name(), b.Name()) })
	return all
}

// Stop implements [consensus.Host].
func (h *Host) Stop(name string) error {
	g, err := h.find(name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	delete(h.groups, name)
	h.mu.Unlock()
	h.roster.remove(uint64(g.id))
	return requestError(name, h.nh.StopReplica(uint64(g.id), uint64(g.config.Replica)))
}

// Remove implements [consensus.Host].
func (h *Host) Remove(ctx context.Context, name string) error {
	g, err := h.find(name)
	if err != nil {
		return err
	}
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	if err := h.Stop(name); err != nil && !errors.Is(err, consensus.ErrNoGroup) {
		return err
	}
	for { // the replica unloads in its own time
		err := h.nh.RemoveData(uint64(g.id), uint64(g.config.Replica))
		if !errors.Is(err, raft.ErrShardNotStopped) {
			h.forgetMark(name)
			return requestError(name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the replica is still stopping", consensus.ContextError(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Close implements [consensus.Host].
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	close(h.closing)
	<-h.marked
	if h.rest != nil {
		<-h.rest.ended
	}
	if h.dir != nil {
		h.noteMarks()
	}
	h.mu.Lock()
	clear(h.groups)
	h.mu.Unlock()
	h.voters.end()
	h.nh.Close()
	return h.dir.close()
}
