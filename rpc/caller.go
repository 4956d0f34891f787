package rpc

import (
	"context"
	"time"
)

// Caller is what a generated client makes its calls through: a [*Conn], or
// something that wraps one or many (rpc/policy, rpc/balance). Methods may be
// called from any number of goroutines.
//
// Messages belong to the caller of a method: an implementation must not touch
// req or reply after the method has returned. One that tries again or hedges
// encodes a copy for whatever may outlive the call.
type Caller interface {
	// Call makes a unary call and decodes the answer into reply. The error is
	// an [*Error]; reply's content is undefined then.
	Call(ctx context.Context, m *Method, req Encoder, reply Decoder) error

	// Send sends a one-way request. nil means that it is on its way, not that
	// it arrived.
	Send(ctx context.Context, m *Method, req Encoder) error

	// Stream opens a call with streams. It lives until its end, its Close, or
	// the end of ctx.
	Stream(ctx context.Context, m *Method, req Encoder) (Stream, error)

	// Subscribe begins to receive a topic's events.
	Subscribe(ctx context.Context, m *Method, o SubscribeOptions) (Subscription, error)
}

// Stream is the client's side of a call with streams. Send and CloseSend
// belong to one goroutine at a time, Receive and Reply to one, perhaps
// another, which need not wait for the first. Close may be called from any,
// often.
type Stream interface {
	// Send sends one item, waiting for the server's credit and for room. When
	// the call has ended meanwhile it returns io.EOF; Reply says why.
	Send(item Encoder) error
	// CloseSend tells the server that no item follows.
	CloseSend() error
	// Receive waits for the next item. io.EOF means that there are no more:
	// call Reply. Another error is the end of the call.
	Receive(item Decoder) error
	// Reply waits for the end of the call, dropping items that were not
	// received, and decodes the reply. It implies CloseSend: an item that
	// another goroutine is sending meanwhile may be lost. After a Close that
	// came before the end of the call it fails with StatusCanceled, as Receive
	// does.
	Reply(reply Decoder) error
	// Close frees the call, cancelling it if it has not ended.
	Close() error
}

// Subscription is a topic as one subscriber receives it. It belongs to one
// goroutine at a time, but for Close.
type Subscription interface {
	// Receive waits for the next event. Its errors end the subscription.
	Receive(event Decoder) error
	// Lost returns how many events the publisher has dropped because this
	// subscriber was too slow, as far as the publisher has told.
	Lost() uint64
	// Close ends the subscription.
	Close() error
}

// SubscribeOptions are a subscriber's wishes.
type SubscribeOptions struct {
	// HoldBack: rather than lose events when this subscriber is slow, hold
	// back the publisher, if it lets itself be held back.
	HoldBack bool
	// Window is how many events may be on their way or waiting here; default
	// 256, at most 65,536.
	Window int
}

// WaitMode is how a blocking caller waits for its answer.
type WaitMode uint8

// The modes.
const (
	// WaitAdaptive spins some 50 µs, then parks. The default.
	WaitAdaptive WaitMode = iota
	// WaitSpin burns the core while a call is under way: the least latency.
	WaitSpin
	// WaitPark sleeps in poll(2) at once.
	WaitPark
)

// String names the mode.
func (w WaitMode) String() string {
	switch w {
	case WaitAdaptive:
		return "adaptive"
	case WaitSpin:
		return "spin"
	case WaitPark:
		return "park"
	}
	return "unknown"
}

// noDeadline is the deadline of what has none, on any clock here.
const noDeadline = int64(1<<63 - 1)

// budgetOf returns how long a call may take, from ctx or the default; 0 means
// without bound, negative that the time is up.
func budgetOf(ctx context.Context, def time.Duration) time.Duration {
	d, ok := ctx.Deadline()
	if !ok {
		return def
	}
	left := time.Until(d)
	if left <= 0 {
		return -1
	}
	if def > 0 && def < left {
		return def
	}
	return left
}
