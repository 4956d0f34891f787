package arith

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Blocking implements Arith for the pool of goroutines.
type Blocking struct {
	Notes atomic.Int64
	// Hang, if set, is what Echo waits for when it is asked to echo "hang".
	Hang chan struct{}
	// Hanging counts the calls that do so.
	Hanging atomic.Int32
}

var _ Arith = (*Blocking)(nil)

// ErrOverflow is what Add says of sums that don't fit.
var ErrOverflow = errors.New("the sum does not fit")

func sum(a, b int64) (int64, error) {
	s, _ := bits.Add64(uint64(a), uint64(b), 0)
	if r := int64(s); (a >= 0) == (b >= 0) && (r >= 0) != (a >= 0) {
		return 0, &rpc.Error{Status: wire.StatusOutOfRange, Message: ErrOverflow.Error(), Details: []byte{1, 2, 3}}
	}
	return int64(s), nil
}

// Add implements Arith.
func (*Blocking) Add(_ context.Context, req AddRequest) (AddReply, error) {
	s, err := sum(req.A, req.B)
	return AddReply{s}, err
}

// Echo implements Arith. "panic" panics, "hang" hangs until the call's end,
// "error" fails, and "deadline" says how many milliseconds are left.
func (a *Blocking) Echo(ctx context.Context, req Text) (Text, error) {
	switch string(req.Bytes) {
	case "panic":
		panic("as asked")
	case "hang":
		a.Hanging.Add(1)
		defer a.Hanging.Add(-1)
		select {
		case <-ctx.Done():
			return Text{}, ctx.Err()
		case <-a.Hang:
			return Text{Bytes: []byte("late")}, nil
		}
	case "error":
		return Text{}, errors.New("an error without a number")
	case "deadline":
		d, ok := ctx.Deadline()
		return Text{Bytes: fmt.Append(nil, ok, " ", time.Until(d) > 0)}, nil
	}
	return req, nil
}

// Note implements Arith.
func (a *Blocking) Note(_ context.Context, req AddRequest) error {
	a.Notes.Add(req.A + req.B)
	return nil
}

// Count implements Arith.
func (*Blocking) Count(_ context.Context, req CountRequest, out rpc.Sender[Number]) (CountReply, error) {
	for i := range req.N {
		if err := out.Send(Number{int64(i)}); err != nil {
			return CountReply{}, err
		}
	}
	return CountReply{req.N}, nil
}

// Sum implements Arith.
func (*Blocking) Sum(_ context.Context, in rpc.Receiver[Number]) (AddReply, error) {
	var total int64
	for {
		n, err := in.Receive()
		if errors.Is(err, io.EOF) {
			return AddReply{total}, nil
		}
		if err != nil {
			return AddReply{}, err
		}
		if n.Value < 0 {
			return AddReply{}, rpc.Errorf(wire.StatusInvalidArgument, "%d is negative", n.Value)
		}
		total += n.Value
	}
}

// Squares implements Arith.
func (*Blocking) Squares(_ context.Context, in rpc.Receiver[Number], out rpc.Sender[Number]) error {
	for {
		n, err := in.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.Send(Number{n.Value * n.Value}); err != nil {
			return err
		}
	}
}

// Tick implements Arith; publishing is the topic's affair.
func (*Blocking) Tick(Number) {}

// Views implements ArithViews; its streams are Blocking's.
type Views struct {
	Blocking
}

var _ ArithViews = viewsOf{}

type viewsOf struct{ *Views }

// ArithViews returns v as what RegisterArithViews takes.
func (v *Views) ArithViews() ArithViews { return viewsOf{v} }

// Add implements ArithViews.
func (viewsOf) Add(_ *rpc.Call, req AddRequestView, reply AddReplyBuilder) error {
	s, err := sum(req.A(), req.B())
	if err != nil {
		return err
	}
	reply.SetSum(s)
	return nil
}

// Echo implements ArithViews. It understands the words of Blocking.Echo but
// for "hang".
func (viewsOf) Echo(c *rpc.Call, req TextView, reply *TextBuilder) error {
	switch string(req.Bytes()) {
	case "panic":
		panic("as asked")
	case "error":
		return errors.New("an error without a number")
	case "deadline":
		left, ok := c.Remaining()
		return reply.SetBytes(fmt.Append(nil, ok, " ", left > 0))
	}
	return reply.SetBytes(req.Bytes())
}

// Note implements ArithViews.
func (v viewsOf) Note(_ *rpc.Call, req AddRequestView) error {
	v.Notes.Add(req.A() + req.B())
	return nil
}
