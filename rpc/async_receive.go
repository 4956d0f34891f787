package rpc

import (
	"errors"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// asyncHandler is what the engine sees of an AsyncConn.
type asyncHandler struct{ c *AsyncConn }

var _ engine.Recoverer = asyncHandler{}

// Handle implements engine.Handler, for an engine that drains.
func (h asyncHandler) Handle(p *engine.Port, v *wire.Vesicle) {
	one := [1]wire.Vesicle{*v}
	h.HandleBatch(p, one[:])
}

// HandleBatch implements engine.BatchHandler. It never leaves a vesicle:
// answers need no room.
func (h asyncHandler) HandleBatch(_ *engine.Port, vs []wire.Vesicle) int {
	c := h.c
	c.batch, c.at = vs, 0
	for c.at < len(vs) {
		v := &vs[c.at]
		h := &v.Header
		if h.Kind == wire.KindReply && h.Flags&wire.FlagFragment == 0 {
			s := &c.slots[h.Correlation&c.mask]
			if s.id == h.Correlation && s.bound != nil && s.bound.fingerprint == h.Fingerprint {
				c.complete(s, v.Payload, nil)
				c.at++
				continue
			}
		}
		c.receive(v)
		c.at++
	}
	c.batch, c.at = nil, 0
	c.out.end()
	if c.times != nil {
		c.times.turn()
	}
	return len(vs)
}

// Recovered implements engine.Recoverer: the callback that panicked has had
// its answer.
func (h asyncHandler) Recovered(*engine.Port, any) (done int) {
	c := h.c
	done = c.at + 1
	c.begun, c.batch, c.at = nil, nil, 0
	c.out.end()
	return done
}

// complete ends a call: its slot is free before the callback runs, which may
// begin the next call in it.
func (c *AsyncConn) complete(s *asyncSlot, reply []byte, err error) {
	r := &c.result
	r.Reply, r.Err, r.Tag, r.done = reply, err, s.tag, s.done
	complete := s.complete
	if c.times != nil {
		c.times.complete(s, c.mask, err)
	}
	c.giveSlot(s)
	complete(r)
}

// receive takes what is not a plain reply to a call under way.
func (c *AsyncConn) receive(v *wire.Vesicle) {
	whole := *v
	if whole.Header.Flags&wire.FlagFragment != 0 && !c.assemble(&whole) {
		return
	}
	h := &whole.Header
	s := &c.slots[h.Correlation&c.mask]
	if s.id != h.Correlation || s.bound == nil || s.bound.fingerprint != h.Fingerprint {
		c.late++
		c.adopt(s, h.Correlation)
		return
	}
	switch h.Kind {
	case wire.KindReply:
		c.complete(s, whole.Payload, nil)
	case wire.KindError:
		delete(c.subs, s.id)
		c.complete(s, nil, remoteError(s.bound.method, whole.Payload))
	case wire.KindEvent, wire.KindStreamItem:
		c.event(s, h.Kind, whole.Payload)
	default:
		c.late++
	}
}

// adopt frees the slot of a call that ended before its answer came.
func (c *AsyncConn) adopt(s *asyncSlot, id uint32) {
	for i, orphan := range c.orphans {
		if orphan == id && s.id == id && s.bound == nil {
			c.orphans = append(c.orphans[:i], c.orphans[i+1:]...)
			s.next = c.free
			c.free = id&c.mask + 1
			return
		}
	}
}

func (c *AsyncConn) assemble(v *wire.Vesicle) bool {
	if c.whole == nil {
		r, err := link.NewReassembler(link.ReassemblyLimits{Message: c.opts.MaxReply})
		if err != nil {
			return false // MaxReply was checked
		}
		c.whole = r
	}
	head := v.Header
	whole, err := c.whole.Add(v, c.port.Now())
	if errors.Is(err, link.ErrTooLarge) && head.Kind == wire.KindReply {
		if s := &c.slots[head.Correlation&c.mask]; s.id == head.Correlation && s.bound != nil {
			c.complete(s, nil, failure(s.bound.method, wire.StatusTooLarge, nil, "the answer has more than the %d bytes that this connection takes (MaxReply)", c.opts.MaxReply))
		}
	}
	return whole && err == nil
}

// schedule sees to it that expire runs at the given time or before.
func (c *AsyncConn) schedule(due int64) {
	if due < c.due {
		c.due = due
		c.port.Engine().StartTimer(&c.timer, time.Duration(due-c.port.Now()))
	}
}

// expire ends the calls whose time is up, tells the server, and finds out when
// to look again.
func (c *AsyncConn) expire() {
	now, next := c.port.Now(), noDeadline
	c.due = noDeadline
	for i := range c.slots[:c.high] {
		s := &c.slots[i]
		switch {
		case s.bound == nil:
		case s.deadline > now:
			next = min(next, s.deadline)
		default:
			c.orphanSlot(s, failure(s.bound.method, wire.StatusDeadlineExceeded, nil, "no answer in time; it may have been executed"))
		}
	}
	if next != noDeadline {
		c.schedule(next)
	}
}

// orphanSlot ends a call that has no answer yet, and keeps its slot from use.
func (c *AsyncConn) orphanSlot(s *asyncSlot, err error) {
	r := &c.result
	r.Reply, r.Err, r.Tag, r.done = nil, err, s.tag, s.done
	complete := s.complete
	s.bound = nil
	delete(c.subs, s.id)
	c.flying--
	if c.times != nil {
		c.times.metrics.failed.Inc()
	}
	c.orphans = append(c.orphans, s.id)
	complete(r)
}

// gone runs when the link has left the engine.
func (c *AsyncConn) gone(p *engine.Port, err error) {
	c.dead = err
	p.Engine().StopTimer(&c.timer)
	c.outbox.close()
	for i := range c.slots[:c.high] {
		if s := &c.slots[i]; s.bound != nil {
			c.orphanSlot(s, failure(s.bound.method, wire.StatusPeerGone, err, "the link was lost; it may have been executed"))
		}
	}
	if c.onGone != nil {
		c.onGone(err)
	}
}
