package serial

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The halves of a connection that may sleep.
const (
	halfIn  = 0
	halfOut = 1
)

// sleeper is what the halves of a connection without a window sleep on: an
// epoll descriptor, for a descriptor that is waited on must become readable
// when there is room to write, too, when the time has come to ask after the
// peer, and when this side was shut down.
type sleeper struct {
	fd    int // the stream's
	epoll int
	bell  int // eventfd; rung once, at the end
	clock int // timerfd

	mu   sync.Mutex // the halves may sleep in two goroutines
	want [2]uint32
	have uint32
	set  bool // the clock
}

// spaceAgain is how long a sleeper that waits for room relies on being told.
// A PTY wakes writers when its reader has read, and frees the memory after
// that; the last of the two is told to nobody (n_tty_check_unthrottle and
// flush_to_ldisc in the kernel's drivers/tty).
const spaceAgain = 5 * time.Millisecond

func (s *sleeper) open(fd int) (err error) {
	*s = sleeper{fd: fd, epoll: -1, bell: -1, clock: -1}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		s.bell, err = newBell()
	}
	if err == nil {
		s.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	}
	for _, add := range []struct {
		fd     int
		events uint32
	}{{fd, unix.EPOLLRDHUP}, {s.bell, unix.EPOLLIN}, {s.clock, unix.EPOLLIN}} {
		if err == nil {
			err = s.add(add.fd, add.events)
		}
	}
	if err != nil {
		_ = s.close()
		return fmt.Errorf("serial: preparing to wait on the line: %w (is it a tty, PTY or socket? have descriptors run out?)", err)
	}
	return nil
}

func (s *sleeper) add(fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// arm makes the epoll descriptor readable on events, and at a certain time
// unless that is zero.
func (s *sleeper) arm(half int, events uint32, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want[half] = events
	s.tell()
	in := time.Duration(0)
	if !at.IsZero() {
		in = max(time.Until(at), time.Microsecond)
	}
	if events&unix.EPOLLOUT != 0 && (in == 0 || in > spaceAgain) {
		in = spaceAgain
	}
	if in > 0 {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}
		s.set = unix.TimerfdSettime(s.clock, 0, &spec, nil) == nil
	}
}

// disarm ends what arm began. Events that nobody waits for are taken out at
// once: there is room to write nearly always.
func (s *sleeper) disarm(half int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want[half] = 0
	s.tell()
	s.hush()
}

func (s *sleeper) tell() {
	events := s.want[0] | s.want[1]
	if events == s.have {
		return
	}
	ev := unix.EpollEvent{Events: events | unix.EPOLLRDHUP, Fd: int32(s.fd)}
	if unix.EpollCtl(s.epoll, unix.EPOLL_CTL_MOD, s.fd, &ev) == nil {
		s.have = events
	}
}

// drain silences the clock if it has rung.
func (s *sleeper) drain() {
	s.mu.Lock()
	s.hush()
	s.mu.Unlock()
}

// hush silences the clock. The other half may have wanted it; it is set again
// for that one, to a short time, for what it wants is not known here.
func (s *sleeper) hush() {
	if !s.set {
		return
	}
	s.set = s.want[0]|s.want[1] != 0
	spec := unix.ItimerSpec{}
	if s.set {
		spec.Value = unix.NsecToTimespec(int64(spaceAgain))
	}
	_ = unix.TimerfdSettime(s.clock, 0, &spec, nil)
}

// ring wakes both halves, for good.
func (s *sleeper) ring() { ring(s.bell) }

func (s *sleeper) close() error {
	err := closeAll(s.epoll, s.bell, s.clock)
	s.epoll, s.bell, s.clock = -1, -1, -1
	return err
}

func newBell() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) }

// ring makes an eventfd readable; silence ends that.
func ring(bell int) {
	one := [8]byte{1} // as a number in either byte order it is above 0
	_, _ = unix.Write(bell, one[:])
}

func silence(bell int) {
	var count [8]byte
	_, _ = unix.Read(bell, count[:]) // EAGAIN: nobody rang
}

func closeAll(fds ...int) error {
	var errs []error
	for _, fd := range fds {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
