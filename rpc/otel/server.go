package otel

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/rpc"
)

// Server returns a middleware that makes a span of every call that a server
// handles, below the caller's if that sent its traceparent, and records how
// long the handler took. The context of a blocking handler carries the span;
// an inline handler has no context, and what it costs here (see docs/POLICY.md)
// is paid on the engine's thread. Error: ErrInstrument.
func Server(o Options) (rpc.ServerMiddleware, error) {
	t, err := newTelemetry(o, trace.SpanKindServer, "rpc.server.call.duration", "Duration of handlers")
	if err != nil {
		return rpc.ServerMiddleware{}, err
	}
	return rpc.ServerMiddleware{
		Inline: func(m *rpc.Method, next rpc.InlineFunc) rpc.InlineFunc {
			return func(c *rpc.Call, req, reply []byte) (n int, err error) {
				ctx, s := t.begin(incoming(context.Background(), c.Traceparent()), m)
				defer func() { s.end(ctx, err) }()
				err = errPanic // unless it returns
				n, err = next(c, req, reply)
				return n, err
			}
		},
		Blocking: func(m *rpc.Method, next rpc.BlockingFunc) rpc.BlockingFunc {
			return func(ctx context.Context, x *rpc.Exchange) (err error) {
				ctx, s := t.begin(incoming(ctx, rpc.Traceparent(ctx)), m)
				defer func() { s.end(ctx, err) }()
				err = errPanic // unless it returns
				err = next(outgoing(ctx), x)
				return err
			}
		},
	}, nil
}
