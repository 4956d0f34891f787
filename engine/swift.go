package engine

import "github.com/cell-runtime/cell/wire"

// Recoverer is a [BatchHandler] that deals with its own panics, so that what
// it has made ready for earlier vesicles of the batch need not be lost.
type Recoverer interface {
	BatchHandler
	// Recovered runs after HandleBatch has panicked with v, which the engine
	// has logged and counted. It returns how many vesicles of that batch are
	// dealt with, at least one; HandleBatch is called again with the rest. It
	// must not panic.
	Recovered(p *Port, v any) (done int)
}

// handleBatch is what handle, deliver and call do, in one function, for what
// nearly every turn is: a BatchHandler takes the whole of a fresh batch. Each
// call on the way to the handler is part of every round trip, so all that can
// be done behind it is.
func (e *Engine) handleBatch(p *Port, vs []wire.Vesicle) {
	p.batch, p.at = vs, 0
	defer func() {
		if p.batch != nil {
			e.rescue(p, recover())
		}
	}()
	n := p.batcher.HandleBatch(p, vs)
	if n == len(vs) && !p.gone && !p.dead && !p.owes {
		p.batch = nil
		if err := p.releaseLink(n); err != nil {
			p.broken(err)
		}
		p.polled = 0
	} else {
		p.at = min(max(n, 0), len(vs))
		n = e.delivered(p)
	}
	e.handled(p, n)
}

// handled notes that a port had work.
func (e *Engine) handled(p *Port, done int) {
	if p.armed {
		p.disarm()
	}
	p.empty = 0
	p.fruitless = 0
	if p.epoch != e.house.epoch {
		p.epoch = e.house.epoch
		e.house.active++
	}
	e.book(p, done)
}

// rescue goes on behind a panic of handleBatch. v is nil if there was none:
// then runtime.Goexit unwinds the thread.
func (e *Engine) rescue(p *Port, v any) {
	e.panicked("handler", p, v)
	if v == nil {
		return
	}
	e.passOver(p, 0, v)
	e.handled(p, e.deliverRest(p))
}

// passOver passes over what a panic has cost. before is where the batch given
// to the handler began.
func (e *Engine) passOver(p *Port, before int, v any) {
	if r, ok := p.batcher.(Recoverer); ok && !e.draining {
		p.at = min(before+max(r.Recovered(p, v), 1), len(p.batch))
		return
	}
	e.afterPanic(p)
}
