package policy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
	"github.com/cell-runtime/cell/wire"
)

func TestNoPolicyCostsNothing(t *testing.T) {
	next := fails(nil)
	if wrap(t, next, policy.Options{}) != rpc.Caller(next) {
		t.Fatal("without policies the caller was wrapped")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]policy.Options{
		"negative deadline":     {Client: policy.Policy{Deadline: -1}},
		"too many attempts":     {Client: policy.Policy{Retry: &policy.Retry{Attempts: 101}}},
		"negative backoff":      {Client: policy.Policy{Retry: &policy.Retry{Backoff: -1}}},
		"hedge at once":         {Client: policy.Policy{Hedge: &policy.Hedge{}}},
		"too many hedges":       {Client: policy.Policy{Hedge: &policy.Hedge{After: time.Second, Most: 11}}},
		"method without a name": {Methods: map[string]policy.Policy{"Add": {Deadline: 1}}},
		"bad policy of method":  {Methods: map[string]policy.Policy{"Arith.Add": {Deadline: -1}}},
	} {
		if _, err := policy.New(o); !errors.Is(err, policy.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"budget of nothing":        second(policy.NewBudget(0, 1)),
		"budget without reserve":   second(policy.NewBudget(0.1, 0)),
		"breaker after 0 failures": second(policy.NewBreaker(0, time.Second)),
		"breaker that never shuts": second(policy.NewBreaker(1, 0)),
		"rate breaker above 1":     second(policy.NewRateBreaker(1.5, 1, time.Second, time.Second, 1)),
		"rate breaker, no window":  second(policy.NewRateBreaker(0.5, 1, 0, time.Second, 1)),
		"no concurrency":           second(policy.NewConcurrency(0, 0)),
		"no rate":                  second(policy.NewRate(0, time.Second, 0)),
		"rate beyond nanoseconds":  second(policy.NewSmoothRate(10_000, time.Microsecond, 0)),
	} {
		if !errors.Is(err, policy.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestWhatIsSentAgain is the first fault of its kind: calls that may have been
// executed are sent again only if that does no harm.
func TestWhatIsSentAgain(t *testing.T) {
	for _, c := range []struct {
		status            wire.Status
		idempotent, other bool // sent again
	}{
		{wire.StatusUnavailable, true, true},
		{wire.StatusDraining, true, true},
		{wire.StatusResourceExhausted, true, true},
		{wire.StatusPeerGone, true, false},
		{wire.StatusDeadlineExceeded, true, false},
		{wire.StatusAborted, true, false},
		{wire.StatusInternal, false, false},
		{wire.StatusUnknown, false, false},
		{wire.StatusNotFound, false, false},
		{wire.StatusTooLarge, false, false},
		{wire.StatusCanceled, false, false},
		{wire.StatusFingerprint, false, false},
	} {
		for _, m := range []*rpc.Method{add, echo} {
			next := fails(&rpc.Error{Status: c.status, Remote: true}, nil)
			again := c.other
			if m.Idempotent {
				again = c.idempotent
			}
			err := call(soon(t), wrap(t, next, policy.Options{Client: policy.Policy{Retry: &policy.Retry{}}}), m)
			if got := next.calls.Load() == 2; got != again || again != (err == nil) {
				t.Errorf("%v, %v: %d attempts, %v", c.status, m, next.calls.Load(), err)
			}
		}
	}
}

// TestLossOfTheLink does the same with a real link that is lost while the
// handler is at it: it must not run a second time.
func TestLossOfTheLink(t *testing.T) {
	e := startEngine(t)
	dial, s, _ := serveArith(t, e)
	c := wrap(t, connect(t, dial), policy.Options{Client: policy.Policy{Retry: &policy.Retry{Attempts: 5}}})
	done := make(chan error, 1)
	go func() {
		_, err := arith.NewArithClient(c).Echo(context.Background(), arith.Text{Bytes: []byte("hang")})
		done <- err
	}()
	for s.Stats().Workers == 0 {
		time.Sleep(time.Millisecond)
	}
	// The server goes and another takes its place.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, wire.StatusPeerGone) {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the call has not ended")
	}
	if n := s.Stats().Requests; n != 1 {
		t.Fatalf("%d requests of a method that is not idempotent", n)
	}
}

func TestRetryIsBounded(t *testing.T) {
	gone := &rpc.Error{Status: wire.StatusUnavailable}
	t.Run("by attempts", func(t *testing.T) {
		next := fails(gone)
		err := call(soon(t), wrap(t, next, policy.Options{Client: policy.Policy{Retry: &policy.Retry{Attempts: 4}}}), add)
		if next.calls.Load() != 4 || !errors.Is(err, wire.StatusUnavailable) {
			t.Fatal(next.calls.Load(), err)
		}
	})
	t.Run("by a budget that successes fill again", func(t *testing.T) {
		next := fails(gone)
		budget := ok[*policy.Budget](t)(policy.NewBudget(0.5, 3))
		c := wrap(t, next, policy.Options{Client: policy.Policy{Retry: &policy.Retry{Budget: budget}}})
		for range 10 {
			_ = call(soon(t), c, add)
		}
		if n := next.calls.Load(); n != 10+3 || budget.Left() != 0 {
			t.Fatalf("%d attempts of 10 calls with 3 retries in reserve, %d left", n, budget.Left())
		}
		next.call = func(context.Context, int, *rpc.Method, rpc.Encoder, rpc.Decoder) error { return nil }
		for range 4 {
			if err := call(soon(t), c, add); err != nil {
				t.Fatal(err)
			}
		}
		if budget.Left() != 2 {
			t.Fatalf("%d retries after 4 successes at a half each", budget.Left())
		}
	})
	t.Run("by the deadline, whose failure is told", func(t *testing.T) {
		next := fails(gone)
		retry := &policy.Retry{Attempts: 100, Backoff: time.Hour, MaxBackoff: time.Hour}
		err := call(context.Background(), wrap(t, next, policy.Options{Client: policy.Policy{Deadline: time.Minute, Retry: retry}}), add)
		if next.calls.Load() != 1 || !errors.Is(err, wire.StatusUnavailable) {
			t.Fatal(next.calls.Load(), err)
		}
	})
	t.Run("by cancellation in the middle of a wait", func(t *testing.T) {
		ctx, cancel := context.WithCancel(soon(t))
		next := &scripted{call: func(context.Context, int, *rpc.Method, rpc.Encoder, rpc.Decoder) error {
			time.AfterFunc(time.Millisecond, cancel)
			return gone
		}}
		retry := &policy.Retry{Attempts: 100, Backoff: patience / 4, MaxBackoff: patience / 4}
		if err := call(ctx, wrap(t, next, policy.Options{Client: policy.Policy{Retry: retry}}), add); err == nil || next.calls.Load() != 1 {
			t.Fatal(next.calls.Load(), err)
		}
	})
	t.Run("by this package's own refusals", func(t *testing.T) {
		next := fails(gone)
		breaker := ok[*policy.Breaker](t)(policy.NewBreaker(2, time.Hour))
		err := call(soon(t), wrap(t, next, policy.Options{Client: policy.Policy{Retry: &policy.Retry{Attempts: 50}, Breaker: breaker}}), add)
		if next.calls.Load() != 2 || !errors.Is(err, policy.ErrBreakerOpen) {
			t.Fatal(next.calls.Load(), err)
		}
	})
}

func TestAttemptTimeoutLeavesTimeForAnother(t *testing.T) {
	next := &scripted{call: func(ctx context.Context, n int, _ *rpc.Method, _ rpc.Encoder, _ rpc.Decoder) error {
		if n == 1 {
			<-ctx.Done()
			return rpc.Errorf(rpc.StatusOf(ctx.Err()), "hung")
		}
		return nil
	}}
	retry := &policy.Retry{AttemptTimeout: 5 * time.Millisecond}
	c := wrap(t, next, policy.Options{Client: policy.Policy{Deadline: patience, Retry: retry}})
	if err := call(context.Background(), c, add); err != nil || next.calls.Load() != 2 {
		t.Fatal(next.calls.Load(), err)
	}
}

func TestSendIsTriedAgainIfNotExecuted(t *testing.T) {
	next := fails(&rpc.Error{Status: wire.StatusUnavailable}, nil)
	c := wrap(t, next, policy.Options{Client: policy.Policy{Retry: &policy.Retry{}, Deadline: patience}})
	if err := c.Send(context.Background(), note, arith.AddRequest{}); err != nil || next.calls.Load() != 2 {
		t.Fatal(next.calls.Load(), err)
	}
}
