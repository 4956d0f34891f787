//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

// redialPause is between two attempts to reach a node, for which messages to it
// are lost. dragonboat itself, told that a node can't be reached, does not try
// for 0.25 to 1.5 s: a node that has come back has no vote for so long, and where
// the leader dies meanwhile, nobody can be elected.
const redialPause = 50 * time.Millisecond

// redialed carries messages to a node while it can be reached, and loses them
// while it can't, which Raft is made for.
type redialed struct {
	t      *transport
	ctx    context.Context // dragonboat's: it ends before the transport is closed
	target string

	mu    sync.Mutex          // dragonboat sends, and the timer does
	w     *frameWriter        // nil: not connected
	ended *atomic.Bool        // of w: the other end is no more
	next  time.Time           // when to dial again
	down  bool                // it was said that the node can't be reached
	held  raftpb.MessageBatch // what waits a little; see [redialed.hold]
	timer *time.Timer         // of the first that waits
}

var _ raftio.IConnection = (*redialed)(nil)

// Close implements raftio.IConnection. Nothing is sent afterwards.
func (r *redialed) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	r.held.Requests = nil
	r.disconnect()
}

func (r *redialed) disconnect() {
	if r.w != nil {
		r.w.Close()
		r.w = nil
	}
}

// SendMessageBatch implements raftio.IConnection. The error is for a transport
// that was closed.
func (r *redialed) SendMessageBatch(b raftpb.MessageBatch) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hold(&b) {
		r.send(b)
	}
	return nil
}

// send sends a batch, and before it what was held back. The caller has r.mu.
func (r *redialed) send(b raftpb.MessageBatch) {
	b = r.taken(b)
	if r.w != nil && r.ended.Load() {
		r.disconnect()
	}
	if r.w == nil && !r.dial() {
		return
	}
	if err := r.w.SendMessageBatch(b); err != nil {
		r.say(err)
		r.disconnect()
		r.next = time.Now().Add(redialPause)
	}
}

// dial connects, unless it was tried just now.
func (r *redialed) dial() bool {
	if time.Now().Before(r.next) {
		return false
	}
	c, err := r.t.dial(r.ctx, r.target, kindMessages)
	if err != nil {
		r.say(err)
		r.next = time.Now().Add(redialPause)
		return false
	}
	if r.down {
		r.down = false
		r.t.o.Logger.Info("raft: a node is reached again", "node", r.target)
	}
	r.w, r.ended = &frameWriter{c: c}, new(atomic.Bool)
	r.t.watch(c, r.target, r.ended)
	r.t.beatTo(r.target)
	return true
}

// say says once that the node can't be reached.
func (r *redialed) say(err error) {
	if !r.down && r.ctx.Err() == nil {
		r.down = true
		r.t.o.Logger.Warn("raft: a node can't be reached; it is tried again", "node", r.target, "error", err)
	}
}

// watch waits for the end of a connection on which nothing is ever received.
func (t *transport) watch(c net.Conn, target string, ended *atomic.Bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return
	}
	t.serving.Go(func() {
		_, err := io.Copy(io.Discard, c)
		ended.Store(true)
		if errors.Is(err, net.ErrClosed) || t.o.gone == nil { // it was this side
			return
		}
		t.mu.Lock()
		again := t.ending[target]
		t.ending[target] = true
		t.mu.Unlock()
		if again { // the end of another connection to it is being looked into
			return
		}
		if t.refuses(target) {
			t.o.gone(t, consensus.NodeID(target))
		}
		t.mu.Lock()
		delete(t.ending, target)
		t.mu.Unlock()
	})
}

// refuses reports whether nobody listens at a node's address, though its host
// answers: its process has ended.
func (t *transport) refuses(target string) bool {
	ctx, cancel := context.WithTimeout(t.ctx, connectTime)
	defer cancel()
	addr, err := t.o.Resolve(ctx, consensus.NodeID(target))
	if err != nil {
		return false
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
