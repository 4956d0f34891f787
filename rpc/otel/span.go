package otel

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// span is one call as telemetry sees it. It is ended once.
type span struct {
	on     *telemetry
	method *method
	span   trace.Span
	began  uint64 // ticks
}

// begin begins a span below that of ctx and returns the context that carries
// it.
func (t *telemetry) begin(ctx context.Context, m *rpc.Method) (context.Context, span) {
	of := t.series.of(m, t.kind)
	ctx, s := t.tracer.Start(ctx, of.name, of.begin...)
	return ctx, span{on: t, method: of, span: s, began: sched.TicksRelaxed()}
}

// end ends the span with the call's outcome.
func (s span) end(ctx context.Context, err error) {
	took := sched.TicksToNanos(sched.TicksRelaxed() - s.began)
	status := rpc.StatusOf(err)
	if err != nil && s.span.IsRecording() {
		s.span.SetAttributes(failure(status)...)
		if s.on.kind == trace.SpanKindClient || serversFault(status) {
			s.span.SetStatus(codes.Error, err.Error())
		}
	}
	s.on.took.Record(ctx, float64(max(took, 0))/1e9, s.method.record(status)...)
	s.span.End()
}

// serversFault reports whether a failed call is an error of the server's span
// too, by the semantic conventions: what the caller did wrong is none.
func serversFault(status wire.Status) bool {
	switch status {
	case wire.StatusUnknown, wire.StatusDeadlineExceeded, wire.StatusUnimplemented,
		wire.StatusInternal, wire.StatusUnavailable, wire.StatusDataLoss:
		return true
	}
	return false
}

var w3c propagation.TraceContext

const traceparentField = "traceparent"

// outgoing puts the span of ctx where a connection looks for what it passes
// on, if there is a span.
func outgoing(ctx context.Context) context.Context {
	if text := Traceparent(ctx); text != "" {
		return rpc.WithTraceparent(ctx, text)
	}
	return ctx
}

// incoming returns ctx below the remote span that a traceparent names; as it
// is if there is none, or none that can be read.
func incoming(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return w3c.Extract(ctx, propagation.MapCarrier{traceparentField: traceparent})
}

// Traceparent returns the W3C traceparent of the span that a context carries,
// "" if there is none. It fits rpc.ConnOptions.Traceparent for connections that
// are to pass on the spans of their callers without having one of their own
// (see [Client] for those).
func Traceparent(ctx context.Context) string {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return ""
	}
	// version 00 - trace id - span id - flags
	// https://www.w3.org/TR/trace-context/#traceparent-header-field-values
	id, parent := c.TraceID(), c.SpanID()
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = appendHex(b, id[:])
	b = append(b, '-')
	b = appendHex(b, parent[:])
	b = append(b, '-')
	b = appendHex(b, []byte{byte(c.TraceFlags())})
	return string(b)
}

func appendHex(b, bytes []byte) []byte {
	const digits = "0123456789abcdef"
	for _, x := range bytes {
		b = append(b, digits[x>>4], digits[x&15])
	}
	return b
}

// errPanic is the outcome of a handler that panics, as its caller will see it.
var errPanic = rpc.Errorf(wire.StatusInternal, "the handler panicked")
