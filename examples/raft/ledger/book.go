package ledger

import (
	"encoding/json"
	"io"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/replicated"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// Book is the state that all members have. Its methods are the service's; they
// depend on nothing but the book and the request.
type Book struct {
	Accounts map[string]int64 // cent
	Receipts uint64
}

// NewBook returns an empty one.
func NewBook() *Book { return &Book{Accounts: make(map[string]int64)} }

// Methods says how each method reaches the book.
func Methods() *replicated.Methods[*Book] {
	ms := replicated.New(LedgerDesc, NewBook)
	replicated.Write(ms, "Deposit", (*Book).Deposit)
	replicated.Write(ms, "Transfer", (*Book).Transfer)
	replicated.Read(ms, "Balance", (*Book).Balance)
	replicated.Stale(ms, "Total", time.Minute, (*Book).Total)
	return ms
}

// Deposit implements the method of that name.
func (b *Book) Deposit(_ *consensus.Entry, req Deposit) (Balance, error) {
	if req.Amount <= 0 || req.Name == "" {
		return Balance{}, rpc.Errorf(wire.StatusInvalidArgument, "a deposit of %d to %q", req.Amount, req.Name)
	}
	b.Accounts[req.Name] += req.Amount
	return Balance{b.Accounts[req.Name]}, nil
}

// Transfer implements the method of that name.
func (b *Book) Transfer(e *consensus.Entry, req Transfer) (Receipt, error) {
	switch have := b.Accounts[req.From]; {
	case req.Amount <= 0 || req.To == "":
		return Receipt{}, rpc.Errorf(wire.StatusInvalidArgument, "%d to %q", req.Amount, req.To)
	case have < req.Amount:
		return Receipt{}, rpc.Errorf(wire.StatusFailedPrecondition, "%s has %d, not %d", req.From, have, req.Amount)
	}
	b.Accounts[req.From] -= req.Amount
	b.Accounts[req.To] += req.Amount
	b.Receipts++
	// The log's time, not the clock's: the same on every member.
	return Receipt{Number: b.Receipts, Time: e.Time().UnixNano(), From: b.Accounts[req.From], To: b.Accounts[req.To]}, nil
}

// Balance implements the method of that name.
func (b *Book) Balance(req Account) (Balance, error) { return Balance{b.Accounts[req.Name]}, nil }

// Total implements the method of that name.
func (b *Book) Total(rpc.Empty) (Total, error) {
	t := Total{Accounts: uint64(len(b.Accounts))}
	for _, amount := range b.Accounts {
		t.Amount += amount
	}
	return t, nil
}

// Snapshot writes the book; encoding/json sorts the accounts.
func (b *Book) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(b) }

// Restore reads it.
func (b *Book) Restore(r io.Reader) error {
	*b = *NewBook()
	return json.NewDecoder(r).Decode(b)
}
