// Package echo is the service whose calls and events cellbench times.
package echo

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Echo answers with what it was asked.
//
//cell:service
type Echo interface {
	// Line is a call that fills one cache line each way.
	Line(ctx context.Context, req Ask) (Answer, error)
	// Sized carries any number of bytes each way.
	Sized(ctx context.Context, req Sized) (Sized, error)
	// Events is published as fast as it goes.
	//cell:topic
	Events(e Event)
}

// Ask is 32 bytes: with a commit word, a header and a deadline, a cache line.
type Ask struct {
	ID      uint64
	A, B, C uint64
}

// Answer is 40 bytes: with a commit word and a header, a cache line.
type Answer struct {
	ID         uint64
	A, B, C, D uint64
}

// Sized is as long as its data.
type Sized struct {
	ID   uint64
	Data []byte
}

// Event is 40 bytes: a cache line as well.
type Event struct {
	ID         uint64
	A, B, C, D uint64
}
