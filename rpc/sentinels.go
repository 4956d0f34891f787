package rpc

import (
	"errors"

	"github.com/cell-runtime/cell/wire"
)

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

// ErrUnserved is what a [Relay] refuses a request with that it knows no way for. A
// caller takes it for the word of a dispatcher, which no handler can speak: nothing
// was executed, so the request may be made again where the method is served.
var ErrUnserved = &Error{
	Status: wire.StatusUnimplemented, Message: "nobody serves this fingerprint here", Details: []byte(unservedMark),
}
