package afxdp

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// outgoing is the sending half. Datagrams are numbered from 0:
//
//	base ≤ sent ≤ next
//	 │      │      └ the next that is sealed
//	 │      └ the next that has not been sent
//	 └ the oldest that is kept: in reliable mode the peer may lack it
type outgoing struct {
	pack             packer
	slots            []*outFrame // by number modulo the window
	base, sent, next uint64
	blocked          bool // the medium took less than it was given
	again            window
	batch            [sendBatch]*outFrame
	numbers          [sendBatch]uint64

	count link.Stats
}

const sendBatch = 128

// claim implements link.Sender.
func (c *Conn) claim(out []wire.Vesicle, size int) (n int, err error) {
	o := &c.out
	if uint(size) > uint(c.info.MaxPayload) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", link.ErrTooLarge, size, c.info.MaxPayload)
	}
	if err := c.failed(); err != nil {
		return 0, err
	}
	for n < len(out) && c.place(size) {
		out[n].Payload = o.pack.take(size)
		n++
	}
	if n == 0 && len(out) > 0 {
		c.makeRoom()
		if err := c.failed(); err != nil {
			return 0, err
		}
		if !c.place(size) {
			o.count.Full++
			return 0, link.ErrFull
		}
		out[0].Payload = o.pack.take(size)
		n = 1
	}
	return n, nil
}

// makeRoom sees to what may be in the way of a claim: datagrams that are sealed
// and not sent, acknowledgements that are not read, frames that the medium has
// finished with.
func (c *Conn) makeRoom() {
	c.medium.reclaim()
	if c.reliable {
		c.service()
	}
	c.transmit()
}

// place sees to it that the last frame has room for size bytes.
func (c *Conn) place(size int) bool {
	o := &c.out
	if o.pack.outstanding() == maxClaims {
		return false
	}
	if o.pack.fits(size) {
		return true
	}
	if !c.mayGrab() {
		return false
	}
	f := c.medium.grab()
	if f == nil {
		return false
	}
	o.pack.add(f)
	return true
}

// mayGrab keeps what is filled, sealed and under way within the window.
func (c *Conn) mayGrab() bool {
	o := &c.out
	return o.next-o.base+uint64(o.pack.frames()) < c.window
}

// room says whether a claim of size bytes would succeed.
func (c *Conn) room(size int) bool {
	o := &c.out
	if o.pack.outstanding() == maxClaims {
		return false
	}
	if o.pack.fits(size) {
		return true
	}
	if !c.mayGrab() {
		return false
	}
	f := c.medium.grab()
	if f == nil {
		return false
	}
	c.medium.put(f)
	return true
}

func (c *Conn) commit(vs []wire.Vesicle) error {
	o := &c.out
	if c.state.Load() == stateClosed {
		return link.ErrClosed
	}
	if len(vs) > o.pack.outstanding() {
		return link.ErrOrder
	}
	for i := range vs {
		if err := o.pack.commit(&vs[i]); err != nil {
			return fmt.Errorf("%w: vesicle %d has a payload that is not the claimed place", err, i)
		}
		o.count.Vesicles++
		o.count.Bytes += uint64(len(vs[i].Payload))
	}
	return nil
}

func (c *Conn) flush() error {
	if err := c.failed(); err != nil {
		return err
	}
	o := &c.out
	sealed, err := c.seal()
	if sealed || o.sent != o.next || o.again.lost > 0 {
		c.transmit()
		if o.sent != o.next && c.reliable && c.failed() == nil {
			c.service() // acknowledgements may be all that is in the way
			c.transmit()
		}
		if err := c.failed(); err != nil {
			return err
		}
		c.attend()
	} else if err == nil {
		return nil
	}
	if err != nil || o.sent != o.next {
		o.count.Full++
		return link.ErrFull
	}
	o.count.Flushes++
	return nil
}

// seal numbers every frame in which something is committed.
func (c *Conn) seal() (any bool, err error) {
	o := &c.out
	for o.next-o.base < c.window {
		f, err := o.pack.sealed()
		if f == nil {
			return any, err
		}
		o.slots[o.next%c.window] = f
		o.next++
		any = true
	}
	if o.pack.ready() {
		return any, link.ErrFull
	}
	return any, nil
}

// transmit sends what is lost and then what is new, as far as the peer's room,
// the network's and the medium's go.
func (c *Conn) transmit() {
	o := &c.out
	o.blocked = false
	if o.again.lost > 0 {
		c.medium.reclaim() // what is still busy can't be sent again
	}
	for {
		n := c.gather()
		if n == 0 {
			return
		}
		took, err := c.medium.send(o.batch[:n])
		c.transmitted(took)
		if err != nil {
			c.mediumFailed(err)
			return
		}
		if took < n {
			o.blocked = true
			return
		}
	}
}

// gather fills the batch with what may be sent now.
func (c *Conn) gather() (n int) {
	o := &c.out
	if o.again.lost > 0 {
		for s := o.base; s < o.sent && n < len(o.batch); s++ {
			f := o.slots[s%c.window]
			if f.lost && !f.busy {
				c.stamp(f, s)
				o.batch[n], o.numbers[n] = f, s
				n++
			}
		}
		return n
	}
	end := o.next
	if c.reliable {
		end = min(end, o.again.limit, o.base+o.again.bound())
	}
	for s := o.sent; s < end && n < len(o.batch); s++ {
		c.stamp(o.slots[s%c.window], s)
		o.batch[n], o.numbers[n] = o.slots[s%c.window], s
		n++
	}
	return n
}

// stamp writes a datagram's head, with what is to be told to the peer now.
func (c *Conn) stamp(f *outFrame, number uint64) {
	h := c.head(typeData)
	h.sequence = uint32(number)
	h.put(f.buf)
}

// transmitted notes that the first n of the batch are on their way.
func (c *Conn) transmitted(n int) {
	o := &c.out
	if n == 0 {
		return
	}
	c.in.told() // each carried an acknowledgement
	if !c.reliable {
		for _, s := range o.numbers[:n] {
			o.slots[s%c.window] = nil
		}
		c.medium.putAll(o.batch[:n])
		o.sent += uint64(n)
		o.base = o.sent
		return
	}
	now := c.now()
	for i := range n {
		f := o.batch[i]
		if f.lost {
			f.lost = false
			o.again.lost--
			c.stats.Again++
		} else {
			o.sent++
		}
		o.again.sent(f, now)
	}
}

// head is the front of a datagram of a kind, as of now.
func (c *Conn) head(kind datagramType) head {
	h := head{kind: kind, session: c.session, peer: c.peer, sequence: uint32(c.out.next)}
	if c.reliable {
		h.next, h.limit, h.here = c.in.report(c.window)
	}
	return h
}

// say sends a datagram that has nothing but a head.
func (c *Conn) say(kind datagramType) {
	h := c.head(kind)
	h.put(c.word[:]) // of the connection, for it would escape
	if err := c.medium.control(c.word[:]); err != nil {
		c.mediumFailed(err)
		return
	}
	c.in.told()
}

// now is the time since the connection was made.
func (c *Conn) now() time.Duration { return time.Since(c.start) }
