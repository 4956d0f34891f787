package wire

import (
	"encoding/binary"
	"errors"
)

// Status is the numbered outcome of a call. The first seventeen have the
// numbers and meanings of gRPC's codes, which operators know; the numbers from
// 32 on are Cell's own. All are below 64, so that a program can exit with
// 64+status. A Status is an error, so errors.Is(err, wire.StatusNotFound)
// works on both sides of a call.
type Status uint8

// The statuses.
const (
	StatusOK                 Status = 0
	StatusCanceled           Status = 1  // the caller gave up
	StatusUnknown            Status = 2  // the handler failed without a number
	StatusInvalidArgument    Status = 3  // the request can never succeed
	StatusDeadlineExceeded   Status = 4  // the budget ran out; the request may have been executed
	StatusNotFound           Status = 5  // no such thing
	StatusAlreadyExists      Status = 6  //
	StatusPermissionDenied   Status = 7  // known peer, not allowed
	StatusResourceExhausted  Status = 8  // a limit was reached; nothing was executed
	StatusFailedPrecondition Status = 9  //
	StatusAborted            Status = 10 // a conflict; trying the whole again may help
	StatusOutOfRange         Status = 11 //
	StatusUnimplemented      Status = 12 // nobody serves this fingerprint here
	StatusInternal           Status = 13 // a bug on the serving side, such as a panic
	StatusUnavailable        Status = 14 // not executed; safe to send again
	StatusDataLoss           Status = 15 //
	StatusUnauthenticated    Status = 16 // unknown peer

	StatusPeerGone    Status = 32 // the link was lost with the call in flight; it may have been executed
	StatusTooLarge    Status = 33 // request or reply above a limit; not executed
	StatusFingerprint Status = 34 // the method exists with another schema
	StatusHops        Status = 35 // forwarded too often
	StatusDraining    Status = 36 // the server is stopping; not executed, safe to send elsewhere
)

var statusNames = [...]string{
	StatusOK: "ok", StatusCanceled: "canceled", StatusUnknown: "unknown",
	StatusInvalidArgument: "invalid argument", StatusDeadlineExceeded: "deadline exceeded",
	StatusNotFound: "not found", StatusAlreadyExists: "already exists",
	StatusPermissionDenied: "permission denied", StatusResourceExhausted: "resource exhausted",
	StatusFailedPrecondition: "failed precondition", StatusAborted: "aborted",
	StatusOutOfRange: "out of range", StatusUnimplemented: "unimplemented",
	StatusInternal: "internal error", StatusUnavailable: "unavailable",
	StatusDataLoss: "data loss", StatusUnauthenticated: "unauthenticated",
	StatusPeerGone: "peer gone", StatusTooLarge: "too large",
	StatusFingerprint: "fingerprint mismatch", StatusHops: "too many hops",
	StatusDraining: "draining",
}

// String returns the status in words, or "status N" for a number that a newer
// peer may know.
func (s Status) String() string {
	if int(s) < len(statusNames) && statusNames[s] != "" {
		return statusNames[s]
	}
	return "status " + digits(uint8(s))
}

// Error makes a Status usable as a sentinel error.
func (s Status) Error() string { return s.String() }

// ErrErrorPayload is returned when the payload of a [KindError] vesicle is
// not one.
var ErrErrorPayload = errors.New("wire: malformed error payload")

const (
	// errorPrefix is status u8, three zero bytes, message length u32.
	errorPrefix = 8
	// statusLimit is one above the greatest number that a status may ever
	// have.
	statusLimit = 64
)

// ErrorPayload is what a vesicle of [KindError] carries: a status, a message
// for people, and details for programs. It is never guessed from anything
// else.
type ErrorPayload struct {
	Status  Status
	Message string
	Details []byte
}

// Append appends the encoded payload to b: status (1 byte), three zero bytes,
// the message's length (u32), the message, the details.
func (e *ErrorPayload) Append(b []byte) []byte {
	b = append(b, byte(e.Status), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Message)))
	b = append(b, e.Message...)
	return append(b, e.Details...)
}

// DecodeError decodes the payload of a [KindError] vesicle. A status that
// this package does not know is accepted as long as it may exist at all
// (1 to 63). The message is copied and, like all that comes from a peer, need
// not be valid UTF-8; Details points into b and lives as long as b does.
func DecodeError(b []byte) (ErrorPayload, error) {
	if len(b) < errorPrefix {
		return ErrorPayload{}, ErrErrorPayload
	}
	// One load: b may be memory that a hostile peer is writing to, and what
	// was checked must be what is used.
	prefix := binary.LittleEndian.Uint64(b)
	status, zero, n := Status(prefix), prefix>>8&0xffffff, prefix>>32
	if status == StatusOK || status >= statusLimit || zero != 0 || n > uint64(len(b)-errorPrefix) {
		return ErrorPayload{}, ErrErrorPayload
	}
	return ErrorPayload{
		Status:  status,
		Message: string(b[errorPrefix : errorPrefix+int(n)]),
		Details: b[errorPrefix+int(n):],
	}, nil
}
