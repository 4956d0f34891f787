package balance

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

// Call implements [rpc.Caller].
func (b *Balancer) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	var t trail
	i := b.pick(ctx, m, req, &t)
	if i == nil {
		return b.none(m)
	}
	for {
		err := i.call(ctx, m, req, reply)
		if err == nil {
			i.succeeded()
			return nil
		}
		if i = b.another(ctx, m, req, &t, i, err); i == nil {
			return err
		}
	}
}

// call makes a call at one instance.
func (i *instance) call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	i.outstanding.Add(1)
	defer i.outstanding.Add(-1)
	return i.caller.Call(ctx, m, req, reply)
}

// another notes that a call has failed at an instance and returns the one to
// which it goes on, or nil.
func (b *Balancer) another(ctx context.Context, m *rpc.Method, req rpc.Encoder, t *trail, i *instance, err error) *instance {
	b.failed(i, err)
	if t.n >= b.opts.Failovers || !elsewhere(m, err) || ctx.Err() != nil {
		return nil
	}
	t.add(i)
	return b.pick(ctx, m, req, t)
}

// Send implements [rpc.Caller].
func (b *Balancer) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	_, err := chosen(ctx, b, m, req, func(i *instance) (struct{}, error) {
		i.outstanding.Add(1)
		defer i.outstanding.Add(-1)
		return struct{}{}, i.caller.Send(ctx, m, req)
	})
	return err
}

// Stream implements [rpc.Caller]. The stream stays with its instance, among
// whose calls under way it counts until it ends.
func (b *Balancer) Stream(ctx context.Context, m *rpc.Method, req rpc.Encoder) (rpc.Stream, error) {
	return chosen(ctx, b, m, req, func(i *instance) (rpc.Stream, error) {
		s, err := i.caller.Stream(ctx, m, req)
		if err != nil {
			return nil, err
		}
		return countStream(ctx, b, i, s), nil
	})
}

// Subscribe implements [rpc.Caller]. It subscribes at one instance; when that
// is lost the subscription ends with an error, and another one may be made.
func (b *Balancer) Subscribe(ctx context.Context, m *rpc.Method, o rpc.SubscribeOptions) (rpc.Subscription, error) {
	return chosen(ctx, b, m, rpc.Empty{}, func(i *instance) (rpc.Subscription, error) {
		s, err := i.caller.Subscribe(ctx, m, o)
		if err != nil {
			return nil, err
		}
		return countSubscription(ctx, b, i, s), nil
	})
}

// chosen does something at an instance, and at others as long as it fails.
func chosen[T any](ctx context.Context, b *Balancer, m *rpc.Method, req rpc.Encoder, do func(*instance) (T, error)) (T, error) {
	var t trail
	i := b.pick(ctx, m, req, &t)
	if i == nil {
		var zero T
		return zero, b.none(m)
	}
	for {
		got, err := do(i)
		if err == nil {
			i.succeeded()
			return got, nil
		}
		if i = b.another(ctx, m, req, &t, i, err); i == nil {
			return got, err
		}
	}
}
