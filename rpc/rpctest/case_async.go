package rpctest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

func caseAsync(s *suite) {
	for _, serve := range []func() *rpc.Server{
		func() *rpc.Server { srv, _ := s.blocking(nil); return srv },
		func() *rpc.Server { srv, _ := s.inline(nil); return srv },
	} {
		e, conn := s.attach(serve(), nil)
		s.must(s.Pipeline(e, conn, s.most(3000), 20))
	}
}

// Pipeline keeps window calls of Add under way until so many have ended.
func (s *suite) Pipeline(e *engine.Engine, conn *rpc.AsyncConn, calls, window int) error {
	finished := make(chan error, 1)
	if err := e.Do(s.soon(), func() {
		p := &pipeline{client: arith.NewArithAsync(conn), calls: calls, finished: finished}
		p.done = p.completed
		for range min(window, calls) {
			p.begin()
		}
	}); err != nil {
		return err
	}
	select {
	case err := <-finished:
		return err
	case <-s.soon().Done():
		return errors.New("the calls have not ended")
	}
}

type pipeline struct {
	client       *arith.ArithAsync
	calls        int
	begun, ended int
	done         func(uint64, arith.AddReplyView, error)
	finished     chan<- error
}

func (p *pipeline) begin() {
	req, err := p.client.BeginAdd()
	if err == nil {
		req.SetA(int64(p.begun))
		req.SetB(1)
		p.begun++
		err = p.client.SendAdd(req, uint64(p.begun), p.done)
	}
	if err != nil {
		p.finish(err)
	}
}

func (p *pipeline) completed(tag uint64, reply arith.AddReplyView, err error) {
	p.ended++
	switch {
	case err != nil:
		p.finish(err)
	case reply.Sum() != int64(tag):
		p.finish(fmt.Errorf("got %d, want %d", reply.Sum(), tag))
	case p.ended == p.calls:
		p.finish(nil)
	case p.begun < p.calls:
		p.begin()
	}
}

func (p *pipeline) finish(err error) {
	select {
	case p.finished <- err:
	default:
	}
}

func caseDeadlineAsync(s *suite) {
	srv, impl := s.blocking(nil)
	defer close(impl.Hang)
	e, conn := s.attach(srv, nil)
	s.must(s.do(e, func() error {
		conn.Bind(arith.ArithDesc.Method("Echo")).SetTimeout(30 * time.Millisecond)
		return nil
	}))
	began := time.Now()
	err := s.echo(e, conn, "hang")
	if took := time.Since(began); !errors.Is(err, wire.StatusDeadlineExceeded) || took < 25*time.Millisecond {
		s.Fatalf("after %v: %v", took, err)
	}
	s.must(s.Pipeline(e, conn, 10, 2))
}

// echo calls Echo from the engine's thread and waits for the end of the call.
func (s *suite) echo(e *engine.Engine, conn *rpc.AsyncConn, text string) error {
	s.Helper()
	ended := make(chan error, 1)
	s.must(e.Do(s.soon(), func() { begin(conn, text, ended) }))
	select {
	case err := <-ended:
		return err
	case <-s.soon().Done():
		s.Fatal("the call has not ended")
		return nil
	}
}

func begin(conn *rpc.AsyncConn, text string, ended chan<- error) {
	m := arith.Text{Bytes: []byte(text)}
	b, err := conn.Begin(conn.Bind(arith.ArithDesc.Method("Echo")), m.SizeCell())
	if err == nil {
		_, err = m.EncodeCell(b)
	}
	if err == nil {
		err = conn.Send(m.SizeCell(), func(r *rpc.Completion) {
			if r.Err != nil {
				ended <- r.Err
				return
			}
			var got arith.Text
			err := got.DecodeCell(r.Reply)
			if err == nil && string(got.Bytes) != text {
				err = fmt.Errorf("echo of %q: %q", text, got.Bytes)
			}
			ended <- err
		}, nil, 0)
	}
	if err != nil {
		ended <- err
	}
}

// A table of one slot, so that the next call has the place of the one before.
func caseLateAnswerAsync(s *suite) {
	srv, impl := s.blocking(nil)
	e, conn := s.attach(srv, &rpc.ConnOptions{Timeout: 50 * time.Millisecond, MaxInFlight: 1})
	if err := s.echo(e, conn, "hang"); !errors.Is(err, wire.StatusDeadlineExceeded) {
		s.Fatalf("hanging call: %v", err)
	}
	_ = impl
	for i := range 5 {
		if err := s.echo(e, conn, fmt.Sprint("call ", i)); err != nil && !errors.Is(err, wire.StatusDeadlineExceeded) {
			s.Fatalf("call %d: %v", i, err)
		}
	}
}

func caseAsyncMore(s *suite) {
	srv, impl := s.blocking(&rpc.ServerOptions{Operations: allowAll})
	e, conn := s.attach(srv, &rpc.ConnOptions{Timeout: s.h.Timeout})
	s.asyncOneWay(e, conn)
	s.eventually("the notes", func() bool { return impl.Notes.Load() == 15 })
	s.asyncLarge(e, conn)
	s.asyncTopic(e, conn, s.publisher(srv))
	bound := make(chan error, 1)
	s.must(s.do(e, func() error {
		return conn.BindService(arith.ArithDesc, func(all []rpc.MethodBinding, err error) {
			if err == nil && (len(all) != len(arith.ArithDesc.Methods) || all[0].Outcome != rpc.BindSame) {
				err = fmt.Errorf("outcome %+v", all)
			}
			bound <- err
		})
	}))
	s.must(<-bound)
	s.must(s.Pipeline(e, conn, 10, 2))
}

func (s *suite) asyncOneWay(e *engine.Engine, conn *rpc.AsyncConn) {
	s.Helper()
	s.must(s.do(e, func() error {
		b := conn.Bind(arith.ArithDesc.Method("Note"))
		for range 5 {
			place, err := conn.Begin(b, 16)
			if err != nil {
				return err
			}
			if _, err := (arith.AddRequest{A: 1, B: 2}).EncodeCell(place); err != nil {
				return err
			}
			if err := conn.SendOneWay(16); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s *suite) asyncLarge(e *engine.Engine, conn *rpc.AsyncConn) {
	s.Helper()
	large := arith.Text{Bytes: pattern(20_000)}
	ended := make(chan error, 1)
	s.must(s.do(e, func() error {
		return conn.SendLarge(conn.Bind(arith.ArithDesc.Method("Echo")), large, func(r *rpc.Completion) {
			var got arith.Text
			err := r.Err
			if err == nil {
				err = got.DecodeCell(r.Reply)
			}
			if err == nil && !bytes.Equal(got.Bytes, large.Bytes) {
				err = errors.New("another echo")
			}
			ended <- err
		}, nil, 0)
	}))
	s.must(<-ended)
}

func (s *suite) asyncTopic(e *engine.Engine, conn *rpc.AsyncConn, p *rpc.Publisher) {
	s.Helper()
	const events = 50
	got := make(chan int64, events)
	var id uint32
	s.must(s.do(e, func() (err error) {
		id, err = conn.Subscribe(arith.ArithDesc.Method("Tick"), rpc.SubscribeOptions{Window: 8, HoldBack: true}, func(r *rpc.Completion) {
			var n arith.Number
			if r.Err == nil && n.DecodeCell(r.Reply) == nil {
				got <- n.Value
			}
		})
		return err
	}))
	s.eventually("a subscriber", func() bool { return p.Subscribers() == 1 })
	p.HoldBack = true
	for i := range int64(events) {
		s.must(p.Publish(s.soon(), arith.Number{Value: i}))
	}
	for i := range int64(events) {
		if n := <-got; n != i {
			s.Fatalf("event %d: %d", i, n)
		}
	}
	s.must(s.do(e, func() error { conn.Unsubscribe(id); return nil }))
	s.eventually("the end of the subscription", func() bool { return p.Subscribers() == 0 })
}

func allowAll(link.Peer, rpc.Operation) error { return nil }

// do runs f on the engine's thread and returns its error.
func (s *suite) do(e *engine.Engine, f func() error) (err error) {
	s.Helper()
	s.must(e.Do(s.soon(), func() { err = f() }))
	return err
}
