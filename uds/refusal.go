package uds

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/wire"
)

// Errors of listening and dialing, wrapped with context; compare with
// errors.Is.
var (
	// ErrRefused: one side said no during the handshake; errors.As to
	// *RefusedError tells which and why.
	ErrRefused = errors.New("uds: connection refused")
	// ErrInUse: a living process listens under this name.
	ErrInUse = errors.New("uds: name in use")
	// ErrNoListener: nobody listens under this name.
	ErrNoListener = errors.New("uds: nobody listens")
	// ErrListenerClosed: Accept was called on a listener that is closed.
	ErrListenerClosed = errors.New("uds: listener closed")
)

// RefusedError says why a connection came to nothing. It is ErrRefused and its
// Status to errors.Is:
//
//	StatusPermissionDenied   the policy does not admit the other side
//	StatusUnimplemented      no common version
//	StatusFailedPrecondition one side insists on a path that the other can't take
//	StatusResourceExhausted  too many connections, or no descriptors
//	StatusInvalidArgument    bytes that are no handshake
//	StatusDeadlineExceeded   the handshake took too long
//	StatusDraining           the listener is closing
//	StatusInternal           anything else
type RefusedError struct {
	Status wire.Status
	// Reason is a sentence for people: what, why, and how to mend it.
	Reason string
	// ByPeer says that the other side refused; Reason is then its text, cut
	// to 512 bytes of printable characters.
	ByPeer bool
	// PID is the other side's process, 0 if unknown.
	PID int

	cause error // of a refusal by this side
}

// Error implements error.
func (e *RefusedError) Error() string {
	who := "this side refused"
	if e.ByPeer {
		who = "the other side refused"
	}
	return fmt.Sprintf("uds: %s (peer is process %d): %s (%v)", who, e.PID, e.Reason, e.Status)
}

// Unwrap lets errors.Is find ErrRefused, the status and the cause.
func (e *RefusedError) Unwrap() []error {
	if e.cause != nil {
		return []error{ErrRefused, e.Status, e.cause}
	}
	return []error{ErrRefused, e.Status}
}

func refuse(s wire.Status, format string, args ...any) *RefusedError {
	err := fmt.Errorf(format, args...)
	return &RefusedError{Status: s, Reason: err.Error(), cause: errors.Unwrap(err)}
}
