package rpc

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// subscription is a topic on a caller-driven connection: a call whose items
// are events.
type subscription struct {
	clientStream
	lost       atomic.Uint64
	subscribed atomic.Bool
}

var _ Subscription = (*subscription)(nil)

// subscribeMessage is the request of a subscription.
type subscribeMessage struct {
	flags  uint32
	credit uint32
}

func (subscribeMessage) SizeCell() int { return subscribeSize }
func (m subscribeMessage) EncodeCell(b []byte) (int, error) {
	binary.LittleEndian.PutUint32(b, m.flags)
	binary.LittleEndian.PutUint32(b[4:], m.credit)
	return subscribeSize, nil
}

func (o SubscribeOptions) message() (subscribeMessage, error) {
	if err := setCount("Window", &o.Window, 256, maxWindow); err != nil {
		return subscribeMessage{}, err
	}
	m := subscribeMessage{credit: uint32(o.Window)}
	if o.HoldBack {
		m.flags = subscribeHoldBack
	}
	return m, nil
}

// Subscribe implements [Caller]. It returns when the server has confirmed, so
// that every event published from now on arrives or is counted as lost. The
// deadline of ctx bounds that; its end ends the subscription.
func (c *Conn) Subscribe(ctx context.Context, m *Method, o SubscribeOptions) (Subscription, error) {
	if m.Mode != schema.Topic {
		return nil, failure(m, wire.StatusInvalidArgument, nil, "it is no topic")
	}
	request, err := o.message()
	if err != nil {
		return nil, failure(m, wire.StatusInvalidArgument, err, "not sent")
	}
	sub, err := c.subscribeOnce(ctx, m, request)
	if c.unsent(err) || leaves(err) { // who drains refuses subscriptions
		return c.subscribeOnce(ctx, m, request)
	}
	return sub, err
}

// subscribeOnce subscribes over the current link.
func (c *Conn) subscribeOnce(ctx context.Context, m *Method, request subscribeMessage) (Subscription, error) {
	s, err := c.session(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := c.ensureBound(ctx, s, m); err != nil {
		return nil, err
	}
	sub := &subscription{}
	st := &sub.clientStream
	st.session, st.method, st.ctx, st.events = s, m, ctx, sub
	st.in.open(int(request.credit), c.opts.StreamMemory)
	if _, failed := s.open(ctx, m, s.resolve(m), 0, request, nil, st); failed != nil {
		return nil, failed
	}
	if err := s.await(ctx, &st.sleepSend, (*subscribedWaiter)(sub)); err != nil {
		return nil, st.giveUp(err)
	}
	if !sub.subscribed.Load() {
		defer st.Close()
		return nil, st.outcome
	}
	return sub, nil
}

type subscribedWaiter subscription

func (w *subscribedWaiter) ready() bool { return w.subscribed.Load() || w.over.Load() }

// Lost implements [Subscription].
func (s *subscription) Lost() uint64 { return s.lost.Load() }

// notice is how many events were lost. It runs in the poller.
func (s *subscription) notice(payload []byte) {
	if len(payload) >= noticeSize {
		s.lost.Store(binary.LittleEndian.Uint64(payload))
		s.subscribed.Store(true)
	}
}
