package engine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// fedEnd is an end of a pipe that calls a function instead of ringing: its peer
// is the goroutine that feeds it.
type fedEnd struct {
	*linktest.End
	mu    sync.Mutex
	wake  func()
	armed bool
	woken atomic.Int64
}

var _ link.Fed = (*fedEnd)(nil)

func (f *fedEnd) OnWake(wake func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wake = wake
}

func (f *fedEnd) WaitFDs(fds []int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake != nil {
		return fds
	}
	return f.End.WaitFDs(fds)
}

func (f *fedEnd) Arm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = f.End.Arm()
	return f.armed
}

func (f *fedEnd) Disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	f.End.Disarm()
}

// feeder is the other end.
type feeder struct {
	*linktest.End
	feeds *fedEnd
}

func (f *feeder) Flush() error {
	err := f.End.Flush()
	f.feeds.mu.Lock()
	defer f.feeds.mu.Unlock()
	if f.feeds.armed && f.feeds.wake != nil {
		f.feeds.armed = false
		f.feeds.woken.Add(1)
		f.feeds.wake()
	}
	return err
}

func fedPipe(t testing.TB) (*fedEnd, *feeder) {
	t.Helper()
	near, far := pipe(t, linktest.PipeConfig{})
	f := &fedEnd{End: near}
	return f, &feeder{far, f}
}

// asleep waits until the engine sleeps.
func asleep(t *testing.T, e *engine.Engine) {
	t.Helper()
	eventually(t, "sleep", e.Parked)
}

// An engine that sleeps on a channel is woken by whatever it has: links that
// goroutines feed, links with descriptors, timers and commands.
func TestFedLinksWakeAndSoDoesAllElse(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		e := running(t, engine.Config{CPU: engine.Unpinned, Idle: idle})
		near, far := fedPipe(t)
		port := add(t, e, near, engine.HandlerFunc(echo))
		other, beyond := pipe(t, linktest.PipeConfig{})
		sleeps := idle == engine.IdlePark || idle == engine.IdleAdaptive
		add(t, e, other, engine.HandlerFunc(echo))
		for i := range uint32(5) {
			if sleeps {
				asleep(t, e)
			}
			send(t, far, request(i), "fed")
			receive(t, far)
			if sleeps {
				asleep(t, e)
			}
			send(t, beyond, request(i), "rung")
			receive(t, beyond)
		}
		rang := make(chan struct{})
		timer := &engine.Timer{Func: func(*engine.Timer) { close(rang) }}
		do(t, e, func() { e.StartTimer(timer, time.Millisecond) })
		<-rang
		if sleeps != (near.woken.Load() > 0) {
			t.Errorf("the link called %d times", near.woken.Load())
		}
		if err := e.Remove(port); err != nil {
			t.Fatal(err)
		}
		if fds := near.WaitFDs(nil); len(fds) == 0 {
			t.Error("the link was not given back with its descriptors")
		}
		send(t, beyond, request(9), "and on")
		receive(t, beyond)
	})
}

// Whoever runs on the thread that a sleeping engine has let go of is not the
// engine.
func TestStopFromTheThreadThatTheEngineLetGo(t *testing.T) {
	for range 20 {
		e := running(t, engine.Config{CPU: engine.Unpinned, Idle: engine.IdlePark})
		near, far := fedPipe(t)
		gone := make(chan error, 1)
		add(t, e, near, engine.HandlerFunc(echo), engine.OnGone(func(_ *engine.Port, why error) { gone <- why }))
		send(t, far, request(1), "abc")
		receive(t, far)
		if err := e.Stop(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-gone: // Stop has waited for it
		default:
			t.Fatal("Stop returned before the end")
		}
		if e.Do(context.Background(), func() {}) == nil {
			t.Fatal("it runs on")
		}
	}
}

// A pinned engine's thread is woken by the kernel, so its links ring.
func TestPinnedEngineKeepsDescriptors(t *testing.T) {
	e, err := engine.New(engine.Config{CPU: 0, Idle: engine.IdlePark})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Skipf("CPU 0 is not for this process: %v", err)
	}
	defer func() { _ = e.Stop() }()
	near, _ := fedPipe(t)
	add(t, e, near, engine.HandlerFunc(echo))
	if len(near.WaitFDs(nil)) == 0 {
		t.Error("the link was told to call")
	}
}
