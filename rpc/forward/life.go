package forward

import (
	"errors"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// settlePace is how often what could not be sent is tried again.
const settlePace = time.Millisecond

// begin makes a call of a caller's request.
func (f *Forwarder) begin(k *caller, r *route, h *wire.Header) (*call, error) {
	t := r.target
	if t.out.port == nil {
		return nil, t.absent
	}
	if k.live >= f.opts.PerCaller || t.live >= f.opts.PerTarget {
		return nil, errExhausted
	}
	c, evicted := f.table.take()
	if c == nil {
		return nil, errExhausted
	}
	if evicted {
		f.stats.Evicted++
	}
	c.correlation, c.fingerprint = h.Correlation, h.Fingerprint
	c.caller, c.target, c.topic = k, t, r.topic
	c.state = stateLive
	f.table.live++
	k.live++
	t.live++
	f.table.index(c)
	k.calls.push(c)
	t.calls.push(c)
	if !c.topic {
		k.out.port.Hold()
		c.held = true
	}
	return c, nil
}

// settled takes a call that was live out of the counts of those.
func (f *Forwarder) settled(c *call) {
	if c.state != stateLive {
		return
	}
	f.engine.StopTimer(&c.timer)
	f.table.live--
	c.target.live--
	c.caller.live--
	if c.held {
		c.caller.out.port.Unhold()
		c.held = false
	}
	if c.caller.held == c {
		// Its request is being offered again and again: no more.
		c.caller.skip = true
		c.caller.held = nil
	}
	c.state = stateOwing // until the caller of this says otherwise
}

// finish ends a call that was answered.
func (f *Forwarder) finish(c *call) {
	f.settled(c)
	f.engine.StopTimer(&c.timer)
	f.table.drop(c)
}

// loosen keeps a call's place for an answer that may still come, until another
// call needs it.
func (f *Forwarder) loosen(c *call) {
	f.settled(c)
	c.state = stateLoose
	c.leave(laneOwing)
	c.leave(laneLoose) // it may be in it: a target may go on after a cancel
	f.table.loose.push(c)
}

// forget has nobody wait for a call any more.
func (f *Forwarder) forget(c *call) {
	f.table.unindex(c)
	c.leave(laneCaller)
	c.caller = nil
	c.status, c.message = 0, ""
}

// fail ends a call with a status of the forwarder's own, and if cancel is set
// the target is told.
func (f *Forwarder) fail(c *call, status wire.Status, message string, cancel bool) {
	f.settled(c)
	f.stats.Broken++
	c.status, c.message = status, message
	c.owesCancel = cancel && c.sent
	f.owe(c)
}

// owe pays what a call owes, now or as soon as there is room.
func (f *Forwarder) owe(c *call) {
	c.state = stateOwing
	c.owingSince = f.engine.Now()
	if f.settle(c) {
		return
	}
	c.leave(laneLoose)
	if c.knots[laneOwing].in == nil {
		f.owing.push(c)
	}
	f.engine.StartTimer(&f.timer, settlePace)
}

// settle pays what a call owes and reports whether that was all.
func (f *Forwarder) settle(c *call) bool {
	if c.status != 0 && c.caller != nil {
		if !f.tell(c) {
			return false
		}
		f.forget(c)
	}
	if c.owesCancel && c.target != nil {
		h := wire.Header{Fingerprint: c.fingerprint, Correlation: c.id, Kind: wire.KindCancel, Hops: freshHops}
		err := c.target.out.send(nil, h, nil, 0)
		if errors.Is(err, link.ErrFull) && f.engine.Now()-c.owingSince < int64(f.opts.Patience) {
			return false
		}
		c.owesCancel = false
	}
	switch {
	case c.target == nil || !c.sent:
		f.finish(c)
	default:
		f.loosen(c)
	}
	return true
}

// tell sends a caller the status that its call ended with. A caller that has
// no room for it for too long is disconnected, by which its calls end.
func (f *Forwarder) tell(c *call) bool {
	err := c.caller.out.sendError(&wire.Header{Fingerprint: c.fingerprint, Correlation: c.correlation},
		wire.ErrorPayload{Status: c.status, Message: c.message})
	if !errors.Is(err, link.ErrFull) {
		return true // or the link is gone, which ends the call as well
	}
	if f.engine.Now()-c.owingSince > int64(f.opts.Patience) {
		f.kick(c.caller)
	}
	return false
}

// settleAll pays what is owed, as far as there is room.
func (f *Forwarder) settleAll() {
	for c := f.owing.first; c != nil; {
		next := c.next(laneOwing)
		f.settle(c)
		c = next
	}
	if f.owing.first != nil {
		f.engine.StartTimer(&f.timer, settlePace)
	}
}

// expire ends a call whose time is up.
func (f *Forwarder) expire(c *call) {
	if c.state != stateLive {
		return
	}
	if c.incomplete && f.engine.Now() < c.due {
		f.fail(c, wire.StatusUnavailable, "pieces of the request never came", true)
		return
	}
	f.fail(c, wire.StatusDeadlineExceeded, "the call's budget is used up", true)
}

// piecesPatience is how long pieces of a request may take to arrive. Links put
// up with as much; see [link.ReassemblyLimits].
const piecesPatience = 10 * time.Second

// noDeadline is later than any.
const noDeadline = int64(1) << 62

// watch starts the timer for what of a call comes first.
func (f *Forwarder) watch(c *call) {
	due := c.due
	if c.incomplete {
		due = min(due, f.engine.Now()+int64(piecesPatience))
	}
	if due >= noDeadline {
		f.engine.StopTimer(&c.timer)
		return
	}
	f.engine.StartTimer(&c.timer, time.Duration(due-f.engine.Now()))
}

// kick disconnects a caller that does not read.
func (f *Forwarder) kick(k *caller) {
	if k.kicked {
		return
	}
	k.kicked = true
	f.stats.Kicked++
	f.opts.Logger.Warn("forward: disconnecting a caller that reads nothing", "port", k.out.port.ID(),
		"peer", k.out.port.Link().Info().Peer.Addr, "patience", f.opts.Patience)
	_ = f.engine.Remove(k.out.port)
}
