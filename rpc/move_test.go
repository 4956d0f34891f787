package rpc_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Under load, servers take each other's place: no call fails, none runs twice.
func TestServersReplacedUnderLoad(t *testing.T) {
	for _, o := range openers {
		t.Run(o.name, func(t *testing.T) {
			d := describe(t, pricesOne)
			e := startEngine(t, engine.IdleAdaptive)
			var runs, calls atomic.Int64
			newOne := func() *rpc.Server {
				s := newServer(t, nil)
				if err := s.Register(d, rpc.Inline(func(_ *rpc.Call, req, reply []byte) (int, error) {
					runs.Add(1)
					return copy(reply, req), nil
				})); err != nil {
					t.Fatal(err)
				}
				return s
			}
			var current atomic.Pointer[rpc.Server]
			current.Store(newOne())
			conn, err := rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
				a, b := o.open(t)
				return b, current.Load().Serve(e, a)
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, stop := context.WithCancel(soon(t))
			var load sync.WaitGroup
			for range 3 {
				load.Go(func() {
					for ctx.Err() == nil {
						var reply raw
						if err := conn.Call(soon(t), &d.Methods[0], order(d, 7), &reply); err != nil {
							t.Error(err)
							return
						}
						calls.Add(1)
					}
				})
			}
			for range 10 {
				before := calls.Load()
				eventually(t, "calls go on", func() bool { return calls.Load() > before+20 || t.Failed() })
				old := current.Swap(newOne())
				old.Retire(soon(t)) // only if all clients have left in time
				if err := old.Close(); err != nil {
					t.Error(err)
				}
			}
			stop()
			load.Wait()
			if runs.Load() != calls.Load() {
				t.Errorf("%d calls were executed %d times", calls.Load(), runs.Load())
			}
			if s := conn.Stats(); s.Reconnects < 10 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A server that drains and has no successor is not dialed again and again.
func TestDrainingWithoutASuccessor(t *testing.T) {
	d := describe(t, pricesOne)
	s := newServer(t, nil)
	registerPrices(t, s, d, 1)
	e := startEngine(t, engine.IdleAdaptive)
	var dialed atomic.Int32
	conn, err := rpc.Connect(soon(t), func(context.Context) (link.Link, error) {
		dialed.Add(1)
		a, b := openPipe(t)
		return b, s.Serve(e, a)
	}, &rpc.ConnOptions{BackoffMin: time.Hour, BackoffMax: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := conn.Call(ctx, &d.Methods[0], order(d, 7), &raw{})
		cancel()
		if !errors.Is(err, wire.StatusDraining) && !errors.Is(err, wire.StatusUnavailable) {
			t.Error(err)
		}
	}
	if n := dialed.Load(); n > 2 {
		t.Errorf("dialed %d times", n)
	}
}

// A call under way ends where it began, while others go elsewhere already.
func TestCallsUnderWayEndWhereTheyBegan(t *testing.T) {
	d := describe(t, pricesOne)
	hold := make(chan struct{})
	entered := make(chan struct{})
	old, next := newServer(t, nil), newServer(t, nil)
	if err := old.Register(d, rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error {
		close(entered)
		<-hold
		return x.Reply(order(d, 1))
	})); err != nil {
		t.Fatal(err)
	}
	registerPrices(t, next, d, 2)
	conn, _ := replaced(t, old, next)
	first := make(chan error, 1)
	go func() { first <- conn.Call(soon(t), &d.Methods[0], order(d, 7), nil) }()
	<-entered
	drained := make(chan struct{})
	go func() { defer close(drained); old.Retire(soon(t)) }()
	eventually(t, "the old server drains", old.Draining)
	var reply raw
	if err := conn.Call(soon(t), &d.Methods[0], order(d, 7), &reply); err != nil || reply[3] != 2 {
		t.Errorf("reply %v, %v", reply, err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	<-drained
}
