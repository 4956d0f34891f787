package ring

import (
	"errors"
	"math"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// rings reports whether d is readable within ms milliseconds.
func rings(t testing.TB, d *Doorbell, ms int) bool {
	t.Helper()
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for {
		fds := []unix.PollFd{{Fd: int32(d.FD()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, max(0, int(time.Until(end).Milliseconds())))
		if err == unix.EINTR {
			continue // the Go runtime preempts by signals
		}
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
}

func TestDoorbell(t *testing.T) {
	near := newBell(t)
	far, err := AttachDoorbell(duplicate(t, near.RingFD()))
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if rings(t, near, 0) {
		t.Error("a new doorbell rings")
	}
	for range 3 { // many rings are one
		if err := far.Ring(); err != nil {
			t.Fatal(err)
		}
	}
	if !rings(t, near, 1000) {
		t.Error("a doorbell that was rung is silent")
	}
	drained(t, near)
	drained(t, near) // silent already; must not block
	if rings(t, near, 0) {
		t.Error("a drained doorbell rings")
	}
}

// A peer has the end to ring by, and with it its open file: it can take away
// O_NONBLOCK, ring without end, and shut it down. Nothing of it may block either
// side.
func TestDoorbellOfAHostilePeer(t *testing.T) {
	near := newBell(t)
	theirs := duplicate(t, near.RingFD()) // what somebody else has of it
	defer unix.Close(theirs)
	ours, err := AttachDoorbell(duplicate(t, theirs))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := unix.SetNonblock(theirs, false); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(ours.RingFD()), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Fatalf("the peer could not make it blocking (%#x, %v): this test shows nothing", flags, err)
	}
	within(t, "Drain of a silent doorbell", func() { drained(t, near) })
	full := false
	for range 100_000 {
		if e := sendByte(theirs); e == unix.EAGAIN {
			full = true
			break
		}
	}
	if !full {
		t.Fatal("the queue is never full: this test shows nothing")
	}
	within(t, "Ring of a doorbell that is full", func() {
		if err := ours.Ring(); err != nil {
			t.Errorf("Ring: %v", err)
		}
	})
	if !rings(t, near, 0) {
		t.Error("a full doorbell is silent")
	}
	within(t, "Drain of what rings without end", func() {
		for range 1000 {
			_ = ours.Ring()
		}
		drained(t, near)
	})
	if err := unix.Shutdown(theirs, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	within(t, "a doorbell that was shut down", func() {
		var err error
		for i := 0; err == nil && i < 10_000; i++ { // the queue may be long
			err = near.Drain()
		}
		if !errors.Is(err, ErrPeerGone) {
			t.Errorf("Drain: %v", err)
		}
		if err := ours.Ring(); !errors.Is(err, ErrPeerGone) {
			t.Errorf("Ring: %v", err)
		}
	})
}

// A peer reads from its end into memory that never comes. Whoever reads from the
// same socket waits for ever then; the side that waits on the doorbell has none in
// common with it, and who rings doesn't read.
func TestPeerThatReadsIntoNowhere(t *testing.T) {
	skipEmulated(t, "it has no userfaultfd")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := DoorbellOver(fds[0])
	within(t, "Ring", func() {
		if err := ours.Ring(); err != nil {
			t.Error(err)
		}
	})
	release := readIntoNowhere(t, fds[1])
	within(t, "Ring while the peer holds its end's lock", func() {
		for range 100 {
			if err := ours.Ring(); err != nil {
				t.Error(err)
			}
		}
		closed(t, ours.Close())
		closed(t, unix.Close(fds[0]))
	})
	release()
	closed(t, unix.Close(fds[1]))
}

// Nobody rings any more, and yet the descriptor is readable: who sleeps on it may
// not be woken by that for ever.
func TestSleeperLearnsOfADoorbellsEnd(t *testing.T) {
	for name, side := range map[string]func(x *pair) (arm func() bool, disarm func(), bell *Doorbell, says func() error){
		"consumer": func(x *pair) (func() bool, func(), *Doorbell, func() error) {
			return x.c.Arm, x.c.Disarm, x.data, func() error { _, err := x.c.Poll(make([]wire.Vesicle, 1)); return err }
		},
		"producer": func(x *pair) (func() bool, func(), *Doorbell, func() error) {
			x.send(4, 900)
			return func() bool { return x.p.ArmSpace(x.p.MaxPayload()) }, x.p.DisarmSpace, x.space,
				func() error { _, err := x.p.Claim(make([]wire.Vesicle, 1), x.p.MaxPayload()); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			arm, disarm, bell, says := side(newPair(t, MinSize))
			if err := unix.Shutdown(bell.RingFD(), unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
			if !arm() {
				t.Fatal("Arm = false before the end is known")
			}
			if !rings(t, bell, 0) {
				t.Fatal("a doorbell that was shut down is silent: this test shows nothing")
			}
			disarm()
			if arm() {
				t.Error("Arm = true on a doorbell that was shut down")
			}
			if err := says(); !errors.Is(err, ErrPeerGone) {
				t.Errorf("the side says %v", err)
			}
		})
	}
}

// The kernel may have no memory for a packet; the sleeper must be woken once it
// has.
func TestRingIsNotLostForWantOfMemory(t *testing.T) {
	for _, e := range []unix.Errno{unix.ENOBUFS, unix.ENOMEM} {
		t.Run(unix.ErrnoName(e), func(t *testing.T) {
			var left atomic.Int32
			left.Store(3)
			sent := make(chan struct{})
			t.Cleanup(func() {
				<-sent // by a goroutine, which reads sendByte until then
				sendByte = rawSendByte
			})
			sendByte = func(fd int) unix.Errno {
				if left.Add(-1) >= 0 {
					return e
				}
				defer close(sent)
				return rawSendByte(fd)
			}
			d := newBell(t)
			if err := d.Ring(); err != nil {
				t.Fatal(err)
			}
			if !rings(t, d, 20_000) {
				t.Error("the wake-up is lost")
			}
		})
	}
}

func drained(t *testing.T, d *Doorbell) {
	t.Helper()
	if err := d.Drain(); err != nil {
		t.Errorf("Drain: %v", err)
	}
}

func TestDoorbellDoesNotAllocate(t *testing.T) {
	d := newBell(t)
	if n := testing.AllocsPerRun(100, func() { _ = d.Ring(); _ = d.Drain() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// within fails if f takes as long as only a blocked call does.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s blocks", what)
	}
}

func TestAttachDoorbellRefusesOthers(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(streams[1])
	alone, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	listens, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(listens, &unix.SockaddrUnix{}), unix.Listen(listens, 1)) // a name by the kernel
	}
	if err != nil {
		t.Fatal(err)
	}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{
		"a pipe": duplicate(t, int(w.Fd())), "an eventfd": event, "a stream": streams[0],
		"one that is not connected": alone, "one that listens": listens,
		"a socket of another domain": udp, "none": -1, "a closed one": math.MaxInt32,
	} {
		_, err := AttachDoorbell(fd)
		wants(t, name, err, ErrDoorbell)
		if isOpen(fd) {
			t.Errorf("%s is still open", name)
		}
	}
}

func TestNoDoorbell(t *testing.T) {
	var d *Doorbell
	if d.Drain() != nil || d.Ring() != nil || d.Close() != nil {
		t.Error("a nil doorbell fails")
	}
	closedBell, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	closed(t, closedBell.Close())
	closed(t, closedBell.Close())
	if closedBell.Ring() == nil {
		t.Error("a closed doorbell rings")
	}
}
