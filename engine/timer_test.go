package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
)

func TestTimers(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		e := running(t, engine.Config{Idle: idle})
		type shot struct {
			want, late time.Duration
		}
		shots := make(chan shot, 16)
		delays := []time.Duration{-1, 0, 1, 50 * time.Microsecond, time.Millisecond, 7 * time.Millisecond, 30 * time.Millisecond}
		timers := make([]engine.Timer, len(delays))
		do(t, e, func() {
			start := e.Now()
			for i, d := range delays {
				timers[i] = engine.Timer{Value: d, Func: func(t *engine.Timer) {
					d := t.Value.(time.Duration)
					shots <- shot{d, time.Duration(e.Now()-start) - d}
				}}
				e.StartTimer(&timers[i], d)
			}
		})
		for _, want := range delays {
			s := <-shots
			if s.want != want {
				t.Errorf("timer of %v went off before that of %v", s.want, want)
			}
			if s.late < 0 {
				t.Errorf("timer of %v went off %v early", s.want, -s.late)
			}
		}
	})
}

func TestTimerStopAndMove(t *testing.T) {
	e := running(t, engine.Config{})
	var rang atomic.Int64
	timer := engine.Timer{Func: func(*engine.Timer) { rang.Add(1) }}
	done := make(chan struct{})
	last := engine.Timer{Func: func(*engine.Timer) { close(done) }}
	do(t, e, func() {
		if e.StopTimer(&timer) {
			t.Error("a timer that was never started was stopped")
		}
		e.StartTimer(&timer, time.Millisecond)
		if !e.StopTimer(&timer) {
			t.Error("a started timer was not stopped")
		}
		e.StartTimer(&timer, time.Millisecond)
		e.StartTimer(&timer, time.Hour) // moved
		e.StartTimer(&last, 10*time.Millisecond)
	})
	<-done
	if rang.Load() != 0 {
		t.Error("a stopped or moved timer went off")
	}
}

// A timer that starts itself again at once must leave room for links and
// commands, and the engine can still sleep between the ticks of a slower one.
func TestTimerThatStartsItself(t *testing.T) {
	e := running(t, engine.Config{Idle: engine.IdlePark})
	var greedy, steady atomic.Int64
	a := &engine.Timer{Func: func(t *engine.Timer) { greedy.Add(1); e.StartTimer(t, 0) }}
	b := &engine.Timer{Func: func(t *engine.Timer) { steady.Add(1); e.StartTimer(t, time.Millisecond) }}
	do(t, e, func() { e.StartTimer(a, 0); e.StartTimer(b, 0) })
	eventually(t, "both go off", func() bool { return greedy.Load() > 1000 && steady.Load() > 5 })
	do(t, e, func() { e.StopTimer(a) })
	n, parks := steady.Load(), e.Stats().Parks
	eventually(t, "the steady one goes on", func() bool { return steady.Load() > n+5 && e.Stats().Parks > parks+5 })
}

// What a timer sends, finishes or removes must not wait for the next wake-up of
// an engine that was about to fall asleep.
func TestTimersThatAct(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := pipe(t, linktest.PipeConfig{})
		other, _ := pipe(t, linktest.PipeConfig{})
		e := running(t, engine.Config{Idle: idle})
		p := add(t, e, near, engine.HandlerFunc(echo))
		gone := make(chan error, 1)
		leaves := add(t, e, other, engine.HandlerFunc(echo), engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
		sends := &engine.Timer{Func: func(*engine.Timer) {
			v, err := p.Claim(1)
			if err != nil {
				t.Error(err)
				return
			}
			v.Header = event(1)
			if err := p.Commit(); err != nil {
				t.Error(err)
			}
		}}
		removes := &engine.Timer{Func: func(*engine.Timer) {
			if err := e.Remove(leaves); err != nil {
				t.Error(err)
			}
		}}
		finishes := &engine.Timer{Func: func(*engine.Timer) { p.Unhold() }}
		do(t, e, func() {
			p.Hold()
			e.StartTimer(sends, 2*time.Millisecond)
			e.StartTimer(removes, 4*time.Millisecond)
			e.StartTimer(finishes, 8*time.Millisecond)
		})
		receive(t, far)
		if err := <-gone; !errors.Is(err, engine.ErrRemoved) {
			t.Errorf("OnGone: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Drain(ctx); err != nil {
			t.Errorf("Drain: %v", err)
		}
	})
}
