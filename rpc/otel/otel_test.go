package otel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/rpc/otel"
	"github.com/cell-runtime/cell/wire"
)

const patience = 60 * time.Second

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func ok[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// lab is a client and a server, each with its telemetry in memory.
type lab struct {
	spans   *tracetest.InMemoryExporter
	reader  *metric.ManualReader
	options otel.Options
	tracer  trace.Tracer
	client  *arith.ArithClient
	bare    *arith.ArithClient // without the middleware
}

func newLab(t testing.TB, inline bool) *lab {
	t.Helper()
	l := &lab{spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	traces := sdk.NewTracerProvider(sdk.WithSyncer(l.spans))
	meters := metric.NewMeterProvider(metric.WithReader(l.reader))
	t.Cleanup(func() {
		_ = traces.Shutdown(context.Background())
		_ = meters.Shutdown(context.Background())
	})
	l.options = otel.Options{TracerProvider: traces, MeterProvider: meters}
	l.tracer = traces.Tracer("test")
	l.connect(t, inline)
	return l
}

func (l *lab) connect(t testing.TB, inline bool) {
	t.Helper()
	serve := ok[rpc.ServerMiddleware](t)(otel.Server(l.options))
	s := ok[*rpc.Server](t)(rpc.NewServer(&rpc.ServerOptions{Middleware: []rpc.ServerMiddleware{serve}}))
	var err error
	if inline {
		err = arith.RegisterArithViews(s, (&arith.Views{}).ArithViews())
	} else {
		err = arith.RegisterArith(s, &seen{})
	}
	if err != nil {
		t.Fatal(err)
	}
	e := ok[*engine.Engine](t)(engine.New(engine.Config{CPU: engine.Unpinned}))
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	a, b, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(e, a); err != nil {
		t.Fatal(err)
	}
	conn := ok[*rpc.Conn](t)(rpc.NewConn(b, &rpc.ConnOptions{Traceparent: rpc.Traceparent}))
	t.Cleanup(func() {
		_ = conn.Close()
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	l.client = arith.NewArithClient(rpc.Wrap(conn, ok[rpc.ClientMiddleware](t)(otel.Client(l.options))))
	l.bare = arith.NewArithClient(conn)
}

// seen answers Echo of "trace" with what its context carries.
type seen struct{ arith.Blocking }

func (s *seen) Echo(ctx context.Context, req arith.Text) (arith.Text, error) {
	if string(req.Bytes) == "trace" {
		return arith.Text{Bytes: fmt.Append(nil, trace.SpanContextFromContext(ctx).TraceID(), " ", rpc.Traceparent(ctx))}, nil
	}
	return s.Blocking.Echo(ctx, req)
}

// pair returns the spans of both sides of the only call of a name, waiting for
// the server's, which may end after the client's.
func (l *lab) pair(t testing.TB, name string) (client, server tracetest.SpanStub) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		found := 0
		for _, s := range l.spans.GetSpans() {
			if s.Name != name {
				continue
			}
			found++
			if s.SpanKind == trace.SpanKindClient {
				client = s
			} else {
				server = s
			}
		}
		if found == 2 {
			return client, server
		}
		if time.Now().After(end) {
			t.Fatalf("%d spans of %s", found, name)
		}
	}
}

// attributes are those of a span as text.
func attributes(all []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range all {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

func TestSpans(t *testing.T) {
	for _, inline := range []bool{false, true} {
		for _, c := range []struct {
			name        string
			call        func(ctx context.Context, c *arith.ArithClient) error
			method      string
			status      wire.Status
			serverError bool
		}{
			{"a call that succeeds", func(ctx context.Context, c *arith.ArithClient) error {
				_, err := c.Add(ctx, arith.AddRequest{A: 1, B: 2})
				return err
			}, "Arith/Add", wire.StatusOK, false},
			{"an error that is the caller's", func(ctx context.Context, c *arith.ArithClient) error {
				_, err := c.Add(ctx, arith.AddRequest{A: 1<<63 - 1, B: 1})
				return err
			}, "Arith/Add", wire.StatusOutOfRange, false},
			{"an error of the handler", func(ctx context.Context, c *arith.ArithClient) error {
				_, err := c.Echo(ctx, arith.Text{Bytes: []byte("error")})
				return err
			}, "Arith/Echo", wire.StatusUnknown, true},
			{"a panic", func(ctx context.Context, c *arith.ArithClient) error {
				_, err := c.Echo(ctx, arith.Text{Bytes: []byte("panic")})
				return err
			}, "Arith/Echo", wire.StatusInternal, true},
		} {
			t.Run(fmt.Sprintf("%s, inline %v", c.name, inline), func(t *testing.T) {
				l := newLab(t, inline)
				ctx, root := l.tracer.Start(soon(t), "root")
				err := c.call(ctx, l.client)
				root.End()
				if rpc.StatusOf(err) != c.status {
					t.Fatal(err)
				}
				client, server := l.pair(t, c.method)
				if client.Parent.SpanID() != root.SpanContext().SpanID() || client.SpanContext.TraceID() != root.SpanContext().TraceID() {
					t.Error("the client's span is not below the caller's")
				}
				if server.Parent.SpanID() != client.SpanContext.SpanID() || server.SpanContext.TraceID() != root.SpanContext().TraceID() || !server.Parent.IsRemote() {
					t.Error("the server's span is not below the client's")
				}
				for side, s := range map[string]tracetest.SpanStub{"client": client, "server": server} {
					got := attributes(s.Attributes)
					wantCode := ""
					if c.status != wire.StatusOK {
						wantCode = c.status.String()
					}
					if got["rpc.system.name"] != "cell" || got["rpc.method"] != c.method || got["rpc.response.status_code"] != wantCode || got["error.type"] != wantCode {
						t.Error(side, got)
					}
					failed := c.status != wire.StatusOK && (side == "client" || c.serverError)
					if failed != (s.Status.Code == codes.Error) {
						t.Error(side, s.Status)
					}
				}
			})
		}
	}
}

func TestHandlersCarryOnTheTrace(t *testing.T) {
	l := newLab(t, false)
	ctx, root := l.tracer.Start(soon(t), "root")
	defer root.End()
	reply, err := l.client.Echo(ctx, arith.Text{Bytes: []byte("trace")})
	if err != nil {
		t.Fatal(err)
	}
	_, server := l.pair(t, "Arith/Echo")
	want := fmt.Sprintf("%v 00-%v-%v-01", root.SpanContext().TraceID(), server.SpanContext.TraceID(), server.SpanContext.SpanID())
	if string(reply.Bytes) != want {
		t.Fatalf("the handler saw %q, want %q", reply.Bytes, want)
	}
}

func TestStreamSpansLastAsLongAsTheStream(t *testing.T) {
	l := newLab(t, false)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	in := ok[*rpc.Incoming[arith.Number, arith.CountReply]](t)(l.client.Count(ctx, arith.CountRequest{N: 3}))
	for _, s := range l.spans.GetSpans() {
		if s.SpanKind == trace.SpanKindClient {
			t.Fatal("the span has ended before the stream")
		}
	}
	if _, err := in.Reply(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	client, server := l.pair(t, "Arith/Count")
	if server.Parent.SpanID() != client.SpanContext.SpanID() {
		t.Error("the server's span is not below the client's")
	}
	l.spans.Reset()
	out := ok[*rpc.Outgoing[arith.Number, arith.AddReply]](t)(l.client.Sum(ctx))
	_ = out.Send(arith.Number{Value: -1})
	if _, err := out.Reply(); !errors.Is(err, wire.StatusInvalidArgument) {
		t.Fatal(err)
	}
	if client, _ := l.pair(t, "Arith/Sum"); client.Status.Code != codes.Error {
		t.Error(client.Status)
	}
	l.spans.Reset()
	both := ok[*rpc.Duplex[arith.Number, arith.Number, rpc.Empty]](t)(l.client.Squares(ctx))
	cancel()
	for end := time.Now().Add(patience); len(l.spans.GetSpans()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the span outlives the stream's context")
		}
	}
	_ = both.Close() // the server learns of it
	client, _ = l.pair(t, "Arith/Squares")
	if attributes(client.Attributes)["error.type"] != wire.StatusCanceled.String() {
		t.Error(client.Attributes)
	}
}

func TestOneWayAndTopics(t *testing.T) {
	l := newLab(t, false)
	if err := l.client.Note(soon(t), arith.AddRequest{}); err != nil {
		t.Fatal(err)
	}
	client, server := l.pair(t, "Arith/Note")
	if client.SpanContext.TraceID() == server.SpanContext.TraceID() {
		t.Error("one-way requests carry no trace, as the documentation says")
	}
	events, err := l.client.Tick(soon(t), rpc.SubscribeOptions{})
	if err == nil {
		_ = events.Close()
	} else if !errors.Is(err, wire.StatusUnimplemented) { // nobody publishes
		t.Fatal(err)
	}
	found := false
	for _, s := range l.spans.GetSpans() {
		found = found || s.Name == "Arith/Tick"
	}
	if !found {
		t.Error("subscribing has no span")
	}
}

// durations returns how many calls each histogram has by method and status.
func (l *lab) durations(t testing.TB) map[string]uint64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := l.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			h, isHistogram := m.Data.(metricdata.Histogram[float64])
			if !isHistogram || m.Unit != "s" {
				t.Errorf("%s is no histogram in seconds", m.Name)
				continue
			}
			for _, p := range h.DataPoints {
				a := attributes(p.Attributes.ToSlice())
				counts[m.Name+" "+a["rpc.method"]+" "+a["error.type"]] = p.Count
				if p.Sum <= 0 || p.Sum > patience.Seconds() {
					t.Errorf("%s sums up to %v s", m.Name, p.Sum)
				}
			}
		}
	}
	return counts
}

func TestMetrics(t *testing.T) {
	l := newLab(t, false)
	for n := range int64(10) {
		_, _ = l.client.Add(soon(t), arith.AddRequest{A: (n % 2) * (1<<63 - 1), B: 1})
	}
	want := map[string]uint64{
		"rpc.client.call.duration Arith/Add ":             5,
		"rpc.client.call.duration Arith/Add out of range": 5,
		"rpc.server.call.duration Arith/Add ":             5,
		"rpc.server.call.duration Arith/Add out of range": 5,
	}
	var got map[string]uint64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = l.durations(t); fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	t.Fatalf("%v\nwant %v", got, want)
}

func TestTraceparent(t *testing.T) {
	if got := otel.Traceparent(context.Background()); got != "" {
		t.Error("of nothing:", got)
	}
	// The example of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers
	id, _ := trace.TraceIDFromHex("4bf92f3577b34da6a3ce929d0e0e4736")
	parent, _ := trace.SpanIDFromHex("00f067aa0ba902b7")
	for flags, want := range map[trace.TraceFlags]string{
		1: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		0: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
	} {
		c := trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: parent, TraceFlags: flags})
		if got := otel.Traceparent(trace.ContextWithSpanContext(context.Background(), c)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A peer may send anything as its traceparent.
func TestMalformedTraceparent(t *testing.T) {
	for _, text := range []string{"", "00", "nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		l := newLab(t, false)
		// Below the client's middleware nothing checks what is passed on.
		if _, err := l.bare.Add(rpc.WithTraceparent(soon(t), text), arith.AddRequest{A: 1, B: 2}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); len(l.spans.GetSpans()) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no span of the server")
			}
		}
		if s := l.spans.GetSpans()[0]; s.Parent.IsValid() || !s.SpanContext.IsValid() {
			t.Errorf("%q became a parent: %v", text, s.Parent)
		}
	}
}
