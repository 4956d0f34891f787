package engine

import (
	"errors"
	"fmt"
	"math"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
)

// The cold set. A link that is silent for long is no longer polled in each
// cycle: with a thousand of them, reading a thousand cursors that have fallen
// out of the cache would take far longer than the work of the ten busy ones.
// Cold links are visited in rotation; what arrives makes a link hot again.
//
// The first vesicle on a cold link therefore waits for at most
// ⌈cold/coldBusy⌉ cycles, or ⌈cold/coldIdle⌉ empty ones, and twice that if other
// links change sets meanwhile. A parked engine is woken by its descriptor.
const (
	// hotFloor links are kept hot however silent they are: so few cursors
	// stay in the cache.
	hotFloor = 16
	// coldBusy and coldIdle cold links are visited in a cycle with work and
	// in one without.
	coldBusy = 2
	coldIdle = 8
	// demoteAfter empty turns in a row a link becomes cold.
	demoteAfter = 4096
	// parkedTurns is what a sleep counts as, in empty turns: an engine that
	// parks has too few cycles to ever reach demoteAfter.
	parkedTurns = 256
)

// loop is the duty cycle. Calls that can't be inlined make it preemptible, so
// it never holds up the garbage collector.
func (e *Engine) loop() {
	for {
		e.stats.Cycles++
		if e.signals.Load() != 0 && e.obey() {
			return
		}
		work := e.pollHot()
		if len(e.cold) != 0 {
			work += e.pollCold(work)
		}
		if len(e.dirty) != 0 {
			e.flush()
		}
		if len(e.leaving) != 0 {
			e.sweep()
		}
		if e.draining && e.isDrained(work) {
			return
		}
		if work != 0 {
			e.stats.WorkCycles++
			e.cycleEnds()
			e.idle.worked(e.clock.now)
		} else {
			e.emptyCycle()
		}
	}
}

// emptyCycle ends a cycle without work. Where a cycle is nothing but a few
// polls, the clock is read every eighth time only. What came due may have sent,
// removed or finished something, so the engine looks again before it idles.
func (e *Engine) emptyCycle() {
	if e.stats.Cycles&7 == 0 || len(e.cold) != 0 {
		e.clock.read()
		if e.cycleEnds() {
			return
		}
	}
	e.idleOnce()
}

// lonePolls is how often a ring that is the engine's only link is polled in a
// cycle: all else that a cycle looks at can wait for as long as a call takes.
const lonePolls = 8

// pollLone polls the only link there is, over a ring, as a loop of nothing else
// would: then a vesicle is noticed some nanoseconds sooner.
func (e *Engine) pollLone(p *Port) int {
	for range lonePolls - 1 {
		if n, err := p.rx.Poll(e.in[:p.want]); n != 0 || err != nil {
			if n == 0 {
				break // turn finds out why
			}
			return e.turnWith(p, n, nil)
		}
		if p.burst != 0 {
			p.expect(0)
		}
		sched.Pause()
	}
	return e.turn(p)
}

func (e *Engine) pollHot() (work int) {
	if len(e.hot) == 1 {
		p := e.hot[0]
		if p.rx != nil && !p.gone && !p.blocked && e.idle.spins(e.clock.now) {
			if work = e.pollLone(p); work == 0 && !p.dead && !p.blocked {
				p.empty++
			}
			return work
		}
	}
	for i := 0; i < len(e.hot); i++ {
		p := e.hot[i]
		n := e.turn(p)
		work += n
		if n != 0 || p.blocked || p.dead {
			continue
		}
		p.empty++
		if p.empty >= demoteAfter && len(e.hot) > hotFloor {
			e.demote(p)
			i-- // another port has taken its place
		}
	}
	return work
}

func (e *Engine) pollCold(work int) (found int) {
	n := coldIdle
	if work != 0 {
		n = coldBusy
	}
	for range min(n, len(e.cold)) {
		if e.coldAt >= len(e.cold) {
			e.coldAt = 0
			if len(e.cold) == 0 {
				break // all were promoted meanwhile
			}
		}
		p := e.cold[e.coldAt]
		if n := e.turn(p); n != 0 {
			found += n
			e.promote(p)
		}
		if !p.hot { // otherwise another has taken its place
			e.coldAt++
		}
	}
	return found
}

// promote makes a port hot. It may be called while either set is walked.
func (e *Engine) promote(p *Port) {
	p.empty = 0
	if p.hot || p.id == 0 || e.ports[p.id] != p {
		return
	}
	e.takeOut(&e.cold, p)
	if !p.armed {
		e.coldIn--
	}
	p.hot = true
	e.putIn(&e.hot, p)
}

func (e *Engine) demote(p *Port) {
	e.takeOut(&e.hot, p)
	if !p.armed {
		e.coldIn++
	}
	p.hot = false
	e.putIn(&e.cold, p)
}

func (e *Engine) putIn(set *[]*Port, p *Port) {
	p.index = len(*set)
	*set = append(*set, p)
}

func (e *Engine) takeOut(set *[]*Port, p *Port) {
	last := len(*set) - 1
	moved := (*set)[last]
	(*set)[p.index] = moved
	moved.index = p.index
	(*set)[last] = nil
	*set = (*set)[:last]
}

// flush publishes what the cycle committed, once per port that committed. A
// port whose medium can take only a part stays dirty.
func (e *Engine) flush() {
	kept := e.dirty[:0]
	for _, p := range e.dirty {
		if p.claimed != 0 {
			e.stats.Aborted += uint64(p.claimed)
			p.Abort()
		}
		err := p.flushLink()
		if errors.Is(err, link.ErrFull) {
			kept = append(kept, p)
			continue
		}
		p.dirty = false
		if err != nil {
			p.broken(err)
		}
	}
	clear(e.dirty[len(kept):])
	e.dirty = kept
}

// attach takes a port in. It runs on the thread, or before there is one.
func (e *Engine) attach(p *Port) error {
	switch {
	case e.draining:
		return fmt.Errorf("%w: engine %q", ErrDraining, e.cfg.Name)
	case len(e.ports) >= e.cfg.MaxLinks:
		return fmt.Errorf("%w: engine %q has %d (Config.MaxLinks)", ErrTooManyLinks, e.cfg.Name, len(e.ports))
	}
	if e.nextID == math.MaxInt32 {
		return fmt.Errorf("%w: engine %q has numbered %d; start another", ErrTooManyLinks, e.cfg.Name, e.nextID)
	}
	p.id = e.nextID + 1 // events carry it
	if e.wait.isOpen() {
		e.feed(p)
		if err := e.wait.add(p); err != nil {
			e.unfeed(p)
			p.id = 0
			return err
		}
	}
	e.nextID++
	e.ports[p.id] = p
	p.hot = true // its first vesicle usually follows at once
	e.putIn(&e.hot, p)
	return nil
}

// leave marks a port as gone; sweep does the rest once no set is being walked.
func (e *Engine) leave(p *Port, why error) {
	if p.gone || p.id == 0 {
		return
	}
	p.gone, p.pause = true, true
	p.why = why
	e.leaving = append(e.leaving, p)
}

// sweep detaches the ports that leave. An OnGone may make more of them leave.
func (e *Engine) sweep() {
	for i := 0; i < len(e.leaving); i++ {
		e.detach(e.leaving[i])
	}
	clear(e.leaving)
	e.leaving = e.leaving[:0]
}

// detach takes a port off: the descriptors leave the epoll set first, so that
// whoever closes the link afterwards can't leave a stale one in it.
func (e *Engine) detach(p *Port) {
	e.wait.remove(p)
	if p.hot {
		e.takeOut(&e.hot, p)
	} else {
		e.takeOut(&e.cold, p)
		if !p.armed {
			e.coldIn--
		}
	}
	delete(e.ports, p.id)
	e.unblock(p)
	e.holds -= p.holds
	p.holds = 0
	e.dirty = without(e.dirty, p)
	e.starved = without(e.starved, p)
	e.stats.Gone++
	p.letGo()
	e.unfeed(p)
	e.runGone(p)
}

// letGo leaves the link as a new owner would like to find it: nothing claimed,
// nothing polled, nothing armed, all that was committed on its way.
func (p *Port) letGo() {
	if p.claimed != 0 {
		p.link.Abort()
		p.claimed = 0
	}
	if p.polled > 0 {
		_ = p.link.Release(p.polled) // a link that fails here is lost anyway
		p.polled = 0
	}
	p.held = nil
	p.link.Disarm()
	p.link.DisarmSpace()
	_ = p.link.Flush()
}

func without(ports []*Port, p *Port) []*Port {
	for i, q := range ports {
		if q == p {
			last := len(ports) - 1
			ports[i] = ports[last]
			ports[last] = nil
			return ports[:last]
		}
	}
	return ports
}

// runGone tells the owner, and closes what the engine was given to own.
func (e *Engine) runGone(p *Port) {
	if p.onGone != nil {
		_ = e.runGuarded(func() { p.onGone(p, p.why) })
	}
	if p.owned {
		if err := p.link.Close(); err != nil {
			e.cfg.Logger.Warn("closing a link failed", "engine", e.cfg.Name, "port", p.id, "err", err)
		}
	}
}

// drainCycles bounds how long peers that go on sending can put off the end of
// a drain. What they sent and saw no answer to was not executed.
const drainCycles = 1024

// isDrained reports whether a drain is complete: a cycle over all ports found
// nothing, and nothing is held back, under way or unsent.
func (e *Engine) isDrained(work int) bool {
	e.drainAge++
	if work != 0 && e.drainAge < drainCycles {
		return false
	}
	return e.blocked == 0 && e.holds == 0 && len(e.dirty) == 0
}
