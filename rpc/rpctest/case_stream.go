package rpctest

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func caseServerStream(s *suite) {
	srv, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Window: 5}))
	for _, n := range []int{0, 1, 5, 6, s.most(1000)} {
		stream, err := c.Count(s.soon(), arith.CountRequest{N: uint32(n)})
		s.must(err)
		next := int64(0)
		for item, err := range stream.All() {
			s.must(err)
			if item.Value != next {
				s.Fatalf("item %d is %d", next, item.Value)
			}
			next++
		}
		reply, err := stream.Reply()
		if err != nil || next != int64(n) || reply.Sent != uint32(n) {
			s.Fatalf("%d items of %d, reply %d, %v", next, n, reply.Sent, err)
		}
	}
	s.adds(c, 3)
}

func caseSlowClient(s *suite) {
	srv, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Window: 4}))
	stream, err := c.Count(s.soon(), arith.CountRequest{N: 100})
	s.must(err)
	for i := range int64(20) {
		item, err := stream.Receive()
		if err != nil || item.Value != i {
			s.Fatalf("item %d: %d, %v", i, item.Value, err)
		}
		if i%5 == 0 {
			s.adds(c, 1) // others pass a stream that waits
			time.Sleep(2 * time.Millisecond)
		}
	}
	if reply, err := stream.Reply(); err != nil || reply.Sent != 100 {
		s.Fatalf("reply %d, %v", reply.Sent, err)
	}
}

func caseStreamCancel(s *suite) {
	srv, _ := s.blocking(nil)
	conn := s.connect(srv, &rpc.ConnOptions{Window: 4})
	c := arith.NewArithClient(conn)
	stream, err := c.Count(s.soon(), arith.CountRequest{N: 1 << 30})
	s.must(err)
	_, err = stream.Receive()
	s.must(err)
	s.must(stream.Close())
	s.must(stream.Close())
	s.eventually("the handler's end", func() bool {
		stats, err := conn.ServerStats(s.soon())
		return err == nil && stats.Workers == 0
	})
	s.adds(c, 3)
}

func caseClientStream(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{Window: 5})
	c := arith.NewArithClient(s.connect(srv, nil))
	for _, n := range []int{0, 1, 5, 6, s.most(1000)} {
		stream, err := c.Sum(s.soon())
		s.must(err)
		for i := range n {
			s.must(stream.Send(arith.Number{Value: int64(i)}))
		}
		reply, err := stream.Reply()
		if want := int64(n) * int64(n-1) / 2; err != nil || reply.Sum != want {
			s.Fatalf("%d items: sum %d, want %d, %v", n, reply.Sum, want, err)
		}
	}
}

func caseClientStreamError(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{Window: 4})
	c := arith.NewArithClient(s.connect(srv, nil))
	stream, err := c.Sum(s.soon())
	s.must(err)
	s.must(stream.Send(arith.Number{Value: 1}))
	s.must(stream.Send(arith.Number{Value: -1}))
	for i := 0; ; i++ {
		if err := stream.Send(arith.Number{Value: 1}); err != nil {
			if !errors.Is(err, io.EOF) {
				s.Fatalf("send: %v", err)
			}
			break
		}
		if i > 100 {
			s.Fatal("the handler has ended, and its window never did")
		}
	}
	if _, err := stream.Reply(); !errors.Is(err, wire.StatusInvalidArgument) {
		s.Fatalf("reply: %v", err)
	}
	s.adds(c, 3)
}

func caseDuplex(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{Window: 3})
	c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Window: 3}))
	stream, err := c.Squares(s.soon())
	s.must(err)
	n := int64(s.most(500))
	var wg sync.WaitGroup
	var sent error
	wg.Go(func() {
		for i := int64(0); i < n && sent == nil; i++ {
			sent = stream.Send(arith.Number{Value: i})
		}
		if sent == nil {
			sent = stream.CloseSend()
		}
	})
	next := int64(0)
	for item, err := range stream.All() {
		s.must(err)
		if item.Value != next*next {
			s.Fatalf("item %d is %d", next, item.Value)
		}
		next++
	}
	wg.Wait()
	s.must(sent)
	if _, err := stream.Reply(); err != nil || next != n {
		s.Fatalf("%d items of %d, %v", next, n, err)
	}
}

// caseReplyWhileSending has the receiving goroutine come to the reply while
// the sending one is still in Send or CloseSend.
func caseReplyWhileSending(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{Window: 3})
	c := arith.NewArithClient(s.connect(srv, nil))
	for range s.most(50) {
		stream, err := c.Squares(s.soon())
		s.must(err)
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = stream.Send(arith.Number{Value: 2}) // late ones are refused
			if err := stream.CloseSend(); err != nil {
				s.Errorf("CloseSend: %v", err)
			}
		})
		if _, err := stream.Reply(); err != nil {
			s.Fatalf("reply: %v", err)
		}
		wg.Wait()
	}
	s.adds(c, 3)
}

// caseReplyAfterClose has a stream closed by one goroutine while another
// waits for items and for the reply.
func caseReplyAfterClose(s *suite) {
	srv, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(srv, nil))
	stream, err := c.Squares(s.soon())
	s.must(err)
	s.must(stream.Send(arith.Number{Value: 3}))
	item, err := stream.Receive()
	if err != nil || item.Value != 9 {
		s.Fatalf("item %d, %v", item.Value, err)
	}
	var wg sync.WaitGroup
	var received, replied error
	wg.Go(func() {
		_, received = stream.Receive()
		_, replied = stream.Reply()
	})
	s.must(stream.Close())
	wg.Wait()
	if !errors.Is(received, wire.StatusCanceled) || !errors.Is(replied, wire.StatusCanceled) {
		s.Errorf("receiving: %v, reply: %v, both should be canceled", received, replied)
	}
	s.adds(c, 3)
}

func caseStreamGone(s *suite) {
	srv, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(srv, nil))
	down, err := c.Count(s.soon(), arith.CountRequest{N: 1 << 30})
	s.must(err)
	up, err := c.Sum(s.soon())
	s.must(err)
	s.must(up.Send(arith.Number{Value: 1}))
	_, err = down.Receive()
	s.must(err)
	s.must(srv.Close())
	for err == nil {
		_, err = down.Receive()
	}
	if !errors.Is(err, wire.StatusPeerGone) {
		s.Errorf("receiving: %v", err)
	}
	if _, err := up.Reply(); !errors.Is(err, wire.StatusPeerGone) && !errors.Is(err, wire.StatusUnavailable) {
		s.Errorf("sending: %v", err)
	}
}
