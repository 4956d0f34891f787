package policy_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/policy"
	"github.com/cell-runtime/cell/wire"
)

// A client that tries again what it may, within a deadline and a budget, and
// leaves a failing server alone.
func Example() {
	budget, err := policy.NewBudget(0.1, 10) // one retry for ten successes, ten to begin with
	if err != nil {
		fmt.Println(err)
		return
	}
	breaker, err := policy.NewBreaker(5, time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	with, err := policy.New(policy.Options{
		Client: policy.Policy{
			Deadline: 100 * time.Millisecond,
			Retry:    &policy.Retry{Attempts: 3, Budget: budget},
			Breaker:  breaker,
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var conn rpc.Caller = fails(wire.StatusUnavailable) // in real life, of rpc.Connect
	client := arith.NewArithClient(rpc.Wrap(conn, with))
	for range 2 {
		_, err = client.Add(context.Background(), arith.AddRequest{A: 1, B: 2})
		fmt.Println(errors.Is(err, wire.StatusUnavailable), errors.Is(err, policy.ErrBreakerOpen), breaker.State())
	}
	// Output:
	// true false closed
	// true true open
}
