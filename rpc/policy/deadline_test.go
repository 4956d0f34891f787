package policy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/policy"
	"github.com/cell-runtime/cell/wire"
)

// TestDeadlineCoversEveryWait is the third fault of its kind. Each case would
// wait for ever.
func TestDeadlineCoversEveryWait(t *testing.T) {
	const deadline = 20 * time.Millisecond
	taken := func(t *testing.T) *policy.Concurrency {
		one := ok[*policy.Concurrency](t)(policy.NewConcurrency(1, time.Hour))
		next := hangs()
		c := wrap(t, next, policy.Options{Client: policy.Policy{Concurrency: one}})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = call(ctx, c, add) }()
		t.Cleanup(func() { cancel(); <-ended })
		until(t, func() bool { return next.calls.Load() == 1 }) // it has the place
		return one
	}
	for _, c := range []struct {
		name  string
		setUp func(t *testing.T) (rpc.Caller, policy.Policy)
		check error
	}{
		{"for a server that hangs", func(t *testing.T) (rpc.Caller, policy.Policy) {
			return hangs(), policy.Policy{}
		}, wire.StatusDeadlineExceeded},
		{"for a real handler that hangs", func(t *testing.T) (rpc.Caller, policy.Policy) {
			dial, _, _ := serveArith(t, startEngine(t))
			return connect(t, dial), policy.Policy{}
		}, wire.StatusDeadlineExceeded},
		{"for a link that can't be opened again", func(t *testing.T) (rpc.Caller, policy.Policy) {
			dial, s, _ := serveArith(t, startEngine(t))
			first := true
			conn := connect(t, func(ctx context.Context) (link.Link, error) {
				if first {
					first = false
					return dial(ctx)
				}
				<-ctx.Done() // it knows of nothing else
				return nil, ctx.Err()
			})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			_ = conn.Ping(ctx)                                  // notices, and dials for as long as it may
			return conn, policy.Policy{Deadline: 10 * deadline} // time enough to begin
		}, wire.StatusUnavailable}, // not executed
		{"for a place among the calls under way", func(t *testing.T) (rpc.Caller, policy.Policy) {
			return fails(nil), policy.Policy{Concurrency: taken(t)}
		}, wire.StatusDeadlineExceeded},
		{"for its turn", func(t *testing.T) (rpc.Caller, policy.Policy) {
			rate := ok[*policy.Rate](t)(policy.NewRate(1, time.Hour, 2*time.Hour))
			if err := call(soon(t), wrap(t, fails(nil), policy.Options{Client: policy.Policy{Rate: rate}}), add); err != nil {
				t.Fatal(err)
			}
			return fails(nil), policy.Policy{Rate: rate}
		}, policy.ErrRate}, // known before: it does not even wait
		{"between attempts", func(t *testing.T) (rpc.Caller, policy.Policy) {
			return fails(wire.StatusUnavailable), policy.Policy{Retry: &policy.Retry{Attempts: 100, Backoff: time.Hour, MaxBackoff: time.Hour}}
		}, wire.StatusUnavailable},
		{"for hedges", func(t *testing.T) (rpc.Caller, policy.Policy) {
			return hangs(), policy.Policy{Hedge: &policy.Hedge{After: time.Millisecond, Most: 3}}
		}, wire.StatusDeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, p := c.setUp(t)
			if p.Deadline == 0 {
				p.Deadline = deadline
			}
			wrapped := wrap(t, next, policy.Options{Client: p})
			for name, ctx := range map[string]context.Context{
				"a context that never ends": context.Background(),
				"one that may":              soon(t),
			} {
				done := make(chan error, 1)
				go func() {
					m := add
					if _, real := next.(*rpc.Conn); real {
						m = echo
						done <- wrapped.Call(ctx, m, hangText, new(discard))
						return
					}
					done <- call(ctx, wrapped, m)
				}()
				select {
				case err := <-done:
					if !errors.Is(err, c.check) {
						t.Errorf("%s: %v", name, err)
					}
				case <-time.After(patience / 2):
					t.Fatalf("%s: the call has not ended", name)
				}
			}
		})
	}
}

func TestDeadlineEndsContextsBelow(t *testing.T) {
	next := &scripted{call: func(ctx context.Context, _ int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		if due, ok := ctx.Deadline(); !ok || time.Until(due) > patience {
			t.Error("the context does not say when it ends")
		}
		below, cancel := context.WithCancel(ctx)
		defer cancel()
		<-below.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(below), context.DeadlineExceeded) {
			t.Error(ctx.Err(), context.Cause(below))
		}
		stopped := context.AfterFunc(ctx, func() {})
		stopped()
		return rpc.Errorf(rpc.StatusOf(ctx.Err()), "over")
	}}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Deadline: 5 * time.Millisecond}})
	if err := call(context.Background(), c, add); !errors.Is(err, wire.StatusDeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestContextOfAnEndedCallIsCancelled(t *testing.T) {
	var kept context.Context
	next := &scripted{call: func(ctx context.Context, _ int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		kept = ctx
		return nil
	}}
	if err := call(context.Background(), wrap(t, next, policy.Options{Client: policy.Policy{Deadline: time.Hour}}), add); err != nil {
		t.Fatal(err)
	}
	<-kept.Done()
	if !errors.Is(kept.Err(), context.Canceled) {
		t.Fatal(kept.Err())
	}
}

func TestEarlierDeadlineWins(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := call(ctx, wrap(t, hangs(), policy.Options{Client: policy.Policy{Deadline: time.Hour}}), add); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// Many deadlines, of which the least is set last, share one timer.
func TestDeadlinesOutOfOrder(t *testing.T) {
	retry := &policy.Retry{Attempts: 1, AttemptTimeout: 5 * time.Millisecond}
	c := wrap(t, hangs(), policy.Options{
		Methods: map[string]policy.Policy{"Arith.Add": {Deadline: time.Hour, Retry: retry}},
	})
	done := make(chan error, 100)
	for range cap(done) {
		go func() { done <- call(context.Background(), c, add) }()
	}
	for range cap(done) {
		select {
		case err := <-done:
			if !errors.Is(err, wire.StatusDeadlineExceeded) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("a call has not ended")
		}
	}
}
