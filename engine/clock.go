package engine

import (
	"time"

	"github.com/cell-runtime/cell/sched"
)

// clock is the engine's coarse clock: sched.Now, carried on by the CPU's
// counter, which costs a fifth of it. Housekeeping ties the two together again,
// so that an inexact rate, or a virtual machine that moved to another host,
// shows for no longer than that takes.
type clock struct {
	now   int64 // nanoseconds, never going back
	due   int64 // when the next timer or housekeeping wants to run
	ticks uint64
	base  int64 // sched.Now at ticks
}

// init may sleep for some milliseconds while the counter's rate is found.
func (c *clock) init() {
	_ = sched.TicksToNanos(0)
	c.sync()
}

// read brings the clock up to date.
func (c *clock) read() {
	c.now = max(c.now, c.base+sched.TicksToNanos(sched.TicksRelaxed()-c.ticks))
}

// sync brings the clock up to date from the host's.
func (c *clock) sync() {
	c.base, c.ticks = sched.Now(), sched.TicksRelaxed()
	c.now = max(c.now, c.base)
}

// Now returns nanoseconds of the host's monotonic clock, as [sched.Now] does,
// as of the last batch or empty cycle: cheap, never going back, and at most one handler call or
// eight empty cycles old. It belongs to the engine's thread.
func (e *Engine) Now() int64 { return e.clock.now }

// ReadClock brings [Engine.Now] up to date and returns it, for what must not be
// too early by as much as the thread was off its core before this batch. It
// costs some nanoseconds and belongs to the engine's thread.
func (e *Engine) ReadClock() int64 {
	e.clock.read()
	return e.clock.now
}

// Cause says what made a cycle long.
type Cause uint8

// The causes.
const (
	// CauseNone: no stall so far.
	CauseNone Cause = iota
	// CausePort: the handler of Stall.Port.
	CausePort
	// CauseCommand: functions run by Do or Post, or links being added.
	CauseCommand
	// CauseTimer: functions of timers.
	CauseTimer
	// CauseScheduler: the engine let other goroutines run, because there
	// are too few Ps (GOMAXPROCS) for it to keep one.
	CauseScheduler
	// CauseHost: none of the above: the kernel or the hypervisor took the
	// core, or the Go runtime stopped the world.
	CauseHost
)

// String names the cause.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CausePort:
		return "port"
	case CauseCommand:
		return "command"
	case CauseTimer:
		return "timer"
	case CauseScheduler:
		return "scheduler"
	case CauseHost:
		return "host"
	}
	return "unknown"
}

// Stall describes one cycle that took longer than Config.StallThreshold.
type Stall struct {
	Length time.Duration
	Cause  Cause
	Port   uint64 // Port.ID, for CausePort
	At     int64  // when it ended, on the engine's clock
}

// cycleTimes finds the longest part of the cycle under way, so that a stall
// can be told from its cause. The clock is read once per batch, not per
// vesicle and not again at the end of the cycle.
type cycleTimes struct {
	began     int64
	partBegan int64
	worst     int64
	cause     Cause
	port      uint64
}

// turnEnds books the time since the last part of the cycle to a cause.
func (e *Engine) turnEnds(cause Cause, p *Port) {
	e.clock.read()
	c := &e.cycle
	if d := e.clock.now - c.partBegan; d > c.worst {
		c.worst = d
		c.cause = cause
		c.port = 0
		if p != nil {
			c.port = p.id
		}
	}
	c.partBegan = e.clock.now
}

// cycleEnds books the cycle, runs what is due, and reports whether there was
// any of it.
func (e *Engine) cycleEnds() bool {
	e.bookCycle()
	if e.clock.now < e.clock.due {
		return false
	}
	e.runDue()
	return true
}

func (e *Engine) bookCycle() {
	c := &e.cycle
	length := e.clock.now - c.began
	if length > int64(e.stats.LongestCycle) {
		e.stats.LongestCycle = time.Duration(length)
	}
	if length > int64(e.cfg.StallThreshold) {
		e.stats.Stalls++
		e.stats.LastStall = Stall{Length: time.Duration(length), Cause: CauseHost, At: e.clock.now}
		if c.worst > length/2 {
			e.stats.LastStall.Cause, e.stats.LastStall.Port = c.cause, c.port
		}
	}
	e.restartCycle()
}

// restartCycle begins to time a new cycle now.
func (e *Engine) restartCycle() {
	e.cycle = cycleTimes{began: e.clock.now, partBegan: e.clock.now}
}

// runDue runs timers and housekeeping, and finds out when they are due next.
func (e *Engine) runDue() {
	if e.wheel.next <= e.clock.now {
		e.runTimers()
	}
	if e.house.next <= e.clock.now {
		e.keepHouse()
	}
	e.clock.due = min(e.wheel.next, e.house.next)
}
