package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// A subscription on the wire is a call: a request with the topic's fingerprint
// opens it, events carry its correlation, cancel ends it. Credit bounds the
// events under way. A stream item within it is a notice of how many events the
// subscriber has lost; the first one, of none, says that it is subscribed.
const (
	// subscribeSize is the payload of a subscribing request: flags u32,
	// first credit u32.
	subscribeSize = 8
	// subscribeHoldBack is the flag of a subscriber that would rather hold
	// back the publisher than lose events.
	subscribeHoldBack = 1
	// noticeSize is the payload of a notice: events lost so far, u64.
	noticeSize = 8
)

// topic is a topic with its subscribers over links.
type topic struct {
	method *Method
	mu     sync.Mutex // serialises changes
	subs   atomic.Pointer[[]*subscriber]
	// room is told when credit has come, to wake a publisher that is held
	// back.
	room chan struct{}
}

// subscriber is one subscription of one link.
type subscriber struct {
	link     *serverLink
	topic    *topic
	header   wire.Header // of events
	holdBack bool
	credit   atomic.Int64
	lost     atomic.Uint64
	told     uint64 // of lost; the thread's
	gone     atomic.Bool
}

func newTopic(m *Method) *topic {
	t := &topic{method: m, room: make(chan struct{}, 1)}
	t.subs.Store(new([]*subscriber))
	return t
}

func (t *topic) add(s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subs := append(slices.Clone(*t.subs.Load()), s)
	t.subs.Store(&subs)
}

func (t *topic) remove(s *subscriber) {
	s.gone.Store(true)
	t.mu.Lock()
	subs := slices.Clone(*t.subs.Load())
	if i := slices.Index(subs, s); i >= 0 {
		subs = slices.Delete(subs, i, i+1)
	}
	t.subs.Store(&subs)
	t.mu.Unlock()
	t.tell()
}

func (t *topic) tell() {
	select {
	case t.room <- struct{}{}:
	default:
	}
}

// Publisher publishes events of one topic to all its subscribers over links.
// For subscribers of the same host and 100 times the rate, see [Broadcast].
// Its methods may be called from any goroutine, but for Publish with
// HoldBack, which belongs to one at a time and never to an engine's thread.
type Publisher struct {
	// HoldBack lets subscribers that wish so hold back Publish. Set it before
	// the first Publish. Otherwise they lose events like all others.
	HoldBack bool

	topic *topic
	lost  atomic.Uint64
	sent  atomic.Uint64
}

// Publisher returns a publisher of a topic that this server has registered.
// Errors: ErrArgument.
func (s *Server) Publisher(m *Method) (*Publisher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := s.methods[m.Fingerprint]
	if served == nil || m.Mode != schema.Topic {
		return nil, fmt.Errorf("%w: %v is no topic that this server has registered", ErrArgument, m)
	}
	return &Publisher{topic: served.topic}, nil
}

// Subscribers returns how many subscribers there are now.
func (p *Publisher) Subscribers() int { return len(*p.topic.subs.Load()) }

// Lost returns how many events did not go to some subscriber because it was
// too slow, summed over subscribers.
func (p *Publisher) Lost() uint64 { return p.lost.Load() }

// Publish sends an event to all subscribers. One that has no credit left, or
// whose link is full, loses it, or holds Publish back until it has or ctx
// ends. Errors: those of the message, or of ctx.
func (p *Publisher) Publish(ctx context.Context, event Encoder) error {
	subs := *p.topic.subs.Load()
	if len(subs) == 0 {
		return nil
	}
	body, err := encode(event)
	if err != nil {
		return err
	}
	body.retain(len(subs))
	defer body.free() // this function's own hold
	for i, s := range subs {
		sent, err := p.publishTo(ctx, s, body)
		if err != nil {
			for range subs[i:] {
				body.free()
			}
			return err
		}
		if !sent {
			body.free()
		}
	}
	return nil
}

// publishTo sends an event to one subscriber and reports whether it did.
func (p *Publisher) publishTo(ctx context.Context, s *subscriber, body *buffer) (bool, error) {
	for {
		if s.gone.Load() {
			return false, nil
		}
		if s.credit.Add(-1) >= 0 {
			if s.link.outbox.offer(outgoing{header: s.header, body: body}) {
				p.sent.Add(1)
				return true, nil
			}
		}
		s.credit.Add(1)
		if !s.holdBack || !p.HoldBack {
			s.lost.Add(1)
			p.lost.Add(1)
			return false, nil
		}
		select {
		case <-p.topic.room:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// subscribe takes a new subscriber.
func (s *serverLink) subscribe(m *served, h *wire.Header, payload []byte) {
	s.began(m)
	_, payload = splitBudget(h, payload)
	switch {
	case len(payload) < subscribeSize:
		s.fail(h, Errorf(wire.StatusInvalidArgument, "a subscription has %d bytes, not %d", subscribeSize, len(payload)))
		return
	case len(s.active)+len(s.subs) >= s.server.opts.MaxInFlight:
		s.refuse(false, h, "%d calls of this link are under way, the limit (MaxInFlight)", len(s.active)+len(s.subs))
		return
	case s.active[h.Correlation] != nil || s.subs[h.Correlation] != nil:
		s.fail(h, Errorf(wire.StatusInvalidArgument, "correlation %#x belongs to another call under way", h.Correlation))
		return
	}
	sub := &subscriber{
		link: s, topic: m.topic, header: answerHeader(h, wire.KindEvent),
		holdBack: binary.LittleEndian.Uint32(payload)&subscribeHoldBack != 0,
	}
	sub.credit.Store(int64(min(binary.LittleEndian.Uint32(payload[4:]), maxWindow)))
	s.subs[h.Correlation] = sub
	s.notice(sub) // before the first event
	m.topic.add(sub)
}

// notice tells a subscriber how many events it has lost.
func (s *serverLink) notice(sub *subscriber) {
	sub.told = sub.lost.Load()
	b := newBuffer(noticeSize)
	binary.LittleEndian.PutUint64(b.b, sub.told)
	h := sub.header
	h.Kind = wire.KindStreamItem
	s.outbox.push(outgoing{header: h, body: b}, nil)
}

// subscriberCredit is credit of a subscriber, which has made room.
func (s *serverLink) subscriberCredit(sub *subscriber, n uint32) {
	if sub.credit.Add(int64(min(n, maxWindow))) > maxWindow {
		sub.credit.Store(maxWindow)
	}
	if sub.told != sub.lost.Load() {
		s.notice(sub)
	}
	sub.topic.tell()
}
