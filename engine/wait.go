package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// waiter is the kernel's side of an engine: one epoll set of all the links'
// descriptors, an eventfd by which other goroutines ring, and a timerfd, since
// epoll_wait counts in milliseconds.
type waiter struct {
	mu   sync.Mutex // guards bell against being closed while it is rung
	bell int

	epoll  int
	timer  int
	setFor int64 // when the timerfd goes off, on the engine's clock
	ready  int   // how many of events are filled in
	events [128]unix.EpollEvent

	// pollable is the epoll set as the Go runtime's poller sees it, for
	// engines that may not keep a P; see sleep.
	pollable *os.File
	raw      syscall.RawConn
	look     func(uintptr) bool
}

func (w *waiter) closed() { w.bell, w.epoll, w.timer = -1, -1, -1 }

func (w *waiter) isOpen() bool { return w.epoll >= 0 }

func (w *waiter) open() error {
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return descriptorError("epoll_create1", err)
	}
	if w.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return descriptorError("eventfd", err)
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return descriptorError("timerfd_create", err)
	}
	w.setFor = math.MaxInt64
	for _, fd := range []int{w.bell, w.timer} {
		if err := w.watch(unix.EPOLL_CTL_ADD, fd, 0, 0); err != nil {
			return descriptorError("epoll_ctl", err)
		}
	}
	return w.openPollable()
}

func descriptorError(call string, err error) error {
	return fmt.Errorf("engine: %s: %w; raise RLIMIT_NOFILE if descriptors ran out", call, err)
}

// openPollable duplicates the set for the Go runtime, which closes what it is
// given.
func (w *waiter) openPollable() error {
	fd, err := unix.FcntlInt(uintptr(w.epoll), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return descriptorError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("engine: fcntl: %w", err)
	}
	w.pollable = os.NewFile(uintptr(fd), "engine")
	if w.raw, err = w.pollable.SyscallConn(); err != nil {
		return fmt.Errorf("engine: descriptor for the Go poller: %w", err)
	}
	w.look = func(uintptr) bool { return w.poll(0) > 0 }
	return nil
}

func (w *waiter) close() {
	if w.pollable != nil {
		_ = w.pollable.Close()
		w.pollable, w.raw, w.look = nil, nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fd := range []int{w.epoll, w.bell, w.timer} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	w.closed()
}

// ring wakes the thread. Any goroutine may call it.
func (w *waiter) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bell < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.bell, one[:]) // a full counter rings already
}

// watch tells the epoll set about fd. The event carries the port's ID, or 0.
func (w *waiter) watch(op, fd int, port uint64, flags uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | flags, Fd: int32(fd), Pad: int32(port)}
	return unix.EpollCtl(w.epoll, op, fd, &ev)
}

// add watches a port's descriptors, level-triggered. Their ports are told apart
// by ID, of which 31 bits suffice.
func (w *waiter) add(p *Port) error {
	p.fds = p.link.WaitFDs(p.fds[:0])
	for i, fd := range p.fds {
		if err := w.watch(unix.EPOLL_CTL_ADD, fd, p.id, 0); err != nil {
			p.fds = p.fds[:i]
			w.remove(p)
			return fmt.Errorf("engine: watching descriptor %d of a %s link: %w; "+
				"two links of one engine can't share a descriptor", fd, p.link.Info().Kind, err)
		}
	}
	return nil
}

func (w *waiter) remove(p *Port) {
	if w.isOpen() {
		for _, fd := range p.fds {
			_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		}
	}
	p.fds = p.fds[:0]
}

// mute makes a descriptor edge-triggered.
func (w *waiter) mute(fd int, p *Port) {
	_ = w.watch(unix.EPOLL_CTL_MOD, fd, p.id, unix.EPOLLET)
}

// poll asks for events once and returns how many there are.
func (w *waiter) poll(timeout int) int {
	n, err := unix.EpollWait(w.epoll, w.events[:], timeout)
	if err != nil {
		n = 0 // EINTR: the runtime's own signals; the caller looks again anyway
	}
	w.ready = n
	return n
}

// sleep waits until something happens or the clock, which stands at now,
// reaches at. The events are in w.events[:w.ready] then.
//
// A blocking system call keeps the thread's P until the Go runtime's monitor
// takes it away, 20 µs to 10 ms later. That is the faster way as long as there
// is a P to spare. Where there isn't (scarce), other goroutines would stand
// still meanwhile, so the goroutine waits in the runtime's own poller instead,
// which frees the P at once.
func (w *waiter) sleep(at, now int64, scarce bool) {
	w.setTimer(at, now)
	if !scarce {
		w.poll(-1)
		return
	}
	if err := w.raw.Read(w.look); err != nil {
		w.poll(1) // the poller refuses: sleep, but not for long
	}
}

// setTimer has the timerfd go off at the given time. One that is set already
// costs nothing.
func (w *waiter) setTimer(at, now int64) {
	if at == w.setFor && (at == math.MaxInt64 || at > now) {
		return
	}
	w.setFor = at
	var spec unix.ItimerSpec
	if at != math.MaxInt64 {
		spec.Value = unix.NsecToTimespec(max(at-now, 1))
	}
	_ = unix.TimerfdSettime(w.timer, 0, &spec, nil)
}

// drain empties an own descriptor that fired.
func (w *waiter) drain(fd int) {
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err == nil && fd == w.timer {
		w.setFor = math.MaxInt64
	}
}
