package can

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// bell is an eventfd by which the node wakes a sleeping half of a link.
type bell struct {
	fd    int
	armed bool
	size  int // that the sender waits for
}

// The halves' bells.
const (
	bellData  = 0
	bellSpace = 1
)

func newBells() (b [2]bell, err error) {
	for i := range b {
		b[i].fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			if i > 0 {
				unix.Close(b[0].fd)
			}
			return b, fmt.Errorf("can: eventfd: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
		}
	}
	return b, nil
}

func ringFD(fd int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(fd, one[:]) // it fails only if it is ringing already
}

func quietFD(fd int) {
	var count [8]byte
	_, _ = unix.Read(fd, count[:])
}

// ring wakes a half if it sleeps.
func (c *Conn) ring(which int) (woke bool) {
	b := &c.bells[which]
	if !b.armed || b.fd < 0 {
		return false
	}
	b.armed = false
	ringFD(b.fd)
	return true
}

// ringAll wakes everybody, because the link ended. The bells stay rung for
// those who come to sleep now, until they disarm.
func (c *Conn) ringAll() {
	for i := range c.bells {
		c.bells[i].armed = true
		c.ring(i)
	}
}

// arrived wakes the receiver if there are more whole vesicles than before.
func (c *Conn) arrived(before int) {
	if c.in.whole > before {
		c.renew()
		if c.ring(bellData) {
			c.in.stats.Wakes++
		}
	}
}

// spacious wakes the sender if there is the room that it waits for.
func (c *Conn) spacious() {
	if b := &c.bells[bellSpace]; b.armed && c.out.room(b.size) && c.ring(bellSpace) {
		c.out.stats.Wakes++
	}
}

// Arm implements link.Receiver.
func (c *Conn) Arm() bool {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.failed() != nil || c.in.whole > 0 {
		return false
	}
	c.bells[bellData].armed = true
	return true
}

// Disarm implements link.Receiver.
func (c *Conn) Disarm() { c.disarm(bellData) }

// ArmSpace implements link.Sender.
func (c *Conn) ArmSpace(size int) bool {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.failed() != nil || c.out.room(size) {
		return false
	}
	c.bells[bellSpace].armed, c.bells[bellSpace].size = true, size
	return true
}

// DisarmSpace implements link.Sender.
func (c *Conn) DisarmSpace() { c.disarm(bellSpace) }

func (c *Conn) disarm(which int) {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	b := &c.bells[which]
	b.armed = false
	if b.fd >= 0 {
		quietFD(b.fd)
	}
}

// WaitFDs implements link.Link.
func (c *Conn) WaitFDs(fds []int) []int {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.closed {
		return fds
	}
	return append(fds, c.bells[bellData].fd, c.bells[bellSpace].fd)
}
