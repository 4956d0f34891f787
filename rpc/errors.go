package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Error is how a call failed: a numbered status, a message for people and
// details for programs. Handlers return one (see [Errorf]) to choose what the
// caller sees; callers get one for every failed call.
//
//	errors.Is(err, wire.StatusNotFound)          // the number
//	var e *rpc.Error; errors.As(err, &e)         // message and details
//	errors.Is(err, context.DeadlineExceeded)     // same as StatusDeadlineExceeded
type Error struct {
	Status  wire.Status
	Message string
	Details []byte // opaque; at most what fits the link beside the message
	// Method is "Service.Method" of the call, as far as it is known.
	Method string
	// Remote: the peer said so. Otherwise this side found it out.
	Remote bool

	cause error
	wait  time.Duration // until the link may be opened again, if that is why
	sent  uint64        // the fingerprint that was sent, and the life of the
	life  uint64        // link over which; of calls that the peer refused
	// unserved: the peer knows no such method, in the dispatcher's word. No
	// handler saw the call.
	unserved bool
}

// unservedMark is what a dispatcher has for details of StatusUnimplemented, so
// that a handler's error of that status is not taken for its word.
const unservedMark = "cell: unserved"

// Errorf returns an [*Error] with a status and a message. A %w works as in
// [fmt.Errorf], for this side's eyes; the peer gets the text.
func Errorf(status wire.Status, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Status: status, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Status.String()
	if e.Method != "" {
		text = e.Method + ": " + text
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return "rpc: " + text
}

// Is reports whether target is e's status, or the context error that means the
// same.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return e.Status == wire.StatusDeadlineExceeded
	case context.Canceled:
		return e.Status == wire.StatusCanceled
	}
	s, ok := target.(wire.Status)
	return ok && s == e.Status
}

// Unwrap returns the cause on this side, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// StatusOf returns the status that stands for err: its own if it has one, that
// of a context's or a link's error, StatusUnknown for all else, and StatusOK
// for nil.
func StatusOf(err error) wire.Status {
	if err == nil {
		return wire.StatusOK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	var s wire.Status
	if errors.As(err, &s) {
		return s
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return wire.StatusDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return wire.StatusCanceled
	case errors.Is(err, link.ErrTooLarge):
		return wire.StatusTooLarge
	case errors.Is(err, link.ErrPeerGone), errors.Is(err, link.ErrCorrupt):
		return wire.StatusPeerGone
	case errors.Is(err, link.ErrFull):
		return wire.StatusResourceExhausted
	case errors.Is(err, link.ErrClosed):
		return wire.StatusUnavailable
	}
	return wire.StatusUnknown
}

// failure makes the error of a call to m.
func failure(m *Method, status wire.Status, cause error, format string, args ...any) *Error {
	e := &Error{Status: status, Message: fmt.Sprintf(format, args...), cause: cause}
	if m != nil {
		e.Method = m.String()
	}
	if cause != nil {
		e.Message += ": " + cause.Error()
	}
	return e
}

// asPayload is what the peer is told about a handler's error.
func asPayload(err error) wire.ErrorPayload {
	var e *Error
	if errors.As(err, &e) {
		p := wire.ErrorPayload{Status: e.Status, Message: e.Message, Details: e.Details}
		if p.Status == wire.StatusOK { // an error is never OK
			p.Status = wire.StatusUnknown
		}
		if string(p.Details) == unservedMark {
			p.Details = nil
		}
		return p
	}
	status := StatusOf(err)
	if status == wire.StatusOK {
		status = wire.StatusUnknown
	}
	return wire.ErrorPayload{Status: status, Message: err.Error()}
}

// errorHead is what an error payload has before its message, in bytes.
const errorHead = 8

// fitError cuts an error payload to size bytes: details go first, whole, since
// a part of them may mean something else; then the end of the message.
func fitError(p *wire.ErrorPayload, size int) {
	if errorHead+len(p.Message)+len(p.Details) > size {
		p.Details = nil
	}
	if most := max(0, size-errorHead); len(p.Message) > most {
		p.Message = p.Message[:most]
	}
}

// remoteError is the error that a peer's error vesicle stands for.
func remoteError(m *Method, payload []byte) *Error {
	p, err := wire.DecodeError(payload)
	if err != nil {
		return failure(m, wire.StatusInternal, err, "the peer's error can't be read")
	}
	e := &Error{Status: p.Status, Message: p.Message, Remote: true}
	switch {
	case p.Status == wire.StatusUnimplemented && string(p.Details) == unservedMark:
		e.unserved = true
	case len(p.Details) > 0:
		e.Details = append([]byte(nil), p.Details...)
	}
	if m != nil {
		e.Method = m.String()
	}
	return e
}
