package balance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Balancer is a caller over several instances. Its methods may be called from
// any number of goroutines. It has one goroutine of its own, which asks for
// health and ends with Close.
type Balancer struct {
	opts Options
	live atomic.Pointer[[]*instance] // those that take part; never changed, only replaced
	turn atomic.Uint64

	mu     sync.Mutex
	all    []*instance
	closed bool

	wake    chan struct{} // one token: somebody is to be asked earlier
	stop    context.CancelFunc
	asking  sync.WaitGroup // questions under way
	stopped chan struct{}
}

var _ rpc.Caller = (*Balancer)(nil)

// New returns a balancer over instances, of which there may be none yet. They
// take part until they are found wanting. Errors: ErrOptions, ErrInstance.
func New(o Options, instances ...Instance) (*Balancer, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	b := &Balancer{opts: o, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	b.live.Store(new([]*instance))
	for _, i := range instances {
		if err := b.Add(i); err != nil {
			return nil, err
		}
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go b.watch(ctx)
	return b, nil
}

// Add lets another instance take part. Errors: ErrInstance if it is
// incomplete or the name is taken, ErrClosed.
func (b *Balancer) Add(i Instance) error {
	made, err := newInstance(i)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	if slices.ContainsFunc(b.all, func(other *instance) bool { return other.name == i.Name }) {
		return fmt.Errorf("%w: there is one named %q already; remove it first", ErrInstance, i.Name)
	}
	if b.opts.HealthEvery > 0 {
		made.next = time.Now().Add(b.opts.HealthEvery)
	}
	made.pause = b.opts.ProbeMin
	b.all = append(b.all, made)
	b.publish()
	return nil
}

// Remove takes an instance out. Calls under way at it go on; the caller is the
// program's again to close. Error: ErrInstance if there is none of that name.
func (b *Balancer) Remove(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.all, func(i *instance) bool { return i.name == name })
	if at < 0 {
		return fmt.Errorf("%w: there is none named %q", ErrInstance, name)
	}
	b.all[at].removed = true
	b.all = slices.Delete(b.all, at, at+1)
	b.publish()
	return nil
}

// Instances returns all instances, in the order of their addition.
func (b *Balancer) Instances() []State {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := make([]State, len(b.all))
	for n, i := range b.all {
		states[n] = State{Name: i.name, In: i.in, Why: i.why, Outstanding: int(i.outstanding.Load())}
	}
	return states
}

// Close ends the asking for health and returns when it has ended. Later calls
// fail with wire.StatusUnavailable. Instances' callers stay open.
func (b *Balancer) Close() error {
	b.mu.Lock()
	b.closed = true
	b.live.Store(new([]*instance))
	b.mu.Unlock()
	b.stop()
	<-b.stopped
	b.asking.Wait()
	return nil
}

// publish shows calls which instances take part, holding the lock.
func (b *Balancer) publish() {
	live := make([]*instance, 0, len(b.all))
	for _, i := range b.all {
		if i.in && !b.closed {
			live = append(live, i)
		}
	}
	b.live.Store(&live)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// none is the error of a call for which there is no instance.
func (b *Balancer) none(m *rpc.Method) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := &rpc.Error{Status: wire.StatusUnavailable, Method: m.String()}
	switch {
	case b.closed:
		err.Message = "the balancer is closed; not executed"
	case len(b.all) == 0:
		err.Message = "there are no instances; not executed"
	default:
		err.Message = fmt.Sprintf("none of the %d instances takes part; not executed", len(b.all))
		for _, i := range b.all {
			if i.why != nil {
				err.Message += fmt.Sprintf("; %s: %v", i.name, i.why)
			}
		}
	}
	return err
}

// failed notes that a call to an instance failed.
func (b *Balancer) failed(i *instance, err error) {
	switch weigh(err) {
	case harmless:
		i.succeeded()
	case fatal:
		b.leaveOut(i, err)
	case bad:
		if int(i.failures.Add(1)) >= b.opts.Failures {
			b.leaveOut(i, err)
		}
	}
}

// leaveOut takes an instance out until it is well again.
func (b *Balancer) leaveOut(i *instance, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !i.in || i.removed {
		return
	}
	i.in, i.why = false, why
	if i.proven.Load() {
		i.pause = b.opts.ProbeMin
	}
	b.postpone(i)
	b.publish()
}

// postpone sets the time of the next probe, holding the lock.
func (b *Balancer) postpone(i *instance) {
	i.next = time.Now().Add(i.pause)
	i.pause = min(2*i.pause, b.opts.ProbeMax)
}

// takeIn lets an instance take part again, holding the lock. It is on trial:
// one more failure and it is out.
func (b *Balancer) takeIn(i *instance) {
	i.in, i.why = true, nil
	i.failures.Store(int32(b.opts.Failures - 1))
	i.proven.Store(false)
	i.next = time.Time{}
	if b.opts.HealthEvery > 0 {
		i.next = time.Now().Add(b.opts.HealthEvery)
	}
	b.publish()
}
