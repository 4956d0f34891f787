package serial

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// attendant is the goroutine of a window. What was lost must be sent again, and
// what came be acknowledged, whether or not somebody calls the link just then;
// so this one reads and writes beside its callers, and wakes those who sleep.
type attendant struct {
	bells [2]int  // eventfds of the halves
	armed [2]bool // a half sleeps, or is about to
	size  int     // that the outgoing half waits for
	door  int     // eventfd: there is something new to do

	asleep bool
	until  time.Time // when it wakes by itself; zero: never
	events int16     // that it waits for

	shut     bool
	deadline time.Time // of lingering
	done     chan struct{}
}

// lingerTime is how long a window that was shut down goes on repeating without
// getting anywhere, and lingerMost however far it gets.
const (
	lingerTime = 300 * time.Millisecond
	lingerMost = 5 * time.Second
)

// employ starts the attendant. s no longer looks at the stream.
func (w *window) employ(s *sleeper) (err error) {
	a := &w.attendant
	a.done = make(chan struct{})
	a.bells, a.door = [2]int{-1, -1}, -1
	for _, bell := range []*int{&a.bells[halfIn], &a.bells[halfOut], &a.door} {
		if err == nil {
			*bell, err = newBell()
		}
	}
	for _, bell := range a.bells {
		if err == nil {
			err = s.add(bell, unix.EPOLLIN)
		}
	}
	if err == nil {
		err = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
	}
	if err != nil {
		return fmt.Errorf("serial: preparing a window: %w", errors.Join(err, w.dismiss()))
	}
	go w.attend()
	return nil
}

// dismiss frees what employ took. The goroutine has ended.
func (w *window) dismiss() error {
	a := &w.attendant
	return closeAll(a.bells[halfIn], a.bells[halfOut], a.door)
}

func (w *window) attend() {
	a := &w.attendant
	defer close(a.done)
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	progress, base := time.Now(), w.out.base
	for {
		w.service()
		if base != w.out.base {
			progress, base = time.Now(), w.out.base
		}
		if a.shut && (w.settled() || time.Since(progress) > lingerTime || time.Now().After(a.deadline)) {
			w.line.sayBye()
			return
		}
		w.rest()
	}
}

// rest sleeps until there is something to do.
func (w *window) rest() {
	a := &w.attendant
	fds := [2]unix.PollFd{{Fd: int32(a.door), Events: unix.POLLIN}, {Fd: int32(w.line.fd)}}
	n := 2
	if w.line.cause.Load() != nil {
		n = 1 // the stream has ended, which would wake for ever
	}
	a.until = w.wakeAt()
	if a.shut {
		a.until = time.Now().Add(minRTO)
	}
	fds[1].Events = int16(w.events())
	a.events = fds[1].Events
	ms := -1
	if !a.until.IsZero() {
		ms = int(max(0, time.Until(a.until)+time.Millisecond-1).Milliseconds())
	}
	if again := int(spaceAgain.Milliseconds()); a.events&unix.POLLOUT != 0 && (ms < 0 || ms > again) {
		ms = again
	}
	a.asleep = true
	w.line.mu.Unlock()
	_, _ = unix.Poll(fds[:n], ms) // an error is no more than a short sleep
	w.line.mu.Lock()
	a.asleep = false
	silence(a.door)
}

// call has the attendant look again, if it would sleep through what a caller
// brought about. The caller holds the line's mutex.
func (w *window) call() {
	a := &w.attendant
	at := w.wakeAt()
	if a.asleep && (!at.IsZero() && (a.until.IsZero() || at.Before(a.until)) || int16(w.events())&^a.events != 0) {
		a.asleep = false // once is enough
		ring(a.door)
	}
}

// notify wakes the halves that sleep, if there is something for them.
func (w *window) notify() {
	a := &w.attendant
	failed := w.failed() != nil
	if a.armed[halfIn] && (failed || w.in.delivered < w.in.next) {
		a.armed[halfIn] = false
		ring(a.bells[halfIn])
	}
	if a.armed[halfOut] && (failed || w.clear(a.size)) {
		a.armed[halfOut] = false
		ring(a.bells[halfOut])
	}
}

// arm lets the incoming half sleep, if there is nothing for it.
func (w *window) armIn() bool {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.service()
	if w.failed() != nil || w.in.delivered < w.in.next {
		return false
	}
	w.attendant.armed[halfIn] = true
	w.call()
	return true
}

// clear says whether there is no reason to sleep: there is room for a vesicle of
// size bytes, and everything was sent once.
func (w *window) clear(size int) bool {
	return w.room(size) && w.out.sent == w.out.flushed && len(w.line.data) == 0
}

// armOut lets the outgoing half sleep, if there is no room for size bytes or a
// Flush could not finish.
func (w *window) armOut(size int) bool {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.out.flushed = w.out.next // there would never be room otherwise
	w.service()
	if w.failed() != nil || w.clear(size) {
		return false
	}
	w.attendant.armed[halfOut], w.attendant.size = true, size
	w.call()
	return true
}

func (w *window) disarm(half int) {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.attendant.armed[half] = false
	if w.line.state.Load() != stateClosed {
		silence(w.attendant.bells[half])
	}
}

// shutdown has the attendant say farewell when the peer has everything that was
// flushed, or after a time.
func (w *window) shutdown() {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.attendant.shut = true
	w.attendant.deadline = time.Now().Add(lingerMost)
	ring(w.attendant.door)
}

// settled reports whether nothing that was flushed can still be brought to the
// peer.
func (w *window) settled() bool {
	return w.out.base >= w.out.flushed || w.line.gone != nil || w.line.cause.Load() != nil
}

// events is what the line is waited for.
func (w *window) events() int16 {
	if w.line.gone == nil && (w.line.waiting() || len(w.line.data) > 0) {
		return unix.POLLIN | unix.POLLOUT
	}
	return unix.POLLIN
}

// wakeAt is when tick must run again; zero means never.
func (w *window) wakeAt() time.Time {
	at := w.alive.next()
	if d := w.out.deadline; !d.IsZero() && (at.IsZero() || d.Before(at)) {
		at = d
	}
	return at
}
