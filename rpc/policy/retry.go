package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// Retry says how calls that failed are sent again, where [Resendable] allows
// it. Refusals by this package's own policies are final. A connection made by
// rpc.Connect opens lost links anew and sends idempotent calls again by itself;
// what reaches a Retry is what it gave up.
type Retry struct {
	// Attempts is the most attempts, the first one included; default 3, at
	// most 100.
	Attempts int
	// Backoff is the longest wait before the second attempt; it doubles with
	// each further one, up to MaxBackoff. The wait is drawn evenly from the
	// upper half of that, so that clients that failed together don't come back
	// together. Defaults 1 ms and 100 ms.
	Backoff, MaxBackoff time.Duration
	// AttemptTimeout bounds each attempt, so that there is time for another
	// when the server hangs; 0: only the call's deadline does.
	AttemptTimeout time.Duration
	// Budget bounds the retries of all calls that share it; nil: no bound.
	Budget *Budget
}

const maxAttempts = 100

func (r *Retry) check(where string) error {
	switch {
	case r.Attempts < 0 || r.Attempts > maxAttempts:
		return fmt.Errorf("%w: %s.Retry.Attempts is %d; 1 to %d, or 0 for 3", ErrOptions, where, r.Attempts, maxAttempts)
	case r.Backoff < 0 || r.MaxBackoff < 0 || r.AttemptTimeout < 0:
		return fmt.Errorf("%w: %s.Retry has a negative duration", ErrOptions, where)
	}
	return nil
}

// again decides about a call that has failed after so many attempts, and waits
// until it is to be sent again.
func (r *Retry) again(ctx context.Context, m *rpc.Method, done int, err error) bool {
	attempts := r.Attempts
	if attempts == 0 {
		attempts = 3
	}
	if done >= attempts || refused(err) || !Resendable(m, err) || ctx.Err() != nil {
		return false
	}
	wait := r.wait(done)
	// A wait beyond the deadline would only hide why the call failed.
	if due, ok := ctx.Deadline(); ok && time.Until(due) <= wait {
		return false
	}
	return r.Budget.withdraw() && sleep(ctx, wait)
}

// wait returns how long to wait after so many attempts.
func (r *Retry) wait(done int) time.Duration {
	first, most := r.Backoff, r.MaxBackoff
	if first == 0 {
		first = time.Millisecond
	}
	if most == 0 {
		most = 100 * time.Millisecond
	}
	d := first
	for range done - 1 {
		if d >= most {
			break
		}
		d *= 2
	}
	d = min(d, max(most, first))
	return d/2 + rand.N(d/2+1)
}

// sleep waits and reports whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Budget bounds how many calls are sent again, or hedged, in proportion to
// those that succeed: a server that is failing because of its load gets at
// most that much more of it. It may be shared by any number of policies. A nil
// *Budget allows everything.
type Budget struct {
	share, most int64 // in thousandths of a retry
	left        atomic.Int64
}

const wholeRetry = 1000

// NewBudget returns a budget of ratio retries for each call that succeeds, at
// least 0.001, with a reserve of so many for when there are few calls: at
// first, and at most. Error: ErrOptions.
func NewBudget(ratio float64, reserve int) (*Budget, error) {
	if !(ratio >= 0.001 && ratio <= 1) {
		return nil, fmt.Errorf("%w: a budget of %v retries a call; 0.001 to 1", ErrOptions, ratio)
	}
	if reserve < 1 || reserve > 1_000_000 {
		return nil, fmt.Errorf("%w: a budget with a reserve of %d; 1 to 1,000,000", ErrOptions, reserve)
	}
	b := &Budget{share: int64(ratio * wholeRetry), most: int64(reserve) * wholeRetry}
	b.left.Store(b.most)
	return b, nil
}

// Left returns how many retries the budget has now.
func (b *Budget) Left() int { return int(b.left.Load() / wholeRetry) }

// deposit counts a success. While the budget is full, which is the normal
// state, that is one load and no store.
func (b *Budget) deposit() {
	if b == nil {
		return
	}
	for {
		left := b.left.Load()
		if left >= b.most || b.left.CompareAndSwap(left, min(left+b.share, b.most)) {
			return
		}
	}
}

// withdraw takes one retry, if there is one.
func (b *Budget) withdraw() bool {
	if b == nil {
		return true
	}
	for {
		left := b.left.Load()
		if left < wholeRetry {
			return false
		}
		if b.left.CompareAndSwap(left, left-wholeRetry) {
			return true
		}
	}
}
