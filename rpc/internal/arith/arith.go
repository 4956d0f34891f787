// Package arith is a small service for tests. arith.go is what a user writes;
// arith_cell.go and arith_views_cell.go are, by hand, what cellgen makes of it.
package arith

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

// Arith is a service with one method of each mode.
//
//cell:service
type Arith interface {
	// Add adds. It fails with OutOfRange where the sum does not fit.
	//cell:idempotent
	Add(ctx context.Context, req AddRequest) (AddReply, error)
	// Echo returns what it gets.
	Echo(ctx context.Context, req Text) (Text, error)
	// Note counts silently.
	//cell:oneway
	Note(ctx context.Context, req AddRequest) error
	// Count sends the numbers below N.
	Count(ctx context.Context, req CountRequest, out rpc.Sender[Number]) (CountReply, error)
	// Sum adds up what it gets.
	Sum(ctx context.Context, in rpc.Receiver[Number]) (AddReply, error)
	// Squares answers each number with its square.
	Squares(ctx context.Context, in rpc.Receiver[Number], out rpc.Sender[Number]) error
	// Tick is published now and then.
	//cell:topic
	Tick(e Number)
}

// AddRequest has two summands.
type AddRequest struct{ A, B int64 }

// AddReply has their sum.
type AddReply struct{ Sum int64 }

// CountRequest says how far to count.
type CountRequest struct{ N uint32 }

// CountReply says how many numbers were sent.
type CountReply struct{ Sent uint32 }

// Number is a number.
type Number struct{ Value int64 }

// Text has a variable part.
type Text struct{ Bytes []byte }
