package can

import (
	"encoding/binary"
	"fmt"

	"github.com/cell-runtime/cell/link"
)

// take handles one received frame.
func (n *Node) take(f *Frame) {
	if f.Lost > 0 {
		n.overran(uint64(f.Lost))
	}
	switch {
	case f.Flags&FlagError != 0:
		n.onBusError(f)
		return
	case f.Flags&(FlagStandard|FlagRemote) != 0 || !f.valid(true):
		n.stats.Foreign++
		return
	case f.ID.From() == n.config.Node:
		n.fail(fmt.Errorf("%w, %d: %v came from outside; give one of them another number", ErrDuplicate, n.config.Node, f))
		return
	case f.ID.To() != n.config.Node && !f.announces() || f.ID.From() > MaxNode:
		n.stats.Foreign++
		return
	}
	n.stats.Received.Add(f, n.info.Rates)
	if n.off && n.now-n.offSince >= int64(n.config.Heartbeat) {
		// A controller that is off hears nothing: it is back, and its word lost.
		n.stats.Restarts++
		n.rejoin()
	}
	if f.ID.Class() == ClassControl {
		n.onControl(f)
		return
	}
	c := n.conns[f.ID.From()]
	if c == nil || c.stage == stageHello {
		n.stats.Strays++
		return
	}
	c.heard = n.now
	before := c.in.whole
	if err := c.in.arrived(f); err != nil {
		c.breach(err)
	}
	c.arrived(before)
}

// announces reports whether f is a hello for everyone, by which nodes of other
// versions may name theirs.
func (f *Frame) announces() bool {
	return f.ID.To() == Everyone && f.ID.Class() == ClassControl && f.ID.Detail() == opHello<<opShift
}

// overran notes that frames for any of the links may be missing.
func (n *Node) overran(lost uint64) {
	n.stats.Lost += lost
	for _, c := range n.conns {
		if c != nil && c.stage != stageHello {
			c.in.lost()
		}
	}
}

// onControl handles a control frame. What it can't be is counted and dropped.
func (n *Node) onControl(f *Frame) {
	var (
		op    = f.ID.Detail() >> opShift
		arg   = f.ID.Detail() & argumentMask
		from  = f.ID.From()
		c     = n.conns[from]
		bytes = f.Bytes()
		known = false
	)
	switch {
	case op == opRoute:
		if known = len(bytes) == 8; known && c != nil {
			c.onRoute(int(arg), binary.LittleEndian.Uint64(bytes))
		}
	case arg != 0:
	case op == opHello:
		var w hello
		known = w.load(bytes)
		switch everyone := f.announces(); {
		case !known:
		case w.version != protocolVersion:
			n.onStrangeHello(from, w, everyone)
		case !everyone:
			n.onHello(from, w)
		}
	case op == opFlow:
		var w flow
		if known = w.load(bytes); known {
			n.onFlow(c, from, &w)
		}
	case op == opReady || op == opResume || op == opBye:
		var p pair
		if known = p.load(bytes); known {
			n.onPair(op, c, from, p)
		}
	}
	if !known {
		n.stats.Malformed++
		if c != nil {
			c.in.stats.Corrupt++
		}
	}
}

func (n *Node) onFlow(c *Conn, from NodeID, w *flow) {
	if c == nil || c.stage == stageHello || w.to != c.handshake.session {
		n.stats.Strays++
		n.answer(from, pair{reason: byeUnknown, from: w.to})
		return
	}
	c.heard = n.now
	before := c.out.taken
	if !c.out.flowed(w) {
		c.breach(errFlow)
		return
	}
	if c.out.taken != before {
		c.progress = n.now
	}
}

func (n *Node) onPair(op uint16, c *Conn, from NodeID, p pair) {
	switch {
	case op == opBye && (p.reason == byeUnknown || p.reason == byeRefused):
		c.onRefusal(p)
	case c == nil || p.to != c.handshake.session || p.from != c.handshake.peer.session && c.stage != stageHello:
		n.stats.Strays++
		if op == opBye && p.reason == byeClosed {
			n.answer(from, pair{reason: byeTaken, to: p.from, from: p.to})
		}
	case op == opReady:
		c.onReady(p)
	case c.stage == stageHello:
	case op == opResume:
		c.heard = n.now
		c.in.resumed(byte(p.value) &^ flowGap)
	default:
		c.onBye(p)
	}
}

// onRefusal takes a bye to a link that the peer does not have. It names only
// the session that it answers to.
func (c *Conn) onRefusal(p pair) {
	switch {
	case c == nil:
	case p.reason == byeRefused && c.stage == stageHello && p.from == c.handshake.session:
		c.fail(fmt.Errorf("%w: node %d", ErrRefused, c.peer))
	case p.reason == byeUnknown && c.stage != stageHello && p.from == c.handshake.peer.session:
		c.fail(fmt.Errorf("%w: node %d knows nothing of the link; it has restarted, or given it up", link.ErrPeerGone, c.peer))
	}
}

func (c *Conn) onBye(p pair) {
	switch p.reason {
	case byeClosed:
		c.node.answer(c.peer, c.pair(0, byeTaken))
		c.fail(fmt.Errorf("%w: node %d closed the link", link.ErrPeerGone, c.peer))
	case byeTaken:
		if c.stage == stageClosing {
			c.detach()
		}
	case byeBreach:
		c.fail(fmt.Errorf("%w: node %d closed the link because it found this side in breach of the protocol", link.ErrPeerGone, c.peer))
	default:
		c.node.stats.Malformed++
	}
}
