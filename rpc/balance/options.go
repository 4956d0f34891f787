package balance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// Errors of this package that are not the outcome of a call.
var (
	// ErrOptions: an option can't be used; the message names it and its
	// bounds.
	ErrOptions = errors.New("balance: unusable option")
	// ErrInstance: an instance can't be added or is not there.
	ErrInstance = errors.New("balance: unusable instance")
	// ErrClosed: the balancer was closed.
	ErrClosed = errors.New("balance: closed")
)

// Strategy is how an instance is chosen.
type Strategy uint8

// The strategies. Their costs are in docs/POLICY.md.
const (
	// RoundRobin takes one after the other.
	RoundRobin Strategy = iota
	// LeastOutstanding takes the one with the fewest calls of this process
	// under way. It looks at all of them.
	LeastOutstanding
	// PowerOfTwo draws two at random and takes the one with fewer calls under
	// way: nearly as even, at a cost that does not grow with their number, and
	// without all clients running to the same one.
	PowerOfTwo
	// Sticky takes the same instance for the same key, as long as it is there
	// and not overloaded: rendezvous hashing with bounded load. When an
	// instance leaves, only its own keys move; when it comes back, they return.
	// All processes that know the same names agree. Calls without a key go by
	// PowerOfTwo.
	Sticky
	strategies
)

// String names the strategy.
func (s Strategy) String() string {
	switch s {
	case RoundRobin:
		return "round robin"
	case LeastOutstanding:
		return "least outstanding"
	case PowerOfTwo:
		return "power of two"
	case Sticky:
		return "sticky"
	}
	return "unknown"
}

// KeyFunc returns the key of a call for Sticky, and false if it has none. It
// is called on the caller's goroutine and must not keep req.
type KeyFunc func(ctx context.Context, m *rpc.Method, req rpc.Encoder) (key uint64, ok bool)

// Options tune a balancer. The zero value of every field means its default.
type Options struct {
	Strategy Strategy
	// Key is where Sticky gets keys from; default [ContextKey].
	Key KeyFunc
	// Load bounds an instance under Sticky to so many times the mean of calls
	// under way; a call beyond goes to the next in the key's order. Default
	// 1.25, at least 1; negative: no bound.
	Load float64
	// Failures is how many calls in a row must fail at an instance for it to
	// be left out; default 3. One is enough if the link is lost or the server
	// drains.
	Failures int
	// Failovers is to how many other instances a call may go on; default 2, at
	// most 7; negative: none.
	Failovers int
	// ProbeMin and ProbeMax are the least and the most time between probes of
	// an instance that is left out; it doubles with each one that fails.
	// Default 10 ms and 1 s.
	ProbeMin, ProbeMax time.Duration
	// HealthEvery is how often instances that take part are asked for their
	// health; default 1 s; negative: never.
	HealthEvery time.Duration
	// ProbeTimeout bounds each question; default 1 s.
	ProbeTimeout time.Duration
}

const maxFailovers = 7

func (o *Options) setDefaults() error {
	setDefault(&o.Load, 1.25)
	setDefault(&o.Failures, 3)
	setDefault(&o.Failovers, 2)
	setDefault(&o.ProbeMin, 10*time.Millisecond)
	setDefault(&o.ProbeMax, max(time.Second, o.ProbeMin))
	setDefault(&o.HealthEvery, time.Second)
	setDefault(&o.ProbeTimeout, time.Second)
	if o.Key == nil {
		o.Key = ContextKey
	}
	o.Failovers = max(o.Failovers, 0)
	switch {
	case o.Strategy >= strategies:
		return fmt.Errorf("%w: Strategy is %d; RoundRobin to Sticky", ErrOptions, o.Strategy)
	case !(o.Load >= 1 || o.Load < 0):
		return fmt.Errorf("%w: Load is %v; 1 or more, or negative for no bound", ErrOptions, o.Load)
	case o.Failures < 1:
		return fmt.Errorf("%w: Failures is %d; 1 or more, or 0 for 3", ErrOptions, o.Failures)
	case o.Failovers > maxFailovers:
		return fmt.Errorf("%w: Failovers is %d; at most %d", ErrOptions, o.Failovers, maxFailovers)
	case o.ProbeMin < time.Millisecond || o.ProbeMax < o.ProbeMin || o.ProbeTimeout < time.Millisecond:
		return fmt.Errorf("%w: ProbeMin is %v, ProbeMax %v, ProbeTimeout %v; 1 ms or more, ProbeMax not below ProbeMin", ErrOptions, o.ProbeMin, o.ProbeMax, o.ProbeTimeout)
	case o.HealthEvery > 0 && o.HealthEvery < time.Millisecond:
		return fmt.Errorf("%w: HealthEvery is %v; 1 ms or more, or negative for never", ErrOptions, o.HealthEvery)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
