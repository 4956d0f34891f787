package afxdp

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The halves of a connection, which may sleep in two goroutines.
const (
	halfIn  = 0
	halfOut = 1
)

// sleeper is what they sleep on: an epoll descriptor over the medium's and over
// a bell for each half, so that neither consumes the other's wake-up. A bell
// rings for what somebody else has read from the medium, and for the end.
type sleeper struct {
	fds   []int
	epoll int
	bells [2]int // eventfds
	armed [2]bool
	want  [2]uint32
	have  uint32
}

func (s *sleeper) open(fds []int) (err error) {
	*s = sleeper{fds: fds, epoll: -1, bells: [2]int{-1, -1}}
	s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	for half := range s.bells {
		if err == nil {
			s.bells[half], err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		}
		if err == nil {
			err = s.add(s.bells[half], unix.EPOLLIN)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("afxdp: preparing to wait: %w (have descriptors run out?)", err), s.close())
	}
	return nil
}

func (s *sleeper) add(fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// tell makes the epoll descriptor readable on what the halves want of the
// medium. Where they want nothing, the medium is not in it at all: errors of a
// socket, which nobody can mask, would keep everybody awake.
func (s *sleeper) tell() {
	events := s.want[halfIn] | s.want[halfOut]
	if events == s.have {
		return
	}
	for i, fd := range s.fds {
		had, wanted := s.have, events
		if i > 0 { // only the first says when it may be written to
			had, wanted = had&unix.EPOLLIN, wanted&unix.EPOLLIN
		}
		op := unix.EPOLL_CTL_MOD
		switch {
		case had == wanted:
			continue
		case had == 0:
			op = unix.EPOLL_CTL_ADD
		case wanted == 0:
			op = unix.EPOLL_CTL_DEL
		}
		ev := unix.EpollEvent{Events: wanted, Fd: int32(fd)}
		_ = unix.EpollCtl(s.epoll, op, fd, &ev) // of what it could fail of, nothing can be
	}
	s.have = events
}

func (s *sleeper) arm(half int, events uint32) {
	s.armed[half], s.want[half] = true, events
	s.tell()
}

func (s *sleeper) disarm(half int) {
	s.armed[half], s.want[half] = false, 0
	s.tell()
	var count [8]byte
	_, _ = unix.Read(s.bells[half], count[:]) // EAGAIN: nobody rang
}

func (s *sleeper) ring(half int) {
	if s.bells[half] >= 0 {
		one := [8]byte{1} // as a number in either byte order it is above 0
		_, _ = unix.Write(s.bells[half], one[:])
	}
}

func (s *sleeper) close() error {
	var errs []error
	for _, fd := range []int{s.epoll, s.bells[0], s.bells[1]} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	s.epoll, s.bells = -1, [2]int{-1, -1}
	return errors.Join(errs...)
}

// notify wakes a half that sleeps on what somebody else has read.
func (c *Conn) notify() {
	if c.sleep.armed[halfIn] && c.in.polling < c.in.next {
		c.sleep.armed[halfIn] = false
		c.in.count.Wakes++
		c.sleep.ring(halfIn)
	}
	if c.sleep.armed[halfOut] && c.mayGrab() {
		c.sleep.armed[halfOut] = false
		c.out.count.Wakes++
		c.sleep.ring(halfOut)
	}
}

func (c *Conn) arm() bool {
	if c.failed() != nil || c.in.polling < c.in.next {
		return false
	}
	c.tell()
	c.medium.rouse()
	c.service()
	if c.failed() != nil || c.in.polling < c.in.next {
		return false
	}
	c.sleep.arm(halfIn, c.incomingEvents())
	return true
}

// incomingEvents is EPOLLIN unless nothing can be read before a Release.
func (c *Conn) incomingEvents() uint32 {
	if c.medium.starved() || !c.reliable && c.in.next-c.in.released == c.window {
		return 0
	}
	return unix.EPOLLIN
}

func (c *Conn) armSpace(size int) bool {
	if c.failed() != nil || size > c.info.MaxPayload || c.room(size) && !c.out.blocked {
		return false
	}
	c.medium.rouse()
	c.makeRoom()
	if c.failed() != nil || c.room(size) && !c.out.blocked {
		return false
	}
	events := uint32(0)
	if c.reliable {
		events = c.incomingEvents()
	}
	if c.out.blocked || !c.reliable {
		events |= unix.EPOLLOUT
	}
	c.sleep.arm(halfOut, events)
	return true
}

func (c *Conn) disarm(half int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() != stateClosed {
		c.sleep.disarm(half)
		c.medium.rouse()
	}
}
