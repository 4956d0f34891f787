package afxdp

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Conn is one end of a connection over UDP datagrams. It is a [link.Link]: the
// rules of that package say who may call what.
//
// What the network brings ends it in three ways, by link.ErrPeerGone: a
// farewell of the peer, its starting anew, and its silence. Datagrams that are
// none of its own are dropped and counted.
//
// Its halves and the goroutine that looks after it share a lock, which is held
// over the sending and receiving of one batch: an acknowledgement that one half
// reads concerns the other.
type Conn struct {
	mu            sync.Mutex
	medium        medium
	info          link.Info
	reliable      bool
	window        uint64
	datagram      int // the most bytes of one
	whole         bool
	session, peer uint32
	start         time.Time

	state atomic.Int32
	gone  error // why the connection has ended, if not by this side
	// refused: the peer's kernel says that the peer is not there.
	refused bool
	out     outgoing
	in      incoming
	held    int    // vesicles that are polled and not released
	heard   uint64 // datagrams of the peer's
	stats   DatagramStats
	word    [headSize]byte // that say sends
	sleep   sleeper
	// Of strangers at the peer's address: a peer that starts anew is one.
	cookies    cookies
	challenged time.Duration // when one was last asked to bring its cookie
	closed     func()        // called by Close, if not nil
	attendant
}

const (
	stateOpen int32 = iota
	stateShut
	stateClosed
)

var _ link.Link = (*Conn)(nil)

// DatagramStats counts what became of datagrams since a connection was made.
type DatagramStats struct {
	Malformed uint64 // arrived and were none of this format
	Stray     uint64 // belonged to another connection, or told what can't be
	Lost      uint64 // unreliable: did not arrive before later ones
	Late      uint64 // unreliable: arrived after later ones, or again
	Repeated  uint64 // reliable: arrived although they were here already
	Overrun   uint64 // reliable: arrived although there was no place
	Again     uint64 // reliable: sent once more
	Timeouts  uint64 // reliable: not acknowledged in time
	Failures  uint64 // system calls that failed in passing
}

// newConn makes a connection over m, which it owns, of what a handshake found.
func newConn(m medium, o Options, s settled, info link.Info) (*Conn, error) {
	c := &Conn{
		medium: m, reliable: o.Reliable, window: uint64(o.Window), datagram: s.datagram,
		session: s.session, peer: s.peer, start: time.Now(), info: info, whole: o.whole,
	}
	if u, ordinary := m.(*udpMedium); ordinary && s.whole {
		c.info.Why = append(slices.Clip(c.info.Why), u.sendWhole())
	}
	c.info.MaxPayload = s.datagram - headSize - wire.HeaderSize
	c.info.Reliable, c.info.Ordered = o.Reliable, o.Reliable
	c.out = outgoing{
		pack: newPacker(m, s.datagram, o.Window), slots: make([]*outFrame, o.Window),
		again: newWindow(minWindow),
	}
	c.in = incoming{slots: make([]inSlot, o.Window), granted: minWindow}
	if err := c.sleep.open(m.fds()); err != nil {
		return nil, err
	}
	c.attendant = newAttendant(o.KeepAlive, o.Patience)
	go c.lookAfter()
	return c, nil
}

// failed returns why nothing goes on, or nil.
func (c *Conn) failed() error {
	if c.state.Load() != stateOpen {
		return link.ErrClosed
	}
	return c.gone
}

// end ends the connection for a reason that is not this side's wish.
func (c *Conn) end(why error) {
	if c.gone == nil {
		c.gone = why
		c.sleep.ring(halfIn)
		c.sleep.ring(halfOut)
	}
}

// errRefused: the peer's kernel says that nobody has its port.
var errRefused = errors.New("afxdp: nobody listens at the peer's port")

// mediumFailed decides what a failing system call means. What is in passing (an
// interface that is down, no memory) costs datagrams, as a network may.
func (c *Conn) mediumFailed(err error) {
	if errors.Is(err, errRefused) {
		c.refused = true // service ends the connection behind what has arrived
		return
	}
	c.stats.Failures++
}

// Info implements link.Link. Kind is "udp" or "afxdp".
func (c *Conn) Info() link.Info { return c.info }

// Claim implements link.Sender. Vesicles that are claimed before a Flush share
// datagrams as far as they fit.
func (c *Conn) Claim(out []wire.Vesicle, size int) (int, error) {
	c.mu.Lock()
	n, err := c.claim(out, size)
	c.mu.Unlock()
	return n, err
}

// Commit implements link.Sender.
func (c *Conn) Commit(vs []wire.Vesicle) error {
	c.mu.Lock()
	err := c.commit(vs)
	c.mu.Unlock()
	return err
}

// Abort implements link.Sender.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() != stateClosed {
		c.out.pack.abort()
	}
}

// Flush implements link.Sender. nil means that everything was sent once.
func (c *Conn) Flush() error {
	c.mu.Lock()
	err := c.flush()
	c.mu.Unlock()
	return err
}

// ArmSpace implements link.Sender.
func (c *Conn) ArmSpace(size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.armSpace(size)
}

// DisarmSpace implements link.Sender.
func (c *Conn) DisarmSpace() { c.disarm(halfOut) }

// SendStats implements link.Sender.
func (c *Conn) SendStats() link.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.count
}

// Poll implements link.Receiver.
func (c *Conn) Poll(in []wire.Vesicle) (int, error) {
	c.mu.Lock()
	n, err := c.poll(in)
	c.mu.Unlock()
	return n, err
}

// Arrived says when the datagram came that the vesicle was in which Poll has
// handed out last: when the XDP program saw it, in nanoseconds of CLOCK_MONOTONIC,
// sched.Now's clock. It is not known (false) without [XDPOptions.Timed] and of what
// came by the kernel's own way. Who wants it of each vesicle polls one at a time.
func (c *Conn) Arrived() (at int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.arrived, c.in.arrived != 0
}

// Release implements link.Receiver.
func (c *Conn) Release(n int) error {
	c.mu.Lock()
	err := c.release(n)
	c.mu.Unlock()
	return err
}

// ReceiveStats implements link.Receiver. Dropped counts datagrams, not
// vesicles: those that were missing (unreliable), and those that came and were
// none.
func (c *Conn) ReceiveStats() link.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.in.count
	s.Dropped = c.stats.Lost + c.stats.Malformed
	return s
}

// DatagramStats returns what became of datagrams so far.
func (c *Conn) DatagramStats() DatagramStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Arm implements link.Receiver.
func (c *Conn) Arm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.arm()
}

// Disarm implements link.Receiver.
func (c *Conn) Disarm() { c.disarm(halfIn) }

// WaitFDs implements link.Link: one epoll descriptor.
func (c *Conn) WaitFDs(fds []int) []int {
	if c.state.Load() == stateClosed {
		return fds
	}
	return append(fds, c.sleep.epoll)
}

// CheckPeer implements link.Link.
func (c *Conn) CheckPeer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed()
}

// Shutdown implements link.Link. In reliable mode what was flushed is repeated
// for a while, as long as that gets anywhere; the farewell follows that.
func (c *Conn) Shutdown() {
	if !c.state.CompareAndSwap(stateOpen, stateShut) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sleep.ring(halfIn)
	c.sleep.ring(halfOut)
	c.wake()
}

// Close implements link.Link. It waits for what Shutdown still does, two
// seconds at most.
func (c *Conn) Close() error {
	c.Shutdown()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Swap(stateClosed) == stateClosed {
		return nil
	}
	for i := range c.in.slots { // the medium may share its memory with others
		if f := c.in.slots[i].frame; f.buf != nil {
			c.medium.recycle(f)
		}
	}
	clear(c.in.slots)
	err := errors.Join(c.sleep.close(), c.medium.close())
	if c.closed != nil {
		c.closed()
	}
	return err
}
