// Package v2 is the second version: request and reply have one more field at
// their end. Servers of it serve clients of v1 as well, since postage.cell
// lists that form as an ancestor.
package v2

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
	Weight  int32 // unit: g
	Express bool
}

// Price is what it costs.
type Price struct {
	Amount int64 // unit: 0.01 EUR
	// Days is how long it takes; 0: not known, as from servers of v1.
	Days int32 // unit: d
}
