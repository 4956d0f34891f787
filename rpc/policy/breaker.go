package policy

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// Breaker refuses calls while the server is failing, so that callers don't
// wait in vain and the server gets air. Closed, it lets everything pass and
// watches the outcomes; open, it refuses everything for a while; then it lets
// single calls pass to find out how the server is, and closes or opens again.
//
// What counts against the server is listed in docs/POLICY.md: among others
// deadlines that pass, never errors of the application.
//
// There are two kinds. [NewBreaker] counts failures in a row, which costs two
// loads a call and notices a server that is gone; it never opens for one that
// fails every other call. [NewRateBreaker] weighs failures against calls over
// time, under a lock, and notices both.
type Breaker struct {
	rule outcomes
}

// outcomes is one kind of breaker.
type outcomes interface {
	// enter reports whether a call may pass and whether it is one that finds
	// out how the server is.
	enter() (probe, ok bool)
	leave(probe bool, v verdict)
	state() BreakerState
}

// BreakerState is what a breaker does with calls now.
type BreakerState uint8

// The states.
const (
	BreakerClosed   BreakerState = iota // all pass
	BreakerOpen                         // none passes
	BreakerHalfOpen                     // single ones pass, to find out how the server is
)

// String names the state.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return "unknown"
}

// State returns what the breaker does now.
func (b *Breaker) State() BreakerState { return b.rule.state() }

func (b *Breaker) enter(m *rpc.Method) (probe bool, err error) {
	probe, ok := b.rule.enter()
	if !ok {
		return false, refuse(m, wire.StatusUnavailable, ErrBreakerOpen, "the server was failing of late")
	}
	return probe, nil
}

func (b *Breaker) leave(probe bool, v verdict) { b.rule.leave(probe, v) }

// NewBreaker returns a breaker that opens after so many failures in a row, for
// a time drawn evenly from open to 1.25 × open. Then one call at a time may
// pass; its success closes the breaker, its failure opens it again. Error:
// ErrOptions.
func NewBreaker(failures int, open time.Duration) (*Breaker, error) {
	if failures < 1 || failures > 1_000_000 || open < time.Millisecond || open > maxOpen {
		return nil, fmt.Errorf("%w: a breaker that opens after %d failures for %v; 1 to 1,000,000 failures, 1 ms to %v", ErrOptions, failures, open, maxOpen)
	}
	return &Breaker{rule: &inARow{failures: uint64(failures), open: open}}, nil
}

const maxOpen = 24 * time.Hour

// inARow counts failures in a row. Its one word is their number while it is
// closed, and while it is open, with openBit, the instant from which one call
// may pass. That call moves the instant on by the time that the breaker stays
// open, so nobody else passes meanwhile, and if it never ends (a process that
// is stopped, a caller that panics) another may pass after that time: an open
// breaker can't stay so for want of news.
type inARow struct {
	word     atomic.Uint64
	probing  atomic.Bool // for state only
	failures uint64
	open     time.Duration
}

const openBit = 1 << 63

// coarse is a clock in nanoseconds, some 10 ns a reading.
func coarse() uint64 { return uint64(sched.TicksToNanos(sched.TicksRelaxed())) & (openBit - 1) }

func (r *inARow) enter() (probe, ok bool) {
	word := r.word.Load()
	if word < openBit {
		return false, true
	}
	now := coarse()
	if now < word&^openBit {
		return false, false
	}
	if !r.word.CompareAndSwap(word, r.until(now)) {
		return false, false // another call finds out
	}
	r.probing.Store(true)
	return true, true
}

// until is the word of a breaker that is open from now on.
func (r *inARow) until(now uint64) uint64 {
	return openBit | (now + uint64(r.open+rand.N(r.open/4+1)))
}

func (r *inARow) leave(probe bool, v verdict) {
	if probe {
		r.probing.Store(false)
		switch v {
		case healthy:
			r.word.Store(0)
		case failing:
			r.word.Store(r.until(coarse()))
		case neutral: // it found out nothing: the next call may
			r.word.Store(openBit)
		}
		return
	}
	for word := r.word.Load(); word < openBit; word = r.word.Load() {
		next := word
		switch v {
		case healthy:
			next = 0
		case failing:
			if next++; next >= r.failures {
				next = r.until(coarse())
			}
		}
		if next == word || r.word.CompareAndSwap(word, next) {
			return
		}
	}
	// It was opened while this call was under way, whose outcome is old news.
}

func (r *inARow) state() BreakerState {
	switch word := r.word.Load(); {
	case word < openBit:
		return BreakerClosed
	case r.probing.Load() || coarse() >= word&^openBit:
		return BreakerHalfOpen
	}
	return BreakerOpen
}

// NewRateBreaker returns a breaker that opens when, of at least so many calls
// within a sliding window, the share rate or more has failed, for a time drawn
// evenly from 0.75 × open to 1.25 × open. Then probes calls may pass at once;
// as many successes close it, a failure opens it again. It is failsafe-go's
// breaker. Error: ErrOptions.
func NewRateBreaker(rate float64, calls int, window, open time.Duration, probes int) (*Breaker, error) {
	switch {
	case !(rate > 0 && rate <= 1), calls < 1, calls > 1_000_000, probes < 1, probes > 1000:
		return nil, fmt.Errorf("%w: a breaker that opens when %v of %d calls fail and closes after %d; a rate above 0 and up to 1, 1 to 1,000,000 calls, 1 to 1,000 probes", ErrOptions, rate, calls, probes)
	case window < 10*time.Millisecond, open < time.Millisecond, open > maxOpen:
		return nil, fmt.Errorf("%w: a breaker with a window of %v that opens for %v; 10 ms or more, 1 ms to %v", ErrOptions, window, open, maxOpen)
	}
	return &Breaker{rule: &shareOfCalls{circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(rate, uint(calls), window).
		WithSuccessThreshold(uint(probes)).
		WithDelay(open).WithJitterFactor(0.25).
		Build()}}, nil
}

// shareOfCalls joins failsafe-go's breaker.
type shareOfCalls struct {
	breaker circuitbreaker.CircuitBreaker[any]
}

// enter calls every request of a half-open breaker a probe; whether it is
// matters only for outcomes that say nothing.
func (r *shareOfCalls) enter() (probe, ok bool) { return true, r.breaker.TryAcquirePermit() }

func (r *shareOfCalls) leave(probe bool, v verdict) {
	switch v {
	case healthy:
		r.breaker.RecordSuccess()
	case failing:
		r.breaker.RecordFailure()
	case neutral:
		// A half-open breaker gets its permit back by an outcome alone, and
		// without it would let nothing pass any more. Nothing is known of the
		// server, so it stays open.
		if probe && r.breaker.IsHalfOpen() {
			r.breaker.RecordFailure()
		}
	}
}

func (r *shareOfCalls) state() BreakerState {
	switch r.breaker.State() {
	case circuitbreaker.OpenState:
		return BreakerOpen
	case circuitbreaker.HalfOpenState:
		return BreakerHalfOpen
	}
	return BreakerClosed
}
