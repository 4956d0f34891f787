package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Target is a place that serves: a device, another node. It has routes for as
// long as it is open, and a link while it can be reached; in between requests
// end with wire.StatusUnavailable, not executed. Its methods may be called from
// any goroutine.
type Target struct {
	forwarder *Forwarder
	name      string
	absent    error // refusals, made beforehand
	stuck     error
	lost      error

	// All below belongs to the engine's thread.
	out    sender // out.port nil: no link
	from   source
	order  bool // its link keeps order
	calls  lane
	live   int // of those
	routed map[uint64]struct{}
	closed bool
	gone   chan error // of the link that is there

	calledBy rpc.Relay     // offered what the target itself calls; nil: refused
	asked    rpc.RelayLink // of the link that is there
	refusal  error         // of a request of the target's, for which there was no room
}

// NewTarget makes a target without routes or link. The name is for people:
// it appears in what callers are told.
func (f *Forwarder) NewTarget(name string) *Target {
	t := &Target{
		forwarder: f, name: name, routed: make(map[uint64]struct{}),
		absent: rpc.Errorf(wire.StatusUnavailable, "%s is not connected; not executed", name),
		stuck:  rpc.Errorf(wire.StatusResourceExhausted, "%s takes nothing at the moment; not executed", name),
		lost:   rpc.Errorf(wire.StatusPeerGone, "the connection to %s was lost", name),
	}
	t.calls.init(laneTarget)
	return t
}

// Name returns the target's name.
func (t *Target) Name() string { return t.name }

// Serve routes the methods and topics of a service, in all forms that its
// description knows, to this target. Errors: ErrArgument, ErrRouted (then no
// route was changed), ErrClosed, or those of [engine.Engine.Do].
func (t *Target) Serve(d *rpc.ServiceDesc) error {
	if d == nil {
		return fmt.Errorf("%w: Serve needs a description", ErrArgument)
	}
	topics := make(map[uint64]bool)
	for i := range d.Methods {
		_ = fingerprints(&d.Methods[i], func(fingerprint uint64, topic bool) error {
			topics[fingerprint] = topic
			return nil
		})
	}
	return t.route(topics)
}

// Route routes single fingerprints to this target. What they stand for is
// taken for methods, not topics. Errors: those of Serve.
func (t *Target) Route(fingerprints ...uint64) error {
	topics := make(map[uint64]bool, len(fingerprints))
	for _, f := range fingerprints {
		topics[f] = false
	}
	return t.route(topics)
}

func (t *Target) route(topics map[uint64]bool) error {
	f := t.forwarder
	return f.do(func() error {
		if t.closed {
			return fmt.Errorf("%w: target %s", ErrClosed, t.name)
		}
		for fingerprint := range topics {
			if r := f.routes[fingerprint]; r != nil && r.target != t || fingerprint == 0 {
				other := "nobody: it is no fingerprint"
				if r != nil {
					other = r.target.name
				}
				return fmt.Errorf("%w: %s leads to %s", ErrRouted, schema.FormatFingerprint(fingerprint), other)
			}
		}
		for fingerprint, topic := range topics {
			f.routes[fingerprint] = &route{t, topic}
			t.routed[fingerprint] = struct{}{}
		}
		return nil
	})
}

// ServeRest routes to this target whatever has no route: then the forwarder is a
// bridge that needs to know nothing of what passes. For callers without a
// server of their own ([Forwarder.AddCaller]) that includes the operations
// channel, so the target lists and describes itself. Subscriptions are not told
// from calls: [Forwarder.Drain] waits for them. Errors: those of Serve.
func (t *Target) ServeRest() error {
	f := t.forwarder
	return f.do(func() error {
		switch {
		case t.closed:
			return fmt.Errorf("%w: target %s", ErrClosed, t.name)
		case f.rest != nil && f.rest.target != t:
			return fmt.Errorf("%w: what has no route leads to %s", ErrRouted, f.rest.target.name)
		}
		f.rest = &route{target: t}
		return nil
	})
}

// Unroute takes routes back. Calls under way go on. Errors: those of
// [engine.Engine.Do].
func (t *Target) Unroute(fingerprints ...uint64) error {
	return t.forwarder.do(func() error {
		for _, fingerprint := range fingerprints {
			t.unroute(fingerprint)
		}
		return nil
	})
}

func (t *Target) unroute(fingerprint uint64) {
	if _, own := t.routed[fingerprint]; own {
		delete(t.routed, fingerprint)
		delete(t.forwarder.routes, fingerprint)
	}
}

// Attach gives the target a link, over which requests go from now on. The
// engine closes it when it has ended; gone receives why, once, and calls that
// were under way have ended with wire.StatusPeerGone by then. Errors:
// ErrArgument, ErrTaken, ErrClosed, or those of [engine.Engine.Add]; the link is
// the caller's as before then.
func (t *Target) Attach(l link.Link) (gone <-chan error, err error) {
	if l == nil {
		return nil, fmt.Errorf("%w: Attach needs a link", ErrArgument)
	}
	f := t.forwarder
	ended := make(chan error, 1)
	err = f.do(func() error {
		switch {
		case t.closed:
			return fmt.Errorf("%w: target %s", ErrClosed, t.name)
		case t.out.port != nil:
			return fmt.Errorf("%w: %s", ErrTaken, t.name)
		}
		p, err := f.engine.Add(l, t, engine.CloseLink(), engine.OnGone(t.lose))
		if err != nil {
			return err
		}
		t.out.open(p)
		t.order = l.Info().Ordered
		t.refusal = nil
		if t.calledBy != nil {
			t.asked = t.calledBy.Attach(p)
		}
		t.gone = ended
		f.opts.Logger.Info("forward: connected", "target", t.name, "link", l.Info().Kind)
		return nil
	})
	return ended, err
}

// Detach takes the target's link away and closes it. Calls under way end with
// wire.StatusPeerGone. Errors: those of [engine.Engine.Do].
func (t *Target) Detach() error {
	f := t.forwarder
	var port *engine.Port
	if err := f.do(func() error { port = t.out.port; return nil }); err != nil || port == nil {
		return err
	}
	return f.engine.Remove(port)
}

// Live returns how many calls are under way at the target. Errors: those of
// [engine.Engine.Do].
func (t *Target) Live() (n int, err error) {
	err = t.forwarder.do(func() error {
		n = t.live
		return nil
	})
	return n, err
}

// Retire has the target leave without a call that is cut: it takes all its
// routes back, waits until no call is under way, the link is lost or ctx ends,
// and closes the target. Errors: the cause of ctx, or those of
// [engine.Engine.Do].
func (t *Target) Retire(ctx context.Context) error {
	tick := time.NewTicker(drainPace)
	defer tick.Stop()
	for {
		left := 0
		err := t.forwarder.do(func() error {
			t.unrouteAll()
			left = t.live
			return nil
		})
		if err != nil || left == 0 {
			return errors.Join(err, t.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), t.Close())
		}
	}
}

// Close detaches the target's link and takes all its routes back.
func (t *Target) Close() error {
	err := t.forwarder.do(func() error {
		t.closed = true
		t.unrouteAll()
		return nil
	})
	return errors.Join(err, t.Detach())
}

func (t *Target) unrouteAll() {
	for fingerprint := range t.routed {
		t.unroute(fingerprint)
	}
	if f := t.forwarder; f.rest != nil && f.rest.target == t {
		f.rest = nil
	}
}

// lose ends what was under way when the link has left the engine.
func (t *Target) lose(_ *engine.Port, why error) {
	f := t.forwarder
	t.from.over()
	if t.asked != nil {
		t.asked.Detach()
		t.asked = nil
	}
	for c := t.calls.first; c != nil; {
		next := c.next(laneTarget)
		was := c.state
		f.settled(c)
		c.leave(laneTarget)
		c.target, c.owesCancel = nil, false
		switch was {
		case stateLive:
			f.stats.Broken++
			why := t.lost
			if !c.sent {
				why = t.absent
			}
			c.status, c.message = statusOf(why), message(why)
			f.owe(c)
		case stateLoose:
			f.finish(c)
		}
		c = next
	}
	t.out.port = nil
	f.opts.Logger.Info("forward: disconnected", "target", t.name, "why", why)
	t.gone <- why
}

// Handle implements [engine.Handler] for what comes from the target.
func (t *Target) Handle(p *engine.Port, v *wire.Vesicle) {
	f := t.forwarder
	h := v.Header
	if t.asked != nil && t.asks(&h) {
		t.offer(p, v)
		return
	}
	switch h.Kind {
	case wire.KindReply, wire.KindError, wire.KindEvent, wire.KindStreamItem, wire.KindCredit:
	case wire.KindRequest:
		f.stats.Stray++
		if errors.Is(p.ReplyError(v, wire.StatusUnimplemented, "nothing can be called from this side"), link.ErrFull) {
			p.Retry()
		}
		return
	default:
		f.stats.Stray++
		return
	}
	c := f.table.byID(h.Correlation, t)
	if c == nil || c.fingerprint != h.Fingerprint || c.caller == nil || c.state == stateOwing {
		if c != nil && c.state == stateLoose && c.fingerprint == h.Fingerprint && t.answers(c, v) {
			f.finish(c) // the answer that the place was kept for
		}
		f.stats.Late++
		t.from.over()
		return
	}
	t.back(p, c, v)
}

// back passes a vesicle of a call on to its caller.
func (t *Target) back(p *engine.Port, c *call, v *wire.Vesicle) {
	f := t.forwarder
	h := v.Header
	if h.Hops == 0 {
		f.stats.Hops++
		f.fail(c, wire.StatusHops, "what answers the call was forwarded too often", true)
		t.from.over()
		return
	}
	h.Hops--
	h.Correlation = c.correlation
	err := c.caller.out.send(&t.from, h, v.Payload, 0)
	if errors.Is(err, link.ErrFull) {
		now := f.engine.Now()
		if t.from.since == 0 {
			t.from.since = now
		}
		if t.from.waits(now) < int64(f.opts.Patience) {
			p.Retry()
			return
		}
		f.kick(c.caller) // by which the call ends, and all others of it
		t.from.over()
		return
	}
	t.from.over()
	switch {
	case errors.Is(err, link.ErrTooLarge):
		f.fail(c, wire.StatusTooLarge, "the caller's link can't carry the answer", true)
	case err != nil: // the caller is gone, of which its port tells
	default:
		f.stats.Forwarded++
		f.stats.Bytes += uint64(len(v.Payload))
		if t.answers(c, v) {
			f.finish(c)
		}
	}
}

// answers reports whether a vesicle, or the last piece of one, ends its call.
func (t *Target) answers(c *call, v *wire.Vesicle) bool {
	h := &v.Header
	if h.Kind != wire.KindReply && h.Kind != wire.KindError {
		return false
	}
	if h.Flags&wire.FlagFragment == 0 {
		return true
	}
	o := open(v)
	c.answered += min(o.size, o.total)
	if t.order {
		return h.Flags&wire.FlagMore == 0
	}
	return c.answered >= o.total
}

var _ engine.Handler = (*Target)(nil)
