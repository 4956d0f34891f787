// Package trade is a service that uses all that a description can say. Tests
// and benchmarks of generated code stand on it.
package trade

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Exchange takes orders.
//
//cell:service
type Exchange interface {
	// Place puts an order into the book.
	Place(ctx context.Context, req Order) (Fill, error)
	// Quote says what an instrument trades at.
	//cell:idempotent
	Quote(ctx context.Context, req Tick) (Tick, error)
	// Status takes nothing and returns everything.
	Status(ctx context.Context) (Book, error)
	// Halt stops trading.
	Halt(ctx context.Context) error
	// Log takes a remark.
	//cell:oneway
	Log(ctx context.Context, req Remark) error
	// History streams the ticks of an instrument.
	History(ctx context.Context, req Tick, out rpc.Sender[Tick]) (Fill, error)
	// Load takes orders in bulk.
	Load(ctx context.Context, in rpc.Receiver[Order]) (Fill, error)
	// Session trades both ways.
	Session(ctx context.Context, req Tick, in rpc.Receiver[Order], out rpc.Sender[Fill]) error
	// Ticks is published at every trade.
	//cell:topic
	Ticks(e Tick)
}

// Side says who sells.
type Side uint8

// The sides.
const (
	SideBuy  Side = iota + 1 // wants to have it
	SideSell                 // wants to be rid of it
)

// Venue has numbers below zero.
type Venue int16

// The venues.
const (
	VenueDark Venue = -1
	VenueLit  Venue = 1
)

// Tick is a message of fixed size, of 64 bytes.
type Tick struct {
	Instrument uint64
	Bid        int64 `cell:"unit=1e-8 EUR"` // the best price to sell at
	Ask        int64 // unit: 1e-8 EUR
	BidSize    uint32
	AskSize    uint32
	Volatility float64
	At         uint64 // unit: ns since 1970
	Venue      Venue
	Side       Side
	Halted     bool
	Flags      [4]uint8
	Ratio      float32
	Delta      int8
}

// Money is an amount, in place.
type Money struct {
	Amount   int64
	Currency [3]uint8
}

// Leg is a part of an order, and of variable length.
type Leg struct {
	Venue  Venue
	Symbol string
	Sizes  []uint32
	Limit  *Money
}

// Market is an order without limit.
type Market struct{}

// Pegged follows the market.
type Pegged struct {
	Offset int64
	Reason string
}

// Terms is one of several kinds of order.
//
//cell:union
type Terms struct {
	Market *Market
	Limit  *Money
	Pegged *Pegged
	Ticks  *int32
	Note   *string
	Steps  *[]int64
}

// Order has everything.
type Order struct {
	ID       uint64
	Side     Side
	Client   string
	Secret   []byte
	Limit    *Money
	Stop     *int64
	Comment  *string
	Terms    Terms
	Main     Leg
	Legs     []Leg
	Prices   []float64
	Sides    []Side
	Flags    []bool
	Tags     []string
	Blobs    [][]byte
	Totals   [3]Money
	Bits     [2]bool
	Names    [2]string
	Grid     [][]float32
	Cubes    [][2][]int16
	Maybe    []*uint16
	Perhaps  []*Leg
	Choices  []Terms
	Spare    *[]uint16
	Optional *[2]int32
	Fixed    []Money
}

// Fill is what became of an order.
type Fill struct {
	ID    uint64
	Done  uint32
	Price Money
}

// Book is a list of orders.
type Book struct {
	Orders []Leg
	Last   Tick
	Ticks  []Tick
}

// Remark is a text.
type Remark struct {
	Text string
	Rank int32
}
