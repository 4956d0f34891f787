package afxdp

import (
	"net/netip"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// incoming is the receiving half. It numbers datagrams as the peer does in
// reliable mode, and as they come without it:
//
//	released ≤ polling ≤ next
//	 │          │         └ the first that is missing
//	 │          └ the one whose vesicles Poll hands out now
//	 └ the oldest of which something is held
type incoming struct {
	slots                   []inSlot
	released, polling, next uint64
	rest                    []byte // of the datagram polling
	expected                uint32 // without reliable mode: the peer's next number

	arrived int64  // when the datagram came of the last vesicle that was polled; 0: not known
	due     bool   // the peer is to be told what is here
	granted uint64 // the peer knows of places up to here

	batch [receiveBatch]inFrame
	count link.Stats
}

const receiveBatch = 64

type inSlot struct {
	frame inFrame
	here  bool
	held  int // vesicles that are polled and not released
}

// report says what reliable mode tells the peer.
func (in *incoming) report(window uint64) (next, limit uint32, here uint64) {
	end := in.released + window
	for s := in.next + 1; s < end && s-in.next-1 < 64; s++ {
		if in.slots[s%window].here {
			here |= 1 << (s - in.next - 1)
		}
	}
	in.granted = end
	return uint32(in.next), uint32(end), here
}

func (in *incoming) told() { in.due = false }

// service reads what has arrived and does what follows from it.
func (c *Conn) service() { c.serve(false) }

// serve is service; with enough it stops once there is something to hand out,
// before more than the cache holds is read.
func (c *Conn) serve(enough bool) {
	for c.gone == nil && !(enough && c.in.polling < c.in.next) {
		most := len(c.in.batch)
		if !c.reliable {
			most = int(min(uint64(most), c.in.released+c.window-c.in.next))
		}
		if most == 0 {
			break
		}
		n, err := c.medium.receive(c.in.batch[:most])
		for _, f := range c.in.batch[:n] {
			if !c.take(f) {
				c.medium.recycle(f)
			}
		}
		if err != nil {
			c.mediumFailed(err)
		}
		if n == 0 && c.refused {
			c.end(link.ErrPeerGone)
		}
		if n < most && !c.refused {
			break
		}
	}
	if c.reliable && c.gone == nil && c.out.again.lost > 0 {
		c.transmit()
	}
	c.notify()
}

// take handles one datagram and reports whether it keeps its memory.
func (c *Conn) take(f inFrame) (kept bool) {
	h, err := getHead(f.buf)
	if err != nil {
		c.stats.Malformed++
		return false
	}
	if h.kind == typeHello {
		c.takeHello(&h, f.buf)
		return false
	}
	if h.session != c.peer || h.peer != c.session {
		c.stats.Stray++
		return false
	}
	c.heard++
	if c.reliable {
		c.acknowledged(&h)
	}
	switch h.kind {
	case typeData:
		return c.takeData(&h, f)
	case typeAsk:
		c.say(typeAck)
	case typeBye:
		c.end(link.ErrPeerGone)
	}
	return false
}

// takeHello answers a peer that has not understood yet that it was heard. One
// of another session has started anew, if it is the peer: who can only send by
// its address can't know the cookie.
func (c *Conn) takeHello(h *head, b []byte) {
	theirs := getHello(b)
	now := c.now()
	switch {
	case theirs.challenge: // came late
	case h.session == c.peer:
		c.heard++
		if theirs.ask {
			c.sayHello()
		}
	case h.here != 0 && c.cookies.is(time.Now(), h.here, netip.AddrPort{}, h.session):
		c.end(link.ErrPeerGone)
	case theirs.ask && now-c.challenged >= challengePace:
		c.challenged = now
		cookie := c.cookies.of(time.Now(), netip.AddrPort{}, h.session)
		b := helloDatagram(c.session, h.session, cookie, hello{reliable: c.reliable, challenge: true, datagram: uint32(c.datagram)})
		if err := c.medium.control(b[:]); err != nil {
			c.mediumFailed(err)
		}
	}
}

// challengePace bounds what strangers at the peer's address are answered.
const challengePace = time.Millisecond

func (c *Conn) takeData(h *head, f inFrame) (kept bool) {
	in := &c.in
	if len(f.buf) > c.datagram || checkRecords(f.buf[headSize:]) != nil {
		c.stats.Malformed++
		return false
	}
	if !c.reliable {
		if ahead := int32(h.sequence - in.expected); ahead >= 0 {
			c.stats.Lost += uint64(ahead)
			in.expected = h.sequence + 1
		} else {
			c.stats.Late++
		}
		in.slots[in.next%c.window] = inSlot{frame: f}
		in.next++
		return true
	}
	in.due = true
	s := unwrap(in.next, h.sequence)
	slot := &in.slots[s%c.window]
	switch {
	case s < in.next || s < in.released+c.window && slot.here:
		c.stats.Repeated++
		return false
	case s >= in.released+c.window:
		c.stats.Overrun++
		return false
	}
	*slot = inSlot{frame: f, here: true}
	for in.next < in.released+c.window && in.slots[in.next%c.window].here {
		in.next++
	}
	return true
}

func (c *Conn) poll(in []wire.Vesicle) (n int, err error) {
	if c.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	if c.in.polling == c.in.next && c.gone == nil {
		c.tell()
		c.serve(true)
	}
	n = c.handOut(in)
	if n == 0 && (len(in) > 0 || c.gone != nil) && c.in.polling == c.in.next {
		return 0, c.gone
	}
	return n, nil
}

// tell sends the acknowledgement that no other datagram has carried.
func (c *Conn) tell() {
	if c.in.due && c.gone == nil {
		c.say(typeAck)
	}
}

func (c *Conn) handOut(vs []wire.Vesicle) (n int) {
	in := &c.in
	for n < len(vs) && in.polling < in.next {
		slot := &in.slots[in.polling%c.window]
		if in.rest == nil {
			in.rest = slot.frame.buf[headSize:]
		}
		in.rest = nextRecord(in.rest, &vs[n])
		in.count.Bytes += uint64(len(vs[n].Payload))
		slot.held++
		in.arrived = slot.frame.at
		n++
		if len(in.rest) == 0 {
			in.rest = nil
			in.polling++
		}
	}
	in.count.Vesicles += uint64(n)
	c.held += n
	if in.due && n > 0 {
		c.attend()
	}
	return n
}

func (c *Conn) release(n int) error {
	in := &c.in
	if c.state.Load() == stateClosed {
		return link.ErrClosed
	}
	if uint(n) > uint(c.held) {
		return link.ErrOrder
	}
	if n == 0 {
		return nil
	}
	c.held -= n
	for n > 0 {
		slot := &in.slots[in.released%c.window]
		k := min(n, slot.held)
		slot.held -= k
		n -= k
		if slot.held == 0 && in.released < in.polling {
			c.medium.recycle(slot.frame)
			*slot = inSlot{}
			in.released++
		}
	}
	in.count.Flushes++
	// The peer is told of new room when it had little and now has much.
	if half := c.window / 2; c.reliable && in.granted-in.next <= half && in.released+c.window-in.granted >= half && c.failed() == nil {
		c.say(typeAck)
	}
	return nil
}
