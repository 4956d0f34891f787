package ring

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// How producers of an MPSC ring sleep until there is room. Any number of them
// share the writer's sleep word, and sleep on it by futex(2): they trust each
// other and the consumer, so that no doorbell need be handed to anybody. Whoever
// sleeps sets the flag; the consumer, when it gives memory back, clears it and
// wakes them all, and those for whom the room does not suffice sleep again. To wake
// as many as there is room for would need to know who wants how much, and that each
// who was woken wakes the next: one that is killed in between, in a process of its
// own, would leave the others asleep beside an empty ring.
//
// The order between flag and look is that of sleep.go, where the consumer
// publishes (its cursor) and a producer sleeps. Several may do so at a time, so
// that none can tell whether a barrier stands behind the demand of another: each
// has its own.
var (
	// spaceSlice is how long a producer sleeps before it looks at its context; a
	// variable for tests.
	spaceSlice = 10 * time.Millisecond
	// blindSlice is the same where no barrier can be had and the consumer might
	// miss the flag.
	blindSlice = time.Millisecond
)

// AwaitSpace sleeps until a record of size payload bytes may fit. Another
// producer may still be quicker: Claim tells. The consumer makes a system call
// when it releases records while a producer sleeps, and none otherwise. It
// occupies an operating system's thread, and a consumer that died wakes nobody:
// bound it by ctx, or have Stop called. Errors: those of Claim but ErrFull,
// ErrOrder if 256 runs of claims are outstanding, the context's.
func (p *SharedProducer) AwaitSpace(ctx context.Context, size int) error {
	if uint(size) > uint(p.max) {
		return ErrTooLarge
	}
	if p.runs.full() {
		return fmt.Errorf("%w: %d runs of claims are outstanding; commit some first", ErrOrder, placedCount)
	}
	for {
		if there, err := p.hasSpace(size); there || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("ring: waiting for room: %w", context.Cause(ctx))
		}
		if err := p.sleepForSpace(size); err != nil {
			return err
		}
	}
}

func (p *SharedProducer) hasSpace(size int) (bool, error) {
	if err := p.state.err(); err != nil {
		return false, err
	}
	_, _, n, err := p.room(1, spanOf(size))
	return n > 0, err
}

// sleepForSpace sleeps once, unless there is room by now. The flag stays: others
// may sleep behind it, and at worst it costs the consumer one needless call.
func (p *SharedProducer) sleepForSpace(size int) error {
	atomic.OrUint32(p.space, sleepArmed) // a full fence on this side
	slice := spaceSlice
	if !publishOrdersLoads && atomic.LoadUint32(p.reader)&flagRegistered != 0 &&
		!(canBarrier && membarrier(membarrierGlobalExpedited)) {
		slice = blindSlice
	}
	word := atomic.LoadUint32(p.space)
	if there, err := p.hasSpace(size); there || err != nil || word&sleepArmed == 0 {
		return err
	}
	sleepOnWord(p.space, word, slice)
	return nil
}

// wakeProducers is what the consumer does after it gave memory back.
func (c *SharedConsumer) wakeProducers() {
	if c.space.wanted() && c.space.claim() {
		c.space.wakes++
		wakeSleepersOn(c.space.word)
	}
}

// Stop makes every later Claim and Flush return ErrClosed, or ErrPeerGone if
// peerGone is set, and AwaitSpace return so at once. It may be called from any
// goroutine; the first reason stays.
func (p *SharedProducer) Stop(peerGone bool) {
	p.state.stop(reasonOf(peerGone))
	wakeSleepersOn(p.space)
}
