package policy

import (
	"context"
	"sync"

	"github.com/cell-runtime/cell/rpc"
)

// caller applies plans to the calls of another caller.
type caller struct {
	next    rpc.Caller
	all     *plan            // of methods without their own; nil: none
	methods map[string]*plan // by name
	// known is methods by the descriptions that calls come with, as far as
	// they were seen, so that a call builds no name. nil without methods.
	known *sync.Map
}

var _ rpc.Caller = (*caller)(nil)

func newCaller(next rpc.Caller, all *plan, methods map[string]*plan) *caller {
	c := &caller{next: next, all: all, methods: methods}
	if len(methods) > 0 {
		c.known = new(sync.Map)
	}
	return c
}

// plan returns what is done about calls of m, nil for nothing.
func (c *caller) plan(m *rpc.Method) *plan {
	if c.known == nil {
		return c.all
	}
	if p, ok := c.known.Load(m); ok {
		return p.(*plan)
	}
	p, ok := c.methods[m.String()]
	if !ok {
		p = c.all
	}
	c.known.Store(m, p)
	return p
}

// Call implements [rpc.Caller].
func (c *caller) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	p := c.plan(m)
	if p == nil {
		return c.next.Call(ctx, m, req, reply)
	}
	return p.run(ctx, &sending{next: c.next, m: m, req: req, reply: reply})
}

// Send implements [rpc.Caller].
func (c *caller) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	p := c.plan(m)
	if p == nil {
		return c.next.Send(ctx, m, req)
	}
	return p.run(ctx, &sending{next: c.next, m: m, req: req, oneWay: true})
}

// Stream implements [rpc.Caller]. Breaker and rate concern the opening, whose
// failure may be tried again where that does no harm; the place among the
// calls under way is held to the stream's end.
func (c *caller) Stream(ctx context.Context, m *rpc.Method, req rpc.Encoder) (rpc.Stream, error) {
	p := c.plan(m)
	if p == nil {
		return c.next.Stream(ctx, m, req)
	}
	return opened(ctx, p, m, func() (rpc.Stream, error) { return c.next.Stream(ctx, m, req) }, holdStream)
}

// Subscribe implements [rpc.Caller]; see Stream.
func (c *caller) Subscribe(ctx context.Context, m *rpc.Method, o rpc.SubscribeOptions) (rpc.Subscription, error) {
	p := c.plan(m)
	if p == nil {
		return c.next.Subscribe(ctx, m, o)
	}
	return opened(ctx, p, m, func() (rpc.Subscription, error) { return c.next.Subscribe(ctx, m, o) }, holdSubscription)
}

// opened opens something long-lived by a plan.
func opened[S any](ctx context.Context, p *plan, m *rpc.Method, open func() (S, error), hold func(context.Context, S, *plan) S) (S, error) {
	for done := 1; ; done++ {
		s, err := openedOnce(ctx, p, m, open, hold)
		if err == nil {
			if p.retry != nil {
				p.retry.Budget.deposit()
			}
			return s, nil
		}
		if p.retry == nil || !p.retry.again(ctx, m, done, err) {
			return s, err
		}
	}
}

func openedOnce[S any](ctx context.Context, p *plan, m *rpc.Method, open func() (S, error), hold func(context.Context, S, *plan) S) (s S, err error) {
	given, err := p.enter(ctx, m)
	if err != nil {
		return s, err
	}
	s, err = open()
	p.leaveBreakers(given, len(p.breakers), judge(err))
	if err != nil {
		p.leaveConcurrency(len(p.concurrency))
		return s, err
	}
	if len(p.concurrency) > 0 {
		s = hold(ctx, s, p)
	}
	return s, nil
}
