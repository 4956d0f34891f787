package engine_test

import (
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

func busyFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

func TestStallsNameTheirCause(t *testing.T) {
	const long = 20 * time.Millisecond // far above what a busy host takes by itself
	cases := []struct {
		cause engine.Cause
		stall func(t *testing.T, e *engine.Engine, p *engine.Port, far *linktest.End)
	}{
		{engine.CausePort, func(t *testing.T, e *engine.Engine, _ *engine.Port, far *linktest.End) {
			send(t, far, request(1), "")
			receive(t, far)
		}},
		{engine.CauseCommand, func(t *testing.T, e *engine.Engine, _ *engine.Port, _ *linktest.End) {
			do(t, e, func() { busyFor(long) })
		}},
		{engine.CauseTimer, func(t *testing.T, e *engine.Engine, _ *engine.Port, _ *linktest.End) {
			rang := make(chan struct{})
			timer := &engine.Timer{Func: func(*engine.Timer) { busyFor(long); close(rang) }}
			do(t, e, func() { e.StartTimer(timer, time.Millisecond) })
			<-rang
		}},
	}
	for _, c := range cases {
		t.Run(c.cause.String(), func(t *testing.T) {
			near, far := pipe(t, linktest.PipeConfig{})
			e := running(t, engine.Config{Idle: engine.IdleSpin, StallThreshold: long / 2})
			p := add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
				busyFor(long)
				echo(p, v)
			}))
			var s engine.Stats
			// Only the last stall is kept, and a busy host makes its own, shorter ones
			// of the same cause among them.
			for tries := 0; s.LastStall.Cause != c.cause || s.LastStall.Length < long; tries++ {
				if tries == 100 {
					t.Fatalf("never booked: %+v", s)
				}
				c.stall(t, e, p, far)
				do(t, e, func() {}) // the cycle has ended
				time.Sleep(2 * time.Millisecond)
				s = e.Stats()
			}
			if s.Stalls == 0 || s.LongestCycle < long {
				t.Errorf("%+v", s)
			}
			if want := map[bool]uint64{true: p.ID()}[c.cause == engine.CausePort]; s.LastStall.Port != want {
				t.Errorf("port %d, want %d", s.LastStall.Port, want)
			}
		})
	}
}
