package policy_test

import (
	"context"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
)

// nothing is a caller that does nothing, so that what is around it is seen.
type nothing struct{ rpc.Caller }

func (nothing) Call(context.Context, *rpc.Method, rpc.Encoder, rpc.Decoder) error { return nil }

// costs are the policies as docs/POLICY.md lists them.
func costs(t testing.TB) []struct {
	name   string
	o      policy.Options
	allocs float64
} {
	budget := ok[*policy.Budget](t)(policy.NewBudget(0.1, 10))
	breaker := ok[*policy.Breaker](t)(policy.NewBreaker(5, time.Second))
	rateBreaker := ok[*policy.Breaker](t)(policy.NewRateBreaker(0.5, 10, time.Second, time.Second, 1))
	rate := ok[*policy.Rate](t)(policy.NewRate(1_000_000_000, time.Second, 0))
	smooth := ok[*policy.Rate](t)(policy.NewSmoothRate(1_000_000_000, time.Second, time.Second))
	places := ok[*policy.Concurrency](t)(policy.NewConcurrency(100, 0))
	retry := &policy.Retry{Budget: budget}
	fallback := ok[policy.Fallback](t)(policy.FallbackReply(arith.AddReply{}))
	of := func(p policy.Policy) policy.Options { return policy.Options{Client: p} }
	return []struct {
		name   string
		o      policy.Options
		allocs float64
	}{
		{"none", policy.Options{}, 0},
		{"another method's", policy.Options{Methods: map[string]policy.Policy{"Arith.Echo": {Breaker: breaker}}}, 0},
		{"fallback", of(policy.Policy{Fallback: fallback}), 0},
		{"retry", of(policy.Policy{Retry: retry}), 0},
		{"breaker", of(policy.Policy{Breaker: breaker}), 0},
		{"rate breaker", of(policy.Policy{Breaker: rateBreaker}), 0},
		{"concurrency", of(policy.Policy{Concurrency: places}), 0},
		{"rate", of(policy.Policy{Rate: rate}), 0},
		{"smooth rate", of(policy.Policy{Rate: smooth}), 0},
		{"deadline", of(policy.Policy{Deadline: time.Second}), 2},
		{"hedge", of(policy.Policy{Hedge: &policy.Hedge{After: time.Second}}), 8},
		{"retry+breaker", of(policy.Policy{Retry: retry, Breaker: breaker}), 0},
		{"retry+breaker+deadline", of(policy.Policy{Retry: retry, Breaker: breaker, Deadline: time.Second}), 2},
		{"all but hedge", of(policy.Policy{Fallback: fallback, Retry: retry, Breaker: breaker, Deadline: time.Second, Rate: rate, Concurrency: places}), 2},
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	for _, c := range costs(t) {
		w := wrap(t, nothing{}, c.o)
		if n := testing.AllocsPerRun(1000, func() { _ = w.Call(context.Background(), add, req, reply) }); n > c.allocs {
			t.Errorf("%s: %v allocations a call, more than %v", c.name, n, c.allocs)
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	ctx := context.Background()
	for _, c := range costs(b) {
		b.Run(c.name, func(b *testing.B) {
			w := wrap(b, nothing{}, c.o)
			b.ReportAllocs()
			for range b.N {
				if err := w.Call(ctx, add, req, reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	below, cancel := context.WithCancel(ctx)
	defer cancel()
	earlier, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"deadline, context may end": below, "deadline, context ends earlier": earlier} {
		b.Run(name, func(b *testing.B) {
			w := wrap(b, nothing{}, policy.Options{Client: policy.Policy{Deadline: 2 * time.Hour}})
			b.ReportAllocs()
			for range b.N {
				_ = w.Call(ctx, add, req, reply)
			}
		})
	}
}

// BenchmarkFailsafe is what failsafe-go's executors cost around the same
// nothing.
func BenchmarkFailsafe(b *testing.B) {
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	retry := retrypolicy.NewWithDefaults[any]()
	breaker := circuitbreaker.NewWithDefaults[any]()
	limit := timeout.New[any](time.Second)
	for _, c := range []struct {
		name string
		e    failsafe.Executor[any]
	}{
		{"retry", failsafe.With[any](retry)},
		{"breaker", failsafe.With[any](breaker)},
		{"timeout", failsafe.With[any](limit)},
		{"hedge", failsafe.With[any](hedgepolicy.NewBuilderWithDelay[any](time.Second).Build())},
		{"retry+breaker+timeout", failsafe.With[any](retry, breaker, limit)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_ = c.e.WithContext(context.Background()).RunWithExecution(func(x failsafe.Execution[any]) error {
					return nothing{}.Call(x.Context(), add, req, reply)
				})
			}
		})
	}
}
