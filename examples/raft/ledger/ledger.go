// Package ledger is a replicated service made of an ordinary one: accounts, and
// money that goes from one to the other and is never made or lost.
package ledger

import "context"

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen ledger.go

// Ledger keeps accounts.
//
//cell:service
type Ledger interface {
	// Deposit brings money from outside.
	Deposit(ctx context.Context, req Deposit) (Balance, error)
	// Transfer moves money between two accounts; what is not there can't go.
	Transfer(ctx context.Context, req Transfer) (Receipt, error)
	// Balance is what an account has.
	Balance(ctx context.Context, req Account) (Balance, error)
	// Total is what all accounts have, as the member that is asked knows it.
	Total(ctx context.Context) (Total, error)
}

// Account names one.
type Account struct{ Name string }

// Deposit is money from outside.
type Deposit struct {
	Name   string
	Amount int64 // unit: cent
}

// Transfer is money on its way.
type Transfer struct {
	From   string
	To     string
	Amount int64 // unit: cent
}

// Balance is an account's.
type Balance struct {
	Amount int64 // unit: cent
}

// Receipt is proof of a transfer.
type Receipt struct {
	Number uint64
	Time   int64 // unit: ns since 1970, of the log
	From   int64 // unit: cent; the balance after it
	To     int64 // unit: cent
}

// Total is the sum over all accounts.
type Total struct {
	Accounts uint64
	Amount   int64 // unit: cent
}
