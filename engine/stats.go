package engine

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Stats are an engine's counters since Start.
type Stats struct {
	Cycles       uint64        // duty cycles
	WorkCycles   uint64        // of those, with at least one vesicle
	Vesicles     uint64        // handled
	LongestCycle time.Duration // sleeping not counted
	Stalls       uint64        // cycles above Config.StallThreshold
	LastStall    Stall
	Panics       uint64 // of handlers and other functions on the thread
	Retries      uint64 // turns ended by Port.Retry
	Dropped      uint64 // vesicles that waited for room when their peer died
	Refused      uint64 // requests refused while draining
	Aborted      uint64 // places claimed and not committed by the end of a cycle
	Commands     uint64 // functions run for other goroutines
	Timers       uint64 // timers that went off
	Parks        uint64 // times that the thread slept
	Fruitless    uint64 // descriptors that woke the thread for nothing
	Yields       uint64 // times that other goroutines were let run; see docs/ENGINE.md
	Gone         uint64 // ports that left
	Links        int    // ports now
	Hot          int    // of those, polled in each cycle
}

// PortStats are the counters of one port.
type PortStats struct {
	ID       uint64
	Vesicles uint64 // handled
	Retries  uint64
	Hot      bool
	Blocked  bool // vesicles are held back at this moment
	Send     link.Stats
	Receive  link.Stats
	Info     link.Info
}

// published is the copy of Stats that others may read. Awake, the thread only
// ever tries the lock, so that a reader who is preempted within it delays
// nobody.
type published struct {
	mu    sync.Mutex
	stats Stats
}

// Stats returns the counters as of the last housekeeping: less than 1 ms old
// unless a handler runs longer, exact while the engine sleeps or has ended.
func (e *Engine) Stats() Stats {
	e.pub.mu.Lock()
	defer e.pub.mu.Unlock()
	return e.pub.stats
}

func (e *Engine) publish(wait bool) {
	if wait {
		e.pub.mu.Lock()
	} else if !e.pub.mu.TryLock() {
		return
	}
	e.stats.Links, e.stats.Hot = len(e.ports), len(e.hot)
	e.shown.tell(&e.stats)
	e.pub.stats = e.stats
	e.pub.mu.Unlock()
}

// Ports returns the counters of all ports, in the order of their IDs, read on
// the engine's thread. Errors: those of Do.
func (e *Engine) Ports(ctx context.Context) ([]PortStats, error) {
	var all []PortStats
	err := e.Do(ctx, func() {
		all = make([]PortStats, 0, len(e.ports))
		for id := uint64(1); id <= e.nextID && len(all) < len(e.ports); id++ {
			if p := e.ports[id]; p != nil {
				all = append(all, PortStats{
					ID: id, Vesicles: p.vesicles, Retries: p.retries, Hot: p.hot, Blocked: p.blocked,
					Send: p.link.SendStats(), Receive: p.link.ReceiveStats(), Info: p.link.Info(),
				})
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("engine: reading the ports of %q: %w", e.cfg.Name, err)
	}
	return all, nil
}

// panicLog bounds what panics may write: whoever finds a vesicle that makes a
// handler panic could otherwise fill a disk.
type panicLog struct {
	next       int64
	suppressed uint64
}

const panicLogEvery = int64(time.Second)

// panicked counts a panic and logs it with its stack, once a second at most.
// It runs within the deferred function that recovered v.
func (e *Engine) panicked(what string, p *Port, v any) {
	if v == nil { // no panic: runtime.Goexit unwinds the thread; see run
		return
	}
	e.stats.Panics++
	e.clock.read()
	l := &e.panics
	if e.clock.now < l.next {
		l.suppressed++
		return
	}
	l.next = e.clock.now + panicLogEvery
	var id uint64
	if p != nil {
		id = p.id
	}
	e.cfg.Logger.Error("panic on the engine's thread, contained", "engine", e.cfg.Name, "in", what,
		"port", id, "panic", fmt.Sprint(v), "suppressed", l.suppressed, "stack", string(debug.Stack()))
	l.suppressed = 0
}
