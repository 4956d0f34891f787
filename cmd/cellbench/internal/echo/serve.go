package echo

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

// Inline serves Echo on the engine's thread, in place.
type Inline struct{}

var _ EchoViews = Inline{}

// Line implements EchoViews.
func (Inline) Line(_ *rpc.Call, req AskView, reply AnswerBuilder) error {
	reply.SetID(req.ID())
	reply.SetA(req.A())
	reply.SetB(req.B())
	reply.SetC(req.C())
	reply.SetD(req.A() + req.B() + req.C())
	return nil
}

// Sized implements EchoViews.
func (Inline) Sized(_ *rpc.Call, req SizedView, reply SizedBuilder) error {
	reply.SetID(req.ID())
	reply.SetData(req.Data())
	return nil
}

// Pool serves Echo on goroutines of the server's pool.
type Pool struct{}

var _ Echo = Pool{}

// Line implements Echo.
func (Pool) Line(_ context.Context, req Ask) (Answer, error) {
	return Answer{ID: req.ID, A: req.A, B: req.B, C: req.C, D: req.A + req.B + req.C}, nil
}

// Sized implements Echo.
func (Pool) Sized(_ context.Context, req Sized) (Sized, error) { return req, nil }

// Events implements Echo: a topic is published, not called.
func (Pool) Events(Event) {}
