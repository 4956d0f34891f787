package forward

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// caller is a link from which calls come.
type caller struct {
	forwarder *Forwarder
	out       sender // for answers
	from      source
	number    uint64
	ordered   bool
	reliable  bool
	calls     lane
	live      int   // of those
	held      *call // of the request that is being offered again and again
	skip      bool  // that request's call has ended: don't begin it anew
	kicked    bool
}

// Attach implements [rpc.Relay]. Links of other engines than the forwarder's
// are not relayed.
func (f *Forwarder) Attach(p *engine.Port) rpc.RelayLink {
	if p.Engine() != f.engine {
		f.opts.Logger.Warn("forward: a link of another engine can't be joined; serve it by the forwarder's",
			"engine", p.Engine().Name(), "forwarder's", f.engine.Name())
		return nil
	}
	return f.attach(p)
}

func (f *Forwarder) attach(p *engine.Port) *caller {
	f.callers++
	info := p.Link().Info()
	k := &caller{forwarder: f, number: f.callers, ordered: info.Ordered, reliable: info.Reliable}
	k.from.salt = rand.Uint32()
	k.calls.init(laneCaller)
	k.out.open(p)
	return k
}

// Detach implements [rpc.RelayLink]: the targets of what is under way are told
// that nobody waits.
func (k *caller) Detach() {
	f := k.forwarder
	k.from.over()
	for c := k.calls.first; c != nil; {
		next := c.next(laneCaller)
		live := c.state == stateLive
		f.settled(c)
		f.forget(c)
		if live {
			c.owesCancel = c.sent
			f.owe(c)
		}
		c = next
	}
	k.out.port = nil
}

// UnderWay implements [rpc.RelayLink].
func (k *caller) UnderWay(h *wire.Header) bool {
	c := k.forwarder.table.find(k, h.Correlation)
	return k.skip || c != nil && c.state == stateLive && (c.fingerprint == h.Fingerprint || c.announced)
}

// Offer implements [rpc.RelayLink].
func (k *caller) Offer(v *wire.Vesicle) (taken bool, err error) {
	if k.skip {
		k.skip = false
		k.from.over()
		return true, nil
	}
	r := k.forwarder.routes[v.Header.Fingerprint]
	if r == nil {
		r = k.forwarder.rest
	}
	c := k.forwarder.table.find(k, v.Header.Correlation)
	if c != nil && c.fingerprint != v.Header.Fingerprint && !c.announced &&
		(v.Header.Kind != wire.KindRequest || c.state != stateLive) {
		c = nil
	}
	if r == nil && c == nil {
		return false, nil
	}
	if err := k.pass(r, c, v); errors.Is(err, link.ErrFull) {
		if k.from.since == 0 {
			k.from.since = k.forwarder.engine.Now()
		}
		return true, err
	} else {
		k.from.over()
		return true, err
	}
}

// pass acts on a vesicle with a route, or of a call.
func (k *caller) pass(r *route, c *call, v *wire.Vesicle) error {
	f := k.forwarder
	switch v.Header.Kind {
	case wire.KindRequest:
		return k.request(r, c, v)
	case wire.KindEvent:
		return k.event(r, c, v)
	case wire.KindStreamItem, wire.KindCredit, wire.KindCancel:
		if c == nil || c.state != stateLive {
			f.stats.Late++
			return nil
		}
		err := k.forward(c.target, c, v, c.id)
		if err == nil && v.Header.Kind == wire.KindCancel && c.state == stateLive {
			f.loosen(c)
		}
		return err
	}
	f.stats.Stray++
	return nil
}

// event passes on what has no answer: a one-way request or, with a correlation,
// what an extension says of the request of that correlation, which follows.
func (k *caller) event(r *route, c *call, v *wire.Vesicle) error {
	f := k.forwarder
	switch {
	case r == nil || r.target.out.port == nil || c != nil && !c.announced:
		f.stats.Late++
		return nil
	case v.Header.Correlation == 0:
		return k.forward(r.target, nil, v, 0)
	case c == nil:
		var err error
		if c, err = f.begin(k, r, &v.Header); err != nil {
			return err
		}
		c.announced, c.incomplete, c.due = true, true, noDeadline
		f.watch(c)
	}
	return k.forward(c.target, nil, v, c.id)
}

// request passes on a request, or a piece of one.
func (k *caller) request(r *route, c *call, v *wire.Vesicle) error {
	f := k.forwarder
	o := open(v)
	waited := k.from.waits(f.engine.Now())
	again := c != nil && c == k.held
	k.held = nil
	if c != nil && c.announced && c.state == stateLive {
		c.announced, c.incomplete = false, o.total > o.size
		c.fingerprint = v.Header.Fingerprint
		again = true
	}
	if c != nil && c.state == stateLoose && o.first {
		f.forget(c) // canceled, and its correlation is used anew
		c = nil
	}
	switch {
	case c != nil && c.fingerprint != v.Header.Fingerprint:
		f.stats.Stray++
		return errDuplicate
	case c != nil && c.state != stateLive:
		f.stats.Late++
		return nil
	case c != nil && !again && !c.incomplete:
		if !k.reliable {
			return nil // a link may repeat what it carries
		}
		f.stats.Stray++
		return errDuplicate
	case c == nil && !o.first && k.ordered:
		f.stats.Late++ // the call of its first piece has ended
		return nil
	case c == nil:
		var err error
		if c, err = k.begin(r, v, o, waited); err != nil {
			return err
		}
	}
	err := k.forward(c.target, c, v, c.id)
	switch {
	case err == nil:
		if c.state == stateLive {
			f.passed(c, v, o, waited)
		}
	case errors.Is(err, link.ErrFull):
		k.held = c
		return err
	case c.sent:
		f.fail(c, statusOf(err), message(err), true)
		return nil
	default:
		f.stats.Refused++
		if c.state != stateFree {
			f.finish(c)
		}
	}
	return err
}

// begin makes the call of a request, if that may go on at all.
func (k *caller) begin(r *route, v *wire.Vesicle, o opening, waited int64) (*call, error) {
	f := k.forwarder
	err := errNoRoute
	switch {
	case r == nil:
	case v.Header.Hops == 0:
		f.stats.Hops++
		err = errHops
	case o.budget != 0 && o.budget <= uint64(waited):
		err = errExpired
	default:
		c, err := f.begin(k, r, &v.Header)
		if err != nil {
			f.stats.Refused++
			return nil, err
		}
		c.incomplete = o.total > o.size
		c.due = noDeadline
		return c, nil
	}
	f.stats.Refused++
	return nil, err
}

// passed notes that a request, or a piece of one, is on its way.
func (f *Forwarder) passed(c *call, v *wire.Vesicle, o opening, waited int64) {
	if !c.sent {
		c.sent = true
		f.stats.Requests++
	}
	c.asked += min(o.size, o.total)
	if o.first && o.budget != 0 {
		c.due = f.engine.Now() + max(1, int64(o.budget)-waited)
	}
	watched := c.incomplete || c.due < noDeadline
	c.incomplete = c.asked < o.total
	if watched {
		f.watch(c)
	}
}

// forward sends a vesicle of a caller to a target, under the given correlation.
// Errors: link.ErrFull, or what a request is refused with.
func (k *caller) forward(t *Target, c *call, v *wire.Vesicle, correlation uint32) error {
	f := k.forwarder
	h := v.Header
	if h.Hops == 0 {
		f.stats.Hops++
		if c != nil && h.Kind != wire.KindRequest {
			f.fail(c, wire.StatusHops, "a vesicle of the call was forwarded too often", true)
		}
		return errHops
	}
	h.Hops--
	h.Correlation = correlation
	waited := k.from.waits(f.engine.Now())
	err := t.out.send(&k.from, h, v.Payload, waited)
	switch {
	case err == nil:
		f.stats.Forwarded++
		f.stats.Bytes += uint64(len(v.Payload))
		return nil
	case errors.Is(err, link.ErrFull):
		if waited < int64(f.opts.Patience) && (h.Kind != wire.KindRequest || !expired(v, waited)) {
			return err
		}
		err = t.stuck
		if expired(v, waited) {
			err = errExpired
		}
	case errors.Is(err, link.ErrTooLarge):
		err = errTooLarge
	case c != nil && c.sent:
		// The link is gone. What the target had sent before is still to come,
		// maybe the answer; the call ends behind it, with the port.
		f.stats.Late++
		return nil
	default:
		err = t.absent
	}
	if c != nil && h.Kind != wire.KindRequest {
		f.fail(c, statusOf(err), message(err), true)
	}
	return err
}

// expired reports whether a request's budget is used up by waiting.
func expired(v *wire.Vesicle, waited int64) bool {
	budget := open(v).budget
	return budget != 0 && budget <= uint64(waited)
}

func statusOf(err error) wire.Status { return rpc.StatusOf(err) }

// AddCaller gives a link to the forwarder's engine, which closes it in the end,
// and forwards all that comes over it; requests without a route end with
// wire.StatusUnimplemented. It is for where no [rpc.Server] serves the link.
// Errors: those of [engine.Engine.Add].
func (f *Forwarder) AddCaller(l link.Link) (*engine.Port, error) {
	if l == nil {
		return nil, fmt.Errorf("%w: AddCaller needs a link", ErrArgument)
	}
	front := &front{forwarder: f}
	return f.engine.Add(l, front, engine.CloseLink(), engine.OnGone(func(*engine.Port, error) {
		if front.caller != nil {
			front.caller.Detach()
		}
	}))
}

// front is the handler of a caller's port where there is no server.
type front struct {
	forwarder *Forwarder
	caller    *caller // nil before the first vesicle
	refusal   error   // of the request being offered, for which there was no room
}

// Handle implements engine.Handler.
func (h *front) Handle(p *engine.Port, v *wire.Vesicle) {
	if h.caller == nil {
		h.caller = h.forwarder.attach(p)
	}
	err := h.refusal
	if err == nil {
		var taken bool
		if taken, err = h.caller.Offer(v); !taken {
			err = errNoRoute
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, link.ErrFull):
		p.Retry()
	case v.Header.Kind == wire.KindRequest:
		out := &h.caller.out
		h.refusal = nil
		if errors.Is(out.sendError(&v.Header, payloadOf(err)), link.ErrFull) {
			h.refusal = err
			p.Retry()
		}
	}
}

// payloadOf is what a caller is told about an error of the forwarder's own.
func payloadOf(err error) wire.ErrorPayload {
	p := wire.ErrorPayload{Status: statusOf(err), Message: message(err)}
	if err == errNoRoute {
		p.Details = rpc.ErrUnserved.Details
	}
	return p
}

// message is the text of an error without its status.
func message(err error) string {
	var e *rpc.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
