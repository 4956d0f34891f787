package rpc

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// lot is where callers sleep while another one polls for them. Whoever stops
// polling promotes one of them.
type lot struct {
	mu      sync.Mutex
	parked  []*sleeper
	waiting atomic.Int32 // len(parked)
}

func (l *lot) enter(sl *sleeper) {
	l.mu.Lock()
	l.parked = append(l.parked, sl)
	l.waiting.Store(int32(len(l.parked)))
	l.mu.Unlock()
}

func (l *lot) leave(sl *sleeper) {
	l.mu.Lock()
	if i := slices.Index(l.parked, sl); i >= 0 {
		l.parked = slices.Delete(l.parked, i, i+1)
		l.waiting.Store(int32(len(l.parked)))
	}
	l.mu.Unlock()
}

// promote wakes one sleeper, to poll from now on. It comes after the unlock of
// recvMu, and a sleeper enters before it last tries that lock, so one of the
// two sees the other.
func (l *lot) promote() {
	if l.waiting.Load() == 0 {
		return
	}
	l.mu.Lock()
	if len(l.parked) > 0 {
		sl := l.parked[0]
		l.parked = slices.Delete(l.parked, 0, 1)
		l.waiting.Store(int32(len(l.parked)))
		sl.wake()
	}
	l.mu.Unlock()
}

var sleepers = sync.Pool{New: func() any { return newSleeper() }}

// follow sleeps until the poller has something for it, or stops polling, or
// the context ends.
func (s *session) follow(ctx context.Context, bed *bedside, w waiter) error {
	sl := sleepers.Get().(*sleeper)
	select {
	case <-sl.ch: // of a former user
	default:
	}
	bed.Store(sl)
	s.lot.enter(sl)
	defer func() {
		bed.Store(nil)
		s.lot.leave(sl)
		if s.lot.waiting.Load() > 0 && s.recvMu.TryLock() {
			// It may have been promoted and is not going to poll.
			s.recvMu.Unlock()
			s.lot.promote()
		}
		sleepers.Put(sl)
	}()
	if w.ready() {
		return nil
	}
	if s.recvMu.TryLock() { // the poller left before it could see this sleeper
		s.recvMu.Unlock()
		return nil
	}
	select {
	case <-sl.ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bell wakes a parked poller for reasons other than the link.
type bell struct {
	mu    sync.Mutex
	fd    int
	armed atomic.Bool
	kick  func() // instead of the descriptor, if it is set
}

func (b *bell) open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		b.fd = fd
	}
	return err
}

func (b *bell) ring() {
	if !b.armed.Load() {
		return
	}
	if b.kick != nil {
		b.kick()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(b.fd, one[:])
	}
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}

// Variables for tests, in which nothing but descriptors may end a sleep.
var (
	// parkMost bounds a sleep, should a descriptor fail to fire.
	parkMost = time.Second
	// unflushedPace is how soon a flush that was cut short is tried again,
	// over a link that doesn't tell when it can go on.
	unflushedPace = time.Millisecond
)

// sleepMost is how long a sleep may be. It comes behind arming the bell, so that
// hurry either rings or is heard here. told: the link tells when a flush that was
// cut short can go on.
func (s *session) sleepMost(now int64, told bool) time.Duration {
	wait := parkMost
	if due := s.due.Load(); due != noDeadline {
		wait = min(wait, time.Duration(max(due-now, 0)))
	}
	if s.unflushed.Load() && !told {
		wait = min(wait, unflushedPace)
	}
	return wait
}

// kick wakes the poller of a link that goroutines feed.
func (s *session) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// parkKicked is park for such a link: the goroutine that brings something and
// this one follow each other without the kernel.
func (s *session) parkKicked(ctx context.Context, now int64) {
	if !s.link.Arm() {
		return
	}
	defer s.link.Disarm()
	s.bell.armed.Store(true)
	defer s.bell.armed.Store(false)
	wait := s.sleepMost(now, false)
	if s.timer == nil {
		s.timer = time.NewTimer(wait)
	} else {
		s.timer.Reset(wait)
	}
	select {
	case <-s.kicked:
	case <-ctx.Done():
	case <-s.timer.C:
	}
	s.timer.Stop()
	_ = s.link.CheckPeer()
}

// armFlush has the link's descriptors fire when its medium takes more of what
// a flush left over, and reports whether they will.
func (s *session) armFlush() bool {
	slow, ok := s.link.(link.Slow)
	if !ok || !s.sendMu.TryLock() {
		return false // whoever sends flushes too
	}
	defer s.sendMu.Unlock()
	if slow.ArmFlush() {
		return true
	}
	s.flush() // nothing, unless ArmFlush has failed
	return false
}

func (s *session) disarmFlush() {
	s.sendMu.Lock()
	s.link.DisarmSpace()
	s.sendMu.Unlock()
}

// park sleeps until the link has something, the next deadline, or the end of
// the context.
func (s *session) park(ctx context.Context, now int64) {
	if s.kicked != nil {
		s.parkKicked(ctx, now)
		return
	}
	if s.bell.open() != nil {
		time.Sleep(time.Millisecond) // no descriptors left
		return
	}
	if !s.link.Arm() {
		return // something is there
	}
	defer s.link.Disarm()
	s.bell.armed.Store(true)
	defer s.bell.armed.Store(false)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, s.bell.ring)
	}
	defer stop()
	told := s.unflushed.Load() && s.armFlush()
	if told {
		defer s.disarmFlush()
	}
	wait := s.sleepMost(now, told)
	s.fds = append(s.fds[:0], unix.PollFd{Fd: int32(s.bell.fd), Events: unix.POLLIN})
	s.fdList = s.link.WaitFDs(s.fdList[:0])
	for _, fd := range s.fdList {
		s.fds = append(s.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	spec := unix.NsecToTimespec(int64(wait))
	if n, err := unix.Ppoll(s.fds, &spec, nil); err != nil || n == 0 {
		return
	}
	if s.fds[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(s.bell.fd, count[:])
	}
	_ = s.link.CheckPeer() // the next Poll tells what it found
}
