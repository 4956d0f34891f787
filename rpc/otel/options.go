package otel

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/rpc"
)

// scope names the instrumentation.
const scope = "github.com/cell-runtime/cell/rpc/otel"

// ErrInstrument: a metric can't be had from the MeterProvider; it wraps why.
var ErrInstrument = errors.New("otel: no instrument")

// Options say where spans and metrics go. Unset fields mean the providers that
// the process has set as global at the time.
type Options struct {
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// telemetry is what one side of calls writes to.
type telemetry struct {
	kind   trace.SpanKind
	tracer trace.Tracer
	took   metric.Float64Histogram
	series series
}

// buckets are the bounds of durations in seconds, from what a ring needs to
// what people give up after. OpenTelemetry's own begin at 5 ms.
var buckets = []float64{
	1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4,
	1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

func newTelemetry(o Options, kind trace.SpanKind, name, what string) (*telemetry, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	took, err := o.MeterProvider.Meter(scope).Float64Histogram(name,
		metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(buckets...))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInstrument, name, err)
	}
	return &telemetry{kind: kind, tracer: o.TracerProvider.Tracer(scope), took: took}, nil
}

// spanName is the name of a method's spans.
func spanName(m *rpc.Method) string {
	if s := m.Service(); s != nil {
		return s.Name + "/" + m.Name
	}
	return m.Name
}

func attributesOf(m *rpc.Method) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("rpc.system.name", "cell"),
		attribute.String("rpc.method", spanName(m)),
	}
}
