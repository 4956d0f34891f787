package forward

import "errors"

// Errors of this package that are not the outcome of a call, possibly wrapped
// with context. Compare with errors.Is.
var (
	// ErrOptions: an option can't be used; the message names it and its
	// bounds.
	ErrOptions = errors.New("forward: unusable option")
	// ErrArgument: an argument is nil or does not fit.
	ErrArgument = errors.New("forward: unusable argument")
	// ErrTaken: the target has a link already. Detach it first.
	ErrTaken = errors.New("forward: the target has a link")
	// ErrRouted: the fingerprint is routed to another target. Close that, or
	// have it give up the route.
	ErrRouted = errors.New("forward: routed elsewhere")
	// ErrClosed: the target was closed.
	ErrClosed = errors.New("forward: closed")
)
