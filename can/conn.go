package can

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Conn is a link with one other node. It is a [link.Link]: the rules of that
// package say who may call what. All of its state is guarded by the node's
// mutex; a bus carries some ten thousand frames a second, so that is no
// bottleneck.
type Conn struct {
	node *Node
	peer NodeID

	handshake handshake
	stage     stage
	cause     error // why the link ended by other than this side's wish
	out       outgoing
	in        incoming

	heard    int64 // when a frame of the peer arrived last
	progress int64 // when a closing link got rid of something last
	byeAt    int64 // when to say bye, once everything is sent
	nextBeat int64 // when to send flow even if there is nothing new

	closed   bool   // Close was called: descriptors are gone
	silence  uint32 // polls that brought nothing; the receiver's own
	shut     atomic.Bool
	news     atomic.Bool   // Poll has something to say
	opened   chan struct{} // closed when the handshake is over, either way
	detached chan struct{} // closed when the node has forgotten the link
	bells    [2]bell
	info     link.Info
}

// stage is how far a link is.
type stage uint8

const (
	stageHello   stage = iota // shaking hands
	stageOpen                 //
	stageClosing              // shut down, but what was flushed is under way
	stageEnded                // nothing more is sent or taken
)

// silentPolls is after how many polls in vain a receiver yields.
const silentPolls = 64

var _ link.Link = (*Conn)(nil)

// Peer returns the number of the other node.
func (c *Conn) Peer() NodeID { return c.peer }

// failed returns why a sender, or a receiver with nothing left to poll, gets
// no further.
func (c *Conn) failed() error {
	if c.shut.Load() {
		return link.ErrClosed
	}
	return c.cause
}

// Claim implements link.Sender.
func (c *Conn) Claim(out []wire.Vesicle, size int) (int, error) {
	if uint(size) > uint(c.info.MaxPayload) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d on this link", link.ErrTooLarge, size, c.info.MaxPayload)
	}
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if err := c.failed(); err != nil {
		return 0, err
	}
	n := c.out.claim(out, size)
	if n == 0 && len(out) > 0 {
		c.out.stats.Full++
		return 0, link.ErrFull
	}
	return n, nil
}

// Commit implements link.Sender.
func (c *Conn) Commit(vs []wire.Vesicle) error {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if !c.out.commit(vs) {
		return fmt.Errorf("%w: %d to commit, or other places than the oldest that were claimed", link.ErrOrder, len(vs))
	}
	return nil
}

// Abort implements link.Sender.
func (c *Conn) Abort() {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	c.out.abort()
}

// Flush implements link.Sender. It never says link.ErrFull: what is published
// travels as the bus and the peer permit, without further calls, as long as the
// process lives. Claim says ErrFull when the link holds too much of it.
func (c *Conn) Flush() error {
	c.node.lock()
	defer c.node.mu.Unlock()
	if err := c.failed(); err != nil {
		return err
	}
	c.out.publish()
	c.node.push()
	return c.failed()
}

// SendStats implements link.Sender.
func (c *Conn) SendStats() link.Stats {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.out.stats
}

// Poll implements link.Receiver.
func (c *Conn) Poll(in []wire.Vesicle) (int, error) {
	if !c.news.Load() || len(in) == 0 {
		// Whoever spins must leave the node's goroutine a turn where there are
		// no more processors than spinners.
		if c.silence++; c.silence%silentPolls == 0 {
			runtime.Gosched()
		}
		return 0, nil
	}
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.shut.Load() {
		return 0, link.ErrClosed
	}
	n := c.in.poll(in)
	if n == 0 && c.cause != nil && (c.in.held == 0 || c.in.polled == 0) {
		return 0, c.cause // what is held is a part of a vesicle at most
	}
	c.renew()
	return n, nil
}

// renew notes whether Poll has something to say.
func (c *Conn) renew() { c.news.Store(c.in.whole > 0 || c.cause != nil || c.shut.Load()) }

// Release implements link.Receiver.
func (c *Conn) Release(n int) error {
	c.node.lock()
	defer c.node.mu.Unlock()
	if n < 0 || n > c.in.polled {
		return fmt.Errorf("%w: %d to release, %d polled", link.ErrOrder, n, c.in.polled)
	}
	if n == 0 {
		return nil
	}
	before := c.in.whole
	if err := c.in.release(n); err != nil {
		c.breach(err)
	}
	c.arrived(before)
	if c.stage == stageOpen && c.in.due() {
		c.node.push()
	}
	return nil
}

// ReceiveStats implements link.Receiver.
func (c *Conn) ReceiveStats() link.Stats {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.in.stats
}

// Info implements link.Link. Kind is "can".
func (c *Conn) Info() link.Info { return c.info }

// FD reports whether the link uses FD frames.
func (c *Conn) FD() bool { return c.handshake.fd }

// CheckPeer implements link.Link. It makes no system call: the node keeps
// watch.
func (c *Conn) CheckPeer() error {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.failed()
}

// Shutdown implements link.Link. What was flushed before still travels.
func (c *Conn) Shutdown() {
	c.node.lock()
	defer c.node.mu.Unlock()
	c.shutdown()
}

func (c *Conn) shutdown() {
	if c.shut.Swap(true) {
		return
	}
	switch c.stage {
	case stageHello:
		c.detach()
	case stageOpen:
		c.stage = stageClosing
		c.in.drop() // or two that close would wait for each other
		c.progress, c.byeAt = c.node.now, c.node.now
		c.node.push()
	}
	c.renew()
	c.ringAll()
}

// Close implements link.Link. The node sends on what was flushed, for at most
// Config.Dead without progress.
func (c *Conn) Close() error {
	c.node.lock()
	defer c.node.mu.Unlock()
	c.shutdown()
	if c.closed {
		return nil
	}
	return c.closeBells()
}

func (c *Conn) closeBells() error {
	c.closed = true
	var err error
	for i := range c.bells {
		if e := unix.Close(c.bells[i].fd); e != nil && err == nil {
			err = fmt.Errorf("can: closing an eventfd: %w", e)
		}
		c.bells[i].fd = -1
	}
	return err
}

// fail ends the link by other than this side's wish, and the node forgets it.
func (c *Conn) fail(why error) {
	if c.stage == stageEnded {
		return
	}
	if c.cause == nil {
		c.cause = why
	}
	c.detach()
	c.renew()
	c.ringAll()
}

// breach ends the link because the peer broke the protocol, and tells it.
func (c *Conn) breach(why error) {
	if c.stage == stageEnded {
		return
	}
	c.in.stats.Corrupt++
	c.node.answer(c.peer, c.pair(0, byeBreach))
	c.fail(fmt.Errorf("%w: node %d sent %w", link.ErrCorrupt, c.peer, why))
}

// detach makes the node forget the link.
func (c *Conn) detach() {
	if c.stage == stageHello && !c.handshake.dialled {
		c.node.waiting--
		_ = c.closeBells() // nobody has seen this link
	}
	c.stage = stageEnded
	if c.node.conns[c.peer] == c {
		c.node.conns[c.peer] = nil
	}
	select {
	case <-c.opened:
	default:
		close(c.opened)
	}
	close(c.detached)
}

// pair is a control frame of this link.
func (c *Conn) pair(value, reason uint16) pair {
	return pair{value: value, reason: reason, to: c.handshake.peer.session, from: c.handshake.session}
}
