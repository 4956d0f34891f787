package rpctest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func caseUnaryBlocking(s *suite) {
	srv, _ := s.blocking(nil)
	s.adds(arith.NewArithClient(s.connect(srv, nil)), s.most(500))
}

func caseUnaryInline(s *suite) {
	srv, _ := s.inline(nil)
	s.adds(arith.NewArithClient(s.connect(srv, nil)), s.most(500))
}

// adds makes n calls of Add.
func (s *suite) adds(c *arith.ArithClient, n int) {
	s.Helper()
	for i := range int64(n) {
		reply, err := c.Add(s.soon(), arith.AddRequest{A: i, B: 2 * i})
		if err != nil || reply.Sum != 3*i {
			s.Fatalf("%d + %d: %d, %v", i, 2*i, reply.Sum, err)
		}
	}
}

func caseWaitModes(s *suite) {
	srv, _ := s.blocking(nil)
	for _, mode := range []rpc.WaitMode{rpc.WaitAdaptive, rpc.WaitSpin, rpc.WaitPark} {
		s.adds(arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Wait: mode})), s.most(50))
	}
}

func caseConcurrent(s *suite) {
	srv, _ := s.blocking(nil)
	for _, mode := range []rpc.WaitMode{rpc.WaitAdaptive, rpc.WaitPark} {
		c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Wait: mode}))
		var wg sync.WaitGroup
		failed := make(chan error, 8)
		for g := range 8 {
			wg.Go(func() {
				for i := range s.most(100) {
					want := int64(g*1000 + i)
					reply, err := c.Add(s.soon(), arith.AddRequest{A: want})
					if err == nil && reply.Sum != want {
						err = fmt.Errorf("got %d, want %d", reply.Sum, want)
					}
					if err != nil {
						failed <- err
						return
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-failed:
			s.Fatalf("%v: %v", mode, err)
		default:
		}
	}
}

// both runs f against a blocking and an inline server.
func (s *suite) both(f func(c *arith.ArithClient)) {
	s.Helper()
	blocking, _ := s.blocking(nil)
	f(arith.NewArithClient(s.connect(blocking, nil)))
	inline, _ := s.inline(nil)
	f(arith.NewArithClient(s.connect(inline, nil)))
}

func caseErrors(s *suite) {
	s.both(func(c *arith.ArithClient) {
		_, err := c.Add(s.soon(), arith.AddRequest{A: math.MaxInt64, B: 1})
		var e *rpc.Error
		if !errors.Is(err, wire.StatusOutOfRange) || !errors.As(err, &e) {
			s.Fatalf("overflow: %v", err)
		}
		if !e.Remote || e.Method != "Arith.Add" || e.Message != arith.ErrOverflow.Error() || !bytes.Equal(e.Details, []byte{1, 2, 3}) {
			s.Errorf("error %+v", e)
		}
		_, err = c.Echo(s.soon(), arith.Text{Bytes: []byte("error")})
		if !errors.Is(err, wire.StatusUnknown) {
			s.Errorf("an error without a number: %v", err)
		}
		s.adds(c, 3)
	})
}

func casePanic(s *suite) {
	s.both(func(c *arith.ArithClient) {
		for range 3 {
			if _, err := c.Echo(s.soon(), arith.Text{Bytes: []byte("panic")}); !errors.Is(err, wire.StatusInternal) {
				s.Fatalf("panic: %v", err)
			}
			s.adds(c, 3)
		}
	})
}

func caseOneWay(s *suite) {
	n := int64(s.most(100))
	blocking, b := s.blocking(nil)
	inline, i := s.inline(nil)
	for _, x := range []struct {
		c     *arith.ArithClient
		notes func() int64
	}{
		{arith.NewArithClient(s.connect(blocking, nil)), b.Notes.Load},
		{arith.NewArithClient(s.connect(inline, nil)), i.Notes.Load},
	} {
		for range n {
			s.must(x.c.Note(s.soon(), arith.AddRequest{A: 1, B: 1}))
		}
		s.eventually("every note", func() bool { return x.notes() == 2*n })
	}
}

func caseLarge(s *suite) {
	sizes := []int{0, 1, 1000, 5000, 100_000, 3_000_000}
	if s.h.Slow {
		sizes = sizes[:4]
	}
	blocking, _ := s.blocking(nil)
	c := arith.NewArithClient(s.connect(blocking, nil))
	for _, size := range sizes {
		want := pattern(size)
		got, err := c.Echo(s.soon(), arith.Text{Bytes: want})
		if err != nil || !bytes.Equal(got.Bytes, want) {
			s.Fatalf("echo of %d bytes: %d bytes, %v", size, len(got.Bytes), err)
		}
	}
	s.adds(c, 3)
	// An inline handler takes a large request as well; its reply has the room
	// that InlineReply says.
	inline, _ := s.inline(&rpc.ServerOptions{InlineReply: 200_000})
	c = arith.NewArithClient(s.connect(inline, nil))
	want := pattern(min(sizes[len(sizes)-1], 100_000))
	got, err := c.Echo(s.soon(), arith.Text{Bytes: want})
	if err != nil || !bytes.Equal(got.Bytes, want) {
		s.Fatalf("inline echo of %d bytes: %d bytes, %v", len(want), len(got.Bytes), err)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}
