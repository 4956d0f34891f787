package engine

import (
	"errors"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// turn gives p one bounded batch and returns how many vesicles it handled.
func (e *Engine) turn(p *Port) int {
	if p.gone {
		return 0
	}
	if p.blocked {
		return e.resume(p)
	}
	var n int
	var err error
	in := e.in[:p.want]
	if p.rx != nil {
		// Inlined: a ring without news costs two loads.
		if n, err = p.rx.Poll(in); err != nil {
			n, err = p.link.Poll(in)
		}
	} else {
		n, err = p.link.Poll(in)
	}
	return e.turnWith(p, n, err)
}

// expect decides how many vesicles to ask a ring for next, after a poll that
// found n.
//
// A poll that asks for more than there is must look at the place behind the
// last vesicle, in a cache line that the peer is about to write to: the look
// costs as much as a vesicle's whole way, and nothing that follows from the
// vesicle can be published before it is done. So ask for as many as the last
// burst had, which for calls one after the other is one; and for twice as many
// while there is no end of them.
func (p *Port) expect(n int) {
	switch {
	case n == 0:
		p.want = min(p.burst, len(p.engine.in))
		p.burst = 0
	case n == p.want:
		p.burst += n
		p.want = min(2*p.want, len(p.engine.in))
	default:
		p.burst += n
	}
}

// turnWith is the rest of a turn that has polled n vesicles.
func (e *Engine) turnWith(p *Port, n int, err error) int {
	if p.rx != nil && (n > 0 || p.burst != 0) {
		p.expect(n)
	}
	if n > 0 {
		p.polled = n
		if p.batcher != nil && !e.draining {
			e.handleBatch(p, e.in[:n])
		} else {
			e.handle(p, e.in[:n])
		}
	}
	switch {
	case err != nil:
		p.broken(err)
		if !p.blocked {
			e.leave(p, err)
		}
	case n == 0 && p.dead:
		e.leave(p, p.failed)
	}
	return n
}

// handle runs the handler over freshly polled vesicles and books the turn.
func (e *Engine) handle(p *Port, vs []wire.Vesicle) {
	e.handled(p, e.deliver(p, vs))
}

// book counts what a turn handled.
func (e *Engine) book(p *Port, done int) {
	e.stats.Vesicles += uint64(done)
	p.vesicles += uint64(done)
	if p.counter != nil {
		p.counter.Add(uint64(done))
	}
	e.turnEnds(CausePort, p)
}

// resume tries what an earlier turn of p had to leave: first the answer that
// the engine owes, then the vesicles held back.
func (e *Engine) resume(p *Port) int {
	if p.owes && !e.pay(p) {
		return 0
	}
	if len(p.held) == 0 {
		e.unblock(p)
		return 0
	}
	done := e.deliver(p, p.held)
	if done > 0 {
		p.fruitless = 0
		e.book(p, done)
	}
	return done
}

// deliver runs the handler over vs, releases what it is done with, holds back
// the rest, and returns the number that is done. A panic costs the vesicle
// that caused it, not the batch.
func (e *Engine) deliver(p *Port, vs []wire.Vesicle) int {
	p.batch, p.at, p.pause = vs, 0, false
	return e.deliverRest(p)
}

// deliverRest is deliver from p.at on.
func (e *Engine) deliverRest(p *Port) int {
	for p.at < len(p.batch) && !p.gone && (!p.owes || e.pay(p)) && !e.call(p) {
	}
	return e.delivered(p)
}

// delivered ends the delivery of a batch, of which p.at vesicles are done.
func (e *Engine) delivered(p *Port) int {
	done := p.at
	rest := p.batch[done:]
	p.batch = nil
	if p.gone {
		return done // detaching gives everything back
	}
	if p.dead && done == 0 {
		// A BatchHandler that waits for room, which a dead peer won't make.
		e.stats.Dropped += uint64(len(rest))
		done, rest = done+len(rest), nil
	}
	if done > 0 {
		if err := p.releaseLink(done); err != nil {
			p.broken(err)
		}
		p.polled -= done
	}
	p.held = append(p.held[:0], rest...)
	if len(rest) > 0 || p.owes {
		e.block(p)
	} else {
		e.unblock(p)
	}
	return done
}

// call runs the handler from p.at on, until the batch is done or the turn has
// to end. It returns false if the handler panicked, behind what that has cost.
// One deferred function serves the whole rest of the batch: it costs
// nanoseconds, and a batch amortises even those.
func (e *Engine) call(p *Port) (returned bool) {
	before := p.at
	defer func() {
		if !returned {
			v := recover()
			e.panicked("handler", p, v)
			if v != nil {
				e.passOver(p, before, v)
			}
		}
	}()
	if e.draining {
		e.callDraining(p)
		return true
	}
	if p.batcher != nil {
		n := p.batcher.HandleBatch(p, p.batch[before:])
		p.at = min(max(before+n, before), len(p.batch))
		return true
	}
	for p.at < len(p.batch) {
		p.handler.Handle(p, &p.batch[p.at])
		if p.pause && p.paused() {
			break
		}
		p.at++
	}
	return true
}

// paused reports whether the turn ends before the vesicle under way is done:
// Retry was called, or the port is being removed.
func (p *Port) paused() bool {
	p.pause = false
	switch {
	case p.gone:
		return true
	case p.dead: // no room will come; see Retry
		p.engine.stats.Dropped++
		return false
	}
	p.retries++
	p.engine.stats.Retries++
	return true
}

// callDraining is call while the engine drains: requests are refused, the rest
// is what calls under way need.
func (e *Engine) callDraining(p *Port) {
	for p.at < len(p.batch) {
		v := &p.batch[p.at]
		if v.Header.Kind == wire.KindRequest {
			e.stats.Refused++
			p.owe(&v.Header, wire.StatusDraining)
			p.at++
			if !e.pay(p) {
				return
			}
			continue
		}
		p.handler.Handle(p, v)
		if p.pause && p.paused() {
			return
		}
		p.at++
	}
}

// afterPanic passes over the vesicle that a handler panicked at, or all that a
// BatchHandler had not told handled, and notes what its peer is owed.
func (e *Engine) afterPanic(p *Port) {
	p.Abort()
	p.pause = false
	if p.gone || p.at >= len(p.batch) {
		return
	}
	v := &p.batch[p.at]
	p.at++
	if v.Header.Kind == wire.KindRequest {
		p.owe(&v.Header, wire.StatusInternal)
	}
	if p.batcher == nil || e.draining {
		return
	}
	for p.at < len(p.batch) && (!p.owes || e.pay(p)) {
		v := &p.batch[p.at]
		if v.Header.Kind == wire.KindRequest {
			p.owe(&v.Header, wire.StatusInternal)
		}
		p.at++
	}
}

func (p *Port) owe(request *wire.Header, status wire.Status) {
	p.owes = true
	p.owed = debt{*request, status}
}

// debtMessages is what a peer reads; why a handler failed is the log's.
var debtMessages = map[wire.Status]string{
	wire.StatusInternal: "the handler failed",
	wire.StatusDraining: "the server is stopping",
}

// pay sends the answer owed and reports whether the port is out of debt. Only
// a full link keeps it in debt.
func (e *Engine) pay(p *Port) bool {
	if p.gone {
		p.owes = false
		return true
	}
	err := p.answerError(&p.owed.header, wire.ErrorPayload{Status: p.owed.status, Message: debtMessages[p.owed.status]})
	if errors.Is(err, link.ErrFull) && !p.dead {
		return false
	}
	p.owes = false
	return true
}

func (e *Engine) block(p *Port) {
	if !p.blocked {
		p.blocked = true
		e.blocked++
		if !p.hot {
			e.promote(p)
		}
	}
}

func (e *Engine) unblock(p *Port) {
	if p.blocked {
		p.blocked = false
		e.blocked--
	}
}
