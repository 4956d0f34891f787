package otel_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	notrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/otel"
)

// nothing is a caller that does nothing, so that what is around it is seen.
type nothing struct{ rpc.Caller }

func (nothing) Call(context.Context, *rpc.Method, rpc.Encoder, rpc.Decoder) error { return nil }

// BenchmarkClient is what a client's middleware costs, with the SDK's
// providers but no exporter.
func BenchmarkClient(b *testing.B) {
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	never := sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))
	always := sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()))
	req, reply := &arith.AddRequest{}, &arith.AddReply{}
	m := arith.ArithDesc.Method("Add")
	for _, c := range []struct {
		name string
		o    otel.Options
	}{
		{"neither", otel.Options{TracerProvider: notrace.NewTracerProvider(), MeterProvider: noop.NewMeterProvider()}},
		{"metrics", otel.Options{TracerProvider: notrace.NewTracerProvider(), MeterProvider: meters}},
		{"metrics, no call sampled", otel.Options{TracerProvider: never, MeterProvider: meters}},
		{"metrics, every call sampled", otel.Options{TracerProvider: always, MeterProvider: meters}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := rpc.Wrap(nothing{}, ok[rpc.ClientMiddleware](b)(otel.Client(c.o)))
			b.ReportAllocs()
			for range b.N {
				if err := w.Call(context.Background(), m, req, reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
