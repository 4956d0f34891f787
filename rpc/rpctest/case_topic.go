package rpctest

import (
	"context"
	"errors"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func (s *suite) publisher(srv *rpc.Server) *rpc.Publisher {
	s.Helper()
	p, err := srv.Publisher(arith.ArithDesc.Method("Tick"))
	s.must(err)
	return p
}

func (s *suite) subscribe(srv *rpc.Server, o rpc.SubscribeOptions) *rpc.Events[arith.Number] {
	s.Helper()
	events, err := arith.NewArithClient(s.connect(srv, nil)).Tick(s.soon(), o)
	s.must(err)
	return events
}

func caseTopic(s *suite) {
	srv, _ := s.blocking(nil)
	p := s.publisher(srv)
	s.must(p.Publish(s.soon(), arith.Number{Value: -1})) // to nobody
	n := int64(s.most(200))
	one := s.subscribe(srv, rpc.SubscribeOptions{})
	two := s.subscribe(srv, rpc.SubscribeOptions{})
	if p.Subscribers() != 2 {
		s.Fatalf("%d subscribers", p.Subscribers())
	}
	for i := range n {
		s.must(p.Publish(s.soon(), arith.Number{Value: i}))
	}
	for _, events := range []*rpc.Events[arith.Number]{one, two} {
		for i := range n {
			e, err := events.Receive()
			if err != nil || e.Value != i {
				s.Fatalf("event %d: %d, %v", i, e.Value, err)
			}
		}
		if events.Lost() != 0 {
			s.Errorf("%d events lost", events.Lost())
		}
	}
	s.must(one.Close())
	s.eventually("the end of a subscription", func() bool { return p.Subscribers() == 1 })
	s.must(srv.Drain(s.soon()))
	if _, err := two.Receive(); !errors.Is(err, wire.StatusDraining) {
		s.Errorf("subscription to a server that drains: %v", err)
	}
}

func caseTopicLoses(s *suite) {
	srv, _ := s.blocking(nil)
	p := s.publisher(srv)
	events := s.subscribe(srv, rpc.SubscribeOptions{Window: 8})
	for i := range int64(20) {
		s.must(p.Publish(s.soon(), arith.Number{Value: i}))
	}
	for i := range int64(8) {
		e, err := events.Receive()
		if err != nil || e.Value != i {
			s.Fatalf("event %d: %d, %v", i, e.Value, err)
		}
	}
	// Taking them has given credit; what comes next goes on after the gap,
	// behind the notice of it.
	s.eventually("credit", func() bool {
		before := p.Lost()
		s.must(p.Publish(s.soon(), arith.Number{Value: 100}))
		return p.Lost() == before
	})
	e, err := events.Receive()
	if err != nil || e.Value != 100 {
		s.Fatalf("event after the gap: %d, %v", e.Value, err)
	}
	if events.Lost() < 12 || events.Lost() > p.Lost() {
		s.Errorf("told of %d events lost; the publisher lost %d", events.Lost(), p.Lost())
	}
}

func caseTopicHoldsBack(s *suite) {
	srv, _ := s.blocking(nil)
	p := s.publisher(srv)
	p.HoldBack = true
	events := s.subscribe(srv, rpc.SubscribeOptions{Window: 4, HoldBack: true})
	n := int64(s.most(100))
	published := make(chan error, 1)
	ctx := s.soon()
	go func() {
		for i := range n {
			if err := p.Publish(ctx, arith.Number{Value: i}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	for i := range n {
		e, err := events.Receive()
		if err != nil || e.Value != i {
			s.Fatalf("event %d: %d, %v", i, e.Value, err)
		}
	}
	s.must(<-published)
	if p.Lost() != 0 {
		s.Errorf("%d events lost", p.Lost())
	}
	// A publisher that is held back goes on when the subscriber goes.
	short, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for range 100 {
			if err := p.Publish(short, arith.Number{}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	s.must(events.Close())
	s.must(<-published)
}
