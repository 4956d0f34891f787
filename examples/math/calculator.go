package math

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Calculator implements Math. Its methods run on goroutines of a server's pool,
// several at once.
type Calculator struct{}

func (Calculator) Divide(_ context.Context, req Division) (Quotient, error) {
	if req.Divisor == 0 {
		return Quotient{}, rpc.Errorf(wire.StatusInvalidArgument, "%d can't be divided by 0", req.Dividend)
	}
	return Quotient{Value: req.Dividend / req.Divisor, Remainder: req.Dividend % req.Divisor}, nil
}

func (Calculator) Mean(_ context.Context, req Values) (Mean, error) {
	if len(req.All) == 0 {
		return Mean{}, rpc.Errorf(wire.StatusInvalidArgument, "no values have no mean")
	}
	var sum float64
	for _, v := range req.All {
		sum += v
	}
	return Mean{Value: sum / float64(len(req.All))}, nil
}
