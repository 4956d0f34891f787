// Command ledger keeps the market's accounts, in memory.
package main

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/cell-runtime/cell/examples/market"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

func main() {
	market.Main(func(ctx context.Context) error {
		return market.Serve(ctx, market.LedgerName, func(s *rpc.Server) error {
			return market.RegisterLedger(s, &ledger{accounts: map[string]*account{}})
		})
	})
}

// ledger implements market.Ledger.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
}

type account struct {
	cents    int64
	holdings map[string]int64
}

// most bounds every amount, so that no sum or product overflows.
const most = 1_000_000_000

func (l *ledger) Deposit(_ context.Context, req market.Deposit) (market.Account, error) {
	if req.Account == "" {
		return market.Account{}, rpc.Errorf(wire.StatusInvalidArgument, "an account needs a name")
	}
	if req.Cents < 0 || req.Cents > most || req.Quantity < 0 || req.Quantity > most || req.Quantity > 0 && req.Symbol == "" {
		return market.Account{}, rpc.Errorf(wire.StatusInvalidArgument, "a deposit is of 0 to %d cents, and of as many of some symbol", int64(most))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[req.Account]
	if a == nil {
		a = &account{holdings: map[string]int64{}}
		l.accounts[req.Account] = a
	}
	a.cents += req.Cents
	if req.Quantity > 0 {
		a.holdings[req.Symbol] += req.Quantity
	}
	return a.message(req.Account), nil
}

func (l *ledger) Account(_ context.Context, req market.AccountName) (market.Account, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[req.Name]
	if a == nil {
		return market.Account{}, rpc.Errorf(wire.StatusNotFound, "nobody has opened an account %q", req.Name)
	}
	return a.message(req.Name), nil
}

func (l *ledger) Settle(_ context.Context, req market.Trade) (market.Settlement, error) {
	if req.Price < 1 || req.Price > most || req.Quantity < 1 || req.Quantity > most {
		return market.Settlement{}, rpc.Errorf(wire.StatusInvalidArgument, "price and quantity are 1 to %d", int64(most))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	buyer, seller := l.accounts[req.Buyer], l.accounts[req.Seller]
	cost := req.Price * req.Quantity
	switch {
	case buyer == nil || buyer.cents < cost:
		return market.Settlement{Outcome: market.OutcomeBuyerLacks}, nil
	case seller == nil || seller.holdings[req.Symbol] < req.Quantity:
		return market.Settlement{Outcome: market.OutcomeSellerLacks}, nil
	}
	buyer.cents -= cost
	seller.cents += cost
	seller.holdings[req.Symbol] -= req.Quantity
	buyer.holdings[req.Symbol] += req.Quantity
	return market.Settlement{Outcome: market.OutcomeSettled}, nil
}

func (a *account) message(name string) market.Account {
	m := market.Account{Name: name, Cents: a.cents}
	for _, symbol := range slices.Sorted(maps.Keys(a.holdings)) {
		m.Holdings = append(m.Holdings, market.Holding{Symbol: symbol, Quantity: a.holdings[symbol]})
	}
	return m
}
