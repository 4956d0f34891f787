package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cell-runtime/cell/link"
)

// command is one thing to do on the thread for another goroutine.
type command struct {
	fn   func()
	call *call // nil if nobody waits
}

// call is somebody who waits for a command. Its state decides the race between
// the thread that begins it and the caller that gives up: whoever swaps first.
type call struct {
	state atomic.Uint32
	done  chan struct{} // receives one value when fn has run
	err   error
}

const (
	callWaiting uint32 = iota
	callRunning
	callAbandoned
)

// calls recycles call records; one that was abandoned is left to the collector
// because the thread may still look at it.
var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// commandsPerCycle bounds what other goroutines can take of one cycle.
const commandsPerCycle = 32

// Do runs f on the engine's thread and returns when it has run. An error
// means that f did not run, and won't, except for ErrPanic, which means that
// it began. On the engine's own thread f runs at once. f must not block.
// Errors: ErrArgument, ErrNotStarted, ErrStopped, ErrPanic, or the cause of
// ctx.
func (e *Engine) Do(ctx context.Context, f func()) error {
	if ctx == nil || f == nil {
		return fmt.Errorf("%w: Do needs a context and a function", ErrArgument)
	}
	if err := e.started("Do"); err != nil {
		return err
	}
	if e.onThread() {
		return e.runGuarded(f)
	}
	c := calls.Get().(*call)
	c.state.Store(callWaiting)
	c.err = nil
	select {
	case e.commands <- command{f, c}:
	case <-ctx.Done():
		calls.Put(c)
		return context.Cause(ctx)
	case <-e.done:
		calls.Put(c)
		return ErrStopped
	}
	e.signal(signalCommand)
	var why error
	select {
	case <-c.done:
		return c.finish()
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-e.done:
		why = ErrStopped
	}
	if c.state.CompareAndSwap(callWaiting, callAbandoned) {
		return why
	}
	select { // f runs at this moment
	case <-c.done:
		return c.finish()
	case <-e.done: // f ended the engine's goroutine: ErrGoexit
		return ErrStopped
	}
}

func (c *call) finish() error {
	err := c.err
	calls.Put(c)
	return err
}

// Post has f run on the engine's thread soon and does not wait, not even for
// room: ErrBusy means that the queue is full. If the engine ends first, f
// never runs. Errors: ErrArgument, ErrNotStarted, ErrStopped, ErrBusy.
func (e *Engine) Post(f func()) error {
	if f == nil {
		return fmt.Errorf("%w: Post needs a function", ErrArgument)
	}
	if err := e.started("Post"); err != nil {
		return err
	}
	select {
	case <-e.done:
		return ErrStopped
	default:
	}
	select {
	case e.commands <- command{fn: f}:
	default:
		return fmt.Errorf("%w (%d waiting)", ErrBusy, cap(e.commands))
	}
	e.signal(signalCommand)
	return nil
}

// Add gives a link to the engine, which from now on is the one goroutine that
// its sender and receiver belong to, and returns its port. It returns when the
// link is being polled; before Start it returns at once. On an error the link
// is the caller's as before. Errors: ErrArgument, ErrStopped, ErrDraining,
// ErrTooManyLinks, or what the kernel refused.
func (e *Engine) Add(l link.Link, h Handler, options ...AddOption) (*Port, error) {
	if l == nil || h == nil {
		return nil, fmt.Errorf("%w: Add needs a link and a handler", ErrArgument)
	}
	if f, ok := h.(HandlerFunc); ok && f == nil {
		return nil, fmt.Errorf("%w: Add got a nil HandlerFunc", ErrArgument)
	}
	p := newPort(e, l, h)
	for _, o := range options {
		if o == nil {
			return nil, fmt.Errorf("%w: Add got a nil option", ErrArgument)
		}
		o(p)
	}
	e.mu.Lock()
	if e.phase == phaseNew {
		defer e.mu.Unlock()
		if err := e.attach(p); err != nil {
			return nil, err
		}
		return p, nil
	}
	e.mu.Unlock()
	var err error
	if doErr := e.Do(context.Background(), func() { err = e.attach(p) }); doErr != nil {
		return nil, fmt.Errorf("engine: adding a link to %q: %w", e.cfg.Name, doErr)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Remove takes a port off the engine: what is committed is flushed once, what
// is claimed is aborted, polled vesicles are given back unhandled, and OnGone
// runs with ErrRemoved. When Remove returns the link is the caller's again. On
// the engine's own thread the same happens at the end of the cycle instead. A
// port that is gone already is no error. Errors: ErrArgument.
func (e *Engine) Remove(p *Port) error {
	if p == nil || p.engine != e {
		return fmt.Errorf("%w: Remove needs a port of engine %q", ErrArgument, e.cfg.Name)
	}
	e.mu.Lock()
	if e.phase == phaseNew {
		defer e.mu.Unlock()
		e.leave(p, ErrRemoved)
		e.sweep()
		return nil
	}
	e.mu.Unlock()
	if e.onThread() {
		e.leave(p, ErrRemoved)
		return nil
	}
	err := e.Do(context.Background(), func() {
		e.leave(p, ErrRemoved)
		e.sweep()
	})
	if err != nil {
		<-e.done // ending, it takes every port off
	}
	return nil
}

// obey acts on the signals that are raised. It reports whether the loop is to
// end.
func (e *Engine) obey() bool {
	raised := e.signals.Swap(0)
	if raised&signalStop != 0 {
		e.stop = true
	}
	if raised&signalDrain != 0 && !e.draining {
		e.draining = true
		for len(e.cold) > 0 { // so that the next cycle sees every port
			e.promote(e.cold[len(e.cold)-1])
		}
	}
	if raised&signalFed != 0 {
		e.answerRoused()
	}
	if raised&signalCommand != 0 && !e.stop {
		e.runCommands()
	}
	return e.stop
}

func (e *Engine) runCommands() {
	for range commandsPerCycle {
		select {
		case c := <-e.commands:
			e.stats.Commands++
			e.runCommand(c)
		default:
			e.commandsEnd()
			return
		}
	}
	e.signals.Or(signalCommand) // the rest in the next cycle
	e.commandsEnd()
}

// commandsEnd lets those who waited go on at once.
func (e *Engine) commandsEnd() {
	e.turnEnds(CauseCommand, nil)
	if e.house.scarce {
		e.yield()
	}
}

func (e *Engine) runCommand(c command) {
	if c.call == nil {
		_ = e.runGuarded(c.fn)
		return
	}
	if c.call.state.CompareAndSwap(callWaiting, callRunning) {
		c.call.err = e.runGuarded(c.fn)
		c.call.done <- struct{}{}
	}
}

// runGuarded runs a function that may panic.
func (e *Engine) runGuarded(f func()) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		e.panicked("function", nil, v)
		err = fmt.Errorf("%w: %v", ErrPanic, v)
	}()
	f()
	returned = true
	return nil
}

// abandonCommands tells those who wait that nobody will serve them. Whoever
// hands over later finds done closed.
func (e *Engine) abandonCommands() {
	for {
		select {
		case c := <-e.commands:
			if c.call != nil && c.call.state.CompareAndSwap(callWaiting, callRunning) {
				c.call.err = ErrStopped
				c.call.done <- struct{}{}
			}
		default:
			return
		}
	}
}
