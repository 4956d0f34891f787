// Package ticker is a topic: one process publishes prices, any number of others
// receive them.
package ticker

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Name is what the publisher listens under.
const Name = "ticker"

// Ticker publishes prices.
//
//cell:service
type Ticker interface {
	// Feed says where the broadcast ring of Prices lies, for subscribers on the
	// same host.
	//cell:idempotent
	Feed(ctx context.Context) (Feed, error)
	// Prices is published at every change of a price.
	//cell:topic
	Prices(e Price)
}

// Feed names a ring's memory: descriptor FD of process PID, which processes of
// the same user can open as /proc/PID/fd/FD.
type Feed struct {
	PID int32
	FD  int32
}

// Price is what an instrument trades at. It is 40 bytes long, so that it fills
// one cache line of a ring together with its header.
type Price struct {
	Sequence   uint64 // counts all prices of the publisher from 0
	At         uint64 // unit: ns since 1970
	Bid        int64  // unit: 1e-8 EUR
	Ask        int64  // unit: 1e-8 EUR
	Instrument uint32
}
