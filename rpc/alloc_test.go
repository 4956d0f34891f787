package rpc_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// Both sides are in this process, so what either allocates is counted.

// allocations returns how many there were in n runs of f, in the whole process,
// after one run that isn't counted. testing.AllocsPerRun would leave one P to
// both sides, which then wait for each other for milliseconds.
func allocations(n int, f func()) uint64 {
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

func TestUnaryAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := newServer(t, nil)
	viewsArith(t, s)
	for _, mode := range []rpc.WaitMode{rpc.WaitSpin, rpc.WaitAdaptive} {
		conn := connect(t, s, func(t testing.TB) (_, _ link.Link) { return openUDS(t, uds.PathRing) },
			&rpc.ConnOptions{Wait: mode, Timeout: time.Second})
		c, ctx := arith.NewArithClient(conn), context.Background()
		call := func() {
			if _, err := c.Add(ctx, arith.AddRequest{A: 1, B: 2}); err != nil {
				t.Fatal(err)
			}
		}
		if n := allocations(1000, call); n > 100 {
			t.Errorf("%v: %v allocations in 1000 calls", mode, n)
		}
	}
}

func TestAsyncAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := newServer(t, nil)
	viewsArith(t, s)
	a, b := openUDS(t, uds.PathRing)
	e := startEngine(t, engine.IdleAdaptive)
	if err := s.Serve(startEngine(t, engine.IdleAdaptive), a); err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Attach(e, b, &rpc.ConnOptions{Timeout: time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const calls = 20000
	run := func() {
		finished := make(chan error, 1)
		if err := e.Do(context.Background(), func() { pipeline(conn, calls, 20, finished) }); err != nil {
			t.Fatal(err)
		}
		if err := <-finished; err != nil {
			t.Fatal(err)
		}
	}
	// Starting a pipeline allocates a little; calls don't.
	if n := allocations(1, run); n > 100 {
		t.Errorf("%v allocations in %d calls", n, calls)
	}
}
