// Package market is three services in a row: a gateway speaks HTTP and JSON to
// the world and calls the exchange, which matches orders and has each trade
// settled by the ledger.
package market

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// What the servers listen under.
const (
	LedgerName   = "market-ledger"
	ExchangeName = "market-exchange"
)

// Ledger keeps accounts. It has the last word about who can pay.
//
//cell:service
type Ledger interface {
	// Deposit adds to an account, and opens it if need be.
	Deposit(ctx context.Context, req Deposit) (Account, error)
	// Account returns an account. One that nobody has opened is not found.
	//cell:idempotent
	Account(ctx context.Context, req AccountName) (Account, error)
	// Settle moves money one way and goods the other, both or neither.
	Settle(ctx context.Context, req Trade) (Settlement, error)
}

// Exchange matches orders, best price first, then the earliest.
//
//cell:service
type Exchange interface {
	// Place matches an order with what rests in the book. What remains of it
	// rests there too.
	Place(ctx context.Context, req Order) (Placed, error)
	// Book returns what rests.
	//cell:idempotent
	Book(ctx context.Context, req Symbol) (Book, error)
}

// Deposit is what to add.
type Deposit struct {
	Account  string
	Cents    int64 // unit: cent
	Symbol   string
	Quantity int64
}

// AccountName names an account.
type AccountName struct {
	Name string
}

// Account is what somebody has.
type Account struct {
	Name     string
	Cents    int64 // unit: cent
	Holdings []Holding
}

// Holding is how much of what.
type Holding struct {
	Symbol   string
	Quantity int64
}

// Trade is a purchase.
type Trade struct {
	Buyer    string
	Seller   string
	Symbol   string
	Price    int64 // unit: cent
	Quantity int64
}

// Settlement says whether a trade took place.
type Settlement struct {
	Outcome Outcome
}

// Outcome is what became of a trade.
type Outcome uint8

// The outcomes.
const (
	OutcomeSettled     Outcome = iota + 1
	OutcomeBuyerLacks          // the buyer can't pay
	OutcomeSellerLacks         // the seller hasn't got it
)

// Side is a side of the book.
type Side uint8

// The sides.
const (
	SideBuy Side = iota + 1
	SideSell
)

// Order is an offer to buy or sell.
type Order struct {
	Account  string
	Symbol   string
	Side     Side
	Price    int64 // unit: cent
	Quantity int64
}

// Placed is what became of an order at once.
type Placed struct {
	Trades  []Trade
	Resting int64 // how much of it lies in the book now
}

// Symbol names what is traded.
type Symbol struct {
	Name string
}

// Book is what rests, the best first.
type Book struct {
	Bids []Level
	Asks []Level
}

// Level is how much there is at a price.
type Level struct {
	Price    int64 // unit: cent
	Quantity int64
}
