package engine

import (
	"math"
	"math/bits"
	"time"
)

// Timer is a function to run on the engine's thread later. It is meant to be a
// field of what it times, so that starting and stopping allocate nothing. Set
// Func, and Value if wanted, before the first start. A Timer must not be copied
// or freed while it is started.
type Timer struct {
	// Func runs on the engine's thread and must not block. The timer is
	// stopped by then and may be started again.
	Func func(t *Timer)
	// Value is the owner's own.
	Value any

	next, prev *Timer
	list       *timerList // where it stands; nil while it is stopped
	tick       uint64     // when it goes off
}

// timerList is a doubly linked list with its place in the wheel.
type timerList struct {
	first, last *Timer
	level, slot uint8
}

// The wheel: six levels of 64 slots, where a slot of one level is as long as
// all of the level below. Starting and stopping are O(1) whatever their number
// (calls with a deadline stop nearly every timer they start, which a heap
// makes pay O(log n) twice); a timer moves down at most five times before it
// goes off. See Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
// 1987.
const (
	// tickShift: a tick is 2^16 ns = 65.5 µs. That is the resolution: a timer
	// goes off never before its time, and less than a tick and a cycle after.
	tickShift   = 16
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 6
	// wheelReach is how far ahead a timer can stand, in ticks: 51 days. One
	// slot less than the wheel has, lest it come to stand in the slot that is
	// passing by.
	wheelReach = (wheelSlots - 1) << (wheelBits * (wheelLevels - 1))

	// timersPerCycle bounds what timers can take of one cycle.
	timersPerCycle = 64
)

// TimerResolution is how late, beyond the cycle under way, a timer can be.
const TimerResolution = time.Duration(1 << tickShift)

type wheel struct {
	next     int64 // when to look again, in nanoseconds; MaxInt64 if never
	elapsed  uint64
	occupied [wheelLevels]uint64 // a bit for each slot that isn't empty
	slots    [wheelLevels][wheelSlots]timerList
	due      timerList
}

const dueLevel = wheelLevels // as timerList.level

func (w *wheel) init() {
	w.next = math.MaxInt64
	for l := range w.slots {
		for s := range w.slots[l] {
			w.slots[l][s].level, w.slots[l][s].slot = uint8(l), uint8(s)
		}
	}
	w.due.level = dueLevel
}

// StartTimer has t.Func run when [Engine.Now] has advanced by d; in this cycle
// or the next if d is not positive. A timer that is started already is moved. It belongs to the
// engine's thread.
func (e *Engine) StartTimer(t *Timer, d time.Duration) {
	e.StopTimer(t)
	if e.wheel.next == math.MaxInt64 { // empty: no need to walk up to now
		e.wheel.elapsed = uint64(e.clock.now) >> tickShift
	}
	var tick uint64 // due already
	if d > 0 {
		tick = (uint64(e.clock.now)+uint64(d)-1)>>tickShift + 1
	}
	e.wheel.insert(t, tick)
	e.clock.due = min(e.clock.due, e.wheel.next)
}

// StopTimer keeps t from running and reports whether it was started. It
// belongs to the engine's thread.
func (e *Engine) StopTimer(t *Timer) bool {
	if t.list == nil {
		return false
	}
	e.wheel.remove(t)
	return true
}

func (w *wheel) insert(t *Timer, tick uint64) {
	t.tick = tick
	if tick <= w.elapsed {
		w.push(&w.due, t)
		w.next = math.MinInt64
		return
	}
	if tick-w.elapsed > wheelReach {
		tick = w.elapsed + wheelReach // looked at again by then
	}
	level := min(wheelLevels-1, (bits.Len64(w.elapsed^tick)-1)/wheelBits)
	slot := tick >> (level * wheelBits) & (wheelSlots - 1)
	w.occupied[level] |= 1 << slot
	w.push(&w.slots[level][slot], t)
	start := tick >> (level * wheelBits) << (level * wheelBits)
	w.next = min(w.next, int64(start<<tickShift))
}

func (w *wheel) push(l *timerList, t *Timer) {
	t.list, t.prev, t.next = l, l.last, nil
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
}

func (w *wheel) remove(t *Timer) {
	l := t.list
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	if l.first == nil && l.level != dueLevel {
		w.occupied[l.level] &^= 1 << l.slot
	}
	t.list, t.prev, t.next = nil, nil, nil
}

// earliest returns the slot that comes first and the tick it begins at. The
// lowest level that isn't empty has it: a higher one begins where the lower
// ends.
func (w *wheel) earliest() (l *timerList, tick uint64) {
	for level, occupied := range w.occupied {
		if occupied == 0 {
			continue
		}
		shift := level * wheelBits
		at := w.elapsed >> shift
		ahead := bits.TrailingZeros64(bits.RotateLeft64(occupied, -int(at&(wheelSlots-1))))
		tick = (at + uint64(ahead)) << shift
		return &w.slots[level][(at+uint64(ahead))&(wheelSlots-1)], tick
	}
	return nil, 0
}

// advance moves what is due by the tick now to the due list.
func (w *wheel) advance(now uint64) {
	for {
		l, tick := w.earliest()
		if l == nil || tick > now {
			break
		}
		w.elapsed = max(w.elapsed, tick)
		for l.first != nil {
			t := l.first
			w.remove(t)
			w.insert(t, t.tick) // due, or into a lower level
		}
	}
	w.elapsed = max(w.elapsed, now)
	w.next = math.MaxInt64
	if w.due.first != nil {
		w.next = math.MinInt64
	} else if l, tick := w.earliest(); l != nil {
		w.next = int64(tick << tickShift)
	}
}

// runTimers runs what is due, a bounded number of them.
func (e *Engine) runTimers() {
	w := &e.wheel
	w.advance(uint64(e.clock.now) >> tickShift)
	for range timersPerCycle {
		t := w.due.first
		if t == nil {
			break
		}
		w.remove(t)
		e.stats.Timers++
		e.runTimer(t)
	}
	e.turnEnds(CauseTimer, nil)
	w.advance(w.elapsed) // when to look again
}

func (e *Engine) runTimer(t *Timer) {
	returned := false
	defer func() {
		if !returned {
			e.panicked("timer", nil, recover())
		}
	}()
	t.Func(t)
	returned = true
}
