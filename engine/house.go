package engine

import (
	"runtime"
	"sync/atomic"
	"time"
)

// house is the housekeeping of an engine that does not sleep: now and then it
// looks for peers that died, publishes the counters, and lets other goroutines
// run where they could not otherwise.
type house struct {
	next   int64
	rounds uint64
	// epoch numbers the rounds, and active counts the ports that had work in
	// this one. If all had, none needs to be looked at.
	epoch  uint64
	active int
	// scarce: there is no P beyond those that engines hold.
	scarce  bool
	counted bool // in engines
}

const (
	// houseEvery bounds how late the death of a peer is noticed by an engine
	// that does not sleep, together with one cycle.
	houseEvery = int64(500 * time.Microsecond)
	// scarceEvery rounds GOMAXPROCS is asked again.
	scarceEvery = 64
)

// engines counts the threads that run a duty cycle in this process.
var engines atomic.Int32

func (h *house) init() {
	engines.Add(1)
	h.counted = true
	h.scarce = isScarce()
}

func (h *house) leave() {
	if h.counted {
		engines.Add(-1)
		h.counted = false
	}
}

// isScarce reports whether the engines of this process could hold every P.
func isScarce() bool { return runtime.GOMAXPROCS(0) <= int(engines.Load()) }

// postpone: the engine has just done what housekeeping would do.
func (h *house) postpone(now int64) { h.next = now + houseEvery }

// keepHouse runs every houseEvery. A system call is made only if some link was
// silent since the last round.
func (e *Engine) keepHouse() {
	h := &e.house
	if h.active < len(e.ports) && e.wait.poll(0) > 0 {
		e.answerEvents()
	}
	h.epoch++
	h.active = 0
	e.publish(false)
	if h.rounds%scarceEvery == 0 {
		h.scarce = isScarce()
	}
	h.rounds++
	if h.scarce {
		e.yield()
	}
	e.clock.sync()
	h.postpone(e.clock.now)
}

// yield lets other goroutines run. It costs a locked goroutine 10 to 15 µs even
// if there are none, so it is done only by an engine that keeps the last P.
func (e *Engine) yield() {
	e.stats.Yields++
	runtime.Gosched()
	e.turnEnds(CauseScheduler, nil)
}

// answerEvents looks after everything whose descriptor fired.
func (e *Engine) answerEvents() {
	w := &e.wait
	n := w.ready
	w.ready = 0
	for i := range w.events[:n] {
		ev := &w.events[i]
		if ev.Pad == 0 {
			w.drain(int(ev.Fd))
			continue
		}
		if p := e.ports[uint64(ev.Pad)]; p != nil && !p.gone {
			e.answerEvent(p, int(ev.Fd))
		}
	}
}

// fruitlessMost: a descriptor that fired as often without anything to poll
// becomes edge-triggered. It may have to stay readable (data that its handler
// has no room for, a doorbell rung late), and must not keep the engine awake.
const fruitlessMost = 4

// answerEvent acts on one descriptor: something arrived, room was made, or the
// peer is gone. Only what a poll finds tells the first two apart, so the port
// becomes hot and the coming cycle polls it.
func (e *Engine) answerEvent(p *Port, fd int) {
	e.wokenBy(p)
	if p.fruitless++; p.fruitless > fruitlessMost && !p.dead {
		e.stats.Fruitless++
		e.wait.mute(fd, p)
	}
}

// wokenBy takes back what the port was armed with and has the coming cycle poll
// it.
func (e *Engine) wokenBy(p *Port) {
	if p.armed {
		p.disarm()
	} else {
		p.link.Disarm() // consumes a wake-up that came late
	}
	p.spaceOn = false
	p.link.DisarmSpace()
	if err := p.link.CheckPeer(); err != nil {
		p.broken(err)
	}
	e.promote(p)
}
