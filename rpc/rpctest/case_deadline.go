package rpctest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func caseDeadlineSeen(s *suite) {
	s.both(func(c *arith.ArithClient) {
		if got, err := c.Echo(s.soon(), arith.Text{Bytes: []byte("deadline")}); err != nil || string(got.Bytes) != "true true" {
			s.Errorf("with a deadline: %q, %v", got.Bytes, err)
		}
		if got, err := c.Echo(context.Background(), arith.Text{Bytes: []byte("deadline")}); err != nil || got.Bytes[0] != 'f' {
			s.Errorf("without a deadline: %q, %v", got.Bytes, err)
		}
		expired, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		defer cancel()
		if _, err := c.Add(expired, arith.AddRequest{}); !errors.Is(err, wire.StatusDeadlineExceeded) {
			s.Errorf("with an expired one: %v", err)
		}
	})
}

func caseDeadlinePasses(s *suite) {
	for _, mode := range []rpc.WaitMode{rpc.WaitAdaptive, rpc.WaitSpin, rpc.WaitPark} {
		srv, impl := s.blocking(nil)
		conn := s.connect(srv, &rpc.ConnOptions{Wait: mode, Timeout: 250 * time.Millisecond})
		c := arith.NewArithClient(conn)
		began := time.Now()
		_, err := c.Echo(context.Background(), arith.Text{Bytes: []byte("hang")})
		took := time.Since(began)
		if !errors.Is(err, wire.StatusDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("%v: %v", mode, err)
		}
		if took < 250*time.Millisecond {
			s.Errorf("%v: after %v", mode, took)
		}
		close(impl.Hang)
		s.eventually("calls that are answered in time", func() bool {
			reply, err := c.Add(context.Background(), arith.AddRequest{A: 1, B: 2})
			if err != nil && !errors.Is(err, wire.StatusDeadlineExceeded) || err == nil && reply.Sum != 3 {
				s.Fatalf("%v: the next call got %d, %v", mode, reply.Sum, err)
			}
			return err == nil
		})
	}
}

// A late answer: the handler's own, let go after the call has timed out. With
// a table of one slot the next call is in the same place, and only the
// generation within its correlation tells the two apart.
func caseLateAnswer(s *suite) {
	var release sync.Mutex
	var hung atomic.Bool
	srv := s.server(nil)
	impl := &lateArith{release: &release, hung: &hung}
	s.must(arith.RegisterArith(srv, impl))
	conn := s.connect(srv, &rpc.ConnOptions{MaxInFlight: 1})
	c := arith.NewArithClient(conn)

	release.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Add(ctx, arith.AddRequest{A: 1000, B: 1}); !errors.Is(err, wire.StatusDeadlineExceeded) {
		s.Fatalf("hanging call: %v", err)
	}
	// The second call is under way, in the first one's place, when the first
	// one's answer comes.
	go func() {
		for !hung.Load() {
			time.Sleep(time.Millisecond)
		}
		release.Unlock()
	}()
	reply, err := c.Add(s.soon(), arith.AddRequest{A: 2, B: 3})
	if err != nil || reply.Sum != 5 {
		s.Fatalf("the next call got %d, %v; want 5", reply.Sum, err)
	}
	s.adds(c, 10)
}

// lateArith answers calls of Add one after the other, each when release is
// free, however long their callers have been gone.
type lateArith struct {
	arith.Blocking
	release *sync.Mutex
	hung    *atomic.Bool
	calls   atomic.Int32
}

// Add hangs at the first call, and tells when the second one has come.
func (a *lateArith) Add(ctx context.Context, req arith.AddRequest) (arith.AddReply, error) {
	if a.calls.Add(1) == 2 {
		a.hung.Store(true)
		time.Sleep(20 * time.Millisecond) // the late answer goes first
	}
	a.release.Lock()
	defer a.release.Unlock()
	return a.Blocking.Add(ctx, req)
}

func caseCancel(s *suite) {
	srv, impl := s.blocking(nil)
	defer close(impl.Hang)
	conn := s.connect(srv, nil)
	c := arith.NewArithClient(conn)
	for _, after := range []time.Duration{0, 20 * time.Millisecond} {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(after, cancel)
		_, err := c.Echo(ctx, arith.Text{Bytes: []byte("hang")})
		if !errors.Is(err, wire.StatusCanceled) || !errors.Is(err, context.Canceled) {
			s.Fatalf("cancel after %v: %v", after, err)
		}
	}
	s.adds(c, 3)
	s.eventually("the end of the handlers", func() bool {
		stats, err := conn.ServerStats(s.soon())
		return err == nil && stats.Workers == 0 && stats.Queued == 0
	})
}
