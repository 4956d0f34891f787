package otel_test

import (
	"context"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/otel"
)

// A client whose calls have spans.
func ExampleClient() {
	spans := tracetest.NewInMemoryExporter()
	traces := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	defer func() { _ = traces.Shutdown(context.Background()) }()
	with, err := otel.Client(otel.Options{TracerProvider: traces})
	if err != nil {
		fmt.Println(err)
		return
	}
	var conn rpc.Caller = nothing{} // in real life, of rpc.Connect with Traceparent: rpc.Traceparent
	client := arith.NewArithClient(rpc.Wrap(conn, with))
	if _, err := client.Add(context.Background(), arith.AddRequest{A: 1, B: 2}); err != nil {
		fmt.Println(err)
	}
	for _, s := range spans.GetSpans() {
		fmt.Println(s.Name, s.SpanKind)
	}
	// Output:
	// Arith/Add client
}
