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

func TestConcurrency(t *testing.T) {
	const places = 3
	limit := ok[*policy.Concurrency](t)(policy.NewConcurrency(places, patience))
	var now, most atomic.Int64
	next := &scripted{call: func(context.Context, int, *rpc.Method, rpc.Encoder, rpc.Decoder) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		return nil
	}}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Concurrency: limit}})
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			for range 5 {
				if err := call(context.Background(), c, add); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if most.Load() != places {
		t.Fatalf("%d calls at once, the limit is %d", most.Load(), places)
	}
}

func TestRate(t *testing.T) {
	for name, rate := range map[string]*policy.Rate{
		"bursty": ok[*policy.Rate](t)(policy.NewRate(3, time.Hour, 0)),
		"smooth": ok[*policy.Rate](t)(policy.NewSmoothRate(1, time.Hour, 0)),
	} {
		next := fails(nil)
		c := wrap(t, next, policy.Options{Methods: map[string]policy.Policy{"Arith.Add": {Rate: rate}}})
		var last error
		for range 10 {
			last = call(soon(t), c, add)
		}
		want := int64(3)
		if name == "smooth" {
			want = 1
		}
		if next.calls.Load() != want || !errors.Is(last, policy.ErrRate) || !errors.Is(last, wire.StatusResourceExhausted) {
			t.Error(name, next.calls.Load(), last)
		}
		if err := call(soon(t), c, echo); err != nil {
			t.Error(name, "another method:", err)
		}
	}
}

func TestRateWaits(t *testing.T) {
	rate := ok[*policy.Rate](t)(policy.NewSmoothRate(1, 5*time.Millisecond, time.Minute))
	c := wrap(t, fails(nil), policy.Options{Client: policy.Policy{Rate: rate}})
	began := time.Now()
	for range 5 {
		if err := call(soon(t), c, add); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 15*time.Millisecond {
		t.Fatalf("5 calls at one every 5 ms took %v", took)
	}
}

// An open breaker uses up nobody's turn, and a refusal by a limit keeps no
// place and no probe.
func TestRefusalsGiveBackWhatTheyTook(t *testing.T) {
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(1, time.Millisecond))
	rate := ok[*policy.Rate](t)(policy.NewRate(3, time.Hour, 0))
	place := ok[*policy.Concurrency](t)(policy.NewConcurrency(1, 0))
	next := fails(wire.StatusUnavailable, nil)
	c := wrap(t, next, policy.Options{Client: policy.Policy{Breaker: breaker, Rate: rate, Concurrency: place}})
	_ = call(soon(t), c, add) // opens; one turn is used
	until(t, func() bool { return call(soon(t), c, add) == nil })
	if err := call(soon(t), c, add); err != nil { // the third turn
		t.Fatal("the open breaker used up turns:", err)
	}
	if err := call(soon(t), c, add); !errors.Is(err, policy.ErrRate) || breaker.State() != policy.BreakerClosed {
		t.Fatal(err, breaker.State())
	}
}

// TestStreamsHoldTheirPlace does so over a real link.
func TestStreamsHoldTheirPlace(t *testing.T) {
	dial, s, _ := serveArith(t, startEngine(t))
	if _, err := s.Publisher(tick); err != nil {
		t.Fatal(err)
	}
	place := ok[*policy.Concurrency](t)(policy.NewConcurrency(1, 0))
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(1, time.Hour))
	c := arith.NewArithClient(wrap(t, connect(t, dial), policy.Options{
		Client: policy.Policy{Concurrency: place, Breaker: breaker, Retry: &policy.Retry{}},
	}))
	for name, end := range map[string]func(ctx context.Context, cancel func()){
		"reply": func(ctx context.Context, _ func()) {
			in := ok[*rpc.Incoming[arith.Number, arith.CountReply]](t)(c.Count(ctx, arith.CountRequest{N: 3}))
			full(t, c)
			if reply, err := in.Reply(); err != nil || reply.Sent != 3 {
				t.Fatal(reply, err)
			}
		},
		"close": func(ctx context.Context, _ func()) {
			out := ok[*rpc.Outgoing[arith.Number, arith.AddReply]](t)(c.Sum(ctx))
			full(t, c)
			_ = out.Close()
			_ = out.Close()
		},
		"context": func(ctx context.Context, cancel func()) {
			both := ok[*rpc.Duplex[arith.Number, arith.Number, rpc.Empty]](t)(c.Squares(ctx))
			full(t, c)
			cancel()
			until(t, func() bool { _, err := c.Add(soon(t), arith.AddRequest{}); return err == nil })
			_ = both.Close()
		},
		"subscription": func(ctx context.Context, _ func()) {
			events := ok[*rpc.Events[arith.Number]](t)(c.Tick(ctx, rpc.SubscribeOptions{}))
			full(t, c)
			_ = events.Close()
		},
		"an error on the way": func(ctx context.Context, _ func()) {
			out := ok[*rpc.Outgoing[arith.Number, arith.AddReply]](t)(c.Sum(ctx))
			full(t, c)
			_ = out.Send(arith.Number{Value: -1})
			if _, err := out.Reply(); !errors.Is(err, wire.StatusInvalidArgument) {
				t.Fatal(err)
			}
		},
	} {
		ctx, cancel := context.WithCancel(soon(t))
		end(ctx, cancel)
		cancel()
		if _, err := c.Add(soon(t), arith.AddRequest{}); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	if breaker.State() != policy.BreakerClosed {
		t.Fatal(breaker.State())
	}
}

func full(t *testing.T, c *arith.ArithClient) {
	t.Helper()
	if _, err := c.Add(soon(t), arith.AddRequest{}); !errors.Is(err, policy.ErrConcurrency) {
		t.Fatal("there is room beside the stream:", err)
	}
}
