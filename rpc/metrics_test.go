package rpc_test

import (
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
)

func TestMetrics(t *testing.T) {
	f, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newServer(t, &rpc.ServerOptions{Name: "sums", Metrics: f})
	blockingArith(t, s)
	conn := connect(t, s, openPipe, &rpc.ConnOptions{Name: "caller", Metrics: f})
	c := arith.NewArithClient(conn)
	for range 10 {
		if _, err := c.Add(soon(t), arith.AddRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Echo(soon(t), arith.Text{Bytes: []byte("error")}); err == nil {
		t.Fatal("no error")
	}

	a, b := openPipe(t)
	e := startEngine(t, engine.IdleAdaptive)
	if err := s.Serve(e, a); err != nil {
		t.Fatal(err)
	}
	async, err := rpc.Attach(e, b, &rpc.ConnOptions{Name: "async", Metrics: f}, nil)
	if err != nil {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	if err := e.Do(soon(t), func() { pipeline(async, 20, 4, finished) }); err != nil {
		t.Fatal(err)
	}
	if err := <-finished; err != nil {
		t.Fatal(err)
	}

	add := metrics.L("method", "Arith.Add")
	want := map[string]func(*metrics.Snapshot) bool{
		"server's calls": func(s *metrics.Snapshot) bool {
			x, ok := s.Find("cell_rpc_server_calls", add)
			return ok && x.Counter == 30
		},
		"server's failures": func(s *metrics.Snapshot) bool {
			x, ok := s.Find("cell_rpc_server_failed")
			return ok && x.Counter == 1
		},
		"server's times": func(s *metrics.Snapshot) bool {
			x, ok := s.Find("cell_rpc_server_seconds", add)
			return ok && x.Histogram.Count() == 30 && x.Histogram.Min() > 0
		},
		"client's times": func(s *metrics.Snapshot) bool {
			x, ok := s.Find("cell_rpc_client_seconds", add)
			return ok && x.Histogram.Count() == 30 && x.Histogram.Min() > 0
		},
		"client's failures": func(s *metrics.Snapshot) bool {
			x, ok := s.Find("cell_rpc_client_failed")
			return ok && x.Counter == 1
		},
	}
	for what, f2 := range want {
		eventually(t, what, func() bool {
			all, err := f.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			merged, err := all.Merged()
			if err != nil {
				t.Fatal(err)
			}
			return f2(merged)
		})
	}
}

// Of inline handlers a sample of the calls is timed, the first among them.
func TestTimesOfInlineHandlers(t *testing.T) {
	f, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newServer(t, &rpc.ServerOptions{Metrics: f})
	viewsArith(t, s)
	c := arith.NewArithClient(connect(t, s, openPipe, nil))
	if _, err := c.Add(soon(t), arith.AddRequest{}); err != nil {
		t.Fatal(err)
	}
	all, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	merged, err := all.Merged()
	if err != nil {
		t.Fatal(err)
	}
	x, ok := merged.Find("cell_rpc_server_inline_seconds", metrics.L("method", "Arith.Add"))
	if !ok || x.Histogram.Count() != 1 {
		t.Errorf("%+v", x)
	}
}
