package otel

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// series is what is written with every call of a method, made once: building
// attributes for each call would cost more than the call. There are as many as
// methods and statuses, both bounded by code.
type series struct{ methods sync.Map } // *rpc.Method to *method

// method is a method's share.
type method struct {
	name     string
	begin    []trace.SpanStartOption
	base     []attribute.KeyValue
	statuses [1 << 8]sync.Once
	records  [1 << 8][]metric.RecordOption // by wire.Status, once made
}

func (s *series) of(m *rpc.Method, kind trace.SpanKind) *method {
	if known, ok := s.methods.Load(m); ok {
		return known.(*method)
	}
	base := attributesOf(m)
	made := &method{
		name: spanName(m),
		base: base,
		begin: []trace.SpanStartOption{
			trace.WithSpanKind(kind), trace.WithAttributes(base...),
		},
	}
	known, _ := s.methods.LoadOrStore(m, made)
	return known.(*method)
}

// failure is the attributes of a status, none for StatusOK.
func failure(status wire.Status) []attribute.KeyValue {
	if status == wire.StatusOK {
		return nil
	}
	return []attribute.KeyValue{
		attribute.String("rpc.response.status_code", status.String()),
		attribute.String("error.type", status.String()),
	}
}

// record returns the options with which a call's duration is recorded.
func (m *method) record(status wire.Status) []metric.RecordOption {
	m.statuses[status].Do(func() {
		all := append(append([]attribute.KeyValue(nil), m.base...), failure(status)...)
		m.records[status] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}
	})
	return m.records[status]
}
