package uds

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// arming says which halves of a connection over rings sleep, or are about to.
// Both hear the same doorbell, and they may sleep in two goroutines.
type arming struct{ send, receive atomic.Bool }

// Arm implements link.Receiver. It looks at the peer's life once, so that who
// sleeps and wakes without calling CheckPeer learns of its end too. That comes
// before anything that the peer could answer by a ring, which it would take away.
func (c *Conn) Arm() bool {
	if c.state.Load() != stateOpen {
		return false
	}
	if c.st != nil {
		return c.st.arm()
	}
	if c.look() != nil {
		return false
	}
	c.arming.receive.Store(true)
	if c.rx.Arm() {
		return true
	}
	c.arming.receive.Store(false)
	return false
}

// Disarm implements link.Receiver.
func (c *Conn) Disarm() {
	if c.st != nil {
		c.st.disarm()
		return
	}
	if c.arming.receive.Load() && c.state.Load() != stateClosed {
		c.rx.Disarm()
		c.arming.receive.Store(false)
		c.quiet()
	}
}

// ArmSpace implements link.Sender.
func (c *Conn) ArmSpace(size int) bool {
	if c.state.Load() != stateOpen {
		return false
	}
	if c.st != nil {
		return c.st.armSpace(size)
	}
	if c.look() != nil {
		return false
	}
	c.arming.send.Store(true)
	if c.tx.ArmSpace(size) {
		return true
	}
	c.arming.send.Store(false)
	return false
}

// ArmFlush implements link.Slow. Over rings all that is flushed is there.
func (c *Conn) ArmFlush() bool {
	return c.st != nil && c.state.Load() == stateOpen && c.st.armFlush()
}

// DisarmSpace implements link.Sender.
func (c *Conn) DisarmSpace() {
	if c.st != nil {
		c.st.disarmSpace()
		return
	}
	if c.arming.send.Load() && c.state.Load() != stateClosed {
		c.tx.DisarmSpace()
		c.arming.send.Store(false)
		c.quiet()
	}
}

// quiet silences the doorbell behind a half that woke. A ring that came late
// would otherwise make its next sleep short.
func (c *Conn) quiet() {
	if c.rings.again.drain() {
		c.resound()
	}
	_ = c.look() // the next call reports it
}

// resound rings again for a half that sleeps, or is about to: what this caller
// took away, a ring or one passed on, may have been meant for it. Such a half
// marks itself before it arms, so a ring that came for it is never taken away by
// one who can't see the mark.
func (c *Conn) resound() {
	if c.arming.send.Load() || c.arming.receive.Load() {
		c.rings.again.ring()
	}
}

// WaitFDs implements link.Link: the socket and the bell between the halves
// beside rings, one epoll descriptor on the stream path.
func (c *Conn) WaitFDs(fds []int) []int {
	switch {
	case c.state.Load() == stateClosed:
		return fds
	case c.st != nil:
		return append(fds, c.st.epoll)
	}
	return append(fds, c.fd, c.rings.again.fd)
}

// pollSet is the argument of poll(2) for one connection.
type pollSet struct {
	fds [2]unix.PollFd
	buf [2]int
}

// wait sleeps until a descriptor of WaitFDs fires or ms milliseconds have
// passed (-1: no bound). Errors are no more than a short sleep.
func (p *pollSet) wait(c *Conn, ms int) {
	fds := c.WaitFDs(p.buf[:0])
	for i, fd := range fds {
		p.fds[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	_, _ = unix.Poll(p.fds[:len(fds)], ms)
}
