package engine

import (
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
)

// idler is what the idle strategies remember.
type idler struct {
	mode     Idle
	lastWork int64 // on the engine's clock
	spin     int64 // adaptive: how long to spin after the last work, in ns
	spinMost int64
	refused  int // parks in a row that a link refused
}

// spinLeast: below this spinning can't pay, and above it a burst is caught
// that comes right after the last vesicle.
const spinLeast = 2000

func (i *idler) init(cfg *Config) {
	i.mode = cfg.Idle
	i.spinMost = int64(cfg.SpinFor)
	i.spin = i.spinMost
}

// worked: a cycle had work.
func (i *idler) worked(now int64) {
	i.lastWork = now
	i.refused = 0
}

// slept adapts the time to spin to how long the engine slept. Had the work come
// within spinMost, spinning on would have caught it, so spin longer; otherwise
// spinning was in vain, so spin shorter. (The kernel's haltpoll does the same.)
func (i *idler) slept(ns int64) {
	if ns < i.spinMost {
		i.spin = min(max(2*i.spin, spinLeast), i.spinMost)
	} else {
		i.spin = max(i.spin/2, min(spinLeast, i.spinMost))
	}
}

// spins reports whether an empty cycle does nothing but spin.
func (i *idler) spins(now int64) bool {
	return i.mode == IdleSpin || i.mode == IdleAdaptive && now-i.lastWork < i.spin
}

// idleOnce idles for one empty cycle.
func (e *Engine) idleOnce() {
	switch e.idle.mode {
	case IdleSpin:
		sched.Pause()
	case IdleYield:
		yieldThread()
	case IdlePark:
		e.park()
	default:
		if e.clock.now-e.idle.lastWork < e.idle.spin && !e.onlyFed() {
			sched.Pause()
			return
		}
		e.park()
	}
}

// yieldThread lets other threads of the core run. RawSyscall: the P stays with
// this thread, since handing it on and getting it back costs more than the
// yield.
func yieldThread() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// Variables for tests, in which nothing but descriptors may end a sleep.
var (
	// pollLimit bounds a sleep during which something has to be tried again
	// that no descriptor tells of.
	pollLimit = int64(1e6)
	// spaceLimit is the same where a descriptor does tell, unless the handler
	// waits for something else besides.
	spaceLimit = 16 * pollLimit
)

const (
	// refusedMost: a link that keeps saying "don't sleep" and yet has nothing
	// to poll may not keep a core busy.
	refusedMost = 64
)

// park sleeps until a descriptor fires: of an armed link, of a link whose peer
// is gone, of the engine itself (commands), or of its timer.
//
// A link is armed once and stays so, asleep or awake, until something arrives
// on it. Arming all and disarming all around each sleep would cost a thousand
// links a thousand writes to shared lines, and as many fences, each time. The
// price is that a peer's first publication after a sleep makes the wake-up call
// even if the engine is awake by then.
func (e *Engine) park() {
	limit, ok := e.armSpace()
	if !ok {
		return
	}
	if !e.armAll() {
		if e.idle.refused++; e.idle.refused < refusedMost {
			return
		}
		limit = pollLimit
	}
	e.clock.read()
	e.bookCycle()
	if e.wheel.next <= e.clock.now {
		e.runDue()
		return
	}
	e.publish(true)
	before := e.clock.now
	how := inKernel
	if e.fed.count != 0 {
		how = onChannel
	}
	e.parked.Store(how)
	// From here on a signal rings; one that was raised before is seen now.
	if e.signals.Load() == 0 {
		e.stats.Parks++
		if how == onChannel {
			e.doze(e.wakeAt(limit), before)
		} else {
			e.wait.sleep(e.wakeAt(limit), before, e.house.scarce)
		}
	}
	e.parked.Store(awake)
	e.clock.sync()
	e.idle.slept(e.clock.now - before)
	e.idle.lastWork = e.clock.now // spin again for what follows a wake-up
	e.answerEvents()
	e.clock.read()
	e.restartCycle()
	e.house.postpone(e.clock.now)
	e.runDue()
}

// wakeAt returns when the sleep must end, on the engine's clock; MaxInt64 if
// never.
func (e *Engine) wakeAt(limit int64) int64 {
	if limit > 0 {
		return min(e.wheel.next, e.clock.now+limit)
	}
	return e.wheel.next
}

// armAll arms every receiver that isn't. It returns false if one has something
// to poll.
func (e *Engine) armAll() bool {
	for _, p := range e.hot {
		p.empty += parkedTurns
		if !p.armed && !p.blocked && !p.arm() {
			return false
		}
	}
	if e.coldIn == 0 {
		return true
	}
	for i := 0; i < len(e.cold); {
		p := e.cold[i]
		if p.armed {
			i++
			continue
		}
		if !p.arm() {
			e.promote(p)
			return false
		}
		e.coldIn--
	}
	return true
}

// armSpace arms the senders that were full, if anything waits for them, and
// returns the longest that the engine may sleep (0: for ever). It returns
// false if there is room already, so that what waits should be tried.
func (e *Engine) armSpace() (limit int64, ok bool) {
	for _, p := range e.dirty { // Flush said ErrFull
		switch slow, tells := p.link.(link.Slow); {
		case tells && slow.ArmFlush():
			p.spaceOn = true
		case tells:
			return 0, false // the rest is on its way, or the link has failed: flush tells
		default:
			limit = pollLimit // room in the link need not mean room in the medium
			p.spaceOn = p.spaceOn || p.link.ArmSpace(p.link.Info().MaxPayload)
		}
	}
	if e.blocked == 0 {
		for _, p := range e.starved {
			p.starved = false
		}
		e.starved = e.starved[:0]
		return limit, true
	}
	if len(e.starved) == 0 {
		return pollLimit, true // a handler waits for something of its own
	}
	for _, p := range e.starved {
		if p.spaceOn {
			continue
		}
		if !p.link.ArmSpace(p.need) {
			p.starved = false
			e.starved = without(e.starved, p)
			return 0, false
		}
		p.spaceOn = true
	}
	return spaceLimit, true
}

func (p *Port) arm() bool {
	p.armed = p.link.Arm()
	return p.armed
}

func (p *Port) disarm() {
	p.armed = false
	if !p.hot {
		p.engine.coldIn++
	}
	p.link.Disarm()
}
