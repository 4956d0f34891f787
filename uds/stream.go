package uds

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// stream is a connection over the socket itself: headers and payloads, one
// after the other, and a farewell at the end.
type stream struct {
	life    *life
	send    streamSender
	receive streamReceiver

	epoll  int
	events sync.Mutex // the two halves may arm from two goroutines
	want   uint32     // events that an armed half waits for
	have   uint32     // events that the kernel was told; may exceed want
	poll   [1]unix.PollFd
}

// newStream prepares a stream over l.fd for payloads of up to max bytes. Each
// half has a buffer for two of the largest frames, so that compacting one
// moves at most a half.
func newStream(l *life, max int) (*stream, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("uds: epoll_create1: %w; raise RLIMIT_NOFILE if descriptors ran out", err)
	}
	s := &stream{life: l, epoll: fd, have: unix.EPOLLIN}
	ev := unix.EpollEvent{Events: s.have | unix.EPOLLRDHUP, Fd: int32(l.fd)}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, l.fd, &ev); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("uds: epoll_ctl: %w", err)
	}
	size := 2 * (max + wire.HeaderSize)
	s.send = streamSender{life: l, max: max, buf: make([]byte, size)}
	s.receive = streamReceiver{life: l, max: max, buf: make([]byte, size)}
	return s, nil
}

func (s *stream) close() error { return unix.Close(s.epoll) }

// A descriptor that a sleeper waits on must become readable when room appears,
// too. So it is an epoll descriptor, which is readable while one of its events
// is pending. EPOLLIN stays in it when a half disarms, until the other half
// arms alone: sleeping for vesicles again and again then costs no system call
// beyond the sleep, and an event that nobody waits for is at least true.
// EPOLLOUT would be true nearly always, so it is taken out at once.

// arm is Conn.Arm.
func (s *stream) arm() bool {
	r := &s.receive
	if s.life.cause.Load() != nil || r.ready() || r.fill() != nil || r.ready() {
		return false
	}
	if r.end == len(r.buf) {
		s.expect(0) // nothing can come before a Release
	} else {
		s.expect(unix.EPOLLIN)
	}
	return true
}

func (s *stream) disarm() {
	s.events.Lock()
	s.want &^= unix.EPOLLIN
	s.events.Unlock()
}

// armSpace is Conn.ArmSpace.
func (s *stream) armSpace(size int) bool {
	w := &s.send
	if w.failed() != nil || w.room(size) {
		return false
	}
	if w.flush(); w.failed() != nil || w.room(size) {
		return false
	}
	s.expect(unix.EPOLLOUT)
	return true
}

// armFlush is Conn.ArmFlush.
func (s *stream) armFlush() bool {
	w := &s.send
	if w.flush(); w.failed() != nil || w.sent == w.ready {
		return false
	}
	s.expect(unix.EPOLLOUT)
	return true
}

func (s *stream) disarmSpace() {
	s.events.Lock()
	defer s.events.Unlock()
	s.want &^= unix.EPOLLOUT
	if s.have&unix.EPOLLOUT != 0 {
		s.tell(s.have &^ unix.EPOLLOUT)
	}
}

// expect adds an event that somebody waits for, and takes out those that
// nobody does.
func (s *stream) expect(event uint32) {
	s.events.Lock()
	defer s.events.Unlock()
	if s.want |= event; s.want != s.have {
		s.tell(s.want)
	}
}

func (s *stream) tell(events uint32) {
	ev := unix.EpollEvent{Events: events | unix.EPOLLRDHUP, Fd: int32(s.life.fd)}
	if unix.EpollCtl(s.epoll, unix.EPOLL_CTL_MOD, s.life.fd, &ev) == nil {
		s.have = events
	}
}

// checkPeer asks for the end of the socket whether or not bytes wait before
// it; Poll still brings those, and then finds the farewell or its lack.
func (s *stream) checkPeer() error {
	s.poll[0] = unix.PollFd{Fd: int32(s.life.fd), Events: unix.POLLRDHUP}
	if n, err := unix.Poll(s.poll[:], 0); n > 0 && err == nil {
		return fmt.Errorf("%w: the socket of process %d has ended", link.ErrPeerGone, s.life.pid)
	}
	return nil
}
