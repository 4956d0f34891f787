// Package transfer sends files as streams, which go on where they broke off.
package transfer

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Name is what the server listens under.
const Name = "transfer"

// Files hands out files.
//
//cell:service
type Files interface {
	// Fetch sends a file's bytes from an offset on, and at the end what the
	// whole file is. No such file is not found; an offset behind the file's end
	// is out of range.
	Fetch(ctx context.Context, req From, out rpc.Sender[Piece]) (File, error)
}

// From is where to begin.
type From struct {
	Name   string
	Offset int64 // unit: bytes
}

// Piece is some of a file's bytes.
type Piece struct {
	Offset int64 // unit: bytes
	Data   []byte
}

// File is a file.
type File struct {
	Size   int64 // unit: bytes
	SHA256 [32]byte
}
