package rpc

import "errors"

// Errors of this package that are not the outcome of a call, possibly wrapped
// with context. Compare with errors.Is. Calls fail with an [*Error].
var (
	// ErrOptions: an option can't be used; the message names it and its
	// bounds.
	ErrOptions = errors.New("rpc: unusable option")
	// ErrArgument: an argument is nil or does not fit.
	ErrArgument = errors.New("rpc: unusable argument")
	// ErrRegistered: the method, or one with that fingerprint, is served
	// already.
	ErrRegistered = errors.New("rpc: registered before")
	// ErrClosed: the connection or server was closed on this side.
	ErrClosed = errors.New("rpc: closed")
)
