package rpc_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// The benchmarks call a server in another process, whose engine spins on the
// last CPU, with a deadline, and with metrics on both sides. Run them alone on a quiet machine; cellbench rpc measures the same
// beside the host's limits.

// serveBench starts a server and dials it.
func serveBench(b *testing.B, kind string) *uds.Conn {
	b.Helper()
	if runtime.NumCPU() < 2 {
		b.Skip("needs two CPUs")
	}
	dir := privateDir(b)
	k := spawn(b, "serve", dir, kind, runtime.NumCPU()-1)
	k.said(b)
	c, err := uds.Dial(soon(b), "test", &uds.Options{Dir: dir, RingSize: 64 << 10})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// asyncBench returns an engine-driven connection, pinned to the first CPU.
func asyncBench(b *testing.B) (*engine.Engine, *rpc.AsyncConn) {
	b.Helper()
	c := serveBench(b, "inline")
	e, err := engine.New(engine.Config{CPU: 0, Idle: engine.IdleSpin, Batch: 64})
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Stop() })
	conn, err := rpc.Attach(e, c, &rpc.ConnOptions{Timeout: time.Second, Metrics: instruments(b)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return e, conn
}

// instruments returns a metrics file that no other process reads.
func instruments(b *testing.B) *metrics.File {
	b.Helper()
	f, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return f
}

func BenchmarkUnaryEngines(b *testing.B) {
	e, conn := asyncBench(b)
	times, err := metrics.NewHistogram(metrics.HistogramOptions{})
	if err != nil {
		b.Fatal(err)
	}
	finished := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	if err := e.Do(context.Background(), func() { roundTrips(conn, b.N, times, finished) }); err != nil {
		b.Fatal(err)
	}
	if err := <-finished; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	report(b, times)
}

func report(b *testing.B, times *metrics.Histogram) {
	d := times.Snapshot()
	b.ReportMetric(float64(d.Percentile(50)), "p50-ns")
	b.ReportMetric(float64(d.Percentile(99)), "p99-ns")
}

// roundTrips makes calls one after the other.
func roundTrips(conn *rpc.AsyncConn, calls int, times *metrics.Histogram, finished chan<- error) {
	c := arith.NewArithAsync(conn)
	left := calls
	start := sched.Ticks()
	var done func(uint64, arith.AddReplyView, error)
	begin := func() {
		req, err := c.BeginAdd()
		if err != nil {
			finished <- err
			return
		}
		req.SetA(1)
		req.SetB(2)
		if err := c.SendAdd(req, 0, done); err != nil {
			finished <- err
		}
	}
	done = func(_ uint64, reply arith.AddReplyView, err error) {
		now := sched.Ticks()
		took := now - start
		start = now
		if left--; err != nil || left == 0 || reply.Sum() != 3 {
			finished <- err
			return
		}
		begin()
		times.Record(sched.TicksToNanos(took)) // while the request is on its way, or nearly
	}
	begin()
}

func BenchmarkPipelined(b *testing.B) {
	e, conn := asyncBench(b)
	finished := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	if err := e.Do(context.Background(), func() { pipeline(conn, max(b.N, 64), 64, finished) }); err != nil {
		b.Fatal(err)
	}
	if err := <-finished; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mcalls/s")
}

func BenchmarkBlocking(b *testing.B) {
	for _, mode := range []rpc.WaitMode{rpc.WaitSpin, rpc.WaitAdaptive, rpc.WaitPark} {
		b.Run(mode.String(), func(b *testing.B) {
			conn, err := rpc.NewConn(serveBench(b, "inline"), &rpc.ConnOptions{Wait: mode, Timeout: time.Second, Metrics: instruments(b)})
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			c, ctx := arith.NewArithClient(conn), context.Background()
			times, err := metrics.NewHistogram(metrics.HistogramOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			start := sched.Ticks()
			for range b.N {
				if _, err := c.Add(ctx, arith.AddRequest{A: 1, B: 2}); err != nil {
					b.Fatal(err)
				}
				now := sched.Ticks()
				times.Record(sched.TicksToNanos(now - start))
				start = now
			}
			b.StopTimer()
			report(b, times)
		})
	}
}
