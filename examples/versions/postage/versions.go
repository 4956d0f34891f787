package main

import (
	"context"
	"fmt"
	"math"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/examples/versions/v2"
	"github.com/cell-runtime/cell/examples/versions/v3"
	"github.com/cell-runtime/cell/rpc"
)

// version is what a server and a client of one version have in common.
type version struct {
	name     string
	desc     *rpc.ServiceDesc
	register func(*rpc.Server) error
	quote    func(context.Context, rpc.Caller) (string, error)
}

// parcel is the weight that all clients ask for, in g.
const parcel = 500

var versions = []version{
	{
		"v1", v1.PostageDesc,
		func(s *rpc.Server) error { return v1.RegisterPostage(s, office1{}) },
		func(ctx context.Context, c rpc.Caller) (string, error) {
			p, err := v1.NewPostageClient(c).Quote(ctx, v1.Parcel{Weight: parcel})
			return fmt.Sprintf("%d cents", p.Amount), err
		},
	},
	{
		"v2", v2.PostageDesc,
		func(s *rpc.Server) error { return v2.RegisterPostage(s, office2{}) },
		func(ctx context.Context, c rpc.Caller) (string, error) {
			p, err := v2.NewPostageClient(c).Quote(ctx, v2.Parcel{Weight: parcel, Express: true})
			return fmt.Sprintf("%d cents, %d days", p.Amount, p.Days), err
		},
	},
	{
		"v3", v3.PostageDesc,
		func(s *rpc.Server) error { return v3.RegisterPostage(s, office3{}) },
		func(ctx context.Context, c rpc.Caller) (string, error) {
			p, err := v3.NewPostageClient(c).Quote(ctx, v3.Parcel{Weight: parcel + 0.5, Express: true})
			return fmt.Sprintf("%d cents, %d days", p.Amount, p.Days), err
		},
	},
}

// Each office charges a cent for each gram or a part of it.
type (
	office1 struct{}
	office2 struct{} // express costs twice as much
	office3 struct{} // express costs three times as much
)

func (office1) Quote(_ context.Context, p v1.Parcel) (v1.Price, error) {
	return v1.Price{Amount: int64(p.Weight)}, nil
}

func (office2) Quote(_ context.Context, p v2.Parcel) (v2.Price, error) {
	if p.Express { // false, if the client is one of v1
		return v2.Price{Amount: 2 * int64(p.Weight), Days: 1}, nil
	}
	return v2.Price{Amount: int64(p.Weight), Days: 3}, nil
}

func (office3) Quote(_ context.Context, p v3.Parcel) (v3.Price, error) {
	grams := int64(math.Ceil(p.Weight))
	if p.Express {
		return v3.Price{Amount: 3 * grams, Days: 1}, nil
	}
	return v3.Price{Amount: grams, Days: 3}, nil
}
