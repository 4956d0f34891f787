package engine_test

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// sluggish is a pipe whose medium takes nothing until it is told to.
type sluggish struct {
	*linktest.End
	bell  int
	armed chan struct{} // ArmFlush was called

	mu    sync.Mutex
	takes bool
}

func (l *sluggish) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.takes {
		return link.ErrFull
	}
	return l.End.Flush()
}

func (l *sluggish) ArmFlush() bool {
	if !errors.Is(l.Flush(), link.ErrFull) {
		return false
	}
	select {
	case l.armed <- struct{}{}:
	default:
	}
	return true
}

func (l *sluggish) WaitFDs(fds []int) []int { return append(l.End.WaitFDs(fds), l.bell) }

func (l *sluggish) DisarmSpace() {
	var b [8]byte
	_, _ = unix.Read(l.bell, b[:])
	l.End.DisarmSpace()
}

// take has the medium take everything from now on, and tells.
func (l *sluggish) take() {
	l.mu.Lock()
	l.takes = true
	l.mu.Unlock()
	_, _ = unix.Write(l.bell, []byte{1, 0, 0, 0, 0, 0, 0, 1})
}

func TestFlushGoesOnWhenTheMediumTells(t *testing.T) {
	engine.NeverTryByTheClock(t)
	near, far := pipe(t, linktest.PipeConfig{})
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(bell) })
	l := &sluggish{End: near, bell: bell, armed: make(chan struct{}, 1)}
	e := running(t, engine.Config{Idle: engine.IdlePark})
	add(t, e, l, engine.HandlerFunc(echo))
	send(t, far, request(1), "hello")
	<-l.armed
	var in [1]wire.Vesicle
	if n, err := far.Poll(in[:]); n != 0 || err != nil {
		t.Fatalf("the medium took nothing, and %d came, %v", n, err)
	}
	l.take()
	eventually(t, "the answer", func() bool {
		n, err := far.Poll(in[:])
		return n == 1 && err == nil
	})
}
