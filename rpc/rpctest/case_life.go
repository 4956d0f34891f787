package rpctest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func caseOperations(s *suite) {
	srv, _ := s.blocking(&rpc.ServerOptions{
		Name: "sums", Operations: func(link.Peer, rpc.Operation) error { return nil },
	})
	conn := s.connect(srv, nil)
	s.must(conn.Ping(s.soon()))
	if h, err := conn.Health(s.soon()); err != nil || h.Name != "sums" || !h.Serving {
		s.Errorf("health: %+v, %v", h, err)
	}
	list, err := conn.List(s.soon())
	if err != nil || len(list) != 1 || list[0].Name != "Arith" || len(list[0].Methods) != len(arith.ArithDesc.Methods) {
		s.Errorf("list: %+v, %v", list, err)
	}
	if text, err := conn.Describe(s.soon(), "Arith"); err != nil || text != arith.ArithDesc.Text {
		s.Errorf("describe: %q, %v", text, err)
	}
	if _, err := conn.Describe(s.soon(), "Other"); !errors.Is(err, wire.StatusNotFound) {
		s.Errorf("describe what is not there: %v", err)
	}
	s.adds(arith.NewArithClient(conn), 10)
	s.eventually("counts", func() bool {
		stats, err := conn.ServerStats(s.soon())
		s.must(err)
		return stats.Requests >= 10 && stats.Links == 1
	})
	if all, err := conn.Bind(s.soon(), arith.ArithDesc); err != nil || all[0].Outcome != rpc.BindSame {
		s.Errorf("bind: %+v, %v", all, err)
	}

	closed, _ := s.blocking(&rpc.ServerOptions{
		Operations: func(_ link.Peer, op rpc.Operation) error {
			if op == rpc.OpPing {
				return nil
			}
			return errors.New("not you")
		},
	})
	conn = s.connect(closed, nil)
	s.must(conn.Ping(s.soon()))
	if _, err := conn.ServerStats(s.soon()); !errors.Is(err, wire.StatusPermissionDenied) || !strings.Contains(err.Error(), "not you") {
		s.Errorf("stats that the policy denies: %v", err)
	}
}

func caseTraceparent(s *suite) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	seen := make(chan string, 4)
	srv, _ := s.blocking(&rpc.ServerOptions{Middleware: []rpc.ServerMiddleware{{
		Blocking: func(_ *rpc.Method, next rpc.BlockingFunc) rpc.BlockingFunc {
			return func(ctx context.Context, x *rpc.Exchange) error {
				seen <- rpc.Traceparent(ctx)
				return next(ctx, x)
			}
		},
	}}})
	c := arith.NewArithClient(s.connect(srv, &rpc.ConnOptions{Traceparent: rpc.Traceparent}))
	for _, want := range []string{parent, "", parent} {
		ctx := s.soon()
		if want != "" {
			ctx = rpc.WithTraceparent(ctx, want)
		}
		_, err := c.Add(ctx, arith.AddRequest{})
		s.must(err)
		if got := <-seen; got != want {
			s.Errorf("the handler saw %q, want %q", got, want)
		}
	}
}

func caseSeveralLinks(s *suite) {
	srv, _ := s.blocking(nil)
	e := s.engine()
	var clients []*arith.ArithClient
	for i := range 4 {
		a, b := s.h.Open(s.TB)
		if i == 3 {
			e = s.engine() // and another engine
		}
		s.must(srv.Serve(e, a))
		c, err := rpc.NewConn(b, nil)
		s.must(err)
		s.Cleanup(func() { _ = c.Close() })
		clients = append(clients, arith.NewArithClient(c))
	}
	for range 5 {
		for _, c := range clients {
			s.adds(c, 2)
		}
	}
}

func caseDrain(s *suite) {
	srv, impl := s.blocking(nil)
	conn := s.connect(srv, nil)
	c := arith.NewArithClient(conn)
	ended := s.hang(s.soon(), c, 1)
	s.eventually("a call under way", func() bool { return impl.Hanging.Load() == 1 })
	drained := make(chan error, 1)
	ctx := s.soon()
	go func() { drained <- srv.Drain(ctx) }()
	s.eventually("draining", srv.Draining)
	s.eventually("refusal", func() bool {
		_, err := c.Add(s.soon(), arith.AddRequest{})
		return errors.Is(err, wire.StatusDraining)
	})
	if h, err := conn.Health(s.soon()); err != nil || h.Serving {
		s.Errorf("health while it drains: %+v, %v", h, err)
	}
	select {
	case err := <-drained:
		s.Fatalf("drained with a call under way: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(impl.Hang)
	s.must(<-drained)
	s.must(<-ended)
}

func caseReconnect(s *suite) {
	srv, impl := s.blocking(nil)
	defer close(impl.Hang)
	e := s.engine()
	const backoff = 5 * time.Millisecond
	up := true
	dials := 0
	var current link.Link // this side's end; the engine owns the other
	conn, err := rpc.Connect(s.soon(), func(context.Context) (link.Link, error) {
		dials++
		if !up {
			return nil, errors.New("down")
		}
		a, b := s.h.Open(s.TB)
		current = b
		return b, srv.Serve(e, a)
	}, &rpc.ConnOptions{BackoffMin: backoff, BackoffMax: 2 * backoff})
	s.must(err)
	defer conn.Close()
	c := arith.NewArithClient(conn)
	s.adds(c, 2)

	// Lost while nothing is under way: the next call opens another link.
	current.Shutdown()
	s.eventually("a new link", func() bool {
		_, err := c.Add(s.soon(), arith.AddRequest{})
		return err == nil
	})
	s.adds(c, 2)

	// Lost with a call under way that is not idempotent: it ends, unknown.
	ended := s.hang(s.soon(), c, 1)
	s.eventually("a call under way", func() bool { return impl.Hanging.Load() == 1 })
	current.Shutdown()
	if err := <-ended; !errors.Is(err, wire.StatusPeerGone) {
		s.Errorf("a call under way, not idempotent: %v", err)
	}

	// Down: calls fail at once, and dialling is not tried at every call.
	up = false
	current.Shutdown()
	before, began := dials, time.Now()
	for range 20 {
		_, err := c.Echo(s.soon(), arith.Text{})
		if !errors.Is(err, wire.StatusUnavailable) && !errors.Is(err, wire.StatusPeerGone) {
			s.Fatalf("down: %v", err)
		}
	}
	if took := time.Since(began); dials-before > 10+int(took/backoff) {
		s.Errorf("%d attempts for 20 calls in %v", dials-before, took)
	}
	up = true
	s.eventually("a new link", func() bool {
		_, err := c.Add(s.soon(), arith.AddRequest{})
		return err == nil
	})
}
