package rpctest

import (
	"context"
	"errors"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// hang makes n calls that don't return before the context ends, and returns a
// channel with their errors.
func (s *suite) hang(ctx context.Context, c *arith.ArithClient, n int) <-chan error {
	ended := make(chan error, n)
	for range n {
		go func() {
			_, err := c.Echo(ctx, arith.Text{Bytes: []byte("hang")})
			ended <- err
		}()
	}
	return ended
}

func caseQueueFull(s *suite) {
	srv, impl := s.blocking(&rpc.ServerOptions{Workers: 1, Queue: 2})
	conn := s.connect(srv, nil)
	c := arith.NewArithClient(conn)
	load := func(workers, queued int) func() bool {
		return func() bool {
			stats, err := conn.ServerStats(s.soon())
			return err == nil && stats.Workers == workers && stats.Queued == queued
		}
	}
	runs := s.hang(s.soon(), c, 1)
	s.eventually("a worker at work", func() bool { return impl.Hanging.Load() == 1 })
	waits := s.hang(s.soon(), c, 2)
	s.eventually("a full queue", load(1, 2))
	began := time.Now()
	if _, err := c.Add(s.soon(), arith.AddRequest{}); !errors.Is(err, wire.StatusResourceExhausted) {
		s.Errorf("after %v: %v", time.Since(began), err)
	}
	close(impl.Hang)
	for _, ended := range []<-chan error{runs, waits, waits} {
		if err := <-ended; err != nil {
			s.Errorf("a call in time: %v", err)
		}
	}
	s.eventually("room in the queue", func() bool {
		_, err := c.Add(s.soon(), arith.AddRequest{})
		return err == nil
	})
}

func caseInFlight(s *suite) {
	srv, impl := s.blocking(&rpc.ServerOptions{MaxInFlight: 2})
	conn := s.connect(srv, &rpc.ConnOptions{MaxInFlight: 4})
	c := arith.NewArithClient(conn)
	ended := s.hang(s.soon(), c, 4)
	for range 2 { // the server refuses what is above its limit
		if err := <-ended; !errors.Is(err, wire.StatusResourceExhausted) {
			s.Errorf("above the server's limit: %v", err)
		}
	}
	more := s.hang(s.soon(), c, 2)
	for range 2 {
		if err := <-more; !errors.Is(err, wire.StatusResourceExhausted) {
			s.Errorf("above the server's limit: %v", err)
		}
	}
	close(impl.Hang)
	for range 2 {
		s.must(<-ended)
	}

	// And this side what is above its own.
	srv, impl = s.blocking(nil)
	c = arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{MaxInFlight: 2}))
	ended = s.hang(s.soon(), c, 2)
	s.eventually("calls under way", func() bool { return impl.Hanging.Load() == 2 })
	if _, err := c.Add(s.soon(), arith.AddRequest{}); !errors.Is(err, wire.StatusResourceExhausted) {
		s.Errorf("above the client's limit: %v", err)
	}
	close(impl.Hang)
	for range 2 {
		s.must(<-ended)
	}
	s.adds(c, 5)
}

func caseRequestTooLarge(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{MaxRequest: 2000})
	c := arith.NewArithClient(s.connect(srv, nil))
	for _, size := range []int{2001, 20_000} {
		if _, err := c.Echo(s.soon(), arith.Text{Bytes: make([]byte, size)}); !errors.Is(err, wire.StatusTooLarge) {
			s.Errorf("%d bytes: %v", size, err)
		}
		s.adds(c, 3)
	}
	if _, err := c.Echo(s.soon(), arith.Text{Bytes: make([]byte, 1900)}); err != nil {
		s.Errorf("within the limit: %v", err)
	}
}

func caseReplyTooLarge(s *suite) {
	srv, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{MaxReply: 10_000}))
	big := 100_000
	if s.h.Slow {
		big = 12_000
	}
	if _, err := c.Echo(s.soon(), arith.Text{Bytes: make([]byte, big)}); !errors.Is(err, wire.StatusTooLarge) {
		s.Errorf("%d bytes: %v", big, err)
	}
	s.adds(c, 3)
}

func caseUnknownMethod(s *suite) {
	srv := s.server(nil)
	c := arith.NewArithClient(s.connect(srv, nil))
	if _, err := c.Add(s.soon(), arith.AddRequest{}); !errors.Is(err, wire.StatusUnimplemented) {
		s.Errorf("no service: %v", err)
	}
}

func casePeerGone(s *suite) {
	for _, mode := range []rpc.WaitMode{rpc.WaitAdaptive, rpc.WaitSpin, rpc.WaitPark} {
		srv, impl := s.blocking(nil)
		c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Wait: mode}))
		s.adds(c, 1)
		ended := s.hang(s.soon(), c, 3)
		s.eventually("calls under way", func() bool { return impl.Hanging.Load() == 3 })
		s.must(srv.Close())
		for range 3 {
			if err := <-ended; !errors.Is(err, wire.StatusPeerGone) {
				s.Errorf("%v: %v", mode, err)
			}
		}
		if _, err := c.Add(s.soon(), arith.AddRequest{}); !errors.Is(err, wire.StatusUnavailable) {
			s.Errorf("%v: a call after the end: %v", mode, err)
		}
		close(impl.Hang)
	}
}
