//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

const (
	// handshakeTime bounds TLS and the preface, and dialling.
	handshakeTime = 3 * time.Second
	// connectTime bounds the first step of dialling: a host that does not answer
	// is asked anew, rather than as rarely as the kernel would.
	connectTime = time.Second
	// writeTime bounds one message: a peer that takes longer is gone.
	writeTime = 10 * time.Second
	// silence is how long the kernel waits for what was sent to be confirmed
	// before it ends a connection (TCP_USER_TIMEOUT, tcp(7)). Otherwise the
	// first message after a long partition comes as late as the kernel's
	// backoff has grown.
	silence = 2 * time.Second
	// maxPeers bounds accepted connections; each member has a handful.
	maxPeers = 1024
	// maxStrangers bounds those of one address that have not proven yet who
	// they are, so that no stranger takes all the others' places.
	maxStrangers = 64
	// readBuffer is of each connection: small frames come in one read.
	readBuffer = 16 << 10
)

// transports makes the transport of a host; see [config.TransportFactory].
type transports struct{ o *Options }

func (f transports) Create(c config.NodeHostConfig, message raftio.MessageHandler, chunk raftio.ChunkHandler) raftio.ITransport {
	ctx, cancel := context.WithCancel(context.Background())
	t := &transport{o: f.o, message: message, chunk: chunk, deployment: c.GetDeploymentID(),
		ctx: ctx, cancel: cancel, conns: make(map[net.Conn]string), ending: make(map[string]bool), beating: make(map[string]bool)}
	if f.o.roster != nil {
		f.o.roster.ask, f.o.roster.beside = t.askAbout, t.beside
	}
	return t
}

func (f transports) Validate(node string) bool { return validNode(node) }

// transport carries messages between the nodes over TCP, in TLS unless
// Insecure is set. Nodes are addressed by their ids.
type transport struct {
	o       *Options
	message raftio.MessageHandler
	chunk   raftio.ChunkHandler

	deployment uint64 // of dragonboat's messages

	ctx      context.Context
	cancel   context.CancelFunc
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]string // accepted; from which address, until it is known who it is
	ending  map[string]bool     // nodes that a connection ended to, see watch
	beating map[string]bool     // nodes that are told that this one lives
}

func (t *transport) Name() string { return "cell-tcp" }

func (t *transport) Start() error {
	l, err := net.Listen("tcp", t.o.Listen)
	if err != nil {
		return fmt.Errorf("%w: listening for the other members: %w", consensus.ErrConfig, err)
	}
	t.listener = l
	t.serving.Go(t.accept)
	return nil
}

func (t *transport) Close() error {
	t.cancel()
	var err error
	if t.listener != nil {
		err = t.listener.Close()
	}
	t.mu.Lock()
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.serving.Wait()
	return err
}

func (t *transport) accept() {
	for {
		c, err := t.listener.Accept()
		if t.ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil { // out of descriptors, say: others may come free
			t.o.Logger.Warn("raft: accepting a connection", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if !t.admit(c) {
			c.Close()
			continue
		}
		t.serving.Go(func() {
			defer t.leave(c)
			err := t.serve(c)
			if err != nil && !errors.Is(err, io.EOF) && t.ctx.Err() == nil {
				t.o.Logger.Warn("raft: a connection ended", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

func (t *transport) admit(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || len(t.conns) >= maxPeers {
		return false
	}
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return false
	}
	strangers := 0
	for _, from := range t.conns {
		if from == host {
			strangers++
		}
	}
	if strangers >= maxStrangers {
		return false
	}
	t.conns[c] = host
	return true
}

// known notes that a connection's other end has proven who it is.
func (t *transport) known(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.conns[c]; ok {
		t.conns[c] = ""
	}
}

func (t *transport) leave(c net.Conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	c.Close()
}

// serve reads what a peer sends until the connection ends.
func (t *transport) serve(raw net.Conn) error {
	if err := raw.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	c, proven, err := t.secureServer(raw)
	if err != nil {
		return err
	}
	p, err := readPreface(c)
	if err != nil {
		return err
	}
	switch {
	case p.to != string(t.o.Node):
		return fmt.Errorf("a message for node %s reached %s: an address is wrong somewhere", p.to, t.o.Node)
	case proven != "" && p.from != string(proven):
		return fmt.Errorf("node %s says that it is %s", proven, p.from)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	t.known(raw)
	switch p.kind {
	case kindQuestion:
		return t.answer(c, consensus.NodeID(p.from))
	case kindBeats:
		return t.hearBeats(c, p.from)
	case kindInquiry:
		return t.answerInquiry(c)
	}
	f := newFrameReader(bufio.NewReaderSize(c, readBuffer))
	for t.ctx.Err() == nil {
		switch p.kind {
		case kindSnapshot:
			err = f.receiveChunk(p.from, t.o.roster, t.chunk)
		default:
			err = f.receiveBatch(p.from, t.deliver)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver passes on messages of a node, if it may say that. dragonboat notes which
// node each replica is on, and panics, before it does anything else, where another
// one sends in a replica's name: two members may have changed places meanwhile.
func (t *transport) deliver(m raftpb.MessageBatch) (err error) {
	if err := t.o.roster.admit(&m); err != nil || len(m.Requests) == 0 {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			if text, ok := r.(string); !ok || !strings.Contains(text, "inconsistent target") {
				panic(r)
			}
			err = fmt.Errorf("%w: node %s sends messages of another node's replica", errFrame, m.SourceAddress)
		}
	}()
	t.message(m)
	return nil
}

// beside runs something until the transport is closed, if it isn't yet.
func (t *transport) beside(f func(ctx context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return false
	}
	t.serving.Go(func() { f(t.ctx) })
	return true
}

func (t *transport) secureServer(raw net.Conn) (net.Conn, consensus.NodeID, error) {
	if t.o.Security == nil {
		return raw, "", nil
	}
	c := tls.Server(raw, t.o.Security.Server())
	if err := c.HandshakeContext(t.ctx); err != nil {
		return nil, "", err
	}
	id, err := t.o.Security.Peer(c.ConnectionState())
	return c, id, err
}

// dial opens a connection for messages or for a snapshot.
func (t *transport) dial(ctx context.Context, target string, kind byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	addr, err := t.o.Resolve(ctx, consensus.NodeID(target))
	if err != nil {
		return nil, fmt.Errorf("where is node %s: %w", target, err)
	}
	d := net.Dialer{Control: tune, Timeout: connectTime}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := raw
	if s := t.o.Security; s != nil {
		c, err = secureClient(ctx, raw, s, consensus.NodeID(target))
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Now().Add(handshakeTime))
	}
	if err == nil {
		_, err = c.Write(preface{kind: kind, from: string(t.o.Node), to: target}.append(nil))
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

func secureClient(ctx context.Context, raw net.Conn, s Security, target consensus.NodeID) (net.Conn, error) {
	config, err := s.Client(target)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	id, err := s.Peer(c.ConnectionState())
	if err == nil && id != target {
		err = fmt.Errorf("%s is node %s, not %s", raw.RemoteAddr(), id, target)
	}
	return c, err
}

// GetConnection does not fail where the target can't be reached now: see [redialed].
func (t *transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	return &redialed{t: t, ctx: ctx, target: target}, ctx.Err()
}

func (t *transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	c, err := t.dial(ctx, target, kindSnapshot)
	if err != nil {
		return nil, err
	}
	return &frameWriter{c: c}, nil
}
