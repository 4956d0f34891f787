package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// Engine runs the duty cycle of any number of links on one OS thread. Make it
// with [New], give it links with [Engine.Add], run it with [Engine.Start]. Its
// methods may be called from any goroutine unless they say otherwise.
type Engine struct {
	// What other goroutines share with the thread. signals has a line of its
	// own: the cycle reads it each time, and it must stay in the cache.
	_       [64]byte
	signals atomic.Uint32 // what the thread should look at; see signal*
	parked  atomic.Uint32 // how the thread sleeps, or is about to; awake if it doesn't
	_       [56]byte

	cfg      Config
	commands chan command  // bounded; see Config.Commands
	done     chan struct{} // closed when the thread has ended
	tid      atomic.Int32  // of the engine's thread; 0 while there is none
	pub      published

	mu    sync.Mutex // guards what follows
	phase phase
	err   error

	// Everything below belongs to the thread once it runs.
	ports   map[uint64]*Port
	nextID  uint64
	unwatch func() bool // ends the watch over Start's context
	hot     []*Port     // polled in each cycle
	cold    []*Port     // visited in rotation
	coldAt  int
	coldIn  int // cold ports that are not armed
	in      []wire.Vesicle

	dirty    []*Port // committed or claimed to since the last flush
	starved  []*Port // whose link said ErrFull
	leaving  []*Port // to be detached at the end of the cycle
	blocked  int     // ports with vesicles held back
	holds    int     // see Port.Hold
	draining bool
	drainAge int // cycles since draining began
	stop     bool
	goexit   bool

	clock  clock
	cycle  cycleTimes
	wheel  wheel
	wait   waiter
	idle   idler
	house  house
	fed    fed
	stats  Stats
	shown  instruments
	panics panicLog
}

// phase is where an engine is in its life, as other goroutines see it.
type phase uint8

const (
	phaseNew phase = iota
	phaseRunning
	phaseDraining
	phaseEnded
)

// Bits of Engine.signals.
const (
	signalCommand uint32 = 1 << iota
	signalDrain
	signalStop
	signalFed
)

// New makes an engine. It holds no descriptor and no thread before Start.
// Errors: ErrConfig, or those of Config.Metrics.
func New(cfg Config) (*Engine, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:      cfg,
		commands: make(chan command, cfg.Commands),
		done:     make(chan struct{}),
		ports:    make(map[uint64]*Port),
		in:       make([]wire.Vesicle, cfg.Batch),
	}
	e.wait.closed()
	e.wheel.init()
	e.idle.init(&cfg)
	e.clock.init()
	if cfg.Metrics != nil {
		if err := e.shown.register(cfg.Metrics, cfg.Name); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Start runs the engine until Stop, the end of a Drain, or the end of ctx. It
// returns when the thread is pinned and polling, or could not be; then the
// engine has ended. Errors: ErrStarted, ErrArgument, or what the kernel
// refused.
func (e *Engine) Start(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w: Start needs a context", ErrArgument)
	}
	e.mu.Lock()
	if e.phase != phaseNew {
		e.mu.Unlock()
		return fmt.Errorf("%w: engine %q runs once", ErrStarted, e.cfg.Name)
	}
	if err := ctx.Err(); err != nil {
		e.mu.Unlock()
		return fmt.Errorf("engine: %q not started: %w", e.cfg.Name, context.Cause(ctx))
	}
	e.phase = phaseRunning
	e.mu.Unlock()

	e.unwatch = context.AfterFunc(ctx, func() {
		e.fail(context.Cause(ctx))
		e.signal(signalStop)
	})
	ready := make(chan error, 1)
	go e.run(ready)
	if err := <-ready; err != nil {
		<-e.done
		return fmt.Errorf("engine: starting %q: %w", e.cfg.Name, err)
	}
	return nil
}

// Stop ends the engine after the cycle under way: what is committed is flushed
// once, OnGone runs for every port with ErrStopped, and nothing more is polled.
// It returns when that is done, at once if it was done before. On the engine's
// own thread it only asks for the end. Errors: ErrNotStarted, or Err.
func (e *Engine) Stop() error {
	if err := e.started("Stop"); err != nil {
		return err
	}
	e.signal(signalStop)
	if e.onThread() {
		return nil
	}
	<-e.done
	return e.Err()
}

// Drain stops the engine in an orderly way: it takes no more links, answers
// new requests with wire.StatusDraining, handles everything else, and ends when
// no vesicle is held back, no call is under way ([Port.Hold]) and all is
// flushed. If ctx ends first, the engine is stopped as by Stop and Drain
// returns the cause. On the engine's own thread it only begins the drain.
// Errors: ErrNotStarted, the cause of ctx, or Err.
func (e *Engine) Drain(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w: Drain needs a context", ErrArgument)
	}
	if err := e.started("Drain"); err != nil {
		return err
	}
	e.mu.Lock()
	if e.phase == phaseRunning {
		e.phase = phaseDraining
	}
	e.mu.Unlock()
	e.signal(signalDrain)
	if e.onThread() {
		return nil
	}
	select {
	case <-e.done:
		return e.Err()
	case <-ctx.Done():
		e.signal(signalStop)
		<-e.done
		return fmt.Errorf("engine: drain of %q cut short: %w", e.cfg.Name, context.Cause(ctx))
	}
}

// Done is closed when the engine has ended.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Err says why the engine ended: nil while it runs and after Stop or Drain,
// the cause of Start's context, or what broke.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Name returns Config.Name.
func (e *Engine) Name() string { return e.cfg.Name }

func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && e.phase != phaseEnded {
		e.err = err
	}
}

func (e *Engine) started(what string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.phase == phaseNew {
		return fmt.Errorf("%w: %s of engine %q", ErrNotStarted, what, e.cfg.Name)
	}
	return nil
}

// onThread reports whether the caller is the engine's own thread.
func (e *Engine) onThread() bool {
	tid := e.tid.Load()
	return tid != 0 && int(tid) == unix.Gettid()
}

// signal raises bits for the thread and wakes it if it sleeps. The order of
// the two atomics, against that in park, makes sure that one side sees the
// other.
func (e *Engine) signal(bits uint32) {
	e.signals.Or(bits)
	switch e.parked.Swap(awake) {
	case inKernel:
		e.wait.ring()
	case onChannel:
		e.fed.kick()
	}
}

// run is the engine's goroutine. It never unlocks a pinned thread, so that the
// runtime ends the thread instead of giving it to another goroutine. One that
// isn't pinned is let go during sleeps; see doze.
func (e *Engine) run(ready chan<- error) {
	runtime.LockOSThread()
	undo := func() {}
	defer func() { e.end(undo) }()
	e.goexit = true // unless the loop returns
	if e.cfg.CPU != Unpinned {
		u, err := sched.Pin(e.cfg.CPU)
		if err != nil {
			e.refuse(ready, err)
			return
		}
		undo = u
	}
	if err := e.wait.open(); err != nil {
		e.refuse(ready, err)
		return
	}
	for _, p := range e.ports {
		e.feed(p)
		if err := e.wait.add(p); err != nil {
			e.refuse(ready, fmt.Errorf("link %d: %w", p.id, err))
			return
		}
	}
	e.house.init()
	e.clock.sync()
	e.restartCycle()
	e.announce()
	e.tid.Store(int32(unix.Gettid()))
	ready <- nil
	e.loop()
	e.goexit = false
}

func (e *Engine) refuse(ready chan<- error, err error) {
	e.goexit = false
	e.fail(err)
	ready <- err
}

// announce says aloud what the engine will cost.
func (e *Engine) announce() {
	where := "unpinned"
	if e.cfg.CPU != Unpinned {
		where = fmt.Sprintf("pinned to CPU %d", e.cfg.CPU)
	}
	if e.cfg.Idle.burns() {
		e.cfg.Logger.Warn("engine burns a whole core, by its idle strategy, even without work",
			"engine", e.cfg.Name, "idle", e.cfg.Idle.String(), "where", where)
		return
	}
	e.cfg.Logger.Info("engine started", "engine", e.cfg.Name, "idle", e.cfg.Idle.String(), "where", where)
}

// end takes everything apart, on the thread, whatever ended the loop.
func (e *Engine) end(undo func()) {
	if e.goexit {
		e.fail(ErrGoexit)
	}
	e.house.leave()
	e.mu.Lock()
	e.phase = phaseEnded
	e.mu.Unlock()
	e.flush()
	for _, p := range e.ports {
		e.leave(p, ErrStopped)
	}
	e.sweep()
	e.tid.Store(0)
	e.fed.leave()
	e.wait.close()
	e.publish(true)
	e.abandonCommands()
	undo()
	e.unwatch()
	close(e.done)
}
