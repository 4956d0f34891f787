package engine

import "errors"

// Errors of this package, possibly wrapped with context. Compare with
// errors.Is.
var (
	// ErrConfig: a setting can't be used; the message names it and its bounds.
	ErrConfig = errors.New("engine: unusable configuration")
	// ErrArgument: an argument is nil or belongs to another engine.
	ErrArgument = errors.New("engine: unusable argument")
	// ErrNotStarted: the call needs a running engine; call Start first.
	ErrNotStarted = errors.New("engine: not started")
	// ErrStarted: Start was called before. An engine runs once; make another.
	ErrStarted = errors.New("engine: started before")
	// ErrStopped: the engine has ended, or ended before the call was served.
	// What was handed over did not run.
	ErrStopped = errors.New("engine: stopped")
	// ErrDraining: the engine takes no new links because it is stopping.
	ErrDraining = errors.New("engine: draining")
	// ErrRemoved is what OnGone receives for a port taken off by Remove.
	ErrRemoved = errors.New("engine: port removed")
	// ErrTooManyLinks: Config.MaxLinks is reached. Raise it, or use another
	// engine.
	ErrTooManyLinks = errors.New("engine: too many links")
	// ErrBusy: the command queue is full; see Config.Commands. Nothing was
	// handed over.
	ErrBusy = errors.New("engine: command queue full")
	// ErrPanic: the function given to Do panicked. The engine lives on.
	ErrPanic = errors.New("engine: panic in a function run by Do")
	// ErrNotRequest: a reply to a vesicle that is no request.
	ErrNotRequest = errors.New("engine: only a request can be replied to")
	// ErrGoexit: a handler called runtime.Goexit (t.FailNow does), which ends
	// the engine's goroutine and can't be recovered from.
	ErrGoexit = errors.New("engine: a handler called runtime.Goexit")
)
