// Package math is the smallest service: two unary calls, one of which can fail.
package math

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Name is what the server listens under.
const Name = "math"

// Math calculates.
//
//cell:service
type Math interface {
	// Divide divides. A divisor of 0 is an invalid argument.
	//cell:idempotent
	Divide(ctx context.Context, req Division) (Quotient, error)
	// Mean is the arithmetic mean. That of no values is an invalid argument.
	//cell:idempotent
	Mean(ctx context.Context, req Values) (Mean, error)
}

// Division is what to divide by what.
type Division struct {
	Dividend int64
	Divisor  int64
}

// Quotient is a whole number and what remains.
type Quotient struct {
	Value     int64
	Remainder int64
}

// Values are any number of numbers.
type Values struct {
	All []float64
}

// Mean is one.
type Mean struct {
	Value float64
}
