// Package echo is the service with which Cell's own rpc is measured: what a
// user writes stands in echo.go, cellgen makes the rest of it.
package echo

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Echo answers with what it gets, and counts.
//
//cell:service
type Echo interface {
	// Line answers with a message of fixed size.
	Line(ctx context.Context, req Words) (Words, error)
	// Bytes answers with a message of any size.
	Bytes(ctx context.Context, req Blob) (Blob, error)
	// Take counts a message of fixed size.
	//cell:oneway
	Take(ctx context.Context, req Words) error
	// TakeBytes counts a message of any size.
	//cell:oneway
	TakeBytes(ctx context.Context, req Blob) error
	// Account tells what was counted.
	Account(ctx context.Context) (Tally, error)
}

// Words is 64 bytes: a cache line of numbers, as an order or a price would be.
type Words struct {
	A, B, C, D, E, F, G, H uint64
}

// Blob is bytes.
type Blob struct {
	Bytes []byte
}

// Tally says how many messages came, and what their words add up to.
type Tally struct {
	Count, Sum uint64
}
