package balance

import (
	"context"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// watch asks instances for their health when it is time to.
func (b *Balancer) watch(ctx context.Context) {
	defer close(b.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
		timer.Reset(b.look(ctx))
	}
}

// idleLook is how long to wait when nobody is to be asked; whoever changes
// that wakes the watch.
const idleLook = time.Hour

// look begins the questions that are due and returns the time to the next.
func (b *Balancer) look(ctx context.Context) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, wait := time.Now(), idleLook
	for _, i := range b.all {
		switch left := i.next.Sub(now); {
		case i.next.IsZero() || i.asking:
		case left > 0:
			wait = min(wait, left)
		case i.health != nil:
			i.asking = true
			b.asking.Add(1)
			go b.ask(ctx, i)
		case !i.in: // the next call finds out
			b.takeIn(i)
		default:
			i.next = time.Time{}
		}
	}
	return wait
}

// ask asks one instance and acts on the answer. Each is asked on a goroutine
// of its own, so that one that hangs holds up nobody.
func (b *Balancer) ask(ctx context.Context, i *instance) {
	defer b.asking.Done()
	ctx, cancel := context.WithTimeout(ctx, b.opts.ProbeTimeout)
	defer cancel()
	err := i.health(ctx)

	b.mu.Lock()
	defer b.mu.Unlock()
	i.asking = false
	well := err == nil || unanswerable(err)
	switch {
	case i.removed || b.closed:
		return
	case well && !i.in:
		b.takeIn(i)
		return
	case well, i.in && weigh(err) == silent:
		i.next = time.Now().Add(b.opts.HealthEvery)
	default:
		i.in, i.why = false, err
		b.postpone(i)
	}
	b.publish()
}

// unanswerable reports whether a server lives but does not tell this process
// how it is; see rpc.OperationsPolicy.
func unanswerable(err error) bool {
	switch rpc.StatusOf(err) {
	case wire.StatusPermissionDenied, wire.StatusUnauthenticated, wire.StatusUnimplemented:
		return true
	}
	return false
}
