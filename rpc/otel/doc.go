// Package otel joins calls to OpenTelemetry: spans and metrics of clients and
// servers, and the W3C trace context between them.
//
//	conn, err := rpc.Connect(ctx, dial, &rpc.ConnOptions{Traceparent: rpc.Traceparent})
//	with, err := otel.Client(otel.Options{})
//	client := NewLedgerClient(rpc.Wrap(conn, with))
//
//	serve, err := otel.Server(otel.Options{})
//	server, err := rpc.NewServer(&rpc.ServerOptions{Middleware: []rpc.ServerMiddleware{serve}})
//
// Names follow OpenTelemetry's semantic conventions for RPC
// (https://opentelemetry.io/docs/specs/semconv/rpc/): a span is called
// "Service/Method"; the histograms rpc.client.call.duration and
// rpc.server.call.duration are in seconds; attributes are rpc.system.name
// ("cell"), rpc.method and, of calls that failed, rpc.response.status_code and
// error.type, both with the status's text.
//
// rpc carries the traceparent and no tracestate or baggage. docs/POLICY.md has
// what all this costs.
package otel
