package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/rpc"
)

// SystemGroup is the group that all nodes are in, and that has the tables.
const SystemGroup = "cluster"

// Host is what a member runs its replicas on.
type Host interface {
	consensus.Host
	// Ask asks the node at an address and returns who it has proven to be.
	Ask(ctx context.Context, addr string, question []byte) (consensus.NodeID, []byte, error)
	// Sweep deletes the data of replicas that don't run and are not to be kept,
	// and returns how many there were.
	Sweep(ctx context.Context, keep func(consensus.GroupID, consensus.ReplicaID) bool) (int, error)
}

// AnswerFunc answers another node's question.
type AnswerFunc func(ctx context.Context, from consensus.NodeID, question []byte) ([]byte, error)

// ResolveFunc says where a node is.
type ResolveFunc func(ctx context.Context, node consensus.NodeID) (string, error)

// VouchFunc says whether a replica of a group is on a node, by the tables.
type VouchFunc func(ctx context.Context, group consensus.GroupID, replica consensus.ReplicaID, node consensus.NodeID) bool

// Options make a member.
type Options struct {
	// Dir is where the member keeps what it has promised; it is made.
	Dir string
	// Advertise is the TCP address at which others reach this node.
	Advertise string
	// Peers are addresses of others, of which some may be wrong or dead. More
	// may be told later by [Member.Introduce].
	Peers []string
	// Nodes is how many nodes found the cluster, the same on all of them, and
	// how many voters it keeps; default 3. 1 founds one alone.
	Nodes int
	// Open opens the host.
	Open func(AnswerFunc, ResolveFunc, VouchFunc) (Host, error)
	// Serve, if set, is given the service of each group that is a store of
	// keys, until ctx ends.
	Serve func(ctx context.Context, group string, server *rpc.Server)
	// Logger hears of what goes on; nil is silent.
	Logger *slog.Logger
	// keepEvery is how often a member looks at its groups; default 2 s.
	keepEvery time.Duration

	// Machines makes the machine of a group by its kind; [Kind] is there always.
	Machines map[string]consensus.Machines
}

const (
	defaultNodes = 3
	maxNodes     = 64
	maxKnown     = 256
	// Kind is the kind of groups that are stores of keys.
	Kind = "kv"

	meetEvery    = 200 * time.Millisecond // while there is no cluster
	keepEvery    = 2 * time.Second        // afterwards, unless Options say otherwise
	askPatience  = 2 * time.Second
	aliveFor     = 6 * time.Second
	joinPatience = 15 * time.Second
)

func (o *Options) setDefaults() error {
	if o.Nodes == 0 {
		o.Nodes = defaultNodes
	}
	if o.keepEvery == 0 {
		o.keepEvery = keepEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return fmt.Errorf("%w: %d nodes to found a cluster, there must be 1 to %d", consensus.ErrConfig, o.Nodes, maxNodes)
	case o.Dir == "" || o.Open == nil:
		return fmt.Errorf("%w: a member needs a directory and a host", consensus.ErrConfig)
	case o.Nodes > 1 && o.Advertise == "":
		return fmt.Errorf("%w: a member needs an address at which the others reach it", consensus.ErrConfig)
	}
	return nil
}

// peer is another node, as it has said lately.
type peer struct {
	info
	seen time.Time
}

// Member is this node's part in a cluster.
type Member struct {
	o      Options
	host   Host
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	opened chan struct{} // closed when host is there: others ask before
	formed chan struct{} // closed when the system group runs here
	poke   chan struct{} // the tables were changed here

	mu     sync.Mutex
	state  state
	known  addresses
	peers  map[consensus.NodeID]peer
	system consensus.Group
	table  *kv.Service
	stores map[string]*store // running groups, by name
	last   map[string]time.Time
	// groups that were found as the table has them, by name; of run alone
	settledAt map[string]asTable
	swept     time.Time // when data was looked for that nobody needs
	why       string    // what the member waits for
}

// Open opens the host and begins to look for others. Error: one of the host's,
// or consensus.ErrDamaged where what was promised can't be read.
func Open(o Options) (*Member, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s, err := readState(o.Dir)
	if err != nil {
		return nil, err
	}
	m := &Member{o: o, state: s, opened: make(chan struct{}), formed: make(chan struct{}), poke: make(chan struct{}, 1), known: addresses{}, peers: map[consensus.NodeID]peer{},
		stores: map[string]*store{}, last: map[string]time.Time{}, settledAt: map[string]asTable{}, why: "looking for others"}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for _, a := range o.Peers {
		m.known.add(a, true, time.Now())
	}
	for _, a := range s.Addrs {
		m.known.add(a, false, time.Now())
	}
	if m.host, err = o.Open(m.answer, m.resolve, m.vouch); err != nil {
		m.cancel()
		return nil, err
	}
	close(m.opened)
	m.work.Go(m.run)
	return m, nil
}

// Node is this node's id.
func (m *Member) Node() consensus.NodeID { return m.host.Node() }

// Host is what the replicas run on.
func (m *Member) Host() consensus.Host { return m.host }

// Formed is closed when this node is part of a cluster and has its tables.
func (m *Member) Formed() <-chan struct{} { return m.formed }

// Table is the store with the cluster's tables; nil before Formed.
func (m *Member) Table() *kv.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table
}

// State is how far a member has come.
type State struct {
	Addr    string // at which others reach it
	Formed  bool
	Cluster string // the cluster's id, where it is in one
	Waits   string // for what; "" for nothing
}

// State returns how far this node has come.
func (m *Member) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := State{Addr: m.o.Advertise, Formed: m.system != nil, Waits: m.why}
	if s.Formed {
		s.Cluster = m.state.Cluster
	}
	return s
}

// Introduce tells the member of addresses at which others may be. One at which
// nobody answers for ten minutes is forgotten, until it is told again.
func (m *Member) Introduce(addrs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hear(addrs...)
}

// hear notes addresses; mu is held.
func (m *Member) hear(addrs ...string) {
	for _, a := range addrs {
		if a != "" && a != m.o.Advertise {
			m.known.add(a, false, time.Now())
		}
	}
}

// Close stops all replicas.
func (m *Member) Close() error {
	m.cancel()
	err := m.host.Close()
	m.work.Wait()
	return err
}

// run meets others until there is a cluster, and then keeps its groups.
func (m *Member) run() {
	for m.ctx.Err() == nil {
		every := meetEvery
		m.meet()
		if err := m.advance(); err != nil {
			m.waits(err.Error())
		}
		if m.isFormed() {
			every = m.o.keepEvery
			m.keep()
		}
		select {
		case <-m.ctx.Done():
		case <-m.poke:
		case <-time.After(every):
		}
	}
}

// soon has this node look at the tables at once, since it has changed them; the
// others look when it is time.
func (m *Member) soon() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

func (m *Member) isFormed() bool {
	select {
	case <-m.formed:
		return true
	default:
		return false
	}
}

// waits notes what the member waits for, and logs it when it is news.
func (m *Member) waits(why string) {
	m.mu.Lock()
	news := m.why != why
	m.why = why
	m.mu.Unlock()
	if news {
		m.o.Logger.Info("raft: the cluster", "waits", why)
	}
}

// meet asks at the known addresses who is there.
func (m *Member) meet() {
	m.mu.Lock()
	addrs := m.known.due(time.Now())
	m.mu.Unlock()
	var all sync.WaitGroup
	for _, a := range addrs {
		if a == m.o.Advertise {
			continue
		}
		all.Go(func() {
			i, err := m.hello(a)
			m.mu.Lock()
			m.known.asked(a, err == nil, time.Now())
			m.mu.Unlock()
			if err != nil {
				m.o.Logger.Debug("raft: nobody of the cluster there", "addr", a, "err", err)
				return
			}
			m.met(i)
		})
	}
	all.Wait()
}

// met notes what another node has said, unless it has said something later
// that arrived before.
func (m *Member) met(i info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i.Node == m.host.Node() {
		return
	}
	if old, ok := m.peers[i.Node]; ok && i.Serial < old.Serial && time.Since(old.seen) < aliveFor {
		return
	}
	m.peers[i.Node] = peer{i, time.Now()}
	m.hear(append(i.Known, i.Addr)...)
}

// alive are the others that have answered lately.
func (m *Member) alive() map[consensus.NodeID]peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[consensus.NodeID]peer{}
	for id, p := range m.peers {
		if time.Since(p.seen) < aliveFor {
			all[id] = p
		}
	}
	return all
}

// resolve says where a node is: where it said so itself, or what was kept.
func (m *Member) resolve(_ context.Context, node consensus.NodeID) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.peers[node]; ok && p.Addr != "" {
		return p.Addr, nil
	}
	if a := m.state.Addrs[node]; a != "" {
		return a, nil
	}
	return "", fmt.Errorf("%w: nobody knows where node %s is", consensus.ErrNoGroup, node)
}

// errWaiting: there is no cluster yet; the text says what it takes.
var errWaiting = errors.New("waiting")
