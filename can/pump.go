package can

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
)

var errFlow = errors.New("flow control that contradicts what was sent: frames were mixed up unnoticed")

// answer is a control frame for a node with which there is no link.
type answer struct {
	to   NodeID
	op   uint16
	data [ClassicData]byte
}

// maxAnswers bounds what is queued on the demand of others; they ask again.
const maxAnswers = 16

// answer queues a bye.
func (n *Node) answer(to NodeID, p pair) { n.reply(to, opBye, p.put) }

// reply queues a control frame.
func (n *Node) reply(to NodeID, op uint16, put func(b []byte) int) {
	if len(n.answers) < maxAnswers {
		a := answer{to: to, op: op}
		put(a.data[:])
		n.answers = append(n.answers, a)
	}
}

// push sends what can be sent, for others than the node's goroutine: that one
// has to be woken where it must go on.
func (n *Node) push() {
	if !n.pump() {
		n.bus.Wake()
	}
}

// pump gives frames to the controller, the most urgent first, until it has no
// room (false) or there are none (true). Only one frame has been chosen before
// there is room for it, so an urgent vesicle waits for at most that one and what
// the controller holds.
func (n *Node) pump() bool {
	for n.err == nil && !n.off {
		if !n.txHeld && !n.choose() {
			return true
		}
		switch err := n.bus.Send(&n.tx); {
		case err == nil:
			n.txHeld = false
			n.stats.Sent.Add(&n.tx, n.info.Rates)
		case errors.Is(err, link.ErrFull):
			n.txHeld = true
			n.stats.Full++
			return false
		default:
			n.fail(fmt.Errorf("can: sending on %s: %w", n.info.Name, err))
		}
	}
	return true
}

// none is less urgent than any priority.
const none = 8

// choose puts the most urgent frame into tx. Among equals the links take
// turns.
func (n *Node) choose() bool {
	if k := len(n.answers); k > 0 {
		a := n.answers[0]
		n.answers = n.answers[:copy(n.answers, n.answers[1:])]
		n.tx.ID = MakeID(helloPriority, ClassControl, a.to, n.config.Node, a.op<<opShift)
		n.tx.Flags, n.tx.Len = 0, uint8(copy(n.tx.Data[:], a.data[:]))
		return true
	}
	best, what, at := uint8(none), chore(nil), 0
	for i := range n.conns {
		k := (n.turn + 1 + i) % len(n.conns)
		c := n.conns[k]
		if c == nil {
			continue
		}
		if p, w := c.want(); p < best {
			best, what, at = p, w, k
		}
	}
	if best == none {
		return false
	}
	n.turn = at
	what(n.conns[at], &n.tx)
	return true
}

// chore writes one frame that is due.
type chore func(c *Conn, f *Frame)

// want returns the most urgent frame that a link has to send, and its
// priority, which is none if there is no such frame.
func (c *Conn) want() (uint8, chore) {
	h := &c.handshake
	switch {
	case h.helloDue:
		return helloPriority, (*Conn).sendHello
	case h.routeDue < h.routes.own.count:
		return helloPriority, (*Conn).sendRoute
	case h.readyDue:
		return helloPriority, (*Conn).sendReady
	case h.probeDue:
		return helloPriority, (*Conn).sendProbe
	case c.stage == stageHello:
		return none, nil
	case c.in.due():
		return controlPriority(c.in.urgency), (*Conn).sendFlow
	case c.out.resume:
		return c.dataPriority() - 1, (*Conn).sendResume
	case c.out.ready():
		return c.dataPriority(), (*Conn).sendData
	case c.stage == stageClosing && c.byeAt <= c.node.now && c.out.idle():
		return helloPriority, (*Conn).sendBye
	}
	return none, nil
}

func (c *Conn) dataPriority() uint8 {
	if !c.out.waiting() {
		return helloPriority + 1
	}
	return c.out.priority().Priority()
}

func (c *Conn) sendHello(f *Frame) {
	c.handshake.helloDue = false
	w := c.hello()
	c.control(f, helloPriority, opHello, 0, w.put)
}

func (c *Conn) sendRoute(f *Frame) {
	c.putRoute(f, c.handshake.routeDue)
	c.handshake.routeDue++
}

func (c *Conn) sendProbe(f *Frame) {
	c.handshake.probeDue = false
	w := c.hello()
	w.version = oldestVersion
	c.control(f, helloPriority, opHello, 0, w.put)
}

func (c *Conn) sendReady(f *Frame) {
	c.handshake.readyDue = false
	p := c.pair(0, 0)
	c.control(f, helloPriority, opReady, 0, p.put)
}

func (c *Conn) sendFlow(f *Frame) {
	w := c.in.flow(c.handshake.peer.session)
	c.control(f, controlPriority(c.in.urgency), opFlow, 0, w.put)
	c.nextBeat = c.node.now + int64(c.node.config.Heartbeat)
}

func (c *Conn) sendResume(f *Frame) {
	c.out.resume = false
	p := c.pair(uint16(c.out.round), 0)
	c.control(f, c.dataPriority()-1, opResume, 0, p.put)
}

func (c *Conn) sendData(f *Frame) {
	*f = *c.out.next()
	c.spacious()
}

func (c *Conn) sendBye(f *Frame) {
	c.byeAt = c.node.now + int64(c.node.config.Heartbeat)
	p := c.pair(c.out.made, byeClosed)
	c.control(f, helloPriority, opBye, 0, p.put)
}

// tick does what is due by time and returns when it must be called next.
func (n *Node) tick() int64 {
	next := n.now + int64(n.config.Heartbeat)
	if n.restart != 0 {
		if n.now >= n.restart {
			n.revive()
		}
		next = min(next, max(n.restart, n.now+1))
	}
	for _, c := range n.conns {
		if c != nil {
			next = min(next, c.tick())
		}
	}
	return next
}

func (c *Conn) tick() int64 {
	n, h := c.node, &c.handshake
	dead := int64(n.config.Dead)
	switch c.stage {
	case stageHello:
		if !h.dialled && n.now >= h.deadline {
			c.fail(fmt.Errorf("%w from node %d within %v of its hello", ErrNoAnswer, c.peer, n.config.Dead))
			return n.now + dead
		}
		if n.now >= h.retry {
			c.hail()
		}
		return h.retry
	case stageClosing:
		if c.out.idle() {
			dead = 2 * int64(n.config.Heartbeat) // nothing is at stake but a goodbye
		}
		if n.now-c.progress >= dead || n.now-c.heard >= int64(n.config.Dead) {
			c.detach()
			return n.now + dead
		}
	case stageOpen:
		if n.now-c.heard >= dead {
			c.fail(fmt.Errorf("%w: nothing was heard of node %d for %v", link.ErrPeerGone, c.peer, n.config.Dead))
			return n.now + dead
		}
	}
	if n.now >= c.nextBeat {
		c.in.tell = true
		c.nextBeat = n.now + int64(n.config.Heartbeat)
	}
	next := min(c.nextBeat, c.heard+dead)
	if c.stage == stageClosing {
		next = min(next, max(c.byeAt, n.now+1), c.progress+dead)
	}
	return next
}
