package rpc

import (
	"context"
	"log/slog"
	"time"

	"github.com/cell-runtime/cell/sched"
)

// ServerMiddleware wraps the handlers of methods when they are registered, so
// that a server without any pays nothing. Either function may be nil, which
// leaves handlers of that form as they are; it may return next itself for
// methods that it does not care for.
type ServerMiddleware struct {
	Inline   func(m *Method, next InlineFunc) InlineFunc
	Blocking func(m *Method, next BlockingFunc) BlockingFunc
}

// wrap applies the server's middleware to a handler.
func (s *Server) wrap(m *Method, h Handler) Handler {
	for i := len(s.opts.Middleware) - 1; i >= 0; i-- {
		w := s.opts.Middleware[i]
		if h.inline != nil && w.Inline != nil {
			h.inline = w.Inline(m, h.inline)
		}
		if h.blocking != nil && w.Blocking != nil {
			h.blocking = w.Blocking(m, h.blocking)
		}
	}
	return h
}

// ClientMiddleware wraps a caller.
type ClientMiddleware func(next Caller) Caller

// Wrap applies middleware to a caller, the first one outermost.
func Wrap(c Caller, middleware ...ClientMiddleware) Caller {
	for i := len(middleware) - 1; i >= 0; i-- {
		c = middleware[i](c)
	}
	return c
}

// LogServer logs every call that a server handles: failed ones as warnings,
// others at the debug level.
func LogServer(l *slog.Logger) ServerMiddleware {
	return ServerMiddleware{
		Inline: func(m *Method, next InlineFunc) InlineFunc {
			name := m.String()
			return func(c *Call, req, reply []byte) (int, error) {
				began := sched.TicksRelaxed()
				n, err := next(c, req, reply)
				logCall(context.Background(), l, "served", name, began, err)
				return n, err
			}
		},
		Blocking: func(m *Method, next BlockingFunc) BlockingFunc {
			name := m.String()
			return func(ctx context.Context, x *Exchange) error {
				began := sched.TicksRelaxed()
				err := next(ctx, x)
				logCall(ctx, l, "served", name, began, err)
				return err
			}
		},
	}
}

// LogClient logs every call that is made: failed ones as warnings, others at
// the debug level. Of streams and subscriptions it logs how they begin.
func LogClient(l *slog.Logger) ClientMiddleware {
	return func(next Caller) Caller { return &loggedCaller{next, l} }
}

type loggedCaller struct {
	next Caller
	log  *slog.Logger
}

var _ Caller = (*loggedCaller)(nil)

// Call implements [Caller].
func (c *loggedCaller) Call(ctx context.Context, m *Method, req Encoder, reply Decoder) error {
	began := sched.TicksRelaxed()
	err := c.next.Call(ctx, m, req, reply)
	logCall(ctx, c.log, "called", m.String(), began, err)
	return err
}

// Send implements [Caller].
func (c *loggedCaller) Send(ctx context.Context, m *Method, req Encoder) error {
	began := sched.TicksRelaxed()
	err := c.next.Send(ctx, m, req)
	logCall(ctx, c.log, "sent", m.String(), began, err)
	return err
}

// Stream implements [Caller].
func (c *loggedCaller) Stream(ctx context.Context, m *Method, req Encoder) (Stream, error) {
	began := sched.TicksRelaxed()
	s, err := c.next.Stream(ctx, m, req)
	logCall(ctx, c.log, "opened", m.String(), began, err)
	return s, err
}

// Subscribe implements [Caller].
func (c *loggedCaller) Subscribe(ctx context.Context, m *Method, o SubscribeOptions) (Subscription, error) {
	began := sched.TicksRelaxed()
	s, err := c.next.Subscribe(ctx, m, o)
	logCall(ctx, c.log, "subscribed", m.String(), began, err)
	return s, err
}

func logCall(ctx context.Context, l *slog.Logger, what, method string, began uint64, err error) {
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
	}
	if !l.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", method),
		slog.Duration("took", time.Duration(sched.TicksToNanos(sched.TicksRelaxed()-began))),
	}
	if err != nil {
		attrs = append(attrs, slog.String("status", StatusOf(err).String()), slog.Any("err", err))
	}
	if t := Traceparent(ctx); t != "" {
		attrs = append(attrs, slog.String("traceparent", t))
	}
	l.LogAttrs(ctx, level, "rpc "+what, attrs...)
}
