// Package v3 is the third version, with a breaking change: Weight has another
// type. To callers it is another method, which can be served beside the old
// one.
package v3

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
	Weight  float64 // unit: g
	Express bool
}

// Price is what it costs.
type Price struct {
	Amount int64 // unit: 0.01 EUR
	// Days is how long it takes; 0: not known.
	Days int32 // unit: d
}
