package rpctest

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/engine"
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
	e, conn := s.attach(srv, &rpc.ConnOptions{Timeout: 30 * time.Millisecond})
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
