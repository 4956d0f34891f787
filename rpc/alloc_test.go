package rpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
)

// Both sides are in this process, so what either allocates is counted.

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
		call()
		if n := testing.AllocsPerRun(1000, call); n > 0 {
			t.Errorf("%v: %v allocations a call", mode, n)
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
	run()
	// Starting a pipeline allocates a little; calls don't.
	if n := testing.AllocsPerRun(3, run); n > 50 {
		t.Errorf("%v allocations in %d calls", n, calls)
	}
}
