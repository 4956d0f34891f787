// Package v1 is the first version of the service.
package v1

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Postage knows what it costs to send something.
//
//cell:service
type Postage interface {
	// Quote is the price for a parcel.
	//cell:idempotent
	Quote(ctx context.Context, req Parcel) (Price, error)
}

// Parcel is what is to be sent.
type Parcel struct {
	Weight int32 // unit: g
}

// Price is what it costs.
type Price struct {
	Amount int64 // unit: 0.01 EUR
}
