package arith

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

// ArithViews serves Arith on the engine's thread: unary and one-way methods
// over views of the request and builders of the reply in the link's memory,
// both valid until the method returns. It must not block. Methods with streams
// are served as [Arith] has them.
type ArithViews interface {
	Add(c *rpc.Call, req AddRequestView, reply AddReplyBuilder) error
	Echo(c *rpc.Call, req TextView, reply *TextBuilder) error
	Note(c *rpc.Call, req AddRequestView) error
	Count(ctx context.Context, req CountRequest, out rpc.Sender[Number]) (CountReply, error)
	Sum(ctx context.Context, in rpc.Receiver[Number]) (AddReply, error)
	Squares(ctx context.Context, in rpc.Receiver[Number], out rpc.Sender[Number]) error
}

// RegisterArithViews serves Arith by impl, its unary and one-way methods on
// the engine's thread.
func RegisterArithViews(s *rpc.Server, impl ArithViews) error {
	b := arithServer{streamsOnly{impl}}
	return s.Register(ArithDesc,
		rpc.Inline(func(c *rpc.Call, req, reply []byte) (int, error) {
			v, err := ViewAddRequest(req)
			if err != nil {
				return 0, err
			}
			m, err := BuildAddReply(reply)
			if err != nil {
				return 0, err
			}
			return addReplyBlock, impl.Add(c, v, m)
		}),
		rpc.Inline(func(c *rpc.Call, req, reply []byte) (int, error) {
			v, err := ViewText(req)
			if err != nil {
				return 0, err
			}
			var end int
			m, err := BuildText(reply, &end)
			if err != nil {
				return 0, err
			}
			if err := impl.Echo(c, v, &m); err != nil {
				return 0, err
			}
			return end, nil
		}),
		rpc.Inline(func(c *rpc.Call, req, _ []byte) (int, error) {
			v, err := ViewAddRequest(req)
			if err != nil {
				return 0, err
			}
			return 0, impl.Note(c, v)
		}),
		rpc.Blocking(b.count), rpc.Blocking(b.sum), rpc.Blocking(b.squares),
		rpc.Handler{},
	)
}

// streamsOnly makes the streams of an ArithViews an Arith.
type streamsOnly struct{ ArithViews }

func (streamsOnly) Add(context.Context, AddRequest) (AddReply, error) { panic("served by views") }
func (streamsOnly) Echo(context.Context, Text) (Text, error)          { panic("served by views") }
func (streamsOnly) Note(context.Context, AddRequest) error            { panic("served by views") }
func (streamsOnly) Tick(Number)                                       {}

// ArithAsync calls Arith on the thread of an engine, in place.
type ArithAsync struct {
	conn      *rpc.AsyncConn
	add, echo *rpc.Bound
	note      *rpc.Bound
}

// NewArithAsync returns a client of c.
func NewArithAsync(c *rpc.AsyncConn) *ArithAsync {
	return &ArithAsync{
		conn: c,
		add:  c.Bind(&ArithDesc.Methods[arithAdd]),
		echo: c.Bind(&ArithDesc.Methods[arithEcho]),
		note: c.Bind(&ArithDesc.Methods[arithNote]),
	}
}

// BeginAdd begins a call of Add: set the fields of the request in place, then
// call SendAdd, before anything else on this connection.
func (c *ArithAsync) BeginAdd() (AddRequestBuilder, error) {
	b, err := c.conn.Begin(c.add, addRequestBlock)
	if err != nil {
		return AddRequestBuilder{}, err
	}
	return BuildAddRequest(b)
}

// SendAdd sends the request begun. done runs on the engine's thread when the
// call ends; its reply is valid until it returns. tag is handed through. A
// done that is made once and not per call costs no allocation.
func (c *ArithAsync) SendAdd(req AddRequestBuilder, tag uint64, done func(tag uint64, reply AddReplyView, err error)) error {
	return c.conn.Send(req.Len(), arithAddDone, done, tag)
}

func arithAddDone(r *rpc.Completion) {
	done := r.Done().(func(uint64, AddReplyView, error))
	if r.Err != nil {
		done(r.Tag, AddReplyView{}, r.Err)
		return
	}
	v, err := ViewAddReply(r.Reply)
	done(r.Tag, v, err)
}
