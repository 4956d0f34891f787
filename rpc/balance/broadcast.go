package balance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Answer is what one instance answered to a call that went to all.
type Answer[R any] struct {
	Instance string
	Reply    R
	Err      error // why there is no reply, an [*rpc.Error]
}

// CallAll makes a unary call at all instances at once and returns one answer
// for each, in the order of their addition. Instances that are left out are
// not called; their answer says so.
//
//	answers := balance.CallAll[FlushReply](ctx, b, LedgerDesc.Method("Flush"), &FlushRequest{})
func CallAll[R any, D interface {
	*R
	rpc.Decoder
}](ctx context.Context, b *Balancer, m *rpc.Method, req rpc.Encoder) []Answer[R] {
	raw := b.callAll(ctx, m, req)
	answers := make([]Answer[R], len(raw))
	for n, a := range raw {
		answers[n].Instance, answers[n].Err = a.Instance, a.Err
		if a.Err == nil {
			answers[n].Err = D(&answers[n].Reply).DecodeCell(a.Reply)
		}
	}
	return answers
}

// Broadcast returns the caller whose calls go to all instances of b at once. A
// unary call or one-way request succeeds if it does at every instance, left
// out or not; the reply is that of the first. For every instance's own see
// [CallAll]. Streams and subscriptions end with wire.StatusUnimplemented.
func (b *Balancer) Broadcast() rpc.Caller { return toAll{b} }

type toAll struct{ b *Balancer }

// Call implements [rpc.Caller].
func (c toAll) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	answers := c.b.callAll(ctx, m, req)
	if err := c.b.joined(m, answers); err != nil {
		return err
	}
	return reply.DecodeCell(answers[0].Reply)
}

// Send implements [rpc.Caller].
func (c toAll) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	return c.b.joined(m, c.b.atAll(m, req, func(i *instance, copied rpc.Encoder) ([]byte, error) {
		return nil, i.caller.Send(ctx, m, copied)
	}))
}

// Stream implements [rpc.Caller].
func (toAll) Stream(_ context.Context, m *rpc.Method, _ rpc.Encoder) (rpc.Stream, error) {
	return nil, &rpc.Error{Status: wire.StatusUnimplemented, Method: m.String(), Message: "a broadcast has no streams; open one at each instance"}
}

// Subscribe implements [rpc.Caller].
func (toAll) Subscribe(_ context.Context, m *rpc.Method, _ rpc.SubscribeOptions) (rpc.Subscription, error) {
	return nil, &rpc.Error{Status: wire.StatusUnimplemented, Method: m.String(), Message: "a broadcast has no subscriptions; subscribe at each instance"}
}

func (b *Balancer) callAll(ctx context.Context, m *rpc.Method, req rpc.Encoder) []Answer[[]byte] {
	return b.atAll(m, req, func(i *instance, copied rpc.Encoder) ([]byte, error) {
		var reply rawReply
		err := i.call(ctx, m, copied, &reply)
		return reply, err
	})
}

// atAll does something at all instances at once, with a copy of the request,
// and returns when all have ended.
func (b *Balancer) atAll(m *rpc.Method, req rpc.Encoder, do func(*instance, rpc.Encoder) ([]byte, error)) []Answer[[]byte] {
	b.mu.Lock()
	all := make([]*instance, len(b.all))
	answers := make([]Answer[[]byte], len(b.all))
	for n, i := range b.all {
		answers[n].Instance = i.name
		if i.in && !b.closed {
			all[n] = i
		} else {
			answers[n].Err = leftOut(m, i.why)
		}
	}
	b.mu.Unlock()
	request, err := encode(req)
	var under sync.WaitGroup
	for n, i := range all {
		if i == nil {
			continue
		}
		if err != nil {
			answers[n].Err = rpc.Errorf(wire.StatusInvalidArgument, "the message can't be encoded: %w", err)
			continue
		}
		under.Go(func() {
			answers[n].Reply, answers[n].Err = do(i, request)
			if answers[n].Err != nil {
				b.failed(i, answers[n].Err)
			} else {
				i.succeeded()
			}
		})
	}
	under.Wait()
	return answers
}

func leftOut(m *rpc.Method, why error) error {
	message := "the instance is left out; not executed"
	if why != nil {
		message += ": " + why.Error()
	}
	return &rpc.Error{Status: wire.StatusUnavailable, Method: m.String(), Message: message}
}

// joined is the error of a broadcast: nil, or the status of the first failure
// with the text of all.
func (b *Balancer) joined(m *rpc.Method, answers []Answer[[]byte]) error {
	if len(answers) == 0 {
		return b.none(m)
	}
	var failures []error
	for _, a := range answers {
		if a.Err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", a.Instance, a.Err))
		}
	}
	if len(failures) == 0 {
		return nil
	}
	return rpc.Errorf(rpc.StatusOf(failures[0]), "%d of %d instances failed: %w", len(failures), len(answers), errors.Join(failures...))
}

// rawRequest is a request that is encoded already.
type rawRequest []byte

func encode(m rpc.Encoder) (rawRequest, error) {
	b := make([]byte, m.SizeCell())
	n, err := m.EncodeCell(b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// SizeCell implements [rpc.Encoder].
func (m rawRequest) SizeCell() int { return len(m) }

// EncodeCell implements [rpc.Encoder].
func (m rawRequest) EncodeCell(b []byte) (int, error) { return copy(b, m), nil }

// rawReply keeps a reply's bytes.
type rawReply []byte

// DecodeCell implements [rpc.Decoder].
func (m *rawReply) DecodeCell(b []byte) error {
	*m = append([]byte(nil), b...)
	return nil
}
