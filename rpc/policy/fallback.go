package policy

import (
	"context"
	"fmt"

	"github.com/cell-runtime/cell/rpc"
)

// Fallback answers a unary call that has failed with err because the server
// can't be reached, is too slow or breaks down, or because a policy refused
// the call: it fills in reply and returns nil, or returns the error that the
// caller gets. Errors of the application and cancellation don't come here. ctx
// is the caller's own, without the policy's deadline.
type Fallback func(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder, err error) error

// FallbackReply returns a fallback that answers with a fixed message, which is
// encoded now. Error: that of the message.
func FallbackReply(message rpc.Encoder) (Fallback, error) {
	fixed, err := encode(message)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, _ *rpc.Method, _ rpc.Encoder, reply rpc.Decoder, _ error) error {
		return reply.DecodeCell(fixed)
	}, nil
}

// FallbackTo returns a fallback that makes the call through another caller, if
// it is [Resendable].
func FallbackTo(other rpc.Caller) Fallback {
	return func(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder, err error) error {
		if !Resendable(m, err) {
			return err
		}
		return other.Call(ctx, m, req, reply)
	}
}

// encode returns a message's bytes.
func encode(message rpc.Encoder) ([]byte, error) {
	b := make([]byte, message.SizeCell())
	n, err := message.EncodeCell(b)
	if err != nil {
		return nil, fmt.Errorf("policy: the message can't be encoded: %w", err)
	}
	return b[:n], nil
}
