package afxdp

import (
	"time"

	"github.com/cell-runtime/cell/link"
)

// attendant is what a goroutine needs that looks after a connection when its
// user does not: it repeats what is overdue, answers for a user who is slow to
// poll, asks after a silent peer, and says the last words. It sleeps till the
// next of these.
type attendant struct {
	call chan struct{} // of one: something is due earlier than planned
	done chan struct{} // closed when it has ended

	planned   time.Duration // when it wakes by itself
	keepAlive time.Duration
	patience  int

	nextLook time.Duration // after the peer
	lastTime uint64        // heard, at the last look
	silent   int           // looks in a row without a word
	vanished bool          // as if the process had been killed

	shut     time.Duration // when it saw Shutdown; 0 before
	progress time.Duration // when anything was acknowledged since
	base     uint64        // then
}

const (
	// ackDelay is how long a receiver's user may take to answer before an
	// acknowledgement goes alone.
	ackDelay = 5 * time.Millisecond

	// readPace is how often acknowledgements are read while some are awaited
	// and the user neither polls nor is short of room. If that were left until
	// the deadline, the deadline would be what is measured as a round trip.
	readPace = 2 * ackDelay

	lingerPace  = 2 * time.Millisecond
	lingerQuiet = 200 * time.Millisecond // without anything being acknowledged
	lingerMost  = 2 * time.Second
	farewells   = 3
)

func newAttendant(keepAlive time.Duration, patience int) attendant {
	return attendant{
		call: make(chan struct{}, 1), done: make(chan struct{}),
		keepAlive: keepAlive, patience: patience, nextLook: keepAlive, planned: keepAlive,
	}
}

func (a *attendant) wake() {
	select {
	case a.call <- struct{}{}:
	default:
	}
}

// attend sees to it that the attendant wakes in time for what is due now.
func (c *Conn) attend() {
	if at := c.nextDue(); at < c.planned {
		c.planned = at
		c.wake()
	}
}

// nextDue is when the attendant must look again.
func (c *Conn) nextDue() time.Duration {
	at := c.nextLook
	if !c.reliable {
		return at
	}
	w := &c.out.again
	switch {
	case w.deadline != 0:
		at = min(at, w.deadline)
	case c.out.sent < c.out.next:
		at = min(at, c.now()+w.rto())
	}
	if c.in.due {
		at = min(at, c.now()+ackDelay)
	}
	if c.out.base < c.out.sent {
		at = min(at, c.now()+readPace)
	}
	return at
}

func (c *Conn) lookAfter() {
	defer close(c.done)
	timer := time.NewTimer(c.keepAlive)
	defer timer.Stop()
	for {
		select {
		case <-c.call:
		case <-timer.C:
		}
		c.mu.Lock()
		wait, more := c.look()
		c.mu.Unlock()
		if !more {
			return
		}
		timer.Reset(wait)
	}
}

// look does what is due and returns how long to sleep.
func (c *Conn) look() (wait time.Duration, more bool) {
	now := c.now()
	switch {
	case c.vanished:
		return 0, false
	case c.state.Load() != stateOpen:
		return lingerPace, c.linger(now)
	case c.gone != nil:
		c.planned = now + c.keepAlive
		return c.keepAlive, true // until Shutdown wakes it
	}
	if now >= c.planned {
		c.medium.rouse()
		c.service()
		c.tell()
		if c.reliable {
			c.overdue(now)
			c.transmit()
		}
		if now >= c.nextLook {
			c.lookForPeer(now)
		}
		c.notify()
	}
	c.planned = max(c.nextDue(), now+time.Millisecond)
	return c.planned - now, true
}

func (c *Conn) lookForPeer(now time.Duration) {
	c.nextLook = now + c.keepAlive
	c.medium.tend(c.heard == c.lastTime)
	if c.heard != c.lastTime {
		c.lastTime, c.silent = c.heard, 0
		return
	}
	if c.silent++; c.silent > c.patience {
		c.end(link.ErrPeerGone)
		return
	}
	c.say(typeAsk)
}

// linger goes on until the peer has everything that was flushed, or does not
// listen any more, and says farewell.
func (c *Conn) linger(now time.Duration) (more bool) {
	if c.shut == 0 {
		c.shut, c.progress, c.base = now, now, c.out.base
	}
	if c.gone == nil && c.out.base != c.out.next {
		if !c.reliable {
			c.transmit()
		} else {
			c.lingerReading()
			c.overdue(now)
			c.transmit()
		}
		if c.out.base != c.base {
			c.base, c.progress = c.out.base, now
		}
		if c.gone == nil && c.out.base != c.out.next && now-c.progress < lingerQuiet && now-c.shut < lingerMost {
			return true
		}
	}
	if c.gone == nil {
		for range farewells {
			c.say(typeBye)
		}
	}
	return false
}

// lingerReading takes acknowledgements alone: nobody polls any more.
func (c *Conn) lingerReading() {
	c.medium.rouse()
	for range 8 {
		n, err := c.medium.receive(c.in.batch[:])
		for _, f := range c.in.batch[:n] {
			if h, e := getHead(f.buf); e == nil && h.session == c.peer && h.peer == c.session {
				c.acknowledged(&h)
				if h.kind == typeBye {
					c.end(link.ErrPeerGone)
				}
			}
			c.medium.recycle(f)
		}
		if err != nil {
			c.mediumFailed(err)
		}
		if n == 0 {
			return
		}
	}
}
