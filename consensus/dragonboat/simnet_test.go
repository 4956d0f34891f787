//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// simNet is a network within a process, of channels, so that time may be
// virtual. Nodes can be cut off.
type simNet struct {
	mu    sync.Mutex
	nodes map[string]*simTransport
	cut   map[string]bool
	sent  int // messages
}

func newSimNet() *simNet {
	return &simNet{nodes: make(map[string]*simTransport), cut: make(map[string]bool)}
}

// setCut takes a node off the network, or puts it back.
func (n *simNet) setCut(node string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[node] = cut
}

// sends returns how many messages nodes send each other in some time.
func (n *simNet) sends(in time.Duration) int {
	count := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.sent
	}
	before := count()
	time.Sleep(in)
	return count() - before
}

// reach returns the transport of a node, if one can talk to the other.
func (n *simNet) reach(from, to string) *simTransport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[from] || n.cut[to] {
		return nil
	}
	return n.nodes[to]
}

func (n *simNet) Validate(string) bool { return true }

func (n *simNet) Create(c config.NodeHostConfig, m raftio.MessageHandler, k raftio.ChunkHandler) raftio.ITransport {
	return &simTransport{net: n, node: c.RaftAddress, message: m, chunk: k, stop: make(chan struct{})}
}

type simTransport struct {
	net     *simNet
	node    string
	message raftio.MessageHandler
	chunk   raftio.ChunkHandler
	stop    chan struct{}
	running sync.WaitGroup
}

func (t *simTransport) Name() string { return "simulated" }

func (t *simTransport) Start() error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.net.nodes[t.node] = t
	return nil
}

func (t *simTransport) Close() error {
	t.net.mu.Lock()
	delete(t.net.nodes, t.node)
	t.net.mu.Unlock()
	close(t.stop)
	t.running.Wait()
	return nil
}

var errUnreachable = errors.New("unreachable")

// GetConnection does not fail, as that of [transport] does not.
func (t *simTransport) GetConnection(_ context.Context, to string) (raftio.IConnection, error) {
	return t.connect(to), nil
}

func (t *simTransport) GetSnapshotConnection(_ context.Context, to string) (raftio.ISnapshotConnection, error) {
	if t.net.reach(t.node, to) == nil {
		return nil, errUnreachable
	}
	return t.connect(to), nil
}

func (t *simTransport) connect(to string) *simConn {
	c := &simConn{t: t, to: to, queue: make(chan any, 256), closed: make(chan struct{})}
	t.running.Go(c.deliver)
	return c
}

// simConn is a connection: messages arrive in order, after a while, or never.
type simConn struct {
	t      *simTransport
	to     string
	queue  chan any
	once   sync.Once
	closed chan struct{}
}

func (c *simConn) Close() { c.once.Do(func() { close(c.closed) }) }

func (c *simConn) SendMessageBatch(m raftpb.MessageBatch) error {
	c.t.net.mu.Lock()
	c.t.net.sent += len(m.Requests)
	c.t.net.mu.Unlock()
	b, err := m.Marshal() // what arrives shares nothing with what was sent
	if err != nil {
		return err
	}
	var copied raftpb.MessageBatch
	if err := copied.Unmarshal(b); err != nil {
		return err
	}
	_ = c.send(copied) // or it is lost
	return nil
}

func (c *simConn) SendChunk(k raftpb.Chunk) error {
	b, err := k.Marshal()
	if err != nil {
		return err
	}
	var copied raftpb.Chunk
	if err := copied.Unmarshal(b); err != nil {
		return err
	}
	return c.send(copied)
}

func (c *simConn) send(what any) error {
	if c.t.net.reach(c.t.node, c.to) == nil {
		return errUnreachable
	}
	select {
	case c.queue <- what:
		return nil
	case <-c.closed:
	case <-c.t.stop:
	}
	return errUnreachable
}

func (c *simConn) deliver() {
	for {
		var what any
		select {
		case what = <-c.queue:
		case <-c.closed:
			return
		case <-c.t.stop:
			return
		}
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Microsecond)
		peer := c.t.net.reach(c.t.node, c.to)
		if peer == nil {
			continue // lost
		}
		switch m := what.(type) {
		case raftpb.MessageBatch:
			peer.message(m)
		case raftpb.Chunk:
			if !peer.chunk(m) {
				c.Close()
			}
		}
	}
}
