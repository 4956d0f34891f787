package policy_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
	"github.com/cell-runtime/cell/wire"
)

// hangUntil waits for the end of ctx.
func hangUntil(ctx context.Context) error {
	<-ctx.Done()
	return rpc.Errorf(rpc.StatusOf(ctx.Err()), "gave up")
}

// answer encodes a sum into a reply, as a connection does.
func answer(reply rpc.Decoder, sum int64) error {
	b := make([]byte, 8)
	_, _ = arith.AddReply{Sum: sum}.EncodeCell(b)
	return reply.DecodeCell(b)
}

// begun is closed when the second attempt has begun.
type begun chan struct{}

// met has the first attempt wait for the second, and reports whether n is the first.
func (b begun) met(n int) bool {
	if n == 1 {
		<-b
		return true
	}
	close(b)
	return false
}

func TestHedge(t *testing.T) {
	notFound := &rpc.Error{Status: wire.StatusNotFound, Remote: true}
	var second begun
	for _, c := range []struct {
		name     string
		hedge    policy.Hedge
		script   func(ctx context.Context, n int, reply rpc.Decoder) error
		method   *rpc.Method
		err      error
		sum      int64
		attempts int64
	}{
		{"the first answers in time", policy.Hedge{After: time.Hour}, func(_ context.Context, n int, reply rpc.Decoder) error {
			return answer(reply, int64(n))
		}, add, nil, 1, 1},
		{"the second answers while the first hangs", policy.Hedge{After: time.Millisecond}, func(ctx context.Context, n int, reply rpc.Decoder) error {
			if n == 1 {
				return hangUntil(ctx)
			}
			return answer(reply, int64(n))
		}, add, nil, 2, 2},
		{"the third answers", policy.Hedge{After: time.Millisecond, Most: 2}, func(ctx context.Context, n int, reply rpc.Decoder) error {
			if n < 3 {
				return hangUntil(ctx)
			}
			return answer(reply, int64(n))
		}, add, nil, 3, 3},
		{"the first fails for good while the second hangs", policy.Hedge{After: time.Millisecond}, func(ctx context.Context, n int, _ rpc.Decoder) error {
			if second.met(n) {
				return notFound
			}
			return hangUntil(ctx)
		}, add, wire.StatusNotFound, 0, 2},
		{"the first is lost, the second answers later", policy.Hedge{After: time.Millisecond}, func(_ context.Context, n int, reply rpc.Decoder) error {
			if second.met(n) {
				return wire.StatusPeerGone
			}
			time.Sleep(20 * time.Millisecond)
			return answer(reply, int64(n))
		}, add, nil, 2, 2},
		{"both are lost", policy.Hedge{After: time.Millisecond}, func(_ context.Context, n int, _ rpc.Decoder) error {
			second.met(n)
			return wire.StatusPeerGone
		}, add, wire.StatusPeerGone, 0, 2},
		{"not for methods that are not idempotent", policy.Hedge{After: time.Millisecond}, func(_ context.Context, n int, reply rpc.Decoder) error {
			time.Sleep(20 * time.Millisecond)
			return answer(reply, int64(n))
		}, echo, nil, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			second = make(begun)
			next := &scripted{call: func(ctx context.Context, n int, _ *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
				var copied [16]byte
				if _, err := req.EncodeCell(copied[:]); err != nil || copied[0] != 7 {
					t.Error("the request is not the caller's", copied, err)
				}
				return c.script(ctx, n, reply)
			}}
			w := wrap(t, next, policy.Options{Client: policy.Policy{Hedge: &c.hedge}})
			var reply arith.AddReply
			err := w.Call(soon(t), c.method, arith.AddRequest{A: 7}, &reply)
			if rpc.StatusOf(err) != rpc.StatusOf(c.err) || err == nil && reply.Sum != c.sum || next.calls.Load() != c.attempts {
				t.Fatalf("%v, sum %d, %d attempts", err, reply.Sum, next.calls.Load())
			}
		})
	}
}

func TestHedgesHaveABudget(t *testing.T) {
	budget := ok[*policy.Budget](t)(policy.NewBudget(0.1, 2))
	var begun atomic.Int64
	next := &scripted{call: func(ctx context.Context, n int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		begun.Add(1)
		time.Sleep(10 * time.Millisecond)
		return wire.StatusPeerGone
	}}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Hedge: &policy.Hedge{After: time.Millisecond, Budget: budget}}})
	for range 5 {
		_ = call(soon(t), c, add)
	}
	if n := begun.Load(); n != 5+2 {
		t.Fatalf("%d attempts of 5 calls with 2 hedges in reserve", n)
	}
}

// TestHedgesOverARealLink has many calls hedged at once, whose messages come
// from a pool: an attempt that touched them after the call would show.
func TestHedgesOverARealLink(t *testing.T) {
	dial, _, _ := serveArith(t, startEngine(t))
	c := arith.NewArithClient(wrap(t, connect(t, dial), policy.Options{
		Client: policy.Policy{Deadline: patience, Hedge: &policy.Hedge{After: time.Microsecond, Most: 2}},
	}))
	var callers sync.WaitGroup
	for g := range int64(8) {
		callers.Go(func() {
			for n := range int64(200) {
				reply, err := c.Add(context.Background(), arith.AddRequest{A: g << 32, B: n})
				if err != nil || reply.Sum != g<<32+n {
					t.Errorf("%d + %d = %d, %v", g<<32, n, reply.Sum, err)
					return
				}
			}
		})
	}
	callers.Wait()
}

func TestHedgesCountInBreakersAndLimits(t *testing.T) {
	one := ok[*policy.Concurrency](t)(policy.NewConcurrency(1, 0))
	next := &scripted{call: func(_ context.Context, n int, _ *rpc.Method, _ rpc.Encoder, reply rpc.Decoder) error {
		time.Sleep(10 * time.Millisecond)
		return answer(reply, int64(n))
	}}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Concurrency: one, Hedge: &policy.Hedge{After: time.Millisecond}}})
	if err := call(soon(t), c, add); err != nil || next.calls.Load() != 1 {
		t.Fatal(next.calls.Load(), err)
	}
}

func TestFallback(t *testing.T) {
	fixed := ok[policy.Fallback](t)(policy.FallbackReply(arith.AddReply{Sum: 42}))
	for _, c := range []struct {
		name     string
		err      error
		method   *rpc.Method
		fallback policy.Fallback
		sum      int64
		want     error
	}{
		{"a fixed reply for a server that is gone", wire.StatusUnavailable, add, fixed, 42, nil},
		{"a fixed reply for one that is slow", wire.StatusDeadlineExceeded, echo, fixed, 42, nil},
		{"not for the application's errors", wire.StatusNotFound, add, fixed, 0, wire.StatusNotFound},
		{"not for callers who gave up", wire.StatusCanceled, add, fixed, 0, wire.StatusCanceled},
		{"another server", wire.StatusUnavailable, echo, policy.FallbackTo(sums(43)), 43, nil},
		{"another server, idempotent", wire.StatusPeerGone, add, policy.FallbackTo(sums(43)), 43, nil},
		{"another server, perhaps executed", wire.StatusPeerGone, echo, policy.FallbackTo(sums(43)), 0, wire.StatusPeerGone},
	} {
		w := wrap(t, fails(c.err), policy.Options{Client: policy.Policy{Fallback: c.fallback}})
		var reply arith.AddReply
		err := w.Call(soon(t), c.method, arith.AddRequest{}, &reply)
		if rpc.StatusOf(err) != rpc.StatusOf(c.want) || err == nil && reply.Sum != c.sum {
			t.Errorf("%s: %d, %v", c.name, reply.Sum, err)
		}
	}
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(1, time.Hour))
	w := wrap(t, fails(wire.StatusUnavailable), policy.Options{Client: policy.Policy{Breaker: breaker, Fallback: fixed}})
	for range 3 {
		if err := call(soon(t), w, add); err != nil {
			t.Error("with an open breaker:", err)
		}
	}
	if err := w.Send(soon(t), note, arith.AddRequest{}); !errors.Is(err, policy.ErrBreakerOpen) {
		t.Error("one-way requests have nothing to fall back on:", err)
	}
}

func sums(sum int64) rpc.Caller {
	return &scripted{call: func(_ context.Context, _ int, _ *rpc.Method, _ rpc.Encoder, reply rpc.Decoder) error {
		return answer(reply, sum)
	}}
}
