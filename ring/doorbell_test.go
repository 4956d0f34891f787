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
	far, err := AttachDoorbell(duplicate(t, near.FD()))
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

// A peer holds the same open file. It can fill the counter and take away
// O_NONBLOCK; neither may block this side.
func TestDoorbellOfAHostilePeer(t *testing.T) {
	skipEmulated(t, "emulators don't pass RWF_NOWAIT on")
	d := newBell(t)
	hostile := func() {
		if err := unix.SetNonblock(d.FD(), false); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "Drain of a silent blocking doorbell", func() { hostile(); d.Drain() })
	within(t, "Ring of a doorbell that is full", func() {
		full := one
		for i := range full {
			full[i] = 0xff
		}
		full[littleEnd()] = 0xfe
		if n, err := unix.Write(d.FD(), full[:]); n != 8 || err != nil {
			t.Fatalf("filling the counter: %d, %v", n, err)
		}
		if err := d.Ring(); err != nil {
			t.Errorf("Ring: %v", err)
		}
	})
	if !rings(t, d, 0) {
		t.Error("a full doorbell is silent")
	}
}

// littleEnd is the index of the lowest byte of a word.
func littleEnd() int {
	for i, b := range one {
		if b == 1 {
			return i
		}
	}
	return 0
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
	memory, err := unix.MemfdCreate("anon_inode:[eventfd]", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{
		"a pipe": duplicate(t, int(w.Fd())), "memory with the name of an eventfd": memory,
		"another anonymous inode": timer, "none": -1, "a closed one": math.MaxInt32,
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
