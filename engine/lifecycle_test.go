package engine_test

import (
	"context"
	"errors"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

func TestConfigRefusals(t *testing.T) {
	cases := map[string]engine.Config{
		"CPU below unpinned":       {CPU: -2},
		"unknown idle strategy":    {Idle: 9},
		"negative batch":           {Batch: -1},
		"batch above the bound":    {Batch: 1 << 20},
		"negative spin":            {SpinFor: -1},
		"spin above the bound":     {SpinFor: time.Hour},
		"negative stall threshold": {StallThreshold: -1},
		"negative links":           {MaxLinks: -1},
		"commands above the bound": {Commands: math.MaxInt32},
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := engine.New(cfg); !errors.Is(err, engine.ErrConfig) {
				t.Errorf("New(%+v): %v", cfg, err)
			}
		})
	}
}

func TestParseIdle(t *testing.T) {
	for _, m := range modes {
		if got, err := engine.ParseIdle(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := engine.ParseIdle("nap"); !errors.Is(err, engine.ErrConfig) {
		t.Errorf("nap: %v", err)
	}
}

func TestArgumentRefusals(t *testing.T) {
	near, _ := pipe(t, linktest.PipeConfig{})
	e, other := running(t, engine.Config{}), running(t, engine.Config{})
	foreign := add(t, other, near, engine.HandlerFunc(echo))
	fresh, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := engine.HandlerFunc(echo)
	addErr := func(_ *engine.Port, err error) error { return err }
	ctx := context.Background()
	var none context.Context
	cases := []struct {
		name string
		err  error
		want error
	}{
		{"Start without context", fresh.Start(none), engine.ErrArgument},
		{"Drain without context", e.Drain(none), engine.ErrArgument},
		{"Do without context", e.Do(none, func() {}), engine.ErrArgument},
		{"Do without function", e.Do(ctx, nil), engine.ErrArgument},
		{"Post without function", e.Post(nil), engine.ErrArgument},
		{"Add without link", addErr(e.Add(nil, h)), engine.ErrArgument},
		{"Add without handler", addErr(e.Add(near, nil)), engine.ErrArgument},
		{"Add with a nil HandlerFunc", addErr(e.Add(near, engine.HandlerFunc(nil))), engine.ErrArgument},
		{"Add with a nil option", addErr(e.Add(near, h, nil)), engine.ErrArgument},
		{"Remove without port", e.Remove(nil), engine.ErrArgument},
		{"Remove of another engine's port", e.Remove(foreign), engine.ErrArgument},
		{"Stop before Start", fresh.Stop(), engine.ErrNotStarted},
		{"Drain before Start", fresh.Drain(ctx), engine.ErrNotStarted},
		{"Do before Start", fresh.Do(ctx, func() {}), engine.ErrNotStarted},
		{"Post before Start", fresh.Post(func() {}), engine.ErrNotStarted},
		{"Start twice", e.Start(ctx), engine.ErrStarted},
	}
	for _, c := range cases {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
}

func TestAfterStop(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	gone := make(chan error, 1)
	p := add(t, e, near, engine.HandlerFunc(echo), engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; !errors.Is(err, engine.ErrStopped) {
		t.Errorf("OnGone: %v", err)
	}
	if err := e.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := e.Drain(context.Background()); err != nil {
		t.Errorf("Drain: %v", err)
	}
	if err := e.Remove(p); err != nil {
		t.Errorf("Remove of a port that is gone: %v", err)
	}
	if _, err := e.Add(far, engine.HandlerFunc(echo)); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Add: %v", err)
	}
	if err := e.Do(context.Background(), func() { t.Error("ran") }); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Do: %v", err)
	}
	if err := e.Post(func() { t.Error("ran") }); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Post: %v", err)
	}
	if err := e.Start(context.Background()); !errors.Is(err, engine.ErrStarted) {
		t.Errorf("Start: %v", err)
	}
	// The link is the caller's again, and alive.
	send(t, near, event(1), "still here")
	if g := receive(t, far); g.payload != "still here" {
		t.Errorf("%+v", g)
	}
}

func TestContextEndsTheEngine(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(context.Background())
		e, err := engine.New(engine.Config{CPU: engine.Unpinned, Idle: idle})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		cancel(why)
		select {
		case <-e.Done():
		case <-time.After(patience):
			t.Fatal("still running")
		}
		if err := e.Err(); !errors.Is(err, why) {
			t.Errorf("Err: %v", err)
		}
	})
}

func TestStartFailsWhereItCannotPin(t *testing.T) {
	near, _ := pipe(t, linktest.PipeConfig{})
	e, err := engine.New(engine.Config{CPU: 1000, Name: "astray"})
	if err != nil {
		t.Fatal(err)
	}
	gone := false
	add(t, e, near, engine.HandlerFunc(echo), engine.OnGone(func(*engine.Port, error) { gone = true }))
	if err := e.Start(context.Background()); err == nil || !errors.Is(err, e.Err()) {
		t.Errorf("Start: %v, Err: %v", err, e.Err())
	}
	if !gone {
		t.Error("OnGone did not run")
	}
	<-e.Done()
}

func TestPinnedToEveryCPU(t *testing.T) {
	e, err := engine.New(engine.Config{CPU: 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Skipf("core 0 can't be had here: %v", err)
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAddBeforeStart(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	gone, _ := pipe(t, linktest.PipeConfig{})
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err != nil {
		t.Fatal(err)
	}
	add(t, e, near, engine.HandlerFunc(echo))
	var why error
	p := add(t, e, gone, engine.HandlerFunc(echo), engine.OnGone(func(_ *engine.Port, err error) { why = err }))
	if err := e.Remove(p); err != nil || !errors.Is(why, engine.ErrRemoved) {
		t.Errorf("Remove before Start: %v, OnGone: %v", err, why)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	send(t, far, request(1), "early")
	if g := receive(t, far); g.payload != "early" {
		t.Errorf("%+v", g)
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}

func TestMaxLinks(t *testing.T) {
	e := running(t, engine.Config{MaxLinks: 1})
	a, b := pipe(t, linktest.PipeConfig{})
	p := add(t, e, a, engine.HandlerFunc(echo))
	if _, err := e.Add(b, engine.HandlerFunc(echo)); !errors.Is(err, engine.ErrTooManyLinks) {
		t.Errorf("second link: %v", err)
	}
	if err := e.Remove(p); err != nil {
		t.Fatal(err)
	}
	add(t, e, b, engine.HandlerFunc(echo))
}

func TestAddTwice(t *testing.T) {
	e := running(t, engine.Config{})
	near, far := pipe(t, linktest.PipeConfig{})
	add(t, e, near, engine.HandlerFunc(echo))
	if _, err := e.Add(near, engine.HandlerFunc(echo)); err == nil {
		t.Error("the same link was taken twice")
	}
	send(t, far, request(1), "fine")
	receive(t, far)
}

func TestAddAndRemoveWhileRunning(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		e := running(t, engine.Config{Idle: idle})
		var group sync.WaitGroup
		var gone atomic.Int64
		for range 8 {
			group.Go(func() {
				for i := range uint32(20) {
					near, far, err := linktest.Pipe(linktest.PipeConfig{})
					if err != nil {
						t.Error(err)
						return
					}
					p, err := e.Add(near, engine.HandlerFunc(echo), engine.WithValue(i),
						engine.OnGone(func(p *engine.Port, err error) {
							if errors.Is(err, engine.ErrRemoved) && p.Value() == i {
								gone.Add(1)
							}
						}))
					if err != nil {
						t.Error(err)
						return
					}
					send(t, far, request(i), "x")
					receive(t, far)
					if err := e.Remove(p); err != nil {
						t.Error(err)
					}
					_ = near.Close()
					_ = far.Close()
				}
			})
		}
		group.Wait()
		if n := gone.Load(); n != 160 {
			t.Errorf("OnGone ran %d times, want 160", n)
		}
	})
}

func TestFromTheThreadItself(t *testing.T) {
	e := running(t, engine.Config{})
	near, far := pipe(t, linktest.PipeConfig{})
	second, secondFar := pipe(t, linktest.PipeConfig{})
	gone := make(chan error, 1)
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		switch v.Header.Correlation {
		case 1: // Do, Add and Remove act at once instead of waiting for themselves
			if err := e.Do(context.Background(), func() { echo(p, v) }); err != nil {
				t.Error(err)
			}
			add(t, e, second, engine.HandlerFunc(echo))
		case 2:
			echo(p, v)
			if err := e.Remove(p); err != nil {
				t.Error(err)
			}
		default:
			t.Error("handled after Remove")
		}
	}), engine.OnGone(func(p *engine.Port, err error) { gone <- err }))
	for i := range uint32(3) {
		send(t, far, request(i+1), "x")
	}
	receive(t, far)
	receive(t, far) // committed before Remove, so it travels
	if err := <-gone; !errors.Is(err, engine.ErrRemoved) {
		t.Errorf("OnGone: %v", err)
	}
	send(t, secondFar, request(9), "y")
	receive(t, secondFar)
	do(t, e, func() {
		if err := e.Stop(); err != nil { // asks only
			t.Error(err)
		}
	})
	<-e.Done()
}

func TestDo(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		e := running(t, engine.Config{Idle: idle, Commands: 4})
		n := 0 // the thread's own: the race detector watches
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 50 {
					do(t, e, func() { n++ })
				}
			})
		}
		group.Wait()
		do(t, e, func() {
			if n != 400 {
				t.Errorf("%d functions ran, want 400", n)
			}
		})
	})
}

func TestDoGivesUp(t *testing.T) {
	e := running(t, engine.Config{Commands: 1})
	enter, leave := make(chan struct{}), make(chan struct{})
	if err := e.Post(func() { close(enter); <-leave }); err != nil {
		t.Fatal(err)
	}
	<-enter
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	gaveUp := make(chan error)
	giveUp := func() { gaveUp <- e.Do(ctx, func() { t.Error("ran") }) }
	go giveUp()
	eventually(t, "it is handed over", func() bool { return e.QueuedCommands() == 1 })
	go giveUp() // waits for room
	cancel(why)
	for range 2 {
		if err := <-gaveUp; !errors.Is(err, why) {
			t.Errorf("Do: %v", err)
		}
	}
	if err := e.Post(func() {}); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("Post to a full queue: %v", err)
	}
	close(leave)
	do(t, e, func() {})
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := descriptors(t)
	for range 20 {
		near, far, err := linktest.Pipe(linktest.PipeConfig{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := engine.New(engine.Config{CPU: engine.Unpinned})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		add(t, e, near, engine.HandlerFunc(echo), engine.CloseLink())
		if err := e.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := far.CheckPeer(); !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("the owned link was not closed: %v", err)
		}
		_ = far.Close()
	}
	if after := descriptors(t); after > before+1 { // the Go poller may open its own once
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
