package can

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// handshake is what two nodes agree on. Each side sends its hello and its
// routes, again and again until the other says ready; a link is open on a side
// that has both said and heard it. There are no roles, so two nodes may dial
// each other at once, and a microcontroller may say hello when it boots.
type handshake struct {
	session  uint16
	dialled  bool  // by this side: nobody need accept it
	peer     hello // valid if met
	met      bool
	routes   routes
	fd       bool
	said     bool // ready, at least once
	heard    bool // the peer's ready
	deadline int64
	retry    int64 // when to say hello again
	hails    int   // times that it was said
	strange  int   // hellos of another version that came instead of an answer

	// What is to be sent.
	helloDue bool
	probeDue bool // a hello of an older version, for nodes that answer no other
	routeDue int  // the next of our routes; own.count if none
	readyDue bool
}

// newConn begins a handshake; the caller holds the node's mutex.
func (n *Node) newConn(peer NodeID, dialled bool) (*Conn, error) {
	bells, err := newBells()
	if err != nil {
		return nil, err
	}
	c := &Conn{
		node: n, peer: peer, bells: bells,
		opened: make(chan struct{}), detached: make(chan struct{}),
		heard: n.now,
		handshake: handshake{
			session: uint16(1 + rand.IntN(1<<16-1)), dialled: dialled,
			deadline: n.now + int64(n.config.Dead), retry: n.now,
		},
	}
	h := &c.handshake
	h.routes.lower = n.config.Node < peer
	h.routes.own.set(n.config.Routes)
	h.routeDue = h.routes.own.count
	n.conns[peer] = c
	return c, nil
}

// probeEvery is after how many hellos without an answer the next one is followed
// by one of the oldest version.
const probeEvery = 4

// hail makes hello and routes due. A node of the oldest version would not answer,
// and look absent; so it is asked in its own words now and then, only to be named.
func (c *Conn) hail() {
	h := &c.handshake
	h.helloDue, h.routeDue = true, 0
	h.hails++
	h.probeDue = h.dialled && !h.met && h.hails%probeEvery == 0
	h.retry = c.node.now + int64(c.node.config.Dead)/retriesPerDead
}

// hello is this side's.
func (c *Conn) hello() hello {
	config := &c.node.config
	return hello{
		version: protocolVersion, fd: c.node.fd(), keeps: true, window: uint8(config.Window), maxPayload: uint16(config.MaxPayload),
		session: c.handshake.session, routes: uint8(len(config.Routes)), bits: maxEntriesBits,
		asks: c.stage == stageHello,
	}
}

// onHello takes a hello of a peer, with which there may be a link, a
// handshake, or nothing yet.
func (n *Node) onHello(from NodeID, w hello) {
	c := n.conns[from]
	if c != nil && c.handshake.met && c.handshake.peer.session != w.session {
		if h := &c.handshake; c.stage == stageHello && h.dialled {
			h.met, h.heard, h.said = false, false, false // the peer began again
		} else {
			c.fail(fmt.Errorf("%w: node %d began anew", link.ErrPeerGone, from))
			c = nil
		}
	}
	if c == nil {
		if c = n.admit(from, w.session); c == nil {
			return
		}
	}
	h := &c.handshake
	if h.met {
		if w.asks { // something of ours was lost
			h.readyDue = h.said
			if n.now >= h.retry {
				c.hail()
			}
		}
		return
	}
	h.met, h.peer = true, w
	h.routes.peer = part{count: int(w.routes)}
	if !w.keeps {
		h.routes.own, h.routeDue = part{}, 0
	}
	h.fd = w.fd && n.fd()
	if !h.dialled {
		c.hail()
	}
	c.consider()
}

// strangeHellos is how many hellos of another version end a handshake. One alone
// may be a probe of a node that speaks this version too, whose own hello was lost.
const strangeHellos = 2

// onStrangeHello takes a hello of another version, which may be for everyone: a
// device answers so. Who asks is told which version this side speaks.
func (n *Node) onStrangeHello(from NodeID, w hello, everyone bool) {
	n.stats.OtherVersion++
	c := n.conns[from]
	switch {
	case c == nil:
		if w.asks && !everyone {
			own := hello{version: protocolVersion, fd: n.fd(), keeps: true, window: uint8(n.config.Window),
				maxPayload: uint16(n.config.MaxPayload), session: 1, bits: maxEntriesBits}
			n.reply(from, opHello, own.put)
		}
	case c.stage == stageHello && c.handshake.dialled && !c.handshake.met:
		if c.handshake.strange++; c.handshake.strange >= strangeHellos {
			c.fail(fmt.Errorf("%w: node %d speaks version %d of the protocol, this side version %d; update the older one (a device: build it with the firmware/cell_can.h of this side's release)",
				ErrVersion, from, w.version, protocolVersion))
		}
	}
}

// admit begins the answering side of a handshake, or refuses it.
func (n *Node) admit(from NodeID, session uint16) *Conn {
	refuse := n.closing || n.config.Backlog < 0 || n.waiting >= n.config.Backlog
	var c *Conn
	if !refuse {
		var err error
		c, err = n.newConn(from, false)
		refuse = err != nil
	}
	if refuse {
		n.stats.Refused++
		n.answer(from, pair{reason: byeRefused, from: session})
		return nil
	}
	n.waiting++
	return c
}

// onRoute takes one of the peer's routes.
func (c *Conn) onRoute(place int, print uint64) {
	t := &c.handshake.routes.peer
	if c.stage != stageHello || !c.handshake.met || place >= t.count {
		return
	}
	t.prints[place] = print
	t.have |= 1 << place
	c.consider()
}

// onReady takes the peer's word that it has our hello and routes.
func (c *Conn) onReady(p pair) {
	h := &c.handshake
	if p.to != h.session || h.met && p.from != h.peer.session {
		return
	}
	h.heard = true
	c.consider()
}

// consider says ready, and opens the link, as soon as that can be.
func (c *Conn) consider() {
	h := &c.handshake
	if c.stage != stageHello || !h.met || !h.routes.peer.complete() {
		return
	}
	if !h.said {
		h.said, h.readyDue = true, true
	}
	if h.heard {
		c.open()
	}
}

// open prepares both halves.
func (c *Conn) open() {
	n, h := c.node, &c.handshake
	maxPayload := min(n.config.MaxPayload, int(h.peer.maxPayload))
	h.routes.settle()
	c.info = link.Info{
		Kind: "can", MaxPayload: maxPayload, Ordered: true, Reliable: true,
		Peer: link.Peer{Addr: fmt.Sprintf("node %d on %s", c.peer, n.bus.Info().Name)},
	}
	if !h.fd {
		c.info.Why = append(c.info.Why, n.whyClassic(h.peer.fd))
	}
	c.out = outgoing{
		store: newArena(storeSize(maxPayload), storePieces), maxPayload: maxPayload,
		kept: make([]Frame, min(n.config.Window, int(h.peer.window))), limit: uint16(h.peer.window),
		check:   crcInit,
		encoder: encoder{routes: &h.routes, to: c.peer, from: n.config.Node, fd: h.fd},
	}
	c.out.takenCheck = crcInit
	c.out.limit = min(c.out.limit, uint16(len(c.out.kept)))
	c.out.checks = make([]uint16, len(c.out.kept))
	c.in = incoming{
		store: newArena(storeSize(maxPayload), storePieces), frames: make([]Frame, n.config.Window),
		told: uint16(n.config.Window), check: crcInit,
		decoder: decoder{routes: &h.routes, fd: h.fd, maxPayload: maxPayload},
	}
	bits := min(h.peer.bits, maxEntriesBits)
	c.out.encoder.memory.reset(bits)
	c.in.decoder.memory.reset(bits)
	c.stage = stageOpen
	c.heard, c.nextBeat = n.now, n.now+int64(n.config.Heartbeat)
	c.in.tell = true // it tells the peer that this side is open, as ready does
	close(c.opened)
	if !h.dialled {
		select {
		case n.accepted <- c:
		default: // the backlog is bounded by waiting, so there is room
		}
	}
}

const storePieces = 256

// storeSize lets a link hold a whole vesicle while another one is put together,
// and many small ones.
func storeSize(maxPayload int) int {
	return max(8<<10, 2*(placeSize(maxPayload+maxPrefix+checkSize)))
}

func (n *Node) whyClassic(peerFD bool) string {
	switch {
	case n.config.Classic:
		return "classic frames: Config.Classic is set"
	case !n.bus.Info().FD:
		return "classic frames: the bus carries no FD frames (for SocketCAN: ip link set can0 mtu 72, and fd on)"
	}
	return "classic frames: the peer can't do FD"
}

// control writes a control frame to f.
func (c *Conn) control(f *Frame, priority uint8, op, argument uint16, put func(b []byte) int) {
	f.ID = MakeID(priority, ClassControl, c.peer, c.node.config.Node, op<<opShift|argument)
	f.Flags = 0
	f.Len = uint8(put(f.Data[:]))
	if c.stage != stageHello && c.handshake.fd {
		f.Flags = FlagFD | FlagBRS
	}
}

// putRoute writes one of our routes.
func (c *Conn) putRoute(f *Frame, i int) {
	c.control(f, helloPriority, opRoute, uint16(i), func(b []byte) int {
		binary.LittleEndian.PutUint64(b, c.handshake.routes.own.prints[i])
		return 8
	})
}

// helloPriority is that of flow control for ordinary vesicles.
var helloPriority = controlPriority(wire.Flags(0).Priority())
