package otel

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/rpc"
)

// Client returns a middleware that makes a span of every call and records how
// long it took. The connection below passes the span on if its
// ConnOptions.Traceparent is rpc.Traceparent. Outside of policies it sees calls
// as the program does; inside, every attempt. Error: ErrInstrument.
func Client(o Options) (rpc.ClientMiddleware, error) {
	t, err := newTelemetry(o, trace.SpanKindClient, "rpc.client.call.duration", "Duration of outgoing calls")
	if err != nil {
		return nil, err
	}
	return func(next rpc.Caller) rpc.Caller { return &client{next, t} }, nil
}

type client struct {
	next rpc.Caller
	on   *telemetry
}

var _ rpc.Caller = (*client)(nil)

// Call implements [rpc.Caller].
func (c *client) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	ctx, s := c.on.begin(ctx, m)
	err := c.next.Call(outgoing(ctx), m, req, reply)
	s.end(ctx, err)
	return err
}

// Send implements [rpc.Caller]. One-way requests carry no traceparent: they
// have no answer to which it could belong.
func (c *client) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	ctx, s := c.on.begin(ctx, m)
	err := c.next.Send(ctx, m, req)
	s.end(ctx, err)
	return err
}

// Stream implements [rpc.Caller]. The span lasts as long as the stream.
func (c *client) Stream(ctx context.Context, m *rpc.Method, req rpc.Encoder) (rpc.Stream, error) {
	ctx, s := c.on.begin(ctx, m)
	opened, err := c.next.Stream(outgoing(ctx), m, req)
	if err != nil {
		s.end(ctx, err)
		return nil, err
	}
	seen := &stream{Stream: opened}
	seen.begin(ctx, s)
	return seen, nil
}

// Subscribe implements [rpc.Caller]. The span is that of subscribing: a
// subscription may last for days.
func (c *client) Subscribe(ctx context.Context, m *rpc.Method, o rpc.SubscribeOptions) (rpc.Subscription, error) {
	below, s := c.on.begin(ctx, m)
	sub, err := c.next.Subscribe(outgoing(below), m, o)
	s.end(below, err)
	return sub, err
}

// stream is a stream with its span.
type stream struct {
	rpc.Stream
	ctx  context.Context
	span span
	once sync.Once
	stop func() bool
}

func (s *stream) begin(ctx context.Context, of span) {
	s.ctx, s.span = ctx, of
	s.stop = context.AfterFunc(ctx, func() { s.finish(ctx.Err()) })
}

func (s *stream) end(err error) {
	s.stop()
	s.finish(err)
}

func (s *stream) finish(err error) { s.once.Do(func() { s.span.end(s.ctx, err) }) }

// Receive implements [rpc.Stream].
func (s *stream) Receive(item rpc.Decoder) error {
	err := s.Stream.Receive(item)
	if err != nil && !errors.Is(err, io.EOF) {
		s.end(err)
	}
	return err
}

// Reply implements [rpc.Stream].
func (s *stream) Reply(reply rpc.Decoder) error {
	err := s.Stream.Reply(reply)
	s.end(err)
	return err
}

// Close implements [rpc.Stream].
func (s *stream) Close() error {
	err := s.Stream.Close()
	s.end(err)
	return err
}
