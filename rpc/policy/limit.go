package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/ratelimiter"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// ended is the error of a call whose context ended while it waited for its
// turn.
func ended(ctx context.Context, m *rpc.Method, what string) error {
	status := rpc.StatusOf(ctx.Err())
	return refuse(m, status, ctx.Err(), "while waiting for "+what)
}

// Concurrency bounds the calls under way, streams included; those that find no
// place wait for one, for a while. It is failsafe-go's bulkhead.
type Concurrency struct {
	places bulkhead.Bulkhead[any]
	most   int
	wait   time.Duration
}

// NewConcurrency returns a limit of so many calls, of which more wait at most
// that long for a place; 0: they are refused at once. Error: ErrOptions.
func NewConcurrency(calls int, wait time.Duration) (*Concurrency, error) {
	if calls < 1 || calls > 1_000_000 || wait < 0 {
		return nil, fmt.Errorf("%w: a limit of %d calls with a wait of %v; 1 to 1,000,000 calls, a wait of 0 or more", ErrOptions, calls, wait)
	}
	return &Concurrency{places: bulkhead.New[any](uint(calls)), most: calls, wait: wait}, nil
}

func (c *Concurrency) enter(ctx context.Context, m *rpc.Method) error {
	if c.places.TryAcquirePermit() {
		return nil
	}
	if c.wait > 0 {
		err := c.places.AcquirePermitWithMaxWait(ctx, c.wait)
		if err == nil {
			return nil
		}
		if !errors.Is(err, bulkhead.ErrFull) {
			return ended(ctx, m, "a place among the calls under way")
		}
	}
	return refuse(m, wire.StatusResourceExhausted, ErrConcurrency, fmt.Sprintf("%d calls are under way", c.most))
}

func (c *Concurrency) leave() { c.places.ReleasePermit() }

// Rate bounds the calls a second. It is failsafe-go's rate limiter.
type Rate struct {
	limiter ratelimiter.RateLimiter[any]
	text    string
	wait    time.Duration
}

// NewRate returns a limit of so many calls in each period, of which any number
// may come at once; more wait at most that long for theirs; 0: they are refused
// at once. Error: ErrOptions.
func NewRate(calls int, period, wait time.Duration) (*Rate, error) {
	if err := checkRate(calls, period, wait); err != nil {
		return nil, err
	}
	return &Rate{ratelimiter.NewBursty[any](uint(calls), period), rateText(calls, period), wait}, nil
}

// NewSmoothRate is NewRate for calls that come evenly: one every period/calls.
func NewSmoothRate(calls int, period, wait time.Duration) (*Rate, error) {
	if err := checkRate(calls, period, wait); err != nil {
		return nil, err
	}
	return &Rate{ratelimiter.NewSmooth[any](uint(calls), period), rateText(calls, period) + ", evenly", wait}, nil
}

func checkRate(calls int, period, wait time.Duration) error {
	if calls < 1 || period < time.Microsecond || period/time.Duration(calls) < 1 || wait < 0 {
		return fmt.Errorf("%w: a rate of %d calls in %v with a wait of %v; 1 call or more, no more than the period has nanoseconds, in 1 µs or more", ErrOptions, calls, period, wait)
	}
	return nil
}

func rateText(calls int, period time.Duration) string {
	return fmt.Sprintf("%d calls in %v", calls, period)
}

func (r *Rate) enter(ctx context.Context, m *rpc.Method) error {
	// A turn that comes after the deadline is not taken, so that it is left
	// to a call that can use it.
	most := r.wait
	if due, ok := ctx.Deadline(); ok && most > 0 {
		most = max(0, min(most, time.Until(due)))
	}
	wait := r.limiter.TryReservePermit(most)
	switch {
	case wait < 0:
		return refuse(m, wire.StatusResourceExhausted, ErrRate, r.text)
	case wait > 0 && !sleep(ctx, wait):
		return ended(ctx, m, "its turn at the rate limit")
	}
	return nil
}
