package ring

import (
	"math"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	near.Drain()
	near.Drain() // silent already; must not block
	if rings(t, near, 0) {
		t.Error("a drained doorbell rings")
	}
}

// A peer may hold the open file of the end that this side has, if it made the
// pair. It can take away O_NONBLOCK, fill the queue of the one direction, and take
// from the other what this side is about to take; nothing of it may block.
func TestDoorbellOfAHostilePeer(t *testing.T) {
	one, other, err := NewDoorbells()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	theirs := duplicate(t, one.FD()) // what the peer kept of what it passed
	defer unix.Close(theirs)
	ours, err := AttachDoorbell(one.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := unix.SetNonblock(theirs, false); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(ours.FD()), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Fatalf("the peer could not make it blocking (%#x, %v): this test shows nothing", flags, err)
	}
	within(t, "Drain of a silent blocking doorbell", ours.Drain)
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
	if !rings(t, other, 0) {
		t.Error("a full doorbell is silent")
	}
	within(t, "Drain of what rings without end", func() {
		for range 1000 {
			_ = other.Ring()
		}
		ours.Drain()
	})
	// Not tried: a peer in the middle of a packet that it reads into memory which
	// never comes.
	if err := unix.Shutdown(theirs, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	within(t, "a doorbell that was shut down", func() {
		ours.Drain()
		if ours.Ring() == nil {
			t.Error("Ring of a doorbell that was shut down says that it rang")
		}
	})
}

func TestDoorbellsRingEachOther(t *testing.T) {
	one, other, err := NewDoorbells()
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range [][2]*Doorbell{{one, other}, {other, one}} {
		if err := way[0].Ring(); err != nil {
			t.Fatal(err)
		}
		if rings(t, way[0], 0) || !rings(t, way[1], 1000) {
			t.Error("a doorbell rings itself, or not the other")
		}
		way[1].Drain()
		if rings(t, way[1], 0) {
			t.Error("a drained doorbell rings")
		}
	}
	closed(t, one.Close())
	if other.Ring() == nil {
		t.Error("Ring of a doorbell whose other end is closed says that it rang")
	}
	closed(t, other.Close())
}

func TestDoorbellsDoNotAllocate(t *testing.T) {
	d := newBell(t)
	if n := testing.AllocsPerRun(100, func() { _ = d.Ring(); d.Drain() }); n != 0 {
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
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{
		"a pipe": duplicate(t, int(w.Fd())), "an eventfd": event, "a stream": streams[0],
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
	d.Drain()
	if d.Ring() != nil || d.Close() != nil {
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
