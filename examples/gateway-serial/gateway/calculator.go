package main

import (
	"context"

	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// calculator is what the gateway serves itself.
type calculator struct{}

func (calculator) Divide(_ context.Context, req math.Division) (math.Quotient, error) {
	if req.Divisor == 0 {
		return math.Quotient{}, rpc.Errorf(wire.StatusInvalidArgument, "%d can't be divided by 0", req.Dividend)
	}
	return math.Quotient{Value: req.Dividend / req.Divisor, Remainder: req.Dividend % req.Divisor}, nil
}

func (calculator) Mean(context.Context, math.Values) (math.Mean, error) {
	return math.Mean{}, wire.StatusUnimplemented
}
