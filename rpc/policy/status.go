package policy

import (
	"errors"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Refusals of this package. They are the causes of [*rpc.Error]s, so
// errors.Is finds both them and the status. Nothing was sent.
var (
	// ErrBreakerOpen, with wire.StatusUnavailable: the server was failing of
	// late, and calls are refused until it may be asked again.
	ErrBreakerOpen = errors.New("the circuit breaker is open")
	// ErrRate, with wire.StatusResourceExhausted: too many calls a second.
	ErrRate = errors.New("the rate limit is reached")
	// ErrConcurrency, with wire.StatusResourceExhausted: too many calls under
	// way.
	ErrConcurrency = errors.New("the concurrency limit is reached")
)

// refuse makes the error of a call that was not sent.
func refuse(m *rpc.Method, status wire.Status, cause error, why string) error {
	err := rpc.Errorf(status, "%w: %s; not executed", cause, why)
	var e *rpc.Error
	if errors.As(err, &e) {
		e.Method = m.String()
	}
	return err
}

// refused reports whether a policy refused the call, which asking again at
// once would not change.
func refused(err error) bool {
	return errors.Is(err, ErrBreakerOpen) || errors.Is(err, ErrRate) || errors.Is(err, ErrConcurrency)
}

// Resendable reports whether sending a call again after err can do no harm:
// the outcome says that it was not executed, or the method is idempotent and
// the outcome is one that another attempt may better.
func Resendable(m *rpc.Method, err error) bool {
	switch rpc.StatusOf(err) {
	case wire.StatusUnavailable, wire.StatusDraining, wire.StatusResourceExhausted:
		return true // not executed
	case wire.StatusPeerGone, wire.StatusDeadlineExceeded, wire.StatusAborted:
		return m.Idempotent // perhaps executed
	}
	return false // executed, or never going to succeed
}

// verdict is what the outcome of a call says about the server.
type verdict uint8

const (
	neutral verdict = iota // nothing: the caller gave up, or it was never sent
	healthy                // it answered, be it with an error of the application's
	failing                // it can't be reached, is too slow, or breaks down
)

// judge tells what an outcome says about the server. A deadline that passes
// counts against it: a server that hangs is the case for which breakers exist.
func judge(err error) verdict {
	if err == nil {
		return healthy
	}
	switch rpc.StatusOf(err) {
	case wire.StatusCanceled:
		return neutral
	case wire.StatusUnavailable, wire.StatusPeerGone, wire.StatusDraining, wire.StatusDeadlineExceeded,
		wire.StatusInternal, wire.StatusUnknown, wire.StatusDataLoss:
		return failing
	case wire.StatusResourceExhausted:
		var e *rpc.Error
		if errors.As(err, &e) && e.Remote {
			return failing
		}
		return neutral // a limit on this side
	}
	return healthy
}
